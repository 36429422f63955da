"""What is known of work while it runs: by whoever carries it out, by the planner, by a view."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from deep_clustering.platform.request.configs import Value
from deep_clustering.platform.request.jobs import RUN, Job
from deep_clustering.platform.run.failure import Failure
from deep_clustering.platform.store.store import Store

#: Numbers of a job: losses, metrics, criteria.
Numbers = Mapping[str, float | None]


def numbers_in(row: Mapping[str, Value]) -> dict[str, float | None]:
    """The numbers of a row, without its configuration: what a search and a view are told."""
    return {k: v for k, v in row.items() if isinstance(v, (int, float)) and "." not in k}


def numbers_stored(store: Store, job: Job) -> Numbers | None:
    """The numbers of a job's result in a store; None where there is none."""
    if job.id not in store.done([job.id]):
        return None
    return numbers_in(store.run_row(job.id)) if job.kind == RUN else {}


class Observer(Protocol):
    """How a job is watched by the process that carries it out."""

    def epoch(self, epoch: int, values: Numbers) -> None:
        """`epoch` epochs are done, and durable once the next is; `values`: losses and metrics."""

    def images(self, done: int, of: int) -> None:
        """So many images of a pass over them are through; first, those that were before."""

    def note(self, text: str) -> None:
        """Something a person should read."""

    def cancelled(self) -> bool:
        """Whether nobody wants the job any more; asked between steps."""


class State(StrEnum):
    """Where a job stands."""

    WAITING = "waiting"
    RUNNING = "running"
    ELSEWHERE = "elsewhere"  # another command is computing it
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def final(self) -> bool:
        """Whether nothing more will happen to the job."""
        return self in (State.DONE, State.FAILED, State.CANCELLED)


@dataclass(frozen=True, kw_only=True)
class Submitted:
    """A job handed to the planner, with what the store knows of it.

    Attributes:
        stored: the numbers of its result, None where it has none.
        failure: why an earlier attempt has no result, None where there was none or it is retried.
    """

    job: Job
    stored: Numbers | None = None
    failure: Failure | None = None


@dataclass(frozen=True, kw_only=True)
class Progress:
    """A job as the planner knows it.

    Attributes:
        epochs, epoch: in all, and done.
        begun: epochs that were done before this command.
        images: of a pass: those that are through, those that were before this command, all; else
            None.
        elapsed: seconds in lanes.
    """

    kind: str
    epochs: int
    state: State
    epoch: int
    values: Numbers
    failure: Failure | None
    elapsed: float
    begun: int = 0
    images: tuple[int, int, int] | None = None

    @property
    def left(self) -> float | None:
        """Seconds that it will take at the pace of this command; None where that is not known."""
        done, before, of = self.images or (self.epoch, self.begun, self.epochs)
        return self.elapsed / (done - before) * (of - done) if done > before else None


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """What a view shows.

    Attributes:
        version: what to pass to the next call.
        jobs: id -> progress, of those that changed since the last call, and of those that run.
        notes: (time, text), the time in seconds since 1970.
        storage: why nothing can be written any more, None while it can.
    """

    version: int
    jobs: Mapping[str, Progress]
    notes: tuple[tuple[float, str], ...] = ()
    storage: str | None = None


@dataclass(frozen=True, kw_only=True)
class JobNews:
    """What happened to a job since somebody last asked.

    Attributes:
        history: (epoch, values) of the epochs that the caller does not know.
    """

    history: tuple[tuple[int, Numbers], ...]
    state: State
    epoch: int
    values: Numbers
    failure: Failure | None


@dataclass(frozen=True, kw_only=True)
class News:
    """What happened to some jobs; `version` is what to pass to the next call."""

    version: int
    jobs: Mapping[str, JobNews] = field(default_factory=dict)


@dataclass
class Line:
    """One line of a view: a run, or a trial with its runs."""

    label: str
    runs: tuple[str, ...]
    text: str = ""  # what distinguishes it, for example its parameters
    state: str | None = None  # in place of the state of its runs
