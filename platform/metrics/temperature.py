"""What calibration could be had with labels: one temperature, fitted to them (Guo et al. 2017).

An oracle: the temperature is fitted on the labels of the images that it is scored on, which no
method here sees. It shows how much of an ECE is a matter of scale only.
"""

import numpy as np
from numpy.typing import ArrayLike

from deep_clustering.platform.metrics.arrays import Array, finite
from deep_clustering.platform.metrics.calibration import SMALLEST, ece
from deep_clustering.platform.metrics.metric import PERCENT, Metric

#: Temperatures that are looked at.
COLDEST, HOTTEST = 1 / 64, 64.0


def with_temperature(probabilities: Array, own: ArrayLike, correct: ArrayLike) -> dict[str, float]:
    """The temperature with the smallest negative log-likelihood of the labels, and its ECE.

    Probabilities become p^(1/T), scaled to a sum of 1; clusters and their matching stay.

    Args:
        probabilities: (N, C).
        own: (N,) column of the cluster matched with each image's label, -1 where there is none:
            such images are scored, and say nothing of the temperature.
        correct: (N,) whether an image's own cluster is the matched one.

    Returns:
        `temperature` in [1/64, 64], above 1 for an overconfident head; `ece_temperature`.
    """
    from scipy import optimize  # commands that list read the records of this file and need none

    logs = np.log(np.clip(finite(probabilities).astype(np.float64), SMALLEST, 1))
    logs -= logs.max(1, keepdims=True)
    own = np.asarray(own)
    known = own >= 0
    inside, mine = logs[known], logs[known, own[known]]

    def slope(log_scale: float) -> float:
        """Of the mean negative log-likelihood over 1 / T, which is convex."""
        scaled = np.exp(inside * np.exp(log_scale))
        return float(((scaled * inside).sum(1) / scaled.sum(1) - mine).mean())

    low, high = -np.log(HOTTEST), -np.log(COLDEST)
    if not known.any() or slope(low) >= 0:
        best = HOTTEST
    elif slope(high) <= 0:
        best = COLDEST
    else:
        best = float(np.exp(-optimize.brentq(slope, low, high, xtol=1e-13)))
    confidence = 1 / np.exp(logs / best).sum(1)  # of the largest, whose logarithm is 0
    return {"temperature": best, "ece_temperature": ece(confidence, correct)}


METRICS = (
    Metric(
        name="temperature",
        title="temperature, set with labels",
        meaning="The temperature that fits the labels best; above 1 the head is overconfident. An "
        "oracle: it is fitted on the labels that it is scored with.",
        summary="temperature that fits the labels best, an oracle",
        rank=66,
        low=COLDEST,
        high=HOTTEST,
        needs_labels=True,
        needs_probabilities=True,
    ),
    Metric(
        name="ece_temperature",
        title="ECE, temperature set with labels",
        meaning="The ECE after dividing logits by that temperature. An oracle: no method here "
        "could reach it without labels. Lower is better.",
        summary="calibration error with the temperature that fits the labels, an oracle",
        rank=67,
        unit=PERCENT,
        better="min",
        needs_labels=True,
        needs_probabilities=True,
    ),
)
