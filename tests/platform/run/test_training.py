"""One job from images to a committed row: bit-equal after a kill, blind to labels, honest."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch

from deep_clustering.platform import results
from deep_clustering.platform.errors import InputError
from deep_clustering.platform.run.execute import execute
from deep_clustering.platform.run.failure import Cancelled, Diverged, Kind, of
from deep_clustering.platform.run.record import failure
from deep_clustering.platform.store.store import Store
from support.small import Watcher, images, jobs, place, request, run_of


@pytest.fixture(scope="module")
def undisturbed(folder: Path, root: Path, tmp_path_factory: pytest.TempPathFactory) -> Store:
    """A store with one pretraining and one run, made without interruption."""
    store = Store.open(tmp_path_factory.mktemp("undisturbed"))
    lane = place(store)
    for job in jobs(request(folder, root), 0):
        execute(job, lane, Watcher())
    return store


def _metrics(store: Store) -> dict[str, Any]:
    frame = results.runs(store.uri).collect()
    skip = {"started", "ended", "seconds", "peak_memory_mb", "resumed_at", "host"}
    row = frame.row(0, named=True)
    return {k: v for k, v in row.items() if k not in skip and not k.endswith("_file")}


def _predictions(store: Store) -> pl.DataFrame:
    return results.predictions(store.uri).collect().sort("sample")


def _epochs(store: Store) -> pl.DataFrame:
    return results.epochs(store.uri).collect().sort("epoch").drop("seconds")


def test_a_run_leaves_its_tables_and_its_model(undisturbed: Store, folder: Path) -> None:
    row = results.runs(undisturbed.uri).collect().row(0, named=True)
    assert row["status"] == "ok"
    assert row["config.mini_clusters"] == 8
    assert row["config.pretrain.epochs"] == 2
    assert json.loads(row["config_json"])["epochs"] == 3
    assert sum(row["cluster_sizes"]) == 48
    assert 0 <= row["acc"] <= 1
    assert row["acc"] == row["calibration_acc"]
    assert row["encoder_kmeans_acc"] is not None
    assert _epochs(undisturbed)["epoch"].to_list() == [0, 1, 2, 3]
    predictions = _predictions(undisturbed)
    assert predictions["sample"].to_list() == list(range(48))
    assert {Path(p).parent.name for p in predictions["path"]} == {"kind 0", "kind 1", "kind 2"}
    assert undisturbed.model_path(row["run_id"]).stat().st_size > 1000
    assert undisturbed.list("checkpoints") == []


@pytest.mark.ray
@pytest.mark.parametrize("after", [0, 1, 2])
def test_a_run_that_was_stopped_ends_bit_for_bit_the_same(
    undisturbed: Store, folder: Path, root: Path, tmp_path: Path, after: int
) -> None:
    store = Store.open(tmp_path / "store")
    for job in jobs(request(folder, root), 0):
        with pytest.raises(Cancelled):
            execute(job, place(store), Watcher(stop_after=min(after, job.epochs - 1)))
        resumed = Watcher()
        execute(job, place(store), resumed)
        assert resumed.epochs[0] == min(after, job.epochs - 1) + 1
    assert _predictions(store).equals(_predictions(undisturbed))
    assert _epochs(store).equals(_epochs(undisturbed))
    assert _metrics(store) == _metrics(undisturbed)


def test_an_epoch_that_is_not_evaluated_has_its_losses_alone(
    undisturbed: Store, folder: Path, root: Path, tmp_path: Path
) -> None:
    store = Store.open(tmp_path / "store")
    for job in jobs(request(folder, root), 0):
        with pytest.raises(Cancelled):
            execute(job, place(store, evaluate_every=2), Watcher(stop_after=1))
        execute(job, place(store, evaluate_every=2), Watcher())
    assert _metrics(store) == _metrics(undisturbed)  # its id among them
    assert _predictions(store).equals(_predictions(undisturbed))
    mine, theirs = _epochs(store), _epochs(undisturbed)
    assert mine.columns == theirs.columns
    evaluated = pl.col("epoch") != 1  # of 0 to 3: before the first, every second, the last
    assert mine.filter(evaluated).equals(theirs.filter(evaluated))
    alone = [c for c in mine.columns if mine.filter(~evaluated)[c].null_count() == 0]
    assert "clustering_loss" in alone
    assert not {"acc", "ece", "calibration_acc", "confidence_mean"} & set(alone)
    assert mine.filter(~evaluated).select(alone).equals(theirs.filter(~evaluated).select(alone))


@pytest.mark.ray
@pytest.mark.fault(14)
def test_a_lane_keeps_nothing_of_the_run_before(
    undisturbed: Store, folder: Path, root: Path, tmp_path: Path
) -> None:
    store = Store.open(tmp_path / "store")
    lane = place(store)
    for job in jobs(request(folder, root, "hidden=10", "encoder_lr=0.01"), 3):
        execute(job, lane, Watcher())
    execute(run_of(jobs(request(folder, root), 0)), lane, Watcher())
    chosen = pl.col("seed") == 0
    mine = results.runs(store.uri).filter(chosen).collect().row(0, named=True)
    theirs = results.runs(undisturbed.uri).collect().row(0, named=True)
    for name in ("acc", "nll", "calibration_brier", "silhouette", "cluster_sizes"):
        assert mine[name] == theirs[name], name


def test_labels_replaced_by_noise_leave_predictions_bit_for_bit_the_same(
    undisturbed: Store, folder: Path, root: Path, tmp_path: Path
) -> None:
    lane = place(Store.open(tmp_path / "store"))
    for job in jobs(request(folder, root), 0):
        dataset = lane.dataset(job)
        noise = np.random.default_rng(1).integers(0, 3, len(dataset.labels))
        object.__setattr__(dataset, "labels", noise)
        execute(job, lane, Watcher())
    hidden = ["cluster", "confidence", "clustering_cluster", "clustering_confidence"]
    mine, theirs = _predictions(lane.store), _predictions(undisturbed)
    assert mine.select(hidden).equals(theirs.select(hidden))
    assert not mine["label"].equals(theirs["label"])


@pytest.mark.fault(38)
def test_without_labels_metrics_are_null_and_say_why(root: Path, tmp_path: Path) -> None:
    plain = images(tmp_path / "plain", labelled=False)
    store = Store.open(tmp_path / "store")
    for job in jobs(request(plain, root), 0):
        execute(job, place(store), Watcher())
    row = results.runs(store.uri).collect().row(0, named=True)
    assert row["acc"] is None
    assert row["ece"] is None
    assert row["metrics_reason"] == "no_labels"
    assert row["mean_confidence"] is not None
    assert row["neighbour_agreement"] is not None


def test_a_damaged_checkpoint_gives_way_to_the_one_before(
    undisturbed: Store, folder: Path, root: Path, tmp_path: Path
) -> None:
    store = Store.open(tmp_path / "store")
    encoder, run = jobs(request(folder, root), 0)
    execute(encoder, place(store), Watcher())
    with pytest.raises(Cancelled):
        execute(run, place(store, longest_pause=0), Watcher(stop_after=2))
    newest = tmp_path / "store" / f"checkpoints/{run.id}/000002.safetensors"
    data = bytearray(newest.read_bytes())
    data[len(data) // 2] ^= 1
    newest.write_bytes(bytes(data))
    resumed = Watcher()
    execute(run, place(store), resumed)
    assert resumed.epochs == [2, 3]
    assert "at epoch 2 is damaged (its checksum does not match)" in resumed.notes[0]
    assert _predictions(store).equals(_predictions(undisturbed))


@pytest.mark.ray
def test_a_pickle_in_place_of_a_checkpoint_is_never_run(
    folder: Path, root: Path, tmp_path: Path
) -> None:
    store = Store.open(tmp_path / "store")
    encoder, run = jobs(request(folder, root), 0)
    execute(encoder, place(store), Watcher())
    with pytest.raises(Cancelled):
        execute(run, place(store, longest_pause=0), Watcher(stop_after=1))
    canary = tmp_path / "canary"

    class Bomb:
        def __reduce__(self) -> Any:
            return (Path.touch, (canary,))

    for epoch in (0, 1):
        torch.save(Bomb(), tmp_path / "store" / f"checkpoints/{run.id}/{epoch:06d}.safetensors")
    resumed = Watcher()
    execute(run, place(store), resumed)
    assert resumed.epochs[0] == 0  # from the start
    assert not canary.exists()


@pytest.mark.fault(49)
def test_a_loss_that_is_not_finite_ends_the_run_with_its_place(
    folder: Path, root: Path, tmp_path: Path
) -> None:
    store = Store.open(tmp_path / "store")
    lane = place(store)
    encoder, run = jobs(request(folder, root, "encoder_lr=1e30", "head_lr=1e30"), 0)
    execute(encoder, lane, Watcher())
    with pytest.raises(Diverged, match="finite") as error:
        execute(run, lane, Watcher())
    failure(run, store, of(error.value), {})
    row = results.runs(store.uri).collect().row(0, named=True)
    assert row["status"] == "failed"
    assert row["failure_kind"] == Kind.DIVERGED
    assert row["acc"] is None
    assert results.epochs(store.uri).collect()["epoch"].to_list() == [0]


@pytest.mark.fault(48)
def test_images_that_changed_meanwhile_stop_the_job(root: Path, tmp_path: Path) -> None:
    mine = images(tmp_path / "mine")
    job = jobs(request(mine, root), 0)[0]
    next((mine / "kind 0").iterdir()).unlink()
    with pytest.raises(InputError, match="changed after the command started"):
        place(Store.open(tmp_path / "store")).images(job)
