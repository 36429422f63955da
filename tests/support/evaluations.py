"""Evaluations of finished runs as `platform evaluate` computes them, without its output."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

from deep_clustering.platform.data.dataset import Progress
from deep_clustering.platform.errors import StorageError
from deep_clustering.platform.evaluation import finished
from deep_clustering.platform.evaluation.contract import Context, Row, Subject
from deep_clustering.platform.run import evaluations
from deep_clustering.platform.run.execute import execute
from deep_clustering.platform.run.failure import Damaged
from deep_clustering.platform.store.store import Store
from support.small import Watcher, place


def evaluated(
    name: str,
    store: Store,
    run: str,
    asked: Sequence[str],
    *,
    root: Path,
    skip_broken: bool = False,
    progress: Progress | None = None,
    provenance: Mapping[str, str] | None = None,
) -> list[Row]:
    """The rows of an evaluation, all planned before the first is computed."""
    subject = Subject.of_row(finished.trained_run(store, run))
    context = Context(root=root, skip_broken=skip_broken, progress=progress)
    jobs = [evaluations.planned(name, subject, text, context) for text in dict.fromkeys(asked)]
    lane = dataclasses.replace(place(store), provenance=provenance or {})
    for job in jobs:
        if not store.stage_ready(job.id):
            try:
                execute(job, lane, Watcher())
            except Damaged as error:
                raise StorageError(str(error)) from error
    return [store.stage_row(job.id) for job in jobs]
