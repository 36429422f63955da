"""The page of a search: its trials, its best configuration, and what the parameters did."""

import math
import tempfile
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from markupsafe import Markup

from deep_clustering.platform.evaluation import measures
from deep_clustering.platform.metrics.objectives import OBJECTIVES
from deep_clustering.platform.metrics.registry import GROUPS
from deep_clustering.platform.report import _charts as charts
from deep_clustering.platform.report import _html as page
from deep_clustering.platform.report import _parts as _report
from deep_clustering.platform.report._html import Cell, Note, Row, Section
from deep_clustering.platform.report._parts import Page, Report
from deep_clustering.platform.search import trust

#: Fewer finished trials than this say nothing about the importance of parameters.
_FEWEST = 8
#: Trials in the table, the best first, and parameters in the chart of parallel lines.
_TRIALS = 50
_PARAMETERS = 8


@dataclass(frozen=True, kw_only=True)
class Search:
    """What is on record of a study."""

    settings: Mapping[str, Any]
    trials: Sequence[Any]  # those that ended, in order
    done: Sequence[Any]  # those with values
    best: Sequence[Any]  # best first; the Pareto front where there are several objectives
    study: Any  # Optuna's

    @property
    def objectives(self) -> list[str]:
        """Names, as in `--objective`."""
        return list(self.settings["objective"])

    @property
    def parameters(self) -> list[str]:
        """Names of what was searched."""
        return list(dict.fromkeys(k for t in self.done for k in t.params))


def build(report: Report, name: str) -> Page:
    """The page of a study of the store."""
    entries = report.store.read_plan("study", name).get("runs", [])
    wanted = [e["run_id"] if isinstance(e, dict) else e for e in entries]
    rows = report.store.rows("runs").filter(pl.col("run_id").is_in(wanted)).rows(named=True)
    with tempfile.TemporaryDirectory() as scratch:
        search = _opened(report, name, Path(scratch))
        select = f"results.study({name!r}, store)"
        lost = [row for row in rows if row["status"] != "ok"]
        sections = [Section(title="Read first", parts=_first(report, search, rows, lost))]
        metrics: list[str] = []
        if search is not None and search.done:
            metrics = [*search.objectives, "acc", "ece"]
            sections.append(Section(title="Best", parts=_best(report, select, search)))
            sections.append(Section(title="Trials", parts=_pictures(report, select, search)))
            if any("acc" in t.user_attrs.get("metrics", {}) for t in search.done):
                parts = _trust(report, select, search)
                sections.append(Section(title="Choosing without labels", parts=parts))
    sections += _report.glossary(metrics)
    commands: list[str] = []
    if search is not None:
        sections.append(Section(title="Search", parts=_settings(search)))
    sections.append(_report.provenance(report, rows, select, commands))
    return Page(title=name, summary=_summary(search, rows, lost), sections=sections)


def _opened(report: Report, name: str, scratch: Path) -> Search | None:
    """The study, from a copy of its journal, so that reading never changes it; None without one."""
    import optuna
    from optuna.storages.journal import JournalFileBackend, JournalStorage
    from optuna.trial import TrialState

    path = f"studies/{name}.log"
    if not report.store.exists(path):
        return None
    data = report.store.read_bytes(path)
    copy = scratch / "journal.log"
    copy.write_bytes(data[: data.rfind(b"\n") + 1])  # a writer may be in the middle of a line
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        storage = JournalStorage(JournalFileBackend(str(copy)))
        study = optuna.load_study(study_name=name, storage=storage)
        ended = study.get_trials(states=(TrialState.COMPLETE, TrialState.FAIL, TrialState.PRUNED))
        settings = study.user_attrs.get("settings")
        if settings is None:
            return None
        done = [
            t
            for t in ended
            if t.state == TrialState.COMPLETE and all(math.isfinite(v) for v in t.values)
        ]
        if len(settings["objective"]) > 1:
            best = sorted(study.best_trials, key=lambda t: t.number)
        else:
            sign = -1 if study.directions[0].name == "MAXIMIZE" else 1
            best = sorted(done, key=lambda t: (sign * t.values[0], t.number))
    finally:
        optuna.logging.set_verbosity(before)
    return Search(settings=settings, trials=ended, done=done, best=best, study=study)


def _summary(search: Search | None, rows: Sequence[Any], lost: Sequence[Any]) -> list[str]:
    runs = f"{measures.plural(len(rows), 'run')}, {len(lost)} without a result."
    if search is None:
        return [runs]
    states = [t.state.name for t in search.trials]
    ends = {
        "finished": len(search.done),
        "stopped early": states.count("PRUNED"),
        "failed": states.count("FAIL"),
    }
    objectives = " and ".join(measures.name(o) for o in search.objectives)
    first = (
        f"{search.settings['method']}: {measures.plural(len(search.trials), 'trial')} for "
        f"{objectives}: {_report.counted(ends)}."
    )
    if not search.done:
        return [first, runs]
    if len(search.objectives) > 1:
        return [first, f"{measures.plural(len(search.best), 'trial')} on the Pareto front. {runs}"]
    name = search.objectives[0]
    value = measures.value(name, search.best[0].values[0]) + measures.unit(name).suffix
    return [first, f"Best: trial {search.best[0].number}, {measures.name(name)} {value}. {runs}"]


def _first(
    report: Report, search: Search | None, rows: Sequence[Any], lost: Sequence[Any]
) -> list[Markup]:
    notes = []
    if lost:
        count = measures.plural(len(lost), "run has", "runs have")
        notes.append(
            Note(level="bad", head=f"{count} no result.", text="The table below says why.")
        )
    done = [row for row in rows if row["status"] == "ok"]
    notes += _report.flagged((row["run_id"][:8], row) for row in done)
    if search is None:
        notes.append(
            Note(
                level="bad",
                text="The journal of the study is not in the store: only runs are shown.",
            )
        )
    else:
        labels = [o for o in search.objectives if o in OBJECTIVES and OBJECTIVES[o].needs_labels]
        if labels:
            names = " and ".join(measures.name(o) for o in labels)
            notes.append(
                Note(
                    level="bad",
                    head="Labels chose the best configuration.",
                    text=f"The objective {names} needs them. Values of the best trial are "
                    "optimistic, and nobody without labels could have found it this way.",
                )
            )
        else:
            notes.append(Note(level="good", text="No labels chose the best configuration."))
        guarded = sum(bool(t.user_attrs.get("metrics", {}).get("guarded")) for t in search.done)
        if guarded:
            text = f"{measures.plural(guarded, 'trial')} got the worst value of every criterion, "
            notes.append(Note(text=text + "because clusters collapsed or were random."))
        for trial in [t for t in search.trials if t.state.name == "FAIL"][:5]:
            reason = trial.user_attrs.get("reason", "no reason on record")
            notes.append(Note(level="bad", head=f"Trial {trial.number} failed.", text=f"{reason}."))
        if len(search.settings["seeds"]) == 1:
            notes.append(
                Note(text="Each configuration has one seed: part of a best value is luck.")
            )
    notes += _report.mixtures(done)
    table = _report.failures(report, [(r["method"], r) for r in lost[:30]], "method")
    return [page.notes(notes), *table]


def _shown(given: Any) -> str:
    return f"{given:.3g}" if isinstance(given, float) else str(given)


def _metrics(search: Search) -> list[str]:
    known = {k for t in search.done for k in t.user_attrs.get("metrics", {})}
    more = [m for m in ("acc", "ece", "mean_confidence") if m in known]
    return list(dict.fromkeys([*search.objectives, *more]))


def _value(search: Search, trial: Any, metric: str) -> float | None:
    if metric in search.objectives:
        return float(trial.values[search.objectives.index(metric)])
    found: float | None = trial.user_attrs.get("metrics", {}).get(metric)
    return found


def _best(report: Report, select: str, search: Search) -> list[Markup]:
    best, several = search.best[0], len(search.objectives) > 1
    parts = []
    if not several:
        before = search.settings["config"]
        lines = [
            Row(
                cells=[
                    Cell(content=name, heading=True),
                    page.number(_shown(value)),
                    page.number(_shown(before.get(name, "–"))),
                    Cell(content=search.settings["space"].get(name, "–")),
                ]
            )
            for name, value in best.params.items()
        ]
        head = page.head("field", "best", "start", "searched")
        runs = _report.ids(best.user_attrs.get("runs", []))
        fields = ", ".join(f'"config.{k}"' for k in best.params)
        code = report.code(
            f'{select}.filter(pl.col("run_id").is_in({runs}))\\\n'
            f"    .select({fields}).unique().collect()"
        )
        caption = f"Configuration of trial {best.number}"
        parts += [page.table(caption, [head], lines), page.query(code)]
    metrics = _metrics(search)
    order = search.best if several else search.best[:_TRIALS]
    lines = [
        Row(
            cells=[
                Cell(content=str(t.number), heading=True),
                *(page.number(measures.value(m, _value(search, t, m))) for m in metrics),
                Cell(
                    content=", ".join(f"{k} = {_shown(v)}" for k, v in t.params.items()),
                    class_="wide",
                ),
            ]
        )
        for t in order
    ]
    head = page.head("trial", *(measures.heading(m) for m in metrics), "configuration")
    title = "Pareto front" if several else "Trials, the best first"
    return [*parts, page.table(title, [head], lines), page.query(_means(report, select, search))]


def _means(report: Report, select: str, search: Search) -> str:
    """The mean of each configuration: a trial's values, without its number."""
    keys = ", ".join(f'"config.{k}"' for k in search.parameters)
    values = ", ".join(f'pl.col("{m}").mean()' for m in _metrics(search))
    first = search.objectives[0]
    down = search.study.directions[0].name == "MAXIMIZE"
    return report.code(
        f'{select}.filter(pl.col("status") == "ok")\\\n'
        f"    .group_by({keys}).agg({values}, pl.len())\\\n"
        f'    .sort("{first}", descending={down}, nulls_last=True).collect()'
    )


def _pictures(report: Report, select: str, search: Search) -> list[Markup]:
    code = _means(report, select, search)
    found = []
    numbers = [t.number for t in search.done]
    for place, objective in enumerate(search.objectives):
        highest = search.study.directions[place].name == "MAXIMIZE"
        factor = measures.unit(objective).factor
        values = [t.values[place] * factor for t in search.done]
        label = measures.heading(objective)
        chart = charts.progress(
            _report.slug("objective", objective),
            f"{label} of {len(values)} trials, from {min(values):.3g} to {max(values):.3g}.",
            numbers,
            values,
            y=label,
            highest=highest,
        )
        caption = f"{'Higher' if highest else 'Lower'} is better. Failed trials are left out."
        found.append(report.figure(chart, f"{label} by trial.", caption, code))
    if len(search.objectives) > 1:
        found.append(_front(report, search, code))
    parts: list[Markup] = []
    importance = _importance(report, search, code)
    if isinstance(importance, Markup):
        found.append(importance)
    else:
        parts.append(page.paragraph(importance, class_="muted"))
    if len(search.done) > 1 and search.parameters:
        found.append(_parallel(report, search, code))
    return [page.figures(found), *parts]


def _front(report: Report, search: Search, code: str) -> Markup:
    x, y = search.objectives[:2]
    factors = np.array([measures.unit(m).factor for m in (x, y)])
    values = np.array([t.values[:2] for t in search.done]) * factors
    on = {t.number for t in search.best}
    chart = charts.front(
        "pareto-front",
        f"{measures.name(x)} against {measures.name(y)}; {len(on)} trials are on the front.",
        values,
        [t.number in on for t in search.done],
        x=measures.heading(x),
        y=measures.heading(y),
    )
    more = "" if len(search.objectives) == 2 else " The first two of several objectives."
    caption = f"No trial is better in every objective than one of the front.{more}"
    return report.figure(chart, "Pareto front.", caption, code)


def _importance(report: Report, search: Search, code: str) -> Markup | str:
    """Importance of parameters for the first objective, or why it is not shown."""
    from optuna.importance import get_param_importances

    if len(search.done) < _FEWEST:
        return (
            f"{measures.plural(len(search.done), 'finished trial')} cannot tell which parameters "
            f"matter; it takes {_FEWEST}."
        )
    if len({t.values[0] for t in search.done}) == 1:
        return "All trials have the same value, so that no parameter matters."
    sign = -1 if search.study.directions[0].name == "MAXIMIZE" else 1
    with warnings.catch_warnings():
        # Told that low values are taken as good, which the sign sees to.
        warnings.filterwarnings("ignore", message="PedAnova")
        found = get_param_importances(search.study, target=lambda t: sign * t.values[0])
    objective = measures.name(search.objectives[0])
    chart = charts.bars(
        "importance",
        f"Importance of parameters for {objective}: "
        + ", ".join(f"{k} {v:.2f}" for k, v in found.items()),
        list(found),
        list(found.values()),
        x="share of the importance",
    )
    caption = (
        f"How far a parameter decides whether {objective} is among the best (PED-ANOVA). From "
        f"{len(search.done)} trials: a hint, no test."
    )
    return report.figure(chart, "What matters.", caption, code)


def _parallel(report: Report, search: Search, code: str) -> Markup:
    from optuna.distributions import CategoricalDistribution

    trials = [t for t in search.done if set(t.params) == set(search.parameters)] or search.done
    axes: dict[str, Any] = {}
    for name in search.parameters[:_PARAMETERS]:
        held = [t for t in trials if name in t.params]
        if len(held) < len(trials):
            continue
        domain = held[0].distributions[name]
        if isinstance(domain, CategoricalDistribution):
            choices = list(domain.choices)
            step = 1 / max(1, len(choices) - 1)
            where = np.array([choices.index(t.params[name]) * step for t in trials])
            axes[name] = where, [(i * step, str(c)) for i, c in enumerate(choices)]
        else:
            log = bool(getattr(domain, "log", False))
            low, high = float(domain.low), float(domain.high)
            given = np.array([float(t.params[name]) for t in trials])
            scaled = [np.log(v) if log else np.asarray(v) for v in (given, low, high)]
            where = (scaled[0] - scaled[1]) / max(float(scaled[2] - scaled[1]), 1e-300)
            axes[name] = where, [(0.0, f"{low:g}"), (1.0, f"{high:g}")]
    values = np.array([t.values[0] for t in trials])
    objective = search.objectives[0]
    span = float(np.ptp(values)) or 1.0
    u = measures.unit(objective)
    ends = (values.min(), values.max())
    label = measures.heading(objective)
    axes[label] = (
        (values - values.min()) / span,
        [(float(i), f"{v * u.factor:.{u.decimals}f}") for i, v in enumerate(ends)],
    )
    several = len(search.objectives) > 1
    chosen = {t.number for t in (search.best if several else search.best[:3])}
    chart = charts.parallel(
        "parallel",
        f"Parameters and {label} of {len(trials)} trials as lines; the best stand out.",
        axes,
        [t.number in chosen for t in trials],
    )
    stands = "the Pareto front" if several else f"the best {len(chosen)}"
    caption = f"A line is a trial; {stands} in orange. The lowest level is the objective."
    return report.figure(chart, "Trials and their parameters.", caption, code)


def _trust(report: Report, select: str, search: Search) -> list[Markup]:
    values = [t.user_attrs["metrics"] for t in search.done if "metrics" in t.user_attrs]
    records = trust.assess(values)
    every = [r for r in records if r.trials == "all"]
    if [r.n for r in every] == [r.n for r in records if r.trials != "all"]:
        records = every  # nothing collapsed: both say the same
    if not records:
        return [page.paragraph("No trial has a label-free criterion.")]

    def interval(value: float | None, around: tuple[float, float] | None, factor: int = 1) -> str:
        if value is None:
            return "–"
        decimals = 2 if factor == 1 else 1
        low, high = around or (math.nan, math.nan)
        bounds = f" [{low * factor:.{decimals}f}, {high * factor:.{decimals}f}]" if around else ""
        return f"{value * factor:.{decimals}f}{bounds}".replace("-", "−")

    lines = [
        Row(
            cells=[
                Cell(content=measures.name(r.criterion), heading=True),
                Cell(content=r.trials),
                page.number(str(r.n)),
                page.number(r.reason or interval(r.spearman, r.spearman_interval)),
                page.number(interval(r.kendall, None)),
                page.number(interval(r.regret, r.regret_interval, 100)),
            ]
        )
        for r in records
    ]
    head = page.head("criterion", "trials", "n", "Spearman", "Kendall", "regret in ACC %")
    names = ", ".join(f'"{m}"' for m in ("acc", *dict.fromkeys(r.criterion for r in records)))
    code = report.code(
        f'trials = {select}.filter(pl.col("status") == "ok").collect()  # one row per run\n'
        f"trials.select({names})\ntrust.assess(trials)",
        "search.trust",
    )
    known = [m.name for m in GROUPS["criteria"] if m.name in search.objectives]
    aim = f" {measures.name(known[0])} was the objective here." if known else ""
    return [
        page.paragraph(
            "How far each label-free criterion agrees with accuracy over the trials, and the "
            "accuracy lost by taking the trial that it likes best; 95 % bootstrap over trials. A "
            f"criterion that was the objective is no evidence for itself.{aim}"
        ),
        page.table("Would a label-free criterion have found the best?", [head], lines),
        page.query(code),
    ]


def _settings(search: Search) -> list[Markup]:
    s = search.settings
    return [
        page.definitions(
            [
                ("objective", ", ".join(s["objective"])),
                ("sampler", f"{s['sampler']}, seed {s['seed']}"),
                ("scheduler", s["scheduler"]),
                ("seeds", ", ".join(map(str, s["seeds"]))),
                ("protocol", s["protocol"]),
            ]
        )
    ]
