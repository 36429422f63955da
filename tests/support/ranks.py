"""A group of two processes: what each of them computes, beside what one computes alone.

A file that takes part has `everything(replicas)`, and ends with `join(everything)` where it is run:
`python -m support.FILE RANK FOLDER DEVICE BACKEND WORLD`; results go to FOLDER. They talk through
gloo unless something else is said: it takes two processes on one GPU.
"""

import contextlib
import subprocess
import sys
from collections.abc import Callable, Mapping
from datetime import timedelta
from pathlib import Path
from types import ModuleType

import torch
import torch.distributed as dist

from deep_clustering.methods.compute.replicas import Replicas

WORLD = 2
Results = dict[str, dict[str, torch.Tensor]]


def join(everything: Callable[[Replicas], Results]) -> None:
    """One process of the group."""
    torch.set_num_threads(1)
    rank, world = int(sys.argv[1]), int(sys.argv[5])
    folder, device, backend = Path(sys.argv[2]), sys.argv[3], sys.argv[4]
    dist.init_process_group(
        backend,
        init_method=f"file://{folder / 'meeting'}",
        rank=rank,
        world_size=world,
        timeout=timedelta(minutes=5),  # more than any test takes
    )
    torch.save(everything(Replicas.joined(device)), folder / f"{rank}.pt")
    dist.destroy_process_group()


def results(
    module: ModuleType,
    folder: Path,
    device: str = "cpu",
    environment: Mapping[str, str] | None = None,
    *,
    backend: str = "gloo",
    world: int = WORLD,
    limit: float | None = None,
) -> tuple[Results, list[Results]]:
    """What this process computes alone on the CPU, and each process of a group on a device.

    Raises:
        AssertionError: a process failed; says all that it wrote.
        subprocess.TimeoutExpired: one took longer than `limit` seconds.
    """
    with contextlib.ExitStack() as stack:
        workers = [
            stack.enter_context(
                subprocess.Popen(
                    [
                        *(sys.executable, "-m", module.__name__, str(rank), str(folder)),
                        *(device, backend, str(world)),
                    ],
                    stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT,
                    text=True,
                    env=environment,
                )
            )
            for rank in range(world)
        ]
        for worker in workers:
            stack.callback(worker.kill)
        alone = module.everything(Replicas.alone())
        for worker in workers:
            output, _ = worker.communicate(timeout=limit)
            assert worker.returncode == 0, output
    files = [folder / f"{rank}.pt" for rank in range(world)]
    return alone, [torch.load(file, map_location="cpu") for file in files]


def assert_as_one(
    results: tuple[Results, list[Results]], name: str, rtol: float, atol: float
) -> None:
    """The entry of this name is the same in the group as alone."""
    alone, together = results
    assert len(alone[name]) >= 10
    for key, expected in alone[name].items():
        for found in together:
            torch.testing.assert_close(
                found[name][key],
                expected,
                rtol=rtol,
                atol=atol,
                msg=lambda text, key=key: f"{key}: {text}",
            )


def assert_identical(results: tuple[Results, list[Results]], name: str) -> None:
    """The entry of this name is bit for bit the same in all processes of the group."""
    first, second = results[1]
    for key, value in first[name].items():
        assert torch.equal(value, second[name][key]), key
