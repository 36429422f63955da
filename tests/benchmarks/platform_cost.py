"""What the platform adds: to a run over the bare training function, and to a look at a list.

The same runs (CDC on digits, one epoch) are carried out in turns by one lane of a session; by
`execute` in this process, like the lane with checkpoints, evaluations and commit; and as
nothing but steps and a prediction. Wall seconds with one thread, the shortest of each: others on
the machine can only lengthen them, and lengthen them most where threads wait for one another. The
first run of the lane starts Ray and the worker, and stands by itself.
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from _bench import ROOT, Row, Setting

#: Command that lists -> seconds that it may take.
_LISTS = {"--help": 0.3, "methods": 0.3, "methods cdc": 0.3, "datasets": 0.3, "suites": 0.5}

SETS = ("pretrain.epochs=1", "pretrain.warmup_epochs=0", "epochs=1")


def title(setting: Setting) -> str:
    """What was measured."""
    return f"a run of CDC on digits, one epoch, wall seconds, best of {_runs(setting)}"


def _runs(setting: Setting) -> int:
    return 4 if setting.quick else 8


def rows(setting: Setting) -> list[Row]:
    """The run in a lane, by the bare function and without the platform; then the help."""
    from deep_clustering.platform.run import _ray

    _ray.prepare(None)  # before anything imports Ray

    from deep_clustering.platform.request.options import Asked, Train
    from deep_clustering.platform.request.request import resolve
    from deep_clustering.platform.run import session as lanes
    from deep_clustering.platform.store.store import Store

    with tempfile.TemporaryDirectory(prefix="deep-clustering-benchmark-") as scratch:
        folder = Path(scratch)
        asked = Asked(method="cdc", dataset="digits", sets=SETS)
        request = resolve(asked, root=folder / "data")
        stage, *runs = request.wanted(range(_runs(setting) + 1)).jobs
        store = Store.open(folder / "lane")
        bare = _Bare(request, Store.open(folder / "bare"))
        bare.execute(stage)
        bare.execute(runs[0])
        begun = time.monotonic()
        lane, execute, steps = [], [], []
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        compute = Train(method="cdc", dataset="digits")
        one = lanes.Session(store, compute, provenance={}, parallel=1)
        with _one_thread(lanes), one as session:
            _carry_out(session, [stage, runs[0]])
            start = time.monotonic() - begun
            for run in runs[1:]:
                lane.append(_timed(_carry_out, session, [run]))
                execute.append(_timed(bare.execute, run))
                steps.append(_timed(bare.steps, run))
            session.planner.close()
    torch.set_num_threads(threads)
    added = min(lane) - min(execute)
    return [
        Row(name="steps and prediction alone", value=min(steps), unit="s"),
        Row(
            name="execute",
            value=min(execute),
            unit="s",
            ratio=min(execute) / min(steps),
            of="x steps",
        ),
        Row(
            name="run in a lane",
            value=min(lane),
            unit="s",
            ratio=min(lane) / min(execute),
            of="x execute",
        ),
        Row(name="added by the lane", value=added, unit="s", at_most=0.3),
        Row(name="added to the steps, in all", value=min(lane) - min(steps), unit="s"),
        Row(name="start of Ray and first run", value=start, unit="s"),
        *_lists(setting),
    ]


@contextmanager
def _one_thread(lanes: Any) -> Iterator[None]:
    """Lanes that start inside have one thread a process, however many CPUs there are."""
    fitting = lanes.room
    lanes.room = lambda *given, **named: replace(fitting(*given, **named), threads=1)
    try:
        yield
    finally:
        lanes.room = fitting


def _timed(work: Callable[..., Any], *given: Any) -> float:
    begun = time.monotonic()
    work(*given)
    return time.monotonic() - begun


def _carry_out(session: Any, jobs: list[Any]) -> None:
    """Hands jobs to the lane and waits for the last one."""
    from deep_clustering.platform.run.progress import State, Submitted

    known = session.planner.snapshot().jobs
    present = {need for job in jobs for need in job.needs.values()} & known.keys()
    session.planner.submit([Submitted(job=job) for job in jobs], present=present)
    last, seen = jobs[-1].id, 0
    while True:
        news = session.planner.wait({last: 0}, seen)
        job = news.jobs[last]
        if job.state is State.DONE:
            return
        if job.failure is not None:
            raise RuntimeError(f"run {last} failed: {job.failure.reason}")
        session.check()
        seen = news.version


class _Silent:
    """Progress that nobody watches."""

    def epoch(self, epoch: int, values: Any) -> None:
        pass

    def images(self, done: int, of: int) -> None:
        pass

    def note(self, text: str) -> None:
        pass

    def cancelled(self) -> bool:
        return False


class _Bare:
    """The same work in this process, on the device that a lane would take."""

    def __init__(self, request: Any, store: Any) -> None:
        from deep_clustering.methods.compute.replicas import Replicas
        from deep_clustering.platform.run.workplace import Workplace

        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self._request = request
        self._place = Workplace(store, device, Replicas.alone(device), {})

    def execute(self, job: Any) -> None:
        """By the function that a lane calls."""
        from deep_clustering.platform.run.execute import execute

        execute(job, self._place, _Silent())

    def steps(self, job: Any) -> None:
        """The mathematics alone: build, initialise, steps, one prediction."""
        place, data, config = self._place, self._request.dataset, self._request.config
        method = self._request.record
        model = method.build(
            config,
            images=place.images(job)[1],
            replicas=place.replicas,
            seed=job.seed,
            index=torch.from_numpy(data.train),
            **place.given(job, method),
        )
        model.initialise()
        shuffled = torch.from_numpy(data.train)[torch.randperm(len(data.train))].to(place.device)
        for first in range(0, len(shuffled) - config.batch_size + 1, config.batch_size):
            model.step(shuffled[first : first + config.batch_size])
        for probabilities in model.predict(torch.from_numpy(data.score)).values():
            probabilities.cpu()


def _lists(setting: Setting) -> list[Row]:
    """CPU seconds of commands that list."""
    repeats = 3 if setting.quick else 7
    rows = []
    for command, most in _LISTS.items():
        arguments = ["-m", "deep_clustering.platform.start", *command.split()]
        seconds = statistics.median(_child(arguments) for _ in range(repeats))
        rows.append(Row(name=f"platform {command}, CPU", value=seconds, unit="s", at_most=most))
    return rows


def _child(arguments: list[str]) -> float:
    before = os.times()
    subprocess.run([sys.executable, *arguments], cwd=ROOT, capture_output=True, check=True)
    after = os.times()
    return (
        after.children_user + after.children_system - before.children_user - before.children_system
    )
