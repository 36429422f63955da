"""Named datasets whose files hold arrays of pixels."""

import gzip
import hashlib
import shutil
from pathlib import Path

import numpy as np
import pytest

from deep_clustering.platform.data import _cache, catalogue, dataset
from deep_clustering.platform.data.catalogue import CATALOGUE
from deep_clustering.platform.data.dataset import ImageSet, Source
from deep_clustering.platform.errors import InputError
from support.archives import cifar, md5, pack
from support.pictures import nothing_half_written


def test_digits(tmp_path: Path) -> None:
    from sklearn.datasets import load_digits

    digits = dataset.open(Source("digits", tmp_path))
    source = load_digits()
    assert isinstance(digits.images, np.memmap)
    assert digits.images.shape == (1797, 3, 8, 8)
    assert digits.images.dtype == np.uint8
    assert digits.images.flags["C_CONTIGUOUS"]
    assert not digits.images.flags.writeable
    assert digits.labels is not None
    assert digits.labels.dtype == np.int64
    assert np.array_equal(digits.labels, source.target)
    # 0..16 goes to 0..255: 16 -> 255, 8 -> 127.5, which rounds to the even 128
    assert digits.images.max() == 255
    assert (digits.images[:, 0][source.images == 8] == 128).all()
    assert (digits.images[:, 0] == digits.images[:, 2]).all()
    assert digits.classes == 10
    assert digits.view == 8
    assert digits.protocol == "all"
    for index in (digits.train, digits.score, digits.pretrain):
        assert index.dtype == np.int64
        assert np.array_equal(index, np.arange(1797))
    values = digits.images / 255
    assert values.mean() == pytest.approx(digits.mean[0], abs=1e-4)
    assert values.std() == pytest.approx(digits.std[0], abs=1e-4)


def test_mnist(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from torchvision.datasets import MNIST

    random = np.random.default_rng(0)
    pixels = {"train": random.integers(0, 256, (5, 28, 28), dtype=np.uint8)}
    pixels["t10k"] = random.integers(0, 256, (3, 28, 28), dtype=np.uint8)
    labels = {"train": np.array([1, 0, 9, 3, 3], np.uint8), "t10k": np.array([7, 2, 1], np.uint8)}
    (tmp_path / "archives").mkdir()
    resources = []
    for name, _ in MNIST.resources:
        array = (pixels if "images" in name else labels)[name.split("-")[0]]
        sizes = b"".join(n.to_bytes(4, "big") for n in array.shape)
        data = gzip.compress(bytes([0, 0, 8, array.ndim]) + sizes + array.tobytes())
        (tmp_path / "archives" / name).write_bytes(data)
        resources.append((name, hashlib.md5(data, usedforsecurity=False).hexdigest()))
    monkeypatch.setattr(MNIST, "resources", resources)
    found = dataset.open(Source("mnist", tmp_path))
    assert isinstance(found, ImageSet)
    assert found.images.shape == (8, 3, 28, 28)
    whole = np.concatenate([pixels["train"], pixels["t10k"]])
    assert all(np.array_equal(found.images[:, channel], whole) for channel in range(3))
    assert found.labels is not None
    assert found.labels.tolist() == [1, 0, 9, 3, 3, 7, 2, 1]
    assert found.train.tolist() == found.score.tolist() == list(range(8))
    test = dataset.open(Source("mnist", tmp_path, protocol="test"))
    assert test.train.tolist() == test.score.tolist() == test.pretrain.tolist() == [5, 6, 7]
    assert test.fingerprint == found.fingerprint


@pytest.mark.parametrize(
    ("name", "kind", "train"),
    [("cifar10", "CIFAR10", 20), ("cifar20", "CIFAR100", 4), ("cifar100", "CIFAR100", 4)],
)
def test_cifar_is_downloaded_once_and_kept(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    server: tuple[str, Path],
    name: str,
    kind: str,
    train: int,
) -> None:
    from torchvision import datasets as source

    address, web = server
    archive, images, labels = cifar(kind, web, monkeypatch, fine=name == "cifar100")
    monkeypatch.setattr(getattr(source, kind), "url", f"{address}/{archive.name}")
    root = tmp_path / "data"
    found = dataset.open(Source(name, root))
    assert np.array_equal(found.images, images)
    assert found.labels is not None
    assert found.labels.tolist() == labels
    assert found.classes == int(name.removeprefix("cifar"))
    assert found.class_names is not None
    assert found.class_names[1] == ("coarse 1" if name == "cifar20" else "fine 1")
    assert len(found.train) == len(found.score) == len(images)
    assert (root / "archives" / archive.name).is_file()
    assert catalogue.status(CATALOGUE[name], root).text == "ready"
    assert {path.name for path in (root / "prepared" / f"{name}-v{_cache.FORMAT}").iterdir()} == {
        "images.npy", "labels.npy", "split.npy", "meta.json",
    }  # fmt: skip

    archive.unlink()
    (root / "archives" / archive.name).unlink()
    split = dataset.open(Source(name, root, protocol="train-test"))
    assert split.train.tolist() == split.pretrain.tolist() == list(range(train))
    assert split.score.tolist() == list(range(train, len(images)))
    both = dataset.open(Source(name, root, protocol="train"))
    assert both.train.tolist() == both.score.tolist() == list(range(train))


def test_stl10_keeps_unlabelled_images_for_pretraining(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from torchvision.datasets import STL10

    folder = tmp_path / "work" / STL10.base_folder
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    counts = {"train": 2, "test": 3, "unlabeled": 4}
    images = {
        part: rng.integers(0, 256, (n, 3, 96, 96), dtype=np.uint8) for part, n in counts.items()
    }
    for part, array in images.items():  # the file is column by column
        array.transpose(0, 1, 3, 2).tofile(folder / f"{part}_X.bin")
    np.array([1, 10], np.uint8).tofile(folder / "train_y.bin")
    np.array([2, 3, 3], np.uint8).tofile(folder / "test_y.bin")
    (folder / "class_names.txt").write_text("\n".join(f"class {number}" for number in range(10)))
    root = tmp_path / "data"
    (root / "archives").mkdir(parents=True)
    pack(folder, root / "archives" / STL10.filename)
    monkeypatch.setattr(STL10, "tgz_md5", md5(root / "archives" / STL10.filename))
    for part in ("train_list", "test_list"):
        files = [[file, md5(folder / file)] for file, _ in getattr(STL10, part)]
        monkeypatch.setattr(STL10, part, files)

    found = dataset.open(Source("stl10", root))
    assert np.array_equal(found.images, np.concatenate(list(images.values())))
    assert found.labels is not None
    assert found.labels.tolist() == [0, 9, 1, 2, 2, -1, -1, -1, -1]
    assert found.classes == 10
    assert found.train.tolist() == found.score.tolist() == [0, 1, 2, 3, 4]
    assert found.pretrain.tolist() == list(range(9))
    split = dataset.open(Source("stl10", root, protocol="train-test"))
    assert split.train.tolist() == [0, 1]
    assert split.score.tolist() == [2, 3, 4]
    assert split.pretrain.tolist() == [0, 1, 5, 6, 7, 8]  # train and unlabelled, as SCAN's pretext
    assert split.fingerprint == found.fingerprint


def test_svhn_is_scored_on_its_test_images(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, server: tuple[str, Path]
) -> None:
    from scipy.io import savemat
    from torchvision.datasets import SVHN

    address, web = server
    rng = np.random.default_rng(0)
    files, images = {}, []
    for split, labels in (("train", [10, 1, 9]), ("test", [2, 10])):
        name = f"{split}_32x32.mat"
        pixels = rng.integers(0, 256, (len(labels), 3, 32, 32), dtype=np.uint8)
        images.append(pixels)
        y = np.array(labels, np.uint8)[:, None]
        savemat(web / name, {"X": pixels.transpose(2, 3, 1, 0), "y": y})
        files[split] = [f"{address}/{name}", name, md5(web / name)]
    monkeypatch.setattr(SVHN, "split_list", files)
    root = tmp_path / "data"
    found = dataset.open(Source("svhn", root))
    assert found.protocol == "train-test"
    assert np.array_equal(found.images, np.concatenate(images))
    assert found.labels is not None
    assert found.labels.tolist() == [0, 1, 9, 2, 0]  # the files say 10 for the digit 0
    assert found.train.tolist() == [0, 1, 2]
    assert found.score.tolist() == [3, 4]
    assert catalogue.status(CATALOGUE["svhn"], root).text == "ready"
    assert dataset.open(Source("svhn", root, protocol="all")).score.tolist() == [0, 1, 2, 3, 4]

    shutil.rmtree(root / "prepared")
    with open(root / "archives" / "test_32x32.mat", "ab") as file:
        file.write(b"more")
    with pytest.raises(InputError, match=r"test_32x32\.mat' is damaged.*delete it and repeat"):
        dataset.open(Source("svhn", root))
    assert nothing_half_written(root)
