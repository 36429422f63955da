"""A dataset as the runs see it, and how it is opened: named ones, folders of images, tables.

`open(Source("cifar10", root))`, `open(Source("folder:/my/pictures", root))` or
`open(Source("table:/my/numbers.csv", root))` reads the files once into the data directory; every
later call opens the memory map. The samples are images (`ImageSet`), or vectors of numbers
(`PointSet`), which only methods that fit at once take.
"""

import os
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from deep_clustering.platform.data import _cache, _folder, _tables, datasets
from deep_clustering.platform.data._cache import TEST, TRAIN, UNLABELLED, Progress
from deep_clustering.platform.data._folder import show
from deep_clustering.platform.data.datasets import (
    HELD_OUT,
    IMAGENET_MEAN,
    IMAGENET_STD,
    DatasetSpec,
    Triple,
)
from deep_clustering.platform.errors import InputError, nearest


@dataclass(frozen=True, kw_only=True)
class Dataset(ABC):
    """What is known of every dataset; the samples are in `ImageSet` or `PointSet`.

    Arrays are read-only.
    """

    name: str  # "cifar10", or "folder:" or "table:" and the absolute path
    labels: np.ndarray | None  # int64 (N,), 0..classes-1, -1 where a sample has none
    classes: int | None  # number of classes; None without labels
    class_names: tuple[str, ...] | None
    fingerprint: str  # 16 hexadecimal digits of samples, labels and split; not of names or places
    protocol: str
    train: np.ndarray  # int64, ascending: samples trained on
    score: np.ndarray  # int64, ascending: samples scored
    pretrain: np.ndarray  # int64, ascending: samples for pretraining
    paths: tuple[str, ...] | None = None  # per sample, relative to the folder; None for archives
    skipped: tuple[str, ...] = ()  # files left out as unreadable
    duplicates: int = 0  # samples that repeat an earlier one value by value
    notes: tuple[str, ...] = ()  # what a user should know, a sentence each
    here: bool = True  # False for an `outline`, whose samples have not been read

    @property
    @abstractmethod
    def noun(self) -> str:
        """What the samples are called in messages, in the plural."""


@dataclass(frozen=True, kw_only=True)
class ImageSet(Dataset):
    """A dataset of images."""

    images: np.ndarray  # uint8 (N, 3, S, S), memory-mapped
    mean: Triple  # per channel, of values in 0..1
    std: Triple
    view: int  # side of the clean view that networks see, the centre of the stored square; pixels

    @property
    def noun(self) -> str:
        return "images"


@dataclass(frozen=True, kw_only=True)
class PointSet(Dataset):
    """A dataset of vectors of numbers."""

    points: np.ndarray  # float32 (N, D), memory-mapped

    @property
    def noun(self) -> str:
        return "samples"


@dataclass(frozen=True)
class Source:
    """All that is needed to open a dataset, here or in another process on the same files."""

    spec: str  # a name of the catalogue, "folder:PATH", or "table:PATH"
    root: Path  # the data directory
    _: KW_ONLY
    skip_broken: bool = False  # leave unreadable images out, instead of stopping
    side: int | None = None  # stored side in pixels; None: the dataset's own, or by its files
    protocol: str | None = None  # None: the dataset's default

    def as_json(self) -> dict[str, Any]:
        """Plain values, without those that are as by default."""
        found: dict[str, Any] = {"spec": self.spec, "root": str(self.root)}
        found |= {"skip_broken": True} if self.skip_broken else {}
        found |= {"side": self.side} if self.side is not None else {}
        found |= {"protocol": self.protocol} if self.protocol is not None else {}
        return found

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "Source":
        """The inverse of `as_json`."""
        return cls(**{**value, "root": Path(value["root"])})


def open(source: Source, progress: Progress | None = None) -> Dataset:
    """Open a dataset, reading its files into the data directory when that has not been done.

    Args:
        source: `side` is in 8..1024, for folders and named datasets with `any_side`; `skip_broken`
            lists what it leaves out in `skipped`.
        progress: called with (done, total) while files are read, from the calling thread.

    Raises:
        InputError: unknown name, missing or unreadable files, no network, a protocol it lacks.
        StorageError: the data directory cannot be written or has too little room.
    """
    if source.spec.startswith("folder:"):
        return _open_folder(source, progress)
    if source.spec.startswith("table:"):
        return _open_table(source)
    return _open_named(source, progress)


#: Begins the fingerprint of an outline, so that no run of it is in any store.
_NOT_HERE = "not here: "


def outline(about: DatasetSpec, protocol: str | None = None) -> Dataset:
    """A named dataset of the right sizes without its samples, for saying what would run.

    Args:
        protocol: None: the dataset's default.
    """
    count = about.count or 1300 * about.classes  # ImageNet has about 1,300 train images per class
    every = np.arange(count)
    known: dict[str, Any] = {
        "name": about.name,
        "labels": np.broadcast_to(np.int64(0), (count,)),
        "classes": about.classes,
        "class_names": None,
        "fingerprint": _NOT_HERE + about.name,
        "protocol": protocol or about.protocols[0],
        "train": every,
        "score": every,
        "pretrain": every,
        "here": False,
    }
    if about.dimensions is not None:
        return PointSet(points=np.broadcast_to(np.float32(0), (count, about.dimensions)), **known)
    return ImageSet(
        images=np.broadcast_to(np.uint8(0), (count, 3, about.side, about.side)),
        mean=about.mean,
        std=about.std,
        view=about.view,
        **known,
    )


# --- named datasets ------------------------------------------------------------------------------


def _open_named(source: Source, progress: Progress | None) -> Dataset:
    catalogue = datasets.known(source.root)
    name = source.spec
    if name not in catalogue:
        hint = nearest(name, catalogue)
        if not hint and os.path.isdir(os.path.expanduser(name)):
            hint = f" For your own images say 'folder:{name}'."
        raise InputError(
            f"There is no dataset {name!r}; the names are {', '.join(catalogue)}, folder:PATH for "
            f"your own images and table:PATH for your own vectors.{hint}"
        )
    about = catalogue[name]
    if about.dimensions is not None:
        _refuse_side(name, source.side)
    if source.side is not None and source.side != about.side:
        if not about.any_side:
            others = ", ".join(other.name for other in catalogue.values() if other.any_side)
            raise InputError(
                f"{name} is stored at {about.side} pixels, and side={source.side} was asked for; "
                f"a side can be chosen for {others} and folder:PATH only."
            )
        _check_side(source.side)
        about = replace(about, side=source.side, view=view_side(source.side))
    protocol = _checked_protocol(name, source.protocol, about.protocols)
    opened = datasets.open_named(about, source.root, protocol, source.skip_broken, progress)
    return _dataset(name, opened, protocol, about.mean, about.std, about.view)


def _check_side(side: int) -> None:
    if not 8 <= side <= 1024:
        raise InputError(f"The stored side must be in 8..1024 pixels, and it is {side}.")


def _checked_protocol(name: str, protocol: str | None, having: tuple[str, ...]) -> str:
    if protocol is None:
        return having[0]
    if protocol not in having:
        raise InputError(
            f"{name} has the protocols {', '.join(having)}, and {protocol!r} was asked for."
            f"{nearest(protocol, having)}"
        )
    return protocol


def _dataset(
    name: str, opened: _cache.Prepared, protocol: str, mean: Triple, std: Triple, view: int
) -> Dataset:
    """What the cache holds, with the indices that the protocol takes from its split."""
    meta, split = opened.meta, opened.split
    in_train, labelled = split == TRAIN, split != UNLABELLED
    trained = {"all": labelled, "test": split == TEST}.get(protocol, in_train)
    scored = split == TEST if protocol in HELD_OUT else trained
    pretrained = trained | (split == UNLABELLED)
    for array in (split, opened.labels):
        if array is not None:
            array.setflags(write=False)
    names = meta["class_names"]
    notes = list(meta["notes"])
    if meta["duplicates"]:
        what = "images repeat an earlier one pixel by pixel"
        if opened.vectors is not None:
            what = "samples repeat an earlier one number by number"
        notes.append(f"{meta['duplicates']} of {len(split)} {what}")
    known: dict[str, Any] = {
        "name": name,
        "labels": opened.labels,
        "classes": None if names is None else len(names),
        "class_names": None if names is None else tuple(names),
        "fingerprint": meta["fingerprint"],
        "protocol": protocol,
        "train": np.flatnonzero(trained),
        "score": np.flatnonzero(scored),
        "pretrain": np.flatnonzero(pretrained),
        "paths": None if meta["paths"] is None else tuple(meta["paths"]),
        "skipped": tuple(meta["skipped"]),
        "duplicates": meta["duplicates"],
        "notes": tuple(notes),
    }
    if opened.vectors is not None:
        return PointSet(points=opened.vectors, **known)
    assert opened.images is not None
    return ImageSet(images=opened.images, mean=mean, std=std, view=view, **known)


# --- folders of images ---------------------------------------------------------------------------


def _open_folder(source: Source, progress: Progress | None) -> Dataset:
    place = _existing_folder(source.spec.removeprefix("folder:"))
    if source.side is not None:
        _check_side(source.side)
    found = _folder.listing(place)
    name = f"folder:{place}"
    splits = ("all", "train-test", "train") if bool((found.split == TEST).any()) else ("all",)
    protocol = _checked_protocol(show(name), source.protocol, splits)
    opened = _cache.obtain(
        source.root,
        f"folder-{found.key(source.side)}",
        partial(
            datasets.build_listing,
            listing=found,
            again=partial(_folder.listing, place),
            side=source.side,
            skip_broken=source.skip_broken,
            progress=progress,
        ),
        spec={"name": name},
    )
    datasets.refuse_skipped(opened, place, source.skip_broken)
    assert opened.images is not None
    return _dataset(
        name, opened, protocol, IMAGENET_MEAN, IMAGENET_STD, view_side(opened.images.shape[-1])
    )


def view_side(side: int) -> int:
    """The side networks see of a stored side: 224 of 256, as for ImageNet, otherwise all of it."""
    return 224 if side == 256 else side


def _existing_folder(text: str) -> Path:
    """The absolute path with links resolved, so that all spellings of a folder are one."""
    if not text:
        raise InputError("folder: needs a path, as in folder:/home/me/pictures.")
    if "\0" in text:
        raise InputError(f"A path cannot hold a zero byte, and {text!r} does.")
    try:
        place = Path(os.path.realpath(os.path.expanduser(text)))
        if place.is_dir():
            return place
        exists = place.exists()
    except OSError as error:  # a name too long, a loop of links
        raise InputError(
            f"The folder {show(text)} cannot be opened ({error.strerror}); correct the path."
        ) from error
    if exists:
        raise InputError(
            f"{show(place)} is a file, and folder: takes a folder of images; unpack it if it is an "
            "archive, or give the folder it lies in."
        )
    parent = place.parent
    while not parent.is_dir():
        place, parent = parent, parent.parent
    try:
        siblings = sorted(entry.name for entry in os.scandir(parent) if entry.is_dir())
    except OSError:
        siblings = []
    raise InputError(
        f"There is no folder {show(text)}: {show(parent)} has no {place.name!r}."
        f"{nearest(place.name, siblings)}"
    )


# --- tables of vectors ---------------------------------------------------------------------------


def _open_table(source: Source) -> Dataset:
    table = _tables.located(source.spec.removeprefix("table:"))
    _refuse_side(show(table.name), source.side)
    protocol = _checked_protocol(show(table.name), source.protocol, ("all",))
    opened = _cache.obtain(
        source.root,
        f"table-{table.key()}",
        partial(_tables.build_table, source=table),
        spec={"name": table.name},
    )
    return _dataset(table.name, opened, protocol, IMAGENET_MEAN, IMAGENET_STD, 0)


def _refuse_side(name: str, side: int | None) -> None:
    if side is not None:
        raise InputError(f"{name} has vectors, which have no image size; leave that option out.")
