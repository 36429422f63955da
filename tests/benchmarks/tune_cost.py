"""A search by the platform beside the plain Ray Tune and Optuna script that it replaces.

`platform tune cdc --dataset digits --trials 8` and `plain_tune.py --trials 8` in turns, each from
an empty start with its pretraining: wall and CPU seconds, processes at once, and the largest memory
of all processes together, pages that several share counted once.
"""

import contextlib
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
            search = ["-m", "deep_clustering.platform.start", "tune", "cdc", "--dataset", "digits"]
            ours.append(cost([*search, "--trials", "8", *where]))
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
