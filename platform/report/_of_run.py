"""The page of one run: its metrics, its training, its confidences, its configuration."""

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import polars as pl
from markupsafe import Markup

from deep_clustering.platform import results
from deep_clustering.platform.evaluation import bins as _samples
from deep_clustering.platform.evaluation import measures
from deep_clustering.platform.report import _charts as charts
from deep_clustering.platform.report import _html as page
from deep_clustering.platform.report import _parts as _report
from deep_clustering.platform.report._html import Cell, Note, Row, Section
from deep_clustering.platform.report._of_suite import (
    BARS_CODE,
    BINS_CODE,
    CURVE_CODE,
    losses,
    samples_code,
)
from deep_clustering.platform.report._parts import Page, Report

_SHOWN = (
    *("acc", "nmi", "ari", "ece", "ece_floor", "ece_equal_mass", "brier", "nll"),
    *("auroc", "aurc", "fpr95", "mean_confidence"),
)
#: Images in the sample of confidences.
_SAMPLE = 15


def build(report: Report, run: str) -> Page:
    """The page of a run of the store, whatever its status."""
    rows = report.store.rows("runs").filter(pl.col("run_id") == run)
    row = rows.row(0, named=True)
    done = row["status"] == "ok"
    predictions = _predictions(report, row) if done else None
    # a method that fits at once has no heads: its columns have no prefix
    heads = [] if predictions is None else _samples.heads(predictions.columns) or [""]
    sections = [Section(title="Read first", parts=_first(report, row))]
    if done:
        sections.append(Section(title="Metrics", parts=_metrics(report, row, heads)))
    pictures = _curves(report, row, heads)
    if predictions is not None and predictions.height:
        if predictions["confidence"].null_count() < predictions.height:
            pictures += _confidence(report, row, predictions, heads)
        pictures += _sizes(report, row)
    if pictures:
        sections.append(Section(title="Training and confidence", parts=[page.figures(pictures)]))
    if predictions is not None and predictions.height:
        sections.append(Section(title="Some images", parts=_images(report, row, predictions)))
    sections.append(Section(title="Configuration", parts=_configuration(report, row)))
    sections += _report.glossary(m for m in _SHOWN if row.get(m) is not None)
    select = f'results.runs(store).filter(pl.col("run_id") == {run!r})'
    sections.append(_report.provenance(report, [row], select))
    summary = [f"{row['method']} on {row['dataset']}, seed {row['seed']}: {_outcome(row)}"]
    asked = [
        f"{kind} {name}"
        for kind in ("suite", "study")
        for name in report.store.plans(kind)
        if _asks(report.store.read_plan(kind, name), run)
    ]
    if asked:
        summary.append(f"It belongs to {_report.listed(asked)}.")
    return Page(title=f"Run {run[:8]}", summary=summary, sections=sections)


def _asks(plan: Mapping[str, Any], run: str) -> bool:
    return any(run in (e, e.get("run_id") if isinstance(e, dict) else e) for e in plan["runs"])


def _outcome(row: Mapping[str, Any]) -> str:
    if row["status"] != "ok":
        return f"{row['status']} after {measures.plural(row['epochs'] or 0, 'epoch')}."
    found = [
        f"{measures.name(m)} {measures.value(m, row[m])}{measures.unit(m).suffix}"
        for m in ("acc", "ece", "mean_confidence")
        if row.get(m) is not None
    ]
    return f"{', '.join(found)} after {measures.plural(row['epochs'] or 0, 'epoch')}."


def _predictions(report: Report, row: Mapping[str, Any]) -> pl.DataFrame | None:
    files = [row["predictions_file"]] if row["predictions_file"] else []
    frames = list(report.store.tables("predictions", files))
    return pl.concat(frames) if frames else None


def _first(report: Report, row: Mapping[str, Any]) -> list[Markup]:
    notes = []
    if row["status"] != "ok":
        reason = row["reason"] or "no reason is on record"
        notes.append(Note(level="bad", head=f"No result ({row['status']}).", text=f"{reason}."))
    notes += _report.flagged([(f"this one, of seed {row['seed']}", row)])
    reasons = {
        "no_labels": "Metrics that need labels are missing: the images have no labels.",
        "one_class": "Metrics that need labels are missing: all labels are the same.",
        "no_probabilities": "This method gives clusters without confidences.",
    }
    if row.get("metrics_reason"):
        why = row["metrics_reason"]
        notes.append(Note(text=reasons.get(why, f"Metrics are missing: {why}.")))
    if row["ece"] is not None and row["ece_floor"] is not None and row["ece"] <= row["ece_floor"]:
        notes.append(
            Note(level="good", text="The ECE cannot be told from that of perfect calibration.")
        )
    notes += _report.mixtures([row])
    notes.append(
        Note(
            level="good",
            text="Labels were used to evaluate only: every value is of the last epoch. One run "
            "has no interval; other seeds tell how far its values vary.",
        )
    )
    lost = [("this run", row)] if row["status"] != "ok" else []
    return [page.notes(notes), *_report.failures(report, lost, "")]


def _metrics(report: Report, row: Mapping[str, Any], heads: list[str]) -> list[Markup]:
    shown = [m for m in _SHOWN if any(row.get(_column(h, m)) is not None for h in heads)]
    lines = [
        Row(
            cells=[
                Cell(content=measures.heading(m), heading=True),
                *(page.number(measures.value(m, row.get(_column(h, m)))) for h in heads),
            ]
        )
        for m in shown
    ]
    columns = ", ".join(f'"{_column(h, m)}"' for h in heads for m in shown)
    code = report.code(
        f'results.runs(store).filter(pl.col("run_id") == {row["run_id"]!r})\\\n'
        f"    .select({columns}).collect()"
    )
    names = [_named(h) for h in heads]
    caption = "Metrics of the last epoch, by head" if heads != [""] else "Metrics"
    return [page.table(caption, [page.head("", *names)], lines), page.query(code)]


def _curves(report: Report, row: Mapping[str, Any], heads: list[str]) -> list[Markup]:
    run = row["run_id"]
    frame = results.epochs(report.store).filter(pl.col("run_id") == run).collect().sort("epoch")
    if frame.height < 2:
        return []
    kept = [c for c in frame.columns if frame[c].null_count() < frame.height]
    panels: dict[str, dict[str, charts.Band]] = {}
    columns: list[str] = []
    for metric in ("acc", "ece", "mean_confidence"):
        factor = measures.unit(metric).factor
        named = {h: _column(h, metric) for h in heads if _column(h, metric) in kept}
        for head, column in (named or {"": metric} if metric in kept or named else {}).items():
            band = _report.band([frame.select("epoch", column).rows()], factor)
            if band is not None:
                panels.setdefault(measures.heading(metric), {})[head or "final head"] = band
                columns.append(column)
    found = []

    def code(names: list[str]) -> str:
        listed = ", ".join(f'"{name}"' for name in names)
        return report.code(
            f'results.epochs(store).filter(pl.col("run_id") == {run!r})\\\n'
            f'    .select("epoch", {listed}).sort("epoch").collect()'
        )

    if panels:
        chart = charts.curves(
            "metrics", f"{_report.listed(panels)} by epoch.", panels, x="epoch", y="", share=False
        )
        found.append(report.figure(chart, "Metrics by epoch.", "One line per head.", code(columns)))
    lines = {
        name: {name: band}
        for name in losses(kept)
        if (band := _report.band([frame.select("epoch", name).rows()])) is not None
    }
    if lines:
        chart = charts.curves(
            "losses",
            f"Losses by epoch: {_report.listed(lines)}.",
            {name: {"mean over the epoch": next(iter(b.values()))} for name, b in lines.items()},
            x="epoch",
            y="loss",
            share=False,
        )
        caption = "Each is the mean over the steps of an epoch."
        found.append(report.figure(chart, "Losses by epoch.", caption, code(list(lines))))
    return found


def _column(head: str, metric: str) -> str:
    return f"{head}_{metric}" if head else metric


def _named(head: str) -> str:
    return f"{head.replace('_', ' ')} head" if head else "result"


def _confidence(
    report: Report, row: Mapping[str, Any], predictions: pl.DataFrame, heads: list[str]
) -> list[Markup]:
    run = [row["run_id"]]
    bins = {_named(h): _samples.bins(_samples.judged(predictions, h)) for h in heads}
    first = heads[0] or None
    example = f" The code below gives the {first} head." if len(heads) > 1 else ""
    known = {h: b for h, b in bins.items() if b.right is not None}
    found = []
    if known:
        chart = charts.reliability("reliability", "Reliability diagram of each head.", known)
        caption = "15 bins of confidence. Bars below the diagonal are overconfident." + example
        code = samples_code(report, run, first, BINS_CODE, "metrics.calibration")
        found.append(report.figure(chart, "Reliability.", caption, code))
    chart = charts.histograms("confidence", "Histogram of the confidences of each head.", bins)
    caption = (
        "Right is an image whose cluster is matched with its class, by the Hungarian matching of "
        "this run. Each group is shown as shares of itself."
        if known
        else "There are no labels, so that right and wrong are not known."
    )
    code = samples_code(report, run, first, BARS_CODE)
    found.append(report.figure(chart, "Confidence.", caption + example, code))
    if known:
        chart = charts.curves(
            "risk-coverage",
            "Share of errors among the most confident images, by how many are kept.",
            {
                "": {
                    h: charts.Band(x=100 * b.coverage, y=100 * b.risks[0])
                    for h, b in known.items()
                    if b.risks is not None
                }
            },
            x="coverage %: most confident images that are kept",
            y="risk %: errors among them",
        )
        code = samples_code(report, run, first, CURVE_CODE, "metrics.rejection")
        caption = "A curve that starts low and rises late rejects failures well." + example
        found.append(report.figure(chart, "Risk and coverage.", caption, code))
    return found


def _sizes(report: Report, row: Mapping[str, Any]) -> list[Markup]:
    found = []
    sizes = row["cluster_sizes"] or []
    if sizes:
        chart = charts.columns(
            "cluster-sizes",
            f"Images in each of {len(sizes)} clusters, from {min(sizes)} to {max(sizes)}.",
            sizes,
            x="cluster",
            y="images",
        )
        code = report.code(
            f'results.runs(store).filter(pl.col("run_id") == {row["run_id"]!r})\\\n'
            '    .select("cluster_sizes").explode("cluster_sizes").collect()'
        )
        caption = f"{measures.plural(len(sizes), 'cluster')}, from {min(sizes):,} to "
        caption += f"{measures.plural(max(sizes), 'image')}."
        found.append(report.figure(chart, "Sizes of the clusters.", caption, code))
    return found


def _images(report: Report, row: Mapping[str, Any], predictions: pl.DataFrame) -> list[Markup]:
    judged = _samples.judged(predictions)
    if "path" in predictions.columns and predictions["path"].null_count() < predictions.height:
        judged = judged.with_columns(predictions["path"])
    ordered = judged.sort("confidence", "sample", descending=[True, False])
    at = np.unique(np.linspace(0, ordered.height - 1, min(_SAMPLE, ordered.height)).astype(int))
    labelled = judged["right"].null_count() == 0
    lines = []
    for image in ordered[at].iter_rows(named=True):
        cells = [
            Cell(content=str(image.get("path") or image["sample"]), heading=True),
            page.number(str(image["cluster"])),
            page.number(measures.value("mean_confidence", image["confidence"])),
        ]
        if labelled:
            cells += [
                page.number(str(image["label"])),
                Cell(content="right" if image["right"] else "wrong"),
            ]
        lines.append(Row(cells=cells))
    names = ["image", "cluster", "confidence %", *(["label", "judged"] if labelled else [])]
    code = samples_code(
        report, [row["run_id"]], None, 'samples.sort("confidence", descending=True)'
    )
    caption = f"{len(lines)} images, evenly spaced from the most to the least confident"
    return [page.table(caption, [page.head(*names)], lines), page.query(code)]


def _configuration(report: Report, row: Mapping[str, Any]) -> list[Markup]:
    fields = json.loads(row["config_json"])
    lines = [
        Row(cells=[Cell(content=k, heading=True), Cell(content=json.dumps(v))])
        for k, v in fields.items()
    ]
    code = report.code(
        f'results.runs(store).filter(pl.col("run_id") == {row["run_id"]!r})\\\n'
        '    .select(pl.col("^config[.].*$")).collect()'
    )
    return [page.table("Every field", [page.head("field", "value")], lines), page.query(code)]
