"""The table of a suite: our values beside the printed ones."""

from collections.abc import Sequence
from dataclasses import dataclass, field, fields

import polars as pl

from deep_clustering.platform.evaluation import contract, measures
from deep_clustering.platform.report.markup.parts import (
    FootnoteMark,
    Footnotes,
    PageTable,
    Part,
    Piece,
    Small,
    TableCell,
    TableRow,
    Text,
    label,
    number,
)
from deep_clustering.platform.report.pages._draft import Draft
from deep_clustering.platform.report.pages._words import slug
from deep_clustering.platform.suites.cells import replications
from deep_clustering.platform.suites.differences import Unit


@dataclass(frozen=True)
class _Column:
    """What a column shows: a metric, of the runs or of their evaluation against `other`."""

    other: str | None
    metric: str

    @property
    def heading(self) -> str:
        """Its name with its unit."""
        return measures.heading(self.metric) + (f", {self.other}" if self.other else "")


@dataclass(frozen=True, kw_only=True)
class _TableLine:
    """A line of `results.cells`: what a row shows in a column."""

    section: str
    variant: str
    column: _Column
    mark: str
    unit: Unit | None
    n: int
    runs: int
    pretrainings: int
    failed: int
    collapsed: int
    mean: float | None
    low: float | None
    high: float | None
    printed: str | None
    protocol_match: bool | None
    flag: str | None
    reason: str | None


@dataclass(frozen=True, kw_only=True)
class _RowOfTable:
    """A row of the table: its block, its name and its cells."""

    section: str
    variant: str
    lines: dict[_Column, _TableLine] = field(default_factory=dict)


def suite_tables(draft: Draft, suite: str, lines: pl.DataFrame) -> list[Part]:
    """A table for each data set; `lines` are those of `results.cells`."""
    parts: list[Part] = []
    for dataset in lines["dataset"].unique(maintain_order=True):
        parts += _dataset(dataset, lines.filter(pl.col("dataset") == dataset))
        parts.append(
            draft.query(
                f'results.cells({suite!r}, store).filter(pl.col("dataset") == {dataset!r})'
                ".collect()"
            )
        )
    return parts


def _dataset(dataset: str, frame: pl.DataFrame) -> list[Part]:
    lines = _read(frame)
    columns = list(dict.fromkeys(line.column for line in lines))
    printed = {line.column for line in lines if line.printed}
    prefix = slug("note", dataset)
    remarks: dict[str, int] = {}  # footnote -> its number
    rows = []
    section = ""
    for row in _rows(lines):
        if row.section and row.section != section:
            block = TableCell(
                content=row.section, heading=True, columns=1 + len(columns) + len(printed)
            )
            rows.append(TableRow(cells=[block], look="block"))
        section = row.section
        rows.append(_row(row, columns, printed, remarks, prefix))
    over = "; ".join(replications(lines))
    caption = f"{dataset}: mean ± half of the 95 % interval (n)"
    caption += f", over {over}" if over else ""
    table = PageTable(caption=caption, heads=_heads(columns, printed), rows=rows)
    return [table, Footnotes(prefix=prefix, texts=list(remarks))] if remarks else [table]


def _read(frame: pl.DataFrame) -> list[_TableLine]:
    names = [field.name for field in fields(_TableLine) if field.name != "column"]
    labels = [contract.find(name).label for name in contract.names()]
    return [
        _TableLine(
            column=_Column(
                other=next((line[name] for name in labels if line[name] is not None), None),
                metric=line["metric"],
            ),
            **{name: line[name] for name in names},
        )
        for line in frame.iter_rows(named=True)
    ]


def _rows(lines: Sequence[_TableLine]) -> list[_RowOfTable]:
    """Lines that follow each other and name the same row, as one."""
    rows: list[_RowOfTable] = []
    for line in lines:
        last = rows[-1] if rows else None
        same = last is not None and (last.section, last.variant) == (line.section, line.variant)
        if last is None or not same or line.column in last.lines:
            last = _RowOfTable(section=line.section, variant=line.variant)
            rows.append(last)
        last.lines[line.column] = line
    return rows


def _row(
    row: _RowOfTable,
    columns: Sequence[_Column],
    printed: set[_Column],
    remarks: dict[str, int],
    prefix: str,
) -> TableRow:
    only = all(line.mark == "published only" for line in row.lines.values())
    failed = max(line.failed for line in row.lines.values())
    name: list[Piece] = [row.variant]
    if only:
        name += [" ", Small("printed only")]
    if failed:
        name += [" ", Small(f"{failed} failed")]
    cells = [label(name)]
    for column in columns:
        line = row.lines.get(column)
        cells.append(number(_ours(line, remarks, prefix)))
        if column in printed:
            cells.append(number(_theirs(line, remarks, prefix)))
    return TableRow(cells=cells, look="published" if only else None)


def _heads(columns: Sequence[_Column], printed: set[_Column]) -> list[TableRow]:
    """Names of metrics; below a metric that the paper prints, "ours" and "printed"."""
    height = 2 if printed else 1
    first = [TableCell(content="row", heading=True, rows=height)]
    second: list[TableCell] = []
    for column in columns:
        if column in printed:
            first.append(TableCell(content=column.heading, heading=True, columns=2))
            second += [
                TableCell(content=word, heading=True, look="number") for word in ("ours", "printed")
            ]
        else:
            first.append(
                TableCell(content=column.heading, heading=True, rows=height, look="number")
            )
    return [TableRow(cells=first), *([TableRow(cells=second)] if second else [])]


def _ours(line: _TableLine | None, remarks: dict[str, int], prefix: str) -> Text:
    if line is None or line.mark == "published only":
        return "–"
    if line.mark != "measured":
        return [Small(line.mark)]
    assert line.mean is not None
    value = measures.cell(line.column.metric, line.mean, line.low, line.high, line.n)
    if not line.collapsed:
        return value
    text = f"{line.collapsed} of {line.runs} runs collapsed"
    if line.collapsed < line.runs:
        text += ": the mean is of two kinds of runs"
    return [value, FootnoteMark(prefix, remarks.setdefault(f"{text}.", len(remarks) + 1))]


def _theirs(line: _TableLine | None, remarks: dict[str, int], prefix: str) -> Text:
    """The printed value; its footnotes, which are added to `remarks`, tell doubts."""
    if line is None or not line.printed:
        return "–"
    texts = []
    if line.flag:
        texts.append(f"Doubtful in the paper: {line.flag}.")
    if line.reason and line.protocol_match is False:
        texts.append(f"Not the same protocol (≠): {line.reason}.")
    sign = "≠ " if line.protocol_match is False else ""
    numbers = [remarks.setdefault(text, len(remarks) + 1) for text in texts]
    return [
        sign + line.printed.replace("-", "−"),
        *(FootnoteMark(prefix, index) for index in numbers),
    ]
