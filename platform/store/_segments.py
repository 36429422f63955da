"""Copies of many small files in one, which make reading quick and are never needed.

`segments/<kind>-<hash>.parquet` holds the rows of up to some thousands of files. Beside every row
stands the file it comes from; the first row of a file also carries the file itself, so that a
damaged one can be restored byte for byte.
"""

import contextlib
import hashlib
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor

import polars as pl

from deep_clustering.platform.store import schema
from deep_clustering.platform.store._files import Files, reading
from deep_clustering.platform.store.schema import Damaged, NewerSchema

#: A segment of this many files is left as it is; smaller ones are merged.
FULL = 4096


def short(data: bytes) -> str:
    """Sixteen hex digits that name a content."""
    return hashlib.sha256(data).hexdigest()[:16]


def id_in(path: str) -> str:
    """The id that a file's name begins with."""
    return path.split("/")[1].partition(".")[0]


def pool(files: Files) -> ThreadPoolExecutor:
    """Threads to read files with."""
    return ThreadPoolExecutor(files.readers)


class Segments:
    """The segments of a store. What they hold is immutable, so it is remembered."""

    def __init__(self, files: Files) -> None:
        self._files = files
        self._contents: dict[str, frozenset[str]] = {}
        self._frames: dict[str, pl.DataFrame] = {}

    def names(self, kind: str) -> list[str]:
        """The segments of a kind ("runs" or "epochs")."""
        prefix = f"segments/{kind}-"
        with reading(self._files):
            names = [p for p in self._files.names("segments") if p.startswith(prefix)]
        for gone in [n for n in self._contents if n.startswith(prefix) and n not in names]:
            del self._contents[gone]
            self._frames.pop(gone, None)
        return names

    def _files_of(self, name: str, kind: str) -> frozenset[str]:
        """The files that a segment holds; none when it is damaged or just gone."""
        if name not in self._contents:
            frame = self.read(name, kind, ["__file"])
            if frame is None:
                return frozenset()
            self._contents[name] = frozenset(frame["__file"])
        return self._contents[name]

    def covered(self, kind: str) -> set[str]:
        """All files that are in a segment."""
        return set().union(*(self._files_of(name, kind) for name in self.names(kind)))

    def read(self, name: str, kind: str, columns: Sequence[str] | None) -> pl.DataFrame | None:
        """A segment's rows: some columns, all (), or all but the original files (None).

        Returns:
            None when the segment is damaged, newer or gone.
        """
        with contextlib.suppress(OSError, Damaged, NewerSchema):
            data = self._files.read(name)
            schema.check(data, name, kind)
            if columns is None:
                columns = [c for c in schema.columns_of(data, name) if c != "__bytes"]
            return schema.decode(data, name, kind, columns or None, checked=True)
        return None

    def rows(self, kind: str, paths: Iterable[str]) -> tuple[list[pl.DataFrame], set[str]]:
        """What segments hold of some files, and the files that none of them holds."""
        frames, missing = [], set(paths)
        for name in self.names(kind) if missing else ():
            files = self._files_of(name, kind)
            wanted = missing & files
            if not wanted:
                continue
            frame = self._frames.get(name)
            if frame is None:
                frame = self.read(name, kind, None)
                if frame is None:
                    continue
                if kind == "runs":  # small, and asked for often
                    self._frames[name] = frame
            if len(wanted) < len(files):
                frame = frame.filter(pl.col("__file").is_in(list(wanted)))
            frames.append(frame.drop("__file", "__digest"))
            missing -= wanted
        return frames, missing

    def original(self, path: str) -> bytes | None:
        """The bytes that a segment holds of a file.

        Raises:
            OSError: a segment cannot be read just now; it may hold them.
        """
        kind = path.partition("/")[0]
        for name in self.names(kind):
            with contextlib.suppress(FileNotFoundError, Damaged, NewerSchema):
                data = self._files.read(name)
                frame = schema.decode(data, name, kind, ["__file", "__bytes"])
                copies = frame.filter(pl.col("__file") == path)["__bytes"].drop_nulls()
                if len(copies):
                    return bytes(copies[0])
        return None

    def forget(self, path: str) -> None:
        """Remove segments that hold an earlier file under a path that is about to be written."""
        kind = path.partition("/")[0]
        for name in self.names(kind):
            if path in self._files_of(name, kind):
                self._files.delete(name)

    def build(self, kind: str, paths: Sequence[str]) -> None:
        """Bring some files into segments, together with what small segments hold of them.

        New segments are durable before old ones go, and the files stay: it can be killed anywhere,
        and two at once do no harm.
        """
        contents = {name: self._files_of(name, kind) for name in self.names(kind)}
        small = [name for name, files in contents.items() if len(files) < FULL]
        settled = set().union(*(files for files in contents.values() if len(files) >= FULL))
        todo = [p for p in paths if p not in settled]
        left = set(todo)
        if len(small) <= 1 and left <= set().union(*(contents[name] for name in small)):
            return
        blocks = []
        for name in small:
            frame = self.read(name, kind, ())
            if frame is not None:
                blocks.append(frame.filter(pl.col("__file").is_in(list(left))))
                left -= contents[name]
        with pool(self._files) as threads:
            frames = threads.map(self._tagged, [p for p in todo if p in left])
            blocks += [frame for frame in frames if frame is not None]
        written = self._write(kind, schema.union(blocks, kind)) if blocks else []
        for name in small:
            if name not in written:
                self._files.delete(name)

    def _write(self, kind: str, rows: pl.DataFrame) -> list[str]:
        written = []
        files = rows.select(pl.col("__file").unique(maintain_order=True))
        for some in files.iter_slices(FULL):
            part = rows.join(some, on="__file", how="semi", maintain_order="left")
            data = schema.encode(kind, part.to_arrow(compat_level=pl.CompatLevel.oldest()))
            written.append(f"segments/{kind}-{short(data)}.parquet")
            self._files.write(written[-1], data)
        return written

    def _tagged(self, path: str) -> pl.DataFrame | None:
        """A sound file's rows with where they come from and, in the first, the file itself."""
        with contextlib.suppress(OSError, Damaged, NewerSchema):
            data = self._files.read(path)
            frame = schema.decode(data, path, path.partition("/")[0])
            if frame.height and frame["run_id"][0] == id_in(path):
                first = pl.int_range(pl.len()) == 0
                return frame.with_columns(
                    pl.lit(path).alias("__file"),
                    pl.lit(short(data)).alias("__digest"),
                    pl.when(first).then(pl.lit(data)).alias("__bytes"),
                )
        return None
