"""Where commands run."""

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.command import STARTED
from support.small import images


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with pictures, whose name a shell would trip over."""
    place = tmp_path_factory.mktemp("Bilder für Übung")
    images(place / "bunte Bilder")
    return place


@pytest.fixture
def tidy(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Plain wide output, and SIGHUP is heard; a test that fails leaves no command running."""
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "200")
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)  # commands inherit that nohup ignores it
    yield
    signal.signal(signal.SIGHUP, before)
    while STARTED:
        command = STARTED.pop()
        if command.process.poll() is None:
            command.process.kill()
        command.end()
