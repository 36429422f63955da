"""Archives of the published form with few images; torchvision's checksums are set to theirs."""

import hashlib
import pickle
import shutil
import tarfile
from pathlib import Path

import numpy as np
import pytest


def md5(path: Path) -> str:
    return hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()


def pack(folder: Path, archive: Path) -> None:
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(folder, arcname=folder.name)


def cifar(
    name: str, base: Path, monkeypatch: pytest.MonkeyPatch, per_file: int = 4, fine: bool = False
) -> tuple[Path, np.ndarray, list[int]]:
    """A small CIFAR archive of the published form; its images (N, 3, 32, 32) and labels.

    Of CIFAR-100 these are the coarse labels, or the fine ones.
    """
    from torchvision import datasets as source

    kind = getattr(source, name)
    folder = base / kind.base_folder
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    images: list[np.ndarray] = []
    labels: list[int] = []
    sums: dict[str, str] = {}
    for file, _ in kind.train_list + kind.test_list:
        data = rng.integers(0, 256, (per_file, 3072), dtype=np.uint8)
        own = rng.integers(0, 10, per_file).tolist()
        coarse = [value // 2 for value in own]
        entry = {"data": data, "labels": own}
        if name == "CIFAR100":
            entry = {"data": data, "fine_labels": own, "coarse_labels": coarse}
        (folder / file).write_bytes(pickle.dumps(entry))
        sums[file] = md5(folder / file)
        images.append(data.reshape(-1, 3, 32, 32))
        labels += coarse if name == "CIFAR100" and not fine else own
    names = {
        "label_names": [f"fine {number}" for number in range(10)],
        "fine_label_names": [f"fine {number}" for number in range(100)],
        "coarse_label_names": [f"coarse {number}" for number in range(20)],
    }
    (folder / kind.meta["filename"]).write_bytes(pickle.dumps(names))
    meta = {**kind.meta, "md5": md5(folder / kind.meta["filename"])}
    archive = base / kind.filename
    pack(folder, archive)
    shutil.rmtree(folder)
    monkeypatch.setattr(kind, "meta", meta)
    monkeypatch.setattr(kind, "tgz_md5", md5(archive))
    for part in ("train_list", "test_list"):
        monkeypatch.setattr(kind, part, [[file, sums[file]] for file, _ in getattr(kind, part)])
    return archive, np.concatenate(images), labels
