"""What the claims of a suite come to, on every data set."""

import dataclasses
import statistics
from dataclasses import dataclass

import polars as pl

from deep_clustering.ablations._suite import Claim, Direction, Suite
from deep_clustering.platform.store.store import Store
from deep_clustering.platform.suites._columns import columns
from deep_clustering.platform.suites._printed import printed, printed_sd
from deep_clustering.platform.suites.cells import mismatch
from deep_clustering.platform.suites.measured import Measured, failures_of, measured, values_of
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
    n: int
    paired: bool | None
    correlation: float | None  # of paired values over seeds
    difference: float | None
    low: float | None  # 95 % interval of the difference
    high: float | None
    published: float | None
    margin: float
    effect: float | None  # difference / pooled sd
    improvement: float | None  # probability that a run of `variant` exceeds one of `against`
    p: float | None
    adjusted: float | None  # by Holm, over the suite's claims of this metric
    sign_flip: float | None  # exact two-sided p, from n = 6
    further_seeds: int | None


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
        _judged(definition.name, claim, dataset, question, verdict)
        for (claim, dataset), question, verdict in zip(
            asked, questions, judge(questions), strict=True
        )
    ]


def _judged(
    suite: str, claim: Claim, dataset: str, question: Question, verdict: Verdict
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
        reason=verdict.reason,
        n=min(len(question.arm), len(question.baseline)) if d is None else d.n,
        paired=None if d is None else d.paired,
        correlation=None if d is None else d.correlation,
        difference=None if d is None else d.delta,
        low=None if d is None else d.interval[0],
        high=None if d is None else d.interval[1],
        published=question.published,
        margin=question.margin,
        effect=None if d is None else d.effect,
        improvement=None if d is None else d.improvement,
        p=verdict.p,
        adjusted=verdict.adjusted,
        sign_flip=None if d is None else d.sign_flip,
        further_seeds=verdict.further_seeds,
    )


def margin(claim: Claim, published: float | None) -> float:
    """The margin of a claim on one data set; see `Claim.margin`."""
    return max(claim.margin, abs(published or 0.0) / 2)


def published_difference(suite: Suite, claim: Claim, dataset: str) -> float | None:
    """The difference that the paper prints between the two rows of a claim."""
    paper = printed(suite, dataset)
    by_name = {row.name: row for row in suite.rows}
    ours = paper.cell_of(by_name[claim.row], claim.metric)
    other = paper.cell_of(by_name[claim.against], claim.metric)
    return None if ours is None or other is None else float(ours.value - other.value)


def spread(store: Store, suite: Suite, claim: Claim, dataset: str) -> float | None:
    """Seed-to-seed standard deviation of the two rows of a claim, pooled; None where unknown.

    Of each row: that of our runs from three on, else the one printed beside its value, else the one
    that the paper prints of its full method anywhere.
    """
    in_store = measured(store, suite.name) if suite.name in store.plans("suite") else None
    by_name = {row.name: row for row in suite.rows}
    squares = []
    for row in (by_name[claim.row], by_name[claim.against]):
        values: list[float] = []
        if in_store is not None:
            values = list(values_of(in_store, row, dataset, claim.metric).values())
        sd = (
            statistics.stdev(values)
            if len(values) > 2
            else printed_sd(suite, row, dataset, claim.metric)
        )
        if sd is None:
            return None
        squares.append(sd**2)
    return float(statistics.fmean(squares) ** 0.5)


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
    return Question(
        metric=claim.metric,
        direction=claim.direction,
        margin=margin(claim, published),
        arm=values_of(suite, row, dataset, claim.metric),
        baseline=values_of(suite, against, dataset, claim.metric),
        published=published,
        failed=len(failures_of(suite, row, dataset) + failures_of(suite, against, dataset)),
        untestable=reason,
    )
