import math
import re
from dataclasses import replace
from time import process_time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from deep_clustering.platform.errors import InputError
from deep_clustering.platform.suites import chances, differences, rule, significance
from deep_clustering.platform.suites.chances import simulate
from deep_clustering.platform.suites.differences import difference
from deep_clustering.platform.suites.verdicts import Question, judge

EXACT = {"rel": 1e-9, "abs": 1e-12}


def runs(values, first=0):
    """Values of the seeds first, first + 1, ..."""
    return {("moco", first + i): float(value) for i, value in enumerate(values)}


def pattern(n, seed=0):
    """n numbers with mean 0 and standard deviation 1, exactly."""
    x = np.random.default_rng(seed).normal(size=n)
    return (x - x.mean()) / x.std(ddof=1)


def paired(delta, sd, n, seed=0):
    """Arm and baseline whose paired differences have this mean and standard deviation."""
    baseline = np.random.default_rng([seed, 1]).normal(size=n)
    return {"arm": runs(baseline + delta + sd * pattern(n, seed)), "baseline": runs(baseline)}


def unpaired(delta, sds, counts, seed=0):
    a, b = (sd * pattern(n, seed + i) for i, (sd, n) in enumerate(zip(sds, counts, strict=True)))
    return {"arm": runs(delta + a), "baseline": runs(b, first=1000)}


def question(arms, direction="higher", margin=1.0, published=None, **rest):
    fields = {"metric": "acc", "direction": direction, "margin": margin, "published": published}
    return Question(**(fields | rest | arms))


def verdict(*args, **rest):
    return judge([question(*args, **rest)])[0]


# --- Intervals and differences --------------------------------------------------------------------


def test_interval_by_hand():
    # Mean 4, sd 2, error 2 / sqrt 3; t(.975; 2) = 4.302653, t(.95; 2) = 2.919986 from a table.
    assert differences.interval([2, 4, 6]) == pytest.approx((4 - 4.968275, 4 + 4.968275), abs=1e-5)
    low, high = differences.interval([2, 4, 6], level=0.9)
    assert (low, high) == pytest.approx((4 - 3.371710, 4 + 3.371710), abs=1e-5)


def test_one_value_has_no_interval():
    assert differences.interval([]) is differences.interval([0.6]) is None
    assert differences.interval([0.1, 0.1, 0.1]) == pytest.approx((0.1, 0.1), **EXACT)


@pytest.mark.parametrize("n", [3, 5, 10, 20])
def test_intervals_cover_the_mean(n):
    """The t interval, unlike the bootstrap, holds its level with few seeds (.948 to .953)."""
    rng = np.random.default_rng(n)
    found = [differences.interval(rng.normal(3, 2, n)) for _ in range(4000)]
    share = np.mean([low <= 3 <= high for low, high in found])
    assert abs(share - 0.95) < 4 * math.sqrt(0.95 * 0.05 / 4000)


def test_paired_difference_by_hand():
    # Differences 1, 2, 3: mean 2, sd 1, error 1 / sqrt 3. Arms: sd of 2, 4, 7 and of 1, 2, 4.
    found = difference(runs([2, 4, 7]), runs([1, 2, 4]))
    assert (found.n, found.paired, found.freedom) == (3, True, 2)
    assert (found.delta, found.sd) == pytest.approx((2, 1), **EXACT)
    assert found.error == pytest.approx(1 / math.sqrt(3), **EXACT)
    assert found.interval == pytest.approx((2 - 2.484138, 2 + 2.484138), abs=1e-5)
    # Pooled variance (19/3 + 7/3) / 2. Of 9 pairs 6 are won (4 > 1, 2; 7 > 1, 2, 4; 2 > 1),
    # two tied (2 = 2, 4 = 4).
    assert found.effect == pytest.approx(2 / math.sqrt(13 / 3), **EXACT)
    assert found.improvement == pytest.approx(7 / 9, **EXACT)
    assert found.correlation == pytest.approx(np.corrcoef([2, 4, 7], [1, 2, 4])[0, 1], **EXACT)
    assert found.sign_flip is None  # three pairs cannot reach .05


@pytest.mark.parametrize("seed", range(20))
def test_differences_equal_scipy(seed):
    rng = np.random.default_rng(seed)
    n, m = rng.integers(2, 9, 2)
    a, b = rng.normal(0.6, 0.02, n), rng.normal(0.59, 0.05, m)
    found = difference(runs(a), runs(b, first=50))
    wanted = stats.ttest_ind(a, b, equal_var=False)
    ci = wanted.confidence_interval(0.95)
    assert not found.paired
    assert found.n == min(n, m)
    assert found.correlation is None
    assert found.delta / found.error == pytest.approx(wanted.statistic, **EXACT)
    assert found.freedom == pytest.approx(wanted.df, **EXACT)
    assert found.interval == pytest.approx((ci.low, ci.high), **EXACT)
    pooled = math.sqrt(((n - 1) * a.var(ddof=1) + (m - 1) * b.var(ddof=1)) / (n + m - 2))
    assert found.sd == pytest.approx(pooled, **EXACT)
    assert found.effect == pytest.approx(found.delta / pooled, **EXACT)
    u = stats.mannwhitneyu(a, b).statistic
    assert found.improvement == pytest.approx(u / (n * m), **EXACT)
    judged = judge([question({"arm": runs(a), "baseline": runs(b, first=50)}, margin=0.01)])[0]
    assert judged.p == pytest.approx(wanted.pvalue, **EXACT)

    a = rng.normal(0.6, 0.02, m)
    found, wanted = difference(runs(a), runs(b)), stats.ttest_rel(a, b)
    ci = wanted.confidence_interval(0.95)
    assert found.paired
    assert found.delta / found.error == pytest.approx(wanted.statistic, **EXACT)
    assert found.interval == pytest.approx((ci.low, ci.high), **EXACT)
    judged = judge([question({"arm": runs(a), "baseline": runs(b)}, margin=0.01)])[0]
    assert judged.p == judged.adjusted == pytest.approx(wanted.pvalue, **EXACT)


def test_runs_are_paired_by_key_and_not_by_order():
    arm, baseline = {"a": 1.0, "b": 5.0, "c": 3.0}, {"c": 2.0, "a": 0.0, "b": 4.0}
    found = difference(arm, baseline)
    assert (found.paired, found.delta, found.sd, found.correlation) == (True, 1, 0, 1)


def test_who_is_paired():
    five, eight = runs(range(5)), runs([v**2 for v in range(8)])
    inside = difference(five, eight)
    assert (inside.n, inside.paired, inside.freedom) == (5, True, 4)
    assert inside.delta == pytest.approx(10 / 5 - 30 / 5)  # the first five squares only
    overlapping = difference(runs(range(5)), runs(range(5), first=1))
    assert (overlapping.n, overlapping.paired) == (5, False)
    assert difference(runs([1]), runs([1, 2, 3])) is None
    assert difference({}, {}) is None


@pytest.mark.parametrize("n", [6, 7, 9])
def test_sign_flip_equals_scipy(n):
    rng = np.random.default_rng(n)
    a, b = rng.normal(0.5, 1, n).round(1), rng.normal(0, 1, n).round(1)  # some sums are tied
    wanted = stats.permutation_test(
        (a - b,), lambda x, axis: x.sum(axis), permutation_type="samples", n_resamples=np.inf
    )
    assert difference(runs(a), runs(b)).sign_flip == pytest.approx(wanted.pvalue, **EXACT)


def test_sign_flip_has_limits():
    # All six differences have one sign: only all + and all - are as far from 0, of 64.
    assert difference(runs([1, 2, 3, 4, 5, 6]), runs([0] * 6)).sign_flip == pytest.approx(2 / 64)
    assert difference(runs(range(5)), runs([9] * 5)).sign_flip is None
    assert difference(runs(range(6)), runs([9] * 6, first=50)).sign_flip is None
    assert difference(runs(range(20)), runs([99] * 20)).sign_flip == pytest.approx(2 / 2**20)
    assert difference(runs(range(21)), runs([99] * 21)).sign_flip is None


@pytest.mark.parametrize("first", [0, 50], ids=["paired", "unpaired"])
def test_constant_arms(first):
    same = difference(runs([0.1] * 3), runs([0.1] * 3, first))
    assert (same.delta, same.sd, same.error, same.interval) == (0, 0, 0, (0, 0))
    assert (same.effect, same.correlation, same.improvement) == (None, None, 0.5)
    better = difference(runs([0.3] * 3), runs([0.1] * 3, first))
    assert better.interval == pytest.approx((0.2, 0.2), **EXACT)
    assert (better.freedom, better.improvement) == (4 if first else 2, 1)
    assert better.effect is None

    claim = question({"arm": runs([0.3] * 3), "baseline": runs([0.1] * 3, first)}, margin=0.05)
    assert judge([claim])[0].p == 0
    for published, name in ((0.2, "REPLICATED"), (0.4, "DIRECTION ONLY")):
        assert judge([replace(claim, published=published)])[0].name == name
    assert judge([replace(claim, direction="lower")])[0].name == "NOT REPLICATED"
    equal = replace(claim, direction="equal")
    assert judge([equal])[0].name == "NOT REPLICATED"
    assert judge([replace(equal, baseline=equal.arm)])[0].name == "REPLICATED"
    assert judge([replace(claim, baseline=claim.arm)])[0].name == "NOT REPLICATED"


def test_one_constant_arm_and_rounding():
    found = difference(runs([0.5, 0.6, 0.7]), runs([0.2] * 3))
    assert found.correlation is None
    assert found.effect == pytest.approx(0.4 / math.sqrt(0.01 / 2))
    # 0.1 + 0.2 is not 0.3 in floating point: what is left must not be a certain difference.
    found = difference(runs([0.1 + 0.2] * 4), runs([0.3] * 4))
    assert (found.delta, found.interval) == (0, (0, 0))
    found = difference(runs([0.3, 0.4, 0.7]), runs([0.2, 0.3, 0.6]))
    assert found.sd == 0
    assert found.delta == pytest.approx(0.1)


def alike(x, y):
    return x is y is None or x == pytest.approx(y, **EXACT)


numbers = st.lists(st.integers(-40, 40), min_size=2, max_size=8)


@settings(max_examples=100, deadline=None)
@given(
    a=numbers, b=numbers, shared=st.booleans(), shift=st.integers(-9, 9), scale=st.integers(1, 9)
)
def test_differences_follow_swap_shift_and_scale(a, b, shared, shift, scale):
    arm, baseline = runs(a), runs(b, 0 if shared else 50)
    found, swapped = difference(arm, baseline), difference(baseline, arm)
    low, high = found.interval
    assert swapped.delta == -found.delta
    assert swapped.interval == pytest.approx((-high, -low), **EXACT)
    assert swapped.improvement == pytest.approx(1 - found.improvement, **EXACT)
    for same in ("n", "paired", "sd", "error", "freedom", "correlation", "sign_flip"):
        assert alike(getattr(swapped, same), getattr(found, same)), same

    moved = difference(
        {k: v * scale + shift for k, v in arm.items()},
        {k: v * scale + shift for k, v in baseline.items()},
    )
    for scaled in ("delta", "sd", "error"):
        assert getattr(moved, scaled) == pytest.approx(scale * getattr(found, scaled), **EXACT)
    assert moved.interval == pytest.approx((scale * low, scale * high), **EXACT)
    for same in ("freedom", "correlation", "effect", "improvement", "sign_flip"):
        assert alike(getattr(moved, same), getattr(found, same)), same
    assert low <= found.delta <= high
    assert 0 <= found.improvement <= 1


# --- Holm -----------------------------------------------------------------------------------------


def test_holm_by_hand():
    # Sorted .01 .02 .03 .04 -> .04, .06, .06, .06: each at least the one before.
    assert significance.holm([0.03, 0.01, 0.04, 0.02]) == pytest.approx([0.06, 0.04, 0.06, 0.06])
    assert significance.holm([0.5, 0.01, 0.9]) == pytest.approx([1, 0.03, 1])
    assert significance.holm([0.2, 0.2]) == pytest.approx([0.4, 0.4])
    assert significance.holm([]) == []
    assert significance.holm([0.04]) == [0.04]


@given(st.lists(st.floats(0, 1), max_size=12))
def test_holm_equals_the_step_down_procedure(p):
    """Rejected at alpha is what the procedure, run at alpha, rejects."""
    alpha, rejected = 0.05, set()
    for step, i in enumerate(sorted(range(len(p)), key=p.__getitem__)):
        if p[i] * (len(p) - step) > alpha:
            break
        rejected.add(i)
    adjusted = significance.holm(p)
    assert {i for i, x in enumerate(adjusted) if x <= alpha} == rejected
    assert all(x >= y for x, y in zip(adjusted, p, strict=True))


def test_holm_runs_over_the_testable_claims_of_one_metric():
    sd, n = 1.0, 5
    strong, weak = paired(3, sd, n), paired(1.6, sd, n, seed=1)
    p_strong, p_weak = (2 * stats.t.sf(d * math.sqrt(n) / sd, n - 1) for d in (3, 1.6))
    assert 0.01 < p_weak < 0.05 / 2
    claims = [
        question(weak, margin=0.4),
        question(strong, margin=0.4),
        question(weak, margin=0.4, metric="ece"),
        question(paired(0, sd, n), margin=0.4, untestable="published only"),
    ]
    first, second, other, blocked = judge(claims)
    assert (first.p, second.p) == pytest.approx((p_weak, p_strong), **EXACT)
    assert (first.adjusted, second.adjusted) == pytest.approx((p_weak, 2 * p_strong), **EXACT)
    assert other.adjusted == other.p
    assert (blocked.p, blocked.adjusted) == (None, None)
    assert first.name == other.name == "DIRECTION ONLY"

    crowded = judge([claims[0]] + [question(paired(0, sd, n, s), margin=0.4) for s in range(4)])[0]
    assert crowded.adjusted == pytest.approx(5 * p_weak, **EXACT)
    assert crowded.name == "INCONCLUSIVE"
    assert "after Holm over 5 claims" in crowded.reason


# --- The verdict ----------------------------------------------------------------------------------

# Paired, n = 5, sd 1 of the differences: error .4472, t(.95; 4) = 2.132 -> the 90 % interval is
# delta +- .953; t(.975; 4) = 2.776 -> significant from |delta| > 1.242.


@pytest.mark.parametrize(
    ("delta", "direction", "margin", "published", "name", "words"),
    [
        (3.0, "higher", 1.5, 3.2, "REPLICATED", "claimed direction .* within 1.5 of the published"),
        (3.0, "higher", 1.5, 3.5, "REPLICATED", "90 % interval"),
        (3.0, "higher", 1.5, 3.6, "DIRECTION ONLY", "not shown to lie within 1.5"),
        (3.0, "higher", 0.9, 3.0, "DIRECTION ONLY", "not shown"),  # the interval alone is wider
        (1.3, "higher", 2.5, 6.0, "DIRECTION ONLY", "but lies within 2.5 of 0"),
        (3.0, "higher", 1.5, None, "DIRECTION ONLY", "no published size"),
        (-1.3, "higher", 1.5, 3.2, "NOT REPLICATED", "opposite to the claim"),
        (0.5, "higher", 1.5, 3.2, "NOT REPLICATED", "within 1.5 of 0 .*, where higher is claimed"),
        (0.5, "higher", 1.5, None, "NOT REPLICATED", "within 1.5 of 0"),
        (1.2, "higher", 1.5, 3.2, "INCONCLUSIVE", "not significant .* nor does its 90 % interval"),
        (-0.6, "higher", 1.5, 3.2, "INCONCLUSIVE", "not significant"),
        (0.1, "higher", 0.9, 3.2, "INCONCLUSIVE", "not significant"),
        (-3.0, "lower", 1.5, -3.2, "REPLICATED", "claimed direction"),
        (-3.0, "lower", 1.5, -3.6, "DIRECTION ONLY", "not shown"),
        (1.3, "lower", 1.5, -3.2, "NOT REPLICATED", "opposite"),
        (0.5, "lower", 1.5, -3.2, "NOT REPLICATED", "where lower is claimed"),
        (0.5, "equal", 1.5, None, "REPLICATED", "within 1.5 of 0 .equivalence p = 0.0"),
        (-0.5, "equal", 1.5, 0.2, "REPLICATED", "within 1.5 of 0"),
        (2.5, "equal", 1.5, None, "NOT REPLICATED", "more than 1.5 from 0"),
        (-2.5, "equal", 1.5, None, "NOT REPLICATED", "significant"),
        (2.4, "equal", 1.5, None, "INCONCLUSIVE", "neither"),  # significant, perhaps within 1.5
        (0.6, "equal", 1.5, None, "INCONCLUSIVE", "neither"),
        (1.1, "equal", 0.1, None, "INCONCLUSIVE", "neither"),  # beyond, not significant
    ],
)
def test_every_verdict(delta, direction, margin, published, name, words):
    found = verdict(paired(delta, 1, 5), direction, margin, published)
    assert found.name == name, found.reason
    assert pytest.approx(delta) == found.difference.delta
    assert f"{delta:+.3g}" in found.reason
    assert "n = 5" in found.reason
    assert re.search(words, found.reason), found.reason
    assert (found.further_seeds is not None) == (name == "INCONCLUSIVE")
    if direction == "equal":
        gap = (margin - abs(delta)) * math.sqrt(5)
        assert found.p == found.adjusted == pytest.approx(stats.t.sf(gap, 4), **EXACT)
    else:
        wanted = 2 * stats.t.sf(abs(delta) * math.sqrt(5), 4)
        assert found.p == found.adjusted == pytest.approx(wanted, **EXACT)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"untestable": "the paper trains on other images"}, "the paper trains on other images"),
        ({"failed": 1}, "1 run has no result"),
        ({"failed": 2}, "2 runs have no result"),
        ({"arm": runs([1])}, "n = 1: "),
        ({"baseline": {}}, "n = 0: "),
        ({"published": -3.0}, r"a higher value is claimed, but .* is -3"),
        ({"direction": "lower"}, r"a lower value is claimed, but .* is \+3.2"),
        ({"margin": 1.7}, r"effect smaller than the margin can tell: .*1.7.*\+3.2"),
        ({"published": 0.0}, "smaller than the margin can tell"),
        ({"direction": "equal"}, r"no difference is claimed, but .*\+3.2"),
    ],
)
def test_what_cannot_be_tested(change, words):
    claim = question(paired(3, 1, 5), margin=1.5, published=3.2)
    assert judge([claim])[0].name == "REPLICATED"
    found = judge([replace(claim, **change)])[0]
    assert found.name == "NOT TESTABLE"
    assert re.search(words, found.reason), found.reason
    assert found.p is found.adjusted is found.further_seeds is None
    assert (found.difference is None) == words.startswith("n = ")


def test_a_margin_of_exactly_half_the_published_difference_is_testable():
    published = 59.4 - 61.7  # -2.3000000000000043
    for claimed in (published, -2.3, math.nextafter(-2.3, 0)):
        found = verdict(paired(-2.3, 0.2, 5), "lower", 1.15, claimed)
        assert found.name == "REPLICATED", found.reason


def test_the_papers_own_error_widens_the_interval():
    # Error of 1 / sqrt 5 and of .6: together .748; freedom 4 (.56 / .2)**2 = 31.4, t(.95) = 1.695
    # -> +- 1.269 instead of +- .953.
    claim = question(paired(3, 1, 5), margin=1.5, published=3.2, published_error=0.6)
    assert judge([claim])[0].name == "REPLICATED"  # .2 + 1.269 < 1.5
    found = judge([replace(claim, published=3.25)])[0]
    assert found.name == "DIRECTION ONLY"  # .25 + 1.269 > 1.5
    assert "standard error 0.6" in found.reason
    assert judge([replace(claim, published=3.25, published_error=0.0)])[0].name == "REPLICATED"
    exact = {"arm": runs([3, 4, 5]), "baseline": runs([0, 1, 2])}  # no spread of our own
    for error, name in ((0.9, "REPLICATED"), (0.92, "DIRECTION ONLY")):  # 1.5 / 1.645 = .912
        assert verdict(exact, "higher", 1.5, 3.0, published_error=error).name == name


def test_several_claims_of_no_difference_are_corrected_among_themselves():
    arms = paired(0.5, 1, 5)  # TOST p = .0446 at 1.5
    alone = verdict(arms, "equal", 1.5)
    beside = judge([question(arms, "equal", 1.5), question(paired(3, 1, 5), "higher", 1.5)])[0]
    assert alone.name == beside.name == "REPLICATED"
    assert beside.adjusted == beside.p
    two = judge([question(arms, "equal", 1.5), question(paired(0.6, 1, 5), "equal", 1.5)])[0]
    assert two.adjusted == pytest.approx(2 * alone.p)
    assert two.name == "INCONCLUSIVE"


def test_alpha_sets_both_tests():
    claim = question(paired(3, 1, 5), margin=1.5, published=3.2)
    strict = judge([claim], alpha=0.001)[0]
    assert strict.name == "INCONCLUSIVE"
    assert "99.8 % interval" in strict.reason
    wide = judge([replace(claim, published=3.6)], alpha=0.2)[0]
    assert wide.name == "REPLICATED"


def test_no_claims_no_verdicts():
    assert judge([]) == []


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    n=st.integers(2, 8),
    effect=st.sampled_from([-2.0, 0.0, 1.0, 3.0]),
    direction=st.sampled_from(["higher", "lower", "equal"]),
    scale=st.sampled_from([0.01, 0.5, 7.0]),
)
def test_verdicts_follow_mirror_and_scale(seed, n, effect, direction, scale):
    rng = np.random.default_rng(seed)
    a, b = rng.normal(effect, 1, n), rng.normal(0, 1, n)
    published = {"higher": 3.0, "lower": -3.0, "equal": 0.0}[direction]
    found = verdict({"arm": runs(a), "baseline": runs(b)}, direction, 1.5, published)
    moved = verdict(
        {"arm": runs(scale * a + 5), "baseline": runs(scale * b + 5)},
        direction,
        1.5 * scale,
        published * scale,
    )
    mirror = {"higher": "lower", "lower": "higher", "equal": "equal"}[direction]
    swapped = verdict({"arm": runs(b), "baseline": runs(a)}, mirror, 1.5, -published)
    for other in (moved, swapped):
        assert other.name == found.name
        assert other.p == pytest.approx(found.p, rel=1e-6, abs=1e-12)
        assert other.further_seeds == found.further_seeds


# --- Seeds to add ---------------------------------------------------------------------------------


@pytest.mark.parametrize("others", [0, 3])
@pytest.mark.parametrize(
    ("delta", "direction", "margin", "published"),
    [
        (0.6, "higher", 1.0, 2.0),  # becomes significant, or equal to 0, whichever comes first
        (0.9, "higher", 1.0, 2.0),
        (-0.5, "higher", 0.5, 2.0),
        (-0.8, "lower", 0.4, None),
        (0.3, "equal", 0.6, None),
        (1.2, "equal", 0.8, None),
    ],
)
@pytest.mark.parametrize("kind", ["paired", "unpaired"])
def test_further_seeds_settle_the_claim(kind, delta, direction, margin, published, others):
    def after(seeds):
        if kind == "paired":
            arms = paired(delta, 1.0, 4 + seeds)
        else:
            arms = unpaired(delta, (0.8, 1.1), (3 + seeds, 5 + seeds))
        rest = [question(paired(0.4, 1.0, 5, s), margin=1.0) for s in range(others)]
        rest += [question(paired(0.2, 1.0, 5, s), "equal", 1.0) for s in range(others)]
        return judge([question(arms, direction, margin, published), *rest])[0]

    today = after(0)
    assert today.name == "INCONCLUSIVE"
    assert today.further_seeds >= 1
    assert after(today.further_seeds).name != "INCONCLUSIVE"
    before = after(today.further_seeds - 1)
    assert (before.name, before.further_seeds) == ("INCONCLUSIVE", 1)


def test_too_many_further_seeds_are_none():
    assert verdict(paired(0.01, 1, 4), "higher", 0.01, 2.0).further_seeds is None
    assert verdict(paired(1.0, 1, 4), "equal", 1.0).further_seeds is None  # on the margin


# --- Operating characteristics --------------------------------------------------------------------

# Shares of REPLICATED, DIRECTION ONLY, NOT REPLICATED, INCONCLUSIVE at a margin of 1.5 sd, from an
# earlier simulation of the rule with pairs of normal runs, 20,000 experiments per cell.
TABLE = [
    # n, correlation, published, claims: truth = published, half of it, 0
    (5, 0.5, 1.5, 1, (0.61, 0.10, 0.02, 0.27), (0.25, 0.00, 0.32, 0.42), (0.03, 0.00, 0.73, 0.25)),
    (3, 0.0, 3.0, 1, (0.15, 0.36, 0.00, 0.50), (0.05, 0.15, 0.03, 0.77), (0.00, 0.03, 0.15, 0.82)),
    (3, 0.5, 3.0, 1, (0.33, 0.42, 0.00, 0.26), (0.05, 0.27, 0.03, 0.66), (0.00, 0.02, 0.32, 0.66)),
    (5, 0.0, 3.0, 1, (0.35, 0.58, 0.00, 0.06), (0.05, 0.39, 0.04, 0.53), (0.00, 0.02, 0.36, 0.62)),
    (5, 0.5, 3.0, 1, (0.74, 0.26, 0.00, 0.00), (0.05, 0.66, 0.02, 0.26), (0.00, 0.03, 0.73, 0.24)),
    (8, 0.5, 3.0, 1, (0.97, 0.03, 0.00, 0.00), (0.05, 0.90, 0.01, 0.04), (0.00, 0.02, 0.95, 0.02)),
    (5, 0.5, 3.0, 8, (0.69, 0.12, 0.00, 0.19), (0.05, 0.18, 0.04, 0.73), (0.00, 0.00, 0.73, 0.27)),
    (8, 0.5, 3.0, 8, (0.97, 0.03, 0.00, 0.00), (0.05, 0.60, 0.03, 0.32), (0.00, 0.00, 0.97, 0.03)),
]


@pytest.mark.parametrize(("n", "correlation", "published", "claims", "a", "b", "c"), TABLE)
def test_operating_characteristics(n, correlation, published, claims, a, b, c):
    for part, wanted in ((1.0, a), (0.5, b), (0.0, c)):
        found = simulate(
            effect=part * published,
            published=published,
            margin=1.5,
            n=n,
            correlation=correlation,
            experiments=20_000,
            seed=0,
            claims=claims,
        )
        assert list(found) == list(rule.DECISIONS)
        assert sum(found.values()) == pytest.approx(1)
        for share, printed in zip(found.values(), wanted, strict=True):
            # Both are simulated, and the table is rounded to two digits.
            error = math.sqrt(2 * max(printed * (1 - printed), 0.002) / 20_000)
            assert abs(share - printed) < 0.005 + 3.5 * error, (part, found)


def test_the_rule_keeps_its_promise():
    """Five pairs, r = .5, a published difference of 3 sd, a margin of half of it."""

    def replicated(effect):
        setting = {"published": 3.0, "margin": 1.5, "n": 5, "correlation": 0.5}
        return simulate(effect=effect, experiments=200_000, seed=1, **setting)

    true, half, none = replicated(3.0), replicated(1.5), replicated(0.0)
    assert true["REPLICATED"] >= 0.70
    # Half the size lies exactly on the edge of the margin: the level of the test, and no more.
    assert half["REPLICATED"] <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / 200_000)
    assert none["REPLICATED"] <= 0.001
    assert none["REPLICATED"] + none["DIRECTION ONLY"] <= 0.03
    assert true["NOT REPLICATED"] <= 0.001


def test_simulation_equals_pairs_of_runs():
    """Against a slow one: runs with a shared part, scipy's paired test, the rule in plain words."""
    n, r, published, margin, experiments = 4, 0.3, 2.0, 1.2, 20_000
    rng = np.random.default_rng(5)
    shared = math.sqrt(r) * rng.normal(size=(experiments, n))
    arm = 1.5 + shared + math.sqrt(1 - r) * rng.normal(size=(experiments, n))
    baseline = shared + math.sqrt(1 - r) * rng.normal(size=(experiments, n))
    test = stats.ttest_rel(arm, baseline, axis=1)
    low, high = test.confidence_interval(0.90)
    claimed = (test.pvalue <= 0.05) & (test.statistic > 0)
    same = (low - published >= -margin) & (high - published <= margin)
    against = (test.pvalue <= 0.05) & (test.statistic < 0)
    nothing = (low >= -margin) & (high <= margin)
    slow = {
        "REPLICATED": claimed & same,
        "DIRECTION ONLY": claimed & ~same,
        "NOT REPLICATED": ~claimed & (against | nothing),
    }
    setting = {"published": published, "margin": margin, "n": n, "correlation": r}
    found = simulate(effect=1.5, experiments=experiments, seed=6, **setting)
    for name, hits in slow.items():
        share = hits.mean()
        assert 0.01 < share < 0.9
        assert abs(found[name] - share) < 4 * math.sqrt(2 * share * (1 - share) / experiments), name


@pytest.mark.parametrize("claims", [1, 4])
@pytest.mark.parametrize(
    ("direction", "published", "effect"),
    [("higher", 3.0, 2.0), ("lower", -3.0, -2.0), ("equal", 0.0, 0.3), ("equal", 0.0, 3.0)],
)
def test_judge_and_simulate_agree(direction, published, effect, claims):
    n, r, experiments, seed = 5, 0.5, 150, 3
    found = simulate(
        effect=effect,
        published=published,
        margin=1.5,
        n=n,
        correlation=r,
        experiments=experiments,
        seed=seed,
        claims=claims,
        direction=direction,
    )
    drawn = chances.draws(effect=effect, n=n, correlation=r, experiments=experiments, seed=seed)
    counts = dict.fromkeys(rule.DECISIONS, 0)
    # Others with p = 1 (a difference of 0; one far beyond the margin) make each p the smallest,
    # which Holm multiplies by the number of claims.
    hopeless = paired(9, 1, n) if direction == "equal" else paired(0, 1, n)
    for i, (mean, sd) in enumerate(zip(*drawn, strict=True)):
        claim = question(paired(mean, sd, n, seed=i), direction, 1.5, published)
        others = [replace(claim, **hopeless) for _ in range(claims - 1)]
        counts[judge([claim, *others])[0].name] += 1
    if direction == "equal" and claims > 1:
        # The others differ significantly, so that significance is not multiplied: fewer wait.
        assert counts["REPLICATED"] == round(found["REPLICATED"] * experiments)
    else:
        assert counts == {name: round(share * experiments) for name, share in found.items()}
    assert sum(count > 0 for count in counts.values()) >= 2


def test_chance_is_what_the_table_says():
    setting = {"published": 0.03, "margin": 0.015, "sd": 0.01, "direction": "higher"}
    assert chances.chance(n=3, correlation=0.5, **setting) == pytest.approx(0.745, abs=0.015)
    assert chances.chance(n=5, **setting) == pytest.approx(0.935, abs=0.015)
    assert chances.chance(n=5, correlation=0.5, claims=8, **setting) == pytest.approx(
        0.81, abs=0.015
    )
    lower = setting | {"published": -0.03, "direction": "lower"}
    assert chances.chance(n=5, **lower) == pytest.approx(0.935, abs=0.015)
    growing = [chances.chance(n=n, **setting) for n in (2, 3, 5, 8, 40)]
    assert growing == sorted(growing)
    assert growing[-1] == 1
    assert chances.chance(n=5, **setting) == chances.chance(n=5, **setting)


def test_chance_of_a_claim_of_no_difference():
    setting = {"published": 0.0, "margin": 1.5, "sd": 1.0, "correlation": 0.5}
    found = chances.chance(n=5, direction="equal", **setting)
    assert found == pytest.approx(0.73, abs=0.015)  # the table's truth = 0 inside the margin


def test_chance_of_what_cannot_be_tested_is_0():
    setting = {"published": 3.0, "margin": 1.5, "sd": 1.0, "n": 8, "direction": "higher"}
    assert chances.chance(**setting) > 0.8
    for change in ({"n": 1}, {"margin": 1.6}, {"direction": "lower"}, {"direction": "equal"}):
        assert chances.chance(**(setting | change)) == 0


def test_chance_without_spread():
    assert chances.chance(published=3, margin=1, sd=0, n=2, direction="higher") == 1
    assert chances.chance(published=3, margin=1, sd=1, n=3, correlation=1, direction="higher") == 1


def test_chance_is_fast_at_any_n():
    def seconds(n):
        start = process_time()
        chances.chance(published=0.03, margin=0.01, sd=0.02, n=n, direction="higher")
        return process_time() - start

    for n in (5, 500):
        assert min(seconds(n) for _ in range(5)) < 0.05


# --- Nonsense -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"direction": "up"}, "higher, lower or equal, not 'up'"),
        ({"margin": 0}, "margin is a positive number, not 0"),
        ({"margin": math.nan}, "margin is a positive number"),
        ({"published": math.inf}, "published difference is a finite number, not inf"),
        ({"published_error": -1}, "published_error is -1"),
        ({"failed": -1}, "failed runs"),
        ({"arm": {"a": 1.0, "b": math.nan}}, "'b' has nan; count it as failed"),
    ],
)
def test_nonsense_questions_are_refused(change, message):
    with pytest.raises(InputError, match=message):
        question(paired(3, 1, 5) | change)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: differences.interval([1, math.nan]), "finite values"),
        (lambda: differences.interval([1, 2], level=95), "between 0 and 1, not at 95"),
        (lambda: difference({"a": math.inf}, {}), "'a' has inf"),
        (lambda: significance.holm([0.1, 1.5]), r"lies in \[0, 1\]; got \[0.1, 1.5\]"),
        (lambda: significance.holm([math.nan]), "p value"),
        (lambda: judge([], alpha=0.5), "alpha lies between 0 and 0.5"),
    ],
)
def test_nonsense_numbers_are_refused(call, message):
    with pytest.raises(InputError, match=message):
        call()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"published": math.nan}, "published difference is finite"),
        ({"margin": -1}, "margin is a positive number, not -1"),
        ({"n": 1}, "at least 2 pairs, not 1"),
        ({"correlation": 1.5}, "correlation lies in"),
        ({"claims": 0}, "at least 1 claim, not 0"),
        ({"experiments": 0}, "at least 1 experiment, not 0"),
    ],
)
def test_nonsense_simulations_are_refused(change, message):
    setting = {"effect": 1, "published": 3, "margin": 1, "n": 5, "correlation": 0}
    with pytest.raises(InputError, match=message):
        simulate(**(setting | {"experiments": 10, "seed": 0} | change))


def test_nonsense_chances_are_refused():
    for change, message in (({"sd": -1}, "not negative"), ({"n": -1}, "number of seeds")):
        setting = {"published": 3, "margin": 1, "sd": 1, "n": 5, "direction": "higher"}
        with pytest.raises(InputError, match=message):
            chances.chance(**(setting | change))
