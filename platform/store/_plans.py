"""Which runs the commands asked for: immutable files, several per name, read as their union."""

import functools
import json
import operator
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from deep_clustering.platform.store._damage import problem, warn
from deep_clustering.platform.store._files import Files, reading, saving
from deep_clustering.platform.store._json import decoded, encoded
from deep_clustering.platform.store._segments import short
from deep_clustering.platform.store.schema import Damaged


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

    def __or__(self, other: "Plan") -> "Plan":
        """The union; what both say stands in it once."""
        names = dict.fromkeys([*self.details, *other.details])
        return Plan(
            runs=_joined(self.runs, other.runs),
            commands=_joined(self.commands, other.commands),
            details={n: _joined(self.details.get(n, ()), other.details.get(n, ())) for n in names},
        )

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

    def read(self, kind: str, name: str) -> Plan:
        """The union of all plans of a name; one without runs when there is none."""
        with reading(self._files):
            paths = self._files.names(f"plans/{kind}/{name}")
            plans = [self.one(path, warned=True) or Plan() for path in paths]
        return functools.reduce(operator.or_, plans, Plan())

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

    def one(self, path: str, *, warned: bool = False) -> Plan | None:
        """The plan in a file; None when it is damaged or gone."""
        try:
            return _decoded(path, self._files.read(path))
        except FileNotFoundError:
            return None  # the writer of a larger plan has just removed it
        except (Damaged, OSError) as error:
            if warned:
                warn(problem(path, error), "the runs themselves are not concerned")
            return None


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


def _joined(left: tuple[Any, ...], right: tuple[Any, ...]) -> tuple[Any, ...]:
    """Both, and what is in both once."""
    known = {_key(item) for item in left}
    return (*left, *(item for item in right if _key(item) not in known))


def _among(some: Iterable[Any], all_: Iterable[Any]) -> bool:
    return {_key(item) for item in some} <= {_key(item) for item in all_}


def _key(item: Any) -> str:
    """A text that two items share when they say the same."""
    value = item.as_json() if isinstance(item, PlannedRun) else item
    return json.dumps(value, sort_keys=True)
