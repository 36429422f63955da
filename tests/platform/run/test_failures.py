"""What becomes of a job whose process meets a broken machine.

No GPU is needed: what one would raise is raised in its place, in the code that has to answer it.
"""

import ast
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from deep_clustering.platform import results
from deep_clustering.platform.request.jobs import Job
from deep_clustering.platform.run import lane
from deep_clustering.platform.run.checkpoints import Checkpoints, EpochRow, History
from deep_clustering.platform.run.failure import Kind
from deep_clustering.platform.run.workplace import Workplace
from deep_clustering.platform.store.store import Store
from support.small import jobs, place, request, run_of
from support.store_rows import commit, epochs, run

ROOT = Path(__file__).parents[3]


class Told:
    """What a lane tells the planner."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []

    def __getattr__(self, name: str) -> Any:
        return lambda *given: self.calls.append((name, *given))


@pytest.fixture
def job(folder: Path, root: Path) -> Job:
    return run_of(list(jobs(request(folder, root))))


def carried_out(
    error: Exception, device: str, job: Job, store: Store, monkeypatch: pytest.MonkeyPatch
) -> tuple[Exception | None, Told]:
    """A lane's answer to a job that ends with an error: what it raises, and what it says."""

    def execute(*_: object) -> None:
        raise error

    monkeypatch.setattr(lane, "execute", execute)
    here = place(store)
    where = Workplace(store, torch.device(device), here.replicas, {})
    told = Told()
    try:
        lane._carry_out(job, where, told, 0)  # type: ignore[arg-type]
    except Exception as raised:
        return raised, told
    return None, told


@pytest.mark.fault(8)
def test_a_gpu_without_memory_is_a_failure_with_advice(
    job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And its process ends, because what is left on the GPU is not known."""
    store = Store.open(tmp_path / "store")
    error = torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
    raised, told = carried_out(error, "cuda", job, store, monkeypatch)
    assert raised is error
    ((_, id, _, failure),) = [call for call in told.calls if call[0] == "failed"]
    assert (id, failure.kind) == (job.id, Kind.OUT_OF_MEMORY)
    assert failure.reason == "out of GPU memory at batch_size 32; set a smaller one"
    row = results.runs(store).collect().row(0, named=True)
    assert (row["status"], row["failure_kind"]) == ("failed", "out_of_memory")


@pytest.mark.fault(10)
def test_after_an_error_of_the_gpu_the_process_is_not_used_again(
    job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    error = RuntimeError("CUDA error: an illegal memory access was encountered\nCompile with ...")
    raised, told = carried_out(error, "cuda", job, Store.open(tmp_path / "gpu"), monkeypatch)
    assert raised is error  # which ends the lane's process; `_lanes.keep` starts another one
    assert "failed" in [call[0] for call in told.calls]
    raised, _ = carried_out(error, "cpu", job, Store.open(tmp_path / "cpu"), monkeypatch)
    assert raised is None  # elsewhere an error is one of the run alone


@pytest.mark.fault(9)
@pytest.mark.parametrize(
    "error",
    [
        MemoryError("Unable to allocate 3.00 TiB for an array"),
        RuntimeError(
            "[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory: you "
            "tried to allocate 3298534883328 bytes."
        ),
    ],
)
def test_a_machine_without_memory_is_a_failure_of_that_run(
    error: Exception, job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store.open(tmp_path / "store")
    raised, told = carried_out(error, "cpu", job, store, monkeypatch)
    assert raised is None
    (failure,) = [call[3] for call in told.calls if call[0] == "failed"]
    assert failure.kind is Kind.OUT_OF_MEMORY
    assert failure.reason.startswith("out of memory (")
    assert store.failures() == {job.id: failure.reason}


@pytest.mark.fault(12)
def test_what_another_worker_that_is_gone_leaves_is_no_failure_of_the_run(
    job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """P1: nothing is recorded; the group starts anew and goes on from the last checkpoint."""
    store = Store.open(tmp_path)
    gone = RuntimeError(
        "[/__w/pytorch/pytorch/third_party/gloo/gloo/transport/tcp/pair.cc:545] Read error "
        "[127.0.0.1]:21412: Connection reset by peer."
    )
    raised, told = carried_out(gone, "cpu", job, store, monkeypatch)
    assert raised is gone
    assert not {call[0] for call in told.calls} & {"failed", "finished", "stopped"}
    assert store.failures() == {}


def test_images_are_loaded_by_no_process_of_their_own() -> None:
    """None that could die alone, and no shared memory of theirs that could be full."""
    found, files = [], 0
    for folder in ("platform", "methods"):
        for path in (ROOT / folder).rglob("*.py"):
            files += 1
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.ImportFrom | ast.Import):
                    names = [alias.name for alias in node.names]
                    module = getattr(node, "module", "") or ""
                    if "DataLoader" in names or "multiprocessing" in f"{module} {names}":
                        found.append(path.name)
    assert files > 100
    assert found == []


@pytest.mark.fault(13)
@pytest.mark.parametrize("jump", [-86_400, 86_400])
def test_a_clock_that_jumps_loses_nothing(
    jump: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Newest is what was done last, by epoch and number, whatever the clock says of it."""
    store = Store.open(tmp_path / "store")

    def work(number: int) -> None:
        commit(store, f"r{number}", number / 8)
        store.record_failure(run("bad", status="failed", reason=f"attempt {number}"), epochs())
        with Checkpoints(store, "job") as checkpoints:
            rows = (EpochRow(epoch=number, seconds=1.0, values={}),)
            told = History(rows=rows, seconds=1.0, started="2026-01-02")
            checkpoints.save(number, {"w": torch.full((2,), number)}, told)

    work(1)
    now, ns = time.time, time.time_ns
    monkeypatch.setattr(time, "time", lambda: now() + jump)
    monkeypatch.setattr(time, "time_ns", lambda: ns() + jump * 10**9)
    store.sweep()
    work(2)
    store.compact()
    monkeypatch.undo()
    work(3)
    again = Store.open(store.uri)
    again.sweep()
    assert again.finished() == {"r1", "r2", "r3"}
    assert again.failures() == {"bad": "attempt 3"}
    saved = Checkpoints(again, "job").load()
    assert saved is not None
    assert saved.epoch == 3
    assert again.verify() == []
