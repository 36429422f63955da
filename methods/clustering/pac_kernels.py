"""The compiled sweeps of PAC: in linear time from running aggregates, or over a distance matrix.

Each cluster k is described by three aggregates of the weights w_ik of the rows: its mass n_k =
sum_i w_ik, its mean mu_k = sum_i w_ik x_i / n_k, and its spread Q_k = sum_i w_ik ||x_i - mu_k||^2.
With squared Euclidean distances the score of row i is exactly

    s_ik = sum_j w_jk ||x_i - x_j||^2 = n_k ||x_i - mu_k||^2 + Q_k,

two terms that are not negative, so that nothing cancels however tight a cluster is. A row that
changes its weight by delta moves the aggregates in place:

    n' = n + delta,  mu' = mu + delta / n' (x - mu),  Q' = Q + delta n / n' ||x - mu||^2.

A sweep costs O(N K D) and sees, for every row, the same scores as a sum over all pairs.

Compiled on first use for the type of the data, in a few seconds, and kept on disk from then on.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from numba.core.codegen import get_host_cpu_features
from numba.extending import intrinsic
from numpy.typing import NDArray

from deep_clustering.methods._compiled import compiled

Array = NDArray[Any]

_FLOOR = 1e-300  # of a score, so that empty clusters and duplicates have a logarithm
_LOG_CUT = -600.0  # a share of e^-600 of the largest is zero; below lie slow denormal numbers
_LOG2_HIGH, _LOG2_LOW = 6.93147180369123816490e-01, 1.90821492927058770002e-10  # log 2 in two parts
_PER_LOG2 = 1.4426950408889634
_ROUND = 1.5 * 2.0**52  # added, it rounds to an integer, which is then in the lowest bits
_NEGLIGIBLE = 2.0**-56  # of a mass or spread: what double precision would round away
#: Numbers in double precision that this processor computes with at a time.
_LANES = 8 if "+avx512f" in get_host_cpu_features() else 4
_DIGITS_LOST = 1e-4  # of its largest value: an aggregate this far down is summed up anew


@compiled(fastmath={"reassoc", "contract", "nsz"})
def _squared_distance(a: Array, b: Array) -> float:
    total = 0.0
    for j in range(a.shape[0]):
        gap = a[j] - b[j]
        total += gap * gap
    return total


@compiled(fastmath={"reassoc", "contract", "nsz"})
def _dot(a: Array, b: Array) -> float:
    total = 0.0
    for j in range(a.shape[0]):
        total += a[j] * b[j]
    return total


@compiled()
def _load(points: Array, i: int, scales: Array, centre: Array, row: Array) -> None:
    """row = scale_i * points[i] - centre, in double precision."""
    scale = scales[i] if scales.shape[0] > 1 else scales[0]
    for j in range(row.shape[0]):
        row[j] = scale * points[i, j] - centre[j]


@compiled(fastmath={"reassoc", "nsz"})
def _sum(a: Array) -> float:
    total = 0.0
    for j in range(a.shape[0]):
        total += a[j]
    return total


@compiled(fastmath={"reassoc", "nnan", "nsz"})
def _least(a: Array) -> float:
    """The least number, or `_FLOOR`."""
    least = a[0]
    for j in range(a.shape[0]):
        least = a[j] if a[j] < least else least
    return max(least, _FLOOR)


@compiled()
def _padded(clusters: int) -> int:
    """Room for a number per cluster, without a rest for the processor's groups of numbers."""
    return (clusters + _LANES - 1) // _LANES * _LANES


def _same_bits(given: Any, wanted: Any) -> Any:
    """A compiled function that reads the bits of a `given` as a `wanted`."""

    def typed(typing: Any, x: Any) -> Any:
        def generate(target: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            return builder.bitcast(arguments[0], target.get_value_type(wanted))

        return wanted(given), generate

    return intrinsic(typed)


_bits, _float = _same_bits(numba.float64, numba.int64), _same_bits(numba.int64, numba.float64)


@compiled(fastmath={"contract", "nnan", "nsz"}, inline="always")
def _power(x: float, exponent: float) -> float:
    """x^exponent for x in 0..1, as e^(exponent log x); 0 below e^-600.

    Arithmetic only, no call and no branch, so that a loop over the clusters is vectorised: it takes
    a third of the time of `log` and `exp`, and is as exact (a few units of the last digit of the
    product in the exponent).
    """
    # x = 2^e f with f in 0.707..1.414; log f = 2 artanh(s), s = (f - 1) / (f + 1), by its series.
    bits = _bits(x)
    shift = (bits - 0x3FE6A09E667F3BCD) >> 52
    f = _float(bits - (shift << 52))
    e = _float(shift + 0x4338000000000000) - _ROUND
    s = (f - 1.0) / (f + 1.0)
    z = s * s
    zz = z * z
    q = (1 / 3 + z * (1 / 5)) + zz * (1 / 7 + z * (1 / 9))
    q += zz * zz * ((1 / 11 + z * (1 / 13)) + zz * ((1 / 15 + z * (1 / 17)) + zz * (1 / 19)))
    y = exponent * (e * _LOG2_HIGH + (e * _LOG2_LOW + 2.0 * s * z * q + 2.0 * s))
    kept = max(y, _LOG_CUT)
    # e^y = 2^n e^r with |r| < 0.347, by its series.
    n = kept * _PER_LOG2 + _ROUND
    scale = _float((_bits(n) + 1023) << 52)
    n -= _ROUND
    r = (kept - n * _LOG2_HIGH) - n * _LOG2_LOW
    rr = r * r
    rrrr = rr * rr
    q = (1 / 2 + r * (1 / 6)) + rr * (1 / 24 + r * (1 / 120))
    q += rrrr * ((1 / 720 + r * (1 / 5040)) + rr * (1 / 40320 + r * (1 / 362880)))
    tail = (1 / 3628800 + r * (1 / 39916800)) + rr * (1 / 479001600 + r * (1 / 6227020800))
    q += rrrr * rrrr * tail
    return (1.0 + (r + rr * q)) * scale if y > _LOG_CUT else 0.0


@compiled(fastmath={"contract", "nnan", "nsz"})  # no reordering: it would undo `_power`
def _respond(
    scores: Array,
    clusters: int,
    alpha: float,
    m: float,
    power: bool,
    real: bool,
    p: Array,
    w: Array,
) -> None:
    """p = scores^-alpha / sum and w = p^m (or p): the row's minimiser. `scores` are overwritten.

    The arrays are `_padded`; scores beyond the clusters are infinite, and get no share.
    """
    width = scores.shape[0]
    least = _least(scores)
    for k in range(width):
        scores[k] = least / max(scores[k], _FLOOR)
        p[k] = _power(scores[k], alpha)
    p[clusters:] = 0.0  # an exponent of 0, as a truncated one may be, leaves 1 there
    share = 1.0 / _sum(p)
    for k in range(width):
        p[k] *= share
    if not power:
        for k in range(width):
            w[k] = p[k]
    elif real:  # p^m = p p^(m - 1), and p^(m - 1) = (least / score) / total^(m - 1)
        share = np.exp((m - 1.0) * np.log(share))
        for k in range(width):
            w[k] = p[k] * scores[k] * share
    else:
        for k in range(width):
            w[k] = _power(p[k], m)


@compiled(fastmath={"reassoc", "contract", "nsz"})
def _approach(row: Array, before: Array, steps: Array, mean: Array, gaps: Array) -> None:
    """mean_k += steps_k (before - mean_k), and gaps_k = ||row - mean_k||^2, in one go."""
    for k in range(mean.shape[0]):
        step = steps[k]
        total = 0.0
        if step != 0.0:
            for j in range(row.shape[0]):
                at = mean[k, j]
                at += step * (before[j] - at)
                mean[k, j] = at
                total += (row[j] - at) * (row[j] - at)
        else:
            for j in range(row.shape[0]):
                total += (row[j] - mean[k, j]) * (row[j] - mean[k, j])
        gaps[k] = total


@compiled()
def _sum_up(
    points: Array,
    scales: Array,
    centre: Array,
    weights: Array,
    first: int,
    last: int,
    mass: Array,
    mean: Array,
    spread: Array,
) -> None:
    """The aggregates of the clusters first..last-1 from all rows, added one by one."""
    row, before = np.empty(points.shape[1]), np.zeros(points.shape[1])
    steps, gaps = np.zeros(last - first), np.empty(last - first)
    part = mean[first:last]
    part[:] = 0.0
    mass[first:last] = 0.0
    spread[first:last] = 0.0
    for i in range(points.shape[0]):
        _load(points, i, scales, centre, row)
        _approach(row, before, steps, part, gaps)
        for k in range(first, last):
            weight = weights[i, k]
            grown = mass[k] + weight
            step = weight / grown if weight > 0.0 else 0.0
            spread[k] += step * mass[k] * gaps[k - first]
            mass[k] = grown
            steps[k - first] = step
        row, before = before, row
    _approach(row, before, steps, part, gaps)


@compiled()
def aggregate(
    points: Array,
    scales: Array,
    centre: Array,
    weights: Array,
    mass: Array,
    mean: Array,
    spread: Array,
) -> None:
    """Fills mass (K,), mean (K, D) and spread (K,) from the `weights` (N, K) of the framed points.

    The framed point i is scale_i * points[i] - centre; `scales` has one number, or one per row.
    """
    _sum_up(points, scales, centre, weights, 0, mass.shape[0], mass, mean, spread)


@compiled()
def sweep(
    points: Array,
    scales: Array,
    centre: Array,
    order: Array,
    alpha: float,
    m: float,
    power: bool,
    real: bool,
    probabilities: Array,
    weights: Array,
    mass: Array,
    mean: Array,
    spread: Array,
    top_mass: Array,
    top_spread: Array,
) -> float:
    """Updates every row once, in `order`, each seeing all changes before it.

    `probabilities` and `weights` (N, K; the same array where w = p) and the aggregates are changed
    in place. Changes that double precision would round away in mass and in spread are left out. An
    aggregate that has lost digits, because it is far below its largest value since it was last
    summed up (`top_mass` and `top_spread`, kept here), is summed up anew.

    Returns:
        The mean over the rows of sum_k |p_ik(after) - p_ik(before)|, in 0..2.
    """
    d = points.shape[1]
    clusters = mass.shape[0]
    row, before = np.empty(d), np.zeros(d)
    steps, gaps = np.zeros(clusters), np.empty(clusters)
    width = _padded(clusters)
    scores, p, w = np.empty(width), np.empty(width), np.empty(width)
    change = 0.0
    for i in order:
        _load(points, i, scales, centre, row)
        _approach(row, before, steps, mean, gaps)
        for k in range(clusters):
            scores[k] = mass[k] * gaps[k] + spread[k]
        scores[clusters:] = np.inf
        _respond(scores, clusters, alpha, m, power, real, p, w)
        for k in range(clusters):
            delta = w[k] - weights[i, k]
            change += abs(p[k] - probabilities[i, k])
            probabilities[i, k] = p[k]
            weights[i, k] = w[k]
            steps[k] = 0.0
            size = abs(delta)
            if size <= _NEGLIGIBLE * mass[k] and size * gaps[k] <= _NEGLIGIBLE * spread[k]:
                continue
            grown = max(mass[k] + delta, 0.0)
            if grown > 0.0:
                steps[k] = delta / grown
            spread[k] = max(spread[k] + steps[k] * mass[k] * gaps[k], 0.0)
            mass[k] = grown
            top_mass[k] = max(top_mass[k], grown)
            top_spread[k] = max(top_spread[k], spread[k])
            if grown < _DIGITS_LOST * top_mass[k] or spread[k] < _DIGITS_LOST * top_spread[k]:
                _sum_up(points, scales, centre, weights, k, k + 1, mass, mean, spread)
                top_mass[k], top_spread[k] = mass[k], spread[k]
                steps[k] = 0.0
        row, before = before, row
    _approach(row, before, steps, mean, gaps)
    return change / order.shape[0]


@compiled()
def sweep_matrix(
    distances: Array,
    order: Array,
    alpha: float,
    m: float,
    power: bool,
    real: bool,
    probabilities: Array,
    weights: Array,
) -> float:
    """The same sweep from all distances (N, N), at O(N^2 K).

    `weights` are transposed here, (K, N), one contiguous line per cluster.
    """
    clusters = weights.shape[0]
    width = _padded(clusters)
    scores, p, w = np.empty(width), np.empty(width), np.empty(width)
    change = 0.0
    for i in order:
        for k in range(clusters):
            scores[k] = _dot(distances[i], weights[k])
        scores[clusters:] = np.inf
        _respond(scores, clusters, alpha, m, power, real, p, w)
        for k in range(clusters):
            change += abs(p[k] - probabilities[i, k])
            probabilities[i, k] = p[k]
            weights[k, i] = w[k]
    return change / order.shape[0]


@compiled()
def respond(
    points: Array,
    scales: Array,
    centre: Array,
    alpha: float,
    mass: Array,
    mean: Array,
    spread: Array,
) -> Array:
    """Probabilities (N, K), float64, of points that have no weight in the aggregates."""
    n, d = points.shape
    clusters = mass.shape[0]
    found = np.empty((n, clusters))
    width = _padded(clusters)
    row, scores, p, w = np.empty(d), np.empty(width), np.empty(width), np.empty(width)
    for i in range(n):
        _load(points, i, scales, centre, row)
        for k in range(clusters):
            scores[k] = mass[k] * _squared_distance(row, mean[k]) + spread[k]
        scores[clusters:] = np.inf
        _respond(scores, clusters, alpha, 1.0, False, True, p, w)
        found[i] = p[:clusters]
    return found
