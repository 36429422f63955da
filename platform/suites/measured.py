"""What a store has of a suite: its plan with the rows of its runs and of their evaluations."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import polars as pl

from deep_clustering.ablations._suite import Row, Suite
from deep_clustering.platform.errors import InputError, nearest
from deep_clustering.platform.evaluation import contract, measures
from deep_clustering.platform.metrics.registry import METRICS
from deep_clustering.platform.store.store import Store
from deep_clustering.platform.suites import plans
from deep_clustering.platform.suites.differences import Replicate


class Against(NamedTuple):
    """What runs are compared with in an evaluation."""

    evaluation: str  # its name
    thing: str  # such as a data set


#: A row of a table of the store, column -> value.
Columns = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Measured:
    """A suite with what the store has of its runs.

    Attributes:
        rows: run -> its row, whatever its status.
        evaluated: run and what it is compared with -> the row of the evaluation.
    """

    store: Store
    current: plans.Current
    rows: Mapping[str, Columns]
    evaluated: Mapping[tuple[str, Against], Columns]


def measured(store: Store, name: str) -> Measured:
    """Read a suite.

    Raises:
        InputError: no such suite in the store.
    """
    known = store.plans("suite")
    if name not in known:
        listed = f" Known: {', '.join(known)}." if known else " It has none."
        raise InputError(
            f"there is no suite '{name}' in {store.uri}.{nearest(name, known)}{listed}"
        )
    current = plans.current(store.read_plan("suite", name))
    run_ids = list(current.run_ids)
    rows = store.rows("runs").filter(pl.col("run_id").is_in(run_ids))
    evaluated: dict[tuple[str, Against], Columns] = {}
    for evaluation in current.suite.evaluations:
        record = contract.find(evaluation)
        stages = store.rows("stages")
        if record.run in stages.columns:
            of_suite = stages.filter(
                pl.col("kind") == evaluation, pl.col(record.run).is_in(run_ids)
            )
            for row in of_suite.iter_rows(named=True):
                evaluated[row[record.run], Against(evaluation, row[record.label])] = row
    return Measured(
        store=store,
        current=current,
        rows={row["run_id"]: row for row in rows.iter_rows(named=True)},
        evaluated=evaluated,
    )


def compared(suite: Suite, metric: str | None = None) -> list[Against | None]:
    """What the runs of a suite are compared with; None stands for the runs by themselves.

    Args:
        metric: one of the suite's: the evaluations that it is a number of, or None where it is one
            of the runs. None is all metrics of the suite.
    """
    if metric is None:
        found = [against for each in suite.metrics for against in compared(suite, each)]
        return sorted(dict.fromkeys(found), key=_places(suite).index)
    things = [
        against
        for against in _places(suite)
        if against is not None and metric in contract.find(against.evaluation).metrics
    ]
    return [*things] or [None]


def metrics_of(suite: Suite, against: Against | None) -> tuple[str, ...]:
    """The metrics of a suite that are numbers of an evaluation, or of the runs by themselves."""
    return tuple(metric for metric in suite.metrics if against in compared(suite, metric))


def _places(suite: Suite) -> list[Against | None]:
    things = [Against(name, thing) for name, all in suite.evaluations.items() for thing in all]
    return [None, *things]


def runs_of(suite: Measured, row: Row, dataset: str) -> list[plans.SuiteRun]:
    """The runs of a row on a data set, finished or not."""
    runs = suite.current.runs
    return [run for run in runs if (run.variant, run.dataset) == (row.name, dataset)]


def values_of(
    suite: Measured, row: Row, dataset: str, metric: str, against: Against | None = None
) -> dict[Replicate, float]:
    """Value of a metric in each finished run of a row."""
    values: dict[Replicate, float] = {}
    if row.columns and metric not in row.columns:
        return values
    for planned in runs_of(suite, row, dataset):
        run = planned.run_id
        whole = suite.rows.get(run)
        if whole is None or whole["status"] != "ok":
            continue
        source: Columns | None = whole
        column, factor = row.columns.get(metric, metric), 1.0
        if against is not None:
            source = suite.evaluated.get((run, against))
            column = contract.find(against.evaluation).metrics[metric]
            column = measures.column(row.head, column)
        elif column in METRICS and (made_of := METRICS[column].source):
            column, factor = made_of.column, made_of.factor
        elif row.head and f"{row.head}_{column}" in whole:
            column = f"{row.head}_{column}"
        value = None if source is None else source.get(column)
        if value is not None:
            seed = None if row.of_pretraining else planned.seed
            values.setdefault(Replicate(planned.pretraining, seed), float(value) * factor)
    return values


def collapsed_of(suite: Measured, row: Row, dataset: str) -> int:
    """How many finished runs of a row have nearly all images in one cluster."""
    rows = [suite.rows.get(run.run_id) for run in runs_of(suite, row, dataset)]
    return sum(r is not None and r["status"] == "ok" and bool(r.get("collapsed")) for r in rows)


def failures_of(suite: Measured, row: Row, dataset: str) -> list[str]:
    """Reasons of the runs of a row without a result."""
    rows = [suite.rows.get(run.run_id) for run in runs_of(suite, row, dataset)]
    return [str(r["reason"]) for r in rows if r is not None and r["status"] == "failed"]
