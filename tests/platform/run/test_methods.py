"""Each method through the platform: blind to labels, and bit-equal after it was stopped."""

from pathlib import Path

import numpy as np
import pytest

from deep_clustering.platform import registry
from deep_clustering.platform.run.execute import execute
from deep_clustering.platform.run.failure import Cancelled
from deep_clustering.platform.store.store import Store
from support.small import SETS as SETS_OF_CDC
from support.small import Watcher, jobs, place, resolved

_VIEWS = ("clusters=3", "batch_size=16")
_SIAMESE = (
    *_VIEWS,
    "pretrain.backbone=small",
    "pretrain.epochs=2",
    "pretrain.warmup_epochs=1",
    "pretrain.batch_size=16",
    "pretrain.projector_hidden=16",
    "pretrain.projector_dimension=8",
    "pretrain.predictor_hidden=8",
    "restarts=1",
)
#: Method -> what makes it a matter of a moment on the tiny pictures. CDC and RUC have files of
#: their own, `test_training` and `test_ruc`.
SETS = {
    "simsiam": _SIAMESE,
    "byol": _SIAMESE,
    "cc": (*_VIEWS, "backbone=small", "epochs=2"),
    "secu": (*_VIEWS, "backbone=small", "epochs=3", "warmup_epochs=1", "groupings=2"),
    "tsuc": (
        *_VIEWS,
        "backbone=small",
        "rounds=2",
        "round_epochs=1",
        "cluster_epochs=2",
        "growth=0.5",
        "heads=2",
    ),
    "spice": (
        *(s for s in SETS_OF_CDC if s.startswith("pretrain.")),
        *_VIEWS,
        "epochs=2",
        "sub_batch_size=8",
        "repeats=2",
        "heads=2",
        "cutout=2",
    ),
    "cdc_from": (
        *_VIEWS,
        "backbone=small",
        "epochs=2",
        "sub_batch_size=8",
        "mini_clusters=8",
        "hidden=12",
    ),
}
#: And what it starts from.
BASES = {"cdc_from": "cc clusters=3 batch_size=16 backbone=small epochs=2"}


@pytest.mark.ray  # whole trainings of every method
@pytest.mark.parametrize("name", SETS)
def test_labels_and_kills_leave_every_weight_bit_for_bit_the_same(
    name: str, folder: Path, root: Path, tmp_path: Path
) -> None:
    asked = resolved(name, f"folder:{folder}", root=root, sets=SETS[name], base=BASES.get(name))
    wanted = jobs(asked, 0)
    first, second = (place(Store.open(tmp_path / store)) for store in ("first", "second"))
    for job in wanted:
        execute(job, first, Watcher())
        dataset = second.dataset(job)
        noise = np.random.default_rng(1).integers(0, 3, len(dataset.labels))
        object.__setattr__(dataset, "labels", noise)
        if job.epochs > 1:
            with pytest.raises(Cancelled):
                execute(job, second, Watcher(stop_after=1))
        execute(job, second, Watcher())
    run = wanted[-1].id
    models = [lane.store.model_path(run).read_bytes() for lane in (first, second)]
    assert models[0] == models[1]
    rows = [lane.store.run_row(run) for lane in (first, second)]
    assert [row["status"] for row in rows] == ["ok", "ok"]
    assert rows[0]["acc"] != rows[1]["acc"]


def test_which_methods_are_walked() -> None:
    trained = {name for name in registry.names() if registry.method(name).build is not None}
    elsewhere = {"cdc", "dpac", "scan", "ruc"}
    assert trained == SETS.keys() | elsewhere
