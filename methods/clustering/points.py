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
#: Rounding of a column in its standard deviations from which on float64 points are centred first.
_LOST = 1e-4
#: Sizes of points whose squares float32 holds well; others are brought near 1.
_SMALL, _LARGE = 1e-12, 1e12
#: Mean squared distance of directions from their mean below which float32 is not enough for them,
#: and below which their float32 points no longer tell them apart.
_CLOSE, _SAME = 1e-4, 1e-12
#: Share of a typical squared distance that float32 may round away.
_ROUNDED = 1e-3


def prepared(
    points: Array, *, unit: bool, clusters: int | None = None, cosine: bool = False
) -> Array:
    """The points (n, d) as a method takes them: checked, C order; a copy where needed.

    They are float32. Points that come as float64 and whose differences float32 would lose are moved
    to their mean first, and stay float64 where directions count; so do directions that lie very
    close together.

    Args:
        unit: divide each row by its Euclidean length; a row of zeros stays one.
        clusters: K, where the method takes it.
        cosine: the method looks at directions, which a move would change.

    Raises:
        ValueError: no finite matrix with a row and a column, more clusters than points, or
            directions that float32 does not tell apart.
    """
    points = np.asarray(points)
    kind: type[np.floating[Any]] = np.float32
    if points.ndim == 2 and 0 not in points.shape and _lost(points):
        if unit or cosine:
            kind = np.float64
        else:
            points = points - points.mean(0, dtype=np.float64)
    with np.errstate(over="ignore"):
        points = np.ascontiguousarray(points, dtype=kind)
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
    return directions(points) if unit else points


def _lost(points: Array) -> bool:
    """Whether float32 would round away what differs between float64 points."""
    if points.dtype.itemsize < 8 or points.dtype.kind not in "fiu" or not np.isfinite(points).all():
        return False
    with np.errstate(over="ignore", invalid="ignore"):
        rounding = np.abs(points.astype(np.float32) - points.astype(np.float64)).max(0)
        lost = (rounding > 0) & (rounding > _LOST * points.std(0, dtype=np.float64))
    return bool((lost & (points.min(0) < points.max(0))).any())


def directions(points: Array) -> Array:
    """Rows of length 1, float32, or float64 where they lie so close that float32 is too coarse.

    Rows are brought near 1 by powers of two first, which rounds nothing, so that no square
    overflows. A row of zeros stays one.

    Raises:
        ValueError: the directions differ by no more than the rounding of float32 points.
    """
    scaled = np.ldexp(points, -np.frexp(np.abs(points).max(1, keepdims=True))[1])
    lengths = np.linalg.norm(scaled, axis=1, keepdims=True)
    found: Array = scaled / np.where(lengths == 0, 1, lengths)
    some = found[lengths[:, 0] > 0]
    if not len(some) or 1 - np.square(some.mean(0, dtype=np.float64)).sum() > _CLOSE:
        return found
    exact = scaled.astype(np.float64)
    lengths = np.linalg.norm(exact, axis=1, keepdims=True)
    exact /= np.where(lengths == 0, 1, lengths)
    some = exact[lengths[:, 0] > 0]
    spread = np.square(some - some.mean(0)).sum(1).mean()
    if 0 < spread < _SAME:
        raise ValueError(
            "all points lie in one direction as far as float32 can tell, so their angles say "
            "nothing; take their mean off first, or use Euclidean distances."
        )
    return exact


def in_range(points: Array) -> tuple[Array, float]:
    """The points times a power of two where their squares would leave float32, and its inverse."""
    largest = float(np.abs(points).max(initial=0)) if points.dtype.kind in "fiu" else 0.0
    if largest == 0 or not np.isfinite(largest) or _SMALL <= largest <= _LARGE:
        return points, 1.0
    exponent = int(np.frexp(largest)[1])
    return np.ldexp(points, -exponent), float(np.ldexp(1.0, exponent))


def precise(points: Array) -> Array:
    """The points in the precision that products of them need: float64 where far outliers are.

    Squared distances come from products, whose rounding grows with the farthest point.
    """
    some = points[:: max(1, len(points) // 1000)].astype(np.float64)
    middle = np.median(some, axis=0)
    typical = float(np.median(np.square(some - middle).sum(1)))
    farthest = float(np.square(np.maximum(points.max(0) - middle, middle - points.min(0))).sum())
    if float(np.finfo(np.float32).eps) * farthest <= _ROUNDED * typical:
        return points
    return points.astype(np.float64)


def standardised(points: Array) -> Array:
    """Points (n, d) as float32 whose mean is 0 and whose mean square is 1, columns in one order.

    What gradient descent makes of points depends on their scale, their place and, through random
    weights, on the order of their columns; here columns of larger spread come first.
    """
    x = points.astype(np.float64)
    x -= x.mean(0)
    x /= max(float(np.abs(x).max()), np.finfo(np.float64).tiny)  # so that no square overflows
    spread = np.square(x).mean(0)
    x /= np.sqrt(max(float(spread.mean()), np.finfo(np.float64).tiny))
    ordered: Array = x[:, np.argsort(-spread, kind="stable")].astype(np.float32)
    return ordered


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
    if metric == "cosine" and points.any(1).all():
        points, metric = directions(points), "euclidean"
    found: Array = NearestNeighbors(n_neighbors=k, metric=metric).fit(points).kneighbors()[1]
    return found


@contextmanager
def stopwatch() -> Iterator[list[float]]:
    """A list that holds the seconds spent inside, once that is left."""
    seconds: list[float] = []
    begun = time.perf_counter()
    yield seconds
    seconds.append(time.perf_counter() - begun)
