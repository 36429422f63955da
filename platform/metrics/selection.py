"""How good a chosen part of the images is, and what an attack costs: numbers of evaluations."""

import numpy as np

from deep_clustering.platform.metrics.arrays import Array
from deep_clustering.platform.metrics.metric import PERCENT, Metric


def quality(chosen: Array, right: Array) -> dict[str, float | None]:
    """Precision, recall and F1 of a choice; RUC, Tables 3 and 5.

    Args:
        chosen: bool (n,).
        right: bool (n,), whether the label of each image is right.

    Returns:
        `precision`, `recall` and `f1`, fractions; None where the choice or what is right is empty.
    """
    both = float(np.count_nonzero(chosen & right))
    precision, recall = _share(both, chosen), _share(both, right)
    return {"precision": precision, "recall": recall, "f1": f1(precision, recall)}


def f1(precision: float | None, recall: float | None) -> float | None:
    """The harmonic mean of precision and recall; 0 where both are 0, None where one is missing."""
    if precision is None or recall is None:
        return None
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def _share(both: float, of: Array) -> float | None:
    count = np.count_nonzero(of)
    return both / count if count else None


METRICS = (
    Metric(
        name="precision",
        title="precision",
        meaning="Share of the chosen images whose label is right.",
        summary="share of the chosen images whose label is right",
        rank=1350,
        unit=PERCENT,
        better="max",
    ),
    Metric(
        name="recall",
        title="recall",
        meaning="Share of the images with a right label that are chosen.",
        summary="share of the images with a right label that are chosen",
        rank=1360,
        unit=PERCENT,
        better="max",
    ),
    Metric(
        name="f1",
        title="F1",
        meaning="Harmonic mean of precision and recall.",
        summary="harmonic mean of precision and recall",
        rank=1370,
        unit=PERCENT,
        better="max",
    ),
    Metric(
        name="accuracy_drop",
        title="accuracy drop",
        meaning="Accuracy that an attack takes away, mean over its strengths.",
        summary="accuracy that an attack takes away, mean over its strengths",
        rank=1380,
        unit=PERCENT,
        low=-1.0,
        better="min",
    ),
)
