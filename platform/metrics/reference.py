"""The space in which partitions are compared without labels."""

import functools
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from deep_clustering.platform.metrics import embedding
from deep_clustering.platform.metrics.arrays import Array

#: Images that are brought to a few dimensions at most; UMAP takes 7 s for so many.
EMBEDDED = 2000

#: Features of an image at most for what takes time or memory by their number: pixels are too many.
WIDEST = 2048

_TINY = 1e-140
_PART = 1 << 18  # numbers in memory at a time, as float64
_SHRINK = 1e-3  # of the mean spread of a feature: keeps least squares well posed


class Ridge(NamedTuple):
    """What least squares in a space needs, whatever it is to tell apart.

    Attributes:
        inverse: (D, D) of the spread of the features, with a little added on the diagonal.
        leverage: (N,) in [0, 1), how much an image's own label counts in what is said of it.
    """

    inverse: Array
    leverage: Array


class Embedded(NamedTuple):
    """Some images in a few dimensions.

    Attributes:
        images: (n,) which ones, ascending.
        points: (n, d).
    """

    images: Array
    points: Array


class Reference:
    """The space in which all partitions of a set of images are scored.

    Args:
        features: (N, D), N >= 2, float32 or float64; kept as they are, without a copy. In one
            dimension a direction is no more than a sign, and distances take its place.
        neighbours: (N, k) indices of each image's k nearest others, the nearest first; in one
            dimension they are looked up anew.
    """

    def __init__(self, features: ArrayLike, neighbours: ArrayLike) -> None:
        x = np.asarray(features)
        if x.dtype != np.float64:
            x = x.astype(np.float32, copy=False)
        self.features = x
        self.neighbours = np.asarray(neighbours)
        if x.ndim != 2 or self.neighbours.ndim != 2 or len(x) != len(self.neighbours):
            raise ValueError(
                "features (N, D) and neighbours (N, k) must be two tables of equal length, "
                f"got {x.shape} and {self.neighbours.shape}"
            )
        if not np.isfinite(x).all():
            raise ValueError("the reference features contain NaN or infinity")
        if len(x) < 2:
            raise ValueError(f"the reference needs at least 2 images, got {len(x)}")
        if x.shape[1] == 1:
            self.neighbours = _neighbours_on_a_line(x[:, 0], self.neighbours.shape[1])
        largest = np.abs(x).max(initial=0)
        #: A power of two that brings the largest feature to about 1: squares stay in range.
        self.scale = float(np.ldexp(1.0, -int(np.clip(np.frexp(largest)[1], -1000, 1000))))

    def blocks(self) -> Iterator[tuple[slice, Array]]:
        """The features a part at a time, scaled, less the first image's: float64, (n, D) each.

        The differences are taken before anything is squared, so that features far from the origin
        lose no digits.
        """
        first = self.features[0].astype(np.float64) * self.scale
        for part in self._parts():
            yield part, self.features[part].astype(np.float64) * self.scale - first

    def directions(self) -> Iterator[tuple[slice, Array]]:
        """The features at length 1, a part at a time: float64, (n, D) each; zeros stay zeros."""
        for part in self._parts():
            x = self.features[part].astype(np.float64) * self.scale
            lengths = np.sqrt(np.einsum("nd,nd->n", x, x))
            tiny = lengths < _TINY  # their squares are out of range
            if tiny.any():
                largest = np.abs(x[tiny]).max(1, keepdims=True)
                x[tiny] /= np.where(largest == 0, 1, largest)
                lengths[tiny] = np.maximum(np.linalg.norm(x[tiny], axis=1), 1)
            x /= lengths[:, None]
            yield part, x

    @functools.cached_property
    def centre(self) -> Array:
        """Mean (D,) of the `blocks`."""
        return _mean(self.blocks(), len(self))

    @functools.cached_property
    def direction(self) -> Array:
        """Mean (D,) of the `directions`."""
        return _mean(self.directions(), len(self))

    @property
    def narrow(self) -> bool:
        """Whether there are few enough features for `ridge` and `embedded`."""
        return self.features.shape[1] <= WIDEST

    @functools.cached_property
    def ridge(self) -> Ridge:
        """Of the `blocks` less their centre."""
        spread = np.zeros((len(self.centre),) * 2)
        for _, x in self.blocks():
            spread += (x - self.centre).T @ (x - self.centre)
        mean = float(spread.trace()) / len(spread)
        inverse = np.linalg.inv(spread + (_SHRINK * mean or 1.0) * np.eye(len(spread)))
        leverage = np.empty(len(self))
        for part, x in self.blocks():
            away = x - self.centre
            leverage[part] = np.einsum("nd,nd->n", away @ inverse, away) + 1 / len(self)
        return Ridge(inverse, leverage)

    @functools.cached_property
    def embedded(self) -> Embedded | None:
        """The directions of at most `EMBEDDED` images after UMAP; None without it, or if wide.

        With the settings of Lowe et al. (arXiv:2406.02465): 50 dimensions, 30 neighbours, clumped.
        """
        if not embedding.is_here() or not self.narrow or len(self) < 4:
            return None
        index = np.sort(np.random.default_rng(0).permutation(len(self))[:EMBEDDED])
        u = np.concatenate([u[np.isin(_rows(part), index)] for part, u in self.directions()])
        points = embedding.umap(u, dimensions=50, neighbours=30, least_distance=0.0)
        return Embedded(index, points)

    def _parts(self) -> Iterator[slice]:
        rows = max(1, _PART // max(self.features.shape[1], 1))
        for start in range(0, len(self), rows):
            yield slice(start, min(start + rows, len(self)))

    def __len__(self) -> int:
        return len(self.features)


def _rows(part: slice) -> Array:
    return np.arange(part.start, part.stop)


def _mean(parts: Iterable[tuple[slice, Array]], n: int) -> Array:
    """Mean (D,) of the rows of all parts."""
    return np.sum([part.sum(0) for _, part in parts], axis=0) / n


def _neighbours_on_a_line(x: Array, k: int) -> Array:
    """Indices (N, k) of the k nearest others of each of N numbers, the nearest first."""
    order = np.argsort(x, kind="stable")
    values = x[order].astype(np.float64)
    n = len(x)
    # The k nearest others are among the k before and the k behind in the order of size.
    offsets = np.concatenate([np.arange(-k, 0), np.arange(1, k + 1)])
    places = np.arange(n)[:, None] + offsets
    inside = (places >= 0) & (places < n)
    distance = np.abs(values[np.clip(places, 0, n - 1)] - values[:, None])
    nearest = np.argsort(np.where(inside, distance, np.inf), axis=1, kind="stable")[:, :k]
    nearby = np.empty((n, k), np.int64)
    nearby[order] = order[np.take_along_axis(places, nearest, 1)]
    return nearby
