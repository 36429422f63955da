"""Prepared arrays on disk: damage, other processes, kills, a full disk."""

import errno
import fcntl
import hashlib
import json
import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from deep_clustering.platform.data import _cache, dataset
from deep_clustering.platform.data.dataset import Dataset, ImageSet, Source
from deep_clustering.platform.errors import InputError, StorageError
from support.pictures import noise, nothing_half_written


def test_a_second_start_reads_the_same_file(tmp_path: Path) -> None:
    first = dataset.open(Source("digits", tmp_path))
    meta = tmp_path / "prepared" / f"digits-v{_cache.FORMAT}" / "meta.json"
    before = meta.stat().st_mtime_ns
    second = dataset.open(Source("digits", tmp_path))
    assert meta.stat().st_mtime_ns == before
    assert second.fingerprint == first.fingerprint
    assert np.array_equal(second.images, first.images)


@pytest.mark.parametrize("victim", ["images.npy", "labels.npy", "split.npy", "meta.json"])
@pytest.mark.parametrize("damage", ["cut", "gone", "empty"])
def test_a_damaged_copy_is_made_again(
    pictures: Path, tmp_path: Path, victim: str, damage: str
) -> None:
    spec, root = f"folder:{pictures}", tmp_path / "data"
    first = dataset.open(Source(spec, root))
    expected = first.images.copy()
    (folder,) = (root / "prepared").glob("folder-*")
    path = folder / victim
    if damage == "gone":
        path.unlink()
    else:
        os.truncate(path, 0 if damage == "empty" else path.stat().st_size - 3)
    again = dataset.open(Source(spec, root))
    assert np.array_equal(again.images, expected)
    assert again.fingerprint == first.fingerprint
    assert nothing_half_written(root)


@pytest.mark.fault(21)
def test_no_flipped_bit_beside_the_images_is_read_as_a_value(
    pictures: Path, tmp_path: Path
) -> None:
    root, chance = tmp_path / "data", random.Random(0)
    first = dataset.open(Source(f"folder:{pictures}", root))
    (folder,) = (root / "prepared").glob("folder-*")
    for victim in ("labels.npy", "split.npy", "meta.json"):
        whole = (folder / victim).read_bytes()
        for place in chance.sample(range(len(whole)), 40):
            changed = bytearray(whole)
            changed[place] ^= 1 << chance.randrange(8)
            (folder / victim).write_bytes(changed)
            found = _cache.load(folder)
            # Only where the name of the checksum is hit, it is not looked at.
            assert found is None or found.class_names == first.class_names, (victim, place)
            assert (found is not None) <= (b'"check"' not in changed), (victim, place)
        (folder / victim).write_bytes(whole)
    assert _cache.load(folder) is not None


@pytest.mark.parametrize("damage", ["cut", "gone"])
def test_lost_sizes_of_pictures_are_read_again(tmp_path: Path, damage: str) -> None:
    noise(tmp_path / "pictures" / "a.png", 0, (270, 256))
    spec, root = f"folder:{tmp_path / 'pictures'}", tmp_path / "data"
    first = dataset.open(Source(spec, root))
    (path,) = (root / "prepared").glob("folder-*/sizes.npy")
    if damage == "gone":
        path.unlink()
    else:
        os.truncate(path, path.stat().st_size - 3)
    again = dataset.open(Source(spec, root))
    assert isinstance(again, ImageSet)
    assert again.sizes is not None
    assert again.sizes.tolist() == [[256, 270]]
    assert again.fingerprint == first.fingerprint


def test_another_format_is_made_again(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec, root = f"folder:{pictures}", tmp_path / "data"
    first = dataset.open(Source(spec, root))
    (folder,) = (root / "prepared").glob("folder-*")
    meta = json.loads((folder / "meta.json").read_text())
    (folder / "meta.json").write_text(json.dumps({**meta, "format": 0, "class_names": None}))
    assert dataset.open(Source(spec, root)).class_names == first.class_names


_PREPARE = """
import sys, time
from pathlib import Path
from deep_clustering.platform.data import dataset
from deep_clustering.platform.data.dataset import Source
def progress(done, total):
    print("decoding", flush=True)
    time.sleep(float(sys.argv[3]))
found = dataset.open(Source(sys.argv[1], Path(sys.argv[2])), progress)
print(found.fingerprint, int(found.images.sum()), flush=True)
"""


def start(spec: str, root: Path, wait: float) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-c", _PREPARE, spec, str(root), str(wait)],
        stdout=subprocess.PIPE,
        text=True,
    )


def test_processes_at_once_end_with_one_copy(pictures: Path, tmp_path: Path) -> None:
    root = tmp_path / "data"
    together = [start(f"folder:{pictures}", root, 0.3) for _ in range(3)]
    lines = [process.communicate()[0].split("\n") for process in together]
    assert [process.returncode for process in together] == [0, 0, 0]
    assert len({out[-2] for out in lines}) == 1
    assert sum("decoding" in out for out in lines) == 1  # the others waited for the first
    assert len(list((root / "prepared").glob("folder-*"))) == 1
    assert nothing_half_written(root)


def test_without_locks_the_first_rename_wins(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(file: int, how: int) -> None:
        raise OSError(errno.ENOLCK, "no locks here")

    monkeypatch.setattr(fcntl, "flock", refuse)
    spec, root = f"folder:{pictures}", tmp_path / "data"
    inner: list[Dataset] = []

    def overtake(done: int, total: int) -> None:
        if not inner:
            inner.append(dataset.open(Source(spec, root)))

    outer = dataset.open(Source(spec, root), overtake)
    assert outer.fingerprint == inner[0].fingerprint
    assert len(list((root / "prepared").glob("folder-*"))) == 1
    assert nothing_half_written(root)


def test_a_killed_process_leaves_nothing_that_counts(pictures: Path, tmp_path: Path) -> None:
    root = tmp_path / "data"
    process = start(f"folder:{pictures}", root, 30)
    assert process.stdout is not None
    assert process.stdout.readline() == "decoding\n"
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    assert not nothing_half_written(root)
    found = dataset.open(Source(f"folder:{pictures}", root))
    assert len(found.images) == 5
    assert nothing_half_written(root)


def test_too_little_room_is_said_before_anything_is_decoded(tmp_path: Path) -> None:
    (tmp_path / "partial").mkdir()
    with pytest.raises(StorageError, match=r"need 3,145,728\.0 GB, and only .* free"):
        _cache.create_images(tmp_path / "partial", 10**9, 1024)
    assert not list((tmp_path / "partial").iterdir())


def test_a_data_directory_that_cannot_be_made(pictures: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for place in ("file", "file/below"):
        with pytest.raises(InputError, match=r"/file is a file\); name a folder.* with --data"):
            dataset.open(Source(f"folder:{pictures}", tmp_path / place))


def test_an_interruption_passes_through_and_leaves_nothing(pictures: Path, tmp_path: Path) -> None:
    def interrupt(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        dataset.open(Source(f"folder:{pictures}", tmp_path / "data"), interrupt)
    assert nothing_half_written(tmp_path / "data")


def test_fingerprint_depends_on_each_part() -> None:
    images = np.arange(2 * 3 * 4 * 4, dtype=np.uint8).reshape(2, 3, 4, 4)
    labels, split = np.array([0, 1]), np.array([0, 0], np.uint8)
    digests = _cache.row_digests(images)
    assert digests == [hashlib.blake2b(row.tobytes(), digest_size=16).digest() for row in images]
    prints = {
        _cache.fingerprint(digests, labels, split, images.shape),
        _cache.fingerprint(digests[::-1], labels, split, images.shape),
        _cache.fingerprint(digests, labels[::-1], split, images.shape),
        _cache.fingerprint(digests, None, split, images.shape),
        _cache.fingerprint(digests, labels, split + 1, images.shape),
        _cache.fingerprint(digests, labels, split, (2, 3, 2, 8)),
    }
    assert len(prints) == 6
    assert all(len(one) == 16 and int(one, 16) >= 0 for one in prints)
