"""Numbers of a user's table as float32, in which vectors are stored, without losing what differs.

float32 has 24 bits: time stamps in milliseconds or coordinates in metres lie so far from 0 that
samples become equal. Such columns are stored less their mean. Columns whose digits survive are
stored as they are, because methods that look at directions depend on where 0 is.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from deep_clustering.platform.data._cache import row_digests
from deep_clustering.platform.errors import InputError

_LOST = 1e-4  # rounding of a column in standard deviations from which on its mean is taken off
_TOO_MUCH = 1e-2  # the same, when that has not helped
_BLOCK = 1 << 20  # numbers in double precision at a time


class Stored(NamedTuple):
    """Vectors as they are stored."""

    vectors: np.ndarray  # float32 (N, D)
    notes: tuple[str, ...]


def stored(exact: np.ndarray, names: Sequence[str] | Sequence[int], what: str) -> Stored:
    """The matrix (N, D), at least one by one, as float32; what is not finite stays so.

    Args:
        names: of the columns.
        what: the table, for messages.

    Raises:
        InputError: a column differs by less than float32 can hold at all.
    """
    with np.errstate(over="ignore"):
        vectors = exact.astype(np.float32)
    if exact.dtype.itemsize < 4 or exact.dtype == np.float32:
        return Stored(vectors, ())
    spread, rounding = _spread(exact), _rounding(exact, vectors, np.zeros(exact.shape[1]))
    moved = np.flatnonzero(rounding > _LOST * spread)
    means = np.zeros(exact.shape[1])
    notes: tuple[str, ...] = ()
    if len(moved):
        means[moved] = exact[:, moved].mean(0, dtype=np.float64)
        with np.errstate(over="ignore"):
            vectors[:, moved] = exact[:, moved] - means[moved]
        listed = ", ".join(f"{names[i]!r} less {float(means[i])!r}" for i in moved[:5])
        more = ", ..." if len(moved) > 5 else ""
        notes = (
            "numbers are stored as float32, which cannot tell the samples apart as they are, so "
            f"these columns are stored less their means: {listed}{more}",
        )
        rounding = _rounding(exact, vectors, means)
        _refuse_tiny(np.flatnonzero(rounding > _TOO_MUCH * spread), names, what)
    if (rounding > 0).any() and (together := _together(exact, vectors)):
        notes += (
            f"{together} of {len(exact)} samples differ from an earlier one by less than float32 "
            "holds and are stored as repeats of it",
        )
    return Stored(vectors, notes)


def _spread(exact: np.ndarray) -> np.ndarray:
    """Standard deviation of each column, (D,); infinite where nothing can be said."""
    with np.errstate(over="ignore", invalid="ignore"):
        spread = exact.std(0, dtype=np.float64)
    constant = exact.min(0) == exact.max(0)
    return np.where(np.isfinite(spread) & ~constant, spread, np.inf)


def _rounding(exact: np.ndarray, vectors: np.ndarray, means: np.ndarray) -> np.ndarray:
    """The largest error of each column, (D,); 0 where the column is not finite."""
    largest = np.zeros(exact.shape[1])
    rows = max(1, _BLOCK // exact.shape[1])
    for first in range(0, len(exact), rows):
        part = slice(first, first + rows)
        with np.errstate(over="ignore", invalid="ignore"):
            error = np.abs(vectors[part].astype(np.float64) - (exact[part] - means)).max(0)
        largest = np.maximum(largest, error)
    return np.where(np.isfinite(largest), largest, 0.0)


def _together(exact: np.ndarray, vectors: np.ndarray) -> int:
    """Samples that differ and are stored as equal."""
    return len(set(row_digests(exact))) - len(set(row_digests(vectors)))


def _refuse_tiny(columns: np.ndarray, names: Sequence[str] | Sequence[int], what: str) -> None:
    if len(columns):
        listed = ", ".join(repr(names[i]) for i in columns[:5]) + ", ..." * (len(columns) > 5)
        raise InputError(
            f"The numbers of {what} differ by less than float32 can hold in the columns {listed}; "
            "multiply these columns by a large number."
        )
