"""What a place for files has to offer so that a store can be in it, and what all such places share.

Paths are relative, in POSIX form. A file appears under its name complete or not at all. Names that
begin with a dot belong to the place itself (files being written) and are never listed.
"""

import contextlib
import os
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import Protocol

from deep_clustering.platform._disk import FileState, Lock, attempt
from deep_clustering.platform.errors import InputError, StorageError, storage_error


class Files(Protocol):
    """Files at one place: a backend of the store. `_backends` finds it by the address."""

    #: How many files are worth reading at once.
    readers: int

    @property
    def where(self) -> str:
        """What a person calls this place; shows no secrets."""

    @property
    def root(self) -> Path | None:
        """The folder on this machine that the paths are in; None when there is none."""

    def read(self, path: str) -> bytes:
        """All bytes of a file; OSError when it cannot be read."""

    def write(self, path: str, data: bytes, *, exclusive: bool = False) -> None:
        """Write a file whole and durably, replacing an older one unless `exclusive`.

        Of several exclusive writers of one name, one succeeds.

        Raises:
            FileExistsError: `exclusive`, and the file is there.
            OSError: nothing was acknowledged.
        """

    def exists(self, path: str) -> bool:
        """Whether there is such a file or folder."""

    def size(self, path: str) -> int:
        """Bytes of a file; FileNotFoundError when there is none."""

    def modified(self, path: str) -> float:
        """When a file was written, seconds since 1970."""

    def state(self, path: str) -> FileState | None:
        """What changes when the file does; None when that cannot be known without reading it."""

    def names(self, folder: str) -> list[str]:
        """All files at any depth below a folder, sorted; none when there is no such folder."""

    def delete(self, path: str) -> None:
        """Remove a file, or a folder with all that is in it, if it is there."""

    def delete_files(self, paths: Iterable[str]) -> None:
        """Remove files of one folder, as far as they are there; durably once all are gone."""

    def move(self, path: str, to: str) -> None:
        """Give a file another name."""

    def sync(self, folder: str) -> None:
        """Make the names in a folder durable."""

    def sweep(self) -> list[str]:
        """Remove what writers that are gone have left half-written; returns the names."""

    def probe(self) -> None:
        """Write, sync and remove a file; raises OSError when the place cannot be written."""

    def lock(self, path: str) -> Lock | None:
        """The lock on a file, or None when another process has it.

        Where there are no locks: `Lock()`, which locks nothing.
        """


def checked(path: str) -> str:
    """A path that stays inside the store.

    Raises:
        InputError: it is absolute, empty, hidden or climbs out.
    """
    parts = PurePosixPath(path).parts
    if not parts or path.startswith("/") or "\\" in path or "\0" in path:
        raise InputError(f"a path in a store is relative and in POSIX form, got {path!r}.")
    if any(p.startswith(".") for p in parts):
        raise InputError(f"a path in a store has no part that begins with a dot, got {path!r}.")
    return "/".join(parts)


def inside(path: str) -> bool:
    """Whether a path that a file of the store names stays inside the store."""
    try:
        return checked(path) == path
    except InputError:
        return False


@contextlib.contextmanager
def saving(files: Files, what: str) -> Iterator[None]:
    """Turns what the system says about a write into a sentence about `what`.

    `FileExistsError` passes: it is the answer to an exclusive write.
    """
    try:
        yield
    except FileExistsError:
        raise
    except OSError as error:
        raise storage_error(error, files.where, what) from error


def unreadable(what: str, error: OSError) -> StorageError:
    """The sentence for a file or a store that cannot be looked at.

    Args:
        what: such as "the store PLACE".
        error: what the system said.
    """
    text = os.strerror(error.errno) if error.errno else (str(error).splitlines() or ["?"])[0]
    then = "; have it made readable for you, or name another store with --store"
    return StorageError(f"cannot read {what} ({text}){then * isinstance(error, PermissionError)}.")


@contextlib.contextmanager
def reading(files: Files) -> Iterator[None]:
    """Turns what the system says about a look into the store into a sentence."""
    try:
        yield
    except OSError as error:
        raise unreadable(f"the store {files.where}", error) from error


def set_aside(files: Files, path: str, *, copy: bool = False) -> str:
    """Move (or `copy`) a damaged file to `quarantine/`, and say where; none is ever deleted."""
    to = f"quarantine/{attempt()}.{path.replace('/', '.')}"
    if copy:
        files.write(to, files.read(path))
    else:
        files.move(path, to)
    return to
