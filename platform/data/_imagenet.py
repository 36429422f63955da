"""Subsets of ImageNet, made from the user's own copy: train/n01440764/*.JPEG, and val/ likewise."""

import csv
import os
from collections.abc import Mapping, Sequence
from functools import cache, partial
from pathlib import Path

from deep_clustering.platform.data import _cache, _decode
from deep_clustering.platform.data._cache import Prepared
from deep_clustering.platform.data._entry import Order
from deep_clustering.platform.data._text import quoted
from deep_clustering.platform.data.folder import Listing, list_classes
from deep_clustering.platform.data.protocols import TEST, TRAIN
from deep_clustering.platform.errors import InputError
from deep_clustering.platform.places import absolute

VARIABLE = "DEEP_CLUSTERING_IMAGENET"


def folder(root: Path) -> Path:
    """Where ImageNet is looked for: $DEEP_CLUSTERING_IMAGENET, else imagenet/ under root."""
    given = os.environ.get(VARIABLE)
    return absolute(given) if given else root / "imagenet"


@cache
def classes() -> Mapping[str, tuple[str, ...]]:
    """WordNet ids of each ImageNet subset, sorted; their position is the label."""
    subsets: dict[str, list[str]] = {}
    with open(Path(__file__).with_name("imagenet_subsets.csv"), newline="") as file:
        for row in csv.DictReader(file):
            subsets.setdefault(row["dataset"], []).append(row["wordnet_id"])
    return {name: tuple(sorted(ids)) for name, ids in subsets.items()}


def prepare(order: Order) -> Prepared:
    """The images of a subset, read from the user's copy when it is new or has changed.

    Raises:
        InputError: there is no such copy, it lacks classes, or images cannot be read.
    """
    place = folder(order.root)
    parts = [("train", TRAIN)] + ([("val", TEST)] if order.protocol == "train-val" else [])
    if not (place / "train").is_dir():
        prepared = _newest(order)
        if prepared is None:
            raise _no_copy(order.entry.name, place, with_validation=len(parts) == 2)
    else:
        prepared = _from_copy(order, place, parts)
    _decode.refuse_skipped(prepared, place, order.skip_broken)
    return prepared


def _newest(order: Order) -> Prepared | None:
    """The newest prepared copy; it serves while the disk with the source is not there."""
    written = (order.root / "prepared").glob(f"{order.key}.*/meta.json")
    for meta in sorted(written, key=lambda path: path.stat().st_mtime, reverse=True):
        prepared = _cache.load(meta.parent)
        if prepared is not None:
            return prepared
    return None


def _no_copy(name: str, place: Path, *, with_validation: bool) -> InputError:
    return InputError(
        f"{name} is made from your copy of ImageNet, and {quoted(place)} has no train "
        f"folder; set {VARIABLE} to the folder with train/n01440764/*.JPEG and so on"
        + (", and val/ in the same form." if with_validation else ".")
    )


def _from_copy(order: Order, place: Path, parts: Sequence[tuple[str, int]]) -> Prepared:
    entry = order.entry
    names = classes()[entry.name]
    _need_classes(entry.name, place, parts, names)
    list_files = partial(list_classes, place, parts, names)
    listing = list_files()

    def build(work: Path) -> _cache.Content:
        return _decode.build(
            work,
            listing,
            again=list_files,
            side=order.side,
            skip_broken=order.skip_broken,
            progress=order.progress,
            notes=_other_count(listing, entry.count),
        )

    return _cache.obtain(order.root, f"{order.key}.{listing.key()}", build, name=entry.name)


def _need_classes(
    name: str, place: Path, parts: Sequence[tuple[str, int]], names: Sequence[str]
) -> None:
    for part, _ in parts:
        lacking = [wnid for wnid in names if not (place / part / wnid).is_dir()]
        if lacking:
            listed = ", ".join(lacking[:10]) + (", ..." if len(lacking) > 10 else "")
            without = ", or say --protocol train, which needs no validation images."
            raise InputError(
                f"{quoted(place / part)} lacks {len(lacking)} of the {len(names)} class folders of "
                f"{name}: {listed}; put each class's images into a folder of its WordNet id"
                + (without if part == "val" else ".")
            )


def _other_count(listing: Listing, published: int | None) -> tuple[str, ...]:
    """A note where the copy has another number of images than the published subset."""
    if published is None or len(listing.paths) == published:
        return ()
    return (f"{len(listing.paths)} images where the published set has {published}",)
