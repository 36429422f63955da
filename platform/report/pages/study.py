"""The page of a search: its trials, its best configuration, and what the parameters did."""

from collections.abc import Sequence

import polars as pl

from deep_clustering.platform.evaluation import measures
from deep_clustering.platform.metrics.objectives import OBJECTIVES
from deep_clustering.platform.metrics.registry import HEADLINES
from deep_clustering.platform.report.markup.parts import (
    Definitions,
    Note,
    Notes,
    Page,
    Part,
    Query,
    Section,
    TableCell,
    cell,
    label,
    number,
    table,
    wide,
)
from deep_clustering.platform.report.pages._draft import Draft, RunRow
from deep_clustering.platform.report.pages._labels import labels
from deep_clustering.platform.report.pages._notes import (
    failures,
    flagged,
    mixtures,
    without_result,
)
from deep_clustering.platform.report.pages._provenance import glossary, provenance
from deep_clustering.platform.report.pages._study_record import StudyRecord, metrics, read
from deep_clustering.platform.report.pages._trials import trial_pictures
from deep_clustering.platform.report.pages._trust import trust_in_criteria
from deep_clustering.platform.report.pages._words import counted, ids, quoted

#: How many trials are in the table, the best first, and how many failures are shown.
_TRIALS = 50
_FAILED_TRIALS = 5
_FAILED_RUNS = 30


def build(draft: Draft, name: str) -> Page:
    """The page of a study of the store."""
    wanted = list(draft.store.read_plan("study", name).run_ids)
    rows = draft.store.rows("runs").filter(pl.col("run_id").is_in(wanted)).rows(named=True)
    record = read(draft.store, name)
    select = f"results.study({name!r}, store)"
    lost = [row for row in rows if row["status"] != "ok"]
    sections = [Section(title="Read first", parts=_first(draft, record, rows, lost))]
    if record is not None and record.done:
        sections += _results(draft, select, record)
        sections += glossary([*record.objectives, "acc", "ece"])
    if record is not None:
        sections.append(Section(title="Search", parts=[_settings(record)]))
    sections.append(provenance(draft, rows, select))
    return Page(title=name, summary=_summary(record, len(rows), len(lost)), sections=sections)


def _summary(record: StudyRecord | None, runs: int, lost: int) -> list[str]:
    of_runs = f"{measures.plural(runs, 'run')}, {lost} without a result."
    if record is None:
        return [of_runs]
    states = [trial.state.name for trial in record.trials]
    ends = {
        "finished": len(record.done),
        "stopped early": states.count("PRUNED"),
        "failed": states.count("FAIL"),
    }
    objectives = " and ".join(measures.name(objective) for objective in record.objectives)
    first = (
        f"{record.settings.method}: {measures.plural(len(record.trials), 'trial')} for "
        f"{objectives}: {counted(ends)}."
    )
    if not record.done:
        return [first, of_runs]
    if len(record.objectives) > 1:
        front = measures.plural(len(record.best), "trial")
        return [first, f"{front} on the Pareto front. {of_runs}"]
    name, best = record.objectives[0], record.best[0]
    value = measures.value(name, best.values[0]) + measures.unit(name).suffix
    return [first, f"Best: trial {best.number}, {measures.name(name)} {value}. {of_runs}"]


def _first(
    draft: Draft, record: StudyRecord | None, rows: Sequence[RunRow], lost: Sequence[RunRow]
) -> list[Part]:
    done = [row for row in rows if row["status"] == "ok"]
    notes = without_result(len(lost))
    notes += flagged((row["run_id"][:8], row) for row in done)
    if record is None:
        text = "The journal of the study is not in the store: only runs are shown."
        notes.append(Note(level="bad", text=text))
    else:
        notes += _on_search(record)
    notes += mixtures(done)
    if done:
        notes.append(labels(draft, done))
    failed = [(row["method"], row) for row in lost[:_FAILED_RUNS]]
    return [Notes(notes=notes), *failures(draft, failed, "method")]


def _on_search(record: StudyRecord) -> list[Note]:
    """Notes on how the best configuration was chosen, and on trials that failed."""
    notes = []
    labels = [o for o in record.objectives if o in OBJECTIVES and OBJECTIVES[o].needs_labels]
    if labels:
        names = " and ".join(measures.name(objective) for objective in labels)
        notes.append(
            Note(
                level="bad",
                head="Labels chose the best configuration.",
                text=f"They are needed for {names}. The values of the best trial are optimistic, "
                "and without labels nobody could have found it this way.",
            )
        )
    else:
        notes.append(Note(level="good", text="No labels chose the best among these trials."))
    guarded = sum(bool(metrics(trial).get("guarded")) for trial in record.done)
    if guarded:
        text = f"{measures.plural(guarded, 'trial')} got the worst value of every criterion, "
        notes.append(Note(text=text + "because clusters collapsed or were random."))
    failed = [trial for trial in record.trials if trial.state.name == "FAIL"]
    for trial in failed[:_FAILED_TRIALS]:
        reason = trial.user_attrs.get("reason", "no reason on record")
        notes.append(Note(level="bad", head=f"Trial {trial.number} failed.", text=f"{reason}."))
    if len(record.settings.seeds) == 1:
        text = "Each configuration ran with one seed only, so part of the best value is luck."
        notes.append(Note(text=text))
    return notes


def _results(draft: Draft, select: str, record: StudyRecord) -> list[Section]:
    """What the finished trials show."""
    means = _means(draft, select, record)
    parts: list[Part] = []
    if len(record.objectives) == 1:
        parts += _configuration(draft, select, record)
    parts += [_trials(record), means]
    sections = [
        Section(title="Best", parts=parts),
        Section(title="Trials", parts=trial_pictures(draft, record, means)),
    ]
    if any("acc" in metrics(trial) for trial in record.done):
        trusted = trust_in_criteria(draft, select, record)
        sections.append(Section(title="Choosing without labels", parts=trusted))
    return sections


def _shown(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _configuration(draft: Draft, select: str, record: StudyRecord) -> list[Part]:
    """The best configuration beside the one that the search started from."""
    best, settings = record.best[0], record.settings
    lines = [
        [
            label(name),
            number(_shown(value)),
            number(_shown(settings.config.get(name, "–"))),
            cell(settings.space.get(name, "–")),
        ]
        for name, value in best.params.items()
    ]
    fields = quoted(f"config.{name}" for name in best.params)
    query = draft.query(
        f'{select}.filter(pl.col("run_id").is_in({ids(best.user_attrs.get("runs", []))}))\\\n'
        f"    .select({fields}).unique().collect()"
    )
    heads = ["field", "best", "start", "searched"]
    return [table(f"Configuration of trial {best.number}", heads, lines), query]


def _trials(record: StudyRecord) -> Part:
    """The best trials, or those on the Pareto front."""
    several = len(record.objectives) > 1
    shown = _metrics(record)
    lines: list[list[TableCell]] = [
        [
            label(str(trial.number)),
            *(number(measures.value(m, record.value(trial, m))) for m in shown),
            wide(", ".join(f"{name} = {_shown(value)}" for name, value in trial.params.items())),
        ]
        for trial in (record.best if several else record.best[:_TRIALS])
    ]
    heads = ["trial", *(measures.heading(m) for m in shown), "configuration"]
    return table("Pareto front" if several else "Trials, the best first", heads, lines)


def _metrics(record: StudyRecord) -> list[str]:
    """What the table of trials shows: the objectives, and what else is known."""
    known = {name for trial in record.done for name in metrics(trial)}
    more = [m for m in HEADLINES if m in known]
    return list(dict.fromkeys([*record.objectives, *more]))


def _means(draft: Draft, select: str, record: StudyRecord) -> Query:
    """The mean of each configuration over its seeds, which is the value of a trial."""
    keys = quoted(f"config.{name}" for name in record.parameters)
    values = ", ".join(f'pl.col("{metric}").mean()' for metric in _metrics(record))
    return draft.query(
        f'{select}.filter(pl.col("status") == "ok")\\\n'
        f"    .group_by({keys}).agg({values}, pl.len())\\\n"
        f'    .sort("{record.objectives[0]}", descending={record.maximized()}, nulls_last=True)'
        ".collect()"
    )


def _settings(record: StudyRecord) -> Definitions:
    settings = record.settings
    return Definitions(
        [
            ("objective", ", ".join(settings.objectives)),
            ("sampler", f"{settings.sampler}, seed {settings.seed}"),
            ("scheduler", settings.scheduler),
            ("seeds", ", ".join(map(str, settings.seeds))),
            ("protocol", settings.protocol),
        ]
    )
