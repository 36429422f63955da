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
from deep_clustering.platform.report.pages._draft import Draft, RunRow
from deep_clustering.platform.report.pages._notes import failures, flagged
from deep_clustering.platform.report.pages._provenance import glossary, provenance
from deep_clustering.platform.report.pages._words import listed, quoted
from deep_clustering.platform.suites import plans

#: How many of the newest runs are shown, and of the newest failures.
_NEWEST = 30


def build(draft: Draft) -> Page:
    """The page of everything in the store."""
    frame = draft.store.rows("runs").sort("ended", "run_id", descending=[True, False])
    rows = frame.rows(named=True)
    done = [row for row in rows if row["status"] == "ok"]
    lost = [row for row in rows if row["status"] != "ok"]
    suite_names, study_names = draft.store.plans("suite"), draft.store.plans("study")
    status = {row["run_id"]: row["status"] for row in rows}
    sections = [Section(title="Read first", parts=_first(draft, done, lost))]
    if suite_names:
        sections.append(Section(title="Suites", parts=_suites(draft, suite_names, status)))
    if study_names:
        sections.append(Section(title="Studies", parts=_studies(draft, study_names, status)))
    if done:
        sections.append(Section(title="Newest runs", parts=_newest(draft, done[:_NEWEST])))
        sections += glossary(EVERY_EPOCH)
        sections.append(provenance(draft, done, "results.runs(store)"))
    count = measures.plural
    summary = [
        f"{count(len(suite_names), 'suite')}, {count(len(study_names), 'study', 'studies')} and "
        f"{count(len(rows), 'run')}: {len(done)} finished, {len(lost)} without a result.",
        f"Store {draft.store.uri}. `platform report NAME` shows one suite, study or run.",
    ]
    return Page(title="Overview", summary=summary, sections=sections)


def _first(draft: Draft, done: Sequence[RunRow], lost: Sequence[RunRow]) -> list[Part]:
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
    return [Notes(notes=notes), *failures(draft, shown_rows, "method")]


def _suites(draft: Draft, names: Sequence[str], status: Mapping[str, str]) -> list[Part]:
    lines = []
    for name in names:
        current = plans.current(draft.store.read_plan("suite", name))
        lines.append(
            [
                label(name),
                wide(current.suite.title),
                cell(listed(current.datasets)),
                *map(number, _ends(set(current.run_ids), status)),
            ]
        )
    heads = ["suite", "title", "data sets", "runs planned", "finished", "without a result"]
    return [table("Suites", heads, lines), _statuses(draft, "suite", names[0])]


def _studies(draft: Draft, names: Sequence[str], status: Mapping[str, str]) -> list[Part]:
    lines = []
    for name in names:
        runs = set(draft.store.read_plan("study", name).run_ids)
        lines.append([label(name), *map(number, _ends(runs, status))])
    heads = ["study", "runs planned", "finished", "without a result"]
    return [table("Studies", heads, lines), _statuses(draft, "study", names[0])]


def _ends(runs: set[str], status: Mapping[str, str]) -> list[str]:
    """How many runs there are, how many finished, and how many have no result."""
    ends = [status[run] for run in runs if run in status]
    finished = ends.count("ok")
    return [str(len(runs)), str(finished), str(len(ends) - finished)]


def _statuses(draft: Draft, kind: str, first: str) -> Part:
    return draft.query(
        f'results.{kind}({first!r}, store).group_by("status").len().collect()  # of the first'
    )


def _newest(draft: Draft, rows: Sequence[RunRow]) -> list[Part]:
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
    query = draft.query(
        'results.runs(store).filter(pl.col("status") == "ok")\\\n'
        f'    .sort("ended", descending=True).select({columns}).head({_NEWEST}).collect()'
    )
    heads = ["run", "method", "data set", "seed", *metrics, "ended (UTC)"]
    return [table("Newest runs", heads, lines), query]
