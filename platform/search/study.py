"""A search's study: Optuna's own journal inside the store, and what makes two searches the same."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import optuna
from optuna.storages.journal import JournalFileBackend, JournalStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from deep_clustering.platform.errors import InputError, StorageError
from deep_clustering.platform.metrics.metric import Metric
from deep_clustering.platform.request import configs
from deep_clustering.platform.request.configs import Value
from deep_clustering.platform.request.request import Request
from deep_clustering.platform.store.store import Store
from deep_clustering.search_spaces._space import Concrete

optuna.logging.set_verbosity(optuna.logging.ERROR)

_OVER = (TrialState.COMPLETE, TrialState.FAIL, TrialState.PRUNED)


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What makes two searches the same search; the number of trials is not part of it."""

    request: Request
    space: Mapping[str, Concrete]  # field -> range
    objectives: tuple[Metric, ...]
    sampler: str
    scheduler: str
    seeds: tuple[int, ...]
    seed: int  # of the sampler

    def as_json(self) -> dict[str, Value]:
        """A readable description; equal descriptions mean the same search."""
        features, base = self.request.features, self.request.base
        return {
            "method": self.request.method,
            **({} if features is None else {"features": features.id or features.asked}),
            **({} if base is None else {"base": base.id or base.asked}),
            "dataset": self.request.dataset.fingerprint,
            "protocol": self.request.dataset.protocol,
            "config": configs.identity(self.request.config),
            "space": {name: repr(domain) for name, domain in self.space.items()},
            "objective": [o.name for o in self.objectives],
            "sampler": self.sampler,
            "scheduler": self.scheduler,
            "seeds": list(self.seeds),
            "seed": self.seed,
        }

    def default_name(self) -> str:
        """The study's name when the user gives none."""
        label = self.request.dataset.name.partition(":")[0]
        return f"{self.request.method}-{label}-{configs.digest(self.as_json())[:8]}"

    @property
    def directions(self) -> list[StudyDirection]:
        """Of the objectives, for Optuna."""
        up, down = StudyDirection.MAXIMIZE, StudyDirection.MINIMIZE
        return [up if o.better == "max" else down for o in self.objectives]


class Study:
    """An Optuna study in the store's `studies/` folder.

    On an object store the journal is a local copy that is uploaded whenever a trial ends.

    Raises:
        InputError: the study of that name is of another search.
        StorageError: its journal cannot be read.
    """

    def __init__(self, store: Store, name: str, settings: Settings) -> None:
        self.name, self._store = name, store
        self._remote = None if store.local else _journal(name)
        self.path = (store.local or store.cache) / _journal(name)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        if self._remote and store.exists(self._remote):
            self.path.write_bytes(store.read_bytes(self._remote))
        _cut_torn_line(self.path)
        try:
            self.study = optuna.create_study(
                storage=JournalStorage(JournalFileBackend(str(self.path))),
                study_name=name,
                load_if_exists=True,
                directions=settings.directions,
            )
        except (json.JSONDecodeError, KeyError, ValueError) as error:
            raise StorageError(
                f"the study at {self.path} cannot be read ({error}); move the file away to start "
                "the search anew: runs that are in the store are not computed again."
            ) from error
        self._agree(settings)

    @staticmethod
    def exists(store: Store, name: str) -> bool:
        """Whether a store has a study of this name."""
        return store.exists(_journal(name))

    def _agree(self, settings: Settings) -> None:
        wanted = settings.as_json()
        known = self.study.user_attrs.get("settings")
        if known is None:
            self.study.set_user_attr("settings", wanted)
        elif known != wanted:
            key = next(k for k in wanted if known.get(k) != wanted[k])
            raise InputError(
                f"the study '{self.name}' was made with another {key}: {known.get(key)} there, "
                f"{wanted[key]} now; choose another --study name or leave the option out."
            )

    def settle(self, generation: int) -> None:
        """Fix how many trials are proposed together; the first command of a study decides."""
        if "generation" not in self.study.user_attrs:
            self.study.set_user_attr("generation", generation)

    @property
    def generation(self) -> int:
        """How many trials are proposed together."""
        return int(self.study.user_attrs["generation"])

    def enqueue_failed(self) -> int:
        """Ask for the configurations of failed trials once more; returns how many."""
        lost = {json.dumps(t.params): t.params for t in self.failed()}
        for params in lost.values():
            self.study.enqueue_trial(params)
        return len(lost)

    def failed(self) -> list[FrozenTrial]:
        """Failed trials, by number, whose configuration has no result by now."""
        over = self.over()
        tried = {json.dumps(t.params) for t in over if t.values is not None}
        lost = (t for t in over if t.state == TrialState.FAIL)
        return [t for t in lost if json.dumps(t.params) not in tried]

    def trials(self, *states: TrialState) -> list[FrozenTrial]:
        """Trials in these states, all when none is given, by number."""
        return self.study.get_trials(deepcopy=False, states=states or None)

    def over(self) -> list[FrozenTrial]:
        """Trials that have ended, by number."""
        return self.trials(*_OVER)

    def best(self, objectives: tuple[Metric, ...]) -> list[FrozenTrial]:
        """Trials by the one objective, best first; the Pareto front where there are several."""
        if len(objectives) > 1:
            return sorted(self.study.best_trials, key=lambda t: t.number)
        sign = -1 if objectives[0].better == "max" else 1
        complete = self.trials(TrialState.COMPLETE)
        return sorted(complete, key=lambda t: (sign * t.values[0], t.number))

    def save(self) -> None:
        """Make the journal durable where the store is not local."""
        if self._remote:
            self._store.write_bytes(self._remote, self.path.read_bytes())


def _journal(name: str) -> str:
    return f"studies/{name}.log"


def _cut_torn_line(path: Path) -> None:
    """Cut a last line that a kill left half-written: the next append would glue to it."""
    if path.exists():
        data = path.read_bytes()
        whole = data[: data.rfind(b"\n") + 1]
        if whole != data:
            path.write_bytes(whole)
