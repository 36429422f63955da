"""Finished runs brought back: their rows, their models, and clusters of new images."""

import contextlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import polars as pl
from rich.table import Table
from rich.text import Text

from deep_clustering.methods._method import Config, Model
from deep_clustering.platform import registry
from deep_clustering.platform.data import dataset as datasets
from deep_clustering.platform.data.catalogue import CATALOGUE, ImageEntry
from deep_clustering.platform.data.dataset import Dataset, ImageSet, Source
from deep_clustering.platform.encoders.names import Encoder
from deep_clustering.platform.errors import InputError, StorageError
from deep_clustering.platform.evaluation import tensors
from deep_clustering.platform.evaluation.measures import on_one_line
from deep_clustering.platform.request import configs
from deep_clustering.platform.request.configs import Value
from deep_clustering.platform.request.jobs import FROZEN
from deep_clustering.platform.store.store import Found, Store

if TYPE_CHECKING:
    import numpy as np
    import torch

    from deep_clustering.methods.images.images import Images

#: A row of `runs`.
Row = Mapping[str, Value]


@dataclass(frozen=True, kw_only=True)
class Clustered:
    """New images, clustered by a run."""

    images: pl.DataFrame  # a row per image: path, cluster, confidence, and both of every head
    probabilities: "np.ndarray"  # (n, K) of the final head
    dataset: ImageSet
    row: Row  # of the run
    summary: Table


def predict(
    store: Store, run: str, folder: Path, *, root: Path, skip_broken: bool = False
) -> Clustered:
    """Clusters and confidences of the images of a folder.

    Args:
        store: the store that has the run.
        run: run id or its first letters.
        folder: of images, read as `folder:PATH` datasets are, at the size the run was trained on;
            sub-folders are not taken as labels.
        root: where decoded images live.
        skip_broken: leave unreadable images out.

    Raises:
        InputError: no such run, several, one without a model, or no images.
    """
    import torch

    row = finished_run(store, run)
    if encoder_of(store, row) is None or registry.method(str(row["method"])).model is None:
        row = trained_run(store, run)
    side = row["image_side"]
    assert isinstance(side, int)
    spec = f"folder:{folder}"
    dataset = datasets.open(Source(spec, root, skip_broken=skip_broken, side=side, labels=False))
    assert isinstance(dataset, ImageSet)
    where = device()
    images = images_for(row, dataset.images, where, dataset.sizes)
    predicted: dict[str, torch.Tensor] = {}
    if registry.method(str(row["method"])).fit is None:
        model = restored(store, row, images, where, root)
        predicted = model.predict(torch.arange(len(dataset.images)))
        final = predicted[model.final_head].cpu()
    else:
        final = torch.from_numpy(_found_anew(store, row, images, where, root))
    columns: dict[str, object] = {
        "path": dataset.paths,
        "cluster": final.argmax(1).numpy(),
        "confidence": final.amax(1).float().numpy(),
    }
    for head, p in predicted.items():
        columns[f"{head}_cluster"] = p.argmax(1).cpu().numpy()
        columns[f"{head}_confidence"] = p.amax(1).cpu().numpy()
    frame = pl.DataFrame(columns)
    summary = _summary(frame, str(row["run_id"]))
    return Clustered(
        images=frame, probabilities=final.numpy(), dataset=dataset, row=row, summary=summary
    )


def finished_run(store: Store, run: str) -> Row:
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
    return store.run_row(ids[0])


def trained_run(store: Store, run: str) -> Row:
    """The row of a finished run that has a model, as `finished_run`.

    Raises:
        InputError: no such run, several, or one of a method that fits at once.
    """
    row = finished_run(store, run)
    if registry.method(str(row["method"])).fit is not None:
        raise InputError(
            f"run {row['run_id']} keeps no model: {row['method']} fits all its samples at once; "
            "`platform results predictions` has their clusters."
        )
    return row


def device() -> "torch.device":
    """The GPU if there is one, else the CPU."""
    import torch

    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def images_for(
    row: Row,
    pixels: "np.ndarray | torch.Tensor",
    device: "torch.device",
    sizes: "np.ndarray | torch.Tensor | None",
) -> "Images":
    """Images that a run may not know, normalised as its own were.

    Args:
        row: of the run.
        pixels: uint8 (N, 3, S, S) with S the row's `image_side`.
        device: where to compute.
        sizes: (N, 2) heights and widths, None where all pictures are S x S.
    """
    from deep_clustering.methods.images.images import Images

    return Images(
        pixels,
        mean=_three(row["image_mean"]),
        std=_three(row["image_std"]),
        device=device,
        sizes=sizes,
    )


def labelled(store: Store, row: Row, root: Path) -> "tuple[ImageSet, np.ndarray]":
    """The images of a run, and the label (N,) of each.

    Args:
        store: that has the run.
        row: of the run.
        root: where decoded images live.

    Raises:
        InputError: they are not the ones that the run was trained on, or they have no labels.
    """
    dataset = images_of(store, row, root)
    if dataset.labels is None:
        raise InputError(
            f"{dataset.name} has no labels, and this evaluation compares clusters with them."
        )
    return dataset, dataset.labels


def images_of(store: Store, row: Row, root: Path) -> ImageSet:
    """The images of a run; those of a folder where a command found them last.

    Args:
        store: that has the run.
        row: of the run.
        root: where decoded images live.

    Raises:
        InputError: they are not here, or not the ones that the run was trained on.
    """
    found, name = store.paths_of(str(row["dataset_fingerprint"])), str(row["dataset"])
    try:
        dataset = _images_in(name if found is None else found.dataset, row, root)
    except InputError:
        if found is None or found.dataset == name:
            raise
        dataset = _images_in(name, row, root)  # the other one was a copy, which is gone or changed
    with contextlib.suppress(StorageError):  # a store that can only be read keeps the names it has
        note_names(store, dataset)
    return dataset


def note_names(store: Store, dataset: Dataset) -> None:
    """Keep what the files of a folder are called now, for what is read of its runs.

    Raises:
        StorageError: it was not written.
    """
    if dataset.paths is not None and dataset.name.startswith("folder:"):
        store.note_paths(dataset.fingerprint, Found(dataset.name, dataset.paths))


def _images_in(name: str, row: Row, root: Path) -> ImageSet:
    """The images of a run in a dataset of this name."""
    side = row["image_side"]
    assert isinstance(side, int)
    entry = CATALOGUE.get(name)
    any_side = entry is None or (isinstance(entry, ImageEntry) and entry.any_side)
    protocol = None if entry is None else str(row["protocol"])
    source = Source(
        name, root, skip_broken=True, side=side if any_side else None, protocol=protocol
    )
    dataset = datasets.open(source)
    if dataset.fingerprint != row["dataset_fingerprint"]:
        raise InputError(
            f"the images of {name} under '{root}' are not those that run {row['run_id']} was "
            "trained on; name the data directory of that run with --data."
        )
    assert isinstance(dataset, ImageSet)
    return dataset


class Pretext(NamedTuple):
    """The space that runs on a pretraining share; of the scored images."""

    features: "torch.Tensor"  # (n, D) float32
    neighbours: "torch.Tensor"  # (n, k) int64, the nearest others of each, the nearest first


def pretext(store: Store, stage: str) -> Pretext:
    """What a finished pretraining, or a frozen encoder, hands to the runs on it."""
    held = tensors.loaded(store.stage_artefact(stage, "features"))
    return Pretext(held["features"].float(), held["neighbours"].long())


def _three(value: Value) -> tuple[float, float, float]:
    assert isinstance(value, list)
    red, green, blue = value
    return red, green, blue


def encoder_of(store: Store, row: Row) -> Encoder | None:
    """The frozen encoder that a run stands on, None where it stands on none."""
    if row["stage_id"] is None:
        return None
    stage = store.stage_row(str(row["stage_id"]))
    if stage["kind"] != FROZEN:
        return None
    return Encoder.from_config(json.loads(str(stage["config_json"])))


def restored(store: Store, row: Row, images: "Images", device: "torch.device", root: Path) -> Model:
    """The model of a finished run, ready to `predict` indices of images.

    Args:
        row: of the run.
        images: at the row's `image_side`, normalised as the run's own were.
        device: where to compute.
        root: where weights of a frozen encoder are.
    """
    from deep_clustering.methods.compute.replicas import Replicas

    record = registry.method(str(row["method"]))
    restore, named = record.restore, encoder_of(store, row)
    if named is not None:
        from deep_clustering.platform.encoders import network, weights

        assert record.on_features is not None
        restore = record.on_features.restore
        loaded = network.load(named, weights.obtain(named, root))
        images = network.Encoded(network.Seeing(named, loaded, device), images)
    assert restore is not None
    return restore(
        configs.build(record.config, json.loads(str(row["config_json"]))),
        tensors.loaded(store.model_path(str(row["run_id"]))),
        images=images,
        replicas=Replicas.alone(device),
    )


def _found_anew(
    store: Store, row: Row, images: "Images", device: "torch.device", root: Path
) -> "np.ndarray":
    """Probabilities (N, K) of images by a run that fitted the features of a frozen encoder.

    The same features, configuration and seed give its clusters again.

    Raises:
        InputError: they do not, here.
    """
    import numpy as np
    import torch

    from deep_clustering.platform.encoders import network, weights

    record, named = registry.method(str(row["method"])), encoder_of(store, row)
    assert record.model is not None
    assert named is not None
    config: Config = configs.build(record.config, json.loads(str(row["config_json"])))
    points = pretext(store, str(row["stage_id"])).features.numpy()
    seed = row["seed"]
    assert isinstance(seed, int)
    model = record.model(config, points, seed)
    predictions = pl.concat(store.tables("predictions", [str(row["predictions_file"])]))
    if not np.array_equal(model.fitted.labels, predictions["cluster"].to_numpy()):
        raise InputError(
            f"run {row['run_id']} keeps no model, and this machine or release finds other clusters "
            "than it has; give its command again here, in another store."
        )
    seeing = network.Seeing(named, network.load(named, weights.obtain(named, root)), device)
    seen = network.features(seeing, images, torch.arange(len(images)))
    # in half precision, as features are kept
    return model.probabilities(torch.cat(list(seen)).half().float().numpy())


def _summary(frame: pl.DataFrame, run: str) -> Table:
    table = Table(title=f"{frame.height} images by run {run}", box=None, pad_edge=False)
    for column in ("cluster", "images", "mean confidence", "for example"):
        table.add_column(column, justify="left" if column == "for example" else "right")
    groups = frame.group_by("cluster").agg(
        pl.len(), pl.col("confidence").mean(), pl.col("path").sort_by("confidence").last()
    )
    for cluster, count, confidence, path in groups.sort("cluster").iter_rows():
        table.add_row(str(cluster), str(count), f"{confidence:.3f}", Text(on_one_line(path)))
    return table
