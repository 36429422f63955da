"""How well confidences agree with how often a cluster is right."""

import numpy as np
from numpy.typing import ArrayLike

from deep_clustering.platform.metrics.arrays import Array, by_confidence, finite
from deep_clustering.platform.metrics.metric import PERCENT, Metric

#: Equal-width bins of the expected calibration error (CDC, Sec. 4.1).
BINS = 15

#: Smallest probability inside the logarithm of the NLL: one image costs at most 27.6 nats.
SMALLEST = 1e-12

_FLOOR_REPEATS = 100  # simulated heads; the floor's standard error is a tenth of one head's spread
_FLOOR_PARTS = 64  # of each bin, within which confidences are taken as equal


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
    confidence, correct = finite(confidence), np.asarray(correct)
    which, _ = _bins(confidence, bins)
    _, right, sums = _per_bin(which, bins, correct, np.minimum(confidence.astype(float), 1))
    return float(np.abs(right - sums).sum() / len(confidence))


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


def ece_floor(confidence: ArrayLike, bins: int = BINS, seed: int = 0) -> float:
    """The mean `ece` of a perfectly calibrated head with these confidences: noise, not error.

    Each image is right with exactly its confidence, simulated 100 times with a fixed seed. An
    `ece` at or below this value cannot be told from perfect calibration at this N.

    Args:
        confidence: (N,) in [0, 1].
        bins: as in `ece`.
        seed: of the simulation.
    """
    confidence = finite(confidence)
    which, edges = _bins(confidence, bins)
    clipped = np.minimum(confidence.astype(np.float64), 1)
    # The number right among images of equal confidence is binomial. Each bin is cut into parts so
    # narrow that their spread inside a part changes the variance by less than one in a thousand.
    offset = (clipped - edges[which]) * bins * _FLOOR_PARTS
    part = which * _FLOOR_PARTS + np.clip(offset.astype(np.int64), 0, _FLOOR_PARTS - 1)
    counts = np.bincount(part, minlength=bins * _FLOOR_PARTS)
    sums = np.bincount(part, clipped, bins * _FLOOR_PARTS)
    used = counts > 0
    chance = np.clip(sums[used] / counts[used], 0, 1)
    right = np.random.default_rng(seed).binomial(
        counts[used], chance, (_FLOOR_REPEATS, int(used.sum()))
    )
    gaps = np.zeros((_FLOOR_REPEATS, bins * _FLOOR_PARTS))
    gaps[:, used] = right - sums[used]
    per_bin = gaps.reshape(_FLOOR_REPEATS, bins, _FLOOR_PARTS).sum(2)
    return float(np.abs(per_bin).sum(1).mean() / len(confidence))


def brier(probabilities: Array, own: Array) -> float:
    """Squared distance of the probabilities from the label, summed over classes; in [0, 2].

    Args:
        probabilities: (N, C).
        own: (N,) probability of the cluster matched with each image's label, 0 where there is none:
            the probability of an unmatched cluster is probability of something wrong.
    """
    return float(np.mean((probabilities**2).sum(1) - 2 * own + 1))


def nll(own: Array) -> float:
    """Negative log-probability of the label's cluster, nats; in [0, 27.6], see `SMALLEST`.

    Args:
        own: as in `brier`.
    """
    return float(-np.log(np.clip(own, SMALLEST, 1)).mean())


def mean_confidence(confidence: Array) -> float:
    """Mean of the largest probability (N,), in [1/C, 1]."""
    return float(np.minimum(confidence.astype(np.float64), 1).mean())


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
        floor="ece_floor",
        every_epoch=True,
        headline=True,
        view=2,
    ),
    Metric(
        name="ece_floor",
        title="ECE floor",
        meaning="The ECE that a perfectly calibrated head shows with these confidences. An ECE at "
        "or below it cannot be told from perfect calibration.",
        summary="ECE that a perfectly calibrated model shows at this n",
        column="ECE that a perfectly calibrated model shows at this n",
        rank=50,
        unit=PERCENT,
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
