"""What the store knows of a search: what it was asked, what each trial tried, and how it ended.

These facts stand in the plans of the study, which are immutable and carry a checksum. A trial is on
record before its runs begin, its end as soon as they are over. Optuna's journal is a copy of them.
"""

import datetime
import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Literal

import optuna
from optuna.distributions import BaseDistribution, distribution_to_json, json_to_distribution
from optuna.storages import InMemoryStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from deep_clustering.platform.errors import InputError, StorageError
from deep_clustering.platform.request.configs import Value
from deep_clustering.platform.search._records import record
from deep_clustering.platform.store.store import Plan, PlannedRun, Store

optuna.logging.set_verbosity(optuna.logging.ERROR)

Direction = Literal["minimize", "maximize"]

#: The kind of the plans.
KIND = "study"


@dataclass(frozen=True, kw_only=True)
class Search:
    """What a search was asked to do."""

    settings: Mapping[str, Value]  # see `study.Settings.as_json`
    generation: int  # how many trials run side by side, see `proposals`
    directions: tuple[Direction, ...]  # "maximize" or "minimize", of each objective
    distributions: Mapping[str, str]  # field -> what it is drawn from, in Optuna's JSON

    @property
    def space(self) -> dict[str, BaseDistribution]:
        """Field -> what it is drawn from."""
        return {name: json_to_distribution(text) for name, text in self.distributions.items()}


@dataclass(frozen=True, kw_only=True)
class Asked:
    """A trial's proposal; `proposals` says from which results it is made."""

    number: int
    generation: int  # how many trials run side by side
    params: Mapping[str, Value]
    runs: tuple[str, ...]  # ids; none where the combination cannot exist
    when: str  # ISO 8601


@dataclass(frozen=True, kw_only=True)
class Ended:
    """How a trial ended."""

    number: int
    state: str  # a name of `TrialState`
    values: tuple[float, ...] | None  # of the objectives
    metrics: Mapping[str, float] | None  # means over the runs
    reason: str | None  # of a failure
    reports: tuple[tuple[int, float], ...]  # epoch and value of the objective, for a scheduler
    when: str  # ISO 8601


@dataclass(kw_only=True)
class History:
    """The facts of a search; trials by number."""

    search: Search | None = None
    asked: dict[int, Asked] = field(default_factory=dict)
    ended: dict[int, Ended] = field(default_factory=dict)

    def missing(self, other: "History") -> "History":
        """What another history knows and this one does not."""
        return History(
            search=other.search if self.search is None else None,
            asked={n: fact for n, fact in other.asked.items() if n not in self.asked},
            ended={n: fact for n, fact in other.ended.items() if n not in self.ended},
        )

    def learn(self, other: "History") -> None:
        """Add what another history knows besides."""
        more = self.missing(other)
        self.search = self.search or more.search
        self.asked.update(more.asked)
        self.ended.update(more.ended)

    def as_plan(self, *commands: str) -> Plan:
        """The plan that puts these facts on record."""
        search = () if self.search is None else (asdict(self.search),)
        details = {
            "search": search,
            "asked": tuple(map(asdict, self.asked.values())),
            "ended": tuple(map(asdict, self.ended.values())),
        }
        runs = (PlannedRun(run_id=id) for fact in self.asked.values() for id in fact.runs)
        said = {name: facts for name, facts in details.items() if facts}
        return Plan(runs=tuple(runs), commands=commands, details=said)

    @classmethod
    def from_plan(cls, plan: Plan) -> "History":
        """The inverse; where facts contradict each other the first one counts.

        Raises:
            ValueError: a fact is none that `as_plan` has written.
        """
        known = cls()
        for one in plan.details.get("search", ())[:1]:
            known.search = record(Search, one)
        for one in plan.details.get("asked", ()):
            asked = record(Asked, one)
            known.asked.setdefault(asked.number, asked)
        for one in plan.details.get("ended", ()):
            ended = record(Ended, one)
            known.ended.setdefault(ended.number, ended)
        return known

    @classmethod
    def of(cls, search: Search | None, generation: int, trials: Iterable[FrozenTrial]) -> "History":
        """From trials as Optuna keeps them; those that were never proposed in full are left out."""
        known = cls(search=search)
        for trial in trials:
            attrs = trial.user_attrs
            if not proposed(trial):
                continue
            known.asked[trial.number] = Asked(
                number=trial.number,
                generation=generation,
                params=trial.params,
                runs=tuple(attrs.get("runs", ())),
                when=_moment(trial.datetime_start),
            )
            if trial.state.is_finished():
                known.ended[trial.number] = Ended(
                    number=trial.number,
                    state=trial.state.name,
                    values=None if trial.values is None else tuple(trial.values),
                    metrics=attrs.get("metrics"),
                    reason=attrs.get("reason"),
                    reports=tuple(sorted(trial.intermediate_values.items())),
                    when=_moment(trial.datetime_complete),
                )
        return known

    def check(self) -> None:
        """See that the facts fit each other.

        Raises:
            ValueError, TypeError, KeyError: they do not.
        """
        if self.search is None:
            return
        space, each = self.search.space, len(self.search.directions)
        counts: dict[TrialState, set[int | None]] = {  # of values, as Optuna demands it
            TrialState.COMPLETE: {each},
            TrialState.PRUNED: {None, each},
            TrialState.FAIL: {None},
        }
        for asked in self.asked.values():
            if asked.number < 0 or asked.generation < 1:
                raise ValueError(f"there is no trial {asked.number} of {asked.generation} at once")
            datetime.datetime.fromisoformat(asked.when)
            for name, value in asked.params.items():
                space[name].to_internal_repr(value)
        for ended in self.ended.values():
            datetime.datetime.fromisoformat(ended.when)
            count = None if ended.values is None else len(ended.values)
            if count not in counts[TrialState[ended.state]] or any(
                map(math.isnan, ended.values or ())
            ):
                raise ValueError(f"trial {ended.number} is {ended.state} with {ended.values}")

    def trials(self) -> list[FrozenTrial]:
        """The trials as Optuna has them, by number."""
        if self.search is None:
            return []
        space = self.search.space
        numbers = sorted(self.asked)
        return [frozen(self.asked[n], self.ended.get(n), space) for n in numbers]

    def optuna(self, name: str) -> optuna.Study:
        """The search as a study of Optuna, in memory.

        Raises:
            InputError: it is not on record what was searched.
        """
        if self.search is None:
            raise InputError(f"what the study '{name}' was asked to do is not on record.")
        study = optuna.create_study(
            study_name=name, directions=list(self.search.directions), storage=InMemoryStorage()
        )
        study.add_trials(self.trials())
        return study


def read(store: Store, name: str) -> History:
    """The facts of a study; empty when there are none, as in stores of release 0.1.

    Raises:
        StorageError: they are whole, but no release has written them.
    """
    return known(store.read_plan(KIND, name), name)


def known(plan: Plan, name: str) -> History:
    """The facts in the plan of a study.

    Raises:
        StorageError: no release has written them.
    """
    try:
        facts = History.from_plan(plan)
        facts.check()
    except (ValueError, TypeError, KeyError, OverflowError) as error:
        raise StorageError(
            f"a plan of the study '{name}' was written by something else ({error}); take it out "
            f"of plans/{KIND}/{name} in the store."
        ) from error
    return facts


def proposed(trial: FrozenTrial) -> bool:
    """Whether a trial in Optuna's books was proposed in full: it has ended, or it has its runs."""
    return trial.state.is_finished() or bool(trial.user_attrs.get("runs"))


def search_of(
    settings: Mapping[str, Value],
    generation: int,
    directions: Iterable[StudyDirection],
    space: Mapping[str, BaseDistribution],
) -> Search:
    """The record of a search."""
    return Search(
        settings=json.loads(json.dumps(settings)),  # as it will be read back
        generation=generation,
        directions=tuple(map(direction, directions)),
        distributions={name: distribution_to_json(d) for name, d in space.items()},
    )


def direction(objective: StudyDirection) -> Direction:
    """Its name."""
    return "maximize" if objective == StudyDirection.MAXIMIZE else "minimize"


def frozen(asked: Asked, ended: Ended | None, space: Mapping[str, BaseDistribution]) -> FrozenTrial:
    """A trial as Optuna has it; `space` gives the distribution of every parameter."""
    attrs: dict[str, object] = {"runs": list(asked.runs)}
    if ended is not None and ended.metrics is not None:
        attrs["metrics"] = dict(ended.metrics)
    if ended is not None and ended.reason is not None:
        attrs["reason"] = ended.reason
    return FrozenTrial(
        number=asked.number,
        trial_id=asked.number,
        state=TrialState.RUNNING if ended is None else TrialState[ended.state],
        value=None,
        values=None if ended is None or ended.values is None else list(ended.values),
        datetime_start=datetime.datetime.fromisoformat(asked.when),
        datetime_complete=None if ended is None else datetime.datetime.fromisoformat(ended.when),
        params=dict(asked.params),
        distributions={name: space[name] for name in asked.params},
        user_attrs=attrs,
        system_attrs={},
        intermediate_values={} if ended is None else dict(ended.reports),
    )


def _moment(when: datetime.datetime | None) -> str:
    return (when or datetime.datetime.now()).isoformat()
