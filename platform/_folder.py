"""Folders of image files: what belongs to them, which labels they carry, how a file becomes pixels.

Layout, decided by the names alone:

1. Images directly in the folder: no labels; images at any depth belong to it.
2. Otherwise each first-level sub-folder is a class, and images at any depth below belong to it.
3. First-level sub-folders all named `train`, `test` or `val` are splits, and rules 1 and 2 hold
   inside each. The splits must have the same classes. `val` is scored as `test` is; beside a `test`
   it is part of what is trained on.

Names that begin with a dot are passed over, links are followed (each real folder once per branch,
so that loops end), and order is that of the relative paths, training images first.

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
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from deep_clustering.platform._cache import FORMAT, TEST, TRAIN, Progress, workers
from deep_clustering.platform.errors import InputError

SUFFIXES = (
    ".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".bmp", ".gif", ".tif", ".tiff", ".webp",
    ".ppm", ".pgm", ".pbm",
)  # fmt: skip
SIDES = (256, 96, 64, 32)  # stored sides for images of differing sizes, largest first
SPLITS = ("train", "test", "val")
UNREADABLE = -1  # in place of a file size: not a regular file, or a link to nothing

_CHUNK = 64  # files per task of the thread pool

_File = tuple[str, int, int]  # relative path, bytes, time of change in ns


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
    files, folders, others = _walk(os.fspath(root))
    if not files:
        raise InputError(_nothing_found(root, folders, others))
    tops = sorted({name.split("/", 1)[0] for name in folders})
    if tops and set(tops) <= set(SPLITS) and all("/" in path for path, *_ in files):
        return _split_tree(root, files, folders, tops)
    files.sort()
    split = np.full(len(files), TRAIN, np.uint8)
    where = [path.split("/", 1) for path, *_ in files]
    direct = sum(len(parts) == 1 for parts in where)
    if direct:
        return _listing(root, files, None, split, None, _mixed(direct, len(files)))
    names = [parts[0] for parts in where]
    _refuse_empty(root, set(tops) - set(names))
    return _listing(root, files, names, split, tops, [])


def class_folders(root: Path, parts: Sequence[tuple[str, int]], names: Sequence[str]) -> Listing:
    """List `root/<part>/<name>/**` for each (part, split) and each class name, which must exist.

    Raises:
        InputError: a class folder cannot be read or has no image.
    """
    files: list[_File] = []
    classes: list[str] = []
    split: list[int] = []
    for part, number in parts:
        for name in names:
            found, _, _ = _walk(os.path.join(root, part, name))
            if not found:
                _refuse_empty(root, [f"{part}/{name}"])
            found.sort()
            files += [(f"{part}/{name}/{path}", size, mtime) for path, size, mtime in found]
            classes += [name] * len(found)
            split += [number] * len(found)
    return _listing(root, files, classes, np.array(split, np.uint8), names, [])


def _split_tree(root: Path, files: list[_File], folders: list[str], tops: list[str]) -> Listing:
    number = {"train": TRAIN, "test": TEST, "val": TRAIN if "test" in tops else TEST}
    if len(tops) == 1:
        number = dict.fromkeys(SPLITS, TRAIN)
    files.sort()
    files.sort(key=lambda file: number[file[0].split("/", 1)[0]])
    where = [path.split("/", 2) for path, *_ in files]
    split = np.array([number[parts[0]] for parts in where], np.uint8)
    direct = sum(len(parts) == 2 for parts in where)
    if direct:
        return _listing(root, files, None, split, None, _mixed(direct, len(files)))
    classes = {
        top: {name.split("/", 2)[1] for name in folders if name.startswith(top + "/")}
        for top in tops
    }
    names = sorted(set().union(*classes.values()))
    lacking = {top: sorted(set(names) - classes[top]) for top in tops}
    told = [f"{top!r} lacks {', '.join(map(repr, of[:5]))}" for top, of in lacking.items() if of]
    if told:
        raise InputError(
            f"The splits in {show(root)} must have the same class folders, and {'; '.join(told)}: "
            "add or rename the folders, or give one split alone."
        )
    filled = {f"{parts[0]}/{parts[1]}" for parts in where}
    _refuse_empty(root, {f"{top}/{name}" for top in tops for name in names} - filled)
    return _listing(root, files, [parts[1] for parts in where], split, names, [])


def _mixed(direct: int, count: int) -> list[str]:
    if direct == count:
        return []
    return [
        f"{direct} images lie beside the sub-folders, so these are not taken for classes: all "
        f"{count} images are used without labels"
    ]


def _refuse_empty(root: Path, empty: Collection[str]) -> None:
    if empty:
        listed = ", ".join(show(name) for name in sorted(empty)[:10])
        raise InputError(
            f"Each class folder in {show(root)} must hold an image, and {len(empty)} hold none: "
            f"{listed}; remove them or add images ({', '.join(SUFFIXES)})."
        )


def _listing(
    root: Path,
    files: list[_File],
    classes: list[str] | None,
    split: np.ndarray,
    names: Sequence[str] | None,
    notes: list[str],
) -> Listing:
    """Put the columns together; a file's label is the place of its class in `names`."""
    labels = None
    if classes is not None and names is not None:
        number = {name: label for label, name in enumerate(names)}
        labels = np.array([number[name] for name in classes], np.int64)
        if len(names) == 1:
            notes = [
                *notes,
                f"there is one class, {names[0]!r}, so scores against labels are undefined; "
                "give its folder itself to have no labels",
            ]
    return Listing(
        root=os.fspath(root),
        paths=[path for path, _, _ in files],
        sizes=[size for _, size, _ in files],
        mtimes=[mtime for _, _, mtime in files],
        labels=labels,
        split=split,
        class_names=None if names is None else tuple(names),
        notes=tuple(notes),
    )


def _walk(top: str) -> tuple[list[_File], list[str], Counter[str]]:
    """Image files (path, bytes, mtime in ns), folders, and a count of the other files by suffix."""
    files: list[_File] = []
    folders: list[str] = []
    others: Counter[str] = Counter()
    # One set of visited folders per first-level branch: a link may repeat a folder in another
    # class, while a loop inside a branch ends at the second visit.
    pending: list[tuple[str, str, set[tuple[int, int]]]] = [(top, "", set())]
    while pending:
        folder, prefix, seen = pending.pop()
        try:
            about = os.stat(folder)
            if (about.st_dev, about.st_ino) in seen:
                continue
            seen.add((about.st_dev, about.st_ino))
            inner: list[tuple[bool, str]] = []
            with os.scandir(folder) as entries:
                for entry in entries:
                    name = entry.name
                    if name.startswith("."):
                        continue
                    if _is_folder(entry):
                        inner.append((entry.is_symlink(), name))
                    elif name.lower().endswith(SUFFIXES):
                        files.append((prefix + name, *_size_and_time(entry)))
                    else:
                        others[os.path.splitext(name)[1].lower() or "no extension"] += 1
        except OSError as error:
            raise InputError(
                f"The folder {show(folder)} cannot be read ({error.strerror or error}); correct "
                "its permissions or take it out of the dataset."
            ) from error
        # The last is taken first: real folders before links, each in the order of the names.
        for _, name in sorted(inner, reverse=True):
            folders.append(prefix + name)
            branch = set(seen) if prefix == "" else seen
            pending.append((os.path.join(folder, name), f"{prefix}{name}/", branch))
    return files, folders, others


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


def _nothing_found(root: Path, folders: list[str], others: Counter[str]) -> str:
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
