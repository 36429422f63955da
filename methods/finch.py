"""FINCH: points joined with their first neighbours, then the groups with theirs, and so on.

Sarfraz, Sharma, Stiefelhagen: "Efficient parameter-free clustering using first neighbor relations",
CVPR 2019 (https://arxiv.org/abs/1902.11266). The same as the authors' package `finch-clust`, which
tests compare it with, but with sums in float64 and one merge at a time where distances are equal:
there the package joins several pairs at once, and fails or returns too few clusters. "DPAC" below
is Yan, Lu, Yan, ECCV 2024, whose Tables 2 and 3 compare with it.
"""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from deep_clustering.methods._fields import check, choice, doc, positive
from deep_clustering.methods._method import Fitted, Method
from deep_clustering.methods.clustering.points import (
    directions,
    in_range,
    need_memory,
    prepared,
    stopwatch,
)

Array = NDArray[Any]
Metric = Literal["cosine", "euclidean"]

_BLOCK = 1 << 22  # distances at a time, 32 MiB


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
    All pairs are compared, in blocks (the package searches approximately above 20,000 points).
    Merges are not limited by their distance: the package means to, but its graph keeps the edges
    that it sets to 0. `info` has the number of `partitions` and the clusters of the `finest`.

    Raises:
        ValueError: also when the finest partition has fewer than K clusters.
    """
    cosine = config.metric == "cosine"
    points = points if config.unit else in_range(points)[0]
    points = prepared(points, unit=config.unit, clusters=config.clusters, cosine=cosine)
    n = len(points)
    if n < 3:  # two points are each other's first neighbours
        raise ValueError(f"FINCH needs at least 3 points, got {n}; use more points.")
    need_memory(16 * points.size, f"FINCH's copy of {n:,} points", "use fewer points")
    with stopwatch() as seconds:
        exact = points.astype(np.float64)
        partitions = _partitions(exact, cosine=cosine)
        counts = [int(labels.max()) + 1 for labels in partitions]
        if counts[0] < config.clusters:
            raise ValueError(
                f"FINCH makes {counts[0]} clusters of these points where "
                f"clusters={config.clusters} was asked for: its finest partition has {counts[0]}; "
                "ask for another number."
            )
        enough = [
            labels for labels, k in zip(partitions, counts, strict=True) if k >= config.clusters
        ]
        labels = _merged(exact, enough[-1], config.clusters, cosine=cosine)
    return Fitted(
        labels=labels,
        info={"partitions": float(len(counts)), "finest": float(counts[0])},
        seconds=seconds[0],
    )


def _first(points: Array, *, cosine: bool) -> tuple[Array, Array]:
    """The first neighbour of each row (n, d) and its distance; of equal ones the first.

    Distances are compared as float32, so that rounding does not decide between equal ones.
    """
    rows = directions(points) if cosine else points
    none: Array = np.logical_not(rows.any(1)) if cosine else np.zeros(len(rows), bool)
    rows = rows - rows.mean(0)
    squares = np.einsum("ij,ij->i", rows, rows)
    near, lengths = np.empty(len(rows), np.int64), np.empty(len(rows), np.float32)
    step = max(1, _BLOCK // len(rows))
    for first in range(0, len(rows), step):
        part = slice(first, first + step)
        found = squares[part, None] + squares - 2 * (rows[part] @ rows.T)
        found = np.maximum(found, 0)
        if cosine:
            found /= 2
            found[:, none] = found[none[part]] = 1.0  # a row of zeros is at a right angle to all
        else:
            np.sqrt(found, out=found)
        one = np.arange(len(found))
        found[one, first + one] = np.inf
        found = found.astype(np.float32)
        near[part] = found.argmin(1)
        lengths[part] = found[one, near[part]]
    return near, lengths


def _partitions(points: Array, *, cosine: bool) -> list[Array]:
    """Labels (n,) of each partition, the finest first."""
    n = len(points)
    found = [_components(np.arange(n), _first(points, cosine=cosine)[0], n)]
    while (count := int(found[-1].max()) + 1) > 1:
        near, _ = _first(_means(points, found[-1]), cosine=cosine)
        joined = _components(np.arange(count), near, count)
        if joined.max() == 0 or count - (joined.max() + 1) <= 1:
            break
        found.append(joined[found[-1]])
    return found


def _merged(points: Array, labels: Array, clusters: int, *, cosine: bool) -> Array:
    """Labels after the nearest pair has been merged until so many clusters are left."""
    for count in range(int(labels.max()) + 1, clusters, -1):
        near, lengths = _first(_means(points, labels), cosine=cosine)
        one = int(lengths.argmin())
        joined = _components(np.array([one]), near[[one]], count)
        labels = joined[labels]
    return labels


def _means(points: Array, labels: Array) -> Array:
    """The mean of each group's points, (K, d)."""
    from scipy.sparse import csr_array

    n, sizes = len(points), np.bincount(labels)
    members = csr_array((np.ones(n), (labels, np.arange(n))), shape=(len(sizes), n))
    found: Array = (members @ points) / sizes[:, None]
    return found


def _components(one: Array, other: Array, n: int) -> Array:
    """(n,) int64: connected components of the graph with these edges, numbered by first member."""
    from scipy.sparse import csr_array
    from scipy.sparse.csgraph import connected_components

    graph = csr_array((np.ones(len(one)), (one, other)), shape=(n, n))
    found: Array = connected_components(graph, directed=True, connection="weak")[1]
    return found.astype(np.int64)


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
