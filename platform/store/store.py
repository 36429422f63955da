"""The store: what has been computed, as one immutable file per result.

What is left to do is what the plans ask for and the store does not have; no file that says so is
ever changed in place. A run is its row, `runs/<id>.ok.parquet`, written last and exclusively. The
row names the tables of epochs, predictions and probabilities and the model that belong to it, and
only what a row names is ever read. A copy of many rows in one file (`segments/`) makes reading
quick. It is never needed: what is not in a segment, or in a damaged one, is read from its own file.

    store.json                         format of the store
    runs/<id>.ok.parquet               a finished run
    runs/<id>.failed-<k>.parquet       an attempt without a result, k = 0, 1, ...
    epochs/, predictions/,
    probabilities/                     <id>.<attempt>.parquet, named by the row of their run
    models/                            <id>.<hash>.safetensors, named by it too
    stages/<id>.ok.parquet             shared work; its files are artefacts/<id>/<attempt>/<name>
    plans/<kind>/<name>/<hash>.json    which runs a command asked for; several are united
    checkpoints/, studies/             belong to the rooms run and search
    segments/                          copies of many rows and tables in one file
    claims/                            the locks of work in progress
    quarantine/                        damaged files, never deleted

On object stores a result is `<id>.ok/<attempt>.parquet` and the first attempt counts: there is no
exclusive write in `pyarrow.fs`. Two commands may then compute the same run twice.
"""

import contextlib
import hashlib
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl
import pyarrow as pa

from deep_clustering.platform import _disk
from deep_clustering.platform._disk import FileState, Lock, attempt
from deep_clustering.platform.errors import InputError, StorageError, storage_error
from deep_clustering.platform.store import schema
from deep_clustering.platform.store._backends import connect
from deep_clustering.platform.store._damage import Problem, StoreDamage, problem, warn
from deep_clustering.platform.store._files import Files, checked, reading, saving, set_aside
from deep_clustering.platform.store._plans import Plan, PlannedRun, Plans, encoded
from deep_clustering.platform.store._repair import LOCKS, Upkeep
from deep_clustering.platform.store._rows import TABLES, Rows, parts
from deep_clustering.platform.store._segments import Segments, short
from deep_clustering.platform.store.schema import Damaged

__all__ = ["FORMAT", "LOOSE", "TABLES", "Plan", "PlannedRun", "Problem", "Store", "StoreDamage"]

#: Version of the layout above.
FORMAT = 1
#: `compact_if_needed` acts when more rows than this are in no segment.
LOOSE = 256

_ID = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")
_LABEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


class Mark(NamedTuple):
    """What `store.json` says of the whole store."""

    format: int
    written_by: str  # the release that made the store


class Store:
    """Results under one address; see the module's text for the layout."""

    def __init__(self, files: Files, uri: str) -> None:
        self._files = files
        #: The address in full; `Store.open(store.uri)` opens the same store.
        self.uri = uri
        self._forget()

    def _forget(self) -> None:
        self._segments = Segments(self._files)
        self._rows = Rows(self._files, self._segments)
        self._plans = Plans(self._files)
        self._upkeep = Upkeep(self._files, self._rows, self._segments, self._plans)
        self._models: dict[str, tuple[str, str]] = {}  # run -> file and checksum not yet committed
        self._copies: dict[Path, FileState] = {}  # files on this machine, when last verified

    def __reduce__(self) -> tuple[type["Store"], tuple[Files, str]]:
        return Store, (self._files, self.uri)  # what it remembers of the files stays behind

    def __repr__(self) -> str:
        return f"Store.open({self.uri!r})"

    # ---- opening

    @classmethod
    def open(cls, uri: str | os.PathLike[str], *, create: bool = True) -> "Store":
        """The store at an address.

        Args:
            uri: a folder, `file://...`, or what `pyarrow.fs.FileSystem.from_uri` takes, such as
                `s3://bucket/prefix?endpoint_override=...`.
            create: make it when it is not there, and see that it can be written. Without, nothing
                is written: for reading.

        Raises:
            InputError: not an address, not a folder, or (without `create`) not a store.
            StorageError: it cannot be written, or a newer release made it.
        """
        files, full = connect(os.fspath(uri))
        store = cls(files, full)
        if create:
            store._probe()
        store._agree(create)
        return store

    @property
    def local(self) -> Path | None:
        """The folder of a store on a disk; None for an object store."""
        return self._files.root

    @property
    def cache(self) -> Path:
        """A folder on this machine for copies of what is in the store."""
        if self.local is not None:
            return self.local
        base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
        name = hashlib.sha256(self.uri.encode()).hexdigest()[:16]
        return Path(base).expanduser() / "deep-clustering" / "stores" / name

    def _probe(self) -> None:
        where = self._files.where
        try:
            self._files.probe()
        except (NotADirectoryError, FileExistsError) as error:
            raise InputError(
                f"the store {where} is not a folder ({error.filename or where} is a file); "
                "name a folder, or one that can be made."
            ) from error
        except OSError as error:
            raise storage_error(error, where, "the file that tries it") from error

    def _agree(self, create: bool) -> None:
        """See that this code knows the store's format; write it down in a new store."""
        try:
            mark = _mark_in(self._files.read("store.json"))
        except FileNotFoundError:
            if not create:
                raise InputError(
                    f"there is no store at {self._files.where}; `platform train` and the other "
                    "commands that compute make one, or name another with --store."
                ) from None
            self._write_mark()
            return
        except NotADirectoryError as error:
            raise InputError(f"the store {self._files.where} is not a folder.") from error
        except Damaged as error:
            warn(problem("store.json", error), "the next command that writes renews it")
            if create:
                with contextlib.suppress(FileNotFoundError), saving(self._files, "store.json"):
                    set_aside(self._files, "store.json")
                self._write_mark()
            return
        except OSError as error:
            raise StorageError(f"cannot read the store {self._files.where} ({error}).") from error
        if mark.format > FORMAT:
            raise StorageError(
                f"the store {self._files.where} was made by deep-clustering {mark.written_by} "
                f"with format {mark.format}; this is {schema.release()} with format {FORMAT}: "
                f"install {mark.written_by} or newer."
            )

    def _write_mark(self) -> None:
        body = Mark(FORMAT, schema.release())._asdict()
        data = encoded({**body, "check": short(encoded(body))})
        with contextlib.suppress(FileExistsError), saving(self._files, "store.json"):
            self._files.write("store.json", data, exclusive=True)

    # ---- what there is

    def has_run(self, id: str) -> bool:
        """Whether a run is finished: its row is there and undamaged."""
        return self._rows.result("runs", _checked_id(id)) is not None

    def finished(self) -> set[str]:
        """Ids of the finished runs."""
        return self._rows.finished("runs")

    def done(self, ids: Iterable[str]) -> set[str]:
        """Which of some ids, of runs or of stages, are finished."""
        asked = {_checked_id(id) for id in ids}
        runs = asked & self._rows.finished("runs")
        listed = {e.id for e in self._rows.entries("stages") if e.failure is None}
        return runs | {id for id in (asked - runs) & listed if self.stage_ready(id)}

    def failed(self, *statuses: str) -> set[str]:
        """Ids of runs without a result, whose last attempt failed, was stopped or interrupted.

        Args:
            statuses: only those that ended like this; all when none is given.
        """
        rows = self.rows().filter(pl.col("status") != "ok")
        if statuses:
            rows = rows.filter(pl.col("status").is_in(statuses))
        return set(rows["run_id"])

    def failures(self) -> dict[str, str]:
        """Run id -> reason, of runs without a result whose last attempt failed."""
        rows = self.rows().filter(pl.col("status") == "failed")
        return {id: reason or "" for id, reason in rows.select("run_id", "reason").iter_rows()}

    def run_row(self, id: str) -> dict[str, Any]:
        """The row of a finished run, with every core column.

        Raises:
            InputError: no such run.
        """
        path = self._rows.result("runs", _checked_id(id))
        if path is None:
            raise InputError(f"there is no finished run '{id}' in {self._files.where}.")
        return self._rows.row(path)

    def metrics_of(self, id: str) -> dict[str, Any]:
        """The numbers of a finished run's row, without its configuration."""
        row = self.run_row(id)
        return {k: v for k, v in row.items() if isinstance(v, (int, float)) and "." not in k}

    def rows(self, kind: str = "runs") -> pl.DataFrame:
        """One row per id: its result, or what its last attempt without one left.

        A damaged file is left out with a `StoreDamage` warning.

        Args:
            kind: "runs" or "stages".
        """
        return self._rows.table(kind)

    def tables(self, kind: str, files: Sequence[str]) -> Iterator[pl.DataFrame]:
        """Tables that rows name, in pieces; a damaged one is left out with a `StoreDamage` warning.

        Args:
            kind: one of `TABLES`.
            files: their paths, as in the column `epochs_file`.
        """
        return self._rows.tables(kind, files)

    # ---- committing a run

    def probabilities(self, id: str) -> dict[str, np.ndarray]:
        """The probability of every cluster for every scored image of a finished run.

        Returns:
            Head -> float32 (n, C), in the order of the run's table of predictions, bit for bit as
            it was committed.

        Raises:
            InputError: no such run, or one without probabilities.
            StorageError: the table is missing or damaged.
        """
        row = self.run_row(id)
        file = row["probabilities_file"]
        if file is None:
            raise InputError(
                f"run {id} has no probabilities in {self._files.where}; runs that an older release "
                "computed, and methods that give none, have no such table."
            )
        try:
            table = self._rows.one("probabilities", file)
        except (Damaged, FileNotFoundError) as error:
            raise StorageError(
                f"the probabilities of run {id} are missing or damaged ({file}); "
                "`platform results --verify` lists what else is."
            ) from error
        except OSError as error:
            raise StorageError(f"cannot read the store {self._files.where} ({error}).") from error
        heads = [name for name in table.columns if name not in schema.PROBABILITIES]
        return {head: table[head].to_numpy() for head in heads}

    def commit_run(
        self,
        row: Mapping[str, Any],
        epochs: pa.Table | None,
        predictions: pa.Table | None,
        probabilities: Mapping[str, np.ndarray] | None = None,
    ) -> bool:
        """Make a finished run durable; it exists from the moment its row does.

        Args:
            row: columns of `schema.RUNS` and any further metrics; at least `run_id`.
            epochs: one row per epoch, see `schema.EPOCHS`.
            predictions: one row per image, see `schema.PREDICTIONS`.
            probabilities: head -> float32 (n, C), the probability of every cluster for each of the
                n images of `predictions`, in its order. They are kept whole: nothing is rounded.

        Returns:
            True when this attempt is the run's result; False when there was one already, which
            stays, and nothing of this attempt does.

        Raises:
            StorageError: nothing was acknowledged; the run is absent or complete.
            ValueError: a value that does not fit its column.
        """
        id, token = _checked_id(row.get("run_id")), attempt()
        full = {**row, "status": "ok"}
        if full.get("attempts") is None:
            full["attempts"] = self._failures_of(id) + 1
        if id in self._models:
            full["model_file"], full["model_sha256"] = self._models[id]
        given = {"epochs": epochs, "predictions": predictions}
        if probabilities:
            if predictions is None:
                raise ValueError("probabilities: need the table of predictions that orders them")
            given["probabilities"] = schema.probabilities_table(
                predictions["sample"], probabilities
            )
        tables = _tables(id, given, token, full)
        mine = [*tables, *([full["model_file"]] if full.get("model_file") else [])]
        data = _encoded("runs", full)
        with saving(self._files, f"run {id}"):
            if self._rows.result("runs", id) is not None:
                self._files.sync("runs")
                won = False
            else:
                won = self._commit("runs", id, token, data, tables)
        if not won:
            self._discard_unnamed("runs", id, mine)
        self._models.pop(id, None)
        return won

    def record_failure(self, row: Mapping[str, Any], epochs: pa.Table | None = None) -> None:
        """Write down that an attempt ended without a result.

        Args:
            row: as in `commit_run`; `status` is "failed", "stopped" or "interrupted", and `reason`
                says why in a line. Its metrics are left out.
            epochs: the epochs that were done.

        Raises:
            StorageError: it was not written.
            ValueError: a value that does not fit its column.
        """
        id, token = _checked_id(row.get("run_id")), attempt()
        if row.get("status") not in ("failed", "stopped", "interrupted"):
            raise ValueError(
                f"status: needs failed, stopped or interrupted, got {row.get('status')!r}"
            )
        number = self._failures_of(id)
        full = {k: v for k, v in row.items() if k not in schema.METRICS}
        full.setdefault("attempts", number + 1)
        tables = _tables(id, {"epochs": epochs}, token, full)
        data = _encoded("runs", full)
        with saving(self._files, f"the failure of run {id}"):
            path = self._name("runs", id, f"failed-{number}", token)
            while not self._write_row(path, data, tables):
                number += 1
                path = self._name("runs", id, f"failed-{number}", token)

    def _failures_of(self, id: str) -> int:
        """How many attempts without a result are on record; the next one's number."""
        number = 0
        with reading(self._files):
            while self._files.exists(
                f"runs/{id}.failed-{number}" + (".parquet" if self._files.exclusive else "")
            ):
                number += 1
        return number

    def _name(self, kind: str, id: str, what: str, token: str) -> str:
        """The path of a row; where names cannot be taken exclusively, each attempt has its own."""
        end = ".parquet" if self._files.exclusive else f"/{token}.parquet"
        return f"{kind}/{id}.{what}{end}"

    def _commit(
        self, kind: str, id: str, token: str, data: bytes, before: Mapping[str, bytes]
    ) -> bool:
        """Write the row that makes a result exist; False when another one was there first."""
        path = self._name(kind, id, "ok", token)
        while not self._write_row(path, data, before):
            if self._rows.result(kind, id) is not None:
                return False
            self._make_way(path)
        if self._files.exclusive or self._rows.result(kind, id) == path:
            return True
        self._files.delete(path)
        return False

    def _write_row(self, path: str, data: bytes, before: Mapping[str, bytes]) -> bool:
        """Write a row after the files that it names; False when its name was taken."""
        try:
            for other, content in before.items():
                self._files.write(other, content)
            self._segments.forget(path)
            self._files.write(path, data, exclusive=self._files.exclusive)
        except FileExistsError:
            return False
        except (OSError, StorageError):
            with contextlib.suppress(OSError):
                # When only the sync of its folder failed, the row is there and needs its files.
                if not self._files.exists(path):
                    self._discard(before)
            raise
        return True

    def _make_way(self, path: str) -> None:
        """Put a damaged result aside, so that a new one can take its name.

        Raises:
            NewerSchema: it is not damaged; this release cannot read it.
            OSError: it could not be read just now.
        """
        try:
            self._rows.read(path)
        except FileNotFoundError:
            return
        except Damaged:
            with contextlib.suppress(FileNotFoundError):
                set_aside(self._files, path)

    def _discard(self, paths: Iterable[str]) -> None:
        """Remove files that no row names; what stays is swept later."""
        for path in paths:
            with contextlib.suppress(OSError):
                self._files.delete(path)

    def _discard_unnamed(self, kind: str, id: str, paths: Iterable[str]) -> None:
        """Remove those files of an attempt that the result of another one does not name as well."""
        with contextlib.suppress(OSError, StorageError):
            rows = [self._rows.row(path) for path in self._rows.results(kind, id)]
            named = {part.path for row in rows for part in parts(row)}
            self._discard(path for path in paths if path not in named)

    # ---- models

    def write_model(self, id: str, data: bytes) -> str:
        """Write the weights of a run, before this same object commits the run.

        Returns:
            Their path in the store. `commit_run` puts it into the row, with their checksum.
        """
        digest = hashlib.sha256(data).hexdigest()
        path = f"models/{_checked_id(id)}.{digest[:16]}.safetensors"
        with saving(self._files, f"the model of run {id}"):
            self._files.write(path, data)
        self._models[id] = path, digest
        return path

    def model_path(self, id: str) -> Path:
        """A file on this machine with the weights of a finished run, verified.

        Raises:
            InputError: no such run, or one without a model.
            StorageError: the file is missing or damaged.
        """
        row = self.run_row(id)
        if row["model_file"] is None:
            raise InputError(f"run {id} has no model in {self._files.where}.")
        path = self._verified(row["model_file"], row["model_sha256"])
        if path is None:
            raise StorageError(
                f"the model of run {id} is missing or damaged ({row['model_file']}); "
                "`platform results --verify` lists what else is."
            )
        return path

    # ---- stages

    def stage_ready(self, id: str) -> bool:
        """Whether shared work is finished: its row is sound and its files are there in full."""
        path = self._rows.result("stages", _checked_id(id))
        if path is None:
            return False
        try:
            row = self._rows.row(path)
            sizes = zip(row["artefact_files"] or (), row["artefact_bytes"] or (), strict=True)
            return all(self._files.size(file) == size for file, size in sizes)
        except (OSError, StorageError):
            return False

    def stages(self) -> set[str]:
        """Ids of the finished stages."""
        ids = {e.id for e in self._rows.entries("stages") if e.failure is None}
        return {id for id in ids if self.stage_ready(id)}

    def stage_row(self, id: str) -> dict[str, Any]:
        """The row of a finished stage, with every core column.

        Raises:
            InputError: no such stage.
        """
        path = self._rows.result("stages", _checked_id(id))
        if path is None:
            raise InputError(f"there is no finished stage '{id}' in {self._files.where}.")
        return self._rows.row(path)

    def commit_stage(self, row: Mapping[str, Any], artefacts: Mapping[str, bytes]) -> bool:
        """Make shared work durable: its files first, its row last.

        Args:
            row: columns of `schema.STAGES`; at least `stage_id`.
            artefacts: name -> content.

        Returns:
            True when this attempt is the stage's result; False when there was one already.

        Raises:
            StorageError: nothing was acknowledged.
            ValueError: a value that does not fit its column.
        """
        id, token = _checked_id(row.get("stage_id")), attempt()
        files = {checked(f"artefacts/{id}/{token}/{n}"): data for n, data in artefacts.items()}
        full = {
            **row,
            "status": "ok",
            "artefact_names": list(artefacts),
            "artefact_files": list(files),
            "artefact_sha256": [hashlib.sha256(data).hexdigest() for data in files.values()],
            "artefact_bytes": [len(data) for data in files.values()],
        }
        data = _encoded("stages", full)
        with saving(self._files, f"stage {id}"):
            if self.stage_ready(id):
                self._files.sync("stages")
                return False
            for path in self._rows.results("stages", id):
                self._make_way(path)
                with contextlib.suppress(FileNotFoundError):
                    set_aside(self._files, path)  # sound, but its files are not there
            won = self._commit("stages", id, token, data, files)
        if not won:
            self._discard_unnamed("stages", id, files)
        return won

    def stage_artefact(self, id: str, name: str) -> Path:
        """A file on this machine with what a stage made, verified.

        From an object store it is fetched once, into `cache`.

        Raises:
            InputError: no such stage, or it has no such artefact.
            StorageError: it is damaged. The stage then counts as missing, so that the same command
                computes it again.
        """
        row = self.stage_row(id)
        names = list(row["artefact_names"] or ())
        if name not in names:
            raise InputError(f"stage {id} has no '{name}'; it has {', '.join(names)}.")
        number = names.index(name)
        file = row["artefact_files"][number]
        path = self._verified(file, row["artefact_sha256"][number])
        if path is None:
            for bad in (*self._rows.results("stages", id), file):
                with contextlib.suppress(OSError):
                    set_aside(self._files, bad)
            raise StorageError(
                f"{name} of stage {id} is damaged ({file}); it was moved to quarantine/: "
                "give the same command again to compute it anew."
            )
        return path

    def _verified(self, file: str, digest: str) -> Path | None:
        """A file on this machine with the content of a stored one; None: missing or damaged."""
        if self.local is not None:
            path = self.local / checked(file)
        else:
            path = self.cache / "files" / f"{digest[:32]}-{file.rpartition('/')[2]}"
        now = _disk.state(path)
        if now is not None and self._copies.get(path) == now:
            return path
        if now is not None and _digest(path) == digest:
            self._copies[path] = now
            return path
        if self.local is not None:
            return None
        try:
            data = self._files.read(file)
        except FileNotFoundError:
            return None
        if hashlib.sha256(data).hexdigest() != digest:
            return None
        try:
            _disk.write(path, data)
        except OSError as error:
            raise storage_error(error, str(path.parent), f"a copy of {file}") from error
        return path

    # ---- plans

    def write_plan(self, kind: str, name: str, plan: Plan) -> None:
        """Note which runs a command asks for.

        Args:
            kind: such as "train", "study" or "suite".
            name: of the study or suite.
            plan: what it adds to the plans of this name.
        """
        self._plans.write(_checked_label(kind), _checked_label(name), plan)

    def read_plan(self, kind: str, name: str) -> Plan:
        """The union of all plans of a name; one without runs when there is none."""
        return self._plans.read(_checked_label(kind), _checked_label(name))

    # ---- locks

    def lock(self, id: str) -> Lock | None:
        """The lock on a piece of work, or None while another process has it.

        It ends with `release`, at the end of a `with` block, or with the process. Between machines
        it holds where the file system carries locks between them (NFS does). Object stores have
        none: there it is always granted, two commands may compute the same run, and the first
        commit stays.
        """
        with saving(self._files, f"the lock on {id}"):
            return self._files.lock(f"{LOCKS}/{_checked_label(id)}")

    # ---- upkeep

    def compact(self) -> None:
        """Copy loose rows and tables of epochs into segments, which makes reading quick.

        The files themselves stay, so that this can be killed anywhere, and two at once do no harm.
        A segment also holds the bytes of its files, from which `repair` restores damaged ones.
        """
        with saving(self._files, "a segment"):
            self._segments.build("runs", [e.path for e in self._rows.entries("runs")])
            self._segments.build("epochs", self.rows()["epochs_file"].drop_nulls().to_list())

    def compact_if_needed(self) -> None:
        """`compact` when many rows are in no segment; does nothing where it cannot write."""
        with contextlib.suppress(StorageError):
            covered = self._segments.covered("runs")
            if sum(e.path not in covered for e in self._rows.entries("runs")) > LOOSE:
                self.compact()

    def sweep(self) -> None:
        """Remove what dead processes have left; does nothing where it cannot write."""
        with contextlib.suppress(OSError, StorageError):
            self._upkeep.sweep()

    def verify(self) -> "list[Problem]":
        """Read everything; what is damaged or missing, with the reason. Changes nothing."""
        return [*self._damaged_mark(), *(finding.problem for finding in self._upkeep.findings())]

    def repair(self) -> "list[Problem]":
        """Move what is damaged to `quarantine/`, so that it counts as missing and is done again.

        What a segment still holds is restored instead.

        Returns:
            What `verify` would have found; the reason also says what was done.
        """
        mended = []
        for damaged in self._damaged_mark():
            self._agree(create=True)
            mended.append(damaged._replace(reason=f"{damaged.reason}; written anew"))
        for damaged, mend in list(self._upkeep.findings()):
            with saving(self._files, f"the repair of {damaged.path}"):
                mended.append(damaged._replace(reason=f"{damaged.reason}; {mend()}"))
        self._forget()
        return mended

    def _damaged_mark(self) -> "list[Problem]":
        try:
            _mark_in(self._files.read("store.json"))
        except (Damaged, OSError) as error:
            return [problem("store.json", error)]
        return []

    # ---- bytes

    def read_bytes(self, path: str) -> bytes:
        """All bytes of a file; OSError when it cannot be read."""
        return self._files.read(path)

    def write_bytes(self, path: str, data: bytes, exclusive: bool = False) -> None:
        """Write a file whole and durably.

        Raises:
            FileExistsError: `exclusive`, and it is there.
            StorageError: it was not written.
        """
        with saving(self._files, path):
            self._files.write(path, data, exclusive=exclusive)

    def exists(self, path: str) -> bool:
        """Whether there is such a file or folder."""
        with reading(self._files):
            return self._files.exists(path)

    def delete(self, path: str) -> None:
        """Remove a file, or a folder with all that is in it, if it is there."""
        with saving(self._files, f"the removal of {path}"):
            self._files.delete(path)

    def plans(self, kind: str) -> "list[str]":
        """Names of the plans of a kind, sorted."""
        return self._plans.names(_checked_label(kind))

    def list(self, prefix: str) -> "list[str]":
        """Paths of all files at any depth below a folder, sorted."""
        with reading(self._files):
            return self._files.names(prefix)


def _mark_in(data: bytes) -> Mark:
    """What `store.json` says.

    Raises:
        Damaged: it is not what was written.
    """
    try:
        said = json.loads(data)
        mark = Mark(said["format"], said["written_by"])
        same = said["check"] == short(encoded(mark._asdict()))
    except (ValueError, KeyError, TypeError) as error:
        raise Damaged("store.json", str(error)) from error
    if not same:
        raise Damaged("store.json", "its checksum does not match")
    return mark


def _tables(
    id: str, tables: Mapping[str, pa.Table | None], token: str, row: dict[str, Any]
) -> dict[str, bytes]:
    """The files of a run's tables, path to content; `row` gets columns that name them."""
    files = {}
    for kind, table in tables.items():
        if table is not None:
            fitted = schema.fit_table(kind, id, table)
            path = f"{kind}/{id}.{token}.parquet"
            files[path] = schema.encode(kind, fitted)
            row[f"{kind}_file"], row[f"{kind}_columns"] = path, schema.described(fitted)
    return files


def _encoded(kind: str, row: Mapping[str, Any]) -> bytes:
    """The file of a row, read back once: a writer's mistake must not become a result."""
    data = schema.encode(kind, schema.row_table(kind, row))
    schema.decode(data, kind, kind)
    return data


def _checked_id(id: Any) -> str:
    if not isinstance(id, str) or not _ID.fullmatch(id):
        raise InputError(f"an id has 1 to 64 of a-z, 0-9, '-' and '_', got {id!r}.")
    return id


def _checked_label(name: str) -> str:
    if not _LABEL.fullmatch(name):
        raise InputError(
            f"a name has 1 to 128 letters, digits, '.', '_' and '-' and begins with a letter or "
            f"digit, got {name!r}."
        )
    return name


def _digest(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
