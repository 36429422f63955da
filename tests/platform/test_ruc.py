"""RUC on bases in a store: from a command's request to its clean set."""

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from deep_clustering.platform import results
from deep_clustering.platform.errors import InputError
from deep_clustering.platform.evaluation import finished
from deep_clustering.platform.evaluation.contract import Context, Subject
from deep_clustering.platform.evaluations import clean
from deep_clustering.platform.evaluations.clean import Parameters
from deep_clustering.platform.metrics.criteria import silhouette
from deep_clustering.platform.request.jobs import Job
from deep_clustering.platform.run import evaluations
from deep_clustering.platform.run.execute import execute
from deep_clustering.platform.run.failure import Cancelled, Failure, Kind
from deep_clustering.platform.run.record import failure
from deep_clustering.platform.store.store import Store
from support.evaluations import evaluated
from support.small import SETS as CDC
from support.small import Watcher, jobs, place, request, resolved

pytestmark = pytest.mark.ray

SETS = (
    "clusters=3",
    "epochs=2",
    "batch_size=16",
    "neighbours=5",
    "fewest=2",
    "tau2=0.4",
    "strategy=metric",
)


def wanted(folder: Path, root: Path, store: Store, base: str, *sets: str) -> tuple[Job, ...]:
    """The outputs of a base and RUC on them; and before them the base, unless it is an id."""
    asked = resolved(
        "ruc", f"folder:{folder}", root=root, store=store, base=base, sets=[*SETS, *sets]
    )
    return jobs(asked, 0)


@pytest.fixture(scope="module")
def based(folder: Path, root: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, str]:
    """A store with a run of CDC."""
    store = Store.open(tmp_path_factory.mktemp("based"))
    lane = place(store)
    cdc = jobs(request(folder, root), 0)
    for job in cdc:
        execute(job, lane, Watcher())
    return store, cdc[-1].id


@pytest.fixture(scope="module")
def made(based: tuple[Store, str], folder: Path, root: Path) -> tuple[Store, str]:
    """The same store with RUC on it."""
    store, base = based
    mine = wanted(folder, root, store, base[:10])
    assert [job.kind for job in mine] == ["outputs", "run"]
    assert mine[-1].config["start"] == "base"
    for job in mine:
        execute(job, place(store), Watcher())
    return store, mine[-1].id


def known(store: Store, run: str) -> pl.DataFrame:
    """The predictions of a run, without labels."""
    frame = results.predictions(store.uri).filter(pl.col("run_id") == run).collect()
    return frame.sort("sample").drop("run_id", "label", "right", strict=False)


def test_a_run_on_a_base(made: tuple[Store, str]) -> None:
    store, run = made
    row = store.run_row(run)
    assert row["status"] == "ok"
    assert {f"{h}_acc" for h in ("first", "second", "ensemble")} <= row.keys()
    assert row["acc"] == row["ensemble_acc"]
    epochs = results.epochs(store.uri).filter(pl.col("run_id") == run).collect().sort("epoch")
    assert epochs["epoch"].to_list() == [0, 1, 2]


def test_criteria_are_computed_in_the_features_under_the_base(
    made: tuple[Store, str], based: tuple[Store, str]
) -> None:
    store, run = made
    stage = store.run_row(based[1])["stage_id"]
    clusters = known(store, run)["cluster"].to_numpy()
    expected = silhouette(clusters, place(store).reference(stage))
    assert store.run_row(run)["silhouette"] == pytest.approx(expected, abs=1e-3)
    assert expected > -1


@pytest.mark.parametrize("after", [0, 1])
def test_a_killed_run_ends_bit_for_bit_the_same(
    made: tuple[Store, str], based: tuple[Store, str], folder: Path, root: Path, after: int
) -> None:
    store, run = made
    asked = wanted(folder, root, store, based[1], "learning_rate=0.02")[-1]
    execute(asked, place(store), Watcher())
    expected = store.model_path(asked.id).read_bytes()
    (other,) = [Store.open(f"{store.uri}-{after}")]
    for job in jobs(request(folder, root), 0):
        execute(job, place(other), Watcher())
    *before, last = wanted(folder, root, other, based[1], "learning_rate=0.02")
    for job in before:
        execute(job, place(other), Watcher())
    with pytest.raises(Cancelled):
        execute(last, place(other), Watcher(stop_after=after))
    execute(last, place(other), Watcher())
    assert last.id == asked.id != run
    assert other.model_path(last.id).read_bytes() == expected


def test_labels_replaced_by_noise_leave_every_weight_bit_for_bit_the_same(
    made: tuple[Store, str], based: tuple[Store, str], folder: Path, root: Path, tmp_path: Path
) -> None:
    lane = place(Store.open(tmp_path / "store"))
    all_of_it = [*jobs(request(folder, root), 0)]
    for job in all_of_it:
        execute(job, lane, Watcher())
    for job in wanted(folder, root, lane.store, based[1]):
        dataset = lane.dataset(job)
        noise = np.random.default_rng(1).integers(0, 3, len(dataset.score))
        object.__setattr__(dataset, "labels", noise)
        execute(job, lane, Watcher())
    store, run = made
    assert lane.store.model_path(run).read_bytes() == store.model_path(run).read_bytes()
    assert lane.store.run_row(run)["acc"] != store.run_row(run)["acc"]


def test_the_clean_set_of_a_run(made: tuple[Store, str], root: Path) -> None:
    store, run = made
    (row,) = evaluated("clean", store, run, ("own",), root=root)
    shares, right = row["clean_shares"], row["clean_right"]
    assert isinstance(shares, list)
    assert isinstance(right, list)
    assert len(shares) == len(right) == 3
    assert shares == sorted(shares)  # it only grows
    epochs = results.epochs(store.uri).filter(pl.col("run_id") == run, pl.col("epoch") == 0)
    assert shares[0] == epochs.collect()["clean_share"].item()
    precision, recall = row["clean_precision"], row["clean_recall"]
    assert isinstance(precision, float)
    assert isinstance(recall, float)
    assert right[-1] == pytest.approx(precision * shares[-1])
    assert row["clean_f1"] == pytest.approx(2 * precision * recall / (precision + recall))


def test_a_clean_set_of_any_run_by_a_strategy(
    made: tuple[Store, str], based: tuple[Store, str], root: Path
) -> None:
    store, base = based
    confidence, metric = evaluated("clean", store, base, ("confidence", "metric"), root=root)
    p = next(iter(store.probabilities(base).values()))
    assert confidence["clean_images"] == metric["clean_images"] == len(p)
    assert confidence["clean_tau1"] == 0.99
    assert metric["clean_neighbours"] == 100
    subject = Subject.of_row(finished.trained_run(store, base))
    context = Context(root=root, parameters=Parameters(tau1=0.5, tau1_share=None, neighbours=100))
    ignored = evaluations.planned("clean", subject, "metric", context)
    assert ignored.id == metric["stage_id"]  # the metric strategy has no tau1
    assert evaluations.planned("clean", subject, "confidence", context).id != confidence["stage_id"]
    with pytest.raises(InputError, match=r"cdc has no clean set of its own; choose one of"):
        evaluated("clean", store, base, ("own",), root=root)


def test_confidences_of_images_with_a_wrong_label_by_hand() -> None:
    """What the paper calls noise samples, Fig. 5."""
    confidence = np.array([0.32, 0.34, 0.99, 1.0, 0.62])
    wrong = np.array([True, True, False, True, False])
    unclean = np.array([False, True, False, False, True])
    found = clean._confidences(confidence, wrong, unclean)
    assert found["clean_wrong_confidence"] == pytest.approx(1.66 / 3)
    assert found["clean_unclean_confidence"] == pytest.approx(0.48)
    shares = found["clean_wrong_confidences"]
    assert isinstance(shares, list)
    assert {i: share for i, share in enumerate(shares) if share} == {
        6: pytest.approx(2 / 3),
        19: pytest.approx(1 / 3),
    }
    none = clean._confidences(confidence, wrong & False, unclean)
    assert none["clean_wrong_confidence"] is None


@pytest.mark.parametrize(("features", "start"), [(None, "fresh"), ("cdc", "base")])
def test_k_means_is_a_base_with_and_without_a_network(
    folder: Path, root: Path, tmp_path: Path, features: str | None, start: str
) -> None:
    """That of the pretraining whose features it clusters."""
    store = Store.open(tmp_path / "store")
    lane = place(store)
    inner = [] if features is None else [s for s in CDC if s.startswith("pretrain.")]
    asked: dict[str, Any] = {"root": root, "store": store, "features": features}
    sets = ["clusters=3", *inner]
    base = jobs(resolved("kmeans", f"folder:{folder}", sets=sets, **asked), 0)
    for job in base:
        execute(job, lane, Watcher())
    mine = wanted(folder, root, store, base[-1].id)
    assert mine[-1].config["start"] == start
    for job in mine:
        execute(job, lane, Watcher())
    assert store.run_row(mine[-1].id)["status"] == "ok"
    with pytest.raises(InputError, match=r"clusters: the base has 3 clusters, got 4"):
        wanted(folder, root, store, base[-1].id, "clusters=4")
    sure = wanted(folder, root, store, base[-1].id, "strategy=hybrid")[-1]
    with pytest.raises(ValueError, match=r"needs confidences, and the base gives clusters without"):
        execute(sure, lane, Watcher())


def test_a_base_whose_run_failed_is_refused_with_its_reason(
    folder: Path, root: Path, tmp_path: Path
) -> None:
    store = Store.open(tmp_path / "store")
    run = jobs(request(folder, root), 0)[-1]
    failure(run, store, Failure(kind=Kind.ERROR, reason="it broke"), {})
    with pytest.raises(InputError) as error:
        wanted(folder, root, store, run.id[:8])
    assert f"--base: the run {run.id} failed: it broke. Choose another run" in str(error.value)
