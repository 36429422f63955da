"""Commands killed at random moments, and a checker of what they have acknowledged.

`calm` carries commands out undisturbed. `storm` gives the same commands on new stores, kills a
process of each at a moment drawn from its undisturbed time, repeats the command until it ends, and
collects what breaks a promise: a run that was there and is lost, doubled or altered, a wrong exit
code, a process left, another final table.
"""

import contextlib
import hashlib
import itertools
import random
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import polars as pl
import psutil

from deep_clustering.platform import results
from deep_clustering.platform.store.store import Store
from support.command import Command, patience, processes_of, table

#: What a command is given but for its store, which is `--store` and this folder.
Asked = Callable[[str], Sequence[object]]

#: Whose process is killed -> how it is known, by its name or the beginning of its command line.
TARGETS: dict[str, tuple[str, ...]] = {
    "driver": (),
    "lane": ("ray::Lane",),
    "planner": ("ray::Planner",),
    "raylet": ("raylet",),
    "gcs": ("gcs_server",),
    "agent": ("ray::DashboardAgent", "ray::RuntimeEnvAgent"),
}
#: Exit codes when it was killed; 0 everywhere: the command was over but for its last words.
CODES = {
    "driver": {-signal.SIGKILL, 0},
    "lane": {0},
    "planner": {5, 0},
    "agent": {5, 0},
    "raylet": {5, 0},
    "gcs": {5, 0},
}
#: What is said where a server, the planner or an agent is killed while runs are being computed.
_WORDS = ("error: Ray died", "give the same command again to continue")


@dataclass
class Report:
    """What a storm came to."""

    kills: Counter[str] = field(default_factory=Counter)
    codes: Counter[tuple[str, int]] = field(default_factory=Counter)
    stores: int = 0  # carried to their end and compared
    broken: list[str] = field(default_factory=list)  # promises

    def text(self) -> str:
        """Several lines."""
        kills = ", ".join(f"{n} {name}" for name, n in sorted(self.kills.items()))
        codes = ", ".join(f"{c} of {name}: {n}" for (name, c), n in sorted(self.codes.items()))
        found = "\n".join(self.broken) or "0 lost, 0 doubled, 0 altered; every table bit-equal"
        return (
            f"{self.kills.total()} kills ({kills}); {self.stores} stores\ncodes: {codes}\n{found}"
        )


@dataclass(frozen=True)
class Calm:
    """What undisturbed commands came to."""

    store: Path
    seconds: tuple[float, ...]  # of each command


def calm(work: Path, commands: Sequence[Asked]) -> Calm:
    """Carry commands out, one after the other, on one store."""
    seconds = []
    for asked in commands:
        begun = time.monotonic()
        command = Command(*asked("calm"), cwd=work)
        assert command.end() == 0, command.text
        seconds.append(time.monotonic() - begun)
    return Calm(work / "calm", tuple(seconds))


class Strike(NamedTuple):
    """What is done to a command."""

    target: str  # whose process is killed, a key of `TARGETS`
    moment: float | None  # seconds after its start; None: as soon as a run is being computed


def storm(
    work: Path,
    commands: Sequence[Asked],
    undisturbed: Calm,
    *,
    kills: int,
    seed: int,
    first: Sequence[str] = (),
    say: Callable[[str], None] = lambda _: None,
) -> Report:
    """Kill until that was done so often, and carry the last store to its end.

    Args:
        first: targets that are killed before all others, while runs are being computed.
    """
    chance, report = random.Random(seed), Report()
    planned = [Strike(target, None) for target in first]
    left: dict[str, float] = {}
    while report.kills.total() < kills:
        name = f"storm-{report.stores}"
        known: dict[str, str] = {}
        for number, asked in enumerate(commands):
            over = False
            while not over:
                strikes: Iterator[Strike] = iter(())
                if planned:
                    strikes = iter([planned.pop(0)])
                elif report.kills.total() < kills:
                    strikes = _strikes(chance, undisturbed.seconds[number])
                before = report.kills.total()
                killed, code = _one(work, asked(name), strikes, kills - before, report, left)
                if not killed and code not in (0, 5):
                    report.broken.append(f"{name}: an undisturbed command ended with {code}")
                    return report
                report.broken += [f"{name}: {x}" for x in changed(work / name, known)]
                report.broken += _remaining(left)
                say(f"{name} command {number}: {killed or 'no'} kill, {code}, {len(known)} runs")
                over = not killed and code == 0
        report.broken += [f"{name}: {x}" for x in different(work / name, undisturbed.store)]
        report.stores += 1
    while left:
        report.broken += _remaining(left)
        time.sleep(0.1)
    return report


def _strikes(chance: random.Random, seconds: float) -> Iterator[Strike]:
    """Random moments of a command that takes so long; a lane is killed once, and it goes on."""
    target = chance.choice(list(TARGETS))
    yield Strike(target, chance.uniform(0, seconds))
    if target == "lane":
        others = [name for name in TARGETS if name != "lane"]
        yield Strike(chance.choice(others), chance.uniform(0, seconds / 2))


def _one(
    work: Path,
    arguments: Sequence[object],
    strikes: Iterator[Strike],
    most: int,
    report: Report,
    left: dict[str, float],
) -> tuple[list[str], int]:
    """One command: whose processes were killed while it lasted, and its exit code.

    Args:
        most: so many kills.
        left: gets its scratch folder, and when none of its processes may be there any more.
    """
    command = Command(*arguments, cwd=work)
    killed: list[str] = []
    sure = False
    for strike in itertools.islice(strikes, most):
        if not _wait(command, strike.moment):
            break
        done = _kill(command, strike.target)
        if done is None:
            break
        killed.append(done)
        sure = strike.moment is None
        if done != "lane":
            break
    begun, scratch = time.monotonic(), command.scratch
    code = command.end()
    if killed:
        report.kills.update(killed)
        report.codes[killed[-1], code] += 1
        if code not in ({5} if sure else CODES[killed[-1]]):
            report.broken.append(f"{killed} killed: ended with {code}\n{command.text}")
        if sure and not all(words in command.text for words in _WORDS):
            report.broken.append(f"{killed} killed: it said\n{command.text}")
        if sure and time.monotonic() - begun > 10 * patience():
            report.broken.append(f"{killed} killed: it took {time.monotonic() - begun:.1f} s")
    if scratch:
        left[scratch] = time.monotonic() + 10 * patience()
    return killed, code


def _remaining(left: dict[str, float]) -> list[str]:
    """Complaints about processes that had to be gone by now; forgets commands that left none."""
    found = []
    for scratch, end in list(left.items()):
        there = processes_of(scratch)
        if there and time.monotonic() > end:
            found.append(f"left {there}")
        if not there or time.monotonic() > end:
            del left[scratch]
    return found


def _wait(command: Command, seconds: float | None) -> bool:
    """Until then, or until a run is being computed; False when the command is over before that."""
    end = None if seconds is None else time.monotonic() + seconds
    while command.process.poll() is None:
        computing = any(" running" in line for line in command.lines)
        if computing if end is None else time.monotonic() > end:
            return True
        time.sleep(0.01)
    return False


def _kill(command: Command, target: str) -> str | None:
    """Kill a process of a kind, or the driver where there is none of it yet."""
    with contextlib.suppress(psutil.Error):
        for process in command.family():
            with contextlib.suppress(psutil.Error):
                said = (process.name(), *process.cmdline()[:1])
                if any(word.startswith(TARGETS[target]) for word in said if TARGETS[target]):
                    process.kill()
                    return target
    if command.process.poll() is None:
        command.process.kill()
        return "driver"
    return None


def changed(folder: Path, known: dict[str, str]) -> list[str]:
    """Which runs that were there once are not what they were; `known` learns of the new ones."""
    if not folder.exists():
        return []
    store = Store.open(folder)
    finished, rows = store.finished(), store.list("runs")
    found = [f"run {id} is lost" for id in known.keys() - finished]
    for id in sorted(finished):
        mine = [path for path in rows if path.startswith(f"runs/{id}.ok")]
        if len(mine) != 1:
            found.append(f"run {id} is there {len(mine)} times")
        now = hashlib.sha256(store.read_bytes(mine[0])).hexdigest()
        if known.setdefault(id, now) != now:
            found.append(f"run {id} is altered")
    found += [f"run {id} failed: {reason}" for id, reason in store.failures().items()]
    return found


def different(folder: Path, other: Path) -> list[str]:
    """In what the final tables of two stores differ."""
    found = [f"verify: {p.path} {p.reason}" for p in Store.open(folder).verify()]
    tables: dict[str, Callable[[Path], pl.DataFrame]] = {
        "runs": table,
        "epochs": lambda f: results.epochs(f).collect().sort("run_id", "epoch").drop("seconds"),
        "predictions": lambda f: results.predictions(f).collect().sort("run_id", "sample"),
    }
    for name, read in tables.items():
        if not read(folder).equals(read(other)):
            found.append(f"the table of {name} is another one")
    return found
