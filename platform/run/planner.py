"""The planner: which job is next, who runs it, what is known of each. One Ray actor per command.

It decides nothing about results: those are in the store. It remembers what this command asked for,
hands a job to a lane when all work that the job stands on is done, and lets relays and the view
wait for news. Its methods run on one event loop, so no two of them interleave except at an `await`.
"""

import asyncio
import itertools
import time
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from deep_clustering.platform.request.jobs import RUN, WORDS, Job
from deep_clustering.platform.run.failure import Failure, Kind
from deep_clustering.platform.run.progress import (
    JobNews,
    News,
    Numbers,
    Progress,
    Snapshot,
    State,
    Submitted,
)

#: A job whose worker died is given out once more, from its last checkpoint (fault matrix, row 2).
_LIVES = 2
#: Seconds before a job that another command is computing is offered again.
_ELSEWHERE_PAUSE = 1.0
#: Seconds that the first job has the machine to itself, at most; see `Planner.under_way`.
_HEAD_START = 5.0


@dataclass
class _Entry:
    """A job and what has become of it."""

    job: Job
    owners: set[str]
    state: State = State.WAITING
    epoch: int = 0
    begun: int | None = None  # epochs before the first one that was told
    images: tuple[int, int, int] | None = None  # see `Progress`
    values: Numbers = field(default_factory=dict)
    history: list[tuple[int, Numbers]] = field(default_factory=list)
    failure: Failure | None = None
    unrecorded: bool = False  # it failed where no lane could write that down
    deaths: int = 0  # of workers that ran it
    cancel: bool = False
    since: float | None = None  # when a lane took it, by the monotonic clock
    elapsed: float = 0.0  # seconds in lanes before that
    again: float = 0.0  # not before this time, by the monotonic clock

    def lasted(self) -> float:
        """Seconds since a lane took it; 0 where none has it."""
        return 0.0 if self.since is None else time.monotonic() - self.since

    def pause(self) -> None:
        """The lane that had it has it no more."""
        self.elapsed += self.lasted()
        self.since = None

    def end(self, state: State, failure: Failure | None = None) -> None:
        """Nothing more will happen to it."""
        self.pause()
        self.state, self.failure = state, failure

    def progress(self) -> Progress:
        """As a view shows it."""
        return Progress(
            kind=self.job.kind,
            epochs=self.job.epochs,
            state=self.state,
            epoch=self.epoch,
            values=self.values,
            failure=self.failure,
            elapsed=self.elapsed + self.lasted(),
            begun=self.begun or 0,
            images=self.images,
        )

    def news(self, known: int) -> JobNews:
        """What a caller does not know who knows this many epochs."""
        return JobNews(
            history=tuple(self.history[known:]),
            state=self.state,
            epoch=self.epoch,
            values=self.values,
            failure=self.failure,
        )


class Planner:
    """Hands jobs to lanes in an order in which everything comes after what it stands on.

    Args:
        limit: seconds after which a lane's process ends itself, with the job that took so long.
    """

    def __init__(self, limit: float | None = None) -> None:
        self._limit = limit
        self._jobs: dict[str, _Entry] = {}
        self._present: set[str] = set()  # finished work that nobody submitted
        self._queue: deque[str] = deque()
        self._lane_job: dict[int, str | None] = {}
        self._closed = False
        self._news = asyncio.Condition()
        self._notes: list[tuple[float, str]] = []
        self._version = 0
        self._changed: dict[str, int] = {}  # job -> version of its last change, latest last
        self._storage: str | None = None
        self._under_way = asyncio.Event()

    # ---- asked by whoever wants results

    async def submit(
        self, work: Sequence[Submitted], owner: str = "", present: Iterable[str] = ()
    ) -> None:
        """Add jobs; one that is already known keeps its state and gains an owner.

        Args:
            work: in the order in which it is to be begun, as far as needs allow.
            owner: who may cancel them.
            present: ids of work that the store has and that these jobs may stand on.
        """
        self._present.update(present)
        added: list[_Entry] = []
        for submitted in work:
            job = submitted.job
            self._touch(job.id)
            known = self._jobs.get(job.id)
            if known is not None:
                known.owners.add(owner)
                if known.state is State.CANCELLED:
                    known.state, known.cancel = State.WAITING, False
                    self._queue.append(job.id)
                continue
            entry = self._jobs[job.id] = _Entry(job, {owner})
            if submitted.stored is not None:
                entry.state, entry.values = State.DONE, submitted.stored
                entry.epoch = job.epochs
            elif submitted.failure is not None:
                entry.end(State.FAILED, submitted.failure)
            else:
                added.append(entry)
                self._queue.append(job.id)
        for entry in added:
            missing = self._never(entry.job)
            if missing is not None and not entry.state.final:
                entry.unrecorded = True
                self._fail(entry, missing)
        await self._tell()

    async def wait(self, after: Mapping[str, int], seen: int, timeout: float = 30.0) -> News:
        """News of some jobs: returns when the version passes `seen`, or after `timeout` seconds.

        Args:
            after: job id -> how many of its epochs the caller knows; only later ones are sent.
            seen: version of the caller's last news.
            timeout: seconds.
        """
        if self._version <= seen:
            try:
                async with asyncio.timeout(timeout), self._news:
                    await self._news.wait_for(lambda: self._version > seen)
            except TimeoutError:
                pass
        return News(
            version=self._version,
            jobs={i: self._jobs[i].news(known) for i, known in after.items()},
        )

    async def cancel(self, ids: Iterable[str], owner: str = "") -> None:
        """Withdraw an owner's wish; a job that nobody wants any more is stopped."""
        for i in ids:
            entry = self._jobs[i]
            self._touch(i)
            entry.owners.discard(owner)
            if not entry.owners and not entry.state.final:
                entry.cancel = True
                if entry.state in (State.WAITING, State.ELSEWHERE):
                    entry.end(State.CANCELLED)
        await self._tell()

    async def close(self) -> None:
        """No more work is coming: lanes leave when the queue is empty."""
        self._closed = True
        await self._tell()

    async def snapshot(self, seen: int = -1) -> Snapshot:
        """What a view shows and its caller does not know: it costs what has changed meanwhile.

        Args:
            seen: version of the caller's last snapshot; jobs that run are in every one.
        """
        latest_first = itertools.takewhile(
            lambda i: self._changed[i] > seen, reversed(self._changed)
        )
        running = (i for i in self._lane_job.values() if i is not None)
        told = dict.fromkeys([*reversed([*latest_first]), *running])
        return Snapshot(
            version=self._version,
            jobs={i: self._jobs[i].progress() for i in told},
            notes=tuple(self._notes),
            storage=self._storage,
        )

    async def under_way(self) -> None:
        """Returns once what can wait need wait no longer for the lanes that start first.

        That is when a job has been through its first epoch, or through a few seconds or to its end,
        and when a lane finds nothing to do, or is gone.
        """
        await self._under_way.wait()

    async def unrecorded(self) -> list[tuple[Job, Failure]]:
        """Failures that no lane could write down, for the command to record; given once."""
        failed = [entry for entry in self._jobs.values() if entry.unrecorded]
        for entry in failed:
            entry.unrecorded = False
        return [(entry.job, entry.failure) for entry in failed if entry.failure is not None]

    # ---- asked by lanes

    async def enter(self, lane: int) -> None:
        """A lane (re)starts: what it was doing before died with its worker."""
        await self._lost(lane)
        self._lane_job[lane] = None

    async def next(self, lane: int) -> Job | None:
        """The next job for a lane, waiting for one; None when the lane may leave."""
        while True:
            entry = self._pick()
            if entry is not None:
                entry.state, entry.since = State.RUNNING, time.monotonic()
                self._lane_job[lane] = entry.job.id
                asyncio.get_running_loop().call_later(_HEAD_START, self._under_way.set)
                await self._tell(entry.job.id)
                return entry.job
            self._under_way.set()
            if self._closed and not self._queue:
                return None
            try:
                async with asyncio.timeout(_ELSEWHERE_PAUSE), self._news:
                    await self._news.wait()
            except TimeoutError:
                pass

    async def epoch(self, job: str, epoch: int, values: Numbers) -> None:
        """A lane finished an epoch, perhaps once more: a worker died, and so did what it had."""
        entry = self._jobs[job]
        if entry.begun is None:
            entry.begun = max(0, epoch - 1)
        # Of an epoch that was not evaluated the metrics before it stand.
        entry.epoch, entry.values = epoch, {**entry.values, **values}
        if not entry.history or epoch > entry.history[-1][0]:
            entry.history.append((epoch, values))
        if epoch > 0:
            self._under_way.set()
        await self._tell(job)

    async def images(self, job: str, done: int, of: int) -> None:
        """A lane is so far in a pass."""
        entry = self._jobs[job]
        before = done if entry.images is None else entry.images[1]
        entry.images = done, before, of
        await self._tell(job)

    async def finished(self, job: str, lane: int, values: Numbers) -> None:
        """A lane committed a job, or found it committed."""
        entry = self._jobs[job]
        entry.values, entry.epoch = values, entry.job.epochs
        self._leave(lane)
        entry.end(State.DONE)
        await self._tell(job)

    async def failed(self, job: str, lane: int, failure: Failure) -> None:
        """A lane recorded a failure."""
        self._leave(lane)
        self._fail(self._jobs[job], failure)
        await self._tell()

    async def unwritable(self, reason: str) -> None:
        """A lane could not write to the store: nothing can be acknowledged any more."""
        self._storage = reason
        await self._tell()

    async def stopped(self, job: str, lane: int) -> None:
        """A lane let go of a cancelled job."""
        self._leave(lane)
        self._jobs[job].end(State.CANCELLED)
        await self._tell(job)

    async def busy(self, job: str, lane: int) -> None:
        """Another command is computing this job; look again in a moment."""
        self._leave(lane)
        entry = self._jobs[job]
        entry.pause()
        entry.state, entry.again = State.ELSEWHERE, time.monotonic() + _ELSEWHERE_PAUSE
        self._queue.append(job)
        await self._tell(job)

    async def wanted(self, job: str) -> None:
        """Returns when the job is cancelled or over; a lane's thread waits on it."""
        entry = self._jobs[job]
        async with self._news:
            await self._news.wait_for(lambda: entry.cancel or entry.state.final)

    async def note(self, text: str) -> None:
        """Something a person should read."""
        self._notes.append((time.time(), text))
        await self._tell()

    async def lane_gone(self, lane: int) -> None:
        """A lane ended, for good or until its process is made anew."""
        await self._lost(lane)
        self._under_way.set()

    # ---- inside

    def _leave(self, lane: int) -> None:
        """A lane has no job any more."""
        self._lane_job[lane] = None
        self._under_way.set()

    def _done(self, id: str) -> bool:
        """Whether some work is finished, whoever computed it."""
        entry = self._jobs.get(id)
        return id in self._present if entry is None else entry.state is State.DONE

    def _pick(self) -> _Entry | None:
        """The first job in the queue that is ready: all that it stands on is done."""
        now = time.monotonic()
        for i in list(self._queue):
            entry = self._jobs[i]
            if entry.cancel or entry.state not in (State.WAITING, State.ELSEWHERE):
                self._queue.remove(i)
            elif entry.again <= now and all(map(self._done, entry.job.needs.values())):
                self._queue.remove(i)
                return entry
        return None

    def _never(self, job: Job) -> Failure | None:
        """Why a job can never start, if it cannot."""
        for need in job.needs.values():
            entry = self._jobs.get(need)
            if entry is None and need not in self._present:
                return Failure(
                    kind=Kind.NEED,
                    reason=f"it needs {need}, which is neither in the store nor asked for",
                )
            if entry is not None and entry.failure is not None:
                return _without(entry)
        return None

    async def _lost(self, lane: int) -> None:
        """The worker of a lane died, and with it what it was doing."""
        job = self._lane_job.get(lane)
        if job is None:
            return
        self._lane_job[lane] = None
        entry = self._jobs[job]
        entry.deaths += 1
        if entry.cancel:
            entry.end(State.CANCELLED)
        elif self._limit is not None and entry.lasted() >= self._limit:
            entry.unrecorded = True
            reason = f"it took longer than {self._limit / 60:g} minutes, the limit of each run"
            self._fail(entry, Failure(kind=Kind.TIMEOUT, reason=reason))
        elif entry.deaths < _LIVES:
            entry.pause()
            entry.state = State.WAITING
            self._queue.appendleft(job)
            text = f"the worker of {entry.job.kind} {job} died at epoch {entry.epoch}; retried"
            self._notes.append((time.time(), text))
        else:
            entry.unrecorded = True
            reason = f"worker died {entry.deaths} times, last at epoch {entry.epoch}"
            self._fail(entry, Failure(kind=Kind.LOST_WORKER, reason=reason))
        await self._tell(job)

    def _fail(self, entry: _Entry, failure: Failure) -> None:
        """End a job without a result, and with it all that stands on it."""
        entry.end(State.FAILED, failure)
        self._touch(entry.job.id)
        for other in self._jobs.values():
            if entry.job.id in other.job.needs.values() and not other.state.final:
                other.unrecorded = True
                self._fail(other, _without(entry))

    def _touch(self, job: str) -> None:
        """A job is about to be told as changed."""
        self._changed.pop(job, None)
        self._changed[job] = self._version + 1

    async def _tell(self, *changed: str) -> None:
        for job in changed:
            self._touch(job)
        self._version += 1
        async with self._news:
            self._news.notify_all()


def _without(entry: _Entry) -> Failure:
    """The failure of a job that stands on one that failed."""
    assert entry.failure is not None
    what = WORDS.get(entry.job.kind, entry.job.kind) if entry.job.kind != RUN else "base run"
    reason = f"its {what} {entry.job.id} failed: {entry.failure.reason}"
    return Failure(kind=Kind.NEED, reason=reason)
