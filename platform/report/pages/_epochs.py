"""Metrics and losses by epoch."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
import polars as pl

from deep_clustering.platform import results
from deep_clustering.platform.evaluation import measures
from deep_clustering.platform.metrics.registry import HEADLINES, METRICS
from deep_clustering.platform.report.charts.lines import Band, curves
from deep_clustering.platform.report.markup.parts import Figure, Query
from deep_clustering.platform.report.pages._draft import Draft
from deep_clustering.platform.report.pages._rows import Comparison, RowGroup
from deep_clustering.platform.report.pages._words import listed, quoted, slug

_METRICS = tuple(name for name in HEADLINES if METRICS[name].better)
#: Losses that one panel of several can tell apart.
_MOST_LOSSES = 6
#: Columns of epochs that a method reports beside its losses: counts and states.
_NO_LOSSES = ("confidence", "skipped", "threshold", "prototype_overlap", "selected")

#: Run -> its table of epochs.
_History = Mapping[str, pl.DataFrame]


def band(
    histories: Sequence[Sequence[tuple[float, float | None]]], factor: float = 1
) -> Band | None:
    """Mean and range over runs, at every x at which all of them have a value; None without any.

    Args:
        histories: (x, value) of each run.
        factor: values are multiplied with it.
    """
    known = [{x: y for x, y in h if y is not None and math.isfinite(y)} for h in histories]
    known = [points for points in known if points]
    if not known:
        return None
    x = sorted(set.intersection(*(set(points) for points in known)))
    if not x:
        return None
    y = np.array([[points[i] for i in x] for points in known]) * factor
    if len(known) == 1:
        return Band(x=np.array(x), y=y[0])
    return Band(x=np.array(x), y=y.mean(0), low=y.min(0), high=y.max(0))


def losses(columns: Sequence[str]) -> list[str]:
    """Columns of a table of epochs that are losses: neither metrics nor counters."""
    known = {"run_id", "epoch", "seconds", *_NO_LOSSES}
    return [c for c in columns if c not in known and measures.base(c) not in METRICS]


def seeds(groups: Sequence[RowGroup]) -> str:
    """Says what the line and the band of a chart are."""
    most = max(len(group.runs) for group in groups)
    return "One run." if most == 1 else f"Mean over up to {most} seeds; the band is their range."


def beside(reference: tuple[str, Band] | None) -> str:
    """Says what the grey line is that every panel repeats."""
    return "" if reference is None else f" Dotted grey: {reference[0]}."


# ---- a suite


def suite_epochs(draft: Draft, compared: Comparison) -> list[Figure]:
    """Metrics and losses of a suite's rows on a data set, a panel for each row."""
    history = _history(draft, compared.runs)
    figures = [_metric(draft, compared, history, metric) for metric in _METRICS]
    figures.append(_losses(draft, compared, history))
    return [figure for figure in figures if figure is not None]


def _history(draft: Draft, runs: Sequence[str]) -> _History:
    frame = results.epochs(draft.store).filter(pl.col("run_id").is_in(runs)).collect()
    return {
        str(part["run_id"][0]): part.sort("epoch")
        for part in frame.partition_by("run_id", maintain_order=True)
    }


def _metric(draft: Draft, compared: Comparison, history: _History, metric: str) -> Figure | None:
    dataset, baseline = compared.dataset, compared.baseline
    bands = {group.label: _band_of(group, history, metric) for group in compared.groups}
    lines = {label: line for label, line in bands.items() if line is not None}
    if not lines:
        return None
    reference = None
    if baseline is not None and baseline.label in lines:
        reference = baseline.label, lines[baseline.label]
    chart = curves(
        slug("epochs", dataset, metric),
        f"{measures.name(metric)} by epoch on {dataset}, one panel for each of {listed(lines)}.",
        {
            label: {"this row": line}
            for label, line in lines.items()
            if reference is None or label != reference[0] or len(lines) == 1
        },
        x="epoch",
        y=measures.heading(metric),
        reference=reference,
    )
    query = _query(draft, compared, f'pl.col("^(.*_)?{metric}$").mean()')
    title = f"{measures.name(metric)} by epoch, {dataset}."
    return draft.figure(chart, title, seeds(compared.groups) + beside(reference), query)


def _band_of(group: RowGroup, history: _History, metric: str) -> Band | None:
    column = measures.column(group.head, metric)
    frames = [history[run] for run in group.runs if run in history]
    points = [f.select("epoch", column).rows() for f in frames if column in f.columns]
    return band(points, measures.unit(metric).factor)


def _losses(draft: Draft, compared: Comparison, history: _History) -> Figure | None:
    panels: dict[str, dict[str, Band]] = {}
    for runs in dict.fromkeys(group.runs for group in compared.groups):  # heads share their losses
        label = " / ".join(group.label for group in compared.groups if group.runs == runs)
        frames = [history[run] for run in runs if run in history]
        names = losses(list(dict.fromkeys(column for f in frames for column in f.columns)))
        lines = {
            loss: line
            for loss in names[:_MOST_LOSSES]
            if (line := band([f.select("epoch", loss).rows() for f in frames])) is not None
        }
        if lines:
            panels[label] = lines
    if not panels:
        return None
    shown = list(dict.fromkeys(loss for lines in panels.values() for loss in lines))
    chart = curves(
        slug("losses", compared.dataset),
        f"Losses by epoch on {compared.dataset}: {listed(shown)}.",
        panels,
        x="epoch",
        y="loss",
    )
    query = _query(draft, compared, f"pl.col({quoted(shown)}).mean()")
    title = f"Losses by epoch, {compared.dataset}."
    return draft.figure(chart, title, seeds(compared.groups), query)


def _query(draft: Draft, compared: Comparison, values: str) -> Query:
    return draft.query(
        f"runs = results.suite({compared.suite!r}, store)"
        f'.filter(pl.col("dataset") == {compared.dataset!r})\\\n'
        '    .select("run_id", "variant").collect()\n'
        'results.epochs(store).filter(pl.col("run_id").is_in(runs["run_id"].to_list()))\\\n'
        '    .join(runs.lazy(), on="run_id").group_by("variant", "epoch")\\\n'
        f'    .agg({values}).sort("variant", "epoch").collect()'
    )


# ---- a run


def run_epochs(draft: Draft, run: str, heads: Sequence[str]) -> list[Figure]:
    """Metrics of a run, a line for each head, and its losses."""
    frame = results.epochs(draft.store).filter(pl.col("run_id") == run).collect().sort("epoch")
    if frame.height < 2:
        return []
    columns = [c for c in frame.columns if frame[c].null_count() < frame.height]
    figures = [
        _run_metrics(draft, run, frame, columns, heads),
        _run_losses(draft, run, frame, columns),
    ]
    return [figure for figure in figures if figure is not None]


def _run_metrics(
    draft: Draft, run: str, frame: pl.DataFrame, columns: Sequence[str], heads: Sequence[str]
) -> Figure | None:
    panels: dict[str, dict[str, Band]] = {}
    used: list[str] = []
    for metric in HEADLINES:
        of_heads = {head: measures.column(head, metric) for head in heads}
        lines = {head: column for head, column in of_heads.items() if column in columns}
        if not lines and metric in columns:
            lines = {"": metric}
        for head, column in lines.items():
            line = band([frame.select("epoch", column).rows()], measures.unit(metric).factor)
            if line is not None:
                panels.setdefault(measures.heading(metric), {})[head or "final head"] = line
                used.append(column)
    if not panels:
        return None
    chart = curves("metrics", f"{listed(panels)} by epoch.", panels, x="epoch", y="", share=False)
    query = _run_query(draft, run, used)
    return draft.figure(chart, "Metrics by epoch.", "One line per head.", query)


def _run_losses(
    draft: Draft, run: str, frame: pl.DataFrame, columns: Sequence[str]
) -> Figure | None:
    lines = {
        name: line
        for name in losses(columns)
        if (line := band([frame.select("epoch", name).rows()])) is not None
    }
    if not lines:
        return None
    chart = curves(
        "losses",
        f"Losses by epoch: {listed(lines)}.",
        {name: {"mean over the epoch": line} for name, line in lines.items()},
        x="epoch",
        y="loss",
        share=False,
    )
    caption = "Each value is the mean over the steps of an epoch."
    return draft.figure(chart, "Losses by epoch.", caption, _run_query(draft, run, list(lines)))


def _run_query(draft: Draft, run: str, columns: Sequence[str]) -> Query:
    return draft.query(
        f'results.epochs(store).filter(pl.col("run_id") == {run!r})\\\n'
        f'    .select("epoch", {quoted(columns)}).sort("epoch").collect()'
    )
