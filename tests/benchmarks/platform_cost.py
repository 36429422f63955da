"""What the platform adds: to a run over the bare training function, and to a look at the help.

The same runs (CDC on digits, one epoch) are carried out by one lane of a session, and by
`training.execute` called in a loop, both with checkpoints, evaluation and commit; and once more as
nothing but steps and a prediction. Wall seconds; the lane's first run starts Ray and the worker.
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from _bench import ROOT, Row, Setting

SETS = ("pretrain.epochs=1", "pretrain.warmup_epochs=0", "epochs=1")


def title(setting: Setting) -> str:
    """What was measured."""
    return f"{_runs(setting)} runs of CDC on digits, one epoch, one lane, wall seconds"


def _runs(setting: Setting) -> int:
    return 4 if setting.quick else 8


def rows(setting: Setting) -> list[Row]:
    """The run in a lane, by the bare function and without the platform; then the help."""
    from deep_clustering.platform import _ray

    _ray.prepare(None)  # before anything imports Ray

    import ray  # noqa: F401  # a part that is left out names what is missing

    from deep_clustering.platform.request import resolve
    from deep_clustering.platform.store import Store

    with tempfile.TemporaryDirectory(prefix="deep-clustering-benchmark-") as scratch:
        folder = Path(scratch)
        request = resolve("cdc", "digits", root=folder / "data", sets=SETS)
        jobs = request.jobs(range(_runs(setting) + 1))
        start, lane, threads = _in_a_lane(jobs, Store.open(folder / "lane"))
        before = torch.get_num_threads()
        torch.set_num_threads(threads)
        bare = _bare(jobs, Store.open(folder / "bare"))
        steps = _steps(jobs, request)
        torch.set_num_threads(before)
    added = lane - bare
    return [
        Row(name="steps and prediction alone", value=steps, unit="s"),
        Row(name="training.execute", value=bare, unit="s", ratio=bare / steps, of="x steps"),
        Row(name="run in a lane", value=lane, unit="s", ratio=lane / bare, of="x execute"),
        Row(name="added by the lane", value=added, unit="s", at_most=0.3),
        Row(name="added to steps, all told", value=lane - steps, unit="s"),
        Row(name="command to first run's end", value=start, unit="s"),
        *_help(setting),
    ]


def _in_a_lane(jobs: list[Any], store: Any) -> tuple[float, float, int]:
    """Seconds to the end of the first run, median of the later ones, threads of the worker."""
    from deep_clustering.platform.lanes import Session

    begun = time.monotonic()
    ends: dict[str, float] = {}
    with Session(store, provenance={}, parallel=1) as session:
        session.ask("submit", [job.as_json() for job in jobs])
        session.ask("close")
        runs = {job.id: 0 for job in jobs if job.kind == "run"}
        seen = 0
        while len(ends) < len(runs):
            news = session.ask("wait", runs, seen)
            seen = news["version"]
            for i, job in news["jobs"].items():
                if job["state"] == "failed":
                    raise RuntimeError(f"run {i} failed: {job['reason']}")
                if job["state"] == "done":
                    ends.setdefault(i, time.monotonic())
            session.check()
        threads = session.room.threads
    times = sorted(ends.values())
    gaps = [b - a for a, b in zip(times, times[1:], strict=False)]
    return times[0] - begun, statistics.median(gaps), threads


class _Silent:
    """Progress that nobody watches."""

    def epoch(self, epoch: int, values: Any) -> None:
        pass

    def note(self, text: str) -> None:
        pass

    def cancelled(self) -> bool:
        return False


def _bare(jobs: list[Any], store: Any) -> float:
    """Median seconds of a run by the function that a lane calls, after a first one."""
    from deep_clustering.methods._replicas import Replicas
    from deep_clustering.platform.training import Workplace, execute

    device = _device()
    place = Workplace(store, device, Replicas.alone(device), {})
    times = []
    for job in jobs:
        begun = time.monotonic()
        execute(job, place, _Silent())
        times.append(time.monotonic() - begun)
    return statistics.median(times[-(len(jobs) - 2) :])  # without the pretraining and the first


def _steps(jobs: list[Any], request: Any) -> float:
    """Median seconds of a run's mathematics: build, initialise, steps, one prediction."""
    from deep_clustering.methods._images import Images
    from deep_clustering.methods._replicas import Replicas

    device = _device()
    data, config = request.dataset, request.config
    images = Images(data.images, mean=data.mean, std=data.std, device=device)
    score = torch.from_numpy(data.score)
    times = []
    for seed in range(len(jobs) - 1):
        begun = time.monotonic()
        model = request.record.build(
            config, images=images, replicas=Replicas.alone(device), seed=seed, encoder_state=None
        )
        model.initialise()
        shuffled = torch.from_numpy(data.train)[torch.randperm(len(data.train))].to(device)
        size = config.batch_size
        for first in range(0, len(shuffled) - size + 1, size):
            model.step(shuffled[first : first + size])
        {head: p.cpu() for head, p in model.predict(score).items()}
        times.append(time.monotonic() - begun)
    return statistics.median(times[1:])


def _device() -> torch.device:
    """What a lane would take."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def _help(setting: Setting) -> list[Row]:
    """CPU seconds of `platform --help` beside those of an interpreter that imports click."""
    command = ["-m", "deep_clustering.platform.cli", "--help"]
    repeats = 3 if setting.quick else 7
    ours = statistics.median(_child(command) for _ in range(repeats))
    click = statistics.median(_child(["-c", "import click"]) for _ in range(repeats))
    return [
        Row(name="platform --help, CPU", value=ours, unit="s", ratio=ours / click, of="x click")
    ]


def _child(arguments: list[str]) -> float:
    before = os.times()
    subprocess.run([sys.executable, *arguments], cwd=ROOT, capture_output=True, check=True)
    after = os.times()
    return (
        after.children_user + after.children_system - before.children_user - before.children_system
    )
