"""Means and differences over the unit that was replicated."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from deep_clustering.platform.errors import InputError
from deep_clustering.platform.suites import differences
from deep_clustering.platform.suites.differences import Replicate, difference, mean_of

EXACT = {"rel": 1e-9, "abs": 1e-12}


def runs(values, first=0):
    """Values of the seeds first, first + 1, ... on one pretraining."""
    return {Replicate(5, first + i): float(value) for i, value in enumerate(values)}


def nested(*groups):
    """Values by pretraining: each group has the seeds 0, 1, ..."""
    return {
        Replicate(p, s): float(v) for p, group in enumerate(groups) for s, v in enumerate(group)
    }


def test_interval_by_hand():
    # Mean 4, sd 2, error 2 / sqrt 3; t(.975; 2) = 4.302653 from a table.
    assert differences.interval([2, 4, 6]) == pytest.approx((4 - 4.968275, 4 + 4.968275), abs=1e-5)


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


# --- The unit of replication


def test_seeds_on_one_pretraining_are_trainings():
    found = mean_of(runs([2, 4, 6]))
    assert (found.unit, found.n, found.mean, found.sd) == ("training", 3, 4, 2)
    assert found.sd_within == 2  # the same thing here
    assert found.interval == differences.interval([2, 4, 6])
    assert mean_of({Replicate(None, 0): 1.0, Replicate(None, 1): 3.0}).unit == "training"


def test_seeds_that_share_few_pretrainings_are_averaged_first():
    # Pretrainings .85, .65, .5: mean 2/3, sd .17559. Within: (.005 + .005 + 0) / 3 = .0033333.
    found = mean_of(nested([0.8, 0.9], [0.6, 0.7], [0.5, 0.5]))
    assert (found.unit, found.n) == ("pretraining", 3)
    assert found.mean == pytest.approx(2 / 3)
    assert found.sd == pytest.approx(0.1755942)
    assert found.sd_within == pytest.approx(math.sqrt(0.01 / 3))
    half = 4.302653 * 0.1755942 / math.sqrt(3)  # two degrees of freedom, not five
    assert found.interval == pytest.approx((2 / 3 - half, 2 / 3 + half), abs=1e-6)
    one_each = mean_of(nested([0.8], [0.6], [0.5]))
    assert (one_each.n, one_each.sd_within) == (3, None)


@pytest.mark.parametrize(("pretrainings", "seeds"), [(5, 1), (3, 4), (5, 3), (8, 2)])
def test_the_interval_over_pretrainings_covers_their_mean(pretrainings, seeds):
    """sd over pretrainings .046, over seeds .0057, as measured for CDC on digits."""
    rng = np.random.default_rng(pretrainings)
    hits = pooled = 0
    for _ in range(1200):
        centres = rng.normal(0.9, 0.046, pretrainings)
        values = rng.normal(centres[:, None], 0.0057, (pretrainings, seeds))
        low, high = mean_of(nested(*values)).interval
        hits += low <= 0.9 <= high
        low, high = differences.interval(values.ravel())  # what counting all seeds would say
        pooled += low <= 0.9 <= high
    assert abs(hits / 1200 - 0.95) < 0.03
    assert seeds == 1 or pooled / 1200 < 0.87


def test_a_difference_over_pretrainings_averages_seeds_first():
    # By pretraining: arm 2, 5, 3; baseline 1, 3, 3: differences 1, 2, 0.
    found = difference(nested([1, 3], [5, 5], [3, 3]), nested([1, 1], [2, 4], [3, 3]))
    assert (found.unit, found.n, found.delta, found.sd) == ("pretraining", 3, 1, 1)
    assert found.correlation == pytest.approx(np.corrcoef([2, 5, 3], [1, 3, 3])[0, 1])
    # one pretraining in common: its seeds
    found = difference(nested([1, 3], [5, 5]), nested([0, 1]))
    assert (found.unit, found.n, found.delta) == ("training", 2, 1.5)


def test_units_in_common_are_counted_as_they_are_compared():
    alone = {Replicate(p, None): 0.5 for p in (0, 1, 2)}  # of the pretraining alone
    assert differences.shared_units(nested([1, 3], [5, 5]), alone) == 2
    assert differences.shared_units(nested([1, 3]), alone) == 1
    assert differences.shared_units(nested([1, 3]), nested([0, 1, 2])) == 2
    assert differences.shared_units(nested([1, 3], [2]), nested([0], [1])) == 2
    assert differences.shared_units({}, alone) == 0


# --- Differences


def test_difference_by_hand():
    # Differences 1, 2, 3: mean 2, sd 1. Arms: sd of 2, 4, 7 and of 1, 2, 4.
    found = difference(runs([2, 4, 7]), runs([1, 2, 4]))
    assert (found.n, found.unit) == (3, "training")
    assert (found.delta, found.sd) == pytest.approx((2, 1), **EXACT)
    # Pooled variance (19/3 + 7/3) / 2. Of 9 pairs 6 are won (4 > 1, 2; 7 > 1, 2, 4; 2 > 1),
    # two tied (2 = 2, 4 = 4).
    assert found.effect == pytest.approx(2 / math.sqrt(13 / 3), **EXACT)
    assert found.spreads == pytest.approx((math.sqrt(19 / 3), math.sqrt(7 / 3)), **EXACT)
    assert found.improvement == pytest.approx(7 / 9, **EXACT)
    assert found.correlation == pytest.approx(np.corrcoef([2, 4, 7], [1, 2, 4])[0, 1], **EXACT)
    low, high = found.interval  # wider than that of a single look, 2 +- 2.484
    assert low < 2 - 2.484138 < 2 + 2.484138 < high
    assert found.sample().above(low) == pytest.approx(math.log(40), abs=1e-6)


def test_runs_are_paired_by_key_and_not_by_order():
    a, b, c = (Replicate(0, i) for i in range(3))
    found = difference({a: 1.0, b: 5.0, c: 3.0}, {c: 2.0, a: 0.0, b: 4.0})
    assert (found.n, found.delta, found.sd, found.correlation) == (3, 1, 0, 1)


def test_runs_without_a_partner_are_left_out():
    five, eight = runs(range(5)), runs([v**2 for v in range(8)])
    found = difference(five, eight)
    assert (found.n, found.delta) == (5, pytest.approx(10 / 5 - 30 / 5))
    assert difference(runs(range(5)), runs(range(5), first=1)).n == 4
    assert difference(runs(range(5)), runs(range(5), first=4)) is None
    assert difference(runs([1]), runs([1, 2, 3])) is None
    assert difference({}, {}) is None


def test_constant_arms():
    same = difference(runs([0.1] * 3), runs([0.1] * 3))
    assert (same.delta, same.sd) == (0, 0)
    assert (same.effect, same.correlation, same.improvement) == (None, None, 0.5)
    better = difference(runs([0.3] * 3), runs([0.1] * 3))
    assert better.interval == pytest.approx((0.2, 0.2), **EXACT)
    assert (better.effect, better.improvement) == (None, 1)


def test_one_constant_arm_and_rounding():
    found = difference(runs([0.5, 0.6, 0.7]), runs([0.2] * 3))
    assert found.correlation is None
    assert found.effect == pytest.approx(0.4 / math.sqrt(0.01 / 2))
    # 0.1 + 0.2 is not 0.3 in floating point: what is left must not be a certain difference.
    found = difference(runs([0.1 + 0.2] * 4), runs([0.3] * 4))
    assert (found.delta, found.sd) == (0, 0)
    found = difference(runs([0.3, 0.4, 0.7]), runs([0.2, 0.3, 0.6]))
    assert found.sd == 0
    assert found.delta == pytest.approx(0.1)


def test_improvement_equals_scipy():
    rng = np.random.default_rng(1)
    a, b = rng.normal(0.6, 0.02, 7), rng.normal(0.59, 0.05, 7)
    wanted = stats.mannwhitneyu(a, b).statistic / 49
    assert difference(runs(a), runs(b)).improvement == pytest.approx(wanted, **EXACT)


def alike(x, y):
    return x is y is None or x == pytest.approx(y, rel=1e-7, abs=1e-9)


numbers = st.lists(st.integers(-40, 40), min_size=2, max_size=8)


@settings(max_examples=30, deadline=None)
@given(a=numbers, b=numbers, shift=st.integers(-9, 9), scale=st.integers(1, 9))
def test_differences_follow_swap_shift_and_scale(a, b, shift, scale):
    arm, baseline = runs(a), runs(b)
    found, swapped = difference(arm, baseline), difference(baseline, arm)
    low, high = found.interval
    assert swapped.delta == -found.delta
    assert swapped.interval == pytest.approx((-high, -low), rel=1e-7, abs=1e-9)
    assert swapped.improvement == pytest.approx(1 - found.improvement, **EXACT)
    assert (swapped.n, swapped.unit) == (found.n, found.unit)
    for same in ("sd", "correlation"):
        assert alike(getattr(swapped, same), getattr(found, same)), same

    moved = difference(
        {k: v * scale + shift for k, v in arm.items()},
        {k: v * scale + shift for k, v in baseline.items()},
    )
    for scaled in ("delta", "sd"):
        assert getattr(moved, scaled) == pytest.approx(scale * getattr(found, scaled), **EXACT)
    assert moved.interval == pytest.approx((scale * low, scale * high), rel=1e-7, abs=1e-7)
    for same in ("correlation", "effect", "improvement"):
        assert alike(getattr(moved, same), getattr(found, same)), same
    assert low <= found.delta <= high
    assert 0 <= found.improvement <= 1


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: differences.interval([1, math.nan]), "finite values"),
        (lambda: difference({Replicate(0, 1): math.inf}, {}), r"\(0, 1\) has inf"),
        (lambda: mean_of(runs([1, math.nan])), "has nan; count it as failed"),
    ],
)
def test_nonsense_numbers_are_refused(call, message):
    with pytest.raises(InputError, match=message):
        call()
