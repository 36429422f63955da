"""What SimSiam and BYOL share: of two views, a predictor tells one's projection from the other's.

There are no negatives: that targets carry no gradient, and the predictor, keep the projections
from collapsing. `simsiam` and `byol` have what differs: targets, networks, optimiser.
"""

from abc import abstractmethod
from typing import Any, Unpack

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from deep_clustering.methods.compute.replicas import Replicas
from deep_clustering.methods.images.contrastive import Contrastive
from deep_clustering.methods.learning.learner import Context, descend
from deep_clustering.methods.networks.encoders import Encoder, encoder, features_of, wide
from deep_clustering.methods.pretraining.configs import SiameseConfig
from deep_clustering.methods.pretraining.moco import learning_rate
from deep_clustering.methods.pretraining.pretraining import Pretraining
from deep_clustering.methods.pretraining.simclr import spread


def disagreement(predictions: Tensor, targets: Tensor) -> Tensor:
    """Negative cosine (n,) of each prediction (n, d) and its target (n, d), which gets no gradient.

    From -1, where they point the same way; SimSiam, Eq. 1. BYOL's Eq. 2 is 2 plus twice it.
    """
    return -F.cosine_similarity(predictions, targets.detach(), dim=1)


def siamese_encoder(config: SiameseConfig, side: int, replicas: Replicas) -> Encoder:
    """The encoder of this configuration, with fresh weights."""
    return encoder(config.backbone, side=side, replicas=replicas, stem_padding=config.stem_padding)


def siamese_view(
    config: SiameseConfig, side: int, *, blur: float, solarise: float = 0.0
) -> Contrastive:
    """A view of this configuration."""
    return Contrastive(
        side=side,
        crop_scale=(config.crop_scale, 1.0),
        jitter=config.jitter,
        jitter_strength=(0.4, 0.4, config.saturation, 0.1),
        grey=config.grey,
        blur=blur,
        solarise=solarise,
        flip=config.flip,
        frame=config.frame,
    )


class Siamese(Pretraining):
    """Training of an encoder, a projector and a predictor on two views; see `Pretraining`.

    Subclasses make `_views`, `_projector`, `_predictor` and `_optimiser` when they are built.
    """

    _views: tuple[Contrastive, Contrastive]
    _projector: nn.Module
    _predictor: nn.Module

    def __init__(self, config: SiameseConfig, **context: Unpack[Context]) -> None:
        super().__init__(
            config,
            lambda side, replicas: siamese_encoder(config, side, replicas),
            enlargement=config.enlargement,
            **context,
        )
        self.config = config
        self._peak = config.learning_rate * config.batch_size / 256
        self._total = self._per_epoch * config.epochs

    def step(self, indices: Tensor) -> dict[str, Tensor]:
        """One optimiser step on a global batch.

        Args:
            indices: (batch_size,) of the images, the same on every rank.

        Returns:
            `loss`, and `spread` as in `SimCLR.step`, of the projections of the first views.
        """
        config, size = self.config, self.batch_size
        pictures = self._images.take(self._mine(indices))
        views = [self._viewed(view, pictures, self._generator) for view in self._views]
        projections = [self._projected(self._encoder, self._projector, view) for view in views]
        with self._autocast():
            predictions = [wide(self._predictor(z)) for z in projections]
        with torch.no_grad():
            targets = self._targets(views, projections)
        first = disagreement(predictions[0], targets[1])
        second = disagreement(predictions[1], targets[0])
        # Divided by the global number, so that gradients add up over the ranks.
        loss = self._loss((first + second) / (2 * size))
        rate = learning_rate(
            self._steps,
            steps=self._total,
            warmup=self._per_epoch * config.warmup_epochs,
            start=config.warmup_rate,
            peak=self._peak,
        )
        for group in self._scheduled():
            group["lr"] = rate
        descend(loss, self._optimiser, self._replicas)
        self._follow()
        self._steps += 1
        with torch.no_grad():
            z = self._replicas.gather(F.normalize(projections[0], dim=1), self._rows, size)
            return {"loss": self._replicas.total(loss), "spread": spread(z)}

    def _projected(self, network: nn.Module, projector: nn.Module, view: Tensor) -> Tensor:
        with self._autocast():
            projected: Tensor = projector(features_of(network, view))
        return wide(projected)

    @abstractmethod
    def _targets(self, views: list[Tensor], projections: list[Tensor]) -> list[Tensor]:
        """What is to be predicted of each view (n, d), without gradient."""

    @abstractmethod
    def _loss(self, shares: Tensor) -> Tensor:
        """This rank's term of the loss, 0-d, from its shares (n,) of the mean disagreement."""

    def _scheduled(self) -> list[dict[str, Any]]:
        """The groups of parameters whose learning rate follows the schedule."""
        return self._optimiser.param_groups

    def _follow(self) -> None:
        """After the optimiser's step."""

    def _handed_over(self) -> dict[str, nn.Module]:
        """The encoder, all that others start from."""
        return {"": self._encoder}

    def _networks(self) -> dict[str, nn.Module]:
        return {
            "encoder": self._encoder,
            "projector": self._projector,
            "predictor": self._predictor,
        }
