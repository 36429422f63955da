"""Clean-up after dead processes, and the search for damage."""

import contextlib
import hashlib
import time
import warnings
from collections.abc import Callable, Iterator
from functools import partial

from deep_clustering.platform._disk import GIVEN_UP, attempt_in, given_up
from deep_clustering.platform.errors import StorageError
from deep_clustering.platform.store import schema
from deep_clustering.platform.store._damage import Finding, Problem, StoreDamage, problem
from deep_clustering.platform.store._files import Files, set_aside
from deep_clustering.platform.store._paths import Paths
from deep_clustering.platform.store._plans import Plans
from deep_clustering.platform.store._rows import TABLES, Part, Rows, parts
from deep_clustering.platform.store._seals import LOST, SEALED, Seals
from deep_clustering.platform.store._segments import Segments, id_in, short
from deep_clustering.platform.store.schema import Damaged, NewerSchema

#: The folder of the locks, under the name that other releases know as well.
LOCKS = "claims"


def closed(files: Files, path: str) -> Finding | None:
    """What is to be said of a file that somebody else keeps for himself: it may well be whole."""
    try:
        files.read(path)
    except PermissionError as error:
        return Finding(problem(path, error), _leave_to_owner)
    except OSError:
        return None
    return None


class Upkeep:
    """Cleans up after dead processes, looks for damage, mends it."""

    def __init__(
        self,
        files: Files,
        rows: Rows,
        segments: Segments,
        plans: Plans,
        seals: Seals,
        paths: Paths,
    ) -> None:
        self._files, self._rows, self._segments = files, rows, segments
        self._plans, self._seals, self._paths = plans, seals, paths

    # ---- after dead processes

    def sweep(self) -> None:
        """Remove files half-written, files that no row names, and locks that nobody holds."""
        self._files.sweep()
        self._sweep("runs", *TABLES, "models")
        self._sweep("stages", "artefacts")
        for path in self._files.names(LOCKS):
            if lock := self._files.lock(path):
                lock.release()

    def _sweep(self, home: str, *kinds: str) -> None:
        """Remove what no row names from the folders of the files that rows in `home` name."""
        listed = [self._files.names(kind) for kind in kinds]
        rows: dict[str, list[str]] = {}  # looked at after the files: a row comes after its files
        for entry in self._rows.entries(home):
            rows.setdefault(entry.id, []).append(entry.path)
        lost = {id_in(name) for name in self._seals.lost(home)}
        for paths in listed:
            by_id: dict[str, list[str]] = {}
            for path in paths:
                by_id.setdefault(id_in(path), []).append(path)
            for id, mine in by_id.items():
                if id not in lost:  # its row may come back; until then nobody knows what it names
                    self._sweep_one(mine, rows.get(id, []))

    def _sweep_one(self, paths: list[str], rows: list[str]) -> None:
        """Remove those files of an id that none of its rows names and nobody is writing."""
        if len(paths) == 1 and len(rows) == 1:
            return  # as it should be: one row, and the one file that it names
        dead = [path for path in paths if self._given_up(path)]
        if not dead:
            return
        try:
            named = {part.path for row in rows for part in parts(self._rows.row(row))}
        except (OSError, StorageError):
            return  # a row that cannot be read may name them
        for path in dead:
            if path not in named:
                self._files.delete(path)

    def _given_up(self, path: str) -> bool:
        if name := attempt_in(path):
            return given_up(name)
        return time.time() - self._files.modified(path) > GIVEN_UP

    # ---- damage

    def forget_losses(self) -> None:
        """Miss nothing any more of what is known to be gone or was set aside."""
        lost = [name for folder in SEALED for name in self._seals.lost(folder)]
        if lost:
            self._seals.forget(lost)

    def findings(self) -> Iterator[Finding]:
        """Everything that is damaged, missing or newer than this release."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", StoreDamage)
            for kind in ("runs", "stages"):
                for entry in self._rows.entries(kind):
                    yield from self._row(entry.path)
            for kind in ("runs", "epochs"):
                yield from self._copies(kind)
            for path in self._plans.damaged():
                yield self._to_set_aside(path, "plan", self._plans.one)
            for path in self._seals.damaged():
                yield self._to_set_aside(path, "note of what was here", self._seals.one)
            for path in self._paths.damaged():
                then = "; the next command that opens the folder writes it anew"
                yield self._to_set_aside(
                    path, "record of the names in a folder", self._paths.one, then
                )
            for folder in SEALED:
                for name in self._seals.lost(folder):
                    yield Finding(Problem(name, "missing", LOST), partial(self._mend_loss, name))

    def _row(self, path: str) -> Iterator[Finding]:
        try:
            row = self._rows.read(path).row(0, named=True)
        except FileNotFoundError:
            return
        except NewerSchema as error:
            yield Finding(problem(path, error), _leave)
            return
        except (Damaged, OSError) as error:
            yield Finding(problem(path, error), partial(self._mend_row, path))
            return
        for part in parts(row):
            try:
                self._read(part)
            except NewerSchema as error:
                yield Finding(problem(part.path, error), _leave)
            except (Damaged, OSError) as error:
                said = problem(part.path, error)
                said = said._replace(reason=f"{said.reason}, belongs to {path}")
                yield Finding(said, partial(self._mend_part, part, path))

    def _read(self, part: Part) -> None:
        if part.sha256 is None:
            self._rows.one(part.kind, part.path)
        elif hashlib.sha256(self._files.read(part.path)).hexdigest() != part.sha256:
            raise Damaged(part.path, "its checksum does not match")

    def _copies(self, kind: str) -> Iterator[Finding]:
        for name in self._segments.names(kind):
            frame = self._segments.read(name, kind, ["__file", "__digest"])
            if frame is None:
                damaged = Problem(name, "damaged", "damaged segment, a copy of other files")
                yield Finding(damaged, partial(self._drop, name))
                continue
            for path, digest in frame.unique().iter_rows():
                if self._differs(path, kind, digest):
                    outdated = Problem(name, "outdated", f"segment with an earlier {path}")
                    yield Finding(outdated, partial(self._drop, name))
                    break

    def _differs(self, path: str, kind: str, digest: str) -> bool:
        """Whether a sound file is another one than a segment has seen under its name."""
        try:
            data = self._files.read(path)
            schema.check(data, path, kind)
        except (OSError, StorageError):
            return False
        return short(data) != digest

    def _mend_row(self, path: str) -> str:
        """Put back what a segment remembers of a damaged row, or take it away."""
        if self._row_is_sound(path):
            return "it can be read again"
        data = self._segments.original(path) if path.startswith("runs/") else None
        if data is not None:
            return self._restore(path, data)
        set_aside(self._files, path)
        return "moved to quarantine/, so that it is done again"

    def _mend_part(self, part: Part, row: str) -> str:
        """Put back what a segment remembers of a damaged file, or take it away with its row."""
        with contextlib.suppress(Damaged, OSError):
            self._read(part)
            return "it can be read again"
        data = self._segments.original(part.path) if part.kind == "epochs" else None
        if data is not None:
            return self._restore(part.path, data)
        for bad in (part.path, row):
            with contextlib.suppress(FileNotFoundError):
                set_aside(self._files, bad)
        self._segments.forget(row)
        return "moved to quarantine/ with its row, so that it is done again"

    def _mend_loss(self, name: str) -> str:
        """Put back a row that a segment remembers, if all that it names is still there."""
        if self._files.exists(name):
            return "it is there again"
        data = self._segments.original(name) if name.startswith("runs/") else None
        if data is not None and self._complete(data, name):
            self._files.write(name, data)
            return "restored from a segment"
        return "not missed any more"

    def _complete(self, data: bytes, name: str) -> bool:
        """Whether all that a row names is there and sound."""
        try:
            row = schema.decode(data, name, name.partition("/")[0]).row(0, named=True)
            for part in parts(row):
                self._read(part)
        except (OSError, StorageError):
            return False
        return True

    def _row_is_sound(self, path: str) -> bool:
        with contextlib.suppress(Damaged, OSError):
            self._rows.read(path)
            return True
        return False

    def _restore(self, path: str, data: bytes) -> str:
        """Replace a damaged file in one step, so that a kill never leaves it absent."""
        with contextlib.suppress(FileNotFoundError):
            set_aside(self._files, path, copy=True)
        self._files.write(path, data)
        return "copied to quarantine/ and restored from a segment"

    def _drop(self, name: str) -> str:
        """A segment holds copies, so nothing is lost without it."""
        self._files.delete(name)
        return "removed; the files it copies are not concerned"

    def _to_set_aside(
        self, path: str, what: str, read: Callable[[str], object | None], then: str = ""
    ) -> Finding:
        """A damaged file without which all results are there; `read` gives None while it is."""

        def mend() -> str:
            if read(path) is not None:
                return "it can be read again"
            set_aside(self._files, path)
            return f"moved to quarantine/{then}"

        return Finding(Problem(path, "damaged", f"damaged {what}"), mend)


def _leave_to_owner() -> str:
    return "left as it is, until it is made readable for you"


def _leave() -> str:
    """What a newer release wrote is sound; it is for that release to read."""
    return "left as it is"
