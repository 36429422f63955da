import dataclasses
import math

import numpy as np
import pytest

from deep_clustering.platform.store._plans import united
from deep_clustering.platform.store.store import Plan
from deep_clustering.platform.suites import evidence, outlook, plans, settling, suites
from deep_clustering.platform.suites.claims import JudgedClaim
from deep_clustering.platform.suites.rule import DECISIONS, decide
from support import simulated
from support.simulated import MARGIN, PUBLISHED, Setting
from support.small import resolved

OPEN = DECISIONS.index("INCONCLUSIVE")


def decided(sample):
    return decide(
        sample,
        direction="higher",
        published=PUBLISHED,
        published_error=0.0,
        margin=MARGIN,
        claims=9,
        alpha=0.05,
    )


# ---- how many seeds a claim needs at least


def test_the_likely_differences_are_the_ends_of_the_t_interval_and_the_nearest_to_0():
    half = 2.7764451051977987 * 2 / math.sqrt(5)  # t of 97.5 %, 4 degrees of freedom; sd 2
    sample = evidence.sample([5, 5, 5], [1.0, 10.0, -10.0], 16.0)
    low, near, high = outlook.likely(sample)
    assert low == pytest.approx([1 - half, 10 - half, -10 - half])
    assert high == pytest.approx([1 + half, 10 + half, -10 + half])
    assert near == pytest.approx([0, 10 - half, -10 + half])


@pytest.mark.parametrize("truth", [0.0, 3.0])
def test_the_fewest_seeds_are_those_after_which_the_rule_decides(truth):
    n, mean, squares = 4, 1.0, 3.0
    found = int(
        outlook.seeds_after(evidence.sample(n, mean, squares), decided, np.array([truth]), 50)
    )
    assert 1 < found < 50

    def after(more):
        all = n + more
        pooled = (n * mean + more * truth) / all
        return int(decided(evidence.sample(all, pooled, squares * (all - 1) / (n - 1))))

    assert after(found) != OPEN
    assert {after(more) for more in range(found)} == {OPEN}
    few = outlook.seeds_after(
        evidence.sample(n, mean, squares), decided, np.array([truth]), found - 1
    )
    assert few == 0


def test_arrays_are_judged_one_by_one():
    drawn = simulated.differences(Setting(claims=3, effect=1.0), suites=4, seeds=5, seed=2)
    many = simulated._seen(drawn, np.full((4, 3), 5))
    found = outlook.seeds_after(many, decided, outlook.likely(many), 30)
    one = evidence.sample(*(getattr(many, f.name)[2, 1] for f in dataclasses.fields(many)))
    assert found.shape == (4, 3)
    assert found[2, 1] == outlook.seeds_after(one, decided, outlook.likely(one), 30)


# ---- which rows get them

ROWS = ("full", "random-init", "single-head")


@pytest.fixture(scope="module")
def expansion(tmp_path_factory):
    root = tmp_path_factory.mktemp("data")
    return suites.expand(
        suites.made_up("cdc", "random-init,single-head", False),
        ["digits"],
        range(3),
        lambda name, method, features, base: resolved(
            method, name, root=root, outline="missing", replicate="pretraining"
        ),
    )


def judged(variant, fewest):
    fields = {f.name: None for f in dataclasses.fields(JudgedClaim)}
    about = {"variant": variant, "against": "full", "dataset": "digits", "fewest_seeds": fewest}
    return JudgedClaim(**(fields | about))


def seeds(expansion):
    return [len(arm.runs) for arm in expansion.arms]


def test_only_rows_of_open_claims_get_seeds(expansion):
    assert [arm.row.name for arm in expansion.arms] == list(ROWS)
    settled = judged("single-head", None)
    more = settling.grown(expansion, [judged("random-init", 2), settled], 20)
    assert seeds(more) == [5, 5, 3]
    assert {job.id for job in expansion.runs} < {job.id for job in more.runs}
    assert len({job.id for job in more.wanted.before}) == 5  # each seed on a pretraining of its own
    assert settling.grown(expansion, [settled], 20) is None
    # what would take more than is allowed is left alone; a row behind the full method catches up
    assert settling.grown(expansion, [judged("random-init", 18)], 20) is None
    assert seeds(settling.grown(more, [judged("single-head", 1)], 20)) == [5, 5, 4]
    both = [judged("random-init", 1), judged("single-head", 4)]
    assert seeds(settling.grown(expansion, both, 20)) == [7, 4, 7]


def test_the_same_command_again_takes_up_the_seeds_that_were_added(expansion):
    more = settling.grown(expansion, [judged("random-init", 2)], 20)
    plan = plans.plan_of(expansion, Plan(), "2026-01-01T00:00", "a")
    plan = united([plan, plans.plan_of(more, plan, "2026-01-02T00:00", "a")])
    asked = set(plans.current(plan).run_ids)
    assert seeds(settling.resumed(expansion, asked, 20)) == [5, 5, 3]
    assert seeds(settling.resumed(expansion, asked, 4)) == [4, 4, 3]
    assert seeds(settling.resumed(expansion, (), 20)) == [3, 3, 3]


def test_the_most_that_a_suite_can_come_to(expansion):
    assert seeds(settling.furthest(expansion, None, 9)) == [9, 9, 9]
    known = [judged("random-init", 1), judged("single-head", None)]
    assert seeds(settling.furthest(expansion, known, 9)) == [9, 9, 3]


# ---- error rates; tests/benchmarks/verdicts.py has all, here are some


@pytest.mark.parametrize(
    "setting",
    [
        Setting(claims=1),
        Setting(claims=9, correlation=0.8, effect=MARGIN),
        Setting(claims=9, correlation=0.0, spreads=simulated.one_wide(9)),
        Setting(claims=9, noise="heavy"),
        Setting(claims=9, noise="collapse"),
    ],
    ids=["one", "half as large", "one wide", "heavy tails", "collapse"],
)
def test_adding_seeds_until_settled_says_nothing_false_in_19_suites_of_20(setting):
    suites = 200 if setting.claims == 1 else 30
    drawn = simulated.differences(setting, suites=suites, seeds=12, seed=4)
    codes, n = simulated.until_settled(drawn, begin=3, most=12)
    assert simulated.error(codes, setting.effect) <= 0.05
    assert 3 <= n.min() < n.max() <= 12
    assert codes.shape[2] > 2


def test_true_effects_are_settled_with_few_seeds_and_hopeless_claims_get_none():
    true = simulated.differences(Setting(claims=9, effect=3.0), suites=30, seeds=12, seed=1)
    codes, n = simulated.until_settled(true, begin=3, most=12)
    assert simulated.share(codes, "INCONCLUSIVE") < 0.01
    assert n.mean() < 6
    # Half way between no effect and the margin: nothing settles it with few seeds.
    between = simulated.differences(
        Setting(claims=9, effect=MARGIN / 2), suites=30, seeds=8, seed=1
    )
    codes, n = simulated.until_settled(between, begin=5, most=8)
    assert simulated.share(codes, "INCONCLUSIVE") > 0.3
    assert n.mean() < 7
