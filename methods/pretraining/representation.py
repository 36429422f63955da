"""DPAC's three ways to learn a representation: pretraining, encoder, and what clustering keeps.

Each framework (Table 5) is one entry of `FRAMEWORKS`. The clustering step goes on with the loss of
its pretraining, from the weights that it ended with, projector or decoder included.
"""

import copy
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple, Protocol, Unpack

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from deep_clustering.methods.compute.random import seeded
from deep_clustering.methods.compute.replicas import Replicas
from deep_clustering.methods.images.clean import clean_view
from deep_clustering.methods.images.view import View
from deep_clustering.methods.learning.learner import Context
from deep_clustering.methods.networks.autoencoder import Pixels, decoder, reconstruction_error
from deep_clustering.methods.networks.encoders import Encoder, features_of, place, wide
from deep_clustering.methods.networks.perceptron import perceptron
from deep_clustering.methods.pretraining.autoencoder import Autoencoder
from deep_clustering.methods.pretraining.configs import (
    AutoencoderConfig,
    MoCoConfig,
    PretrainConfig,
)
from deep_clustering.methods.pretraining.moco import MoCo, Queues, info_nce
from deep_clustering.methods.pretraining.pretraining import Pretraining
from deep_clustering.methods.pretraining.simclr import (
    SimCLR,
    projector,
    simclr_encoder,
    strong_view,
    weak_view,
    whole_batch,
)

#: Share of the key networks that a clustering step keeps: where MoCo's own schedule ends.
KEY_MOMENTUM = 0.999


def moco_config(config: PretrainConfig) -> MoCoConfig:
    """MoCo v2 on the same encoder, images, epochs and batches, with a projector of two layers."""
    return MoCoConfig(
        backbone=config.backbone,
        stem_padding=config.stem_padding,
        side=config.side,
        frame=config.frame,
        enlargement=config.enlargement,
        epochs=config.epochs,
        batch_size=config.batch_size,
        learning_rate=config.moco_learning_rate,
        warmup_epochs=config.epochs // 20,
        weight_decay=config.weight_decay,
        queue_size=config.moco_queue * config.batch_size,
        temperature=config.moco_temperature,
        projector_hidden=config.projector_hidden,
        projector_dimension=config.projector_dimension,
        mean=config.mean,
        std=config.std,
        precision=config.precision,
        seed=config.seed,
    )


def autoencoder_config(config: PretrainConfig) -> AutoencoderConfig:
    """The autoencoder on the same images, epochs and batches."""
    return AutoencoderConfig(
        hidden=config.code_hidden,
        dimension=config.code_dimension,
        side=config.side,
        enlargement=config.enlargement,
        frame=config.frame,
        epochs=config.epochs,
        batch_size=config.batch_size,
        learning_rate=config.learning_rate,
        weight_decay=config.weight_decay,
        mean=config.mean,
        std=config.std,
        precision=config.precision,
        seed=config.seed,
    )


class WeakMoCo(MoCo):
    """MoCo on two weak views, which hands over all that its clustering step goes on with."""

    def __init__(self, config: PretrainConfig, **context: Unpack[Context]) -> None:
        super().__init__(moco_config(config), build=partial(simclr_encoder, config), **context)
        self._clean = clean_view(self._side, config.enlargement, config.frame)
        self._view = weak_view(config, self._side)

    def _handed_over(self) -> dict[str, nn.Module]:
        """Both encoders, both projectors and the queues."""
        return self._networks()


# --- What the clustering step keeps learning ------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Surroundings:
    """What a representation is told about the model that it is learnt in.

    Attributes:
        encoder: on its device.
        side: of the views, pixels.
        replicas, rows, batch: the processes, this one's rows of a global batch, and its size.
        seed: of the run.
        autocast: what networks run in.
        contrast: (first views (B, d), second views (B, d), predictions (B, K)) -> (2B,) losses.
    """

    encoder: Encoder
    side: int
    replicas: Replicas
    rows: Tensor
    batch: int
    seed: int
    autocast: Callable[[], AbstractContextManager[None]]
    contrast: Callable[[Tensor, Tensor, Tensor], Tensor]


class Representation(Protocol):
    """A loss of the encoder beside the clusters, and what it needs.

    Attributes:
        views: by name, in the order in which the clustering step stacks them; the clustering head
            learns on the first and the self-labelled one on the last.
        trained: networks with a gradient.
        modules: all that has a state, the `trained` ones included.
    """

    views: dict[str, View]
    trained: dict[str, nn.Module]
    modules: dict[str, nn.Module]

    def loss(self, features: Tensor, views: Tensor, predictions: Tensor) -> tuple[Tensor, Tensor]:
        """This rank's term, whose gradients add up over the ranks, and the value for the batch.

        Args:
            features: (v n, D) of this rank's stacked views (v n, 3, S, S).
            predictions: (B, K) for the clean views of the whole batch, no gradient.
        """

    def follow(self, step: int) -> None:
        """After the optimiser's step, counted from 0."""


class Contrast:
    """SimCLR's loss with its projector, weighted by the predictions or not (Eq. 11)."""

    def __init__(self, config: PretrainConfig, around: Surroundings) -> None:
        self._around = around
        self.views: dict[str, View] = {
            "weak": weak_view(config, around.side),
            "strong": strong_view(config, around.side),
        }
        with seeded(around.seed, "projector"):
            self._projector = projector(config, around.encoder.dimension, around.replicas)
        place(self._projector, around.replicas.device)
        self.trained: dict[str, nn.Module] = {"projector": self._projector}
        self.modules = self.trained
        self._both = torch.cat([around.rows, around.rows + around.batch])

    def loss(self, features: Tensor, views: Tensor, predictions: Tensor) -> tuple[Tensor, Tensor]:
        around, size = self._around, self._around.batch
        with around.autocast():
            projected = self._projector(features)
        local = F.normalize(wide(projected), dim=1)
        z = whole_batch(around.replicas, local, self._both, 2 * size)
        loss = around.contrast(z[:size], z[size:], predictions).mean()
        return loss, loss.detach()

    def follow(self, step: int) -> None:
        """Nothing follows the trained networks."""


class Momentum:
    """MoCo's loss in both directions, with its key networks and queues; never weighted."""

    def __init__(self, config: PretrainConfig, around: Surroundings) -> None:
        self._around = around
        self._temperature = config.moco_temperature
        self.views: dict[str, View] = {
            "weak": weak_view(config, around.side),
            "strong": strong_view(config, around.side),
        }
        device = around.replicas.device
        with seeded(around.seed, "projector"):
            self._projector = perceptron(
                around.encoder.dimension,
                config.projector_hidden,
                config.projector_dimension,
                layers=1,
                norm=False,
                replicas=around.replicas,
            )
        place(self._projector, device)
        self._key_encoder = copy.deepcopy(around.encoder).requires_grad_(False)
        self._key_projector = copy.deepcopy(self._projector).requires_grad_(False)
        self._queues = Queues(moco_config(config), around.seed).to(device)
        self.trained: dict[str, nn.Module] = {"projector": self._projector}
        self.modules: dict[str, nn.Module] = {
            **self.trained,
            "key_encoder": self._key_encoder,
            "key_projector": self._key_projector,
            "queues": self._queues,
        }
        self._online: list[Tensor] = [*around.encoder.parameters(), *self._projector.parameters()]
        self._averaged: list[Tensor] = [
            *self._key_encoder.parameters(),
            *self._key_projector.parameters(),
        ]
        self._keys: tuple[Tensor, ...] = ()

    def loss(self, features: Tensor, views: Tensor, predictions: Tensor) -> tuple[Tensor, Tensor]:
        around = self._around
        with around.autocast():
            queries = self._projector(features)
            with torch.no_grad():
                keys = self._key_projector(features_of(self._key_encoder, views))
        first, second = F.normalize(wide(queries), dim=1).chunk(2)
        self._keys = F.normalize(wide(keys), dim=1).chunk(2)
        losses = torch.cat(
            [
                info_nce(first, self._keys[1], self._queues.of(1), self._temperature),
                info_nce(second, self._keys[0], self._queues.of(0), self._temperature),
            ]
        )
        loss = losses.sum() / (2 * around.batch)
        return loss, around.replicas.total(loss)

    @torch.no_grad()
    def follow(self, step: int) -> None:
        around = self._around
        torch._foreach_lerp_(self._averaged, self._online, 1 - KEY_MOMENTUM)
        first = self._queues.first(step, around.batch)
        for view, keys in enumerate(self._keys):
            self._queues.put(view, around.replicas.gather(keys, around.rows, around.batch), first)
        self._keys = ()


class Reconstruction:
    """The autoencoder's loss with its decoder; its only view is the clean one."""

    def __init__(self, config: PretrainConfig, around: Surroundings) -> None:
        self._around = around
        clean = clean_view(around.side, config.enlargement, config.frame)
        self.views: dict[str, View] = {"clean": clean}
        with seeded(around.seed, "decoder"):
            self._decoder = decoder(around.side, config.code_hidden, config.code_dimension)
        place(self._decoder, around.replicas.device)
        self.trained: dict[str, nn.Module] = {"decoder": self._decoder}
        self.modules = self.trained

    def loss(self, features: Tensor, views: Tensor, predictions: Tensor) -> tuple[Tensor, Tensor]:
        with self._around.autocast():
            decoded = self._decoder(features)
        loss = reconstruction_error(decoded, views).sum() / self._around.batch
        return loss, self._around.replicas.total(loss)

    def follow(self, step: int) -> None:
        """Nothing follows the trained networks."""


class Kind(NamedTuple):
    """One framework: its pretraining, its encoder with fresh weights, its loss while clustering."""

    pretraining: Callable[..., Pretraining]
    encoder: Callable[[PretrainConfig, int, Replicas], Encoder]
    representation: Callable[[PretrainConfig, Surroundings], Representation]


FRAMEWORKS: dict[str, Kind] = {
    "simclr": Kind(SimCLR, simclr_encoder, Contrast),
    "moco": Kind(WeakMoCo, simclr_encoder, Momentum),
    "autoencoder": Kind(
        lambda config, **context: Autoencoder(autoencoder_config(config), **context),
        lambda config, side, replicas: Pixels(side, config.code_hidden, config.code_dimension),
        Reconstruction,
    ),
}


def pretraining(config: PretrainConfig, **context: Unpack[Context]) -> Pretraining:
    """The configured pretraining."""
    return FRAMEWORKS[config.framework].pretraining(config, **context)
