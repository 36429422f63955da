"""Does a run's confidence tell its own images from others? Out-of-distribution evaluation.

The score of an image is its largest probability, and the run's own images are the positive class
(CDC, Tables 14 and 15). In-distribution are the test images of the run's dataset, as far as the run
scored them, and otherwise all images that it scored; their confidences are those that the run
stored (on a device of another kind than the run's, the others' differ by its arithmetic). The
others are the held-out split of a named dataset where it has one, all that the dataset scores
where not, and all images of a folder; they are brought to the run's stored side (shorter
side, bilinear with antialiasing, then the centre), except for a run on whole pictures, which
looks at theirs as at its own; and normalised as the run's images were.

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

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl
from rich.markup import escape
from rich.table import Table

from deep_clustering.platform.data import dataset as data
from deep_clustering.platform.data import folder
from deep_clustering.platform.data.catalogue import (
    CATALOGUE,
    ImageEntry,
    held_out_protocol,
    same_samples,
)
from deep_clustering.platform.data.dataset import ImageSet, Source
from deep_clustering.platform.data.pixels import squares
from deep_clustering.platform.data.protocols import HELD_OUT
from deep_clustering.platform.data.sides import WHOLE
from deep_clustering.platform.errors import InputError, StorageError
from deep_clustering.platform.evaluation import finished
from deep_clustering.platform.evaluation.assignments import predictions
from deep_clustering.platform.evaluation.contract import (
    Context,
    Evaluation,
    Finished,
    Outcome,
    Prepared,
    Row,
    Subject,
)
from deep_clustering.platform.evaluation.drawing import Densities
from deep_clustering.platform.metrics.rejection import failure_rejection
from deep_clustering.platform.request.configs import Value
from deep_clustering.platform.store.store import Store

_CHUNK = 1000  # images in memory at a time


def prepare(subject: Subject, name: str, context: Context) -> Prepared:
    """The images to tell from a run's own, at the run's side where the files allow it.

    Args:
        name: of a dataset, or folder:PATH.

    Raises:
        InputError: it cannot be opened, has vectors, or holds the images that the run was trained
            on.
    """
    entry = CATALOGUE.get(name)
    any_side = entry is None or (isinstance(entry, ImageEntry) and entry.any_side)
    source = Source(
        name,
        context.root,
        skip_broken=context.skip_broken,
        side=subject.image_side if any_side else None,
        protocol=held_out_protocol(name),
    )
    others = data.open(source, context.progress)
    if not isinstance(others, ImageSet):
        raise InputError(f"{name} has vectors, and run {subject.run} sees images; name images.")
    alike = same_samples(subject.dataset, others.name)
    if alike or others.fingerprint == subject.fingerprint:
        raise InputError(
            f"{name} holds the images that run {subject.run} was trained on; "
            "name a set of other images."
        )
    return Prepared(
        identity={"dataset": others.fingerprint, "protocol": others.protocol},
        config=source.as_json(),
    )


def compute(run: Finished) -> Outcome:
    """Confidences of the run's own images and of the others, and how well they are told apart."""
    from safetensors.numpy import save

    others = data.open(Source.from_json(run.config))
    assert isinstance(others, ImageSet)
    model = _Model(run)
    outside = model.confidences(others)
    confidence_of: dict[str, np.ndarray] = {}
    values: dict[str, Value] = {}
    for head, confidence in outside.items():
        own = model.own[head]
        confidence_of |= {f"{head}.in": own[model.chosen], f"{head}.out": confidence}
        mine = _scores(own, model.chosen, confidence)
        values |= {f"{head}_{name}": value for name, value in mine.items()}
        if head == model.final_head:
            values |= mine
    columns: dict[str, Value] = {
        "skipped_images": len(others.skipped),
        "ood_run": run.row["run_id"],
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
    return Outcome(columns=columns, artefacts={"confidences": save(confidence_of)})


def confidences(store: Store, id: str) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """What a result was computed from: head -> confidences of the run's own images and the others.

    Args:
        id: `stage_id` of the result's row; arrays are float32, one value an image.

    Raises:
        InputError: no such stage.
        StorageError: the file is damaged; it then counts as missing.
    """
    from safetensors.numpy import load

    stored = load(store.stage_artefact(id, "confidences").read_bytes())
    heads = sorted(name.removesuffix(".in") for name in stored if name.endswith(".in"))
    return {head: (stored[f"{head}.in"], stored[f"{head}.out"]) for head in heads}


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
    scores = failure_rejection(np.concatenate([own, others]), positive)
    return {"ood_auroc": scores["auroc"], "ood_fpr95": scores["fpr95"]}


class _Model:
    """A run, restored once for any number of sets, and the confidences that it stored."""

    def __init__(self, run: Finished) -> None:
        import torch

        row = run.row
        stored = _predictions(run.store, row)
        held_out = _held_out(row, stored, run.root)
        #: Whether each scored image is in-distribution, bool (N,).
        self.chosen = np.ones(stored.height, bool) if held_out is None else held_out
        self.in_distribution = "scored" if held_out is None else "test"
        side = row["image_side"]
        assert isinstance(side, int)
        # The model sees these rows, which each part of a set is written into.
        self._rows = torch.empty((_CHUNK, 3, side, side), dtype=torch.uint8, device=run.device)
        self._sizes = torch.full((_CHUNK, 2), side, device=run.device)
        whole = self._sizes if side >= WHOLE else None
        images = finished.images_for(row, self._rows, run.device, whole)
        self._model = finished.restored(run.store, row, images, run.device, run.root)
        self.final_head = self._model.final_head
        #: Head -> confidence of each scored image, float32 (N,).
        self.own = {head: stored[f"{head}_confidence"].to_numpy() for head in self._model.heads}

    def confidences(self, dataset: ImageSet) -> dict[str, np.ndarray]:
        """Head -> confidence of each scored image of a dataset, float32 (n,), in its order."""
        import torch

        parts: dict[str, list[np.ndarray]] = {head: [] for head in self.own}
        for start in range(0, len(dataset.score), _CHUNK):
            index = dataset.score[start : start + _CHUNK]
            pixels, sizes = fitted(dataset, index, self._rows.shape[-1])
            side = pixels.shape[-1]
            self._rows[: len(index), :, :side, :side].copy_(torch.from_numpy(pixels))
            self._sizes[: len(index)].copy_(torch.from_numpy(sizes))
            predicted = self._model.predict(torch.arange(len(index)))
            for head, p in predicted.items():
                parts[head].append(p.amax(1).float().cpu().numpy())
        return {head: np.concatenate(each) for head, each in parts.items()}


def fitted(dataset: ImageSet, index: np.ndarray, side: int) -> tuple[np.ndarray, np.ndarray]:
    """Images as a run of a stored side takes them.

    A run on whole pictures takes all as they are: larger files are opened at its side. A run on
    small ones takes their centred squares at its side.

    Returns:
        uint8 (n, 3, s, s) with s at most `side`, and heights and widths (n, 2).
    """
    stored = dataset.images.shape[-1]
    sizes = None if dataset.sizes is None else dataset.sizes[index]
    if side < WHOLE or stored > side:
        pixels = squares(dataset.images[index], sizes, side)
        return pixels, np.full((len(index), 2), side)
    return dataset.images[index], np.full((len(index), 2), stored) if sizes is None else sizes


def _predictions(store: Store, row: Row) -> pl.DataFrame:
    frame = predictions(store, row)
    if frame is None:
        raise StorageError(
            f"the predictions of run {row['run_id']} are missing or damaged; "
            "`platform verify` lists what else is."
        )
    return frame


def _held_out(row: Row, stored: pl.DataFrame, root: Path) -> np.ndarray | None:
    """Which scored images belong to a test split, bool (N,); None when no image does."""
    name = str(row["dataset"])
    held_out = held_out_protocol(name)
    if row["protocol"] in HELD_OUT:
        return np.ones(stored.height, bool)
    if row["protocol"] != "all":
        return None
    if name.startswith("folder:"):
        chosen = folder.held_out(stored["path"].to_list())
        return chosen if chosen.any() else None
    if held_out is None:
        return None
    own = data.open(Source(name, root, protocol=held_out))
    if own.fingerprint != row["dataset_fingerprint"]:
        raise InputError(
            f"the images of {own.name} under '{root}' are not those that run {row['run_id']} was "
            "trained on; name the data directory of that run with --data."
        )
    return np.isin(stored["sample"].to_numpy(), own.score)


def heading(rows: Sequence[Row]) -> str:
    """Which run, and which of its images, are compared."""
    first = rows[0]
    return (
        f"run {first['ood_run']} ({first['method']}): {first['id_images']:,.0f} "
        f"{first['ood_in_distribution']} images of {first['dataset']} against others"
    )


def table(rows: Sequence[Row]) -> Table:
    """One line per row: AUROC and FPR95 of each head, the final one first."""
    final = str(rows[0]["ood_final_head"])
    ending = "_ood_auroc"
    heads = [name.removesuffix(ending) for name in rows[0] if name.endswith(ending)]
    shown = Table(box=None, pad_edge=False, header_style="dim")
    shown.add_column("\nothers", overflow="fold")
    shown.add_column("\nimages", justify="right")
    heads.sort(key=lambda head: head != final)
    for head in heads:
        shown.add_column(f"{escape(head)}\nauroc  fpr95", justify="right", no_wrap=True)
    for row in rows:
        shown.add_row(
            escape(str(row["ood_dataset"])),
            f"{row['ood_images']:,.0f}",
            *(f"{row[f'{head}_ood_auroc']:.3f}  {row[f'{head}_ood_fpr95']:.3f}" for head in heads),
        )
    return shown


def drawing(store: Store, row: Row, head: str | None) -> Densities:
    """Confidences of the run's own images and of the others.

    Args:
        head: None for the final one.
    """
    name = str(row["ood_dataset"])
    own, others = confidences(store, str(row["stage_id"]))[head or str(row["ood_final_head"])]
    front = f"{head}_" if head else ""
    return Densities(
        heading="Out of distribution",
        title="own images and others",
        panels={name: {"own images": own, "others": others}},
        xlabel="confidence",
        caption="Shares of the run's own images and of the others over confidence.",
        columns=("ood_run", "ood_dataset", f"{front}ood_auroc", f"{front}ood_fpr95"),
    )


EVALUATION = Evaluation(
    summary="how well confidence tells other images from a run's own (AUROC, FPR95)",
    metavar="NAME",
    help="Images of other things; repeatable. A name of `platform datasets`, or folder:PATH.",
    version=1,
    label="ood_dataset",
    run="ood_run",
    metrics={"auroc": "ood_auroc", "fpr95": "ood_fpr95"},
    prepare=prepare,
    compute=compute,
    heading=heading,
    table=table,
    notes=(
        "auroc: 1 tells all others by their confidence, 0.5 none",
        "fpr95: share of the others accepted along with 95 % of the run's own",
    ),
    drawing=drawing,
    sets=True,
)
