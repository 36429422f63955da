"""Whole commands on an object store behind a network that loses replies; killed and continued.

    THOROUGH=1 pytest tests/platform/commands/test_on_s3.py

does it ten times, at other moments, and kills the suite as well.
"""

import os
import time
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest
import torch
from polars.testing import assert_frame_equal

from deep_clustering.platform import results
from deep_clustering.platform.run.execute import execute
from deep_clustering.platform.store.store import Store
from support.command import Command, gone, run
from support.s3_proxy import Proxy
from support.small import SETS, Watcher, jobs, place, request

pytestmark = [
    pytest.mark.ray,
    pytest.mark.timeout(1800),
    pytest.mark.usefixtures("tidy"),
]

THOROUGH = bool(os.environ.get("THOROUGH"))
_SUITE = """
method = "cdc"
datasets = ["digits"]
[[rows]]
name = "full"
"""
_MORE = """
[[rows]]
name = "random"
variants = ["random-init"]
[[claims]]
row = "random"
against = "full"
metric = "acc"
direction = "lower"
margin = 0.01
"""


@pytest.mark.fault(1, 28)
@pytest.mark.parametrize("round", range(10 if THOROUGH else 1))
def test_commands_on_s3_survive_kills_and_lost_replies(
    round: int, work: Path, through: Callable[..., tuple[Proxy, str]]
) -> None:
    """P1, P5: a search killed in the middle, its best run trained, a suite, a report."""
    proxy, address = through("lost", "late", "refused", "conflict", "slow", share=0.1)
    sets = [x for s in (*SETS, "epochs=30") for x in ("--set", s)]
    where = ["--data", work / "data", "--store", address]
    given = ["--dataset", "folder:bunte Bilder", *where, *sets]
    asked = ["tune", "cdc", *given, "--trials", 3, "--space", "encoder_lr", "--study", "mine"]
    command = Command(*asked, cwd=work)
    while not any(line.startswith("trial") and " done" in line for line in command.lines):
        assert command.process.poll() is None, command.text
        time.sleep(0.02)
    time.sleep(round / 10)
    family = command.family()
    command.process.kill()
    command.end()
    assert gone(family, 10) == []
    before = results.runs(address).collect()
    assert 1 <= before.height < 3
    again = run(work, *asked)
    assert again.process.returncode == 0, again.text
    assert results.study("mine", address).collect().height == 3

    (work / "mine.toml").write_text(_SUITE + _MORE * THOROUGH)
    asked_for_suite = ["ablate", "--suite", "mine.toml", "--seeds", 1, *given]
    if THOROUGH:
        killed = Command(*asked_for_suite, cwd=work)
        killed.until("random running")
        killed.process.kill()
        killed.end()
    suite = run(work, *asked_for_suite)
    assert suite.process.returncode == 0, suite.text
    train = run(work, "train", "cdc", *given)  # the search's first trial, and the suite's row
    assert train.process.returncode == 0, train.text
    assert "running" not in train.text
    report = run(work, "report", "mine", "--output", "mine.html", *where)
    assert report.process.returncode == 0, report.text
    assert (work / "mine.html").stat().st_size > 10_000
    assert proxy.met.total() - proxy.met["none"] > 5

    rows = results.runs(address).collect()
    kept = rows.filter(pl.col("run_id").is_in(before["run_id"].to_list())).sort("run_id")
    assert_frame_equal(kept.select(before.columns), before.sort("run_id"))
    assert Store.open(address).verify() == []
    store = Store.open(work / f"undisturbed-{round}")
    asked_for = request(work / "bunte Bilder", work / "data", "epochs=30")
    here = place(store)
    for job in jobs(asked_for):  # the one pretraining had every core, each run one
        torch.set_num_threads(os.cpu_count() or 1 if job.is_stage else 1)
        execute(job, here, Watcher())
    mine = pl.col("run_id") == jobs(asked_for)[-1].id
    for table in (results.predictions, results.probabilities):
        there, alone = (table(s).filter(mine).collect().sort("sample") for s in (address, store))
        assert_frame_equal(there, alone)
