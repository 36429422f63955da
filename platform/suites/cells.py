"""What a suite measured, cell by cell beside the published values, and what its claims come to.

A cell is a row of the suite's table on one data set and metric. Its mean is over finished runs; a
failed run is counted and is never a number.
"""

import statistics
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import polars as pl

from deep_clustering.ablations import _names, _published
from deep_clustering.ablations._suite import Claim, Row, Suite
from deep_clustering.platform.errors import InputError, nearest
from deep_clustering.platform.evaluation import contract
from deep_clustering.platform.metrics.registry import METRICS
from deep_clustering.platform.store.store import Store
from deep_clustering.platform.suites import differences, plans, verdicts

#: Name of an evaluation, and what a run is compared with there; None: the run by itself.
Against = tuple[str, str] | None


def _labels() -> dict[str, Any]:
    """A column for each evaluation: what the run is compared with."""
    return {contract.find(n).label: pl.String for n in contract.names()}


#: Columns of `results.cells`.
CELLS: dict[str, Any] = {
    "suite": pl.String,
    "section": pl.String,  # block of the published table
    "variant": pl.String,
    "dataset": pl.String,
    **_labels(),
    "metric": pl.String,
    "mark": pl.String,  # measured, not run, failed, not possible, published only
    "n": pl.Int32,  # finished runs
    "failed": pl.Int32,
    "mean": pl.Float64,
    "sd": pl.Float64,  # over seeds; null for n < 2
    "low": pl.Float64,  # 95 % t interval of the mean; null for n < 2
    "high": pl.Float64,
    "published": pl.Float64,  # in the units of `mean`
    "published_sd": pl.Float64,
    "printed": pl.String,  # as the paper prints it
    "statistic": pl.String,  # mean, single or delta: what the published value is
    "difference": pl.Float64,  # mean - published
    "protocol_match": pl.Boolean,  # same images, same settings; null where nothing is compared
    "flag": pl.String,  # why the published value is doubted
    "reason": pl.String,  # why nothing was measured, or why protocols differ
}

#: Columns of `results.verdicts`.
VERDICTS: dict[str, Any] = {
    "suite": pl.String,
    "variant": pl.String,
    "against": pl.String,
    "dataset": pl.String,
    "metric": pl.String,
    "direction": pl.String,
    "verdict": pl.String,
    "reason": pl.String,
    "n": pl.Int32,
    "paired": pl.Boolean,
    "correlation": pl.Float64,  # of paired values over seeds
    "difference": pl.Float64,
    "low": pl.Float64,  # 95 % interval of the difference
    "high": pl.Float64,
    "published": pl.Float64,
    "margin": pl.Float64,
    "effect": pl.Float64,  # difference / pooled sd
    "improvement": pl.Float64,  # probability that a run of `variant` exceeds one of `against`
    "p": pl.Float64,
    "adjusted": pl.Float64,  # by Holm, over the suite's claims of this metric
    "sign_flip": pl.Float64,  # exact two-sided p, from n = 6
    "further_seeds": pl.Int32,
}


@dataclass(frozen=True, kw_only=True)
class Measured:
    """A suite's plan with the rows of its runs."""

    store: Store
    current: plans.Current
    rows: Mapping[str, Mapping[str, Any]]  # run id -> row, whatever its status
    evaluated: Mapping[tuple[str, Against], Mapping[str, Any]]  # (run id, ...) -> its evaluation


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
    wanted = list(current.run_ids)
    rows = store.rows("runs").filter(pl.col("run_id").is_in(wanted))
    evaluated: dict[tuple[str, Against], Mapping[str, Any]] = {}
    for evaluation in current.suite.evaluations:
        record = contract.find(evaluation)
        stages = store.rows("stages")
        if record.run in stages.columns:
            mine = stages.filter(pl.col("kind") == evaluation, pl.col(record.run).is_in(wanted))
            for row in mine.iter_rows(named=True):
                evaluated[row[record.run], (evaluation, row[record.label])] = row
    return Measured(
        store=store,
        current=current,
        rows={row["run_id"]: row for row in rows.iter_rows(named=True)},
        evaluated=evaluated,
    )


def cells(found: Measured) -> pl.DataFrame:
    """The table of cells, in the row and column order of the published table."""
    suite = found.current.suite
    lines = []
    for dataset in found.current.datasets:
        printed = _printed(suite, dataset)
        for section, row, key in _order(suite, printed):
            for against in compared(suite):
                for metric in suite.metrics:
                    thing = against[1] if against else ""
                    cell = printed.get((*key, thing, metric)) if key else None
                    if row is None and cell is None:
                        continue
                    lines.append(
                        {"suite": suite.name, "section": section, "dataset": dataset}
                        | (_label(against) | {"metric": metric})
                        | _values(found, row, dataset, against, metric)
                        | (
                            {"variant": ", ".join(filter(None, key[1:]))}
                            if row is None and key
                            else {}
                        )
                        | _comparison(found, row, dataset, against, metric, cell)
                    )
    return pl.DataFrame(lines, schema=CELLS, orient="row")


def compared(suite: Suite) -> list[Against]:
    """What the runs of a suite are compared with, or that they stand by themselves."""
    things = [(name, thing) for name, all in suite.evaluations.items() for thing in all]
    return [*things] or [None]


def _label(against: Against) -> dict[str, str]:
    """The column that says what a cell is compared with."""
    return {} if against is None else {contract.find(against[0]).label: against[1]}


def judged(found: Measured) -> pl.DataFrame:
    """The verdict on every claim, on every data set that was asked for."""
    suite = found.current.suite
    asked = [
        (claim, dataset)
        for claim in suite.claims
        for dataset in found.current.datasets
        if not claim.datasets or dataset in claim.datasets
    ]
    questions = [_question(found, claim, dataset) for claim, dataset in asked]
    lines = []
    for (claim, dataset), question, verdict in zip(
        asked, questions, verdicts.judge(questions), strict=True
    ):
        d = verdict.difference
        lines.append(
            {
                "suite": suite.name,
                "variant": claim.row,
                "against": claim.against,
                "dataset": dataset,
                "metric": claim.metric,
                "direction": claim.direction,
                "verdict": verdict.name,
                "reason": verdict.reason,
                "n": min(len(question.arm), len(question.baseline)) if d is None else d.n,
                "paired": None if d is None else d.paired,
                "correlation": None if d is None else d.correlation,
                "difference": None if d is None else d.delta,
                "low": None if d is None else d.interval[0],
                "high": None if d is None else d.interval[1],
                "published": question.published,
                "margin": question.margin,
                "effect": None if d is None else d.effect,
                "improvement": None if d is None else d.improvement,
                "p": verdict.p,
                "adjusted": verdict.adjusted,
                "sign_flip": None if d is None else d.sign_flip,
                "further_seeds": verdict.further_seeds,
            }
        )
    return pl.DataFrame(lines, schema=VERDICTS, orient="row")


def margin(claim: Claim, published: float | None) -> float:
    """The margin of a claim on one data set; see `Claim.margin`."""
    return max(claim.margin, abs(published or 0.0) / 2)


def published_difference(suite: Suite, claim: Claim, dataset: str) -> float | None:
    """The difference that the paper prints between the two rows of a claim."""
    printed = _printed(suite, dataset)
    by_name = {row.name: _key(row, printed) for row in suite.rows}
    pair = []
    for name in (claim.row, claim.against):
        key = by_name[name]
        cell = printed.get((*key, "", claim.metric)) if key else None
        if cell is None:
            return None
        pair.append(cell.value)
    return float(pair[0] - pair[1])


def spread(store: Store, suite: Suite, claim: Claim, dataset: str) -> float | None:
    """Seed-to-seed standard deviation of the two rows of a claim, pooled; None where unknown.

    Of each row: that of our runs from three on, else the one printed beside its value, else the one
    that the paper prints of its full method anywhere.
    """
    found = measured(store, suite.name) if suite.name in store.plans("suite") else None
    by_name = {row.name: row for row in suite.rows}
    squares = []
    for name in (claim.row, claim.against):
        row, own = by_name[name], []
        if found is not None:
            own = list(values_of(found, row, dataset, claim.metric).values())
        sd = (
            statistics.stdev(own)
            if len(own) > 2
            else _printed_sd(suite, row, dataset, claim.metric)
        )
        if sd is None:
            return None
        squares.append(sd**2)
    return float(statistics.fmean(squares) ** 0.5)


def _printed_sd(suite: Suite, row: Row, dataset: str, metric: str) -> float | None:
    if suite.table is None:
        return None
    printed = _printed(suite, dataset)
    key = _key(row, printed)
    cell = printed.get((*key, "", metric)) if key else None
    if cell is not None and cell.std is not None:
        return cell.std
    for other in _published.cells(suite.table[0]):
        full = _names.is_full_method(other, suite.method)
        if full and (other.dataset, other.metric) == (dataset, metric) and other.std is not None:
            return other.std
    return None


# ---- values of one row


def _runs(measured: Measured, row: Row, dataset: str) -> list[str]:
    """The runs of a row on a data set, finished or not."""
    runs = measured.current.runs
    return [run.run_id for run in runs if (run.variant, run.dataset) == (row.name, dataset)]


def values_of(
    found: Measured, row: Row, dataset: str, metric: str, against: Against = None
) -> dict[Any, float]:
    """(pretraining, seed) -> value of a metric, over the finished runs of a row."""
    values: dict[Any, float] = {}
    if row.columns and metric not in row.columns:
        return values
    for run in _runs(found, row, dataset):
        whole = found.rows.get(run)
        if whole is None or whole["status"] != "ok":
            continue
        source: Mapping[str, Any] | None = whole
        column, factor = row.columns.get(metric, metric), 1.0
        if against is not None:
            source = found.evaluated.get((run, against))
            column = contract.find(against[0]).metrics[metric]
            column = f"{row.head}_{column}" if row.head else column
        elif column in METRICS and (made_of := METRICS[column].source):
            column, factor = made_of.column, made_of.factor
        elif row.head and f"{row.head}_{column}" in whole:
            column = f"{row.head}_{column}"
        value = None if source is None else source.get(column)
        if value is not None:
            values[(whole["stage_id"], whole["seed"])] = float(value) * factor
    return values


def _failed(found: Measured, row: Row, dataset: str) -> list[str]:
    """Reasons of the runs without a result."""
    rows = [found.rows.get(run) for run in _runs(found, row, dataset)]
    return [str(r["reason"]) for r in rows if r is not None and r["status"] == "failed"]


def _values(
    found: Measured, row: Row | None, dataset: str, against: Against, metric: str
) -> dict[str, Any]:
    if row is None:
        return {"mark": "published only", "n": 0, "failed": 0}
    if row.columns and metric not in row.columns:
        return {"variant": row.name, "mark": "published only", "n": 0, "failed": 0}
    impossible = found.current.impossible.get((row.name, dataset))
    runs = _runs(found, row, dataset)
    values = list(values_of(found, row, dataset, metric, against).values())
    lost = _failed(found, row, dataset)
    line: dict[str, Any] = {"variant": row.name, "n": len(values), "failed": len(lost)}
    if values:
        bounds = differences.interval(values) or (None, None)
        line |= {
            "mark": "measured",
            "mean": statistics.fmean(values),
            "sd": statistics.stdev(values) if len(values) > 1 else None,
            "low": bounds[0],
            "high": bounds[1],
        }
    elif impossible and not runs:
        line |= {"mark": "not possible", "reason": impossible}
    elif lost:
        line |= {"mark": "failed", "reason": lost[0]}
    else:
        line |= {"mark": "not run"}
    return line


# ---- published values


def _printed(suite: Suite, dataset: str) -> dict[tuple[str, ...], _published.PublishedCell]:
    """(section, method, setting, compared with, metric) -> published cell, in printed order."""
    if suite.table is None:
        return {}
    found: dict[tuple[str, ...], _published.PublishedCell] = {}
    table = _published.cells(*suite.table)
    only = all(cell.statistic == "delta" for cell in table)  # else they repeat what is printed
    for cell in table:
        if cell.dataset == dataset and (only or cell.statistic != "delta"):
            key = (cell.section, cell.method, cell.setting, cell.ood_dataset, cell.metric)
            found.setdefault(key, cell)
    return found


def _key(row: Row, printed: Iterable[tuple[str, ...]]) -> tuple[str, str, str] | None:
    """The printed row that a row of the suite answers to."""
    if row.printed is None:
        return None
    size = len(row.printed)
    for key in printed:
        if key[:size] == row.printed:
            return key[0], key[1], key[2]
    return None


def _order(
    suite: Suite, printed: Mapping[tuple[str, ...], Any]
) -> Iterator[tuple[str, Row | None, tuple[str, str, str] | None]]:
    """(section, row or None, printed row or None): printed rows as printed, then the others."""
    ours = {_key(row, printed): row for row in suite.rows if _key(row, printed)}
    for key in dict.fromkeys((k[0], k[1], k[2]) for k in printed):
        if any(k[:3] == key and k[4] in suite.metrics for k in printed):
            yield key[0], ours.get(key), key
    for row in suite.rows:
        if _key(row, printed) is None:
            yield "", row, None


def _comparison(
    found: Measured, row: Row | None, dataset: str, against: Against, metric: str, cell: Any
) -> dict[str, Any]:
    if cell is None:
        return {}
    line: dict[str, Any] = {
        "published": cell.value,
        "published_sd": cell.std,
        "printed": cell.printed,
        "statistic": cell.statistic,
        "flag": cell.flag or None,
    }
    if row is None:
        return line
    why = _mismatch(found, row, dataset, cell)
    values = values_of(found, row, dataset, metric, against)
    if values:
        line |= {"difference": statistics.fmean(values.values()) - cell.value}
        line |= {"protocol_match": not why}
        line |= {"reason": why} if why else {}
    return line


def _mismatch(found: Measured, row: Row, dataset: str, cell: Any) -> str:
    """Why a published value was got under other conditions than ours, or ""."""
    suite = found.current.suite
    if suite.mismatch:
        return suite.mismatch
    if cell.with_labels:
        return "the published value was chosen with labels"
    protocols = {
        found.rows[run]["protocol"] for run in _runs(found, row, dataset) if run in found.rows
    }
    if cell.protocol is None:
        return "the images that the paper scores are not stated"
    if protocols - {cell.protocol}:
        ours = ", ".join(sorted(protocols))
        return f"the paper scores by the protocol {cell.protocol}, these runs by {ours}"
    return ""


def _question(found: Measured, claim: Claim, dataset: str) -> verdicts.Question:
    suite = found.current.suite
    by_name = {row.name: row for row in suite.rows}
    row, against = by_name[claim.row], by_name[claim.against]
    published = published_difference(suite, claim, dataset)
    reason = None
    printed = _printed(suite, dataset)
    for side in (row, against):
        if (side.name, dataset) in found.current.impossible:
            reason = f"{side.name} is not possible on {dataset}"
        key = _key(side, printed)
        cell = printed.get((*key, "", claim.metric)) if key else None
        if published is not None and cell is not None:
            why = _mismatch(found, side, dataset, cell)
            reason = reason or (f"protocol mismatch: {why}" if why else None)
    failed = len(_failed(found, row, dataset)) + len(_failed(found, against, dataset))
    return verdicts.Question(
        metric=claim.metric,
        direction=claim.direction,
        margin=margin(claim, published),
        arm=values_of(found, row, dataset, claim.metric),
        baseline=values_of(found, against, dataset, claim.metric),
        published=published,
        failed=failed,
        untestable=reason,
    )
