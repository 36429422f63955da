"""Suites: which variants of a method run on which data sets, and what they are to show.

A suite is data and knows no data set's numbers: published values are found by the name of the
paper's table and of its printed row (`_published.py`).
"""

import itertools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from deep_clustering.ablations._variants import Times, unknown
from deep_clustering.methods._nearest import not_one_of

Direction = Literal["higher", "lower", "equal"]

#: What a seed draws anew: everything from the pretraining on, or the training on one pretraining.
Replicated = Literal["pretraining", "training"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """One row of a table: a configuration, and how its numbers are read.

    Attributes:
        name: what tables and the column `variant` call it.
        variants: names of the method's variants that it combines; none is the full method.
        changes: dotted field -> value or `Times`, over those.
        head: the head whose metrics count, None for the method's final one.
        columns: metric -> column of `runs` that holds it, for a row that is measured on the way of
            others; it has no other metrics. None is every metric under its own name.
        printed: (section, method) or (section, method, setting) of the published row.
        method: a registered name, None for the suite's.
        features: a method whose pretraining on the data set gives the points that a method which
            fits at once clusters; None is the data itself.
        base: a method whose runs, one a seed, this row's runs start from, perhaps with fields set
            behind it ("scan heads=2"); None is the suite's, for a method that starts from another
            run.
        of_pretraining: its numbers follow from the pretraining alone: runs on one pretraining are
            one measurement, however many seeds they have.
    """

    name: str
    variants: tuple[str, ...] = ()
    changes: Mapping[str, Any] = field(default_factory=dict)
    head: str | None = None
    columns: Mapping[str, str] = field(default_factory=dict)
    printed: tuple[str, ...] | None = None
    method: str | None = None
    features: str | None = None
    base: str | None = None
    of_pretraining: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Claim:
    """What a row is said to do against another; judged on each data set for itself.

    Attributes:
        row, against: names of rows.
        metric: such as "acc".
        direction: of the row against the other; "equal" claims that there is no effect.
        margin: the smallest difference worth telling, in the metric's units. A published difference
            counts as met within the larger of this and half its own size; one so small that the
            margin exceeds half of it cannot be told from none. So "met" means between a half and
            one and a half times the published difference, for every claim whose margin is not
            larger. Fixed before anything is run.
        datasets: where it is claimed; none is all data sets.
        harmless: why a doubt about its published values ("flag:") does not matter; "" where it
            may: such a claim has no verdict.
    """

    row: str
    against: str
    metric: str
    direction: Direction
    margin: float
    datasets: tuple[str, ...] = ()
    harmless: str = ""

    def __post_init__(self) -> None:
        if self.direction not in get_args(Direction):
            raise ValueError(f"direction: {not_one_of(self.direction, get_args(Direction))}")
        if not self.margin > 0:
            raise ValueError(f"margin: must be above 0, got {self.margin}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Suite:
    """A set of runs and the questions it answers.

    Attributes:
        name: such as "cdc-table2".
        title: one line.
        method: a registered name; a row may name another one.
        datasets: where it runs when none is named.
        rows: in the order of the table; empty where all of a published table needs methods that
            are not here.
        metrics: columns of its table.
        claims: fixed before it is run.
        table: (paper, table) whose values are put beside, None for a suite of one's own.
        protocol: which images are trained on and scored, None for the data set's own.
        protocols: the same for single data sets.
        preset: a reading of the method, such as "paper".
        seeds: per row.
        replicate: what each of them draws anew.
        evaluations: name of an evaluation of finished runs -> what each run is compared with there;
            the metrics of the table are then the evaluation's.
        base: a method whose runs the rows start from, where their method starts from another run.
        mismatch: why the published values are of another setting, "" where they are not.
        note: a sentence on how the table is to be read, or "".
    """

    name: str
    title: str
    method: str
    datasets: tuple[str, ...]
    rows: tuple[Row, ...]
    metrics: tuple[str, ...] = ("acc", "nmi", "ari", "ece")
    claims: tuple[Claim, ...] = ()
    table: tuple[str, str] | None = None
    protocol: str | None = None
    protocols: Mapping[str, str] = field(default_factory=dict)
    preset: str | None = None
    seeds: int = 5
    replicate: Replicated = "pretraining"
    evaluations: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    base: str | None = None
    mismatch: str = ""
    note: str = ""

    def __post_init__(self) -> None:
        known = [row.name for row in self.rows]
        wrong = [f"row '{name}': is there twice" for name in known if known.count(name) > 1]
        for claim in self.claims:
            wrong += [f"claim: {m}" for m in unknown((claim.row, claim.against), known, "row")]
            wrong += [f"claim: {m}" for m in unknown((claim.metric,), self.metrics, "metric")]
        if self.replicate not in get_args(Replicated):
            wrong.append(f"replicate: {not_one_of(self.replicate, get_args(Replicated))}")
        if self.seeds < 1:
            wrong.append(f"seeds: must be at least 1, got {self.seeds}")
        if not self.datasets:
            wrong.append("datasets: must name at least one")
        if wrong:
            raise ValueError(f"suite {self.name}: " + "\n".join(dict.fromkeys(wrong)))


def grid(**axes: Iterable[tuple[str, Mapping[str, Any]]]) -> tuple[tuple[str, dict[str, Any]], ...]:
    """All combinations of labelled overrides, the last axis running fastest.

    Args:
        axes: name -> (label, overrides) pairs.

    Returns:
        (label, overrides) pairs; a label is "axis=label" joined with ";", as published settings are
        written.
    """
    pairs = []
    for combination in itertools.product(*axes.values()):
        label = ";".join(f"{k}={part[0]}" for k, part in zip(axes, combination, strict=True))
        pairs.append((label, {k: v for part in combination for k, v in part[1].items()}))
    return tuple(pairs)


def axis(name: str, values: Mapping[str, Any]) -> tuple[tuple[str, dict[str, Any]], ...]:
    """(label, overrides) pairs of one field for `grid`."""
    return tuple((label, {name: value}) for label, value in values.items())


def against_full(
    full: str,
    rows: Iterable[str],
    *,
    acc: float | None = None,
    ece: float | None = None,
    **others: Any,
) -> tuple[Claim, ...]:
    """Claims that each row is worse than the full method: lower accuracy, higher ECE.

    Args:
        full: name of its row.
        rows: names of the others.
        acc: margin of the accuracy claims, None for none of them.
        ece: margin of the calibration claims.
        others: further fields of every claim.
    """
    margins = (("acc", "lower", acc), ("ece", "higher", ece))
    return tuple(
        Claim(row=row, against=full, metric=metric, direction=direction, margin=margin, **others)  # type: ignore[arg-type]
        for row in rows
        for metric, direction, margin in margins
        if margin is not None
    )


__all__ = ["Claim", "Row", "Suite", "Times", "against_full", "axis", "grid"]
