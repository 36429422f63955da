"""Features brought to a few dimensions by UMAP, where `umap-learn` is installed."""

import warnings
from importlib.util import find_spec

import numpy as np

from deep_clustering.platform.metrics.arrays import Array


def is_here() -> bool:
    """Whether umap-learn is installed; a folder that it left behind is no package."""
    found = find_spec("umap")
    return found is not None and found.origin is not None


def umap(x: Array, *, dimensions: int, neighbours: int, least_distance: float = 0.1) -> Array:
    """Points (n, dimensions) float64, the same for the same features on the same machine.

    Args:
        x: (n, D), n >= 4; compared by their cosine.
        dimensions: fewer where there are not so many features or points.
        neighbours: of each point that are to stay near it; fewer where there are fewer points.
        least_distance: of points that are alike; 0 lets them fall together.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of parts that are not installed and not used
        import umap as learn

        made = learn.UMAP(
            n_components=min(dimensions, x.shape[1], len(x) - 2),
            n_neighbors=min(neighbours, len(x) - 1),
            min_dist=least_distance,
            metric="cosine",
            random_state=0,
            n_jobs=1,
        )
        points: Array = made.fit_transform(x.astype(np.float32)).astype(np.float64)
    return points
