"""Searches and suites as commands, killed and continued; promises as in `test_command`."""

from pathlib import Path

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from deep_clustering.platform import results
from deep_clustering.platform.store.store import Store
from support.command import Command, gone, invocation, run, table
from support.small import SETS, images

pytestmark = [
    pytest.mark.ray,
    pytest.mark.timeout(1800),
    pytest.mark.usefixtures("tidy"),
]


_SEARCH = (
    "--trials",
    4,
    "--space",
    "entropy_weight,encoder_lr",
    "--set",
    "epochs=60",
)  # long enough to be killed in the middle


@pytest.fixture(scope="module")
def searched(work: Path) -> Command:
    """A search that nothing disturbed."""
    return run(work, *invocation(work, "tune", "searched", *_SEARCH))


def test_a_search_ends_with_its_tables(work: Path, searched: Command) -> None:
    assert searched.process.returncode == 0, searched.text
    frame = table(work / "searched")
    assert frame.height == 4
    assert set(frame["status"]) == {"ok"}
    assert frame["config.encoder_lr"].n_unique() == 4
    assert frame["stage_id"].n_unique() == 1  # one pretraining for all
    assert results.stages(str(work / "searched")).collect().height == 1
    assert "4 finished" in searched.text
    assert "results.study(" in searched.text
    assert "chosen without labels" in searched.text
    study = searched.text.split("of study ")[1].split(":")[0]
    assert results.study(study, str(work / "searched")).collect().height == 4


def test_the_same_search_again_computes_nothing(work: Path, searched: Command) -> None:
    again = run(work, *invocation(work, "tune", "searched", *_SEARCH))
    assert again.process.returncode == 0, again.text
    assert "4 trials × 1 seed" in searched.text
    assert "4 trials × 1 seed" not in again.text  # the view never opened, so Ray never started
    assert "4 finished" in again.text
    assert table(work / "searched").height == 4


@pytest.mark.fault(1)
def test_a_killed_search_continues_to_the_same_table(work: Path, searched: Command) -> None:
    """P1, P5: SIGKILL of the driver in mid-search; no orphan after 10 s; its journal is damaged.

    The command that continues it asks for more trials, which come after those of the first.
    """
    command = Command(*invocation(work, "tune", "killed", *_SEARCH), cwd=work)
    command.until("trial 3 running")  # so that two others are over
    family = command.family()
    command.process.kill()
    command.end()
    assert gone(family, 10) == []
    before = table(work / "killed")
    assert 2 <= before.height < 4
    (journal,) = (work / "killed" / "studies").iterdir()
    journal.write_bytes(journal.read_bytes().replace(b"op_code", b"op_node", 5))
    more = [6 if x == 4 else x for x in invocation(work, "tune", "killed", *_SEARCH)]
    again = run(work, *more)
    assert again.process.returncode == 0, again.text
    assert "moved to quarantine/ and written anew" in again.text
    after = table(work / "killed")
    assert after.height == 6
    kept = after.filter(pl.col("run_id").is_in(before["run_id"].to_list()))
    assert_frame_equal(kept.select(before.columns), before)
    undisturbed = table(work / "searched")
    same = pl.col("run_id").is_in(undisturbed["run_id"].to_list())
    assert_frame_equal(after.filter(same), undisturbed)
    there, alone = (_predictions(work / store) for store in ("killed", "searched"))
    assert_frame_equal(there.filter(same), alone)


def _predictions(store: Path) -> pl.DataFrame:
    return results.predictions(str(store)).collect().sort("run_id", "sample")


def test_asha_stops_trials_and_leaves_no_number_of_them(work: Path) -> None:
    """A trial that the scheduler stops is a row without results; its epochs are kept.

    The scheduler sees the epochs that are evaluated, here every third.
    """
    asked = ("--trials", 6, "--scheduler", "asha", "--objective", "ece", "--set", "epochs=60")
    asked = (*asked, "--evaluate-every", 3)
    command = run(work, *invocation(work, "tune", "asha", *asked, "--space", "head_lr,encoder_lr"))
    assert command.process.returncode == 0, command.text
    assert "stopped early" in command.text
    assert "chosen with labels (ece)" in command.text
    frame = results.runs(str(work / "asha")).collect()
    assert frame.height == 6
    stopped = frame.filter(pl.col("status") == "stopped")
    assert stopped.height >= 1
    assert stopped["ece"].null_count() == stopped.height
    assert (stopped["epochs"] < 60).all()
    epochs = results.epochs(str(work / "asha")).collect()
    assert set(stopped["run_id"]) <= set(epochs["run_id"])
    evaluated = epochs.filter(pl.col("ece").is_not_null())["epoch"].unique().sort()
    assert evaluated.to_list() == list(range(0, 61, 3))
    assert frame.filter(pl.col("status") == "ok")["epochs"].to_list() == [60] * (6 - stopped.height)


def test_a_search_that_failed_is_tried_again_when_asked(work: Path) -> None:
    """P4: failed trials are told until they have a result; the same configurations get one."""
    mine = images(work / "wechselnde Bilder")
    sets = [x for s in SETS for x in ("--set", s)]
    given = ["--dataset", "folder:wechselnde Bilder", "--data", work / "data"]
    asked = ["tune", "cdc", *given, "--store", work / "retried", *sets]
    asked = [*asked, "--trials", 2, "--space", "encoder_lr", "--study", "mine"]
    command = Command(*asked, cwd=work)
    command.until("2 trials × 1 seed")  # planned; no worker has looked at the images yet
    added = mine / "kind 0" / "added.png"
    added.write_bytes((mine / "kind 0" / "0-0.png").read_bytes())
    assert command.end() == 3, command.text
    assert "changed after the command started" in command.text
    failed = results.runs(str(work / "retried")).collect()
    assert failed["status"].to_list() == ["failed"] * 2
    added.unlink()

    again = run(work, *asked)
    assert again.process.returncode == 3, again.text
    assert "2 trials × 1 seed" not in again.text  # nothing was computed
    retried = run(work, *asked, "--retry", "failed")
    assert retried.process.returncode == 0, retried.text
    assert "--retry" not in retried.text.split("more trials")[1]
    frame = results.runs(str(work / "retried")).collect()
    assert frame["status"].to_list() == ["ok"] * 2
    assert set(frame["run_id"]) == set(failed["run_id"])
    last = run(work, *asked, "--retry", "failed")
    assert last.process.returncode == 0, last.text
    assert "2 trials × 1 seed" not in last.text  # nothing is left to try


_SUITE = """
method = "cdc"
datasets = ["digits"]
[[rows]]
name = "full"
[[rows]]
name = "random"
variants = ["random-init"]
[[rows]]
name = "wild"
changes = { head_lr = 1e30, encoder_lr = 1e30 }
[[claims]]
row = "random"
against = "full"
metric = "acc"
direction = "lower"
margin = 0.01
[[claims]]
row = "wild"
against = "full"
metric = "acc"
direction = "lower"
margin = 0.01
"""


def test_a_killed_suite_continues_and_its_failures_are_no_numbers(work: Path) -> None:
    """P1, P4, P5: a suite of the user's own in one file, whose seeds grow until it is settled;
    SIGKILL in the middle; exit 3."""
    (work / "mine.toml").write_text(_SUITE)
    sets = [x for s in (*SETS, "epochs=40") for x in ("--set", s)]
    given = ["--dataset", "folder:bunte Bilder", "--data", work / "data", "--store", work / "suite"]
    asked = ["ablate", "--suite", "mine.toml", "--seeds", 2, *given, *sets]
    asked += ["--until-settled", "--max-seeds", 4]
    command = Command(*asked, cwd=work)
    command.until("random running")
    family = command.family()
    command.process.kill()
    command.end()
    assert gone(family, 10) == []
    before = table(work / "suite")
    assert 1 <= before.height < 6
    again = run(work, *asked)
    assert again.process.returncode == 3, again.text
    after = table(work / "suite")
    assert after.height == 10  # two runs are never enough: `full` and `random` get two more
    assert "until settled: " in again.text
    assert "1 cannot be tested" in again.text
    kept = after.filter(pl.col("run_id").is_in(before["run_id"].to_list()))
    assert_frame_equal(kept.select(before.columns), before)
    assert results.stages(str(work / "suite")).collect().height == 4  # one for each seed
    name = Store.open(str(work / "suite"), create=False).plans("suite")[0]
    cells = results.cells(name, str(work / "suite")).filter(pl.col("metric") == "acc").collect()
    assert cells["variant"].to_list() == ["full", "random", "wild"]
    assert cells["n"].to_list() == [4, 4, 0]
    assert cells["unit"].to_list() == ["pretraining", "pretraining", None]
    assert cells["failed"].to_list() == [0, 0, 2]
    assert cells["mean"].is_null().to_list() == [False, False, True]
    verdicts = results.verdicts(name, str(work / "suite")).collect()
    assert verdicts.filter(pl.col("variant") == "wild")["verdict"].to_list() == ["NOT TESTABLE"]

    third = run(work, *asked)
    assert third.process.returncode == 3
    assert "running" not in third.text
    assert "--retry failed" in third.text
    assert "2 failed: diverged" in third.text
