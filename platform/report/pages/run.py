"""The page of one run: its metrics, its training, its confidences, its configuration."""

import json
from collections.abc import Sequence

import numpy as np
import polars as pl

from deep_clustering.platform import registry
from deep_clustering.platform.evaluation import bins, measures
from deep_clustering.platform.evaluation.assignments import predictions as read_predictions
from deep_clustering.platform.metrics.registry import HEADLINES, METRICS, names
from deep_clustering.platform.report.charts.bars import columns
from deep_clustering.platform.report.markup.parts import (
    Figure,
    Figures,
    Note,
    Notes,
    Page,
    Part,
    Section,
    cell,
    label,
    number,
    table,
)
from deep_clustering.platform.report.pages._album import open_album
from deep_clustering.platform.report.pages._confidences import (
    head_name,
    run_confidences,
    samples_query,
)
from deep_clustering.platform.report.pages._draft import Draft, RunRow
from deep_clustering.platform.report.pages._epochs import run_epochs
from deep_clustering.platform.report.pages._labels import labels
from deep_clustering.platform.report.pages._notes import failures, flagged, mixtures, trained_with
from deep_clustering.platform.report.pages._number import numbers_tried
from deep_clustering.platform.report.pages._provenance import glossary, provenance
from deep_clustering.platform.report.pages._sheets import sheets
from deep_clustering.platform.report.pages._words import listed, quoted

_SHOWN = names("agreement", "calibration", "reliability", "temperature", "rejection")
#: Images in the table of images.
_IMAGES = 15
#: Why metrics are missing -> the sentence that says so.
_MISSING = {
    "no_labels": "Metrics that need labels are missing: the images have no labels.",
    "one_class": "Metrics that need labels are missing: all labels are the same.",
    "no_probabilities": "This method gives clusters without confidences.",
}


def build(draft: Draft, run: str) -> Page:
    """The page of a run of the store, whatever its status."""
    row = draft.store.rows("runs").filter(pl.col("run_id") == run).row(0, named=True)
    done = row["status"] == "ok"
    predictions = read_predictions(draft.store, row) if done else None
    # a method without heads has columns without a prefix
    heads = [] if predictions is None else bins.heads(predictions.columns) or [""]
    sections = [Section(title="Read first", parts=_first(draft, row))]
    if done:
        sections.append(Section(title="Metrics", parts=_metrics(draft, row, heads)))
    figures = run_epochs(draft, run, heads)
    if predictions is not None and predictions.height:
        if predictions["confidence"].null_count() < predictions.height:
            figures += run_confidences(draft, run, predictions, heads)
        figures += _sizes(draft, row)
    if figures:
        sections.append(Section(title="Training and confidence", parts=[Figures(figures)]))
    if predictions is not None and predictions.height:
        pictures = _pictures(draft, row, predictions)
        # who has pictures of one's own looks at them first
        at = 1 if str(row["dataset"]).startswith("folder:") else len(sections)
        sections[at:at] = pictures
    sections.append(Section(title="Configuration", parts=_configuration(draft, row)))
    sections += glossary(metric for metric in _SHOWN if row.get(metric) is not None)
    sections.append(provenance(draft, [row], _select(run)))
    return Page(title=f"Run {run[:8]}", summary=_summary(draft, row), sections=sections)


def _pictures(draft: Draft, row: RunRow, predictions: pl.DataFrame) -> list[Section]:
    """How many clusters, and what is in them: pictures, or a table where there are none to see."""
    sections = numbers_tried(draft, row)
    album = open_album(draft, row)
    if isinstance(album, str):
        parts = [Notes(notes=[Note(text=album)]), *_images(draft, row, predictions)]
        return [*sections, Section(title="Some images", parts=parts)]
    return [*sections, *sheets(draft, album, row, predictions)]


def _select(run: str) -> str:
    return f'results.runs(store).filter(pl.col("run_id") == {run!r})'


def _summary(draft: Draft, row: RunRow) -> list[str]:
    summary = [f"{row['method']} on {row['dataset']}, seed {row['seed']}: {_outcome(row)}"]
    asked = [
        f"{kind} {name}"
        for kind in ("suite", "study")
        for name in draft.store.plans(kind)
        if row["run_id"] in draft.store.read_plan(kind, name).run_ids
    ]
    if asked:
        summary.append(f"It belongs to {listed(asked)}.")
    return summary


def _outcome(row: RunRow) -> str:
    epochs = measures.plural(row["epochs"] or 0, "epoch")
    if row["status"] != "ok":
        return f"{row['status']} after {epochs}."
    values = [
        f"{measures.name(m)} {measures.value(m, row[m])}{measures.unit(m).suffix}"
        for m in HEADLINES
        if row.get(m) is not None
    ]
    at_once = row["method"] in registry.at_once()
    return f"{', '.join(values)}{'' if at_once else f' after {epochs}'}."


def _first(draft: Draft, row: RunRow) -> list[Part]:
    notes = []
    if row["status"] != "ok":
        reason = row["reason"] or "no reason is on record"
        notes.append(Note(level="bad", head=f"No result ({row['status']}).", text=f"{reason}."))
    notes += trained_with(draft, row)
    notes += flagged([(f"this one, of seed {row['seed']}", row)])
    why = row.get("metrics_reason")
    if why:
        notes.append(Note(text=_MISSING.get(why, f"Metrics are missing: {why}.")))
    for metric in METRICS.values():
        value, floor = row.get(metric.name), row.get(metric.floor or "")
        if value is not None and floor is not None and value <= floor:
            text = f"The {metric.title} is not above its floor: "
            notes.append(
                Note(level="good", text=f"{text}it cannot be told from perfect calibration.")
            )
    notes += mixtures([row])
    if row["status"] == "ok":
        notes.append(labels(draft, [row]))
    notes.append(
        Note(
            level="good",
            text="A single run has no interval: only runs with other seeds show "
            "how far its values vary.",
        )
    )
    lost = [("this run", row)] if row["status"] != "ok" else []
    return [Notes(notes=notes), *failures(draft, lost, "")]


def _metrics(draft: Draft, row: RunRow, heads: Sequence[str]) -> list[Part]:
    column = measures.column
    shown = [m for m in _SHOWN if any(row.get(column(h, m)) is not None for h in heads)]
    lines = [
        [
            label(measures.heading(m)),
            *(number(measures.value(m, row.get(column(h, m)))) for h in heads),
        ]
        for m in shown
    ]
    names = quoted(column(h, m) for h in heads for m in shown)
    query = draft.query(f"{_select(row['run_id'])}\\\n    .select({names}).collect()")
    caption = "Metrics of the last epoch, by head" if heads != [""] else "Metrics"
    return [table(caption, ["", *map(head_name, heads)], lines), query]


def _sizes(draft: Draft, row: RunRow) -> list[Figure]:
    sizes = row["cluster_sizes"] or []
    if not sizes:
        return []
    chart = columns(
        "cluster-sizes",
        f"Images in each of {len(sizes)} clusters, from {min(sizes)} to {max(sizes)}.",
        sizes,
        x="cluster",
        y="images",
    )
    query = draft.query(
        f"{_select(row['run_id'])}\\\n"
        '    .select("cluster_sizes").explode("cluster_sizes").collect()'
    )
    caption = (
        f"{measures.plural(len(sizes), 'cluster')}, from {min(sizes):,} to "
        f"{measures.plural(max(sizes), 'image')}."
    )
    return [draft.figure(chart, "Sizes of the clusters.", caption, query)]


def _images(draft: Draft, row: RunRow, predictions: pl.DataFrame) -> list[Part]:
    judged = bins.judged(predictions)
    if "path" in predictions.columns and predictions["path"].null_count() < predictions.height:
        judged = judged.with_columns(predictions["path"])
    ordered = judged.sort("confidence", "sample", descending=[True, False])
    at = np.unique(np.linspace(0, ordered.height - 1, min(_IMAGES, ordered.height)).astype(int))
    labelled = judged["right"].null_count() == 0
    lines = []
    for image in ordered[at].iter_rows(named=True):
        line = [
            label(str(image.get("path") or image["sample"])),
            number(str(image["cluster"])),
            number(measures.value("mean_confidence", image["confidence"])),
        ]
        if labelled:
            line += [number(str(image["label"])), cell("right" if image["right"] else "wrong")]
        lines.append(line)
    names = ["image", "cluster", "confidence %", *(["label", "judged"] if labelled else [])]
    query = samples_query(
        draft, [row["run_id"]], None, 'images.sort("confidence", descending=True)'
    )
    caption = f"{len(lines)} images, evenly spaced from the most to the least confident"
    return [table(caption, names, lines), query]


def _configuration(draft: Draft, row: RunRow) -> list[Part]:
    fields = json.loads(row["config_json"])
    lines = [[label(name), cell(json.dumps(value))] for name, value in fields.items()]
    query = draft.query(
        f'{_select(row["run_id"])}\\\n    .select(pl.col("^config[.].*$")).collect()'
    )
    return [table("Every field", ["field", "value"], lines), query]
