"""One command's use of Ray: a cluster started or joined, one planner, and as many lanes as fit.

A lane is a long-lived process, or a worker group, that carries out one job after another
(`lane.serve`).
A session leaves nothing behind.
"""

import contextlib
import os
import tempfile
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import ray

from deep_clustering.platform.errors import EnvironmentProblem
from deep_clustering.platform.request.options import Compute
from deep_clustering.platform.run._cluster import Cluster
from deep_clustering.platform.run._lanes import Settings, keep
from deep_clustering.platform.run.client import Client
from deep_clustering.platform.run.log import Log
from deep_clustering.platform.store.store import Store

#: Memory that one training process needs beside its data: torch, Ray and a small model (MiB).
_PROCESS_MB = 1500
#: Where scratch folders go if that can be written, else where TMPDIR says: the path of a socket is
#: at most 107 characters long, and a user's temporary folder may be deep.
_SHORT = "/tmp"
#: Seconds that a lane gets to leave.
_LEAVE = 10.0


@dataclass(frozen=True, kw_only=True)
class Room:
    """How a command uses the machine or cluster; every number is at least what was asked."""

    lanes: int  # worker groups
    workers: int  # processes of one lane
    cpus: float  # CPUs reserved by one process
    gpus: float  # GPUs reserved by one process; 0 means CPU training
    threads: int  # CPU threads of one process that carries out a run
    stage_threads: int  # and of one that computes a stage


@dataclass(frozen=True)
class Machine:
    """What one machine has."""

    cpus: int
    gpus: float = 0

    def fits(self, cpus: int, gpus: float) -> int:
        """How many processes it has place for.

        Args:
            cpus, gpus: that each of them takes.
        """
        by_cpus = self.cpus // cpus
        return min(by_cpus, int(self.gpus / gpus + 1e-9)) if gpus else by_cpus


def room(
    machines: Sequence[Machine],
    memory_mb: float | None,
    *,
    parallel: int,
    stages: int = 0,
    workers: int = 1,
    gpus_per_run: float | None = None,
) -> Room:
    """How many lanes fit.

    The answer depends on the request and the machines, never on what is left to do: a command that
    was killed and repeated trains with the same number of threads, hence to the same bits.

    Args:
        machines: at least one.
        memory_mb: free memory in MiB, which bounds the number of processes; None where Ray has to
            see to that, on a cluster.
        parallel: how many runs the request could train side by side.
        stages: how many stages it could compute side by side, 0: as many as runs. Where these are
            few, each has more threads than a run, since the other lanes wait for it.
        workers: processes of one run (data parallel).
        gpus_per_run: share of a GPU for each process; None takes a whole one when there is one.

    Raises:
        EnvironmentProblem: not even one lane fits.
    """
    cpus, available = sum(m.cpus for m in machines), sum(m.gpus for m in machines)
    if gpus_per_run and not available:
        raise EnvironmentProblem(
            f"--gpus-per-run {gpus_per_run:g} needs a GPU and there is none; "
            "leave the option out to train on the CPU."
        )
    gpus = (1.0 if gpus_per_run is None else gpus_per_run) if available else 0.0
    fit = sum(m.fits(1, gpus) for m in machines) // workers
    if memory_mb is not None:
        fit = min(fit, int(memory_mb // (_PROCESS_MB * workers)))
    if fit < 1:
        memory = "" if memory_mb is None else f" and {memory_mb:.0f} MiB of free memory"
        has = f"{cpus} CPUs, {available:g} GPUs{memory}"
        raise EnvironmentProblem(
            f"{workers} worker processes do not fit: there are {has}; use fewer --workers."
        )
    lanes = min(fit, parallel)
    threads = _threads(machines, lanes * workers, gpus)
    return Room(
        lanes=lanes,
        workers=workers,
        cpus=threads - 0.1,  # the rest stays free, so that Tune's relays find their sliver
        gpus=gpus,
        threads=threads,
        stage_threads=_threads(machines, min(lanes, stages or lanes) * workers, gpus),
    )


def _threads(machines: Sequence[Machine], processes: int, gpus: float) -> int:
    """The most CPUs that each of some processes can have at once, each of them on one machine."""
    most = max(machine.cpus for machine in machines)
    return next(
        t for t in range(most, 0, -1) if sum(m.fits(t, gpus) for m in machines) >= processes
    )


class Session:
    """Ray for the length of one command; use as a context manager.

    Args:
        store: where results go; its URI is what the lanes open.
        provenance: columns that every row of this command carries.
        parallel: how many runs could train side by side.
        stages: how many stages could be computed side by side; 0: as many as runs.
        first: how many jobs there are that stand on nothing that is missing: so many lanes start at
            once, the others when those are under way; 0: all start at once.
        compute: `workers` and `gpus_per_run` as in `room`; `run_limit`, minutes for one job;
            `evaluate_every`, epochs of a training;
            `address` of a Ray cluster, None starts one of this command's own and never joins
            another.

    Attributes:
        planner: takes the work.
        room: how the machine is used.
        storage: a place that all nodes see, for what Ray Train and Tune want to write.
        log: where epochs are written beside the store, None: nowhere; it is closed at the end.

    Raises:
        EnvironmentProblem: Ray does not start, the address does not answer, or no lane fits.
    """

    planner: Client
    room: Room
    log: Log | None = None

    def __init__(
        self,
        store: Store,
        compute: Compute,
        *,
        provenance: Mapping[str, str | bool | None],
        parallel: int,
        stages: int = 0,
        first: int = 0,
    ) -> None:
        self._store, self._compute = store, compute
        self._parallel, self._stages, self._first = parallel, stages, first
        self._limit = None if compute.run_limit is None else 60 * compute.run_limit
        self.provenance = dict(provenance)
        self._threads: list[threading.Thread] = []
        self._errors: list[str] = []

    def __enter__(self) -> "Session":
        address, scratch = self._compute.address, _scratch()
        # Ray Train and Tune want one place that all nodes see, although nothing is kept there.
        self.storage = f"{self._store.uri}/scratch" if address else scratch
        self._cluster = Cluster(address, scratch)
        self._cluster.start()
        try:
            self.room = room(
                _machines(),
                _free_memory_mb() if address is None else None,
                parallel=self._parallel,
                # On a cluster that others use as well, no more than was reserved.
                stages=self._stages if address is None else 0,
                workers=self._compute.workers,
                gpus_per_run=self._compute.gpus_per_run,
            )
            self.planner = Client.start(self._limit)
            for lane in range(self.room.lanes):
                thread = threading.Thread(target=self._keep, args=(lane,), daemon=True)
                thread.start()
                self._threads.append(thread)
        except Exception:
            self._stop()
            raise
        return self

    def __exit__(self, kind: type | None, *_: object) -> None:
        """Leave Ray alone: it ends with the process, by `_ray.leave` and the guard.

        To end it takes seconds, and Ray ends a process in which anything, even the end of a handle,
        still reaches for it by then. Lanes hold nothing that is not in the store. A cluster that
        was joined stays, and so would the lanes: they leave first, unless the command was cut off.
        """
        if self.log is not None:
            self.log.close()
        if kind is not None or not self._compute.address:
            return
        with contextlib.suppress(EnvironmentProblem):
            self.planner.close()
        for thread in self._threads:
            thread.join(timeout=_LEAVE)
        if not any(thread.is_alive() for thread in self._threads):
            self._stop()

    def _stop(self) -> None:
        self._cluster.stop()
        if self._compute.address:
            self._store.delete("scratch")

    def check(self) -> None:
        """Raises EnvironmentProblem when Ray is gone, or every lane although there is work."""
        self._cluster.check()
        if self._errors and not any(t.is_alive() for t in self._threads):
            raise EnvironmentProblem(
                f"no worker is left: {self._errors[-1]}; give the same command again to continue."
            )

    def under_way(self) -> None:
        """Wait until those who begin have begun; see `planner.Planner.under_way`.

        Nobody waits for a lane of several processes: they take long to start.
        """
        if self.room.workers == 1:
            self.planner.under_way()

    def _keep(self, lane: int) -> None:
        """One lane, from start to end, in a thread of the command."""
        settings = Settings(
            lane=lane,
            planner=self.planner.actor,
            store=self._store.uri,
            provenance=self.provenance,
            threads=self.room.threads,
            stage_threads=self.room.stage_threads,
            limit=self._limit,
            evaluate_every=self._compute.evaluate_every,
        )
        try:
            if self._first and lane >= self._first:
                self.under_way()
            keep(settings, self.room, self.storage)
        except Exception as error:  # whatever ended it, the lane is gone and the rest goes on
            lines = str(error).strip().splitlines() or [type(error).__name__]
            self._errors.append(lines[-1])
            with contextlib.suppress(Exception):
                self.planner.lane_gone(lane)


def _scratch() -> str:
    """A new folder for what Ray writes.

    Raises:
        EnvironmentProblem: no temporary folder can be written.
    """
    short = _SHORT if os.access(_SHORT, os.W_OK | os.X_OK) else None
    try:
        return tempfile.mkdtemp(prefix="deep-clustering-", dir=short)
    except OSError as error:
        raise EnvironmentProblem(
            f"no temporary folder can be written ({error.strerror}); name one with TMPDIR."
        ) from error


def _machines() -> list[Machine]:
    alive = (node["Resources"] for node in ray.nodes() if node["Alive"])
    return [Machine(int(has.get("CPU", 0)), has.get("GPU", 0)) for has in alive]


def _free_memory_mb() -> float:
    import psutil

    return psutil.virtual_memory().available / 2**20
