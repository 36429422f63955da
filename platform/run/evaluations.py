"""Evaluations of finished runs as jobs: planned by their record, computed and committed here."""

import time
from dataclasses import replace

from deep_clustering.platform.data.dataset import Source
from deep_clustering.platform.errors import StorageError
from deep_clustering.platform.evaluation import contract
from deep_clustering.platform.evaluation.contract import (
    Context,
    Evaluation,
    Finished,
    Subject,
)
from deep_clustering.platform.request.jobs import Job, of_evaluation
from deep_clustering.platform.run import record
from deep_clustering.platform.run.failure import Damaged
from deep_clustering.platform.run.progress import Observer
from deep_clustering.platform.run.workplace import Workplace

#: Columns that a result has from the row of its run.
_OF_THE_RUN = (
    "method",
    "version",
    "dataset",
    "dataset_fingerprint",
    "protocol",
    "seed",
    "image_side",
    "image_mean",
    "image_std",
)


def planned(name: str, subject: Subject, asked: str, context: Context) -> Job:
    """The job that evaluates a run, finished or planned.

    Args:
        name: of the evaluation.
        asked: what followed its option.

    Raises:
        InputError: it cannot be done with that run, or what was asked for is not to be had.
    """
    evaluation = contract.find(name)
    if context.parameters is None and evaluation.parameters is not None:
        context = replace(context, parameters=evaluation.parameters())
    prepared = evaluation.prepare(subject, asked, context)
    return of_evaluation(
        name,
        run=subject.run,
        version=evaluation.version,
        identity=prepared.identity,
        config=prepared.config,
        method=subject.method,
        seed=subject.seed,
        dataset=subject.fingerprint,
        protocol=subject.protocol,
        source=Source(subject.dataset, context.root, protocol=subject.protocol),
    )


def compute(job: Job, place: Workplace, observer: Observer) -> None:
    """Evaluate a finished run and commit the result.

    Raises:
        Damaged: what the run has left is damaged.
        StorageError: the result was not written.
    """
    if place.replicas.rank != 0:
        return
    started, begun = record.now(), time.monotonic()
    row = place.store.run_row(job.needs["run"])
    evaluation: Evaluation = contract.find(job.kind)
    run = Finished(
        store=place.store,
        row=row,
        root=job.source.root,
        config=job.config,
        device=place.device,
    )
    try:
        outcome = evaluation.compute(run)
    except StorageError as error:
        raise Damaged(str(error)) from error
    columns: record.Row = {
        "stage_id": job.id,
        "kind": job.kind,
        **{name: row[name] for name in _OF_THE_RUN},
        **record.measured(started=started, seconds=time.monotonic() - begun, device=place.device),
        **place.provenance,
        **outcome.columns,
    }
    place.store.commit_stage(columns, dict(outcome.artefacts))
