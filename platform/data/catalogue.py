"""The named datasets: one record each, in the order in which they are listed.

A new one is a record here, with its builder in a file of this folder. CIFAR-100, SVHN, Textures and
Places365 can be trained on like the others; they are here because out-of-distribution detection is
evaluated with them (CDC, Tables 14 and 15).

Normalisation: the values of CDC's clustering stage, one std for both stages. CIFAR-10's std is that
of CDC, SCAN and RUC: the mean of single images' stds, not that over all pixels (0.247, ...). SVHN:
mean and std over all pixels of the train split. Textures and Places365: ImageNet's.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

from deep_clustering.methods._method import Later
from deep_clustering.platform.data._cache import Content, Prepared
from deep_clustering.platform.data._entry import Built, Entry, ImageEntry, PointEntry
from deep_clustering.platform.data.protocols import HELD_OUT
from deep_clustering.platform.data.sides import LARGEST

_BOTH = ("all", "train-test", "train")


def _built(where: str, **given: object) -> Built:
    """By a function that is imported when it is called: "file of this folder:function"."""
    return Built(partial(Later[Content](f"{__package__}.{where}"), **given))


def _imagenet_entry(
    name: str, summary: str, classes: int, *protocols: str, count: int | None = None
) -> ImageEntry:
    return ImageEntry(
        name=name, summary=summary, classes=classes, side=LARGEST, any_side=True, count=count,
        origin="imagenet", protocols=protocols, separate=protocols,
        prepare=Later[Prepared](f"{__package__}._imagenet:prepare"),
    )  # fmt: skip


_ENTRIES: tuple[Entry, ...] = (
    ImageEntry(
        name="digits", summary="scikit-learn's handwritten digits, 8x8 grey; needs no network",
        classes=10, side=8, count=1797, origin="built in", prepare=_built("_arrays:digits"),
        mean=(0.3053,) * 3, std=(0.3759,) * 3,
    ),
    ImageEntry(
        name="mnist", summary="MNIST, 60,000 train and 10,000 test images of digits, 28x28 grey",
        classes=10, side=28, count=70_000, origin="download", prepare=_built("_arrays:mnist"),
        protocols=("all", "test"), mean=(0.1307,) * 3, std=(0.3081,) * 3,
    ),
    ImageEntry(
        name="coil100",
        summary="COIL-100, 100 objects from 72 sides each, all 7,200 images of 128x128",
        classes=100, side=128, count=7200, origin="download", prepare=_built("_pictures:coil"),
    ),
    PointEntry(
        name="isolet", summary="spoken letters, 7,797 vectors of 617 numbers (OpenML 300)",
        classes=26, dimensions=617, count=7797, origin="download",
        prepare=_built("_openml:build", number=300),
    ),
    PointEntry(
        name="pendigits",
        summary="digits written with a pen, 10,992 vectors of 16 numbers (OpenML 32)",
        classes=10, dimensions=16, count=10_992, origin="download",
        prepare=_built("_openml:build", number=32),
    ),
    ImageEntry(
        name="cifar10", summary="CIFAR-10, 50,000 train and 10,000 test images of 32x32",
        classes=10, side=32, count=60_000, origin="download", protocols=_BOTH,
        prepare=_built("_arrays:cifar", kind="CIFAR10", label_key="labels"),
        mean=(0.4914, 0.4822, 0.4465), std=(0.2023, 0.1994, 0.2010),
    ),
    ImageEntry(
        name="cifar20",
        summary="CIFAR-100 with its 20 coarse labels, 50,000 and 10,000 images of 32x32",
        classes=20, side=32, count=60_000, origin="download", protocols=_BOTH,
        prepare=_built("_arrays:cifar", kind="CIFAR100", label_key="coarse_labels"),
        same_samples=("cifar100",),
        mean=(0.5071, 0.4865, 0.4409), std=(0.2673, 0.2564, 0.2762),
    ),
    ImageEntry(
        name="cifar100",
        summary="CIFAR-100 with its 100 fine labels, 50,000 and 10,000 images of 32x32",
        classes=100, side=32, count=60_000, origin="download", protocols=_BOTH,
        prepare=_built("_arrays:cifar", kind="CIFAR100", label_key="fine_labels"),
        same_samples=("cifar20",),
        mean=(0.5071, 0.4865, 0.4409), std=(0.2673, 0.2564, 0.2762),
    ),
    ImageEntry(
        name="stl10",
        summary="STL-10, 5,000 train, 8,000 test, 100,000 unlabelled for pretraining, 96x96",
        classes=10, side=96, count=113_000, origin="download", protocols=_BOTH,
        prepare=_built("_arrays:stl10"),
        mean=(0.4914, 0.4823, 0.4466), std=(0.247, 0.243, 0.261),
    ),
    _imagenet_entry(
        "imagenet10", "10 classes of ImageNet, train images", 10, "train", count=13_000
    ),
    _imagenet_entry(
        "imagenet-dogs", "15 dog breeds of ImageNet, train images", 15, "train", count=19_500
    ),
    _imagenet_entry(
        "imagenet50", "50 classes of ImageNet, scored on validation images", 50,
        "train-val", "train",
    ),
    _imagenet_entry(
        "imagenet100", "100 classes of ImageNet, scored on validation images", 100,
        "train-val", "train",
    ),
    _imagenet_entry(
        "imagenet200", "200 classes of ImageNet, scored on validation images", 200,
        "train-val", "train",
    ),
    ImageEntry(
        name="tiny-imagenet",
        summary="Tiny-ImageNet, 200 classes, the 100,000 train images of 64x64",
        classes=200, side=64, count=100_000, origin="download", protocols=("train", "train-val"),
        separate=("train-val",), prepare=_built("_pictures:tiny_imagenet"),
    ),
    ImageEntry(
        name="svhn", summary="house numbers, 73,257 train and 26,032 test images of 32x32",
        classes=10, side=32, count=99_289, origin="download", prepare=_built("_arrays:svhn"),
        protocols=("train-test", "all", "train"),
        mean=(0.4377, 0.4438, 0.4728), std=(0.1980, 0.2010, 0.1970),
    ),
    ImageEntry(
        name="textures", summary="Describable Textures (DTD), 47 classes, all 5,640 images",
        classes=47, side=64, count=5640, origin="download", any_side=True,
        prepare=_built("_pictures:textures"),
    ),
    ImageEntry(
        name="places365",
        summary="Places365, 365 classes, the 36,500 validation images (256 px version)",
        classes=365, side=64, count=36_500, origin="download", any_side=True,
        prepare=_built("_pictures:places365"),
    ),
)  # fmt: skip

#: Name -> record.
CATALOGUE: Mapping[str, Entry] = {entry.name: entry for entry in _ENTRIES}


@dataclass(frozen=True, kw_only=True)
class Status:
    """Whether a named dataset can be opened, and a few words on that."""

    #: "ready": nothing is fetched; "readable": its files are here and have to be read once;
    #: "downloadable": its files are fetched; "missing": its files are not where they should be.
    kind: Literal["ready", "readable", "downloadable", "missing"]
    text: str


def status(entry: Entry, root: Path) -> Status:
    """Whether a named dataset can be opened at its own side with the data directory `root`."""
    prepared = root / "prepared"
    side = entry.side if isinstance(entry, ImageEntry) else None
    keys = {entry.folder(side, protocol) for protocol in entry.protocols}
    known = any(
        (prepared / key / "meta.json").exists() or any(prepared.glob(f"{key}.*/meta.json"))
        for key in keys
    )
    if known or entry.origin == "built in":
        return Status(kind="ready", text="ready")
    if entry.origin == "download":
        return Status(kind="downloadable", text="downloadable")
    from deep_clustering.platform.data import _imagenet  # what reads pictures can wait

    place = _imagenet.folder(root)
    if (place / "train").is_dir():
        return Status(kind="readable", text="ready to be prepared")
    return Status(kind="missing", text=f"needs your ImageNet at {place} (or ${_imagenet.VARIABLE})")


def held_out_protocol(name: str) -> str | None:
    """The protocol under which a named dataset is scored on samples that it is not trained on.

    None where it has no such split, and for names that are not in the catalogue.
    """
    having = CATALOGUE[name].protocols if name in CATALOGUE else ()
    return next((p for p in having if p in HELD_OUT), None)


def same_samples(name: str, other: str) -> bool:
    """Whether two datasets of the catalogue have the same samples with other labels."""
    return name in CATALOGUE and other in CATALOGUE[name].same_samples
