"""BYOL: the target of a view is the projection of the other one by a slowly moving network.

Grill et al., "Bootstrap your own latent", NeurIPS 2020 (https://arxiv.org/abs/2006.07733), as the
comparison of CDC's Table 10 trains it.
"""

import copy
from typing import Unpack

import torch
from torch import Tensor, nn

from deep_clustering.methods.compute.random import seeded
from deep_clustering.methods.learning.lars import LARS
from deep_clustering.methods.learning.learner import Context
from deep_clustering.methods.networks.encoders import place
from deep_clustering.methods.networks.perceptron import perceptron
from deep_clustering.methods.pretraining.configs import BYOLConfig
from deep_clustering.methods.pretraining.moco import momentum
from deep_clustering.methods.pretraining.siamese import Siamese, siamese_view


class BYOL(Siamese):
    """Training on two views of different kinds by LARS; see `Siamese`."""

    config: BYOLConfig

    def __init__(self, config: BYOLConfig, **context: Unpack[Context]) -> None:
        super().__init__(config, **context)
        self._views = (
            siamese_view(config, self._side, blur=config.blur),
            siamese_view(config, self._side, blur=config.second_blur, solarise=config.solarise),
        )
        dimension = config.projector_dimension
        self._projector = self._perceptron(
            "projector", self._encoder.dimension, config.projector_hidden
        )
        self._predictor = self._perceptron("predictor", dimension, config.predictor_hidden)
        self._target_encoder = copy.deepcopy(self._encoder).requires_grad_(False)
        self._target_projector = copy.deepcopy(self._projector).requires_grad_(False)
        self._online: list[Tensor] = [*self._encoder.parameters(), *self._projector.parameters()]
        self._averaged: list[Tensor] = [
            *self._target_encoder.parameters(),
            *self._target_projector.parameters(),
        ]
        self._optimiser = LARS(
            [*self._online, *self._predictor.parameters()],
            self._peak,
            momentum=config.sgd_momentum,
            weight_decay=config.weight_decay,
            trust=config.trust,
            clip=config.clip_trust,
        )

    def _perceptron(self, name: str, inside: int, hidden: int) -> nn.Module:
        with seeded(self._seed, name):
            network = perceptron(
                inside,
                hidden,
                self.config.projector_dimension,
                layers=1,
                norm=True,
                replicas=self._replicas,
            )
        return place(network, self._device)

    def _targets(self, views: list[Tensor], projections: list[Tensor]) -> list[Tensor]:
        return [self._projected(self._target_encoder, self._target_projector, v) for v in views]

    def _loss(self, shares: Tensor) -> Tensor:
        """Eq. 2 of both directions, from 0 to 8."""
        return 4 * (1 / self.batch_size + shares).sum()

    @torch.no_grad()
    def _follow(self) -> None:
        """Moves the target's parameters towards the online ones; buffers are each one's own."""
        kept = momentum(
            self._steps,
            steps=self._total,
            start=self.config.momentum_start,
            end=self.config.momentum_end,
        )
        torch._foreach_lerp_(self._averaged, self._online, 1 - kept)

    def _networks(self) -> dict[str, nn.Module]:
        return {
            **super()._networks(),
            "target_encoder": self._target_encoder,
            "target_projector": self._target_projector,
        }
