"""The stages of a store: work that many runs share, its artefacts first, its row last."""

import contextlib
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from deep_clustering.platform._disk import attempt
from deep_clustering.platform.errors import InputError, StorageError
from deep_clustering.platform.store._commits import Commits, row_file
from deep_clustering.platform.store._copies import Copies
from deep_clustering.platform.store._files import Files, checked, inside, saving, set_aside
from deep_clustering.platform.store._names import checked_id
from deep_clustering.platform.store._rows import Rows


class Stages:
    """What `Store` does with stages; its methods say what these take, give and raise."""

    def __init__(self, files: Files, rows: Rows, commits: Commits, copies: Copies) -> None:
        self._files, self._rows, self._commits, self._copies = files, rows, commits, copies

    def ready(self, id: str) -> bool:
        """Whether a stage is finished: its row is sound and its files are there in full."""
        path = self._rows.result("stages", checked_id(id))
        if path is None:
            return False
        try:
            row = self._rows.row(path)
            sizes = zip(row["artefact_files"] or (), row["artefact_bytes"] or (), strict=True)
            return all(inside(f) and self._files.size(f) == size for f, size in sizes)
        except (OSError, StorageError):
            return False

    def listed(self) -> set[str]:
        """Ids of the stages that have a row, whatever has become of their files."""
        return {e.id for e in self._rows.entries("stages") if e.failure is None}

    def row(self, id: str) -> dict[str, Any]:
        """The row of a finished stage, with every core column."""
        path = self._rows.result("stages", checked_id(id))
        if path is None:
            raise InputError(f"there is no finished stage '{id}' in {self._files.where}.")
        return self._rows.row(path)

    def commit(self, row: Mapping[str, Any], artefacts: Mapping[str, bytes]) -> bool:
        """Make shared work durable."""
        id, token = checked_id(row.get("stage_id")), attempt()
        files = {checked(f"artefacts/{id}/{token}/{n}"): data for n, data in artefacts.items()}
        full = {
            **row,
            "status": "ok",
            "artefact_names": list(artefacts),
            "artefact_files": list(files),
            "artefact_sha256": [hashlib.sha256(data).hexdigest() for data in files.values()],
            "artefact_bytes": [len(data) for data in files.values()],
        }
        data = row_file("stages", full)
        with saving(self._files, f"stage {id}"):
            if self.ready(id):
                self._files.sync("stages")
                return False
            for path in self._rows.results("stages", id):
                self._commits.make_way(path)
                with contextlib.suppress(FileNotFoundError):
                    set_aside(self._files, path)  # sound, but its files are not there
            won = self._commits.result("stages", id, data, files)
        if not won:
            self._commits.discard_unnamed("stages", id, files)
        return won

    def artefact(self, id: str, name: str) -> Path:
        """A file on this machine with what a stage made, verified."""
        row = self.row(id)
        names = list(row["artefact_names"] or ())
        if name not in names:
            raise InputError(f"stage {id} has no '{name}'; it has {', '.join(names)}.")
        number = names.index(name)
        file = row["artefact_files"][number]
        path = self._copies.verified(file, row["artefact_sha256"][number])
        if path is None:
            for bad in (*self._rows.results("stages", id), file):
                with contextlib.suppress(OSError):
                    set_aside(self._files, bad)
            raise StorageError(
                f"{name} of stage {id} is damaged ({file}); it was moved to quarantine/: "
                "give the same command again to compute it anew."
            )
        return path
