"""Named datasets, folders as datasets, the cache on disk, and what goes wrong on the way."""

import functools
import hashlib
import http.server
import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import threading
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from deep_clustering.platform.data import _cache, dataset, datasets
from deep_clustering.platform.data.dataset import Dataset, Source
from deep_clustering.platform.errors import InputError, StorageError
from support.archives import cifar, md5, pack


def noise(path: Path, seed: int, size: tuple[int, int] = (32, 32)) -> np.ndarray:
    """Write a random RGB image and return it as (3, height, width)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    array = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(array).save(path)
    return array.transpose(2, 0, 1)


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Two classes, three and two images of 32x32."""
    for number, name in enumerate(
        ("cat/0.png", "cat/1.png", "cat/2.png", "dog/0.png", "dog/1.png")
    ):
        noise(tmp_path / "pictures" / name, number)
    return tmp_path / "pictures"


def nothing_half_written(root: Path) -> bool:
    return not list((root / "prepared").glob(".*.partial"))


# --- digits --------------------------------------------------------------------------------------


def test_digits(tmp_path: Path) -> None:
    from sklearn.datasets import load_digits

    digits = dataset.open(Source("digits", tmp_path))
    source = load_digits()
    assert isinstance(digits.images, np.memmap)
    assert digits.images.shape == (1797, 3, 8, 8)
    assert digits.images.dtype == np.uint8
    assert digits.images.flags["C_CONTIGUOUS"]
    assert not digits.images.flags.writeable
    assert digits.labels is not None
    assert digits.labels.dtype == np.int64
    assert np.array_equal(digits.labels, source.target)
    # 0..16 goes to 0..255: 16 -> 255, 8 -> 127.5, which rounds to the even 128
    assert digits.images.max() == 255
    assert (digits.images[:, 0][source.images == 8] == 128).all()
    assert (digits.images[:, 0] == digits.images[:, 2]).all()
    assert digits.classes == 10
    assert digits.view == 8
    assert digits.protocol == "all"
    for index in (digits.train, digits.score, digits.pretrain):
        assert index.dtype == np.int64
        assert np.array_equal(index, np.arange(1797))
    values = digits.images / 255
    assert values.mean() == pytest.approx(digits.mean[0], abs=1e-4)
    assert values.std() == pytest.approx(digits.std[0], abs=1e-4)


def test_a_second_start_reads_the_same_file(tmp_path: Path) -> None:
    first = dataset.open(Source("digits", tmp_path))
    meta = tmp_path / "prepared" / f"digits-v{_cache.FORMAT}" / "meta.json"
    before = meta.stat().st_mtime_ns
    second = dataset.open(Source("digits", tmp_path))
    assert meta.stat().st_mtime_ns == before
    assert second.fingerprint == first.fingerprint
    assert np.array_equal(second.images, first.images)


def test_importing_loads_no_framework() -> None:
    code = (
        "import sys; from deep_clustering.platform.data import dataset, datasets; datasets.known();"
        "print([m for m in ('torch', 'torchvision', 'sklearn', 'scipy') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


# --- names, protocols, sides ---------------------------------------------------------------------


def test_unknown_name_suggests_and_lists(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no dataset 'cifar-10'.*stl10.*Did you mean 'cifar10'"):
        dataset.open(Source("cifar-10", tmp_path))
    with pytest.raises(InputError, match="say 'folder:/'"):
        dataset.open(Source("/", tmp_path))


def test_unknown_protocol_suggests_and_lists(tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match=r"protocols all, train-test, train, and 'train-tst'.*'train-test'"
    ):
        dataset.open(Source("cifar10", tmp_path, protocol="train-tst"))


def test_a_named_dataset_has_one_side(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="stored at 8 pixels, and side=16"):
        dataset.open(Source("digits", tmp_path, side=16))


def test_known_lists_each_dataset_with_its_status(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(datasets.IMAGENET_VARIABLE, raising=False)
    known = datasets.known(tmp_path)
    assert list(known) == [
        "digits", "mnist", "coil100", "isolet", "pendigits", "cifar10", "cifar20", "cifar100",
        "stl10", "imagenet10", "imagenet-dogs", "imagenet50", "imagenet100", "imagenet200",
        "tiny-imagenet", "svhn", "textures", "places365",
    ]  # fmt: skip
    assert known["digits"].status == "ready"
    assert known["cifar20"].status == "downloadable"
    assert known["imagenet10"].status.startswith(f"needs your ImageNet at {tmp_path / 'imagenet'}")
    for spec in known.values():
        assert "\n" not in spec.summary
        assert spec.view <= spec.side
        assert all(0 < value < 1 for value in spec.mean + spec.std)
    defaults = {name: spec.protocols[0] for name, spec in known.items()}
    assert {name: default for name, default in defaults.items() if default != "all"} == {
        "imagenet10": "train", "imagenet-dogs": "train", "tiny-imagenet": "train",
        "imagenet50": "train-val", "imagenet100": "train-val", "imagenet200": "train-val",
        "svhn": "train-test",
    }  # fmt: skip
    held_out = {name: datasets.held_out_protocol(name) for name in (*known, "folder:/x")}
    assert {name for name, protocol in held_out.items() if protocol == "train-test"} == {
        "cifar10", "cifar20", "cifar100", "stl10", "svhn",
    }  # fmt: skip
    assert {name for name, protocol in held_out.items() if protocol == "train-val"} == {
        "imagenet50", "imagenet100", "imagenet200", "tiny-imagenet",
    }  # fmt: skip


# --- the user's folder ---------------------------------------------------------------------------


def test_folder_with_classes(pictures: Path, tmp_path: Path) -> None:
    found = dataset.open(Source(f"folder:{pictures}", tmp_path / "data"))
    assert found.images.shape == (5, 3, 32, 32)
    assert np.array_equal(found.images[3], noise(tmp_path / "again.png", 3))
    assert found.labels is not None
    assert found.labels.tolist() == [0, 0, 0, 1, 1]
    assert found.class_names == ("cat", "dog")
    assert found.paths == ("cat/0.png", "cat/1.png", "cat/2.png", "dog/0.png", "dog/1.png")
    assert (found.mean, found.std) == (datasets.IMAGENET_MEAN, datasets.IMAGENET_STD)
    assert found.duplicates == 0
    assert found.notes == ()


def test_folder_without_labels(tmp_path: Path) -> None:
    for number in range(3):
        noise(tmp_path / "pictures" / f"{number}.png", number)
    found = dataset.open(Source(f"folder:{tmp_path / 'pictures'}", tmp_path / "data"))
    assert found.labels is None
    assert found.classes is None
    assert found.class_names is None
    assert found.score.tolist() == [0, 1, 2]


def test_folder_with_splits_has_three_protocols(tmp_path: Path) -> None:
    for number, name in enumerate(
        ("train/a/0.png", "train/b/0.png", "test/a/0.png", "test/b/0.png")
    ):
        noise(tmp_path / "pictures" / name, number)
    spec = f"folder:{tmp_path / 'pictures'}"
    made = {
        protocol: dataset.open(Source(spec, tmp_path / "data", protocol=protocol))
        for protocol in ("all", "train-test", "train")
    }
    rows = {
        name: (found.train.tolist(), found.score.tolist(), found.pretrain.tolist())
        for name, found in made.items()
    }
    assert rows == {
        "all": ([0, 1, 2, 3], [0, 1, 2, 3], [0, 1, 2, 3]),
        "train-test": ([0, 1], [2, 3], [0, 1]),
        "train": ([0, 1], [0, 1], [0, 1]),
    }
    assert dataset.open(Source(spec, tmp_path / "data")).protocol == "all"
    assert len({found.fingerprint for found in made.values()}) == 1


def test_folder_without_splits_has_one_protocol(pictures: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="has the protocols all, and 'train-test'"):
        dataset.open(Source(f"folder:{pictures}", tmp_path / "data", protocol="train-test"))


def test_spellings_of_one_folder_are_one_dataset(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "link").symlink_to(pictures, target_is_directory=True)
    spellings = (
        str(pictures),
        f"{pictures}/",
        "pictures",
        "./pictures/../pictures",
        "~/pictures",
        "link",
    )
    found = [dataset.open(Source(f"folder:{text}", tmp_path / "data")) for text in spellings]
    assert {(one.name, one.fingerprint) for one in found} == {
        (f"folder:{os.path.realpath(pictures)}", found[0].fingerprint)
    }
    assert len(list((tmp_path / "data" / "prepared").glob("folder-*"))) == 1


def test_fingerprint_is_of_the_content(pictures: Path, tmp_path: Path) -> None:
    root = tmp_path / "data"
    first = dataset.open(Source(f"folder:{pictures}", root))
    moved = tmp_path / "moved"
    pictures.rename(moved)
    assert dataset.open(Source(f"folder:{moved}", root)).fingerprint == first.fingerprint

    (moved / "cat" / "2.png").rename(moved / "dog" / "!.png")  # same order of images, other label
    relabelled = dataset.open(Source(f"folder:{moved}", root))
    assert np.array_equal(relabelled.images, first.images)
    assert relabelled.fingerprint != first.fingerprint

    (moved / "dog" / "!.png").rename(moved / "cat" / "2.png")
    assert dataset.open(Source(f"folder:{moved}", root)).fingerprint == first.fingerprint
    noise(moved / "cat" / "2.png", 99)
    assert dataset.open(Source(f"folder:{moved}", root)).fingerprint != first.fingerprint


def test_exact_duplicates_are_counted(pictures: Path, tmp_path: Path) -> None:
    shutil.copy(pictures / "cat" / "0.png", pictures / "dog" / "same.png")
    shutil.copy(pictures / "cat" / "0.png", pictures / "dog" / "same2.png")
    found = dataset.open(Source(f"folder:{pictures}", tmp_path / "data"))
    assert found.duplicates == 2
    assert "2 of 7 images repeat an earlier one" in found.notes[0]


def test_images_of_differing_sizes_become_squares(tmp_path: Path) -> None:
    noise(tmp_path / "pictures" / "a.png", 0, (300, 290))
    noise(tmp_path / "pictures" / "b.png", 1, (400, 260))
    spec = f"folder:{tmp_path / 'pictures'}"
    found = dataset.open(Source(spec, tmp_path / "data"))
    assert found.images.shape == (2, 3, 256, 256)
    assert found.view == 224
    small = dataset.open(Source(spec, tmp_path / "data", side=48))
    assert small.images.shape == (2, 3, 48, 48)
    assert small.view == 48
    assert small.fingerprint != found.fingerprint
    with pytest.raises(InputError, match=r"must be in 8\.\.1024 pixels, and it is 4"):
        dataset.open(Source(spec, tmp_path / "data", side=4))


@pytest.mark.parametrize("name", ["with space", "two\nlines", "Žluťoučký 猫", "quote'\"", "-x"])
def test_odd_names_work(tmp_path: Path, name: str) -> None:
    noise(tmp_path / name / name / f"{name}.png", 0)
    noise(tmp_path / name / "other" / "1.png", 1)
    found = dataset.open(Source(f"folder:{tmp_path / name}", tmp_path / "data"))
    assert found.class_names == tuple(sorted((name, "other")))
    assert f"{name}/{name}.png" in (found.paths or [])


def test_names_that_are_not_unicode_are_shown_escaped(tmp_path: Path) -> None:
    noise(tmp_path / "a.png", 0)
    folder = os.fsencode(tmp_path / "pictures") + b"\xff"
    try:
        os.mkdir(folder)
    except OSError:
        pytest.skip("this file system takes Unicode names only")
    shutil.copy(os.fsencode(tmp_path / "a.png"), folder + b"/caf\xe9.png")
    found = dataset.open(Source(f"folder:{os.fsdecode(folder)}", tmp_path / "data"))
    assert found.paths == ("caf\\xe9.png",)
    assert len(found.images) == 1


def test_missing_folder_names_the_nearest(pictures: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"has no 'picturs'. Did you mean 'pictures'"):
        dataset.open(Source(f"folder:{tmp_path / 'picturs'}", tmp_path / "data"))
    with pytest.raises(InputError, match=r"has no 'picturs'. Did you mean 'pictures'"):
        dataset.open(Source(f"folder:{tmp_path / 'picturs' / 'cat'}", tmp_path / "data"))
    with pytest.raises(InputError, match="is a file"):
        dataset.open(Source(f"folder:{pictures / 'cat' / '0.png'}", tmp_path / "data"))
    with pytest.raises(InputError, match="needs a path"):
        dataset.open(Source("folder:", tmp_path / "data"))
    with pytest.raises(InputError, match="cannot be opened"):
        dataset.open(Source("folder:" + "x" * 5000, tmp_path / "data"))
    assert not (tmp_path / "data").exists()


def test_broken_images_stop_with_a_list(pictures: Path, tmp_path: Path) -> None:
    for number in range(12):
        (pictures / "cat" / f"broken{number:02}.png").write_bytes(b"" if number else b"text")
    root = tmp_path / "data"
    with pytest.raises(InputError) as error:
        dataset.open(Source(f"folder:{pictures}", root))
    text = str(error.value)
    assert "12 of 17 images" in text
    assert "'cat/broken00.png' (not an image that Pillow knows)" in text
    assert "'cat/broken09.png' (empty file) and 2 more" in text
    assert "broken10" not in text
    assert "--skip-broken" in text
    assert nothing_half_written(root)
    assert not list((root / "prepared").glob("folder-*"))


@pytest.mark.parametrize("side", [None, 16])
def test_broken_images_are_left_out_when_asked(
    pictures: Path, tmp_path: Path, side: int | None
) -> None:
    expected = dataset.open(Source(f"folder:{pictures}", tmp_path / "data", side=side))
    data = (pictures / "cat" / "1.png").read_bytes()
    (pictures / "cat" / "3.png").write_bytes(data[: len(data) // 2])  # header fine, pixels cut
    (pictures / "cat" / "!.png").touch()
    spec, root = f"folder:{pictures}", tmp_path / "data"
    found = dataset.open(Source(spec, root, side=side, skip_broken=True))
    assert found.skipped == ("cat/!.png", "cat/3.png")
    assert np.array_equal(found.images, expected.images)
    assert found.fingerprint == expected.fingerprint
    assert found.paths == expected.paths
    # what was prepared with files left out is not given to someone who did not ask for that
    with pytest.raises(InputError, match=r"2 of 7 images.*'cat/3.png'"):
        dataset.open(Source(spec, root, side=side))
    assert dataset.open(Source(spec, root, side=side, skip_broken=True)).skipped == found.skipped


def test_a_class_of_broken_images_only_is_refused(pictures: Path, tmp_path: Path) -> None:
    (pictures / "cow").mkdir()
    (pictures / "cow" / "0.png").touch()
    with pytest.raises(InputError, match="No image of the classes 'cow'"):
        dataset.open(Source(f"folder:{pictures}", tmp_path / "data", skip_broken=True))


def test_all_images_broken_is_refused_even_when_skipping(tmp_path: Path) -> None:
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "a.png").touch()
    for side in (None, 32):
        with pytest.raises(InputError, match="1 of 1 images"):
            dataset.open(
                Source(
                    f"folder:{tmp_path / 'pictures'}",
                    tmp_path / "data",
                    skip_broken=True,
                    side=side,
                )
            )


def test_a_folder_that_changes_while_it_is_read_is_refused(pictures: Path, tmp_path: Path) -> None:
    def touch(done: int, total: int) -> None:
        noise(pictures / "dog" / "new.png", 77)

    with pytest.raises(InputError, match="changed while it was being read"):
        dataset.open(Source(f"folder:{pictures}", tmp_path / "data"), touch)
    assert nothing_half_written(tmp_path / "data")


def test_progress_counts_both_passes(pictures: Path, tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    source = Source(f"folder:{pictures}", tmp_path / "data")
    dataset.open(source, lambda done, total: seen.append((done, total)))
    assert seen == [(5, 10), (10, 10)]


# --- the cache -----------------------------------------------------------------------------------


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
    lines = [process.communicate(timeout=60)[0].split("\n") for process in together]
    assert [process.returncode for process in together] == [0, 0, 0]
    assert len({out[-2] for out in lines}) == 1
    assert sum("decoding" in out for out in lines) == 1  # the others waited for the first
    assert len(list((root / "prepared").glob("folder-*"))) == 1
    assert nothing_half_written(root)


def test_without_locks_the_first_rename_wins(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_cache, "fcntl", None)
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
    process.wait(timeout=30)
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
    with pytest.raises(StorageError, match=r"cannot be used .*DEEP_CLUSTERING_DATA"):
        dataset.open(Source(f"folder:{pictures}", tmp_path / "file"))


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


# --- archives, through torchvision's own code ----------------------------------------------------
# The archives have the published form with few images; torchvision's checksums and addresses are
# set to theirs, and a local server stands for the network.


@pytest.fixture
def server(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """A web server on this machine: its address and the folder that it shows."""
    folder = tmp_path / "web"
    folder.mkdir()

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            pass

    handler = functools.partial(Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.02,))
        thread.start()
        yield f"http://127.0.0.1:{running.server_port}", folder
        running.shutdown()
        thread.join()


@pytest.mark.parametrize(
    ("name", "kind", "train"),
    [("cifar10", "CIFAR10", 20), ("cifar20", "CIFAR100", 4), ("cifar100", "CIFAR100", 4)],
)
def test_cifar_is_downloaded_once_and_kept(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    server: tuple[str, Path],
    name: str,
    kind: str,
    train: int,
) -> None:
    from torchvision import datasets as source

    address, web = server
    archive, images, labels = cifar(kind, web, monkeypatch, fine=name == "cifar100")
    monkeypatch.setattr(getattr(source, kind), "url", f"{address}/{archive.name}")
    root = tmp_path / "data"
    found = dataset.open(Source(name, root))
    assert np.array_equal(found.images, images)
    assert found.labels is not None
    assert found.labels.tolist() == labels
    assert found.classes == int(name.removeprefix("cifar"))
    assert found.class_names is not None
    assert found.class_names[1] == ("coarse 1" if name == "cifar20" else "fine 1")
    assert len(found.train) == len(found.score) == len(images)
    assert (root / "archives" / archive.name).is_file()
    assert datasets.known(root)[name].status == "ready"
    assert {path.name for path in (root / "prepared" / f"{name}-v{_cache.FORMAT}").iterdir()} == {
        "images.npy", "labels.npy", "split.npy", "meta.json",
    }  # fmt: skip

    archive.unlink()
    (root / "archives" / archive.name).unlink()
    split = dataset.open(Source(name, root, protocol="train-test"))
    assert split.train.tolist() == split.pretrain.tolist() == list(range(train))
    assert split.score.tolist() == list(range(train, len(images)))
    both = dataset.open(Source(name, root, protocol="train"))
    assert both.train.tolist() == both.score.tolist() == list(range(train))


@pytest.mark.parametrize("place", ["archives", "."])
def test_an_archive_put_there_by_hand_is_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    archive, images, _ = cifar("CIFAR10", tmp_path / "by hand", monkeypatch)
    (tmp_path / "data" / place).mkdir(parents=True, exist_ok=True)
    shutil.move(archive, tmp_path / "data" / place / archive.name)
    found = dataset.open(Source("cifar10", tmp_path / "data"))
    assert np.array_equal(found.images, images)


def test_files_unpacked_by_hand_are_used_and_checked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive, images, _ = cifar("CIFAR10", tmp_path / "by hand", monkeypatch)
    root = tmp_path / "data"
    with tarfile.open(archive) as tar:
        tar.extractall(root, filter="data")
    found = dataset.open(Source("cifar10", root))
    assert np.array_equal(found.images, images)
    shutil.rmtree(root / "prepared")
    with open(root / "cifar-10-batches-py" / "data_batch_3", "ab") as file:
        file.write(b"more")
    with pytest.raises(InputError, match="do not have the published checksums; delete that folder"):
        dataset.open(Source("cifar10", root))
    assert nothing_half_written(root)


def test_an_archive_with_a_wrong_checksum_is_never_unpacked(tmp_path: Path) -> None:
    root = tmp_path / "data"
    (root / "archives").mkdir(parents=True)
    archive = root / "archives" / "cifar-10-python.tar.gz"
    archive.write_bytes(b"half an archive")
    with pytest.raises(
        InputError, match=r"cifar-10-python\.tar\.gz' is damaged.*delete it and repeat"
    ):
        dataset.open(Source("cifar10", root))
    assert archive.read_bytes() == b"half an archive"  # the user's file is left to the user
    assert nothing_half_written(root)


def test_a_download_with_a_wrong_checksum_is_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, server: tuple[str, Path]
) -> None:
    from torchvision.datasets import CIFAR10

    address, web = server
    (web / CIFAR10.filename).write_bytes(b"something else")
    monkeypatch.setattr(CIFAR10, "url", f"{address}/{CIFAR10.filename}")
    with pytest.raises(InputError, match=r"incomplete or altered.*put it at.*cifar-10-python"):
        dataset.open(Source("cifar10", tmp_path / "data"))
    assert not (tmp_path / "data" / "archives").exists()
    assert nothing_half_written(tmp_path / "data")


@pytest.mark.parametrize(
    "name",
    ["cifar10", "cifar20", "cifar100", "stl10", "tiny-imagenet", "svhn", "textures", "places365"],
)
def test_no_network_says_where_to_put_the_archive(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    from torchvision.datasets import CIFAR10, CIFAR100, DTD, STL10, SVHN, Places365

    nobody = "http://127.0.0.1:9/"  # a port where nobody listens
    for kind in (CIFAR10, CIFAR100, STL10):
        monkeypatch.setattr(kind, "url", f"{nobody}{kind.filename}")
    monkeypatch.setattr(SVHN, "split_list", {"train": [f"{nobody}a.mat", "a.mat", "0" * 32]})
    monkeypatch.setattr(DTD, "_URL", f"{nobody}dtd.tar.gz")
    monkeypatch.setattr(Places365, "_BASE_URL", nobody)
    monkeypatch.setattr(datasets, "TINY_URL", "http://127.0.0.1:9/tiny-imagenet-200.zip")
    root = tmp_path / "data"
    with pytest.raises(InputError) as error:
        dataset.open(Source(name, root))
    assert "cannot be downloaded" in str(error.value)
    assert f"put it at '{root / 'archives'}" in str(error.value)
    assert nothing_half_written(root)


def test_a_missing_page_is_a_failed_download(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, server: tuple[str, Path]
) -> None:
    monkeypatch.setattr(datasets, "TINY_URL", f"{server[0]}/gone.zip")
    with pytest.raises(InputError, match=r"cannot be downloaded .*put it at"):
        dataset.open(Source("tiny-imagenet", tmp_path / "data"))


def test_stl10_keeps_unlabelled_images_for_pretraining(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from torchvision.datasets import STL10

    folder = tmp_path / "work" / STL10.base_folder
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    counts = {"train": 2, "test": 3, "unlabeled": 4}
    images = {
        part: rng.integers(0, 256, (n, 3, 96, 96), dtype=np.uint8) for part, n in counts.items()
    }
    for part, array in images.items():  # the file is column by column
        array.transpose(0, 1, 3, 2).tofile(folder / f"{part}_X.bin")
    np.array([1, 10], np.uint8).tofile(folder / "train_y.bin")
    np.array([2, 3, 3], np.uint8).tofile(folder / "test_y.bin")
    (folder / "class_names.txt").write_text("\n".join(f"class {number}" for number in range(10)))
    root = tmp_path / "data"
    (root / "archives").mkdir(parents=True)
    pack(folder, root / "archives" / STL10.filename)
    monkeypatch.setattr(STL10, "tgz_md5", md5(root / "archives" / STL10.filename))
    for part in ("train_list", "test_list"):
        files = [[file, md5(folder / file)] for file, _ in getattr(STL10, part)]
        monkeypatch.setattr(STL10, part, files)

    found = dataset.open(Source("stl10", root))
    assert np.array_equal(found.images, np.concatenate(list(images.values())))
    assert found.labels is not None
    assert found.labels.tolist() == [0, 9, 1, 2, 2, -1, -1, -1, -1]
    assert found.classes == 10
    assert found.train.tolist() == found.score.tolist() == [0, 1, 2, 3, 4]
    assert found.pretrain.tolist() == list(range(9))
    split = dataset.open(Source("stl10", root, protocol="train-test"))
    assert split.train.tolist() == [0, 1]
    assert split.score.tolist() == [2, 3, 4]
    assert split.pretrain.tolist() == [0, 1, 5, 6, 7, 8]  # train and unlabelled, as SCAN's pretext
    assert split.fingerprint == found.fingerprint


def tiny_archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Tiny-ImageNet as published, with two train images and one for validation; its tree."""
    tree = tmp_path / "tiny-imagenet-200"
    for number, wnid in enumerate(("n02", "n01")):
        noise(tree / "train" / wnid / "images" / f"{wnid}_0.JPEG", number, (64, 64))
        (tree / "train" / wnid / f"{wnid}_boxes.txt").write_text("")
    noise(tree / "val" / "images" / "val_0.JPEG", 5, (64, 64))
    (tree / "val" / "val_annotations.txt").write_text("val_0.JPEG\tn02\t0\t32\t44\t62\n")
    archive = tmp_path / "data" / "archives" / "tiny-imagenet-200.zip"
    archive.parent.mkdir(parents=True)
    with zipfile.ZipFile(archive, "w") as packed:
        for path in sorted(tree.rglob("*")):
            packed.write(path, path.relative_to(tmp_path))
    monkeypatch.setattr(datasets, "TINY_MD5", md5(archive))
    return tree


def test_tiny_imagenet_uses_its_train_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree = tiny_archive(tmp_path, monkeypatch)
    found = dataset.open(Source("tiny-imagenet", tmp_path / "data"))
    assert found.images.shape == (2, 3, 64, 64)
    assert found.class_names == ("n01", "n02")
    assert found.paths == ("train/n01/images/n01_0.JPEG", "train/n02/images/n02_0.JPEG")
    assert found.protocol == "train"
    with Image.open(tree / "train" / "n01" / "images" / "n01_0.JPEG") as image:
        assert np.array_equal(found.images[0], np.asarray(image).transpose(2, 0, 1))


def test_tiny_imagenet_is_scored_on_its_validation_images(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree = tiny_archive(tmp_path, monkeypatch)
    found = dataset.open(Source("tiny-imagenet", tmp_path / "data", protocol="train-val"))
    assert found.train.tolist() == found.pretrain.tolist() == [0, 1]
    assert found.score.tolist() == [2]
    assert found.labels is not None
    assert found.labels.tolist() == [0, 1, 1]  # n01 and n02; the file says n02 of val_0
    assert found.paths is not None
    assert found.paths[2] == "val/images/val_0.JPEG"
    with Image.open(tree / "val" / "images" / "val_0.JPEG") as image:
        assert np.array_equal(found.images[2], np.asarray(image).transpose(2, 0, 1))
    # the train images alone stay the dataset that they were
    alone = dataset.open(Source("tiny-imagenet", tmp_path / "data"))
    assert alone.fingerprint != found.fingerprint
    assert len(alone.images) == 2


@pytest.mark.parametrize("text", ["", "val_0.JPEG\tn03\t0\t0\t1\t1\n", "val_1.JPEG\tn02\n"])
def test_tiny_imagenet_without_its_validation_labels_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    tree = tiny_archive(tmp_path, monkeypatch)
    (tree / "val" / "val_annotations.txt").write_text(text)
    root = tmp_path / "data"
    shutil.move(tree, root / tree.name)
    with pytest.raises(InputError, match=r"val_annotations\.txt' does not name a class of each"):
        dataset.open(Source("tiny-imagenet", root, protocol="train-val"))
    assert len(dataset.open(Source("tiny-imagenet", root)).images) == 2


def test_svhn_is_scored_on_its_test_images(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, server: tuple[str, Path]
) -> None:
    from scipy.io import savemat
    from torchvision.datasets import SVHN

    address, web = server
    rng = np.random.default_rng(0)
    files, images = {}, []
    for split, labels in (("train", [10, 1, 9]), ("test", [2, 10])):
        name = f"{split}_32x32.mat"
        pixels = rng.integers(0, 256, (len(labels), 3, 32, 32), dtype=np.uint8)
        images.append(pixels)
        y = np.array(labels, np.uint8)[:, None]
        savemat(web / name, {"X": pixels.transpose(2, 3, 1, 0), "y": y})
        files[split] = [f"{address}/{name}", name, md5(web / name)]
    monkeypatch.setattr(SVHN, "split_list", files)
    root = tmp_path / "data"
    found = dataset.open(Source("svhn", root))
    assert found.protocol == "train-test"
    assert np.array_equal(found.images, np.concatenate(images))
    assert found.labels is not None
    assert found.labels.tolist() == [0, 1, 9, 2, 0]  # the files say 10 for the digit 0
    assert found.train.tolist() == [0, 1, 2]
    assert found.score.tolist() == [3, 4]
    assert datasets.known(root)["svhn"].status == "ready"
    assert dataset.open(Source("svhn", root, protocol="all")).score.tolist() == [0, 1, 2, 3, 4]

    shutil.rmtree(root / "prepared")
    with open(root / "archives" / "test_32x32.mat", "ab") as file:
        file.write(b"more")
    with pytest.raises(InputError, match=r"test_32x32\.mat' is damaged.*delete it and repeat"):
        dataset.open(Source("svhn", root))
    assert nothing_half_written(root)


def test_textures_are_all_images_at_any_side(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from torchvision.datasets import DTD

    folder = tmp_path / "work" / "dtd"
    for number, name in enumerate(("woven/woven_1", "banded/banded_2", "banded/banded_1")):
        noise(folder / "images" / f"{name}.png", number, (120, 90 + number))
    (folder / "images" / "woven" / ".directory").write_text("[Dolphin]")
    (folder / "labels").mkdir()
    (folder / "labels" / "train1.txt").write_text("banded/banded_1.png\n")
    root = tmp_path / "data"
    (root / "archives").mkdir(parents=True)
    archive = root / "archives" / "dtd-r1.0.1.tar.gz"
    pack(folder, archive)
    monkeypatch.setattr(DTD, "_MD5", md5(archive))
    found = dataset.open(Source("textures", root))
    assert found.images.shape == (3, 3, 64, 64)
    assert (found.protocol, found.view) == ("all", 64)
    assert found.class_names == ("banded", "woven")
    assert found.labels is not None
    assert found.labels.tolist() == [0, 0, 1]
    assert found.train.tolist() == found.score.tolist() == [0, 1, 2]
    # each side is decoded from the files, not from another side: a folder's rule for pixels
    small = dataset.open(Source("textures", root, side=24))
    plain = dataset.open(Source(f"folder:{folder / 'images'}", root, side=24))
    assert np.array_equal(small.images, plain.images)
    assert dataset.open(Source("textures", root, side=256)).view == 224
    with pytest.raises(InputError, match=r"must be in 8\.\.1024 pixels, and it is 4"):
        dataset.open(Source("textures", root, side=4))
    with pytest.raises(InputError, match="chosen for textures, places365 and folder:PATH only"):
        dataset.open(Source("cifar10", root, side=64))


def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Places365's two archives with three images of three classes; the data directory."""
    from torchvision.datasets import Places365

    lists, images = tmp_path / "lists", tmp_path / "val_256"
    lists.mkdir()
    listed = [("Places365_val_00000001.jpg", 2), ("Places365_val_00000002.jpg", 0),
              ("Places365_val_00000003.jpg", 1)]  # fmt: skip
    for number, (name, _) in enumerate(listed):
        noise(images / name, number, (256, 256))
    lines = [f"{name} {label}" for name, label in listed]
    (lists / "places365_val.txt").write_text("\n".join(lines) + "\n")
    (lists / "categories_places365.txt").write_text("/a/abbey 0\n/b/bar 1\n/c/cave 2\n")
    root = tmp_path / "data"
    (root / "archives").mkdir(parents=True)
    devkit, packed = "filelist_places365-standard.tar", "val_256.tar"
    with tarfile.open(root / "archives" / devkit, "w") as tar:
        for path in sorted(lists.iterdir()):
            tar.add(path, arcname=path.name)
    with tarfile.open(root / "archives" / packed, "w") as tar:
        tar.add(images, arcname="val_256")

    def summed(place: Path, name: str) -> tuple[str, str]:
        return name, md5(place / name)

    archives = root / "archives"
    monkeypatch.setattr(Places365, "_DEVKIT_META", {"standard": summed(archives, devkit)})
    monkeypatch.setattr(Places365, "_IMAGES_META", {("val", True): summed(archives, packed)})
    monkeypatch.setattr(Places365, "_FILE_LIST_META", {"val": summed(lists, "places365_val.txt")})
    monkeypatch.setattr(Places365, "_CATEGORIES_META", summed(lists, "categories_places365.txt"))
    return root


def test_places365_is_its_validation_images(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = places(tmp_path, monkeypatch)
    found = dataset.open(Source("places365", root, side=32))
    assert found.images.shape == (3, 3, 32, 32)
    assert found.labels is not None
    assert found.labels.tolist() == [2, 0, 1]
    assert found.class_names == ("/a/abbey", "/b/bar", "/c/cave")
    assert found.score.tolist() == [0, 1, 2]
    plain = dataset.open(Source(f"folder:{tmp_path / 'val_256'}", root, side=32))
    assert np.array_equal(found.images, plain.images)
    assert dataset.open(Source("places365", root)).images.shape == (3, 3, 64, 64)


def test_places365_with_an_image_missing_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = places(tmp_path, monkeypatch)
    shutil.move(tmp_path / "val_256", root / "val_256")
    (root / "val_256" / "Places365_val_00000002.jpg").unlink()
    with pytest.raises(InputError, match="2 images, 0 of them not in the published list of 3"):
        dataset.open(Source("places365", root))
    assert nothing_half_written(root)


# --- ImageNet ------------------------------------------------------------------------------------


@pytest.fixture
def imagenet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """One image per class of ImageNet-50 in train and val, and a class of no subset."""
    place = tmp_path / "my imagenet"
    for number, wnid in enumerate((*datasets.imagenet_classes()["imagenet50"], "n99999999")):
        noise(place / "train" / wnid / f"{wnid}_1.JPEG", number, (40, 30))
        noise(place / "val" / wnid / "ILSVRC2012_val_1.JPEG", 100 + number, (30, 40))
    monkeypatch.setenv(datasets.IMAGENET_VARIABLE, str(place))
    return place


def test_class_lists() -> None:
    lists = datasets.imagenet_classes()
    assert {name: len(set(ids)) for name, ids in lists.items()} == {
        "imagenet10": 10, "imagenet-dogs": 15, "imagenet50": 50, "imagenet100": 100,
        "imagenet200": 200,
    }  # fmt: skip
    assert set(lists["imagenet50"]) < set(lists["imagenet100"]) < set(lists["imagenet200"])
    assert all(list(ids) == sorted(ids) for ids in lists.values())
    for name, spec in datasets.known().items():
        assert spec.classes == len(lists.get(name, range(spec.classes)))


def test_imagenet50_is_scored_on_validation_images(imagenet: Path, tmp_path: Path) -> None:
    found = dataset.open(Source("imagenet50", tmp_path / "data"))
    assert found.images.shape == (100, 3, 256, 256)
    assert found.view == 224
    assert found.protocol == "train-val"
    assert found.class_names == datasets.imagenet_classes()["imagenet50"]
    assert found.train.tolist() == found.pretrain.tolist() == list(range(50))
    assert found.score.tolist() == list(range(50, 100))
    assert found.labels is not None
    assert found.labels.tolist() == [*range(50), *range(50)]
    shutil.rmtree(imagenet / "val")
    train = dataset.open(Source("imagenet50", tmp_path / "data", protocol="train"))
    assert len(train.images) == 50
    with pytest.raises(InputError, match=r"val' lacks 50 of the 50.*--protocol train"):
        dataset.open(Source("imagenet50", tmp_path / "data"))


def test_imagenet_that_is_not_there_says_what_is_expected(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(datasets.IMAGENET_VARIABLE, raising=False)
    with pytest.raises(InputError) as error:
        dataset.open(Source("imagenet10", tmp_path))
    text = str(error.value)
    assert str(tmp_path / "imagenet") in text
    assert "DEEP_CLUSTERING_IMAGENET" in text
    assert "train/n01440764/" in text
    assert not list(tmp_path.iterdir())


def test_missing_classes_are_named(imagenet: Path, tmp_path: Path) -> None:
    for wnid in datasets.imagenet_classes()["imagenet50"][3:5]:
        shutil.rmtree(imagenet / "train" / wnid)
    with pytest.raises(
        InputError, match=r"lacks 2 of the 50 class folders of imagenet50: n0.*; put"
    ):
        dataset.open(Source("imagenet50", tmp_path / "data"))
    with pytest.raises(InputError, match=r"lacks 52 of the 100 .*, \.\.\.; put"):
        dataset.open(Source("imagenet100", tmp_path / "data"))


def test_a_prepared_copy_serves_while_imagenet_is_away(imagenet: Path, tmp_path: Path) -> None:
    root = tmp_path / "data"
    found = dataset.open(Source("imagenet50", root))
    imagenet.rename(tmp_path / "elsewhere")
    assert dataset.open(Source("imagenet50", root)).fingerprint == found.fingerprint
    assert datasets.known(root)["imagenet50"].status == "ready"
    with pytest.raises(InputError, match="has no train folder"):
        dataset.open(Source("imagenet50", root, protocol="train"))


def test_an_incomplete_imagenet10_is_noted(imagenet: Path, tmp_path: Path) -> None:
    for number, wnid in enumerate(datasets.imagenet_classes()["imagenet10"]):
        noise(imagenet / "train" / wnid / "x.JPEG", 200 + number)
    found = dataset.open(Source("imagenet10", tmp_path / "data"))
    assert found.classes == 10
    assert found.protocol == "train"
    assert "where the published set has 13000" in found.notes[0]


# --- speed ---------------------------------------------------------------------------------------


def test_a_second_start_does_not_read_the_images(tmp_path: Path) -> None:
    """2,000 files in less than half of the second that 60,000 may take, and none of them opened."""
    for number in range(2000):
        path = tmp_path / "pictures" / f"{number % 10}" / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8), (number % 256, number // 256, 0)).save(path, compress_level=0)
    spec, root = f"folder:{tmp_path / 'pictures'}", tmp_path / "data"
    first = dataset.open(Source(spec, root))
    for path in (tmp_path / "pictures").rglob("*.png"):
        about = path.stat()
        path.write_bytes(b"x" * about.st_size)  # whoever opened it now would fail
        os.utime(path, ns=(about.st_atime_ns, about.st_mtime_ns))
    begin = time.perf_counter()
    second = dataset.open(Source(spec, root))
    assert time.perf_counter() - begin < 0.5
    assert second.fingerprint == first.fingerprint
