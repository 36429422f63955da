"""The store when the disk fails, processes die and bytes change.

Promises: what was acknowledged is never lost, doubled or altered; a run is absent or complete; a
bad file harms only its own run; whatever goes wrong has a typed error.
"""

import errno
import json
import os
import pickle
import random
import shutil
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from deep_clustering.platform import _disk, results
from deep_clustering.platform.errors import StorageError
from deep_clustering.platform.store import _local, schema
from deep_clustering.platform.store.store import Plan, Store, StoreDamage
from support.store_child import CHANGING, OPERATIONS
from support.store_rows import commit, epochs, predictions, probabilities, run, stage, whole

RUN_TABLES = ("epochs", "predictions", "probabilities")
_CHILD = [sys.executable, "-m", "support.store_child"]


def _hidden(folder: Path) -> list[Path]:
    return [p for p in folder.rglob(".*") if p.is_file()]


def _unnamed(store: Store) -> set[str]:
    """Tables, models and artefacts that no row names."""
    named: set[str] = set(store.rows("stages")["artefact_files"].explode().drop_nulls())
    for path in store.list("runs"):  # also of attempts before the last
        row = schema.decode(store.read_bytes(path), path, "runs").row(0, named=True)
        named |= {row.get(f"{k}_file") for k in (*RUN_TABLES, "model")}
    kinds = (*RUN_TABLES, "models", "artefacts")
    return {path for kind in kinds for path in store.list(kind)} - named


# ---- every call to the system fails once


class Failing:
    """Stands in for `os`: the n-th call that touches the disk fails, alone or with all later."""

    watched = (*CHANGING, "scandir", "lstat", "read")

    def __init__(self, at: int, number: int, forever: bool) -> None:
        self.at, self.number, self.forever, self.calls = at, number, forever, 0

    def trip(self, name: str) -> None:
        now, self.calls = self.calls, self.calls + 1
        if now == self.at or (self.forever and now > self.at):
            raise OSError(self.number, os.strerror(self.number), name)

    def __getattr__(self, name: str) -> Any:
        real = getattr(os, name)
        if name not in self.watched:
            return real

        def call(*arguments: Any, **named: Any) -> Any:
            self.trip(name)
            return real(*arguments, **named)

        return call

    def open_builtin(self, *arguments: Any, **named: Any) -> Any:
        self.trip("open to read")
        return open(*arguments, **named)


def _let_fail(patch: pytest.MonkeyPatch, failing: Failing) -> None:
    """Every module that touches the disk meets the failing calls."""
    for module in (_disk, _local):
        patch.setattr(module, "os", failing)
    patch.setattr(_disk, "open", failing.open_builtin, raising=False)


@pytest.mark.ray
@pytest.mark.fault(19)
@pytest.mark.parametrize(
    ("number", "forever"),
    [(errno.EIO, False), (errno.EIO, True), (errno.ENOSPC, True), (errno.EACCES, False)],
)
def test_a_commit_under_failing_calls_is_absent_or_complete(
    shelf: Path, monkeypatch: pytest.MonkeyPatch, number: int, forever: bool
) -> None:
    commit(Store.open(shelf / "empty"), "old", 0.25)
    before = (shelf / "empty/runs/old.ok.parquet").read_bytes()
    at, tripped, said = 0, True, []
    while tripped:
        place, id = shelf / f"store-{at}", "new"
        shutil.copytree(shelf / "empty", place)
        store = Store.open(place)
        failing = Failing(at, number, forever)
        with monkeypatch.context() as patch:
            _let_fail(patch, failing)
            try:
                acknowledged = commit(store, id, 0.75)
            except StorageError as error:
                acknowledged = None
                said.append(str(error))
        tripped = failing.calls > at
        again = Store.open(place)
        if acknowledged is None:
            if again.done([id]):
                assert whole(again, id) == 0.75
            commit(again, id, 0.75)
        assert whole(again, id) == 0.75
        assert again.verify() == []
        assert again.finished() == {"old", id}
        assert before == (place / "runs/old.ok.parquet").read_bytes()
        at += 1
    assert at > 25  # the loop has seen the whole commit
    assert len(said) > 15
    begin = ("no space left in", "cannot read") if number == errno.ENOSPC else ("cannot",)
    assert all(text.startswith(begin) and str(shelf) in text for text in said)


@pytest.mark.ray
@pytest.mark.parametrize("operation", ["failure", "stage", "plan", "compact", "repair"])
def test_other_writes_under_failing_calls(
    shelf: Path, monkeypatch: pytest.MonkeyPatch, operation: str
) -> None:
    template = _template(shelf / "template", operation)
    at, tripped = 0, True
    while tripped:
        shutil.copytree(template, shelf / f"{at}")
        store = Store.open(shelf / f"{at}")
        failing = Failing(at, errno.EIO, False)
        with monkeypatch.context() as patch:
            _let_fail(patch, failing)
            acknowledged = True
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", StoreDamage)
                try:
                    OPERATIONS[operation](store)
                except StorageError:
                    acknowledged = False
        tripped = failing.calls > at
        _check(Store.open(shelf / f"{at}"), operation, acknowledged)
        at += 1
    assert at > 8


# ---- a process dies at every call


def _template(folder: Path, operation: str) -> Path:
    store = Store.open(folder)
    commit(store, "old", 0.25)
    commit(store, "older", 0.125)
    store.write_plan("study", "s", Plan.of(["old"]))
    if operation == "repair":
        store.compact()
        commit(store, "hurt", 0.5)
        for path in ("runs/older.ok.parquet", store.run_row("hurt")["predictions_file"]):
            _flip(folder / path)
    return folder


def _check(store: Store, operation: str, acknowledged: bool) -> None:
    """The promises after an operation that was killed or failed."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", StoreDamage)
        assert whole(store, "old") == 0.25
        assert set(store.read_plan("study", "s").run_ids) >= {"old"}
        if operation == "repair":
            store.repair()
            assert whole(store, "older") == 0.125
            assert store.finished() == {"old", "older"}
        else:
            assert store.run_row("older")["acc"] == 0.125
    if acknowledged:
        there = {
            "commit": lambda: "new" in store.finished(),
            "failure": lambda: store.failures() == {"lost": "out of memory"},
            "stage": lambda: store.stage_ready("shared"),
            "plan": lambda: "new" in store.read_plan("study", "s").run_ids,
            "compact": lambda: len(store.list("segments")) == 2,
            "repair": lambda: store.verify() == [],
        }
        assert there[operation]()
    if store.done(["new"]):
        assert whole(store, "new") == 0.75
    if store.stage_ready("shared"):
        assert store.stage_artefact("shared", "encoder").read_bytes() == b"weights"
        assert store.stage_artefact("shared", "features").read_bytes() == b"weights" * 3
    assert store.verify() == []
    if operation != "repair":
        OPERATIONS[operation](store)  # the same again goes through


@pytest.mark.fault(20)
@pytest.mark.ray
@pytest.mark.parametrize("operation", list(OPERATIONS))
def test_a_process_killed_at_every_call(shelf: Path, operation: str) -> None:
    template = _template(shelf / "template", operation)
    (shelf / "killed").mkdir()
    told = subprocess.run(
        [*_CHILD, "crash", operation, str(template), str(shelf / "killed")],
        capture_output=True,
        text=True,
        check=True,
    )
    reports = [json.loads(line) for line in told.stdout.splitlines()]
    *killed, last = [r["status"] for r in reports]
    assert set(killed) == {9}
    assert last == 0  # the loop has seen the whole operation
    assert len(killed) > 7
    for report in reports:
        store = Store.open(report["place"])
        store.sweep()
        assert _hidden(Path(report["place"])) == []
        _check(store, operation, report["acknowledged"])
        if operation in ("commit", "failure", "stage"):
            assert {p for p in _unnamed(store) if not p.startswith("models/")} == set()


@pytest.mark.fault(1)
@pytest.mark.ray
def test_random_kills_lose_nothing_that_was_acknowledged(shelf: Path) -> None:
    chance = random.Random(20261123)
    acknowledged: set[str] = set()
    for commits in (0, 1, 3, 4, 6, 8):  # each child begins again at run-0
        child = subprocess.Popen(
            [*_CHILD, "commit", str(shelf / "store")], stdout=subprocess.PIPE, text=True
        )
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
        begun = time.monotonic()
        acknowledged |= {child.stdout.readline().strip() for _ in range(commits)}
        usual = (time.monotonic() - begun) / max(commits, 1)
        time.sleep(chance.uniform(0.0, 2 * usual + 0.02))  # somewhere in the commits that follow
        child.send_signal(signal.SIGKILL)
        acknowledged |= set(child.stdout.read().split())
        child.wait()
        child.stdout.close()
        store = Store.open(shelf / "store")
        store.sweep()
        assert acknowledged <= store.finished()
        assert _hidden(shelf) == []
        assert store.verify() == []
    assert len(acknowledged) > 5
    for id in store.finished():
        assert whole(store, id) == int(id.removeprefix("run-")) / 1000
    assert {p for p in _unnamed(store) if not p.startswith("models/")} == set()


@pytest.mark.fault(28)
@pytest.mark.ray
def test_four_processes_commit_the_same_runs(shelf: Path) -> None:
    rounds = 40
    Store.open(shelf / "store")
    children = [
        subprocess.Popen(
            [*_CHILD, "race", str(shelf / "store"), str(i)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for i in range(4)
    ]
    winners = []
    for number in range(rounds):
        for child in children:  # all start a round together
            assert child.stdin is not None
            child.stdin.write(f"run-{number}\n")
            child.stdin.flush()
        answers = [child.stdout.readline() for child in children if child.stdout is not None]
        assert sorted(answers) == ["False\n"] * 3 + ["True\n"], number
        winners.append(answers.index("True\n"))
    for child in children:
        child.communicate()
    store = Store.open(shelf / "store")
    for number, winner in enumerate(winners):
        assert whole(store, f"run-{number}") == (winner + 1) / 10
    assert len(set(winners)) > 1  # it was a race
    assert _unnamed(store) == set()
    assert _hidden(shelf) == []
    assert store.verify() == []


def test_a_full_disk_is_said_in_one_sentence(tmp_path: Path) -> None:
    Store.open(tmp_path / "store")
    told = subprocess.run(
        [*_CHILD, "full", str(tmp_path / "store"), "2000"], capture_output=True, text=True
    )
    assert told.returncode == 4
    assert told.stdout.startswith(f"no space left in {tmp_path / 'store'}: run new was not saved;")
    assert "give the same command again" in told.stdout
    store = Store.open(tmp_path / "store")
    assert store.finished() == set()
    assert store.list("epochs") == []
    assert _hidden(tmp_path) == []
    assert commit(store, "new")


# ---- bytes change


def _flip(path: Path, at: int | None = None, bit: int = 0) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2 if at is None else at] ^= 1 << bit
    path.write_bytes(bytes(data))


@pytest.mark.parametrize("kind", ["runs", "epochs", "probabilities"])
def test_no_changed_byte_and_no_cut_is_ever_read_as_a_value(kind: str) -> None:
    soft = schema.probabilities_table(predictions()["sample"], probabilities())
    table = {
        "runs": schema.row_table("runs", run("a")),
        "epochs": schema.fit_table("epochs", "a", epochs()),
        "probabilities": schema.fit_table("probabilities", "a", soft),
    }[kind]
    data = schema.encode(kind, table)
    chance = random.Random(1)
    assert schema.decode(data, "f", kind).height == table.num_rows
    for place in range(len(data)):
        changed = bytearray(data)
        changed[place] ^= 1 << chance.randrange(8)
        with pytest.raises(schema.Damaged):
            schema.decode(bytes(changed), "f", kind)
    for length in range(len(data)):
        with pytest.raises(schema.Damaged):
            schema.decode(data[:length], "f", kind)
    with pytest.raises(schema.Damaged):
        schema.decode(data + b"\0", "f", kind)


@pytest.mark.fault(21)
def test_a_damaged_row_harms_only_its_run_and_is_done_again(tmp_path: Path) -> None:
    store = Store.open(tmp_path)
    for i in range(3):
        commit(store, f"run-{i}", i / 10)
    _flip(tmp_path / "runs/run-1.ok.parquet")
    with pytest.warns(StoreDamage, match=r"runs/run-1\.ok\.parquet: damaged \(its checksum"):
        frame = results.runs(store).collect()
    assert sorted(frame["run_id"]) == ["run-0", "run-2"]
    with pytest.warns(StoreDamage):
        assert store.finished() == {"run-0", "run-2"}
    with pytest.warns(StoreDamage):
        assert not store.done(["run-1"])
    assert [(p.path, p.kind) for p in store.verify()] == [("runs/run-1.ok.parquet", "damaged")]
    with pytest.warns(StoreDamage):
        assert commit(store, "run-1", 0.9)
    assert whole(store, "run-1") == 0.9
    assert len(store.list("quarantine")) == 1
    assert store.verify() == []


@pytest.mark.parametrize("kind", [*RUN_TABLES, "models"])
def test_a_damaged_table_takes_its_run_away_and_no_other(tmp_path: Path, kind: str) -> None:
    store = Store.open(tmp_path)
    commit(store, "a", 0.25)
    commit(store, "b", 0.75)
    column = {"models": "model_file"}.get(kind, f"{kind}_file")
    path = store.run_row("a")[column]
    _flip(tmp_path / path)
    if kind == "models":
        with pytest.raises(StorageError, match="the model of run a is missing or damaged"):
            store.model_path("a")
    else:
        with pytest.warns(StoreDamage, match=f"{kind}/a"):
            left = getattr(results, kind)(store).collect()
        assert set(left["run_id"]) == {"b"}
        if kind == "probabilities":
            with pytest.raises(StorageError, match="probabilities of run a are missing or damaged"):
                store.probabilities("a")
    assert [(p.path, "runs/a.ok.parquet" in p.reason) for p in store.verify()] == [(path, True)]
    done = store.repair()
    assert "done again" in done[0].reason
    assert store.finished() == {"b"}
    assert store.verify() == []
    assert commit(store, "a", 0.25)
    assert whole(store, "a") == 0.25
    assert whole(store, "b") == 0.75


def test_a_copy_restores_damaged_files_byte_for_byte(tmp_path: Path) -> None:
    store = Store.open(tmp_path)
    for i in range(3):
        commit(store, f"run-{i}", i / 10)
    store.compact()
    files = [tmp_path / "runs/run-1.ok.parquet", tmp_path / store.run_row("run-2")["epochs_file"]]
    before = [f.read_bytes() for f in files]
    for file in files:
        _flip(file)
    store = Store.open(tmp_path)
    assert store.finished() == {"run-0", "run-1", "run-2"}  # the copy has it
    assert len(store.verify()) == 2
    assert all("restored from a segment" in p.reason for p in store.repair())
    assert [f.read_bytes() for f in files] == before
    assert store.verify() == []


@pytest.mark.ray
def test_a_damaged_copy_changes_nothing(shelf: Path) -> None:
    store = Store.open(shelf)
    for i in range(20):
        commit(store, f"run-{i}", i / 100)
    runs, tables = results.runs(store).collect(), results.epochs(store).collect()
    store.compact()
    for path in store.list("segments"):
        for at in random.Random(0).sample(range((shelf / path).stat().st_size), 25):
            _flip(shelf / path, at)
            again = Store.open(shelf)
            assert results.runs(again).collect().equals(runs)
            assert (
                results.epochs(again)
                .sort("run_id", "epoch")
                .collect()
                .equals(tables.sort("run_id", "epoch"))
            )
            _flip(shelf / path, at)
    _flip(shelf / store.list("segments")[0])
    assert [p.path for p in Store.open(shelf).verify()] == [store.list("segments")[0]]
    Store.open(shelf).repair()
    assert len(store.list("segments")) == 1
    store.compact()
    assert Store.open(shelf).verify() == []


def test_a_damaged_artefact_is_computed_anew(tmp_path: Path) -> None:
    store = Store.open(tmp_path)
    stage(store, "shared")
    path = store.stage_artefact("shared", "features")
    _flip(path)
    again = Store.open(tmp_path)
    assert [Path(p.path).name for p in again.verify()] == ["features"]
    with pytest.raises(StorageError, match="features of stage shared is damaged"):
        again.stage_artefact("shared", "features")
    assert again.stages() == set()
    assert stage(again, "shared")
    assert again.stage_artefact("shared", "features").read_bytes() == b"weights" * 3
    again.stage_artefact("shared", "encoder").unlink()
    assert not again.stage_ready("shared")
    assert stage(again, "shared")
    assert again.stage_ready("shared")


def test_damaged_plans_and_marks_are_told_and_renewed(tmp_path: Path) -> None:
    store = Store.open(tmp_path)
    commit(store, "a")
    store.write_plan("study", "s", Plan.of(["a"], "x"))
    store.write_plan("study", "s", Plan.of(["b"], "y"))
    first = store.list("plans")[0]
    _flip(tmp_path / first)
    with pytest.warns(StoreDamage, match="damaged"):
        assert len(store.read_plan("study", "s").run_ids) == 1
    _flip(tmp_path / "store.json", 20, 1)
    assert {p.path for p in store.verify()} == {"store.json", first}
    with pytest.warns(StoreDamage, match=r"store\.json"):
        Store.open(tmp_path, create=False)
    assert "store.json" in {p.path for p in store.repair() if p.reason.endswith("written anew")}
    assert store.verify() == []
    assert Store.open(tmp_path).finished() == {"a"}


def test_what_is_wrong_has_a_kind_beside_its_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store.open(tmp_path)
    for id in ("cut", "gone", "late", "sealed", "worn"):
        commit(store, id)
    path = {id: store.run_row(id)["predictions_file"] for id in store.finished()}
    _flip(tmp_path / path["cut"])
    (tmp_path / path["gone"]).unlink()
    table = schema.fit_table("predictions", "late", predictions())
    newer = schema.encode("predictions", table, schema=schema.SCHEMA + 1)
    (tmp_path / path["late"]).write_bytes(newer)
    real = _disk.read

    def read(place: Path) -> bytes:
        if place == tmp_path / path["sealed"]:
            raise PermissionError(errno.EACCES, "no")
        if place == tmp_path / path["worn"]:
            raise OSError(errno.EIO, "no")
        return real(place)

    monkeypatch.setattr(_disk, "read", read)
    kinds = {p.path: p.kind for p in store.verify()}
    assert kinds == {
        path["cut"]: "damaged",
        path["gone"]: "missing",
        path["late"]: "newer",
        path["sealed"]: "closed",
        path["worn"]: "unreadable",
    }
    with pytest.warns(StoreDamage) as told:
        results.predictions(store).collect()
    said = [w.message for w in told]
    assert {w.problem.path: w.problem.kind for w in said if isinstance(w, StoreDamage)} == kinds


def test_damage_survives_the_way_between_processes() -> None:
    error = pickle.loads(pickle.dumps(schema.Damaged("runs/a", "its checksum does not match")))
    assert isinstance(error, schema.Damaged)
    assert (error.path, error.reason) == ("runs/a", "its checksum does not match")
    assert str(error) == "runs/a is damaged (its checksum does not match)."


@pytest.mark.timeout(60)
@pytest.mark.fault(22)
def test_a_pipe_in_place_of_a_file_is_named_and_not_waited_for(tmp_path: Path) -> None:
    store = Store.open(tmp_path)
    commit(store, "good", 0.25)
    os.mkfifo(tmp_path / "runs/pipe.ok.parquet")
    os.symlink("/dev/zero", tmp_path / "runs/endless.ok.parquet")
    with pytest.warns(StoreDamage):
        assert results.runs(tmp_path).collect()["run_id"].to_list() == ["good"]
    found = {problem.path: problem.reason for problem in Store.open(tmp_path).verify()}
    named = ("runs/endless.ok.parquet", "runs/pipe.ok.parquet")
    assert found == dict.fromkeys(named, "cannot be read (not a regular file)")


@pytest.mark.fault(22)
@pytest.mark.parametrize("folder", ["runs", "stages", "segments", "seals", "plans"])
def test_a_file_in_place_of_a_folder_is_told(tmp_path: Path, folder: str) -> None:
    """P4: not that everything is whole."""
    store = Store.open(tmp_path / "store")
    commit(store, "good", 0.25)
    store.seal()
    shutil.rmtree(tmp_path / "store" / folder, ignore_errors=True)
    (tmp_path / "store" / folder).touch()
    with pytest.raises(StorageError, match=f"store/{folder} is no folder, and the store keeps"):
        Store.open(tmp_path / "store").verify()


@pytest.mark.fault(22)
def test_an_empty_or_foreign_file_in_place_of_a_row(tmp_path: Path) -> None:
    store = Store.open(tmp_path)
    commit(store, "a")
    (tmp_path / "runs/empty.ok.parquet").touch()
    pl.DataFrame({"run_id": ["foreign"]}).write_parquet(tmp_path / "runs/foreign.ok.parquet")
    shutil.copy(tmp_path / "runs/a.ok.parquet", tmp_path / "runs/renamed.ok.parquet")
    (tmp_path / "runs/folder.ok.parquet").mkdir()
    for stray in (".DS_Store", "notes.txt", "a.ok.parquet.bak", "A.OK.parquet", "b.parquet"):
        (tmp_path / "runs" / stray).write_text("stray")
    with pytest.warns(StoreDamage):
        assert results.runs(store).collect()["run_id"].to_list() == ["a"]
    with pytest.warns(StoreDamage):
        assert store.finished() == {"a"}
    assert {p.path for p in store.verify()} == {
        f"runs/{n}.ok.parquet" for n in ("empty", "foreign", "renamed")
    }
    store.repair()
    assert store.verify() == []
    assert results.runs(store).collect().height == 1


def test_a_row_of_another_run_makes_way(tmp_path: Path) -> None:
    store = Store.open(tmp_path)
    commit(store, "a", 0.25)
    shutil.copy(tmp_path / "runs/a.ok.parquet", tmp_path / "runs/b.ok.parquet")
    with pytest.warns(StoreDamage, match="it holds another row than its name says"):
        assert commit(store, "b", 0.75)
    assert (whole(store, "a"), whole(store, "b")) == (0.25, 0.75)
    assert len(store.list("quarantine")) == 1
    assert store.verify() == []
