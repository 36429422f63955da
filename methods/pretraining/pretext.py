"""SimCLR as SCAN trains it: its pretext task.

Chen et al., "A simple framework for contrastive learning of visual representations", ICML 2020
(https://arxiv.org/abs/2002.05709), with what the authors of SCAN (ECCV 2020,
https://arxiv.org/abs/2005.12320) do otherwise: two views of one kind, views of the first kind alone
as anchors, a projector of one hidden layer without batch normalisation, SGD with a cosine.
"Release" is SCAN's. What DPAC trains is in `simclr`.
"""

import math
from typing import Unpack

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from deep_clustering.methods.compute.random import seeded
from deep_clustering.methods.compute.replicas import Replicas
from deep_clustering.methods.images.contrastive import Contrastive
from deep_clustering.methods.learning.learner import Context, descend, evaluation, sgd
from deep_clustering.methods.networks.encoders import (
    Encoder,
    encoder,
    features_of,
    place,
    wide,
)
from deep_clustering.methods.networks.perceptron import perceptron
from deep_clustering.methods.pretraining.configs import PretextConfig
from deep_clustering.methods.pretraining.pretraining import Pretraining
from deep_clustering.methods.pretraining.simclr import nt_xent, sphere, whole_batch


def learning_rate(epoch: int, *, epochs: int, peak: float, final: float) -> float:
    """Learning rate of an epoch, counted from 0: a cosine from `peak` to `final` times it."""
    low = peak * final
    return low + (peak - low) * (1 + math.cos(math.pi * epoch / epochs)) / 2


def anchored(first: Tensor, second: Tensor, temperature: float, symmetric: bool) -> Tensor:
    """Contrastive loss of the first views, or of both if `symmetric`, 0-d.

    Args:
        first, second: (B, d), unit rows; two views of the same images.
        temperature: above 0.
        symmetric: whether the second views are anchors too.

    Returns:
        Mean over the anchors; ln(2B - 1) where all views are alike.
    """
    losses = nt_xent(first, second, temperature)
    return losses.mean() if symmetric else losses[: len(first)].mean()


def pretext_view(config: PretextConfig, side: int) -> Contrastive:
    """The view of this configuration, which both views of an image are draws of."""
    return Contrastive(
        side=side,
        crop_scale=(config.crop_scale, 1.0),
        jitter=config.jitter,
        grey=config.grey,
        blur=0.0,
        flip=config.flip,
        frame=config.frame,
    )


def pretext_encoder(config: PretextConfig, side: int, replicas: Replicas) -> Encoder:
    """The encoder of this configuration, with fresh weights."""
    return encoder(
        config.backbone, side=side, replicas=replicas, stem=config.stem, stem_weights="fan-out"
    )


class Pretext(Pretraining):
    """Contrastive training of an encoder and a projector; see `Pretraining`."""

    def __init__(self, config: PretextConfig, **context: Unpack[Context]) -> None:
        super().__init__(
            config,
            lambda side, replicas: pretext_encoder(config, side, replicas),
            enlargement=config.enlargement,
            **context,
        )
        self.config = config
        self._view = pretext_view(config, self._side)
        with seeded(self._seed, "projector"):
            self._projector = perceptron(
                self._encoder.dimension,
                config.projector_hidden,
                config.projector_dimension,
                layers=1,
                norm=config.projector_norm,
                replicas=self._replicas,
            )
        place(self._projector, self._device)
        self._optimiser = sgd(
            [*self._encoder.parameters(), *self._projector.parameters()],
            config.learning_rate,
            momentum=config.sgd_momentum,
            weight_decay=config.weight_decay,
        )
        self._both = torch.cat([self._rows, self._rows + config.batch_size])

    def step(self, indices: Tensor) -> dict[str, Tensor]:
        """One SGD step on a global batch.

        Args:
            indices: (batch_size,) of the images, the same on every rank.

        Returns:
            `loss`, and `accuracy` and `spread` as in `SimCLR.step`.
        """
        config, size = self.config, self.batch_size
        pictures = self._images.take(self._mine(indices))
        views = torch.cat([self._viewed(self._view, pictures, self._generator) for _ in range(2)])
        z = whole_batch(self._replicas, self._projected(views), self._both, 2 * size)
        loss = anchored(z[:size], z[size:], config.temperature, config.symmetric)
        for group in self._optimiser.param_groups:
            group["lr"] = learning_rate(
                self._steps // self._per_epoch,
                epochs=config.epochs,
                peak=config.learning_rate,
                final=config.final_rate,
            )
        descend(loss, self._optimiser, self._replicas)
        self._steps += 1
        with torch.no_grad():
            return {"loss": loss.detach(), **sphere(z)}

    @torch.no_grad()
    def embedding(self, indices: Tensor) -> Tensor:
        """Projections (n, d) of clean views, unit rows, in evaluation mode."""
        if not self.config.mine_projection:
            return self.features(indices)
        with evaluation(*self._networks().values()):
            return torch.cat([self._projected(view) for view in self._clean_views(indices)])

    def _projected(self, view: Tensor) -> Tensor:
        with self._autocast():
            projected = self._projector(features_of(self._encoder, view))
        return F.normalize(wide(projected), dim=1)

    def _networks(self) -> dict[str, nn.Module]:
        return {"encoder": self._encoder, "projector": self._projector}
