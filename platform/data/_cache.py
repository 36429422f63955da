"""Prepared datasets on disk: one folder each, written whole or not at all.

A prepared dataset is a folder `prepared/<key>/` in the data directory:

    images.npy   uint8 (N, 3, S, S), C-contiguous; every run on the machine maps the same file
    vectors.npy  float32 (N, D), in place of images.npy where samples are vectors
    sizes.npy    int32 (N, 2), height and width of each image in its file, where whole pictures are
                 stored (`pixels`); absent when all of them are S x S
    labels.npy   int64 (N,); -1 where an image has no label; absent when none has
    split.npy    uint8 (N,); TRAIN, TEST or UNLABELLED (`protocols`)
    meta.json    format, fingerprint, class names, paths, skipped files, duplicates, and a checksum
                 of all but the samples; written last

It is built in a hidden folder beside its place, synced and renamed. A file lock per key makes a
second process wait for the first; where the file system has no locks, both build, and what the
first has renamed stays.
"""

import errno
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np

from deep_clustering.platform import _disk
from deep_clustering.platform.errors import InputError, StorageError

FORMAT = 1  # raised when the layout or the conversion rules change; older folders are then rebuilt

Progress = Callable[[int, int], None]


@dataclass(frozen=True, kw_only=True)
class Content:
    """What a builder returns beside the images or vectors that it has written into its folder."""

    labels: np.ndarray | None  # int64 (N,), -1 without a label
    split: np.ndarray  # uint8 (N,)
    class_names: tuple[str, ...] | None
    sizes: np.ndarray | None = None  # int (N, 2), where whole pictures are stored
    paths: tuple[str, ...] | None = None  # one per image
    skipped: Mapping[str, str] = field(default_factory=dict)  # path of a left-out file -> reason
    notes: tuple[str, ...] = ()
    source: str = ""  # where the images came from, for people


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """An opened folder of the cache."""

    samples: np.ndarray  # images, uint8 (N, 3, S, S), or vectors, float32 (N, D)
    sizes: np.ndarray | None  # int32 (N, 2), height and width; None where all images are S x S
    labels: np.ndarray | None
    split: np.ndarray
    fingerprint: str
    class_names: tuple[str, ...] | None
    paths: tuple[str, ...] | None
    skipped: Mapping[str, str]
    duplicates: int
    notes: tuple[str, ...]


def create_images(folder: Path, count: int, side: int) -> np.memmap:
    """Memory map of a new images.npy, uint8 (count, 3, side, side), with its disk space reserved.

    The space is reserved first: writing through a map on a full disk kills the process.

    Raises:
        StorageError: the disk has too little room.
    """
    needed = count * 3 * side * side
    _need_room(folder, needed, f"{count:,} images of {side}x{side}")
    path = folder / "images.npy"
    header = {"descr": "|u1", "fortran_order": False, "shape": (count, 3, side, side)}
    with open(path, "wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
        start = file.tell()
        if needed and hasattr(os, "posix_fallocate"):
            file.flush()
            os.posix_fallocate(file.fileno(), start, needed)
        else:
            file.truncate(start + needed)
    return _open_array(path, "r+")


def write_vectors(folder: Path, vectors: np.ndarray) -> None:
    """vectors.npy in a new folder, float32 (N, D).

    Raises:
        StorageError: the disk has too little room.
    """
    what = f"{len(vectors):,} vectors of {vectors.shape[1]:,} numbers"
    _need_room(folder, 4 * vectors.size, what)
    np.save(folder / "vectors.npy", np.ascontiguousarray(vectors, dtype=np.float32))


def _need_room(folder: Path, needed: int, what: str) -> None:
    """Raises StorageError where fewer bytes are free than some samples need."""
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise StorageError(
            f"{what} need {needed / 1e9:,.1f} GB, and only {free / 1e9:,.1f} GB are free at "
            f"{str(folder.parent)!r}; make room or choose another data directory."
        )


def keep_rows(folder: Path, images: np.memmap, keep: np.ndarray) -> np.memmap:
    """Rewrite images.npy with the rows `keep` (int64, ascending) and return its new map."""
    os.rename(folder / "images.npy", folder / "all.npy")
    fewer = create_images(folder, len(keep), images.shape[-1])
    for start in range(0, len(keep), 256):
        fewer[start : start + 256] = images[keep[start : start + 256]]
    os.unlink(folder / "all.npy")
    return fewer


def obtain(root: Path, key: str, build: Callable[[Path], Content], *, name: str) -> Prepared:
    """The prepared dataset `key`; built by `build(folder)` when it is missing or damaged.

    `build` writes images.npy with `create_images`, or vectors.npy with `write_vectors`, and returns
    the rest. What it raises is passed on, and nothing of its work stays.

    Args:
        root: the data directory.
        name: of the dataset, for people who look into the folder.

    Raises:
        InputError: the data directory is not a folder.
        StorageError: it cannot be written.
    """
    folder = root / "prepared" / key
    prepared = load(folder)
    if prepared is not None:
        return prepared
    try:
        _make(root)
        with _disk.lock(folder.parent / f".{key}.lock") as lock:
            prepared = load(folder)  # another process may have built it while this one waited
            if prepared is not None:
                return prepared
            if lock.exclusive:  # nobody else is writing: what is there was left by a kill
                for stale in folder.parent.glob(f".{key}.*.partial"):
                    shutil.rmtree(stale, ignore_errors=True)
            partial = folder.parent / f".{key}.{_disk.attempt()}.partial"
            partial.mkdir()
            try:
                _write(partial, build(partial), name)
                _put(partial, folder)
            finally:
                shutil.rmtree(partial, ignore_errors=True)
    except OSError as error:
        raise StorageError(
            f"The data directory {str(root)!r} cannot be used ({error.strerror or error}); make "
            "room, correct its permissions, or name another one with --data or "
            "DEEP_CLUSTERING_DATA."
        ) from error
    prepared = load(folder)
    if prepared is None:
        raise StorageError(
            f"{str(folder)!r} was written and cannot be read back; check the disk, delete it, "
            "and repeat."
        )
    return prepared


def _make(root: Path) -> None:
    try:
        _disk.make_folder(root)
    except NotADirectoryError as error:
        raise InputError(
            f"The data directory {str(root)!r} is not a folder ({error.filename} is a file); name "
            "a folder, or one that can be made, with --data or DEEP_CLUSTERING_DATA."
        ) from error


def load(folder: Path) -> Prepared | None:
    """Open a prepared dataset; None when it is absent, damaged, or of another format.

    The samples themselves are not read for it: they may be many gigabytes.
    """
    try:
        meta = json.loads((folder / "meta.json").read_text(encoding="utf-8"))
        # Release 0.1 wrote no checksum.
        if meta["format"] != FORMAT or meta.get("check") not in (None, _check(folder, meta)):
            return None
        samples = _open_array(_samples(folder), "r")
        split = np.load(folder / "split.npy")
        labels = np.load(folder / "labels.npy") if meta["labelled"] else None
        sizes = np.load(folder / "sizes.npy") if meta.get("sized") else None
        if list(samples.shape) != meta["shape"] or len(split) != len(samples):
            return None
        if labels is not None and len(labels) != len(samples):
            return None
        if sizes is not None and sizes.shape != (len(samples), 2):
            return None
        return Prepared(
            samples=samples,
            sizes=sizes,
            labels=labels,
            split=split,
            fingerprint=meta["fingerprint"],
            class_names=None if meta["class_names"] is None else tuple(meta["class_names"]),
            paths=None if meta["paths"] is None else tuple(meta["paths"]),
            skipped=meta["skipped"],
            duplicates=meta["duplicates"],
            notes=tuple(meta["notes"]),
        )
    except (OSError, EOFError, ValueError, KeyError, TypeError):
        return None


def _check(folder: Path, meta: Mapping[str, object]) -> str:
    """A checksum of what a prepared dataset says beside its samples: its small files and `meta`."""
    whole = hashlib.blake2b(digest_size=16)
    for name in ("labels.npy", "sizes.npy", "split.npy"):
        if (folder / name).exists():
            whole.update(name.encode() + (folder / name).read_bytes())
    said = {name: value for name, value in meta.items() if name != "check"}
    whole.update(json.dumps(said, sort_keys=True).encode())
    return whole.hexdigest()


def _samples(folder: Path) -> Path:
    """The file with the images or the vectors."""
    vectors = folder / "vectors.npy"
    return vectors if vectors.exists() else folder / "images.npy"


def _open_array(path: Path, mode: Literal["r", "r+"]) -> np.memmap:
    opened = np.load(path, mmap_mode=mode)
    if not isinstance(opened, np.memmap):
        raise ValueError(f"{path} is not a plain array")
    return opened


def _write(folder: Path, content: Content, name: str) -> None:
    """Labels, split and, last, meta.json, each synced; the fingerprint is of what is on disk."""
    samples = _open_array(_samples(folder), "r")
    digests = row_digests(samples)
    sizes = content.sizes
    if sizes is not None and (sizes == samples.shape[-1]).all():
        sizes = None
    if sizes is not None:  # pictures that are stored alike may be of different sizes
        np.save(folder / "sizes.npy", sizes.astype("<i4"))
        digests = [d + s.tobytes() for d, s in zip(digests, sizes.astype("<i4"), strict=True)]
    split = content.split.astype(np.uint8)
    np.save(folder / "split.npy", split)
    if content.labels is not None:
        np.save(folder / "labels.npy", content.labels.astype(np.int64))
    meta = {
        "format": FORMAT,
        "name": name,
        "shape": list(samples.shape),
        "labelled": content.labels is not None,
        "sized": sizes is not None,
        "fingerprint": fingerprint(digests, content.labels, split, samples.shape),
        "duplicates": len(digests) - len(set(digests)),
        "class_names": content.class_names,
        "paths": content.paths,
        "skipped": dict(content.skipped),
        "notes": content.notes,
        "source": content.source,
    }
    text = json.dumps({**meta, "check": _check(folder, meta)}, ensure_ascii=True)
    for file in os.listdir(folder):
        _disk.sync(folder / file)
    _disk.write(folder / "meta.json", text.encode())


def row_digests(images: np.ndarray) -> list[bytes]:
    """A 16-byte hash per image or vector, in order (hashing releases the interpreter lock)."""

    def chunk(start: int) -> list[bytes]:
        rows = np.ascontiguousarray(images[start : start + 256])
        return [hashlib.blake2b(row.data, digest_size=16).digest() for row in rows]

    with ThreadPoolExecutor(workers()) as pool:
        parts = pool.map(chunk, range(0, len(images), 256))
        return [digest for part in parts for digest in part]


def fingerprint(
    digests: list[bytes], labels: np.ndarray | None, split: np.ndarray, shape: tuple[int, ...]
) -> str:
    """16 hexadecimal digits of the content; names play no part.

    Args:
        digests: of the samples, which say their values and, where it is kept, their size.
    """
    whole = hashlib.sha256(repr(tuple(shape)).encode())
    whole.update(b"".join(digests))
    whole.update(b"labels" + labels.astype("<i8").tobytes() if labels is not None else b"none")
    whole.update(b"split" + split.astype(np.uint8).tobytes())
    return whole.hexdigest()[:16]


def workers() -> int:
    """Threads for decoding and hashing: the CPUs this process may use, at most 32."""
    available = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return max(1, min(32, available or 1))


def _put(partial: Path, folder: Path) -> None:
    """Rename a folder into its place.

    Replaces a damaged folder that is there, and keeps a good one that another process put there.
    """
    try:
        _disk.rename(partial, folder)
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise
        if load(folder) is not None:
            return
        damaged = partial.with_name(partial.name.replace(".partial", ".damaged.partial"))
        os.rename(folder, damaged)
        _disk.rename(partial, folder)
        shutil.rmtree(damaged, ignore_errors=True)
