"""What pretrainings share: seed, optimiser and what they hand over.

What they optimise is in the file of each.
"""

from abc import abstractmethod
from collections.abc import Mapping
from typing import Protocol, Unpack

import torch
from torch import Tensor, nn

from deep_clustering.methods._fields import Channels
from deep_clustering.methods.compute.random import generator
from deep_clustering.methods.images.pictures import Frame
from deep_clustering.methods.learning.learner import (
    Build,
    Context,
    Learner,
    LearnerConfig,
    Parts,
)
from deep_clustering.methods.learning.state import pack, unpack


class PretrainingConfig(LearnerConfig, Protocol):
    """What a pretraining reads of its configuration."""

    @property
    def side(self) -> int | None: ...

    @property
    def mean(self) -> Channels | None: ...

    @property
    def std(self) -> Channels | None: ...

    @property
    def seed(self) -> int | None: ...


class Pretraining(Learner):
    """A `Learner` with one optimiser, which subclasses make when they are built.

    Args:
        config: its seed wins over that of the context.
        build: (side in pixels, replicas) -> a fresh encoder.
        enlargement, frame: of the clean view, see `clean_view`.
        context: see `Context`.

    Raises:
        ValueError: fewer images than a batch, or a batch that the processes cannot share.
    """

    _optimiser: torch.optim.Optimizer

    def __init__(
        self,
        config: PretrainingConfig,
        build: Build,
        *,
        enlargement: float | None = None,
        frame: Frame = "centre",
        **context: Unpack[Context],
    ) -> None:
        if config.seed is not None:
            context["seed"] = config.seed
        super().__init__(
            config,
            {"encoder": build},
            side=config.side,
            mean=config.mean,
            std=config.std,
            enlargement=enlargement,
            frame=frame,
            **context,
        )
        if len(self._index) < config.batch_size:
            raise ValueError(
                f"pretraining needs at least one batch of {config.batch_size} images, got "
                f"{len(self._index)}; choose a smaller pretrain.batch_size"
            )
        self._generator = generator(self._seed, "views")

    def initialise(self) -> dict[str, float]:
        """Nothing to prepare."""
        return {}

    def encoder_state(self) -> dict[str, Tensor]:
        """Weights and buffers of what others start from."""
        return pack(self._handed_over())

    def load_encoder(self, state: Mapping[str, Tensor]) -> None:
        """Takes back an `encoder_state`, for features without training.

        Raises:
            ValueError: names or shapes differ from this configuration's.
        """
        unpack(state, self._handed_over())

    def embedding(self, indices: Tensor) -> Tensor:
        """What neighbours are looked for in: the features, unless a pretraining knows better."""
        return self.features(indices)

    def _handed_over(self) -> dict[str, nn.Module]:
        """All networks: DPAC's clustering step trains on with them."""
        return self._networks()

    @abstractmethod
    def step(self, indices: Tensor) -> dict[str, Tensor]:
        """Trains on the images (B,) of a global batch; returns its losses."""

    @abstractmethod
    def _networks(self) -> dict[str, nn.Module]:
        """The encoder and what is trained beside it, by name."""

    def _parts(self) -> Parts:
        return self._networks(), {"optimiser": self._optimiser}, {"generator": self._generator}
