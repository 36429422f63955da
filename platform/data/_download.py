"""Published archives: the user's own copy or a download, checked against the published checksum."""

import contextlib
import hashlib
import os
import shutil
import socket
import tarfile
import urllib.error
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from http.client import HTTPException
from pathlib import Path

from deep_clustering.platform.data._text import quoted
from deep_clustering.platform.errors import InputError

TIMEOUT = 60.0  # seconds without a byte before a download is given up


@dataclass(frozen=True, kw_only=True)
class Archive:
    """A published file."""

    url: str
    filename: str
    digest: str  # its published MD5 or SHA-256, in hexadecimal digits

    @property
    def checksum(self) -> str:
        """What kind of checksum `digest` is."""
        return "MD5" if len(self.digest) == 32 else "SHA-256"

    def intact(self, path: Path) -> bool:
        """Whether the file at `path` has the published checksum."""
        with open(path, "rb") as file:
            if self.checksum == "MD5":
                actual = hashlib.file_digest(file, partial(hashlib.md5, usedforsecurity=False))
            else:
                actual = hashlib.file_digest(file, "sha256")
        return actual.hexdigest() == self.digest


@contextlib.contextmanager
def unpacked(archive: Archive, base: str, root: Path, work: Path) -> Iterator[Path]:
    """The folder in which `base` lies unpacked.

    In order: `base` under the data directory or its `archives`; an archive at either place; a
    download into `archives`. Nothing is unpacked whose checksum is not the published one.

    Args:
        base: the folder or file in the archive that is looked for.
        root: the data directory.
        work: a folder to unpack into, for the time being.

    Raises:
        InputError: as `fetched`, or something in the archive leads out of it.
    """
    for place in _places(root):
        if (place / base).exists():
            yield place
            return
    from torchvision.datasets.utils import extract_archive

    packed = fetched(archive, root, work)
    target = work / "unpacked"
    try:
        try:
            extract_archive(str(packed), str(target))
        except tarfile.FilterError as error:
            raise InputError(
                f"The archive {quoted(packed)} is not unpacked: {error.tarinfo.name!r} in it leads "
                "out of its folder."
            ) from error
        yield target
    finally:
        shutil.rmtree(target, ignore_errors=True)


def fetched(archive: Archive, root: Path, work: Path) -> Path:
    """The archive with the published checksum: one of the user's, or else downloaded.

    Raises:
        InputError: the user's copy is damaged, or the download failed or is not what is published.
    """
    own = next(
        (p / archive.filename for p in _places(root) if (p / archive.filename).is_file()), None
    )
    if own is None:
        return _downloaded(archive, root / "archives", work)
    if not archive.intact(own):
        raise InputError(
            f"The archive {quoted(own)} is damaged or incomplete: its {archive.checksum} is not "
            f"{archive.digest}; delete it and repeat, or put a complete copy of {archive.url} "
            "there."
        )
    return own


def _places(root: Path) -> tuple[Path, Path]:
    """Where archives and what was unpacked from them by hand are looked for, in this order."""
    return root, root / "archives"


def _downloaded(archive: Archive, archives: Path, work: Path) -> Path:
    """Download into `work`, and move the file to `archives` when its checksum is right."""
    from torchvision.datasets.utils import download_url

    by_hand = (
        f"download it elsewhere, put it at {quoted(archives / archive.filename)} "
        f"({archive.checksum} {archive.digest}), and repeat."
    )
    try:
        with timeout():
            download_url(archive.url, str(work), archive.filename)
    except RecursionError as error:
        raise InputError(f"{archive.url} redirects without end; {by_hand}") from error
    except (urllib.error.URLError, HTTPException, TimeoutError, ConnectionError) as error:
        reason = getattr(error, "reason", None) or error
        raise InputError(f"{archive.url} cannot be downloaded ({reason}); {by_hand}") from error
    if not archive.intact(work / archive.filename):
        raise InputError(
            f"What came from {archive.url} is incomplete or altered: its {archive.checksum} is not "
            f"{archive.digest}; repeat, or {by_hand}"
        )
    archives.mkdir(parents=True, exist_ok=True)
    os.replace(work / archive.filename, archives / archive.filename)
    return archives / archive.filename


@contextlib.contextmanager
def timeout() -> Iterator[None]:
    """Give up connections that are silent for `TIMEOUT`; torchvision and scikit-learn set none."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(TIMEOUT)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)
