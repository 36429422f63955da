"""Backends in the memory of this process: one of an own kind, and an object store."""

import time
from collections import defaultdict
from collections.abc import Iterable
from typing import ClassVar

from obstore.store import MemoryStore

from deep_clustering.platform._disk import FileState, Lock
from deep_clustering.platform.store._backends import Connection
from deep_clustering.platform.store._files import checked
from deep_clustering.platform.store._remote import RemoteFiles

#: Address -> path -> content and time of writing. A second connection finds what the first wrote.
_PLACES: defaultdict[str, dict[str, tuple[bytes, float]]] = defaultdict(dict)


class MemoryFiles:
    """A dictionary as `Files`; its writes are exclusive, as in a folder."""

    readers = 1
    root = None

    def __init__(self, where: str) -> None:
        self.where = where

    @property
    def _content(self) -> dict[str, tuple[bytes, float]]:
        return _PLACES[self.where]

    def read(self, path: str) -> bytes:
        return self._file(path)[0]

    def _file(self, path: str) -> tuple[bytes, float]:
        if checked(path) not in self._content:
            raise FileNotFoundError(2, "no such file", path)
        return self._content[path]

    def write(self, path: str, data: bytes, *, exclusive: bool = False) -> None:
        if exclusive and checked(path) in self._content:
            raise FileExistsError(17, "exists", path)
        self._content[checked(path)] = bytes(data), time.time()

    def exists(self, path: str) -> bool:
        return checked(path) in self._content or bool(self.names(path))

    def size(self, path: str) -> int:
        return len(self._file(path)[0])

    def modified(self, path: str) -> float:
        return self._file(path)[1]

    def state(self, path: str) -> FileState | None:
        return None

    def names(self, folder: str) -> list[str]:
        return sorted(path for path in self._content if path.startswith(f"{checked(folder)}/"))

    def delete_files(self, paths: Iterable[str]) -> None:
        for path in paths:
            self.delete(path)

    def delete(self, path: str) -> None:
        for name in [checked(path), *self.names(path)]:
            self._content.pop(name, None)

    def move(self, path: str, to: str) -> None:
        self.write(to, self.read(path))
        self.delete(path)

    def sync(self, folder: str) -> None:
        pass

    def sweep(self) -> list[str]:
        return []

    def probe(self) -> None:
        pass

    def lock(self, path: str) -> Lock | None:
        return Lock()


class ObjectsInMemory(RemoteFiles):
    """An object store in the memory of this process, which finds it again under its name."""

    _stores: ClassVar[defaultdict[str, MemoryStore]] = defaultdict(MemoryStore)

    def __init__(self, name: str) -> None:
        super().__init__(self._stores[name], name)

    def __reduce__(self) -> tuple[type["ObjectsInMemory"], tuple[str]]:
        return ObjectsInMemory, (self.where,)


def connect(uri: str) -> Connection:
    """What `BACKENDS["memory"]` is while a test uses it."""
    return Connection(MemoryFiles(uri), uri)
