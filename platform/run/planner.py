"""The planner: which job is next, who runs it, what is known of each. One Ray actor per command.

It decides nothing about results: those are in the store. It remembers what this command asked for,
hands ready jobs to lanes, and lets relays and the view wait for news. Its methods run on one event
loop, so no two of them interleave except at an `await`.
"""

import asyncio
import time
from collections import deque
from typing import Any

#: A job whose worker died is given out once more, from its last checkpoint (fault matrix, row 2).
_LIVES = 2
#: Seconds before a job that another command is computing is offered again.
_ELSEWHERE_PAUSE = 1.0

_FINAL = ("done", "failed", "cancelled")


class Planner:
    """States of a job: waiting, running, elsewhere, done, failed, cancelled."""

    def __init__(self, ready: list[str]) -> None:
        self._jobs: dict[str, dict[str, Any]] = {}
        self._ready = set(ready)  # finished stages
        self._queue: deque[str] = deque()
        self._lane_job: dict[int, str | None] = {}
        self._closed = False
        self._news = asyncio.Condition()
        self._notes: list[tuple[float, str]] = []
        self._version = 0
        self._storage: str | None = None

    # ---- asked by whoever wants results

    async def submit(self, jobs: list[dict[str, Any]], owner: str = "") -> None:
        """Add jobs; one that is already known keeps its state and gains an owner.

        A job may carry "stored", its metrics in the store, or "failed", why it failed before.
        """
        for job in jobs:
            known = self._jobs.get(job["id"])
            if known is not None:
                known["owners"].add(owner)
                if known["state"] == "cancelled":
                    known.update(state="waiting", cancel=False)
                    self._queue.append(job["id"])
                continue
            stored, failed = job.pop("stored", None), job.pop("failed", None)
            self._jobs[job["id"]] = {
                "job": job,
                "state": "waiting",
                "epoch": 0,
                "values": {},
                "history": [],
                "reason": None,
                "deaths": 0,
                "cancel": False,
                "owners": {owner},
                "since": None,
                "elapsed": 0.0,
                "again": 0.0,
            }
            if stored is not None:
                self._jobs[job["id"]].update(state="done", values=stored, epoch=job["epochs"])
            elif failed is not None:
                self._jobs[job["id"]].update(state="failed", reason=failed)
            elif job["kind"] != "run" and job["id"] in self._ready:
                self._jobs[job["id"]].update(state="done", epoch=job["epochs"])
            elif broken := self._broken(job):
                self._fail(job["id"], self._without(broken[0]))
                self._jobs[job["id"]]["unrecorded"] = True
            else:
                self._queue.append(job["id"])
        await self._tell()

    async def wait(self, after: dict[str, int], seen: int, timeout: float = 30.0) -> dict[str, Any]:
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
        return {
            "version": self._version,
            "jobs": {
                i: {
                    "history": self._jobs[i]["history"][known:],
                    **{k: self._jobs[i][k] for k in ("state", "epoch", "values", "reason")},
                }
                for i, known in after.items()
            },
        }

    async def cancel(self, ids: list[str], owner: str = "") -> None:
        """Withdraw an owner's wish; a job that nobody wants any more is stopped."""
        for i in ids:
            entry = self._jobs[i]
            entry["owners"].discard(owner)
            if not entry["owners"] and entry["state"] not in _FINAL:
                entry["cancel"] = True
                if entry["state"] in ("waiting", "elsewhere"):
                    self._end(entry, "cancelled", None)
        await self._tell()

    async def close(self) -> None:
        """No more work is coming: lanes leave when the queue is empty."""
        self._closed = True
        await self._tell()

    async def snapshot(self) -> dict[str, Any]:
        """Everything a person's view shows."""
        now = time.monotonic()
        jobs = {}
        for i, e in self._jobs.items():
            elapsed = e["elapsed"] + (now - e["since"] if e["since"] else 0.0)
            jobs[i] = {
                "kind": e["job"]["kind"],
                "epochs": e["job"]["epochs"],
                "elapsed": elapsed,
                **{k: e[k] for k in ("state", "epoch", "values", "reason")},
            }
        return {
            "version": self._version,
            "jobs": jobs,
            "notes": list(self._notes),
            "storage": self._storage,
        }

    # ---- asked by lanes

    async def enter(self, lane: int) -> None:
        """A lane (re)starts: what it was doing before died with its worker."""
        await self._lost(lane)
        self._lane_job[lane] = None

    async def next(self, lane: int) -> dict[str, Any] | None:
        """The next job for a lane, waiting for one; None when the lane may leave."""
        while True:
            job = self._pick()
            if job is not None:
                entry = self._jobs[job]
                entry.update(state="running", since=time.monotonic())
                self._lane_job[lane] = job
                await self._tell()
                return entry["job"]
            if self._closed and not self._queue:
                return None
            try:
                async with asyncio.timeout(_ELSEWHERE_PAUSE), self._news:
                    await self._news.wait()
            except TimeoutError:
                pass

    async def epoch(self, job: str, epoch: int, values: dict[str, Any]) -> None:
        """A lane finished an epoch, durably."""
        entry = self._jobs[job]
        entry.update(epoch=epoch, values=values)
        entry["history"].append((epoch, values))
        await self._tell()

    async def finished(self, job: str, lane: int, values: dict[str, Any]) -> None:
        """A lane committed a job, or found it committed."""
        entry = self._jobs[job]
        entry.update(values=values, epoch=entry["job"]["epochs"])
        if entry["job"]["kind"] != "run":
            self._ready.add(job)
        self._lane_job[lane] = None
        self._end(entry, "done", None)
        await self._tell()

    async def failed(self, job: str, lane: int, reason: str) -> None:
        """A lane recorded a failure."""
        self._lane_job[lane] = None
        self._fail(job, reason)
        await self._tell()

    async def unwritable(self, reason: str) -> None:
        """A lane could not write to the store: nothing can be acknowledged any more."""
        self._storage = reason
        await self._tell()

    async def stopped(self, job: str, lane: int) -> None:
        """A lane let go of a cancelled job."""
        self._lane_job[lane] = None
        self._end(self._jobs[job], "cancelled", None)
        await self._tell()

    async def busy(self, job: str, lane: int) -> None:
        """Another command is computing this job; look again in a moment."""
        self._lane_job[lane] = None
        entry = self._jobs[job]
        self._pause(entry)
        entry.update(state="elsewhere", again=time.monotonic() + _ELSEWHERE_PAUSE)
        self._queue.append(job)
        await self._tell()

    async def wanted(self, job: str) -> None:
        """Returns when the job is cancelled or over; a lane's thread waits on it."""
        async with self._news:
            await self._news.wait_for(
                lambda: self._jobs[job]["cancel"] or self._jobs[job]["state"] in _FINAL
            )

    async def note(self, text: str) -> None:
        """Something a person should read."""
        self._notes.append((time.time(), text))
        await self._tell()

    async def lane_gone(self, lane: int) -> None:
        """A lane ended for good."""
        await self._lost(lane)

    # ---- inside

    def _pick(self) -> str | None:
        """The first ready job; a run whose stage is missing lets its stage go first."""
        now = time.monotonic()
        for i in list(self._queue):
            entry = self._jobs[i]
            if entry["cancel"] or entry["state"] not in ("waiting", "elsewhere"):
                self._queue.remove(i)
            elif all(n in self._ready for n in entry["job"]["needs"]) and entry["again"] <= now:
                self._queue.remove(i)
                return i
        return None

    async def _lost(self, lane: int) -> None:
        job = self._lane_job.get(lane)
        if job is None:
            return
        self._lane_job[lane] = None
        entry = self._jobs[job]
        entry["deaths"] += 1
        kind = entry["job"]["kind"]
        if entry["cancel"]:
            self._end(entry, "cancelled", None)
        elif entry["deaths"] < _LIVES:
            self._pause(entry)
            entry.update(state="waiting")
            self._queue.appendleft(job)
            where = f"epoch {entry['epoch']}"
            self._notes.append(
                (time.time(), f"the worker of {kind} {job} died at {where}; retried")
            )
        else:
            reason = f"worker died {entry['deaths']} times, last at epoch {entry['epoch']}"
            entry["unrecorded"] = True
            self._fail(job, reason)
        await self._tell()

    async def unrecorded(self) -> list[tuple[dict[str, Any], str]]:
        """Failures that no lane could write down, for the command to record; given once."""
        found = [e for e in self._jobs.values() if e.pop("unrecorded", False)]
        return [(e["job"], e["reason"]) for e in found]

    def _fail(self, job: str, reason: str) -> None:
        self._end(self._jobs[job], "failed", reason)
        for other in self._jobs.values():
            if job in other["job"]["needs"] and other["state"] not in _FINAL:
                other["unrecorded"] = True
                self._end(other, "failed", self._without(job))

    def _broken(self, job: dict[str, Any]) -> list[str]:
        known = [n for n in job["needs"] if n in self._jobs]
        return [n for n in known if self._jobs[n]["state"] == "failed"]

    def _without(self, stage: str) -> str:
        return f"its pretraining {stage} failed: {self._jobs[stage]['reason']}"

    def _pause(self, entry: dict[str, Any]) -> None:
        if entry["since"] is not None:
            entry["elapsed"] += time.monotonic() - entry["since"]
        entry["since"] = None

    def _end(self, entry: dict[str, Any], state: str, reason: str | None) -> None:
        self._pause(entry)
        entry.update(state=state, reason=reason)

    async def _tell(self) -> None:
        self._version += 1
        async with self._news:
            self._news.notify_all()
