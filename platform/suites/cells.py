"""What a suite measured, cell by cell beside the published values.

A cell is a row of the suite's table on one data set and metric. Its mean is over finished runs; a
failed run is counted and is never a number.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, Protocol

import polars as pl

from deep_clustering.ablations._published import PublishedCell
from deep_clustering.ablations._suite import Row
from deep_clustering.platform.suites._columns import as_row, with_evaluations
from deep_clustering.platform.suites._printed import Line, PrintedTable, printed
from deep_clustering.platform.suites.differences import Unit, mean_of, replication
from deep_clustering.platform.suites.measured import (
    Against,
    Measured,
    collapsed_of,
    compared,
    failures_of,
    metrics_of,
    runs_of,
    values_of,
)

Mark = Literal["measured", "not run", "failed", "not possible", "published only"]


@dataclass(frozen=True, kw_only=True)
class Ours:
    """What our runs come to in a cell."""

    mark: Mark
    unit: Unit | None = None  # what `n` counts
    n: int = 0  # pretrainings or trainings, see `differences`
    runs: int = 0  # finished
    pretrainings: int = 0  # that these stand on
    failed: int = 0
    collapsed: int = 0  # finished runs with nearly all images in one cluster
    mean: float | None = None
    sd: float | None = None  # over the n; None for n < 2
    sd_within: float | None = None  # over seeds on one pretraining; None where none has two
    low: float | None = None  # 95 % t interval of the mean; None for n < 2
    high: float | None = None
    reason: str | None = None  # why nothing was measured


@dataclass(frozen=True, kw_only=True)
class Cell:
    """A line of `results.cells`. After `dataset` it has a column for each evaluation."""

    suite: str
    section: str  # block of the published table
    variant: str
    dataset: str
    against: Against | None  # what runs are compared with; the evaluation's column says it
    metric: str
    mark: Mark
    unit: Unit | None  # what `n` counts; None where nothing was measured
    n: int  # pretrainings or trainings, see `differences`
    runs: int  # finished
    pretrainings: int  # that these stand on
    failed: int
    collapsed: int  # finished runs with nearly all images in one cluster
    mean: float | None
    sd: float | None  # over the n; None for n < 2
    sd_within: float | None  # over seeds on one pretraining; None where none has two
    low: float | None  # 95 % t interval of the mean; None for n < 2
    high: float | None
    published: float | None  # in the units of `mean`
    published_sd: float | None
    printed: str | None  # as the paper prints it
    statistic: str | None  # mean, single or delta: what the published value is
    difference: float | None  # mean - published
    protocol_match: bool | None  # same images, same settings; None where nothing is compared
    flag: str | None  # why the published value is doubted
    reason: str | None  # why nothing was measured, or why protocols differ


#: Columns of `results.cells`.
CELLS = with_evaluations(Cell)


def cells(suite: Measured) -> pl.DataFrame:
    """`cells_of` as a table with the columns `CELLS`."""
    lines = [as_row(cell, cell.against) for cell in cells_of(suite)]
    return pl.DataFrame(lines, schema=CELLS, orient="row")


def cells_of(suite: Measured) -> list[Cell]:
    """All cells, in the row and column order of the published table."""
    definition = suite.current.suite
    table: list[Cell] = []
    for dataset in suite.current.datasets:
        paper = printed(definition, dataset)
        found = (
            _cell(suite, paper, line, dataset, against, metric)
            for line in paper.lines(definition)
            for against in compared(definition)
            for metric in metrics_of(definition, against)
        )
        table += [cell for cell in found if cell is not None]
    return table


class Counted(Protocol):
    """What a cell was measured over."""

    @property
    def unit(self) -> Unit | None: ...

    @property
    def n(self) -> int: ...

    @property
    def pretrainings(self) -> int: ...

    @property
    def runs(self) -> int: ...


def replications(table: Iterable[Counted]) -> list[str]:
    """What the cells of a table were measured over, in words, each once: "5 to 8 pretrainings"."""
    numbers: dict[str, dict[int, str]] = {}  # what is counted -> how many -> in words
    for cell in table:
        if cell.unit is not None:
            words = replication(cell.unit, cell.n, cell.pretrainings, cell.runs)
            words += ", conditional on it" * (cell.unit == "training" and cell.pretrainings > 0)
            first, _, rest = words.partition(" ")
            one = re.sub(r"s\b", "", rest)  # "1 pretraining", "2 pretrainings": of a kind
            numbers.setdefault(one, {})[int(first)] = words
    return [
        words[max(words)] if len(words) == 1 else f"{min(words)} to {words[max(words)]}"
        for words in numbers.values()
    ]


def _cell(
    suite: Measured,
    paper: PrintedTable,
    line: Line,
    dataset: str,
    against: Against | None,
    metric: str,
) -> Cell | None:
    """A cell; None where there is neither a row of ours nor a printed number."""
    theirs = paper.cell(line.printed, metric, against.thing if against else "")
    if line.ours is None and theirs is None:
        return None
    ours = _ours(suite, line.ours, dataset, against, metric)
    why, difference = "", None
    if line.ours is not None and theirs is not None and ours.mean is not None:
        why = mismatch(suite, line.ours, dataset, theirs)
        difference = ours.mean - theirs.value
    name = line.ours.name if line.ours is not None else line.printed.label if line.printed else ""
    return Cell(
        suite=suite.current.suite.name,
        section=line.section,
        variant=name,
        dataset=dataset,
        against=against,
        metric=metric,
        mark=ours.mark,
        unit=ours.unit,
        n=ours.n,
        runs=ours.runs,
        pretrainings=ours.pretrainings,
        failed=ours.failed,
        collapsed=ours.collapsed,
        mean=ours.mean,
        sd=ours.sd,
        sd_within=ours.sd_within,
        low=ours.low,
        high=ours.high,
        published=None if theirs is None else theirs.value,
        published_sd=None if theirs is None else theirs.std,
        printed=None if theirs is None else theirs.printed,
        statistic=None if theirs is None else theirs.statistic,
        difference=difference,
        protocol_match=None if difference is None else not why,
        flag=None if theirs is None else theirs.flag or None,
        reason=why or ours.reason,
    )


def _ours(
    suite: Measured, row: Row | None, dataset: str, against: Against | None, metric: str
) -> Ours:
    if row is None or (row.columns and metric not in row.columns):
        return Ours(mark="published only")
    values = values_of(suite, row, dataset, metric, against)
    reasons = failures_of(suite, row, dataset)
    if values:
        found = mean_of(values)
        low, high = found.interval or (None, None)
        return Ours(
            mark="measured",
            unit=found.unit,
            n=found.n,
            runs=len(values),
            pretrainings=len({key.pretraining for key in values} - {None}),
            failed=len(reasons),
            collapsed=collapsed_of(suite, row, dataset),
            mean=found.mean,
            sd=found.sd,
            sd_within=found.sd_within,
            low=low,
            high=high,
        )
    impossible = suite.current.impossible.get((row.name, dataset))
    if impossible and not runs_of(suite, row, dataset):
        return Ours(mark="not possible", reason=impossible)
    if reasons:
        return Ours(mark="failed", failed=len(reasons), reason=reasons[0])
    return Ours(mark="not run")


def mismatch(suite: Measured, row: Row, dataset: str, theirs: PublishedCell) -> str:
    """Why a published value was got under other conditions than ours, or ""."""
    if suite.current.suite.mismatch:
        return suite.current.suite.mismatch
    if theirs.with_labels:
        return "the published value was chosen with labels"
    if theirs.protocol is None:
        return "the images that the paper scores are not stated"
    runs = [run.run_id for run in runs_of(suite, row, dataset)]
    protocols = {suite.rows[run]["protocol"] for run in runs if run in suite.rows}
    if protocols - {theirs.protocol}:
        ours = ", ".join(sorted(protocols))
        return f"the paper scores by the protocol {theirs.protocol}, these runs by {ours}"
    return ""
