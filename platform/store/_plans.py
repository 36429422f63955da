"""Which runs the commands asked for: immutable files, several per name, read as their union."""

import json
from collections.abc import Mapping
from typing import Any

from deep_clustering.platform.store._damage import problem, warn
from deep_clustering.platform.store._files import Files, reading, saving
from deep_clustering.platform.store._segments import short
from deep_clustering.platform.store.schema import Damaged


class Plans:
    """The plans of a store, `plans/<kind>/<name>/<hash>.json`."""

    def __init__(self, files: Files) -> None:
        self._files = files

    def write(self, kind: str, name: str, plan: Mapping[str, Any]) -> None:
        """Add a plan; those that say nothing beyond it go, so that a search leaves one file."""
        data = as_json(plan)
        folder = f"plans/{kind}/{name}"
        path = f"{folder}/{short(data)}.json"
        with saving(self._files, f"the plan of {name}"):
            others = self._files.names(folder)
            if path in others and self.one(path) is not None:
                return
            self._files.write(path, data)
            for other in others:
                known = self.one(other)
                if other != path and known is not None and _within(known, json.loads(data)):
                    self._files.delete(other)

    def read(self, kind: str, name: str) -> dict[str, Any]:
        """The union of all plans of a name; empty when there is none."""
        union: dict[str, Any] = {}
        with reading(self._files):
            for path in self._files.names(f"plans/{kind}/{name}"):
                union = _joined(union, self.one(path, warned=True) or {})
        return union

    def names(self, kind: str) -> list[str]:
        """Names of the plans of a kind, sorted."""
        with reading(self._files):
            found = self._files.names(f"plans/{kind}")
        return sorted({p.split("/")[2] for p in found if p.count("/") == 3})

    def damaged(self) -> list[str]:
        """Paths of plans that are not what was written."""
        with reading(self._files):
            found = self._files.names("plans")
        return [p for p in found if p.endswith(".json") and self.one(p) is None]

    def one(self, path: str, *, warned: bool = False) -> dict[str, Any] | None:
        """The plan in a file; None when it is damaged or gone."""
        try:
            data = self._files.read(path)
            if path.rpartition("/")[2] != f"{short(data)}.json":
                raise Damaged(path, "its checksum does not match")
            found = json.loads(data)
            return found if isinstance(found, dict) else None
        except FileNotFoundError:
            return None  # a larger one has just taken its place
        except (Damaged, OSError) as error:
            if warned:
                warn(problem(path, error), "the runs themselves are not concerned")
            return None


def as_json(value: Any) -> bytes:
    """The one way in which a value is written."""
    return json.dumps(value, sort_keys=True, ensure_ascii=False, indent=1).encode()


def _joined(left: Mapping[str, Any], right: Mapping[str, Any]) -> dict[str, Any]:
    """The union of two plans."""
    union = dict(left)
    for key, value in right.items():
        known = union.get(key)
        if isinstance(known, list) and isinstance(value, list):
            texts = {as_json(v) for v in known}
            union[key] = known + [v for v in value if as_json(v) not in texts]
        elif isinstance(known, dict) and isinstance(value, dict):
            union[key] = _joined(known, value)
        else:
            union[key] = value
    return union


def _within(small: Any, large: Any) -> bool:
    """Whether a plan says nothing that another does not say too."""
    if isinstance(small, dict) and isinstance(large, dict):
        return all(k in large and _within(v, large[k]) for k, v in small.items())
    if isinstance(small, list) and isinstance(large, list):
        texts = {as_json(v) for v in large}
        return all(as_json(v) in texts for v in small)
    return bool(small == large)
