"""Where tests of the store keep their stores."""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def shelf(tmp_path: Path) -> Iterator[Path]:
    """A folder in memory where there is one: what a dying process leaves is the same there."""
    memory = Path("/dev/shm")
    if not os.access(memory, os.W_OK):
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(dir=memory) as folder:
        yield Path(folder)
