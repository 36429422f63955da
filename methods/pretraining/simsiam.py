"""SimSiam: the target of a view is the projection of the other one, without gradient.

Chen and He, "Exploring simple Siamese representation learning", CVPR 2021
(https://arxiv.org/abs/2011.10566), as the comparison of CDC's Table 10 trains it.
"""

from typing import Any, Unpack

from torch import Tensor

from deep_clustering.methods.compute.random import seeded
from deep_clustering.methods.learning.learner import Context, sgd
from deep_clustering.methods.networks.batchnorm import BatchNorm
from deep_clustering.methods.networks.encoders import place
from deep_clustering.methods.networks.perceptron import perceptron
from deep_clustering.methods.pretraining.configs import SimSiamConfig
from deep_clustering.methods.pretraining.siamese import Siamese, siamese_view


class SimSiam(Siamese):
    """Training on two views of one kind by SGD; see `Siamese`."""

    config: SimSiamConfig

    def __init__(self, config: SimSiamConfig, **context: Unpack[Context]) -> None:
        super().__init__(config, **context)
        view = siamese_view(config, self._side, blur=config.blur)
        self._views = (view, view)
        hidden, dimension = config.projector_hidden, config.projector_dimension
        with seeded(self._seed, "projector"):
            projector = perceptron(
                self._encoder.dimension,
                hidden,
                dimension,
                layers=config.projector_layers,
                norm=True,
                replicas=self._replicas,
            )
        if config.projection_norm:
            projector.append(BatchNorm(dimension, replicas=self._replicas).requires_grad_(False))
        with seeded(self._seed, "predictor"):
            predictor = perceptron(
                dimension,
                config.predictor_hidden,
                dimension,
                layers=1,
                norm=True,
                replicas=self._replicas,
            )
        self._projector = place(projector, self._device)
        self._predictor = place(predictor, self._device)
        learnt = [*self._encoder.parameters(), *self._projector.parameters()]
        groups = [
            {"params": [p for p in learnt if p.requires_grad]},
            {"params": [*self._predictor.parameters()]},
        ]
        self._optimiser = sgd(
            groups, self._peak, momentum=config.sgd_momentum, weight_decay=config.weight_decay
        )

    def _scheduled(self) -> list[dict[str, Any]]:
        groups = super()._scheduled()
        return groups if self.config.predictor_decays else groups[:1]

    def _targets(self, views: list[Tensor], projections: list[Tensor]) -> list[Tensor]:
        return [z.detach() for z in projections]

    def _loss(self, shares: Tensor) -> Tensor:
        """Eq. 2: the mean over both directions, from -1 to 1."""
        return shares.sum()
