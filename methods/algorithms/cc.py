"""CC at work: the losses in the order of the paper, then the model.

Eq. and Sec. are those of the paper that `methods.cc` cites; "release" is the authors' code.
"""

import math
from typing import Unpack

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from deep_clustering.methods.cc import CCConfig
from deep_clustering.methods.compute.random import generator, seeded
from deep_clustering.methods.images.contrastive import Contrastive
from deep_clustering.methods.learning.clusterer import Clusterer, negative_entropy
from deep_clustering.methods.learning.learner import Context, Parts, adam, descend
from deep_clustering.methods.networks.encoders import described, wide
from deep_clustering.methods.networks.perceptron import perceptron
from deep_clustering.methods.pretraining.simclr import nt_xent, whole_batch


def cluster_contrast(first: Tensor, second: Tensor, temperature: float) -> Tensor:
    """Eq. 5, 0-d: each cluster's column of one view is told from all other columns.

    Args:
        first, second: (B, K) probabilities of two views of the same images.
        temperature: above 0.

    Returns:
        Mean over the 2K columns; ln(2K - 1) where all of them point the same way.
    """
    columns = [F.normalize(p.T, dim=1) for p in (first, second)]
    return nt_xent(columns[0], columns[1], temperature).mean()


def imbalance(first: Tensor, second: Tensor) -> Tensor:
    """2 ln K - H(Y) of Eq. 6, 0-d: how far the mean predictions (B, K) are from even ones.

    From 0, where both views use all clusters alike, to 2 ln K, where each uses one alone.
    """
    return sum(
        (math.log(p.shape[1]) + negative_entropy(p.mean(0)) for p in (first, second)),
        start=first.new_zeros(()),
    )


class CC(Clusterer):
    """Training of an encoder with both heads from random weights; see `Clusterer`.

    Args:
        config: the method.
        context: see `Context`.

    Raises:
        ValueError: a batch that the processes cannot share.
    """

    def __init__(self, config: CCConfig, **context: Unpack[Context]) -> None:
        self.config = config
        super().__init__(
            config,
            {"encoder": described(config)},
            side=config.side,
            enlargement=config.enlargement,
            frame=config.frame,
            mean=config.mean,
            std=config.std,
            **context,
        )
        self._make_heads(("clustering",), lambda name: self._perceptron(config.clusters))
        self._clustering = self._heads["clustering"]
        with seeded(self._seed, "instance head"):
            self._instance = self._perceptron(config.dimension).to(self._device)
        self._view = Contrastive(
            side=self._side,
            crop_scale=(config.crop_scale, 1.0),
            jitter=config.jitter,
            grey=config.grey,
            blur=config.blur,
            flip=config.flip,
            frame=config.frame,
        )
        self._generator = generator(self._seed, "views")
        modules = (*self._networks().values(), self._instance)
        parameters = [p for module in modules for p in module.parameters()]
        self._optimiser = adam((parameters, config.learning_rate), weight_decay=config.weight_decay)
        self._both = torch.cat([self._rows, self._rows + config.batch_size])

    def _perceptron(self, outside: int) -> nn.Module:
        """A head: as wide as the features, one hidden layer (release)."""
        width = self._encoder.dimension
        return perceptron(width, width, outside, layers=1, norm=False, replicas=self._replicas)

    def step(self, indices: Tensor) -> dict[str, Tensor]:
        """One Adam step on a global batch (Algorithm 1).

        Args:
            indices: (batch_size,) of the images, the same on every rank.

        Returns:
            `instance_loss` (Eq. 3), `cluster_loss` (Eq. 5), `entropy` of the mean prediction, in
            nats, and mean `confidence`, both of the first views.
        """
        config, size = self.config, self.batch_size
        pictures = self._images.take(self._mine(indices))
        views = [self._viewed(self._view, pictures, self._generator) for _ in range(2)]
        features = torch.cat([wide(self._encoded(view)) for view in views])
        projected = F.normalize(self._instance(features), dim=1)
        z = whole_batch(self._replicas, projected, self._both, 2 * size)
        local = self._clustering(features).softmax(1)
        first, second = whole_batch(self._replicas, local, self._both, 2 * size).chunk(2)
        instance = nt_xent(z[:size], z[size:], config.instance_temperature).mean()
        cluster = cluster_contrast(first, second, config.cluster_temperature)
        loss = config.instance_weight * instance + config.cluster_weight * cluster
        loss = loss + config.entropy_weight * imbalance(first, second)
        descend(loss, self._optimiser, self._replicas)
        self._steps += 1
        with torch.no_grad():
            return {
                "instance_loss": instance.detach(),
                "cluster_loss": cluster.detach(),
                "entropy": -negative_entropy(first.mean(0)),
                "confidence": first.amax(1).mean(),
            }

    def _parts(self) -> Parts:
        modules = {**self._networks(), "instance": self._instance}
        return modules, {"optimiser": self._optimiser}, {"generator": self._generator}
