"""What the features of a model can do before it is trained."""

import warnings

import numpy as np
from numpy.typing import ArrayLike

from deep_clustering.platform.metrics.agreement import match
from deep_clustering.platform.metrics.arrays import Array, integers
from deep_clustering.platform.metrics.metric import PERCENT, Metric

#: Above this many images k-means runs in faiss, below it in scikit-learn.
FEW = 20_000


def kmeans_accuracy(
    features: ArrayLike, labels: ArrayLike | None, clusters: int, seed: int = 0
) -> float | None:
    """Accuracy of k-means on frozen features: tells weights that were never loaded from real ones.

    Args:
        features: (N, D), used as they are (CDC, App. A: raw features of the backbone).
        labels: (N,), or None.
        clusters: C.
        seed: of the restarts; the same seed gives the same value on the same machine.

    Returns:
        The accuracy as in `evaluate`; None without labels or when all are the same.
    """
    if labels is None:
        return None
    x = np.ascontiguousarray(features, dtype=np.float32)
    truth = integers(labels, len(x))
    if len(np.unique(truth)) == 1:
        return None
    clusters = min(clusters, len(x))
    predict = _kmeans_sklearn if len(x) <= FEW else _kmeans_faiss
    return match(predict(x, clusters, seed), truth, clusters)[1]


def _kmeans_sklearn(x: Array, clusters: int, seed: int) -> Array:
    from sklearn.cluster import KMeans
    from sklearn.exceptions import ConvergenceWarning
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

    # One thread: sums over several would come in any order.
    with threadpool_limits(limits=1), warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # fewer distinct images than clusters
        cluster: Array = KMeans(clusters, n_init=10, random_state=seed).fit(x).labels_
    return cluster


def _kmeans_faiss(x: Array, clusters: int, seed: int) -> Array:
    import faiss

    threads = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(min(threads, 4))  # other runs train on this machine
    try:
        kmeans = faiss.Kmeans(
            x.shape[1],
            clusters,
            niter=50,
            nredo=5,
            seed=seed + 1,  # faiss takes 0 for "no seed"
            max_points_per_centroid=len(x),
        )
        kmeans.train(x)
        _, nearest = kmeans.index.search(x, 1)
    finally:
        faiss.omp_set_num_threads(threads)
    cluster: Array = nearest[:, 0]
    return cluster


METRICS = (
    Metric(
        name="encoder_kmeans_acc",
        title="k-means ACC",
        meaning="Accuracy of k-means on the features before training.",
        summary="accuracy of k-means on the features before training",
        column="accuracy of k-means on the features before training",
        rank=190,
        unit=PERCENT,
        better="max",
        needs_labels=True,
    ),
)
