"""A search on a cluster of two machines, of which one is lost; both are on this one."""

import contextlib
import secrets
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import psutil
import pytest

from deep_clustering.platform import results
from support.command import Command, invocation

pytestmark = [
    pytest.mark.ray,
    pytest.mark.timeout(1800),
    pytest.mark.usefixtures("tidy"),
]


@pytest.fixture
def nodes(monkeypatch: pytest.MonkeyPatch) -> Iterator[subprocess.Popen[str]]:
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    monkeypatch.setenv("RAY_AUTH_TOKEN", secrets.token_hex(16))
    program = [sys.executable, "-m", "support.two_nodes"]
    pipe = subprocess.PIPE
    with subprocess.Popen(
        program, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, text=True
    ) as child:
        yield child
        family = psutil.Process(child.pid).children(recursive=True)
        child.kill()
        for process in family:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()


@pytest.mark.fault(68)
def test_work_goes_on_without_a_machine_that_is_lost(
    work: Path, nodes: subprocess.Popen[str]
) -> None:
    """P1: runs go on elsewhere from their checkpoints, and all that was asked for is there."""
    assert nodes.stdout is not None
    address = nodes.stdout.readline().strip()
    search = ("--trials", 3, "--space", "encoder_lr", "--set", "epochs=150")
    asked = invocation(work, "tune", "cluster", *search, "--address", address)
    command = Command(*asked, cwd=work)
    _checkpoints(command, work / "cluster", 2)  # one on each
    _tell(nodes, "kill")
    assert command.end() == 0, command.text
    assert "died at epoch" in command.until("note: the worker of run")
    rows = results.runs(work / "cluster").collect()
    assert rows["status"].to_list() == ["ok"] * 3
    assert rows.filter(pl.col("resumed_at") > 0).height == 1

    _tell(nodes, "add")  # for the second worker of a run; what it loses comes back
    both = ("--workers", 2, "--set", "epochs=150", "--address", address)
    command = Command(*invocation(work, "train", "group", *both), cwd=work)
    _checkpoints(command, work / "group", 1)
    _tell(nodes, "kill")
    _tell(nodes, "add")
    assert command.end() == 0, command.text
    assert "died at epoch" in command.until("note: the worker of run")
    (row,) = results.runs(work / "group").collect().rows(named=True)
    assert (row["status"], row["workers"]) == ("ok", 2)
    assert row["resumed_at"] > 0


def _checkpoints(command: Command, store: Path, jobs: int) -> None:
    """Wait until so many jobs have one of more than two epochs."""
    saved = store / "checkpoints"
    while len({f.parent for f in saved.glob("*/*.json") if int(f.stem) > 2}) < jobs:
        assert command.process.poll() is None, command.text
        time.sleep(0.05)


def _tell(nodes: subprocess.Popen[str], what: str) -> None:
    """Kill the second machine, or add another."""
    assert nodes.stdout is not None
    assert nodes.stdin is not None
    nodes.stdin.write(f"{what}\n")
    nodes.stdin.flush()
    assert nodes.stdout.readline() == f"{what}\n"
