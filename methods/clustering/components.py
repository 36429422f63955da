"""Principal components of points, as they are or weighted."""

from typing import NamedTuple

import numpy as np

from deep_clustering.methods.clustering.points import Array

#: Share of the largest standard deviation below which a direction's may be made of rounding.
_NO_SPREAD = 1e-3


class Components(NamedTuple):
    """What brings points into their principal components.

    Attributes:
        mean: (d,) of the points that it was made of.
        axes: (d, D) in their type; None where all directions are kept, as they are.
    """

    mean: Array
    axes: Array | None

    def __call__(self, points: Array) -> Array:
        """Points (m, d) in the components: (m, D), in their type."""
        x: Array = points - self.mean
        return x if self.axes is None else x @ self.axes


def components(points: Array, count: int, *, weighting: float = 1.0) -> Components:
    """The first `count` principal components of points (n, d).

    Directions in which the points do not differ, of which there are some where they are few, give
    columns of zeros.

    Args:
        weighting: the power of its standard deviation that a component is left with, from 0 to 1,
            in units in which the first one keeps it: 1 leaves distances as they are, 0 whitens. In
            features of images the few largest components tell coarse kinds apart and outweigh what
            tells fine ones; with a half, what is small counts, and noise not as much as the rest
            (eigenvalue weighting: Levy, Goldberg, Dagan, TACL 2015, Sec. 3.3).
    """
    from scipy.linalg import eigh

    mean = points.mean(0, dtype=np.float64).astype(points.dtype)
    n, d = points.shape
    if count >= d and weighting == 1:
        return Components(mean, None)
    x = points - mean
    side = min(n, d)
    products = x.T @ x if d <= n else x @ x.T  # the smaller one has the same spreads
    among = (side - min(count, side), side - 1)
    squares, vectors = eigh(products.astype(np.float64), subset_by_index=among)
    axes = vectors[:, ::-1].astype(x.dtype)
    if n < d:
        axes = x.T @ axes
        lengths = np.linalg.norm(axes, axis=0)
        axes = axes / np.where(lengths > _NO_SPREAD * lengths.max(), lengths, np.inf)
    if weighting != 1:
        spreads = np.sqrt(np.maximum(squares[::-1], 0.0))
        if spreads[0] > 0:
            shares = np.maximum(spreads / spreads[0], _NO_SPREAD)  # rounding is not blown up
            axes = (axes * shares ** (weighting - 1)).astype(x.dtype)
    return Components(mean, axes)
