"""What is on record of a search, read without changing it."""

import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from deep_clustering.platform.store.store import Problem, Store, StoreDamage

if TYPE_CHECKING:
    from optuna import Study
    from optuna.trial import FrozenTrial


@dataclass(frozen=True, kw_only=True)
class SearchSettings:
    """What a search was asked to do.

    Attributes:
        method: its registered name.
        config: dotted field -> value that the search starts from.
        space: dotted field -> its domain, as Python writes it.
        objectives: names, as in `--objective`.
        sampler, scheduler, protocol: names.
        seeds: of the runs of each trial.
        seed: of the sampler.
    """

    method: str
    config: Mapping[str, object]
    space: Mapping[str, str]
    objectives: Sequence[str]
    sampler: str
    scheduler: str
    protocol: str
    seeds: Sequence[int]
    seed: int

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> "SearchSettings":
        """From what the search wrote into its study."""
        names = ("method", "config", "space", "sampler", "scheduler", "protocol", "seeds", "seed")
        return cls(objectives=content["objective"], **{name: content[name] for name in names})


@dataclass(frozen=True, kw_only=True)
class StudyRecord:
    """The trials of a search.

    Attributes:
        settings: what it was asked to do.
        trials: those that ended, in order.
        done: those with values.
        best: `done`, the best first; the Pareto front where there are several objectives.
        study: Optuna's.
    """

    settings: SearchSettings
    trials: Sequence["FrozenTrial"]
    done: Sequence["FrozenTrial"]
    best: Sequence["FrozenTrial"]
    study: "Study"

    @property
    def objectives(self) -> Sequence[str]:
        """Names, as in `--objective`."""
        return self.settings.objectives

    @property
    def parameters(self) -> list[str]:
        """Names of what was searched."""
        return list(dict.fromkeys(name for trial in self.done for name in trial.params))

    def maximized(self, place: int = 0) -> bool:
        """Whether high values of an objective are good."""
        return self.study.directions[place].name == "MAXIMIZE"

    def value(self, trial: "FrozenTrial", metric: str) -> float | None:
        """An objective of a trial with values, or another metric of it; None where it has none."""
        if metric in self.objectives:
            return float(trial.values[self.objectives.index(metric)])
        return metrics(trial).get(metric)


def metrics(trial: "FrozenTrial") -> Mapping[str, float]:
    """The metrics of a trial, each the mean over its seeds."""
    values: Mapping[str, float] = trial.user_attrs.get("metrics", {})
    return values


def read(store: Store, name: str) -> StudyRecord | None:
    """The record of a study; None where the store knows nothing of it but its runs.

    What was damaged of the store's own facts is taken from Optuna's copy of them, and so is all of
    a study of release 0.1. Where that copy is all there is and makes no sense, a `StoreDamage`
    warning says so, and there is no record. Nothing is changed.
    """
    from deep_clustering.platform.search import history, journal

    facts = history.read(store, name)
    alone = facts.search is None  # the copy has no checksum: only the facts tell its damage
    facts.learn(journal.Journal(store, name).history())
    if facts.search is None:
        return None
    try:
        return _record(facts.search.settings, facts.optuna(name))
    except (KeyError, TypeError, ValueError) as error:
        if not alone:
            raise
        reason = f"damaged (it contradicts itself: {type(error).__name__})"
        damaged = Problem(journal.path_of(name), "damaged", reason)
        then = "it is all that is left of the search's record, so its runs are shown alone"
        warnings.warn(StoreDamage(damaged, then), stacklevel=2)
        return None


def _record(settings: Mapping[str, Any], study: "Study") -> StudyRecord:
    from optuna.trial import TrialState

    ended = [trial for trial in study.get_trials(deepcopy=False) if trial.state.is_finished()]
    done = [
        trial
        for trial in ended
        if trial.state == TrialState.COMPLETE and all(map(math.isfinite, trial.values))
    ]
    if len(study.directions) > 1:
        best = sorted(study.best_trials, key=lambda trial: trial.number)
    else:
        sign = -1 if study.directions[0].name == "MAXIMIZE" else 1
        best = sorted(done, key=lambda trial: (sign * trial.values[0], trial.number))
    return StudyRecord(
        settings=SearchSettings.from_json(settings),
        trials=ended,
        done=done,
        best=best,
        study=study,
    )
