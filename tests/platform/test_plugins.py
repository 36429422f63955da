"""A method that stands on a run of another one, and an evaluation, both from another folder."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from safetensors.numpy import load_file

from deep_clustering.platform import results
from support.small import SETS, images

_PLUGIN = Path(__file__).parents[1] / "support" / "plugin"


def _platform(*words: str, store: Path, data: Path) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join([str(_PLUGIN), os.environ.get("PYTHONPATH", "")])
    return subprocess.run(
        [
            *(sys.executable, "-m", "deep_clustering.platform.start"),
            *words,
            *(f"--store={store}", f"--data={data}"),
        ],
        env={**os.environ, "PYTHONPATH": path, "COLUMNS": "100"},
        capture_output=True,
        text=True,
        check=False,
        timeout=280,
    )


_SETS = [f"--set={s}" for s in SETS if s.startswith(("pretrain.", "clusters"))]
_SETS += ["--set=epochs=1", "--set=batch_size=48"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return images(tmp_path_factory.mktemp("pictures"))


@pytest.fixture(scope="module")
def voted(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A store in which the toy stands on fuzzy c-means, both computed by one command."""
    place = tmp_path_factory.mktemp("voted")
    words = ["train", "vote", "--dataset", f"folder:{folder}", "--base", "fcm", "--seeds", "2"]
    done = _platform(*words, *_SETS, store=place / "store", data=place / "data")
    assert done.returncode == 0, done.stderr
    return place / "store", place / "data"


@pytest.mark.ray
def test_base_neighbours_and_run_are_computed_in_their_order(voted: tuple[Path, Path]) -> None:
    runs = results.runs(voted[0]).collect()
    assert runs["status"].to_list() == ["ok"] * 4
    bases = runs.filter(method="fcm")
    mine = runs.filter(method="vote")
    assert sorted(bases["seed"]) == sorted(mine["seed"]) == [0, 1]
    stages = results.stages(voted[0]).collect()
    assert sorted(stages["kind"]) == ["encoder"] * 1 + ["neighbours"] * 1 + ["outputs"] * 2
    assert set(bases["ended"]) < set(runs["ended"])
    assert bases["ended"].max() <= mine["ended"].max()


def _of(store: Path, run: str, head: str) -> np.ndarray:
    """The probabilities (n, K) of a run."""
    mine = results.probabilities(store).filter(pl.col("run_id") == run).sort("sample").collect()
    return np.stack(mine[head].to_numpy())


@pytest.mark.ray
def test_the_toy_has_voted_on_what_its_base_said(voted: tuple[Path, Path]) -> None:
    """In one step of all images each takes the mean row of its 5 neighbours."""
    store, _ = voted
    runs = results.runs(store).collect()
    listed = results.stages(store).filter(pl.col("kind") == "neighbours").collect()
    near = load_file(store / listed["artefact_files"][0][0])["neighbours"]
    assert near.shape == (48, 5)
    for seed in (0, 1):
        base = _of(store, runs.filter(method="fcm", seed=seed)["run_id"].item(), "clusters")
        mine = _of(store, runs.filter(method="vote", seed=seed)["run_id"].item(), "vote")
        assert np.allclose(mine, base[near].mean(1), atol=1e-6)
        assert not np.array_equal(mine, base)


@pytest.mark.ray
def test_a_base_by_its_id_gives_the_same_run(voted: tuple[Path, Path], folder: Path) -> None:
    store, data = voted
    runs = results.runs(store).collect()
    base = runs.filter(method="fcm", seed=0)["run_id"].item()
    words = ["train", "vote", "--dataset", f"folder:{folder}", "--base", base[:10], *_SETS]
    again = _platform(*words, "--dry-run", store=store, data=data)
    assert again.returncode == 0, again.stderr
    assert "in the store: 1 of 1 runs" in again.stdout


@pytest.mark.ray
def test_an_evaluation_of_another_folder_is_a_command(voted: tuple[Path, Path]) -> None:
    store, data = voted
    run = results.runs(store).filter(method="vote", seed=0).collect()["run_id"].item()
    done = _platform("evaluate", run[:8], "--sure", "0.5", "--sure", "1.1", store=store, data=data)
    assert done.returncode == 0, done.stderr
    rows = results.stages(store).filter(pl.col("kind") == "sure").sort("sure_threshold").collect()
    p = _of(store, run, "vote")
    assert rows["sure_share"].to_list() == [float((p.max(1) >= 0.5).mean()), 0.0]
    wrong = _platform("evaluate", run[:8], "--sure", "much", store=store, data=data)
    assert wrong.returncode == 2
    assert "--sure: needs a number, got 'much'." in wrong.stderr


@pytest.mark.ray
def test_a_method_that_needs_a_base_says_so(folder: Path, tmp_path: Path) -> None:
    words = ["train", "vote", "--dataset", f"folder:{folder}", *_SETS]
    done = _platform(*words, store=tmp_path / "store", data=tmp_path / "data")
    assert done.returncode == 2
    assert "vote starts from a finished run: say which with --base" in done.stderr
    words = ["train", "fcm", "--dataset", f"folder:{folder}", "--base", "vote"]
    done = _platform(*words, store=tmp_path / "store", data=tmp_path / "data")
    assert done.returncode == 2
    assert "methods that take one: cdc_from, ruc, vote" in done.stderr


@pytest.mark.ray
def test_a_base_that_failed_fails_what_stands_on_it(folder: Path, tmp_path: Path) -> None:
    """More neighbours than images: the list of neighbours cannot be made."""
    words = ["train", "vote", "--dataset", f"folder:{folder}", "--base", "fcm", *_SETS]
    done = _platform(*words, "--set=voters=48", store=tmp_path / "store", data=tmp_path / "data")
    assert done.returncode == 3
    row = results.runs(tmp_path / "store").filter(method="vote").collect().row(0, named=True)
    assert row["failure_kind"] == "need"
    assert "its list of neighbours" in row["reason"]
    assert "must be at least 1 and fewer than the 48 images, got 48" in row["reason"]
    assert json.loads(row["config_json"])["voters"] == 48
