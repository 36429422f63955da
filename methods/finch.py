"""FINCH: points joined with their first neighbours, then the groups with theirs, and so on.

Sarfraz, Sharma, Stiefelhagen: "Efficient parameter-free clustering using first neighbor relations",
CVPR 2019 (https://arxiv.org/abs/1902.11266), by the authors' package `finch-clust`. "DPAC" below is
Yan, Lu, Yan, ECCV 2024, whose Tables 2 and 3 compare with it.
"""

import contextlib
import io
import warnings
from dataclasses import dataclass
from typing import Literal

import numpy as np

from deep_clustering.methods._fields import check, choice, doc, positive
from deep_clustering.methods._method import Fitted, Method
from deep_clustering.methods.clustering.points import nearest, need_memory, prepared, stopwatch

Metric = Literal["cosine", "euclidean"]

_EXACT = 20_000  # points up to which the package compares all pairs; its own limit


@dataclass(frozen=True, kw_only=True, slots=True)
class FINCHConfig:
    clusters: int = doc(10, "K; the platform sets it from the data set")
    unit: bool = doc(False, "rows divided by their Euclidean length first; DPAC, Table 3")
    metric: Metric = doc("cosine", "of first neighbours; finch-clust, unstated in DPAC")

    def __post_init__(self) -> None:
        check(self, [*positive(self, "clusters"), *choice(self, metric=Metric)])


def fit(config: FINCHConfig, points: np.ndarray, seed: int) -> Fitted:
    """Exactly K clusters of `points` (n, d); the seed plays no part; see `Method.fit`.

    From the coarsest partition with at least K clusters, the nearest pairs are merged one by one.
    Above 20,000 points the first neighbours are found in blocks, and merges are not limited by
    their largest distance (as in the package, whose search is approximate there). `info` has the
    number of `partitions` and the clusters of the `finest`.

    Raises:
        ValueError: also when the finest partition has fewer than K clusters.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "pynndescent is not installed", UserWarning)
        from finch import FINCH

    points = prepared(points, unit=config.unit, clusters=config.clusters)
    n = len(points)
    if n < 3:  # two points are each other's first neighbours
        raise ValueError(f"FINCH needs at least 3 points, got {n}; use more points.")
    first = None
    if n <= _EXACT:
        need_memory(16 * n * n, f"FINCH's matrices of {n:,} x {n:,} distances", "use fewer points")
    with stopwatch() as seconds, contextlib.redirect_stdout(io.StringIO()):
        if n > _EXACT:
            first = nearest(points, 1, config.metric)[:, 0].astype(np.int32)
        _, sizes, labels = FINCH(
            points,
            req_clust=config.clusters,
            initial_rank=first,
            distance=config.metric,
            ann_threshold=n,
            verbose=False,
        )
    found = np.unique(labels, return_inverse=True)[1]
    count = int(found.max()) + 1
    if count != config.clusters:
        raise ValueError(
            f"FINCH makes {count} clusters of these points where clusters={config.clusters} was "
            f"asked for: its finest partition has {sizes[0]}; ask for another number."
        )
    return Fitted(
        labels=found.astype(np.int64),
        info={"partitions": float(len(sizes)), "finest": float(sizes[0])},
        seconds=seconds[0],
    )


METHOD = Method(
    summary="FINCH, merges of first neighbours down to K clusters, on all points at once",
    citation=(
        "Sarfraz, Sharma, Stiefelhagen. Efficient Parameter-free Clustering Using First Neighbor "
        "Relations. CVPR 2019. https://arxiv.org/abs/1902.11266"
    ),
    version=1,
    config=FINCHConfig,
    fit=fit,
)
