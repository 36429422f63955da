"""Trials of a study without Ray: asked for as Tune does, results handed in, kept in the store."""

import math
from dataclasses import replace
from pathlib import Path

import pytest
from optuna.trial import TrialState

from deep_clustering.platform.errors import InputError
from deep_clustering.platform.metrics.registry import METRICS
from deep_clustering.platform.request import configs
from deep_clustering.platform.request.request import Request
from deep_clustering.platform.store.store import Store
from deep_clustering.search_spaces._space import Choice, Float
from support.searches import FINISHED, SPACE, Search
from support.small import request


@pytest.fixture(scope="module")
def asked(folder: Path, root: Path) -> Request:
    return request(folder, root)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(tmp_path / "store")


def test_trials_that_are_drawn_at_random_wait_for_none(store: Store, asked: Request) -> None:
    search = Search(store, asked, total=30)
    # Trial 11 is the first one that sees ten others.
    assert [search.ask() for _ in range(12)] == [*range(11), None]


def test_points_of_a_grid_wait_for_none(store: Store, asked: Request) -> None:
    search = Search(store, asked, total=14, sampler="grid")
    assert [search.ask() for _ in range(15)] == [*range(14), FINISHED]


def test_a_trial_that_learns_waits_for_the_second_before_it(store: Store, asked: Request) -> None:
    search = Search(store, asked, total=15)
    for number in range(10):
        search.ask()
        search.end(number)
    assert [search.ask(), search.ask(), search.ask()] == [10, 11, None]
    search.end(11)
    assert search.ask() is None
    search.end(10)
    assert [search.ask(), search.ask(), search.ask()] == [12, 13, None]
    search.end(12)
    assert [search.ask(), search.ask()] == [14, FINISHED]  # while 13 still runs
    search.end(13)
    search.end(14)
    assert [t.state for t in search.study.over()] == [TrialState.COMPLETE] * 15


def test_the_first_trial_is_what_the_request_says(store: Store, asked: Request) -> None:
    search = Search(store, asked, total=2)
    search.ask()
    flat = configs.flatten(asked.config)
    assert search.params(0) == {name: flat[name] for name in SPACE}
    (job,) = search.submitted["trial-0"].runs
    assert job.id == asked.wanted([0]).runs[0].id


def test_a_trial_stands_for_the_runs_of_all_its_seeds(store: Store, asked: Request) -> None:
    search = Search(store, asked, total=2, seeds=(0, 4))
    search.ask()
    search.ask()
    for number in (0, 1):
        wanted = search.submitted[f"trial-{number}"]
        assert [job.seed for job in wanted.runs] == [0, 4]
        assert search.study.trials()[number].user_attrs["runs"] == [j.id for j in wanted.runs]
        for job in wanted.runs:
            assert job.watch == ("acc",)
            assert {name: job.config[name] for name in SPACE} == search.params(number)
    assert search.submitted["trial-0"].before == search.submitted["trial-1"].before


def test_results_are_kept_in_the_store(store: Store, asked: Request) -> None:
    search = Search(store, asked, total=4)
    search.run()
    again = Search(store, asked, total=4)
    assert again.ask() == FINISHED
    assert again.submitted == {}
    trials = again.study.trials()
    assert [t.number for t in trials] == [0, 1, 2, 3]
    for trial in trials:
        expected = 1 / (1 + abs(math.log10(trial.params["encoder_lr"]) + 3))
        assert trial.values == [expected]
        assert trial.user_attrs["metrics"]["acc"] == expected
    best = again.study.best()
    assert [t.value for t in best] == sorted((t.value for t in trials), reverse=True)


@pytest.mark.parametrize("sampler", ["tpe", "random"])
def test_the_order_in_which_trials_end_changes_nothing(
    sampler: str, asked: Request, tmp_path: Path
) -> None:
    stores = [Store.open(tmp_path / name) for name in ("one", "other")]
    first, second = (Search(s, asked, total=14, sampler=sampler) for s in stores)
    proposed = first.run()
    assert len(proposed) == 14
    assert len({p["encoder_lr"] for p in proposed}) == 14
    assert second.run(backward=True) == proposed


def test_a_killed_search_continues_its_trials_and_proposes_the_same(
    asked: Request, tmp_path: Path
) -> None:
    undisturbed = Search(Store.open(tmp_path / "one"), asked, total=8).run()
    store = Store.open(tmp_path / "other")
    killed = Search(store, asked, total=8)
    assert [killed.ask(), killed.ask()] == [0, 1]
    killed.end(1)
    killed.end(0)
    assert [killed.ask(), killed.ask()] == [2, 3]
    killed.end(3)
    left = killed.submitted["trial-2"].runs
    again = Search(store, asked, total=8)
    assert again.ask() == 2  # under its own number
    assert again.submitted["trial-2"].runs == left
    again.end(2)
    assert again.run() == undisturbed


def test_more_trials_later_continue_the_search(asked: Request, tmp_path: Path) -> None:
    whole = Search(Store.open(tmp_path / "one"), asked, total=8).run()
    store = Store.open(tmp_path / "other")
    assert Search(store, asked, total=4).run() == whole[:4]
    assert Search(store, asked, total=8).run() == whole


@pytest.mark.fault(27)
def test_another_search_of_the_same_name_is_refused(store: Store, asked: Request) -> None:
    Search(store, asked, total=2).run()
    with pytest.raises(InputError, match="was made with another space"):
        Search(store, asked, total=2, space={"hidden": Choice(8, 12)})


# --- how trials end ------------------------------------------------------------------------------


def test_a_stopped_trial_has_no_result(store: Store, asked: Request) -> None:
    search = Search(store, asked, total=2)
    search.ask()
    epoch = {"acc": 0.25, "epoch": 1}
    search.report(0, epoch)
    search.stop(0, epoch)
    trial = search.study.trials()[0]
    assert trial.state == TrialState.PRUNED
    assert trial.intermediate_values == {1: 0.25}
    assert search.searcher.lines()[0].state == "stopped"


def test_a_failure_is_a_trial_with_a_reason_and_can_be_tried_again(
    store: Store, asked: Request
) -> None:
    search = Search(store, asked, total=2)
    search.ask()
    search.ask()
    search.end(0, acc=0.0, reason="out of memory", diverged=False)
    search.end(1)
    lost = search.study.trials()[0]
    assert lost.state == TrialState.FAIL
    assert lost.user_attrs["reason"] == "out of memory"
    assert [t.number for t in search.study.best()] == [1]
    assert [line.state for line in search.searcher.lines()] == ["failed", "done"]

    assert [t.number for t in search.study.failed()] == [0]
    assert search.study.again() == [lost.params]
    again = Search(store, asked, total=3, again=search.study.again())
    assert again.ask() == 2
    assert again.params(2) == lost.params
    assert again.submitted["trial-2"].runs == search.submitted["trial-0"].runs
    again.end(2)
    assert again.study.again() == []  # it has a result now
    assert again.study.failed() == []


def test_an_error_of_the_relay_is_a_failure(store: Store, asked: Request) -> None:
    search = Search(store, asked, total=2)
    search.ask()
    search.stop(0, error=True)
    assert search.state(0) == TrialState.FAIL
    assert search.study.trials()[0].user_attrs["reason"] == "the trial's runs failed"


@pytest.mark.fault(49)
def test_a_run_that_diverges_counts_as_the_worst(store: Store, asked: Request) -> None:
    search = Search(store, asked, total=2)
    search.ask()
    worst = METRICS["acc"].worst
    search.end(0, acc=worst, reason="diverged at epoch 2", diverged=True)
    trial = search.study.trials()[0]
    assert (trial.state, trial.values) == (TrialState.COMPLETE, [worst])
    assert trial.user_attrs["reason"] == "diverged at epoch 2"


@pytest.mark.parametrize("value", [math.nan, math.inf, None])
def test_an_objective_that_does_not_exist_counts_as_the_worst(
    store: Store, asked: Request, value: float | None
) -> None:
    search = Search(store, asked, total=2, objectives=("ece",))
    search.ask()
    search.end(0, ece=value)
    trial = search.study.trials()[0]
    assert trial.values == [METRICS["ece"].worst]
    assert "ece" not in trial.user_attrs["metrics"]


def test_several_objectives_have_a_front(store: Store, asked: Request) -> None:
    search = Search(store, asked, total=3, generation=3, objectives=("acc", "ece"))
    assert [search.ask() for _ in range(3)] == [0, 1, 2]
    for number, (acc, ece) in enumerate(((0.9, 0.3), (0.5, 0.1), (0.4, 0.2))):
        search.end(number, acc=acc, ece=ece)
    front = search.study.best()
    assert [(t.number, t.values) for t in front] == [(0, [0.9, 0.3]), (1, [0.5, 0.1])]


def test_a_combination_that_cannot_exist_costs_a_number(store: Store, asked: Request) -> None:
    space = {"mini_clusters": Choice(8, 4000), "encoder_lr": Choice(1e-3, 1e-4)}
    search = Search(store, asked, total=4, generation=4, sampler="grid", space=space)
    search.run()
    trials = search.study.trials()
    assert len(trials) == 4
    for trial in trials:
        possible = trial.params["mini_clusters"] == 8
        assert trial.state == (TrialState.COMPLETE if possible else TrialState.FAIL)
        assert possible or "mini_clusters" in trial.user_attrs["reason"]
    assert len(search.submitted) == 2


def test_what_every_trial_stands_on(store: Store, asked: Request) -> None:
    """And no more: a pretraining whose fields are searched is another one for each trial."""
    (pretraining,) = asked.wanted([0]).before
    search = Search(store, asked, total=1, seeds=(0, 1))
    assert [job.id for job in search.settings.shared()] == [pretraining.id]
    deeper = {**SPACE, "pretrain.learning_rate": Float(0.01, 0.1, log=True)}
    assert replace(search.settings, space=deeper).shared() == ()
