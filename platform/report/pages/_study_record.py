"""What is on record of a search, read without changing it."""

import math
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deep_clustering.platform.store.store import Store

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
    """The record of a study; None where the store has no journal of it.

    It is read from a copy of the journal, so that reading never changes the journal.
    """
    path = f"studies/{name}.log"
    if not store.exists(path):
        return None
    data = store.read_bytes(path)
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "journal.log"
        copy.write_bytes(data[: data.rfind(b"\n") + 1])  # the last line may be half written
        return _read(copy, name)


def _read(journal: Path, name: str) -> StudyRecord | None:
    import optuna
    from optuna.storages import InMemoryStorage
    from optuna.storages.journal import JournalFileBackend, JournalStorage
    from optuna.trial import TrialState

    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        stored = optuna.load_study(
            study_name=name, storage=JournalStorage(JournalFileBackend(str(journal)))
        )
        settings = stored.user_attrs.get("settings")
        if settings is None:
            return None
        study = optuna.create_study(  # the journal goes away; what is asked later needs a study
            study_name=name, directions=stored.directions, storage=InMemoryStorage()
        )
        study.add_trials(stored.get_trials())
        ended = study.get_trials(states=(TrialState.COMPLETE, TrialState.FAIL, TrialState.PRUNED))
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
    finally:
        optuna.logging.set_verbosity(before)
    return StudyRecord(
        settings=SearchSettings.from_json(settings), trials=ended, done=done, best=best, study=study
    )
