"""What the files of a folder are called now: names belong to what was read last, not to a run.

The id of a run follows from pixels, so a folder whose files were renamed, moved or copied has the
runs that are there already, and their tables of predictions hold the names of before.
`paths/<fingerprint>.json` says where a command found the samples last; tables are read with these
names.
"""

import contextlib
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import NamedTuple

import polars as pl

from deep_clustering.platform.store._damage import problem, warn
from deep_clustering.platform.store._files import Files, reading
from deep_clustering.platform.store._json import decoded, encoded
from deep_clustering.platform.store._names import checked_id
from deep_clustering.platform.store._rows import Rows
from deep_clustering.platform.store._segments import id_in, short
from deep_clustering.platform.store.schema import Damaged


class Found(NamedTuple):
    """Where the samples of a dataset are."""

    dataset: str  # its name, "folder:" and a path
    paths: tuple[str, ...]  # per sample, relative to the folder


class Paths:
    """The names of a store's folders."""

    def __init__(self, files: Files, rows: Rows) -> None:
        self._files, self._rows = files, rows

    def note(self, fingerprint: str, found: Found) -> None:
        """Keep where samples were found, in place of what was known; OSError if it cannot."""
        path, data = _place(fingerprint), _encoded(found)
        with contextlib.suppress(OSError):  # there is none, or it is written anew
            if self._files.read(path) == data:
                return
        self._files.write(path, data)

    def of(self, fingerprint: str) -> Found | None:
        """Where samples were found last; None, with a warning, where that is damaged."""
        path = _place(fingerprint)
        try:
            return _decoded(path, self._files.read(path))
        except FileNotFoundError:
            return None
        except (Damaged, OSError) as error:
            then = "files have the names that they had when a run was computed"
            warn(problem(path, error), f"{then}, until a command opens their folder again")
            return None

    def damaged(self) -> list[str]:
        """Paths of records that are not what was written."""
        return [path for path in self._listed() if self.one(path) is None]

    def one(self, path: str) -> Found | None:
        """The record in a file; None when it is damaged or gone."""
        with contextlib.suppress(Damaged, OSError):
            return _decoded(path, self._files.read(path))
        return None

    def renamed(
        self, tables: Iterable[pl.DataFrame], files: Collection[str]
    ) -> Iterator[pl.DataFrame]:
        """Tables of predictions with the names that their samples have now.

        Args:
            tables: of one run each, as they were written.
            files: where they are from.
        """
        known = {path.removeprefix("paths/").removesuffix(".json") for path in self._listed()}
        if not known:
            yield from tables
            return
        rows = self._rows.table("runs", {id_in(file) for file in files}).select(
            "run_id", "dataset_fingerprint"
        )
        of_run = {run: dataset for run, dataset in rows.iter_rows() if dataset in known}
        found = {dataset: self.of(dataset) for dataset in set(of_run.values())}
        for table in tables:
            now = found.get(of_run.get(table["run_id"][0], "")) if table.height else None
            yield table if now is None else _with_names(table, now.paths)

    def _listed(self) -> list[str]:
        with reading(self._files):
            return [path for path in self._files.names("paths") if path.endswith(".json")]


def _with_names(table: pl.DataFrame, paths: Sequence[str]) -> pl.DataFrame:
    if "path" not in table.columns or table.filter(pl.col("sample") >= len(paths)).height:
        return table
    return table.with_columns(path=pl.Series(paths, dtype=pl.String).gather(table["sample"]))


def _place(fingerprint: str) -> str:
    return f"paths/{checked_id(fingerprint)}.json"


def _encoded(found: Found) -> bytes:
    body = found._asdict()
    return encoded({**body, "check": short(encoded(body))})


def _decoded(path: str, data: bytes) -> Found:
    """What a record says.

    Raises:
        Damaged: it is not what was written.
    """
    body = decoded(path, data)
    if body.pop("check", None) != short(encoded(body)):
        raise Damaged(path, "its checksum does not match")
    try:
        return Found(str(body["dataset"]), tuple(map(str, body["paths"])))
    except (KeyError, TypeError) as error:
        raise Damaged(path, "it holds no paths") from error
