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
from deep_clustering.platform.suites.differences import (
    Array,
    MeanDifference,
    Pair,
    check_finite,
    difference,
    extended,
)
from deep_clustering.platform.suites.rule import DECISIONS, Name, decide, senseless
from deep_clustering.platform.suites.significance import among, tost, two_sided

#: Nobody trains more further seeds than this to settle a claim.
MOST_SEEDS = 1000


@dataclass(frozen=True, kw_only=True)
class Question:
    """One published claim, on one dataset, for one metric, and the runs that are to judge it.

    Raises:
        InputError: an unknown direction, a margin that is not positive, a value that is not finite.
    """

    metric: str  # the family over which Holm's correction runs
    direction: Direction  # of arm minus baseline, as claimed
    margin: float  # metric's units, > 0, fixed before looking
    arm: Mapping[Pair, float]  # value of each finished run
    baseline: Mapping[Pair, float]
    published: float | None = None  # printed arm minus baseline; None: nothing to compare with
    published_error: float = 0.0  # its standard error, where the paper prints sd and n
    failed: int = 0  # runs of either arm without a result
    untestable: str | None = None  # a reason known before, e.g. another protocol

    def __post_init__(self) -> None:
        if self.direction not in get_args(Direction):
            raise InputError(
                f"A claim's direction is higher, lower or equal, not {self.direction!r}."
            )
        if not (math.isfinite(self.margin) and self.margin > 0):
            raise InputError(f"A margin is a positive number, not {self.margin}; fix one.")
        if not (math.isfinite(self.published_error) and self.published_error >= 0):
            raise InputError(
                f"A standard error is not negative, but published_error is "
                f"{self.published_error}; leave it at 0 where the paper prints none."
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
    p: float | None  # two-sided, of no difference; "equal": TOST, of a difference >= margin
    adjusted: float | None  # p after Holm; both None when NOT TESTABLE
    further_seeds: int | None  # INCONCLUSIVE: see `judge`; else None


def judge(questions: Sequence[Question], alpha: float = 0.05) -> list[Verdict]:
    """The verdict on each claim, by the rule of `rule.py`.

    `further_seeds` is the smallest number of seeds, added to both arms, that would settle an
    inconclusive claim if means and standard deviations (and the p of the other claims) stayed as
    they are today; None beyond 1000. It is a guess from noisy estimates, and seeds added after
    looking have to be reported as such.

    Args:
        questions: all claims of a suite, of all metrics; Holm's correction needs them together.
        alpha: error probability of the significance and of the equivalence test.

    Raises:
        InputError: alpha outside (0, 1/2).
    """
    if not 0 < alpha < 0.5:
        raise InputError(f"alpha lies between 0 and 0.5, not at {alpha}; 0.05 is usual.")
    cases = [_case(question) for question in questions]
    tested = [case for case in cases if isinstance(case, _Tested)]
    return [
        _verdict(case, tested, alpha)
        if isinstance(case, _Tested)
        else Verdict(
            name="NOT TESTABLE",
            reason=case,
            difference=difference(question.arm, question.baseline),
            p=None,
            adjusted=None,
            further_seeds=None,
        )
        for question, case in zip(questions, cases, strict=True)
    ]


@dataclass(frozen=True, kw_only=True)
class _Tested:
    """A testable claim with its two p values before correction."""

    question: Question
    difference: MeanDifference
    p_difference: float
    p_equal: float


def _verdict(tested: _Tested, everything: Sequence[_Tested], alpha: float) -> Verdict:
    question, ours = tested.question, tested.difference
    family = [t for t in everything if t.question.metric == question.metric]
    others = [t for t in family if t is not tested]

    def after(further: Array) -> tuple[Array, Array, Array]:
        """Corrected p values (difference, equality) and decisions after further seeds."""
        error, freedom = extended(question.arm, question.baseline, ours, further)
        delta = np.full(len(further), ours.delta)
        p_difference = among(two_sided(delta, error, freedom), [t.p_difference for t in others])
        p_equal = among(
            tost(delta, error, freedom, question.margin),
            [t.p_equal for t in others if t.question.direction == "equal"],
        )
        codes = decide(
            delta,
            error,
            freedom,
            p_difference,
            p_equal,
            direction=question.direction,
            published=question.published,
            published_error=question.published_error,
            margin=question.margin,
            alpha=alpha,
        )
        return p_difference, p_equal, codes

    p_difference, p_equal, codes = (x[0] for x in after(np.zeros(1)))
    name = DECISIONS[int(codes)]
    seeds = None
    if name == "INCONCLUSIVE":
        settled = np.not_equal(after(np.arange(1.0, MOST_SEEDS + 1))[2], codes)
        seeds = int(settled.argmax()) + 1 if settled.any() else None
    equal = question.direction == "equal"
    return Verdict(
        name=name,
        reason=_reason(tested, name, float(p_difference), float(p_equal), len(family), alpha),
        difference=ours,
        p=tested.p_equal if equal else tested.p_difference,
        adjusted=float(p_equal if equal else p_difference),
        further_seeds=seeds,
    )


def _case(question: Question) -> _Tested | str:
    """A claim with its tests, or why it cannot be tested."""
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
        n = min(len(question.arm), len(question.baseline))
        return f"n = {n}: a difference needs at least two finished runs of each arm"
    at = (np.array(ours.delta), np.array(ours.error), np.array(ours.freedom))
    return _Tested(
        question=question,
        difference=ours,
        p_difference=float(two_sided(*at)),
        p_equal=float(tost(*at, question.margin)),
    )


def _reason(
    tested: _Tested, name: Name, p_difference: float, p_equal: float, claims: int, alpha: float
) -> str:
    question, ours = tested.question, tested.difference
    low, high = ours.interval
    measured = (
        f"the difference {ours.delta:+.3g} (95 % interval {low:+.3g} to {high:+.3g}, "
        f"n = {ours.n}{'' if ours.paired else ', unpaired'})"
    )
    margin, level = f"{question.margin:.3g}", f"{100 * (1 - 2 * alpha):g} % interval"
    holm = f" after Holm over {claims} claims" if claims > 1 else ""
    p = f"p = {p_difference:.2g}{holm}"
    if question.direction == "equal":
        return {
            "REPLICATED": f"{measured} lies within {margin} of 0 (equivalence p = {p_equal:.2g})",
            "NOT REPLICATED": f"{measured} is significant ({p}) and more than {margin} from 0 "
            f"({level})",
        }.get(
            name,
            f"{measured} is shown neither to lie within {margin} of 0 "
            f"(equivalence p = {p_equal:.2g}) nor to lie beyond",
        )
    if name == "INCONCLUSIVE":
        return f"{measured} is not significant ({p}), nor does its {level} lie within {margin} of 0"
    if name == "NOT REPLICATED":
        if p_difference <= alpha:
            return f"{measured} is significant in the direction opposite to the claim ({p})"
        return (
            f"{measured} lies within {margin} of 0 ({level}), where {question.direction} is claimed"
        )
    significant = f"{measured} is significant in the claimed direction ({p})"
    if question.published is None:
        return f"{significant}; there is no published size to compare it with"
    published = f"the published {question.published:+.3g}"
    if question.published_error:
        published += f" (standard error {question.published_error:.2g})"
    if name == "REPLICATED":
        return f"{significant} and lies within {margin} of {published} ({level})"
    if tested.p_equal <= alpha:
        return f"{significant}, but lies within {margin} of 0 ({level}), against {published}"
    return f"{significant}, but is not shown to lie within {margin} of {published} ({level})"
