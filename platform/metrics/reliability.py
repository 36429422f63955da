"""Calibration without bins: the smooth error, and what isotonic regression says; and by class."""

import numpy as np
from numpy.typing import ArrayLike

from deep_clustering.platform.metrics.arrays import Array, finite
from deep_clustering.platform.metrics.calibration import ece
from deep_clustering.platform.metrics.metric import PERCENT, Metric

#: Points of the grid on [0, 1] on which residuals are smoothed.
GRID = 2000

_HALVINGS = 30  # of [0, 1], in which the width of the kernel lies


def ece_smooth(confidence: ArrayLike, correct: ArrayLike) -> float:
    """The smooth calibration error (Blasiok and Nakkiran 2023): no bins, and no width to choose.

    What is right less the confidence is smoothed over confidence by a Gaussian kernel, reflected at
    0 and 1, of a standard deviation that equals the mean absolute value that is left.

    Args:
        confidence: (N,) in [0, 1].
        correct: (N,) booleans.
    """
    confidence = np.clip(finite(confidence).astype(np.float64), 0, 1)
    place = np.minimum((confidence * GRID).astype(np.int64), GRID - 1)
    residual = np.asarray(correct).astype(np.float64) - confidence
    return width_of(np.bincount(place, residual, GRID) / len(confidence))


def width_of(mass: Array) -> float:
    """The width of the kernel that equals the mean absolute value which it leaves.

    Args:
        mass: what is right less the confidence, summed in cells of equal width over [0, 1].
    """

    waves = _waves(mass)

    def error(width: float) -> float:
        return float(np.abs(_damped(waves, width)).sum())

    low, high = 1 / len(mass), 1.0  # the error falls as the width grows
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if error(middle) > middle else (low, middle)
    return high


def smoothed(mass: Array, width: float) -> Array:
    """Sums in cells over [0, 1] after a Gaussian kernel of that standard deviation, reflected."""
    return _damped(_waves(mass), width)


def _waves(mass: Array) -> Array:
    """The cosine waves of sums in cells: what reflection at both ends leaves."""
    from scipy import fft  # commands that list read the records of this file and need none

    waves: Array = fft.dct(mass, norm="ortho")
    return waves


def _damped(waves: Array, width: float) -> Array:
    """The sums whose waves a Gaussian kernel damps."""
    from scipy import fft

    damped: Array = fft.idct(
        waves * np.exp(-((np.pi * np.arange(len(waves)) * width) ** 2) / 2), norm="ortho"
    )
    return damped


def decomposition(confidence: ArrayLike, correct: ArrayLike) -> dict[str, float]:
    """The parts of the squared error of confidences (CORP: Dimitriadis, Gneiting, Jordan 2021).

    Isotonic regression gives the best confidences that keep the order of the images. The error is
    miscalibration - discrimination + uncertainty.

    Args:
        confidence: (N,) in [0, 1].
        correct: (N,) booleans.

    Returns:
        `miscalibration`: what recalibration would save; `discrimination`: what recalibrated
        confidences save over saying the accuracy of everything; `uncertainty`: the error of that,
        accuracy times its complement. All at least 0.
    """
    from scipy import optimize  # commands that list read the records of this file and need none

    given = np.minimum(finite(confidence).astype(np.float64), 1)
    right = np.asarray(correct).astype(np.float64)
    _, group, counts = np.unique(given, return_inverse=True, return_counts=True)
    shares = np.bincount(group, right) / counts
    best = optimize.isotonic_regression(shares, weights=counts).x[group]
    score, recalibrated = ((given - right) ** 2).mean(), ((best - right) ** 2).mean()
    uncertainty = ((right.mean() - right) ** 2).mean()
    return {
        "miscalibration": max(0.0, float(score - recalibrated)),
        "discrimination": max(0.0, float(uncertainty - recalibrated)),
        "uncertainty": float(uncertainty),
    }


def ece_classwise(probabilities: Array, assignment: ArrayLike, truth: ArrayLike) -> float:
    """The mean over clusters of the `ece` of "this image is of the cluster's class".

    Args:
        probabilities: (N, C).
        assignment: (C,) label that each cluster is matched with, negative for none.
        truth: (N,) labels.
    """
    labels = np.asarray(truth)
    errors = [
        ece(p, labels == label)
        for p, label in zip(probabilities.T, np.asarray(assignment), strict=True)
    ]
    return float(np.mean(errors))


METRICS = (
    Metric(
        name="ece_smooth",
        title="ECE, smooth",
        meaning="Smooth calibration error: a kernel in place of bins. Lower is better.",
        summary="smooth calibration error, a kernel in place of bins",
        rank=61,
        unit=PERCENT,
        better="min",
        needs_labels=True,
        needs_probabilities=True,
    ),
    Metric(
        name="ece_classwise",
        title="ECE, classwise",
        meaning="Mean over clusters of the calibration error of each one's own probability. Lower "
        "is better.",
        summary="mean over clusters of the calibration error of each one's probability",
        rank=62,
        unit=PERCENT,
        better="min",
        needs_labels=True,
        needs_probabilities=True,
    ),
    Metric(
        name="miscalibration",
        title="miscalibration",
        meaning="Part of the squared error of confidences that isotonic recalibration would save. "
        "Lower is better.",
        summary="squared error of confidences that recalibration would save",
        rank=63,
        better="min",
        needs_labels=True,
        needs_probabilities=True,
    ),
    Metric(
        name="discrimination",
        title="discrimination",
        meaning="What recalibrated confidences save of the squared error over saying the accuracy "
        "of every image. Higher is better.",
        summary="squared error that telling images apart saves",
        rank=64,
        better="max",
        needs_labels=True,
        needs_probabilities=True,
    ),
    Metric(
        name="uncertainty",
        title="uncertainty",
        meaning="The squared error of saying the accuracy of every image.",
        summary="squared error of saying the accuracy of every image",
        rank=65,
        needs_labels=True,
        needs_probabilities=True,
    ),
)
