"""Whether finished runs bear out a published claim: intervals, tests and one written rule.

A claim is a published difference of an arm (a row of an ablation) from its baseline, in one metric
on one dataset. "Significant" is said of the two-sided t test of the difference, paired where the
runs are, at alpha after Holm's correction over all testable claims of the same metric. "Within the
margin of x" is said when the interval of level 1 - 2 alpha (90 %) lies inside x +- margin, which is
two one-sided t tests (TOST) at alpha. The first line that holds is the verdict.

A higher or lower value is claimed:

- NOT TESTABLE: n < 2, failed runs, another protocol, a margin above half the published difference,
  or a published difference of the other sign.
- REPLICATED: significant as claimed, and within the margin of the published difference.
- DIRECTION ONLY: significant as claimed.
- NOT REPLICATED: significant in the other direction, or within the margin of 0.
- INCONCLUSIVE: anything else.

No difference is claimed ("equal"):

- NOT TESTABLE: n < 2, failed runs, another protocol, or a published difference above the margin.
- REPLICATED: within the margin of 0. Several such claims in one metric are corrected among
  themselves: the p values of their TOST go through Holm as well.
- NOT REPLICATED: significant, and the 90 % interval lies wholly outside +- margin. A difference
  that is significant but may still be smaller than the margin does not contradict the claim.
- INCONCLUSIVE: anything else.

"Not significantly different from the paper" is therefore never a success.

Pure functions of numbers. Values, margins and differences share the metric's units; intervals over
seeds say nothing about other datasets. Welch's test: Welch 1947; Holm: Holm 1979; equivalence:
Schuirmann 1987; probability of improvement: Agarwal et al. 2021.
"""

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray
from scipy import special

from deep_clustering.platform.errors import InputError

Array = NDArray[Any]

#: What two runs share that are compared with each other, e.g. (pretraining stage, seed).
Pair = Hashable

Direction = Literal["higher", "lower", "equal"]
Name = Literal["REPLICATED", "DIRECTION ONLY", "NOT REPLICATED", "INCONCLUSIVE", "NOT TESTABLE"]

#: What runs can decide, in the order of the codes that `_decide` returns.
DECISIONS: tuple[Name, ...] = ("REPLICATED", "DIRECTION ONLY", "NOT REPLICATED", "INCONCLUSIVE")

#: Below this many pairs no sign-flip p can reach .05: the smallest is 2 / 2**n.
FEWEST_FLIPS = 6

#: Up to this many pairs all 2**n signs are tried; the sums of half of them take 4 MiB.
MOST_FLIPS = 20

#: Nobody trains more further seeds than this to settle a claim.
MOST_SEEDS = 1000

_SIMULATED = 20_000  # experiments behind `chance`: a standard error of at most .0035
_ROUNDING = 8 * float(np.finfo(np.float64).eps)  # relative size of what subtraction leaves of 0


@dataclass(frozen=True, kw_only=True)
class Difference:
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
        _check_finite(self.arm, self.baseline)


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What the runs say about a claim."""

    name: Name
    reason: str  # one sentence with the numbers
    difference: Difference | None  # None when an arm has fewer than two runs
    p: float | None  # two-sided, of no difference; "equal": TOST, of a difference >= margin
    adjusted: float | None  # p after Holm; both None when NOT TESTABLE
    further_seeds: int | None  # INCONCLUSIVE: see `judge`; else None


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


def difference(arm: Mapping[Pair, float], baseline: Mapping[Pair, float]) -> Difference | None:
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
    _check_finite(arm, baseline)
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
        error, freedom = (float(x) for x in _welch(variances, counts, np.zeros(())))
    above = (a[:, None] > b).mean() + (a[:, None] == b).mean() / 2
    return Difference(
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


def holm(p: Sequence[float]) -> list[float]:
    """Holm's adjusted p values, in the order given: comparing them with alpha holds the
    probability of any false rejection at alpha, whatever the dependence.

    Raises:
        InputError: a p outside [0, 1].
    """
    values = np.asarray(p, np.float64)
    if not ((values >= 0) & (values <= 1)).all():
        raise InputError(f"A p value lies in [0, 1]; got {list(p)}.")
    return [float(x) for x in _holm(values)]


def judge(questions: Sequence[Question], alpha: float = 0.05) -> list[Verdict]:
    """The verdict on each claim, by the rule at the head of this file.

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


def chance(
    *,
    published: float,
    margin: float,
    sd: float,
    n: int,
    correlation: float = 0.0,
    claims: int = 1,
    direction: Direction,
) -> float:
    """The probability in [0, 1] that n seeds settle a claim, if the published difference is true.

    Settled is any verdict but INCONCLUSIVE and NOT TESTABLE; 0 for a claim that no number of seeds
    can test. From 20,000 simulated experiments with a fixed seed: standard error at most .0035.

    Args:
        published: printed difference, arm minus baseline; 0 for a claim of none.
        margin: metric's units, > 0.
        sd: of runs that differ in their seed only, metric's units; the same in both arms.
        n: seeds of each arm.
        correlation: of an arm's runs with their partners in the baseline, in [-1, 1].
        claims: testable claims of the metric ("equal": those of no difference); the strictest step
            of Holm is assumed.
        direction: as claimed.

    Raises:
        InputError: a number outside the range given here.
    """
    _check_setting(
        published=published, margin=margin, n=n, sd=sd, correlation=correlation, claims=claims
    )
    if n < 2 or _senseless(direction, published, margin):
        return 0.0
    shares = _shares(
        *draws(effect=published, n=n, correlation=correlation, experiments=_SIMULATED, sd=sd),
        published=published,
        margin=margin,
        n=n,
        claims=claims,
        direction=direction,
    )
    return 1 - shares["INCONCLUSIVE"]


def simulate(
    *,
    effect: float,
    published: float,
    margin: float,
    n: int,
    correlation: float,
    experiments: int,
    seed: int,
    claims: int = 1,
    direction: Direction = "higher",
) -> dict[str, float]:
    """Operating characteristics of the rule: the share of each verdict over simulated experiments.

    Runs are normal with standard deviation 1, so that differences are in sd units. Whether a claim
    is worth testing (margin at most half of `published`) is not asked, so that the price of
    ignoring it can be seen. alpha is .05.

    Args:
        effect: true difference, sd.
        published: claimed difference, taken as exact, sd; without meaning for "equal".
        margin: sd, > 0.
        n: pairs, at least 2.
        correlation: of the two runs of a pair, in [-1, 1].
        experiments: how many, at least 1.
        seed: of the random numbers.
        claims: testable claims of the metric ("equal": those of no difference); the strictest step
            of Holm is assumed, p * claims.
        direction: as claimed.

    Returns:
        Share of each of `DECISIONS`; they add up to 1.

    Raises:
        InputError: a number outside the range given here.
    """
    _check_setting(published=published, margin=margin, n=n, correlation=correlation, claims=claims)
    if n < 2:
        raise InputError(f"A simulated experiment needs at least 2 pairs, not {n}.")
    drawn = draws(effect=effect, n=n, correlation=correlation, experiments=experiments, seed=seed)
    return _shares(
        *drawn, published=published, margin=margin, n=n, claims=claims, direction=direction
    )


def draws(
    *,
    effect: float,
    n: int,
    correlation: float,
    experiments: int,
    seed: int = 0,
    sd: float = 1.0,
) -> tuple[Array, Array]:
    """Mean and standard deviation of n paired differences, each (experiments,).

    The differences of normal runs are normal with variance 2 sd² (1 - correlation), so their mean
    is normal and independent of their variance, which is chi-squared: two random numbers stand
    for an experiment of any n.

    Raises:
        InputError: no experiments.
    """
    if experiments < 1:
        raise InputError(f"A simulation needs at least 1 experiment, not {experiments}.")
    rng = np.random.default_rng(seed)
    spread = sd * math.sqrt(2 * (1 - correlation))
    means = effect + spread / math.sqrt(n) * rng.standard_normal(experiments)
    return means, spread * np.sqrt(rng.chisquare(n - 1, experiments) / (n - 1))


# --- The rule -------------------------------------------------------------------------------------


def _decide(
    delta: Array,
    error: Array,
    freedom: Array,
    p_difference: Array,
    p_equal: Array,
    *,
    direction: Direction,
    published: float | None,
    published_error: float,
    margin: float,
    alpha: float,
) -> Array:
    """The rule at the head of this file for testable claims, as indices into `DECISIONS`.

    Args:
        delta, error, freedom: of the differences, any common shape.
        p_difference: two-sided p of no difference, after correction.
        p_equal: TOST p of a difference of at least the margin, after correction; "equal" reads it.
    """
    significant = p_difference <= alpha
    if direction == "equal":
        beyond = _tail(np.abs(delta) - margin, error, freedom) <= alpha
        return np.select([p_equal <= alpha, significant & beyond], [0, 2], 3)
    claimed = significant & (delta * _sign(direction) > 0)
    nothing = _tost(delta, error, freedom, margin) <= alpha
    if published is None:
        same = np.zeros_like(claimed)
    else:
        # The paper's error counts as known: it adds variance, and freedom (Satterthwaite).
        total = np.hypot(error, published_error)
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            wider = np.where(error > 0, freedom * (total / error) ** 4, np.inf)
        same = _tost(delta - published, total, wider, margin) <= alpha
    return np.select([claimed & same, claimed, significant | nothing], [0, 1, 2], 3)


def _shares(
    delta: Array,
    sd: Array,
    *,
    published: float,
    margin: float,
    n: int,
    claims: int,
    direction: Direction,
) -> dict[str, float]:
    """The share of each verdict among paired experiments."""
    error, freedom = sd / math.sqrt(n), np.full(len(sd), n - 1.0)
    codes = _decide(
        delta,
        error,
        freedom,
        np.minimum(1, claims * _two_sided(delta, error, freedom)),
        np.minimum(1, claims * _tost(delta, error, freedom, margin)),
        direction=direction,
        published=published,
        published_error=0.0,
        margin=margin,
        alpha=0.05,
    )
    counts = np.bincount(codes, minlength=len(DECISIONS))
    return {name: float(c / len(sd)) for name, c in zip(DECISIONS, counts, strict=True)}


@dataclass(frozen=True, kw_only=True)
class _Tested:
    """A testable claim with its two p values before correction."""

    question: Question
    difference: Difference
    p_difference: float
    p_equal: float


def _verdict(tested: _Tested, everything: Sequence[_Tested], alpha: float) -> Verdict:
    question, found = tested.question, tested.difference
    family = [t for t in everything if t.question.metric == question.metric]
    others = [t for t in family if t is not tested]

    def after(further: Array) -> tuple[Array, Array, Array]:
        """Corrected p values (difference, equality) and decisions after further seeds."""
        error, freedom = _extended(question, found, further)
        delta = np.full(len(further), found.delta)
        p_difference = _among(_two_sided(delta, error, freedom), [t.p_difference for t in others])
        p_equal = _among(
            _tost(delta, error, freedom, question.margin),
            [t.p_equal for t in others if t.question.direction == "equal"],
        )
        codes = _decide(
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
        difference=found,
        p=tested.p_equal if equal else tested.p_difference,
        adjusted=float(p_equal if equal else p_difference),
        further_seeds=seeds,
    )


def _extended(question: Question, found: Difference, further: Array) -> tuple[Array, Array]:
    """Standard error and freedom with `further` seeds in both arms, at today's deviations."""
    a, b, paired = _aligned(question.arm, question.baseline)
    if paired:
        n = found.n + further
        return found.sd / np.sqrt(n), n - 1
    return _welch(_variances(a, b), (len(a), len(b)), further)


def _case(question: Question) -> _Tested | str:
    """A claim with its tests, or why it cannot be tested."""
    if question.untestable is not None:
        return question.untestable
    if question.published is not None:
        reason = _senseless(question.direction, question.published, question.margin)
        if reason:
            return reason
    if question.failed:
        runs = "run has" if question.failed == 1 else "runs have"
        return f"{question.failed} {runs} no result, and the runs that finished may be a selection"
    found = difference(question.arm, question.baseline)
    if found is None:
        n = min(len(question.arm), len(question.baseline))
        return f"n = {n}: a difference needs at least two finished runs of each arm"
    at = (np.array(found.delta), np.array(found.error), np.array(found.freedom))
    return _Tested(
        question=question,
        difference=found,
        p_difference=float(_two_sided(*at)),
        p_equal=float(_tost(*at, question.margin)),
    )


def _senseless(direction: Direction, published: float, margin: float) -> str | None:
    """Why no number of runs can test a published difference with this margin, or None."""
    if direction == "equal":
        if abs(published) > margin * (1 + 1e-9):
            return (
                f"no difference is claimed, but the published one, {published:+.3g}, "
                f"is larger than the margin of {margin:.3g}"
            )
        return None
    if published * _sign(direction) < 0:
        return f"a {direction} value is claimed, but the published difference is {published:+.3g}"
    if margin > abs(published) / 2 * (1 + 1e-9):  # published differences carry rounding errors
        return (
            f"effect smaller than the margin can tell: the margin of {margin:.3g} is more than "
            f"half the published difference of {published:+.3g}"
        )
    return None


def _reason(
    tested: _Tested, name: Name, p_difference: float, p_equal: float, claims: int, alpha: float
) -> str:
    question, found = tested.question, tested.difference
    low, high = found.interval
    measured = (
        f"the difference {found.delta:+.3g} (95 % interval {low:+.3g} to {high:+.3g}, "
        f"n = {found.n}{'' if found.paired else ', unpaired'})"
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


# --- Tests, vectorised ----------------------------------------------------------------------------


def _tail(gap: Array, error: Array, freedom: Array) -> Array:
    """P(T >= gap / error); without error 0, 1/2 or 1 for a gap above, at or below 0."""
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        t = np.where(error > 0, gap / error, np.copysign(np.inf, gap))
    t = np.where((error <= 0) & (gap == 0), 0.0, t)
    return np.where(np.isinf(freedom), special.ndtr(-t), special.stdtr(freedom, -t))


def _two_sided(delta: Array, error: Array, freedom: Array) -> Array:
    """p of no difference."""
    return np.minimum(1, 2 * _tail(np.abs(delta), error, freedom))


def _tost(delta: Array, error: Array, freedom: Array, margin: float) -> Array:
    """p of a difference of at least the margin; at most alpha when the interval is inside it."""
    return _tail(margin - np.abs(delta), error, freedom)


def _holm(p: Array) -> Array:
    """Adjusted p values along the last axis."""
    order = np.argsort(p, axis=-1)
    count = p.shape[-1]
    steps = np.take_along_axis(p, order, -1) * np.arange(count, 0, -1)
    sorted_ = np.minimum(1, np.maximum.accumulate(steps, axis=-1))
    adjusted = np.empty_like(sorted_)
    np.put_along_axis(adjusted, order, sorted_, -1)
    return adjusted


def _among(p: Array, others: Sequence[float]) -> Array:
    """Each of the p values (K,), adjusted in a family with the same others."""
    fixed = np.broadcast_to(np.asarray(others, float), (len(p), len(others)))
    return _holm(np.column_stack([p, fixed]))[:, 0]


def _welch(
    variances: Sequence[float], counts: Sequence[int], further: Array
) -> tuple[Array, Array]:
    """Standard error and freedom of a difference of two means, `further` runs added to both."""
    a, b = (v / (n + further) for v, n in zip(variances, counts, strict=True))
    n, m = (count + further for count in counts)
    total = a + b
    with np.errstate(invalid="ignore"):
        share = np.where(total > 0, a / total, 0.0)
    freedom = 1 / (share**2 / (n - 1) + (1 - share) ** 2 / (m - 1))
    return np.sqrt(total), np.where(total > 0, freedom, n + m - 2)


# --- Small ones -----------------------------------------------------------------------------------


def _sign(direction: Direction) -> int:
    return -1 if direction == "lower" else 1


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
    """Share of the 2**n choices of signs whose sum is at least as far from 0 as the one found."""
    sums = differences[:1]  # the other half of the signs mirrors this one
    for value in differences[1:]:
        sums = np.concatenate([sums + value, sums - value])
    tolerance = len(differences) * noise  # equal sums differ by rounding
    return float((np.abs(sums) >= abs(differences.sum()) - tolerance).mean())


def _check_finite(*arms: Mapping[Pair, float]) -> None:
    for arm in arms:
        for key, value in arm.items():
            if not math.isfinite(value):
                raise InputError(
                    f"Finished runs have finite values, but {key!r} has {value}; "
                    f"count it as failed."
                )


def _check_setting(
    *,
    published: float,
    margin: float,
    n: int,
    correlation: float,
    claims: int,
    sd: float = 1.0,
) -> None:
    rules: tuple[tuple[bool, str], ...] = (
        (math.isfinite(published), f"A published difference is finite, not {published}."),
        (math.isfinite(margin) and margin > 0, f"A margin is a positive number, not {margin}."),
        (math.isfinite(sd) and sd >= 0, f"A standard deviation is not negative, but {sd} is."),
        (n >= 0, f"A number of seeds is not negative, but {n} is."),
        (-1 <= correlation <= 1, f"A correlation lies in [-1, 1], not at {correlation}."),
        (claims >= 1, f"A family has at least 1 claim, not {claims}."),
    )
    for kept, sentence in rules:
        if not kept:
            raise InputError(sentence)
