"""Folders of image files: what belongs to them, and which labels they carry.

Layout, decided by the names alone:

1. Images directly in the folder: no labels; images at any depth belong to it.
2. Otherwise each first-level sub-folder is a class, and images at any depth below belong to it.
3. First-level sub-folders all named `train`, `test` or `val` are splits, and rules 1 and 2 hold
   inside each. The splits must have the same classes. `val` is scored as `test` is; beside a `test`
   it is part of what is trained on.

Names that begin with a dot are passed over, links are followed (each real folder once per branch,
so that loops end). The order is by split, folder and name, training images first.
"""

import hashlib
import os
import stat
from collections import Counter
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from deep_clustering.platform.data._cache import FORMAT
from deep_clustering.platform.data._text import quoted
from deep_clustering.platform.data.protocols import TEST, TRAIN
from deep_clustering.platform.errors import InputError

SUFFIXES = (
    ".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".bmp", ".gif", ".tif", ".tiff", ".webp",
    ".ppm", ".pgm", ".pbm",
)  # fmt: skip
SPLITS = ("train", "test", "val")
UNREADABLE = -1  # in place of a file size: not a regular file, or a link to nothing

_File = tuple[str, int, int]  # name, bytes, time of change in ns


class _Group(NamedTuple):
    """The images that lie directly in one folder."""

    folder: tuple[str, ...]  # its path below the root, in parts
    files: list[_File]  # in the order of their names


@dataclass(frozen=True)
class Listing:
    """The image files of a dataset, in their order, with what their places say about them."""

    root: str
    paths: list[str]  # relative to root, with "/"
    sizes: list[int]  # bytes; UNREADABLE where it is not a regular file
    mtimes: list[int]  # ns
    labels: np.ndarray | None  # int64 (N,)
    split: np.ndarray  # uint8 (N,)
    class_names: tuple[str, ...] | None
    notes: tuple[str, ...] = ()

    def key(self, *more: object) -> str:
        """16 hexadecimal digits that change with the place, a path, a size, a time, or `more`.

        The place is in it because equal names, sizes and times do not make equal pictures: unpacked
        archives have such files.
        """
        lines = "\n".join(
            f"{path}\0{size} {mtime}"
            for path, size, mtime in zip(self.paths, self.sizes, self.mtimes, strict=True)
        )
        head = repr((FORMAT, self.root, self.class_names, *more))
        text = f"{head}\n{lines}".encode("utf-8", "surrogateescape")
        return hashlib.sha256(text).hexdigest()[:16]


def list_folder(root: Path) -> Listing:
    """List a user's folder by the rules above.

    Raises:
        InputError: the folder cannot be read, has no image, has an empty class folder, or has
            splits with different classes.
    """
    groups, folders, others = _walk(os.fspath(root))
    if not groups:
        raise InputError(_nothing_found(root, folders, others))
    tops = {parts[0] for parts in folders}
    if not tops or not tops <= set(SPLITS) or any(not group.folder for group in groups):
        return _by_class(root, groups, folders, 0, {})
    return _by_class(root, groups, folders, 1, _splits(tops))


def _splits(tops: Set[str]) -> Mapping[str, int]:
    """The split of each first-level folder when all of them are named as splits (rule 3)."""
    if len(tops) == 1:
        return dict.fromkeys(tops, TRAIN)
    return {"train": TRAIN, "test": TEST, "val": TRAIN if "test" in tops else TEST}


def held_out(paths: Sequence[str]) -> np.ndarray:
    """Which images of a folder belong to its test split, bool (N,), by their paths alone.

    Args:
        paths: of all its images, relative to the folder, with "/".
    """
    above = [path.partition("/")[0] if "/" in path else "" for path in paths]
    if not set(above) <= set(SPLITS):
        return np.zeros(len(paths), bool)
    splits = _splits(set(above))
    return np.array([splits[top] == TEST for top in above], bool)


def list_classes(root: Path, parts: Sequence[tuple[str, int]], names: Sequence[str]) -> Listing:
    """List `root/<part>/<name>/**` for each (part, split) and each class name, which must exist.

    Raises:
        InputError: a class folder cannot be read or has no image.
    """
    groups: list[_Group] = []
    folders = [(part, name) for part, _ in parts for name in names]
    for part, name in folders:
        found, _, _ = _walk(os.path.join(root, part, name))
        groups += [_Group((part, name, *group.folder), group.files) for group in found]
    return _by_class(root, groups, folders, 1, dict(parts))


def _by_class(
    root: Path,
    groups: list[_Group],
    folders: Sequence[tuple[str, ...]],
    depth: int,
    splits: Mapping[str, int],
) -> Listing:
    """Order the groups and give them labels; class folders lie below `depth` others.

    `splits` gives the split of each first-level folder when depth is 1.
    """

    def split(group: _Group) -> int:
        return splits[group.folder[0]] if depth else TRAIN

    groups.sort(key=lambda group: (split(group), group.folder))
    counts = [len(group.files) for group in groups]
    labels: np.ndarray | None = None
    names: tuple[str, ...] | None = None
    notes: tuple[str, ...] = ()
    direct = sum(len(group.files) for group in groups if len(group.folder) == depth)
    if direct:
        if direct < sum(counts):
            notes = (
                f"{direct} images lie beside the sub-folders, so these are not taken for classes: "
                f"all {sum(counts)} images are used without labels",
            )
    else:
        names = _class_names(root, groups, folders, depth)
        label = {name: number for number, name in enumerate(names)}
        labels = np.repeat(
            np.array([label[group.folder[depth]] for group in groups], np.int64), counts
        )
        if len(names) == 1:
            notes = (
                f"there is one class, {names[0]!r}, so scores against labels are undefined; "
                "give its folder itself to have no labels",
            )
    paths: list[str] = []
    for group in groups:
        prefix = "".join(f"{part}/" for part in group.folder)
        paths += [prefix + name for name, _, _ in group.files]
    return Listing(
        root=os.fspath(root),
        paths=paths,
        sizes=[size for group in groups for _, size, _ in group.files],
        mtimes=[mtime for group in groups for _, _, mtime in group.files],
        labels=labels,
        split=np.repeat(np.array([split(group) for group in groups], np.uint8), counts),
        class_names=names,
        notes=notes,
    )


def _class_names(
    root: Path, groups: Sequence[_Group], folders: Sequence[tuple[str, ...]], depth: int
) -> tuple[str, ...]:
    """Sorted names of the class folders; every split must have all, and each holds an image."""
    places = {parts[: depth + 1] for parts in folders if len(parts) > depth}
    names = sorted({place[-1] for place in places})
    told = []
    for above in sorted({place[:-1] for place in places}):
        lacking = [name for name in names if (*above, name) not in places]
        if lacking:
            told.append(f"{above[0]!r} lacks {', '.join(map(repr, lacking[:5]))}")
    if told:
        raise InputError(
            f"The splits in {quoted(root)} must have the same class folders, and "
            f"{'; '.join(told)}: add or rename the folders, or give one split alone."
        )
    empty = sorted(places - {group.folder[: depth + 1] for group in groups})
    if empty:
        listed = ", ".join(quoted("/".join(place)) for place in empty[:10])
        raise InputError(
            f"Each class folder in {quoted(root)} must hold an image, and {len(empty)} hold none: "
            f"{listed}; remove them or add images ({', '.join(SUFFIXES)})."
        )
    return tuple(names)


def _walk(top: str) -> tuple[list[_Group], list[tuple[str, ...]], Counter[str]]:
    """Folders with images, all folders, and a count of the other files by suffix."""
    groups: list[_Group] = []
    folders: list[tuple[str, ...]] = []
    others: Counter[str] = Counter()
    # Visited folders are kept per branch, down to where classes lie: a link may repeat a folder in
    # another class, while a loop inside a branch ends at the second visit.
    pending: list[tuple[str, tuple[str, ...], set[tuple[int, int]]]] = [(top, (), set())]
    while pending:
        folder, parts, seen = pending.pop()
        try:
            about = os.stat(folder)
            if (about.st_dev, about.st_ino) in seen:
                continue
            seen.add((about.st_dev, about.st_ino))
            inner: list[tuple[bool, str]] = []
            files: list[_File] = []
            with os.scandir(folder) as entries:
                for entry in entries:
                    name = entry.name
                    if name.startswith("."):
                        continue
                    if _is_folder(entry):
                        inner.append((entry.is_symlink(), name))
                    elif name.lower().endswith(SUFFIXES):
                        files.append((name, *_size_and_time(entry)))
                    else:
                        others[os.path.splitext(name)[1].lower() or "no extension"] += 1
        except OSError as error:
            raise InputError(
                f"The folder {quoted(folder)} cannot be read ({error.strerror or error}); correct "
                "its permissions or take it out of the dataset."
            ) from error
        if files:
            groups.append(_Group(parts, sorted(files)))
        # The last is taken first: real folders before links, each in the order of the names.
        for _, name in sorted(inner, reverse=True):
            below = (*parts, name)
            folders.append(below)
            branch = set(seen) if len(below) <= 2 else seen
            pending.append((os.path.join(folder, name), below, branch))
    return groups, folders, others


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def _size_and_time(entry: os.DirEntry[str]) -> tuple[int, int]:
    try:
        about = entry.stat()
    except OSError:  # a link to nothing
        return UNREADABLE, 0
    # A pipe or a device named like an image would block whoever opens it.
    return (about.st_size if stat.S_ISREG(about.st_mode) else UNREADABLE), about.st_mtime_ns


def _nothing_found(root: Path, folders: Sequence[object], others: Counter[str]) -> str:
    found = ", ".join(f"{count} {suffix}" for suffix, count in others.most_common(5))
    return (
        f"There is no image in {quoted(root)}: it has {len(folders)} sub-folders and "
        f"{f'other files ({found})' if found else 'no files'}; an image ends in one of "
        f"{', '.join(SUFFIXES)}."
    )
