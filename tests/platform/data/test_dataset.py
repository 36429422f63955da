"""Datasets as they are opened: their two types, names, sources, folders, fingerprints."""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from deep_clustering.platform.data import dataset
from deep_clustering.platform.data._entry import IMAGENET_MEAN, IMAGENET_STD, ImageEntry
from deep_clustering.platform.data.catalogue import CATALOGUE
from deep_clustering.platform.data.dataset import ImageSet, PointSet, Source
from deep_clustering.platform.errors import InputError
from support.pictures import noise
from support.small import jobs, resolved


@pytest.mark.parametrize(
    ("source", "plain"),
    [
        (Source("digits", Path("/data")), {"spec": "digits", "root": "/data"}),
        (
            Source("folder:/a b", Path("/data"), skip_broken=True, side=32, protocol="train"),
            {
                "spec": "folder:/a b",
                "root": "/data",
                "skip_broken": True,
                "side": 32,
                "protocol": "train",
            },
        ),
    ],
)
def test_a_source_comes_back_from_json(source: Source, plain: dict[str, object]) -> None:
    assert source.as_json() == plain
    assert Source.from_json(json.loads(json.dumps(source.as_json()))) == source


def test_every_field_of_a_source_is_in_its_json() -> None:
    changed = Source("x", Path("/y"), skip_broken=True, side=8, protocol="all", labels=False)
    assert set(changed.as_json()) == set(Source.__dataclass_fields__) - {"_"}


def test_a_source_opens_the_same_dataset_again(tmp_path: Path) -> None:
    first = dataset.open(Source("digits", tmp_path))
    again = dataset.open(Source.from_json(Source(first.name, tmp_path).as_json()))
    assert (again.fingerprint, again.protocol) == (first.fingerprint, "all")
    assert first.here


def test_images_and_points_say_what_their_samples_are(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.arange(6.0).reshape(3, 2))
    images = dataset.open(Source("digits", tmp_path))
    points = dataset.open(Source(f"table:{tmp_path / 'x.npy'}", tmp_path))
    assert isinstance(images, ImageSet)
    assert isinstance(points, PointSet)
    assert (images.noun, points.noun) == ("images", "samples")
    with pytest.raises(AttributeError):
        images.points  # type: ignore[attr-defined]  # noqa: B018


@pytest.mark.parametrize(("name", "samples"), [("mnist", 70_000), ("isolet", 7797)])
def test_an_outline_has_the_sizes_and_says_that_it_is_one(name: str, samples: int) -> None:
    about = CATALOGUE[name]
    found = dataset.outline(about)
    assert not found.here
    assert (found.name, found.protocol) == (name, about.protocols[0])
    assert len(found.train) == len(found.score) == len(found.pretrain) == samples
    if isinstance(about, ImageEntry):
        assert isinstance(found, ImageSet)
        assert found.images.shape == (samples, 3, about.side, about.side)
    else:
        assert isinstance(found, PointSet)
        assert found.points.shape == (samples, about.dimensions)


def test_an_outline_takes_the_protocol_that_is_asked_for() -> None:
    assert dataset.outline(CATALOGUE["mnist"], "test").protocol == "test"


def test_importing_loads_no_framework() -> None:
    code = (
        "import sys; from deep_clustering.platform.data import dataset;"
        "print([m for m in ('torch', 'torchvision', 'sklearn', 'scipy') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_unknown_name_suggests_and_lists(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no dataset 'cifar-10'.*Did you mean 'cifar10'.*stl10"):
        dataset.open(Source("cifar-10", tmp_path))
    with pytest.raises(InputError, match="say 'folder:/'"):
        dataset.open(Source("/", tmp_path))
    (tmp_path / "a.csv").touch()
    with pytest.raises(InputError, match=r"say 'table:/.*a\.csv'"):
        dataset.open(Source(f"{tmp_path}/a.csv", tmp_path))


def test_unknown_protocol_suggests_and_lists(tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match=r"protocols all, train-test, train, and 'train-tst'.*'train-test'"
    ):
        dataset.open(Source("cifar10", tmp_path, protocol="train-tst"))


def test_a_named_dataset_has_one_side(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="stored at 8 pixels, and side=16"):
        dataset.open(Source("digits", tmp_path, side=16))


def test_sets_that_are_not_here_are_outlined(tmp_path: Path) -> None:
    request = resolved("pac", "isolet", root=tmp_path, outline="missing")
    assert request.dataset.points.shape == (7797, 617)
    assert not request.dataset.here
    assert request.config.clusters == 26
    assert len(jobs(request)) == 1
    images = resolved("pac", "mnist", root=tmp_path, protocol="test", outline="missing")
    assert images.dataset.images.shape == (70_000, 3, 28, 28)


def test_folder_with_classes(pictures: Path, tmp_path: Path) -> None:
    found = dataset.open(Source(f"folder:{pictures}", tmp_path / "data"))
    assert found.images.shape == (5, 3, 32, 32)
    assert np.array_equal(found.images[3], noise(tmp_path / "again.png", 3))
    assert found.labels is not None
    assert found.labels.tolist() == [0, 0, 0, 1, 1]
    assert found.class_names == ("cat", "dog")
    assert found.paths == ("cat/0.png", "cat/1.png", "cat/2.png", "dog/0.png", "dog/1.png")
    assert (found.mean, found.std) == (IMAGENET_MEAN, IMAGENET_STD)
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


@pytest.mark.fault(48)
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


@pytest.mark.fault(41)
def test_exact_duplicates_are_counted(pictures: Path, tmp_path: Path) -> None:
    shutil.copy(pictures / "cat" / "0.png", pictures / "dog" / "same.png")
    shutil.copy(pictures / "cat" / "0.png", pictures / "dog" / "same2.png")
    found = dataset.open(Source(f"folder:{pictures}", tmp_path / "data"))
    assert found.duplicates == 2
    assert "2 of 7 images repeat an earlier one" in found.notes[0]


def test_photographs_are_kept_whole_and_small_ones_become_squares(tmp_path: Path) -> None:
    pictures = tmp_path / "pictures"
    files = [noise(pictures / "a.png", 0, (300, 290)), noise(pictures / "b.png", 1, (400, 260))]
    spec = f"folder:{pictures}"
    found = dataset.open(Source(spec, tmp_path / "data"))
    assert isinstance(found, ImageSet)
    assert found.images.shape == (2, 3, 400, 400)
    assert found.sizes is not None
    assert found.sizes.tolist() == [[290, 300], [260, 400]]
    for file, image in zip(files, found.images, strict=True):
        _, height, width = file.shape
        assert np.array_equal(image[:, :height, :width], file)
        assert not image[:, height:].any()
        assert not image[:, :, width:].any()
    assert (found.view, found.enlargement) == (224, 8 / 7)
    smaller = dataset.open(Source(spec, tmp_path / "data", side=280))
    assert isinstance(smaller, ImageSet)
    assert smaller.images.shape == (2, 3, 280, 280)
    assert smaller.sizes is not None
    assert smaller.sizes.tolist() == found.sizes.tolist()
    small = dataset.open(Source(spec, tmp_path / "data", side=48))
    assert isinstance(small, ImageSet)
    assert small.images.shape == (2, 3, 48, 48)
    assert (small.view, small.enlargement, small.sizes) == (48, None, None)
    assert len({one.fingerprint for one in (found, smaller, small)}) == 3
    with pytest.raises(InputError, match=r"must be in 8\.\.1024 pixels, and it is 4"):
        dataset.open(Source(spec, tmp_path / "data", side=4))


def test_squares_of_the_stored_side_have_no_sizes(tmp_path: Path) -> None:
    noise(tmp_path / "pictures" / "a.png", 0, (256, 256))
    found = dataset.open(Source(f"folder:{tmp_path / 'pictures'}", tmp_path / "data"))
    assert isinstance(found, ImageSet)
    assert found.images.shape == (1, 3, 256, 256)
    assert (found.view, found.enlargement, found.sizes) == (224, 8 / 7, None)


def test_pictures_stored_alike_and_of_other_sizes_are_no_duplicates(tmp_path: Path) -> None:
    """All-black pictures of 300 x 256 and 256 x 256 pixels look alike in a black square."""
    for name, width in (("a", 300), ("b", 256), ("c", 300)):
        (tmp_path / "pictures").mkdir(exist_ok=True)
        Image.new("RGB", (width, 256)).save(tmp_path / "pictures" / f"{name}.png")
    found = dataset.open(Source(f"folder:{tmp_path / 'pictures'}", tmp_path / "data"))
    assert isinstance(found, ImageSet)
    assert found.duplicates == 1
    before = found.fingerprint
    Image.new("RGB", (280, 256)).save(tmp_path / "pictures" / "b.png")
    again = dataset.open(Source(f"folder:{tmp_path / 'pictures'}", tmp_path / "data"))
    assert np.array_equal(again.images, found.images)
    assert again.fingerprint != before


@pytest.mark.fault(46)
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


def test_a_second_start_does_not_read_the_images(tmp_path: Path) -> None:
    """2,000 files in less than half a second of computing, and none of them opened."""
    pictures = tmp_path / "pictures"
    for number in range(2000):
        path = pictures / f"{number % 10}" / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8), (number % 256, number // 256, 0)).save(path, compress_level=0)
    spec, root = f"folder:{pictures}", tmp_path / "data"
    watching, opened = True, 0

    def watch(event: str, given: tuple[object, ...]) -> None:
        nonlocal opened
        opened += watching and event == "open" and str(given[0]).startswith(str(pictures))

    sys.addaudithook(watch)  # stays for good, so that it is switched off below
    first = dataset.open(Source(spec, root))
    assert opened >= 2000
    opened = 0
    begin = time.process_time()
    second = dataset.open(Source(spec, root))
    assert time.process_time() - begin < 0.5
    watching = False
    assert opened == 0
    assert second.fingerprint == first.fingerprint


def test_a_picture_changed_in_place_is_read_anew(pictures: Path, tmp_path: Path) -> None:
    """A program kept its size and the time of its content; the time of its entry tells."""
    path = pictures / "cat" / "0.png"
    Image.new("RGB", (32, 32), (10, 10, 10)).save(path, compress_level=0)
    spec, about = f"folder:{pictures}", path.stat()
    dataset.open(Source(spec, tmp_path / "data"))
    Image.new("RGB", (32, 32), (20, 20, 20)).save(path, compress_level=0)
    os.utime(path, ns=(about.st_atime_ns, about.st_mtime_ns))
    assert path.stat().st_size == about.st_size
    found = dataset.open(Source(spec, tmp_path / "data"))
    assert isinstance(found, ImageSet)
    assert (found.images[0] == 20).all()


def test_notes_are_about_the_folder_as_it_is(pictures: Path, tmp_path: Path) -> None:
    """Other files come and go without a new key of the images."""
    spec, root = f"folder:{pictures}", tmp_path / "data"
    assert dataset.open(Source(spec, root)).notes == ()
    (pictures / "cat" / "x.raw").write_bytes(b"0")
    (note,) = dataset.open(Source(spec, root)).notes
    assert note.endswith("no images that can be read: 1 .raw")
    (pictures / "cat" / "x.raw").rename(pictures / "x.txt")
    assert dataset.open(Source(spec, root)).notes == ()
    (pictures / "cat" / "4.png").touch()
    (note,) = dataset.open(Source(spec, root, skip_broken=True)).notes
    assert note == "1 images are left out: 'cat/4.png' (empty file)"


def test_a_folder_without_labels_has_neither_classes_nor_splits(
    pictures: Path, tmp_path: Path
) -> None:
    spec, root = f"folder:{pictures}", tmp_path / "data"
    labelled = dataset.open(Source(spec, root))
    (pictures / "empty").mkdir()
    with pytest.raises(InputError, match="1 hold none: 'empty'"):
        dataset.open(Source(spec, root))
    found = dataset.open(Source(spec, root, labels=False))
    assert (found.labels, found.classes, found.paths) == (None, None, labelled.paths)
    assert found.fingerprint != labelled.fingerprint
