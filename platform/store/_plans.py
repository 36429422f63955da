"""Which runs the commands asked for: immutable files, several per name, read as their union."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from deep_clustering.platform.store._damage import Problem, problem, warn
from deep_clustering.platform.store._files import Files, reading, saving
from deep_clustering.platform.store._json import decoded, encoded
from deep_clustering.platform.store._segments import pool, short
from deep_clustering.platform.store.schema import Damaged

#: A plan that says so much is not united with others.
_BLOCK = 256


@dataclass(frozen=True, kw_only=True)
class PlannedRun:
    """A run that was asked for."""

    run_id: str
    #: JSON values, such as the `variant` of a suite; they become columns of `results.suite`.
    labels: Mapping[str, Any] = field(default_factory=dict)

    def as_json(self) -> str | dict[str, Any]:
        """The id alone where there are no labels."""
        return {"run_id": self.run_id, **self.labels} if self.labels else self.run_id

    @classmethod
    def from_json(cls, value: str | Mapping[str, Any]) -> "PlannedRun":
        """The inverse of `as_json`."""
        if isinstance(value, str):
            return cls(run_id=value)
        labels = {k: v for k, v in value.items() if k != "run_id"}
        return cls(run_id=value["run_id"], labels=labels)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What one or several commands asked for under one name."""

    runs: tuple[PlannedRun, ...] = ()
    commands: tuple[str, ...] = ()  # as they were typed
    #: What the room that made the plan keeps in it besides; lists of JSON objects by name.
    details: Mapping[str, tuple[Mapping[str, Any], ...]] = field(default_factory=dict)

    @classmethod
    def of(cls, run_ids: Iterable[str], *commands: str) -> "Plan":
        """The plan of a command that asks for runs and has nothing else to say about them."""
        return cls(runs=tuple(PlannedRun(run_id=id) for id in run_ids), commands=commands)

    @property
    def run_ids(self) -> tuple[str, ...]:
        """The runs, each once, in their order."""
        return tuple(dict.fromkeys(run.run_id for run in self.runs))

    @property
    def entries(self) -> int:
        """How much it says: runs and notes."""
        return len(self.runs) + sum(map(len, self.details.values()))

    def within(self, other: "Plan") -> bool:
        """Whether this plan says nothing that the other one does not say too."""
        return (
            _among(self.runs, other.runs)
            and _among(self.commands, other.commands)
            and all(_among(said, other.details.get(n, ())) for n, said in self.details.items())
        )

    def as_json(self) -> dict[str, Any]:
        """The content of its file."""
        body: dict[str, Any] = {"runs": [run.as_json() for run in self.runs]}
        if self.commands:
            body["commands"] = list(self.commands)
        return body | {name: list(said) for name, said in self.details.items()}

    @classmethod
    def from_json(cls, body: Mapping[str, Any]) -> "Plan":
        """The inverse of `as_json`. Release 0.1 wrote one `command` where now is a list."""
        commands = [*body.get("commands", []), *([body["command"]] if "command" in body else [])]
        own = ("runs", "commands", "command")
        return cls(
            runs=tuple(PlannedRun.from_json(run) for run in body.get("runs", [])),
            commands=tuple(commands),
            details={name: tuple(said) for name, said in body.items() if name not in own},
        )


class Plans:
    """The plans of a store, `plans/<kind>/<name>/<hash>.json`."""

    def __init__(self, files: Files) -> None:
        self._files = files

    def write(self, kind: str, name: str, plan: Plan) -> None:
        """Add a plan; those that say nothing beyond it go, so that a search leaves one file."""
        data = encoded(plan.as_json())
        folder = f"plans/{kind}/{name}"
        path = f"{folder}/{short(data)}.json"
        with saving(self._files, f"the plan of {name}"):
            others = self._files.names(folder)
            if path in others and self.one(path) is not None:
                return
            self._files.write(path, data)
            for other in others:
                known = self.one(other)
                if other != path and known is not None and known.within(plan):
                    self._files.delete(other)

    def add(self, kind: str, name: str, plan: Plan) -> None:
        """Add a plan without a look at the others: the way of a search, which adds thousands."""
        data = encoded(plan.as_json())
        with saving(self._files, f"the plan of {name}"):
            self._files.write(f"plans/{kind}/{name}/{short(data)}.json", data)

    def unite(self, kind: str, name: str) -> None:
        """Write the small plans of a name as one, so that there are few files to read.

        A plan of `_BLOCK` entries stays as it is: one damaged file then never takes all with it.
        """
        with saving(self._files, f"the plan of {name}"):
            found = self._all(f"plans/{kind}/{name}")
            small = {path: plan for path, plan in found.items() if plan.entries < _BLOCK}
            if len(small) < 2:
                return
            data = encoded(united(small.values()).as_json())
            whole = f"plans/{kind}/{name}/{short(data)}.json"
            self._files.write(whole, data)
            self._files.delete_files(small.keys() - {whole})

    def read(self, kind: str, name: str) -> Plan:
        """The union of all plans of a name; one without runs when there is none."""
        with reading(self._files):
            return united(self._all(f"plans/{kind}/{name}", warned=True).values())

    def _all(self, folder: str, *, warned: bool = False) -> dict[str, Plan]:
        """Path -> plan, of those in a folder that are sound."""
        with pool(self._files) as threads:
            found = list(threads.map(self._found, self._files.names(folder)))
        for one in found:
            if warned and isinstance(one, Problem):
                warn(one, "the runs themselves are not concerned")
        return dict(one for one in found if isinstance(one, _Found))

    def names(self, kind: str) -> list[str]:
        """Names of the plans of a kind, sorted."""
        with reading(self._files):
            paths = self._files.names(f"plans/{kind}")
        return sorted({path.split("/")[2] for path in paths if path.count("/") == 3})

    def damaged(self) -> list[str]:
        """Paths of plans that are not what was written."""
        with reading(self._files):
            paths = self._files.names("plans")
        return [path for path in paths if path.endswith(".json") and self.one(path) is None]

    def one(self, path: str) -> Plan | None:
        """The plan in a file; None when it is damaged or gone."""
        found = self._found(path)
        return found.plan if isinstance(found, _Found) else None

    def _found(self, path: str) -> "_Found | Problem | None":
        """The plan in a file, or why there is none; None when the file is gone."""
        try:
            return _Found(path, _decoded(path, self._files.read(path)))
        except FileNotFoundError:
            return None  # the writer of a larger plan has just removed it
        except (Damaged, OSError) as error:
            return problem(path, error)


class _Found(NamedTuple):
    path: str
    plan: Plan


def united(plans: Iterable[Plan]) -> Plan:
    """The union of plans; what several say stands in it once."""
    plans = list(plans)
    names = dict.fromkeys(name for plan in plans for name in plan.details)
    return Plan(
        runs=_once(run for plan in plans for run in plan.runs),
        commands=_once(command for plan in plans for command in plan.commands),
        details={n: _once(i for plan in plans for i in plan.details.get(n, ())) for n in names},
    )


def _decoded(path: str, data: bytes) -> Plan:
    """The plan that a file holds; its name is its checksum.

    Raises:
        Damaged: it is not what was written.
    """
    if path.rpartition("/")[2] != f"{short(data)}.json":
        raise Damaged(path, "its checksum does not match")
    try:
        return Plan.from_json(decoded(path, data))
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise Damaged(path, "it holds no plan") from error


def _once(items: Iterable[Any]) -> tuple[Any, ...]:
    """The items in their order, each once."""
    found: dict[str, Any] = {}
    for item in items:
        found.setdefault(_key(item), item)
    return tuple(found.values())


def _among(some: Iterable[Any], all_: Iterable[Any]) -> bool:
    return {_key(item) for item in some} <= {_key(item) for item in all_}


def _key(item: Any) -> str:
    """A text that two items share when they say the same."""
    value = item.as_json() if isinstance(item, PlannedRun) else item
    return json.dumps(value, sort_keys=True)
