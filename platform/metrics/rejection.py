"""How well confidence tells right images from wrong ones."""

import numpy as np
from numpy.typing import ArrayLike

from deep_clustering.platform.metrics.arrays import Array, by_confidence, finite
from deep_clustering.platform.metrics.metric import PERCENT, Metric, Unit


def failure_rejection(confidence: ArrayLike, correct: ArrayLike) -> dict[str, float | None]:
    """How well confidence tells right from wrong (Zhu et al. 2022); right is the positive class.

    Args:
        confidence: (N,).
        correct: (N,) booleans.

    Returns:
        `auroc`: area under the ROC. `fpr95`: the smallest share of wrong images kept by a
        threshold that keeps at least 95 % of the right ones. Both None when there are only right
        or only wrong images. `aurc`: the mean over j = 1..N of the share of errors among the j
        most confident images, a fraction (papers often print it times 1000); images of equal
        confidence share their errors evenly.
    """
    confidence, correct = finite(confidence), np.asarray(correct).astype(bool)
    n = len(confidence)
    _, wrong = by_confidence(confidence, correct)
    aurc = float((np.cumsum(wrong) / np.arange(1, n + 1)).mean())
    good = int(correct.sum())
    bad = n - good
    if not good or not bad:
        return {"auroc": None, "aurc": aurc, "fpr95": None}
    _, group = np.unique(-confidence, return_inverse=True)  # groups of equals, surest first
    right = np.bincount(group, correct)
    false = np.bincount(group, ~correct)
    above = np.cumsum(right)
    auroc = float((false * (above - right / 2)).sum() / good / bad)
    first = int(np.argmax(above / good >= 0.95))
    return {"auroc": auroc, "aurc": aurc, "fpr95": float(np.cumsum(false)[first] / bad)}


def risk_coverage(
    confidence: ArrayLike, correct: ArrayLike, points: int = 200
) -> tuple[Array, Array]:
    """The curve of failure rejection: errors among the most confident images, by how many are kept.

    The mean of the risks at all N ranks is `aurc` of `failure_rejection`; as there, images of equal
    confidence share their errors evenly, so that the order of the images does not matter.

    Args:
        confidence: (N,), N at least 1.
        correct: (N,) booleans.
        points: at most so many ranks out of 1..N, evenly spaced, the last of them N.

    Returns:
        Coverage, the share of images kept, in (0, 1] and ascending, and risk, the share of errors
        among them, in [0, 1]; each (min(points, N),).

    Raises:
        ValueError: no images, or no points.
    """
    n = len(np.asarray(confidence))
    if n < 1 or points < 1:
        raise ValueError(f"a curve needs at least 1 image and 1 point, got {n} and {points}")
    _, wrong = by_confidence(confidence, correct)
    used = min(points, n)
    ranks = -(-np.arange(1, used + 1) * n // used)  # rounded up
    return ranks / n, np.cumsum(wrong)[ranks - 1] / ranks


METRICS = (
    Metric(
        name="auroc",
        title="AUROC",
        meaning="How well confidence ranks right before wrong images: area under the ROC curve. "
        "50 is chance. For out-of-distribution sets: own images before others.",
        summary="right told from wrong by confidence: area under the ROC",
        column="failure rejection: area under the ROC curve, 0 to 1",
        rank=90,
        unit=PERCENT,
        better="max",
        worst=0.0,
        objective=True,
        needs_labels=True,
        needs_probabilities=True,
    ),
    Metric(
        name="aurc",
        title="AURC",
        meaning="Area under the risk-coverage curve, times 1000: mean share of errors among the "
        "most confident images. Lower is better.",
        summary="area under the risk-coverage curve",
        column="failure rejection: area under the risk-coverage curve, 0 to 1",
        rank=100,
        unit=Unit(factor=1000, decimals=1, suffix=" ×10³"),
        better="min",
        worst=1.0,
        objective=True,
        needs_labels=True,
        needs_probabilities=True,
    ),
    Metric(
        name="fpr95",
        title="FPR95",
        meaning="Share of wrong images that are kept when 95 % of the right ones are. Lower is "
        "better. For out-of-distribution sets: share of the others that are kept.",
        summary="wrong images kept when 95 % of the right ones are",
        column="failure rejection: false positive rate at 95 % recall, 0 to 1",
        rank=110,
        unit=PERCENT,
        better="min",
        worst=1.0,
        objective=True,
        needs_labels=True,
        needs_probabilities=True,
    ),
)
