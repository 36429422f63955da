"""What evaluations of finished runs look like, as each of them says itself."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import polars as pl

from deep_clustering.platform import registry
from deep_clustering.platform.errors import PlatformError
from deep_clustering.platform.evaluation import measures
from deep_clustering.platform.evaluation.drawing import Densities, pooled
from deep_clustering.platform.evaluations._evaluation import Row
from deep_clustering.platform.report.charts.confidences import densities
from deep_clustering.platform.report.markup.parts import Figure, Figures, Heading, Paragraph, Part
from deep_clustering.platform.report.pages._report import Report
from deep_clustering.platform.report.pages._rows import Arm, Comparison
from deep_clustering.platform.report.pages._words import ids, listed, quoted, slug


def evaluations(
    report: Report, compared: Comparison, orders: Mapping[str, Sequence[str]]
) -> list[Part]:
    """Figures of every evaluation of a suite's runs on a data set.

    Args:
        orders: name of an evaluation -> titles of panels that come first; others follow by name.
    """
    stages = report.store.rows("stages")
    parts: list[Part] = []
    for name in registry.names("evaluations"):
        column = registry.evaluation(name).run
        if column in stages.columns:
            mine = stages.filter(pl.col("kind") == name, pl.col(column).is_in(compared.runs))
            rows = mine.rows(named=True)
            parts += _evaluation(report, compared, name, rows, orders.get(name, ()))
    return parts


def _evaluation(
    report: Report,
    compared: Comparison,
    name: str,
    rows: Sequence[Row],
    order: Sequence[str],
) -> list[Part]:
    record = registry.evaluation(name)
    if record.drawing is None:
        return []
    heading = ""
    figures, damaged = [], []
    for arm in compared.arms:
        drawings, stages = [], []
        for row in rows:
            if row[record.run] not in arm.runs:
                continue
            try:
                drawings.append(record.drawing(report.store, row, arm.head))
                stages.append(str(row["stage_id"]))
            except PlatformError:
                damaged.append(f"{arm.label}, seed {row['seed']}")
        if drawings:
            whole = _ordered(pooled(drawings), order)
            heading = whole.heading
            runs = len({row[record.run] for row in rows if row["stage_id"] in stages})
            figures.append(_figure(report, compared, name, arm, whole, stages, runs))
    parts: list[Part] = []
    if figures:
        parts += [Heading(heading), Figures(figures)]
    if damaged:
        text = f"The results of these {name} evaluations are damaged and left out: "
        parts.append(Paragraph(f"{text}{listed(dict.fromkeys(damaged))}.", muted=True))
    return parts


def _ordered(drawing: Densities, order: Sequence[str]) -> Densities:
    first = [title for title in order if title in drawing.panels]
    titles = [*first, *sorted(set(drawing.panels) - set(first))]
    return replace(drawing, panels={title: drawing.panels[title] for title in titles})


def _figure(
    report: Report,
    compared: Comparison,
    kind: str,
    arm: Arm,
    drawing: Densities,
    stages: Sequence[str],
    runs: int,
) -> Figure:
    chart = densities(
        slug(kind, compared.dataset, arm.label),
        f"{arm.label} on {compared.dataset}: {drawing.title} ({listed(drawing.panels)}).",
        drawing.panels,
        limits=drawing.limits,
        x=drawing.xlabel,
    )
    query = report.query(
        f'results.stages(store).filter(pl.col("stage_id").is_in({ids(stages)}))\\\n'
        f"    .select({quoted(drawing.columns)}).collect()"
    )
    caption = f"{drawing.caption} {measures.plural(runs, 'run')} pooled."
    return report.figure(chart, f"{arm.label}: {drawing.title}.", caption, query)
