"""The named datasets and how each is made.

Which samples are trained on and which are scored is the protocol, and part of the dataset:

    all         trained on and scored: train and test together (CDC, DPAC)
    test        trained on and scored: the test split (PAC on MNIST)
    train-test  trained on the train split, scored on the test split (SCAN)
    train-val   the same where the held-out split is called validation (ImageNet-50/100/200)
    train       trained on and scored: the train split (RUC on CIFAR; CDC on ImageNet subsets)

CIFAR-100, SVHN, Textures and Places365 can be trained on like the others; they are here because
they are what out-of-distribution detection is evaluated with (CDC, Tables 14 and 15).

Pretraining uses what is trained on, and with STL-10 its 100,000 unlabelled images as well. How
folders and files are read is written in `_folder.py`, tables in `_tables.py`.
"""

import contextlib
import csv
import gzip
import hashlib
import os
import re
import shutil
import socket
import urllib.error
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache, partial
from http.client import HTTPException
from pathlib import Path
from typing import Any

import numpy as np

from deep_clustering.platform.data import _cache, _folder, _tables
from deep_clustering.platform.data._cache import TEST, TRAIN, UNLABELLED, Content, Progress
from deep_clustering.platform.data._folder import show
from deep_clustering.platform.errors import InputError

DATA_VARIABLE = "DEEP_CLUSTERING_DATA"
IMAGENET_VARIABLE = "DEEP_CLUSTERING_IMAGENET"

Triple = tuple[float, float, float]

IMAGENET_MEAN: Triple = (0.485, 0.456, 0.406)
IMAGENET_STD: Triple = (0.229, 0.224, 0.225)


@dataclass(frozen=True, kw_only=True)
class DatasetSpec:
    """What is known about a named dataset before it is there."""

    name: str
    summary: str  # one line
    classes: int
    side: int  # stored side, pixels
    view: int  # side that networks see, pixels
    mean: Triple
    std: Triple
    protocols: tuple[str, ...]  # the first is the default
    count: int | None  # images in all, pretraining included, under the default protocol
    source: str  # "built in", "download" or "imagenet"
    dimensions: int | None = None  # numbers of a sample, for vectors; None: images
    any_side: bool = False  # its files are larger than `side` and can be stored at another one
    status: str = ""  # "ready", "downloadable", "needs your ImageNet at ..."; filled by `known`


def _spec(
    name: str,
    summary: str,
    *,
    classes: int,
    side: int,
    count: int | None,
    source: str,
    dimensions: int | None = None,
    view: int | None = None,
    mean: Triple = IMAGENET_MEAN,
    std: Triple = IMAGENET_STD,
    protocols: tuple[str, ...] = ("train",),
    any_side: bool = False,
) -> DatasetSpec:
    return DatasetSpec(
        name=name, summary=summary, classes=classes, side=side, view=view or side, mean=mean,
        std=std, protocols=protocols, count=count, source=source, any_side=any_side,
        dimensions=dimensions,
    )  # fmt: skip


HELD_OUT = ("train-test", "train-val")  # protocols that score images they do not train on
_BOTH = ("all", "train-test", "train")
_IMAGENET: dict[str, Any] = {"side": 256, "view": 224, "source": "imagenet"}

# Normalisation: the values of CDC's clustering stage, one std for both stages. CIFAR-10's std is
# that of CDC, SCAN and RUC: the mean of single images' stds, not that over all pixels (0.247, ...).
# SVHN: mean and std over all pixels of the train split. Textures and Places365: ImageNet's.
_SPECS = {
    spec.name: spec
    for spec in (
        _spec(
            "digits", "scikit-learn's handwritten digits, 8x8 grey; needs no network",
            classes=10, side=8, count=1797, source="built in", protocols=("all",),
            mean=(0.3053,) * 3, std=(0.3759,) * 3,
        ),
        _spec(
            "mnist", "MNIST, 60,000 train and 10,000 test images of digits, 28x28 grey",
            classes=10, side=28, count=70_000, source="download", protocols=("all", "test"),
            mean=(0.1307,) * 3, std=(0.3081,) * 3,
        ),
        _spec(
            "coil100", "COIL-100, 100 objects from 72 sides each, all 7,200 images of 128x128",
            classes=100, side=128, count=7200, source="download", protocols=("all",),
        ),
        _spec(
            "isolet", "spoken letters, 7,797 vectors of 617 numbers (OpenML 300)",
            classes=26, side=0, dimensions=617, count=7797, source="download", protocols=("all",),
        ),
        _spec(
            "pendigits", "digits written with a pen, 10,992 vectors of 16 numbers (OpenML 32)",
            classes=10, side=0, dimensions=16, count=10_992, source="download",
            protocols=("all",),
        ),
        _spec(
            "cifar10", "CIFAR-10, 50,000 train and 10,000 test images of 32x32",
            classes=10, side=32, count=60_000, source="download", protocols=_BOTH,
            mean=(0.4914, 0.4822, 0.4465), std=(0.2023, 0.1994, 0.2010),
        ),
        _spec(
            "cifar20", "CIFAR-100 with its 20 coarse labels, 50,000 and 10,000 images of 32x32",
            classes=20, side=32, count=60_000, source="download", protocols=_BOTH,
            mean=(0.5071, 0.4865, 0.4409), std=(0.2673, 0.2564, 0.2762),
        ),
        _spec(
            "cifar100", "CIFAR-100 with its 100 fine labels, 50,000 and 10,000 images of 32x32",
            classes=100, side=32, count=60_000, source="download", protocols=_BOTH,
            mean=(0.5071, 0.4865, 0.4409), std=(0.2673, 0.2564, 0.2762),
        ),
        _spec(
            "stl10", "STL-10, 5,000 train, 8,000 test, 100,000 unlabelled for pretraining, 96x96",
            classes=10, side=96, count=113_000, source="download", protocols=_BOTH,
            mean=(0.4914, 0.4823, 0.4466), std=(0.247, 0.243, 0.261),
        ),
        _spec(
            "imagenet10", "10 classes of ImageNet, train images",
            classes=10, count=13_000, **_IMAGENET,
        ),
        _spec(
            "imagenet-dogs", "15 dog breeds of ImageNet, train images",
            classes=15, count=19_500, **_IMAGENET,
        ),
        _spec(
            "imagenet50", "50 classes of ImageNet, scored on validation images",
            classes=50, count=None, protocols=("train-val", "train"), **_IMAGENET,
        ),
        _spec(
            "imagenet100", "100 classes of ImageNet, scored on validation images",
            classes=100, count=None, protocols=("train-val", "train"), **_IMAGENET,
        ),
        _spec(
            "imagenet200", "200 classes of ImageNet, scored on validation images",
            classes=200, count=None, protocols=("train-val", "train"), **_IMAGENET,
        ),
        _spec(
            "tiny-imagenet", "Tiny-ImageNet, 200 classes, the 100,000 train images of 64x64",
            classes=200, side=64, count=100_000, source="download",
            protocols=("train", "train-val"),
        ),
        _spec(
            "svhn", "house numbers, 73,257 train and 26,032 test images of 32x32",
            classes=10, side=32, count=99_289, source="download",
            protocols=("train-test", "all", "train"),
            mean=(0.4377, 0.4438, 0.4728), std=(0.1980, 0.2010, 0.1970),
        ),
        _spec(
            "textures", "Describable Textures (DTD), 47 classes, all 5,640 images",
            classes=47, side=64, count=5640, source="download", protocols=("all",), any_side=True,
        ),
        _spec(
            "places365", "Places365, 365 classes, the 36,500 validation images (256 px version)",
            classes=365, side=64, count=36_500, source="download", protocols=("all",),
            any_side=True,
        ),
    )
}  # fmt: skip

#: The archive has no checksum of its own; this SHA-256 is that of TensorFlow Datasets' catalogue.
COIL_URL = "http://www.cs.columbia.edu/CAVE/databases/SLAM_coil-20_coil-100/coil-100/coil-100.zip"
COIL_SHA256 = "fcb4b8b01c0778f416d8d7a09f45082c4f7075cc74743dcddd5c44307bd4afe7"
_COIL_NAME = re.compile(r"obj(\d+)__\d+\.png")  # object and angle

TINY_URL = "http://cs231n.stanford.edu/tiny-imagenet-200.zip"
TINY_MD5 = "90528d7ca1a48142e341f4ef8d21d0de"

_TIMEOUT = 60.0  # seconds without a byte before a download is given up


def default_root() -> Path:
    """The data directory: $DEEP_CLUSTERING_DATA, else ~/.cache/deep-clustering."""
    given = os.environ.get(DATA_VARIABLE)
    return Path(given).expanduser() if given else Path.home() / ".cache" / "deep-clustering"


def known(root: Path | None = None) -> dict[str, DatasetSpec]:
    """All named datasets, in the order to list them, with their status under `root`."""
    root = default_root() if root is None else Path(root)
    return {name: replace(spec, status=_status(spec, root)) for name, spec in _SPECS.items()}


def _status(spec: DatasetSpec, root: Path) -> str:
    key = _key(spec)
    prepared = root / "prepared"
    if (prepared / key / "meta.json").exists() or any(prepared.glob(f"{key}.*/meta.json")):
        return "ready"
    if spec.source == "built in":
        return "ready"
    if spec.source == "download":
        return "downloadable"
    place = imagenet_folder(root)
    if (place / "train").is_dir():
        return "ready to be prepared"
    return f"needs your ImageNet at {place} (or ${IMAGENET_VARIABLE})"


def held_out_protocol(name: str) -> str | None:
    """The protocol under which a named dataset is scored on images that it is not trained on.

    None where it has no such split, and for names that are not of `known()`.
    """
    having = _SPECS[name].protocols if name in _SPECS else ()
    return next((p for p in having if p in HELD_OUT), None)


# --- folders of images ---------------------------------------------------------------------------


def build_listing(
    folder: Path,
    *,
    listing: _folder.Listing,
    again: Callable[[], _folder.Listing],
    side: int | None,
    skip_broken: bool,
    progress: Progress | None,
    notes: tuple[str, ...] = (),
) -> Content:
    """Decode all files of a listing into folder/images.npy."""
    place = Path(listing.root)
    broken: dict[int, str] = {}
    passes = 1
    if side is None:
        passes = 2
        sizes, broken = _folder.measure(listing, _part(progress, 0, passes))
        good = [index for index in range(len(sizes)) if index not in broken]
        if not good:
            raise _broken_images(place, _reasons(listing, broken), len(sizes))
        side = _folder.stored_side(sizes[good])
    images = _cache.create_images(folder, len(listing.paths), side)
    _folder.decode(listing, images, broken, _part(progress, passes - 1, passes))
    if again().key() != listing.key():
        raise InputError(
            f"The folder {show(place)} changed while it was being read; repeat when it is at rest."
        )
    reasons = _reasons(listing, broken)
    if (broken and not skip_broken) or len(broken) == len(listing.paths):
        raise _broken_images(place, reasons, len(listing.paths))
    keep = np.array([i for i in range(len(listing.paths)) if i not in broken], np.int64)
    if broken:
        images = _cache.keep_rows(folder, images, keep)
    images.flush()
    labels = None if listing.labels is None else listing.labels[keep]
    names = listing.class_names
    if labels is not None and names is not None:
        lost = [name for label, name in enumerate(names) if not (labels == label).any()]
        if lost:
            raise InputError(
                f"No image of the classes {', '.join(map(repr, lost[:10]))} in {show(place)} "
                "can be read; repair them or take these folders out."
            )
    return Content(
        labels=labels,
        split=listing.split[keep],
        class_names=names and tuple(_folder.printable(name) for name in names),
        paths=tuple(_folder.printable(listing.paths[index]) for index in keep),
        skipped=reasons,
        notes=listing.notes + notes,
        source=_folder.printable(listing.root),
    )


def _part(progress: Progress | None, number: int, passes: int) -> Progress | None:
    """`progress` of pass `number` (from 0) over the files, told as a part of all passes."""
    if progress is None:
        return None
    return lambda done, total: progress(number * total + done, passes * total)


def _reasons(listing: _folder.Listing, broken: Mapping[int, str]) -> dict[str, str]:
    return {_folder.printable(listing.paths[index]): broken[index] for index in sorted(broken)}


def _broken_images(place: Path, reasons: Mapping[str, str], count: int) -> InputError:
    listed = ", ".join(f"{show(path)} ({why})" for path, why in list(reasons.items())[:10])
    more = f" and {len(reasons) - 10} more" if len(reasons) > 10 else ""
    return InputError(
        f"{len(reasons)} of {count} images in {show(place)} cannot be read: {listed}{more}; repair "
        "or remove them, or leave them out with --skip-broken."
    )


def refuse_skipped(opened: _cache.Prepared, place: Path, skip_broken: bool) -> None:
    """A set that was prepared with files left out is opened only by someone who wants that too."""
    skipped = opened.meta["skipped"]
    if skipped and not skip_broken:
        raise _broken_images(place, skipped, len(skipped) + len(opened.split))


# --- named datasets ------------------------------------------------------------------------------


def _key(about: DatasetSpec) -> str:
    return f"{about.name}-v{_cache.FORMAT}"


def open_named(
    about: DatasetSpec, root: Path, protocol: str, skip_broken: bool, progress: Progress | None
) -> _cache.Prepared:
    key = _key(about)
    if about.source == "imagenet":
        return _open_imagenet(about, root, protocol, key, skip_broken, progress)
    builders: dict[str, Callable[[Path], Content]] = {
        "digits": _build_digits,
        "mnist": partial(_build_mnist, root=root),
        "coil100": partial(_build_coil, root=root, progress=progress),
        "isolet": partial(_tables.build_openml, root=root, number=300, about=about),
        "pendigits": partial(_tables.build_openml, root=root, number=32, about=about),
        "cifar10": partial(_build_cifar, root=root, name="CIFAR10", label_key="labels"),
        "cifar20": partial(_build_cifar, root=root, name="CIFAR100", label_key="coarse_labels"),
        "cifar100": partial(_build_cifar, root=root, name="CIFAR100", label_key="fine_labels"),
        "stl10": partial(_build_stl10, root=root),
        "tiny-imagenet": partial(
            _build_tiny, root=root, validation=protocol == "train-val", progress=progress
        ),
        "svhn": partial(_build_svhn, root=root),
        "textures": partial(_build_textures, root=root, side=about.side, progress=progress),
        "places365": partial(_build_places, root=root, side=about.side, progress=progress),
    }
    if about.any_side:
        key = f"{key}.{about.side}"
    elif about.name == "tiny-imagenet" and protocol == "train-val":
        key = f"{key}.{protocol}"  # apart, so that the train images stay the dataset they were
    return _cache.obtain(root, key, builders[about.name], spec={"name": about.name})


def _build_digits(folder: Path) -> Content:
    """1,797 images, grey 0..16 scaled to 0..255 and copied to three channels."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    grey = np.rint(digits.images * (255 / 16)).astype(np.uint8)
    images = _cache.create_images(folder, len(grey), 8)
    images[:] = grey[:, None]
    images.flush()
    return Content(
        labels=digits.target.astype(np.int64),
        split=np.full(len(grey), TRAIN, np.uint8),
        class_names=tuple("0123456789"),
        source="scikit-learn",
    )


def _build_mnist(folder: Path, *, root: Path) -> Content:
    """60,000 train, then 10,000 test images, grey copied to three channels; IDX files."""
    from torchvision.datasets import MNIST

    parts = []
    for filename, md5 in MNIST.resources:  # train images and labels, test images and labels
        packed = _archive(root, folder, MNIST.mirrors[0] + filename, filename, md5)
        data = gzip.decompress(packed.read_bytes())
        header = 4 + 4 * data[3]  # two zeros, the type, the number of dimensions, each size
        parts.append(np.frombuffer(data, np.uint8, offset=header))
    pixels = [part.reshape(-1, 28, 28) for part in parts[::2]]
    counts = [len(part) for part in pixels]
    images = _cache.create_images(folder, sum(counts), 28)
    images[: counts[0]], images[counts[0] :] = pixels[0][:, None], pixels[1][:, None]
    images.flush()
    return Content(
        labels=np.concatenate(parts[1::2]).astype(np.int64),
        split=np.repeat(np.array([TRAIN, TEST], np.uint8), counts),
        class_names=tuple("0123456789"),
        source=MNIST.mirrors[0],
    )


def _build_coil(folder: Path, *, root: Path, progress: Progress | None) -> Content:
    """All images of COIL-100, whose names say the object."""
    base, about = "coil-100", _SPECS["coil100"]
    with _unpacked(root, folder, base, COIL_URL, f"{base}.zip", COIL_SHA256) as place:
        tree = place / base

        def list_again() -> _folder.Listing:
            found = _folder.listing(tree)
            named = [_COIL_NAME.fullmatch(path) for path in found.paths]
            labels = [int(match[1]) - 1 for match in named if match]
            if len(labels) != about.count or set(labels) != set(range(about.classes)):
                raise InputError(
                    f"{show(tree)} must hold {about.count} images obj1__0.png to obj100__355.png, "
                    f"and it holds {len(labels)} of them and {len(named) - len(labels)} others; "
                    "delete it and repeat, and it is unpacked or downloaded again."
                )
            return replace(
                found,
                labels=np.array(labels, np.int64),
                class_names=tuple(f"obj{n}" for n in range(1, about.classes + 1)),
            )

        content = build_listing(
            folder, listing=list_again(), again=list_again, side=about.side, skip_broken=False,
            progress=progress,
        )  # fmt: skip
    return replace(content, source=COIL_URL)


def _build_cifar(folder: Path, *, root: Path, name: str, label_key: str) -> Content:
    """CIFAR-10 or CIFAR-100 through torchvision, which checks the MD5 of files before reading."""
    import pickle

    from torchvision import datasets

    kind = getattr(datasets, name)
    with _unpacked(root, folder, kind.base_folder, kind.url, kind.filename, kind.tgz_md5) as place:
        parts = [_checked(partial(kind, place, train=train), place) for train in (True, False)]
        pixels = np.concatenate([part.data for part in parts]).transpose(0, 3, 1, 2)
        labels: list[int] = []
        for file, _ in kind.train_list + kind.test_list:
            # torchvision keeps the fine labels only; this file has just passed its check.
            with open(Path(place) / kind.base_folder / file, "rb") as handle:
                labels += pickle.load(handle, encoding="latin1")[label_key]
        with open(Path(place) / kind.base_folder / kind.meta["filename"], "rb") as handle:
            names = pickle.load(handle, encoding="latin1")[label_key[:-1] + "_names"]
    images = _cache.create_images(folder, len(pixels), pixels.shape[-1])
    images[:] = pixels
    images.flush()
    split = np.repeat(np.array([TRAIN, TEST], np.uint8), [len(part.data) for part in parts])
    return Content(
        labels=np.array(labels, np.int64), split=split, class_names=tuple(names), source=kind.url
    )


def _build_stl10(folder: Path, *, root: Path) -> Content:
    """STL-10: 5,000 train, 8,000 test, then 100,000 unlabelled images."""
    from torchvision.datasets import STL10

    with _unpacked(
        root, folder, STL10.base_folder, STL10.url, STL10.filename, STL10.tgz_md5
    ) as place:
        parts = [
            _checked(partial(STL10, place, split=split), place)
            for split in ("train", "test", "unlabeled")
        ]
    counts = [len(part.data) for part in parts]
    images = _cache.create_images(folder, sum(counts), parts[0].data.shape[-1])
    start = 0
    for part in parts:
        for first in range(
            0, len(part.data), 1000
        ):  # the source is a transposed view, slow in one go
            rows = part.data[first : first + 1000]
            images[start : start + len(rows)] = rows
            start += len(rows)
    images.flush()
    return Content(
        labels=np.concatenate([np.asarray(part.labels).astype(np.int64) for part in parts[:2]]
                              + [np.full(counts[2], -1, np.int64)]),
        split=np.repeat(np.array([TRAIN, TEST, UNLABELLED], np.uint8), counts),
        class_names=tuple(parts[0].classes),
        source=STL10.url,
    )  # fmt: skip


def _build_tiny(
    folder: Path, *, root: Path, validation: bool, progress: Progress | None
) -> Content:
    """Tiny-ImageNet's train folder, all that CDC uses; with `validation` its 10,000 others too."""
    base = "tiny-imagenet-200"
    with _unpacked(root, folder, base, TINY_URL, f"{base}.zip", TINY_MD5) as place:
        tree = place / base
        _need_folder(tree, "train")
        names = sorted(entry.name for entry in os.scandir(tree / "train") if entry.is_dir())
        train = partial(_folder.class_folders, tree, [("train", TRAIN)], names)
        list_again = partial(_with_tiny_validation, tree, train) if validation else train
        content = build_listing(
            folder, listing=list_again(), again=list_again, side=_SPECS["tiny-imagenet"].side,
            skip_broken=False, progress=progress,
        )  # fmt: skip
    return replace(content, source=TINY_URL)


def _with_tiny_validation(tree: Path, train: Callable[[], _folder.Listing]) -> _folder.Listing:
    """The train images, then the validation images, whose labels are in a file beside them."""
    _need_folder(tree, "val")
    first, second = train(), _folder.listing(tree / "val")
    names = first.class_names or ()
    written = tree / "val" / "val_annotations.txt"
    try:
        lines = [line.split("\t") for line in written.read_text(encoding="utf-8").splitlines()]
        label = {line[0]: names.index(line[1]) for line in lines}
        labels = [label[path.rpartition("/")[2]] for path in second.paths]
    except (OSError, IndexError, KeyError, ValueError) as error:
        raise InputError(
            f"{show(written)} does not name a class of each validation image; delete {show(tree)} "
            "and repeat, and it is unpacked or downloaded again."
        ) from error
    return replace(
        first,
        paths=first.paths + [f"val/{path}" for path in second.paths],
        sizes=first.sizes + second.sizes,
        mtimes=first.mtimes + second.mtimes,
        labels=np.concatenate([first.labels, np.array(labels, np.int64)]),
        split=np.repeat(np.array([TRAIN, TEST], np.uint8), [len(first.paths), len(second.paths)]),
    )


def _build_svhn(folder: Path, *, root: Path) -> Content:
    """SVHN: 73,257 train, then 26,032 test images; the 531,131 extra ones are not used."""
    from torchvision.datasets import SVHN

    parts = []
    for split in ("train", "test"):
        place = _archive(root, folder, *SVHN.split_list[split]).parent
        parts.append(SVHN(place, split=split))
    counts = [len(part.data) for part in parts]
    images = _cache.create_images(folder, sum(counts), parts[0].data.shape[-1])
    images[: counts[0]], images[counts[0] :] = parts[0].data, parts[1].data
    images.flush()
    return Content(
        labels=np.concatenate([part.labels for part in parts]),
        split=np.repeat(np.array([TRAIN, TEST], np.uint8), counts),
        class_names=tuple("0123456789"),
        source=SVHN.split_list["train"][0],
    )


def _build_textures(folder: Path, *, root: Path, side: int, progress: Progress | None) -> Content:
    """All images of DTD: the union of its train, validation and test lists, in each partition."""
    from torchvision.datasets import DTD

    filename = DTD._URL.rpartition("/")[2]
    with _unpacked(root, folder, "dtd", DTD._URL, filename, DTD._MD5) as place:
        tree = place / "dtd"
        _need_folder(tree, "images")
        names = sorted(entry.name for entry in os.scandir(tree / "images") if entry.is_dir())
        list_again = partial(_folder.class_folders, tree, [("images", TRAIN)], names)
        content = build_listing(
            folder, listing=list_again(), again=list_again, side=side, skip_broken=False,
            progress=progress,
        )  # fmt: skip
    return replace(content, source=DTD._URL)


def _build_places(folder: Path, *, root: Path, side: int, progress: Progress | None) -> Content:
    """Places365's validation images; labels and class names are in an archive of their own."""
    from torchvision.datasets import Places365

    lists, lists_md5 = Places365._DEVKIT_META["standard"]
    packed, packed_md5 = Places365._IMAGES_META["val", True]
    found, base = Places365._FILE_LIST_META["val"][0], packed.removesuffix(".tar")
    url = Places365._BASE_URL
    with _unpacked(root, folder, found, url + lists, lists, lists_md5) as place:
        known = _checked(partial(Places365, place, split="val", small=True), place)
    label = {Path(path).name: target for path, target in known.imgs}
    with _unpacked(root, folder, base, url + packed, packed, packed_md5) as place:

        def list_again() -> _folder.Listing:
            images = _folder.listing(place / base)
            lacking = [path for path in images.paths if path not in label]
            if lacking or len(label) != len(images.paths):
                raise InputError(
                    f"{show(place / base)} holds {len(images.paths)} images, {len(lacking)} of "
                    f"them not in the published list of {len(label)}; delete that folder and "
                    "repeat, and it is unpacked or downloaded again."
                )
            return replace(
                images,
                labels=np.array([label[path] for path in images.paths], np.int64),
                class_names=tuple(sorted(known.class_to_idx, key=known.class_to_idx.__getitem__)),
            )

        content = build_listing(
            folder, listing=list_again(), again=list_again, side=side, skip_broken=False,
            progress=progress,
        )  # fmt: skip
    return replace(content, source=url + packed)


def _need_folder(tree: Path, name: str) -> None:
    if not (tree / name).is_dir():
        raise InputError(f"{show(tree)} has no {name} folder; delete it and repeat.")


def _checked(load: Callable[[], Any], place: Path) -> Any:
    """torchvision's reader, whose complaint about a failed checksum is put into a sentence."""
    try:
        return load()
    except RuntimeError as error:
        raise InputError(
            f"The files unpacked in {show(place)} do not have the published checksums; delete that "
            "folder and repeat, and they are unpacked or downloaded again."
        ) from error


@contextlib.contextmanager
def _unpacked(
    root: Path, work: Path, base: str, url: str, filename: str, digest: str
) -> Iterator[Path]:
    """The folder in which `base` lies unpacked.

    In order: `base` under the data directory or its `archives`; an archive at either place; a
    download into `archives`. Nothing is unpacked whose checksum is not the published one.
    """
    for place in _places(root):
        if (place / base).exists():
            yield place
            return
    from torchvision.datasets.utils import extract_archive

    archive = _archive(root, work, url, filename, digest)
    target = work / "unpacked"
    try:
        extract_archive(str(archive), str(target))
        yield target
    finally:
        shutil.rmtree(target, ignore_errors=True)


def _places(root: Path) -> tuple[Path, Path]:
    """Where archives and what was unpacked from them by hand are looked for, in this order."""
    return root, root / "archives"


def _archive(root: Path, work: Path, url: str, filename: str, digest: str) -> Path:
    """A file with the published checksum: one of the user's, or else downloaded."""
    found = next((p / filename for p in _places(root) if (p / filename).is_file()), None)
    if found is None:
        return _downloaded(root / "archives", work, url, filename, digest)
    if not _intact(found, digest):
        raise InputError(
            f"The archive {show(found)} is damaged or incomplete: its {_kind(digest)} is not "
            f"{digest}; delete it and repeat, or put a complete copy of {url} there."
        )
    return found


def _kind(digest: str) -> str:
    return "MD5" if len(digest) == 32 else "SHA-256"


def _intact(path: Path, digest: str) -> bool:
    with open(path, "rb") as file:
        if _kind(digest) == "MD5":
            found = hashlib.file_digest(file, partial(hashlib.md5, usedforsecurity=False))
        else:
            found = hashlib.file_digest(file, "sha256")
    return found.hexdigest() == digest


def _downloaded(archives: Path, work: Path, url: str, filename: str, digest: str) -> Path:
    """Download into `work` and move the archive to `archives` when its checksum is right."""
    from torchvision.datasets.utils import download_url

    by_hand = (
        f"download it elsewhere, put it at {show(archives / filename)} ({_kind(digest)} {digest}), "
        "and repeat."
    )
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(_TIMEOUT)  # torchvision passes none on and would wait for ever
    try:
        download_url(url, str(work), filename)
    except RecursionError as error:
        raise InputError(f"{url} redirects without end; {by_hand}") from error
    except (urllib.error.URLError, HTTPException, TimeoutError, ConnectionError) as error:
        reason = getattr(error, "reason", None) or error
        raise InputError(f"{url} cannot be downloaded ({reason}); {by_hand}") from error
    finally:
        socket.setdefaulttimeout(before)
    if not _intact(work / filename, digest):
        raise InputError(
            f"What came from {url} is incomplete or altered: its {_kind(digest)} is not {digest}; "
            f"repeat, or {by_hand}"
        )
    archives.mkdir(parents=True, exist_ok=True)
    os.replace(work / filename, archives / filename)
    return archives / filename


# --- ImageNet ------------------------------------------------------------------------------------


def imagenet_folder(root: Path) -> Path:
    """Where ImageNet is looked for: $DEEP_CLUSTERING_IMAGENET, else imagenet/ under root."""
    given = os.environ.get(IMAGENET_VARIABLE)
    return Path(given).expanduser() if given else root / "imagenet"


@cache
def imagenet_classes() -> Mapping[str, tuple[str, ...]]:
    """WordNet ids of each ImageNet subset, sorted; their position is the label."""
    subsets: dict[str, list[str]] = {}
    with open(Path(__file__).with_name("imagenet_subsets.csv"), newline="") as file:
        for row in csv.DictReader(file):
            subsets.setdefault(row["dataset"], []).append(row["wordnet_id"])
    return {name: tuple(sorted(ids)) for name, ids in subsets.items()}


def _open_imagenet(
    about: DatasetSpec,
    root: Path,
    protocol: str,
    key: str,
    skip_broken: bool,
    progress: Progress | None,
) -> _cache.Prepared:
    place = imagenet_folder(root)
    parts = [("train", TRAIN)] + ([("val", TEST)] if protocol == "train-val" else [])
    key = f"{key}.{protocol}"
    if not (place / "train").is_dir():
        # The source may be on a disk that is not always there; the newest prepared copy serves.
        prepared = (root / "prepared").glob(f"{key}.*/meta.json")
        for meta in sorted(prepared, key=lambda path: path.stat().st_mtime, reverse=True):
            opened = _cache.load(meta.parent)
            if opened is not None:
                refuse_skipped(opened, place, skip_broken)
                return opened
        raise InputError(
            f"{about.name} is made from your copy of ImageNet, and {show(place)} has no train "
            f"folder; set {IMAGENET_VARIABLE} to the folder with train/n01440764/*.JPEG and so on"
            + (", and val/ in the same form." if len(parts) == 2 else ".")
        )
    names = imagenet_classes()[about.name]
    for part, _ in parts:
        lacking = [name for name in names if not (place / part / name).is_dir()]
        if lacking:
            listed = ", ".join(lacking[:10]) + (", ..." if len(lacking) > 10 else "")
            raise InputError(
                f"{show(place / part)} lacks {len(lacking)} of the {len(names)} class folders of "
                f"{about.name}: {listed}; put each class's images into a folder of its WordNet id"
                + (
                    ", or say --protocol train, which needs no validation images."
                    if part == "val"
                    else "."
                )
            )
    list_again = partial(_folder.class_folders, place, parts, names)
    found = list_again()
    notes: tuple[str, ...] = ()
    if about.count is not None and len(found.paths) != about.count:
        notes = (f"{len(found.paths)} images where the published set has {about.count}",)
    opened = _cache.obtain(
        root,
        f"{key}.{found.key()}",
        partial(
            build_listing,
            listing=found,
            again=list_again,
            side=about.side,
            skip_broken=skip_broken,
            progress=progress,
            notes=notes,
        ),
        spec={"name": about.name},
    )
    refuse_skipped(opened, place, skip_broken)
    return opened
