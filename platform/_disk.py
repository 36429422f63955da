"""Files on a disk of this machine: whole, durable and exclusive writes, locks, renames.

A file appears under its name complete or not at all: it is written under a hidden name beside its
place, synced, read back, and only then given its name; the folder is synced last. What a killed
process leaves behind is a hidden file, whose name says who wrote it, so that `sweep` can remove it.

All functions raise OSError as the system does.
"""

import contextlib
import errno
import fcntl
import functools
import hashlib
import os
import re
import secrets
import socket
import stat
import time
import weakref
from pathlib import Path
from typing import NamedTuple

#: A file being written by a process of another machine counts as given up after this many seconds.
GIVEN_UP = 3600.0
#: What `link` says on file systems that have no hard links (exFAT, some FUSE).
_NO_LINKS = {errno.EPERM, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK}
#: What `flock` says on file systems that have no locks.
_NO_LOCKS = {errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS}
_ATTEMPT = re.compile(r"([0-9a-f]{16})-([0-9a-f]{8})-([0-9a-f]+)-[0-9a-f]{6}")


# ---- who is writing


@functools.cache
def _node() -> str:
    """Eight hex digits for this machine, this boot and this process namespace.

    Within it, a process id says whether a writer is still alive.
    """
    parts = [socket.gethostname()]
    with contextlib.suppress(OSError):
        parts.append(Path("/proc/sys/kernel/random/boot_id").read_text())
        parts.append(os.readlink("/proc/self/ns/pid"))
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:8]


def attempt() -> str:
    """A name no other write has; names of one clock sort by time."""
    return f"{time.time_ns():016x}-{_node()}-{os.getpid():x}-{secrets.token_hex(3)}"


def attempt_in(path: str) -> str | None:
    """The name that `attempt` gave and that stands somewhere in a path."""
    match = _ATTEMPT.search(path)
    return None if match is None else match[0]


def given_up(name: str) -> bool:
    """Whether the process behind an attempt is gone, as far as that can be known from here."""
    match = _ATTEMPT.fullmatch(name)
    if match is None:
        return False
    when, node, pid = int(match[1], 16) / 1e9, match[2], int(match[3], 16)
    if node != _node():
        return time.time() - when > GIVEN_UP
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return True
    except PermissionError:
        pass  # alive, and somebody else's
    return False


# ---- files


class FileState(NamedTuple):
    """What changes when a file is replaced or written to."""

    inode: int
    size: int
    modified_ns: int


def state(path: str | os.PathLike[str]) -> FileState | None:
    """The state of a file; None when it cannot be looked at."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    return FileState(status.st_ino, status.st_size, status.st_mtime_ns)


def read(path: Path) -> bytes:
    """All bytes of a file.

    Raises:
        OSError: there is none, or it cannot be read; a pipe or a device, which might have no end.
    """
    place = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)  # a pipe would be waited for
    with open(place, "rb") as file:
        if not stat.S_ISREG(os.fstat(place).st_mode):
            raise OSError(errno.EINVAL, "not a regular file", str(path))
        return file.read()


def write(path: Path, data: bytes, *, exclusive: bool = False) -> None:
    """Write a file whole and durably; missing folders are made.

    Args:
        path: its name. An older file of this name is replaced in one step.
        data: all of its bytes.
        exclusive: write only when there is no such file. Of several writers one succeeds.

    Raises:
        FileExistsError: `exclusive`, and the file is there (durably, by now).
        OSError: nothing was acknowledged; the file is absent, old or complete.
    """
    for last in (False, False, True):
        try:
            return _write(path, data, exclusive)
        except FileNotFoundError:  # no folder yet, or a clean-up just took an empty one away
            if last:
                raise
            make_folder(path.parent)
    return None


def _write(path: Path, data: bytes, exclusive: bool) -> None:
    temporary = path.with_name(f".{path.name}.{attempt()}.tmp")
    file = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
    try:
        try:
            rest = memoryview(data)
            while rest:
                rest = rest[os.write(file, rest) :]
            os.fsync(file)
        finally:
            os.close(file)
        if read(temporary) != data:  # before the file gets its name
            raise OSError(errno.EIO, "what was written does not read back", str(temporary))
        if exclusive:
            _name_exclusively(temporary, path)
        else:
            os.replace(temporary, path)
    except FileExistsError:
        sync(path.parent)
        raise
    finally:
        with contextlib.suppress(OSError):  # `sweep` removes what stays
            os.unlink(temporary)
    sync(path.parent)


def _name_exclusively(temporary: Path, path: Path) -> None:
    """Give a file its name unless the name is taken; a plain rename would replace it."""
    try:
        os.link(temporary, path)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        with lock(path.parent / ".exclusive"):
            if os.path.lexists(path):
                raise FileExistsError(errno.EEXIST, "exists", str(path)) from None
            os.rename(temporary, path)


def make_folder(folder: Path) -> None:
    """Make a folder and those above it, each durably; nothing happens when it is there.

    Raises:
        NotADirectoryError: something else has this name.
    """
    if folder.is_dir():
        return
    if folder != folder.parent:
        make_folder(folder.parent)
    try:
        os.mkdir(folder)
        _share(folder)
    except FileExistsError:
        if not folder.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, "not a directory", str(folder)) from None
    sync(folder.parent)


def _share(folder: Path) -> None:
    """Let the group write into a new folder where it may into the one above, which is its own.

    That is how a group shares a folder (set-group-id and group-writable), whatever the umask is.
    """
    shared = stat.S_ISGID | stat.S_IWGRP
    if os.stat(folder.parent).st_mode & shared == shared:
        os.chmod(folder, stat.S_IMODE(os.stat(folder).st_mode) | stat.S_IWGRP)


def rename(path: Path, to: Path) -> None:
    """Give a file or a folder another name, durably.

    Raises:
        OSError: ENOTEMPTY or EEXIST when `to` is a folder with something in it; a file is replaced.
    """
    os.rename(path, to)
    sync(to.parent)
    if path.parent != to.parent:
        sync(path.parent)


def sync(path: Path) -> None:
    """Make the content of a file, or the names in a folder, durable."""
    file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(file)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.EOPNOTSUPP, errno.ENOTSUP):  # cannot be synced
            raise
    finally:
        os.close(file)


def sweep(folder: Path) -> list[str]:
    """Remove files that writers who are gone have left half-written; returns their names."""
    removed = []
    for inside, _, names in os.walk(folder):
        for name in names:
            if not (name.startswith(".") and name.endswith(".tmp")):
                continue
            if given_up(name[:-4].rpartition(".")[2]):
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(os.path.join(inside, name))
                    removed.append(name)
    return removed


def probe(folder: Path) -> None:
    """Write, sync and remove a file in a folder; folders that this takes are removed as well."""
    made = [place for place in (folder, *folder.parents) if not place.exists()]
    try:
        for _ in range(9):
            with contextlib.suppress(FileNotFoundError):  # another probe removes what it has made
                return _write_probe(folder)
        _write_probe(folder)
    finally:
        with contextlib.suppress(OSError):  # another command uses it already
            for place in made:
                place.rmdir()


def _write_probe(folder: Path) -> None:
    make_folder(folder)
    name = folder / f".probe.{attempt()}.tmp"
    file = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
    try:
        os.write(file, b"probe")
        os.fsync(file)
    finally:
        os.close(file)
        os.unlink(name)


# ---- locks


class Lock:
    """An exclusive lock; given back by `release`, at the end of `with`, or with the process.

    The lock belongs to the open file, so it ends with the process however that ends. A process
    that is forked off closes its copy at once and neither keeps nor frees the lock.
    """

    def __init__(self, file: int | None = None, path: Path | None = None) -> None:
        self._file, self._path = file, path
        #: False where there are no locks and none was taken: another process may have one too.
        self.exclusive = file is not None
        if file is not None:
            _locks.add(self)

    def release(self) -> None:
        """Give it back; a second call does nothing."""
        if self._file is not None and self._path is not None:
            # Unlinked while still locked: whoever opened it meanwhile sees that it is gone.
            with contextlib.suppress(OSError):
                os.unlink(self._path)
            self._close()

    def _close(self) -> None:
        if self._file is not None:
            file, self._file = self._file, None
            with contextlib.suppress(OSError):
                os.close(file)

    def __enter__(self) -> "Lock":
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    def __del__(self) -> None:
        self._close()


#: The locks of this process, for its children to close.
_locks: "weakref.WeakSet[Lock]" = weakref.WeakSet()


def _close_locks() -> None:
    for each in list(_locks):
        each._close()


os.register_at_fork(after_in_child=_close_locks)


def lock(path: Path) -> Lock:
    """The lock on a file, as `try_lock`, but waits until whoever has it gives it back."""
    while True:
        taken = _take(path, fcntl.LOCK_EX)
        if taken is not None:
            return taken


def try_lock(path: Path) -> Lock | None:
    """The lock on a file, or None when another process has it.

    The file exists as long as the lock does and must have no other use; missing folders are made.
    The lock holds among the processes of this machine, and on NFS among machines too. Where locks
    are not supported it is always granted (`Lock.exclusive` is then False).
    """
    try:
        while True:
            taken = _take(path, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if taken is not None:
                return taken
    except BlockingIOError:
        return None


def _take(path: Path, how: int) -> Lock | None:
    """One attempt; None when the last holder removed the file between open and lock."""
    make_folder(path.parent)
    try:
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    except PermissionError:  # another user has it, who shares the folder and not the file
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(file, how)
        mine, there = os.fstat(file), os.stat(path)
    except FileNotFoundError:
        os.close(file)
        return None
    except OSError as error:
        os.close(file)
        if error.errno in _NO_LOCKS:
            return Lock()
        raise
    if (mine.st_ino, mine.st_dev) == (there.st_ino, there.st_dev):
        return Lock(file, path)
    os.close(file)
    return None
