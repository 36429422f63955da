"""Folders of image files: what belongs to them, which labels they carry, how a file becomes pixels.

Layout, decided by the names alone:

1. Images directly in the folder: no labels; images at any depth belong to it.
2. Otherwise each first-level sub-folder is a class, and images at any depth below belong to it.
3. First-level sub-folders all named `train`, `test` or `val` are splits, and rules 1 and 2 hold
   inside each. The splits must have the same classes. `val` is scored as `test` is; beside a `test`
   it is part of what is trained on.

Names that begin with a dot are passed over, links are followed (each real folder once per branch,
so that loops end). The order is by split, folder and name, training images first.

Pixels, the same rule for every file: the first frame; turned upright by its EXIF tag; transparency
over white; grey, palette and CMYK to RGB by Pillow's conversions; 16-bit grey scaled from 0..65535
to 0..255 with no stretch per image. Floating-point images are refused, as their range is not known.
The centred square of the shorter side's length is then resized to the stored side (bilinear,
antialiased), which is resizing the shorter side and cropping the centre.
"""

import hashlib
import os
import stat
import struct
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageOps

from deep_clustering.platform.data._cache import FORMAT, TEST, TRAIN, Progress, workers
from deep_clustering.platform.errors import InputError

SUFFIXES = (
    ".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".bmp", ".gif", ".tif", ".tiff", ".webp",
    ".ppm", ".pgm", ".pbm",
)  # fmt: skip
SIDES = (256, 96, 64, 32)  # stored sides for images of differing sizes, largest first
SPLITS = ("train", "test", "val")
UNREADABLE = -1  # in place of a file size: not a regular file, or a link to nothing

_CHUNK = 64  # files per task of the thread pool

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


def show(path: object) -> str:
    """A path in quotes, with line breaks and undecodable bytes escaped, for messages."""
    return repr(os.fspath(path)) if isinstance(path, os.PathLike) else repr(str(path))


def printable(path: str) -> str:
    """The path as valid Unicode: bytes that are not UTF-8 become \\xNN."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def listing(root: Path) -> Listing:
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


def class_folders(root: Path, parts: Sequence[tuple[str, int]], names: Sequence[str]) -> Listing:
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
            f"The splits in {show(root)} must have the same class folders, and {'; '.join(told)}: "
            "add or rename the folders, or give one split alone."
        )
    empty = sorted(places - {group.folder[: depth + 1] for group in groups})
    if empty:
        listed = ", ".join(show("/".join(place)) for place in empty[:10])
        raise InputError(
            f"Each class folder in {show(root)} must hold an image, and {len(empty)} hold none: "
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
                f"The folder {show(folder)} cannot be read ({error.strerror or error}); correct "
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
        f"There is no image in {show(root)}: it has {len(folders)} sub-folders and "
        f"{f'other files ({found})' if found else 'no files'}; an image ends in one of "
        f"{', '.join(SUFFIXES)}."
    )


def measure(
    listing: Listing, progress: Progress | None = None
) -> tuple[np.ndarray, dict[int, str]]:
    """Width and height of each image from its header, int64 (N, 2), and why a file has none."""
    sizes = np.zeros((len(listing.paths), 2), np.int64)

    def one(index: int) -> None:
        with _opened(listing, index) as image:
            sizes[index] = image.size

    return sizes, dict(_each(one, len(listing.paths), progress))


def stored_side(sizes: np.ndarray) -> int:
    """The stored side for images of `sizes` (n, 2) in pixels.

    Equal squares of 8 to 256 keep their side. Otherwise it is the largest of SIDES that is not
    above the median shorter side, and at least 32.
    """
    first = int(sizes[0, 0])
    if 8 <= first <= SIDES[0] and bool((sizes == first).all()):
        return first
    median = float(np.median(sizes.min(axis=1)))
    return next((side for side in SIDES if side <= median), SIDES[-1])


def decode(
    listing: Listing,
    images: np.ndarray,
    broken: dict[int, str],
    progress: Progress | None = None,
) -> None:
    """Write image i of the listing to row i of `images`; add to `broken` why an image has none."""
    side = images.shape[-1]
    good = [index for index in range(len(listing.paths)) if index not in broken]

    def one(position: int) -> None:
        with _opened(listing, good[position]) as image:
            images[good[position]] = pixels(image, side)

    for position, reason in _each(one, len(good), progress):
        broken[good[position]] = reason


def pixels(image: Image.Image, side: int) -> np.ndarray:
    """An opened image as uint8 (3, side, side), by the rules at the top of this file.

    Raises:
        ValueError: its values have no known range.
    """
    upright = to_rgb(ImageOps.exif_transpose(image))
    width, height = upright.size
    if (width, height) != (side, side):
        short = min(width, height)
        left, upper = (width - short) / 2, (height - short) / 2
        upright = upright.resize(
            (side, side), Image.Resampling.BILINEAR, box=(left, upper, left + short, upper + short)
        )
    return np.asarray(upright).transpose(2, 0, 1)


def to_rgb(image: Image.Image) -> Image.Image:
    """Any mode to RGB, 8 bit a channel, by the rules at the top of this file."""
    if image.mode == "RGB" and "transparency" not in image.info:
        return image
    if image.mode == "F":
        raise ValueError("floating-point values have no known range; save it with 8 or 16 bits")
    if image.mode.startswith("I"):
        values = np.asarray(image)
        if values.min() < 0 or values.max() > 65535:
            raise ValueError("its values are outside 0..65535; save it with 8 or 16 bits")
        return Image.fromarray(np.rint(values / 257).astype(np.uint8)).convert("RGB")
    if image.has_transparency_data:
        layer = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer).convert("RGB")
    return image.convert("RGB")


def _opened(listing: Listing, index: int) -> Image.Image:
    size = listing.sizes[index]
    if size <= 0:
        raise ValueError("empty file" if size == 0 else "not a regular file, or a link to nothing")
    image = Image.open(os.path.join(listing.root, listing.paths[index]))
    limit = Image.MAX_IMAGE_PIXELS
    if limit is not None and image.width * image.height > limit:
        image.close()
        raise Image.DecompressionBombError
    return image


def _each(
    one: Callable[[int], None], count: int, progress: Progress | None
) -> Iterator[tuple[int, str]]:
    """Run one(index) for each index in threads (Pillow decodes without the interpreter lock).

    Yields (index, reason) for those that failed.
    """

    def chunk(start: int) -> list[tuple[int, str]]:
        failed = []
        for index in range(start, min(start + _CHUNK, count)):
            try:
                one(index)
            except MemoryError:
                raise
            except Exception as error:  # a damaged file can raise anything in a decoder
                failed.append((index, _reason(error)))
        return failed

    pool = ThreadPoolExecutor(workers())
    with warnings.catch_warnings():
        # Remarks about odd metadata in single files; what cannot be decoded is an error anyway.
        warnings.simplefilter("ignore")
        try:
            for number, failed in enumerate(pool.map(chunk, range(0, count, _CHUNK)), start=1):
                yield from failed
                if progress is not None:
                    progress(min(number * _CHUNK, count), count)
        finally:
            pool.shutdown(cancel_futures=True)  # an interruption does not wait for the rest


def _reason(error: Exception) -> str:
    if isinstance(error, Image.DecompressionBombError):
        return f"more than Pillow's limit of {Image.MAX_IMAGE_PIXELS:,} pixels"
    if isinstance(error, Image.UnidentifiedImageError):
        return "not an image that Pillow knows"
    if isinstance(error, PermissionError):
        return "no permission to read it"
    if isinstance(error, struct.error | SyntaxError):
        return "damaged"
    text = str(error) if not isinstance(error, OSError) else (error.strerror or str(error))
    return " ".join(text.split())[:120] or type(error).__name__
