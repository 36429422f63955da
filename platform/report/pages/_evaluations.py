"""What evaluations of finished runs look like, as each of them says itself."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import polars as pl

from deep_clustering.platform.errors import PlatformError
from deep_clustering.platform.evaluation import measures, ood
from deep_clustering.platform.evaluation.drawing import Densities, pooled
from deep_clustering.platform.report.charts.confidences import densities
from deep_clustering.platform.report.markup.parts import Figure, Figures, Heading, Paragraph, Part
from deep_clustering.platform.report.pages._report import Report
from deep_clustering.platform.report.pages._rows import Arm, Comparison
from deep_clustering.platform.report.pages._words import ids, listed, quoted, slug
from deep_clustering.platform.store.store import Store

#: A row of the table `stages`.
_StageRow = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class _Drawn:
    """How the stages of an evaluation are found and drawn.

    Attributes:
        kind: of its stages.
        run_column: of `stages`, names the run that was evaluated.
        draw: the drawing of one stage and a head of its run (None: the final head).
    """

    kind: str
    run_column: str
    draw: Callable[[Store, _StageRow, str | None], Densities]


def _out_of_distribution(store: Store, row: _StageRow, head: str | None) -> Densities:
    own, others = ood.confidences(store, row["stage_id"])[head or row["ood_final_head"]]
    front = f"{head}_" if head else ""
    return Densities(
        heading="Out of distribution",
        title="own images and others",
        panels={row["ood_dataset"]: {"own images": own, "others": others}},
        xlabel="confidence",
        caption="Shares of the run's own images and of the others over confidence.",
        columns=("ood_run", "ood_dataset", f"{front}ood_auroc", f"{front}ood_fpr95"),
    )


_EVALUATIONS = (_Drawn(kind="ood", run_column="ood_run", draw=_out_of_distribution),)


def evaluations(report: Report, compared: Comparison, order: Sequence[str]) -> list[Part]:
    """Figures of every evaluation of a suite's runs on a data set.

    Args:
        order: titles of panels that come first; the others follow by name.
    """
    stages = report.store.rows("stages")
    parts: list[Part] = []
    for drawn in _EVALUATIONS:
        if drawn.run_column in stages.columns:
            mine = stages.filter(
                pl.col("kind") == drawn.kind, pl.col(drawn.run_column).is_in(compared.runs)
            )
            parts += _evaluation(report, compared, drawn, mine.rows(named=True), order)
    return parts


def _evaluation(
    report: Report,
    compared: Comparison,
    drawn: _Drawn,
    rows: Sequence[_StageRow],
    order: Sequence[str],
) -> list[Part]:
    heading = ""
    figures, damaged = [], []
    for arm in compared.arms:
        drawings, stages = [], []
        for row in rows:
            if row[drawn.run_column] not in arm.runs:
                continue
            try:
                drawings.append(drawn.draw(report.store, row, arm.head))
                stages.append(row["stage_id"])
            except PlatformError:
                damaged.append(f"{arm.label}, seed {row['seed']}")
        if drawings:
            whole = _ordered(pooled(drawings), order)
            heading = whole.heading
            runs = len({row[drawn.run_column] for row in rows if row["stage_id"] in stages})
            figures.append(_figure(report, compared, drawn.kind, arm, whole, stages, runs))
    parts: list[Part] = []
    if figures:
        parts += [Heading(heading), Figures(figures)]
    if damaged:
        text = f"The results of these {drawn.kind} evaluations are damaged and left out: "
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
