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
from pathlib import Path
from typing import Any

import torch

from deep_clustering.platform import results
from deep_clustering.platform.run.checkpoints import Checkpoints, EpochRow, History
from deep_clustering.platform.store import schema
from deep_clustering.platform.store.store import Plan, PlannedRun, Store
from support.store_rows import commit, epochs, run, stage

TABLES = ("runs", "stages", "epochs", "predictions", "probabilities")


def fill(store: Store) -> None:
    """Runs, attempts, stages, an evaluation, plans, a checkpoint, segments and a seal."""
    stage(store, "enc")
    evaluation = {"stage_id": "far", "kind": "ood", "of_run": "r1", "auroc_svhn": 0.875, "ood": "x"}
    store.commit_stage(evaluation, {})
    for number in range(3):
        commit(store, f"r{number}", number / 8)
    store.record_failure(run("r3", status="failed", reason="out of memory"), epochs())
    store.record_failure(run("r4", status="stopped", reason="by the scheduler"), None)
    store.compact()
    store.commit_run(run("late", acc=0.75, stage_id="enc"), epochs(0.75), None)
    labels = {"variant": "full", "dataset": "digits"}
    store.write_plan("train", "cdc-digits", Plan.of(["r0", "r1"], "platform train cdc"))
    store.write_plan("study", "s", Plan.of(["r1", "r2", "r9"]))
    store.write_plan("suite", "t", Plan(runs=(PlannedRun(run_id="r0", labels=labels),)))
    with Checkpoints(store, "half") as checkpoints:
        rows = (EpochRow(epoch=1, seconds=0.5, values={"loss": 0.25, "acc": None}),)
        told = History(rows=rows, seconds=0.5, started="2026-01-02T03:04:05+00:00")
        checkpoints.save(1, {"w": torch.arange(3.0)}, told)
    store.seal()


def seen(store: Store) -> dict[str, Any]:
    """All that a release reads from it, as JSON."""
    tables = {
        name: getattr(results, name)(store).sort(pl_keys(name)).collect().to_dicts()
        for name in TABLES
    }
    found = Checkpoints(store, "half").load()
    assert found is not None
    plain = {
        **tables,
        "study": results.study("s", store).collect()["run_id"].to_list(),
        "suite": results.suite("t", store).collect()["variant"].to_list(),
        "commands": list(store.read_plan("train", "cdc-digits").commands),
        "failures": store.failures(),
        "models": {f"r{n}": store.model_path(f"r{n}").read_text() for n in range(3)},
        "artefacts": {
            n: store.stage_artefact("enc", n).read_text() for n in ("encoder", "features")
        },
        "checkpoint": [found.epoch, found.state["w"].tolist(), found.history.as_json()],
    }
    return json.loads(json.dumps(plain, default=str))  # type: ignore[no-any-return]


def pl_keys(name: str) -> list[str]:
    """What orders the rows of a table."""
    return {"stages": ["stage_id"], "epochs": ["run_id", "epoch"]}.get(name, ["run_id"]) + (
        ["sample"] if name in ("predictions", "probabilities") else []
    )


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
