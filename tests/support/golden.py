"""Run by `python -m support.golden`: the golden store of this release, and what is read from it.

    PYTHONPATH=tests python -m support.golden FOLDER

writes FOLDER/<release>.tar.gz, a small store with every kind of file, and FOLDER/<release>.json,
what this release reads from it. Made once, when a release is; never again for the same one.
"""

import io
import json
import sys
import tarfile
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from deep_clustering.platform import results
from deep_clustering.platform.run.checkpoints import Checkpoints, EpochRow, History
from deep_clustering.platform.store import schema
from deep_clustering.platform.store.store import Found, Plan, PlannedRun, Store
from support.store_rows import commit, epochs, run, stage


def fill(store: Store) -> None:
    """Runs, attempts, stages, an evaluation, names, plans, a checkpoint, segments and a seal."""
    stage(store, "enc")
    evaluation = {"stage_id": "far", "kind": "ood", "of_run": "r1", "auroc_svhn": 0.875, "ood": "x"}
    store.commit_stage(evaluation, {})
    for number in range(3):
        commit(store, f"r{number}", number / 8)
    store.record_failure(run("r3", status="failed", reason="out of memory"), epochs())
    store.record_failure(run("r4", status="stopped", reason="by the scheduler"), None)
    store.compact()
    store.commit_run(run("late", acc=0.75, stage_id="enc"), epochs(0.75), None)
    store.note_paths("0123456789abcdef", Found("folder:/pictures", ("a", "b", "c", "d")))
    labels = {"variant": "full", "dataset": "digits"}
    store.write_plan("train", "cdc-digits", Plan.of(["r0", "r1"], "platform train cdc"))
    store.write_plan("study", "s", Plan.of(["r1", "r2", "r9"]))
    store.write_plan("suite", "t", Plan(runs=(PlannedRun(run_id="r0", labels=labels),)))
    with Checkpoints(store, "half") as checkpoints:
        rows = (EpochRow(epoch=1, seconds=0.5, values={"loss": 0.25, "acc": None}),)
        told = History(rows=rows, seconds=0.5, started="2026-01-02T03:04:05+00:00")
        checkpoints.save(1, {"w": torch.arange(3.0)}, told)
    store.seal()


def _plain(value: Any) -> Any:
    return json.loads(json.dumps(value, default=str))


def _table(name: str) -> Callable[[Store], Any]:
    keys = {"stages": ["stage_id"], "epochs": ["run_id", "epoch"], "runs": ["run_id"]}

    def read(store: Store) -> Any:
        frame = getattr(results, name)(store).collect()
        return _plain(frame.sort(keys.get(name, ["run_id", "sample"])).to_dicts())

    return read


def _checkpoint(store: Store) -> Any:
    found = Checkpoints(store, "half").load()
    if found is None:
        return None
    return _plain([found.epoch, found.state["w"].tolist(), found.history.as_json()])


#: What is read from it, as JSON, one by one: a name and how.
READS: Mapping[str, Callable[[Store], Any]] = {
    **{name: _table(name) for name in ("runs", "stages", "epochs", "predictions", "probabilities")},
    "study": lambda store: results.study("s", store).collect()["run_id"].to_list(),
    "suite": lambda store: _plain(results.suite("t", store).collect().to_dicts()),
    "commands": lambda store: list(store.read_plan("train", "cdc-digits").commands),
    "paths": lambda store: _plain(store.paths_of("0123456789abcdef")),
    "failures": lambda store: store.failures(),
    "model": lambda store: store.model_path("r1").read_text(),
    "soft": lambda store: {h: v.tolist() for h, v in store.probabilities("r1").items()},
    "encoder": lambda store: store.stage_artefact("enc", "encoder").read_text(),
    "features": lambda store: store.stage_artefact("enc", "features").read_text(),
    "checkpoint": _checkpoint,
}


def seen(store: Store) -> dict[str, Any]:
    """All that a release reads from it."""
    return {name: read(store) for name, read in READS.items()}


def main(folder: str) -> None:
    target = Path(folder) / f"{schema.release()}.tar.gz"
    with tempfile.TemporaryDirectory() as place:
        store = Store.open(Path(place) / "store")
        fill(store)
        assert store.verify() == []
        with tarfile.open(target, "w:gz") as archive:
            for path in sorted((Path(place) / "store").rglob("*")):
                if path.is_file():
                    data = path.read_bytes()
                    entry = tarfile.TarInfo(str(path.relative_to(Path(place) / "store")))
                    entry.size = len(data)
                    archive.addfile(entry, io.BytesIO(data))
        text = json.dumps(seen(store), indent=1, sort_keys=True)
        target.with_name(f"{schema.release()}.json").write_text(text + "\n")


if __name__ == "__main__":
    main(sys.argv[1])
