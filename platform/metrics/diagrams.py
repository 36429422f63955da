"""Reliability diagrams without bins: isotonic with its band (CORP), and smooth.

Both are drawn from counts in cells of confidence so narrow that what is inside one counts as equal;
cells of several runs add up.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from deep_clustering.platform.metrics.arrays import Array, finite
from deep_clustering.platform.metrics.reliability import smoothed, width_of

#: Cells of equal width over [0, 1].
CELLS = 500

_REPEATS = 200  # calibrated heads behind a band
_POINTS = 100  # of a smooth diagram


@dataclass(frozen=True, kw_only=True)
class Cells:
    """Images in cells of confidence, each (CELLS,).

    Attributes:
        count: images.
        confidence: sum of their confidences.
        right: how many are right.
    """

    count: Array
    confidence: Array
    right: Array

    def __add__(self, other: "Cells") -> "Cells":
        return Cells(
            count=self.count + other.count,
            confidence=self.confidence + other.confidence,
            right=self.right + other.right,
        )


def cells(confidence: ArrayLike, correct: ArrayLike) -> Cells:
    """Count images.

    Args:
        confidence: (N,) in [0, 1].
        correct: (N,) booleans.
    """
    given = np.clip(finite(confidence).astype(np.float64), 0, 1)
    place = np.minimum((given * CELLS).astype(np.int64), CELLS - 1)
    right = np.asarray(correct).astype(np.float64)
    return Cells(
        count=np.bincount(place, minlength=CELLS),
        confidence=np.bincount(place, given, CELLS),
        right=np.bincount(place, right, CELLS),
    )


def corp(found: Cells) -> dict[str, Array]:
    """The isotonic reliability diagram with its band (Dimitriadis, Gneiting, Jordan 2021).

    Args:
        found: of at least one image.

    Returns:
        `confidence` of each cell with images, rising; `count`; `accuracy` by isotonic regression,
        which needs no bins; `low` and `high`, between which it lies at that confidence for 95 % of
        perfectly calibrated heads.
    """
    from scipy import optimize  # commands that list read the records of this folder and need none

    used = found.count > 0
    count = found.count[used]
    confidence = found.confidence[used] / count

    def isotonic(right: Array) -> Array:
        fitted: Array = optimize.isotonic_regression(right / count, weights=count).x
        return fitted

    drawn = np.random.default_rng(0).binomial(count, confidence, (_REPEATS, len(count)))
    low, high = np.quantile([isotonic(right) for right in drawn], [0.025, 0.975], axis=0)
    return {
        "confidence": confidence,
        "count": count,
        "accuracy": isotonic(found.right[used]),
        "low": low,
        "high": high,
    }


def smooth(found: Cells) -> dict[str, Array]:
    """The smooth reliability diagram (Blasiok and Nakkiran 2023), at the width of the smooth ECE.

    Args:
        found: of at least one image.

    Returns:
        `confidence` from the lowest to the highest, and `accuracy` of the images about it; (100,).
    """
    width = width_of((found.right - found.confidence) / found.count.sum())
    right, count = (smoothed(np.asarray(x, float), width) for x in (found.right, found.count))
    used = np.flatnonzero(found.count)
    places = np.unique(np.linspace(used[0], used[-1], _POINTS).astype(np.int64))
    places = places[count[places] > 0]
    return {"confidence": (places + 0.5) / CELLS, "accuracy": right[places] / count[places]}
