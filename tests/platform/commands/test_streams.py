"""Output that nobody reads, that cannot be written, or that is not there at all."""

import contextlib
import io
import os
import subprocess
import sys
from pathlib import Path

import pytest

from deep_clustering.platform import results
from deep_clustering.platform.start import _Stream
from support.pictures import noise

_PLATFORM = [sys.executable, "-P", "-m", "deep_clustering.platform.start"]


def test_a_stream_goes_on_without_its_reader() -> None:
    reader, writer = os.pipe()
    stream = io.TextIOWrapper(io.BufferedWriter(_Stream(writer)), line_buffering=True)
    print("heard", file=stream)
    assert os.read(reader, 99) == b"heard\n"
    os.close(reader)
    print("unheard", file=stream)
    print("unheard" * 10_000, file=stream)
    assert os.write(writer, b"by something else") == 17
    os.close(writer)


def test_a_terminal_that_is_closed_ends_nothing() -> None:
    master, terminal = os.openpty()
    stream = io.TextIOWrapper(io.BufferedWriter(_Stream(terminal)), line_buffering=True)
    assert stream.isatty()
    os.close(master)
    print("unheard", file=stream)
    assert os.write(terminal, b"by something else") == 17
    os.close(terminal)


def test_a_reader_that_leaves_is_no_failure() -> None:
    """`platform completion bash | head -1`: exit 0 and not a word; it was 1."""
    reader, writer = os.pipe()
    command = [*_PLATFORM, "completion", "bash"]
    done = subprocess.Popen(command, stdout=writer, stderr=subprocess.PIPE)
    os.close(writer)
    os.close(reader)
    assert done.communicate()[1] == b""
    assert done.returncode == 0


def test_an_error_ends_its_lines_between_words_on_a_terminal_alone() -> None:
    command, narrow = [*_PLATFORM, "methods", "cdd"], {**os.environ, "COLUMNS": "40"}
    master, terminal = os.openpty()
    done = subprocess.run(command, stderr=terminal, env=narrow, check=False)
    os.close(terminal)
    text = b""
    with contextlib.suppress(OSError):  # the end of what a terminal was given
        while part := os.read(master, 9999):
            text += part
    os.close(master)
    shown = text.decode().splitlines()
    assert done.returncode == 2
    assert shown[0] == "error: there is no method 'cdd'. Did you"
    assert len(shown) > 4
    assert all(len(line) <= 40 and line.startswith(" " * 7) for line in shown[1:])
    piped = subprocess.run(command, capture_output=True, text=True, env=narrow, check=False)
    assert piped.stderr == " ".join(line.strip() for line in shown) + "\n"


@pytest.mark.parametrize(
    ("redirected", "code"),
    [(">&- 2>&- <&-", 0), (">/dev/full 2>/dev/full", 4), ("--no >/dev/full 2>/dev/full", 2)],
)
def test_streams_that_are_not_there_or_full(redirected: str, code: int) -> None:
    """They ended in a traceback of `None`, or in Python's own exit code 120."""
    line = f'"$0" -P -m deep_clustering.platform.start completion bash {redirected}'
    done = subprocess.run(["sh", "-c", line, sys.executable], capture_output=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (code, b"", b"")


@pytest.mark.ray
def test_a_command_that_nobody_reads_does_its_work(tmp_path: Path) -> None:
    for number in range(8):
        noise(tmp_path / "pictures" / f"{number}.png", number)
    given = ["--dataset", "folder:pictures", "--data", "data", "--store", "store"]
    command = [*_PLATFORM, "train", "kmeans", *given, "--set", "clusters=2", "--seeds", "3"]
    running = subprocess.Popen(
        command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    assert running.stdout is not None
    assert running.stdout.readline()
    running.stdout.close()
    assert running.wait() == 0
    assert results.runs(tmp_path / "store").collect()["seed"].sort().to_list() == [0, 1, 2]
