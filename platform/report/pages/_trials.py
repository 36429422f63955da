"""The trials of a search as pictures: by number, by objective, and with their parameters."""

import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from deep_clustering.platform.evaluation import measures
from deep_clustering.platform.report.charts.bars import bars
from deep_clustering.platform.report.charts.trials import Axis, front, parallel, progress
from deep_clustering.platform.report.markup.parts import Figure, Figures, Paragraph, Part, Query
from deep_clustering.platform.report.pages._draft import Draft
from deep_clustering.platform.report.pages._study_record import StudyRecord
from deep_clustering.platform.report.pages._words import slug

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

#: With fewer finished trials nothing is said about the importance of parameters.
_FEWEST = 8
#: Parameters in the chart of parallel lines.
_PARAMETERS = 8
#: Trials that stand out in it.
_BEST = 3


def trial_pictures(draft: Draft, record: StudyRecord, query: Query) -> list[Part]:
    """Figures of the finished trials; `query` gives their values."""
    figures = [_progress(draft, record, query, place) for place in range(len(record.objectives))]
    if len(record.objectives) > 1:
        figures.append(_front(draft, record, query))
    reason = _unimportant(record)
    if not reason:
        figures.append(_importance(draft, record, query))
    if len(record.done) > 1 and record.parameters:
        figures.append(_parallel(draft, record, query))
    return [Figures(figures), *([Paragraph(reason, muted=True)] if reason else [])]


def _progress(draft: Draft, record: StudyRecord, query: Query, place: int) -> Figure:
    objective, highest = record.objectives[place], record.maximized(place)
    factor = measures.unit(objective).factor
    values = [trial.values[place] * factor for trial in record.done]
    heading = measures.heading(objective)
    chart = progress(
        slug("objective", objective),
        f"{heading} of {len(values)} trials, from {min(values):.3g} to {max(values):.3g}.",
        [trial.number for trial in record.done],
        values,
        y=heading,
        highest=highest,
    )
    caption = f"{'Higher' if highest else 'Lower'} is better. Failed trials are left out."
    return draft.figure(chart, f"{heading} by trial.", caption, query)


def _front(draft: Draft, record: StudyRecord, query: Query) -> Figure:
    x, y = record.objectives[:2]
    factors = np.array([measures.unit(metric).factor for metric in (x, y)])
    values = np.array([trial.values[:2] for trial in record.done]) * factors
    numbers = {trial.number for trial in record.best}
    chart = front(
        "pareto-front",
        f"{measures.name(x)} against {measures.name(y)}; {len(numbers)} trials are on the front.",
        values,
        [trial.number in numbers for trial in record.done],
        x=measures.heading(x),
        y=measures.heading(y),
    )
    caption = "A trial is on the front if no other trial is better in one objective and as good "
    caption += "or better in all others."
    if len(record.objectives) > 2:
        caption += " The chart shows the first two objectives."
    return draft.figure(chart, "Pareto front.", caption, query)


def _unimportant(record: StudyRecord) -> str:
    """Why the importance of parameters is not shown, or ""."""
    if len(record.done) < _FEWEST:
        trials = measures.plural(len(record.done), "finished trial")
        return f"{trials} cannot tell which parameters matter; at least {_FEWEST} are needed."
    if len({trial.values[0] for trial in record.done}) == 1:
        return "All trials have the same value, so nothing shows which parameters matter."
    return ""


def _importance(draft: Draft, record: StudyRecord, query: Query) -> Figure:
    """How much each parameter matters for the first objective."""
    from optuna.importance import get_param_importances

    sign = -1 if record.maximized() else 1
    with warnings.catch_warnings():
        # PED-ANOVA warns that it takes low values as the good ones; the sign makes them so.
        warnings.filterwarnings("ignore", message="PedAnova")
        shares = get_param_importances(record.study, target=lambda trial: sign * trial.values[0])
    objective = measures.name(record.objectives[0])
    chart = bars(
        "importance",
        f"Importance of parameters for {objective}: "
        + ", ".join(f"{name} {share:.2f}" for name, share in shares.items()),
        list(shares),
        list(shares.values()),
        x="share of the importance",
    )
    caption = (
        f"How far a parameter decides whether {objective} is among the best (PED-ANOVA), from "
        f"{len(record.done)} trials. This is a hint, not a test."
    )
    return draft.figure(chart, "What matters.", caption, query)


def _parallel(draft: Draft, record: StudyRecord, query: Query) -> Figure:
    names = set(record.parameters)
    trials = [trial for trial in record.done if set(trial.params) == names] or record.done
    axes = {
        name: _axis(name, trials)
        for name in record.parameters[:_PARAMETERS]
        if all(name in trial.params for trial in trials)
    }
    objective = record.objectives[0]
    heading = measures.heading(objective)
    axes[heading] = _objective_axis(objective, [trial.values[0] for trial in trials])
    several = len(record.objectives) > 1
    chosen = {trial.number for trial in (record.best if several else record.best[:_BEST])}
    chart = parallel(
        "parallel",
        f"Parameters and {heading} of {len(trials)} trials as lines; the best stand out.",
        axes,
        [trial.number in chosen for trial in trials],
    )
    orange = "those on the Pareto front" if several else f"the best {len(chosen)}"
    caption = f"Each line is a trial; {orange} are orange. The lowest row is the objective."
    return draft.figure(chart, "Trials and their parameters.", caption, query)


def _axis(name: str, trials: Sequence["FrozenTrial"]) -> Axis:
    """Where the trials are in the domain of a parameter."""
    from optuna.distributions import (
        CategoricalDistribution,
        FloatDistribution,
        IntDistribution,
    )

    domain = trials[0].distributions[name]
    given = [trial.params[name] for trial in trials]
    if isinstance(domain, CategoricalDistribution):
        choices = list(domain.choices)
        step = 1 / max(1, len(choices) - 1)
        places = np.array([choices.index(value) * step for value in given])
        return Axis(places=places, ticks=[(i * step, str(c)) for i, c in enumerate(choices)])
    assert isinstance(domain, FloatDistribution | IntDistribution)
    low, high, values = float(domain.low), float(domain.high), np.array(given, float)
    first, last = (np.log(low), np.log(high)) if domain.log else (low, high)
    scaled = np.log(values) if domain.log else values
    places = (scaled - first) / max(float(last - first), 1e-300)
    return Axis(places=places, ticks=[(0.0, f"{low:g}"), (1.0, f"{high:g}")])


def _objective_axis(objective: str, given: Sequence[float]) -> Axis:
    values, unit = np.array(given), measures.unit(objective)
    low, high = float(values.min()), float(values.max())
    ends = [f"{end * unit.factor:.{unit.decimals}f}" for end in (low, high)]
    return Axis(places=(values - low) / ((high - low) or 1.0), ticks=list(enumerate(ends)))
