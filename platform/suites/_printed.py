"""The published table of a suite: which printed row answers to which row of ours."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from deep_clustering.ablations import _names, _published
from deep_clustering.ablations._published import PublishedCell
from deep_clustering.ablations._suite import Row, Suite


class PrintedRow(NamedTuple):
    """A row as the paper prints it."""

    section: str
    method: str
    setting: str

    @property
    def label(self) -> str:
        """What tables call it."""
        return ", ".join(filter(None, (self.method, self.setting)))


class _Place(NamedTuple):
    row: PrintedRow
    thing: str  # what is compared with, "" for nothing
    metric: str


class Line(NamedTuple):
    """A line of the table: a row of ours, a printed row, or both."""

    section: str
    ours: Row | None
    printed: PrintedRow | None


@dataclass(frozen=True, kw_only=True)
class PrintedTable:
    """What the paper prints in the table of a suite on one data set, in its order."""

    cells: Mapping[_Place, PublishedCell]

    def row_of(self, row: Row) -> PrintedRow | None:
        """The printed row that a row of the suite answers to."""
        if row.printed is None:
            return None
        size = len(row.printed)
        return next((p.row for p in self.cells if p.row[:size] == row.printed), None)

    def cell(self, row: PrintedRow | None, metric: str, thing: str = "") -> PublishedCell | None:
        """A printed number, None where there is none."""
        if row is None:
            return None
        # An evaluation that compares with nothing, such as of a clean set, is printed without it.
        plain = self.cells.get(_Place(row, "", metric))
        return self.cells.get(_Place(row, thing, metric), plain)

    def cell_of(self, row: Row, metric: str, thing: str = "") -> PublishedCell | None:
        """The printed number of a row of the suite."""
        return self.cell(self.row_of(row), metric, thing)

    def lines(self, suite: Suite) -> Iterator[Line]:
        """Printed rows as printed, then the others of the suite."""
        ours = {self.row_of(row): row for row in suite.rows}
        shown = [p.row for p in self.cells if p.metric in suite.metrics]
        for printed in dict.fromkeys(place.row for place in self.cells):
            if printed in shown:
                yield Line(printed.section, ours.get(printed), printed)
        for row in suite.rows:
            if self.row_of(row) is None:
                yield Line("", row, None)


def printed(suite: Suite, dataset: str) -> PrintedTable:
    """The published table of a suite; without cells where it has none."""
    cells: dict[_Place, PublishedCell] = {}
    if suite.table is not None:
        table = _published.cells(*suite.table)
        only = all(cell.statistic == "delta" for cell in table)  # else they repeat what is printed
        for cell in table:
            if cell.dataset == dataset and (only or cell.statistic != "delta"):
                row = PrintedRow(cell.section, cell.method, cell.setting)
                cells.setdefault(_Place(row, cell.ood_dataset, cell.metric), cell)
    return PrintedTable(cells=cells)


def printed_sd(suite: Suite, row: Row, dataset: str, metric: str, thing: str = "") -> float | None:
    """The printed standard deviation of a row, else that of the full method anywhere."""
    if suite.table is None:
        return None
    cell = printed(suite, dataset).cell_of(row, metric, thing)
    if cell is not None and cell.std is not None:
        return cell.std
    for other in _published.cells(suite.table[0]):
        full = _names.is_full_method(other, suite.method)
        same = (other.dataset, other.metric) == (dataset, metric)
        same = same and other.ood_dataset in (thing, "")
        if full and same and other.std is not None:
            return other.std
    return None
