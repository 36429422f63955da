"""What is known of a named dataset before it is there, and what its builder is given."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

from deep_clustering.platform.data import _cache
from deep_clustering.platform.data._cache import Content, Prepared, Progress
from deep_clustering.platform.data.sides import WHOLE

Triple = tuple[float, float, float]

IMAGENET_MEAN: Triple = (0.485, 0.456, 0.406)
IMAGENET_STD: Triple = (0.229, 0.224, 0.225)

#: Where the files come from: a Python package, the network, or the user's copy of ImageNet.
Origin = Literal["built in", "download", "imagenet"]


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A named dataset in the catalogue; `ImageEntry` or `PointEntry`."""

    name: str
    summary: str  # one line
    classes: int
    count: int | None  # samples in all, pretraining included; None: not known before it is read
    origin: Origin
    protocols: tuple[str, ...] = ("all",)  # the first is the default
    #: Opens the prepared arrays, and makes them where they are missing.
    prepare: "Callable[[Order], Prepared]"
    #: Protocols whose samples are prepared on their own, because they are others.
    separate: tuple[str, ...] = ()
    same_samples: tuple[str, ...] = ()  # names of others that have these samples, with other labels

    @property
    def key(self) -> str:
        """How the names of its prepared folders begin."""
        return f"{self.name}-v{_cache.FORMAT}"

    def folder(self, side: int | None, protocol: str) -> str:
        """Name of the prepared folder, or how it begins: at a stored side, for a protocol."""
        return f"{self.key}.{protocol}" if protocol in self.separate else self.key


@dataclass(frozen=True, kw_only=True)
class ImageEntry(Entry):
    """A named dataset of images."""

    side: int  # stored side, pixels
    mean: Triple = IMAGENET_MEAN  # per channel, of values in 0..1
    std: Triple = IMAGENET_STD
    any_side: bool = False  # its files can be stored at another side

    def folder(self, side: int | None, protocol: str) -> str:
        key = self.key
        if self.any_side and side is not None:
            key += f".whole{side}" if side >= WHOLE else f".{side}"
        return f"{key}.{protocol}" if protocol in self.separate else key


@dataclass(frozen=True, kw_only=True)
class PointEntry(Entry):
    """A named dataset of vectors."""

    dimensions: int  # numbers of a sample


@dataclass(frozen=True, kw_only=True)
class Order:
    """What the builder of a named dataset is given."""

    entry: Entry
    root: Path  # the data directory
    side: int | None  # stored side, pixels; None for vectors
    protocol: str  # one that the entry has
    skip_broken: bool
    progress: Progress | None

    @property
    def key(self) -> str:
        """Name of the prepared folder, or how it begins."""
        return self.entry.folder(self.side, self.protocol)


Builder = Callable[[Order, Path], Content]  # writes the samples into the folder of that path


@dataclass(frozen=True)
class Built:
    """An entry's `prepare` for a dataset whose files never change: built once, then opened."""

    build: Builder

    def __call__(self, order: Order) -> Prepared:
        """The prepared arrays."""
        build = partial(self.build, order)
        return _cache.obtain(order.root, order.key, build, name=order.entry.name)
