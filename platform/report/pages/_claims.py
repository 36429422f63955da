"""The claims of a suite: their verdicts, and their differences beside the published ones."""

from dataclasses import dataclass, fields

import polars as pl

from deep_clustering.platform.evaluation import contract, measures
from deep_clustering.platform.report.charts.forest import ForestLine, forest
from deep_clustering.platform.report.markup.parts import (
    Badge,
    Bold,
    Figure,
    Figures,
    Paragraph,
    Part,
    Piece,
    Sentence,
    TableCell,
    cell,
    number,
    table,
    wide,
)
from deep_clustering.platform.report.pages._draft import Draft
from deep_clustering.platform.report.pages._words import sentence, slug

_DIRECTIONS = {"higher": "above", "lower": "below", "equal": "equal to"}
_HEADS = ("claim", "data set", "difference", "published", "margin", "n", "p (suite)", "pairing r")


@dataclass(frozen=True, kw_only=True)
class _Verdict:
    """A line of `results.verdicts`: what was claimed, and what our runs say."""

    variant: str
    against: str
    dataset: str
    thing: str | None  # what runs are compared with, None for nothing
    metric: str
    direction: str
    verdict: str
    reason: str
    n: int
    correlation: float | None
    difference: float | None
    low: float | None
    high: float | None
    published: float | None
    margin: float
    adjusted: float | None
    further_seeds: int | None


def _labels() -> list[str]:
    """Columns that say what runs are compared with, one for each evaluation."""
    return [contract.find(name).label for name in contract.names()]


def _read(judged: pl.DataFrame) -> list[_Verdict]:
    whole = judged.with_columns(thing=pl.coalesce(_labels()))
    lines = whole.select(field.name for field in fields(_Verdict))
    return [_Verdict(**line) for line in lines.iter_rows(named=True)]


def claims(draft: Draft, suite: str, judged: pl.DataFrame) -> list[Part]:
    """The table of verdicts and a chart for each comparison; `judged` is `results.verdicts`."""
    parts: list[Part] = [
        Paragraph(
            "Differences are in the units of the table above, with 95 % intervals that stay valid "
            "when seeds are added after looking. “Published” is the difference that the paper "
            "prints. A claim is replicated if our difference is shown to be in the claimed "
            "direction and to lie within the margin around the published difference: between a "
            "half and one and a half times as large where the margin is half of it. Verdicts and "
            "“p (suite)” allow for all claims of the suite and for every look: with a probability "
            "of 95 % all that they say is true. The sentences give differences as fractions: 0.01 "
            "is one percentage point. “Pairing r” is the correlation of runs that share "
            "pretraining and seed."
        ),
        table("Verdicts", _HEADS, [_row(verdict) for verdict in _read(judged)]),
        draft.query(f"results.verdicts({suite!r}, store).collect()"),
    ]
    kinds = ("dataset", "metric", "against", *_labels())
    groups = judged.partition_by(*kinds, maintain_order=True)
    figures = [figure for part in groups if (figure := _forest(draft, suite, part)) is not None]
    return [*parts, Figures(figures)] if figures else parts


def _row(verdict: _Verdict) -> list[TableCell]:
    metric = verdict.metric
    words = (
        f"{verdict.variant} {_DIRECTIONS[verdict.direction]} {verdict.against} "
        f"in {measures.name(metric)}" + (f", {verdict.thing}" if verdict.thing else "")
    )
    what: list[Piece] = [
        Badge(verdict.verdict),
        " ",
        Bold(words),
        Sentence(sentence(verdict.reason)),
    ]
    if verdict.further_seeds:
        more = measures.plural(verdict.further_seeds, "more seed")
        what.append(Sentence(f"About {more} could settle it.", muted=True))
    return [
        wide(what),
        cell(verdict.dataset),
        number(_difference(verdict)),
        number(measures.value(metric, verdict.published, signed=True)),
        number(measures.value(metric, verdict.margin)),
        number(str(verdict.n)),
        number(measures.p_value(verdict.adjusted)),
        number(_correlation(verdict)),
    ]


def _difference(verdict: _Verdict) -> str:
    metric = verdict.metric
    if verdict.difference is None:
        return "–"
    low, high = (measures.value(metric, end, signed=True) for end in (verdict.low, verdict.high))
    return f"{measures.value(metric, verdict.difference, signed=True)} [{low}, {high}]"


def _correlation(verdict: _Verdict) -> str:
    given = verdict.correlation
    return "–" if given is None else f"{given:.2f}".replace("-", "−")


def _forest(draft: Draft, suite: str, judged: pl.DataFrame) -> Figure | None:
    """The chart of claims with one data set, metric and other side, and in one evaluation."""
    metric, dataset, against = (judged[c][0] for c in ("metric", "dataset", "against"))
    things = {name: judged[name][0] for name in _labels() if judged[name][0] is not None}
    where = ", ".join([dataset, *things.values()])
    known = judged.filter(pl.col("difference").is_not_null() | pl.col("published").is_not_null())
    if not known.height:
        return None
    factor = measures.unit(metric).factor

    def scaled(value: float | None) -> float | None:
        return None if value is None else value * factor

    lines = [
        ForestLine(
            label=verdict.variant,
            value=scaled(verdict.difference),
            low=scaled(verdict.low),
            high=scaled(verdict.high),
            published=scaled(verdict.published),
            margin=verdict.margin * factor,
        )
        for verdict in _read(known)
    ]
    values = "; ".join(
        f"{x.label} {'not measured' if x.value is None else f'{x.value:+.1f}'}" for x in lines
    )
    chart = forest(
        slug("differences", *things.values(), dataset, metric, against),
        f"Differences of {measures.name(metric)} on {where} with 95 % intervals: {values}",
        lines,
        x=f"difference of {measures.heading(metric)}",
    )
    chosen = "".join(f", pl.col({name!r}) == {thing!r}" for name, thing in things.items())
    query = draft.query(
        f'results.verdicts({suite!r}, store).filter(pl.col("dataset") == {dataset!r}, '
        f'pl.col("metric") == {metric!r}, pl.col("against") == {against!r}{chosen})\\\n'
        '    .select("variant", "against", "difference", "low", "high", "published", "margin")'
        ".collect()"
    )
    caption = "Dots: our differences, with 95 % intervals. "
    if all(line.published is None for line in lines):
        caption += "Bands: the margin around 0, as the paper prints no difference."
    else:
        caption += "Diamonds: the published differences. Bands: the margin around the published "
        caption += "difference, or around 0 where the paper prints none."
    title = f"{measures.name(metric)} minus that of {against}, {where}."
    return draft.figure(chart, title, caption, query)
