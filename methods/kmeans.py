"""k-means: Lloyd's algorithm from random points.

Lloyd: "Least squares quantization in PCM", IEEE Transactions on Information Theory 28, 1982.
Carried out by scikit-learn. "DPAC" below is Yan, Lu, Yan, ECCV 2024, whose Tables 2 and 3 compare
with it.
"""

from dataclasses import dataclass

import numpy as np

from deep_clustering.methods._fields import check, doc, not_negative, positive
from deep_clustering.methods._method import Fitted, Method
from deep_clustering.methods.clustering.points import in_range, precise, prepared, stopwatch


@dataclass(frozen=True, kw_only=True, slots=True)
class KMeansConfig:
    clusters: int = doc(10, "K; the platform sets it from the data set")
    unit: bool = doc(False, "rows divided by their Euclidean length first; DPAC, Table 3")
    restarts: int = doc(1, 'starts, the best by inertia is kept; DPAC: "initialized randomly"')
    max_iter: int = doc(300, "rounds at most; scikit-learn")
    tol: float = doc(
        1e-4, "movement of the centres to stop at, relative to the variance; scikit-learn"
    )

    def __post_init__(self) -> None:
        rules = positive(self, "clusters", "restarts", "max_iter")
        check(self, [*rules, *not_negative(self, "tol")])


def fit(config: KMeansConfig, points: np.ndarray, seed: int) -> Fitted:
    """Clusters of `points` (n, d) with the least inertia found; see `Method.fit`."""
    from sklearn.cluster import KMeans

    points, size = (points, 1.0) if config.unit else in_range(points)
    points = precise(prepared(points, unit=config.unit, clusters=config.clusters))
    estimator = KMeans(
        config.clusters,
        init="random",
        n_init=config.restarts,
        max_iter=config.max_iter,
        tol=config.tol,
        random_state=seed,
    )
    with stopwatch() as seconds:
        estimator.fit(points)
    return Fitted(
        labels=estimator.labels_.astype(np.int64),
        info={"sweeps": float(estimator.n_iter_), "objective": float(estimator.inertia_) * size**2},
        seconds=seconds[0],
    )


METHOD = Method(
    summary="k-means from random points, on all points at once",
    citation="Lloyd. Least squares quantization in PCM. IEEE Trans. Information Theory 28, 1982.",
    version=1,
    config=KMeansConfig,
    fit=fit,
)
