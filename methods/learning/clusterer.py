"""Heads on encoders, their predictions, and the weights that they save: what clusterers share."""

from collections.abc import Callable, Mapping
from typing import Self

import torch
from torch import Tensor, nn

from deep_clustering.methods.compute.random import seeded
from deep_clustering.methods.compute.replicas import Replicas
from deep_clustering.methods.images.images import Images
from deep_clustering.methods.learning.learner import Learner, LearnerConfig, evaluation
from deep_clustering.methods.learning.state import pack, unpack


class Clusterer(Learner):
    """A `Learner` with heads on its encoders; subclasses make them when they are built.

    `logits`, `predict`, `features` and `model_state` involve this process alone; `initialise` and
    `step` are called on every rank.

    Attributes:
        heads: names of the heads that `predict` reports.
        final_head: the one that is the method's answer.
    """

    _heads: Mapping[str, nn.Module]

    def _make_heads(
        self,
        names: tuple[str, ...],
        build: Callable[[str], nn.Module],
        on: Mapping[str, str] | None = None,
    ) -> None:
        """Heads of these names with fresh weights; the last one is the final head.

        `on`: head -> the encoder whose features it takes; None puts all on the first encoder.
        """
        self.heads = names
        self._on = dict.fromkeys(names, self._main) if on is None else {n: on[n] for n in names}
        self.final_head = names[-1]
        heads = {}
        for name in names:
            with seeded(self._seed, name):
                heads[name] = build(name).to(self._device)
        self._heads = heads

    @classmethod
    def restore(
        cls,
        config: LearnerConfig,
        model_state: Mapping[str, Tensor],
        *,
        images: Images,
        replicas: Replicas,
    ) -> Self:
        """A trained model for `predict` and `features`, from its `model_state()`.

        Raises:
            ValueError: the weights are of another configuration.
        """
        build: Callable[..., Self] = cls
        model = build(config, images=images, replicas=replicas, seed=0)
        unpack(model_state, model._networks())
        return model

    def initialise(self) -> dict[str, float]:
        """Nothing to prepare.

        Raises:
            ValueError: fewer images than a batch.
        """
        self._require_a_batch()
        return {}

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

    def logits(self, view: Tensor) -> dict[str, Tensor]:
        """Logits (n, C) of each head for a normalised view, in evaluation mode.

        Differentiable with respect to the view; `torch.autograd.grad(value, view)` leaves the
        gradients of the weights alone.

        Args:
            view: float (n, 3, S, S), such as `clean` makes of images.
        """
        with evaluation(*self._networks().values()):
            features = {name: self._encoded(view, name) for name in set(self._on.values())}
            return {name: head(features[self._on[name]]) for name, head in self._heads.items()}

    @torch.no_grad()
    def predict(self, indices: Tensor) -> dict[str, Tensor]:
        """Probabilities (n, C) float32 of each head for clean views, in evaluation mode."""
        parts: dict[str, list[Tensor]] = {name: [] for name in self.heads}
        for view in self._clean_views(indices):
            for name, logits in self.logits(view).items():
                parts[name].append(logits.softmax(1))
        return {name: torch.cat(probabilities) for name, probabilities in parts.items()}

    def model_state(self) -> dict[str, Tensor]:
        """Weights and buffers of encoders and heads: what `restore` takes."""
        return pack(self._networks())

    def _networks(self) -> dict[str, nn.Module]:
        return {**self._encoders, **self._heads}


def negative_entropy(mean: Tensor) -> Tensor:
    """Sum of m log m of a mean prediction m (K,), from -log K to 0; 0 log 0 is 0.

    Eq. 2 of CDC, and the balance regulariser of DPAC's Table 5c.
    """
    return (mean * mean.clamp_min(torch.finfo(mean.dtype).tiny).log()).sum()
