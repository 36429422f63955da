"""A toy method from another folder: each image takes the mean soft prediction of its neighbours.

It stands on a pretraining, on the neighbours that this finds, and on a finished run of any method.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from deep_clustering.methods._method import Base, BaseOutputs, Method, Neighbours, Pretrain
from deep_clustering.methods.compute.replicas import Replicas
from deep_clustering.methods.images.images import Images
from deep_clustering.methods.pretraining.configs import MoCoConfig
from deep_clustering.methods.pretraining.moco import MoCo


@dataclass(frozen=True, kw_only=True)
class VoteConfig:
    """Configuration of the toy."""

    epochs: int = 2
    batch_size: int = 16
    clusters: int = 10
    voters: int = 5  # neighbours whose predictions are averaged
    pretrain: MoCoConfig = field(default_factory=MoCoConfig)


class Vote:
    """Averages the base's predictions once an epoch."""

    heads = ("vote",)
    final_head = "vote"
    passes = 1

    def __init__(
        self,
        config: VoteConfig,
        *,
        images: Images,
        replicas: Replicas,
        seed: int,
        index: Tensor,
        encoder_state: Mapping[str, Tensor],
        neighbours: Tensor,
        base: BaseOutputs,
    ) -> None:
        assert encoder_state
        assert neighbours.shape == (len(index), config.voters)
        assert torch.equal(base.index, index)
        self.epochs, self.batch_size = config.epochs, config.batch_size
        self._neighbours, self._features = neighbours, base.features
        self._votes = base.probabilities.clone()

    def initialise(self) -> dict[str, float]:
        return {}

    def step(self, indices: Tensor) -> dict[str, Tensor]:
        mean = self._votes[self._neighbours[indices]].mean(1)
        change = (mean - self._votes[indices]).abs().mean()
        self._votes[indices] = mean
        return {"change": change}

    def predict(self, indices: Tensor) -> dict[str, Tensor]:
        return {"vote": self._votes[indices]}

    def features(self, indices: Tensor) -> Tensor:
        return self._features[indices]

    def encoder_weights(self) -> dict[str, Tensor]:
        return {}

    def clean(self, pixels: Tensor) -> Tensor:
        return pixels.float() / 255

    def logits(self, view: Tensor) -> dict[str, Tensor]:
        """The same for every view: the toy knows only the images that it has voted on."""
        return {"vote": view.flatten(1).mean(1, keepdim=True) * 0 + self._votes.mean(0).log()}

    def state(self) -> dict[str, Tensor]:
        return {"votes": self._votes.clone()}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        self._votes = state["votes"].clone()

    def model_state(self) -> dict[str, Tensor]:
        return {"votes": self._votes.clone(), "features": self._features}

    @classmethod
    def restore(
        cls,
        config: VoteConfig,
        model_state: Mapping[str, Tensor],
        *,
        images: Images,
        replicas: Replicas,
    ) -> "Vote":
        model = cls.__new__(cls)
        model._votes, model._features = model_state["votes"], model_state["features"]
        return model


METHOD = Method(
    summary="a toy that lets neighbours vote",
    citation="none",
    version=1,
    config=VoteConfig,
    build=Vote,
    restore=Vote.restore,
    needs=(
        Pretrain(summary="MoCo", config=MoCoConfig, build=MoCo),
        Neighbours(count="voters"),
        Base(),
    ),
)
