"""Does a run's confidence tell its own images from others? Out-of-distribution evaluation.

The score of an image is its largest probability, and the run's own images are the positive class
(CDC, Tables 14 and 15). In-distribution are the test images of the run's dataset, as far as the run
scored them, and otherwise all images that it scored; their confidences are those that the run
stored (on a device of another kind than the run's, the others' differ by its arithmetic). The
others are the held-out split of a named dataset where it has one, all that the dataset scores
where not, and all images of a folder; they are brought to the run's stored side (shorter
side, bilinear with antialiasing, then the centre) and normalised as the run's images were.

A result is a stage of the store, kind "ood", computed once. Beside the columns of every stage,
which tell of the run (its configuration is in `results.runs()`, joined on `ood_run`), it has

    ood_run, ood_final_head      the run, and the head of the columns without a prefix
    ood_dataset, ood_protocol,   the others: name, which of them, hash of images, labels and
    ood_fingerprint, ood_images  split, how many
    ood_in_distribution          which images of the run are positive: "test" or "scored"
    id_images, id_images_scored  how many those are, and how many the run scored
    ood_auroc                    probability that an image of the run has more confidence than one
                                 of the others, ties half
    ood_fpr95                    smallest share of the others that a threshold accepts which accepts
                                 at least 95 % of the run's images
    ood_auroc_scored, ood_fpr95_scored
                                 the same with all images that the run scored
    ood_mean_confidence, id_mean_confidence

The last six are there for each head as well (`calibration_ood_auroc`). All are fractions, and
labels play no part in any of them.
"""

import datetime
import platform as machine
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch

from deep_clustering.platform.data import dataset as data
from deep_clustering.platform.data import folder
from deep_clustering.platform.data.catalogue import (
    CATALOGUE,
    ImageEntry,
    held_out_protocol,
    same_samples,
)
from deep_clustering.platform.data.dataset import ImageSet, Progress, Source
from deep_clustering.platform.data.pixels import resized
from deep_clustering.platform.data.protocols import HELD_OUT
from deep_clustering.platform.errors import InputError, StorageError
from deep_clustering.platform.evaluation import finished as prediction
from deep_clustering.platform.metrics.rejection import failure_rejection
from deep_clustering.platform.request import configs

#: Raised when a change here alters results; part of a result's id.
VERSION = 1

_CHUNK = 1000  # images in memory at a time
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


def evaluate(
    store: Any,
    run: str,
    ood: tuple[str, ...],
    *,
    root: Path,
    skip_broken: bool = False,
    progress: Progress | None = None,
    provenance: Mapping[str, Any] | None = None,
) -> list[dict[str, Any]]:
    """Evaluate a run against sets of other images; what the store has is not computed again.

    Args:
        store: the store that has the run; the results are kept there as well.
        run: run id or its first letters.
        ood: names of datasets, or folder:PATH; all are opened before anything is computed.
        root: where decoded images live.
        skip_broken: leave unreadable images of folders out.
        progress: called with (done, total) while files are read and while images are scored.
        provenance: columns that say which code computes, kept with what is new.

    Returns:
        The row of the stage of each different set, in the order asked for.

    Raises:
        InputError: no such run, several, one without a model, a set that cannot be opened, or one
            that holds the images that the run was trained on.
        StorageError: the run's predictions or model are damaged, or the result was not written.
    """
    if not ood:
        raise InputError("name at least one set of images, for example --ood svhn.")
    row = prediction.trained_run(store, run)
    model: _Model | None = None
    found = []
    for others in [_others(row, name, root, skip_broken, progress) for name in dict.fromkeys(ood)]:
        id = configs.digest(
            {
                "kind": "ood",
                "run": row["run_id"],
                "dataset": others.fingerprint,
                "protocol": others.protocol,
                "version": VERSION,
            }
        )
        if not store.stage_ready(id):
            model = model or _Model(store, row, root)
            _compute(store, row, id, model, others, progress, provenance or {})
        found.append(store.stage_row(id))
    return found


def confidences(store: Any, id: str) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """What a result was computed from: head -> confidences of the run's own images and the others.

    Args:
        id: `stage_id` of a row that `evaluate` returned; arrays are float32, one value an image.

    Raises:
        InputError: no such stage.
        StorageError: the file is damaged; it then counts as missing.
    """
    from safetensors.numpy import load

    kept = load(store.stage_artefact(id, "confidences").read_bytes())
    heads = sorted(name.removesuffix(".in") for name in kept if name.endswith(".in"))
    return {head: (kept[f"{head}.in"], kept[f"{head}.out"]) for head in heads}


def _others(
    row: Mapping[str, Any], name: str, root: Path, skip_broken: bool, progress: Progress | None
) -> ImageSet:
    """The images to tell from the run's own, at the run's side where the files allow it."""
    entry = CATALOGUE.get(name)
    any_side = entry is None or (isinstance(entry, ImageEntry) and entry.any_side)
    source = Source(
        name,
        root,
        skip_broken=skip_broken,
        side=row["image_side"] if any_side else None,
        protocol=held_out_protocol(name),
    )
    found = data.open(source, progress)
    if not isinstance(found, ImageSet):
        raise InputError(f"{name} has vectors, and run {row['run_id']} sees images; name images.")
    alike = same_samples(row["dataset"], found.name)
    if alike or found.fingerprint == row["dataset_fingerprint"]:
        raise InputError(
            f"{name} holds the images that run {row['run_id']} was trained on; "
            "name a set of other images."
        )
    return found


def _compute(
    store: Any,
    row: Mapping[str, Any],
    id: str,
    model: "_Model",
    others: ImageSet,
    progress: Progress | None,
    provenance: Mapping[str, Any],
) -> None:
    from safetensors.numpy import save

    started, begun = _now(), time.monotonic()
    out = model.confidences(others, progress)
    kept: dict[str, np.ndarray] = {}
    values: dict[str, Any] = {}
    for head, confidence in out.items():
        own = model.own[head]
        kept |= {f"{head}.in": own[model.chosen], f"{head}.out": confidence}
        mine = _scores(own, model.chosen, confidence)
        values |= {f"{head}_{name}": value for name, value in mine.items()}
        if head == model.final_head:
            values |= mine
    columns = {
        "stage_id": id,
        "kind": "ood",
        **{name: row[name] for name in _OF_THE_RUN},
        "started": started,
        "ended": _now(),
        "seconds": time.monotonic() - begun,
        "device": model.device.type,
        "workers": 1,
        "threads": torch.get_num_threads(),
        "host": machine.node(),
        "skipped_images": len(others.skipped),
        **provenance,
        "ood_run": row["run_id"],
        "ood_final_head": model.final_head,
        "ood_dataset": others.name,
        "ood_fingerprint": others.fingerprint,
        "ood_protocol": others.protocol,
        "ood_images": len(others.score),
        "ood_in_distribution": model.in_distribution,
        "id_images": int(model.chosen.sum()),
        "id_images_scored": len(model.chosen),
        **values,
    }
    store.commit_stage(columns, {"confidences": save(kept)})


def _scores(own: np.ndarray, chosen: np.ndarray, others: np.ndarray) -> dict[str, float | None]:
    """The columns of one head, from the confidences of the run's images and of the others."""
    some, every = (separation(part, others) for part in (own[chosen], own))
    return {
        **some,
        **{f"{name}_scored": value for name, value in every.items()},
        "ood_mean_confidence": float(others.mean(dtype=np.float64)),
        "id_mean_confidence": float(own[chosen].mean(dtype=np.float64)),
    }


def separation(own: np.ndarray, others: np.ndarray) -> dict[str, float | None]:
    """AUROC and FPR95 of confidences, the run's own (n,) being positive and the others (m,) not.

    As of failure rejection, with "is the run's own" in place of "is right": ties count half, and
    FPR95 is the smallest with a true positive rate of at least 0.95 (`failure_rejection`).

    Returns:
        `ood_auroc` and `ood_fpr95`, fractions.
    """
    positive = np.repeat([True, False], [len(own), len(others)])
    found = failure_rejection(np.concatenate([own, others]), positive)
    return {"ood_auroc": found["auroc"], "ood_fpr95": found["fpr95"]}


class _Model:
    """A run, restored once for any number of sets, and the confidences that it stored."""

    def __init__(self, store: Any, row: Mapping[str, Any], root: Path) -> None:
        stored = _predictions(store, row)
        held_out = _held_out(row, stored, root)
        #: Whether each scored image is in-distribution, bool (N,).
        self.chosen = np.ones(stored.height, bool) if held_out is None else held_out
        self.in_distribution = "scored" if held_out is None else "test"
        self.device = prediction.device()
        side = row["image_side"]
        # The model sees these rows, which each part of a set is written into.
        self._rows = torch.empty((_CHUNK, 3, side, side), dtype=torch.uint8, device=self.device)
        self._trainable = prediction.restored(store, row, self._rows, self.device)
        self.final_head: str = self._trainable.final_head
        #: Head -> confidence of each scored image, float32 (N,).
        self.own = {head: stored[f"{head}_confidence"].to_numpy() for head in self._trainable.heads}

    def confidences(self, dataset: ImageSet, progress: Progress | None) -> dict[str, np.ndarray]:
        """Head -> confidence of each scored image of a dataset, float32 (n,), in its order."""
        parts: dict[str, list[np.ndarray]] = {head: [] for head in self.own}
        for start in range(0, len(dataset.score), _CHUNK):
            index = dataset.score[start : start + _CHUNK]
            pixels = resized(dataset.images[index], self._rows.shape[-1])
            self._rows[: len(index)].copy_(torch.from_numpy(pixels))
            found = self._trainable.predict(torch.arange(len(index)))
            for head, p in found.items():
                parts[head].append(p.amax(1).float().cpu().numpy())
            if progress is not None:
                progress(start + len(index), len(dataset.score))
        return {head: np.concatenate(found) for head, found in parts.items()}


def _predictions(store: Any, row: Mapping[str, Any]) -> pl.DataFrame:
    file = row["predictions_file"]
    frames = list(store.tables("predictions", [file])) if file else []
    if not frames:
        raise StorageError(
            f"the predictions of run {row['run_id']} are missing or damaged; "
            "`platform results --verify` lists what else is."
        )
    found: pl.DataFrame = frames[0]
    return found


def _held_out(row: Mapping[str, Any], stored: pl.DataFrame, root: Path) -> np.ndarray | None:
    """Which scored images belong to a test split, bool (N,); None when no image does."""
    held_out = held_out_protocol(row["dataset"])
    if row["protocol"] in HELD_OUT:
        return np.ones(stored.height, bool)
    if row["protocol"] != "all":
        return None
    if row["dataset"].startswith("folder:"):
        chosen = folder.held_out(stored["path"].to_list())
        return chosen if chosen.any() else None
    if held_out is None:
        return None
    own = data.open(Source(row["dataset"], root, protocol=held_out))
    if own.fingerprint != row["dataset_fingerprint"]:
        raise InputError(
            f"the images of {own.name} under '{root}' are not those that run {row['run_id']} was "
            "trained on; name the data directory of that run with --data."
        )
    return np.isin(stored["sample"].to_numpy(), own.score)


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat()
