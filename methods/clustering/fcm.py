"""Fuzzy c-means in the log domain, for exponents down to 1.

Bezdek: "Pattern Recognition with Fuzzy Objective Function Algorithms", 1981.
Memberships are ratios of distances to the power 2 / (m - 1), which overflow near m = 1 (a power of
40 at m = 1.05); as differences of logarithms they do not.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

_FLOOR = 1e-300  # of a squared distance, so that a point on a centre has a logarithm
_BLOCK = 1 << 20  # numbers in double precision at a time, 8 MiB


def fcm(
    points: Array,
    clusters: int,
    *,
    m: float,
    seed: int,
    max_iter: int = 300,
    tol: float = 1e-4,
) -> Array:
    """Memberships (n, K), float64, rows summing to 1, that minimise sum_ik u_ik^m ||x_i - v_k||^2.

    From random memberships (uniform numbers, normalised), by turns v_k = sum_i u_ik^m x_i /
    sum_i u_ik^m and u_ik = d_ik^(-1/(m-1)) / sum_r d_ir^(-1/(m-1)) with d_ik = ||x_i - v_k||^2.
    No step increases the objective.

    Args:
        points: (n, d), float32 or float64; sums are taken in float64.
        m: exponent, above 1; memberships are nearly 0 or 1 for m near 1, uniform for large m.
        max_iter: rounds at most.
        tol: stop when no membership changes by more.

    Raises:
        ValueError: `points` is no finite matrix, K is not in 1..n, or m is not above 1.
    """
    points = np.asarray(points)
    _check(points, clusters, m)
    n = len(points)
    log_u = np.log(1 - np.random.default_rng(seed).random((n, clusters)))  # of (0, 1]
    log_u -= _log_sum(log_u)
    u = np.exp(log_u)
    centre = points.mean(0, dtype=np.float64)
    for _ in range(max_iter):
        log_u = _log_memberships(points, centre, _means(points, centre, log_u, m), m)
        before, u = u, np.exp(log_u)
        if np.abs(u - before).max() <= tol:
            break
    return u


def objective(points: Array, memberships: Array, *, m: float) -> float:
    """sum_ik u_ik^m ||x_i - v_k||^2 at the means v that belong to `memberships` (n, K)."""
    centre = points.mean(0, dtype=np.float64)
    with np.errstate(divide="ignore"):
        log_u = np.log(memberships)
    means = _means(points, centre, log_u, m)
    total = 0.0
    for rows in _blocks(points):
        distances = _squared_distances(points[rows] - centre, means)
        total += float((np.exp(m * log_u[rows]) * distances).sum())
    return total


def _means(points: Array, centre: Array, log_u: Array, m: float) -> Array:
    """(K, d) means with weights u^m, as offsets from `centre`."""
    largest = log_u.max(0)  # a common factor of a cluster's weights cancels
    total = np.zeros(log_u.shape[1])
    means = np.zeros((log_u.shape[1], points.shape[1]))
    for rows in _blocks(points):
        weights = np.exp(m * (log_u[rows] - largest))
        total += weights.sum(0)
        means += weights.T @ (points[rows] - centre)
    return means / total[:, None]


def _log_memberships(points: Array, centre: Array, means: Array, m: float) -> Array:
    """log u (n, K)."""
    log_u = np.empty((len(points), len(means)))
    for rows in _blocks(points):
        distances = _squared_distances(points[rows] - centre, means)
        logs = np.log(np.maximum(distances, _FLOOR))
        log_u[rows] = (logs - logs.min(1, keepdims=True)) / (1 - m)
    log_u -= _log_sum(log_u)
    return log_u


def _squared_distances(x: Array, means: Array) -> Array:
    """(n, K); exact differences where a product of matrices would have lost most digits."""
    lengths = np.einsum("ij,ij->i", x, x)[:, None] + np.einsum("ij,ij->i", means, means)
    found = lengths - 2 * (x @ means.T)
    i, k = np.nonzero(found < 1e-8 * lengths)
    found[i, k] = ((x[i] - means[k]) ** 2).sum(1)
    return found


def _log_sum(log_u: Array) -> Array:
    """log sum_k exp(log_u), (n, 1)."""
    largest = log_u.max(1, keepdims=True)
    return largest + np.log(np.exp(log_u - largest).sum(1, keepdims=True))


def _blocks(points: Array) -> list[slice]:
    rows = max(1, _BLOCK // max(points.shape[1], 1))
    return [slice(first, first + rows) for first in range(0, len(points), rows)]


def _check(points: Array, clusters: int, m: float) -> None:
    if points.ndim != 2 or not np.isfinite(points).all():
        raise ValueError(
            f"points must be a finite matrix (samples, dimensions), got shape {points.shape}; "
            "check them before clustering."
        )
    if not 1 <= clusters <= len(points):
        raise ValueError(
            f"clusters must be between 1 and the number of points, got {clusters} for "
            f"{len(points)} points; ask for fewer clusters."
        )
    if not (m > 1 and math.isfinite(m)):
        raise ValueError(f"m must be above 1 and finite, got {m}; 1.05 to 2 is usual.")
