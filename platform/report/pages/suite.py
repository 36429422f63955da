"""The page of an ablation suite: its table, its verdicts, and what its runs look like."""

from collections.abc import Sequence

import polars as pl

from deep_clustering.platform.evaluation import measures
from deep_clustering.platform.evaluation.bins import Reader
from deep_clustering.platform.metrics.registry import HEADLINES, names
from deep_clustering.platform.report.markup.parts import Figures, Note, Notes, Page, Part, Section
from deep_clustering.platform.report.pages._claims import claims
from deep_clustering.platform.report.pages._confidences import suite_confidences
from deep_clustering.platform.report.pages._draft import Draft, RunRow
from deep_clustering.platform.report.pages._epochs import suite_epochs
from deep_clustering.platform.report.pages._evaluations import evaluations
from deep_clustering.platform.report.pages._labels import labels
from deep_clustering.platform.report.pages._notes import (
    failures,
    flagged,
    mixtures,
    without_result,
)
from deep_clustering.platform.report.pages._provenance import glossary, provenance
from deep_clustering.platform.report.pages._rows import comparison
from deep_clustering.platform.report.pages._table import suite_tables
from deep_clustering.platform.report.pages._words import counted, listed, sentence
from deep_clustering.platform.suites import cells
from deep_clustering.platform.suites.claims import judged as judge_claims
from deep_clustering.platform.suites.measured import Measured
from deep_clustering.platform.suites.measured import measured as read

#: Metrics that the charts show and the table may not.
_IN_CHARTS = (*names("rejection"), *HEADLINES)


def build(draft: Draft, name: str) -> Page:
    """The page of a suite of the store."""
    measured = read(draft.store, name)
    suite, current = measured.current.suite, measured.current
    table, judged = cells.cells(measured), judge_claims(measured)
    rows = [measured.rows[run] for run in current.run_ids if run in measured.rows]
    sections = [
        Section(title="Read first", parts=_first(draft, measured, table)),
        Section(title="Table", parts=suite_tables(draft, name, table)),
    ]
    if judged.height:
        sections.append(Section(title="Claims", parts=claims(draft, name, judged)))
    reader = Reader(draft.store, measured.rows)
    for dataset in current.datasets:
        parts = _runs(draft, measured, dataset, reader)
        if parts:
            sections.append(Section(title=f"Runs on {dataset}", parts=parts))
    sections += glossary([*suite.metrics, *_IN_CHARTS])
    select = f"results.suite({name!r}, store)"
    sections.append(provenance(draft, rows, select, current.commands))
    summary = _summary(measured, len(current.run_ids), rows)
    if judged.height:
        verdicts = judged["verdict"].value_counts(sort=True).rows()
        told = ", ".join(f"{n} {verdict.lower()}" for verdict, n in verdicts)
        summary.append(f"{measures.plural(judged.height, 'claim')}: {told}.")
    return Page(title=name, summary=summary, sections=sections)


def _summary(measured: Measured, runs: int, rows: Sequence[RunRow]) -> list[str]:
    suite, current, count = measured.current.suite, measured.current, measures.plural
    done = sum(row["status"] == "ok" for row in rows)
    ends = {
        "finished": done,
        "without a result": len(rows) - done,
        "not run yet": runs - len(rows),
    }
    seeds = {run.seed for run in current.runs}
    return [
        f"{suite.method}: {suite.title}.",
        f"{count(len(suite.rows), 'row')} on {listed(current.datasets)} with "
        f"{count(len(seeds), 'seed')}: {count(runs, 'run')} planned, {counted(ends)}.",
    ]


def _first(draft: Draft, measured: Measured, table: pl.DataFrame) -> list[Part]:
    current, suite = measured.current, measured.current.suite
    names: dict[str, list[str]] = {}
    for run in current.runs:
        names.setdefault(run.run_id, []).append(run.variant)
    labelled = [(listed(names[run]), measured.rows[run]) for run in names if run in measured.rows]
    done = [(label, row) for label, row in labelled if row["status"] == "ok"]
    lost = [(label, row) for label, row in labelled if row["status"] != "ok"]
    notes = without_result(len(lost))
    notes += flagged((f"{label}, seed {row['seed']}", row) for label, row in done)
    notes += [
        Note(level="bad", head=f"{variant} is not possible on {dataset}.", text=reason)
        for (variant, dataset), reason in current.impossible.items()
    ]
    notes += [Note(level="bad", text=f"{remark}.") for remark in current.remarks]
    missing = len(names) - len(labelled)
    if missing:
        runs = measures.plural(missing, "run of the plan is", "runs of the plan are")
        notes.append(Note(level="bad", text=f"{runs} not in the store yet."))
    if suite.mismatch:
        notes.append(Note(head="Not the paper's setting.", text=f"{suite.mismatch}.", level="bad"))
    notes += _on_values(measured, table)
    if suite.note:
        notes.append(Note(text=sentence(suite.note)))
    notes += mixtures([row for _, row in done])
    if done:
        notes.append(labels(draft, [row for _, row in done]))
    notes.append(
        Note(
            level="good",
            text="Means are over finished runs. Intervals are 95 % t intervals "
            "over what each table says; they say nothing about other data sets, nor, on one "
            "pretraining, about others.",
        )
    )
    return [Notes(notes=notes), *failures(draft, lost, "row")]


def _on_values(measured: Measured, table: pl.DataFrame) -> list[Note]:
    """Notes on the values of the table."""
    notes = []
    if table.filter(pl.col("n") == 1).height:
        notes.append(Note(text="Values of a single run, marked (1), have no interval."))
    chosen = table.filter(pl.col("reason").str.contains("chosen with labels", literal=True)).height
    if chosen:
        values = measures.plural(chosen, "published value was", "published values were")
        notes.append(Note(text=f"{values} chosen with labels."))
    if measured.current.suite.table and table["published"].null_count() == table.height:
        notes.append(Note(text="The paper prints no values for these data sets."))
    return notes


def _runs(draft: Draft, measured: Measured, dataset: str, reader: Reader) -> list[Part]:
    """What the finished runs on a data set look like."""
    compared = comparison(measured, dataset)
    if compared is None:
        return []
    figures = suite_epochs(draft, compared)
    confidences, rejection = suite_confidences(draft, measured, compared, reader)
    figures += confidences
    parts: list[Part] = [Figures(figures)] if figures else []
    return [*parts, *rejection, *evaluations(draft, compared, measured.current.suite.evaluations)]
