"""The files of a store: whole, durable and exclusive writes on a disk, one-shot writes elsewhere.

Paths are relative, in POSIX form. A file appears under its name complete or not at all. Names that
begin with a dot are this module's own (files being written) and are never listed.
"""

import contextlib
import errno
import fcntl
import functools
import hashlib
import os
import re
import secrets
import shutil
import socket
import stat
import time
import weakref
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import pyarrow as pa
import pyarrow.fs as pafs

from deep_clustering.platform.errors import InputError, StorageError

#: A file being written by a process of another machine counts as given up after this many seconds.
GIVEN_UP = 3600.0
#: What `link` says on file systems that have no hard links (exFAT, some FUSE).
_NO_LINKS = {errno.EPERM, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK}
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
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


def given_up(token: str) -> bool:
    """Whether the process behind an attempt is gone, as far as that can be known from here."""
    match = _ATTEMPT.fullmatch(token)
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


# ---- errors


def storage_error(error: Exception, where: str, what: str) -> StorageError:
    """The sentence for a write that failed.

    Args:
        error: what the system said.
        where: the folder or address of the store.
        what: what was being written, such as "run 3f2a".
    """
    number = getattr(error, "errno", None)
    text = (os.strerror(number) if number else str(error) or type(error).__name__).splitlines()[0]
    if number in _FULL:
        return StorageError(
            f"no space left in {where}: {what} was not saved; "
            f"free some and give the same command again ({text})."
        )
    return StorageError(
        f"cannot write in {where} ({text}): {what} was not saved; "
        "mend the storage and give the same command again."
    )


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


# ---- a disk


class Claim:
    """The exclusive right to compute something; given back by `release`, `with`, or the kernel.

    The lock belongs to the open file, so it ends with the process however that ends. A process
    that is forked off closes its copy at once and neither holds nor frees the lock.
    """

    def __init__(self, file: int | None = None, path: Path | None = None) -> None:
        self._file, self._path = file, path
        if file is not None:
            _held.add(self)

    def release(self) -> None:
        """Give it back; a second call does nothing."""
        if self._file is not None and self._path is not None:
            # Unlinked while still locked: whoever opened it meanwhile sees that it is gone.
            with contextlib.suppress(OSError):
                os.unlink(self._path)
            self._drop()

    def _drop(self) -> None:
        if self._file is not None:
            file, self._file = self._file, None
            with contextlib.suppress(OSError):
                os.close(file)

    def __enter__(self) -> "Claim":
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    def __del__(self) -> None:
        self._drop()


_held: "weakref.WeakSet[Claim]" = weakref.WeakSet()


def _forget_claims() -> None:
    for claim in list(_held):
        claim._drop()


os.register_at_fork(after_in_child=_forget_claims)


class LocalFiles:
    """Files below a folder of a POSIX file system."""

    #: An exclusive write is really exclusive: one of several writers wins.
    exclusive = True

    def __init__(self, root: Path) -> None:
        self.root = root

    @property
    def where(self) -> str:
        """What a person calls this place."""
        return str(self.root)

    def read(self, path: str) -> bytes:
        """All bytes of a file."""
        with open(self.root / checked(path), "rb") as file:
            return file.read()

    def write(self, path: str, data: bytes, *, exclusive: bool = False) -> None:
        """Write a file whole and durably, replacing an older one unless `exclusive`.

        Raises:
            FileExistsError: `exclusive`, and the file is there (durably, by now).
            OSError: nothing was acknowledged; the file is absent, old or complete.
        """
        final = self.root / checked(path)
        for last in (False, False, True):
            try:
                return self._write(final, data, exclusive)
            except FileNotFoundError:  # no folder yet, or a clean-up just took an empty one away
                if last:
                    raise
                self._make(final.parent)
        return None

    def _write(self, final: Path, data: bytes, exclusive: bool) -> None:
        temporary = final.with_name(f".{final.name}.{attempt()}.tmp")
        file = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
        try:
            try:
                rest = memoryview(data)
                while rest:
                    rest = rest[os.write(file, rest) :]
                os.fsync(file)
            finally:
                os.close(file)
            _expect(temporary, data)
            if exclusive:
                self._link(temporary, final)
            else:
                os.replace(temporary, final)
        except FileExistsError:
            _sync(final.parent)
            raise
        finally:
            with contextlib.suppress(OSError):  # what stays is swept later
                os.unlink(temporary)
        _sync(final.parent)

    @staticmethod
    def _link(temporary: Path, final: Path) -> None:
        """Give a file its name unless the name is taken; a plain rename would replace it."""
        try:
            os.link(temporary, final)
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
            with _locked(final.parent / ".exclusive"):
                if os.path.lexists(final):
                    raise FileExistsError(errno.EEXIST, "exists", str(final)) from None
                os.rename(temporary, final)

    def _make(self, folder: Path) -> None:
        if folder.is_dir():
            return
        if folder != folder.parent:
            self._make(folder.parent)
        try:
            os.mkdir(folder)
        except FileExistsError:
            if not folder.is_dir():
                raise NotADirectoryError(errno.ENOTDIR, "not a directory", str(folder)) from None
        _sync(folder.parent)

    def exists(self, path: str) -> bool:
        """Whether there is such a file or folder."""
        return os.path.lexists(self.root / checked(path))

    def size(self, path: str) -> int:
        """Bytes of a file."""
        return os.stat(self.root / checked(path)).st_size

    def modified(self, path: str) -> float:
        """When a file was written, seconds since 1970."""
        return os.stat(self.root / checked(path)).st_mtime

    def names(self, folder: str) -> list[str]:
        """All files at any depth below a folder, sorted; none when there is no such folder."""
        return sorted(self._walk(checked(folder)))

    def _walk(self, folder: str) -> Iterator[str]:
        try:
            entries = os.scandir(self.root / folder)
        except (FileNotFoundError, NotADirectoryError):
            return
        with entries:
            for entry in entries:
                if not entry.name.startswith("."):
                    path = f"{folder}/{entry.name}"
                    if entry.is_dir(follow_symlinks=False):
                        yield from self._walk(path)
                    else:
                        yield path

    def delete(self, path: str) -> None:
        """Remove a file, or a folder with all that is in it; nothing happens when it is not there.

        Folders left empty above it go too, up to the first level.
        """
        place = self.root / checked(path)
        try:
            if stat.S_ISDIR(os.lstat(place).st_mode):
                shutil.rmtree(place)
            else:
                os.unlink(place)
        except FileNotFoundError:
            return
        folder = place.parent
        _sync(folder)
        while folder.parent != self.root and folder != self.root:
            try:
                os.rmdir(folder)
            except OSError:
                return
            folder = folder.parent

    def move(self, path: str, to: str) -> None:
        """Give a file another name."""
        target = self.root / checked(to)
        self._make(target.parent)
        os.rename(self.root / checked(path), target)
        _sync(target.parent)
        _sync((self.root / path).parent)

    def sync(self, folder: str) -> None:
        """Make the names in a folder durable."""
        _sync(self.root / checked(folder))

    def sweep(self) -> list[str]:
        """Remove what writers that are gone have left half-done; returns the names."""
        removed = []
        for folder, _, names in os.walk(self.root):
            for name in names:
                if not (name.startswith(".") and name.endswith(".tmp")):
                    continue
                if given_up(name[:-4].rpartition(".")[2]):
                    with contextlib.suppress(FileNotFoundError):
                        os.unlink(os.path.join(folder, name))
                        removed.append(name)
        return removed

    def probe(self) -> None:
        """Write, sync and remove a file; raises OSError when the place cannot be written."""
        self._make(self.root)
        name = self.root / f".probe.{attempt()}.tmp"
        file = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
        try:
            os.write(file, b"probe")
            os.fsync(file)
        finally:
            os.close(file)
            os.unlink(name)

    def claim(self, path: str) -> Claim | None:
        """The lock on a file among the processes of this machine, or None when it is taken.

        On NFS it holds among machines too. Where locks are not supported it is always granted.
        """
        place = self.root / checked(path)
        self._make(place.parent)
        while True:
            file = os.open(place, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                mine, there = os.fstat(file), os.stat(place)
            except BlockingIOError:
                os.close(file)
                return None
            except FileNotFoundError:  # its last holder removed it between open and lock
                os.close(file)
                continue
            except OSError as error:
                os.close(file)
                if error.errno in (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS):
                    return Claim()
                raise
            if (mine.st_ino, mine.st_dev) == (there.st_ino, there.st_dev):
                return Claim(file, place)
            os.close(file)


def _expect(path: Path, data: bytes) -> None:
    """Read a file back: a writer that lies is noticed before the file gets its name."""
    with open(path, "rb") as file:
        if file.read() != data:
            raise OSError(errno.EIO, "what was written does not read back", str(path))


def _sync(folder: Path) -> None:
    file = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(file)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.EOPNOTSUPP, errno.ENOTSUP):  # cannot be synced
            raise
    finally:
        os.close(file)


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
    finally:
        os.close(file)


# ---- everything else


class RemoteFiles:
    """Files below a prefix of any `pyarrow.fs.FileSystem`, an object store as a rule.

    One write of the whole value from memory. There is no conditional write in that interface, so
    `exclusive` is only a look before; the store gives every attempt a name of its own instead. An
    upload that breaks may publish a part of the object: what is read has checksums.
    """

    exclusive = False

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

    def _kind(self, path: str) -> Any:
        with _as_oserror():
            return self._filesystem.get_file_info(self._place(path))

    def exists(self, path: str) -> bool:
        """Whether there is such a file or folder."""
        return bool(self._kind(path).type != pafs.FileType.NotFound)

    def size(self, path: str) -> int:
        """Bytes of a file."""
        info = self._kind(path)
        if info.type != pafs.FileType.File:
            raise FileNotFoundError(errno.ENOENT, "no such file", self._place(path))
        return int(info.size)

    def modified(self, path: str) -> float:
        """When a file was written, seconds since 1970."""
        return (self._kind(path).mtime_ns or 0) / 1e9

    def names(self, folder: str) -> list[str]:
        """All files at any depth below a folder, sorted; none when there is no such folder."""
        selector = pafs.FileSelector(self._place(folder), recursive=True, allow_not_found=True)
        with _as_oserror():
            found = self._filesystem.get_file_info(selector)
        skip = len(self._prefix) + 1 if self._prefix else 0
        names = (f.path[skip:] for f in found if f.type == pafs.FileType.File)
        return sorted(n for n in names if not any(p.startswith(".") for p in n.split("/")))

    def delete(self, path: str) -> None:
        """Remove a file, or a folder with all that is in it."""
        kind = self._kind(path).type
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

    def claim(self, path: str) -> Claim | None:
        """Always granted: two commands may compute the same thing, and the first commit wins."""
        return Claim()


@contextlib.contextmanager
def _as_oserror() -> Iterator[None]:
    try:
        yield
    except pa.ArrowException as error:
        raise OSError(str(error)) from error


Files = LocalFiles | RemoteFiles


def connect(uri: str) -> tuple[Files, str]:
    """The files at an address and the address in full.

    Args:
        uri: a path, `file://...`, or what `pyarrow.fs.FileSystem.from_uri` takes, such as
            `s3://bucket/prefix?endpoint_override=...`.

    Raises:
        InputError: no such scheme, or an address that cannot be read.
    """
    if "://" not in uri:
        if not uri:
            raise InputError("the store needs a folder or an address, got an empty text.")
        path = Path(os.path.abspath(Path(uri).expanduser()))
        return LocalFiles(path), str(path)
    asked = uri
    if uri.startswith("s3://") and "allow_delayed_open" not in uri:
        # Small objects then go up in one request instead of a multipart upload.
        asked += ("&" if "?" in uri else "?") + "allow_delayed_open=true"
    try:
        filesystem, prefix = pafs.FileSystem.from_uri(asked)
    except (pa.ArrowException, OSError, ValueError) as error:
        text = (str(error).splitlines() or [type(error).__name__])[0]
        raise InputError(
            f"{uri} is not the address of a store ({text}); give a folder or, for example, "
            "s3://bucket/prefix."
        ) from error
    if isinstance(filesystem, pafs.LocalFileSystem):
        path = Path(os.path.abspath(prefix))
        return LocalFiles(path), str(path)
    where = re.sub(r"//[^/]*@", "//", uri.partition("?")[0])  # without options and secrets
    return RemoteFiles(filesystem, prefix, where), uri


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


@contextlib.contextmanager
def reading(files: Files) -> Iterator[None]:
    """Turns what the system says about a look into the store into a sentence."""
    try:
        yield
    except OSError as error:
        text = os.strerror(error.errno) if error.errno else (str(error).splitlines() or ["?"])[0]
        raise StorageError(f"cannot read the store {files.where} ({text}).") from error


def set_aside(files: Files, path: str, *, keep: bool = False) -> None:
    """Move (or with `keep` copy) a damaged file to `quarantine/`; none is ever deleted."""
    to = f"quarantine/{attempt()}.{path.replace('/', '.')}"
    if keep:
        files.write(to, files.read(path))
    else:
        files.move(path, to)
