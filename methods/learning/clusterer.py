"""What CDC and DPAC share: heads on an encoder, their predictions, and what is kept of them."""

from collections.abc import Callable, Mapping
from typing import Any, Self

import torch
from torch import Tensor, nn

from deep_clustering.methods.compute.random import seeded
from deep_clustering.methods.compute.replicas import Replicas
from deep_clustering.methods.images.images import Images
from deep_clustering.methods.learning.learner import Learner, evaluation
from deep_clustering.methods.learning.state import pack, unpack


class Clusterer(Learner):
    """A `Learner` with heads on its encoder; subclasses make them when they are built.

    `predict`, `features` and `model_state` involve this process alone; `initialise` and `step` are
    called on every rank.

    Attributes:
        heads: names of the heads that `predict` reports.
        final_head: the one that is the method's answer.
    """

    _heads: Mapping[str, nn.Module]

    def _make_heads(self, names: tuple[str, ...], build: Callable[[str], nn.Module]) -> None:
        """Heads of these names with fresh weights; the last one is the final head."""
        self.heads = names
        self.final_head = names[-1]
        heads = {}
        for name in names:
            with seeded(self._seed, name):
                heads[name] = build(name).to(self._device)
        self._heads = heads

    @classmethod
    def restore(
        cls, config: Any, model_state: Mapping[str, Tensor], *, images: Images, replicas: Replicas
    ) -> Self:
        """A trained model for `predict` and `features`, from its `model_state()`.

        Raises:
            ValueError: the weights are of another configuration.
        """
        build: Callable[..., Self] = cls
        model = build(config, images=images, replicas=replicas, seed=0)
        unpack(model_state, model._networks())
        return model

    def _require_a_batch(self) -> None:
        """Raises ValueError where there are fewer images than a batch."""
        count = len(self._index)
        if count < self.batch_size:
            raise ValueError(
                f"batch_size: {self.batch_size} exceeds the {count} images; choose a smaller one"
            )

    def _of_all(self, outputs: Callable[[Tensor], Tensor]) -> Tensor:
        """`outputs` (N, ...) for the indices of all images trained on.

        Each rank computes a share of them; the same bits on every rank.
        """
        places = torch.arange(len(self._index)).tensor_split(self._replicas.world)
        mine = places[self._replicas.rank]
        local = outputs(self._index[mine])
        return self._replicas.gather(local, mine.to(self._device), len(self._index))

    @torch.no_grad()
    def predict(self, indices: Tensor) -> dict[str, Tensor]:
        """Probabilities (n, K) float32 of each head for clean views, in evaluation mode."""
        parts: dict[str, list[Tensor]] = {name: [] for name in self.heads}
        with evaluation(*self._networks().values()):
            for features in self._evaluated(indices):
                for name, head in self._heads.items():
                    parts[name].append(head(features).softmax(1))
        return {name: torch.cat(found) for name, found in parts.items()}

    def model_state(self) -> dict[str, Tensor]:
        """Weights and buffers of encoder and heads: what `restore` takes."""
        return pack(self._networks())

    def _networks(self) -> dict[str, nn.Module]:
        return {"encoder": self._encoder, **self._heads}


def negative_entropy(mean: Tensor) -> Tensor:
    """Sum of m log m of a mean prediction m (K,), from -log K to 0; 0 log 0 is 0.

    Eq. 2 of CDC, and the balance regulariser of DPAC's Table 5c.
    """
    return (mean * mean.clamp_min(torch.finfo(mean.dtype).tiny).log()).sum()
