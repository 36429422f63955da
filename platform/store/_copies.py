"""Models and artefacts as verified files on this machine."""

import hashlib
import os
from pathlib import Path

from deep_clustering.platform import _disk
from deep_clustering.platform._disk import FileState
from deep_clustering.platform.errors import storage_error
from deep_clustering.platform.places import absolute
from deep_clustering.platform.store._files import Files, inside, unreadable


class Copies:
    """What of a store is on this machine: its own files, or copies of objects."""

    def __init__(self, files: Files, uri: str) -> None:
        self._files, self._uri = files, uri
        self._sound: dict[Path, FileState] = {}  # path -> its state when it was last verified

    @property
    def folder(self) -> Path:
        """A folder on this machine for copies of what is in the store."""
        if self._files.root is not None:
            return self._files.root
        base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
        name = hashlib.sha256(self._uri.encode()).hexdigest()[:16]
        return absolute(base) / "deep-clustering" / "stores" / name

    def verified(self, file: str, digest: str) -> Path | None:
        """A file on this machine with the content of a stored one; None: missing or damaged.

        Raises:
            StorageError: it is somebody else's and not for us, or a copy could not be written.
        """
        root = self._files.root
        if not inside(file):
            return None
        if root is not None:
            path = root / file
        else:
            path = self.folder / "files" / f"{digest[:32]}-{file.rpartition('/')[2]}"
        now = _disk.state(path)
        if now is not None and self._sound.get(path) == now:
            return path
        if now is not None:
            try:
                sound = _digest(path) == digest
            except PermissionError as error:
                raise unreadable(file, error) from error
            if sound:
                self._sound[path] = now
                return path
        if root is not None:
            return None
        try:
            data = self._files.read(file)
        except FileNotFoundError:
            return None
        if hashlib.sha256(data).hexdigest() != digest:
            return None
        try:
            _disk.write(path, data)
        except OSError as error:
            raise storage_error(error, str(path.parent), f"a copy of {file}") from error
        return path


def _digest(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
