"""The files of a store in a folder of a POSIX file system."""

import os
import shutil
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path

from deep_clustering.platform import _disk
from deep_clustering.platform._disk import FileState, Lock
from deep_clustering.platform.errors import StorageError
from deep_clustering.platform.store._files import checked


class LocalFiles:
    """Files below a folder; a backend of the store, see `_files.Files`."""

    readers = 4

    def __init__(self, root: Path) -> None:
        self.root = root

    @property
    def where(self) -> str:
        """The folder."""
        return str(self.root)

    def read(self, path: str) -> bytes:
        """All bytes of a file."""
        return _disk.read(self.root / checked(path))

    def write(self, path: str, data: bytes, *, exclusive: bool = False) -> None:
        """Write a file whole and durably, replacing an older one unless `exclusive`."""
        _disk.write(self.root / checked(path), data, exclusive=exclusive)

    def exists(self, path: str) -> bool:
        """Whether there is such a file or folder."""
        return os.path.lexists(self.root / checked(path))

    def size(self, path: str) -> int:
        """Bytes of a file."""
        return os.stat(self.root / checked(path)).st_size

    def modified(self, path: str) -> float:
        """When a file was written, seconds since 1970."""
        return os.stat(self.root / checked(path)).st_mtime

    def state(self, path: str) -> FileState | None:
        """What changes when the file does; None when it is not there."""
        return _disk.state(self.root / checked(path))

    def names(self, folder: str) -> list[str]:
        """All files at any depth below a folder, sorted; none when there is no such folder.

        Raises:
            StorageError: something else has its name.
        """
        return sorted(self._walk(checked(folder)))

    def _walk(self, folder: str) -> Iterator[str]:
        try:
            entries = os.scandir(self.root / folder)
        except FileNotFoundError:
            return
        except NotADirectoryError as error:
            raise StorageError(
                f"{self.root / folder} is no folder, and the store keeps files in one of that "
                "name; move it elsewhere and give the command again."
            ) from error
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
        _disk.sync(folder)
        while folder.parent != self.root and folder != self.root:
            try:
                os.rmdir(folder)
            except OSError:
                return
            folder = folder.parent

    def delete_files(self, paths: Iterable[str]) -> None:
        """Remove files of one folder, as far as they are there; durably once all are gone."""
        folders = set()
        for path in paths:
            place = self.root / checked(path)
            place.unlink(missing_ok=True)
            folders.add(place.parent)
        for folder in folders:
            _disk.sync(folder)

    def move(self, path: str, to: str) -> None:
        """Give a file another name."""
        target = self.root / checked(to)
        _disk.make_folder(target.parent)
        _disk.rename(self.root / checked(path), target)

    def sync(self, folder: str) -> None:
        """Make the names in a folder durable."""
        _disk.sync(self.root / checked(folder))

    def sweep(self) -> list[str]:
        """Remove what writers that are gone have left half-written; returns the names."""
        return _disk.sweep(self.root)

    def probe(self) -> None:
        """Write, sync and remove a file; raises OSError when the place cannot be written."""
        _disk.probe(self.root)

    def lock(self, path: str) -> Lock | None:
        """The lock on a file, or None when another process has it."""
        return _disk.try_lock(self.root / checked(path))
