"""What commands asked of a suite: the runs of its rows, and the suite as it was then.

The plan of a suite, in the store, is JSON; here it is records, each with the two ways between them.
A plan only grows. `current` says which of its runs count now.
"""

import dataclasses
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from deep_clustering.ablations._suite import Claim, Row, Suite
from deep_clustering.ablations._variants import Times
from deep_clustering.platform.request import configs
from deep_clustering.platform.request.jobs import ENCODER, Job
from deep_clustering.platform.store.store import Plan, PlannedRun
from deep_clustering.platform.suites._files import built
from deep_clustering.platform.suites.suites import Arm, Expansion

#: What is said of a data set whose seeds were not all asked for at once.
_ADDED = (
    "seeds were added after the first results; verdicts allow for that, intervals of means do not"
)

#: Key of the one evaluation that the first release knew, in the suites that it stored.
_BEFORE = "ood"


@dataclass(frozen=True, kw_only=True)
class SuiteRun:
    """A run that a command asked for, and the row of the suite that it is for.

    Attributes:
        variant: name of the row.
        head: the head whose metrics count, None for the method's final one.
        dataset: its name.
        arm: digest of what the seeds of a row share; see `arm_of`.
        asked: when it was first asked for, ISO 8601 in UTC.
        pretraining: seed of the pretraining that it stands on, by itself or through its base; None
            without one, and in plans of older releases.
    """

    run_id: str
    variant: str
    head: str | None
    dataset: str
    seed: int
    arm: str
    asked: str
    pretraining: int | None = None

    def planned(self) -> PlannedRun:
        """The run as the store keeps it."""
        labels = dataclasses.asdict(self)
        return PlannedRun(run_id=labels.pop("run_id"), labels=labels)

    @classmethod
    def of(cls, run: PlannedRun) -> "SuiteRun":
        """The inverse of `planned`."""
        return cls(run_id=run.run_id, **run.labels)

    @property
    def place(self) -> tuple[str, str, int | None, int]:
        """Row, data set, pretraining and seed."""
        return self.variant, self.dataset, self.pretraining, self.seed


@dataclass(frozen=True, kw_only=True)
class Definition:
    """A suite as a command asked for it."""

    suite: Suite
    asked: str  # when, ISO 8601 in UTC

    @property
    def digest(self) -> str:
        """What tells definitions of a suite apart: not what is only said of them."""
        return configs.digest(definition(dataclasses.replace(self.suite, title="", note="")))

    def as_json(self) -> dict[str, Any]:
        """The definition as the store keeps it."""
        return {"digest": self.digest, "suite": definition(self.suite), "asked": self.asked}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "Definition":
        """The inverse of `as_json`."""
        return cls(suite=restored(value["suite"]), asked=value["asked"])


@dataclass(frozen=True, kw_only=True)
class Impossible:
    """A row that cannot run on a data set."""

    variant: str
    dataset: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class SuitePlan:
    """The plan of a suite; what the store keeps of it, as records."""

    runs: tuple[SuiteRun, ...] = ()
    definitions: tuple[Definition, ...] = ()
    impossible: tuple[Impossible, ...] = ()
    datasets: tuple[str, ...] = ()
    commands: tuple[str, ...] = ()

    def as_plan(self) -> Plan:
        """The plan as the store keeps it."""
        return Plan(
            runs=tuple(run.planned() for run in self.runs),
            commands=self.commands,
            details={
                "definitions": tuple(one.as_json() for one in self.definitions),
                "impossible": tuple(dataclasses.asdict(one) for one in self.impossible),
                "datasets": tuple({"dataset": name} for name in self.datasets),
            },
        )

    @classmethod
    def of(cls, plan: Plan) -> "SuitePlan":
        """The inverse of `as_plan`; also of plans that older releases wrote."""
        return cls(
            runs=tuple(SuiteRun.of(run) for run in plan.runs),
            definitions=tuple(map(Definition.from_json, plan.details.get("definitions", ()))),
            impossible=tuple(Impossible(**one) for one in plan.details.get("impossible", ())),
            datasets=tuple(one["dataset"] for one in plan.details.get("datasets", ())),
            commands=plan.commands,
        )


@dataclass(frozen=True, kw_only=True)
class Current:
    """A suite as it is now: its newest definition, and the runs that belong to it.

    Attributes:
        runs: of the current configuration of each row, in the order of the table.
        impossible: (variant, data set) -> reason.
        datasets: those that were asked for, the suite's own first.
        remarks: what a reader of verdicts has to know.
        commands: as they were typed.
    """

    suite: Suite
    runs: Sequence[SuiteRun]
    impossible: Mapping[tuple[str, str], str]
    datasets: Sequence[str]
    remarks: Sequence[str]
    commands: Sequence[str]

    @property
    def run_ids(self) -> tuple[str, ...]:
        """Each run once; one may stand for several rows."""
        return tuple(dict.fromkeys(run.run_id for run in self.runs))


def plan_of(expansion: Expansion, before: Plan, now: str, command: str) -> Plan:
    """What a command adds to the plan of its suite.

    A run that is the newest of its row, data set and seed already keeps its time, so that the same
    command again adds nothing.

    Args:
        expansion: what the command asks for.
        before: the plan of the suite so far.
        now: ISO 8601 in UTC.
        command: as it was typed.
    """
    earlier = SuitePlan.of(before)
    newest = {run.place: run for run in _by_time(earlier.runs)}
    runs = []
    for arm in expansion.arms:
        for job in arm.runs:
            run = _asked(arm, job, now)
            known = newest.get(run.place)
            same = known is not None and dataclasses.replace(known, asked=now) == run
            runs.append(known if known is not None and same else run)
    described = Definition(suite=expansion.suite, asked=now)
    last = _by_time(earlier.definitions)[-1:]
    if last and last[0].digest == described.digest:
        described = last[0]
    return SuitePlan(
        runs=tuple(runs),
        definitions=(described,),
        impossible=tuple(
            Impossible(variant=arm.row.name, dataset=arm.dataset, reason=arm.impossible)
            for arm in expansion.arms
            if arm.impossible
        ),
        datasets=tuple(expansion.requests),
        commands=(command,),
    ).as_plan()


def current(plan: Plan) -> Current:
    """The newest definition of a suite, with the runs that belong to it.

    Where a row's configuration, its data or its method changed, the runs from before the change are
    left out, so that one cell never mixes two configurations.
    """
    whole = SuitePlan.of(plan)
    definitions = _by_time(whole.definitions)
    suite = definitions[-1].suite
    order = {row.name: i for i, row in enumerate(suite.rows)}
    by_cell: dict[tuple[str, str], list[SuiteRun]] = {}
    for run in _by_time(whole.runs):
        if run.variant in order:
            by_cell.setdefault((run.dataset, run.variant), []).append(run)
    runs: list[SuiteRun] = []
    grown = set()
    for (dataset, _), asked in by_cell.items():
        of_newest = [run for run in asked if run.arm == asked[-1].arm]
        first = {run.run_id: run for run in reversed(of_newest)}  # the first time it was asked for
        runs += first.values()
        if len({run.asked for run in first.values()}) > 1:
            grown.add(dataset)
    names = [name for name in suite.datasets if name in whole.datasets]
    names += [name for name in sorted(set(whole.datasets)) if name not in names]
    runs.sort(
        key=lambda run: (
            names.index(run.dataset),
            order[run.variant],
            -1 if run.pretraining is None else run.pretraining,
            run.seed,
        )
    )
    remarks = [f"{name}: {_ADDED}" for name in sorted(grown)]
    if len({one.digest for one in definitions}) > 1:
        remarks.append("the suite's rows, claims or margins changed after it was first run")
    return Current(
        suite=suite,
        runs=runs,
        impossible={(one.variant, one.dataset): one.reason for one in whole.impossible},
        datasets=names,
        remarks=remarks,
        commands=whole.commands,
    )


def definition(suite: Suite) -> dict[str, Any]:
    """A suite as JSON, without its number of seeds, which each command chooses."""
    plain = dataclasses.asdict(suite)
    plain.pop("seeds")
    value: dict[str, Any] = json.loads(configs.canonical(plain))
    return value


def restored(value: Mapping[str, Any]) -> Suite:
    """The inverse of `definition`; also of those that the first release wrote."""
    rows = tuple(
        built(Row, "a stored suite", {**row, "changes": _changes(row.get("changes", {}))})
        for row in value["rows"]
    )
    claims = tuple(built(Claim, "a stored suite", claim) for claim in value["claims"])
    rest = {k: v for k, v in value.items() if k not in ("rows", "claims", _BEFORE)}
    if _BEFORE in value:
        rest["evaluations"] = {_BEFORE: value[_BEFORE]} if value[_BEFORE] else {}
    return built(Suite, "a stored suite", {**rest, "rows": rows, "claims": claims})


def _changes(stored: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: Times(**value)
        if isinstance(value, Mapping)
        else tuple(value)
        if isinstance(value, list)
        else value
        for name, value in stored.items()
    }


def arm_of(job: Job) -> str:
    """What the runs of one row share: a run's identity without the seeds of run and pretraining."""
    rest = {
        "method": job.method,
        "version": job.version,
        "config": {name: value for name, value in job.config.items() if name != "pretrain.seed"},
        "dataset": job.dataset,
        "protocol": job.protocol,
    }
    return configs.digest(rest)


def _asked(arm: Arm, job: Job, now: str) -> SuiteRun:
    return SuiteRun(
        run_id=job.id,
        variant=arm.row.name,
        head=arm.row.head,
        dataset=arm.dataset,
        seed=job.seed,
        arm=arm_of(job),
        asked=now,
        pretraining=_pretraining(job, {one.id: one for one in arm.wanted.jobs}),
    )


def _pretraining(job: Job, jobs: Mapping[str, Job]) -> int | None:
    """Seed of the pretraining among all that a job stands on."""
    if job.kind == ENCODER:
        return job.seed
    known = (_pretraining(jobs[id], jobs) for id in job.needs.values() if id in jobs)
    return next((seed for seed in known if seed is not None), None)


T = TypeVar("T", SuiteRun, Definition)


def _by_time(items: Iterable[T]) -> list[T]:
    return sorted(items, key=lambda item: item.asked)
