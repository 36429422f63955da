"""Whether finished runs bear out published claims; `rule.py` has the rule.

A claim is a published difference of an arm (a row of an ablation) from its baseline, in one metric
on one dataset.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import get_args

import numpy as np

from deep_clustering.ablations._suite import Direction
from deep_clustering.platform.errors import InputError
from deep_clustering.platform.suites import outlook
from deep_clustering.platform.suites.differences import (
    MeanDifference,
    Replicate,
    check_finite,
    difference,
    replication,
    shared_units,
)
from deep_clustering.platform.suites.evidence import Array, Sample
from deep_clustering.platform.suites.rule import DECISIONS, Name, decide, senseless, sign
from deep_clustering.platform.suites.spreads import borrowed

#: Nobody trains more further seeds than this to settle a claim.
MOST_SEEDS = 1000


@dataclass(frozen=True, kw_only=True)
class Question:
    """One published claim, on one dataset, for one metric, and the runs that are to judge it.

    Raises:
        InputError: an unknown direction, a margin that is not positive, a value that is not finite.
    """

    table: tuple[str, ...]  # metric, dataset, ...: claims of one table may share their spread
    direction: Direction  # of arm minus baseline, as claimed
    margin: float  # metric's units, > 0, fixed before looking
    arm: Mapping[Replicate, float]  # value of each finished run
    baseline: Mapping[Replicate, float]
    published: float | None = None  # printed arm minus baseline; None: nothing to compare with
    published_error: float | None = None  # its standard error; None where the paper prints none
    failed: int = 0  # runs of either arm without a result
    untestable: str | None = None  # a reason known before, e.g. another protocol

    def __post_init__(self) -> None:
        if self.direction not in get_args(Direction):
            raise InputError(
                f"A claim's direction is higher, lower or equal, not {self.direction!r}."
            )
        if not (math.isfinite(self.margin) and self.margin > 0):
            raise InputError(f"A margin is a positive number, not {self.margin}; fix one.")
        error = self.published_error
        if error is not None and not (math.isfinite(error) and error >= 0):
            raise InputError(
                f"A standard error is not negative, but published_error is "
                f"{error}; leave it out where the paper prints none."
            )
        if self.published is not None and not math.isfinite(self.published):
            raise InputError(
                f"A published difference is a finite number, not {self.published}; "
                f"leave it out where the paper prints none."
            )
        if self.failed < 0:
            raise InputError(f"A number of failed runs is not negative, but {self.failed} is.")
        check_finite(self.arm, self.baseline)


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What the runs say about a claim."""

    name: Name
    reason: str  # one sentence with the numbers
    difference: MeanDifference | None  # None when an arm has fewer than two runs
    bounds: tuple[float, float] | None  # that the verdict reads; hold for all claims at once
    p: float | None  # 1 / e-value of what is claimed, valid at every look, at most 1
    adjusted: float | None  # the same for all claims of the suite; both None when NOT TESTABLE
    published_error: float | None  # standard error that was used, None for no published difference
    further_seeds: int | None  # both INCONCLUSIVE: see `judge`; else None
    fewest_seeds: int | None


def judge(questions: Sequence[Question], alpha: float = 0.05) -> list[Verdict]:
    """The verdict on each claim, by the rule of `rule.py`.

    A published difference without a printed error has that of single runs, as large as our own
    runs spread. Where a claim's variance is borrowed from others: `spreads.py`.

    `further_seeds` is the smallest number of seeds, added to both arms, that would settle an
    inconclusive claim if means and standard deviations stayed as they are today; None beyond 1000.
    It is a guess from noisy estimates. `fewest_seeds` is the same at the most favourable true
    difference that the runs leave (`outlook.likely`). Seeds may be added after looking.

    Args:
        questions: all claims of a suite, of all metrics and datasets: they share `alpha`.
        alpha: probability that anything false is shown in the suite, at any look.

    Raises:
        InputError: alpha outside (0, 1/2).
    """
    if not 0 < alpha < 0.5:
        raise InputError(f"alpha lies between 0 and 0.5, not at {alpha}; 0.05 is usual.")
    cases = [_case(question) for question in questions]
    tested = [case for case in cases if isinstance(case, _Tested)]
    priors = _priors(tested)
    return [
        _verdict(case, priors[id(case)], len(tested), alpha)
        if isinstance(case, _Tested)
        else Verdict(
            name="NOT TESTABLE",
            reason=case,
            difference=difference(question.arm, question.baseline),
            bounds=None,
            p=None,
            adjusted=None,
            published_error=None,
            further_seeds=None,
            fewest_seeds=None,
        )
        for question, case in zip(questions, cases, strict=True)
    ]


@dataclass(frozen=True, kw_only=True)
class _Tested:
    """A testable claim with its difference, and the error of the published one."""

    question: Question
    difference: MeanDifference

    @property
    def replication(self) -> str:
        """What the difference was measured over, in words."""
        keys = self.question.arm.keys() & self.question.baseline.keys()
        pretrainings = {key.pretraining for key in self.question.arm} - {None}
        runs = max(len(keys), self.difference.n)
        return replication(self.difference.unit, self.difference.n, len(pretrainings), runs)

    @property
    def published_error(self) -> float:
        """Standard error of the published difference: as printed, else of two single runs."""
        given = self.question.published_error
        return math.hypot(*self.difference.spreads) if given is None else given


@dataclass(frozen=True, kw_only=True)
class _Prior:
    """The variance that a claim's differences borrow; see `spreads.borrowed`."""

    freedom: float
    variance: float


def _priors(tested: Sequence[_Tested]) -> dict[int, _Prior]:
    """By identity of the claim: what it borrows from the other claims of its table."""
    tables: dict[tuple[str, ...], list[_Tested]] = {}
    for case in tested:
        tables.setdefault(case.question.table, []).append(case)
    found: dict[int, _Prior] = {}
    for table in tables.values():
        variances = np.array([case.difference.sd**2 for case in table])
        freedom = np.array([case.difference.n - 1.0 for case in table])
        for case, f, v in zip(table, *borrowed(variances, freedom), strict=True):
            found[id(case)] = _Prior(freedom=float(f), variance=float(v))
    return found


def _verdict(tested: _Tested, prior: _Prior, claims: int, alpha: float) -> Verdict:
    question, ours = tested.question, tested.difference

    def decided(sample: Sample) -> Array:
        return decide(
            sample,
            direction=question.direction,
            published=question.published,
            published_error=tested.published_error,
            margin=question.margin,
            claims=claims,
            alpha=alpha,
        )

    sample = ours.sample(prior.freedom, prior.variance)
    code = int(decided(sample))
    seeds = fewest = None
    if DECISIONS[code] == "INCONCLUSIVE":
        today = np.array([ours.delta])
        seeds = int(outlook.seeds_after(sample, decided, today, MOST_SEEDS)) or None
        likely = outlook.likely(sample)
        fewest = int(outlook.seeds_after(sample, decided, likely, MOST_SEEDS)) or None
    low, high = sample.bounds(math.log(claims / alpha))
    p = math.exp(-max(0.0, _log_evidence(question, sample)))
    bounds = (float(low), float(high))
    return Verdict(
        name=DECISIONS[code],
        reason=_reason(tested, DECISIONS[code], bounds, claims, alpha),
        difference=ours,
        bounds=bounds,
        p=p,
        adjusted=min(1.0, claims * p),
        published_error=None if question.published is None else tested.published_error,
        further_seeds=seeds,
        fewest_seeds=fewest,
    )


def _log_evidence(question: Question, sample: Sample) -> float:
    """Log of the e-value for what is claimed."""
    if question.direction == "equal":
        margin = question.margin
        return float(min(sample.above(-margin), sample.below(margin)))
    return float(sample.above(0.0) if sign(question.direction) > 0 else sample.below(0.0))


def _case(question: Question) -> _Tested | str:
    """A claim with its difference, or why it cannot be tested."""
    if question.untestable is not None:
        return question.untestable
    if question.published is not None:
        reason = senseless(question.direction, question.published, question.margin)
        if reason:
            return reason
    if question.failed:
        runs = "run has" if question.failed == 1 else "runs have"
        return f"{question.failed} {runs} no result, and the runs that finished may be a selection"
    ours = difference(question.arm, question.baseline)
    if ours is None:
        n = shared_units(question.arm, question.baseline)
        if n == 1 and any(key.seed is None for key in (*question.arm, *question.baseline)):
            return (
                "n = 1: what follows from the pretraining alone was measured on one; "
                "--replicate pretraining gives every seed one of its own"
            )
        return (
            f"n = {n}: a difference needs at least two measurements of each arm with "
            "the same pretraining and seed"
        )
    return _Tested(question=question, difference=ours)


def _reason(
    tested: _Tested, name: Name, bounds: tuple[float, float], claims: int, alpha: float
) -> str:
    question, ours = tested.question, tested.difference
    among = f", for all {claims} claims at once" if claims > 1 else ""
    measured = (
        f"the difference {ours.delta:+.3g} over {tested.replication} "
        f"({_between(bounds)} with {100 * (1 - alpha):g} % on either side{among})"
    )
    margin, way = f"{question.margin:.3g}", question.direction
    if way == "equal":
        return {
            "REPLICATED": f"{measured} lies within {margin} of 0",
            "NOT REPLICATED": f"{measured} is more than {margin} from 0",
        }.get(name, f"{measured} is shown neither to lie within {margin} of 0 nor to lie beyond")
    below = f"smaller than {margin}" if way == "higher" else f"a smaller loss than {margin}"
    if name == "INCONCLUSIVE":
        return f"{measured} is shown neither to be {way} nor to be {below}"
    if name == "NOT REPLICATED":
        return f"{measured} is {below}, where {way} by {_size(question)} is claimed"
    if name == "SMALLER":
        return f"{measured} is {way} as claimed, but {below}; {_size(question)} is claimed"
    if question.published is None:
        return f"{measured} is {way} as claimed; there is no published size to compare it with"
    size = f"{margin} of the published {_published(tested)}"
    if name == "REPLICATED":
        return f"{measured} is {way} as claimed and lies within {size}"
    return f"{measured} is {way} as claimed, but is not shown to lie within {size}"


def _between(bounds: tuple[float, float]) -> str:
    low, high = bounds
    if math.isinf(low) and math.isinf(high):
        return "not bounded yet"
    ends = (
        "" if math.isinf(low) else f"at least {low:+.3g}",
        "" if math.isinf(high) else f"at most {high:+.3g}",
    )
    return " and ".join(filter(None, ends))


def _size(question: Question) -> str:
    return f"{abs(question.published or question.margin):.3g}"


def _published(tested: _Tested) -> str:
    question = tested.question
    text = f"{question.published:+.3g} (standard error {tested.published_error:.2g}"
    return text + (")" if question.published_error is not None else " if its runs spread as ours)")
