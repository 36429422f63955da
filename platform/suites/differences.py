"""Means over runs, and arm minus baseline: what counts as one measurement, and how it spreads.

The unit of replication is what was drawn anew for each measurement. Runs on several pretrainings
are measurements of a pretraining each: seeds that share one are averaged first, and the degrees of
freedom are those of the pretrainings (the nested analysis of a balanced design). Runs on a single
pretraining are measurements of a training each, conditional on it: their interval says nothing of
other pretrainings.

Pure functions of numbers. Values and differences share the metric's units; intervals over seeds say
nothing about other datasets. Probability of improvement: Agarwal et al. 2021.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from scipy import special

from deep_clustering.platform.errors import InputError
from deep_clustering.platform.suites import evidence
from deep_clustering.platform.suites.evidence import Array


class Replicate(NamedTuple):
    """What tells the runs of a row apart, and what runs of two rows share that are compared.

    Attributes:
        pretraining: seed of the pretraining that it stands on, None without one.
        seed: of the run; None for a measurement that follows from the pretraining alone.
    """

    pretraining: int | None
    seed: int | None


#: What was drawn anew for each measurement.
Unit = Literal["pretraining", "training"]

_ROUNDING = 8 * float(np.finfo(np.float64).eps)  # relative size of what subtraction leaves of 0


@dataclass(frozen=True, kw_only=True)
class Mean:
    """The mean of a row over its units."""

    unit: Unit
    n: int  # units
    mean: float  # over units
    sd: float | None  # over units; None for n < 2
    sd_within: float | None  # over seeds on one pretraining, pooled; None where none has two
    interval: tuple[float, float] | None  # 95 % t interval over units; None for n < 2


@dataclass(frozen=True, kw_only=True)
class MeanDifference:
    """Arm minus baseline, in the metric's units, over units that both arms have."""

    unit: Unit
    n: int  # units, at least 2
    delta: float  # mean difference
    sd: float  # of the differences
    interval: tuple[float, float]  # 95 %, valid at every look; infinite where little is known
    correlation: float | None  # of the arms over units; None when an arm is constant
    effect: float | None  # delta in pooled standard deviations of the arms; None where those are 0
    improvement: float  # probability that a unit of the arm exceeds one of the baseline, ties half
    spreads: tuple[float, float]  # standard deviations of arm and baseline over units

    def sample(self, freedom: float = 0.0, variance: float = 0.0) -> evidence.Sample:
        """What evidence is computed from, with the variance borrowed from other rows."""
        squares = self.sd**2 * (self.n - 1)
        return evidence.sample(self.n, self.delta, squares, freedom, variance)


def interval(values: Sequence[float]) -> tuple[float, float] | None:
    """The 95 % t interval of a mean, None for fewer than two values.

    Args:
        values: of independent runs, any unit.

    Raises:
        InputError: a value is not finite.
    """
    x = np.asarray(values, np.float64)
    if not np.isfinite(x).all():
        raise InputError("An interval needs finite values; leave out runs without a result.")
    if len(x) < 2:
        return None
    half = float(special.stdtrit(len(x) - 1, 0.975)) * _sd(x) / math.sqrt(len(x))
    return float(x.mean()) - half, float(x.mean()) + half


def unit_of(keys: Sequence[Replicate]) -> Unit:
    """What the measurements of some runs are of."""
    several = len({key.pretraining for key in keys}) > 1
    return "pretraining" if several or any(key.seed is None for key in keys) else "training"


def replication(unit: Unit, n: int, pretrainings: int, runs: int) -> str:
    """What was replicated, in words: "6 seeds on 3 pretrainings".

    Args:
        unit, n: of the measurements.
        pretrainings: that the runs stand on, 0 for runs without one.
        runs: at least n.
    """
    if unit == "pretraining":
        of = f"{n} pretraining{'s' * (n > 1)}"
        return of if runs <= n else f"{runs} seeds on {of}"
    seeds = f"{n} seed{'s' * (n > 1)}"
    return f"{seeds} on one pretraining" if pretrainings else seeds


def by_unit(values: Mapping[Replicate, float], unit: Unit) -> list[float]:
    """One value a unit: seeds that share a pretraining are averaged where that is the unit."""
    if unit == "training":
        return list(values.values())
    return [math.fsum(group) / len(group) for group in _by_pretraining(values).values()]


def _by_pretraining(values: Mapping[Replicate, float]) -> dict[int | None, list[float]]:
    groups: dict[int | None, list[float]] = {}
    for key, value in values.items():
        groups.setdefault(key.pretraining, []).append(value)
    return groups


def mean_of(values: Mapping[Replicate, float]) -> Mean:
    """The mean of a row's finished runs, of which there is at least one.

    Raises:
        InputError: a value is not finite.
    """
    check_finite(values)
    unit = unit_of(list(values))
    each = np.array(by_unit(values, unit), np.float64)
    groups = _by_pretraining(values).values()
    freedom = sum(len(group) - 1 for group in groups)
    within = sum(_sd(np.array(group)) ** 2 * (len(group) - 1) for group in groups)
    return Mean(
        unit=unit,
        n=len(each),
        mean=float(each.mean()),
        sd=_sd(each) if len(each) > 1 else None,
        sd_within=math.sqrt(within / freedom) if freedom else None,
        interval=interval(each.tolist()),
    )


def difference(
    arm: Mapping[Replicate, float], baseline: Mapping[Replicate, float]
) -> MeanDifference | None:
    """Arm minus baseline over the runs that have a partner: same pretraining, same seed.

    A run without a partner is left out. Pairing runs that have nothing in common is no mistake: it
    only gains nothing.

    Returns:
        None where fewer than two units are shared. Differences without any spread have sd 0.

    Raises:
        InputError: a value is not finite.
    """
    check_finite(arm, baseline)
    arm, baseline = _comparable(arm, baseline)
    shared = [key for key in arm if key in baseline]
    unit = unit_of(shared)
    a, b = (np.array(by_unit({k: runs[k] for k in shared}, unit)) for runs in (arm, baseline))
    if len(a) < 2:
        return None
    noise = _noise(a, b)
    delta = _unless_noise(float(a.mean() - b.mean()), noise)
    sd = _unless_noise(_sd(a - b), noise)
    spreads = (_unless_noise(_sd(a), noise), _unless_noise(_sd(b), noise))
    pooled = math.hypot(*spreads) / math.sqrt(2)
    above = (a[:, None] > b).mean() + (a[:, None] == b).mean() / 2
    low, high = evidence.sample(len(a), delta, sd**2 * (len(a) - 1)).bounds(math.log(2 / 0.05))
    return MeanDifference(
        unit=unit,
        n=len(a),
        delta=delta,
        sd=sd,
        interval=(float(low), float(high)),
        correlation=float(np.clip(np.corrcoef(a, b)[0, 1], -1, 1)) if min(spreads) > 0 else None,
        effect=delta / pooled if pooled > 0 else None,
        improvement=float(above),
        spreads=spreads,
    )


def shared_units(arm: Mapping[Replicate, float], baseline: Mapping[Replicate, float]) -> int:
    """How many units both arms have; a difference needs two."""
    arm, baseline = _comparable(arm, baseline)
    shared = [key for key in arm if key in baseline]
    of_pretrainings = unit_of(shared) == "pretraining"
    return len({key.pretraining for key in shared}) if of_pretrainings else len(shared)


def _comparable(
    arm: Mapping[Replicate, float], baseline: Mapping[Replicate, float]
) -> tuple[Mapping[Replicate, float], Mapping[Replicate, float]]:
    """Both arms by pretraining where one of them follows from the pretraining alone."""
    if any(key.seed is None for key in (*arm, *baseline)):
        return _of_pretrainings(arm), _of_pretrainings(baseline)
    return arm, baseline


def _of_pretrainings(values: Mapping[Replicate, float]) -> dict[Replicate, float]:
    """The mean on each pretraining."""
    groups = _by_pretraining(values).items()
    return {Replicate(p, None): math.fsum(group) / len(group) for p, group in groups}


def check_finite(*arms: Mapping[Replicate, float]) -> None:
    for arm in arms:
        for key, value in arm.items():
            if not math.isfinite(value):
                raise InputError(
                    f"Finished runs have finite values, but {tuple(key)!r} has {value}; "
                    f"count it as failed."
                )


def _sd(x: Array) -> float:
    """Standard deviation of a sample, exactly 0 for equal values, whose mean may be rounded."""
    return float(x.std(ddof=1)) if np.ptp(x) > 0 else 0.0


def _noise(a: Array, b: Array) -> float:
    """What rounding can leave of a difference of 0, lest it be called certain."""
    return _ROUNDING * float(max(np.abs(a).max(), np.abs(b).max()))


def _unless_noise(x: float, noise: float) -> float:
    return x if abs(x) > noise else 0.0
