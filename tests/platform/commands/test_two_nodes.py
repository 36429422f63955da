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
def test_a_search_goes_on_without_a_machine_that_is_lost(
    work: Path, nodes: subprocess.Popen[str]
) -> None:
    """P1: its runs go on elsewhere from their checkpoints, and all that was asked for is there."""
    assert nodes.stdout is not None
    assert nodes.stdin is not None
    address = nodes.stdout.readline().strip()
    search = ("--trials", 3, "--space", "encoder_lr", "--set", "epochs=150")
    asked = invocation(work, "tune", "cluster", *search, "--address", address)
    command = Command(*asked, cwd=work)
    saved = work / "cluster" / "checkpoints"
    while len({f.parent for f in saved.glob("*/*.json") if int(f.stem) > 2}) < 2:  # one on each
        assert command.process.poll() is None, command.text
        time.sleep(0.05)
    nodes.stdin.write("kill\n")
    nodes.stdin.flush()
    assert nodes.stdout.readline() == "killed\n"
    assert command.end() == 0, command.text
    assert "died at epoch" in command.until("note: the worker of run")
    rows = results.runs(work / "cluster").collect()
    assert rows["status"].to_list() == ["ok"] * 3
    assert rows.filter(pl.col("resumed_at") > 0).height == 1
