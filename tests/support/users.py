"""Several users on one machine; only root can be all of them."""

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


@contextlib.contextmanager
def user(number: int) -> Iterator[None]:
    """What is done meanwhile is done by this user, with the usual umask."""
    if os.getuid() != 0:
        pytest.skip("only root can be several users")
    before = os.umask(0o022)
    os.seteuid(number)
    try:
        yield
    finally:
        os.seteuid(0)
        os.umask(before)


@contextlib.contextmanager
def shared_folder() -> Iterator[Path]:
    """A folder in which a group may write, and here everybody, below a path all can enter."""
    folder = Path(tempfile.mkdtemp(dir="/tmp"))
    folder.chmod(0o2777)
    try:
        yield folder
    finally:
        shutil.rmtree(folder)
