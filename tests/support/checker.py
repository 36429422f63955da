"""A history of a store under two drivers, damage and repair, and the checker of what it promised.

`history` notes every acknowledgement; `violations` opens the store anew and says which of them do
not hold: lost, doubled, altered, not durable, or damage that nobody names.
"""

import contextlib
import os
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from deep_clustering.platform import _disk, results
from deep_clustering.platform.store import schema
from deep_clustering.platform.store.store import Plan, Store, StoreDamage
from support.store_rows import commit, epochs, run, stage, whole


@dataclass
class Log:
    """What the store has acknowledged."""

    runs: dict[str, float] = field(default_factory=dict)  # id -> accuracy of the committed result
    failures: Counter[str] = field(default_factory=Counter)
    stages: dict[str, bytes] = field(default_factory=dict)
    plans: dict[str, set[str]] = field(default_factory=dict)
    spoiled: set[str] = field(default_factory=set)  # files that `verify` has to name, and no other
    aside: int = 0  # files that are in quarantine
    broken: list[str] = field(default_factory=list)  # promises broken on the way


class Syncs:
    """Stands in for `os` in `_disk`: knows which files and folders a power cut would lose."""

    def __init__(self) -> None:
        self._open: dict[int, str] = {}
        self._files: set[str] = set()
        self.folders: set[str] = set()
        self.early: set[str] = set()  # files that got their name before their content was durable

    def __getattr__(self, name: str) -> Any:
        return getattr(os, name)

    def open(self, path: Any, *rest: Any) -> int:
        file = os.open(path, *rest)
        self._open[file] = str(path)
        return file

    def write(self, file: int, data: Any) -> int:
        self._files.add(self._open[file])
        return os.write(file, data)

    def fsync(self, file: int) -> None:
        os.fsync(file)
        self._files.discard(self._open[file])
        self.folders.discard(self._open[file])

    def _named(self, path: Any, to: Any) -> None:
        if str(path) in self._files:
            self.early.add(str(to))
        self.folders.add(os.path.dirname(to))

    def link(self, path: Any, to: Any) -> None:
        os.link(path, to)
        self._named(path, to)

    def replace(self, path: Any, to: Any) -> None:
        os.replace(path, to)
        self._named(path, to)

    def mkdir(self, path: Any) -> None:
        os.mkdir(path)
        self.folders.add(os.path.dirname(path))


def history(folder: Path, patch: pytest.MonkeyPatch) -> Log:
    """Use a store as commands do; the last damage stays."""
    log, syncs = Log(), Syncs()
    patch.setattr(_disk, "os", syncs)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", StoreDamage)
        _use(folder, log, syncs)
    patch.setattr(_disk, "os", os)
    return log


def _use(folder: Path, log: Log, syncs: Syncs) -> None:
    store, other = Store.open(folder), Store.open(folder)

    def durable(what: str) -> None:
        if syncs.early or syncs.folders:
            log.broken.append(f"{what} was acknowledged before it was durable")
        syncs.early.clear()
        syncs.folders.clear()

    def committed(by: Store, id: str, acc: float, expected: bool) -> None:
        if commit(by, id, acc) != expected:
            log.broken.append(f"commit of {id} did not say {expected}")
        if expected:
            log.runs[id] = acc
        durable(f"run {id}")

    for number in range(4):
        committed(store, f"r{number}", number / 8, True)
    committed(other, "r0", 0.75, False)
    committed(other, "r1", 0.125, False)  # its model is the same file
    for _ in range(2):
        store.record_failure(run("bad", status="failed", reason="out of memory"), epochs())
        log.failures["bad"] += 1
        durable("a failure")
    stage(store, "enc")
    log.stages["enc"] = b"weights"
    durable("a stage")
    for ids in (["r0", "r1"], ["r9"]):
        store.write_plan("study", "s", Plan.of(ids, "platform tune"))
        log.plans.setdefault("s", set()).update(ids)
        durable("a plan")
    store.compact()
    committed(other, "r4", 0.5, True)
    store.seal()

    for id in log.runs:
        if not (folder / f"runs/{id}.ok.parquet").exists():
            log.broken.append(f"run {id} has no file")
            return
    spoil(folder / "runs/r1.ok.parquet")
    store = Store.open(folder)
    store.repair()  # restored from the segment
    log.aside += 1
    table = store.run_row("r4")["predictions_file"]
    spoil(folder / table)
    if [p.path for p in store.verify()] != [table]:
        log.broken.append("verify did not name the damaged table")
    store.repair()  # r4 is in no segment
    log.aside += 2
    if Store.open(folder).done(["r4"]):
        log.broken.append("a run without its table counts as done")
    committed(store, "r4", 0.875, True)

    store.compact()
    store.delete("runs/r2.ok.parquet")
    if [p.path for p in Store.open(folder).verify()] != ["runs/r2.ok.parquet"]:
        log.broken.append("verify did not miss the deleted row")
    committed(store, "r2", 0.625, True)

    (folder / "runs/.x.0000000000000001-00000000-1-000000.tmp").write_bytes(b"half")
    store.sweep()
    store.tidy()
    spoil(folder / store.run_row("r0")["model_file"])
    log.spoiled.add(store.run_row("r0")["model_file"])


def spoil(path: Path) -> None:
    """Flip a bit in the middle of a file."""
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))


def violations(folder: Path, log: Log) -> list[str]:
    """Which acknowledgements do not hold."""
    found = list(log.broken)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", StoreDamage)
        for check in (_raw, _rows, _tables, _whole, _rest, _verified, _compacted, _again):
            with _told(found, check):
                found += check(Store.open(folder), log)
    return found


@contextlib.contextmanager
def _told(found: list[str], check: Callable[..., object]) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        found.append(f"{check.__name__}: {type(error).__name__} {error}")


def _raw(store: Store, log: Log) -> Iterator[str]:
    """The files themselves, without what the store makes of them."""
    files = store.list("runs")
    for id, acc in log.runs.items():
        mine = [path for path in files if path.startswith(f"runs/{id}.ok")]
        if len(mine) != 1:
            yield f"run {id} has {len(mine)} results"
        for path in mine:
            row = schema.decode(store.read_bytes(path), path, "runs").row(0, named=True)
            if row["acc"] != acc or row["run_id"] != id:
                yield f"the file of run {id} holds {row['run_id']} with {row['acc']}"
    for id, number in log.failures.items():
        if len([path for path in files if path.startswith(f"runs/{id}.failed-")]) != number:
            yield f"{number} failures of {id} are not on record"
    if len(files) != len(log.runs) + log.failures.total():
        yield "there are rows that nobody was told of"


def _rows(store: Store, log: Log) -> Iterator[str]:
    found = results.runs(store).collect()
    said = dict(found.select("run_id", "acc").iter_rows())
    if said != {**log.runs, **dict.fromkeys(log.failures)} or found.height != len(said):
        yield f"the table of runs says {said}"
    if store.finished() != set(log.runs):
        yield "other runs are finished than were acknowledged"
    if store.done([*log.runs, *log.stages]) != {*log.runs, *log.stages}:
        yield "finished work would be done again"
    if set(store.failures()) != set(log.failures):
        yield "other runs have failed"


def _tables(store: Store, log: Log) -> Iterator[str]:
    last = results.epochs(store).collect().sort("run_id", "epoch")
    told = log.runs | dict.fromkeys(log.failures, 0.5)
    if last["run_id"].to_list() != sorted([*told] * 3):
        yield "the table of epochs has other rows"
    if dict(last.filter(epoch=2).select("run_id", "loss").iter_rows()) != told:
        yield "the table of epochs has other values"
    if results.predictions(store).collect().height != 4 * len(log.runs):
        yield "the table of predictions has other rows"


def _whole(store: Store, log: Log) -> Iterator[str]:
    for id, acc in log.runs.items():
        if store.run_row(id)["model_file"] not in log.spoiled and whole(store, id) != acc:
            yield f"run {id} has another accuracy"


def _rest(store: Store, log: Log) -> Iterator[str]:
    for id, content in log.stages.items():
        if not store.stage_ready(id):
            yield f"stage {id} is not ready"
        for name, times in (("encoder", 1), ("features", 3)):
            if store.stage_artefact(id, name).read_bytes() != content * times:
                yield f"{name} of stage {id} is another"
    for name, ids in log.plans.items():
        if set(store.read_plan("study", name).run_ids) != ids:
            yield f"the plan {name} asks for other runs"
    if len(store.list("quarantine")) != log.aside:
        yield f"{len(store.list('quarantine'))} files are in quarantine, {log.aside} were put there"


def _verified(store: Store, log: Log) -> Iterator[str]:
    named = {problem.path for problem in store.verify()}
    if named != log.spoiled:
        yield f"verify names {sorted(named)}"


def _compacted(store: Store, log: Log) -> Iterator[str]:
    before = results.runs(store).collect(), results.epochs(store).collect().sort("run_id", "epoch")
    store.compact()
    again = Store.open(store.uri)
    after = results.runs(again).collect(), results.epochs(again).collect().sort("run_id", "epoch")
    if not all(a.equals(b) for a, b in zip(before, after, strict=True)):
        yield "a compaction changes what is read"


def _again(store: Store, log: Log) -> Iterator[str]:
    for id in log.runs:
        if commit(store, id, 0.0625):
            yield f"run {id} was committed once more"
