"""Subsets of the user's own copy of ImageNet."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from deep_clustering.platform.data import _imagenet, catalogue, dataset
from deep_clustering.platform.data.catalogue import CATALOGUE
from deep_clustering.platform.data.dataset import ImageSet, Source
from deep_clustering.platform.errors import InputError
from support.pictures import noise


@pytest.fixture
def imagenet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """One image per class of ImageNet-50 in train and val, and a class of no subset."""
    place = tmp_path / "my imagenet"
    for number, wnid in enumerate((*_imagenet.classes()["imagenet50"], "n99999999")):
        noise(place / "train" / wnid / f"{wnid}_1.JPEG", number, (40, 30))
        noise(place / "val" / wnid / "ILSVRC2012_val_1.JPEG", 100 + number, (30, 40))
    monkeypatch.setenv(_imagenet.VARIABLE, str(place))
    return place


def test_class_lists() -> None:
    lists = _imagenet.classes()
    assert {name: len(set(ids)) for name, ids in lists.items()} == {
        "imagenet10": 10, "imagenet-dogs": 15, "imagenet50": 50, "imagenet100": 100,
        "imagenet200": 200,
    }  # fmt: skip
    assert set(lists["imagenet50"]) < set(lists["imagenet100"]) < set(lists["imagenet200"])
    assert all(list(ids) == sorted(ids) for ids in lists.values())
    made = {name: entry for name, entry in CATALOGUE.items() if entry.origin == "imagenet"}
    assert set(made) == set(lists)
    assert all(entry.classes == len(lists[name]) for name, entry in made.items())


def test_imagenet50_is_scored_on_validation_images(imagenet: Path, tmp_path: Path) -> None:
    found = dataset.open(Source("imagenet50", tmp_path / "data"))
    assert isinstance(found, ImageSet)
    assert found.images.shape == (100, 3, 500, 500)
    assert found.sizes is not None
    assert found.sizes[[0, 50]].tolist() == [[30, 40], [40, 30]]
    first = found.class_names[0]
    with Image.open(imagenet / "train" / first / f"{first}_1.JPEG") as file:
        assert np.array_equal(found.images[0, :, :30, :40], np.asarray(file).transpose(2, 0, 1))
    assert (found.view, found.enlargement) == (224, 8 / 7)
    assert found.protocol == "train-val"
    assert found.class_names == _imagenet.classes()["imagenet50"]
    assert found.train.tolist() == found.pretrain.tolist() == list(range(50))
    assert found.score.tolist() == list(range(50, 100))
    assert found.labels is not None
    assert found.labels.tolist() == [*range(50), *range(50)]
    small = dataset.open(Source("imagenet50", tmp_path / "data", side=24))
    assert small.images.shape == (100, 3, 24, 24)
    shutil.rmtree(imagenet / "val")
    train = dataset.open(Source("imagenet50", tmp_path / "data", protocol="train"))
    assert len(train.images) == 50
    with pytest.raises(InputError, match=r"val' lacks 50 of the 50.*--protocol train"):
        dataset.open(Source("imagenet50", tmp_path / "data"))


def test_imagenet_that_is_not_there_says_what_is_expected(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(_imagenet.VARIABLE, raising=False)
    with pytest.raises(InputError) as error:
        dataset.open(Source("imagenet10", tmp_path))
    text = str(error.value)
    assert str(tmp_path / "imagenet") in text
    assert "DEEP_CLUSTERING_IMAGENET" in text
    assert "train/n01440764/" in text
    assert not list(tmp_path.iterdir())


def test_missing_classes_are_named(imagenet: Path, tmp_path: Path) -> None:
    for wnid in _imagenet.classes()["imagenet50"][3:5]:
        shutil.rmtree(imagenet / "train" / wnid)
    with pytest.raises(
        InputError, match=r"lacks 2 of the 50 class folders of imagenet50: n0.*; put"
    ):
        dataset.open(Source("imagenet50", tmp_path / "data"))
    with pytest.raises(InputError, match=r"lacks 52 of the 100 .*, \.\.\.; put"):
        dataset.open(Source("imagenet100", tmp_path / "data"))


def test_a_prepared_copy_serves_while_imagenet_is_away(imagenet: Path, tmp_path: Path) -> None:
    root = tmp_path / "data"
    found = dataset.open(Source("imagenet50", root))
    imagenet.rename(tmp_path / "elsewhere")
    assert dataset.open(Source("imagenet50", root)).fingerprint == found.fingerprint
    assert catalogue.status(CATALOGUE["imagenet50"], root).text == "ready"
    with pytest.raises(InputError, match="has no train folder"):
        dataset.open(Source("imagenet50", root, protocol="train"))


def test_an_incomplete_imagenet10_is_noted(imagenet: Path, tmp_path: Path) -> None:
    for number, wnid in enumerate(_imagenet.classes()["imagenet10"]):
        noise(imagenet / "train" / wnid / "x.JPEG", 200 + number)
    found = dataset.open(Source("imagenet10", tmp_path / "data"))
    assert found.classes == 10
    assert found.protocol == "train"
    assert "where the published set has 13000" in found.notes[0]
