"""A search's study: its trials as facts of the store, and what makes two searches the same."""

import contextlib
import datetime
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from deep_clustering.platform.errors import InputError, StorageError
from deep_clustering.platform.metrics.metric import Metric
from deep_clustering.platform.request import configs
from deep_clustering.platform.request.configs import Value
from deep_clustering.platform.request.jobs import Job
from deep_clustering.platform.request.options import text
from deep_clustering.platform.request.request import Request
from deep_clustering.platform.search import history, journal
from deep_clustering.platform.search.history import Asked, Ended, History
from deep_clustering.platform.search.journal import Journal
from deep_clustering.platform.search.samplers import distributions, grid
from deep_clustering.platform.store.store import Store
from deep_clustering.search_spaces._space import Concrete

#: After so many facts the small files that hold them become one.
_LOOSE = 256


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

    def shared(self) -> tuple[Job, ...]:
        """What every trial stands on, whatever it tries: pretrainings, mostly."""
        request = self.request
        before = {job.id: job for job in request.wanted(self.seeds).before}
        for name, values in grid(self.space, points=2).items():
            for value in values:
                with contextlib.suppress(InputError):  # values that exclude each other
                    other = request.wanted(self.seeds, request.configure({name: value})).before
                    before = {job.id: job for job in other if job.id in before}
        return tuple(before.values())

    @property
    def directions(self) -> list[StudyDirection]:
        """Of the objectives, for Optuna."""
        up, down = StudyDirection.MAXIMIZE, StudyDirection.MINIMIZE
        return [up if o.better == "max" else down for o in self.objectives]


class Study:
    """The trials of a search, each of them a fact of the store.

    Making one reads what is there and writes nothing. A trial counts as finished while its runs are
    in the store; one that lost a run is running again, under its own number.

    Args:
        store: where the facts are.
        name: of the study.
        settings: of the search.

    Raises:
        InputError: the study of that name is of another search.
        StorageError: the store cannot be read.
    """

    def __init__(self, store: Store, name: str, settings: Settings) -> None:
        self.name, self._store, self._settings = name, store, settings
        self._space = distributions(settings.space)
        self._journal = Journal(store, name)
        self._facts = history.read(store, name)
        # What was damaged comes back from the copy; so does all of a study of release 0.1.
        self._unsaved = self._facts.missing(self._journal.history())
        self._facts.learn(self._unsaved)
        self._agree()
        if self._facts.search is None and self._facts.asked:
            self._facts.search = self._described(next(iter(self._facts.asked.values())).generation)
        self._loose = 0
        self._late = History()  # ends that the store knows anyway, from the runs
        finished = store.finished()
        self._trials: dict[int, FrozenTrial] = {}
        for number in sorted(self._facts.asked):
            asked, ended = self._facts.asked[number], self._facts.ended.get(number)
            result = ended is not None and ended.metrics is not None and ended.reason is None
            lost = result and not finished.issuperset(asked.runs)
            trial = history.frozen(asked, None if lost else ended, self._space)
            if ended is None:
                trial.intermediate_values.update(self._journal.reports(number))
            self._trials[number] = trial

    @staticmethod
    def exists(store: Store, name: str) -> bool:
        """Whether a store has a study of this name."""
        return name in store.plans(history.KIND) or store.exists(journal.path_of(name))

    def _agree(self) -> None:
        if self._facts.search is None:
            return
        known, wanted = self._facts.search.settings, self._described(1).settings
        if known != wanted:
            key = next((k for k in wanted if known.get(k) != wanted[k]), "method")
            raise InputError(
                f"the study '{self.name}' was made with another {key}: {known.get(key)} there, "
                f"{wanted.get(key)} now; choose another --study name or leave the option out."
            )

    # ---- writing

    def begin(self, generation: int, *commands: str) -> None:
        """Write down what is asked, and bring Optuna's journal in step; comes before any trial.

        Args:
            generation: how many trials run side by side; the first command decides.
            commands: as they were typed.

        Raises:
            StorageError: it could not be written.
        """
        facts = self._facts
        facts.search = facts.search or self._described(generation)
        self._unsaved.search = facts.search
        self._add(self._unsaved, *commands)
        self._unsaved = History()
        self._journal.follow(facts.search, self._without_gap())

    def _described(self, generation: int) -> history.Search:
        return history.search_of(
            self._settings.as_json(), generation, self._settings.directions, self._space
        )

    def _without_gap(self) -> list[FrozenTrial]:
        """The trials on record, by number, up to the first one that is missing."""
        facts = self._facts
        count = next(n for n in range(len(facts.asked) + 1) if n not in facts.asked)
        ended = facts.ended
        return [history.frozen(facts.asked[n], ended.get(n), self._space) for n in range(count)]

    def _add(self, facts: History, *commands: str) -> None:
        """Put facts on record, and with them the ends that wait for that."""
        facts.learn(self._late)
        self._store.add_plan(history.KIND, self.name, facts.as_plan(*commands))
        self._late = History()
        self._loose += 1
        if self._loose > _LOOSE:
            self._unite()

    def _unite(self) -> None:
        self._loose = 0
        self._store.unite_plans(history.KIND, self.name)

    @property
    def generation(self) -> int:
        """How many trials run side by side; known once `begin` was called."""
        assert self._facts.search is not None
        return self._facts.search.generation

    def ask(self, number: int, params: Mapping[str, Value], runs: Sequence[str]) -> None:
        """Put a trial on record, before its runs begin.

        Raises:
            StorageError: it is not on record.
        """
        space = self._space
        asked = Asked(
            number=number,
            generation=self.generation,
            params={
                name: space[name].to_external_repr(space[name].to_internal_repr(value))
                for name, value in params.items()
            },
            runs=tuple(runs),
            when=_now(),
        )
        self._add(History(asked={number: asked}))
        self._facts.asked[number] = asked
        self._trials[number] = history.frozen(asked, None, space)
        self._journal.ask(self._trials[number])

    def report(self, number: int, epoch: int, value: float) -> None:
        """A running trial has a value of its objective; it is on record once the trial ends."""
        self._trials[number].intermediate_values[epoch] = value
        self._journal.report(number, epoch, value)

    def tell(
        self,
        number: int,
        state: TrialState,
        values: Sequence[float] | None = None,
        metrics: Mapping[str, float] | None = None,
        reason: str | None = None,
    ) -> None:
        """Put the end of a trial on record; the first one counts, should its runs be done again.

        A result is written with the next fact: until then it follows from the runs.

        Raises:
            StorageError: it is not on record.
        """
        reports = tuple(sorted(self._trials[number].intermediate_values.items()))
        if state == TrialState.PRUNED and reports:
            values = [reports[-1][1]]
        ended = self._facts.ended.get(number) or Ended(
            number=number,
            state=state.name,
            values=None if values is None else tuple(values),
            metrics=metrics,
            reason=reason,
            reports=reports,
            when=_now(),
        )
        trial = history.frozen(self._facts.asked[number], ended, self._space)
        self._trials[number] = trial
        if number not in self._facts.ended:
            self._facts.ended[number] = self._late.ended[number] = ended
            if state != TrialState.COMPLETE:
                self._add(History())
            self._journal.tell(trial)

    def close(self) -> None:
        """At the end of a command: few files, and the journal where the store is.

        Raises:
            StorageError: it could not be written.
        """
        if self._late.ended:
            self._add(History())
        self._unite()
        self._journal.save()

    def __enter__(self) -> "Study":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self.close()
        else:
            with contextlib.suppress(StorageError):
                self.close()

    # ---- reading

    def next_number(self) -> int:
        """The smallest number that no trial has."""
        numbers = self._trials
        if len(numbers) == 0 or next(reversed(numbers)) == len(numbers) - 1:
            return len(numbers)
        return next(n for n in range(len(numbers) + 1) if n not in numbers)

    @property
    def by_number(self) -> Mapping[int, FrozenTrial]:
        """Number -> trial."""
        return self._trials

    def trials(self, *states: TrialState) -> list[FrozenTrial]:
        """Trials in these states, all when none is given, by number."""
        found = (self._trials[number] for number in sorted(self._trials))
        return [trial for trial in found if not states or trial.state in states]

    def over(self) -> list[FrozenTrial]:
        """Trials that have ended, by number."""
        return [trial for trial in self.trials() if trial.state.is_finished()]

    def failed(self) -> list[FrozenTrial]:
        """Failed trials, by number, whose configuration has no result and is not running."""
        tried = {
            json.dumps(t.params)
            for t in self.trials()
            if t.values is not None or t.state == TrialState.RUNNING
        }
        lost = self.trials(TrialState.FAIL)
        return [trial for trial in lost if json.dumps(trial.params) not in tried]

    def again(self) -> list[dict[str, Value]]:
        """The configurations of failed trials, each once."""
        return list({json.dumps(trial.params): trial.params for trial in self.failed()}.values())

    def best(self) -> list[FrozenTrial]:
        """Trials by the one objective, best first; the Pareto front where there are several."""
        objectives = self._settings.objectives
        if len(objectives) > 1:
            front = self._facts.optuna(self.name).best_trials
            return sorted(front, key=lambda trial: trial.number)
        sign = -1 if objectives[0].better == "max" else 1
        complete = self.trials(TrialState.COMPLETE)
        return sorted(complete, key=lambda trial: (sign * trial.values[0], trial.number))


def short(value: Value) -> str:
    """A parameter's value for a table; words as `--set` takes them."""
    return f"{value:.3g}" if isinstance(value, float) else text(value)


def _now() -> str:
    return datetime.datetime.now().isoformat()
