"""Arm minus baseline over finished runs: its mean, its interval, and which runs are pairs.

Pure functions of numbers. Values and differences share the metric's units; intervals over seeds say
nothing about other datasets. Welch's test: Welch 1947; probability of improvement: Agarwal et al.
2021.
"""

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import special

from deep_clustering.platform.errors import InputError

Array = NDArray[np.float64]

#: What two runs share that are compared with each other, e.g. (pretraining stage, seed).
Pair = Hashable

#: Below this many pairs no sign-flip p can reach .05: the smallest is 2 / 2**n.
FEWEST_FLIPS = 6

#: Up to this many pairs all 2**n signs are tried; the sums of half of them take 4 MiB.
MOST_FLIPS = 20

_ROUNDING = 8 * float(np.finfo(np.float64).eps)  # relative size of what subtraction leaves of 0


@dataclass(frozen=True, kw_only=True)
class MeanDifference:
    """Arm minus baseline, in the metric's units, over finished runs."""

    n: int  # pairs; unpaired: runs of the smaller arm
    paired: bool
    delta: float  # mean of the arm minus mean of the baseline
    sd: float  # of the paired differences; unpaired: pooled over the arms
    error: float  # standard error of delta
    freedom: float  # degrees of freedom of the t distribution
    interval: tuple[float, float]  # 95 %
    correlation: float | None  # of paired values; None when unpaired or an arm is constant
    effect: float | None  # delta in pooled standard deviations of the arms; None where those are 0
    improvement: float  # probability that a run of the arm exceeds one of the baseline, ties half
    sign_flip: float | None  # exact two-sided p; None unpaired, or n outside 6 to 20


def interval(values: Sequence[float], level: float = 0.95) -> tuple[float, float] | None:
    """The t interval of a mean, None for fewer than two values.

    Args:
        values: of independent runs, any unit.
        level: coverage, in (0, 1).

    Raises:
        InputError: a value is not finite, or the level is not inside (0, 1).
    """
    if not 0 < level < 1:
        raise InputError(f"A level lies between 0 and 1, not at {level}; 0.95 is usual.")
    x = np.asarray(values, np.float64)
    if not np.isfinite(x).all():
        raise InputError("An interval needs finite values; leave out runs without a result.")
    if len(x) < 2:
        return None
    return _around(float(x.mean()), _sd(x) / math.sqrt(len(x)), len(x) - 1, level)


def difference(arm: Mapping[Pair, float], baseline: Mapping[Pair, float]) -> MeanDifference | None:
    """Arm minus baseline: paired where the smaller arm's runs all have a partner, else Welch.

    Arms are paired when at least two keys are shared and no key of the smaller arm is without
    partner; further runs of the larger arm are then left out, since they cannot be paired. Arms
    that overlap only in part are compared unpaired, with all their runs, which is cautious where
    partners resemble each other.

    Args:
        arm: value of each finished run.
        baseline: likewise.

    Returns:
        None when either arm has fewer than two runs. Differences without any spread have error 0
        and an interval of no width.

    Raises:
        InputError: a value is not finite.
    """
    check_finite(arm, baseline)
    if min(len(arm), len(baseline)) < 2:
        return None
    a, b, paired = _aligned(arm, baseline)
    noise = _noise(a, b)
    delta = _unless_noise(float(a.mean() - b.mean()), noise)
    variances, counts = _variances(a, b), (len(a), len(b))
    pooled = math.sqrt(np.average(variances, weights=[count - 1 for count in counts]))
    flips, correlation = None, None
    if paired:
        sd = _unless_noise(_sd(a - b), noise)
        error, freedom = sd / math.sqrt(len(a)), float(len(a) - 1)
        if min(variances) > 0:
            correlation = float(np.clip(np.corrcoef(a, b)[0, 1], -1, 1))
        if FEWEST_FLIPS <= len(a) <= MOST_FLIPS:
            flips = _sign_flip(a - b, noise)
    else:
        sd = pooled
        error, freedom = (float(x) for x in welch(variances, counts, np.zeros(())))
    above = (a[:, None] > b).mean() + (a[:, None] == b).mean() / 2
    return MeanDifference(
        n=min(counts),
        paired=paired,
        delta=delta,
        sd=sd,
        error=error,
        freedom=freedom,
        interval=_around(delta, error, freedom, 0.95),
        correlation=correlation,
        effect=delta / pooled if pooled > 0 else None,
        improvement=float(above),
        sign_flip=flips,
    )


def extended(
    arm: Mapping[Pair, float], baseline: Mapping[Pair, float], today: MeanDifference, further: Array
) -> tuple[Array, Array]:
    """Standard error and freedom with `further` seeds in both arms, at today's deviations."""
    a, b, paired = _aligned(arm, baseline)
    if paired:
        n = today.n + further
        return today.sd / np.sqrt(n), n - 1
    return welch(_variances(a, b), (len(a), len(b)), further)


def welch(variances: Sequence[float], counts: Sequence[int], further: Array) -> tuple[Array, Array]:
    """Standard error and freedom of a difference of two means, `further` runs added to both."""
    a, b = (v / (n + further) for v, n in zip(variances, counts, strict=True))
    n, m = (count + further for count in counts)
    total = a + b
    with np.errstate(invalid="ignore"):
        share = np.where(total > 0, a / total, 0.0)
    freedom = 1 / (share**2 / (n - 1) + (1 - share) ** 2 / (m - 1))
    return np.sqrt(total), np.where(total > 0, freedom, n + m - 2)


def check_finite(*arms: Mapping[Pair, float]) -> None:
    for arm in arms:
        for key, value in arm.items():
            if not math.isfinite(value):
                raise InputError(
                    f"Finished runs have finite values, but {key!r} has {value}; "
                    f"count it as failed."
                )


def _aligned(
    arm: Mapping[Pair, float], baseline: Mapping[Pair, float]
) -> tuple[Array, Array, bool]:
    """Values of both arms, in the order of their pairs if the last is true."""
    smaller, larger = sorted((arm, baseline), key=len)
    paired = all(key in larger for key in smaller)
    a, b = (
        np.array([runs[key] for key in (smaller if paired else runs)], np.float64)
        for runs in (arm, baseline)
    )
    return a, b, paired


def _sd(x: Array) -> float:
    """Standard deviation of a sample, exactly 0 for equal values, whose mean may be rounded."""
    return float(x.std(ddof=1)) if np.ptp(x) > 0 else 0.0


def _variances(a: Array, b: Array) -> tuple[float, float]:
    noise = _noise(a, b)
    return _unless_noise(_sd(a), noise) ** 2, _unless_noise(_sd(b), noise) ** 2


def _noise(a: Array, b: Array) -> float:
    """What rounding can leave of a difference of 0, lest it be called certain."""
    return _ROUNDING * float(max(np.abs(a).max(), np.abs(b).max()))


def _unless_noise(x: float, noise: float) -> float:
    return x if abs(x) > noise else 0.0


def _around(centre: float, error: float, freedom: float, level: float) -> tuple[float, float]:
    half = float(special.stdtrit(freedom, (1 + level) / 2)) * error
    return centre - half, centre + half


def _sign_flip(differences: Array, noise: float) -> float:
    """Share of the 2**n choices of signs whose sum is at least as far from 0 as the given one."""
    sums = differences[:1]  # the other half of the signs mirrors this one
    for value in differences[1:]:
        sums = np.concatenate([sums + value, sums - value])
    tolerance = len(differences) * noise  # equal sums differ by rounding
    return float((np.abs(sums) >= abs(differences.sum()) - tolerance).mean())
