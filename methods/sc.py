"""SC, spectral clustering: k-means on the first eigenvectors of a graph of nearest neighbours.

Ng, Jordan, Weiss: "On spectral clustering: analysis and an algorithm", NeurIPS 2001; Shi and
Malik: "Normalized cuts and image segmentation", PAMI 2000. Carried out by scikit-learn. "DPAC"
below is Yan, Lu, Yan, ECCV 2024, whose Tables 2 and 3 compare with it.
"""

import warnings
from dataclasses import dataclass

import numpy as np

from deep_clustering.methods._fields import Rule, check, doc, positive
from deep_clustering.methods._method import Fitted, Method
from deep_clustering.methods.clustering.points import nearest, prepared, stopwatch


@dataclass(frozen=True, kw_only=True, slots=True)
class SCConfig:
    clusters: int = doc(10, "K; the platform sets it from the data set")
    unit: bool = doc(False, "rows divided by their Euclidean length first; DPAC, Table 3")
    neighbours: int = doc(
        10, "of a point in the graph, itself included; scikit-learn, unstated in DPAC"
    )
    restarts: int = doc(10, "of the k-means on the eigenvectors; scikit-learn")

    def __post_init__(self) -> None:
        check(
            self,
            [
                *positive(self, "clusters", "restarts"),
                Rule(self.neighbours >= 2, "neighbours", "must be at least 2: a point is its own"),
            ],
        )


def fit(config: SCConfig, points: np.ndarray, seed: int) -> Fitted:
    """Clusters of `points` (n, d) by normalised cuts of their graph; see `Method.fit`.

    Two points are joined with weight 1 if each is a neighbour of the other, 1/2 if one is. `info`
    has the `components` of the graph: where there are more than clusters, some are put together.
    """
    from scipy.sparse import csr_array, eye_array
    from scipy.sparse.csgraph import connected_components
    from sklearn.cluster import SpectralClustering

    points = prepared(points, unit=config.unit, clusters=config.clusters)
    n, k = len(points), config.neighbours - 1
    if k >= n:
        raise ValueError(
            f"neighbours must be at most the number of points, got neighbours={config.neighbours} "
            f"for {n} points; set a smaller number."
        )
    if config.clusters == n:
        return Fitted(labels=np.arange(n), info={"components": float(n)}, seconds=0.0)
    with stopwatch() as seconds:
        near = nearest(points, k, "euclidean")
        ends = (near.ravel().astype(np.int32), np.arange(0, n * k + 1, k, dtype=np.int32))
        edges = csr_array((np.ones(n * k), *ends), shape=(n, n))
        graph = csr_array((edges + edges.T) / 2 + eye_array(n))
        estimator = SpectralClustering(
            config.clusters, affinity="precomputed", n_init=config.restarts, random_state=seed
        )
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Graph is not fully connected", UserWarning)
            estimator.fit(graph)
    return Fitted(
        labels=estimator.labels_.astype(np.int64),
        info={"components": float(connected_components(graph, directed=False)[0])},
        seconds=seconds[0],
    )


METHOD = Method(
    summary="Spectral clustering of a nearest-neighbour graph, on all points at once",
    citation=(
        "Ng, Jordan, Weiss. On Spectral Clustering: Analysis and an Algorithm. NeurIPS 2001. "
        "Shi, Malik. Normalized Cuts and Image Segmentation. PAMI 2000."
    ),
    version=1,
    config=SCConfig,
    fit=fit,
)
