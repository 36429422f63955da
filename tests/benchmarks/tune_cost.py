"""A search by the platform beside the plain Ray Tune and Optuna script that it replaces.

`platform tune cdc --dataset digits --trials 8` and `plain_tune.py --trials 8` in turns, each from
an empty start with its pretraining: wall and CPU seconds, processes at once, and the largest memory
of all processes together, pages that several share counted once. And how long a person waits for
the first epochs, as the view on a terminal shows them.
"""

import contextlib
import os
import pty
import re
import select
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
from _bench import ROOT, Row, Setting

_LOOK = 0.5  # seconds between two looks at the processes
_PATIENCE = 600.0  # seconds for the first epochs

#: What the view draws once an epoch of a pretraining, or of a trial, is done.
_EPOCHS = {
    "of the pretraining": re.compile(rb"\b[1-9]\d*/\d+ epochs"),
    "of a trial": re.compile(rb"running +[1-9]\d*/\d+"),
}
_DRAWN = re.compile(rb"\x1b\[[0-9;?]*[A-Za-z]")  # colours and moves of the cursor


_SEARCH = ["-m", "deep_clustering.platform.start", "tune", "cdc", "--dataset", "digits"]


@dataclass(frozen=True, kw_only=True)
class Cost:
    """Of one command."""

    wall: float  # seconds
    cpu: float  # seconds
    processes: float
    memory: float  # MiB


def title(setting: Setting) -> str:
    """What was measured."""
    times = _times(setting)
    return f"8 trials of CDC on digits and their pretraining, medians of {times}, against plain"


def _times(setting: Setting) -> int:
    return 1 if setting.quick else 5


def rows(setting: Setting) -> Iterator[Row]:
    """A row for each figure of each of the two."""
    ours, plain = [], []
    for _ in range(_times(setting)):
        with tempfile.TemporaryDirectory(prefix="deep-clustering-benchmark-") as folder:
            where = ["--store", f"{folder}/store", "--data", f"{folder}/data"]
            ours.append(cost([*_SEARCH, "--trials", "8", *where]))
        plain.append(cost([str(Path(__file__).with_name("plain_tune.py")), "--trials", "8"]))
    aims = {"wall": 1.0, "cpu": None, "processes": None, "memory": None}
    for name, unit in (("wall", "s"), ("cpu", "s"), ("processes", ""), ("memory", "MiB")):
        mine, theirs = (statistics.median(getattr(c, name) for c in cs) for cs in (ours, plain))
        yield Row(name=f"plain script, {name}", value=theirs, unit=unit)
        yield Row(
            name=f"platform tune, {name}",
            value=mine,
            unit=unit,
            ratio=mine / theirs,
            of="x plain",
            at_most=aims[name],
        )
    waited = [first_epochs() for _ in range(_times(setting))]
    for what, most in (("of the pretraining", 8.0), ("of a trial", None)):
        value = statistics.median(each[what] for each in waited)
        yield Row(name=f"first epoch {what}", value=value, unit="s", at_most=most)


def first_epochs() -> dict[str, float]:
    """Seconds from the start of a search to the first epochs that its view shows, to half a second.

    Raises:
        RuntimeError: it ended before, or took longer than ten minutes.
    """
    found: dict[str, float] = {}
    drawn = b""
    terminal, end = pty.openpty()
    with tempfile.TemporaryDirectory(prefix="deep-clustering-benchmark-") as folder:
        command = [sys.executable, *_SEARCH, "--trials", "2"]
        command += ["--store", f"{folder}/store", "--data", f"{folder}/data"]
        environment = {**os.environ, "TERM": "xterm", "COLUMNS": "120", "LINES": "40"}
        begun = time.monotonic()
        with subprocess.Popen(
            command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, stderr=end
        ) as child:
            while found.keys() != _EPOCHS.keys() and time.monotonic() < begun + _PATIENCE:
                if select.select([terminal], [], [], 0.1)[0]:
                    drawn = (drawn + os.read(terminal, 1 << 16))[-(1 << 16) :]
                elif child.poll() is not None:
                    break
                for what, pattern in _EPOCHS.items():
                    if what not in found and pattern.search(_DRAWN.sub(b"", drawn)):
                        found[what] = time.monotonic() - begun
            child.send_signal(signal.SIGINT)
            while child.poll() is None:  # it says that it stops, and somebody has to read that
                if select.select([terminal], [], [], 0.1)[0]:
                    os.read(terminal, 1 << 16)
        os.close(end)
        os.close(terminal)
    if found.keys() != _EPOCHS.keys():
        raise RuntimeError(_DRAWN.sub(b"", drawn).decode(errors="replace"))
    return found


def cost(arguments: list[str]) -> Cost:
    """Runs a command of this interpreter and watches all that it starts.

    Raises:
        RuntimeError: it failed.
    """
    begun = time.monotonic()
    cpu: dict[int, float] = defaultdict(float)
    processes = memory = 0.0
    with (
        tempfile.TemporaryFile() as told,
        subprocess.Popen(
            [sys.executable, *arguments], cwd=ROOT, stdout=subprocess.DEVNULL, stderr=told
        ) as child,
    ):
        while child.poll() is None:
            there = _tree(child.pid)
            for process in there:
                with contextlib.suppress(psutil.Error):
                    times = process.cpu_times()
                    cpu[process.pid] = times.user + times.system
            processes = max(processes, len(there))
            memory = max(memory, sum(_memory(process.pid) for process in there))
            time.sleep(_LOOK)
        wall = time.monotonic() - begun
        if child.returncode != 0:
            told.seek(0)
            raise RuntimeError(told.read().decode(errors="replace"))
    return Cost(wall=wall, cpu=sum(cpu.values()), processes=processes, memory=memory)


def _tree(pid: int) -> list[psutil.Process]:
    try:
        root = psutil.Process(pid)
        return [root, *root.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def _memory(pid: int) -> float:
    """Proportional share of the pages of a process, MiB; Linux only, 0 elsewhere."""
    with contextlib.suppress(OSError), open(f"/proc/{pid}/smaps_rollup") as file:
        for line in file:
            if line.startswith("Pss:"):
                return int(line.split()[1]) / 1024
    return 0.0
