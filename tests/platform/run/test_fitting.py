"""Methods that fit at once, on the platform: their points, rows, features of stages, refusals."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from sklearn.metrics import silhouette_score

from deep_clustering.methods._method import Fitted
from deep_clustering.platform import registry, results
from deep_clustering.platform.data import dataset
from deep_clustering.platform.data.dataset import ImageSet, Source
from deep_clustering.platform.errors import InputError
from deep_clustering.platform.evaluation.finished import predict
from deep_clustering.platform.metrics import criteria, partition
from deep_clustering.platform.metrics.evaluate import evaluate, evaluate_partition
from deep_clustering.platform.report import report
from deep_clustering.platform.request.jobs import Job
from deep_clustering.platform.request.request import Request
from deep_clustering.platform.run import points as fitting
from deep_clustering.platform.run.estimates import disk, estimates
from deep_clustering.platform.run.execute import Workplace, execute
from deep_clustering.platform.search import study as search
from deep_clustering.platform.start import main
from deep_clustering.platform.store.store import Store
from support.evaluations import evaluated
from support.small import SETS, Watcher, place, request, resolved

PRETRAINING = [s for s in SETS if s.startswith("pretrain.")]


@pytest.fixture(scope="module")
def pretrained(
    folder: Path, root: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Workplace, Job]:
    """A lane whose store has one pretraining of CDC on the folder."""
    lane = place(Store.open(tmp_path_factory.mktemp("pretrained")))
    encoder, _ = request(folder, root).wanted([0]).jobs
    execute(encoder, lane, Watcher())
    return lane, encoder


def run(lane: Workplace, asked: Request, seeds: tuple[int, ...] = (0,)) -> list[dict[str, Any]]:
    """Rows of the runs of a request, whose stages are there or done first."""
    found = []
    for job in asked.wanted(seeds).jobs:
        if job.kind == "run" or not lane.store.stage_ready(job.id):
            execute(job, lane, Watcher())
        if job.kind == "run":
            found.append(lane.store.run_row(job.id))
    return found


# --- points --------------------------------------------------------------------------------------


def test_grey_images_are_points_of_one_channel(root: Path) -> None:
    digits = dataset.open(Source("digits", root))
    found = fitting.of(digits)
    assert found.shape == (1797, 64)
    assert found.dtype == np.float32
    assert isinstance(digits, ImageSet)
    assert np.array_equal(found, np.float32(digits.images[:, 0].reshape(1797, 64)) / 255)


def test_colours_are_points_of_three_channels(
    folder: Path, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pictures = dataset.open(Source(f"folder:{folder}", root))
    whole = fitting.of(pictures)
    assert whole.shape == (48, 3 * 64)
    assert isinstance(pictures, ImageSet)
    assert np.array_equal(whole, np.float32(pictures.images.reshape(48, -1)) / 255)
    monkeypatch.setattr(fitting, "_CHUNK", 7)
    assert np.array_equal(fitting.of(pictures), whole)


def test_only_scored_vectors_are_points(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.arange(12.0).reshape(4, 3))
    found = dataset.open(Source(f"table:{tmp_path / 'x.npy'}", tmp_path / "data"))
    object.__setattr__(found, "score", np.array([1, 3]))
    assert fitting.of(found).tolist() == [[3, 4, 5], [9, 10, 11]]


def test_a_large_set_is_its_own_reference_by_a_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    x = np.random.default_rng(0).normal(size=(300, 4)).astype(np.float32)
    index, reference = fitting.own_reference(x)
    assert index.tolist() == list(range(300))
    assert len(reference) == 300
    monkeypatch.setattr(fitting, "REFERENCE", 100)
    index, reference = fitting.own_reference(x)
    again, _ = fitting.own_reference(x)
    assert len(reference) == len(np.unique(index)) == 100
    assert np.array_equal(index, again)
    assert np.array_equal(index, np.sort(index))
    assert np.array_equal(reference.features, x[index])
    assert fitting.own_reference(x[:1])[1] is None


# --- metrics without probabilities ---------------------------------------------------------------


def test_a_partition_has_the_metrics_of_its_one_hot_probabilities() -> None:
    random = np.random.default_rng(1)
    labels, cluster = random.integers(0, 4, 500), random.integers(0, 6, 500)
    cluster[:300] = labels[:300]
    sure = evaluate(np.eye(7)[cluster], labels)
    found = evaluate_partition(cluster, labels, 7)
    assert set(found) == set(sure)
    for name in ("acc", "nmi", "ari", "clusters_used", "largest_share"):
        assert found[name] == sure[name], name
    for name in ("ece", "ece_floor", "brier", "nll", "auroc", "aurc", "mean_confidence"):
        assert found[name] is None
    assert found["metrics_reason"] == "no_probabilities"
    assert evaluate_partition(cluster)["metrics_reason"] == "no_labels"
    assert evaluate_partition(cluster, 0 * labels)["metrics_reason"] == "one_class"
    sizes = np.bincount(cluster, minlength=7)
    assert partition.partition_flags(sizes) == ["empty_clusters"]
    assert partition.partition_flags([99, 1]) == ["collapsed"]
    with pytest.raises(ValueError, match="must not be negative"):
        evaluate_partition([0, -1])


def test_criteria_of_a_partition_are_those_of_its_one_hot_probabilities() -> None:
    random = np.random.default_rng(2)
    x = np.concatenate([random.normal(size=(60, 5)) + 4 * np.eye(5)[k] for k in range(3)])
    _, reference = fitting.own_reference(x.astype(np.float32))
    cluster = np.repeat([0, 1, 2], 60)
    sure = criteria.criteria(np.eye(3)[cluster], reference)
    found = criteria.of_partition(cluster, reference, clusters=3)
    assert found == {**sure, "confidence": None, "scan_consistency": None}
    assert found["guarded"] == 0
    random_one = criteria.of_partition(random.permutation(cluster), reference, clusters=3)
    assert random_one["criteria_guard"] == "no better than random"
    assert random_one["silhouette"] == -1
    many = criteria.of_partition(cluster, reference, clusters=40)
    assert many["criteria_guard"] == "too few clusters used"
    assert criteria.of_partition(cluster, reference)["criteria_guard"] is None


@pytest.mark.parametrize("scale", [1e-30, 1e-25, 1e19, 1e30])
def test_a_perfect_partition_is_none_of_chance_at_any_scale(scale: float) -> None:
    """Squares left float32 in the search of neighbours, and the guard set the silhouette to -1."""
    random = np.random.default_rng(0)
    cluster = np.repeat([0, 1, 2], 30)
    x = random.normal(size=(90, 4)) + 20 * random.normal(size=(3, 4))[cluster]
    _, reference = fitting.own_reference((x * scale).astype(np.float32))
    assert reference is not None
    found = criteria.of_partition(cluster, reference, clusters=3)
    assert found["criteria_guard"] is None
    assert found["silhouette"] == pytest.approx(silhouette_score(x, cluster, metric="cosine"))


def test_a_method_that_breaks_its_contract_is_refused() -> None:
    class Broken:
        def __init__(self, found: Fitted) -> None:
            self.found = found

        def fit(self, *_: object) -> Fitted:
            return self.found

    x = np.zeros((3, 1), np.float32)
    for labels in (np.zeros(2, int), np.zeros(3), np.array([0, -1, 0])):
        with pytest.raises(ValueError, match="must return 3 cluster numbers from 0"):
            fitting.fit(Broken(Fitted(labels=labels)), None, x, 0, 1)
    other = Fitted(labels=np.zeros(3, int), probabilities=np.eye(3))
    with pytest.raises(ValueError, match="the most probable clusters"):
        fitting.fit(Broken(other), None, x, 0, 1)


# --- rows ----------------------------------------------------------------------------------------


def test_runs_on_digits(lane: Workplace, root: Path) -> None:
    for name, low in (("kmeans", 0.6), ("pac", 0.76)):
        first, second = run(lane, resolved(name, "digits", root=root), (0, 1))
        assert first["status"] == "ok"
        assert first["acc"] > low
        assert first["stage_id"] is None
        assert first["model_file"] is None
        assert first["epochs"] == 1
        assert first["image_side"] == 8
        assert 0 < first["seconds"] < 300
        assert sum(first["cluster_sizes"]) == 1797
        assert not first["collapsed"]
        assert first["sweeps"] >= 2
        assert first["objective"] > 0
        assert -1 < first["silhouette"] < 1
        assert first["neighbour_agreement"] > 0.8
        assert first["config.clusters"] == 10
        assert (first["acc"] == second["acc"]) == (first["objective"] == second["objective"])
        stored = results.predictions(lane.store.uri).filter(pl.col("run_id") == first["run_id"])
        table = stored.collect()
        assert table.height == 1797
        assert table["cluster"].n_unique() == 10
        if name == "pac":
            assert first["metrics_reason"] is None
            assert 0 < first["ece"] < 0.3
            assert table["confidence"].is_between(0.1, 1).all()
        else:
            assert first["metrics_reason"] == "no_probabilities"
            assert first["ece"] is None
            assert first["mean_confidence"] is None
            assert table["confidence"].null_count() == 1797
    epochs = results.epochs(lane.store.uri).collect()
    assert epochs.height == 4
    assert set(epochs["epoch"]) == {1}


@pytest.mark.ray
def test_the_number_of_clusters_may_differ_from_that_of_the_classes(
    lane: Workplace, root: Path
) -> None:
    (row,) = run(lane, resolved("rcc", "digits", root=root, sets=["scale=16"]))
    assert len(row["cluster_sizes"]) == row["clusters_found"] > 10
    assert 0.8 < row["acc"] < 0.9
    assert "config.clusters" not in row
    (row,) = run(lane, resolved("finch", "digits", root=root, sets=["clusters=14"]))
    assert len(row["cluster_sizes"]) == 14
    assert row["guarded"] == 0


#: Steps that are larger and fewer than the papers' for methods that descend.
_QUICK = {
    "turtle": ["iterations=40", "inner_steps=5", "inner_lr=0.1", "outer_lr=0.1"],
    "temi": ["heads=2", "hidden=16", "bottleneck=8", "epochs=15", "lr=0.01", "neighbours=10"],
}


def test_tables_are_clustered(lane: Workplace, tmp_path: Path) -> None:
    from sklearn.datasets import make_blobs

    x, y = make_blobs(120, 4, centers=3, random_state=0)
    frame = pl.DataFrame(x, schema=list("abcd")).with_columns(pl.Series("class", y))
    frame.write_csv(tmp_path / "blobs.csv")
    for name in registry.at_once():
        sets = _QUICK.get(name, [])
        asked = resolved(name, f"table:{tmp_path / 'blobs.csv'}", root=tmp_path / "data", sets=sets)
        (row,) = run(lane, asked)
        assert row["acc"] > 0.9 or name in ("kmeans", "rcc", "spkm"), name
        assert row["image_side"] is None
    frame.drop("class").write_parquet(tmp_path / "blobs.parquet")
    asked = resolved(
        "fcm", f"table:{tmp_path / 'blobs.parquet'}", root=tmp_path / "data", sets=["clusters=3"]
    )
    (row,) = run(lane, asked)
    assert row["metrics_reason"] == "no_labels"
    assert row["mean_confidence"] > 0.9
    assert row["silhouette"] > 0


def test_what_a_method_warns_of_is_a_note(lane: Workplace, root: Path) -> None:
    (job,) = resolved("pac", "digits", root=root, sets=["m=1.9"]).wanted([0]).jobs
    watcher = Watcher()
    execute(job, lane, watcher)
    assert len(watcher.notes) == 1
    assert watcher.notes[0].startswith("pac: the probabilities stayed uniform: m = 1.9")


# --- features ------------------------------------------------------------------------------------


def test_features_of_a_stage_are_the_points(
    pretrained: tuple[Workplace, Job], folder: Path, root: Path
) -> None:
    lane, encoder = pretrained
    name = f"folder:{folder}"
    by_method = resolved("kmeans", name, root=root, features="cdc", sets=PRETRAINING)
    by_stage = resolved("kmeans", name, root=root, features=encoder.id[:6], store=lane.store)
    stage, job = by_method.wanted([0]).jobs
    assert stage.id == encoder.id  # CDC's own, with the same fields
    assert job.needs == {"features": encoder.id}
    assert job.stage == encoder.id
    assert [j.id for j in by_stage.wanted([0]).jobs] == [job.id]
    raw = resolved("kmeans", name, root=root)
    assert raw.wanted([0]).jobs[-1].id != job.id
    assert [j.kind for j in by_method.wanted(range(3)).jobs] == ["encoder", "run", "run", "run"]

    (row,) = run(lane, by_method)
    assert row["stage_id"] == encoder.id
    features = lane.features(encoder.id)
    assert features.dtype == np.float32
    assert len(features) == 48
    method = registry.method("kmeans")
    direct = method.fit(by_method.config, features, 0)
    table = results.predictions(lane.store.uri).filter(pl.col("run_id") == job.id).collect()
    assert table.sort("sample")["cluster"].to_list() == direct.labels.tolist()
    expected = criteria.of_partition(direct.labels, lane.reference(encoder.id), clusters=3)
    assert row["silhouette"] == expected["silhouette"]


def test_features_that_cannot_be_had(
    pretrained: tuple[Workplace, Job], folder: Path, root: Path, tmp_path: Path
) -> None:
    lane, encoder = pretrained
    name = f"folder:{folder}"

    def refused(sentence: str, method: str = "kmeans", dataset: str = name, **asked: Any) -> None:
        with pytest.raises(InputError, match=sentence):
            resolved(method, dataset, root=root, **asked)

    refused("cdc trains networks on images and takes no --features.*pac", "cdc", features="dpac")
    refused("got 'pam', which has no pretraining", features="pam")
    refused(r"got 'cdd', and no store was given.* Did you mean 'cdc'", features="cdd")
    refused("has no pretraining that begins so", features="ffff", store=lane.store)
    refused(
        f"the pretraining {encoder.id} is of folder:.*, and digits with all was asked for",
        dataset="digits",
        features=encoder.id,
        store=lane.store,
    )
    refused("there is no field 'pretrain.epochs'", sets=["pretrain.epochs=2"])
    refused("there is no field 'pretrain.epoch'", features="cdc", sets=["pretrain.epoch=2"])
    larger = ["pretrain.batch_size=64", "pretrain.queue_size=64"]
    refused("pretrain.batch_size: needs at least 64", features="cdc", sets=larger)
    np.save(tmp_path / "x.npy", np.eye(4))
    table = f"table:{tmp_path / 'x.npy'}"
    refused("has vectors, and cdc trains", dataset=table, features="cdc", sets=["clusters=2"])


def test_a_preset_is_the_method_s_and_that_of_its_features(folder: Path, root: Path) -> None:
    asked: dict[str, Any] = {"root": root, "features": "cdc", "sets": PRETRAINING}
    plain = resolved("pac", f"folder:{folder}", **asked)
    release = resolved("pac", f"folder:{folder}", preset="release", **asked)
    assert (plain.config.metric, release.config.metric) == ("sqeuclidean", "cosine")
    first, second = plain.wanted([0]).before[0], release.wanted([0]).before[0]
    assert (first.config["blur"], second.config["blur"]) == (0.0, 0.5)


def test_a_search_on_features_is_another_search(folder: Path, root: Path) -> None:
    def settings(**asked: Any) -> search.Settings:
        found = resolved("pac", f"folder:{folder}", root=root, **asked)
        return search.Settings(
            request=found,
            space={},
            objectives=(),
            sampler="tpe",
            scheduler="none",
            seeds=(0,),
            seed=0,
        )

    raw, deep = settings(), settings(features="cdc", sets=PRETRAINING)
    assert "features" not in raw.as_json()
    assert deep.as_json()["features"] == "cdc"
    assert raw.default_name() != deep.default_name()


# --- refusals ------------------------------------------------------------------------------------


def test_what_is_fitted_is_what_is_scored(root: Path) -> None:
    for name, protocol in (("svhn", None), ("cifar10", "train-test")):
        with pytest.raises(InputError, match=r"fits the very images.* say --protocol all or"):
            resolved("kmeans", name, root=root, protocol=protocol, outline="missing")
    assert resolved("kmeans", "svhn", root=root, protocol="all", outline="missing").wanted([0]).jobs


def test_runs_without_a_model_do_not_predict(lane: Workplace, root: Path, folder: Path) -> None:
    (row,) = run(lane, resolved("kmeans", "digits", root=root))
    sentence = rf"run {row['run_id']} keeps no model: kmeans fits all its samples at once"
    with pytest.raises(InputError, match=sentence):
        predict(lane.store, row["run_id"][:8], folder, root=root)
    with pytest.raises(InputError, match=sentence):
        evaluated("ood", lane.store, row["run_id"], (f"folder:{folder}",), root=root)


@pytest.mark.parametrize(("method", "reason"), [("kmeans", "without confidences"), ("pac", "ECE")])
def test_a_run_has_a_report(
    lane: Workplace, root: Path, tmp_path: Path, method: str, reason: str
) -> None:
    row = run(lane, resolved(method, "digits", root=root))[0]
    report.write(lane.store, row["run_id"], tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text()
    assert reason in page
    assert f"{100 * row['acc']:.1f}" in page
    assert "Sizes of the clusters" in page
    assert ("Reliability." in page) == (method == "pac")


def test_estimates_know_what_they_cannot_probe(lane: Workplace, root: Path) -> None:
    asked = resolved("kmeans", "digits", root=root)
    jobs = asked.wanted(range(3)).jobs
    assert estimates([jobs], lane.store)[0].unknown == 3
    run(lane, asked)
    (found,) = estimates([jobs[1:]], lane.store)
    assert found.unknown == 0
    assert 0 < found.seconds < 600
    assert disk(jobs[1:], {"digits": 1797}, lane.store) < 2 * 100_000


# --- the command ---------------------------------------------------------------------------------


@pytest.mark.ray
def test_the_command_clusters_the_features_of_a_pretraining(
    folder: Path, root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sets = [x for s in PRETRAINING for x in ("--set", s)]
    given = ["--data", root, "--store", tmp_path / "store"]
    asked = ["train", "kmeans", "--dataset", f"folder:{folder}", *given, "--seeds", 2]
    done = subprocess.run(
        [sys.executable, "-m", "deep_clustering.platform.start"]
        + [str(a) for a in (*asked, "--features", "cdc", *sets)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "kmeans on features of cdc, folder:" in done.stderr
    assert "platform results predictions" in done.stdout
    assert "platform predict" not in done.stdout
    rows = results.runs(str(tmp_path / "store")).collect()
    assert rows.height == 2
    assert rows["status"].to_list() == ["ok", "ok"]
    assert rows["stage_id"].n_unique() == 1
    (stage,) = results.stages(str(tmp_path / "store")).collect()["stage_id"]
    for more, sentence in {
        ("--features", stage[:8], "--dry-run"): "in the store: 2 of 2 runs",
        ("--dry-run",): "in the store: 0 of 2 runs",
        ("--workers", "2"): "--workers: kmeans fits all samples in one process",
    }.items():
        with pytest.raises(SystemExit):
            main([str(a) for a in (*asked, *more)])
        told = capsys.readouterr()
        assert sentence in told.out + told.err
