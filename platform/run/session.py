"""Lanes: long-lived Ray Train worker groups that carry out one job after another.

A `Session` is one command's use of Ray: it starts (or joins) a cluster, one planner and as many
lanes as fit, and leaves nothing behind.
"""

import contextlib
import logging
import os
import secrets
import socket
import tempfile
import threading
import traceback
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import ray
from ray import train

from deep_clustering.platform.errors import EnvironmentProblem, StorageError
from deep_clustering.platform.run._ray import guard
from deep_clustering.platform.run.planner import Planner

#: Memory that one training process needs beside its data: torch, Ray and a small model (MiB).
_PROCESS_MB = 1500
#: How often Ray Train starts a lane anew before the lane counts as gone; the planner bounds how
#: often one job may kill its worker.
_LANE_LIVES = 16
#: Seconds that a lane gets to leave.
_LEAVE = 10.0


@dataclass(frozen=True, kw_only=True)
class Room:
    """How a command uses the machine or cluster; every number is at least what was asked."""

    lanes: int  # worker groups
    workers: int  # processes of one lane
    cpus: float  # CPUs reserved by one process
    gpus: float  # GPUs reserved by one process; 0 means CPU training
    threads: int  # CPU threads of one process


def room(
    resources: Mapping[str, float],
    memory_mb: float | None,
    *,
    parallel: int,
    workers: int = 1,
    gpus_per_run: float | None = None,
) -> Room:
    """How many lanes fit.

    The answer depends on the request and the machine, never on what is left to do: a command that
    was killed and repeated trains with the same number of threads, hence to the same bits.

    Args:
        resources: "CPU" and "GPU" of the machine or cluster.
        memory_mb: free memory in MiB, which bounds the number of processes; None where Ray has to
            see to that, on a cluster.
        parallel: how many runs the request could train side by side.
        workers: processes of one run (data parallel).
        gpus_per_run: share of a GPU for each process; None takes a whole one when there is one.

    Raises:
        EnvironmentProblem: not even one lane fits.
    """
    cpus, available = int(resources.get("CPU", 1)), resources.get("GPU", 0.0)
    if gpus_per_run and not available:
        raise EnvironmentProblem(
            f"--gpus-per-run {gpus_per_run:g} needs a GPU and there is none; "
            "leave the option out to train on the CPU."
        )
    gpus = (1.0 if gpus_per_run is None else gpus_per_run) if available else 0.0
    fit = int(available / gpus + 1e-9) // workers if gpus else cpus // workers
    if memory_mb is not None:
        fit = min(fit, int(memory_mb // (_PROCESS_MB * workers)))
    if fit < 1:
        memory = "" if memory_mb is None else f" and {memory_mb:.0f} MiB of free memory"
        has = f"{cpus} CPUs, {available:g} GPUs{memory}"
        raise EnvironmentProblem(
            f"{workers} worker processes do not fit: there are {has}; use fewer --workers."
        )
    lanes = max(1, min(fit, parallel))
    threads = max(1, cpus // (lanes * workers))
    # A tenth of a CPU stays free, so that Tune's relays find their sliver.
    return Room(lanes=lanes, workers=workers, cpus=threads - 0.1, gpus=gpus, threads=threads)


class Session:
    """Ray for the length of one command; use as a context manager.

    Args:
        store: where results go; its URI is what the lanes open.
        provenance: columns that every row of this command carries.
        parallel: how many runs could train side by side.
        workers, gpus_per_run: see `room`.
        address: of a Ray cluster; None starts one of this command's own and never joins another.

    Raises:
        EnvironmentProblem: Ray does not start, the address does not answer, or no lane fits.
    """

    def __init__(
        self,
        store: Any,
        *,
        provenance: Mapping[str, Any],
        parallel: int,
        workers: int = 1,
        gpus_per_run: float | None = None,
        address: str | None = None,
    ) -> None:
        self._store, self._address = store, address
        self._provenance = dict(provenance)
        self._parallel, self._workers, self._gpus = parallel, workers, gpus_per_run
        self._threads: list[threading.Thread] = []
        self._errors: list[str] = []

    def __enter__(self) -> "Session":
        # A socket's path is at most 107 characters long, so not in a user's long temporary folder.
        short = "/tmp" if os.path.isdir("/tmp") else None
        scratch = tempfile.mkdtemp(prefix="deep-clustering-", dir=short)
        # Ray Train and Tune want one place that all nodes see, although nothing is kept there.
        self.storage = f"{self._store.uri}/scratch" if self._address else scratch
        _start(self._address, scratch)
        self._guard = guard(scratch)
        try:
            self.room = room(
                ray.cluster_resources(),
                _free_memory_mb() if self._address is None else None,
                parallel=self._parallel,
                workers=self._workers,
                gpus_per_run=self._gpus,
            )
            actor = ray.remote(num_cpus=0, max_concurrency=1000)(Planner)
            self.planner: Any = actor.remote(sorted(self._store.stages()))
            for lane in range(self.room.lanes):
                thread = threading.Thread(target=self._keep, args=(lane,), daemon=True)
                thread.start()
                self._threads.append(thread)
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(self, kind: type | None, *_: object) -> None:
        """End Ray when nothing uses it any more; otherwise leave that to the end of the process.

        Ray ends a process whose threads call it after a shutdown. After a Ctrl-C the lanes' and
        Tune's threads still wait for it, so `leave` ends the command at once and the guard the
        rest. Lanes hold nothing that is not in the store.
        """
        if kind is None:  # idle lanes leave by themselves
            with contextlib.suppress(EnvironmentProblem):
                self.ask("close")
            for thread in self._threads:
                thread.join(timeout=_LEAVE)
        if kind is None and not any(thread.is_alive() for thread in self._threads):
            self._stop()

    def _stop(self) -> None:
        ray.shutdown()
        assert self._guard.stdin is not None
        self._guard.stdin.close()
        if self._address:
            self._store.delete("scratch")

    def ask(self, method: str, *args: Any) -> Any:
        """Call the planner and wait for its answer.

        Raises:
            EnvironmentProblem: Ray died; the same command continues.
        """
        try:
            return ray.get(getattr(self.planner, method).remote(*args), timeout=60)
        except (ray.exceptions.RayError, ConnectionError) as error:
            raise EnvironmentProblem(
                f"Ray died ({type(error).__name__}); give the same command again to continue."
            ) from error

    def check(self) -> None:
        """Raises EnvironmentProblem when every lane is gone although there is work."""
        if self._errors and not any(t.is_alive() for t in self._threads):
            raise EnvironmentProblem(
                f"no worker is left: {self._errors[-1]}; give the same command again to continue."
            )

    def _keep(self, lane: int) -> None:
        """One lane's trainer, from start to end, in a thread of the command."""
        from ray.train.torch import TorchConfig, TorchTrainer

        settings = {
            "lane": lane,
            "planner": self.planner,
            "store": self._store.uri,
            "provenance": self._provenance,
            "threads": self.room.threads,
        }
        trainer = TorchTrainer(
            serve,
            train_loop_config=settings,
            torch_config=TorchConfig(backend="cpu:gloo,cuda:nccl" if self.room.gpus else "gloo"),
            scaling_config=train.ScalingConfig(
                num_workers=self.room.workers,
                use_gpu=self.room.gpus > 0,
                resources_per_worker={
                    "CPU": self.room.cpus,
                    **({"GPU": self.room.gpus} if self.room.gpus else {}),
                },
            ),
            run_config=train.RunConfig(
                name=f"lane-{lane}-{secrets.token_hex(4)}",
                storage_path=self.storage,
                failure_config=train.FailureConfig(max_failures=_LANE_LIVES),
            ),
        )
        try:
            trainer.fit()
        except Exception as error:  # whatever ended it, the lane is gone and the rest goes on
            lines = str(error).strip().splitlines() or [type(error).__name__]
            self._errors.append(lines[-1])
            with contextlib.suppress(Exception):
                self.ask("lane_gone", lane)


def _start(address: str | None, scratch: str) -> None:
    try:
        _knock(address)
        ray.init(
            address=address or "local",
            log_to_driver=False,
            logging_level=logging.CRITICAL,
            **({} if address else {"include_dashboard": False, "_temp_dir": f"{scratch}/ray"}),
        )
    except Exception as error:
        where = f"the Ray cluster at {address}" if address else "Ray on this machine"
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise EnvironmentProblem(
            f"{where} does not answer: {first}; `platform doctor` says more."
        ) from error


def _knock(address: str | None) -> None:
    """Raises OSError when nobody listens at host:port; Ray itself would try for minutes."""
    host, _, port = (address or "").removeprefix("ray://").rpartition(":")
    if port.isdigit():
        socket.create_connection((host, int(port)), timeout=5).close()


def _free_memory_mb() -> float:
    import psutil

    return psutil.virtual_memory().available / 2**20


# ---- in the worker


class _Report:
    """Progress of one job, told to the planner without waiting for it."""

    def __init__(self, planner: Any, job: str, replicas: Any) -> None:
        self._planner, self._job, self._replicas = planner, job, replicas
        self._stop = threading.Event()
        if replicas.rank == 0:
            threading.Thread(target=self._watch, daemon=True).start()

    def _watch(self) -> None:
        with contextlib.suppress(Exception):  # the planner went away: the lane ends with it
            ray.get(self._planner.wanted.remote(self._job))
            self._stop.set()

    def epoch(self, epoch: int, values: Mapping[str, Any]) -> None:
        plain = {k: v for k, v in values.items() if isinstance(v, (int, float))}
        self._planner.epoch.remote(self._job, epoch, plain)

    def note(self, text: str) -> None:
        self._planner.note.remote(text)

    def cancelled(self) -> bool:
        return bool(_share(self._replicas, self._stop.is_set()))


def serve(settings: dict[str, Any]) -> None:
    """The loop of a lane's workers: take a job, carry it out, again."""
    import torch
    from ray.train.torch import get_device

    from deep_clustering.methods.learning.replicas import Replicas
    from deep_clustering.platform.request.jobs import Job
    from deep_clustering.platform.run.execute import Workplace
    from deep_clustering.platform.store.store import Store

    torch.set_num_threads(settings["threads"])
    device = get_device()
    torch.backends.cudnn.benchmark = device.type == "cuda"  # shapes never change within a run
    world = train.get_context().get_world_size()
    replicas = Replicas.joined(device) if world > 1 else Replicas.alone(device)
    place = Workplace(Store.open(settings["store"]), device, replicas, settings["provenance"])
    planner, lane = settings["planner"], settings["lane"]
    if replicas.rank == 0:
        ray.get(planner.enter.remote(lane))
    while True:
        with _next(planner, lane, place, replicas) as given:
            if given is None:
                return
            _carry_out(Job.from_json(given), place, planner, lane)


@contextlib.contextmanager
def _next(planner: Any, lane: int, place: Any, replicas: Any) -> Iterator[dict[str, Any] | None]:
    """The next job, the same on every rank, claimed among all commands that share the store."""
    given: dict[str, Any] | None = None
    with contextlib.ExitStack() as held:
        while replicas.rank == 0:
            given = ray.get(planner.next.remote(lane))
            if given is None:
                break
            lock = place.store.lock(given["id"])
            if lock is None:
                ray.get(planner.busy.remote(given["id"], lane))
                continue
            held.enter_context(lock)
            stored = _stored(place.store, given)
            if stored is None:
                break
            held.close()
            ray.get(planner.finished.remote(given["id"], lane, stored))
        yield _share(replicas, given)


def _share(replicas: Any, value: Any) -> Any:
    """Rank 0's value, on every rank; free in a lane of one process."""
    if replicas.world == 1:
        return value
    import torch
    import torch.distributed as dist

    box = [value]
    dist.broadcast_object_list(box, src=0, device=torch.device("cpu"))
    return box[0]


def _stored(store: Any, job: Mapping[str, Any]) -> dict[str, Any] | None:
    """What another command has committed since the job was planned."""
    if job["kind"] != "run":
        return {} if store.stage_ready(job["id"]) else None
    return store.metrics_of(job["id"]) if store.has_run(job["id"]) else None


def _carry_out(job: Any, place: Any, planner: Any, lane: int) -> None:
    from deep_clustering.platform.run.checkpoints import Checkpoints
    from deep_clustering.platform.run.execute import Cancelled, Diverged, execute, failure

    chief = place.replicas.rank == 0

    def fail(reason: str, **rest: Any) -> None:
        if chief:
            failure(job, place.store, reason, place.provenance, **rest)
            ray.get(planner.failed.remote(job.id, lane, reason))

    try:
        values = execute(job, place, _Report(planner, job.id, place.replicas))
        if chief:
            ray.get(planner.finished.remote(job.id, lane, values))
    except Cancelled:
        if chief:
            failure(job, place.store, "stopped early", place.provenance, status="stopped")
            Checkpoints(place.store, job.id).keep_last()
            ray.get(planner.stopped.remote(job.id, lane))
    except Diverged as error:
        fail(str(error))
    except StorageError as error:  # the command ends: it could not acknowledge anything
        ray.get(planner.unwritable.remote(str(error)))
        raise
    except Exception as error:
        out_of_memory = type(error).__name__ == "OutOfMemoryError"
        batch = job.identity["config"].get("batch_size")
        reason = f"{type(error).__name__}: {(str(error).strip() or 'no message').splitlines()[0]}"
        if out_of_memory:
            reason = f"out of GPU memory at batch_size {batch}; set a smaller one"
        fail(reason, traceback=traceback.format_exc())
        # After a CUDA error the process cannot be trusted, and after one rank's error the others
        # wait for it: both end this worker group, and Ray Train starts a fresh one.
        if place.replicas.world > 1 or place.device.type == "cuda":
            raise
