"""Out-of-distribution evaluation: the numbers, which images they are of, and what is kept."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from PIL import Image
from sklearn.metrics import roc_auc_score

from deep_clustering.platform import results
from deep_clustering.platform.commands import evaluate
from deep_clustering.platform.data import dataset
from deep_clustering.platform.data.dataset import Source
from deep_clustering.platform.errors import InputError, StorageError
from deep_clustering.platform.evaluation import finished as prediction
from deep_clustering.platform.evaluations import ood
from deep_clustering.platform.request.options import Evaluate
from deep_clustering.platform.request.request import Request
from deep_clustering.platform.run.execute import execute
from deep_clustering.platform.store.store import Store, StoreDamage
from support.archives import cifar
from support.evaluations import evaluated
from support.small import SETS, Watcher, images, place, request, resolved

ROUNDING = {"rel": 0, "abs": 1e-12}


def noise(folder: Path, count: int, classes: int = 0, seed: int = 1) -> Path:
    """Random pictures of 12x20, wide ones and tall ones; with `classes`, in folders by turns."""
    rng = np.random.default_rng(seed)
    for number in range(count):
        shape = (12, 20, 3) if number % 2 else (20, 12, 3)
        place = folder / f"class {number % classes}" if classes else folder
        place.mkdir(parents=True, exist_ok=True)
        pixels = rng.integers(0, 256, shape, dtype=np.uint8)
        Image.fromarray(pixels).save(place / f"{number:03}.png")
    return folder


def trained(store: Store, asked: Request) -> str:
    """Run a request with seed 0; the id of the run."""
    lane = place(store)
    jobs = asked.wanted([0]).jobs
    for job in jobs:
        execute(job, lane, Watcher())
    return jobs[-1].id


@pytest.fixture(scope="module")
def split(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """48 train and 15 test pictures."""
    folder = tmp_path_factory.mktemp("split")
    images(folder / "train")
    images(folder / "test", count=5)
    return folder


@pytest.fixture(scope="module")
def others(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return noise(tmp_path_factory.mktemp("others"), 30)


@pytest.fixture(scope="module")
def made(
    split: Path, root: Path, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[Path], tuple[Store, str]]:
    """A copy of a store with one run on all 63 pictures."""
    kept = Store.open(tmp_path_factory.mktemp("made"))
    run = trained(kept, request(split, root))
    assert kept.local is not None
    whole = kept.local

    def copy(place: Path) -> tuple[Store, str]:
        subprocess.run(["cp", "-r", str(whole), str(place)], check=True)
        return Store.open(place), run

    return copy


def one(store: Store, run: str, ood_set: str, root: Path, **rest: Any) -> dict[str, Any]:
    (row,) = evaluated("ood", store, run, (ood_set,), root=root, **rest)
    return row


def restored(store: Store, run: str, pixels: np.ndarray) -> Any:
    """The model of a run on images (N, 3, S, S) as they are."""
    row, device = store.run_row(run), prediction.device()
    images = prediction.images_for(row, pixels, device, None)
    return prediction.restored(store, row, images, device, Path("nowhere"))


def unseen(done: int, total: int) -> None:
    raise AssertionError("something was computed")


# --- the numbers ---------------------------------------------------------------------------------


def test_separation_by_hand() -> None:
    # .9 lies above 3 of 3 others, .8 and .7 above 2, .6 above 1. All four are needed for 95 %.
    found = ood.separation(np.array([0.8, 0.9, 0.6, 0.7]), np.array([0.85, 0.3, 0.65]))
    assert found == {
        "ood_auroc": pytest.approx(8 / 12, **ROUNDING),
        "ood_fpr95": pytest.approx(2 / 3, **ROUNDING),
    }
    ties = ood.separation(np.array([0.5, 0.5]), np.array([0.5, 0.2]))
    assert ties == {"ood_auroc": pytest.approx(0.75, **ROUNDING), "ood_fpr95": 0.5}
    # 19 of 20 are 95 %: the one at .1 need not be accepted, and with it neither .2 nor .15
    found = ood.separation(np.r_[np.full(19, 0.9), 0.1], np.array([0.2, 0.15, 0.95]))
    assert found["ood_fpr95"] == pytest.approx(1 / 3, **ROUNDING)


def test_columns_equal_what_scikit_learn_says_of_the_confidences(
    made: Any, others: Path, root: Path, tmp_path: Path
) -> None:
    store, run = made(tmp_path / "store")
    row = one(store, run[:6], f"folder:{others}", root)
    stored = results.predictions(store).filter(pl.col("run_id") == run).collect()
    test = stored["path"].str.starts_with("test/").to_numpy()
    new = prediction.predict(store, run, others, root=root).images
    kept = ood.confidences(store, row["stage_id"])
    assert list(kept) == ["calibration", "clustering"]
    for head, (own, out) in kept.items():
        mine = stored[f"{head}_confidence"].to_numpy()
        assert np.array_equal(own, mine[test])
        assert np.array_equal(out, new[f"{head}_confidence"].to_numpy())
        for part, ending in ((own, ""), (mine, "_scored")):
            labels = np.repeat([1, 0], [len(part), len(out)])
            expected = roc_auc_score(labels, np.concatenate([part, out]))
            assert row[f"{head}_ood_auroc{ending}"] == pytest.approx(expected, **ROUNDING)
            keep = np.sort(part)[::-1][int(np.ceil(0.95 * len(part))) - 1]
            fpr95 = (out >= keep).mean()
            assert row[f"{head}_ood_fpr95{ending}"] == pytest.approx(fpr95, **ROUNDING)
        assert row[f"{head}_ood_mean_confidence"] == pytest.approx(out.mean(), abs=1e-6)
        assert row[f"{head}_id_mean_confidence"] == pytest.approx(own.mean(), abs=1e-6)
    for name in ("ood_auroc", "ood_fpr95", "ood_auroc_scored", "id_mean_confidence"):
        assert row[name] == row[f"calibration_{name}"]
    assert row["id_mean_confidence"] != row["clustering_id_mean_confidence"]
    assert (row["ood_images"], row["id_images"], row["id_images_scored"]) == (30, 15, 63)


def test_more_images_than_are_in_memory_at_a_time(made: Any, root: Path, tmp_path: Path) -> None:
    store, run = made(tmp_path / "store")
    row = one(store, run, "digits", root)
    digits = dataset.open(Source("digits", root))
    model = restored(store, run, digits.images)
    found = model.predict(torch.arange(1797))
    for head, (_, out) in ood.confidences(store, row["stage_id"]).items():
        expected = found[head].amax(1).cpu().numpy()
        np.testing.assert_allclose(out, expected, rtol=0, atol=1e-6)
    assert row["ood_images"] == 1797


def test_labels_of_the_others_play_no_part(made: Any, root: Path, tmp_path: Path) -> None:
    store, run = made(tmp_path / "store")
    plain = one(store, run, f"folder:{noise(tmp_path / 'plain', 20)}", root)
    labelled = one(store, run, f"folder:{noise(tmp_path / 'labelled', 20, classes=1)}", root)
    values = [name for name in plain if "auroc" in name or "fpr95" in name or "mean_conf" in name]
    assert len(values) == 18
    assert plain["stage_id"] != labelled["stage_id"]
    for name in values:
        assert plain[name] == labelled[name], name


# --- which images --------------------------------------------------------------------------------


@pytest.mark.ray
@pytest.mark.parametrize(
    ("protocol", "said", "own", "scored"),
    [("train-test", "test", 15, 15), ("train", "scored", 48, 48)],
)
def test_in_distribution_is_what_was_scored_of_the_test_split(
    split: Path, others: Path, root: Path, tmp_path: Path,
    protocol: str, said: str, own: int, scored: int,
) -> None:  # fmt: skip
    store = Store.open(tmp_path / "store")
    run = trained(store, request(split, root, protocol=protocol))
    row = one(store, run, f"folder:{others}", root)
    assert row["ood_in_distribution"] == said
    assert (row["id_images"], row["id_images_scored"]) == (own, scored)


def test_without_a_test_split_all_scored_images_are_in_distribution(
    others: Path, root: Path, tmp_path: Path
) -> None:
    store = Store.open(tmp_path / "store")
    run = trained(store, request(images(tmp_path / "mine", labelled=False), root))
    row = one(store, run, f"folder:{others}", root)
    assert row["ood_in_distribution"] == "scored"
    assert row["id_images"] == row["id_images_scored"] == 48
    assert row["ood_auroc"] == row["ood_auroc_scored"]


@pytest.mark.ray
def test_named_datasets_against_each_other(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = tmp_path / "data"
    cifar("CIFAR10", data / "archives", monkeypatch, per_file=8)
    _, pixels, _ = cifar("CIFAR100", data / "archives", monkeypatch, per_file=10)
    store = Store.open(tmp_path / "store")
    run = trained(store, resolved("cdc", "cifar10", root=data, sets=SETS))
    digits, coarse = evaluated("ood", store, run, ("digits", "cifar20"), root=data)
    for row in (digits, coarse):
        assert row["ood_in_distribution"] == "test"
        assert (row["id_images"], row["id_images_scored"]) == (8, 48)
        assert (row["dataset"], row["image_side"]) == ("cifar10", 32)
    stored = results.predictions(store).collect().sort("sample")
    own, out = ood.confidences(store, coarse["stage_id"])["calibration"]
    assert np.array_equal(own, stored["calibration_confidence"].to_numpy()[40:])
    # the test images of the others, as they are, and digits enlarged from 8 to 32
    assert (coarse["ood_protocol"], coarse["ood_images"]) == ("train-test", 10)
    model = restored(store, run, pixels[10:])
    expected = model.predict(torch.arange(10))["calibration"].amax(1).cpu().numpy()
    np.testing.assert_allclose(out, expected, rtol=0, atol=1e-6)
    assert (digits["ood_protocol"], digits["ood_images"]) == ("all", 1797)

    with pytest.raises(InputError, match=r"cifar10 holds the images that run .* was trained on"):
        evaluated("ood", store, run, ("digits", "cifar10"), root=data)
    changed = tmp_path / "changed"
    cifar("CIFAR10", changed / "archives", monkeypatch, per_file=4)
    with pytest.raises(InputError, match=r"are not those that run .* was trained on; .* --data"):
        evaluated(
            "ood",
            Store.open(tmp_path / "store"),
            run,
            (f"folder:{noise(tmp_path / 'x', 3)}",),
            root=changed,
        )


def test_textures_are_read_at_the_side_of_the_run(
    made: Any, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, run = made(tmp_path / "store")
    data = tmp_path / "data"
    tree = noise(data / "dtd" / "images", 9, classes=2)
    textures, folder = evaluated("ood", store, run, ("textures", f"folder:{tree}"), root=data)
    # pixels, labels and split are the same, and so are the two sets
    assert textures["stage_id"] == folder["stage_id"]
    assert textures["ood_dataset"] == "textures"
    assert dataset.open(Source("textures", data, side=8)).images.shape == (9, 3, 8, 8)
    assert not list((data / "prepared").glob("textures-*.64"))


# --- what is kept --------------------------------------------------------------------------------


def test_a_second_time_computes_nothing(
    made: Any, others: Path, root: Path, tmp_path: Path
) -> None:
    store, run = made(tmp_path / "store")
    asked = ("digits", f"folder:{others}", "digits")
    first = evaluated("ood", store, run, asked, root=root)
    assert [row["ood_dataset"] for row in first] == ["digits", f"folder:{others}"]
    files = store.list("artefacts")
    # without the model and the predictions nothing could be computed
    for kind in ("models", "predictions"):
        for path in store.list(kind):
            store.delete(path)
    again = evaluated("ood", Store.open(store.uri), run, asked, root=root, progress=unseen)
    assert again == first
    assert store.list("artefacts") == files


def test_results_are_stages_of_their_own_kind(
    made: Any, others: Path, root: Path, tmp_path: Path
) -> None:
    store, run = made(tmp_path / "store")
    row = one(store, run, f"folder:{others}", root, provenance={"git_revision": "abc"})
    kinds = results.stages(store).collect()
    assert sorted(kinds["kind"]) == ["encoder", "ood"]
    frame = results.stages(store).filter(pl.col("kind") == "ood").collect()
    found = frame.row(0, named=True)
    assert found["ood_run"] == run
    assert found["ood_auroc"] == row["ood_auroc"]
    assert found["git_revision"] == "abc"
    assert (found["status"], found["method"], found["image_side"]) == ("ok", "cdc", 8)
    assert found["epochs"] is None  # what estimates the cost of a pretraining passes it over
    joined = results.runs(store).join(results.stages(store), left_on="run_id", right_on="ood_run")
    assert joined.collect()["config.epochs"].to_list() == [3]
    assert store.verify() == []
    store.sweep()
    assert "calibration" in ood.confidences(store, row["stage_id"])


def test_an_interruption_leaves_nothing(
    made: Any, others: Path, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, run = made(tmp_path / "store")
    dataset.open(Source(f"folder:{others}", root, side=8))
    before = store.list("artefacts")

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Store, "commit_stage", interrupt)  # all is computed
    with pytest.raises(KeyboardInterrupt):
        evaluated("ood", store, run, (f"folder:{others}",), root=root)
    assert store.list("artefacts") == before
    assert results.stages(store).collect()["kind"].to_list() == ["encoder"]


_KILLED = """
import os, signal, sys
from pathlib import Path
from deep_clustering.platform.store.store import Store
from support.evaluations import evaluated
def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)
Store.commit_stage = die  # all is computed
evaluated("ood", Store.open(sys.argv[1]), sys.argv[2], (sys.argv[3],), root=Path(sys.argv[4]))
"""


@pytest.mark.ray
def test_a_kill_before_the_commit_leaves_nothing(
    made: Any, others: Path, root: Path, tmp_path: Path
) -> None:
    store, run = made(tmp_path / "store")
    dataset.open(Source(f"folder:{others}", root, side=8))
    before = store.list("artefacts")
    words = [store.uri, run, f"folder:{others}", str(root)]
    done = subprocess.run([sys.executable, "-c", _KILLED, *words], check=False)
    assert done.returncode == -signal.SIGKILL
    assert store.list("artefacts") == before
    assert results.stages(store).collect()["kind"].to_list() == ["encoder"]
    assert one(store, run, f"folder:{others}", root)["ood_images"] == 30
    assert sorted(results.stages(store).collect()["kind"]) == ["encoder", "ood"]


def test_a_damaged_result_is_computed_again(
    made: Any, others: Path, root: Path, tmp_path: Path
) -> None:
    store, run = made(tmp_path / "store")
    first = one(store, run, f"folder:{others}", root)
    assert store.local is not None
    path = store.local / first["artefact_files"][0]
    os.truncate(path, path.stat().st_size - 1)
    again = one(store, run, f"folder:{others}", root)
    assert again["artefact_sha256"] == first["artefact_sha256"]
    assert again["artefact_files"] != first["artefact_files"]
    assert ood.confidences(store, again["stage_id"])["calibration"][1].shape == (30,)


# --- what goes wrong -----------------------------------------------------------------------------


def test_bad_input_stops_before_anything_is_computed(
    made: Any, split: Path, others: Path, root: Path, tmp_path: Path
) -> None:
    store, run = made(tmp_path / "store")
    good = f"folder:{others}"
    for bad, sentence in (
        ("svnh", "no dataset 'svnh'.*Did you mean 'svhn'"),
        (f"folder:{tmp_path / 'nowhere'}", "There is no folder"),
        (f"folder:{split}", "holds the images that run .* was trained on; name a set of other"),
    ):
        with pytest.raises(InputError, match=sentence):
            evaluated("ood", store, run, (good, bad), root=root)
    with pytest.raises(InputError, match="there is no finished run 'zzz'"):
        evaluated("ood", store, "zzz", (good,), root=root)
    with pytest.raises(InputError, match="say what to evaluate: --attack, --clean, --ood"):
        evaluate.evaluate(Evaluate(run=run, store=store.uri, data=root))
    assert results.stages(store).collect()["kind"].to_list() == ["encoder"]


def test_broken_images_are_left_out_when_asked(made: Any, root: Path, tmp_path: Path) -> None:
    store, run = made(tmp_path / "store")
    folder = noise(tmp_path / "pictures", 5)
    (folder / "broken.png").write_bytes(b"text")
    with pytest.raises(InputError, match="1 of 6 images"):
        one(store, run, f"folder:{folder}", root)
    row = one(store, run, f"folder:{folder}", root, skip_broken=True)
    assert (row["ood_images"], row["skipped_images"]) == (5, 1)


def test_damaged_predictions_are_said(made: Any, others: Path, root: Path, tmp_path: Path) -> None:
    store, run = made(tmp_path / "store")
    assert store.local is not None
    path = store.local / store.run_row(run)["predictions_file"]
    os.truncate(path, 100)
    with (
        pytest.warns(StoreDamage),
        pytest.raises(StorageError, match=f"predictions of run {run} are missing or damaged"),
    ):
        one(store, run, f"folder:{others}", root)


# --- the command ---------------------------------------------------------------------------------


def test_the_command_prints_a_line_per_set_and_how_to_read_it(
    made: Any, others: Path, root: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.setenv("COLUMNS", "80")
    store, run = made(tmp_path / "store")
    long = noise(tmp_path / ("a long name " * 8).strip(), 4)
    sets = ("digits", f"folder:{others}", f"folder:{long}")
    answer = evaluate.evaluate(
        Evaluate(run=run[:6], asked=(("ood", sets),), store=store.uri, data=root)
    )
    assert answer.code == 0
    assert sorted(answer.tables["evaluations"]["ood_dataset"]) == sorted(
        ["digits", f"folder:{others}", f"folder:{long}"]
    )
    text = capsys.readouterr().out
    lines = text.splitlines()
    head = lines.index("read the results")
    assert all(len(line) <= 80 for line in lines[:head])
    (digits,) = [line.split() for line in lines if line.startswith("digits")]
    row = one(store, run, "digits", root, progress=unseen)
    values = [
        row[f"{head}_ood_{name}"]
        for head in ("calibration", "clustering")
        for name in ("auroc", "fpr95")
    ]
    assert digits == ["digits", "1,797", *(f"{value:.3f}" for value in values)]
    names: dict[str, Any] = {}
    code_lines = [line.strip() for line in lines[head + 1 :]]
    exec("\n".join([*code_lines[:-1], f"found = {code_lines[-1]}"]), names)
    assert set(names["found"]["ood_images"]) == {1797, 30, 4}
