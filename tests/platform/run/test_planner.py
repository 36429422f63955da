"""The planner's promises, on the class itself: order, retries, cancellation, failures."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from deep_clustering.platform.data.dataset import Source
from deep_clustering.platform.request.jobs import RUN, Job
from deep_clustering.platform.run.failure import Failure, Kind
from deep_clustering.platform.run.planner import Planner
from deep_clustering.platform.run.progress import JobNews, State, Submitted


def _job(name: str, kind: str = RUN, needs: tuple[str, ...] = ()) -> Submitted:
    return Submitted(
        job=Job(
            id=name,
            kind=kind,
            method="cdc",
            version=1,
            config={},
            seed=0,
            dataset="",
            protocol="all",
            source=Source("digits", Path()),
            needs={f"need {i}": need for i, need in enumerate(needs)},
            epochs=3,
        )
    )


def _broken(reason: str) -> Failure:
    return Failure(kind=Kind.ERROR, reason=reason)


async def _started(*jobs: Submitted, present: tuple[str, ...] = ()) -> Planner:
    planner = Planner()
    await planner.submit(jobs, "a", present)
    await planner.close()
    return planner


def test_a_run_waits_for_its_stage() -> None:
    async def story() -> list[str]:
        planner = await _started(_job("r", needs=("s",)), _job("s", "encoder"))
        first = await planner.next(0)
        assert first is not None
        second = asyncio.ensure_future(planner.next(1))
        await asyncio.sleep(0.05)
        assert not second.done()  # the only other job needs the stage
        await planner.finished("s", 0, {})
        later = await second
        assert later is not None
        return [first.id, later.id]

    assert asyncio.run(story()) == ["s", "r"]


def test_a_stage_in_the_store_is_not_run() -> None:
    async def story() -> Any:
        stage = replace(_job("s", "encoder"), stored={})
        planner = await _started(stage, _job("r", needs=("s",)))
        return await planner.next(0), (await planner.snapshot()).jobs["s"].state

    job, state = asyncio.run(story())
    assert job.id == "r"
    assert state is State.DONE


def test_work_that_the_store_has_is_stood_on_without_being_asked_for() -> None:
    async def story() -> Any:
        planner = await _started(_job("r", needs=("s",)), present=("s",))
        return await planner.next(0)

    assert asyncio.run(story()).id == "r"


def test_a_run_may_stand_on_a_run_and_an_evaluation_on_that() -> None:
    async def story() -> list[str]:
        planner = await _started(
            _job("e", "toy", needs=("r",)), _job("r", needs=("b",)), _job("b"), _job("q")
        )
        order = []
        for _ in range(4):
            job = await planner.next(0)
            assert job is not None
            order.append(job.id)
            await planner.finished(job.id, 0, {})
        return order

    assert asyncio.run(story()) == ["b", "r", "e", "q"]


def test_work_that_nobody_computes_is_a_failure_and_no_endless_wait() -> None:
    async def story() -> Any:
        planner = await _started(_job("r", needs=("s",)), _job("q", needs=("r",)))
        return await planner.next(0), (await planner.snapshot()).jobs

    job, jobs = asyncio.run(story())
    assert job is None
    reason = "it needs s, which is neither in the store nor asked for"
    assert jobs["r"].failure == Failure(kind=Kind.NEED, reason=reason)
    assert jobs["q"].failure == Failure(kind=Kind.NEED, reason=f"its base run r failed: {reason}")


def test_what_the_store_has_is_done_at_once() -> None:
    async def story() -> Any:
        planner = await _started(replace(_job("r"), stored={"acc": 0.5}))
        return await planner.next(0), await planner.wait({"r": 0}, -1)

    job, news = asyncio.run(story())
    assert job is None
    assert news.jobs["r"] == JobNews(
        history=(), state=State.DONE, epoch=3, values={"acc": 0.5}, failure=None
    )


@pytest.mark.fault(2)
def test_a_worker_that_dies_is_retried_once_then_failed() -> None:
    async def story() -> Any:
        planner = await _started(_job("r"))
        await planner.enter(0)
        await planner.next(0)
        await planner.epoch("r", 2, {})
        await planner.enter(0)  # the worker group came back: what it did is lost
        again = await planner.next(0)
        assert again is not None
        await planner.enter(0)
        return again.id, await planner.next(0), await planner.snapshot(), planner

    again, none, snapshot, planner = asyncio.run(story())
    assert (again, none) == ("r", None)
    reason = "worker died 2 times, last at epoch 2"
    assert snapshot.jobs["r"].failure == Failure(kind=Kind.LOST_WORKER, reason=reason)
    assert "retried" in snapshot.notes[0][1]
    recorded = asyncio.run(planner.unrecorded())
    assert [job.id for job, _ in recorded] == ["r"]
    assert asyncio.run(planner.unrecorded()) == []


@pytest.mark.fault(15)
def test_a_job_that_takes_too_long_is_not_tried_again() -> None:
    async def story() -> Any:
        planner = Planner(limit=0.05)
        await planner.submit([_job("r"), _job("q")])
        await planner.close()
        await planner.next(0)
        await planner.lane_gone(0)  # in time: a worker that died
        await planner.next(0)
        await asyncio.sleep(0.06)
        await planner.lane_gone(0)
        return (await planner.next(0)), (await planner.snapshot()).jobs["r"].failure

    other, failure = asyncio.run(story())
    assert other.id == "q"
    reason = "it took longer than 0.000833333 minutes, the limit of each run"
    assert failure == Failure(kind=Kind.TIMEOUT, reason=reason)


def test_a_failed_stage_fails_its_runs_also_later_ones() -> None:
    async def story() -> Any:
        planner = await _started(_job("s", "encoder"), _job("r", needs=("s",)))
        await planner.next(0)
        await planner.failed("s", 0, _broken("it broke"))
        await planner.submit([_job("q", needs=("s",))], "b")
        return (await planner.snapshot()).jobs, await planner.unrecorded()

    jobs, unrecorded = asyncio.run(story())
    for name in ("r", "q"):
        assert jobs[name].state is State.FAILED
        assert jobs[name].failure == Failure(
            kind=Kind.NEED, reason="its pretraining s failed: it broke"
        )
    assert {job.id for job, _ in unrecorded} == {"r", "q"}


def test_a_failed_base_fails_what_starts_from_it() -> None:
    async def story() -> Any:
        outputs = _job("o", "outputs", needs=("base",))
        planner = await _started(_job("base"), outputs, _job("r", needs=("o",)))
        await planner.next(0)
        await planner.failed("base", 0, _broken("it broke"))
        return (await planner.snapshot()).jobs

    jobs = asyncio.run(story())
    assert jobs["o"].failure.reason == "its base run base failed: it broke"
    assert (
        jobs["r"].failure.reason
        == "its base's outputs o failed: its base run base failed: it broke"
    )


def test_a_job_is_stopped_when_its_last_owner_leaves() -> None:
    async def story() -> Any:
        planner = await _started(_job("r"))
        await planner.submit([_job("r")], "b")
        await planner.next(0)
        watched = asyncio.ensure_future(planner.wanted("r"))
        await planner.cancel(["r"], "a")
        await asyncio.sleep(0.02)
        early = watched.done()
        await planner.cancel(["r"], "b")
        await asyncio.wait_for(watched, 60)
        await planner.stopped("r", 0)
        return early, (await planner.snapshot()).jobs["r"].state.value

    assert asyncio.run(story()) == (False, "cancelled")


def test_a_job_of_another_command_is_offered_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("deep_clustering.platform.run.planner._ELSEWHERE_PAUSE", 0.05)

    async def story() -> Any:
        planner = await _started(_job("r"), _job("q"))
        first = await planner.next(0)
        assert first is not None
        await planner.busy(first.id, 0)
        second = await planner.next(0)
        third = await planner.next(1)
        assert second is not None
        assert third is not None
        return first.id, second.id, third.id

    assert asyncio.run(story()) == ("r", "q", "r")


async def _after(story: Awaitable[None], planner: Planner) -> bool:
    """Whether what can wait goes on once something has happened, and not before."""
    waiting = asyncio.ensure_future(planner.under_way())
    await asyncio.sleep(0.02)
    early = waiting.done()
    await story
    await asyncio.sleep(0.02)
    return waiting.done() and not early


def test_what_can_wait_waits_for_the_first_epoch() -> None:
    async def story() -> Any:
        planner = await _started(_job("s", "encoder"), _job("r", needs=("s",)))
        await planner.enter(0)
        await planner.next(0)
        return [
            await _after(planner.epoch("s", epoch, {}), planner)
            for epoch in (0, 1)  # 0 is before the first
        ]

    assert asyncio.run(story()) == [False, True]


@pytest.mark.parametrize(
    "ended",
    [
        lambda planner: planner.finished("s", 0, {}),
        lambda planner: planner.failed("s", 0, _broken("it broke")),
        lambda planner: planner.stopped("s", 0),
        lambda planner: planner.busy("s", 0),
        lambda planner: planner.lane_gone(0),
    ],
)
def test_what_can_wait_waits_for_no_job_that_is_over(
    ended: Callable[[Planner], Awaitable[None]],
) -> None:
    async def story() -> Any:
        planner = await _started(_job("s", "encoder"))
        await planner.next(0)
        return await _after(ended(planner), planner)

    assert asyncio.run(story())


def test_what_can_wait_waits_for_no_lane_without_work_and_none_that_is_gone() -> None:
    async def story() -> Any:
        idle, dead = Planner(), await _started(_job("s", "encoder"))
        looking = asyncio.ensure_future(idle.next(0))
        found = await _after(idle.enter(0), idle), await _after(dead.lane_gone(0), dead)
        looking.cancel()
        return found

    assert asyncio.run(story()) == (False, True)  # the first one did not wait at all


def test_what_can_wait_waits_for_no_long_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("deep_clustering.platform.run.planner._HEAD_START", 0.05)

    async def story() -> Any:
        planner = await _started(_job("s", "encoder"))
        await planner.next(0)
        return await _after(asyncio.sleep(0.1), planner)

    assert asyncio.run(story())


def test_only_new_epochs_are_sent() -> None:
    async def story() -> Any:
        planner = await _started(_job("r"))
        await planner.next(0)
        await planner.epoch("r", 1, {"loss": 2.0})
        await planner.epoch("r", 2, {"loss": 1.0})
        await planner.epoch("r", 1, {"loss": 2.0})  # once more: a worker died with epoch 2
        return await planner.wait({"r": 1}, 0)

    assert asyncio.run(story()).jobs["r"].history == ((2, {"loss": 1.0}),)


@pytest.mark.parametrize(
    ("first", "told", "left"),
    [
        (0, 1, 2 * 10.0),  # one of three epochs in 10 seconds
        (2, 2, 10.0),  # continued after the first one: it is no part of these seconds
        (3, 3, 0.0),
        (0, 0, None),
    ],
)
def test_the_time_left_is_by_what_this_command_has_done(
    monkeypatch: pytest.MonkeyPatch, first: int, told: int, left: float | None
) -> None:
    async def story() -> Any:
        planner = await _started(_job("r"))
        monkeypatch.setattr("time.monotonic", lambda: 100.0)
        await planner.next(0)
        monkeypatch.setattr("time.monotonic", lambda: 110.0)
        for epoch in dict.fromkeys((first, told)):
            await planner.epoch("r", epoch, {})
        return (await planner.snapshot()).jobs["r"]

    assert asyncio.run(story()).left == left


def test_a_pass_is_told_by_its_images_and_those_of_before_take_no_time() -> None:
    async def story() -> Any:
        planner = await _started(_job("s", "frozen"))
        await planner.next(0)
        planner._jobs["s"].since, planner._jobs["s"].elapsed = None, 0.0
        for done in (640, 704, 832):
            planner._jobs["s"].elapsed = (done - 640) / 8
            await planner.images("s", done, 1000)
        return (await planner.snapshot()).jobs["s"]

    job = asyncio.run(story())
    assert (job.images, job.left) == ((832, 640, 1000), (1000 - 832) / 8)


def test_a_view_is_told_what_changed_and_not_all_that_there_is() -> None:
    """What 500 finished runs cost a view is what one run does."""

    async def story() -> Any:
        planner = await _started(*(_job(f"r{i}") for i in range(500)))
        first = await planner.snapshot()
        job = await planner.next(0)
        assert job is not None
        running = await planner.snapshot(first.version)
        again = await planner.snapshot(running.version)
        await planner.finished(job.id, 0, {})
        await planner.cancel(["r7"], "a")
        ended = await planner.snapshot(again.version)
        return first, running, again, ended, await planner.snapshot(ended.version)

    first, running, again, ended, nothing = asyncio.run(story())
    assert list(first.jobs) == [f"r{i}" for i in range(500)]
    assert list(running.jobs) == list(again.jobs) == ["r0"]  # its time goes on
    assert {i: job.state for i, job in ended.jobs.items()} == {
        "r0": State.DONE,
        "r7": State.CANCELLED,
    }
    assert nothing.jobs == {}


def test_what_stands_on_a_failure_is_told_as_well() -> None:
    async def story() -> Any:
        planner = await _started(_job("s", "encoder"), _job("r", needs=("s",)))
        await planner.next(0)
        seen = (await planner.snapshot()).version
        await planner.failed("s", 0, _broken("it broke"))
        return await planner.snapshot(seen)

    assert set(asyncio.run(story()).jobs) == {"s", "r"}
