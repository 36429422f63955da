"""Printed cells: which belong together, what they are worth, and how they are called in a sentence.

Arithmetic is in the paper's own units and exact: a number is the decimal that is printed.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import TypeVar

from deep_clustering.ablations._names import as_elsewhere, is_own, name, setting_in_name
from deep_clustering.ablations._published import PublishedCell
from deep_clustering.platform.metrics.registry import METRICS as OURS

T = TypeVar("T")
K = TypeVar("K")

#: Metrics of a run, in the order in which they are told.
METRICS = (
    "acc", "last_acc", "best_acc", "nmi", "ari", "ece",
    "auroc", "fpr95", "precision", "recall", "f1",
)  # fmt: skip

#: Those whose lower values are better.
LOWER = frozenset(m for m in METRICS if m in OURS and OURS[m].better == "min")


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What some printed numbers say about each other.

    Attributes:
        kind: one of `audit.KINDS`.
        sentence: with the numbers, as the paper prints them.
        cells: the numbers it is about.
    """

    kind: str
    sentence: str
    cells: tuple[PublishedCell, ...]


def is_run(cell: PublishedCell) -> bool:
    """Whether the cell is a metric of a run, not a difference, a cost or a count."""
    return cell.metric in METRICS and cell.statistic != "delta"


def quantities(
    given: Sequence[PublishedCell],
) -> dict[tuple[str, str, str], dict[str, list[PublishedCell]]]:
    """(method, data set, other data set) -> metric -> cells of the setting used throughout."""
    runs = [cell for cell in given if is_run(cell) and as_elsewhere(cell)]
    groups = grouped(runs, lambda cell: (name(cell), cell.dataset, cell.ood_dataset))
    ordered = {
        key: sorted(members, key=lambda cell: METRICS.index(cell.metric))
        for key, members in groups.items()
    }
    return {key: grouped(cells, lambda cell: cell.metric) for key, cells in ordered.items()}


def headlines(given: Sequence[PublishedCell]) -> dict[tuple[str, str, str], PublishedCell]:
    """(method, data set, metric) -> the first single value that the paper prints of it."""
    return {
        (method, dataset, metric): single
        for (method, dataset, ood), metrics in quantities(given).items()
        for metric, same in metrics.items()
        if not ood and (single := next((c for c in same if c.std is None), None)) is not None
    }


def with_mean(same: list[PublishedCell]) -> tuple[PublishedCell, PublishedCell] | None:
    """The first single run and the first mean with a spread, where both are printed."""
    single = next((cell for cell in same if cell.std is None), None)
    mean = next((cell for cell in same if cell.std), None)
    return None if single is None or mean is None else (single, mean)


def own_protocols(runs: list[PublishedCell]) -> dict[str, str]:
    """Data set -> protocol of the paper's own method."""
    protocols: dict[str, str] = {}
    for cell in runs:
        if cell.protocol is not None and is_own(cell):
            protocols.setdefault(cell.dataset, cell.protocol)
    return protocols


def first_own(runs: list[PublishedCell], dataset: str) -> PublishedCell:
    """The first number of the paper's own method on a data set."""
    return next(c for c in runs if c.dataset == dataset and is_own(c))


def grouped(items: Iterable[T], key: Callable[[T], K]) -> dict[K, list[T]]:
    """Items by key, both in the order in which they come."""
    groups: dict[K, list[T]] = {}
    for item in items:
        groups.setdefault(key(item), []).append(item)
    return groups


def value_of(cell: PublishedCell) -> Decimal:
    """The number in the paper's own units, exactly as printed."""
    return Decimal(cell.printed.partition("±")[0])


def std_of(cell: PublishedCell) -> Decimal:
    """The printed standard deviation; the cell has to have one."""
    return Decimal(cell.printed.partition("±")[2])


def unit_of(cell: PublishedCell) -> Decimal:
    """One unit of the last printed digit."""
    exponent = value_of(cell).as_tuple().exponent
    return Decimal(1).scaleb(int(exponent))


def differ(one: PublishedCell, other: PublishedCell) -> bool:
    """Whether two printed numbers cannot be roundings of one, 61.66 and 61.7 can.

    A mean and a single run are two numbers, and each may be half a unit off.
    """
    room = max(unit_of(one), unit_of(other)) / 2
    if (one.std is None) != (other.std is None):
        room *= 2
    return abs(value_of(one) - value_of(other)) > room


def same_digits(one: PublishedCell, other: PublishedCell) -> bool:
    """Whether two cells print the same, spread included."""
    return one.printed == other.printed


def number(cell: PublishedCell) -> tuple[int, str]:
    """What sorts tables: "table5a" behind "table4" and before "table10"."""
    digits = "".join(filter(str.isdigit, cell.table))
    return int(digits or 0), cell.table


# --- words ---------------------------------------------------------------------------------------


def in_table(cell: PublishedCell) -> str:
    return "table " + cell.table.removeprefix("table")


def opening(cell: PublishedCell) -> str:
    """What a sentence about one table begins with: "Table 5a"."""
    return in_table(cell).capitalize()


def in_tables(members: Iterable[PublishedCell]) -> str:
    """ "table 4", or "tables 1, 2 and 10"."""
    tables = dict.fromkeys(c.table.removeprefix("table") for c in sorted(members, key=number))
    return f"table{'s' if len(tables) > 1 else ''} {listed(tables)}"


def row_of(cell: PublishedCell) -> str:
    """The printed row, with its setting where the name does not tell it."""
    return cell.method if setting_in_name(cell) else f"{cell.method} {cell.setting}"


def column_of(cell: PublishedCell) -> str:
    """The data set, and in tables of unknown images the other one."""
    return cell.dataset + (f" against {cell.ood_dataset}" if cell.ood_dataset else "")


def methods_of(members: Iterable[PublishedCell]) -> str:
    return listed(dict.fromkeys(cell.method for cell in members))


def datasets_of(members: Iterable[PublishedCell]) -> str:
    return listed(dict.fromkeys(cell.dataset for cell in members))


def signed(value: Decimal) -> str:
    """+0.3, -0.1 or 0."""
    return f"{value:+}" if value else "0"


def listed(parts: Iterable[str]) -> str:
    """ "a, b and c"; at least one."""
    *rest, last = parts
    return f"{', '.join(rest)} and {last}" if rest else last


def where(cell: PublishedCell, paper: str) -> str:
    """A cell in a line: "table 1 · CDC-Cal · cifar20 · acc 61.7"; other papers are named."""
    other = "" if cell.paper == paper else f"{cell.paper} "
    parts = [other + in_table(cell), row_of(cell), column_of(cell), f"{cell.metric} {cell.printed}"]
    return " · ".join(part for part in parts if part)
