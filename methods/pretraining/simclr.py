"""SimCLR, the contrastive pretraining of DPAC's encoder.

Chen et al., "A simple framework for contrastive learning of visual representations", ICML 2020
(https://arxiv.org/abs/2002.05709), as DPAC trains it (Yan, Lu and Yan, ECCV 2024, Sec. 4.2): one
weakly and one strongly augmented view of each image, a projector of three layers, constant rate.
"""

import math
from collections.abc import Mapping
from functools import partial
from typing import Unpack

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from deep_clustering.methods.compute.random import seeded
from deep_clustering.methods.compute.replicas import Replicas
from deep_clustering.methods.images.contrastive import Contrastive
from deep_clustering.methods.images.strong import Strong
from deep_clustering.methods.learning.learner import Context, adam, descend
from deep_clustering.methods.networks.encoders import (
    Encoder,
    encoder,
    features_of,
    place,
    wide,
)
from deep_clustering.methods.networks.perceptron import perceptron
from deep_clustering.methods.pretraining.configs import SimCLRConfig
from deep_clustering.methods.pretraining.pretraining import Pretraining


def nt_xent(
    first: Tensor, second: Tensor, temperature: float, log_weights: Tensor | None = None
) -> Tensor:
    """Contrastive loss of each view of each image (SimCLR, Eq. 1).

    Args:
        first, second: (B, d), unit rows; two views of the same images.
        temperature: above 0.
        log_weights: (B, B) logarithms of what each pair of images counts in the denominators, the
            positive pair on the diagonal; None counts every pair once.

    Returns:
        (2B,) losses -log(e^(z.z+/T) / sum of w e^(z.z'/T)), those of the first views first; the sum
        is over all views but the anchor itself. ln(2B - 1) where all views are alike.
    """
    both = torch.cat([first, second])
    logits = both @ both.T / temperature
    positives = torch.cat([logits.diagonal(len(first)), logits.diagonal(-len(first))])
    if log_weights is not None:
        logits = logits + log_weights.repeat(2, 2)
    itself = torch.eye(len(both), dtype=torch.bool, device=both.device)
    return logits.masked_fill(itself, -math.inf).logsumexp(1) - positives


def whole_batch(replicas: Replicas, local: Tensor, rows: Tensor, batch: int) -> Tensor:
    """The global (batch, ...) of which every rank holds `local` at `rows`, with its gradient.

    For a loss of all pairs that every rank computes in full: the gradients of its own rows are then
    complete, and the gradients of parameters, summed over the ranks, those of one process.
    """
    if replicas.world == 1:
        return local
    return replicas.gather(local, rows, batch).index_copy(0, rows, local)


def weak_view(config: SimCLRConfig, side: int) -> Contrastive:
    """SimCLR's view, the first one."""
    return Contrastive(
        side=side,
        crop_scale=(config.crop_scale, 1.0),
        jitter=config.jitter,
        jitter_strength=(0.4, 0.4, 0.2, 0.1),
        grey=config.grey,
        blur=config.blur,
        flip=config.flip,
        frame=config.frame,
    )


def strong_view(config: SimCLRConfig, side: int) -> Strong:
    """The view of random operations, the second one."""
    return Strong(
        side=side,
        crop_scale=(config.strong_crop, 1.0),
        flip=config.flip,
        operations=config.operations,
        cutout=config.cutout,
        frame=config.frame,
    )


def simclr_encoder(config: SimCLRConfig, side: int, replicas: Replicas) -> Encoder:
    """The encoder of this configuration, with fresh weights."""
    return encoder(
        config.backbone,
        side=side,
        replicas=replicas,
        stem_padding=config.stem_padding,
        stem=config.stem,
        stem_weights=config.stem_weights,
    )


def projector(config: SimCLRConfig, dimension: int, replicas: Replicas) -> nn.Sequential:
    """Features (n, D) to what is contrasted (n, d): three layers, two batch normalisations."""
    return perceptron(
        dimension,
        config.projector_hidden,
        config.projector_dimension,
        layers=2,
        norm=True,
        replicas=replicas,
    )


class SimCLR(Pretraining):
    """Contrastive training of an encoder and a projector; see `Pretraining`."""

    def __init__(self, config: SimCLRConfig, **context: Unpack[Context]) -> None:
        super().__init__(
            config,
            partial(simclr_encoder, config),
            enlargement=config.enlargement,
            frame=config.frame,
            **context,
        )
        self.config = config
        self._views = (weak_view(config, self._side), strong_view(config, self._side))
        with seeded(self._seed, "projector"):
            self._projector = projector(config, self._encoder.dimension, self._replicas)
        place(self._projector, self._device)
        trained = [*self._encoder.parameters(), *self._projector.parameters()]
        self._optimiser = adam((trained, config.learning_rate), weight_decay=config.weight_decay)
        self._both = torch.cat([self._rows, self._rows + config.batch_size])

    def step(self, indices: Tensor) -> dict[str, Tensor]:
        """One Adam step on a global batch.

        Args:
            indices: (batch_size,) of the images, the same on every rank.

        Returns:
            `loss`; `accuracy`, the share of views nearer to their other view than to any of another
            image; and `spread`, as in MoCo: 1 when the views fill the sphere, 0 in a point.
        """
        pictures = self._images.take(self._mine(indices))
        views = torch.cat([self._viewed(view, pictures, self._generator) for view in self._views])
        with self._autocast():
            local = self._projector(features_of(self._encoder, views))
        size = self.batch_size
        z = whole_batch(self._replicas, F.normalize(wide(local), dim=1), self._both, 2 * size)
        loss = nt_xent(z[:size], z[size:], self.config.temperature).mean()
        descend(loss, self._optimiser, self._replicas, self._loss_scale)
        self._steps += 1
        with torch.no_grad():
            return {"loss": loss.detach(), **sphere(z)}

    def _networks(self) -> dict[str, nn.Module]:
        return {"encoder": self._encoder, "projector": self._projector}


def sphere(z: Tensor) -> Mapping[str, Tensor]:
    """Accuracy and spread of the views z (2B, d)."""
    size = len(z) // 2
    similarity = (z @ z.T).fill_diagonal_(-2.0)
    other = torch.arange(2 * size, device=z.device).roll(size)
    hits = similarity.argmax(1) == other
    return {"accuracy": hits.float().mean(), "spread": spread(z)}


def spread(z: Tensor) -> Tensor:
    """Of unit rows (n, d), 0-d: 1 when they fill the sphere, 0 when they have collapsed."""
    return z.std(0, correction=0).mean() * math.sqrt(z.shape[1])
