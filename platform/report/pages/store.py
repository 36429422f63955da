"""The page of a whole store: its suites and studies, its newest runs, and what failed."""

from collections.abc import Mapping, Sequence

from deep_clustering.platform.evaluation import measures
from deep_clustering.platform.metrics.registry import EVERY_EPOCH
from deep_clustering.platform.report.markup.parts import (
    Code,
    Note,
    Notes,
    Page,
    Part,
    Section,
    cell,
    label,
    number,
    table,
    wide,
)
from deep_clustering.platform.report.pages._notes import failures, flagged
from deep_clustering.platform.report.pages._provenance import glossary, provenance
from deep_clustering.platform.report.pages._report import Report, RunRow
from deep_clustering.platform.report.pages._words import listed, quoted
from deep_clustering.platform.suites import suites

#: How many of the newest runs are shown, and of the newest failures.
_NEWEST = 30


def build(report: Report) -> Page:
    """The page of everything in the store."""
    frame = report.store.rows("runs").sort("ended", "run_id", descending=[True, False])
    rows = frame.rows(named=True)
    done = [row for row in rows if row["status"] == "ok"]
    lost = [row for row in rows if row["status"] != "ok"]
    suite_names, study_names = report.store.plans("suite"), report.store.plans("study")
    status = {row["run_id"]: row["status"] for row in rows}
    sections = [Section(title="Read first", parts=_first(report, done, lost))]
    if suite_names:
        sections.append(Section(title="Suites", parts=_suites(report, suite_names, status)))
    if study_names:
        sections.append(Section(title="Studies", parts=_studies(report, study_names, status)))
    if done:
        sections.append(Section(title="Newest runs", parts=_newest(report, done[:_NEWEST])))
        sections += glossary(EVERY_EPOCH)
        sections.append(provenance(report, done, "results.runs(store)"))
    count = measures.plural
    summary = [
        f"{count(len(suite_names), 'suite')}, {count(len(study_names), 'study', 'studies')} and "
        f"{count(len(rows), 'run')}: {len(done)} finished, {len(lost)} without a result.",
        f"Store {report.store.uri}. `platform report NAME` shows one suite, study or run.",
    ]
    return Page(title="Overview", summary=summary, sections=sections)


def _first(report: Report, done: Sequence[RunRow], lost: Sequence[RunRow]) -> list[Part]:
    notes = []
    if lost:
        count = measures.plural(len(lost), "run has", "runs have")
        shown = "The newest are below." if len(lost) > _NEWEST else ""
        notes.append(Note(level="bad", head=f"{count} no result.", text=shown))
    notes += flagged((f"{row['run_id'][:8]} on {row['dataset']}", row) for row in done)
    if not done and not lost:
        notes.append(Note(text="There are no runs yet."))
    elif not notes:
        notes.append(Note(level="good", text="Nothing failed, and no run collapsed."))
    shown_rows = [(row["method"], row) for row in lost[:_NEWEST]]
    return [Notes(notes=notes), *failures(report, shown_rows, "method")]


def _suites(report: Report, names: Sequence[str], status: Mapping[str, str]) -> list[Part]:
    lines = []
    for name in names:
        planned = suites.current(report.store.read_plan("suite", name))
        runs = {entry["run_id"] for entry in planned.entries}
        lines.append(
            [
                label(name),
                wide(planned.suite.title),
                cell(listed(planned.datasets)),
                *map(number, _ends(runs, status)),
            ]
        )
    heads = ["suite", "title", "data sets", "runs planned", "finished", "without a result"]
    return [table("Suites", heads, lines), _statuses(report, "suite", names[0])]


def _studies(report: Report, names: Sequence[str], status: Mapping[str, str]) -> list[Part]:
    lines = []
    for name in names:
        runs = set(report.store.read_plan("study", name).run_ids)
        lines.append([label(name), *map(number, _ends(runs, status))])
    heads = ["study", "runs planned", "finished", "without a result"]
    return [table("Studies", heads, lines), _statuses(report, "study", names[0])]


def _ends(runs: set[str], status: Mapping[str, str]) -> list[str]:
    """How many runs there are, how many finished, and how many have no result."""
    ends = [status[run] for run in runs if run in status]
    finished = ends.count("ok")
    return [str(len(runs)), str(finished), str(len(ends) - finished)]


def _statuses(report: Report, kind: str, first: str) -> Part:
    return report.query(
        f'results.{kind}({first!r}, store).group_by("status").len().collect()  # of the first'
    )


def _newest(report: Report, rows: Sequence[RunRow]) -> list[Part]:
    shown = [m for m in EVERY_EPOCH if any(row[m] is not None for row in rows)]
    lines = [
        [
            label([Code(row["run_id"])]),
            cell(row["method"]),
            cell(row["dataset"]),
            number(str(row["seed"])),
            *(number(measures.value(m, row[m])) for m in shown),
            number(f"{row['ended']:%Y-%m-%d %H:%M}" if row["ended"] else "–"),
        ]
        for row in rows
    ]
    metrics = [measures.heading(m) for m in shown]
    columns = quoted(("run_id", "method", "dataset", "seed", *shown, "ended"))
    query = report.query(
        'results.runs(store).filter(pl.col("status") == "ok")\\\n'
        f'    .sort("ended", descending=True).select({columns}).head({_NEWEST}).collect()'
    )
    heads = ["run", "method", "data set", "seed", *metrics, "ended (UTC)"]
    return [table("Newest runs", heads, lines), query]
