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
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np

from deep_clustering.platform.data import _cache, protocols
from deep_clustering.platform.data._cache import Prepared, Progress
from deep_clustering.platform.data._entry import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    Entry,
    ImageEntry,
    Order,
    PointEntry,
    Triple,
)
from deep_clustering.platform.data._text import quoted
from deep_clustering.platform.data.catalogue import CATALOGUE
from deep_clustering.platform.data.protocols import TEST
from deep_clustering.platform.data.sides import ENLARGEMENT, LARGEST, WHOLE, view_side
from deep_clustering.platform.errors import InputError, nearest
from deep_clustering.platform.places import HOMELESS, absolute

DATA_VARIABLE = "DEEP_CLUSTERING_DATA"


def default_root() -> Path:
    """The data directory: $DEEP_CLUSTERING_DATA, else ~/.cache/deep-clustering."""
    given = os.environ.get(DATA_VARIABLE)
    if not given and HOMELESS:
        raise InputError(
            "There is no home folder to keep data in, as HOME is not set; say with --data or "
            f"{DATA_VARIABLE} where it goes."
        )
    return absolute(given or "~/.cache/deep-clustering")


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

    @property
    @abstractmethod
    def different(self) -> int:
        """How many samples differ from all before them."""


@dataclass(frozen=True, kw_only=True)
class ImageSet(Dataset):
    """A dataset of images."""

    images: np.ndarray  # uint8 (N, 3, S, S), memory-mapped
    sizes: np.ndarray | None = None  # int32 (N, 2), height and width; None where all are S x S
    mean: Triple  # per channel, of values in 0..1
    std: Triple
    view: int  # side of the views that networks see, pixels
    enlargement: float | None  # of the picture that a clean view is the centre of; None: as stored

    @property
    def noun(self) -> str:
        return "images"

    @property
    def different(self) -> int:
        return len(self.images) - self.duplicates


@dataclass(frozen=True, kw_only=True)
class PointSet(Dataset):
    """A dataset of vectors of numbers."""

    points: np.ndarray  # float32 (N, D), memory-mapped

    @property
    def noun(self) -> str:
        return "samples"

    @property
    def different(self) -> int:
        return len(self.points) - self.duplicates


@dataclass(frozen=True)
class Source:
    """All that is needed to open a dataset, here or in another process on the same files."""

    spec: str  # a name of the catalogue, "folder:PATH", or "table:PATH"
    root: Path  # the data directory
    _: KW_ONLY
    skip_broken: bool = False  # leave unreadable images out, instead of stopping
    side: int | None = None  # stored side in pixels; None: the dataset's own, or by its files
    protocol: str | None = None  # None: the dataset's default
    labels: bool = True  # False: sub-folders of a folder are neither classes nor splits

    def as_json(self) -> dict[str, Any]:
        """Plain values, without those that are as by default."""
        plain: dict[str, Any] = {"spec": self.spec, "root": str(self.root)}
        plain |= {"skip_broken": True} if self.skip_broken else {}
        plain |= {"side": self.side} if self.side is not None else {}
        plain |= {"protocol": self.protocol} if self.protocol is not None else {}
        plain |= {} if self.labels else {"labels": False}
        return plain

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


@cache
def outline(entry: Entry, protocol: str | None = None) -> Dataset:
    """A named dataset of the right sizes without its samples, for saying what would run.

    Args:
        protocol: None: the dataset's default.
    """
    count = entry.count or 1300 * entry.classes  # ImageNet has about 1,300 train images per class
    every = np.arange(count)
    every.setflags(write=False)
    common: dict[str, Any] = {
        "name": entry.name,
        "labels": np.broadcast_to(np.int64(0), (count,)),
        "classes": entry.classes,
        "class_names": None,
        "fingerprint": f"not here: {entry.name}",  # so that no run of it is in any store
        "protocol": protocol or entry.protocols[0],
        "train": every,
        "score": every,
        "pretrain": every,
        "here": False,
    }
    if isinstance(entry, PointEntry):
        return PointSet(points=np.broadcast_to(np.float32(0), (count, entry.dimensions)), **common)
    assert isinstance(entry, ImageEntry)
    return ImageSet(
        images=np.broadcast_to(np.uint8(0), (count, 3, entry.side, entry.side)),
        mean=entry.mean,
        std=entry.std,
        **_seen(entry.side),
        **common,
    )


# --- named datasets ------------------------------------------------------------------------------


def _open_named(source: Source, progress: Progress | None) -> Dataset:
    entry = _named(source.spec)
    side = _side_of(entry, source.side)
    protocol = protocols.chosen(entry.name, source.protocol, entry.protocols)
    order = Order(
        entry=entry,
        root=source.root,
        side=side,
        protocol=protocol,
        skip_broken=source.skip_broken,
        progress=progress,
    )
    prepared = entry.prepare(order)
    if isinstance(entry, ImageEntry):
        return _images(entry.name, prepared, protocol, entry.mean, entry.std)
    return _points(entry.name, prepared, protocol)


def _named(name: str) -> Entry:
    if name in CATALOGUE:
        return CATALOGUE[name]
    raise InputError(unknown(name))


def unknown(name: str) -> str:
    """The sentence about a name that no dataset has, which may be a path of the user's."""
    hint = nearest(name, CATALOGUE)
    path = os.path.expanduser(name)
    if os.path.isdir(path):
        hint = f" For your own images say 'folder:{name}'."
    elif os.path.isfile(path):
        hint = f" For your own vectors say 'table:{name}'."
    return (
        f"there is no dataset '{name}'.{hint} Known: {', '.join(CATALOGUE)}, folder:PATH for your "
        "own images and table:PATH for your own vectors."
    )


def _side_of(entry: Entry, asked: int | None) -> int | None:
    """The stored side of a named dataset; None for vectors."""
    if not isinstance(entry, ImageEntry):
        _refuse_side(entry.name, asked)
        return None
    if asked is None or asked == entry.side:
        return entry.side
    if not entry.any_side:
        others = [e.name for e in CATALOGUE.values() if isinstance(e, ImageEntry) and e.any_side]
        raise InputError(
            f"{entry.name} is stored at {entry.side} pixels, and side={asked} was asked for; "
            f"a side can be chosen for {', '.join(others)} and folder:PATH only."
        )
    _check_side(asked)
    return asked


def _check_side(side: int) -> None:
    if not 8 <= side <= 1024:
        raise InputError(f"The stored side must be in 8..1024 pixels, and it is {side}.")


def _refuse_side(name: str, side: int | None) -> None:
    if side is not None:
        raise InputError(f"{name} has vectors, which have no image size; leave that option out.")


def _images(name: str, prepared: Prepared, protocol: str, mean: Triple, std: Triple) -> ImageSet:
    return ImageSet(
        images=prepared.samples,
        sizes=prepared.sizes,
        mean=mean,
        std=std,
        **_seen(prepared.samples.shape[-1]),
        **_common(name, prepared, protocol, "images repeat an earlier one pixel by pixel"),
    )


def _seen(side: int) -> dict[str, Any]:
    """The fields on views, by the stored side."""
    return {"view": view_side(side), "enlargement": ENLARGEMENT if side >= WHOLE else None}


def _points(name: str, prepared: Prepared, protocol: str) -> PointSet:
    repeat = "samples repeat an earlier one number by number"
    return PointSet(points=prepared.samples, **_common(name, prepared, protocol, repeat))


def _common(name: str, prepared: Prepared, protocol: str, repeat: str) -> dict[str, Any]:
    """The fields that images and points share; `repeat` says what a duplicate is."""
    for array in (prepared.split, prepared.labels):
        if array is not None:
            array.setflags(write=False)
    indices = protocols.indices(prepared.split, protocol)
    notes = prepared.notes
    if prepared.duplicates:
        notes += (f"{prepared.duplicates} of {len(prepared.split)} {repeat}",)
    if prepared.skipped:
        from deep_clustering.platform.data import _decode

        notes += (
            f"{len(prepared.skipped)} images are left out: {_decode.listed(prepared.skipped)}",
        )
    names = prepared.class_names
    return {
        "name": name,
        "labels": prepared.labels,
        "classes": None if names is None else len(names),
        "class_names": names,
        "fingerprint": prepared.fingerprint,
        "protocol": protocol,
        "train": indices.train,
        "score": indices.score,
        "pretrain": indices.pretrain,
        "paths": prepared.paths,
        "skipped": tuple(prepared.skipped),
        "duplicates": prepared.duplicates,
        "notes": notes,
    }


# --- folders of images ---------------------------------------------------------------------------


def _open_folder(source: Source, progress: Progress | None) -> ImageSet:
    from deep_clustering.platform.data import _decode  # what reads pictures can wait
    from deep_clustering.platform.data.folder import list_folder, list_images, located

    place = located(source.spec.removeprefix("folder:"))
    if source.side is not None:
        _check_side(source.side)
    list_files = partial(list_folder if source.labels else list_images, place)
    listing = list_files()
    name = f"folder:{place}"
    having = ("all", "train-test", "train") if bool((listing.split == TEST).any()) else ("all",)
    protocol = protocols.chosen(quoted(name), source.protocol, having)
    prepared = _cache.obtain(
        source.root,
        f"folder-{listing.key(source.side, WHOLE, LARGEST)}",
        partial(
            _decode.build,
            listing=listing,
            again=list_files,
            side=source.side,
            skip_broken=source.skip_broken,
            progress=progress,
        ),
        name=name,
    )
    _decode.refuse_skipped(prepared, place, source.skip_broken)
    # Files that are no images may come and go without a new key; what is said is about those here.
    prepared = replace(prepared, notes=listing.notes)
    return _images(name, prepared, protocol, IMAGENET_MEAN, IMAGENET_STD)


# --- tables of vectors ---------------------------------------------------------------------------


def _open_table(source: Source) -> PointSet:
    from deep_clustering.platform.data import _tables  # what reads tables can wait

    table = _tables.located(source.spec.removeprefix("table:"))
    _refuse_side(quoted(table.name), source.side)
    protocol = protocols.chosen(quoted(table.name), source.protocol, ("all",))
    prepared = _cache.obtain(
        source.root, f"table-{table.key()}", partial(_tables.build, table=table), name=table.name
    )
    return _points(table.name, prepared, protocol)
