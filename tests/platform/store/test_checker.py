"""The checker of a store's promises finds every bug that is planted in the store."""

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from deep_clustering.platform import _disk
from deep_clustering.platform.errors import PlatformError
from deep_clustering.platform.store import _commits, _repair, _runs, _stages, schema
from deep_clustering.platform.store._commits import Commits
from deep_clustering.platform.store._local import LocalFiles
from deep_clustering.platform.store._plans import Plan, Plans
from deep_clustering.platform.store._repair import Upkeep
from deep_clustering.platform.store._rows import Rows
from deep_clustering.platform.store._seals import Seals
from deep_clustering.platform.store._segments import Segments
from deep_clustering.platform.store._stages import Stages
from support.checker import history, violations

Patch = pytest.MonkeyPatch


def test_a_sound_store_breaks_no_promise(shelf: Path, monkeypatch: Patch) -> None:
    log = history(shelf / "store", monkeypatch)
    assert violations(shelf / "store", log) == []
    assert set(log.runs) == {"r0", "r1", "r2", "r3", "r4"}


def _written(patch: Patch, change: Callable[[str, bytes], bytes]) -> None:
    """Files get another content than was asked for, unnoticed by the writer."""
    real = LocalFiles.write

    def write(self: LocalFiles, path: str, data: bytes, *, exclusive: bool = False) -> None:
        real(self, path, change(path, data), exclusive=exclusive)

    patch.setattr(LocalFiles, "write", write)


def _filtered(patch: Patch, place: type, name: str, keep: Callable[[Any], Any]) -> None:
    """A method's answer is changed."""
    real = getattr(place, name)
    patch.setattr(place, name, lambda self, *a, **k: keep(real(self, *a, **k)))


# ---- durability


def lost_sync_of_files(patch: Patch) -> None:
    real = _disk._write

    def write(path: Path, data: bytes, exclusive: bool) -> None:
        disk = _disk.os
        with Patch.context() as inner:
            inner.setattr(disk, "fsync", lambda file: None, raising=False)
            real(path, data, exclusive)

    patch.setattr(_disk, "_write", write)


def lost_sync_of_folders(patch: Patch) -> None:
    patch.setattr(_disk, "sync", lambda path: None)


def lost_sync_of_new_folders(patch: Patch) -> None:
    def make(folder: Path) -> None:
        if not folder.is_dir():
            make(folder.parent)
            with contextlib.suppress(FileExistsError):
                _disk.os.mkdir(folder)

    patch.setattr(_disk, "make_folder", make)


# ---- the commit


def an_exclusive_write_replaces(patch: Patch) -> None:
    patch.setattr(_disk, "_name_exclusively", lambda a, b: _disk.os.replace(a, b))
    patch.setattr(Rows, "result", lambda self, kind, id: None)


def a_commit_is_acknowledged_without_a_row(patch: Patch) -> None:
    patch.setattr(Commits, "_write_row", lambda self, path, data, before: True)


def a_lost_race_is_acknowledged(patch: Patch) -> None:
    real = _runs.Runs.commit
    patch.setattr(_runs.Runs, "commit", lambda self, *a: real(self, *a) or True)


def a_won_race_is_denied(patch: Patch) -> None:
    real = _runs.Runs.commit
    patch.setattr(_runs.Runs, "commit", lambda self, *a: real(self, *a) and False)


def a_result_has_two_files(patch: Patch) -> None:
    real = Commits._write_row

    def write(self: Commits, path: str, data: bytes, before: Any) -> bool:
        self._files.write(path.replace(".parquet", "/0-1.parquet"), data)
        return real(self, path, data, before)

    patch.setattr(Commits, "_write_row", write)


def a_row_without_its_tables(patch: Patch) -> None:
    real = Commits._write_row
    patch.setattr(Commits, "_write_row", lambda self, p, d, b: real(self, p, d, {}))


def the_files_of_a_winner_are_discarded(patch: Patch) -> None:
    patch.setattr(_commits, "parts", lambda row: iter(()))


def a_second_failure_replaces_the_first(patch: Patch) -> None:
    def failure(self: Commits, id: str, number: int, data: bytes, before: Any) -> None:
        for path, content in before.items():
            self._files.write(path, content)
        self._files.write(f"runs/{id}.failed-0.parquet", data)

    patch.setattr(Commits, "failure", failure)


def a_failure_is_a_result(patch: Patch) -> None:
    real = Commits.failure

    def failure(self: Commits, id: str, number: int, data: bytes, before: Any) -> None:
        real(self, id, number, data, before)
        self._files.write(f"runs/{id}.ok.parquet", data)

    patch.setattr(Commits, "failure", failure)


def artefacts_are_swapped(patch: Patch) -> None:
    real = _stages.Stages.commit

    def commit(self: Stages, row: Any, artefacts: dict[str, bytes]) -> bool:
        return real(self, row, dict(zip(artefacts, reversed(artefacts.values()), strict=True)))

    patch.setattr(_stages.Stages, "commit", commit)


# ---- bytes and values


def a_torn_file(patch: Patch) -> None:
    _written(patch, lambda p, d: d[: len(d) // 2] if p.startswith("predictions/r3") else d)


def a_flipped_bit(patch: Patch) -> None:
    _written(patch, lambda p, d: d[:-9] + bytes([d[-9] ^ 1]) + d[-8:] if "models/r3" in p else d)


def a_model_of_another_run(patch: Patch) -> None:
    kept: dict[str, bytes] = {}

    def change(path: str, data: bytes) -> bytes:
        return kept.setdefault("first", data) if path.startswith("models/") else data

    _written(patch, change)


def a_rounded_metric(patch: Patch) -> None:
    real = schema.row_table

    def table(kind: str, row: Any) -> pa.Table:
        rounded = {k: round(v, 1) if k == "acc" else v for k, v in row.items()}
        return real(kind, rounded)

    patch.setattr(schema, "row_table", table)


def a_lost_epoch(patch: Patch) -> None:
    real = schema.fit_table

    def fit(kind: str, run: str, table: pa.Table) -> pa.Table:
        return real(kind, run, table.slice(0, 2) if kind == "epochs" else table)

    patch.setattr(schema, "fit_table", fit)


def rounded_probabilities(patch: Patch) -> None:
    real = schema.probabilities_table

    def table(sample: Any, given: Any) -> pa.Table:
        return real(sample, {h: v.astype("float16").astype("float32") for h, v in given.items()})

    patch.setattr(schema, "probabilities_table", table)


def checksums_are_not_looked_at(patch: Patch) -> None:
    patch.setattr(_repair.hashlib, "sha256", lambda data: type("H", (), {"hexdigest": str})())


# ---- reading


def a_doubled_row(patch: Patch) -> None:
    _filtered(patch, Rows, "table", lambda frame: frame.vstack(frame.head(1)))


def a_lost_row(patch: Patch) -> None:
    _filtered(patch, Rows, "table", lambda frame: frame.head(frame.height - 1))


def a_finished_run_is_forgotten(patch: Patch) -> None:
    _filtered(patch, Rows, "finished", lambda ids: ids - {"r3"})


def every_row_is_sound(patch: Patch) -> None:
    patch.setattr(Rows, "sound", lambda self, path: True)
    patch.setattr(Upkeep, "_mend_row", lambda self, path: "left")


def a_stage_is_never_ready(patch: Patch) -> None:
    patch.setattr(Stages, "ready", lambda self, id: False)


# ---- segments, plans, upkeep


def a_stale_segment(patch: Patch) -> None:
    patch.setattr(Segments, "forget", lambda self, path: None)


def a_segment_loses_a_row(patch: Patch) -> None:
    _filtered(patch, Segments, "rows", lambda got: ([f.head(f.height - 1) for f in got[0]], got[1]))


def a_compaction_removes_the_files(patch: Patch) -> None:
    real = Segments.build

    def build(self: Segments, kind: str, paths: Any) -> None:
        real(self, kind, paths)
        for path in paths:
            self._files.delete(path)

    patch.setattr(Segments, "build", build)


def a_plan_replaces_the_others(patch: Patch) -> None:
    patch.setattr(Plan, "within", lambda self, other: True)


def a_plan_is_not_written(patch: Patch) -> None:
    real = Plans.write

    def write(self: Plans, kind: str, name: str, plan: Plan) -> None:
        if name not in self.names(kind):
            real(self, kind, name, plan)

    patch.setattr(Plans, "write", write)


def a_sweep_takes_what_is_named(patch: Patch) -> None:
    def sweep(self: Upkeep) -> None:
        for path in self._files.names("epochs"):
            self._files.delete(path)

    patch.setattr(Upkeep, "sweep", sweep)


def verify_is_content(patch: Patch) -> None:
    patch.setattr(Upkeep, "findings", lambda self: iter(()))


def repair_deletes(patch: Patch) -> None:
    patch.setattr(_repair, "set_aside", lambda files, path, **_: files.delete(path))


def quarantine_is_overwritten(patch: Patch) -> None:
    def aside(files: LocalFiles, path: str, *, copy: bool = False) -> str:
        files.write("quarantine/file", files.read(path))
        files.delete(path)
        return "quarantine/file"

    patch.setattr(_repair, "set_aside", aside)


def a_loss_is_not_missed(patch: Patch) -> None:
    patch.setattr(Seals, "lost", lambda self, folder: [])


def a_repair_restores_another_file(patch: Patch) -> None:
    real = Segments.original
    patch.setattr(Segments, "original", lambda self, path: real(self, "runs/r0.ok.parquet"))


BUGS = [
    value
    for value in list(globals().values())
    if callable(value)
    and getattr(value, "__module__", None) == __name__
    and not value.__name__.startswith(("_", "test_"))
]


def test_there_are_enough_of_them() -> None:
    assert len(BUGS) >= 20


@pytest.mark.ray  # slow: each runs a whole history
@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.__name__)
def test_a_planted_bug_is_found(
    bug: Callable[[Patch], None], shelf: Path, monkeypatch: Patch
) -> None:
    with monkeypatch.context() as patch:
        bug(patch)
        try:
            log = history(shelf / "store", patch)
        except (PlatformError, AssertionError) as error:  # a command would have ended with it
            found = [str(error)]
        else:
            found = violations(shelf / "store", log)
        print(found)
    assert found
