"""How confident runs are: reliability, confidence of right and wrong images, risk and coverage."""

import math
import statistics
from collections.abc import Mapping, Sequence
from types import ModuleType

import polars as pl

from deep_clustering.platform.evaluation import measures
from deep_clustering.platform.evaluation.bins import (
    BARS,
    POINTS,
    Bins,
    Reader,
    bins,
    judged,
    pooled,
)
from deep_clustering.platform.metrics import calibration, diagrams, rejection
from deep_clustering.platform.metrics.registry import names
from deep_clustering.platform.report import samples
from deep_clustering.platform.report.charts.confidences import histograms, reliability, without_bins
from deep_clustering.platform.report.charts.lines import Band, curves
from deep_clustering.platform.report.markup.parts import Figure, Part, Query, label, number, table
from deep_clustering.platform.report.pages._draft import Draft
from deep_clustering.platform.report.pages._epochs import beside, seeds
from deep_clustering.platform.report.pages._rows import Comparison, RowGroup
from deep_clustering.platform.report.pages._words import ids, listed, slug
from deep_clustering.platform.suites import differences
from deep_clustering.platform.suites.measured import Measured, values_of

#: Metrics of the table of failure rejection.
_REJECTION = names("rejection")

_BINS = (
    'confidence, right = images["confidence"].to_numpy(), images["right"].to_numpy()\n'
    "pl.DataFrame(calibration.reliability(confidence, right))"
)
_BARS = (
    f'images.group_by("right", bar=(pl.col("confidence") * {BARS}).floor()'
    f".clip(0, {BARS - 1}).cast(pl.Int32))\\\n"
    '    .len().sort("right", "bar")'
)
_CURVE = (
    'confidence, right = images["confidence"].to_numpy(), images["right"].to_numpy()\n'
    f"coverage, risk = rejection.risk_coverage(confidence, right, {POINTS})\n"
    'pl.DataFrame({"coverage": coverage, "risk": risk})'
)

_WITHOUT_BINS = (
    'confidence, right = images["confidence"].to_numpy(), images["right"].to_numpy()\n'
    "pl.DataFrame(diagrams.corp(diagrams.cells(confidence, right)))"
)

_ISOTONIC = (
    "The line is the share of right images by isotonic regression (CORP); at each confidence it "
    "stays in the band for 95 % of perfectly calibrated heads. Dashes: the same, smoothed over the "
    "width that the smooth ECE is."
)
_OVERCONFIDENT = "Where a bar is below the diagonal, the model is overconfident."
_RIGHT = (
    "An image is right if its cluster is matched with its class (Hungarian matching, for each run)."
)
_SIDES = "Right images point up, wrong ones down; the bars of each group add up to 100 %."
_NO_LABELS = "There are no labels, so it is not known which images are right."
_COVERAGE = "coverage %: most confident images that are kept"
_RISK = "risk %"
_RISK_IS = "Risk is the share of errors among the images that are kept."


def samples_query(
    draft: Draft, runs: Sequence[str], head: str | None, rest: str, *modules: ModuleType
) -> Query:
    """A program over `images`, the judged predictions of some runs.

    Args:
        runs: ids.
        head: whose predictions; None for the final head.
        rest: ends with an expression over `images`.
        modules: that it uses.
    """
    which = f", head={head!r}" if head else ""
    return draft.query(
        f"images = samples.read({ids(runs)}, store{which})\n{rest}", samples, *modules
    )


# ---- a suite


def suite_confidences(
    draft: Draft, measured: Measured, compared: Comparison, reader: Reader
) -> tuple[list[Figure], list[Part]]:
    """Figures of a suite's rows on a data set, and the table of failure rejection."""
    of_rows = _pooled(reader, compared.groups)
    known = {name: b for name, b in of_rows.items() if b.right is not None}
    groups = [group for group in compared.groups if group.label in known]
    if known:
        figures = [
            _suite_reliability(draft, compared, groups, known),
            _suite_without_bins(draft, compared, groups, known),
            _suite_histograms(draft, compared, groups, known),
            _suite_risk(draft, compared, groups, known),
        ]
        present = [figure for figure in figures if figure is not None]
        return present, _rejection(draft, measured, compared.dataset, groups)
    if of_rows:
        return [_unlabelled(draft, compared, of_rows)], []
    return [], []


def _pooled(reader: Reader, groups: Sequence[RowGroup]) -> dict[str, Bins]:
    of_rows = {}
    for group in groups:
        parts = [b for run in group.runs if (b := reader.bins(run, group.head)) is not None]
        if parts:
            of_rows[group.label] = pooled(parts)
    return of_rows


def _example(compared: Comparison, groups: Sequence[RowGroup]) -> RowGroup:
    """The group whose numbers the query below a figure gives."""
    baseline = compared.baseline
    return baseline if baseline is not None and baseline in groups else groups[0]


def _given(example: RowGroup, groups: Sequence[RowGroup]) -> str:
    """Says of which of several groups the query gives the numbers."""
    return f" The code below gives {example.label}." * (len(groups) > 1)


def _images(known: Mapping[str, Bins]) -> str:
    most = max(b.runs for b in known.values())
    return "Images of one run" if most == 1 else f"Images of up to {most} seeds, pooled"


def _suite_reliability(
    draft: Draft, compared: Comparison, groups: Sequence[RowGroup], known: Mapping[str, Bins]
) -> Figure:
    dataset, example = compared.dataset, _example(compared, groups)
    chart = reliability(
        slug("reliability", dataset),
        f"Reliability diagrams on {dataset}: "
        + "; ".join(
            f"{name} accuracy {100 * (b.accuracy or 0):.1f} %, mean confidence "
            f"{100 * b.mean_confidence:.1f} %"
            for name, b in known.items()
        ),
        known,
    )
    caption = f"{_images(known)}, in 15 bins of confidence. {_OVERCONFIDENT}"
    caption += _given(example, groups)
    query = samples_query(draft, example.runs, example.head, _BINS, calibration)
    return draft.figure(chart, f"Reliability, {dataset}.", caption, query)


def _suite_without_bins(
    draft: Draft, compared: Comparison, groups: Sequence[RowGroup], known: Mapping[str, Bins]
) -> Figure:
    dataset, example = compared.dataset, _example(compared, groups)
    chart = without_bins(
        slug("without-bins", dataset),
        f"Reliability without bins on {dataset}, one panel for each of {listed(known)}.",
        known,
    )
    caption = f"{_images(known)}. {_ISOTONIC}{_given(example, groups)}"
    query = samples_query(draft, example.runs, example.head, _WITHOUT_BINS, diagrams)
    return draft.figure(chart, f"Reliability without bins, {dataset}.", caption, query)


def _suite_histograms(
    draft: Draft, compared: Comparison, groups: Sequence[RowGroup], known: Mapping[str, Bins]
) -> Figure:
    dataset, example = compared.dataset, _example(compared, groups)
    chart = histograms(
        slug("confidence", dataset),
        f"Confidences of right and wrong images on {dataset}, one panel for each of "
        f"{listed(known)}.",
        known,
    )
    caption = f"{_images(known)}. {_RIGHT} {_SIDES}{_given(example, groups)}"
    query = samples_query(draft, example.runs, example.head, _BARS)
    title = f"Confidence of right and wrong images, {dataset}."
    return draft.figure(chart, title, caption, query)


def _suite_risk(
    draft: Draft, compared: Comparison, groups: Sequence[RowGroup], known: Mapping[str, Bins]
) -> Figure | None:
    dataset, example = compared.dataset, _example(compared, groups)
    bands = {name: band for name, b in known.items() if (band := _risk_band(b)) is not None}
    if not bands:
        return None
    baseline = compared.baseline
    reference = None
    if baseline is not None and baseline.label in bands and len(bands) > 1:
        reference = baseline.label, bands[baseline.label]
    chart = curves(
        slug("risk-coverage", dataset),
        f"Share of errors among the most confident images on {dataset}, by how many are kept.",
        {
            name: {"this row": band}
            for name, band in bands.items()
            if reference is None or name != reference[0]
        },
        x=_COVERAGE,
        y=_RISK,
        reference=reference,
    )
    caption = (
        f"{_RISK_IS} {seeds(groups)}{beside(reference)} The code below gives the first run of "
        f"{example.label}."
    )
    query = samples_query(draft, example.runs[:1], example.head, _CURVE, rejection)
    return draft.figure(chart, f"Risk and coverage, {dataset}.", caption, query)


def _risk_band(b: Bins) -> Band | None:
    """The risk-coverage curve of one run, or the mean and range of several; in percent."""
    if b.risks is None:
        return None
    x, y = 100 * b.coverage, 100 * b.risks
    if len(y) == 1:
        return Band(x=x, y=y[0])
    return Band(x=x, y=y.mean(0), low=y.min(0), high=y.max(0))


def _unlabelled(draft: Draft, compared: Comparison, of_rows: Mapping[str, Bins]) -> Figure:
    dataset, group = compared.dataset, compared.groups[0]
    chart = histograms(
        slug("confidence", dataset), f"Confidences of all images on {dataset}.", of_rows
    )
    query = samples_query(draft, group.runs, group.head, _BARS)
    return draft.figure(chart, f"Confidence, {dataset}.", _NO_LABELS, query)


def _rejection(
    draft: Draft, measured: Measured, dataset: str, groups: Sequence[RowGroup]
) -> list[Part]:
    """How well confidence tells right from wrong images, as numbers."""
    suite = measured.current.suite
    by_name = {row.name: row for row in suite.rows}
    lines = []
    for group in groups:
        line = [label(group.label)]
        for metric in _REJECTION:
            values = values_of(measured, by_name[group.rows[0]], dataset, metric)
            line.append(number(_mean(metric, list(values.values()))))
        lines.append(line)
    means = ", ".join(f'pl.col("{metric}").mean()' for metric in _REJECTION)
    query = draft.query(
        f'results.suite({suite.name!r}, store).filter(pl.col("dataset") == {dataset!r}, '
        'pl.col("status") == "ok")\\\n'
        f'    .group_by("variant", maintain_order=True).agg({means}, pl.len()).collect()'
    )
    caption = f"Failure rejection on {dataset}: mean ± half of the 95 % interval (runs)"
    heads = ["row", *(measures.heading(metric) for metric in _REJECTION)]
    return [table(caption, heads, lines), query]


def _mean(metric: str, values: Sequence[float]) -> str:
    known = [value for value in values if math.isfinite(value)]
    if not known:
        return "–"
    low, high = differences.interval(known) or (None, None)
    return measures.cell(metric, statistics.fmean(known), low, high, len(known))


# ---- a run


def run_confidences(
    draft: Draft, run: str, predictions: pl.DataFrame, heads: Sequence[str]
) -> list[Figure]:
    """Figures of one run, with all its heads; heads without a name have columns without prefix."""
    of_heads = {head_name(head): bins(judged(predictions, head)) for head in heads}
    known = {name: b for name, b in of_heads.items() if b.right is not None}
    first = heads[0] or None
    example = f" The code below gives the {first} head." if len(heads) > 1 else ""
    figures = []
    if known:
        chart = reliability("reliability", "Reliability diagram of each head.", known)
        caption = f"15 bins of confidence. {_OVERCONFIDENT}{example}"
        query = samples_query(draft, [run], first, _BINS, calibration)
        figures.append(draft.figure(chart, "Reliability.", caption, query))
        chart = without_bins("without-bins", "Reliability of each head without bins.", known)
        query = samples_query(draft, [run], first, _WITHOUT_BINS, diagrams)
        text = f"{_ISOTONIC}{example}"
        figures.append(draft.figure(chart, "Reliability without bins.", text, query))
    chart = histograms("confidence", "Histogram of the confidences of each head.", of_heads)
    caption = (f"{_RIGHT} {_SIDES}" if known else _NO_LABELS) + example
    query = samples_query(draft, [run], first, _BARS)
    figures.append(draft.figure(chart, "Confidence.", caption, query))
    lines = {name: band for name, b in known.items() if (band := _risk_band(b)) is not None}
    if lines:
        chart = curves(
            "risk-coverage",
            "Share of errors among the most confident images, by how many are kept.",
            {"": lines},
            x=_COVERAGE,
            y=_RISK,
        )
        caption = (
            f"{_RISK_IS} The lower a curve is on its left side, the better confidence tells right "
            f"from wrong images.{example}"
        )
        query = samples_query(draft, [run], first, _CURVE, rejection)
        figures.append(draft.figure(chart, "Risk and coverage.", caption, query))
    return figures


def head_name(head: str) -> str:
    """What a head is called; "result" where a method has none."""
    return f"{head.replace('_', ' ')} head" if head else "result"
