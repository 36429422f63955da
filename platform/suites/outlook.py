"""What further seeds could come to: how many of them a claim needs at least."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy import special

from deep_clustering.platform.suites import evidence
from deep_clustering.platform.suites.evidence import Array, Sample
from deep_clustering.platform.suites.rule import DECISIONS

_OPEN = DECISIONS.index("INCONCLUSIVE")

#: Numbers of further pairs that are tried at first; what lies between two of them is bisected.
_GRID = np.unique(np.floor(np.append(np.arange(1.0, 20.0), np.geomspace(20, 1e6, 80))))


def likely(sample: Sample) -> Array:
    """The ends of the 95 % t intervals of differences, and in between what is nearest to 0.

    One of the three is the true difference that would settle a claim soonest, whatever it claims.

    Args:
        sample: at least 2 pairs each; any shape.

    Returns:
        (3, ...).
    """
    sd = np.sqrt(sample.squares / (sample.n - 1))
    half = special.stdtrit(sample.n - 1, 0.975) * sd / np.sqrt(sample.n)
    low, high = sample.mean - half, sample.mean + half
    return np.stack([low, np.clip(0.0, low, high), high])


def seeds_after(
    sample: Sample, decided: Callable[[Sample], Array], truths: Array, most: int
) -> Array:
    """The smallest number of further pairs that settles claims, if these differ by what is given.

    Standard deviations stay as they are today.

    Args:
        sample: of today, at least 2 pairs each; shape (...).
        decided: codes of the verdicts (`rule.decide`) on samples of shape (..., `most`).
        truths: (any number, ...), mean differences of the further pairs; the one that settles a
            claim first counts.
        most: further pairs that are looked at, at least 1.

    Returns:
        (...), whole numbers; 0 where none settles it.
    """

    def settled(further: Array) -> NDArray[np.bool_]:
        """Whether each of (..., any number) further pairs settles a claim at one of the truths."""
        now = sample.n[..., None]
        n = now + further
        more = (n - 1) / (now - 1)
        grown = evidence.sample(
            n,
            (now * sample.mean[..., None] + further * truths[..., None]) / n,
            sample.squares[..., None] * more,
            sample.freedom[..., None] * more,
            sample.variance[..., None],
        )
        found: NDArray[np.bool_] = (decided(grown) != _OPEN).any(0)
        return found

    grid = np.unique(np.append(_GRID[: np.searchsorted(_GRID, most)], float(most)))
    on_grid = settled(grid)
    first = on_grid.argmax(-1)
    high = grid[first]
    low = np.where(first > 0, grid[first - 1], 0.0)
    while (high - low > 1).any():  # the number lies above the low one
        middle = np.floor((low + high) / 2)
        enough = settled(middle[..., None])[..., 0]
        high, low = np.where(enough, middle, high), np.where(enough, low, middle)
    return np.where(on_grid.any(-1), high, 0.0)
