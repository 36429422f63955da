"""What the sizes of the clusters say."""

import numpy as np
from numpy.typing import ArrayLike

from deep_clustering.platform.metrics.arrays import Array, finite
from deep_clustering.platform.metrics.metric import PERCENT, Metric, Unit

#: A larger share of images in one cluster counts as collapse. Labels cannot be asked here; nine
#: tenths in one cluster leave so little to the others that no partition into two or more groups
#: is told apart from "everything is one", and the classes of all data sets used are far smaller.
COLLAPSED_SHARE = 0.9


def cluster_sizes(probabilities: ArrayLike) -> Array:
    """Images in each cluster, (C,)."""
    p = np.asarray(probabilities)
    return np.bincount(p.argmax(1), minlength=p.shape[1])


def flags(probabilities: ArrayLike) -> list[str]:
    """What is suspicious about a partition, seen without labels.

    Args:
        probabilities: (N, C).

    Returns:
        Any of "collapsed": fewer than two clusters have images, or one has more than
        `COLLAPSED_SHARE` of them; "empty_clusters": some, but not all others, have none;
        "constant_confidence": all images are equally sure to one in a million, so that confidence
        says nothing about an image.
    """
    p = np.asarray(probabilities)
    noticed = partition_flags(cluster_sizes(p))
    if np.ptp(finite(p.max(1)).astype(np.float64)) <= 1e-6:
        noticed.append("constant_confidence")
    return noticed


def partition_flags(sizes: ArrayLike) -> list[str]:
    """The `flags` that need no probabilities.

    Args:
        sizes: (C,) images in each cluster.
    """
    sizes = np.asarray(sizes)
    used = np.count_nonzero(sizes)
    noticed = []
    if used < 2 or sizes.max() > COLLAPSED_SHARE * sizes.sum():
        noticed.append("collapsed")
    if used < len(sizes):
        noticed.append("empty_clusters")
    return noticed


METRICS = (
    Metric(
        name="clusters_used",
        title="clusters used",
        meaning="Number of clusters that have images.",
        summary="number of clusters that have images",
        rank=200,
        whole=True,
        unit=Unit(factor=1, decimals=0, suffix=""),
        low=1.0,
        high=None,
    ),
    Metric(
        name="largest_share",
        title="largest share",
        meaning="Share of the images that are in the largest cluster.",
        summary="share of the images that are in the largest cluster",
        rank=210,
        unit=PERCENT,
    ),
)
