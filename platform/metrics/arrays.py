"""What several metrics ask of their arrays."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[Any]


def checked(probabilities: ArrayLike) -> Array:
    """Probabilities (N, C), float32 or float64; refused unless rows are finite and sum to 1."""
    p = np.asarray(probabilities)
    if p.dtype not in (np.float32, np.float64):
        p = p.astype(np.float64)
    if p.ndim != 2 or 0 in p.shape:
        raise ValueError(f"probabilities must be (images, clusters), got the shape {p.shape}")
    total = p.sum(1, dtype=np.float64)
    good = (np.abs(total - 1) <= 1e-3) & (p.min(1) >= -1e-6)  # NaN and infinities fail too
    if not good.all():
        row = int(np.argmin(good))
        raise ValueError(
            f"probabilities must be finite, not negative and sum to 1; row {row} is "
            f"{p[row, :5].tolist()}{'...' if p.shape[1] > 5 else ''} with the sum {total[row]}"
        )
    return p


def integers(labels: ArrayLike, n: int) -> Array:
    """Labels (N,) as int64; refused unless they are integers from 0."""
    given = np.asarray(labels)
    if given.shape != (n,) or given.dtype.kind not in "iub":
        raise ValueError(
            f"labels must be {n} integers, one an image; got {given.dtype} of shape {given.shape}"
        )
    if given.min(initial=0) < 0:
        row = int(np.argmax(given < 0))
        raise ValueError(f"labels must not be negative, got {given[row]} for image {row}")
    return given.astype(np.int64)


def finite(confidence: ArrayLike) -> Array:
    """Confidences (N,) or probabilities (N, C) as an array; refused where one is NaN or infinite.

    Raises:
        ValueError: names the first such image.
    """
    given = np.asarray(confidence)
    good = np.isfinite(given)
    if not good.all():
        place = np.unravel_index(int(np.argmin(good)), given.shape)
        raise ValueError(
            f"confidences must be finite numbers, got {given[place]} for image {place[0]}"
        )
    return given


def by_confidence(confidence: ArrayLike, correct: ArrayLike) -> tuple[Array, Array]:
    """Confidences in descending order, and the share of errors among each one's equals."""
    given = np.minimum(finite(confidence).astype(np.float64), 1)
    values, group, sizes = np.unique(-given, return_inverse=True, return_counts=True)
    errors = np.bincount(group, ~np.asarray(correct).astype(bool)) / sizes
    return np.repeat(-values, sizes), np.repeat(errors, sizes)
