"""The moment in which a result exists: its files first, its row last and exclusively."""

import contextlib
from collections.abc import Iterable, Mapping
from typing import Any

from deep_clustering.platform.errors import StorageError
from deep_clustering.platform.store import schema
from deep_clustering.platform.store._files import Files, reading, set_aside, unreadable
from deep_clustering.platform.store._rows import Rows, parts
from deep_clustering.platform.store._segments import Segments
from deep_clustering.platform.store.schema import Damaged


class Commits:
    """Writes rows of runs and stages, each after the files that it names."""

    def __init__(self, files: Files, rows: Rows, segments: Segments) -> None:
        self._files, self._rows, self._segments = files, rows, segments

    def result(self, kind: str, id: str, data: bytes, before: Mapping[str, bytes]) -> bool:
        """Write the row that makes a result exist; False when another one was there first.

        Args:
            kind: "runs" or "stages".
            id: of the run or stage.
            data: the file of the row.
            before: path -> content of the files that the row names.
        """
        path = f"{kind}/{id}.ok.parquet"
        while not self._write_row(path, data, before):
            if self._rows.result(kind, id) is not None:
                return False
            self.make_way(path)
        return True

    def failure(self, id: str, number: int, data: bytes, before: Mapping[str, bytes]) -> None:
        """Write the row of an attempt at a run without a result, under the first free number."""
        while not self._write_row(f"runs/{id}.failed-{number}.parquet", data, before):
            number += 1

    def failures_of(self, id: str) -> int:
        """How many attempts without a result are on record; the next one's number."""
        number = 0
        with reading(self._files):
            while self._files.exists(f"runs/{id}.failed-{number}.parquet"):
                number += 1
        return number

    def _write_row(self, path: str, data: bytes, before: Mapping[str, bytes]) -> bool:
        """Write a row after the files that it names; False when its name was taken."""
        try:
            for other, content in before.items():
                self._files.write(other, content)
            self._segments.forget(path)
            self._files.write(path, data, exclusive=True)
        except FileExistsError:
            return False
        except (OSError, StorageError):
            with contextlib.suppress(OSError):
                # When only the sync of its folder failed, the row is there and needs its files.
                if not self._files.exists(path):
                    self._discard(before)
            raise
        return True

    def make_way(self, path: str) -> None:
        """Put a damaged result aside, so that a new one can take its name.

        Raises:
            NewerSchema: it is not damaged; this release cannot read it.
            OSError, StorageError: it could not be read just now, or by us.
        """
        try:
            self._rows.read(path)
        except FileNotFoundError:
            return
        except PermissionError as error:
            raise unreadable(path, error) from error
        except Damaged:
            with contextlib.suppress(FileNotFoundError):
                self._put_back_if_sound(path, set_aside(self._files, path))

    def _put_back_if_sound(self, path: str, aside: str) -> None:
        """Undo a move that met what another writer had just put in place of a damaged row."""
        data = self._files.read(aside)
        with contextlib.suppress(Damaged, FileExistsError):
            self._rows.decoded(path, data)
            self._files.write(path, data, exclusive=True)

    def discard_unnamed(self, kind: str, id: str, paths: Iterable[str]) -> None:
        """Remove those files of an attempt that the result of another one does not name as well."""
        with contextlib.suppress(OSError, StorageError):
            rows = [self._rows.row(path) for path in self._rows.results(kind, id)]
            named = {part.path for row in rows for part in parts(row)}
            self._discard(path for path in paths if path not in named)

    def _discard(self, paths: Iterable[str]) -> None:
        """Remove files that no row names; what stays is swept later."""
        for path in paths:
            with contextlib.suppress(OSError):
                self._files.delete(path)


def row_file(kind: str, row: Mapping[str, Any]) -> bytes:
    """The file of a row, read back once: a writer's mistake must not become a result."""
    data = schema.encode(kind, schema.row_table(kind, row))
    schema.decode(data, kind, kind)
    return data
