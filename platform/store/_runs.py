"""The runs of a store: their rows, tables and models, and how they are committed."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from deep_clustering.platform._disk import attempt
from deep_clustering.platform.errors import InputError, StorageError
from deep_clustering.platform.store import schema
from deep_clustering.platform.store._commits import Commits, row_file
from deep_clustering.platform.store._copies import Copies
from deep_clustering.platform.store._files import Files, saving, unreadable
from deep_clustering.platform.store._names import checked_id
from deep_clustering.platform.store._rows import Rows
from deep_clustering.platform.store._segments import short
from deep_clustering.platform.store.schema import Damaged


class Runs:
    """What `Store` does with runs; its methods say what these take, give and raise."""

    def __init__(self, files: Files, rows: Rows, commits: Commits, copies: Copies) -> None:
        self._files, self._rows, self._commits, self._copies = files, rows, commits, copies
        self._models: dict[str, tuple[str, str]] = {}  # run -> file and checksum not yet committed

    def row(self, id: str) -> dict[str, Any]:
        """The row of a finished run, with every core column."""
        path = self._rows.result("runs", checked_id(id))
        if path is None:
            raise InputError(f"there is no finished run '{id}' in {self._files.where}.")
        return self._rows.row(path)

    def probabilities(self, id: str) -> dict[str, np.ndarray]:
        """Head -> float32 (n, C), the probabilities of a finished run."""
        file = self.row(id)["probabilities_file"]
        if file is None:
            raise InputError(
                f"run {id} has no probabilities in {self._files.where}; runs that an older release "
                "computed, and methods that give none, have no such table."
            )
        try:
            table = self._rows.one("probabilities", file)
        except (Damaged, FileNotFoundError) as error:
            raise StorageError(
                f"the probabilities of run {id} are missing or damaged ({file}); "
                "`platform verify` lists what else is."
            ) from error
        except OSError as error:
            raise unreadable(file, error) from error
        heads = [name for name in table.columns if name not in schema.PROBABILITIES]
        return {head: table[head].to_numpy() for head in heads}

    def commit(
        self,
        row: Mapping[str, Any],
        epochs: pa.Table | None,
        predictions: pa.Table | None,
        probabilities: Mapping[str, np.ndarray] | None,
    ) -> bool:
        """Make a finished run durable."""
        id, token = checked_id(row.get("run_id")), attempt()
        full = {**row, "status": "ok"}
        if full.get("attempts") is None:
            full["attempts"] = self._commits.failures_of(id) + 1
        if id in self._models:
            full["model_file"], full["model_sha256"] = self._models[id]
        given = {"epochs": epochs, "predictions": predictions}
        if probabilities:
            if predictions is None:
                raise ValueError("probabilities: need the table of predictions that orders them")
            given["probabilities"] = schema.probabilities_table(
                predictions["sample"], probabilities
            )
        tables = _tables(id, given, token, full)
        mine = [*tables, *([full["model_file"]] if full.get("model_file") else [])]
        data = row_file("runs", full)
        with saving(self._files, f"run {id}"):
            if self._rows.result("runs", id) is not None:
                self._files.sync("runs")
                won = False
            else:
                won = self._commits.result("runs", id, data, tables)
        if not won:
            self._commits.discard_unnamed("runs", id, mine)
        self._models.pop(id, None)
        return won

    def record_failure(self, row: Mapping[str, Any], epochs: pa.Table | None) -> None:
        """Write down that an attempt ended without a result."""
        id, token = checked_id(row.get("run_id")), attempt()
        if row.get("status") not in ("failed", "stopped", "interrupted"):
            raise ValueError(
                f"status: needs failed, stopped or interrupted, got {row.get('status')!r}"
            )
        number = self._commits.failures_of(id)
        full = {k: v for k, v in row.items() if k not in schema.METRICS}
        full.setdefault("attempts", number + 1)
        tables = _tables(id, {"epochs": epochs}, token, full)
        data = row_file("runs", full)
        with saving(self._files, f"the failure of run {id}"):
            self._commits.failure(id, number, data, tables)

    def write_model(self, id: str, data: bytes) -> str:
        """Write the weights of a run, before this same object commits the run."""
        digest = hashlib.sha256(data).hexdigest()
        path = f"models/{checked_id(id)}.{digest[:16]}.safetensors"
        with saving(self._files, f"the model of run {id}"):
            self._files.write(path, data)
        self._models[id] = path, digest
        return path

    def model_path(self, id: str) -> Path:
        """A file on this machine with the weights of a finished run, verified."""
        row = self.row(id)
        if row["model_file"] is None:
            raise InputError(f"run {id} has no model in {self._files.where}.")
        path = self._copies.verified(row["model_file"], row["model_sha256"])
        if path is None:
            raise StorageError(
                f"the model of run {id} is missing or damaged ({row['model_file']}); "
                "`platform verify` lists what else is."
            )
        return path


def _tables(
    id: str, tables: Mapping[str, pa.Table | None], token: str, row: dict[str, Any]
) -> dict[str, bytes]:
    """The files of a run's tables, path to content; `row` gets columns that name them."""
    files = {}
    for kind, table in tables.items():
        if table is not None:
            fitted = schema.fit_table(kind, id, table)
            data = schema.encode(kind, fitted)
            path = f"{kind}/{id}.{token}.{short(data)}.parquet"
            files[path] = data
            row[f"{kind}_file"], row[f"{kind}_columns"] = path, schema.described(fitted)
    return files
