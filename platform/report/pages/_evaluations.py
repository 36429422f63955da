"""What evaluations of finished runs look like, as each of them says itself."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import polars as pl

from deep_clustering.platform.errors import PlatformError
from deep_clustering.platform.evaluation import contract, measures
from deep_clustering.platform.evaluation.contract import Row
from deep_clustering.platform.evaluation.drawing import Densities, pooled
from deep_clustering.platform.report.charts.confidences import densities
from deep_clustering.platform.report.markup.parts import Figure, Figures, Heading, Paragraph, Part
from deep_clustering.platform.report.pages._draft import Draft
from deep_clustering.platform.report.pages._rows import Comparison, RowGroup
from deep_clustering.platform.report.pages._words import ids, listed, quoted, slug


def evaluations(
    draft: Draft, compared: Comparison, orders: Mapping[str, Sequence[str]]
) -> list[Part]:
    """Figures of every evaluation of a suite's runs on a data set.

    Args:
        orders: name of an evaluation -> titles of panels that come first; others follow by name.
    """
    stages = draft.store.rows("stages")
    parts: list[Part] = []
    for name in contract.names():
        column = contract.find(name).run
        if column in stages.columns:
            mine = stages.filter(pl.col("kind") == name, pl.col(column).is_in(compared.runs))
            rows = mine.rows(named=True)
            parts += _evaluation(draft, compared, name, rows, orders.get(name, ()))
    return parts


def _evaluation(
    draft: Draft,
    compared: Comparison,
    name: str,
    rows: Sequence[Row],
    order: Sequence[str],
) -> list[Part]:
    record = contract.find(name)
    if record.drawing is None:
        return []
    heading = ""
    figures, damaged = [], []
    for group in compared.groups:
        drawings, stages = [], []
        for row in rows:
            if row[record.run] not in group.runs:
                continue
            try:
                drawings.append(record.drawing(draft.store, row, group.head))
                stages.append(str(row["stage_id"]))
            except PlatformError:
                damaged.append(f"{group.label}, seed {row['seed']}")
        if drawings:
            whole = _ordered(pooled(drawings), order)
            heading = whole.heading
            runs = len({row[record.run] for row in rows if row["stage_id"] in stages})
            figures.append(_figure(draft, compared, name, group, whole, stages, runs))
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
    draft: Draft,
    compared: Comparison,
    kind: str,
    group: RowGroup,
    drawing: Densities,
    stages: Sequence[str],
    runs: int,
) -> Figure:
    chart = densities(
        slug(kind, compared.dataset, group.label),
        f"{group.label} on {compared.dataset}: {drawing.title} ({listed(drawing.panels)}).",
        drawing.panels,
        x=drawing.xlabel,
    )
    query = draft.query(
        f'results.stages(store).filter(pl.col("stage_id").is_in({ids(stages)}))\\\n'
        f"    .select({quoted(drawing.columns)}).collect()"
    )
    caption = f"{drawing.caption} {measures.plural(runs, 'run')} pooled."
    return draft.figure(chart, f"{group.label}: {drawing.title}.", caption, query)
