"""Carry out one job: the epoch loop, its checkpoints, its evaluation, its commit.

Knows nothing of Ray: a lane calls `execute` for every job that the planner gives it, and so can
any program. Labels are read in `_evaluate` alone; what trains sees images and indices.
"""

import contextlib
import datetime
import hashlib
import platform as machine
import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import torch
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor

from deep_clustering.methods.clustering.kmeans import neighbours
from deep_clustering.methods.images.images import Images
from deep_clustering.methods.learning.replicas import Replicas
from deep_clustering.platform import registry
from deep_clustering.platform.data.dataset import Dataset, ImageSet
from deep_clustering.platform.data.dataset import open as open_dataset
from deep_clustering.platform.errors import InputError
from deep_clustering.platform.metrics import criteria
from deep_clustering.platform.metrics.evaluate import evaluate as evaluate_head
from deep_clustering.platform.metrics.features import kmeans_accuracy
from deep_clustering.platform.metrics.partition import flags
from deep_clustering.platform.metrics.registry import EVERY_EPOCH
from deep_clustering.platform.request import configs
from deep_clustering.platform.request.jobs import NEIGHBOURS, Job
from deep_clustering.platform.run import points as fitting
from deep_clustering.platform.run.checkpoints import Checkpoints

#: What every epoch reports of each head when labels exist; the rest is computed once, at the end.
_EPOCH_METRICS = frozenset(EVERY_EPOCH)


class Cancelled(Exception):
    """Whoever asked for the job does not want it any more (a scheduler, a Ctrl-C)."""


class Diverged(Exception):
    """A loss stopped being finite."""


class Progress(Protocol):
    """How a job is watched while it runs."""

    def epoch(self, epoch: int, values: Mapping[str, float | None]) -> None:
        """`epoch` epochs are done, and durable once the next is; `values`: losses and metrics."""

    def note(self, text: str) -> None:
        """Something a person should read."""

    def cancelled(self) -> bool:
        """Asked between steps."""


@dataclass
class Workplace:
    """What a lane keeps from job to job: only things that no job changes."""

    store: Any
    device: torch.device
    replicas: Replicas
    provenance: Mapping[str, Any]
    _data: dict[str, tuple[Dataset, Images | None]] = field(default_factory=dict)
    _references: dict[str, Any] = field(default_factory=dict)

    def data(self, job: Job) -> tuple[ImageSet, Images]:
        """The dataset of a job and its images on the device."""
        dataset = self.dataset(job)
        assert isinstance(dataset, ImageSet)  # a request of vectors for networks was refused
        ((key, (_, images)),) = self._data.items()
        if images is None:
            images = Images(dataset.images, mean=dataset.mean, std=dataset.std, device=self.device)
            self._data[key] = (dataset, images)
        return dataset, images

    def dataset(self, job: Job) -> Dataset:
        """The prepared dataset of a job; the one before gives way, as the device has little room.

        Raises:
            InputError: it is not the one that the job was planned with.
        """
        key = f"{job.identity['dataset']} {job.identity['protocol']}"
        if key not in self._data:
            dataset = open_dataset(job.source)
            if dataset.fingerprint != job.identity["dataset"]:
                raise InputError(
                    f"the images of {dataset.name} changed after the command started; "
                    "give the same command again."
                )
            self._data = {key: (dataset, None)}
        return self._data[key][0]

    def encoder(self, stage: str) -> dict[str, Tensor]:
        """The weights of a finished pretraining."""
        return load_tensors(self.store.stage_artefact(stage, "encoder").read_bytes())

    def reference(self, stage: str) -> Any:
        """The shared features of a stage, in which partitions are compared without labels."""
        if stage not in self._references:
            shared = self._shared(stage)
            self._references = {
                stage: criteria.Reference(
                    shared["features"].float().numpy(), shared["neighbours"].long().numpy()
                )
            }
        return self._references[stage]

    def features(self, stage: str) -> np.ndarray:
        """The features of the scored images by a finished pretraining, float32 (n, d)."""
        found: np.ndarray = self._shared(stage)["features"].float().numpy()
        return found

    def _shared(self, stage: str) -> dict[str, Tensor]:
        return load_tensors(self.store.stage_artefact(stage, "features").read_bytes())


def derive(seed: int, *names: str | int) -> int:
    """A 63-bit seed for one purpose, so that purposes never share random numbers."""
    text = ":".join(map(str, (seed, *names)))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def execute(job: Job, place: Workplace, progress: Progress) -> dict[str, Any]:
    """Compute a job and commit its result; continues from its last checkpoint.

    Returns:
        The final metrics of a run, or an empty dictionary for a stage.

    Raises:
        Cancelled: the job is not wanted any more; its last checkpoint stays.
        Diverged: a loss became NaN or infinite; nothing is committed here, see `failure`.
    """
    _forget_peak(place.device)
    if job.kind == "encoder":
        return _encoder(job, place, progress)
    at_once = registry.method(job.identity["method"]).fit is not None
    return (_fit_points if at_once else _run)(job, place, progress)


def _encoder(job: Job, place: Workplace, progress: Progress) -> dict[str, Any]:
    dataset, images = place.data(job)
    method = registry.method(job.identity["method"])
    config = configs.build(method.pretrain.config, job.identity["config"])
    trainable = method.pretrain.build(
        config,
        images=images,
        replicas=place.replicas,
        seed=job.identity["seed"],
        index=torch.from_numpy(dataset.pretrain),
    )
    clock = _fit(trainable, dataset.pretrain, job, place, progress)
    features = trainable.features(torch.from_numpy(dataset.score)).float().cpu()
    if place.replicas.rank == 0:
        shared = {
            "features": features.half().contiguous(),
            "neighbours": neighbours(features, min(NEIGHBOURS, len(features) - 1)).int(),
        }
        row = {**_row(job, place, dataset, clock), "status": "ok"}
        place.store.commit_stage(
            row,
            {
                "encoder": save_tensors(_on_cpu(trainable.encoder_state())),
                "features": save_tensors(_on_cpu(shared)),
            },
        )
        Checkpoints(place.store, job.id).clear()
    return {}


def _run(job: Job, place: Workplace, progress: Progress) -> dict[str, Any]:
    dataset, images = place.data(job)
    method = registry.method(job.identity["method"])
    config = configs.build(method.config, job.identity["config"])
    stage = job.identity["stage"]
    trainable = method.build(
        config,
        images=images,
        replicas=place.replicas,
        seed=job.identity["seed"],
        encoder_state=place.encoder(stage) if stage else None,
        index=torch.from_numpy(dataset.train),
    )
    reference = place.reference(stage) if stage else None
    score = torch.from_numpy(dataset.score)
    canary = kmeans_accuracy(
        trainable.features(score).float().cpu().numpy(),
        None if dataset.labels is None else dataset.labels[dataset.score],
        config.clusters,
        seed=0,
    )

    def evaluate() -> dict[str, Any]:
        everything = bool(job.watch) and not set(job.watch) <= _EPOCH_METRICS
        values, _ = _evaluate(trainable, dataset, reference if everything else None)
        return {k: v for k, v in values.items() if k in job.watch or _of_every_epoch(k)}

    clock = _fit(trainable, dataset.train, job, place, progress, evaluate)
    if place.replicas.rank != 0:
        return {}
    values, predictions = _evaluate(trainable, dataset, reference)
    model = _on_cpu(trainable.model_state())
    place.store.write_model(job.id, save_tensors(model))
    row = {
        **{k: v for k, v in clock.rows[-1].items() if k not in ("epoch", "seconds")},
        **_row(job, place, dataset, clock),
        **values,
        "parameters": _parameters(model),
        "status": "ok",
        "encoder_kmeans_acc": canary,
    }
    place.store.commit_run(row, _epochs_table(job, clock.rows), predictions)
    Checkpoints(place.store, job.id).clear()
    return _numbers(row)


def _fit_points(job: Job, place: Workplace, progress: Progress) -> dict[str, Any]:
    """A run of a method that fits all points at once: one step, no checkpoint, no model."""
    if place.replicas.rank != 0:
        return {}
    if progress.cancelled():
        raise Cancelled
    device = torch.device("cpu")  # whatever the lane has
    _forget_peak(device)
    dataset = place.dataset(job)
    method = registry.method(job.identity["method"])
    config = configs.build(method.config, job.identity["config"])
    stage = job.identity["stage"]
    points = place.features(stage) if stage else fitting.points(dataset)
    started, begun = _now(), time.monotonic()
    fitted, told = fitting.fit(
        method, config, points, job.identity["seed"], torch.get_num_threads()
    )
    seconds = time.monotonic() - begun if fitted.seconds is None else fitted.seconds
    for text in told:
        progress.note(f"{job.identity['method']}: {text}")
    within = np.arange(len(points))
    if stage:
        reference = place.reference(stage)
    else:
        within, reference = fitting.own_reference(points)
    values, predictions = fitting.evaluate(fitted, config, dataset, within, reference)
    numbers = {
        k: v for k, v in values.items() if isinstance(v, (int, float)) and not isinstance(v, bool)
    }
    epoch = {"epoch": 1, "seconds": seconds, **numbers}
    row = {
        **_row(job, place, dataset, _Clock([epoch], seconds, started, 0), device),
        **values,
        "status": "ok",
    }
    place.store.commit_run(row, _epochs_table(job, [epoch]), predictions)
    progress.epoch(1, numbers)
    return _numbers(row)


@dataclass
class _Clock:
    """Epoch rows and seconds of training, over all attempts."""

    rows: list[dict[str, Any]]
    seconds: float
    started: str
    resumed_at: int


def _fit(
    trainable: Any,
    index: np.ndarray,
    job: Job,
    place: Workplace,
    progress: Progress,
    evaluate: Callable[[], dict[str, Any]] | None = None,
) -> _Clock:
    """The loop over epochs; the last partial batch of an epoch is dropped (recipe of CDC)."""
    with Checkpoints(place.store, job.id) as checkpoints:
        return _epochs(trainable, index, job, place, progress, evaluate, checkpoints)


def _epochs(
    trainable: Any,
    index: np.ndarray,
    job: Job,
    place: Workplace,
    progress: Progress,
    evaluate: Callable[[], dict[str, Any]] | None,
    checkpoints: Checkpoints,
) -> _Clock:
    order = torch.Generator().manual_seed(derive(job.identity["seed"], "order"))
    images = torch.from_numpy(index)
    size = trainable.batch_size
    chief = place.replicas.rank == 0
    clock = _Clock([], 0.0, _now(), 0)

    with warnings.catch_warnings(record=True) as damage:
        warnings.simplefilter("always")
        found = checkpoints.load()
    for warning in damage:
        progress.note(str(warning.message))
    begun = time.monotonic()

    def durable(epoch: int, values: dict[str, Any]) -> None:
        if chief:
            seconds = clock.seconds + time.monotonic() - begun
            clock.rows.append({"epoch": epoch, "seconds": seconds, **values})
            history = {"rows": clock.rows, "seconds": seconds, "started": clock.started}
            checkpoints.save(epoch, trainable.state() | {"loop.order": order.get_state()}, history)
            progress.epoch(epoch, values)

    if found is None:
        values = dict(trainable.initialise())
        durable(0, values | (evaluate() if evaluate and chief else {}))
    else:
        clock.resumed_at, state, history = found
        order.set_state(state.pop("loop.order"))
        trainable.load_state(state)
        clock.rows, clock.seconds = history["rows"], history["seconds"]
        clock.started = history["started"]

    for epoch in range(clock.resumed_at + 1, trainable.epochs + 1):
        shuffled = images[torch.randperm(len(images), generator=order)].to(place.device)
        collected: list[Tensor] = []
        names: list[str] = []
        for step in range(len(images) // size):
            if progress.cancelled():
                raise Cancelled
            losses = trainable.step(shuffled[step * size : (step + 1) * size])
            names = list(losses)
            collected.append(torch.stack([v.float() for v in losses.values()]))
        table = torch.stack(collected).double().cpu()
        finite = torch.isfinite(table)
        if not bool(finite.all()):
            step, term = (int(i) for i in (~finite).nonzero()[0])
            raise Diverged(
                f"diverged at epoch {epoch}, step {step + 1}: {names[term]} is not finite"
            )
        values = dict(zip(names, table.mean(0).tolist(), strict=True))
        durable(epoch, values | (evaluate() if evaluate and chief else {}))
    clock.seconds += time.monotonic() - begun
    return clock


def _evaluate(trainable: Any, dataset: Dataset, reference: Any) -> tuple[dict[str, Any], pa.Table]:
    """Metrics of every head, criteria of the final one, and the table of predictions."""
    labels = None if dataset.labels is None else dataset.labels[dataset.score]
    probabilities = {
        head: p.cpu().numpy()
        for head, p in trainable.predict(torch.from_numpy(dataset.score)).items()
    }
    final = probabilities[trainable.final_head]
    values: dict[str, Any] = {}
    for head, p in probabilities.items():
        found = evaluate_head(p, labels)
        values |= {f"{head}_{k}": v for k, v in found.items()}
        if head == trainable.final_head:
            values |= found
    values["cluster_sizes"] = np.bincount(final.argmax(1), minlength=final.shape[1]).tolist()
    values["flags"] = flags(final)
    values["collapsed"] = "collapsed" in values["flags"]
    if reference is not None:
        values |= criteria.criteria(final, reference)
    columns: dict[str, Any] = {
        "sample": dataset.score.astype(np.int64),
        "cluster": final.argmax(1).astype(np.int32),
        "confidence": final.max(1),
    }
    for head, p in probabilities.items():
        columns[f"{head}_cluster"] = p.argmax(1).astype(np.int32)
        columns[f"{head}_confidence"] = p.max(1)
    if labels is not None:
        columns["label"] = labels.astype(np.int32)
    if dataset.paths is not None:
        columns["path"] = [dataset.paths[i] for i in dataset.score]
    return values, pa.table(columns)


def _of_every_epoch(name: str) -> bool:
    return any(name == m or name.endswith(f"_{m}") for m in _EPOCH_METRICS)


def _row(
    job: Job, place: Workplace, dataset: Dataset, clock: _Clock, device: torch.device | None = None
) -> dict[str, Any]:
    """The columns that every finished job has; `device` where it is not the lane's."""
    device = device or place.device
    return {
        **describe(job),
        "dataset": dataset.name,
        "seconds": clock.seconds,
        "started": clock.started,
        "ended": _now(),
        "resumed_at": clock.resumed_at or None,
        "device": device.type,
        "device_name": _device_name(device),
        "workers": place.replicas.world,
        "threads": torch.get_num_threads(),
        "peak_memory_mb": _peak(device),
        "host": machine.node(),
        **_of_images(dataset),
        "skipped_images": len(dataset.skipped),
        **place.provenance,
    }


def _of_images(dataset: Dataset) -> dict[str, Any]:
    if not isinstance(dataset, ImageSet):
        return {}
    return {
        "image_side": dataset.images.shape[-1],
        "image_mean": list(dataset.mean),
        "image_std": list(dataset.std),
    }


def describe(job: Job) -> dict[str, Any]:
    """The columns of a row that the job alone decides."""
    identity = job.identity
    return {
        "run_id" if job.kind == "run" else "stage_id": job.id,
        **({"stage_id": identity["stage"]} if job.kind == "run" else {"kind": job.kind}),
        "method": identity["method"],
        "version": identity["version"],
        "dataset": job.source.spec,
        "dataset_fingerprint": identity["dataset"],
        "protocol": identity["protocol"],
        "seed": identity["seed"],
        "epochs": job.epochs,
        "config_json": configs.canonical(identity["config"]),
        **{f"config.{k}": v for k, v in identity["config"].items()},
    }


def failure(job: Job, store: Any, reason: str, provenance: Mapping[str, Any], **rest: Any) -> None:
    """Record why a run has no result, with the epochs it did; a stage leaves no row.

    A failed run is a row with a reason: its final metrics stay null.
    """
    if job.kind != "run":
        return
    rows: list[dict[str, Any]] = []
    with warnings.catch_warnings(), contextlib.suppress(OSError):
        warnings.simplefilter("ignore")
        if found := Checkpoints(store, job.id).load():
            rows = found[2]["rows"]
    row = {**describe(job), "status": "failed", "reason": reason, "ended": _now(), **provenance}
    row["epochs"] = rows[-1]["epoch"] if rows else 0
    store.record_failure(row | rest, _epochs_table(job, rows) if rows else None)


def _epochs_table(job: Job, rows: list[dict[str, Any]]) -> pa.Table:
    names = dict.fromkeys(name for row in rows for name in row)
    columns = {name: [row.get(name) for row in rows] for name in names}
    return pa.table({"run_id": [job.id] * len(rows), **columns})


def _parameters(model: Mapping[str, Tensor]) -> int:
    """Weights of a model; running statistics of batch normalisation are none."""
    return sum(
        t.numel() for n, t in model.items() if t.is_floating_point() and ".running_" not in n
    )


def _numbers(row: Mapping[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in row.items() if isinstance(v, (int, float)) and "." not in k}


def _on_cpu(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {k: v.detach().to("cpu").contiguous() for k, v in state.items()}


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat()


def _device_name(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return machine.processor() or machine.machine()


def _forget_peak(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    else:  # Linux resets the high-water mark of a process on this request
        with contextlib.suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5")


def _peak(device: torch.device) -> float | None:
    """Peak memory of the job in MiB: of the device on CUDA, else of the process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    with contextlib.suppress(OSError, StopIteration):
        lines = Path("/proc/self/status").read_text().splitlines()
        return int(next(x for x in lines if x.startswith("VmHWM")).split()[1]) / 1024
    return None
