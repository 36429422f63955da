"""Named datasets whose archives hold image files."""

import dataclasses
import hashlib
import io
import shutil
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from deep_clustering.platform.data import _pictures, catalogue, dataset
from deep_clustering.platform.data.catalogue import CATALOGUE
from deep_clustering.platform.data.dataset import ImageSet, Source
from deep_clustering.platform.errors import InputError
from support.archives import md5, pack
from support.pictures import noise, nothing_half_written


def coil(place: Path, objects: int = 3, angles: tuple[int, ...] = (0, 5)) -> dict[str, np.ndarray]:
    """An archive of the published form with few images; its pictures by name."""
    random = np.random.default_rng(0)
    pictures = {}
    with zipfile.ZipFile(place, "w") as archive:
        for number in range(1, objects + 1):
            for angle in angles:
                name, data = f"obj{number}__{angle}.png", io.BytesIO()
                pictures[name] = random.integers(0, 256, (128, 128, 3), dtype=np.uint8)
                Image.fromarray(pictures[name]).save(data, "PNG")
                archive.writestr(f"coil-100/{name}", data.getvalue())
        archive.writestr("coil-100/convertGroupppm2png.pl", "no image")
    return pictures


def test_coil100(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = tmp_path / "archives" / "coil-100.zip"
    archive.parent.mkdir()
    pictures = coil(archive, objects=3)
    with pytest.raises(
        InputError, match=r"coil-100\.zip' is damaged .* its SHA-256 is not fcb4b8b0"
    ):
        dataset.open(Source("coil100", tmp_path))
    digest = hashlib.sha256(archive.read_bytes()).hexdigest()
    monkeypatch.setattr(_pictures, "COIL", dataclasses.replace(_pictures.COIL, digest=digest))
    with pytest.raises(InputError, match=r"must hold 7200 images .* and it holds 6 of them and 0"):
        dataset.open(Source("coil100", tmp_path))
    about = dataclasses.replace(CATALOGUE["coil100"], count=6, classes=3)
    monkeypatch.setitem(catalogue.CATALOGUE, "coil100", about)
    found = dataset.open(Source("coil100", tmp_path))
    assert isinstance(found, ImageSet)
    assert found.images.shape == (6, 3, 128, 128)
    assert found.class_names == ("obj1", "obj2", "obj3")
    assert found.labels is not None
    assert found.paths is not None
    for image, label, path in zip(found.images, found.labels, found.paths, strict=True):
        assert np.array_equal(image.transpose(1, 2, 0), pictures[path])
        assert path.startswith(f"obj{label + 1}__")


def tiny_archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Tiny-ImageNet as published, with two train images and one for validation; its tree."""
    tree = tmp_path / "tiny-imagenet-200"
    for number, wnid in enumerate(("n02", "n01")):
        noise(tree / "train" / wnid / "images" / f"{wnid}_0.JPEG", number, (64, 64))
        (tree / "train" / wnid / f"{wnid}_boxes.txt").write_text("")
    noise(tree / "val" / "images" / "val_0.JPEG", 5, (64, 64))
    (tree / "val" / "val_annotations.txt").write_text("val_0.JPEG\tn02\t0\t32\t44\t62\n")
    archive = tmp_path / "data" / "archives" / "tiny-imagenet-200.zip"
    archive.parent.mkdir(parents=True)
    with zipfile.ZipFile(archive, "w") as packed:
        for path in sorted(tree.rglob("*")):
            packed.write(path, path.relative_to(tmp_path))
    tiny = dataclasses.replace(_pictures.TINY, digest=md5(archive))
    monkeypatch.setattr(_pictures, "TINY", tiny)
    return tree


def test_tiny_imagenet_uses_its_train_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree = tiny_archive(tmp_path, monkeypatch)
    found = dataset.open(Source("tiny-imagenet", tmp_path / "data"))
    assert found.images.shape == (2, 3, 64, 64)
    assert found.class_names == ("n01", "n02")
    assert found.paths == ("train/n01/images/n01_0.JPEG", "train/n02/images/n02_0.JPEG")
    assert found.protocol == "train"
    with Image.open(tree / "train" / "n01" / "images" / "n01_0.JPEG") as image:
        assert np.array_equal(found.images[0], np.asarray(image).transpose(2, 0, 1))


def test_tiny_imagenet_is_scored_on_its_validation_images(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree = tiny_archive(tmp_path, monkeypatch)
    found = dataset.open(Source("tiny-imagenet", tmp_path / "data", protocol="train-val"))
    assert found.train.tolist() == found.pretrain.tolist() == [0, 1]
    assert found.score.tolist() == [2]
    assert found.labels is not None
    assert found.labels.tolist() == [0, 1, 1]  # n01 and n02; the file says n02 of val_0
    assert found.paths is not None
    assert found.paths[2] == "val/images/val_0.JPEG"
    with Image.open(tree / "val" / "images" / "val_0.JPEG") as image:
        assert np.array_equal(found.images[2], np.asarray(image).transpose(2, 0, 1))
    # the train images alone stay the dataset that they were
    alone = dataset.open(Source("tiny-imagenet", tmp_path / "data"))
    assert alone.fingerprint != found.fingerprint
    assert len(alone.images) == 2


@pytest.mark.parametrize("text", ["", "val_0.JPEG\tn03\t0\t0\t1\t1\n", "val_1.JPEG\tn02\n"])
def test_tiny_imagenet_without_its_validation_labels_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    tree = tiny_archive(tmp_path, monkeypatch)
    (tree / "val" / "val_annotations.txt").write_text(text)
    root = tmp_path / "data"
    shutil.move(tree, root / tree.name)
    with pytest.raises(InputError, match=r"val_annotations\.txt' does not name a class of each"):
        dataset.open(Source("tiny-imagenet", root, protocol="train-val"))
    assert len(dataset.open(Source("tiny-imagenet", root)).images) == 2


def test_textures_are_all_images_at_any_side(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from torchvision.datasets import DTD

    folder = tmp_path / "work" / "dtd"
    for number, name in enumerate(("woven/woven_1", "banded/banded_2", "banded/banded_1")):
        noise(folder / "images" / f"{name}.png", number, (120, 90 + number))
    (folder / "images" / "woven" / ".directory").write_text("[Dolphin]")
    (folder / "labels").mkdir()
    (folder / "labels" / "train1.txt").write_text("banded/banded_1.png\n")
    root = tmp_path / "data"
    (root / "archives").mkdir(parents=True)
    archive = root / "archives" / "dtd-r1.0.1.tar.gz"
    pack(folder, archive)
    monkeypatch.setattr(DTD, "_MD5", md5(archive))
    found = dataset.open(Source("textures", root))
    assert found.images.shape == (3, 3, 64, 64)
    assert (found.protocol, found.view) == ("all", 64)
    assert found.class_names == ("banded", "woven")
    assert found.labels is not None
    assert found.labels.tolist() == [0, 0, 1]
    assert found.train.tolist() == found.score.tolist() == [0, 1, 2]
    # each side is decoded from the files, not from another side: a folder's rule for pixels
    small = dataset.open(Source("textures", root, side=24))
    plain = dataset.open(Source(f"folder:{folder / 'images'}", root, side=24))
    assert np.array_equal(small.images, plain.images)
    assert dataset.open(Source("textures", root, side=256)).view == 224
    with pytest.raises(InputError, match=r"must be in 8\.\.1024 pixels, and it is 4"):
        dataset.open(Source("textures", root, side=4))
    with pytest.raises(InputError, match=r"chosen for .*, textures, places365 and folder:PATH"):
        dataset.open(Source("cifar10", root, side=64))


def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Places365's two archives with three images of three classes; the data directory."""
    from torchvision.datasets import Places365

    lists, images = tmp_path / "lists", tmp_path / "val_256"
    lists.mkdir()
    listed = [("Places365_val_00000001.jpg", 2), ("Places365_val_00000002.jpg", 0),
              ("Places365_val_00000003.jpg", 1)]  # fmt: skip
    for number, (name, _) in enumerate(listed):
        noise(images / name, number, (256, 256))
    lines = [f"{name} {label}" for name, label in listed]
    (lists / "places365_val.txt").write_text("\n".join(lines) + "\n")
    (lists / "categories_places365.txt").write_text("/a/abbey 0\n/b/bar 1\n/c/cave 2\n")
    root = tmp_path / "data"
    (root / "archives").mkdir(parents=True)
    devkit, packed = "filelist_places365-standard.tar", "val_256.tar"
    with tarfile.open(root / "archives" / devkit, "w") as tar:
        for path in sorted(lists.iterdir()):
            tar.add(path, arcname=path.name)
    with tarfile.open(root / "archives" / packed, "w") as tar:
        tar.add(images, arcname="val_256")

    def summed(place: Path, name: str) -> tuple[str, str]:
        return name, md5(place / name)

    archives = root / "archives"
    monkeypatch.setattr(Places365, "_DEVKIT_META", {"standard": summed(archives, devkit)})
    monkeypatch.setattr(Places365, "_IMAGES_META", {("val", True): summed(archives, packed)})
    monkeypatch.setattr(Places365, "_FILE_LIST_META", {"val": summed(lists, "places365_val.txt")})
    monkeypatch.setattr(Places365, "_CATEGORIES_META", summed(lists, "categories_places365.txt"))
    return root


def test_places365_is_its_validation_images(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = places(tmp_path, monkeypatch)
    found = dataset.open(Source("places365", root, side=32))
    assert found.images.shape == (3, 3, 32, 32)
    assert found.labels is not None
    assert found.labels.tolist() == [2, 0, 1]
    assert found.class_names == ("/a/abbey", "/b/bar", "/c/cave")
    assert found.score.tolist() == [0, 1, 2]
    plain = dataset.open(Source(f"folder:{tmp_path / 'val_256'}", root, side=32))
    assert np.array_equal(found.images, plain.images)
    assert dataset.open(Source("places365", root)).images.shape == (3, 3, 64, 64)


def test_places365_with_an_image_missing_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = places(tmp_path, monkeypatch)
    shutil.move(tmp_path / "val_256", root / "val_256")
    (root / "val_256" / "Places365_val_00000002.jpg").unlink()
    with pytest.raises(InputError, match="2 images, 0 of them not in the published list of 3"):
        dataset.open(Source("places365", root))
    assert nothing_half_written(root)
