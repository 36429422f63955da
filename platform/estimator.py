"""Clusters of pictures or of points as an estimator of scikit-learn, without Ray or a store.

    from deep_clustering.platform.estimator import PictureClusters

    found = PictureClusters().fit("photos")
    found.labels_, found.predict_proba("more-photos")

It computes what `platform cluster` does, with the same code.
"""

from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClusterMixin
from sklearn.utils.validation import check_is_fitted, validate_data

from deep_clustering.methods.consensus import OF_IMAGES, ConsensusConfig, model
from deep_clustering.platform.errors import InputError
from deep_clustering.platform.search.number import Candidate, numbers, ranked

Array = NDArray[np.float64]


class PictureClusters(ClusterMixin, BaseEstimator):
    """Clusters with confidences, of pictures by a frozen encoder or of points.

    Args:
        clusters: how many; None takes the most stable number, see `search.number`.
        encoder: of pictures, as after `platform cluster --encoder`; None takes the best one that
            needs no download.
        unit: rows divided by their length first; None does so for pictures alone.
        weighting: of the principal components, from 0 to 1; None takes 0.5 for pictures, and 1,
            which leaves distances as they are, for points.
        dimensions, restarts, resamples: of `methods.consensus`.
        random_state: seed of all random choices, a whole number.
        data: where decoded pictures and weights live; None is the default directory.

    Attributes:
        labels_: (n,) the cluster of each.
        probabilities_: (n, K) of each cluster.
        n_clusters_: K.
        stability_: of the clusters beyond that of points without any, see `methods.consensus`.
        candidates_: number of clusters -> that stability, of all that were tried.
        paths_: of the pictures, in the order of the rows; None where a table was given.
    """

    def __init__(
        self,
        clusters: int | None = None,
        *,
        encoder: str | None = None,
        unit: bool | None = None,
        weighting: float | None = None,
        dimensions: int = 50,
        restarts: int = 10,
        resamples: int = 30,
        random_state: int = 0,
        data: str | Path | None = None,
    ) -> None:
        self.clusters = clusters
        self.encoder = encoder
        self.unit = unit
        self.weighting = weighting
        self.dimensions = dimensions
        self.restarts = restarts
        self.resamples = resamples
        self.random_state = random_state
        self.data = data

    def fit(self, X: "ArrayLike | str | Path", y: object = None) -> Self:
        """Find the clusters.

        Args:
            X: a folder of pictures, uint8 pictures (n, H, W, 3), or points (n, d).
            y: plays no part.

        Raises:
            ValueError: points or pictures that cannot be clustered so.
        """
        x, pictures = self._points(X, reset=True)
        usual = OF_IMAGES if pictures else ConsensusConfig()
        unit = usual.unit if self.unit is None else self.unit
        self.offset_ = np.zeros(x.shape[1]) if unit else x.mean(0)
        tried = [self.clusters] if self.clusters is not None else numbers(len(x))
        if not tried:
            raise ValueError(
                f"n_samples={len(x)} are too few to find the number of clusters; give `clusters`."
            )
        models = {
            count: model(
                ConsensusConfig(
                    clusters=count,
                    unit=unit,
                    weighting=usual.weighting if self.weighting is None else self.weighting,
                    dimensions=self.dimensions,
                    restarts=self.restarts,
                    resamples=self.resamples,
                ),
                (x - self.offset_).astype(np.float32),
                self.random_state,
            )
            for count in tried
        }
        candidates = [
            Candidate.of(count, {"run_id": "", **one.fitted.info}) for count, one in models.items()
        ]
        best = ranked(candidates)[0]
        self.model_ = models[best.clusters]
        self.candidates_ = {one.clusters: one.excess for one in candidates}
        self.n_clusters_, self.stability_ = best.clusters, best.excess
        self.labels_ = self.model_.fitted.labels
        self.probabilities_ = self.model_.fitted.probabilities
        return self

    def predict_proba(self, X: "ArrayLike | str | Path") -> Array:
        """Probabilities (m, K) of the clusters, of new pictures or points; as `fit` takes them."""
        check_is_fitted(self)
        x, _ = self._points(X, reset=False)
        found: Array = self.model_.probabilities((x - self.offset_).astype(np.float32))
        return found

    def predict(self, X: "ArrayLike | str | Path") -> NDArray[np.int64]:
        """The most probable cluster (m,) of each."""
        found: NDArray[np.int64] = self.predict_proba(X).argmax(1)
        return found

    # ---- what is given

    def _points(self, given: "ArrayLike | str | Path", *, reset: bool) -> tuple[Array, bool]:
        """Points (n, d) float64, and whether they were pictures."""
        pictures = isinstance(given, (str, Path)) or np.ndim(given) == 4
        if pictures:
            given = self._seen(given, reset=reset)
        elif reset:
            self.paths_: tuple[str, ...] | None = None
        x: Array = validate_data(
            self, given, reset=reset, dtype=np.float64, ensure_min_samples=2 if reset else 1
        )
        return x, pictures

    def _seen(self, given: "ArrayLike | str | Path", *, reset: bool) -> NDArray[np.float32]:
        """Features (n, D) of pictures by the encoder."""
        import torch

        from deep_clustering.methods.images.images import Images
        from deep_clustering.platform.data import dataset as datasets
        from deep_clustering.platform.data.dataset import ImageSet, Source
        from deep_clustering.platform.encoders import names, network, weights
        from deep_clustering.platform.evaluation.finished import device

        root = datasets.default_root() if self.data is None else Path(self.data)
        named = names.find(self.encoder or weights.default(root))
        paths: tuple[str, ...] | None = None
        sizes: NDArray[np.int64] | None = None
        if isinstance(given, (str, Path)):
            opened = datasets.open(Source(f"folder:{given}", root, labels=False))
            assert isinstance(opened, ImageSet)
            pixels, paths, sizes = opened.images, opened.paths, opened.sizes
        else:
            array = np.asarray(given)
            if array.dtype != np.uint8 or array.shape[3] != 3 or array.shape[1] != array.shape[2]:
                raise InputError(
                    "pictures are uint8 of shape (n, H, H, 3), squares with three channels, got "
                    f"{array.dtype} {array.shape}; name a folder for pictures of any shape."
                )
            pixels = np.ascontiguousarray(array.transpose(0, 3, 1, 2))
        if reset:
            self.paths_ = paths
        where = device()
        images = Images(pixels, mean=(0.5,) * 3, std=(0.5,) * 3, device=where, sizes=sizes)
        loaded = network.load(named, weights.obtain(named, root))
        seeing = network.Seeing(named, loaded, where)
        index = torch.arange(len(images))
        found: NDArray[np.float32] = torch.cat(
            list(network.features(seeing, images, index))
        ).numpy()
        return found
