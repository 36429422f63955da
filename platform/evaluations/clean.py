"""Which of a run's labels can be trusted, and how far? Clean sets (RUC, Tables 3, 5 and Fig. 4).

`--clean own` looks at the clean set that the run itself has trained on, before training and after
every epoch. The names of RUC's strategies (confidence, metric, hybrid) choose one from
what any run has found, without training: from the probabilities of its final head, and for the
neighbours from the features of its pretraining (its own where it has none).

An image is right where its cluster, or its pseudo-label, is that of its class. Both are matched
once, by the Hungarian method, on all images: those scored, and for `own` those trained on, with the
labels of the beginning. For `own` the label of an image is the one that it has by then.

A result is a stage of the store, kind "clean", computed once. Beside the columns of every stage,
which tell of the run, it has

    clean_run, clean_name         the run, and what was asked for, with unusual parameters
    clean_tau1, clean_share_asked, clean_neighbours
                                  the parameters of a strategy, None for `own`
    clean_images, clean_accuracy  how many images, and the share whose label is right
    clean_size, clean_share       how many are clean, and their share
    clean_precision               share of the clean images that are right
    clean_recall                  share of the right images that are clean
    clean_f1                      harmonic mean of both
    clean_wrong_confidence        mean confidence of the images whose first label is wrong
    clean_unclean_confidence      and of those that are not clean at last
    clean_wrong_confidences       list: shares of the former from 0 to 1 in 20 bins (RUC, Fig. 5)
    clean_precisions, clean_recalls, clean_f1s, clean_shares, clean_right
                                  lists, for `own`: after every epoch, the first before training;
                                  the last one is the share of the images that are clean and right

A DivideMix run has no history: its lists have the last division alone.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from rich.table import Table

from deep_clustering.platform.errors import InputError, nearest
from deep_clustering.platform.evaluation import finished
from deep_clustering.platform.evaluation.contract import (
    Context,
    Evaluation,
    Finished,
    Outcome,
    Prepared,
    Row,
    Subject,
    labelled,
)
from deep_clustering.platform.metrics.agreement import match
from deep_clustering.platform.metrics.arrays import Array
from deep_clustering.platform.metrics.selection import quality
from deep_clustering.platform.request.configs import Value

_OWN = "own"
_STRATEGIES = ("confidence", "metric", "hybrid")
_BINS = 20  # of confidences
#: Prefix of what a model knows of its samples, in its stored weights.
_CLEAN_SET = "clean_set."


@dataclass(frozen=True, kw_only=True)
class Parameters:
    """What a strategy asks of an image."""

    tau1: float = field(default=0.99, metadata={"help": "Confidence of a clean image."})
    tau1_share: float | None = field(
        default=None, metadata={"help": "The most confident share, in place of --tau1."}
    )
    neighbours: int = field(
        default=100, metadata={"help": "Images that vote, itself included, for metric and hybrid."}
    )


def prepare(subject: Subject, name: str, context: Context) -> Prepared:
    """What makes an image clean.

    Raises:
        InputError: no such strategy, or a parameter out of its range.
    """
    known = (_OWN, *_STRATEGIES)
    if name not in known:
        raise InputError(
            f"--clean: there is no strategy '{name}'.{nearest(name, known)} Known: "
            f"{', '.join(known)}."
        )
    asked = context.parameters
    assert isinstance(asked, Parameters)
    if not 0 <= asked.tau1 <= 1:
        raise InputError(f"--tau1: must be from 0 to 1, got {asked.tau1:g}.")
    if asked.tau1_share is not None and not 0 < asked.tau1_share <= 1:
        raise InputError(f"--tau1-share: must be above 0, at most 1, got {asked.tau1_share:g}.")
    if asked.neighbours < 1:
        raise InputError(f"--neighbours: must be at least 1, got {asked.neighbours}.")
    read: dict[str, Value] = {}  # parameters that the strategy looks at
    if name in ("confidence", "hybrid"):
        share = asked.tau1_share
        read |= {"tau1": asked.tau1} if share is None else {"tau1_share": share}
    if name in ("metric", "hybrid"):
        read["neighbours"] = asked.neighbours
    # What it does not look at makes no other result.
    config = {"name": name, "label": labelled(name, replace(Parameters(), **read)), **read}  # type: ignore[arg-type]
    return Prepared(identity=config, config=config)


def compute(run: Finished) -> Outcome:
    """Precision, recall and F1 of the clean set.

    Raises:
        InputError: the images have no labels, or `own` is asked of a run without a clean set.
    """
    columns = _own(run) if run.config["name"] == _OWN else _chosen(run)
    return Outcome(
        columns={
            "clean_run": run.row["run_id"],
            "clean_name": run.config["label"],
            "clean_tau1": run.config.get("tau1"),
            "clean_share_asked": run.config.get("tau1_share"),
            "clean_neighbours": run.config.get("neighbours"),
            **columns,
        }
    )


def _own(run: Finished) -> dict[str, Value]:
    """The clean set that the run's model has stored."""
    from safetensors.numpy import load

    id = str(run.row["run_id"])
    stored = load(run.store.model_path(id).read_bytes())
    known = {k.removeprefix(_CLEAN_SET): v for k, v in stored.items() if k.startswith(_CLEAN_SET)}
    if not known:
        raise InputError(
            f"--clean own: run {id} of {run.row['method']} has no clean set of its own; "
            f"choose one of {', '.join(_STRATEGIES)}."
        )
    dataset, labels = finished.labelled(run.store, run.row, run.root)
    trained = np.flatnonzero(known["initial"] >= 0)
    initial, last, entered = (known[k][trained] for k in ("initial", "labels", "entered"))
    truth = labels[trained]
    width = int(max(initial.max(), last.max())) + 1
    classes, accuracy = match(initial, truth, width)
    epochs = int(str(run.row["epochs"]))
    lists: dict[str, list[float | None]] = {}
    for epoch in range(epochs + 1):
        clean = (entered >= 0) & (entered <= epoch)
        right = classes[np.where(clean, last, initial)] == truth
        found = quality(clean, right)
        found |= {"share": float(clean.mean()), "right": float((clean & right).mean())}
        for name, value in found.items():
            lists.setdefault(name, []).append(value)
    scored = np.isin(dataset.score, trained)
    places = np.searchsorted(trained, dataset.score[scored])
    *_, final = run.store.probabilities(id).values()  # the final head is the last
    told = _confidences(
        final.max(1)[scored], (classes[initial] != truth)[places], (entered < 0)[places]
    )
    now = {name: values[-1] for name, values in lists.items()}
    plurals = {"precision": "precisions", "recall": "recalls", "f1": "f1s", "share": "shares"}
    return {
        "clean_images": len(trained),
        "clean_accuracy": accuracy,
        "clean_size": int((entered >= 0).sum()),
        "clean_share": now["share"],
        **{f"clean_{name}": now[name] for name in ("precision", "recall", "f1")},
        **told,
        **{
            f"clean_{plurals.get(name, name)}": [float("nan") if v is None else v for v in values]
            for name, values in lists.items()
        },
    }


def _confidences(confidence: Array, wrong: Array, unclean: Array) -> dict[str, Value]:
    """What is told of the confidences (n,) of wrong and unclean images (n,) bool; None of none."""

    def mean(chosen: Array) -> float | None:
        return float(confidence[chosen].mean()) if chosen.any() else None

    counts, _ = np.histogram(confidence[wrong], bins=_BINS, range=(0.0, 1.0))
    return {
        "clean_wrong_confidence": mean(wrong),
        "clean_unclean_confidence": mean(unclean),
        "clean_wrong_confidences": [float(c) for c in counts / max(1, counts.sum())],
    }


def _chosen(run: Finished) -> dict[str, Value]:
    """A clean set by one of RUC's strategies, among the scored images."""
    import torch

    from deep_clustering.methods.learning import clean_set

    dataset, labels = finished.labelled(run.store, run.row, run.root)
    images = finished.images_for(run.row, dataset.images, run.device, dataset.sizes)
    model = finished.restored(run.store, run.row, images, run.device, run.root)
    stored = run.store.probabilities(str(run.row["run_id"]))[model.final_head]
    p = torch.from_numpy(stored.copy())
    pseudo = p.argmax(1)
    clean = torch.ones(len(p), dtype=torch.bool)
    share, tau1, k = (run.config.get(name) for name in ("tau1_share", "tau1", "neighbours"))
    if isinstance(share, float | int):
        tau1 = clean_set.threshold_of_share(p, float(share))
    if isinstance(tau1, float | int):
        clean &= clean_set.confident(p, float(tau1))
    if isinstance(k, int):
        stage = run.row["stage_id"]
        if stage is None:
            features = model.features(torch.from_numpy(dataset.score)).cpu()
        else:
            features = finished.pretext(run.store, str(stage)).features
        clean &= clean_set.agreeing(features, pseudo, k)
    truth = labels[dataset.score]
    classes, accuracy = match(pseudo.numpy(), truth, p.shape[1])
    right = classes[pseudo.numpy()] == truth
    found = quality(clean.numpy(), right)
    return {
        "clean_images": len(p),
        "clean_accuracy": accuracy,
        "clean_size": int(clean.sum()),
        "clean_share": float(clean.double().mean()),
        **{f"clean_{name}": value for name, value in found.items()},
        **_confidences(stored.max(1), ~right, ~clean.numpy()),
    }


def heading(rows: Sequence[Row]) -> str:
    """Which run, and how many of its labels are right."""
    first = rows[0]
    return f"run {first['clean_run']} ({first['method']}) on {first['dataset']}: clean images"


def table(rows: Sequence[Row]) -> Table:
    """A line for each set; for a run's own one also for its beginning."""
    shown = Table(box=None, pad_edge=False, header_style="dim")
    shown.add_column("strategy")
    for column in ("images", "right", "clean", "precision", "recall", "F1"):
        shown.add_column(column, justify="right")
    for row in rows:
        counted = f"{row['clean_images']:,.0f}", f"{row['clean_accuracy']:.3f}"
        if isinstance(row.get("clean_shares"), list):
            names = ("shares", "precisions", "recalls", "f1s")
            first = [x[0] if isinstance(x := row[f"clean_{n}"], list) else None for n in names]
            shown.add_row("own, before training", *counted, *map(_text, first))
        # Of a set without an image a share of it is not known: null, which a row lacks.
        values = [row.get(f"clean_{n}") for n in ("share", "precision", "recall", "f1")]
        shown.add_row(str(row["clean_name"]), *counted, *map(_text, values))
    return shown


def _text(value: Value) -> str:
    known = isinstance(value, float) and not math.isnan(value)
    return f"{value:.3f}" if known else "–"


EVALUATION = Evaluation(
    summary="how good a clean set of the run's images is (precision, recall, F1)",
    metavar="own|confidence|metric|hybrid",
    help="The run's own clean set, or one of RUC's strategies; repeatable.",
    version=2,
    label="clean_name",
    run="clean_run",
    metrics={"precision": "clean_precision", "recall": "clean_recall", "f1": "clean_f1"},
    prepare=prepare,
    compute=compute,
    heading=heading,
    table=table,
    notes=(
        "right: images whose label is that of their class, before any is chosen",
        "precision: share of the clean ones that are right; recall: share of those that are clean",
    ),
    parameters=Parameters,
)
