"""A lane's worker: takes a job, carries it out, again, until the planner has no more."""

import contextlib
import faulthandler
import math
import os
import threading
import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import TypeVar

import torch
from ray import train

from deep_clustering.methods.compute.replicas import Replicas
from deep_clustering.platform.data.dataset import default_root
from deep_clustering.platform.errors import InputError, StorageError
from deep_clustering.platform.request.jobs import Job
from deep_clustering.platform.run import failure, record
from deep_clustering.platform.run._eager import optimisers_without_compiler
from deep_clustering.platform.run._lanes import Settings
from deep_clustering.platform.run.checkpoints import Checkpoints
from deep_clustering.platform.run.client import Client
from deep_clustering.platform.run.execute import execute
from deep_clustering.platform.run.failure import Cancelled, Failure, Kind
from deep_clustering.platform.run.progress import Numbers, numbers_stored
from deep_clustering.platform.run.workplace import Workplace
from deep_clustering.platform.store.store import Store

#: Seconds after which a lane that waits for work makes use of the time, and tells a view more.
_MOMENT = 0.5

T = TypeVar("T")


class _Report:
    """Progress of one job, told to the planner without waiting for it."""

    def __init__(self, planner: Client, job: str, replicas: Replicas) -> None:
        self._planner, self._job, self._replicas = planner, job, replicas
        self._stop = threading.Event()
        self._told = -math.inf  # when a view was last told of images
        if replicas.rank == 0:
            threading.Thread(target=self._watch, daemon=True).start()

    def _watch(self) -> None:
        with contextlib.suppress(Exception):  # the planner went away: the lane ends with it
            self._planner.wanted(self._job)
            self._stop.set()

    def epoch(self, epoch: int, values: Numbers) -> None:
        plain = {k: v for k, v in values.items() if isinstance(v, (int, float))}
        self._planner.epoch(self._job, epoch, plain)

    def images(self, done: int, of: int) -> None:
        now = time.monotonic()
        if now - self._told >= _MOMENT:
            self._told = now
            self._planner.images(self._job, done, of)

    def note(self, text: str) -> None:
        self._planner.note(text)

    def cancelled(self) -> bool:
        return _share(self._replicas, self._stop.is_set())


@contextlib.contextmanager
def _ahead() -> Iterator[None]:
    """Import what a training will need while this waits, for longer than a moment, for its work."""
    timer = threading.Timer(_MOMENT, _prepare)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _prepare() -> None:
    import sklearn.cluster
    import sklearn.metrics  # noqa: F401


def keep_programs(place: Path) -> None:
    """Let PyTorch's compiler keep there what it makes, for all lanes, unless it was told where.

    Several processes may write there at once. Where it cannot be written PyTorch's own place stays.
    """
    with contextlib.suppress(OSError):
        place.mkdir(parents=True, exist_ok=True)
        if os.access(place, os.W_OK | os.X_OK):
            os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(place))


def serve(given: dict[str, Settings]) -> None:
    """The loop of one worker; `given` holds the `Settings` under "settings"."""
    from ray.train.torch import get_device

    optimisers_without_compiler()
    settings = given["settings"]
    torch.set_num_threads(settings.threads)
    device = get_device()
    torch.backends.cudnn.benchmark = device.type == "cuda"  # shapes never change within a run
    if device.type == "cuda":
        with contextlib.suppress(InputError):  # there is no home folder
            keep_programs(default_root() / "programs")
    world = train.get_context().get_world_size()
    replicas = Replicas.joined(device) if world > 1 else Replicas.alone(device)
    place = Workplace(
        Store.open(settings.store),
        device,
        replicas,
        settings.provenance,
        evaluate_every=settings.evaluate_every,
    )
    planner = Client(settings.planner)
    if replicas.rank == 0:
        planner.enter(settings.lane)
    while True:
        with _next(planner, settings.lane, place) as job:
            if job is None:
                return
            torch.set_num_threads(settings.stage_threads if job.is_stage else settings.threads)
            with _limited(settings.limit):
                _carry_out(job, place, planner, settings.lane)


@contextlib.contextmanager
def _limited(seconds: float | None) -> Iterator[None]:
    """End this process after a while, whatever hangs in it: by a thread that needs no Python."""
    if seconds is None:
        yield
        return
    with open(os.devnull, "w") as nowhere:
        faulthandler.dump_traceback_later(seconds, exit=True, file=nowhere)
        try:
            yield
        finally:
            faulthandler.cancel_dump_traceback_later()


@contextlib.contextmanager
def _next(planner: Client, lane: int, place: Workplace) -> Iterator[Job | None]:
    """The next job, the same on every rank, locked among all commands that share the store."""
    job: Job | None = None
    with contextlib.ExitStack() as locks:
        while place.replicas.rank == 0:
            with _ahead():
                job = planner.next(lane)
            if job is None:
                break
            lock = place.store.lock(job.id)
            if lock is None:
                planner.busy(job.id, lane)
                continue
            locks.enter_context(lock)
            stored = numbers_stored(place.store, job)
            if stored is None:
                break
            locks.close()  # another command has committed it since it was planned
            planner.finished(job.id, lane, stored)
        yield _share(place.replicas, job)


def _share(replicas: Replicas, value: T) -> T:
    """Rank 0's value, on every rank; free in a lane of one process."""
    if replicas.world == 1:
        return value
    import torch.distributed as dist

    box = [value]
    dist.broadcast_object_list(box, src=0, device=torch.device("cpu"))
    return box[0]


def _carry_out(job: Job, place: Workplace, planner: Client, lane: int) -> None:
    chief = place.replicas.rank == 0
    try:
        values = execute(job, place, _Report(planner, job.id, place.replicas))
        if chief:
            planner.finished(job.id, lane, values)
    except Cancelled:
        if chief:
            stopped = Failure(kind=Kind.STOPPED, reason="stopped early")
            record.failure(job, place.store, stopped, place.provenance)
            Checkpoints(place.store, job.id).keep_last()
            planner.stopped(job.id, lane)
    except StorageError as error:  # the command ends: it could not acknowledge anything
        planner.unwritable(str(error))
        raise
    except Exception as error:
        if failure.another_died(error):
            raise  # Ray Train starts a fresh group, and the planner hands out the job once more
        told = failure.of(error, job.config.get("batch_size"))
        if chief:
            text = None if told.kind is Kind.DIVERGED else traceback.format_exc()
            record.failure(job, place.store, told, place.provenance, text)
            planner.failed(job.id, lane, told)
        if told.kind is Kind.DIVERGED:
            return
        # After a CUDA error the process cannot be trusted, and after one rank's error the others
        # wait for it: both end this worker group, and Ray Train starts a fresh one.
        if place.replicas.world > 1 or place.device.type == "cuda":
            raise
