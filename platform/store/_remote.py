"""The files of a store in an object store, such as S3."""

import contextlib
import errno
import re
import secrets
import time
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, TypeVar

import obstore
from obstore.exceptions import (
    AlreadyExistsError,
    BaseError,
    GenericError,
    PermissionDeniedError,
    UnauthenticatedError,
)

from deep_clustering.platform._disk import FileState, Lock, attempt
from deep_clustering.platform.store._files import checked

if TYPE_CHECKING:
    from obstore.store import ObjectStore

T = TypeVar("T")

#: How often a request is made before its failure counts, and the first pause between two, seconds;
#: each further pause is twice as long.
_TRIES, _PAUSE = 8, 0.1
#: The attribute of an object that says who wrote it.
_WRITER = "writer"


class RemoteFiles:
    """Objects below a prefix, which `store` is bound to.

    One conditional PUT of the whole value commits, so that of several writers one succeeds. A lost
    reply leaves open whether it did: the request is made again, and when the object is there by
    then, its attribute and content tell whether this writer wrote it.
    """

    readers = 16  # every answer takes long
    root = None

    def __init__(self, store: "ObjectStore", where: str) -> None:
        self._store, self.where = store, where

    def read(self, path: str) -> bytes:
        """All bytes of a file."""
        name = checked(path)
        return _again(lambda: bytes(obstore.get(self._store, name).bytes()))

    def write(self, path: str, data: bytes, *, exclusive: bool = False) -> None:
        """Write a file in one request, replacing an older one unless `exclusive`."""
        name, writer = checked(path), attempt()

        def put() -> None:
            try:
                obstore.put(
                    self._store,
                    name,
                    data,
                    attributes={_WRITER: writer},
                    mode="create" if exclusive else "overwrite",
                    use_multipart=False,
                )
            except AlreadyExistsError as error:
                if not exclusive:  # 409: another writer was at it, and nothing is written yet
                    raise _Undecided(str(error)) from error
                if not self._wrote(name, writer, data):
                    raise FileExistsError(errno.EEXIST, "exists", name) from error

        _again(put)

    def _wrote(self, name: str, writer: str, data: bytes) -> bool:
        """Whether the object that is in the way is what this writer has just written.

        Raises:
            _Undecided: there is none; another writer was at it (409).
        """
        try:
            found = obstore.get(self._store, name)
            return found.attributes.get(_WRITER) == writer and bytes(found.bytes()) == data
        except FileNotFoundError as error:
            raise _Undecided(str(error)) from error

    def exists(self, path: str) -> bool:
        """Whether there is such a file or folder."""
        try:
            self._head(path)
        except FileNotFoundError:
            return bool(self.names(path))
        return True

    def _head(self, path: str) -> "obstore.ObjectMeta":
        name = checked(path)
        return _again(lambda: obstore.head(self._store, name))

    def size(self, path: str) -> int:
        """Bytes of a file."""
        return self._head(path)["size"]

    def modified(self, path: str) -> float:
        """When a file was written, seconds since 1970."""
        return self._head(path)["last_modified"].timestamp()

    def state(self, path: str) -> FileState | None:
        """None: an object has to be read to be sure of it."""
        return None

    def names(self, folder: str) -> list[str]:
        """All files at any depth below a folder, sorted; none when there is no such folder."""
        prefix = checked(folder)
        found = _again(lambda: obstore.list(self._store, prefix).collect())
        names = (meta["path"] for meta in found)
        return sorted(n for n in names if not any(p.startswith(".") for p in n.split("/")))

    def delete(self, path: str) -> None:
        """Remove a file, or a folder with all that is in it."""
        for name in [checked(path), *self.names(path)]:
            with contextlib.suppress(FileNotFoundError):
                _again(lambda name=name: obstore.delete(self._store, name))  # type: ignore[misc]

    def delete_files(self, paths: Iterable[str]) -> None:
        """Remove files, as far as they are there."""
        for name in map(checked, paths):
            with contextlib.suppress(FileNotFoundError):
                _again(lambda name=name: obstore.delete(self._store, name))  # type: ignore[misc]

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
        """Write and remove an object; see that the server knows conditional writes.

        Raises:
            OSError: it cannot be written, or a second exclusive write replaced the first.
        """
        name = f"probe-{attempt()}"
        self.write(name, b"first", exclusive=True)
        try:
            with contextlib.suppress(FileExistsError):
                self.write(name, b"second", exclusive=True)
                raise OSError(
                    "it ignores conditional writes (If-None-Match), without which two commands "
                    "could both commit one run"
                )
        finally:
            self.delete(name)

    def lock(self, path: str) -> Lock | None:
        """Always granted: two commands may compute the same thing, and the first commit stays."""
        return Lock()


class _Undecided(Exception):
    """The outcome of a request is open; it has to be made again."""


def _again(request: Callable[[], T]) -> T:
    """The answer to a request, which is made again as long as a further try may help.

    Raises:
        OSError: what was wrong in the end, in a line.
    """
    for number in range(_TRIES):
        try:
            with _as_oserror():
                return request()
        except _Undecided as error:
            if number == _TRIES - 1:
                raise OSError(str(error)) from error
        time.sleep(_PAUSE * 2**number * (0.5 + secrets.randbelow(1000) / 1000))
    raise AssertionError("the last try returns or raises")


@contextlib.contextmanager
def _as_oserror() -> Iterator[None]:
    """Turns what obstore raises into OSError, or `_Undecided` where a further try may help."""
    try:
        yield
    except (PermissionDeniedError, UnauthenticatedError) as error:
        raise PermissionError(errno.EACCES, _said(error)) from error
    except GenericError as error:
        status = re.search(r"status code: (\d+)", str(error))
        if status and int(status[1]) < 500 and int(status[1]) not in (408, 429):
            raise OSError(_said(error)) from error
        raise _Undecided(_said(error)) from error
    except BaseError as error:
        raise OSError(_said(error)) from error


def _said(error: Exception) -> str:
    """The first line of what obstore says, without the request's address and duration."""
    line = (str(error).splitlines() or [type(error).__name__])[0]
    return re.sub(r"Error performing (\w+) \S+ in \S+ - ", r"\1: ", line)
