"""PAC, probability aggregation clustering, in time and memory linear in the number of samples.

Yan, Lu and Yan, "Deep Probability Aggregation Clustering", ECCV 2024, Sec. 3.3
(https://arxiv.org/abs/2407.05246).

PAC has no centres. Each sample has a probability vector p_i over K clusters, and all of them
minimise J(P) = sum_ij <w_i, w_j> d_ij by one exact row update after another (Eq. 8, Alg. 1):

    s_ik = sum_j w_jk d_ij,        p_ik = s_ik^-alpha / sum_r s_ir^-alpha,   alpha = 1 / (m - 1)

As published, a sweep over the N samples takes the N x N matrix of distances and N^2 K operations.
For squared Euclidean and cosine distances s_ik follows from three aggregates of each cluster, which
every row updates in place (`clustering.pac_kernels`): the same iterates in O(N K D).
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Self, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClusterMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data

from deep_clustering.methods._method import Fitted
from deep_clustering.methods._nearest import not_one_of
from deep_clustering.methods.clustering.points import prepared, stopwatch
from deep_clustering.methods.pac import Exponent, Form, Metric, Order, PACConfig, Weights

Array = NDArray[Any]
_MATRIX_BYTES = 1 << 30  # "auto" keeps no larger matrix of distances
_BLOCK = 1 << 18  # numbers converted to double precision at a time, 2 MiB
_SMALLEST = 1e-100  # of the largest value; at most its inverse
_SAMPLE = 128  # rows for the centre, about
_CANCELLED = 1e-6  # a difference this small against what it was taken from has lost digits
_REFRESH = 16  # sweeps between two sums of the aggregates from scratch, against rounding
_UNIFORM = 0.05  # no probability exceeds 1/K by more than this share: the run never left the start


class PAC(ClusterMixin, BaseEstimator):
    """Probability aggregation clustering.

    PAC is implicitly balanced: a sample goes to the cluster with the least n_k (||x - mu_k||^2 +
    V_k), mass times distance plus spread, so that large and wide clusters push samples away. Where
    groups have sizes of 9 to 1, it splits the large one even if they are far apart; use it where
    groups are about equally large.

    Args:
        n_clusters: K, at most the number of samples.
        m: weight exponent, above 1; Sec. 4.1 uses 1.03 throughout. All probabilities stay at 1/K
            unless m - 1 is below about the share of variance of the first principal component; a
            warning tells.
        metric: "sqeuclidean", ||x - y||^2, the paper's default for raw data, or "cosine",
            1 - cos(x, y), for deep features. On rows of length 1 both give the same result. The
            balance above is the same for both.
        weights: w in the scores. "power", p^m as in the authors' code: the exact minimiser of
            each row, so that no sweep increases the objective. "probability", p as in Eq. 8, whose
            objective may rise by a little in some sweeps.
        exponent: "real", alpha = 1 / (m - 1), or "truncated", its integer part in floating-point
            arithmetic as in the authors' code (19 for m = 1.05, 0 and so uniform for m > 2). The
            objective may then rise by rounding-like amounts.
        uniformity: the start is softmax(normal / uniformity), near 1/K in every entry.
        tol: stop when the mean over the samples of sum_k |change of p_ik| (0..2) is below it.
        min_iter: sweeps before `tol` counts; the first ones hardly move.
        max_iter: sweeps at most; a `ConvergenceWarning` when they do not suffice.
        order: rows are visited as "given", the same in every sweep, or "permuted", in one random
            order drawn at the start.
        form: "linear", O(N K D) a sweep from aggregates; "direct", O(N^2 K) from the N x N matrix;
            "auto" takes the direct one if N <= 2 D and the matrix fits in 1 GiB. The iterates
            are the same up to rounding.
        random_state: seed of the start and of the permuted order.

    Attributes:
        labels_: (N,) the most probable cluster of each sample.
        probabilities_: (N, K) P, in the type of the data (float32 or float64).
        n_iter_: sweeps done.
        objective_: J(P) in units of the metric, 2 sum_k n_k Q_k.
        objectives_: (n_iter_,) the objective after each sweep.
        cluster_centers_: (K, D) float64, weighted means mu_k; of the normalised rows for "cosine".
        masses_: (K,) float64, n_k = sum_i w_ik.
        spreads_: (K,) float64, V_k, the weighted mean squared distance to mu_k.
        n_features_in_: D.
    """

    def __init__(
        self,
        n_clusters: int = 8,
        *,
        m: float = 1.03,
        metric: Metric = "sqeuclidean",
        weights: Weights = "power",
        exponent: Exponent = "real",
        uniformity: float = 1000,
        tol: float = 1e-3,
        min_iter: int = 12,
        max_iter: int = 100,
        order: Order = "given",
        form: Form = "auto",
        random_state: int | np.random.RandomState | None = None,
    ) -> None:
        self.n_clusters = n_clusters
        self.m = m
        self.metric = metric
        self.weights = weights
        self.exponent = exponent
        self.uniformity = uniformity
        self.tol = tol
        self.min_iter = min_iter
        self.max_iter = max_iter
        self.order = order
        self.form = form
        self.random_state = random_state

    def fit(self, X: ArrayLike, y: object = None) -> Self:
        """Cluster the rows of `X` (N, D).

        float32 rows are read as they are and never copied to float64; C order avoids any copy.

        Raises:
            ValueError: a parameter out of bounds, more clusters than samples, NaN or infinity, or
                a row of zeros with "cosine".
        """
        points = validate_data(self, X, dtype=[np.float64, np.float32], order="C")
        rule = _Rule(
            m=self.m,
            metric=self.metric,
            weights=self.weights,
            exponent=self.exponent,
            tol=self.tol,
            min_iter=self.min_iter,
            max_iter=self.max_iter,
            form=self.form,
        )
        if self.order not in get_args(Order):
            raise ValueError(_choice("order", self.order, Order))
        _check_clusters(self.n_clusters, len(points))
        random = check_random_state(self.random_state)
        start = near_uniform(len(points), self.n_clusters, self.uniformity, random)
        visits = np.arange(len(points))
        if self.order == "permuted":
            visits = random.permutation(len(points))
        found = _descend(points, start, visits, rule)
        self.labels_ = found.probabilities.argmax(1)
        self.probabilities_ = found.probabilities.astype(points.dtype, copy=False)
        self.objectives_ = found.objectives
        self.objective_ = float(found.objectives[-1])
        self.n_iter_ = len(found.objectives)
        self.cluster_centers_, self.masses_ = found.centres, found.masses
        self.spreads_ = found.spreads
        return self

    def predict_proba(self, X: ArrayLike) -> Array:
        """(N, K): the row update of each row of `X` against the fitted aggregates.

        Rows of `X` do not see each other and add nothing to the aggregates. For the samples of
        `fit` this is nearly, not exactly, `probabilities_`: their rows were last updated against
        aggregates that later rows have changed since.
        """
        check_is_fitted(self)
        points = validate_data(self, X, dtype=[np.float64, np.float32], order="C", reset=False)
        from deep_clustering.methods.clustering import pac_kernels as kernels

        scales = _row_scales(points) if self.metric == "cosine" else np.ones(1)
        centre = self.cluster_centers_.mean(0)
        found = kernels.respond(
            points,
            scales,
            centre,
            exponent_of(self.m, self.exponent),
            self.masses_,
            self.cluster_centers_ - centre,
            self.spreads_ * self.masses_,
        )
        return found.astype(points.dtype, copy=False)

    def predict(self, X: ArrayLike) -> Array:
        """(N,) the most probable cluster by `predict_proba`."""
        return self.predict_proba(X).argmax(1)


def pac_probabilities(
    features: Array,
    clusters: int,
    *,
    m: float,
    metric: Metric,
    seed: int,
    start: Array | None = None,
) -> Array:
    """P (n, K), float64, of PAC on `features` (n, d), with the defaults of `PAC`.

    Args:
        start: (n, K) probabilities to begin with in place of the near-uniform ones, for a warm
            start; at least 12 sweeps are done all the same.

    Raises:
        ValueError: as `PAC.fit`, or `start` is not (n, K) probabilities.
    """
    features = np.ascontiguousarray(features)
    if features.dtype not in (np.float32, np.float64):
        features = features.astype(np.float64)
    if features.ndim != 2 or not np.isfinite(features).all():
        raise ValueError(
            "features must be a finite matrix (samples, dimensions), got shape "
            f"{features.shape}; check them before clustering."
        )
    n = len(features)
    _check_clusters(clusters, n)
    if start is None:
        start = near_uniform(n, clusters, 1000, np.random.RandomState(seed))
    else:
        start = _checked_start(start, n, clusters)
    rule = _Rule(m=m, metric=metric)
    return _descend(features, start, np.arange(n), rule).probabilities


def near_uniform(n: int, clusters: int, uniformity: float, random: np.random.RandomState) -> Array:
    """softmax(normal / uniformity) row by row: (n, clusters) float64."""
    if not uniformity > 0:
        raise ValueError(f"uniformity must be above 0, got {uniformity}; 1000 is usual.")
    start = random.standard_normal((n, clusters))
    start /= uniformity
    start -= start.max(1, keepdims=True)
    np.exp(start, out=start)
    start /= start.sum(1, keepdims=True)
    return start


def exponent_of(m: float, exponent: Exponent = "real") -> float:
    """alpha = 1 / (m - 1); "truncated" drops what follows the point, after rounding to doubles."""
    alpha = 1 / (m - 1)
    return alpha if exponent == "real" else float(int(alpha))


@dataclass(frozen=True, kw_only=True, slots=True)
class _Rule:
    """What is minimised, how, and when to stop; checked when built."""

    m: float
    metric: Metric
    weights: Weights = "power"
    exponent: Exponent = "real"
    tol: float = 1e-3
    min_iter: int = 12
    max_iter: int = 100
    form: Form = "auto"

    def __post_init__(self) -> None:
        if not (self.m > 1 and math.isfinite(self.m)):
            raise ValueError(f"m must be above 1 and finite, got {self.m}; 1.03 is usual.")
        for name, kind in _CHOICES.items():
            if getattr(self, name) not in get_args(kind):
                raise ValueError(_choice(name, getattr(self, name), kind))
        if not 1 <= self.min_iter <= self.max_iter:
            raise ValueError(
                "sweeps must satisfy 1 <= min_iter <= max_iter, "
                f"got min_iter={self.min_iter} and max_iter={self.max_iter}."
            )
        if not self.tol >= 0:
            raise ValueError(f"tol must not be negative, got {self.tol}; 1e-3 is usual.")

    @property
    def response(self) -> tuple[float, float, bool, bool]:
        """What the kernels take: alpha, m, whether w = p^m, whether alpha is real."""
        alpha = exponent_of(self.m, self.exponent)
        return alpha, float(self.m), self.weights == "power", self.exponent == "real"


_CHOICES: dict[str, object] = {
    "metric": Metric,
    "weights": Weights,
    "exponent": Exponent,
    "form": Form,
}


def _choice(name: str, value: object, kind: object) -> str:
    return f"{name} {not_one_of(value, get_args(kind))}"


def _check_clusters(clusters: int, n: int) -> None:
    if not isinstance(clusters, (int, np.integer)) or not 1 <= clusters <= n:
        raise ValueError(
            f"n_clusters must be an integer between 1 and the number of samples, got "
            f"n_clusters={clusters!r} for n_samples={n}; ask for fewer clusters."
        )


def _checked_start(start: Array, n: int, clusters: int) -> Array:
    start = np.array(start, dtype=np.float64)  # a copy: the sweeps change it
    if start.shape != (n, clusters):
        raise ValueError(f"start must have shape {(n, clusters)}, got {start.shape}.")
    sums = start.sum(1, keepdims=True)
    if not ((start >= 0).all() and np.allclose(sums, 1, atol=1e-4)):
        raise ValueError("start must hold probabilities: no entry below 0, rows that sum to 1.")
    start /= sums
    return start


@dataclass(frozen=True, kw_only=True, slots=True)
class _Found:
    """Where the sweeps ended."""

    probabilities: Array  # (N, K) float64
    objectives: Array  # after each sweep
    centres: Array  # (K, D) float64
    masses: Array  # (K,)
    spreads: Array  # (K,)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Frame:
    """Point i is scales_i * points[i] - centre, with squared Euclidean distances.

    The centre only keeps numbers small: the median of some rows, which no outlier moves far away.

    The cosine metric has a scale per row, 1 / length; half the squared Euclidean distance of such
    rows is the cosine distance, and P does not see the factor.
    """

    points: Array  # (N, D) as given
    scales: Array  # (N,) or (1,)
    centre: Array  # (D,)
    unit: float  # of the metric, per squared distance in the frame

    @staticmethod
    def of(points: Array, metric: Metric) -> _Frame:
        sample = points[:: max(1, len(points) // _SAMPLE)].astype(np.float64)
        if metric == "cosine":
            scales, unit = _row_scales(points), 0.5
            sample *= _row_scales(sample)[:, None]
        else:
            scales, unit = np.ones(1), 1.0
            blocks = (points[rows] for rows in _blocks(points))
            largest = max(max(float(block.max()), -float(block.min())) for block in blocks)
            if largest and not _SMALLEST <= largest <= 1 / _SMALLEST:
                raise ValueError(
                    f"the largest value of the data is {largest:.3g}, whose square leaves double "
                    f"precision; scale the data to between {_SMALLEST} and {1 / _SMALLEST}."
                )
        return _Frame(points=points, scales=scales, centre=np.median(sample, 0), unit=unit)

    @property
    def arguments(self) -> tuple[Array, Array, Array]:
        return self.points, self.scales, self.centre

    def rows(self, index: Array | slice) -> Array:
        """The framed points, float64."""
        scales = self.scales if len(self.scales) == 1 else self.scales[index]
        return self.points[index] * scales[:, None] - self.centre

    def squared_distances(self) -> Array:
        """(N, N) float64: by products of matrices, by differences where those lose digits."""
        n, d = self.points.shape
        found = np.zeros((n, n))
        width = max(1, _BLOCK // n)
        for first in range(0, d, width):
            columns = slice(first, first + width)
            block = self.points[:, columns] * self.scales[:, None] - self.centre[columns]
            found += block @ block.T
        lengths = found.diagonal().copy()
        found *= -2
        found += lengths
        found += lengths[:, None]
        some = max(1, _BLOCK // d)
        for i in range(n):
            lost = np.flatnonzero(found[i] < _CANCELLED * (lengths + lengths[i]))
            for first in range(0, len(lost), some):
                near = lost[first : first + some]
                found[i, near] = ((self.rows(near) - self.rows(slice(i, i + 1))) ** 2).sum(1)
        return found


def _blocks(points: Array) -> Iterator[slice]:
    rows = max(1, _BLOCK // max(points.shape[1], 1))
    return (slice(first, first + rows) for first in range(0, len(points), rows))


def _row_scales(points: Array) -> Array:
    """(N,) float64: 1 / length of each row."""
    scales = np.empty(len(points))
    for rows in _blocks(points):
        block = points[rows].astype(np.float64)
        largest = np.abs(block).max(1)
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            block /= largest[:, None]
            scales[rows] = 1 / (largest * np.sqrt(np.einsum("ij,ij->i", block, block)))
    wrong = np.flatnonzero(~np.isfinite(scales))
    if len(wrong):
        raise ValueError(
            f"the cosine of a row of zeros is undefined, and row {wrong[0]} is one ({len(wrong)} "
            "in all); leave such rows out or use metric='sqeuclidean'."
        )
    return scales


def _few(points: Array) -> bool:
    """Whether sweeps over all distances of points (N, D) are faster, and the matrix fits."""
    n, d = points.shape
    return n <= 2 * d and 8 * n * n <= _MATRIX_BYTES


def _descend(points: Array, start: Array, visits: Array, rule: _Rule) -> _Found:
    """Sweeps from `start`, which is changed, until `rule` is satisfied; warns where it is not."""
    frame = _Frame.of(points, rule.metric)
    direct = rule.form == "direct" or (rule.form == "auto" and _few(points))
    sweeps = (_Direct if direct else _Linear)(frame, start, visits, rule)
    objectives: list[float] = []
    settled = False
    while not settled and len(objectives) < rule.max_iter:
        change = sweeps.sweep()
        objectives.append(sweeps.objective() * frame.unit)
        settled = len(objectives) >= rule.min_iter and change < rule.tol
    clusters = start.shape[1]
    if clusters > 1 and start.max() * clusters < 1 + _UNIFORM:
        warnings.warn(
            f"the probabilities stayed uniform: m = {rule.m} is too large for this data; lower m "
            "until m - 1 is below the share of variance of the first principal component. If it "
            f"is, raise min_iter from {rule.min_iter}: the first sweeps hardly move.",
            ConvergenceWarning,
            stacklevel=3,
        )
    elif not settled:
        warnings.warn(
            f"not settled after max_iter = {rule.max_iter} sweeps: the last one changed the "
            f"probabilities by {change:.2g}, above tol = {rule.tol}; raise max_iter.",
            ConvergenceWarning,
            stacklevel=3,
        )
    mass, mean, spread = sweeps.aggregates()
    return _Found(
        probabilities=start,
        objectives=np.array(objectives),
        centres=mean + frame.centre,
        masses=mass,
        spreads=np.divide(spread, mass, out=np.zeros_like(mass), where=mass > 0),
    )


class _Linear:
    """Sweeps from running aggregates."""

    def __init__(self, frame: _Frame, start: Array, visits: Array, rule: _Rule) -> None:
        from deep_clustering.methods.clustering import pac_kernels as kernels

        self._kernels, self._frame, self._visits, self._rule = kernels, frame, visits, rule
        self._probabilities = start
        self._weights = start**rule.m if rule.weights == "power" else start
        clusters = start.shape[1]
        self._mass, self._spread = np.empty(clusters), np.empty(clusters)
        self._mean = np.empty((clusters, frame.points.shape[1]))
        self._tops = np.empty((2, clusters))  # the largest mass and spread since the last sum
        self._done = 0
        self._sum_up()

    def sweep(self) -> float:
        """One sweep; returns the mean change of a row."""
        self._done += 1
        if self._done % _REFRESH == 0:
            self._sum_up()
        return self._kernels.sweep(
            *self._frame.arguments,
            self._visits,
            *self._rule.response,
            self._probabilities,
            self._weights,
            *self.aggregates(),
            *self._tops,
        )

    def objective(self) -> float:
        """sum_ij <w_i, w_j> ||x_i - x_j||^2 in the frame."""
        return float(2 * self._mass @ self._spread)

    def aggregates(self) -> tuple[Array, Array, Array]:
        """Mass, mean and spread, as the sweeps carry them along."""
        return self._mass, self._mean, self._spread

    def _sum_up(self) -> None:
        self._kernels.aggregate(*self._frame.arguments, self._weights, *self.aggregates())
        self._tops[:] = self._mass, self._spread


class _Direct:
    """Sweeps over the matrix of all distances."""

    def __init__(self, frame: _Frame, start: Array, visits: Array, rule: _Rule) -> None:
        from deep_clustering.methods.clustering import pac_kernels as kernels

        self._kernels, self._frame, self._visits, self._rule = kernels, frame, visits, rule
        self._distances = frame.squared_distances()
        self._probabilities = start
        self._weights = np.ascontiguousarray(start.T)
        if rule.weights == "power":
            self._weights **= rule.m

    def sweep(self) -> float:
        """One sweep; returns the mean change of a row."""
        return self._kernels.sweep_matrix(
            self._distances,
            self._visits,
            *self._rule.response,
            self._probabilities,
            self._weights,
        )

    def objective(self) -> float:
        """sum_ij <w_i, w_j> ||x_i - x_j||^2 in the frame."""
        return float(np.vdot(self._weights @ self._distances, self._weights))

    def aggregates(self) -> tuple[Array, Array, Array]:
        """Mass, mean and spread, summed up from the weights."""
        clusters, d = len(self._weights), self._frame.points.shape[1]
        mass, mean, spread = np.empty(clusters), np.empty((clusters, d)), np.empty(clusters)
        weights = np.ascontiguousarray(self._weights.T)
        self._kernels.aggregate(*self._frame.arguments, weights, mass, mean, spread)
        return mass, mean, spread


def fit(config: PACConfig, points: Array, seed: int) -> Fitted:
    """P of `points` (n, d) by `PAC`; see `Method.fit`."""
    points = prepared(points, unit=config.unit, clusters=config.clusters)
    settings: dict[str, Any] = {
        "m": config.m,
        "metric": config.metric,
        "weights": config.weights,
        "exponent": config.exponent,
        "uniformity": config.uniformity,
        "tol": config.tol,
        "min_iter": config.min_iter,
        "max_iter": config.max_iter,
        "order": config.order,
        "form": "direct" if _few(points) else "linear",  # as "auto", for both calls
        "random_state": seed,
    }
    with warnings.catch_warnings():  # two points of the same type: everything is compiled by them
        warnings.simplefilter("ignore", ConvergenceWarning)
        PAC(2, **settings).fit(np.repeat(np.array([[1], [2]], np.float32), points.shape[1], axis=1))
    estimator = PAC(config.clusters, **settings)
    with stopwatch() as seconds:
        estimator.fit(points)
    probabilities = estimator.probabilities_.astype(np.float64)
    return Fitted(
        labels=probabilities.argmax(1),
        probabilities=probabilities / probabilities.sum(1, keepdims=True),
        info={"sweeps": float(estimator.n_iter_), "objective": estimator.objective_},
        seconds=seconds[0],
    )
