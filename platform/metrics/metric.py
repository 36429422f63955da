"""The record that says what a metric is called, means and how it is shown."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class Unit:
    """How values are shown.

    Attributes:
        factor: what a value is multiplied with.
        decimals: that are shown.
        suffix: behind the name of the metric in a heading, such as " %".
    """

    factor: float
    decimals: int
    suffix: str


PLAIN = Unit(factor=1, decimals=3, suffix="")
PERCENT = Unit(factor=100, decimals=1, suffix=" %")


@dataclass(frozen=True, kw_only=True)
class Source:
    """The column of `runs` that a metric is made of, and what its values are multiplied with."""

    column: str
    factor: float


@dataclass(frozen=True, kw_only=True)
class Metric:
    """One metric; a record stands beside the function that computes it.

    Attributes:
        name: as in the columns of results and after `--objective`.
        title: as in reports.
        meaning: what it is, in plain sentences, for the glossary of a report.
        summary: what it is, in one line, for lists.
        column: what the README says of its column in `runs`; None where it is no column that
            every row of `runs` has.
        whole: whether values are whole numbers.
        rank: its place in every list; the smallest comes first.
        unit: how values are shown.
        low, high: ends of its range; None where there is none.
        better: which end is the better one; None where neither is.
        worst: stands for a value that does not exist: diverged, undefined, or guarded.
        objective: whether a search may optimise it.
        unfit: why it is shown and not optimised, where one might want to: what worse partition has
            a better value.
        needs_labels: whether it is computed from labels.
        needs_probabilities: whether it is computed from probabilities; clusters are enough if not.
        floor: the metric that says which values cannot be told from the best one.
        every_epoch: whether it is computed after every epoch, and not only at the end.
        headline: whether a report shows it on top.
        short: head of its column in the live view; "": the name.
        view: its place among what the live view shows, the smallest first; None: only on request.
        source: where a table takes it from, if not from a column of its own name.
    """

    name: str
    title: str
    meaning: str
    summary: str
    rank: int
    column: str | None = None
    whole: bool = False
    unit: Unit = PLAIN
    low: float | None = 0.0
    high: float | None = 1.0
    better: Literal["max", "min"] | None = None
    worst: float | None = None
    objective: bool = False
    unfit: str = ""
    needs_labels: bool = False
    needs_probabilities: bool = False
    floor: str | None = None
    every_epoch: bool = False
    headline: bool = False
    short: str = ""
    view: int | None = None
    source: Source | None = None

    def __post_init__(self) -> None:
        if not self.short:
            object.__setattr__(self, "short", self.name)
        if self.objective and self.unfit:
            raise ValueError(f"{self.name} is an objective and unfit to be one")
        if self.objective and (self.better is None or self.worst is None):
            raise ValueError(f"the objective {self.name} needs `better` and `worst`")
