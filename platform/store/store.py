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
    probabilities/                     <id>.<attempt>.<hash>.parquet, named by their run's row
    models/                            <id>.<hash>.safetensors, named by it too
    stages/<id>.ok.parquet             shared work; its files are artefacts/<id>/<attempt>/<name>
    paths/<fingerprint>.json           where a folder's images were found last; written anew then
    plans/<kind>/<name>/<hash>.json    which runs a command asked for; several are united
    checkpoints/, studies/             belong to the rooms run and search
    segments/                          copies of many rows and tables in one file
    seals/                             what was here once, so that its loss is noticed
    claims/                            the locks of work in progress
    quarantine/                        damaged files, never deleted

On an object store a conditional PUT takes the place of the exclusive write. There are no locks, so
two commands may compute the same run at once, and the first commit stays. An earlier release named
a result `<id>.ok/<attempt>.parquet` there, of which the first counts.
"""

import contextlib
import errno
import itertools
import os
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa

from deep_clustering.platform._disk import Lock
from deep_clustering.platform.errors import InputError, StorageError, storage_error
from deep_clustering.platform.store import _mark
from deep_clustering.platform.store._backends import connect
from deep_clustering.platform.store._commits import Commits
from deep_clustering.platform.store._copies import Copies
from deep_clustering.platform.store._damage import Finding, Problem, StoreDamage
from deep_clustering.platform.store._files import Files, reading, saving, set_aside
from deep_clustering.platform.store._mark import FORMAT
from deep_clustering.platform.store._names import checked_id, checked_label
from deep_clustering.platform.store._paths import Found, Paths
from deep_clustering.platform.store._plans import Plan, PlannedRun, Plans
from deep_clustering.platform.store._repair import LOCKS, Upkeep, closed
from deep_clustering.platform.store._rows import TABLES, Rows
from deep_clustering.platform.store._runs import Runs
from deep_clustering.platform.store._seals import SEALED, Seals
from deep_clustering.platform.store._segments import Segments
from deep_clustering.platform.store._stages import Stages

__all__ = [
    "FORMAT",
    "LOOSE",
    "TABLES",
    "Finding",
    "Found",
    "Plan",
    "PlannedRun",
    "Problem",
    "Store",
    "StoreDamage",
]

#: `tidy` compacts when more rows than this are in no segment.
LOOSE = 256


class Store:
    """Results under one address; see the module's text for the layout."""

    def __init__(self, files: Files, uri: str) -> None:
        self._files = files
        #: The address in full; `Store.open(store.uri)` opens the same store.
        self.uri = uri
        self._whole = True  # its mark; see `make`
        self._forget()

    def _forget(self) -> None:
        self._segments = Segments(self._files)
        self._rows = Rows(self._files, self._segments)
        self._plans = Plans(self._files)
        self._seals = Seals(self._files, self._rows)
        self._paths = Paths(self._files, self._rows)
        self._upkeep = Upkeep(
            self._files, self._rows, self._segments, self._plans, self._seals, self._paths
        )
        self._copies = Copies(self._files, self.uri)
        commits = Commits(self._files, self._rows, self._segments)
        self._runs = Runs(self._files, self._rows, commits, self._copies)
        self._stages = Stages(self._files, self._rows, commits, self._copies)

    def __reduce__(self) -> tuple[type["Store"], tuple[Files, str]]:
        return Store, (self._files, self.uri)  # what it remembers of the files stays behind

    def __repr__(self) -> str:
        return f"Store.open({self.uri!r})"

    # ---- opening

    @classmethod
    def open(cls, uri: str | os.PathLike[str], *, create: bool = True) -> "Store":
        """The store at an address.

        Args:
            uri: a folder, `file://...`, `s3://bucket/prefix?endpoint_override=...`, or another
                address that `obstore` knows.
            create: make it when it is not there, and see that it can be written. Without, nothing
                is written: for reading.

        Raises:
            InputError: not an address, not a folder, or (without `create`) not a store.
            StorageError: it cannot be written, or a newer release made it.
        """
        if create:
            store = cls.at(uri)
            store.make()
            return store
        files, full = connect(os.fspath(uri))
        _mark.agree(files, absent=False)
        return cls(files, full)

    @classmethod
    def at(cls, uri: str | os.PathLike[str]) -> "Store":
        """The store at an address that can be written, whether it is there already or not.

        It can be read at once; `make` before the first thing is written to it.

        Raises:
            InputError, StorageError: as `open`.
        """
        files, full = connect(os.fspath(uri))
        store = cls(files, full)
        store._probe()
        store._whole = _mark.agree(files, absent=True)
        return store

    def make(self) -> None:
        """Write down that here is a store, where that is not written yet."""
        if not self._whole:
            _mark.renew(self._files)
            self._whole = True

    @property
    def local(self) -> Path | None:
        """The folder of a store on a disk; None for an object store."""
        return self._files.root

    @property
    def cache(self) -> Path:
        """A folder on this machine for copies of what is in the store."""
        return self._copies.folder

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
            if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
                raise StorageError(
                    f"cannot write in {where} ({error.strerror}); make it writable for you, or "
                    "name another store with --store."
                ) from error
            raise storage_error(error, where, "a first file") from error

    # ---- what there is

    def finished(self) -> set[str]:
        """Ids of the finished runs."""
        return self._rows.finished("runs")

    def done(self, ids: Iterable[str]) -> set[str]:
        """Which of some ids, of runs or of stages, are finished.

        Raises:
            StorageError: a result is there that somebody else keeps for himself.
        """
        asked = {checked_id(id) for id in ids}
        runs = self._rows.finished("runs", asked)
        done = runs | {id for id in asked - runs if self.stage_ready(id)}
        self._rows.see_all(asked - done)
        return done

    def failures(self, ids: Collection[str] | None = None) -> dict[str, str]:
        """Run id -> reason, of runs without a result whose last attempt failed.

        Args:
            ids: only these; all when none are given.
        """
        rows = self.rows(ids=ids).filter(pl.col("status") == "failed")
        return {id: reason or "" for id, reason in rows.select("run_id", "reason").iter_rows()}

    def run_row(self, id: str) -> dict[str, Any]:
        """The row of a finished run, with every core column.

        Raises:
            InputError: no such run.
        """
        return self._runs.row(id)

    def rows(self, kind: str = "runs", ids: Collection[str] | None = None) -> pl.DataFrame:
        """One row per id: its result, or what its last attempt without one left.

        A damaged file is left out with a `StoreDamage` warning; another one tells of what was here
        once (`seal`) and is not any more.

        Args:
            kind: "runs" or "stages".
            ids: only these; a few are found without a look at all others.
        """
        if ids is not None:
            return self._rows.table(kind, {checked_id(id) for id in ids})
        self._seals.warn_of_loss(kind)
        return self._rows.table(kind)

    def tables(self, kind: str, files: Sequence[str]) -> Iterator[pl.DataFrame]:
        """Tables that rows name, in pieces; a damaged one is left out with a `StoreDamage` warning.

        The images of predictions have the names of now (`note_paths`).

        Args:
            kind: one of `TABLES`.
            files: their paths, as in the column `epochs_file`.
        """
        tables = self._rows.tables(kind, files)
        return self._paths.renamed(tables, files) if kind == "predictions" else tables

    def probabilities(self, id: str) -> dict[str, np.ndarray]:
        """The probability of every cluster for every scored image of a finished run.

        Returns:
            Head -> float32 (n, C), in the order of the run's table of predictions, bit for bit as
            it was committed.

        Raises:
            InputError: no such run, or one without probabilities.
            StorageError: the table is missing or damaged.
        """
        return self._runs.probabilities(id)

    # ---- committing a run

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
        return self._runs.commit(row, epochs, predictions, probabilities)

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
        self._runs.record_failure(row, epochs)

    # ---- models

    def write_model(self, id: str, data: bytes) -> str:
        """Write the weights of a run, before this same object commits the run.

        Returns:
            Their path in the store. `commit_run` puts it into the row, with their checksum.
        """
        return self._runs.write_model(id, data)

    def model_path(self, id: str) -> Path:
        """A file on this machine with the weights of a finished run, verified.

        Raises:
            InputError: no such run, or one without a model.
            StorageError: the file is missing or damaged.
        """
        return self._runs.model_path(id)

    # ---- stages

    def stage_ready(self, id: str) -> bool:
        """Whether shared work is finished: its row is sound and its files are there in full."""
        return self._stages.ready(id)

    def stages(self) -> set[str]:
        """Ids of the finished stages."""
        return {id for id in self._stages.listed() if self.stage_ready(id)}

    def stage_row(self, id: str) -> dict[str, Any]:
        """The row of a finished stage, with every core column.

        Raises:
            InputError: no such stage.
        """
        return self._stages.row(id)

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
        return self._stages.commit(row, artefacts)

    def stage_artefact(self, id: str, name: str) -> Path:
        """A file on this machine with what a stage made, verified.

        From an object store it is fetched once, into `cache`.

        Raises:
            InputError: no such stage, or it has no such artefact.
            StorageError: it is damaged. The stage then counts as missing, so that the same command
                computes it again.
        """
        return self._stages.artefact(id, name)

    # ---- names of images

    def note_paths(self, fingerprint: str, found: Found) -> None:
        """Keep where the images of a folder were found, in place of what was known.

        Args:
            fingerprint: of the dataset.
            found: its name and the path of each image.

        Raises:
            StorageError: it was not written.
        """
        with saving(self._files, f"the names in {found.dataset}"):
            self._paths.note(fingerprint, found)

    def paths_of(self, fingerprint: str) -> Found | None:
        """Where the images of a dataset were found last; None where no command noted it.

        A damaged record counts as none, with a `StoreDamage` warning.
        """
        return self._paths.of(fingerprint)

    # ---- plans

    def write_plan(self, kind: str, name: str, plan: Plan) -> None:
        """Note which runs a command asks for.

        Args:
            kind: such as "train", "study" or "suite".
            name: of the study or suite.
            plan: what it adds to the plans of this name.
        """
        self._plans.write(checked_label(kind), checked_label(name), plan)

    def add_plan(self, kind: str, name: str, plan: Plan) -> None:
        """`write_plan` without a look at the other plans of this name: costs one small file.

        `unite_plans` makes few of many.
        """
        self._plans.add(checked_label(kind), checked_label(name), plan)

    def unite_plans(self, kind: str, name: str) -> None:
        """Write the small plans of a name as one; can be killed anywhere."""
        self._plans.unite(checked_label(kind), checked_label(name))

    def read_plan(self, kind: str, name: str) -> Plan:
        """The union of all plans of a name; one without runs when there is none."""
        return self._plans.read(checked_label(kind), checked_label(name))

    # ---- locks

    def lock(self, id: str) -> Lock | None:
        """The lock on a piece of work, or None while another process has it.

        It ends with `release`, at the end of a `with` block, or with the process. Between machines
        it holds where the file system carries locks between them (NFS does). Object stores have
        none: there it is always granted, two commands may compute the same run, and the first
        commit stays.
        """
        with saving(self._files, f"the lock on {id}"):
            return self._files.lock(f"{LOCKS}/{checked_label(id)}")

    # ---- upkeep

    def compact(self) -> None:
        """Copy loose rows and tables of epochs into segments, which makes reading quick.

        The files themselves stay, so that this can be killed anywhere, and two at once do no harm.
        A segment also holds the bytes of its files, from which `repair` restores damaged ones.
        """
        with saving(self._files, "a segment"):
            self._segments.build("runs", [e.path for e in self._rows.entries("runs")])
            self._segments.build("epochs", self.rows()["epochs_file"].drop_nulls().to_list())

    def seal(self) -> None:
        """Note what is here, so that what goes missing is told; nothing where it cannot write."""
        with contextlib.suppress(OSError, StorageError):
            self._seals.write()

    def tell_losses(self) -> None:
        """Warn (`StoreDamage`) of runs, stages and plans that were here once and are not any more.

        One warning for each of the three; `rows` tells those of its own kind.
        """
        for folder in SEALED:
            self._seals.warn_of_loss(folder)

    def tidy(self) -> None:
        """At the end of a command: `seal`, and `compact` when many rows are in no segment.

        Does nothing where it cannot write.
        """
        self.seal()
        with contextlib.suppress(StorageError):
            covered = self._segments.covered("runs")
            if sum(e.path not in covered for e in self._rows.entries("runs")) > LOOSE:
                self.compact()

    def sweep(self) -> None:
        """Remove what dead processes have left; does nothing where it cannot write."""
        with contextlib.suppress(OSError, StorageError):
            self._upkeep.sweep()

    def verify(self, others: Iterable[Finding] = ()) -> "list[Problem]":
        """Read everything; what is damaged or missing, with the reason. Changes nothing.

        Args:
            others: what other rooms have found in their folders.
        """
        return [finding.problem for finding in self._findings(others)]

    def repair(self, others: Iterable[Finding] = ()) -> "list[Problem]":
        """Move what is damaged to `quarantine/`, so that it counts as missing and is done again.

        What a segment still holds is restored instead. What was here once and is lost is not
        missed any more.

        Args:
            others: what other rooms have found in their folders.

        Returns:
            What `verify` would have found; the reason also says what was done.
        """
        mended = []
        for damaged, mend in list(self._findings(others)):
            with saving(self._files, f"the repair of {damaged.path}"):
                mended.append(damaged._replace(reason=f"{damaged.reason}; {mend()}"))
        with saving(self._files, "the note of what is gone"):
            self._upkeep.forget_losses()
        self._forget()
        return mended

    def _findings(self, others: Iterable[Finding]) -> Iterator[Finding]:
        mark = _mark.finding(self._files)
        every = itertools.chain([mark] if mark else [], self._upkeep.findings(), others)
        for finding in every:
            yield closed(self._files, finding.problem.path) or finding

    def set_aside(self, path: str) -> None:
        """Move a damaged file to `quarantine/`; nothing happens when it is gone."""
        with saving(self._files, path), contextlib.suppress(FileNotFoundError):
            set_aside(self._files, path)

    # ---- bytes

    def read_bytes(self, path: str) -> bytes:
        """All bytes of a file; OSError when it cannot be read."""
        return self._files.read(path)

    def write_bytes(self, path: str, data: bytes) -> None:
        """Write a file whole and durably, in place of an older one.

        Raises:
            StorageError: it was not written.
        """
        with saving(self._files, path):
            self._files.write(path, data)

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
        return self._plans.names(checked_label(kind))

    def list(self, prefix: str) -> "list[str]":
        """Paths of all files at any depth below a folder, sorted."""
        with reading(self._files):
            return self._files.names(prefix)
