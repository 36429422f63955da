"""A tiny dataset and a configuration that trains in about a second, for tests of the platform."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from deep_clustering.methods.compute.replicas import Replicas
from deep_clustering.platform.request.jobs import Job
from deep_clustering.platform.request.options import Asked
from deep_clustering.platform.request.request import Outline, Request, resolve
from deep_clustering.platform.run.workplace import Workplace
from deep_clustering.platform.store.store import Store

#: Overrides that make CDC on `images` below a matter of a second.
SETS = (
    "pretrain.backbone=small",
    "pretrain.epochs=2",
    "pretrain.warmup_epochs=1",
    "pretrain.batch_size=16",
    "pretrain.queue_size=64",
    "pretrain.projector_hidden=16",
    "pretrain.projector_dimension=8",
    "epochs=3",
    "batch_size=32",
    "sub_batch_size=16",
    "mini_clusters=8",
    "hidden=12",
    "clusters=3",
    "cutout=2",
)


def images(folder: Path, labelled: bool = True, count: int = 16) -> Path:
    """Three kinds of 8x8 pictures, `count` of each: red, green and blue gradients with noise."""
    random = np.random.default_rng(0)
    for kind in range(3):
        place = folder / f"kind {kind}" if labelled else folder
        place.mkdir(parents=True, exist_ok=True)
        for i in range(count):
            pixels = random.integers(0, 90, (8, 8, 3), dtype=np.uint8)
            pixels[..., kind] += np.linspace(60, 150, 8, dtype=np.uint8)
            Image.fromarray(pixels).save(place / f"{kind}-{i}.png")
    return folder


def resolved(
    method: str,
    dataset: str,
    *,
    root: Path,
    store: Store | None = None,
    outline: Outline = "never",
    sets: Sequence[str] = (),
    **asked: Any,
) -> Request:
    """The request of some options; see `resolve` and `Asked`."""
    wanted = Asked(method=method, dataset=dataset, sets=tuple(sets), **asked)
    return resolve(wanted, root=root, store=store, outline=outline)


def request(folder: Path, root: Path, *sets: str, **asked: Any) -> Request:
    """CDC on the pictures in a folder."""
    return resolved("cdc", f"folder:{folder}", root=root, sets=[*SETS, *sets], **asked)


def jobs(asked: Request, *seeds: int) -> tuple[Job, ...]:
    """The jobs of a request: what its runs stand on, then the runs; of seed 0 if none is given."""
    return asked.wanted(seeds or (0,)).jobs


def place(store: Store, **changes: Any) -> Workplace:
    """One process on the CPU, as a lane has it."""
    torch.set_num_threads(1)
    return Workplace(store, torch.device("cpu"), Replicas.alone("cpu"), {}, **changes)


class Watcher:
    """Progress that remembers, and that can stop a job after an epoch."""

    def __init__(self, stop_after: int | None = None) -> None:
        self.epochs: list[int] = []
        self.values: list[dict[str, Any]] = []
        self.notes: list[str] = []
        self.passed: list[tuple[int, int]] = []
        self._stop_after = stop_after

    def epoch(self, epoch: int, values: Any) -> None:
        self.epochs.append(epoch)
        self.values.append(dict(values))

    def images(self, done: int, of: int) -> None:
        self.passed.append((done, of))

    def note(self, text: str) -> None:
        self.notes.append(text)

    def cancelled(self) -> bool:
        return (
            self._stop_after is not None
            and bool(self.epochs)
            and self.epochs[-1] >= (self._stop_after)
        )


def run_of(jobs: list[Job]) -> Job:
    """The last job, which is the run."""
    assert jobs[-1].kind == "run"
    return jobs[-1]
