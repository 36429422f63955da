"""What pretrainings share: batches, the encoder and its clean features, states, small networks.

A pretraining is a `Trainable` with `encoder_state()` and `features()`. Everything here is said once
for MoCo, SimCLR and the autoencoder; what they optimise is in their own files.
"""

from collections.abc import Callable, Mapping
from typing import Any, Literal

import torch
from torch import Tensor, nn

from deep_clustering.methods._augment import Clean, View
from deep_clustering.methods._encoders import Encoder, autocast, features_of, place
from deep_clustering.methods._images import Images
from deep_clustering.methods._random import generator, seeded
from deep_clustering.methods._replicas import BatchNorm, Replicas
from deep_clustering.methods._state import pack, unpack

Backbone = Literal["resnet18", "resnet34", "resnet50", "small"]
Parts = tuple[dict[str, nn.Module], dict[str, torch.optim.Optimizer], dict[str, torch.Generator]]


def perceptron(
    inside: int, hidden: int, outside: int, *, layers: int, norm: bool, replicas: Replicas
) -> nn.Sequential:
    """Vectors (n, inside) to (n, outside) over `layers` hidden layers of `hidden` units.

    Each is linear, batch normalisation over all ranks (if `norm`), ReLU; the last map is linear.
    """
    parts: list[nn.Module] = []
    for _ in range(layers):
        parts.append(nn.Linear(inside, hidden))
        parts += [BatchNorm(hidden, replicas=replicas)] if norm else []
        parts.append(nn.ReLU(inplace=True))
        inside = hidden
    return nn.Sequential(*parts, nn.Linear(inside, outside))


def whole_batch(replicas: Replicas, local: Tensor, rows: Tensor, batch: int) -> Tensor:
    """The global (batch, ...) of which every rank holds `local` at `rows`, with its gradient.

    For a loss of all pairs that every rank computes in full: the gradients of its own rows are then
    complete, and the gradients of parameters, summed over the ranks, those of one process.
    """
    if replicas.world == 1:
        return local
    return replicas.gather(local, rows, batch).index_copy(0, rows, local)


class Pretraining:
    """Batches, encoder and clean view of a pretraining; subclasses add the `step`.

    Args:
        config: has `epochs`, `batch_size`, `side`, `std`, `precision` and `seed`.
        build: (side in pixels, replicas) -> a fresh encoder.
        images: to draw from.
        replicas: the processes that share a batch.
        seed: of all random choices, unless the configuration has its own.
        index: (n,) the images trained on, None for all.
        enlargement: the clean view is the middle of the image brought to this many times the side;
            None takes the pixels as they are stored.

    Raises:
        ValueError: fewer images than a batch, or a batch that the processes cannot share.
    """

    def __init__(
        self,
        config: Any,
        build: Callable[[int, Replicas], Encoder],
        *,
        images: Images,
        replicas: Replicas,
        seed: int,
        index: Tensor | None,
        enlargement: float | None = None,
    ) -> None:
        self._seed = seed if config.seed is None else config.seed
        count = len(images) if index is None else len(index)
        if count < config.batch_size:
            raise ValueError(
                f"pretraining needs at least one batch of {config.batch_size} images, got {count}; "
                "choose a smaller pretrain.batch_size"
            )
        self.epochs: int = config.epochs
        self.batch_size: int = config.batch_size
        self._images = images
        self._replicas = replicas
        self._device = device = replicas.device
        self._rows = replicas.rows(config.batch_size)
        self._host_rows = self._rows.cpu()  # of draws, which are made on the host
        self._autocast = autocast(config.precision, device)
        self._side: int = config.side or images.side
        self._clean = clean_view(self._side, enlargement)
        self._mean = images.mean
        self._std = images.std if config.std is None else torch.tensor(config.std, device=device)
        with seeded(self._seed, "encoder"):
            self._encoder = build(self._side, replicas)
        place(self._encoder, device)
        self._generator = generator(self._seed, "views")
        self._steps = 0
        self._steps_per_epoch = count // config.batch_size

    def initialise(self) -> dict[str, float]:
        """Nothing to prepare."""
        return {}

    def _pixels(self, indices: Tensor) -> Tensor:
        """This rank's images (n, 3, H, H) of a global batch."""
        rows = self._rows if indices.device == self._rows.device else self._host_rows
        return self._images.take(indices[rows])

    def _viewed(self, view: View, pixels: Tensor) -> Tensor:
        """This rank's views (n, 3, S, S), drawn for the global batch."""
        draws = view.draw(self.batch_size, self._generator)
        mine = {name: values[self._host_rows] for name, values in draws.items()}
        return view.apply(pixels, mine, self._mean, self._std)

    @torch.no_grad()
    def features(self, indices: Tensor) -> Tensor:
        """Features (n, D) float32 of the clean images, in evaluation mode; this process alone."""
        self._encoder.eval()
        parts = []
        for part in indices.split(1000):
            view = self._clean.apply(self._images.take(part), {}, self._mean, self._std)
            with self._autocast():
                parts.append(features_of(self._encoder, view))
        self._encoder.train()
        return torch.cat(parts)

    def encoder_state(self) -> dict[str, Tensor]:
        """Weights and buffers of the online encoder, all that the next stage needs."""
        return pack({"": self._encoder})

    def state(self) -> dict[str, Tensor]:
        """Everything that decides how training continues."""
        return pack(*self._parts()) | {"steps": torch.tensor(self._steps)}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Continues from a `state()`.

        Raises:
            ValueError: names or shapes differ from this configuration's.
        """
        state = dict(state)
        self._steps = int(state.pop("steps"))
        unpack(state, *self._parts())

    def _parts(self) -> Parts:
        """All that has a state, by name."""
        raise NotImplementedError


def clean_view(side: int, enlargement: float | None) -> Clean:
    """The middle of an image brought to `enlargement` times the side; None takes it as stored."""
    return Clean(side=side, resize=None if enlargement is None else round(side * enlargement))
