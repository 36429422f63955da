"""The store: what has been computed, as one immutable file per result.

State is plan minus files; nothing that changes in place says what is done. A run is its row,
`runs/<id>.ok.parquet`, written last and exclusively; the row names the tables of epochs and
predictions and the model that belong to it, and only what a row names is ever read. A copy of many
rows in one file (`segments/`) makes reading quick. It is never needed: what is not in a segment, or
in a damaged one, is read from its own file.

    store.json                         format of the store
    runs/<id>.ok.parquet               a finished run
    runs/<id>.failed-<k>.parquet       an attempt without a result, k = 0, 1, ...
    epochs/, predictions/              <id>.<attempt>.parquet, named by the row of their run
    models/                            <id>.<hash>.safetensors, likewise
    stages/<id>.ok.parquet             shared work; its files are artefacts/<id>/<attempt>/<name>
    plans/<kind>/<name>/<hash>.json    which runs a command asked for; several are united
    checkpoints/, studies/             kept by their own modules
    segments/                          copies of many rows and tables in one file
    claims/                            locks of work in progress
    quarantine/                        damaged files, never deleted

On object stores a result is `<id>.ok/<attempt>.parquet` and the first attempt counts: there is no
exclusive write in `pyarrow.fs`. Two commands may then compute the same run twice.
"""

import builtins
import contextlib
import errno
import hashlib
import json
import os
import re
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl
import pyarrow as pa

from deep_clustering.platform import schema
from deep_clustering.platform._files import (
    GIVEN_UP,
    Claim,
    Files,
    LocalFiles,
    attempt,
    checked,
    connect,
    given_up,
    storage_error,
)
from deep_clustering.platform.errors import InputError, StorageError
from deep_clustering.platform.schema import Damaged, NewerSchema

#: Version of the layout above.
FORMAT = 1
#: `compact_if_needed` acts when more rows than this are in no segment.
LOOSE = 256
#: A segment of this many files is left as it is.
_FULL_SEGMENT = 4096

_ID = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")
_LABEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_ROW = re.compile(
    r"(?:runs|stages)/(?P<id>[a-z0-9][a-z0-9_-]{0,63})"
    r"\.(?:ok|failed-(?P<failure>\d+))(?:/(?P<attempt>[0-9a-f-]+))?\.parquet"
)
_TOKEN = re.compile(r"[0-9a-f]{16}-[0-9a-f]{8}-[0-9a-f]+-[0-9a-f]{6}")
_OWNED = ("epochs", "predictions", "model")  # files that a run's row names, as <kind>_file


class StoreDamage(UserWarning):
    """A file of the store could not be used; what it held is left out, nothing else."""


class Problem(NamedTuple):
    """Something that `Store.verify` found."""

    path: str
    reason: str


class _Entry(NamedTuple):
    """A row's file, as its name tells."""

    path: str
    id: str
    failure: int | None  # None: a result
    attempt: str


class Store:
    """Results under one address; see the module's text for the layout."""

    def __init__(self, files: Files, uri: str) -> None:
        self._files = files
        #: The address in full; `Store.open(store.uri)` opens the same store.
        self.uri = uri
        self._forget()

    def _forget(self) -> None:
        self._segments: dict[str, tuple[frozenset[str], pl.DataFrame | None]] = {}
        self._sound: dict[str, Any] = {}  # path -> state of the file when it was last verified
        self._models: dict[str, tuple[str, str]] = {}  # run -> file and checksum not yet committed

    def __getstate__(self) -> dict[str, Any]:
        return {"_files": self._files, "uri": self.uri}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._forget()

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
        return self._files.root if isinstance(self._files, LocalFiles) else None

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
            found = json.loads(self._files.read("store.json"))
            body = {k: found[k] for k in ("format", "written_by")}
            if found["check"] != _short(_json(body)):
                raise ValueError("its checksum does not match")
        except FileNotFoundError:
            if not create:
                raise InputError(
                    f"there is no store at {self._files.where}; `platform train` and the other "
                    "commands that compute make one, or name another with --store."
                ) from None
            self._mark()
            return
        except NotADirectoryError as error:
            raise InputError(f"the store {self._files.where} is not a folder.") from error
        except (ValueError, KeyError, TypeError) as error:
            self._warn("store.json", f"damaged ({error})", "it is written anew")
            if create:
                self._quarantine("store.json")
                self._mark()
            return
        except OSError as error:
            raise StorageError(f"cannot read the store {self._files.where} ({error}).") from error
        if body["format"] > FORMAT:
            raise StorageError(
                f"the store {self._files.where} was made by deep-clustering {body['written_by']} "
                f"with format {body['format']}; this is {schema.release()} with format {FORMAT}: "
                f"install {body['written_by']} or newer."
            )

    def _mark(self) -> None:
        body = {"format": FORMAT, "written_by": schema.release()}
        data = _json({**body, "check": _short(_json(body))})
        with contextlib.suppress(FileExistsError), self._saving("store.json"):
            self._files.write("store.json", data, exclusive=True)

    # ---- what there is

    def has_run(self, id: str) -> bool:
        """Whether a run is finished: its row is there and undamaged."""
        return self._result("runs", _checked_id(id)) is not None

    def finished(self) -> set[str]:
        """Ids of the finished runs."""
        covered = self._covered("runs")
        entries = [e for e in self._entries("runs") if e.failure is None]
        known = {e.id for e in entries if e.path in covered}
        rest = [e for e in entries if e.id not in known]
        with self._pool() as pool:
            sound = pool.map(self._is_sound, rest)
            return known | {e.id for e, good in zip(rest, sound, strict=True) if good}

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
        path = self._result("runs", _checked_id(id))
        if path is None:
            raise InputError(f"there is no finished run '{id}' in {self._files.where}.")
        return self._row(path, "runs")

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
        choices: dict[str, builtins.list[_Entry]] = {}
        for entry in self._entries(kind):
            choices.setdefault(entry.id, []).append(entry)
        for entries in choices.values():
            # A result before failures; of results the first, of failures the last.
            entries.sort(key=lambda e: (e.failure is not None, -(e.failure or 0), e.attempt))
        frames: builtins.list[pl.DataFrame] = []
        while choices:
            found, bad = self._load(kind, [entries[0] for entries in choices.values()])
            frames += found
            choices = {id: choices[id][1:] for id in bad if choices[id][1:]}
        return schema.union(frames, kind)

    # ---- committing a run

    def commit_run(
        self, row: Mapping[str, Any], epochs: pa.Table | None, predictions: pa.Table | None
    ) -> bool:
        """Make a finished run durable; it exists from the moment its row does.

        Args:
            row: columns of `schema.RUNS` and any further metrics; at least `run_id`.
            epochs: one row per epoch, see `schema.EPOCHS`.
            predictions: one row per image, see `schema.PREDICTIONS`.

        Returns:
            True when this attempt is the run's result; False when there was one already, which
            stays, and nothing of this attempt is kept.

        Raises:
            StorageError: nothing was acknowledged; the run is absent or complete.
            ValueError: a value that does not fit its column.
        """
        id = _checked_id(row.get("run_id"))
        token = attempt()
        row = {**row, "status": "ok"}
        if row.get("attempts") is None:
            row["attempts"] = self._failures_of(id) + 1
        if id in self._models:
            row["model_file"], row["model_sha256"] = self._models[id]
        won = self._commit_run(id, row, {"epochs": epochs, "predictions": predictions}, token)
        self._models.pop(id, None)
        return won

    def _commit_run(
        self, id: str, row: dict[str, Any], tables: dict[str, pa.Table | None], token: str
    ) -> bool:
        owned, row = self._tables(id, row, tables, token)
        mine = [*owned, *([row["model_file"]] if row.get("model_file") else [])]
        data = schema.encode("runs", schema.row_table("runs", row))
        schema.decode(data, f"run {id}", "runs")
        with self._saving(f"run {id}"):
            if self._result("runs", id) is not None:
                self._files.sync("runs")
                self._discard(mine)
                return False
            try:
                for path, content in owned.items():
                    self._files.write(path, content)
                won = self._commit_row("runs", id, token, data)
            except OSError:
                self._discard_unless_named("runs", id, list(owned))
                raise
            if not won:
                self._discard_unless_named("runs", id, mine)
            return won

    def record_failure(self, row: Mapping[str, Any], epochs: pa.Table | None = None) -> None:
        """Write down that an attempt ended without a result.

        Args:
            row: as in `commit_run`; `status` is "failed", "stopped" or "interrupted", and `reason`
                says why in a line. Its metrics are not kept.
            epochs: the epochs that were done.
        """
        id = _checked_id(row.get("run_id"))
        if row.get("status") not in ("failed", "stopped", "interrupted"):
            raise ValueError(
                f"status: needs failed, stopped or interrupted, got {row.get('status')!r}"
            )
        number = self._failures_of(id)
        row = {k: v for k, v in row.items() if k not in schema.METRICS}
        row.setdefault("attempts", number + 1)
        token = attempt()
        owned, row = self._tables(id, row, {"epochs": epochs}, token)
        data = schema.encode("runs", schema.row_table("runs", row))
        with self._saving(f"the failure of run {id}"):
            try:
                for path, content in owned.items():
                    self._files.write(path, content)
                while True:
                    path = self._row_path("runs", id, f"failed-{number}", token)
                    try:
                        self._uncover(path)
                        return self._files.write(path, data, exclusive=True)
                    except FileExistsError:
                        number += 1
            except OSError:
                self._discard(owned)
                raise

    def _tables(
        self, id: str, row: Mapping[str, Any], tables: Mapping[str, pa.Table | None], token: str
    ) -> tuple[dict[str, bytes], dict[str, Any]]:
        """The files of a run's tables, path to content, and the row that names them."""
        row, owned = dict(row), {}
        for kind, table in tables.items():
            if table is not None:
                fitted = schema.fit_table(kind, id, table)
                path = f"{kind}/{id}.{token}.parquet"
                owned[path] = schema.encode(kind, fitted)
                row[f"{kind}_file"], row[f"{kind}_columns"] = path, schema.described(fitted)
        return owned, row

    def _commit_row(self, kind: str, id: str, token: str, data: bytes) -> bool:
        """Write the row that makes a result exist; False when another one was there first."""
        path = self._row_path(kind, id, "ok", token)
        if not self._files.exclusive:
            self._uncover(path)
            self._files.write(path, data)
            if self._result(kind, id) == path:
                return True
            self._files.delete(path)
            return False
        while True:
            self._uncover(path)
            try:
                self._files.write(path, data, exclusive=True)
                return True
            except FileExistsError:
                if self._result(kind, id) is not None:
                    return False
                self._make_way(kind, id, path)

    def _make_way(self, kind: str, id: str, path: str) -> None:
        """Put a damaged result aside, so that a new one can take its name.

        Raises:
            NewerSchema: it is not damaged; this release cannot read it.
            OSError: it could not be read just now.
        """
        try:
            self._read_row(_Entry(path, id, None, ""))
        except FileNotFoundError:
            return
        except NewerSchema:
            raise
        except Damaged:
            with contextlib.suppress(FileNotFoundError):
                self._quarantine(path)

    def _row_path(self, kind: str, id: str, what: str, token: str) -> str:
        return f"{kind}/{id}.{what}" + (
            ".parquet" if self._files.exclusive else f"/{token}.parquet"
        )

    def _failures_of(self, id: str) -> int:
        """How many attempts without a result are on record; the next one's number."""
        number = 0
        with self._reading():
            while self._files.exists(
                f"runs/{id}.failed-{number}" + (".parquet" if self._files.exclusive else "")
            ):
                number += 1
        return number

    def _discard(self, paths: Iterable[str]) -> None:
        """Remove files that no row names; what stays is swept later."""
        for path in paths:
            with contextlib.suppress(OSError):
                self._files.delete(path)

    def _discard_unless_named(self, kind: str, id: str, paths: Sequence[str]) -> None:
        """Like `_discard`, after a commit that failed or lost; its row may be there anyway."""
        try:
            named: set[str] = set()
            for path in self._candidates(kind, id):
                named |= _named_by(self._row(path, kind))
        except (OSError, StorageError):
            return
        self._discard(p for p in paths if p not in named)

    # ---- models

    def write_model(self, id: str, data: bytes) -> str:
        """Keep the weights of a run that is about to be committed from this object.

        Returns:
            Their path in the store, which `commit_run` puts into the row with their checksum.
        """
        digest = hashlib.sha256(data).hexdigest()
        path = f"models/{_checked_id(id)}.{digest[:16]}.safetensors"
        with self._saving(f"the model of run {id}"):
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
        path = self._result("stages", _checked_id(id))
        if path is None:
            return False
        try:
            row = self._row(path, "stages")
            sizes = zip(row["artefact_files"] or (), row["artefact_bytes"] or (), strict=True)
            return all(self._files.size(file) == size for file, size in sizes)
        except (OSError, StorageError):
            return False

    def stages(self) -> set[str]:
        """Ids of the finished stages."""
        ids = {e.id for e in self._entries("stages") if e.failure is None}
        return {id for id in ids if self.stage_ready(id)}

    def stage_row(self, id: str) -> dict[str, Any]:
        """The row of a finished stage, with every core column.

        Raises:
            InputError: no such stage.
        """
        path = self._result("stages", _checked_id(id))
        if path is None:
            raise InputError(f"there is no finished stage '{id}' in {self._files.where}.")
        return self._row(path, "stages")

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
        files = {name: checked(f"artefacts/{id}/{token}/{name}") for name in artefacts}
        full = {
            **row,
            "status": "ok",
            "artefact_names": list(files),
            "artefact_files": list(files.values()),
            "artefact_sha256": [hashlib.sha256(d).hexdigest() for d in artefacts.values()],
            "artefact_bytes": [len(d) for d in artefacts.values()],
        }
        data = schema.encode("stages", schema.row_table("stages", full))
        schema.decode(data, f"stage {id}", "stages")
        mine = list(files.values())
        with self._saving(f"stage {id}"):
            if self.stage_ready(id):
                self._files.sync("stages")
                return False
            for path in self._candidates("stages", id):
                self._make_way("stages", id, path)
                with contextlib.suppress(FileNotFoundError):
                    self._quarantine(path)  # sound, but its files are not there
            try:
                for name, path in files.items():
                    self._files.write(path, artefacts[name])
                won = self._commit_row("stages", id, token, data)
            except OSError:
                self._discard_unless_named("stages", id, mine)
                raise
            if not won:
                self._discard(mine)
            return won

    def stage_artefact(self, id: str, name: str) -> Path:
        """A file on this machine with what a stage made, verified.

        On an object store it is fetched once and kept in `cache`.

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
            with contextlib.suppress(OSError):
                for bad in (*self._candidates("stages", id), file):
                    if self._files.exists(bad):
                        self._quarantine(bad)
            raise StorageError(
                f"{name} of stage {id} is damaged ({file}); it was moved to quarantine/: "
                "give the same command again to compute it anew."
            )
        return path

    def _verified(self, file: str, digest: str) -> Path | None:
        """A local file with the content of a stored one; None when that is not what it was."""
        if self.local is not None:
            path = self.local / checked(file)
        else:
            path = self.cache / "files" / f"{digest[:32]}-{file.rpartition('/')[2]}"
        state = _state(path)
        if state is not None and self._sound.get(str(path)) == state:
            return path
        if state is not None and _digest(path) == digest:
            self._sound[str(path)] = _state(path)
            return path
        if self.local is not None:
            return None
        try:
            data = self._files.read(file)
        except FileNotFoundError:
            return None
        if hashlib.sha256(data).hexdigest() != digest:
            return None
        with self._saving(f"a copy of {file}"):
            LocalFiles(path.parent).write(path.name, data)
        return path

    # ---- plans

    def write_plan(self, kind: str, name: str, plan: Mapping[str, Any]) -> None:
        """Note which runs a command asks for.

        Args:
            kind: such as "train", "study" or "suite".
            name: of the study or suite.
            plan: JSON; `runs` is a list of run ids, or of objects with `run_id` and labels such as
                `variant` that become columns of `results.suite`.
        """
        folder = f"plans/{_checked_label(kind)}/{_checked_label(name)}"
        data = _json(plan)
        path = f"{folder}/{_short(data)}.json"
        with self._saving(f"the plan of {name}"):
            for old in self._files.names(folder):
                if old == path:
                    return
            self._files.write(path, data)
            for old in self._files.names(folder):  # a growing search leaves one file, not hundreds
                if old != path and (known := self._plan(old)) and _within(known, json.loads(data)):
                    self._files.delete(old)

    def read_plan(self, kind: str, name: str) -> dict[str, Any]:
        """The union of all plans of a name; empty when there is none.

        Lists are joined without repetition and objects key by key; of other values the one of the
        file that sorts last stays.
        """
        folder = f"plans/{_checked_label(kind)}/{_checked_label(name)}"
        union: dict[str, Any] = {}
        with self._reading():
            for path in self._files.names(folder):
                union = _joined(union, self._plan(path, warn=True) or {})
        return union

    def plans(self, kind: str) -> builtins.list[str]:
        """Names of the plans of a kind, sorted."""
        with self._reading():
            found = self._files.names(f"plans/{_checked_label(kind)}")
        return sorted({p.split("/")[2] for p in found if p.count("/") == 3})

    def _plan(self, path: str, warn: bool = False) -> dict[str, Any] | None:
        try:
            data = self._files.read(path)
            if path.rpartition("/")[2] != f"{_short(data)}.json":
                raise ValueError("its checksum does not match")
            found = json.loads(data)
            return found if isinstance(found, dict) else None
        except FileNotFoundError:
            return None  # a larger one has just taken its place
        except (ValueError, OSError) as error:
            if warn:
                self._warn(path, f"damaged ({error})", "the runs it names stay")
            return None

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
        with self._saving(path):
            self._files.write(path, data, exclusive=exclusive)

    def list(self, prefix: str) -> builtins.list[str]:
        """Paths of all files at any depth below a folder, sorted."""
        with self._reading():
            return self._files.names(prefix)

    def exists(self, path: str) -> bool:
        """Whether there is such a file or folder."""
        with self._reading():
            return self._files.exists(path)

    def delete(self, path: str) -> None:
        """Remove a file, or a folder with all that is in it, if it is there."""
        with self._saving(f"the removal of {path}"):
            self._files.delete(path)

    # ---- claims

    def claim(self, id: str) -> Claim | None:
        """The exclusive right to compute something, or None while another process has it.

        It ends with `release`, at the end of a `with` block, or with the process. Between machines
        it holds where the file system carries locks between them (NFS does). Object stores have
        none: there it is always granted, two commands may compute the same run, and the first
        commit stays.
        """
        with self._saving(f"the claim on {id}"):
            return self._files.claim(f"claims/{_checked_label(id)}")

    # ---- reading rows

    def _entries(self, kind: str) -> builtins.list[_Entry]:
        with self._reading():
            paths = self._files.names(kind)
        entries = []
        for path in paths:
            if match := _ROW.fullmatch(path):
                failure = match["failure"]
                number = None if failure is None else int(failure)
                entries.append(_Entry(path, match["id"], number, match["attempt"] or ""))
        return entries

    def _candidates(self, kind: str, id: str) -> builtins.list[str]:
        """Paths of an id's results, the one that counts first."""
        with self._reading():
            plain = f"{kind}/{id}.ok.parquet"
            found = [plain] if self._files.exists(plain) else []
            found += [p for p in self._files.names(f"{kind}/{id}.ok") if _ROW.fullmatch(p)]
            return found

    def _result(self, kind: str, id: str) -> str | None:
        """Path of the row that is an id's result; None without a sound one."""
        for path in self._candidates(kind, id):
            if self._is_sound(_Entry(path, id, None, "")) or path in self._covered(kind):
                return path
        return None

    def _is_sound(self, entry: _Entry) -> bool:
        """Whether a row's file is what was written; asked again only when the file changed."""
        state = _state(self.local / entry.path) if self.local is not None else True
        if state is not None and self._sound.get(entry.path) == state:
            return True
        try:
            self._read_row(entry, ["run_id" if entry.path.startswith("runs") else "stage_id"])
        except FileNotFoundError:
            return False
        except (Damaged, NewerSchema, OSError) as error:
            self._warn(entry.path, *_sentence(error))
            return False
        self._sound[entry.path] = state
        return True

    def _read_row(self, entry: _Entry, columns: Sequence[str] | None = None) -> pl.DataFrame:
        kind = entry.path.partition("/")[0]
        frame = schema.decode(self._files.read(entry.path), entry.path, kind, columns)
        key = "run_id" if kind == "runs" else "stage_id"
        if frame.height != 1 or frame[key][0] != entry.id:
            raise Damaged(f"{entry.path} is damaged (it holds another row than its name says).")
        return frame

    def _row(self, path: str, kind: str) -> dict[str, Any]:
        match = _ROW.fullmatch(path)
        assert match is not None
        try:
            frame = self._read_row(_Entry(path, match["id"], None, ""))
        except (Damaged, OSError):
            found, _ = self._from_segments(kind, {path})
            if not found:
                raise
            frame = found[0]
        return dict.fromkeys(schema.KINDS[kind]) | frame.row(0, named=True)

    def _load(
        self, kind: str, entries: Sequence[_Entry]
    ) -> tuple[builtins.list[pl.DataFrame], builtins.list[str]]:
        """Rows of files, and the ids of those that could not be used."""
        frames, missing = self._from_segments(kind, {e.path for e in entries})
        loose = [e for e in entries if e.path in missing]

        def read(entry: _Entry) -> pl.DataFrame | Exception:
            try:
                return self._read_row(entry)
            except (Damaged, NewerSchema, OSError) as error:
                return error

        bad = []
        with self._pool() as pool:
            for entry, found in zip(loose, pool.map(read, loose), strict=True):
                if isinstance(found, pl.DataFrame):
                    frames.append(found)
                    continue
                bad.append(entry.id)
                if not isinstance(found, FileNotFoundError):  # moved away since it was listed
                    self._warn(entry.path, *_sentence(found))
        return frames, bad

    def tables(self, kind: str, files: Sequence[str]) -> Iterator[pl.DataFrame]:
        """Tables of epochs or predictions that rows name, in pieces; damaged ones are left out.

        Args:
            kind: "epochs" or "predictions".
            files: their paths, as in `epochs_file`.
        """
        missing = set(files)
        if len(missing) > 16:  # a few are sooner read from their own files
            frames, missing = self._from_segments(kind, missing)
            yield from frames
        for path in files:
            if path not in missing:
                continue
            try:
                frame = schema.decode(self._files.read(path), path, kind)
                if frame.height and frame["run_id"][0] != _id_in(path):
                    raise Damaged(f"{path} is damaged (it holds another run than its name says).")
                yield frame
            except (Damaged, NewerSchema, OSError) as error:
                self._warn(path, *_sentence(error))

    # ---- segments

    def _from_segments(
        self, kind: str, paths: set[str]
    ) -> tuple[builtins.list[pl.DataFrame], set[str]]:
        """What segments hold of some files, and the files that none of them holds."""
        frames, missing = [], set(paths)
        for name in self._segment_names(kind):
            known = self._segment(name, kind)
            wanted = missing & known
            if not wanted:
                continue
            frame = self._segment_frame(name, kind)
            if frame is None:
                continue
            if len(wanted) < len(known):
                frame = frame.filter(pl.col("__file").is_in(list(wanted)))
            frames.append(frame.drop("__file", "__digest"))
            missing -= wanted
        return frames, missing

    def _covered(self, kind: str) -> set[str]:
        names = self._segment_names(kind)
        return set().union(*(self._segment(name, kind) for name in names))

    def _segment_names(self, kind: str) -> builtins.list[str]:
        with self._reading():
            found = [p for p in self._files.names("segments") if p.startswith(f"segments/{kind}-")]
        for gone in [n for n in self._segments if n.startswith(f"segments/{kind}-")]:
            if gone not in found:
                del self._segments[gone]
        return found

    def _segment(self, name: str, kind: str) -> frozenset[str]:
        """The files that a segment holds; none when it is damaged or just gone."""
        if name not in self._segments:
            frame = self._read_segment(name, kind, ["__file"])
            files = frozenset() if frame is None else frozenset(frame["__file"].to_list())
            self._segments[name] = files, None
        return self._segments[name][0]

    def _segment_frame(self, name: str, kind: str) -> pl.DataFrame | None:
        files, frame = self._segments[name]
        if frame is None:
            frame = self._read_segment(name, kind, None)
            if frame is not None and kind == "runs":  # rows are small and asked for often
                self._segments[name] = files, frame
        return frame

    def _read_segment(
        self, name: str, kind: str, columns: Sequence[str] | None
    ) -> pl.DataFrame | None:
        """A segment's rows: some columns, all (), or all but the original files (None)."""
        with contextlib.suppress(OSError, Damaged, NewerSchema):
            data = self._files.read(name)
            schema.check(data, name, kind)
            if columns is None:
                columns = [c for c in schema.columns_of(data, name) if c != "__bytes"]
            return schema.decode(data, name, kind, columns or None, checked=True)
        return None

    def _uncover(self, path: str) -> None:
        """Drop segments that hold an earlier file of a name that is about to be given again."""
        kind = path.partition("/")[0]
        for name in self._segment_names(kind):
            if path in self._segment(name, kind):
                self._files.delete(name)

    def compact_if_needed(self) -> None:
        """`compact` when many rows are in no segment; does nothing where it cannot write."""
        with contextlib.suppress(StorageError):
            covered = self._covered("runs")
            if sum(e.path not in covered for e in self._entries("runs")) > LOOSE:
                self.compact()

    def compact(self) -> None:
        """Copy loose rows and tables of epochs into segments, which makes reading quick.

        The files themselves stay, so that this can be killed anywhere, and two at once do no harm.
        A segment also holds the bytes of its files, from which `repair` restores damaged ones.
        """
        with self._saving("a segment"):
            self._compact("runs", [e.path for e in self._entries("runs")])
            self._compact("epochs", self.rows()["epochs_file"].drop_nulls().to_list())

    def _compact(self, kind: str, paths: Sequence[str]) -> None:
        known = {name: self._segment(name, kind) for name in self._segment_names(kind)}
        full = {name for name, files in known.items() if len(files) >= _FULL_SEGMENT}
        settled = set().union(*(known[name] for name in full))
        todo = [p for p in paths if p not in settled]
        small = [name for name in known if name not in full]
        covered = set().union(*(known[name] for name in small))
        if all(p in covered for p in todo) and len(small) <= 1:
            return
        blocks, left = [], set(todo)
        for name in small:
            frame = self._read_segment(name, kind, ())
            if frame is not None:
                blocks.append(frame.filter(pl.col("__file").is_in(list(left))))
                left -= known[name]
        with self._pool() as pool:
            found = pool.map(lambda p: self._original(p, kind), [p for p in todo if p in left])
            blocks += [_tagged(*f) for f in found if f]
        written = []
        if blocks:
            whole = schema.union(blocks, kind)
            for files in (
                whole["__file"].unique(maintain_order=True).to_frame().iter_slices(_FULL_SEGMENT)
            ):
                part = whole.join(files, on="__file", how="semi", maintain_order="left")
                table = part.to_arrow(compat_level=pl.CompatLevel.oldest())
                data = schema.encode(kind, table)
                written.append(f"segments/{kind}-{_short(data)}.parquet")
                self._files.write(written[-1], data)
        for name in small:  # all that is sound in them is in the new ones
            if name not in written:
                self._files.delete(name)

    def _original(self, path: str, kind: str) -> tuple[str, bytes, pl.DataFrame] | None:
        """A sound file: path, content, rows."""
        with contextlib.suppress(OSError, Damaged, NewerSchema):
            data = self._files.read(path)
            frame = schema.decode(data, path, kind)
            if frame.height and frame["run_id"][0] == _id_in(path):
                return path, data, frame
        return None

    def _remembered(self, path: str, kind: str) -> bytes | None:
        """The bytes that a segment holds of a file."""
        for name in self._segment_names(kind):
            if path in self._segment(name, kind):
                frame = self._read_segment(name, kind, ["__file", "__bytes"])
                if frame is not None:
                    found = frame.filter(pl.col("__file") == path)["__bytes"].drop_nulls()
                    if len(found):
                        return bytes(found[0])
        return None

    # ---- clean-up and repair

    def sweep(self) -> None:
        """Remove what dead attempts have left: files half-written, and files that no row names.

        A store that cannot be written stays as it is.
        """
        with contextlib.suppress(OSError, StorageError):
            self._files.sweep()
            for kind in ("epochs", "predictions", "models", "artefacts"):
                self._sweep(kind)
            if self.local is not None:
                for path in self._files.names("claims"):
                    if claim := self._files.claim(path):
                        claim.release()

    def _sweep(self, kind: str) -> None:
        """Remove files of dead attempts that no row names."""
        by_id: dict[str, builtins.list[str]] = {}
        for path in self._files.names(kind):
            by_id.setdefault(_id_in(path), []).append(path)
        home = "stages" if kind == "artefacts" else "runs"
        rows: dict[str, builtins.list[str]] = {}
        for entry in self._entries(home):
            rows.setdefault(entry.id, []).append(entry.path)
        for id, paths in by_id.items():
            mine = rows.get(id, [])
            if len(paths) == 1 and any(".ok" in p for p in mine):
                continue  # the rule, and not worth reading a row for
            dead = [p for p in paths if self._given_up(p)]
            if not dead:
                continue
            named: set[str] = set()
            try:
                for path in mine:
                    named |= _named_by(self._row(path, home))
            except (OSError, StorageError):
                continue  # a row that cannot be read may name them
            for path in dead:
                if path not in named:
                    self._files.delete(path)

    def _given_up(self, path: str) -> bool:
        if token := _TOKEN.search(path):
            return given_up(token[0])
        return time.time() - self._files.modified(path) > GIVEN_UP

    def verify(self) -> builtins.list[Problem]:
        """Read everything; what is damaged or missing, with the reason. Changes nothing."""
        return [problem for problem, _ in self._problems()]

    def repair(self) -> builtins.list[Problem]:
        """Move what is damaged to `quarantine/`, so that it counts as missing and is done again.

        What a segment still holds is restored instead.

        Returns:
            What `verify` would have found; the reason also says what was done.
        """
        done = []
        for problem, mend in list(self._problems()):
            with self._saving(f"the repair of {problem.path}"):
                done.append(Problem(problem.path, f"{problem.reason}; {mend()}"))
        self._forget()
        return done

    def _problems(self) -> Iterator[tuple[Problem, Callable[[], str]]]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", StoreDamage)
            yield from self._wrong_marks()
            for kind in ("runs", "stages"):
                for entry in self._entries(kind):
                    yield from self._wrong_row(kind, entry)
            for kind in ("runs", "epochs"):
                yield from self._wrong_segments(kind)
            yield from self._wrong_plans()

    def _wrong_marks(self) -> Iterator[tuple[Problem, Callable[[], str]]]:
        def anew() -> str:
            self._quarantine("store.json")
            self._mark()
            return "written anew"

        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error", StoreDamage)
                self._agree(create=False)
        except StoreDamage:
            yield Problem("store.json", "damaged"), anew

    def _wrong_row(self, kind: str, entry: _Entry) -> Iterator[tuple[Problem, Callable[[], str]]]:
        try:
            row = self._read_row(entry).row(0, named=True)
        except FileNotFoundError:
            return
        except NewerSchema as error:
            yield Problem(entry.path, str(error)), lambda: "left as it is"
            return
        except (Damaged, OSError) as error:
            yield Problem(entry.path, _sentence(error)[0]), lambda: self._mend(entry.path, kind)
            return
        for part, path, digest in _parts(row):
            reason = self._wrong_part(part, path, digest)
            if reason:
                problem = Problem(path, f"{reason}; it belongs to {entry.path}")
                yield problem, lambda p=path, k=part: self._mend_part(p, k, entry)

    def _wrong_part(self, part: str, path: str, digest: str | None) -> str | None:
        """What is wrong with a file that a row names; `digest` None: it has its own checksum."""
        try:
            data = self._files.read(path)
            if digest is None:
                schema.decode(data, path, part)
            elif hashlib.sha256(data).hexdigest() != digest:
                return "damaged (its checksum does not match)"
        except FileNotFoundError:
            return "missing"
        except (Damaged, NewerSchema, OSError) as error:
            return _sentence(error)[0]
        return None

    def _wrong_segments(self, kind: str) -> Iterator[tuple[Problem, Callable[[], str]]]:
        def drop(name: str) -> str:
            self._files.delete(name)
            return "removed; the files it was made of are not concerned"

        for name in self._segment_names(kind):
            frame = self._read_segment(name, kind, ["__file", "__digest"])
            if frame is None:
                yield Problem(name, "damaged copy of many rows"), lambda n=name: drop(n)
                continue
            for path, digest in frame.unique().iter_rows():
                with contextlib.suppress(OSError):
                    data = self._files.read(path)
                    with contextlib.suppress(Damaged, NewerSchema):
                        schema.check(data, path, kind)
                        if _short(data) != digest:
                            problem = Problem(name, f"older than {path}, which it is a copy of")
                            yield problem, lambda n=name: drop(n)
                            break

    def _wrong_plans(self) -> Iterator[tuple[Problem, Callable[[], str]]]:
        with self._reading():
            paths = self._files.names("plans")
        for path in paths:
            if path.endswith(".json") and self._plan(path) is None:
                yield Problem(path, "damaged plan"), lambda p=path: self._away(p)

    def _mend(self, path: str, kind: str) -> str:
        """Take a damaged row away; put back what a segment remembers of it."""
        data = self._remembered(path, kind)
        self._quarantine(path)
        if data is None:
            self._uncover(path)
            return "moved to quarantine/, so that it is done again"
        self._files.write(path, data)
        return "moved to quarantine/ and restored from a segment"

    def _mend_part(self, path: str, part: str, entry: _Entry) -> str:
        if part == "epochs" and (data := self._remembered(path, part)):
            if self._files.exists(path):
                self._quarantine(path)
            self._files.write(path, data)
            return "restored from a segment"
        for bad in (path, entry.path):
            if self._files.exists(bad):
                self._quarantine(bad)
        self._uncover(entry.path)
        return f"moved to quarantine/ with {entry.path}, so that it is done again"

    def _away(self, path: str) -> str:
        self._quarantine(path)
        return "moved to quarantine/"

    def _quarantine(self, path: str) -> None:
        """Move a damaged file out of the way; nothing damaged is ever deleted."""
        self._sound.pop(path, None)
        self._files.move(path, f"quarantine/{attempt()}.{path.replace('/', '.')}")

    # ---- helpers

    def _pool(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(4 if self.local is not None else 16)

    @contextlib.contextmanager
    def _saving(self, what: str) -> Iterator[None]:
        """Turns what the system says about a write into a sentence about `what`."""
        try:
            yield
        except FileExistsError:
            raise
        except OSError as error:
            raise storage_error(error, self._files.where, what) from error

    @contextlib.contextmanager
    def _reading(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            text = os.strerror(error.errno) if error.errno else str(error).splitlines()[0]
            raise StorageError(f"cannot read the store {self._files.where} ({text}).") from error

    def _warn(self, path: str, reason: str, then: str) -> None:
        warnings.warn(f"{path}: {reason}; {then}", StoreDamage, stacklevel=4)


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


def _id_in(path: str) -> str:
    """The id that a file's name begins with."""
    return path.split("/")[1].partition(".")[0]


def _json(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, ensure_ascii=False, indent=1).encode()


def _short(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:16]


def _digest(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _state(path: Path) -> Any:
    """What changes when a file does; None when it is not there."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns


def _sentence(error: Exception) -> tuple[str, str]:
    """What is wrong with a file, and what that means."""
    if isinstance(error, NewerSchema):
        return str(error).rstrip("."), "it is left out"
    if isinstance(error, FileNotFoundError):
        return "missing", "it is left out"
    if isinstance(error, OSError):
        number = error.errno or errno.EIO
        return f"cannot be read ({os.strerror(number)})", "it is left out"
    reason = re.search(r"\((.*)\)", str(error))
    return f"damaged ({reason[1]})" if reason else "damaged", "left out until it is done again"


def _parts(row: Mapping[str, Any]) -> Iterator[tuple[str, str, str | None]]:
    """The files that a row names: kind, path, and checksum where the file has none itself."""
    for part in _OWNED:
        if path := row.get(f"{part}_file"):
            yield part, path, row.get("model_sha256") if part == "model" else None
    files, sums = row.get("artefact_files") or (), row.get("artefact_sha256") or ()
    yield from (("artefact", path, digest) for path, digest in zip(files, sums, strict=True))


def _named_by(row: Mapping[str, Any]) -> set[str]:
    return {path for _, path, _ in _parts(row)}


def _tagged(path: str, data: bytes, frame: pl.DataFrame) -> pl.DataFrame:
    """A file's rows with where they come from; the first also carries the file itself."""
    first = pl.int_range(pl.len()) == 0
    return frame.with_columns(
        pl.lit(path).alias("__file"),
        pl.lit(_short(data)).alias("__digest"),
        pl.when(first).then(pl.lit(data)).alias("__bytes"),
    )


def _joined(left: Mapping[str, Any], right: Mapping[str, Any]) -> dict[str, Any]:
    """The union of two plans."""
    union = dict(left)
    for key, value in right.items():
        known = union.get(key)
        if isinstance(known, list) and isinstance(value, list):
            texts = {_json(v) for v in known}
            union[key] = known + [v for v in value if _json(v) not in texts]
        elif isinstance(known, dict) and isinstance(value, dict):
            union[key] = _joined(known, value)
        else:
            union[key] = value
    return union


def _within(small: Any, large: Any) -> bool:
    """Whether a plan says nothing that another does not say too."""
    if isinstance(small, dict) and isinstance(large, dict):
        return all(k in large and _within(v, large[k]) for k, v in small.items())
    if isinstance(small, list) and isinstance(large, list):
        texts = {_json(v) for v in large}
        return all(_json(v) in texts for v in small)
    return bool(small == large)
