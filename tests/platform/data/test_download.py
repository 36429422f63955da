"""Published archives: copies by hand, downloads, checksums, no network."""

import dataclasses
import shutil
import tarfile
from pathlib import Path

import numpy as np
import pytest

from deep_clustering.platform.data import _pictures, dataset
from deep_clustering.platform.data.dataset import Source
from deep_clustering.platform.errors import InputError
from support.archives import cifar
from support.pictures import nothing_half_written


@pytest.mark.parametrize("place", ["archives", "."])
def test_an_archive_put_there_by_hand_is_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    archive, images, _ = cifar("CIFAR10", tmp_path / "by hand", monkeypatch)
    (tmp_path / "data" / place).mkdir(parents=True, exist_ok=True)
    shutil.move(archive, tmp_path / "data" / place / archive.name)
    found = dataset.open(Source("cifar10", tmp_path / "data"))
    assert np.array_equal(found.images, images)


def test_files_unpacked_by_hand_are_used_and_checked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive, images, _ = cifar("CIFAR10", tmp_path / "by hand", monkeypatch)
    root = tmp_path / "data"
    with tarfile.open(archive) as tar:
        tar.extractall(root, filter="data")
    found = dataset.open(Source("cifar10", root))
    assert np.array_equal(found.images, images)
    shutil.rmtree(root / "prepared")
    with open(root / "cifar-10-batches-py" / "data_batch_3", "ab") as file:
        file.write(b"more")
    with pytest.raises(InputError, match="do not have the published checksums; delete that folder"):
        dataset.open(Source("cifar10", root))
    assert nothing_half_written(root)


@pytest.mark.fault(33)
def test_an_archive_with_a_wrong_checksum_is_never_unpacked(tmp_path: Path) -> None:
    root = tmp_path / "data"
    (root / "archives").mkdir(parents=True)
    archive = root / "archives" / "cifar-10-python.tar.gz"
    archive.write_bytes(b"half an archive")
    with pytest.raises(
        InputError, match=r"cifar-10-python\.tar\.gz' is damaged.*delete it and repeat"
    ):
        dataset.open(Source("cifar10", root))
    assert archive.read_bytes() == b"half an archive"  # the user's file is left to the user
    assert nothing_half_written(root)


@pytest.mark.fault(33)
def test_a_download_with_a_wrong_checksum_is_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, server: tuple[str, Path]
) -> None:
    from torchvision.datasets import CIFAR10

    address, web = server
    (web / CIFAR10.filename).write_bytes(b"something else")
    monkeypatch.setattr(CIFAR10, "url", f"{address}/{CIFAR10.filename}")
    with pytest.raises(InputError, match=r"incomplete or altered.*put it at.*cifar-10-python"):
        dataset.open(Source("cifar10", tmp_path / "data"))
    assert not (tmp_path / "data" / "archives").exists()
    assert nothing_half_written(tmp_path / "data")


@pytest.mark.parametrize(
    "name",
    ["cifar10", "cifar20", "cifar100", "stl10", "tiny-imagenet", "svhn", "textures", "places365"],
)
def test_no_network_says_where_to_put_the_archive(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    from torchvision.datasets import CIFAR10, CIFAR100, DTD, STL10, SVHN, Places365

    nobody = "http://127.0.0.1:9/"  # a port where nobody listens
    for kind in (CIFAR10, CIFAR100, STL10):
        monkeypatch.setattr(kind, "url", f"{nobody}{kind.filename}")
    monkeypatch.setattr(SVHN, "split_list", {"train": [f"{nobody}a.mat", "a.mat", "0" * 32]})
    monkeypatch.setattr(DTD, "_URL", f"{nobody}dtd.tar.gz")
    monkeypatch.setattr(Places365, "_BASE_URL", nobody)
    tiny = dataclasses.replace(_pictures.TINY, url=f"{nobody}tiny-imagenet-200.zip")
    monkeypatch.setattr(_pictures, "TINY", tiny)
    root = tmp_path / "data"
    with pytest.raises(InputError) as error:
        dataset.open(Source(name, root))
    assert "cannot be downloaded" in str(error.value)
    assert f"put it at '{root / 'archives'}" in str(error.value)
    assert nothing_half_written(root)


def test_a_missing_page_is_a_failed_download(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, server: tuple[str, Path]
) -> None:
    tiny = dataclasses.replace(_pictures.TINY, url=f"{server[0]}/gone.zip")
    monkeypatch.setattr(_pictures, "TINY", tiny)
    with pytest.raises(InputError, match=r"cannot be downloaded .*put it at"):
        dataset.open(Source("tiny-imagenet", tmp_path / "data"))
