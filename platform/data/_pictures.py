"""Builders of named datasets whose archives hold image files: COIL-100, Tiny-ImageNet, DTD, Places.

Each takes an `Order` and a folder, and writes images.npy into the folder.
"""

import os
import re
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from deep_clustering.platform.data import _decode
from deep_clustering.platform.data._arrays import checked
from deep_clustering.platform.data._cache import Content
from deep_clustering.platform.data._download import Archive, unpacked
from deep_clustering.platform.data._entry import Entry, Order
from deep_clustering.platform.data._text import quoted
from deep_clustering.platform.data.folder import Listing, list_classes, list_images
from deep_clustering.platform.data.protocols import TEST, TRAIN
from deep_clustering.platform.errors import InputError

#: The archive has no checksum of its own; this SHA-256 is that of TensorFlow Datasets' catalogue.
COIL = Archive(
    url="http://www.cs.columbia.edu/CAVE/databases/SLAM_coil-20_coil-100/coil-100/coil-100.zip",
    filename="coil-100.zip",
    digest="fcb4b8b01c0778f416d8d7a09f45082c4f7075cc74743dcddd5c44307bd4afe7",
)
_COIL_NAME = re.compile(r"obj(\d+)__\d+\.png")  # object and angle

TINY = Archive(
    url="http://cs231n.stanford.edu/tiny-imagenet-200.zip",
    filename="tiny-imagenet-200.zip",
    digest="90528d7ca1a48142e341f4ef8d21d0de",
)


def coil(order: Order, folder: Path) -> Content:
    """All images of COIL-100, whose names say the object."""
    base = "coil-100"
    with unpacked(COIL, base, order.root, folder) as place:
        return _decoded(order, folder, partial(_list_coil, place / base, order.entry), COIL.url)


def _list_coil(tree: Path, entry: Entry) -> Listing:
    files = list_images(tree)
    named = [_COIL_NAME.fullmatch(path) for path in files.paths]
    labels = [int(match[1]) - 1 for match in named if match]
    if len(labels) != entry.count or set(labels) != set(range(entry.classes)):
        raise InputError(
            f"{quoted(tree)} must hold {entry.count} images obj1__0.png to obj100__355.png, "
            f"and it holds {len(labels)} of them and {len(named) - len(labels)} others; "
            "delete it and repeat, and it is unpacked or downloaded again."
        )
    return replace(
        files,
        labels=np.array(labels, np.int64),
        class_names=tuple(f"obj{n}" for n in range(1, entry.classes + 1)),
        notes=(),
    )


def tiny_imagenet(order: Order, folder: Path) -> Content:
    """The train folder, all that CDC uses; under train-val its 10,000 validation images too."""
    base = "tiny-imagenet-200"
    with unpacked(TINY, base, order.root, folder) as place:
        tree = place / base
        list_train = partial(list_classes, tree, [("train", TRAIN)], _subfolders(tree, "train"))
        if order.protocol == "train-val":
            list_all = partial(_with_tiny_validation, tree, list_train)
            return _decoded(order, folder, list_all, TINY.url)
        return _decoded(order, folder, list_train, TINY.url)


def _with_tiny_validation(tree: Path, list_train: Callable[[], Listing]) -> Listing:
    """The train images, then the validation images, whose labels are in a file beside them."""
    _need_folder(tree, "val")
    train, validation = list_train(), list_images(tree / "val")
    names = train.class_names or ()
    annotations = tree / "val" / "val_annotations.txt"
    try:
        lines = [line.split("\t") for line in annotations.read_text(encoding="utf-8").splitlines()]
        label = {line[0]: names.index(line[1]) for line in lines}
        labels = [label[path.rpartition("/")[2]] for path in validation.paths]
    except (OSError, IndexError, KeyError, ValueError) as error:
        raise InputError(
            f"{quoted(annotations)} does not name a class of each validation image; delete "
            f"{quoted(tree)} and repeat, and it is unpacked or downloaded again."
        ) from error
    assert train.labels is not None
    counts = [len(train.paths), len(validation.paths)]
    return replace(
        train,
        paths=train.paths + [f"val/{path}" for path in validation.paths],
        sizes=train.sizes + validation.sizes,
        changed=train.changed + validation.changed,
        labels=np.concatenate([train.labels, np.array(labels, np.int64)]),
        split=np.repeat(np.array([TRAIN, TEST], np.uint8), counts),
    )


def textures(order: Order, folder: Path) -> Content:
    """All images of DTD: the union of its train, validation and test lists, in each partition."""
    from torchvision.datasets import DTD

    archive = Archive(url=DTD._URL, filename=DTD._URL.rpartition("/")[2], digest=DTD._MD5)
    with unpacked(archive, "dtd", order.root, folder) as place:
        tree = place / "dtd"
        names = _subfolders(tree, "images")
        list_all = partial(list_classes, tree, [("images", TRAIN)], names)
        return _decoded(order, folder, list_all, DTD._URL)


def places365(order: Order, folder: Path) -> Content:
    """Places365's validation images; labels and class names are in an archive of their own."""
    from torchvision.datasets import Places365

    url = Places365._BASE_URL
    name, md5 = Places365._DEVKIT_META["standard"]
    lists = Archive(url=url + name, filename=name, digest=md5)
    with unpacked(lists, Places365._FILE_LIST_META["val"][0], order.root, folder) as place:
        known = checked(partial(Places365, place, split="val", small=True), place)
    labels = {Path(path).name: target for path, target in known.imgs}
    class_names = tuple(sorted(known.class_to_idx, key=known.class_to_idx.__getitem__))
    name, md5 = Places365._IMAGES_META["val", True]
    images, base = Archive(url=url + name, filename=name, digest=md5), name.removesuffix(".tar")
    with unpacked(images, base, order.root, folder) as place:
        list_all = partial(_list_places, place / base, labels, class_names)
        return _decoded(order, folder, list_all, images.url)


def _list_places(tree: Path, labels: dict[str, int], class_names: tuple[str, ...]) -> Listing:
    files = list_images(tree)
    lacking = [path for path in files.paths if path not in labels]
    if lacking or len(labels) != len(files.paths):
        raise InputError(
            f"{quoted(tree)} holds {len(files.paths)} images, {len(lacking)} of "
            f"them not in the published list of {len(labels)}; delete that folder and "
            "repeat, and it is unpacked or downloaded again."
        )
    return replace(
        files,
        labels=np.array([labels[path] for path in files.paths], np.int64),
        class_names=class_names,
    )


def _decoded(order: Order, folder: Path, list_files: Callable[[], Listing], source: str) -> Content:
    """All images of an archive; none may be broken."""
    content = _decode.build(
        folder, list_files(), again=list_files, side=order.side, progress=order.progress
    )
    return replace(content, source=source)


def _subfolders(tree: Path, name: str) -> list[str]:
    """Sorted names of the folders in `tree`/`name`."""
    _need_folder(tree, name)
    return sorted(entry.name for entry in os.scandir(tree / name) if entry.is_dir())


def _need_folder(tree: Path, name: str) -> None:
    if not (tree / name).is_dir():
        raise InputError(f"{quoted(tree)} has no {name} folder; delete it and repeat.")
