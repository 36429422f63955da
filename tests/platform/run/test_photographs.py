"""Whole pictures from their files to a run, its predictions and what evaluates it."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import transforms

from deep_clustering.platform import registry
from deep_clustering.platform.data import dataset
from deep_clustering.platform.data.dataset import ImageSet, Source
from deep_clustering.platform.evaluation import finished
from deep_clustering.platform.evaluation.contract import Finished
from deep_clustering.platform.evaluations import ood
from deep_clustering.platform.request import configs
from deep_clustering.platform.run import points
from deep_clustering.platform.run.execute import execute
from deep_clustering.platform.store.store import Store
from support.evaluations import evaluated
from support.small import Watcher, place, request, resolved

pytestmark = pytest.mark.ray

SHAPES = ((256, 300), (310, 256), (280, 280))  # height, width


def photographs(folder: Path, count: int, seed: int = 0) -> Path:
    """Smooth pictures of three colours and three shapes."""
    random = np.random.default_rng(seed)
    folder.mkdir(parents=True)
    for number in range(count):
        coarse = random.integers(0, 120, (4, 4, 3), dtype=np.uint8)
        coarse[..., number % 3] += 100
        height, width = SHAPES[number // 3 % 3]
        picture = Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)
        picture.save(folder / f"{number:03}.png", compress_level=1)
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return photographs(tmp_path_factory.mktemp("pictures") / "mine", 36)


@pytest.fixture(scope="module")
def made(folder: Path, root: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, str]:
    """A store with a run of CDC on the photographs, at 28 pixels in the middle of 32."""
    lane = place(Store.open(tmp_path_factory.mktemp("made")))
    jobs = request(folder, root, "pretrain.side=28", "epochs=1").wanted([0]).jobs
    for job in jobs:
        execute(job, lane, Watcher())
    return lane.store, jobs[-1].id


def opened(folder: Path, root: Path) -> ImageSet:
    found = dataset.open(Source(f"folder:{folder}", root))
    assert isinstance(found, ImageSet)
    return found


@pytest.mark.parametrize("method", ["cdc", "dpac", "scan"])
def test_networks_see_256_pixels_and_of_them_224(method: str, folder: Path, root: Path) -> None:
    sets = ["clusters=3", "batch_size=16", "pretrain.batch_size=16"]
    sets += {"cdc": ["sub_batch_size=16", "mini_clusters=8", "pretrain.queue_size=64"]}.get(
        method, []
    )
    sets += {"scan": ["neighbours=5", "self_label_batch_size=16"]}.get(method, [])
    config = configs.flatten(resolved(method, f"folder:{folder}", root=root, sets=sets).config)
    assert (config["pretrain.side"], config["pretrain.enlargement"]) == (224, 8 / 7)
    assert config["pretrain.frame"] == "whole"


def test_a_run_looks_at_the_files(made: tuple[Store, str], folder: Path, root: Path) -> None:
    """The clean view of a run is torchvision's of the file: resize to 32, centre crop of 28."""
    store, run = made
    row = finished.trained_run(store, run)
    assert row["image_side"] == 310
    found = opened(folder, root)
    images = finished.images_for(row, found.images, torch.device("cpu"), found.sizes)
    model: Any = finished.restored(store, row, images, torch.device("cpu"), root)
    seen = model.clean(images.take(torch.arange(36)))
    theirs = transforms.Compose(
        [transforms.Resize(32), transforms.CenterCrop(28), transforms.PILToTensor()]
    )
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in (found.mean, found.std))
    assert found.paths is not None
    for view, path in zip(seen, found.paths, strict=True):
        with Image.open(folder / path) as image:
            levels = (view * std + mean) * 255
            assert (levels - theirs(image)).abs().max() < 1.01


def test_predictions_of_a_folder_are_those_of_the_run(
    made: tuple[Store, str], folder: Path, root: Path
) -> None:
    store, run = made
    stored = next(iter(store.tables("predictions", [str(store.run_row(run)["predictions_file"])])))
    found = finished.predict(store, run, folder, root=root).images
    assert found["cluster"].to_list() == stored["cluster"].to_list()
    assert np.allclose(found["confidence"], stored["confidence"], rtol=0, atol=1e-6)


def test_others_are_seen_as_the_own_photographs_are(
    made: tuple[Store, str], folder: Path, root: Path, tmp_path: Path
) -> None:
    store, run = made
    place_of_others = photographs(tmp_path / "others", 18, seed=1)
    (row,) = evaluated("ood", store, run, [f"folder:{place_of_others}"], root=root)
    predicted = finished.predict(store, run, place_of_others, root=root).images
    assert row["ood_mean_confidence"] == pytest.approx(predicted["confidence"].mean(), abs=1e-6)


def test_small_others_are_enlarged_from_their_own_pixels(
    made: tuple[Store, str], root: Path
) -> None:
    store, run = made
    row, device = finished.trained_run(store, run), torch.device("cpu")
    digits = dataset.open(Source("digits", root))
    assert isinstance(digits, ImageSet)
    few = dataclasses.replace(digits, score=digits.score[:20])
    images = finished.images_for(row, digits.images, device, None)
    model = finished.restored(store, row, images, device, root)
    expected = model.predict(torch.arange(20))
    evaluation = Finished(store=store, row=row, root=root, config={}, device=device)
    for head, found in ood._Model(evaluation).confidences(few).items():
        assert np.allclose(found, expected[head].amax(1), rtol=0, atol=1e-6)


def test_small_others_lie_in_the_corner_and_photographs_become_small_squares(
    folder: Path, root: Path
) -> None:
    digits = dataset.open(Source("digits", root))
    assert isinstance(digits, ImageSet)
    pixels, sizes = ood.fitted(digits, np.array([3, 5]), 500)
    assert np.array_equal(pixels, digits.images[[3, 5]])
    assert sizes.tolist() == [[8, 8], [8, 8]]
    own = opened(folder, root)
    assert own.sizes is not None
    pixels, sizes = ood.fitted(own, np.array([0, 4]), 310)
    assert np.array_equal(pixels, own.images[[0, 4]])
    assert sizes.tolist() == [[256, 300], [310, 256]]
    pixels, sizes = ood.fitted(own, np.array([0, 4]), 32)
    squares = dataset.open(Source(f"folder:{folder}", root, side=32))
    assert isinstance(squares, ImageSet)
    assert np.array_equal(pixels, squares.images[[0, 4]])
    assert sizes.tolist() == [[32, 32]] * 2


def test_points_of_photographs_are_their_centred_squares(folder: Path, root: Path) -> None:
    own = opened(folder, root)
    found = points.of(own)
    assert found.shape == (36, 3 * 224 * 224)
    squares = dataset.open(Source(f"folder:{folder}", root, side=224))
    assert isinstance(squares, ImageSet)
    assert np.array_equal(found, points.of(squares))


def test_every_contrastive_method_offers_both_frames() -> None:
    kinds = {name: registry.method(name).config for name in registry.names()}
    offering = {name for name, kind in kinds.items() if "pretrain.frame" in configs.fields(kind)}
    assert offering == {"byol", "cdc", "dpac", "scan", "simsiam", "spice"}
    for name in offering:
        for frame in ("whole", "centre"):
            chosen = configs.parse(kinds[name], [f"pretrain.frame={frame}"])
            assert configs.flatten(configs.build(kinds[name], chosen))["pretrain.frame"] == frame
