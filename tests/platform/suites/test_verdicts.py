import math
import re
from dataclasses import replace
from time import process_time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deep_clustering.platform.errors import InputError
from deep_clustering.platform.suites import chances, rule
from deep_clustering.platform.suites.chances import simulate
from deep_clustering.platform.suites.differences import Replicate
from deep_clustering.platform.suites.verdicts import Question, judge
from support import simulated
from support.simulated import MARGIN, Setting


def runs(values, first=0):
    """Values of the seeds first, first + 1, ..."""
    return {Replicate(0, first + i): float(value) for i, value in enumerate(values)}


def pattern(n, seed=0):
    """n numbers with mean 0 and standard deviation 1, exactly."""
    x = np.random.default_rng(seed).normal(size=n)
    return (x - x.mean()) / x.std(ddof=1)


def paired(delta, sd, n, seed=0):
    """Arm and baseline whose differences have this mean and standard deviation."""
    baseline = np.random.default_rng([seed, 1]).normal(size=n)
    return {"arm": runs(baseline + delta + sd * pattern(n, seed)), "baseline": runs(baseline)}


def question(arms, direction="higher", margin=1.0, published=None, **rest):
    fields = {"table": ("acc", "digits"), "direction": direction, "margin": margin}
    return Question(**(fields | {"published": published, "published_error": 0.0} | rest | arms))


def verdict(*args, **rest):
    return judge([question(*args, **rest)])[0]


# --- The verdict ----------------------------------------------------------------------------------

# One claim, n = 8, sd 1 of the differences: e-values reach 20 at 1.4015 from the mean (where that
# is: test_evidence.py), so that delta -+ 1.4015 are the bounds.


@pytest.mark.parametrize(
    ("delta", "direction", "margin", "published", "name", "words"),
    [
        (3.0, "higher", 1.5, 3.05, "REPLICATED", "higher as claimed and lies within 1.5 of"),
        (3.0, "higher", 1.5, 3.09, "REPLICATED", "at least .1.6 and at most .4.4 with 95 %"),
        (3.0, "higher", 1.5, 3.12, "DIRECTION ONLY", "not shown to lie within 1.5 of"),
        (3.0, "higher", 1.4, 3.0, "DIRECTION ONLY", "not shown"),  # the interval alone is wider
        (1.5, "higher", 3.0, 6.0, "SMALLER", "higher as claimed, but smaller than 3; 6 is claimed"),
        (1.5, "higher", 3.0, None, "SMALLER", "but smaller than 3"),
        (3.0, "higher", 1.5, None, "DIRECTION ONLY", "no published size"),
        (-1.5, "higher", 1.5, 3.2, "NOT REPLICATED", "smaller than 1.5, where higher by 3.2"),
        (0.05, "higher", 1.5, 3.2, "NOT REPLICATED", "smaller than 1.5"),
        (-9.0, "higher", 1.5, 3.2, "NOT REPLICATED", "smaller than 1.5"),
        (0.05, "higher", 1.5, None, "NOT REPLICATED", "higher by 1.5 is claimed"),
        (0.2, "higher", 1.5, 3.2, "INCONCLUSIVE", "neither to be higher nor to be smaller"),
        (1.3, "higher", 1.5, 3.2, "INCONCLUSIVE", "neither"),
        (-3.0, "lower", 1.5, -3.05, "REPLICATED", "lower as claimed"),
        (-3.0, "lower", 1.5, -3.6, "DIRECTION ONLY", "not shown"),
        (-1.5, "lower", 3.0, -6.0, "SMALLER", "a smaller loss than 3"),
        (1.5, "lower", 1.5, -3.2, "NOT REPLICATED", "a smaller loss than 1.5"),
        (-0.05, "lower", 1.5, -3.2, "NOT REPLICATED", "where lower by 3.2 is claimed"),
        (0.05, "equal", 1.5, None, "REPLICATED", "within 1.5 of 0"),
        (-0.05, "equal", 1.5, 0.2, "REPLICATED", "within 1.5 of 0"),
        (3.0, "equal", 1.5, None, "NOT REPLICATED", "more than 1.5 from 0"),
        (-3.0, "equal", 1.5, None, "NOT REPLICATED", "more than 1.5 from 0"),
        (2.8, "equal", 1.5, None, "INCONCLUSIVE", "neither"),  # real, and perhaps within 1.5
        (0.2, "equal", 1.5, None, "INCONCLUSIVE", "neither"),
    ],
)
def test_every_verdict(delta, direction, margin, published, name, words):
    found = verdict(paired(delta, 1, 8), direction, margin, published)
    assert found.name == name, found.reason
    assert found.difference.delta == pytest.approx(delta)
    assert found.bounds == pytest.approx((delta - 1.4015, delta + 1.4015), abs=1e-4)
    assert f"{delta:+.3g} over 8 seeds" in found.reason
    assert re.search(words, found.reason), found.reason
    assert (found.further_seeds is not None) == (name == "INCONCLUSIVE")
    if direction != "equal":
        assert (found.p <= 0.05) == (name in ("REPLICATED", "SMALLER", "DIRECTION ONLY"))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"untestable": "the paper trains on other images"}, "the paper trains on other images"),
        ({"failed": 1}, "1 run has no result"),
        ({"failed": 2}, "2 runs have no result"),
        ({"arm": runs([1])}, "n = 1: "),
        ({"baseline": {}}, "n = 0: "),
        ({"baseline": runs(range(8), first=7)}, "n = 1: .* same pretraining and seed"),
        ({"published": -3.0}, r"a higher value is claimed, but .* is -3"),
        ({"direction": "lower"}, r"a lower value is claimed, but .* is \+3.05"),
        ({"margin": 1.7}, r"effect smaller than the margin can tell: .*1.7.*\+3.05"),
        ({"published": 0.0}, "smaller than the margin can tell"),
        ({"direction": "equal"}, r"no difference is claimed, but .*\+3.05"),
    ],
)
def test_what_cannot_be_tested(change, words):
    claim = question(paired(3, 1, 8), margin=1.5, published=3.05)
    assert judge([claim])[0].name == "REPLICATED"
    found = judge([replace(claim, **change)])[0]
    assert found.name == "NOT TESTABLE"
    assert re.search(words, found.reason), found.reason
    assert found.p is found.adjusted is found.further_seeds is found.bounds is None
    assert (found.difference is None) == words.startswith("n = ")


def test_a_margin_of_exactly_half_the_published_difference_is_testable():
    published = 59.4 - 61.7  # -2.3000000000000043
    for claimed in (published, -2.3, math.nextafter(-2.3, 0)):
        found = verdict(paired(-2.3, 0.2, 8), "lower", 1.15, claimed)
        assert found.name == "REPLICATED", found.reason


def test_the_papers_own_error_takes_half_of_the_error_probability():
    # At 40 in place of 20 the bounds are +- 1.6179, and the paper's own are +- 1.96 errors.
    arms = paired(4, 1, 8)
    for error, name in ((0.19, "REPLICATED"), (0.20, "DIRECTION ONLY")):  # (2 - 1.618) / 1.96
        found = verdict(arms, "higher", 2.0, 4.0, published_error=error)
        assert found.name == name
        assert f"standard error {error}" in found.reason or name == "REPLICATED"
    assert verdict(arms, "higher", 1.45, 4.0, published_error=0.0).name == "REPLICATED"


def test_a_published_difference_without_an_error_has_that_of_two_single_runs():
    # Arms that spread by .05 and 1e-3: the published one by sqrt(.05**2 + .001**2).
    baseline = 0.001 * pattern(8, 1)
    arms = {"arm": runs(3 + 0.05 * pattern(8)), "baseline": runs(baseline)}
    found = verdict(arms, "higher", 1.5, 3.0, published_error=None)
    assert found.published_error == pytest.approx(math.hypot(0.05, 0.001))
    assert found.name == "REPLICATED"  # 1.5 is far more than 1.96 * .05 and the bounds
    assert "if its runs spread as ours" in found.reason
    wide = {"arm": runs(3 + pattern(8)), "baseline": runs(baseline)}
    assert verdict(wide, "higher", 1.5, 3.0, published_error=None).name == "DIRECTION ONLY"
    assert verdict(wide, "higher", 1.5, 3.0, published_error=0.0).name == "REPLICATED"
    assert verdict(wide, "higher", 1.5, None).published_error is None


def test_all_claims_of_a_suite_share_the_error_probability():
    # n = 8: bounds at 20, 2 x 20 and 5 x 20 are 1.4015, 1.6179 and 1.9310 from the mean.
    real = paired(1.5, 1.0, 8)
    other = question(paired(0, 1, 8), margin=0.4, table=("ece", "cifar10"))
    assert verdict(real, margin=0.7).name == "DIRECTION ONLY"
    beside = judge([question(real, margin=0.7), other])[0]
    assert beside.name == "INCONCLUSIVE"
    assert beside.bounds[0] == pytest.approx(1.5 - 1.6179, abs=1e-4)
    assert beside.adjusted == pytest.approx(2 * beside.p)
    assert "for all 2 claims at once" in beside.reason
    five = judge([question(real, margin=0.7), *[other] * 4])[0]
    assert five.bounds[0] == pytest.approx(1.5 - 1.9310, abs=1e-3)
    untestable = replace(other, untestable="published only")
    assert judge([question(real, margin=0.7), *[untestable] * 4])[0].name == "DIRECTION ONLY"


def test_rows_of_one_table_share_their_spread():
    # Five rows with sd 1 lend each other a quarter of 4 x 2 degrees of freedom.
    rows = [question(paired(d, 1, 3, seed=d), margin=0.4) for d in (9, 0, 1, 2, 3)]
    lent = judge(rows)[0]
    apart = [replace(row, table=("acc", f"set {i}")) for i, row in enumerate(rows)]
    alone = judge(apart)[0]
    assert lent.bounds[0] > alone.bounds[0]
    assert (alone.name, lent.name) == ("INCONCLUSIVE", "DIRECTION ONLY")
    wide = judge([question(paired(9, 5, 3), margin=0.4), *rows[1:]])[0]
    assert wide.p == pytest.approx(verdict(paired(9, 5, 3), margin=0.4).p)


def test_equal_runs_say_little():
    claim = question({"arm": runs([0.3] * 3), "baseline": runs([0.1] * 3)}, margin=0.05)
    assert judge([claim])[0].name == "DIRECTION ONLY"
    assert judge([replace(claim, published=0.2)])[0].name == "REPLICATED"
    assert judge([replace(claim, direction="lower")])[0].name == "NOT REPLICATED"
    assert judge([replace(claim, baseline=claim.arm)])[0].name == "NOT REPLICATED"
    two = {"arm": runs([0.3] * 2), "baseline": runs([0.1] * 2)}
    assert verdict(two, margin=0.05).name == "INCONCLUSIVE"  # however equal, two runs are two


def test_alpha_sets_the_bounds():
    claim = question(paired(3, 1, 8), margin=1.5, published=3.05)
    strict = judge([claim], alpha=0.001)[0]
    assert strict.name == "DIRECTION ONLY"
    assert "99.9 % on either side" in strict.reason
    assert judge([replace(claim, published=3.4)], alpha=0.2)[0].name == "REPLICATED"


def test_no_claims_no_verdicts():
    assert judge([]) == []


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    n=st.integers(2, 12),
    effect=st.sampled_from([-2.0, 0.0, 1.0, 3.0]),
    direction=st.sampled_from(["higher", "lower", "equal"]),
    scale=st.sampled_from([0.01, 0.5, 7.0]),
)
def test_verdicts_follow_mirror_and_scale(seed, n, effect, direction, scale):
    rng = np.random.default_rng(seed)
    a, b = rng.normal(effect, 0.5, n), rng.normal(0, 0.5, n)
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


@pytest.mark.parametrize(
    ("delta", "direction", "margin", "published"),
    [
        (0.6, "higher", 1.0, 2.0),  # becomes real, or smaller than the margin, whichever is first
        (0.9, "higher", 1.0, 2.0),
        (-0.5, "higher", 0.5, 2.0),
        (-0.8, "lower", 0.4, None),
        (0.3, "equal", 0.6, None),
        (1.2, "equal", 0.8, None),
    ],
)
def test_further_seeds_settle_the_claim(delta, direction, margin, published):
    def after(seeds):
        return verdict(paired(delta, 1.0, 4 + seeds), direction, margin, published)

    today = after(0)
    assert today.name == "INCONCLUSIVE"
    assert today.further_seeds >= 1
    assert after(today.further_seeds).name != "INCONCLUSIVE"
    before = after(today.further_seeds - 1)
    assert (before.name, before.further_seeds) == ("INCONCLUSIVE", 1)


def test_too_many_further_seeds_are_none():
    assert verdict(paired(0.005, 1, 4), "higher", 0.01, 2.0).further_seeds is None
    assert verdict(paired(1.0, 1, 4), "equal", 1.0).further_seeds is None  # on the margin


# --- Operating characteristics: tests/benchmarks/verdicts.py has all, here are some ---------------

LOOKS = tuple(range(2, 13))


@pytest.mark.parametrize(
    "setting",
    [
        Setting(claims=1),
        Setting(claims=9, correlation=0.8, effect=MARGIN),
        Setting(claims=9, correlation=0.0, spreads=simulated.one_wide(9)),
        Setting(claims=9, correlation=0.8, spreads=simulated.half_wide(9)),
        Setting(claims=20, correlation=0.8, spreads=simulated.graded(20)),
        Setting(claims=9, noise="heavy", spreads=simulated.one_wide(9)),
        Setting(claims=9, noise="collapse"),
    ],
    ids=["one", "half as large", "one wide", "half wide", "graded", "heavy tails", "collapse"],
)
def test_at_most_one_suite_in_twenty_says_anything_false_at_any_look(setting):
    suites = 1500 if setting.claims == 1 else 250
    drawn = simulated.differences(setting, suites=suites, seeds=max(LOOKS), seed=11)
    rate = simulated.error(simulated.verdicts(drawn, looks=LOOKS), setting.effect)
    assert rate <= 0.05, rate


def test_looking_often_costs_a_fixed_test_its_level_and_not_this_one():
    """What made the rule: a t test after each of 5 to 20 seeds is wrong in nearly a fifth."""
    from scipy import stats

    drawn = simulated.differences(Setting(claims=1), suites=1500, seeds=20, seed=5)
    wrong = np.zeros(1500, bool)
    for n in range(5, 21):
        wrong |= stats.ttest_1samp(drawn[:, 0, :n], 0, axis=1).pvalue <= 0.05
    assert wrong.mean() > 0.12
    codes = simulated.verdicts(drawn, looks=range(5, 21))
    assert simulated.error(codes, 0.0) <= 0.05


def test_borrowing_is_what_gives_few_seeds_power():
    setting = Setting(claims=9, correlation=0.5, effect=3.0)
    drawn = simulated.differences(setting, suites=100, seeds=5, seed=1)
    real = ("REPLICATED", "SMALLER", "DIRECTION ONLY")
    lent = simulated.share(simulated.verdicts(drawn, looks=[5]), *real)
    alone = simulated.share(simulated.verdicts(drawn, looks=[5], alone=True), *real)
    assert lent > 0.7 > 0.45 > alone


def test_simulate_equals_the_runs_themselves():
    """Two random numbers an experiment, against runs with a shared part."""
    for n, effect in ((4, 3.0), (8, 1.5), (8, 3.0)):
        drawn = simulated.differences(
            Setting(claims=1, correlation=0.5, effect=effect), suites=4000, seeds=n, seed=n
        )
        slow = simulated.verdicts(drawn, looks=[n])
        fast = simulate(
            effect=effect, published=3.0, margin=1.5, n=n, correlation=0.5,
            experiments=20_000, seed=1,
        )  # fmt: skip
        assert sum(fast.values()) == pytest.approx(1)
        assert list(fast) == list(rule.DECISIONS)
        for name, share in fast.items():
            error = math.sqrt(max(share * (1 - share), 0.002) / 4000)
            assert abs(simulated.share(slow, name) - share) < 4.5 * error, (n, effect, name)


@pytest.mark.parametrize("claims", [1, 4])
@pytest.mark.parametrize(
    ("direction", "published", "effect"),
    [("higher", 3.0, 2.0), ("lower", -3.0, -2.0), ("equal", 0.0, 0.3), ("equal", 0.0, 3.0)],
)
def test_judge_and_simulate_agree(direction, published, effect, claims):
    n, r, experiments, seed = 8, 0.5, 20, 3
    shares = simulate(
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
    drawn = chances._drawn(effect, 1.0, n, 0, experiments, seed)
    counts = dict.fromkeys(rule.DECISIONS, 0)
    for i, (mean, squares) in enumerate(zip(drawn.mean, drawn.squares, strict=True)):
        sd = math.sqrt(squares / (n - 1))
        claim = question(paired(mean, sd, n, seed=i), direction, 1.5, published)
        others = [replace(claim, table=("acc", str(k))) for k in range(claims - 1)]
        counts[judge([claim, *others])[0].name] += 1
    assert counts == {name: round(share * experiments) for name, share in shares.items()}
    assert sum(count > 0 for count in counts.values()) >= 2


def test_chance_grows_with_seeds_and_with_rows_that_spread_alike():
    setting = {"published": 0.03, "margin": 0.015, "sd": 0.01, "direction": "higher"}
    growing = [chances.chance(n=n, **setting) for n in (2, 3, 5, 8, 40)]
    assert growing == sorted(growing)
    assert growing[0] < 0.2
    assert growing[-1] == 1
    alone = chances.chance(n=5, claims=9, **setting)
    assert chances.chance(n=5, claims=9, others=8, **setting) > alone + 0.2
    assert chances.chance(n=2, claims=9, others=8, **setting) == chances.chance(
        n=2, claims=9, **setting
    )
    lower = setting | {"published": -0.03, "direction": "lower"}
    assert chances.chance(n=5, **lower) == pytest.approx(growing[2], abs=0.03)


def test_chance_of_what_cannot_be_tested_is_0():
    setting = {"published": 3.0, "margin": 1.5, "sd": 1.0, "n": 8, "direction": "higher"}
    assert chances.chance(**setting) > 0.8
    for change in ({"n": 1}, {"margin": 1.6}, {"direction": "lower"}, {"direction": "equal"}):
        assert chances.chance(**(setting | change)) == 0


def test_chance_without_spread():
    assert chances.chance(published=3, margin=1, sd=0, n=3, direction="higher") == 1


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
        ({"arm": runs([1.0, math.nan])}, r"\(0, 1\) has nan; count it as failed"),
    ],
)
def test_nonsense_questions_are_refused(change, message):
    with pytest.raises(InputError, match=message):
        question(paired(3, 1, 5) | change)


def test_nonsense_alphas_are_refused():
    with pytest.raises(InputError, match=r"alpha lies between 0 and 0.5"):
        judge([], alpha=0.5)


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
