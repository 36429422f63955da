"""Builders of named datasets whose files hold arrays of pixels: digits, MNIST, CIFAR, STL-10, SVHN.

Each takes an `Order` and a folder, and writes images.npy into the folder.
"""

import gzip
import pickle
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TypeVar

import numpy as np

from deep_clustering.platform.data import _cache
from deep_clustering.platform.data._cache import Content
from deep_clustering.platform.data._download import Archive, fetched, unpacked
from deep_clustering.platform.data._entry import Order
from deep_clustering.platform.data._text import quoted
from deep_clustering.platform.data.protocols import TEST, TRAIN, UNLABELLED
from deep_clustering.platform.errors import InputError

_DIGITS = tuple("0123456789")  # names of classes
_CHUNK = 1000  # images copied at a time; a transposed source is slow in one go

Loaded = TypeVar("Loaded")


def digits(order: Order, folder: Path) -> Content:
    """1,797 images, grey 0..16 scaled to 0..255 and copied to three channels.

    Read from scikit-learn's file: to ask scikit-learn for them takes a second of imports.
    """
    package = find_spec("sklearn")
    assert package is not None
    assert package.origin is not None
    table = np.loadtxt(Path(package.origin).parent / "datasets/data/digits.csv.gz", delimiter=",")
    grey = np.rint(table[:, :-1].reshape(-1, 8, 8) * (255 / 16)).astype(np.uint8)
    split = _write(folder, {TRAIN: _three_channels(grey)})
    return Content(
        labels=table[:, -1].astype(np.int64),
        split=split,
        class_names=_DIGITS,
        source="scikit-learn",
    )


def mnist(order: Order, folder: Path) -> Content:
    """60,000 train, then 10,000 test images, grey copied to three channels; IDX files."""
    from torchvision.datasets import MNIST

    parts = []
    for filename, md5 in MNIST.resources:  # train images and labels, test images and labels
        file = Archive(url=MNIST.mirrors[0] + filename, filename=filename, digest=md5)
        data = gzip.decompress(fetched(file, order.root, folder).read_bytes())
        header = 4 + 4 * data[3]  # two zeros, the type, the number of dimensions, each size
        parts.append(np.frombuffer(data, np.uint8, offset=header))
    train, test = (_three_channels(part.reshape(-1, 28, 28)) for part in parts[::2])
    return Content(
        labels=np.concatenate(parts[1::2]).astype(np.int64),
        split=_write(folder, {TRAIN: train, TEST: test}),
        class_names=_DIGITS,
        source=MNIST.mirrors[0],
    )


def cifar(order: Order, folder: Path, *, kind: str, label_key: str) -> Content:
    """CIFAR-10 or CIFAR-100 through torchvision, which checks the MD5 of files before reading.

    Args:
        kind: name of torchvision's class.
        label_key: which labels, by their name in the files: "labels", "fine_labels", ...
    """
    from torchvision import datasets

    reader = getattr(datasets, kind)
    archive = Archive(url=reader.url, filename=reader.filename, digest=reader.tgz_md5)
    with unpacked(archive, reader.base_folder, order.root, folder) as place:
        parts = [checked(partial(reader, place, train=train), place) for train in (True, False)]
        labels: list[int] = []
        for file, _ in reader.train_list + reader.test_list:
            # torchvision keeps the fine labels only; this file has just passed its check.
            with open(Path(place) / reader.base_folder / file, "rb") as handle:
                labels += pickle.load(handle, encoding="latin1")[label_key]
        with open(Path(place) / reader.base_folder / reader.meta["filename"], "rb") as handle:
            names = pickle.load(handle, encoding="latin1")[label_key[:-1] + "_names"]
    train, test = (part.data.transpose(0, 3, 1, 2) for part in parts)
    return Content(
        labels=np.array(labels, np.int64),
        split=_write(folder, {TRAIN: train, TEST: test}),
        class_names=tuple(names),
        source=reader.url,
    )


def stl10(order: Order, folder: Path) -> Content:
    """STL-10: 5,000 train, 8,000 test, then 100,000 unlabelled images."""
    from torchvision.datasets import STL10

    archive = Archive(url=STL10.url, filename=STL10.filename, digest=STL10.tgz_md5)
    with unpacked(archive, STL10.base_folder, order.root, folder) as place:
        train, test, unlabelled = (
            checked(partial(STL10, place, split=split), place)
            for split in ("train", "test", "unlabeled")
        )
    images = {TRAIN: train.data, TEST: test.data, UNLABELLED: unlabelled.data}
    labels = [np.asarray(part.labels).astype(np.int64) for part in (train, test)]
    return Content(
        labels=np.concatenate([*labels, np.full(len(unlabelled.data), -1, np.int64)]),
        split=_write(folder, images),
        class_names=tuple(train.classes),
        source=STL10.url,
    )


def svhn(order: Order, folder: Path) -> Content:
    """SVHN: 73,257 train, then 26,032 test images; the 531,131 extra ones are not used."""
    from torchvision.datasets import SVHN

    parts = []
    for split in ("train", "test"):
        url, filename, md5 = SVHN.split_list[split]
        file = Archive(url=url, filename=filename, digest=md5)
        parts.append(SVHN(fetched(file, order.root, folder).parent, split=split))
    train, test = parts
    return Content(
        labels=np.concatenate([train.labels, test.labels]),
        split=_write(folder, {TRAIN: train.data, TEST: test.data}),
        class_names=_DIGITS,
        source=SVHN.split_list["train"][0],
    )


def checked(load: Callable[[], Loaded], place: Path) -> Loaded:
    """What torchvision's reader loads.

    Raises:
        InputError: the files in `place` do not have the published checksums.
    """
    try:
        return load()
    except RuntimeError as error:
        raise InputError(
            f"The files unpacked in {quoted(place)} do not have the published checksums; delete "
            "that folder and repeat, and they are unpacked or downloaded again."
        ) from error


def _three_channels(grey: np.ndarray) -> np.ndarray:
    """Grey images (n, S, S) as a view (n, 3, S, S)."""
    return np.broadcast_to(grey[:, None], (len(grey), 3, *grey.shape[1:]))


def _write(folder: Path, parts: dict[int, np.ndarray]) -> np.ndarray:
    """Write images.npy, split after split; each is uint8 (n, 3, S, S). The split of each image."""
    counts = [len(images) for images in parts.values()]
    written = _cache.create_images(folder, sum(counts), next(iter(parts.values())).shape[-1])
    first = 0
    for images in parts.values():
        _copy(images, written[first : first + len(images)])
        first += len(images)
    written.flush()
    return np.repeat(np.array(list(parts), np.uint8), counts)


def _copy(images: np.ndarray, target: np.ndarray) -> None:
    for start in range(0, len(images), _CHUNK):
        target[start : start + _CHUNK] = images[start : start + _CHUNK]
