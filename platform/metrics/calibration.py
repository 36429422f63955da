"""How well confidences agree with how often a cluster is right."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from deep_clustering.platform.metrics.arrays import Array, by_confidence, finite
from deep_clustering.platform.metrics.metric import PERCENT, Metric

#: Equal-width bins of the expected calibration error (CDC, Sec. 4.1).
BINS = 15

#: Smallest probability inside the logarithm of the NLL: one image costs at most 27.6 nats.
SMALLEST = 1e-12

_REPEATS = 1000  # simulated heads and bootstrap samples
_PARTS = 16  # of each bin, within which confidences are taken as equal


@dataclass(frozen=True, kw_only=True)
class Floor:
    """The `ece` of perfectly calibrated heads.

    Attributes:
        mean: about half of the heads lie above it.
        point: 95 % lie below it: an `ece` at or below it cannot be told from perfect calibration.
    """

    mean: float
    point: float


def reliability(confidence: ArrayLike, correct: ArrayLike, bins: int = BINS) -> dict[str, Array]:
    """The table behind a reliability diagram: bins of equal width, (low, high].

    0 belongs to the first bin; 1, and what a rounding error puts above it, to the last. Edges are
    compared in the precision of the confidences, so that a float32 0.2 lies on the edge 3/15.

    Args:
        confidence: (N,) in [0, 1].
        correct: (N,) booleans.
        bins: how many.

    Returns:
        `low`, `high` (edges), `count`, `confidence` and `accuracy` (means, NaN in an empty bin),
        each (bins,).
    """
    confidence, correct = finite(confidence), np.asarray(correct)
    which, edges = _bins(confidence, bins)
    counts, right, sums = _per_bin(which, bins, correct, np.minimum(confidence.astype(float), 1))
    with np.errstate(invalid="ignore"):
        return {
            "low": edges[:-1],
            "high": edges[1:],
            "count": counts,
            "confidence": sums / counts,
            "accuracy": right / counts,
        }


def ece(confidence: ArrayLike, correct: ArrayLike, bins: int = BINS) -> float:
    """Expected calibration error: sum over bins of |right - confidence| / N; bins: `reliability`.

    Args:
        confidence: (N,) in [0, 1].
        correct: (N,) booleans.
        bins: of equal width.
    """
    return float(np.abs(_gaps(confidence, correct, bins)).sum())


def ece_equal_mass(confidence: ArrayLike, correct: ArrayLike, bins: int = BINS) -> float:
    """The calibration error with bins of equal count, as far as `bins` divides N.

    Images of equal confidence share their errors evenly, so that the order of the images does not
    matter when a bin's edge falls among them.
    """
    confidence, wrong = by_confidence(confidence, correct)
    gap = (1 - wrong) - confidence
    n = len(gap)
    starts = np.unique(np.arange(bins) * n // bins)
    return float(np.abs(np.add.reduceat(gap, starts)).sum() / n)


def over_and_under(confidence: ArrayLike, correct: ArrayLike, bins: int = BINS) -> dict[str, float]:
    """The two parts of `ece`: bins that are surer than they are right, and bins that are less sure.

    Args:
        confidence: (N,) in [0, 1].
        correct: (N,) booleans.
        bins: as in `ece`.

    Returns:
        `overconfidence` and `underconfidence`, which add up to `ece`.
    """
    gaps = _gaps(confidence, correct, bins)
    return {
        "overconfidence": float(-gaps[gaps < 0].sum()),
        "underconfidence": float(gaps[gaps > 0].sum()),
    }


def ece_debiased(confidence: ArrayLike, correct: ArrayLike, bins: int = BINS) -> float:
    """`ece` less what noise adds to it, at least 0 (Kumar et al. 2019, for absolute distances).

    In each bin the share of right images is taken as normal about the one that was found; what the
    mean distance then is above the distance found is the noise's part. It is too little where a bin
    is calibrated, so that a calibrated head keeps about half of its floor.

    Args:
        confidence: (N,) in [0, 1].
        correct: (N,) booleans.
        bins: as in `ece`.
    """
    from scipy import special  # commands that list read the records of this file and need none

    confidence, correct = finite(confidence), np.asarray(correct)
    which, _ = _bins(confidence, bins)
    count, right, sums = _per_bin(which, bins, correct, np.minimum(confidence.astype(float), 1))
    used = count > 0
    gap = np.abs(right - sums)[used]
    share = right[used] / count[used]
    spread = np.sqrt(count[used] * share * (1 - share))
    with np.errstate(divide="ignore", invalid="ignore"):
        z = gap / spread
        folded = spread * math.sqrt(2 / math.pi) * np.exp(-(z**2) / 2) + gap * special.erf(
            z / math.sqrt(2)
        )
    noise = np.where(spread > 0, folded - gap, 0.0)
    return float(max(0.0, (gap - noise).sum()) / len(confidence))


def ece_interval(
    confidence: ArrayLike,
    correct: ArrayLike,
    floor: Floor,
) -> tuple[float, float]:
    """A 95 % interval of the calibration error, over samples of images of this size.

    The bootstrap's spread about what the error is after its bias, which the bootstrap shows as
    well: resampling adds to the error about as much as sampling did. From 0 where `ece` lies within
    the 95 % of heads that are perfectly calibrated. Simulated coverage: 90 to 100 %. The seed of
    the bootstrap is fixed.

    Args:
        confidence: (N,) in [0, 1].
        correct: (N,) booleans.
        floor: `ece_floor` of these confidences.
    """
    confidence, correct = finite(confidence), np.asarray(correct).astype(bool)
    n = len(confidence)
    cells = _cells(confidence)
    counts = np.stack([_count(cells.part, ~correct), _count(cells.part, correct)], 1)
    used = counts > 0
    drawn = np.zeros((_REPEATS, *counts.shape))
    rng = np.random.default_rng(0)
    drawn[:, used] = rng.multinomial(n, counts[used] / n, _REPEATS)
    gaps = drawn[:, :, 1] - drawn.sum(2) * cells.mean
    errors = np.abs(gaps.reshape(_REPEATS, BINS, _PARTS).sum(2)).sum(1) / n
    found = ece(confidence, correct)
    reach = float(np.quantile(errors, 0.975) - errors.mean())
    bias = float(errors.mean()) - found
    low = 0.0 if found <= floor.point else max(0.0, found - bias - reach)
    return low, min(1.0, found + reach)


def ece_floor(confidence: ArrayLike) -> Floor:
    """The `ece` of a perfectly calibrated head with these confidences: noise, not error.

    Each image is right with exactly its confidence, simulated 1,000 times with a fixed seed.

    Args:
        confidence: (N,) in [0, 1].
    """
    confidence = finite(confidence)
    cells = _cells(confidence)
    used = cells.count > 0
    # The number right among images of equal confidence is binomial.
    right = np.random.default_rng(0).binomial(
        cells.count[used], cells.mean[used], (_REPEATS, int(used.sum()))
    )
    gaps = np.zeros((_REPEATS, BINS * _PARTS))
    gaps[:, used] = right - cells.count[used] * cells.mean[used]
    per_bin = gaps.reshape(_REPEATS, BINS, _PARTS).sum(2)
    errors = np.abs(per_bin).sum(1) / len(confidence)
    return Floor(mean=float(errors.mean()), point=float(np.quantile(errors, 0.95)))


@dataclass(frozen=True, kw_only=True)
class _Cells:
    """Bins cut into parts so narrow that confidences inside a part count as equal.

    Their spread inside a part changes the variance of what is simulated by less than one in a
    thousand.
    """

    part: Array  # (N,) of each image
    count: Array  # (BINS * _PARTS,) images
    mean: Array  # confidence, 0 in an empty part


def _cells(confidence: Array) -> _Cells:
    which, edges = _bins(confidence, BINS)
    clipped = np.minimum(confidence.astype(np.float64), 1)
    offset = (clipped - edges[which]) * BINS * _PARTS
    part = which * _PARTS + np.clip(offset.astype(np.int64), 0, _PARTS - 1)
    count = np.bincount(part, minlength=BINS * _PARTS)
    sums = np.bincount(part, clipped, BINS * _PARTS)
    return _Cells(part=part, count=count, mean=np.clip(sums / np.maximum(count, 1), 0, 1))


def _count(part: Array, chosen: Array) -> Array:
    return np.bincount(part[chosen], minlength=BINS * _PARTS)


def brier(probabilities: Array, own: Array) -> float:
    """Squared distance of the probabilities from the label, summed over classes; in [0, 2].

    Args:
        probabilities: (N, C).
        own: (N,) probability of the cluster matched with each image's label, 0 where there is none:
            the probability of an unmatched cluster is probability of something wrong.
    """
    return float(np.mean((finite(probabilities) ** 2).sum(1) - 2 * finite(own) + 1))


def nll(own: Array) -> float:
    """Negative log-probability of the label's cluster, nats; in [0, 27.6], see `SMALLEST`.

    Args:
        own: as in `brier`.
    """
    return float(-np.log(np.clip(finite(own), SMALLEST, 1)).mean())


def mean_confidence(confidence: Array) -> float:
    """Mean of the largest probability (N,), in [1/C, 1]."""
    return float(np.minimum(finite(confidence).astype(np.float64), 1).mean())


def _gaps(confidence: ArrayLike, correct: ArrayLike, bins: int) -> Array:
    """(right - confidence) / N of each bin (bins,)."""
    confidence, correct = finite(confidence), np.asarray(correct)
    which, _ = _bins(confidence, bins)
    _, right, sums = _per_bin(which, bins, correct, np.minimum(confidence.astype(float), 1))
    gaps: Array = (right - sums) / len(confidence)
    return gaps


def _bins(confidence: Array, bins: int) -> tuple[Array, Array]:
    """The bin (N,) of each confidence, and the edges (bins + 1,)."""
    edges = np.arange(bins + 1) / bins
    inner = edges[1:-1].astype(confidence.dtype if confidence.dtype.kind == "f" else float)
    return np.searchsorted(inner, confidence, side="left"), edges


def _per_bin(which: Array, bins: int, *columns: Array) -> tuple[Array, ...]:
    """Counts, and sums of each column, per bin."""
    sums = (np.bincount(which, column.astype(np.float64), bins) for column in columns)
    return (np.bincount(which, minlength=bins), *sums)


METRICS = (
    Metric(
        name="ece",
        title="ECE",
        meaning="Expected calibration error: mean distance of confidence and accuracy over 15 bins "
        "of equal width. Lower is better.",
        summary="expected calibration error, 15 bins of equal width",
        column="expected calibration error, 15 equal-width bins, 0 to 1",
        rank=40,
        unit=PERCENT,
        better="min",
        worst=1.0,
        objective=True,
        needs_labels=True,
        needs_probabilities=True,
        floor="ece_floor_95",
        every_epoch=True,
        headline=True,
        view=2,
    ),
    Metric(
        name="ece_floor",
        title="ECE floor",
        meaning="The mean ECE of perfectly calibrated heads with these confidences. About half of "
        "them lie above it.",
        summary="mean ECE of perfectly calibrated models at this n",
        column="mean ECE of perfectly calibrated models at this n",
        rank=50,
        unit=PERCENT,
        needs_probabilities=True,
    ),
    Metric(
        name="ece_floor_95",
        title="ECE floor (p95)",
        meaning="The ECE that 95 % of perfectly calibrated heads with these confidences stay "
        "below. An ECE at or below it cannot be told from perfect calibration.",
        summary="ECE that 95 % of perfectly calibrated models stay below at this n",
        rank=51,
        unit=PERCENT,
        needs_probabilities=True,
    ),
    Metric(
        name="ece_low",
        title="ECE, low end",
        meaning="Low end of the 95 % interval of the ECE over samples of images.",
        summary="low end of the 95 % interval of the ECE over samples of images",
        rank=52,
        unit=PERCENT,
        needs_labels=True,
        needs_probabilities=True,
    ),
    Metric(
        name="ece_high",
        title="ECE, high end",
        meaning="High end of the 95 % interval of the ECE over samples of images.",
        summary="high end of the 95 % interval of the ECE over samples of images",
        rank=53,
        unit=PERCENT,
        needs_labels=True,
        needs_probabilities=True,
    ),
    Metric(
        name="ece_debiased",
        title="ECE, debiased",
        meaning="The ECE less what noise adds to it in each bin. Lower is better.",
        summary="expected calibration error less what noise adds to it",
        rank=54,
        unit=PERCENT,
        better="min",
        needs_labels=True,
        needs_probabilities=True,
    ),
    Metric(
        name="overconfidence",
        title="overconfidence",
        meaning="The part of the ECE in bins that are surer than they are right.",
        summary="part of the ECE in bins that are surer than they are right",
        rank=55,
        unit=PERCENT,
        better="min",
        needs_labels=True,
        needs_probabilities=True,
    ),
    Metric(
        name="underconfidence",
        title="underconfidence",
        meaning="The part of the ECE in bins that are less sure than they are right.",
        summary="part of the ECE in bins that are less sure than they are right",
        rank=56,
        unit=PERCENT,
        better="min",
        needs_labels=True,
        needs_probabilities=True,
    ),
    Metric(
        name="ece_equal_mass",
        title="ECE, equal mass",
        meaning="The same with bins of equal count.",
        summary="expected calibration error, 15 bins of equal count",
        rank=60,
        unit=PERCENT,
        better="min",
        needs_labels=True,
        needs_probabilities=True,
    ),
    Metric(
        name="brier",
        title="Brier",
        meaning="Squared error of the probabilities, summed over classes; 0 to 2, lower is better.",
        summary="squared error of the probabilities, summed over classes",
        column="Brier score over classes, 0 to 2",
        rank=70,
        high=2.0,
        better="min",
        worst=2.0,
        objective=True,
        needs_labels=True,
        needs_probabilities=True,
    ),
    Metric(
        name="nll",
        title="NLL",
        meaning="Negative log-likelihood of the matched classes, in nats. Lower is better.",
        summary="negative log-likelihood of the matched labels, nats",
        column="negative log-likelihood, nats",
        rank=80,
        high=27.7,
        better="min",
        worst=27.7,
        objective=True,
        needs_labels=True,
        needs_probabilities=True,
    ),
    Metric(
        name="mean_confidence",
        title="mean confidence",
        meaning="Mean of the largest probability.",
        summary="mean of the largest probability",
        column="mean of the largest probability, 0 to 1",
        rank=120,
        unit=PERCENT,
        needs_probabilities=True,
        every_epoch=True,
        headline=True,
        short="conf",
        view=4,
    ),
)
