"""What the claims of a suite come to, on every data set."""

import dataclasses
import math
from dataclasses import dataclass

import polars as pl

from deep_clustering.ablations._published import RUNS
from deep_clustering.ablations._suite import Claim, Direction, Suite
from deep_clustering.platform.suites._columns import columns
from deep_clustering.platform.suites._printed import printed, printed_sd
from deep_clustering.platform.suites.cells import mismatch
from deep_clustering.platform.suites.differences import (
    Replicate,
    Unit,
    mean_of,
    shared_units,
)
from deep_clustering.platform.suites.measured import Measured, collapsed_of, failures_of, values_of
from deep_clustering.platform.suites.rule import Name
from deep_clustering.platform.suites.verdicts import Question, Verdict, judge


@dataclass(frozen=True, kw_only=True)
class JudgedClaim:
    """A line of `results.verdicts`: a claim on one data set, and what our runs say of it."""

    suite: str
    variant: str
    against: str
    dataset: str
    metric: str
    direction: Direction
    verdict: Name
    reason: str
    unit: Unit | None  # what `n` counts; None where nothing was compared
    n: int  # pretrainings or trainings that both rows have
    correlation: float | None  # of the rows over these
    difference: float | None
    low: float | None  # 95 % interval of the difference, valid at every look
    high: float | None
    at_least: float | None  # bounds that the verdict reads: for all claims of the suite at once
    at_most: float | None
    published: float | None
    published_error: float | None  # its standard error: printed, else of runs that spread as ours
    error_printed: bool  # whether the paper prints it
    margin: float
    effect: float | None  # difference / pooled sd
    improvement: float | None  # probability that a run of `variant` exceeds one of `against`
    p: float | None  # of what is claimed, valid at every look
    adjusted: float | None  # the same for all claims of the suite at once
    further_seeds: int | None  # that would settle it if all stayed as it is today
    fewest_seeds: int | None  # that could settle it at the most favourable difference left


#: Columns of `results.verdicts`.
VERDICTS = columns(JudgedClaim)


def judged(suite: Measured) -> pl.DataFrame:
    """`judgements` as a table with the columns `VERDICTS`."""
    lines = map(dataclasses.asdict, judgements(suite))
    return pl.DataFrame(list(lines), schema=VERDICTS, orient="row")


def judgements(suite: Measured) -> list[JudgedClaim]:
    """The verdict on every claim, on every data set that was asked for."""
    definition = suite.current.suite
    asked = [
        (claim, dataset)
        for claim in definition.claims
        for dataset in suite.current.datasets
        if not claim.datasets or dataset in claim.datasets
    ]
    questions = [_question(suite, claim, dataset) for claim, dataset in asked]
    return [
        _judged(
            definition.name, claim, dataset, question, verdict, _collapsed(suite, claim, dataset)
        )
        for (claim, dataset), question, verdict in zip(
            asked, questions, judge(questions), strict=True
        )
    ]


def _judged(
    suite: str, claim: Claim, dataset: str, question: Question, verdict: Verdict, collapsed: str
) -> JudgedClaim:
    d = verdict.difference
    return JudgedClaim(
        suite=suite,
        variant=claim.row,
        against=claim.against,
        dataset=dataset,
        metric=claim.metric,
        direction=claim.direction,
        verdict=verdict.name,
        reason=f"{verdict.reason}; {collapsed} collapsed" if collapsed else verdict.reason,
        unit=None if d is None else d.unit,
        n=shared_units(question.arm, question.baseline) if d is None else d.n,
        correlation=None if d is None else d.correlation,
        difference=None if d is None else d.delta,
        low=None if d is None else _finite(d.interval[0]),
        high=None if d is None else _finite(d.interval[1]),
        at_least=None if verdict.bounds is None else _finite(verdict.bounds[0]),
        at_most=None if verdict.bounds is None else _finite(verdict.bounds[1]),
        published=question.published,
        published_error=verdict.published_error,
        error_printed=question.published_error is not None,
        margin=question.margin,
        effect=None if d is None else d.effect,
        improvement=None if d is None else d.improvement,
        p=verdict.p,
        adjusted=verdict.adjusted,
        further_seeds=verdict.further_seeds,
        fewest_seeds=verdict.fewest_seeds,
    )


def _collapsed(suite: Measured, claim: Claim, dataset: str) -> str:
    """How many runs of each row of a claim collapsed, in words; "" where none did."""
    by_name = {row.name: row for row in suite.current.suite.rows}
    counts = {
        name: collapsed_of(suite, by_name[name], dataset) for name in (claim.row, claim.against)
    }
    return " and ".join(
        f"{count} run{'s' * (count > 1)} of {name}" for name, count in counts.items() if count
    )


def _finite(bound: float) -> float | None:
    """None for a side on which nothing is bounded yet."""
    return bound if math.isfinite(bound) else None


def margin(claim: Claim, published: float | None) -> float:
    """The margin of a claim on one data set; see `Claim.margin`."""
    return max(claim.margin, abs(published or 0.0) / 2)


def published_difference(suite: Suite, claim: Claim, dataset: str) -> float | None:
    """The difference that the paper prints between the two rows of a claim."""
    paper = printed(suite, dataset)
    by_name = {row.name: row for row in suite.rows}
    ours = paper.cell_of(by_name[claim.row], claim.metric)
    other = paper.cell_of(by_name[claim.against], claim.metric)
    if ours is not None and other is None and ours.statistic == "delta":
        return ours.value  # printed as the difference to what it starts from
    return None if ours is None or other is None else float(ours.value - other.value)


def published_error(suite: Suite, claim: Claim, dataset: str) -> float | None:
    """Standard error of `published_difference`, None where the paper prints no spread."""
    paper = printed(suite, dataset)
    by_name = {row.name: row for row in suite.rows}
    errors = []
    for row in (by_name[claim.row], by_name[claim.against]):
        cell = paper.cell_of(row, claim.metric)
        if cell is None or cell.std is None:
            return None
        errors.append(cell.std / math.sqrt(RUNS[cell.paper]))
    return math.hypot(*errors)


def spread(
    in_store: Measured | None, suite: Suite, claim: Claim, dataset: str
) -> tuple[float, float] | None:
    """Standard deviations of the two rows of a claim; None where one is not known.

    Of each row: that of our runs from three on, else the one printed beside its value, else the one
    that the paper prints of its full method anywhere.
    """
    by_name = {row.name: row for row in suite.rows}
    found = []
    for row in (by_name[claim.row], by_name[claim.against]):
        values: dict[Replicate, float] = {}
        if in_store is not None:
            values = values_of(in_store, row, dataset, claim.metric)
        ours = mean_of(values) if values else None
        sd = (
            ours.sd
            if ours is not None and ours.n > 2
            else printed_sd(suite, row, dataset, claim.metric)
        )
        if sd is None:
            return None
        found.append(sd)
    return found[0], found[1]


def _question(suite: Measured, claim: Claim, dataset: str) -> Question:
    definition = suite.current.suite
    by_name = {row.name: row for row in definition.rows}
    row, against = by_name[claim.row], by_name[claim.against]
    published = published_difference(definition, claim, dataset)
    reason = None
    paper = printed(definition, dataset)
    for side in (row, against):
        if (side.name, dataset) in suite.current.impossible:
            reason = f"{side.name} is not possible on {dataset}"
        cell = paper.cell_of(side, claim.metric)
        if published is not None and cell is not None:
            why = mismatch(suite, side, dataset, cell)
            reason = reason or (f"protocol mismatch: {why}" if why else None)
            if cell.flag and not claim.harmless:
                reason = reason or f"the published value of {side.name} is doubted: {cell.flag}"
    return Question(
        table=(claim.metric, dataset),
        direction=claim.direction,
        margin=margin(claim, published),
        arm=values_of(suite, row, dataset, claim.metric),
        baseline=values_of(suite, against, dataset, claim.metric),
        published=published,
        published_error=published_error(definition, claim, dataset),
        failed=len(failures_of(suite, row, dataset) + failures_of(suite, against, dataset)),
        untestable=reason,
    )
