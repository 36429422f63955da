"""The rows and tables that a finished or failed job leaves; each is built here and nowhere else."""

import contextlib
import datetime
import platform as machine
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch

from deep_clustering.platform.data.dataset import Dataset, ImageSet
from deep_clustering.platform.metrics.arrays import Array
from deep_clustering.platform.request import configs
from deep_clustering.platform.request.configs import Value
from deep_clustering.platform.request.jobs import RUN, Job
from deep_clustering.platform.run.checkpoints import Checkpoints, EpochRow
from deep_clustering.platform.run.failure import Failure, Kind
from deep_clustering.platform.store.store import Store

#: Columns of a row.
Row = dict[str, Value]
#: Columns about the code, which every row of a command carries.
Provenance = Mapping[str, str | bool | None]


def now() -> str:
    """This moment, ISO 8601 with time zone."""
    return datetime.datetime.now(datetime.UTC).isoformat()


def described(job: Job) -> Row:
    """The columns of a row that the job alone decides."""
    own: Row = {"run_id": job.id, "stage_id": job.stage}
    if job.kind != RUN:
        own = {"stage_id": job.id, "kind": job.kind}
    return {
        **own,
        "method": job.method,
        "version": job.version,
        "dataset": job.source.spec,
        "dataset_fingerprint": job.dataset,
        "protocol": job.protocol,
        "seed": job.seed,
        "epochs": job.epochs,
        "config_json": configs.canonical(job.config),
        **{f"config.{k}": v for k, v in job.config.items()},
    }


def measured(
    *,
    started: str,
    seconds: float,
    device: torch.device,
    workers: int = 1,
    resumed_at: int = 0,
) -> Row:
    """The columns about the work itself: when, how long, on what.

    Args:
        started: beginning of the first attempt.
        seconds: over all attempts.
        device: that it ran on.
        workers: processes.
        resumed_at: epoch from which the last attempt continued.
    """
    return {
        "seconds": seconds,
        "started": started,
        "ended": now(),
        "resumed_at": resumed_at or None,
        "device": device.type,
        "device_name": _device_name(device),
        "workers": workers,
        "threads": torch.get_num_threads(),
        "peak_memory_mb": _peak(device),
        "host": machine.node(),
    }


def finished(job: Job, dataset: Dataset, work: Row, provenance: Provenance) -> Row:
    """The columns of all finished work but evaluations, without what it came to.

    Args:
        dataset: the job's.
        work: what `measured` gives.
        provenance: see `Workplace`.
    """
    return {**described(job), **work, **_of_dataset(dataset), **provenance}


def _of_dataset(dataset: Dataset) -> Row:
    """The columns about the samples."""
    row: Row = {"dataset": dataset.name, "skipped_images": len(dataset.skipped)}
    if isinstance(dataset, ImageSet):
        row["image_side"] = dataset.images.shape[-1]
        row["image_mean"], row["image_std"] = list(dataset.mean), list(dataset.std)
    return row


def epochs(job: Job, rows: Sequence[EpochRow]) -> pa.Table:
    """The table of epochs of a run."""
    plain = [row.as_json() for row in rows]
    names = dict.fromkeys(name for row in plain for name in row)
    columns = {name: [row.get(name) for row in plain] for name in names}
    return pa.table({"run_id": [job.id] * len(rows), **columns})


def predictions(
    dataset: Dataset,
    cluster: Array,
    heads: Mapping[str, Array],
    final: Array | None,
) -> pa.Table:
    """The table of predictions of a run on the scored samples.

    Args:
        cluster: (n,) of the final head.
        heads: name -> probabilities (n, K), for columns of their own.
        final: probabilities (n, K) of the final head; None from a method that gives none.
    """
    score = dataset.score
    columns: dict[str, object] = {
        "sample": score.astype(np.int64),
        "cluster": cluster.astype(np.int32),
        "confidence": pa.nulls(len(score), pa.float32()) if final is None else final.max(1),
    }
    for head, p in heads.items():
        columns[f"{head}_cluster"] = p.argmax(1).astype(np.int32)
        columns[f"{head}_confidence"] = p.max(1)
    if dataset.labels is not None:
        columns["label"] = dataset.labels[score].astype(np.int32)
    if dataset.paths is not None:
        columns["path"] = [dataset.paths[i] for i in score]
    return pa.table(columns)


def failure(
    job: Job,
    store: Store,
    failure: Failure,
    provenance: Provenance,
    traceback: str | None = None,
) -> None:
    """Record why a run has no result, with the epochs it did; a stage leaves no row.

    A failed run is a row with a reason: its final metrics stay null.
    """
    if job.kind != RUN:
        return
    rows: tuple[EpochRow, ...] = ()
    with warnings.catch_warnings(), contextlib.suppress(OSError):
        warnings.simplefilter("ignore")
        if saved := Checkpoints(store, job.id).load():
            rows = saved.history.rows
    row: Row = {
        **described(job),
        "status": "stopped" if failure.kind is Kind.STOPPED else "failed",
        "reason": failure.reason,
        "failure_kind": failure.kind.value,
        "ended": now(),
        **provenance,
        "epochs": rows[-1].epoch if rows else 0,
    }
    if traceback is not None:
        row["traceback"] = traceback
    store.record_failure(row, epochs(job, rows) if rows else None)


def _device_name(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return machine.processor() or machine.machine()


def forget_peak(device: torch.device) -> None:
    """Measure the peak of memory from here on."""
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
