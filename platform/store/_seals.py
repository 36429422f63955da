"""What was once in the store, so that what goes missing later is noticed.

`seals/<hash>.json` holds names that a command found in the store when it began or ended: rows of
runs, attempts and stages by their file, plans by their folder. Seals are immutable; several are
united, and many are merged into one. What is sealed and not here was lost or taken away.
"""

from collections.abc import Collection

from deep_clustering.platform.store._damage import Problem, problem, warn
from deep_clustering.platform.store._files import Files, inside, reading
from deep_clustering.platform.store._json import decoded, encoded
from deep_clustering.platform.store._rows import Rows
from deep_clustering.platform.store._segments import short
from deep_clustering.platform.store.schema import Damaged

#: So many seals are merged into one.
_MANY = 16
#: What is wrong with a sealed name that is not here.
LOST = "missing, although it was here once"
#: The folders whose content is sealed.
SEALED = ("runs", "stages", "plans")


class Seals:
    """The seals of a store. What they hold is immutable, so it is remembered."""

    def __init__(self, files: Files, rows: Rows) -> None:
        self._files, self._rows = files, rows
        self._contents: dict[str, frozenset[str]] = {}

    def write(self) -> None:
        """Seal what is in the store and in no seal yet.

        Raises:
            OSError, StorageError: it was not written.
        """
        seals = self._all()
        known = frozenset().union(*seals.values())
        new = self._present() - known
        if new and len(seals) < _MANY:
            self._put(new)
        elif new:
            self._replace(seals, known | new)

    def lost(self, folder: str) -> list[str]:
        """Sealed names of a folder of `SEALED` that are not in the store, sorted."""
        with reading(self._files):
            sealed = {n for n in self._known() if n.startswith(f"{folder}/")}
            return sorted(sealed - self._in(folder)) if sealed else []

    def warn_of_loss(self, folder: str) -> None:
        """Tell, in one warning, of what was lost from a folder."""
        lost = self.lost(folder)
        if lost:
            more = f", as {len(lost) - 1} more" * (len(lost) > 1)
            again = "write" if folder == "plans" else "compute"
            then = f"the commands that asked for it {again} it again; `platform verify` names them"
            warn(Problem(lost[0], "missing", LOST + more), then)

    def forget(self, names: Collection[str]) -> None:
        """Break the seal on what is known to be gone, so that it is not missed any more."""
        seals = self._all()
        self._replace(seals, frozenset().union(*seals.values()) - set(names))

    def damaged(self) -> list[str]:
        """Paths of seals that are not what was written."""
        with reading(self._files):
            return [path for path in self._paths() if self.one(path) is None]

    def one(self, path: str, *, warned: bool = False) -> frozenset[str] | None:
        """The names in a seal; None when it is damaged or gone."""
        if path not in self._contents:
            try:
                self._contents[path] = _names(path, self._files.read(path))
            except FileNotFoundError:
                return None  # merged just now
            except (Damaged, OSError) as error:
                if warned:
                    warn(problem(path, error), "the results themselves are not concerned")
                return None
        return self._contents[path]

    def _paths(self) -> list[str]:
        return [path for path in self._files.names("seals") if path.endswith(".json")]

    def _all(self) -> dict[str, frozenset[str]]:
        contents = {path: self.one(path, warned=True) for path in self._paths()}
        return {path: names for path, names in contents.items() if names is not None}

    def _known(self) -> frozenset[str]:
        return frozenset().union(*self._all().values())

    def _present(self) -> frozenset[str]:
        return frozenset().union(*(self._in(folder) for folder in SEALED))

    def _in(self, folder: str) -> frozenset[str]:
        if folder == "plans":
            paths = self._files.names("plans")
            return frozenset("/".join(p.split("/")[:3]) for p in paths if p.count("/") == 3)
        return frozenset(entry.name for entry in self._rows.entries(folder))

    def _put(self, names: Collection[str]) -> str:
        data = encoded({"names": sorted(names)})
        path = f"seals/{short(data)}.json"
        self._files.write(path, data)
        return path

    def _replace(self, seals: Collection[str], names: frozenset[str]) -> None:
        """Write one seal in place of others, which go only after it is durable."""
        written = self._put(names) if names else None
        for path in seals:
            if path != written:
                self._files.delete(path)


def _names(path: str, data: bytes) -> frozenset[str]:
    """What a seal holds; its name is its checksum.

    Raises:
        Damaged: it is not what was written.
    """
    if path != f"seals/{short(data)}.json":
        raise Damaged(path, "its checksum does not match")
    names = decoded(path, data).get("names")
    if not isinstance(names, list) or not all(
        isinstance(name, str) and inside(name) for name in names
    ):
        raise Damaged(path, "it holds no names")
    return frozenset(names)
