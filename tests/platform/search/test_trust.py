"""Criteria against accuracy: equal to SciPy, honest about few trials and about collapse."""

import io

import numpy as np
import polars as pl
import pytest
from rich.console import Console
from scipy.stats import kendalltau, spearmanr

from deep_clustering.platform.search import trust


def trials(n=20, seed=0, noise=0.1):
    rng = np.random.default_rng(seed)
    acc = rng.random(n)
    return {
        "acc": acc,
        "silhouette": acc + noise * rng.normal(size=n),
        "confidence": rng.random(n),
        "guarded": np.zeros(n),
    }


def one(columns, criterion="silhouette", kept="all"):
    return next(t for t in trust.assess(columns) if (t.criterion, t.trials) == (criterion, kept))


@pytest.mark.parametrize("seed", range(5))
def test_correlations_equal_scipy(seed):
    columns = trials(seed=seed)
    columns["silhouette"] = columns["silhouette"].round(1)  # ties
    found = one(columns)
    assert found.n == 20
    wanted = spearmanr(columns["silhouette"], columns["acc"]).statistic
    assert found.spearman == pytest.approx(wanted, abs=1e-12)
    wanted = kendalltau(columns["silhouette"], columns["acc"]).statistic
    assert found.kendall == pytest.approx(wanted, abs=1e-12)


def test_regret_by_hand():
    # The criterion likes trial 2 (accuracy .7) best; the best accuracy is .9.
    found = one({"acc": [0.9, 0.5, 0.7, 0.1], "silhouette": [0.3, 0.2, 0.8, 0.1]})
    assert found.regret == pytest.approx(0.2, abs=1e-12)
    assert found.chance == pytest.approx(0.9 - 0.55, abs=1e-12)
    # Two trials equally liked: (.7 + .1) / 2 = .4 is what a coin between them gets.
    found = one({"acc": [0.9, 0.5, 0.7, 0.1], "silhouette": [0.3, 0.2, 0.8, 0.8]})
    assert found.regret == pytest.approx(0.5, abs=1e-12)


def test_a_perfect_criterion_has_no_regret():
    found = one(trials(noise=0.0))
    assert found.spearman == pytest.approx(1)
    assert (found.kendall, found.regret) == (1, 0)
    assert found.spearman_interval == pytest.approx((1, 1))


def test_intervals_hold_the_estimate_and_are_the_same_each_time():
    columns = trials(noise=0.3)
    found = one(columns)
    low, high = found.spearman_interval
    assert -1 <= low < found.spearman < high <= 1
    assert one(columns) == found


def test_the_correlation_of_an_unrelated_criterion_is_seldom_told_from_0():
    intervals = [one(trials(n=30, seed=s), "confidence").spearman_interval for s in range(20)]
    assert sum(low < 0 < high for low, high in intervals) >= 16  # 19 are expected


@pytest.mark.parametrize("n", [8, 20])
def test_the_interval_covers_the_correlation_with_few_trials(n):
    """Normal pairs with r = .8: their rank correlation is 6 / pi asin(r / 2) = .786."""
    rng, hits = np.random.default_rng(n), 0
    for _ in range(150):
        x = rng.normal(size=n)
        y = 0.8 * x + 0.6 * rng.normal(size=n)
        low, high = one({"acc": y, "silhouette": x}).spearman_interval
        hits += low <= 0.786 <= high
    assert hits >= 0.9 * 150


def test_an_interval_by_hand():
    # r = .8, n = 5: atanh .8 = 1.0986, error sqrt(1.32 / 2) = .8124, half 1.5923.
    found = one({"acc": [1, 2, 3, 4, 5], "silhouette": [2, 1, 4, 3, 5]})
    assert found.spearman == pytest.approx(0.8)
    assert found.spearman_interval == pytest.approx((-0.4573, 0.9909), abs=1e-3)


def test_the_interval_narrows_with_trials():
    few, many = (one(trials(n=n, noise=0.3)).spearman_interval for n in (8, 200))
    assert many[1] - many[0] < (few[1] - few[0]) / 2


def test_a_criterion_that_only_sees_collapse_is_found_out():
    rng = np.random.default_rng(0)
    columns = {
        "acc": [*rng.uniform(0.5, 0.7, 15), *[0.1] * 15],
        "confidence": [*rng.uniform(0.5, 0.7, 15), *[0.0] * 15],
        "guarded": [0.0] * 15 + [1.0] * 15,
    }
    assert one(columns, "confidence").spearman > 0.7
    sound = one(columns, "confidence", "not collapsed")
    assert sound.n == 15
    assert abs(sound.spearman) < 0.5


def test_a_mean_over_seeds_with_one_collapsed_run_counts_as_collapsed():
    columns = trials()
    columns["guarded"][3] = 1 / 3
    assert one(columns, kept="not collapsed").n == 19
    columns = trials() | {"collapsed": [True] + [False] * 19}
    assert one(columns, kept="not collapsed").n == 19


def test_three_trials_get_a_sentence():
    found = one({k: v[:3] for k, v in trials().items()})
    assert (found.n, found.spearman, found.regret) == (3, None, None)
    assert found.reason == "too few trials: 3, needs 4"
    assert one({k: v[:4] for k, v in trials().items()}).spearman is not None


def test_constant_values_have_no_correlation():
    columns = trials() | {"silhouette": np.full(20, 0.5)}
    found = one(columns)
    assert found.spearman is None
    assert found.reason == "it is constant"
    assert found.regret == pytest.approx(max(columns["acc"]) - np.mean(columns["acc"]))


def test_missing_and_diverged_values_are_left_out():
    columns = {k: list(v) for k, v in trials().items()}
    columns["silhouette"][0] = None
    columns["acc"][1] = float("nan")
    columns["diverged"] = [False] * 19 + [True]
    assert one(columns).n == 17


def test_every_kind_of_table_is_read():
    frame = pl.DataFrame(trials())
    wanted = trust.assess(frame)
    assert {t.criterion for t in wanted} == {"silhouette", "confidence"}
    for same in (frame.lazy(), frame.to_arrow(), frame.to_dicts(), frame.to_dict(as_series=False)):
        assert trust.assess(same) == wanted


def shown(rows):
    console = Console(file=io.StringIO(), width=120)
    console.print(trust.table(rows))
    return console.file.getvalue()


def test_the_table_shows_n_and_the_reason():
    text = shown(trials())
    assert "silhouette" in text
    assert "not collapsed" not in text  # nothing collapsed: it would say the same
    assert "no evidence" in text
    columns = trials() | {"collapsed": [True] + [False] * 19}
    assert "  not collapsed  19" in shown(columns)
    assert "too few trials: 2" in shown({k: v[:2] for k, v in trials().items()})
    assert "no trial has a label-free criterion" in shown([{"acc": 0.5}])
