"""A command that only reads or lists imports nothing that trains, so that it answers at once."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from deep_clustering.platform.commands import lists
from deep_clustering.platform.request.options import Asked
from deep_clustering.platform.request.request import resolve
from deep_clustering.platform.store.store import Store
from deep_clustering.platform.suites import suites
from support import store_rows

#: Each of these costs from a fifth of a second to two.
TRAINS = {"torch", "torchvision", "sklearn", "scipy", "numba", "ray", "optuna", "pandas"}
TABLES = {"polars", "pyarrow"}
#: What reads files of a dataset or fetches them: hundredths of a second each, a third together.
READS = {"PIL", "psutil", "simplejpeg", "http.client", "ssl"}

LISTS = [
    ["--help"],
    ["train", "--help"],
    ["methods"],
    ["methods", "cdc"],
    ["variants", "dpac"],
    ["spaces"],
    ["spaces", "ruc"],
    ["variants"],
    ["suites"],
    ["datasets"],
]

#: Carries out commands in one process; prints what each one has made it import.
_CHILD = """
import contextlib, io, json, sys
from deep_clustering.platform.cli import cli
for command in json.loads(sys.argv[1]):
    before = set(sys.modules)
    with contextlib.redirect_stdout(io.StringIO()) as told:
        code = cli.main(command, standalone_mode=False)
    print(json.dumps([code, told.getvalue(), sorted(set(sys.modules) - before)]))
"""


def imported(commands: list[list[str]], cwd: Path) -> list[tuple[int | None, str, set[str]]]:
    """Exit code, output and newly imported packages of commands that one process carries out.

    Its home is a new one, in which no dataset has been prepared.
    """
    child = subprocess.run(
        [sys.executable, "-c", _CHILD, json.dumps(commands)],
        cwd=cwd,
        env={**os.environ, "HOME": str(cwd / "home"), "DEEP_CLUSTERING_DATA": ""},
        capture_output=True,
        text=True,
    )
    assert child.returncode == 0, child.stderr
    answers = [json.loads(line) for line in child.stdout.splitlines()]
    assert len(answers) == len(commands)
    return [(code, told, set(names)) for code, told, names in answers]


def test_lists_import_neither_tables_nor_what_trains(tmp_path: Path) -> None:
    for command, (code, told, names) in zip(LISTS, imported(LISTS, tmp_path), strict=True):
        assert code in (None, 0), command
        assert len(told) > 100, command
        assert not names & (TRAINS | TABLES), command
        # `datasets` asks where the user's copy of ImageNet would be.
        assert command == ["datasets"] or not names & READS, command


def test_runs_of_all_suites_are_counted_in_few_calls() -> None:
    """Python's calls are as many on every machine: 380 a row, which take 0.15 s in all."""
    known, calls = suites.known(), 0

    def count(frame: object, event: str, argument: object) -> None:
        nonlocal calls
        calls += event == "call"

    sys.setprofile(count)
    try:
        runs = [lists._runs(suite, Path("/")) for suite in known.values()]
    finally:
        sys.setprofile(None)
    assert sum(runs) > 3000
    assert calls < 600 * sum(len(suite.rows) * len(suite.datasets) for suite in known.values())


@pytest.mark.ray
def test_what_is_done_is_told_without_importing_what_trains(tmp_path: Path) -> None:
    data = tmp_path / "data"
    asked = resolve(Asked(method="kmeans", dataset="digits"), root=data)
    store_rows.commit(Store.open(tmp_path / "store"), asked.wanted([0]).runs[0].id)
    where = ["--store", str(tmp_path / "store"), "--data", str(data)]
    train = ["train", "kmeans", "--dataset", "digits", *where]
    commands = [["results", *where[:2]], train, [*train, "--dry-run"], ["suites", *where]]
    for command, (code, told, names) in zip(commands, imported(commands, tmp_path), strict=True):
        assert code in (None, 0), (command, told)
        assert not names & TRAINS, command
