"""The planner's promises, on the class itself: order, retries, cancellation, failures."""

import asyncio
from typing import Any

import pytest

from deep_clustering.platform.run.planner import Planner


def _job(name: str, kind: str = "run", needs: tuple[str, ...] = ()) -> dict[str, Any]:
    return {"id": name, "kind": kind, "identity": {"seed": 0}, "needs": needs, "epochs": 3}


async def _started(*jobs: dict[str, Any], ready: tuple[str, ...] = ()) -> Planner:
    planner = Planner(list(ready))
    await planner.submit([dict(j) for j in jobs], "a")
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
        return [first["id"], later["id"]]

    assert asyncio.run(story()) == ["s", "r"]


def test_a_stage_in_the_store_is_not_run() -> None:
    async def story() -> Any:
        planner = await _started(_job("s", "encoder"), _job("r", needs=("s",)), ready=("s",))
        return await planner.next(0), (await planner.snapshot())["jobs"]["s"]["state"]

    job, stage = asyncio.run(story())
    assert job["id"] == "r"
    assert stage == "done"


def test_what_the_store_has_is_done_at_once() -> None:
    async def story() -> Any:
        planner = await _started(_job("r") | {"stored": {"acc": 0.5}})
        return await planner.next(0), await planner.wait({"r": 0}, -1)

    job, news = asyncio.run(story())
    assert job is None
    assert news["jobs"]["r"] == {
        "state": "done",
        "values": {"acc": 0.5},
        "epoch": 3,
        "reason": None,
        "history": [],
    }


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
        return again["id"], await planner.next(0), await planner.snapshot(), planner

    again, none, snapshot, planner = asyncio.run(story())
    assert (again, none) == ("r", None)
    assert snapshot["jobs"]["r"]["reason"] == "worker died 2 times, last at epoch 2"
    assert "retried" in snapshot["notes"][0][1]
    recorded = asyncio.run(planner.unrecorded())
    assert [job["id"] for job, _ in recorded] == ["r"]
    assert asyncio.run(planner.unrecorded()) == []


def test_a_failed_stage_fails_its_runs_also_later_ones() -> None:
    async def story() -> Any:
        planner = await _started(_job("s", "encoder"), _job("r", needs=("s",)))
        await planner.next(0)
        await planner.failed("s", 0, "it broke")
        await planner.submit([_job("q", needs=("s",))], "b")
        return (await planner.snapshot())["jobs"], await planner.unrecorded()

    jobs, unrecorded = asyncio.run(story())
    for name in ("r", "q"):
        assert jobs[name]["state"] == "failed"
        assert jobs[name]["reason"] == "its pretraining s failed: it broke"
    assert {job["id"] for job, _ in unrecorded} == {"r", "q"}


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
        await asyncio.wait_for(watched, 1)
        await planner.stopped("r", 0)
        return early, (await planner.snapshot())["jobs"]["r"]["state"]

    assert asyncio.run(story()) == (False, "cancelled")


def test_a_job_of_another_command_is_offered_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("deep_clustering.platform.run.planner._ELSEWHERE_PAUSE", 0.05)

    async def story() -> Any:
        planner = await _started(_job("r"), _job("q"))
        first = await planner.next(0)
        assert first is not None
        await planner.busy(first["id"], 0)
        second = await planner.next(0)
        third = await planner.next(1)
        assert second is not None
        assert third is not None
        return first["id"], second["id"], third["id"]

    assert asyncio.run(story()) == ("r", "q", "r")


def test_only_new_epochs_are_sent() -> None:
    async def story() -> Any:
        planner = await _started(_job("r"))
        await planner.next(0)
        await planner.epoch("r", 1, {"loss": 2.0})
        await planner.epoch("r", 2, {"loss": 1.0})
        return await planner.wait({"r": 1}, 0)

    assert asyncio.run(story())["jobs"]["r"]["history"] == [(2, {"loss": 1.0})]
