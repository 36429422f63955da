"""What the methods that fit all points at once share: checks, rows of length 1, neighbours."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

#: Share of the free memory that one matrix may take.
_SHARE = 0.8


def prepared(points: Array, *, unit: bool, clusters: int | None = None) -> Array:
    """The points (n, d) as a method takes them: checked, float32, C order; a copy where needed.

    Args:
        unit: divide each row by its Euclidean length; a row of zeros stays one.
        clusters: K, where the method takes it.

    Raises:
        ValueError: no finite matrix with a row and a column, or more clusters than points.
    """
    points = np.ascontiguousarray(points, dtype=np.float32)
    if points.ndim != 2 or 0 in points.shape or not np.isfinite(points).all():
        raise ValueError(
            "points must be a finite matrix (samples, dimensions) with at least one of each, got "
            f"shape {points.shape}; check them before clustering."
        )
    if clusters is not None and clusters > len(points):
        raise ValueError(
            f"clusters must be at most the number of points, got clusters={clusters} for "
            f"{len(points)} points; ask for fewer clusters."
        )
    if unit:
        lengths = np.linalg.norm(points, axis=1, keepdims=True)
        points = points / np.where(lengths == 0, 1, lengths)
    return points


def need_memory(size: int, what: str, advice: str) -> None:
    """Refuse work whose largest matrix does not fit into this machine's free memory.

    Args:
        size: bytes.
        what: the matrix in words, with its shape.
        advice: what to do instead.

    Raises:
        ValueError: it takes more than four fifths of what is free.
    """
    import psutil

    free = psutil.virtual_memory().available
    if size > _SHARE * free:
        raise ValueError(
            f"{what} takes {size / 2**30:,.1f} GiB, and {free / 2**30:,.1f} GiB are free; {advice}."
        )


def nearest(points: Array, k: int, metric: str) -> Array:
    """The `k` nearest other points of each, nearest first: (n, k).

    Args:
        metric: "euclidean" or "cosine"; a row of zeros is at distance 1 of everything by "cosine".
    """
    from sklearn.neighbors import NearestNeighbors

    # Of rows of length 1 the Euclidean order is the cosine's, and its search is the faster one.
    lengths = np.linalg.norm(points, axis=1, keepdims=True)
    if metric == "cosine" and lengths.all():
        points, metric = points / lengths, "euclidean"
    found: Array = NearestNeighbors(n_neighbors=k, metric=metric).fit(points).kneighbors()[1]
    return found


@contextmanager
def stopwatch() -> Iterator[list[float]]:
    """A list that holds the seconds spent inside, once that is left."""
    seconds: list[float] = []
    begun = time.perf_counter()
    yield seconds
    seconds.append(time.perf_counter() - begun)
