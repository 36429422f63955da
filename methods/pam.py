"""PAM, partitioning around medoids: k-means with clusters represented by one of their points.

Kaufman and Rousseeuw: "Finding Groups in Data", 1990, ch. 2; swaps as in FasterPAM, Schubert and
Rousseeuw: "Fast and eager k-medoids clustering", Information Systems 101, 2021
(https://arxiv.org/abs/2008.05171), by the authors' package `kmedoids`. "DPAC" below is Yan, Lu,
Yan, ECCV 2024, whose Tables 2 and 3 compare with it.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from deep_clustering.methods._fields import check, choice, doc, positive
from deep_clustering.methods._method import Fitted, Method
from deep_clustering.methods.clustering.points import (
    directions,
    in_range,
    need_memory,
    prepared,
    stopwatch,
)

Metric = Literal["euclidean", "sqeuclidean", "cosine"]
_POWER = {"euclidean": 1, "sqeuclidean": 2, "cosine": 0}  # of lengths, in the objective


@dataclass(frozen=True, kw_only=True, slots=True)
class PAMConfig:
    clusters: int = doc(10, "K; the platform sets it from the data set")
    unit: bool = doc(False, "rows divided by their Euclidean length first; DPAC, Table 3")
    metric: Metric = doc("euclidean", "between a point and its medoid; Kaufman and Rousseeuw")
    max_iter: int = doc(100, "rounds over all points at most; kmedoids")

    def __post_init__(self) -> None:
        check(self, [*positive(self, "clusters", "max_iter"), *choice(self, metric=Metric)])


def fit(config: PAMConfig, points: np.ndarray, seed: int) -> Fitted:
    """Clusters of `points` (n, d) around medoids, from random ones; see `Method.fit`.

    Holds the matrix of all distances, 4 n^2 bytes.
    """
    import kmedoids
    from sklearn.metrics import pairwise_distances

    cosine = config.metric == "cosine"
    points, size = (points, 1.0) if config.unit else in_range(points)
    points = prepared(points, unit=config.unit, clusters=config.clusters, cosine=cosine)
    if cosine and (close := directions(points)).dtype == np.float64:
        points = close
    n = len(points)
    need_memory(
        4 * n * n,
        f"PAM's matrix of {n:,} x {n:,} distances",
        "use kmeans, or fewer points",
    )
    if n == config.clusters:  # nothing to swap
        return Fitted(labels=np.arange(n), info={"sweeps": 0.0, "objective": 0.0}, seconds=0.0)
    with stopwatch() as seconds:
        distances = pairwise_distances(points, metric=config.metric).astype(np.float32, copy=False)
        found = kmedoids.fasterpam(
            distances,
            config.clusters,
            max_iter=config.max_iter,
            init="random",
            random_state=seed,
            n_cpu=1,  # with several, the order of swaps is left to chance
        )
    return Fitted(
        labels=np.asarray(found.labels).astype(np.int64),
        info={
            "sweeps": float(found.n_iter),
            "objective": float(found.loss) * size ** _POWER[config.metric],
        },
        seconds=seconds[0],
    )


METHOD = Method(
    summary="PAM, k-medoids from random points (FasterPAM), on all points at once",
    citation=(
        "Kaufman, Rousseeuw. Finding Groups in Data. 1990. "
        "Schubert, Rousseeuw. Fast and Eager k-Medoids Clustering. Information Systems 101, 2021."
    ),
    version=1,
    config=PAMConfig,
    fit=fit,
)
