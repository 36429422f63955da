"""What all that trains encoders shares: rows of a batch, views, features, states, steps.

A pretraining (`pretraining.pretraining`) and a clusterer (`learning.clusterer`) are learners; what
they optimise is in the file of each.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NotRequired, Protocol, TypedDict

import torch
from torch import Tensor, nn

from deep_clustering.methods._fields import Channels, ScaledPrecision
from deep_clustering.methods.compute.random import seeded
from deep_clustering.methods.compute.replicas import Replicas
from deep_clustering.methods.images.clean import clean_view
from deep_clustering.methods.images.images import Images
from deep_clustering.methods.images.pictures import Frame, Pictures
from deep_clustering.methods.images.view import View
from deep_clustering.methods.learning.recorded import Numbers, Recorded, Work, recorder
from deep_clustering.methods.learning.state import Parts, pack, prepare, unpack
from deep_clustering.methods.networks.compiled import pays
from deep_clustering.methods.networks.encoders import Encoder, autocast, features_of, place

#: (side of the views in pixels, replicas) -> an encoder with fresh weights, on the CPU.
Build = Callable[[int, Replicas], Encoder]


class LearnerConfig(Protocol):
    """What a learner reads of its configuration."""

    @property
    def epochs(self) -> int: ...

    @property
    def batch_size(self) -> int: ...

    @property
    def precision(self) -> ScaledPrecision: ...


class Context(TypedDict):
    """What a learner is built in, whatever its configuration.

    Attributes:
        images: to draw from.
        replicas: the processes that share a batch.
        seed: of all random choices.
        index: (n,) the images trained on, None for all.
    """

    images: Images
    replicas: Replicas
    seed: int
    index: NotRequired[Tensor | None]


class Learner(ABC):
    """A `Trainable` with encoders; subclasses add `initialise`, `step` and `_parts`.

    Most learners have one encoder. One with several has each under its own name, which seeds its
    weights and prefixes them in states; the first is the one that `features` speaks of.

    Args:
        config: see `LearnerConfig`.
        encoders: name -> how to build it, at least one.
        side: of the views, in pixels; None is the images' own.
        mean, std: of the normalisation, per channel; None is the data set's.
        images, replicas, seed, index: the `Context`.
        enlargement, frame: of the clean view, see `clean_view`.
        slices: in which a batch is shared by the processes, see `Replicas.rows`.

    Attributes:
        passes: over the images in an epoch.
        pieces: of the step that a GPU may replay, see `Recorded`.

    Raises:
        ValueError: a batch that the processes cannot share.
    """

    passes: int = 1

    def __init__(
        self,
        config: LearnerConfig,
        encoders: Mapping[str, Build],
        *,
        side: int | None,
        std: Channels | None,
        images: Images,
        replicas: Replicas,
        seed: int,
        index: Tensor | None = None,
        mean: Channels | None = None,
        enlargement: float | None = None,
        frame: Frame = "centre",
        slices: int = 1,
    ) -> None:
        self.epochs: int = config.epochs
        self.batch_size: int = config.batch_size
        self._images = images
        self._replicas = replicas
        self._seed = seed
        self._device = device = replicas.device
        self._index = torch.arange(len(images)) if index is None else index.cpu()
        self._per_epoch = max(1, len(self._index) // config.batch_size)
        self._rows = replicas.rows(config.batch_size, slices)
        self._host_rows = self._rows.cpu()  # of draws, which are made on the host
        self._autocast = autocast(config.precision, device)
        self._loss_scale = LossScale().to(device) if config.precision == "fp16" else None
        self._side = side or images.side
        self._clean = self._clean_view(enlargement, frame)
        self._mean = images.mean if mean is None else torch.tensor(mean, device=device)
        self._std = images.std if std is None else torch.tensor(std, device=device)
        compiles = pays(replicas, self.epochs * len(self._index) * self._side**2)
        self._encoders: dict[str, Encoder] = {}
        for name, build in encoders.items():
            with seeded(seed, name):
                self._encoders[name] = build(self._side, replicas)
            place(self._encoders[name], device)
            self._encoders[name].compiles = compiles
        self._main = next(iter(self._encoders))
        self._steps = 0
        self._recorder = recorder(replicas)
        self._now = Numbers(device, recorded=self._recorder is not None)
        self.pieces: list[Recorded] = []

    def _piece(self, name: str, work: Work) -> Recorded:
        """A piece of the step, which a GPU replays; see `Recorded`."""
        named = f"{name} of {type(self).__name__}"
        piece = Recorded(named, work, self._everything, self._recorder)
        self.pieces.append(piece)
        return piece

    def _clean_view(self, enlargement: float | None, frame: Frame) -> View:
        """The view that targets and predictions come from, see `clean_view`."""
        return clean_view(self._side, enlargement, frame)

    @property
    def _encoder(self) -> Encoder:
        """The first encoder; of most learners the only one."""
        return self._encoders[self._main]

    def _mine(self, indices: Tensor) -> Tensor:
        """This rank's part (n,) of the indices of a global batch."""
        return indices[self._rows if indices.device == self._rows.device else self._host_rows]

    def _viewed(self, view: View, pictures: Pictures, generator: torch.Generator) -> Tensor:
        """This rank's views (n, 3, S, S), drawn for the global batch."""
        draws = view.draw(self.batch_size, generator)
        mine = {name: values[self._host_rows] for name, values in draws.items()}
        return view.apply(pictures, mine, self._mean, self._std)

    def _encoded(self, view: Tensor, encoder: str | None = None) -> Tensor:
        """Features (n, D) of views, of the first encoder unless another is named.

        The heads, small as they are, compute in float32.
        """
        return self._each_encoded([view], encoder)[0]

    def _each_encoded(self, views: Sequence[Tensor], encoder: str | None = None) -> list[Tensor]:
        """Features of views, one batch after the other; weights are rounded once for all."""
        network = self._encoders[encoder or self._main]
        with self._autocast():
            return [features_of(network, view) for view in views]

    def clean(self, pictures: Pictures) -> Tensor:
        """The normalised view of images that targets and predictions come from.

        Args:
            pictures: as `Images.take` gives them.

        Returns:
            float32 (n, 3, S, S) on the learner's device, without gradient.

        Raises:
            ValueError: pixels of another form, or too small for the view.
        """
        return self._clean.apply(pictures, {}, self._mean, self._std)

    def _clean_views(self, indices: Tensor) -> Iterator[Tensor]:
        """Clean views, part after part."""
        for part in indices.split(1000):
            yield self.clean(self._images.take(part))

    @torch.no_grad()
    def features(self, indices: Tensor) -> Tensor:
        """Features (n, D) float32 of clean views, in evaluation mode; this process alone."""
        with evaluation(self._encoder):
            return torch.cat([self._encoded(view) for view in self._clean_views(indices)])

    def encoder_weights(self) -> dict[str, Tensor]:
        """Weights and buffers of the encoder that `features` speaks of."""
        return pack({"": self._encoder})

    def state(self) -> dict[str, Tensor]:
        """Everything that decides how training continues."""
        return pack(*self._everything()) | {"steps": torch.tensor(self._steps)}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Continues from a `state()`.

        Raises:
            ValueError: names or shapes differ from this configuration's.
        """
        state = dict(state)
        self._steps = int(state.pop("steps"))
        unpack(state, *self._everything())

    def _everything(self) -> Parts:
        modules, optimisers, generators = self._parts()
        scale = {} if self._loss_scale is None else {"loss_scale": self._loss_scale}
        return {**modules, **scale}, optimisers, generators

    @abstractmethod
    def _parts(self) -> Parts:
        """All that has a state, by name."""


@contextmanager
def evaluation(*networks: nn.Module) -> Iterator[None]:
    """Evaluation mode inside, in which the running statistics normalise; training mode after."""
    for network in networks:
        network.eval()
    try:
        yield
    finally:
        for network in networks:
            network.train()


def adam(*groups: tuple[Iterable[Tensor], float], weight_decay: float) -> torch.optim.Adam:
    """Adam with L2 weight decay on groups of (parameters, learning rate)."""
    return prepare(
        torch.optim.Adam(
            [{"params": list(parameters), "lr": rate} for parameters, rate in groups],
            weight_decay=weight_decay,
            fused=True,
        )
    )


def sgd(
    parameters: Iterable[Tensor] | Iterable[dict[str, Any]],
    rate: float,
    *,
    momentum: float,
    weight_decay: float,
    nesterov: bool = False,
) -> torch.optim.SGD:
    """SGD with L2 weight decay, on parameters or on groups of them."""
    return prepare(
        torch.optim.SGD(
            parameters,
            lr=rate,
            momentum=momentum,
            weight_decay=weight_decay,
            nesterov=nesterov,
            fused=True,
        )
    )


class LossScale(nn.Module):
    """The factor on a loss that keeps float16 gradients from vanishing.

    A step whose gradients overflow is left out and halves the factor; `PATIENCE` steps in a row
    without one double it: the rule of `torch.amp.GradScaler`, without waiting for the device.
    """

    PATIENCE = 2000

    factor: Tensor
    good: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("factor", torch.tensor(2.0**16, dtype=torch.float32))
        self.register_buffer("good", torch.zeros((), dtype=torch.int32))  # steps since a change

    def follow(self, overflow: Tensor) -> None:
        """After a step: `overflow` is 1.0 where its gradients were not finite, else 0.0."""
        failed = overflow > 0
        self.good.add_(1).masked_fill_(failed, 0)
        grown = self.good == self.PATIENCE
        # Powers of two: exact. Never both, since a failed step is no good one.
        self.factor.mul_(1 - 0.5 * failed.float()).mul_(1 + grown.float())
        self.good.masked_fill_(grown, 0)


def descend(
    loss: Tensor,
    optimiser: torch.optim.Optimizer,
    replicas: Replicas,
    scale: LossScale | None = None,
) -> None:
    """One step of a fused optimiser with the gradients of this rank's term, summed over the ranks.

    With a `scale` the gradients are computed of the scaled loss, and the step is that of the loss.
    """
    optimiser.zero_grad(set_to_none=True)
    (loss if scale is None else loss * scale.factor).backward()
    parameters = [p for group in optimiser.param_groups for p in group["params"]]
    replicas.reduce_gradients(parameters)
    if scale is None:
        optimiser.step()
        return
    gradients = [p.grad for p in parameters if p.grad is not None]
    largest = nn.utils.get_total_norm(gradients, norm_type=math.inf)
    overflow = (~largest.isfinite()).float()
    # What a fused optimiser divides by, and whether it leaves the step out; read on the device.
    optimiser.grad_scale, optimiser.found_inf = scale.factor, overflow  # type: ignore[attr-defined]
    optimiser.step()
    scale.follow(overflow)
