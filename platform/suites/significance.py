"""p values of a difference, and their correction where several claims are judged together.

`gap`, `delta` and `error` are in one unit; arrays broadcast. Holm: Holm 1979; equivalence by two
one-sided tests (TOST): Schuirmann 1987.
"""

from collections.abc import Sequence

import numpy as np
from scipy import special

from deep_clustering.platform.errors import InputError
from deep_clustering.platform.suites.differences import Array


def tail(gap: Array, error: Array, freedom: Array) -> Array:
    """P(T >= gap / error); without error 0, 1/2 or 1 for a gap above, at or below 0."""
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        t = np.where(error > 0, gap / error, np.copysign(np.inf, gap))
    t = np.where((error <= 0) & (gap == 0), 0.0, t)
    return np.where(np.isinf(freedom), special.ndtr(-t), special.stdtr(freedom, -t))


def two_sided(delta: Array, error: Array, freedom: Array) -> Array:
    """p of no difference."""
    return np.minimum(1, 2 * tail(np.abs(delta), error, freedom))


def tost(delta: Array, error: Array, freedom: Array, margin: float) -> Array:
    """p of a difference of at least the margin; at most alpha when the interval is inside it."""
    return tail(margin - np.abs(delta), error, freedom)


def holm(p: Sequence[float]) -> list[float]:
    """Holm's adjusted p values, in the order given: comparing them with alpha holds the
    probability of any false rejection at alpha, whatever the dependence.

    Raises:
        InputError: a p outside [0, 1].
    """
    values = np.asarray(p, np.float64)
    if not ((values >= 0) & (values <= 1)).all():
        raise InputError(f"A p value lies in [0, 1]; got {list(p)}.")
    return [float(x) for x in _adjusted(values)]


def _adjusted(p: Array) -> Array:
    """Adjusted p values along the last axis."""
    order = np.argsort(p, axis=-1)
    count = p.shape[-1]
    steps = np.take_along_axis(p, order, -1) * np.arange(count, 0, -1)
    sorted_ = np.minimum(1, np.maximum.accumulate(steps, axis=-1))
    in_order = np.empty_like(sorted_)
    np.put_along_axis(in_order, order, sorted_, -1)
    return in_order


def among(p: Array, others: Sequence[float]) -> Array:
    """Each of the p values (K,), adjusted in a family with the same others."""
    fixed = np.broadcast_to(np.asarray(others, float), (len(p), len(others)))
    return _adjusted(np.column_stack([p, fixed]))[:, 0]
