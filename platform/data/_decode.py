"""Image files into one array: every file of a listing is decoded, and what cannot be is told."""

import os
import struct
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

from deep_clustering.platform.data import _cache, _jpeg
from deep_clustering.platform.data._cache import Content, Prepared, Progress, workers
from deep_clustering.platform.data._formats import readable
from deep_clustering.platform.data._text import printable, quoted
from deep_clustering.platform.data.folder import Listing
from deep_clustering.platform.data.pixels import pixels, upright
from deep_clustering.platform.data.sides import WHOLE, stored_side
from deep_clustering.platform.errors import InputError

_CHUNK = 64  # files per task of the thread pool
_SOME = 32  # files that are measured first
#: Threads pay where a file keeps the decoder busy for longer than it takes them to hand each other
#: the interpreter's lock. Bytes of a file, in the mean.
_WORTH_THREADS = 8 * 1024


def build(
    folder: Path,
    listing: Listing,
    *,
    again: Callable[[], Listing],
    side: int | None,
    skip_broken: bool = False,
    progress: Progress | None = None,
    notes: tuple[str, ...] = (),
) -> Content:
    """Decode all files of a listing into folder/images.npy.

    Args:
        again: lists the files once more, to see whether they changed meanwhile.
        side: stored side, pixels; None: by `stored_side`.
        skip_broken: leave files out that cannot be decoded.
        notes: what a user should know beside the notes of the listing.

    Raises:
        InputError: files cannot be decoded or changed meanwhile, or a class has no image left.
    """
    place = Path(listing.root)
    images, sizes, broken = _decoded(folder, listing, side, progress)
    side = images.shape[-1]
    if again().key() != listing.key():
        raise InputError(
            f"The folder {quoted(place)} changed while it was being read; repeat when it is at "
            "rest."
        )
    reasons = _reasons(listing, broken)
    if (broken and not skip_broken) or len(broken) == len(listing.paths):
        raise _broken_images(place, reasons, len(listing.paths))
    keep = np.array([i for i in range(len(listing.paths)) if i not in broken], np.int64)
    if broken:
        images = _cache.keep_rows(folder, images, keep)
    images.flush()
    labels = None if listing.labels is None else listing.labels[keep]
    _refuse_empty_classes(place, labels, listing.class_names)
    return Content(
        labels=labels,
        split=listing.split[keep],
        class_names=listing.class_names and tuple(map(printable, listing.class_names)),
        sizes=sizes[keep] if side >= WHOLE else None,
        paths=tuple(printable(listing.paths[index]) for index in keep),
        skipped=reasons,
        notes=listing.notes + notes,
        source=printable(listing.root),
    )


def refuse_skipped(prepared: Prepared, place: Path, skip_broken: bool) -> None:
    """Samples that were prepared without some files are only for those who allow that.

    Raises:
        InputError: files were left out, and `skip_broken` was not asked for.
    """
    if prepared.skipped and not skip_broken:
        count = len(prepared.skipped) + len(prepared.split)
        raise _broken_images(place, prepared.skipped, count)


def _decoded(
    folder: Path, listing: Listing, side: int | None, progress: Progress | None
) -> tuple[np.memmap, np.ndarray, dict[int, str]]:
    """The new images.npy at its side, heights and widths as by `decode`, and what is broken.

    One pass over the files where the side is asked for, or where all are squares of one size;
    otherwise one to measure them and one to decode.
    """
    broken: dict[int, str] = {}
    expected = _side_of_some(listing) if side is None else side
    if expected is not None:
        images = _cache.create_images(folder, len(listing.paths), expected)
        sizes = decode(listing, images, broken, progress)
        known = sizes[sizes.min(axis=1) > 0]
        if side is not None or not len(known) or stored_side(known) == expected:
            return images, sizes, broken
    side, broken = _measured_side(listing, _share(progress, 0, 2))
    images = _cache.create_images(folder, len(listing.paths), side)
    return images, decode(listing, images, broken, _share(progress, 1, 2)), broken


def _side_of_some(listing: Listing) -> int | None:
    """The stored side if all files were of the size that some have; None where these differ."""
    step = -(-len(listing.paths) // _SOME)
    some = replace(listing, paths=listing.paths[::step], sizes=listing.sizes[::step])
    sizes, broken = measure(some)
    equal = not broken and bool((sizes == sizes[0, 0]).all())
    return stored_side(sizes) if equal else None


def _measured_side(listing: Listing, progress: Progress | None) -> tuple[int, dict[int, str]]:
    """The stored side by the sizes of the images, and why some have no size."""
    sizes, broken = measure(listing, progress)
    good = [index for index in range(len(sizes)) if index not in broken]
    if not good:
        raise _broken_images(Path(listing.root), _reasons(listing, broken), len(sizes))
    return stored_side(sizes[good]), broken


def _share(progress: Progress | None, number: int, passes: int) -> Progress | None:
    """Progress in pass `number` (from 0) over the files, reported as progress in all passes."""
    if progress is None:
        return None
    return lambda done, total: progress(number * total + done, passes * total)


def _refuse_empty_classes(
    place: Path, labels: np.ndarray | None, names: tuple[str, ...] | None
) -> None:
    if labels is None or names is None:
        return
    lost = [name for label, name in enumerate(names) if not (labels == label).any()]
    if lost:
        raise InputError(
            f"No image of the classes {', '.join(map(repr, lost[:10]))} in {quoted(place)} "
            "can be read; repair them or take these folders out."
        )


def _reasons(listing: Listing, broken: Mapping[int, str]) -> dict[str, str]:
    return {printable(listing.paths[index]): broken[index] for index in sorted(broken)}


def listed(reasons: Mapping[str, str]) -> str:
    """The first files that cannot be read, each with its reason, and how many more there are."""
    first = ", ".join(f"{quoted(path)} ({why})" for path, why in list(reasons.items())[:10])
    return first + (f" and {len(reasons) - 10} more" if len(reasons) > 10 else "")


def _broken_images(place: Path, reasons: Mapping[str, str], count: int) -> InputError:
    return InputError(
        f"{len(reasons)} of {count} images in {quoted(place)} cannot be read: {listed(reasons)}; "
        "repair or remove them, or leave them out with --skip-broken."
    )


def measure(
    listing: Listing, progress: Progress | None = None
) -> tuple[np.ndarray, dict[int, str]]:
    """Width and height of each image from its header, int64 (N, 2), and why a file has none."""
    sizes = np.zeros((len(listing.paths), 2), np.int64)

    def one(index: int) -> None:
        plain = _jpeg.size(_first(listing, index, _jpeg.HEADER))
        if plain is not None:
            sizes[index] = plain
            return
        with _opened(listing, index) as image:
            sizes[index] = image.size

    every = range(len(listing.paths))
    return sizes, dict(_each(one, every, listing, progress))


def decode(
    listing: Listing,
    images: np.ndarray,
    broken: dict[int, str],
    progress: Progress | None = None,
) -> np.ndarray:
    """Write image i of the listing to row i of `images`; add to `broken` why an image has none.

    Returns:
        Height and width of each upright image in its file, int32 (N, 2); of one that is broken
        behind its header as it lies there, and 0 where no header can be read.
    """
    side = images.shape[-1]
    sizes = np.zeros((len(images), 2), np.int32)
    good = [index for index in range(len(listing.paths)) if index not in broken]

    def one(index: int) -> None:
        plain = _jpeg.decoded(_first(listing, index, _jpeg.LARGEST))
        if plain is not None and plain.shape == (side, side, 3):
            images[index] = plain.transpose(2, 0, 1)
            sizes[index] = side
            return
        if plain is not None:
            image = Image.fromarray(plain)
        else:
            with _opened(listing, index) as opened:
                sizes[index] = opened.height, opened.width
                image = upright(opened)
        found = pixels(image, side)
        images[index, :, : found.shape[1], : found.shape[2]] = found
        sizes[index] = image.height, image.width

    broken.update(_each(one, good, listing, progress))
    return sizes


def _first(listing: Listing, index: int, most: int) -> bytes:
    """The first bytes of a file, or all of them; none where the file is not for `_jpeg`."""
    if not (0 < listing.sizes[index] <= _jpeg.LARGEST and _jpeg.usable()):
        return b""
    place = os.path.join(listing.root, listing.paths[index])
    file = os.open(place, os.O_RDONLY | getattr(os, "O_BINARY", 0))  # the fewest calls
    try:
        return os.read(file, most)
    finally:
        os.close(file)


def _opened(listing: Listing, index: int) -> Image.Image:
    size = listing.sizes[index]
    if size <= 0:
        raise ValueError("empty file" if size == 0 else "not a regular file, or a link to nothing")
    path = os.path.join(listing.root, listing.paths[index])
    image = Image.open(path, formats=readable())
    limit = Image.MAX_IMAGE_PIXELS
    if limit is not None and image.width * image.height > limit:
        image.close()
        raise Image.DecompressionBombError
    return image


def _each(
    one: Callable[[int], None],
    indices: Sequence[int],
    listing: Listing,
    progress: Progress | None,
) -> Iterator[tuple[int, str]]:
    """Run one(index) for each index, in threads (decoders work without the interpreter's lock).

    Yields (index, reason) for those that failed.
    """
    count = len(indices)

    def chunk(start: int) -> list[tuple[int, str]]:
        failed = []
        for index in indices[start : start + _CHUNK]:
            try:
                one(index)
            except MemoryError:
                raise
            except Exception as error:  # a damaged file can raise anything in a decoder
                failed.append((index, _reason(error)))
        return failed

    small = sum(listing.sizes) < _WORTH_THREADS * len(listing.sizes)
    pool = ThreadPoolExecutor(1 if small else workers())
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
