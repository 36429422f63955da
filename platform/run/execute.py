"""Carry out one job and commit its result.

Knows nothing of Ray: a lane calls `execute` for every job that the planner gives it, and so can
any program. Labels are read in the evaluation alone; what trains sees images and indices.
"""

import time
from collections.abc import Callable, Mapping

import numpy as np
import torch
from safetensors.torch import save as save_tensors
from torch import Tensor

from deep_clustering.methods._method import Clustering, Config
from deep_clustering.platform import registry
from deep_clustering.platform.data.dataset import Dataset
from deep_clustering.platform.evaluation.evaluate import (
    NotFinite,
    labels_of,
    of_model,
    of_partition,
)
from deep_clustering.platform.metrics.features import kmeans_accuracy
from deep_clustering.platform.metrics.registry import EVERY_EPOCH
from deep_clustering.platform.request import configs
from deep_clustering.platform.request.jobs import (
    ENCODER,
    FEATURES,
    FROZEN,
    LIST,
    OUTPUTS,
    RUN,
    VIEW,
    Job,
)
from deep_clustering.platform.run import evaluations, passes, points, record, stages
from deep_clustering.platform.run._loop import train
from deep_clustering.platform.run.checkpoints import Checkpoints, EpochRow, on_cpu
from deep_clustering.platform.run.failure import Cancelled, Diverged
from deep_clustering.platform.run.progress import Numbers, Observer, numbers_in
from deep_clustering.platform.run.workplace import Workplace

#: Kinds of stages; a kind that is neither one of these nor a run is an evaluation's name.
_STAGES: Mapping[str, Callable[[Job, Workplace, Observer], None]] = {
    ENCODER: stages.encoder,
    FROZEN: passes.clean,
    VIEW: passes.view,
    LIST: stages.neighbours,
    OUTPUTS: stages.outputs,
}


def execute(job: Job, place: Workplace, observer: Observer) -> Numbers:
    """Compute a job and commit its result; continues from its last checkpoint.

    Returns:
        The final metrics of a run; nothing for other work.

    Raises:
        Cancelled: nobody wants the job any more; what it has done stays.
        Diverged: a loss became NaN or infinite; nothing is committed here, see `record.failure`.
    """
    record.forget_peak(place.device)
    if job.kind in _STAGES:
        _STAGES[job.kind](job, place, observer)
        return {}
    if job.kind != RUN:
        evaluations.compute(job, place, observer)
        return {}
    at_once = registry.method(job.method).fit is not None
    return (_fit if at_once else _train)(job, place, observer)


def _train(job: Job, place: Workplace, observer: Observer) -> Numbers:
    """A run of a method that trains networks."""
    dataset, images = place.images(job)
    method = registry.method(job.method)
    build = method.build
    if FEATURES in job.needs:
        assert method.on_features is not None
        build, images = method.on_features.build, place.stacks(job, method.on_features)
    assert build is not None
    trainable = build(
        configs.build(method.config, job.config),
        images=images,
        replicas=place.replicas,
        seed=job.seed,
        index=torch.from_numpy(dataset.train),
        **place.given(job, method),
    )
    reference = place.compared(job, dataset)
    canary = _kmeans_accuracy(trainable, dataset, job)

    def evaluate() -> Numbers:
        everything = not all(_every_epoch(name) for name in job.watch)
        try:
            outcome = of_model(trainable, dataset, reference if everything else None, whole=False)
        except NotFinite as error:
            raise Diverged(f"diverged: {error}") from error
        plain = numbers_in(outcome.values)
        return {k: v for k, v in plain.items() if k in job.watch or _every_epoch(k)}

    training = train(trainable, dataset.train, job, place, observer, evaluate)
    if place.replicas.rank != 0:
        return {}
    outcome = of_model(trainable, dataset, reference)
    model = on_cpu(trainable.model_state())
    place.store.write_model(job.id, save_tensors(model))
    row: record.Row = {
        **training.rows[-1].values,
        **record.finished(job, dataset, training.work(place), place.provenance),
        **outcome.values,
        "parameters": _parameters(model),
        "encoder_kmeans_acc": canary,
    }
    probabilities = outcome.probabilities
    final = probabilities[trainable.final_head]
    place.store.commit_run(
        row,
        record.epochs(job, training.rows),
        record.predictions(dataset, final.argmax(1), probabilities, final),
        probabilities,
    )
    Checkpoints(place.store, job.id).clear()
    return numbers_in(row)


def _fit(job: Job, place: Workplace, observer: Observer) -> Numbers:
    """A run of a method that fits all points at once: one step, no checkpoint, no model."""
    if place.replicas.rank != 0:
        return {}
    if observer.cancelled():
        raise Cancelled
    device = torch.device("cpu")  # whatever the lane has
    record.forget_peak(device)
    dataset = place.dataset(job)
    method = registry.method(job.method)
    config: Config = configs.build(method.config, job.config)
    x = points.of(dataset) if job.stage is None else place.features(job.stage)
    started, begun = record.now(), time.monotonic()
    fitted, warned = points.fit(method, config, x, job.seed, torch.get_num_threads())
    seconds = time.monotonic() - begun if fitted.seconds is None else fitted.seconds
    for text in warned:
        observer.note(f"{job.method}: {text}")
    within, reference = np.arange(len(x)), None
    if job.stage is not None:
        reference = place.reference(job.stage)
    else:
        within, reference = points.own_reference(x)
    asked = job.config.get("clusters")
    assert asked is None or isinstance(asked, int)
    values = of_partition(fitted, asked, dataset, within, reference)
    numbers = {k: v for k, v in numbers_in(values).items() if not isinstance(v, bool)}
    epoch = EpochRow(epoch=1, seconds=seconds, values=numbers)
    work = record.measured(started=started, seconds=seconds, device=device)
    row = record.finished(job, dataset, work, place.provenance) | values
    p = fitted.probabilities
    place.store.commit_run(
        row,
        record.epochs(job, [epoch]),
        record.predictions(dataset, fitted.labels, {}, p),
        None if p is None else {points.HEAD: p.astype(np.float32)},
    )
    observer.epoch(1, numbers)
    return numbers_in(row)


def _kmeans_accuracy(trainable: Clustering, dataset: Dataset, job: Job) -> float | None:
    """Accuracy of k-means on the features before training: tells whether weights were loaded."""
    features = trainable.features(torch.from_numpy(dataset.score)).float().cpu().numpy()
    clusters = job.config["clusters"]
    assert isinstance(clusters, int)
    return kmeans_accuracy(features, labels_of(dataset), clusters, seed=0)


def _every_epoch(name: str) -> bool:
    """Whether a metric, of the final head or of a named one, is computed at every epoch."""
    return any(name == metric or name.endswith(f"_{metric}") for metric in EVERY_EPOCH)


def _parameters(model: Mapping[str, Tensor]) -> int:
    """Weights of a model; running statistics of batch normalisation are none."""
    return sum(
        t.numel() for n, t in model.items() if t.is_floating_point() and ".running_" not in n
    )
