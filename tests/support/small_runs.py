"""A small run of every method, with all that it stands on.

    python -m support.small_runs PICTURES DATA STORE METHOD...

carries them out one after the other in one lane, a failed run before each.
"""

import contextlib
import sys
from collections.abc import Mapping
from pathlib import Path

from deep_clustering.methods._method import Base
from deep_clustering.platform import registry
from deep_clustering.platform.request import configs
from deep_clustering.platform.request.jobs import Job
from deep_clustering.platform.run.execute import execute
from deep_clustering.platform.store.store import Store
from support.small import Watcher, jobs, place, resolved

#: What makes a method small, where it has such a field and it is larger.
_SMALL: Mapping[str, int] = {
    "clusters": 3,
    "epochs": 2,
    "iterations": 20,
    "clustering_epochs": 2,
    "self_label_epochs": 1,
    "frozen_epochs": 0,
    "warmup_epochs": 1,
    "batch_size": 16,
    "batch": 16,
    "self_label_batch_size": 16,
    "sub_batch_size": 16,
    "mini_clusters": 8,
    "neighbours": 5,
    "fewest": 2,
    "heads": 2,
    "hidden": 12,
    "cutout": 2,
    "queue_size": 64,
    "dimension": 8,
    "projector_hidden": 16,
    "projector_dimension": 8,
    "predictor_hidden": 8,
}


def small_run(method: str, pictures: Path, data: Path, seed: int = 0) -> tuple[Job, ...]:
    """The jobs of a small run of a method, on one of contrastive clustering where it needs one."""
    based = any(isinstance(need, Base) for need in registry.method(method).needs)
    asked = resolved(
        method,
        f"folder:{pictures}",
        root=data,
        sets=_small(method),
        base=" ".join(["cc", *_small("cc")]) if based else None,
    )
    return jobs(asked, seed)


def _small(method: str) -> list[str]:
    """Changes of fields that make a method small."""
    sets = ["threshold=0.4"] if method == "scan" else []
    for name, value in configs.flatten(registry.method(method).config()).items():
        last = name.rpartition(".")[2]
        if last == "backbone":
            sets.append(f"{name}=small")
        elif isinstance(value, int) and value > _SMALL.get(last, value):
            sets.append(f"{name}={_SMALL[last]}")
    return sets


class _Breaks(Watcher):
    """Ends a job by an error after its first epoch."""

    def epoch(self, epoch: int, values: object) -> None:
        raise RuntimeError("broken by hand")


def main(pictures: str, data: str, store: str, *methods: str) -> None:
    lane = place(Store.open(store))
    for method in methods:
        *before, other = small_run(method, Path(pictures), Path(data), seed=1)
        for job in before:
            execute(job, lane, Watcher())
        with contextlib.suppress(RuntimeError):
            execute(other, lane, _Breaks())
        for job in small_run(method, Path(pictures), Path(data)):
            if job.id not in lane.store.done([job.id]):
                execute(job, lane, Watcher())


if __name__ == "__main__":
    main(*sys.argv[1:])
