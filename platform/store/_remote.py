"""The files of a store in an object store, such as S3."""

import contextlib
import errno
from collections.abc import Iterator

import pyarrow as pa
import pyarrow.fs as pafs

from deep_clustering.platform._disk import FileState, Lock, attempt
from deep_clustering.platform.store._files import checked


class RemoteFiles:
    """Files below a prefix of any `pyarrow.fs.FileSystem`, an object store as a rule.

    One write of the whole value from memory. There is no conditional write in that interface, so
    `exclusive` only looks first, and another writer may come between; the store gives every attempt
    a name of its own instead. An upload that breaks off may publish a part of the object, which a
    reader notices by its checksum.
    """

    exclusive = False
    readers = 16  # every answer takes long
    root = None

    def __init__(self, filesystem: pafs.FileSystem, prefix: str, where: str) -> None:
        self._filesystem, self._prefix, self.where = filesystem, prefix.rstrip("/"), where

    def _place(self, path: str) -> str:
        return f"{self._prefix}/{checked(path)}" if self._prefix else checked(path)

    def read(self, path: str) -> bytes:
        """All bytes of a file."""
        with _as_oserror(), self._filesystem.open_input_file(self._place(path)) as file:
            return bytes(file.read())

    def write(self, path: str, data: bytes, *, exclusive: bool = False) -> None:
        """Write a file in one go."""
        place = self._place(path)
        if exclusive and self.exists(path):
            raise FileExistsError(errno.EEXIST, "exists", place)
        with _as_oserror():
            try:
                file = self._filesystem.open_output_stream(place)
            except FileNotFoundError:
                self._filesystem.create_dir(place.rpartition("/")[0], recursive=True)
                file = self._filesystem.open_output_stream(place)
            file.write(data)
            file.close()

    def _info(self, path: str) -> pafs.FileInfo:
        with _as_oserror():
            return self._filesystem.get_file_info(self._place(path))

    def exists(self, path: str) -> bool:
        """Whether there is such a file or folder."""
        return bool(self._info(path).type != pafs.FileType.NotFound)

    def size(self, path: str) -> int:
        """Bytes of a file."""
        info = self._info(path)
        if info.type != pafs.FileType.File:
            raise FileNotFoundError(errno.ENOENT, "no such file", self._place(path))
        return int(info.size)

    def modified(self, path: str) -> float:
        """When a file was written, seconds since 1970."""
        return (self._info(path).mtime_ns or 0) / 1e9

    def state(self, path: str) -> FileState | None:
        """None: an object has to be read to be sure of it."""
        return None

    def names(self, folder: str) -> list[str]:
        """All files at any depth below a folder, sorted; none when there is no such folder."""
        selector = pafs.FileSelector(self._place(folder), recursive=True, allow_not_found=True)
        with _as_oserror():
            infos = self._filesystem.get_file_info(selector)
        skip = len(self._prefix) + 1 if self._prefix else 0
        names = (i.path[skip:] for i in infos if i.type == pafs.FileType.File)
        return sorted(n for n in names if not any(p.startswith(".") for p in n.split("/")))

    def delete(self, path: str) -> None:
        """Remove a file, or a folder with all that is in it."""
        kind = self._info(path).type
        with _as_oserror(), contextlib.suppress(FileNotFoundError):
            if kind == pafs.FileType.Directory:
                self._filesystem.delete_dir(self._place(path))
            elif kind == pafs.FileType.File:
                self._filesystem.delete_file(self._place(path))

    def move(self, path: str, to: str) -> None:
        """Copy, then delete: there is no rename in an object store."""
        self.write(to, self.read(path))
        self.delete(path)

    def sync(self, folder: str) -> None:
        """An object store acknowledges only what is durable."""

    def sweep(self) -> list[str]:
        """Nothing is ever half-done under a name of its own here."""
        return []

    def probe(self) -> None:
        """Write and remove an object."""
        name = f"probe-{attempt()}"
        self.write(name, b"probe")
        self.delete(name)

    def lock(self, path: str) -> Lock | None:
        """Always granted: two commands may compute the same thing, and the first commit stays."""
        return Lock()


@contextlib.contextmanager
def _as_oserror() -> Iterator[None]:
    try:
        yield
    except pa.ArrowException as error:
        raise OSError(str(error)) from error
