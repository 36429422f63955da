"""What the claims of a suite come to, on every data set."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

import polars as pl

from deep_clustering.ablations._published import RUNS, PublishedCell
from deep_clustering.ablations._suite import Claim, Direction, Suite
from deep_clustering.platform.suites._columns import as_row, with_evaluations
from deep_clustering.platform.suites._printed import printed, printed_sd
from deep_clustering.platform.suites.cells import mismatch
from deep_clustering.platform.suites.differences import (
    Replicate,
    Unit,
    mean_of,
    shared_units,
)
from deep_clustering.platform.suites.measured import (
    Against,
    Measured,
    collapsed_of,
    compared,
    failures_of,
    values_of,
)
from deep_clustering.platform.suites.rule import Name
from deep_clustering.platform.suites.verdicts import Question, Verdict, judge


@dataclass(frozen=True, kw_only=True)
class JudgedClaim:
    """A line of `results.verdicts`: a claim on one data set, and what our runs say of it.

    After `dataset` it has a column for each evaluation, as `cells.Cell` has.
    """

    suite: str
    variant: str
    against: str
    dataset: str
    compared: Against | None  # in which evaluation; its column says with what
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
VERDICTS = with_evaluations(JudgedClaim)


def judged(suite: Measured) -> pl.DataFrame:
    """`judgements` as a table with the columns `VERDICTS`."""
    lines = [as_row(one, one.compared) for one in judgements(suite)]
    return pl.DataFrame(lines, schema=VERDICTS, orient="row")


class AskedClaim(NamedTuple):
    """A claim where it is judged."""

    claim: Claim
    dataset: str
    compared: Against | None  # in which evaluation; None where runs stand by themselves

    @property
    def thing(self) -> str:
        """What runs are compared with, "" for nothing."""
        return self.compared.thing if self.compared else ""

    @property
    def where(self) -> str:
        """Data set, and what runs are compared with there."""
        return f"{self.dataset}, {self.thing}" if self.compared else self.dataset


def asked(suite: Suite, datasets: Iterable[str]) -> list[AskedClaim]:
    """The claims of a suite, each on every data set that it is about.

    A claim on a number of evaluations is judged for each of them, such as for every attack.
    """
    datasets = tuple(datasets)
    return [
        AskedClaim(claim, dataset, against)
        for claim in suite.claims
        for dataset in datasets
        if not claim.datasets or dataset in claim.datasets
        for against in compared(suite, claim.metric)
    ]


def judgements(suite: Measured) -> list[JudgedClaim]:
    """The verdict on every claim that is `asked` of a suite."""
    every = asked(suite.current.suite, suite.current.datasets)
    questions = [_question(suite, one) for one in every]
    return [
        _judged(suite, one, question, verdict)
        for one, question, verdict in zip(every, questions, judge(questions), strict=True)
    ]


def _judged(suite: Measured, one: AskedClaim, question: Question, verdict: Verdict) -> JudgedClaim:
    d, claim = verdict.difference, one.claim
    collapsed = _collapsed(suite, claim, one.dataset)
    return JudgedClaim(
        suite=suite.current.suite.name,
        variant=claim.row,
        against=claim.against,
        dataset=one.dataset,
        compared=one.compared,
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


def published_difference(suite: Suite, one: AskedClaim) -> float | None:
    """The difference that the paper prints between the two rows of a claim."""
    ours, other = _printed_cells(suite, one)
    if ours is not None and other is None and ours.statistic == "delta":
        return ours.value  # printed as the difference to what it starts from
    return None if ours is None or other is None else float(ours.value - other.value)


def published_error(suite: Suite, one: AskedClaim) -> float | None:
    """Standard error of `published_difference`, None where the paper prints no spread."""
    errors = []
    for cell in _printed_cells(suite, one):
        if cell is None or cell.std is None:
            return None
        errors.append(cell.std / math.sqrt(RUNS[cell.paper]))
    return math.hypot(*errors)


def _printed_cells(
    suite: Suite, one: AskedClaim
) -> tuple[PublishedCell | None, PublishedCell | None]:
    """What the paper prints for the two rows of a claim."""
    paper = printed(suite, one.dataset)
    by_name = {row.name: row for row in suite.rows}
    row, against = by_name[one.claim.row], by_name[one.claim.against]
    metric, thing = one.claim.metric, one.thing
    return paper.cell_of(row, metric, thing), paper.cell_of(against, metric, thing)


def spread(in_store: Measured | None, suite: Suite, one: AskedClaim) -> tuple[float, float] | None:
    """Standard deviations of the two rows of a claim; None where one is not known.

    Of each row: that of our runs from three on, else the one printed beside its value, else the one
    that the paper prints of its full method anywhere.
    """
    by_name = {row.name: row for row in suite.rows}
    metric, found = one.claim.metric, []
    for row in (by_name[one.claim.row], by_name[one.claim.against]):
        values: dict[Replicate, float] = {}
        if in_store is not None:
            values = values_of(in_store, row, one.dataset, metric, one.compared)
        ours = mean_of(values) if values else None
        sd = (
            ours.sd
            if ours is not None and ours.n > 2
            else printed_sd(suite, row, one.dataset, metric, one.thing)
        )
        if sd is None:
            return None
        found.append(sd)
    return found[0], found[1]


def _question(suite: Measured, one: AskedClaim) -> Question:
    definition = suite.current.suite
    claim, dataset, metric = one.claim, one.dataset, one.claim.metric
    by_name = {row.name: row for row in definition.rows}
    row, against = by_name[claim.row], by_name[claim.against]
    published = published_difference(definition, one)
    reason = None
    for side, cell in zip((row, against), _printed_cells(definition, one), strict=True):
        if (side.name, dataset) in suite.current.impossible:
            reason = f"{side.name} is not possible on {dataset}"
        if published is not None and cell is not None:
            why = mismatch(suite, side, dataset, cell)
            reason = reason or (f"protocol mismatch: {why}" if why else None)
            if cell.flag and not claim.harmless:
                reason = reason or f"the published value of {side.name} is doubted: {cell.flag}"
    return Question(
        table=(metric, dataset, one.thing),
        direction=claim.direction,
        margin=margin(claim, published),
        arm=values_of(suite, row, dataset, metric, one.compared),
        baseline=values_of(suite, against, dataset, metric, one.compared),
        published=published,
        published_error=published_error(definition, one),
        failed=len(failures_of(suite, row, dataset) + failures_of(suite, against, dataset)),
        untestable=reason,
    )
