"""The page of a whole store: its suites and studies, its newest runs, and what failed."""

from typing import Any

from markupsafe import Markup

from deep_clustering.platform.evaluation import measures
from deep_clustering.platform.report import _html as page
from deep_clustering.platform.report import _parts as _report
from deep_clustering.platform.report._html import Cell, Note, Row, Section
from deep_clustering.platform.report._parts import Page, Report
from deep_clustering.platform.suites import suites

#: Newest runs that are shown, and failures.
_NEWEST = 30
_METRICS = ("acc", "nmi", "ari", "ece", "mean_confidence")


def build(report: Report) -> Page:
    """The page of everything in the store."""
    frame = report.store.rows("runs").sort("ended", "run_id", descending=[True, False])
    rows = frame.rows(named=True)
    done = [row for row in rows if row["status"] == "ok"]
    lost = [row for row in rows if row["status"] != "ok"]
    names = report.store.plans("suite"), report.store.plans("study")
    sections = [Section(title="Read first", parts=_first(report, done, lost))]
    status = {row["run_id"]: row["status"] for row in rows}
    for kind, found in zip(("suite", "study"), names, strict=True):
        if found:
            title = "Suites" if kind == "suite" else "Studies"
            sections.append(Section(title=title, parts=_plans(report, kind, found, status)))
    if done:
        sections.append(Section(title="Newest runs", parts=_newest(report, done[:_NEWEST])))
        sections += _report.glossary(_METRICS)
        sections.append(_report.provenance(report, done, "results.runs(store)"))
    count = measures.plural
    summary = [
        f"{count(len(names[0]), 'suite')}, {count(len(names[1]), 'study', 'studies')} and "
        f"{count(len(rows), 'run')}: {len(done)} finished, {len(lost)} without a result.",
        f"Store {report.store.uri}. `platform report NAME` shows one suite, study or run.",
    ]
    return Page(title="Overview", summary=summary, sections=sections)


def _first(report: Report, done: list[Any], lost: list[Any]) -> list[Markup]:
    notes = []
    if lost:
        count = measures.plural(len(lost), "run has", "runs have")
        shown = " The newest are below." if len(lost) > _NEWEST else ""
        notes.append(Note(level="bad", head=f"{count} no result.", text=shown.strip()))
    notes += _report.flagged((f"{row['run_id'][:8]} on {row['dataset']}", row) for row in done)
    if not done and not lost:
        notes.append(Note(text="There are no runs yet."))
    elif not notes:
        notes.append(Note(level="good", text="Nothing failed, and no run collapsed."))
    table = _report.failures(report, [(row["method"], row) for row in lost[:_NEWEST]], "method")
    return [page.notes(notes), *table]


def _plans(report: Report, kind: str, names: list[str], status: dict[str, str]) -> list[Markup]:
    lines = []
    for name in names:
        plan = report.store.read_plan(kind, name)
        if "definitions" in plan:
            current = suites.current(plan)
            runs = {e["run_id"] for e in current.entries}
            title, where = current.suite.title, _report.listed(current.datasets)
        else:
            entries = plan.get("runs", [])
            runs = {e["run_id"] if isinstance(e, dict) else e for e in entries}
            title, where = "", ""
        found = [status.get(run) for run in runs]
        lost = sum(s not in (None, "ok") for s in found)
        lines.append(
            Row(
                cells=[
                    Cell(content=name, heading=True),
                    *(
                        [Cell(content=title, class_="wide"), Cell(content=where)]
                        if kind == "suite"
                        else []
                    ),
                    page.number(str(len(runs))),
                    page.number(str(found.count("ok"))),
                    page.number(str(lost)),
                ]
            )
        )
    extra = ["title", "data sets"] if kind == "suite" else []
    caption = "Suites" if kind == "suite" else "Studies"
    head = page.head(kind, *extra, "runs planned", "finished", "without a result")
    code = report.code(
        f'results.{kind}({names[0]!r}, store).group_by("status").len().collect()  # of the first'
    )
    return [page.table(caption, [head], lines), page.query(code)]


def _newest(report: Report, rows: list[Any]) -> list[Markup]:
    shown = [m for m in _METRICS if any(row[m] is not None for row in rows)]
    lines = [
        Row(
            cells=[
                Cell(content=page.element("code", row["run_id"]), heading=True),
                Cell(content=row["method"]),
                Cell(content=row["dataset"]),
                page.number(str(row["seed"])),
                *(page.number(measures.value(m, row[m])) for m in shown),
                page.number(f"{row['ended']:%Y-%m-%d %H:%M}" if row["ended"] else "–"),
            ]
        )
        for row in rows
    ]
    names = [measures.heading(m) for m in shown]
    head = page.head("run", "method", "data set", "seed", *names, "ended (UTC)")
    columns = ", ".join(f'"{c}"' for c in ("run_id", "method", "dataset", "seed", *shown, "ended"))
    code = report.code(
        'results.runs(store).filter(pl.col("status") == "ok")\\\n'
        f'    .sort("ended", descending=True).select({columns}).head({_NEWEST}).collect()'
    )
    return [page.table("Newest runs", [head], lines), page.query(code)]
