"""Commands in processes of their own, as a user gives them."""

import contextlib
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import polars as pl
import psutil
import pytest

from deep_clustering.platform import results
from support.small import SETS

STARTED: list["Command"] = []
_GUARD = "deep_clustering.platform.run._guard"


class Command:
    """`platform ...` in a process of its own, its output collected line by line."""

    def __init__(self, *arguments: object, cwd: Path) -> None:
        # As `platform` is started: the current folder is not on the path of its imports.
        program = [sys.executable, "-P", "-m", "deep_clustering.platform.start"]
        self.process = subprocess.Popen(
            [*program, *map(str, arguments)],
            cwd=cwd,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        STARTED.append(self)
        self.lines: list[str] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line.rstrip())

    def until(self, text: str) -> str:
        """The first line that contains a text, as soon as it is there."""
        seen, over = 0, False
        while not over:
            over = not self._reader.is_alive()
            for line in self.lines[seen:]:
                seen += 1
                if text in line:
                    return line
            time.sleep(0.02)
        pytest.fail(f"no line with {text!r} in\n" + "\n".join(self.lines))

    def end(self) -> int:
        """The exit code."""
        code = self.process.wait()
        self._reader.join()
        assert self.process.stdout is not None
        self.process.stdout.close()
        return code

    def family(self) -> list[psutil.Process]:
        """Every process that the command has started, while it lives."""
        return psutil.Process(self.process.pid).children(recursive=True)

    def maps(self) -> list[str]:
        """What the process that carries the command out has loaded by now."""
        own = psutil.Process(self.process.pid).children() or [self.process]
        return Path(f"/proc/{own[0].pid}/maps").read_text().splitlines()

    def starting(self, program: str) -> str:
        """Waits until a program of Ray runs; the name of the command's scratch folder."""
        while self.process.poll() is None:
            with contextlib.suppress(psutil.Error):
                words = [p.cmdline() for p in self.family()]
                if any(word.endswith(program) for line in words for word in line):
                    return next(line[-1] for line in words if _GUARD in line)
            time.sleep(0.01)
        pytest.fail(f"{program} never ran:\n{self.text}")

    @property
    def scratch(self) -> str | None:
        """The command's scratch folder; None while, or where, there is no Ray of its own."""
        with contextlib.suppress(psutil.Error):
            for process in self.family():
                with contextlib.suppress(psutil.Error):
                    if _GUARD in (line := process.cmdline()):
                        return line[-1]
        return None

    @property
    def text(self) -> str:
        return "\n".join(self.lines)


def invocation(
    work: Path, command: str, store: str, *more: object, pictures: object = "bunte Bilder"
) -> list[object]:
    sets = [x for s in SETS for x in ("--set", s)]
    given = ["--dataset", f"folder:{pictures}", "--data", work / "data", "--store", work / store]
    return [command, "cdc", *given, *sets, *more]


def run(work: Path, *arguments: object) -> Command:
    command = Command(*arguments, cwd=work)
    command.end()
    return command


def table(store: Path) -> pl.DataFrame:
    """What has to be equal however a command came to its end."""
    frame = results.runs(str(store)).collect()
    timed = ("seconds", "started", "ended", "peak_memory_mb", "resumed_at", "git_revision")
    timed = (*timed, "git_dirty")  # somebody may be working on the code while the tests run
    dropped = [c for c in frame.columns if c in timed or c.endswith("_file")]
    return frame.select(sorted(set(frame.columns) - set(dropped))).sort("run_id")


def patience() -> float:
    """How many times longer things may take than on an idle machine."""
    return max(1.0, 2 * os.getloadavg()[0] / (os.cpu_count() or 1))


def processes_of(scratch: str) -> list[str]:
    """Command lines of what belongs to a command, or is named after its scratch folder."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            belongs = scratch in os.fsdecode(Path(f"/proc/{process.pid}/environ").read_bytes())
            if belongs or any(scratch in word for word in process.cmdline()):
                found.append(" ".join(process.cmdline()))
    return found


def gone(family: list[psutil.Process], seconds: float) -> list[str]:
    """Command lines of the processes that are still there after a while."""
    _, alive = psutil.wait_procs(family, timeout=seconds * patience())
    left = []
    for process in alive:
        with contextlib.suppress(psutil.NoSuchProcess):
            if process.status() != psutil.STATUS_ZOMBIE:
                left.append(" ".join(process.cmdline()))
    return left
