"""What further seeds could come to: how many of them a claim needs at least."""

from collections.abc import Callable

import numpy as np
from scipy import special

from deep_clustering.platform.suites import evidence
from deep_clustering.platform.suites.evidence import Array, Sample
from deep_clustering.platform.suites.rule import DECISIONS

_OPEN = DECISIONS.index("INCONCLUSIVE")


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
    now, further = sample.n[..., None], np.arange(1.0, most + 1)
    n = now + further
    more = (n - 1) / (now - 1)
    settled = np.zeros(np.broadcast_shapes((*sample.mean.shape, 1), n.shape), bool)
    for truth in truths:
        codes = decided(
            evidence.sample(
                n,
                (now * sample.mean[..., None] + further * truth[..., None]) / n,
                sample.squares[..., None] * more,
                sample.freedom[..., None] * more,
                sample.variance[..., None],
            )
        )
        settled |= codes != _OPEN
    return np.where(settled.any(-1), settled.argmax(-1) + 1, 0)
