"""K-means on the features of a pretraining, as a model: how SimSiam and BYOL cluster.

Nothing is trained after the pretraining: the centres are found once, on all images.
"""

from collections.abc import Mapping
from typing import Protocol, Unpack

import torch
from torch import Tensor, nn

from deep_clustering.methods.compute.random import derived
from deep_clustering.methods.learning.clusterer import Clusterer
from deep_clustering.methods.learning.learner import Context, LearnerConfig, Parts
from deep_clustering.methods.learning.state import unpack
from deep_clustering.methods.networks.encoders import wide
from deep_clustering.methods.pretraining.configs import SiameseConfig
from deep_clustering.methods.pretraining.siamese import siamese_encoder


class Clustered(LearnerConfig, Protocol):
    """What is read of the configuration."""

    @property
    def pretrain(self) -> SiameseConfig: ...

    @property
    def clusters(self) -> int: ...

    @property
    def restarts(self) -> int: ...


class Nearest(nn.Module):
    """Features (n, D) to logits (n, K) of the mixture of equal spheres that k-means fits.

    Its weights are equal and its variance, of each coordinate, is the mean squared distance to the
    nearest centre over the D coordinates. The most probable sphere is that of the nearest centre.
    """

    centres: Tensor
    variance: Tensor

    def __init__(self, dimension: int, clusters: int) -> None:
        super().__init__()
        self.register_buffer("centres", torch.zeros(clusters, dimension))
        self.register_buffer("variance", torch.ones(()))

    def squares(self, features: Tensor) -> Tensor:
        """Squared distances (n, K)."""
        return (features[:, None] - self.centres).square().sum(2)

    def forward(self, features: Tensor) -> Tensor:
        return -self.squares(wide(features)) / (2 * self.variance)

    def install(self, centres: Tensor, inertia: Tensor, samples: int) -> None:
        """The centres (K, D), and the sum of squared distances to them of so many samples."""
        self.centres.copy_(centres)
        least = torch.finfo(self.variance.dtype).tiny  # of samples that coincide with centres
        self.variance.copy_(inertia / (samples * centres.shape[1])).clamp_min_(least)


class Centres(Clusterer):
    """K-means on a pretrained encoder; see `Clusterer`.

    Args:
        config: see `Clustered`.
        encoder_state: what the configured pretraining ended with; None leaves random weights.
        context: see `Context`; the images trained on are those whose centres are found.

    Raises:
        ValueError: weights that are not those of the backbone.
    """

    _heads: Mapping[str, Nearest]

    def __init__(
        self,
        config: Clustered,
        *,
        encoder_state: Mapping[str, Tensor] | None = None,
        **context: Unpack[Context],
    ) -> None:
        self.config = config
        pretrain = config.pretrain
        super().__init__(
            config,
            {"encoder": lambda side, replicas: siamese_encoder(pretrain, side, replicas)},
            side=pretrain.side,
            enlargement=pretrain.enlargement,
            mean=pretrain.mean,
            std=pretrain.std,
            **context,
        )
        if encoder_state is not None:
            unpack(encoder_state, {"": self._encoder})
        dimension = self._encoder.dimension
        self._make_heads(("kmeans",), lambda name: Nearest(dimension, config.clusters))
        self._nearest = self._heads["kmeans"]

    def initialise(self) -> dict[str, float]:
        """Finds the centres, by scikit-learn on the first process.

        Returns:
            `inertia`, the mean squared distance to the nearest centre.

        Raises:
            ValueError: fewer images than clusters.
        """
        from sklearn.cluster import KMeans

        config, count = self.config, len(self._index)
        if count < config.clusters:
            raise ValueError(f"clusters: {config.clusters} of {count} images; choose fewer")
        features = self._of_all(self.features)
        found = torch.zeros(0, config.clusters * features.shape[1] + 1, device=self._device)
        if self._replicas.rank == 0:
            kmeans = KMeans(
                config.clusters,
                n_init=config.restarts,
                random_state=derived(self._seed, "k-means") % 2**32,
            ).fit(features.double().cpu().numpy())
            flat = torch.from_numpy(kmeans.cluster_centers_).flatten()
            found = torch.cat([flat, flat.new_tensor([kmeans.inertia_])])[None].to(found)
        row = torch.arange(len(found), device=self._device)
        (whole,) = self._replicas.gather(found, row, 1)
        self._nearest.install(whole[:-1].view(config.clusters, -1), whole[-1], count)
        return {"inertia": float(whole[-1]) / count}

    @torch.no_grad()
    def step(self, indices: Tensor) -> dict[str, Tensor]:
        """Changes nothing: `inertia` of a global batch (B,), as of all images in `initialise`."""
        nearest = self._nearest.squares(self.features(self._mine(indices))).amin(1)
        return {"inertia": self._replicas.total(nearest.sum()) / len(indices)}

    def _parts(self) -> Parts:
        return self._networks(), {}, {}
