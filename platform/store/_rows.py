"""Reading a store's rows and the tables they name, whatever is damaged, gone or half-done."""

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import polars as pl

from deep_clustering.platform._disk import FileState
from deep_clustering.platform.store import schema
from deep_clustering.platform.store._damage import problem, warn
from deep_clustering.platform.store._files import Files, inside, reading, unreadable
from deep_clustering.platform.store._segments import Segments, id_in, pool, short
from deep_clustering.platform.store.schema import Damaged, NewerSchema

#: Up to so many tables are read from their own files although a segment holds them too.
_FEW = 16
#: For more ids than that, all names are listed.
_LISTED = 64
_ROW = re.compile(
    r"(?:runs|stages)/(?P<id>[a-z0-9][a-z0-9_-]{0,63})"
    r"\.(?:ok|failed-(?P<failure>\d+))(?:/(?P<attempt>[0-9a-f-]+))?\.parquet"
)

#: The digest of a table's file in its name, and so in the row that names it.
_DIGEST = re.compile(r"\.([0-9a-f]{16})\.parquet$")

#: The tables that a run may have beside its row.
TABLES = ("epochs", "predictions", "probabilities")


class Entry(NamedTuple):
    """A row's file, as its name tells."""

    path: str
    id: str
    failure: int | None  # None: a result
    attempt: str

    @property
    def name(self) -> str:
        """The path without the attempt that object stores have in it."""
        what = "ok" if self.failure is None else f"failed-{self.failure}"
        return f"{self.path.partition('/')[0]}/{self.id}.{what}.parquet"


def entry(path: str) -> Entry | None:
    """What a name says; None when it is not one of a row."""
    match = _ROW.fullmatch(path)
    if match is None:
        return None
    failure = match["failure"]
    number = None if failure is None else int(failure)
    return Entry(path, match["id"], number, match["attempt"] or "")


class Part(NamedTuple):
    """A file that a row names."""

    kind: str  # one of `TABLES`, "model" or "artefact"
    path: str
    sha256: str | None  # None: a table, whose checksum is in its own file


def parts(row: Mapping[str, Any]) -> Iterator[Part]:
    """The files that a row names."""
    for table in TABLES:
        if path := row.get(f"{table}_file"):
            yield Part(table, path, None)
    if path := row.get("model_file"):
        yield Part("model", path, row["model_sha256"])
    files, sums = row.get("artefact_files") or (), row.get("artefact_sha256") or ()
    yield from (Part("artefact", path, sha256) for path, sha256 in zip(files, sums, strict=True))


class Rows:
    """The rows of a store."""

    def __init__(self, files: Files, segments: Segments) -> None:
        self._files, self._segments = files, segments
        self._sound: dict[str, FileState] = {}  # path -> its state when it was last verified
        self._refused: dict[str, PermissionError] = {}  # path -> why it could not be looked at

    def entries(self, kind: str) -> list[Entry]:
        """All files of rows of a kind, "runs" or "stages"; stray files are passed over."""
        with reading(self._files):
            return [e for e in map(entry, self._files.names(kind)) if e is not None]

    def entries_of(self, kind: str, ids: Collection[str]) -> list[Entry]:
        """Those of some ids; of a few of them without a look at all others."""
        if len(ids) > _LISTED:
            return [e for e in self.entries(kind) if e.id in ids]
        with reading(self._files):
            found = [(*self.results(kind, id), *self._lost(kind, id)) for id in ids]
        return [e for paths in found for e in map(entry, paths) if e is not None]

    def _lost(self, kind: str, id: str) -> Iterator[str]:
        """Paths of an id's attempts without a result; one of them may have been set aside."""
        number = absent = 0
        while absent < 2:
            name = f"{kind}/{id}.failed-{number}"
            plain = [f"{name}.parquet"] if self._files.exists(f"{name}.parquet") else []
            found = plain or self._files.names(name)
            yield from found
            number, absent = number + 1, 0 if found else absent + 1

    def results(self, kind: str, id: str) -> list[str]:
        """Paths of an id's results, the one that counts first."""
        with reading(self._files):
            plain = f"{kind}/{id}.ok.parquet"
            paths = [plain] if self._files.exists(plain) else []
            return paths + [p for p in self._files.names(f"{kind}/{id}.ok") if entry(p)]

    def result(self, kind: str, id: str) -> str | None:
        """Path of the row that is an id's result; None without a sound one."""
        for path in self.results(kind, id):
            if self.sound(path) or path in self._segments.covered(kind):
                return path
        return None

    def finished(self, kind: str, ids: Collection[str] | None = None) -> set[str]:
        """Ids with a sound result; of some only where these are given."""
        if ids is not None and len(ids) <= _LISTED:
            return {id for id in ids if self.result(kind, id) is not None}
        covered = self._segments.covered(kind)
        entries = [e for e in self.entries(kind) if e.failure is None]
        known = {e.id for e in entries if e.path in covered}
        rest = [e for e in entries if e.id not in known]
        with pool(self._files) as threads:
            sound = threads.map(self.sound, [e.path for e in rest])
            found = known | {e.id for e, good in zip(rest, sound, strict=True) if good}
        return found if ids is None else found & set(ids)

    def see_all(self, ids: Collection[str]) -> None:
        """Stop where results of some ids are there and were not for us to read.

        Raises:
            StorageError: so it is; they would be computed anew, and in vain.
        """
        for path, error in self._refused.items():
            if id_in(path) in ids:
                raise unreadable(path, error)

    def sound(self, path: str) -> bool:
        """Whether a row's file is what was written; looked at again only when it changed."""
        now = self._files.state(path)
        if now is not None and self._sound.get(path) == now:
            return True
        try:
            self.read(path, [_key(path)])
        except FileNotFoundError:
            return False
        except (Damaged, NewerSchema, OSError) as error:
            if isinstance(error, PermissionError):
                self._refused[path] = error
            warn(problem(path, error))
            return False
        if now is not None:
            self._sound[path] = now
        return True

    def read(self, path: str, columns: Sequence[str] | None = None) -> pl.DataFrame:
        """The row in a file.

        Raises:
            Damaged, NewerSchema, OSError: it is not what was written, or cannot be read.
        """
        return self.decoded(path, self._files.read(path), columns)

    def decoded(self, path: str, data: bytes, columns: Sequence[str] | None = None) -> pl.DataFrame:
        """The row that some bytes are, if they belong under a name.

        Raises:
            Damaged, NewerSchema: they are not what was written there.
        """
        frame = schema.decode(data, path, path.partition("/")[0], columns)
        if frame.height != 1 or frame[_key(path)][0] != id_in(path):
            raise Damaged(path, "it holds another row than its name says")
        if columns is None:
            for part in parts(frame.row(0, named=True)):
                if not inside(part.path) or id_in(part.path) != id_in(path):
                    raise Damaged(path, f"it names a file that is not its own, {part.path!r}")
        return frame

    def row(self, path: str) -> dict[str, Any]:
        """A row with every core column, from its file or else from a segment."""
        kind = path.partition("/")[0]
        try:
            frame = self.read(path)
        except (Damaged, OSError):
            copies, _ = self._segments.rows(kind, {path})
            if not copies:
                raise
            frame = copies[0]
        return dict.fromkeys(schema.KINDS[kind]) | frame.row(0, named=True)

    def table(self, kind: str, ids: Collection[str] | None = None) -> pl.DataFrame:
        """One row per id: its result, or what its last attempt without one left."""
        choices: dict[str, list[Entry]] = {}
        for file in self.entries(kind) if ids is None else self.entries_of(kind, ids):
            choices.setdefault(file.id, []).append(file)
        for entries in choices.values():
            # Results before failures; the first result counts, and the last failure.
            entries.sort(key=lambda e: (e.failure is not None, -(e.failure or 0), e.attempt))
        frames: list[pl.DataFrame] = []
        while choices:
            some, bad = self._load(kind, [entries[0] for entries in choices.values()])
            frames += some
            choices = {id: choices[id][1:] for id in bad if choices[id][1:]}
        return schema.union(frames, kind)

    def _load(self, kind: str, entries: Iterable[Entry]) -> tuple[list[pl.DataFrame], list[str]]:
        """Rows of files, and the ids of those that could not be used."""
        ids = {e.path: e.id for e in entries}
        frames, missing = self._segments.rows(kind, ids)
        loose = [path for path in ids if path in missing]

        def read(path: str) -> pl.DataFrame | Damaged | NewerSchema | OSError:
            try:
                return self.read(path)
            except (Damaged, NewerSchema, OSError) as error:
                return error

        bad = []
        with pool(self._files) as threads:
            for path, answer in zip(loose, threads.map(read, loose), strict=True):
                if isinstance(answer, pl.DataFrame):
                    frames.append(answer)
                    continue
                bad.append(ids[path])
                if not isinstance(answer, FileNotFoundError):  # moved away since it was listed
                    warn(problem(path, answer))
        return frames, bad

    def tables(self, kind: str, paths: Sequence[str]) -> Iterator[pl.DataFrame]:
        """Tables that rows name, in pieces; damaged ones are left out with a warning."""
        missing = set(paths)
        if len(missing) > _FEW:
            frames, missing = self._segments.rows(kind, missing)
            yield from frames
        for path in paths:
            if path not in missing:
                continue
            try:
                yield self.one(kind, path)
            except (Damaged, NewerSchema, OSError) as error:
                warn(problem(path, error))

    def one(self, kind: str, path: str) -> pl.DataFrame:
        """The table in a file.

        Raises:
            Damaged, NewerSchema, OSError: it is not what was written, or cannot be read.
        """
        if not inside(path):
            raise Damaged(path, "it is no file of the store")
        data = self._files.read(path)
        frame = schema.decode(data, path, kind)
        digest = _DIGEST.search(path)  # earlier releases had none in the names of tables
        if digest is not None and digest[1] != short(data):
            raise Damaged(path, "it is not the table that its row names")
        if frame.height and frame["run_id"][0] != id_in(path):
            raise Damaged(path, "it holds another run than its name says")
        return frame


def _key(path: str) -> str:
    return "run_id" if path.startswith("runs/") else "stage_id"
