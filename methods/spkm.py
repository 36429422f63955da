"""SPKM, spherical k-means: k-means of directions, by cosine similarity.

Dhillon and Modha: "Concept decompositions for large sparse text data using clustering", Machine
Learning 42, 2001. "DPAC" below is Yan, Lu, Yan, ECCV 2024, whose Tables 2 and 3 compare with it.
"""

from dataclasses import dataclass

import numpy as np

from deep_clustering.methods._fields import check, doc, not_negative, positive
from deep_clustering.methods._method import Fitted, Method
from deep_clustering.methods.clustering.points import prepared, stopwatch


@dataclass(frozen=True, kw_only=True, slots=True)
class SPKMConfig:
    clusters: int = doc(10, "K; the platform sets it from the data set")
    max_iter: int = doc(300, "rounds at most")
    tol: float = doc(0.0, "growth of the mean cosine to stop at; Dhillon and Modha")

    def __post_init__(self) -> None:
        check(self, [*positive(self, "clusters", "max_iter"), *not_negative(self, "tol")])


def fit(config: SPKMConfig, points: np.ndarray, seed: int) -> Fitted:
    """Clusters of the directions of `points` (n, d), from random ones; see `Method.fit`.

    By turns each point goes to the centre of largest cosine and each centre to the direction of
    its points' sum; the mean cosine never falls. A cluster that loses its last point takes the one
    that fits worst where it is. A row of zeros has cosine 0 to everything.
    """
    points = prepared(points, unit=True, clusters=config.clusters)
    n, k = len(points), config.clusters
    before, sweeps = -np.inf, 0
    with stopwatch() as seconds:
        centres = points[np.random.default_rng(seed).choice(n, k, replace=False)]
        while True:
            cosines = points @ centres.T
            labels = cosines.argmax(1)
            best = cosines[np.arange(n), labels]
            quality = float(best.mean(dtype=np.float64))
            if sweeps == config.max_iter or quality - before <= config.tol:
                break
            before, sweeps = quality, sweeps + 1
            centres = _centres(points, labels, best, k)
    return Fitted(
        labels=labels,
        info={"sweeps": float(sweeps), "objective": quality},
        seconds=seconds[0],
    )


def _centres(points: np.ndarray, labels: np.ndarray, best: np.ndarray, k: int) -> np.ndarray:
    """(K, d) directions of the sums of each cluster's points."""
    sizes = np.bincount(labels, minlength=k)
    lost = np.flatnonzero(sizes == 0)
    if len(lost):
        spare = np.flatnonzero(sizes[labels] > 1)
        worst = spare[np.argsort(best[spare], kind="stable")[: len(lost)]]
        labels = labels.copy()
        labels[worst] = lost[: len(worst)]
    members = np.zeros((k, len(points)), points.dtype)
    members[labels, np.arange(len(points))] = 1
    sums = members @ points
    lengths = np.linalg.norm(sums, axis=1, keepdims=True)
    found: np.ndarray = sums / np.where(lengths == 0, 1, lengths)
    return found


METHOD = Method(
    summary="Spherical k-means from random points, on all points at once",
    citation=(
        "Dhillon, Modha. Concept Decompositions for Large Sparse Text Data Using Clustering. "
        "Machine Learning 42, 2001."
    ),
    version=1,
    config=SPKMConfig,
    fit=fit,
)
