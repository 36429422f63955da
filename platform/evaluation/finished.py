"""Cluster new images with a trained run."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl
from rich.table import Table

from deep_clustering.platform import registry
from deep_clustering.platform.data.dataset import ImageSet, Source
from deep_clustering.platform.data.dataset import open as open_dataset
from deep_clustering.platform.errors import InputError
from deep_clustering.platform.request import configs

if TYPE_CHECKING:
    import numpy as np
    import torch


def predict(
    store: Any, run: str, images: Path, *, root: Path, skip_broken: bool = False
) -> tuple[pl.DataFrame, Table]:
    """Clusters and confidences of the images of a folder.

    Args:
        store: the store that has the run.
        run: run id or its first letters.
        images: folder of images, read as `folder:PATH` datasets are, at the size the run was
            trained on; sub-folders are not taken as labels.
        root: where decoded images live.
        skip_broken: leave unreadable images out.

    Returns:
        One row per image (path, cluster, confidence, and both of every head), and a summary.

    Raises:
        InputError: no such run, several, one without a model, or no images.
    """
    import torch

    row = trained_run(store, run)
    dataset = open_dataset(
        Source(f"folder:{images}", root, skip_broken=skip_broken, side=row["image_side"])
    )
    assert isinstance(dataset, ImageSet)
    trainable = restored(store, row, dataset.images, device())
    found = trainable.predict(torch.arange(len(dataset.images)))
    final = found[trainable.final_head].cpu()
    columns: dict[str, Any] = {
        "path": dataset.paths,
        "cluster": final.argmax(1).numpy(),
        "confidence": final.amax(1).numpy(),
    }
    for head, p in found.items():
        columns[f"{head}_cluster"] = p.argmax(1).cpu().numpy()
        columns[f"{head}_confidence"] = p.amax(1).cpu().numpy()
    frame = pl.DataFrame(columns)
    return frame, _summary(frame, row["run_id"])


def finished_run(store: Any, run: str) -> dict[str, Any]:
    """The row of a finished run, by its id or the first letters of it.

    Raises:
        InputError: no such run, or several.
    """
    ids = sorted(i for i in store.finished() if i.startswith(run))
    if not ids:
        raise InputError(
            f"there is no finished run '{run}' in {store.uri}; `platform results` lists them."
        )
    if len(ids) > 1:
        raise InputError(f"'{run}' could be {', '.join(ids[:3])}; give more letters.")
    row: dict[str, Any] = store.run_row(ids[0])
    return row


def trained_run(store: Any, run: str) -> dict[str, Any]:
    """The row of a finished run that has a model, as `finished_run`.

    Raises:
        InputError: no such run, several, or one of a method that fits at once.
    """
    row = finished_run(store, run)
    if registry.method(row["method"]).fit is not None:
        raise InputError(
            f"run {row['run_id']} keeps no model: {row['method']} fits all its samples at once; "
            "`platform results predictions` has their clusters."
        )
    return row


def device() -> "torch.device":
    """The GPU if there is one, else the CPU."""
    import torch

    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def restored(
    store: Any,
    row: Mapping[str, Any],
    images: "np.ndarray | torch.Tensor",
    device: "torch.device",
) -> Any:
    """The model of a finished run, ready to `predict` indices of images that it may not know.

    Args:
        row: of the run.
        images: uint8 (N, 3, S, S) with S the row's `image_side`; normalised as the run's own were.
        device: where to compute.
    """
    from safetensors.torch import load

    from deep_clustering.methods.images.images import Images
    from deep_clustering.methods.learning.replicas import Replicas

    record = registry.method(row["method"])
    return record.restore(
        configs.build(record.config, json.loads(row["config_json"])),
        load(store.model_path(row["run_id"]).read_bytes()),
        images=Images(
            images, mean=tuple(row["image_mean"]), std=tuple(row["image_std"]), device=device
        ),
        replicas=Replicas.alone(device),
    )


def _summary(frame: pl.DataFrame, run: str) -> Table:
    table = Table(title=f"{frame.height} images by run {run}", box=None, pad_edge=False)
    for column in ("cluster", "images", "mean confidence", "for example"):
        table.add_column(column, justify="left" if column == "for example" else "right")
    groups = frame.group_by("cluster").agg(
        pl.len(), pl.col("confidence").mean(), pl.col("path").sort_by("confidence").last()
    )
    for cluster, count, confidence, path in groups.sort("cluster").iter_rows():
        table.add_row(str(cluster), str(count), f"{confidence:.3f}", path)
    return table
