"""A disk of 600 kB, in memory, that can be filled up to so many pages."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

_PAGE = 4096


@contextmanager
def mounted(place: Path) -> Iterator[Path]:
    """The disk at a place that is not there yet; skips where this machine lets us mount none."""
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=600k", "tmpfs", str(place)]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("this machine does not let us mount a file system")
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


def fill(disk: Path, left: int) -> Path:
    """Take all room of a disk but so many pages; the file that takes it."""
    ballast = disk / "ballast"
    with ballast.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(b"\0" * _PAGE)
        except OSError:
            file.truncate(max(file.tell() - left * _PAGE, 0))
    return ballast
