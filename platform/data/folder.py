"""Folders of image files: what belongs to them, and which labels they carry.

Layout, decided by the names alone:

1. Images directly in the folder: no labels; images at any depth belong to it.
2. Otherwise each first-level sub-folder is a class, and images at any depth below belong to it.
3. First-level sub-folders that all have usual names of splits (`split_named`: `train`, `Test`,
   `validation`, ...) are splits, and rules 1 and 2 hold inside each. The splits must have the same
   classes. Validation is scored as test is; beside a test split it is part of what is trained on.
   Splits beside images of other folders are refused, as they could be classes.

`list_images` takes sub-folders for nothing: all images below, without labels and splits.

A file is an image by its suffix, or by its first bytes where the suffix is not known (`_formats`).
Names that begin with a dot are passed over, links are followed (each real folder once per branch,
so that loops end). The order is by split, folder and name, training images first.
"""

import hashlib
import os
import re
import stat
from collections import Counter
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from deep_clustering.platform.data import _formats
from deep_clustering.platform.data._cache import FORMAT
from deep_clustering.platform.data._text import quoted
from deep_clustering.platform.data.protocols import TEST, TRAIN
from deep_clustering.platform.errors import InputError, nearest
from deep_clustering.platform.places import absolute

UNREADABLE = -1  # in place of a file size: not a regular file, or a link to nothing

_SPLIT = re.compile(
    r"(?:(?P<train>train(?:ing)?|trn)|(?P<test>test(?:ing)?|tst|hold[ _-]?out)|"
    r"(?P<val>e?val(?:uation)?|val(?:id(?:ation)?)?|dev(?:elopment)?))"
    r"(?:[ _-]?(?:set|split|data|images|imgs))?(?:[ _-]?\d{4})?",
    re.IGNORECASE,
)
#: Suffixes of files that lie beside images and are surely none.
_BESIDE = frozenset(
    (".txt", ".csv", ".tsv", ".json", ".xml", ".yaml", ".yml", ".md", ".html", ".db", ".ini")
)

_Place = tuple[str, ...]  # the path of a folder below the root, in parts


class _File(NamedTuple):
    name: str
    size: int  # bytes, or UNREADABLE
    changed: tuple[int, int]  # when its content and when its entry changed, ns


class _Group(NamedTuple):
    """The images that lie directly in one folder."""

    folder: _Place
    files: list[_File]  # in the order of their names


class _Labelling(NamedTuple):
    """The labels that the places of images give them."""

    labels: np.ndarray | None  # int64 (N,)
    class_names: tuple[str, ...] | None
    notes: tuple[str, ...]


@dataclass(frozen=True)
class _Tree:
    """What lies below a folder."""

    groups: list[_Group] = field(default_factory=list)  # folders with images
    folders: list[_Place] = field(default_factory=list)  # all folders
    #: Suffix -> files that are no images, and -> images by their content.
    others: Counter[str] = field(default_factory=Counter)
    by_content: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True)
class Listing:
    """The image files of a dataset, in their order, with what their places say about them."""

    root: str
    paths: list[str]  # relative to root, with "/"
    sizes: list[int]  # bytes; UNREADABLE where it is not a regular file
    changed: list[tuple[int, int]]  # of the content (mtime) and of the file's entry (ctime), ns
    labels: np.ndarray | None  # int64 (N,)
    split: np.ndarray  # uint8 (N,)
    class_names: tuple[str, ...] | None
    notes: tuple[str, ...] = ()

    def key(self, *more: object) -> str:
        """16 hexadecimal digits that change with the place, a path, a size, a time, or `more`.

        The place is in it because equal names, sizes and times do not make equal pictures: unpacked
        archives have such files. The time of an entry is in it because a program that changes a
        picture in place may set the time of its content back.
        """
        lines = "\n".join(
            f"{path}\0{size} {changed}"
            for path, size, changed in zip(self.paths, self.sizes, self.changed, strict=True)
        )
        head = repr((FORMAT, self.root, self.class_names, self.split.tobytes(), *more))
        text = f"{head}\n{lines}".encode("utf-8", "surrogateescape")
        return hashlib.sha256(text).hexdigest()[:16]


def located(text: str) -> Path:
    """The folder that is meant by what follows "folder:", absolute and with links resolved.

    So all spellings of a folder are one dataset.

    Raises:
        InputError: there is no such folder.
    """
    if not text:
        raise InputError("folder: needs a path, as in folder:/home/me/pictures.")
    if "\0" in text:
        raise InputError(f"A path cannot hold a zero byte, and {text!r} does.")
    try:
        place = Path(os.path.realpath(absolute(text)))
        if place.is_dir():
            return place
        exists = place.exists()
    except OSError as error:  # a name too long, a loop of links
        raise InputError(
            f"The folder {quoted(text)} cannot be opened ({error.strerror}); correct the path."
        ) from error
    if exists:
        raise InputError(
            f"{quoted(place)} is a file, and folder: takes a folder of images; unpack it if it is "
            "an archive, or give the folder it lies in."
        )
    parent = place.parent
    while not parent.is_dir():
        place, parent = parent, parent.parent
    try:
        siblings = sorted(entry.name for entry in os.scandir(parent) if entry.is_dir())
    except OSError:
        siblings = []
    raise InputError(
        f"There is no folder {quoted(text)}: {quoted(parent)} has no {place.name!r}."
        f"{nearest(place.name, siblings)}"
    )


def list_folder(root: Path) -> Listing:
    """List a user's folder by the rules above.

    Raises:
        InputError: the folder cannot be read, has no image, has an empty class folder, or has
            splits with different classes.
    """
    tree = _filled(root)
    if any(not group.folder for group in tree.groups):
        return _listed(root, tree, 0, {})
    tops = {group.folder[0] for group in tree.groups}
    named = {top for top in tops if split_named(top)}
    if not tops - named:
        # A folder without images beside them, such as one of annotations, is no split.
        tree.folders[:] = [place for place in tree.folders if split_named(place[0])]
        return _listed(root, tree, 1, _splits(tops | {place[0] for place in tree.folders}))
    if len({split_named(top) for top in named}) > 1:
        raise InputError(
            f"{_some(named)} in {quoted(root)} are usual names of splits, and "
            f"{_some(tops - named)} beside them are not: take these folders out, or rename "
            f"those if all are classes, or give one alone (folder:{root / min(named)})."
        )
    found = _listed(root, tree, 0, {})
    if not named:
        return found
    note = f"{_some(named)} is taken for a class, as {min(tops - named)!r} beside it is no split"
    return replace(found, notes=(*found.notes, note))


def list_images(root: Path) -> Listing:
    """All images below a folder, without labels and in one split.

    Raises:
        InputError: the folder cannot be read or has no image.
    """
    tree = _filled(root)
    tree.groups.sort()
    return _listing(root, tree, [TRAIN] * len(tree.groups), _Labelling(None, None, ()))


def _filled(root: Path) -> _Tree:
    """What lies below a folder that has images."""
    tree = _walk(os.fspath(root))
    if not tree.groups:
        raise _no_images(root, tree)
    return tree


def _some(names: Set[str]) -> str:
    listed = ", ".join(map(repr, sorted(names)[:5]))
    return listed + ", ..." * (len(names) > 5)


def split_named(name: str) -> str | None:
    """The split that a folder of this name usually is: train, test or val; None for other names."""
    match = _SPLIT.fullmatch(name)
    return match and match.lastgroup


def _splits(tops: Set[str]) -> Mapping[str, int]:
    """The split of each first-level folder when all of them are named as splits (rule 3)."""
    kinds = {top: split_named(top) for top in tops}
    having = set(kinds.values())
    if len(having) == 1:
        return dict.fromkeys(tops, TRAIN)
    split = {"train": TRAIN, "test": TEST, "val": TRAIN if "test" in having else TEST}
    return {top: split[kind] for top, kind in kinds.items() if kind}


def held_out(paths: Sequence[str]) -> np.ndarray:
    """Which images of a folder belong to its test split, bool (N,), by their paths alone.

    Args:
        paths: of all its images, relative to the folder, with "/".
    """
    above = [path.partition("/")[0] if "/" in path else "" for path in paths]
    if not all(map(split_named, set(above))):
        return np.zeros(len(paths), bool)
    splits = _splits(set(above))
    return np.array([splits[top] == TEST for top in above], bool)


def list_classes(root: Path, parts: Sequence[tuple[str, int]], names: Sequence[str]) -> Listing:
    """List `root/<part>/<name>/**` for each (part, split) and each class name, which must exist.

    Raises:
        InputError: a class folder cannot be read or has no image.
    """
    tree = _Tree(folders=[(part, name) for part, _ in parts for name in names])
    for part, name in tree.folders:
        below = _walk(os.path.join(root, part, name))
        tree.groups.extend(
            _Group((part, name, *group.folder), group.files) for group in below.groups
        )
    return _listed(root, tree, 1, dict(parts))


def _listed(root: Path, tree: _Tree, depth: int, splits: Mapping[str, int]) -> Listing:
    """The images in their order, with labels by the class folders, which lie below `depth` others.

    Args:
        splits: the split of each first-level folder, when `depth` is 1.
    """

    def split(group: _Group) -> int:
        return splits[group.folder[0]] if depth else TRAIN

    tree.groups.sort(key=lambda group: (split(group), group.folder))
    labelling = _labelling(root, tree, depth)
    return _listing(root, tree, [split(group) for group in tree.groups], labelling)


def _listing(root: Path, tree: _Tree, split: Sequence[int], labelling: _Labelling) -> Listing:
    """The images of a tree in the order of its groups; `split` is that of each group."""
    counts = [len(group.files) for group in tree.groups]
    paths: list[str] = []
    for group in tree.groups:
        prefix = "".join(f"{part}/" for part in group.folder)
        paths += [prefix + file.name for file in group.files]
    return Listing(
        root=os.fspath(root),
        paths=paths,
        sizes=[file.size for group in tree.groups for file in group.files],
        changed=[file.changed for group in tree.groups for file in group.files],
        labels=labelling.labels,
        split=np.repeat(np.array(split, np.uint8), counts),
        class_names=labelling.class_names,
        notes=(*labelling.notes, *_told(tree)),
    )


def _told(tree: _Tree) -> tuple[str, ...]:
    """Notes about files whose names do not say that they are images."""
    notes = []
    if tree.by_content:
        count = sum(tree.by_content.values())
        notes.append(f"{count} files are images by their content: {_counted(tree.by_content)}")
    others = Counter({s: n for s, n in tree.others.items() if s not in _BESIDE})
    if others:
        remedy = "; ".join(sorted(filter(None, map(_formats.missing, others))))
        notes.append(
            f"{sum(others.values())} files are left out, as they are no images that can be read: "
            f"{_counted(others)}{f' ({remedy})' if remedy else ''}"
        )
    return tuple(notes)


def _counted(suffixes: Counter[str]) -> str:
    return ", ".join(f"{count} {suffix}" for suffix, count in suffixes.most_common(5))


def _labelling(root: Path, tree: _Tree, depth: int) -> _Labelling:
    """Labels by the class folders; none when images lie beside these."""
    counts = [len(group.files) for group in tree.groups]
    beside = sum(len(group.files) for group in tree.groups if len(group.folder) == depth)
    notes: tuple[str, ...] = ()
    if beside:
        if beside < sum(counts):
            notes = (
                f"{beside} images lie beside the sub-folders, so these are not taken for classes: "
                f"all {sum(counts)} images are used without labels",
            )
        return _Labelling(None, None, notes)
    names = _class_names(root, tree, depth)
    label = {name: number for number, name in enumerate(names)}
    labels = np.array([label[group.folder[depth]] for group in tree.groups], np.int64)
    if len(names) == 1:
        notes = (
            f"there is one class, {names[0]!r}, so scores against labels are undefined; "
            "give its folder itself to have no labels",
        )
    return _Labelling(np.repeat(labels, counts), names, notes)


def _class_names(root: Path, tree: _Tree, depth: int) -> tuple[str, ...]:
    """Sorted names of the class folders; every split must have all, and each holds an image."""
    classes = {place[: depth + 1] for place in tree.folders if len(place) > depth}
    names = sorted({place[-1] for place in classes})
    lacks = []
    for above in sorted({place[:-1] for place in classes}):
        lacking = [name for name in names if (*above, name) not in classes]
        if lacking:
            lacks.append(f"{above[0]!r} lacks {', '.join(map(repr, lacking[:5]))}")
    if lacks:
        raise InputError(
            f"The splits in {quoted(root)} must have the same class folders, and "
            f"{'; '.join(lacks)}: add or rename the folders, or give one split alone."
        )
    empty = sorted(classes - {group.folder[: depth + 1] for group in tree.groups})
    if empty:
        listed = ", ".join(quoted("/".join(place)) for place in empty[:10])
        raise InputError(
            f"Each class folder in {quoted(root)} must hold an image, and {len(empty)} hold none: "
            f"{listed}; remove them or add images ({_formats.USUAL})."
        )
    return tuple(names)


def _walk(top: str) -> _Tree:
    """All that lies below a folder; links are followed.

    Each branch knows the folders that it has visited: a loop of links ends at the second visit of a
    folder, while another class may link to the same folder. Below the classes a branch is not split
    further, so that a folder is visited once per class.
    """
    tree = _Tree()
    pending: list[tuple[str, _Place, set[tuple[int, int]]]] = [(top, (), set())]
    while pending:
        folder, place, visited = pending.pop()
        try:
            about = os.stat(folder)
            if (about.st_dev, about.st_ino) in visited:
                continue
            visited.add((about.st_dev, about.st_ino))
            inner, files = _entries(folder, tree)
        except OSError as error:
            raise InputError(
                f"The folder {quoted(folder)} cannot be read ({error.strerror or error}); correct "
                "its permissions or take it out of the dataset."
            ) from error
        if files:
            tree.groups.append(_Group(place, sorted(files)))
        # The last is taken first: real folders before links, each in the order of the names.
        for _, name in sorted(inner, reverse=True):
            below = (*place, name)
            tree.folders.append(below)
            branch = set(visited) if len(below) <= 2 else visited
            pending.append((os.path.join(folder, name), below, branch))
    return tree


def _entries(folder: str, tree: _Tree) -> tuple[list[tuple[bool, str]], list[_File]]:
    """The folders in a folder (whether it is a link, and its name) and its images.

    The tree counts files whose suffix is not known.
    """
    inner: list[tuple[bool, str]] = []
    files: list[_File] = []
    known = _formats.suffixes()
    with os.scandir(folder) as entries:
        for entry in entries:
            name = entry.name
            if name.startswith("."):
                continue
            if _is_folder(entry):
                inner.append((entry.is_symlink(), name))
                continue
            file, suffix = _file(entry), os.path.splitext(name)[1].lower()
            if suffix in known:
                files.append(file)
            elif suffix not in _BESIDE and file.size > 0 and _formats.is_image(entry.path):
                files.append(file)
                tree.by_content[suffix or "no extension"] += 1
            else:
                tree.others[suffix or "no extension"] += 1
    return inner, files


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def _file(entry: os.DirEntry[str]) -> _File:
    try:
        about = entry.stat()
    except OSError:  # a link to nothing
        return _File(entry.name, UNREADABLE, (0, 0))
    # A pipe or a device named like an image would block whoever opens it.
    size = about.st_size if stat.S_ISREG(about.st_mode) else UNREADABLE
    return _File(entry.name, size, (about.st_mtime_ns, about.st_ctime_ns))


def _no_images(root: Path, tree: _Tree) -> InputError:
    others = _counted(tree.others)
    remedy = "; ".join(sorted(filter(None, map(_formats.missing, tree.others))))
    return InputError(
        f"There is no image in {quoted(root)}: it has {len(tree.folders)} sub-folders and "
        f"{f'other files ({others})' if others else 'no files'}; an image ends in {_formats.USUAL}"
        f"{f' ({remedy})' if remedy else ''}."
    )
