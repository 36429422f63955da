"""The layout of a folder of images."""

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from PIL.BmpImagePlugin import BmpImageFile

from deep_clustering.platform.data import _decode, _formats
from deep_clustering.platform.data.folder import (
    UNREADABLE,
    held_out,
    list_folder,
    list_images,
    split_named,
)
from deep_clustering.platform.data.protocols import TEST
from deep_clustering.platform.errors import InputError


def picture(path: Path, colour: object = (200, 30, 60), size: tuple[int, int] = (32, 32)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, colour).save(path)  # type: ignore[arg-type]
    return path


def test_images_directly_in_the_folder_have_no_labels(tmp_path: Path) -> None:
    for name in ("b.png", "a.JPG", "c.webp"):
        picture(tmp_path / name)
    (tmp_path / "readme.txt").write_text("no image")
    found = list_folder(tmp_path)
    assert found.paths == ["a.JPG", "b.png", "c.webp"]
    assert found.labels is None
    assert found.class_names is None
    assert found.notes == ()


def test_first_level_folders_are_classes_whatever_lies_below(tmp_path: Path) -> None:
    for name in ("dog/1.png", "cat/deep/er/2.png", "cat/1.png"):
        picture(tmp_path / name)
    found = list_folder(tmp_path)
    assert found.paths == ["cat/1.png", "cat/deep/er/2.png", "dog/1.png"]
    assert found.class_names == ("cat", "dog")
    assert found.labels is not None
    assert found.labels.tolist() == [0, 0, 1]


def test_images_beside_folders_switch_labels_off_and_say_so(tmp_path: Path) -> None:
    for name in ("x.png", "cat/1.png", "dog/1.png"):
        picture(tmp_path / name)
    found = list_folder(tmp_path)
    assert found.labels is None
    assert len(found.paths) == 3
    assert "1 images lie beside the sub-folders" in found.notes[0]


def test_split_folders_are_merged_train_first(tmp_path: Path) -> None:
    for name in ("train/b/1.png", "train/a/1.png", "test/a/1.png", "test/b/1.png", "test/b/2.png"):
        picture(tmp_path / name)
    found = list_folder(tmp_path)
    assert found.paths == [
        "train/a/1.png", "train/b/1.png", "test/a/1.png", "test/b/1.png", "test/b/2.png",
    ]  # fmt: skip
    assert found.class_names == ("a", "b")
    assert found.labels is not None
    assert found.labels.tolist() == [0, 1, 0, 1, 1]
    assert found.split.tolist() == [0, 0, 1, 1, 1]


@pytest.mark.parametrize(
    ("tops", "split"),
    [
        (("train", "val"), {"train": 0, "val": 1}),
        (("train", "val", "test"), {"train": 0, "val": 0, "test": 1}),
        (("train",), {"train": 0}),
    ],
)
def test_val_is_scored_unless_there_is_a_test(
    tmp_path: Path, tops: tuple[str, ...], split: dict[str, int]
) -> None:
    for top in tops:
        for name in ("a", "b"):
            picture(tmp_path / top / name / "1.png")
    found = list_folder(tmp_path)
    assert found.class_names == ("a", "b")
    for path, number in zip(found.paths, found.split, strict=True):
        assert number == split[path.split("/")[0]]


def test_split_folders_without_classes_have_no_labels(tmp_path: Path) -> None:
    for name in ("train/1.png", "train/2.png", "test/1.png"):
        picture(tmp_path / name)
    found = list_folder(tmp_path)
    assert found.labels is None
    assert found.split.tolist() == [0, 0, 1]


def test_splits_with_different_classes_are_refused(tmp_path: Path) -> None:
    for name in ("train/cat/1.png", "train/dog/1.png", "test/cat/1.png", "test/cow/1.png"):
        picture(tmp_path / name)
    with pytest.raises(InputError, match="'test' lacks 'dog'; 'train' lacks 'cow'"):
        list_folder(tmp_path)


@pytest.mark.fault(36)
def test_an_empty_class_folder_is_refused_by_name(tmp_path: Path) -> None:
    picture(tmp_path / "cat" / "1.png")
    (tmp_path / "dog").mkdir()
    (tmp_path / "cow").mkdir()
    (tmp_path / "cow" / "list.txt").write_text("")
    with pytest.raises(InputError, match="2 hold none: 'cow', 'dog'; remove them"):
        list_folder(tmp_path)


def test_an_empty_class_folder_of_a_split_is_refused_by_name(tmp_path: Path) -> None:
    for name in ("train/cat/1.png", "train/dog/1.png", "test/cat/1.png"):
        picture(tmp_path / name)
    (tmp_path / "test" / "dog").mkdir()
    with pytest.raises(InputError, match="1 hold none: 'test/dog'"):
        list_folder(tmp_path)


@pytest.mark.fault(36)
def test_no_image_says_what_was_found_and_what_was_looked_for(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "a.heic").write_bytes(b"x")
    (tmp_path / "b.heic").write_bytes(b"x")
    (tmp_path / "sub" / "noext").write_bytes(b"x")
    with pytest.raises(InputError) as error:
        list_folder(tmp_path)
    assert "1 sub-folders and other files (2 .heic, 1 no extension)" in str(error.value)
    assert ".jpg, .jpeg" in str(error.value)


def test_one_class_is_allowed_and_noted(tmp_path: Path) -> None:
    picture(tmp_path / "only" / "1.png")
    found = list_folder(tmp_path)
    assert found.class_names == ("only",)
    assert "one class, 'only'" in found.notes[0]


def test_a_class_that_is_a_link_to_another_keeps_its_images(tmp_path: Path) -> None:
    for name in ("train/cat/1.png", "test/cat/2.png"):
        picture(tmp_path / name)
        other = (tmp_path / name).parent.with_name("same")
        other.symlink_to(tmp_path / Path(name).parent, target_is_directory=True)
    assert list_folder(tmp_path).paths == [
        "train/cat/1.png", "train/same/1.png", "test/cat/2.png", "test/same/2.png",
    ]  # fmt: skip


def test_order_does_not_depend_on_creation(tmp_path: Path) -> None:
    names = [f"{top}/{number}.png" for top in ("b", "a", "c/d", "c") for number in (10, 9, 1)]
    for place, order in (("one", names), ("two", names[::-1])):
        for name in order:
            picture(tmp_path / place / name, size=(2, 2))
    one, two = list_folder(tmp_path / "one"), list_folder(tmp_path / "two")
    assert one.paths == two.paths
    assert one.paths[:4] == ["a/1.png", "a/10.png", "a/9.png", "b/1.png"]
    assert one.paths[6:] == [
        "c/1.png", "c/10.png", "c/9.png", "c/d/1.png", "c/d/10.png", "c/d/9.png",
    ]  # fmt: skip


def test_hidden_names_are_passed_over(tmp_path: Path) -> None:
    for name in ("cat/1.png", "cat/._1.png", ".thumbs/1.png", "dog/1.png"):
        picture(tmp_path / name)
    assert list_folder(tmp_path).paths == ["cat/1.png", "dog/1.png"]


@pytest.mark.fault(46)
def test_names_that_differ_by_case_are_different_classes(tmp_path: Path) -> None:
    for name in ("Cat/1.png", "cat/1.png", "CAT/1.png"):
        picture(tmp_path / name)
    if len(os.listdir(tmp_path)) < 3:
        pytest.skip("this file system folds case")
    assert list_folder(tmp_path).class_names == ("CAT", "Cat", "cat")


@pytest.mark.fault(47)
@pytest.mark.timeout(60)
def test_link_loops_end(tmp_path: Path) -> None:
    picture(tmp_path / "cat" / "1.png")
    picture(tmp_path / "dog" / "1.png")
    (tmp_path / "cat" / "again").symlink_to(tmp_path / "cat", target_is_directory=True)
    (tmp_path / "cat" / "up").symlink_to(tmp_path, target_is_directory=True)
    (tmp_path / "dog" / "over").symlink_to(tmp_path / "cat", target_is_directory=True)
    (tmp_path / "dog" / "self.png").symlink_to(tmp_path / "dog" / "self.png")
    (tmp_path / "dog" / "self").symlink_to(tmp_path / "dog" / "self")
    found = list_folder(tmp_path)
    assert [path for path in found.paths if path.startswith("cat")] == ["cat/1.png"]
    assert found.paths[1:] == ["dog/1.png", "dog/self.png", "dog/over/1.png"]
    assert found.sizes[2] == UNREADABLE


@pytest.mark.timeout(60)
def test_a_pipe_named_like_an_image_does_not_block(tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    os.mkfifo(tmp_path / "b.png")
    found = list_folder(tmp_path)
    _, broken = _decode.measure(found)
    assert broken == {1: "not a regular file, or a link to nothing"}


def test_key_follows_names_sizes_times_and_place(tmp_path: Path) -> None:
    picture(tmp_path / "one" / "a.png")
    before = list_folder(tmp_path / "one").key()
    assert list_folder(tmp_path / "one").key() == before
    assert list_folder(tmp_path / "one").key(64) != before

    os.utime(tmp_path / "one" / "a.png", ns=(1, 1))
    touched = list_folder(tmp_path / "one").key()
    assert touched != before
    os.rename(tmp_path / "one" / "a.png", tmp_path / "one" / "b.png")
    renamed = list_folder(tmp_path / "one").key()
    assert renamed not in (before, touched)
    os.rename(tmp_path / "one", tmp_path / "two")
    assert list_folder(tmp_path / "two").key() != renamed


@pytest.mark.parametrize(
    ("names", "splits"),
    [
        (("Train", "Test"), {"Train": 0, "Test": 1}),
        (("train", "valid"), {"train": 0, "valid": 1}),
        (("training", "validation"), {"training": 0, "validation": 1}),
        (("TRAIN", "testing", "dev"), {"TRAIN": 0, "testing": 1, "dev": 0}),
        (("training_set", "test_set"), {"training_set": 0, "test_set": 1}),
        (("train2017", "val2017"), {"train2017": 0, "val2017": 1}),
        (("validation",), {"validation": 0}),
        (("train", "eval"), {"train": 0, "eval": 1}),
        (("Training", "hold-out", "evaluation"), {"Training": 0, "hold-out": 1, "evaluation": 0}),
    ],
)
def test_usual_names_of_splits_are_no_classes(
    tmp_path: Path, names: tuple[str, ...], splits: dict[str, int]
) -> None:
    for name in names:
        for kind in ("cat", "dog"):
            picture(tmp_path / name / kind / "1.png")
    (tmp_path / "annotations").mkdir()  # holds no image
    found = list_folder(tmp_path)
    assert found.class_names == ("cat", "dog")
    assert found.split.tolist() == [splits[path.split("/")[0]] for path in found.paths]
    assert held_out(found.paths).tolist() == (found.split == TEST).tolist()


def test_splits_beside_other_folders_are_asked_about(tmp_path: Path) -> None:
    for name in ("train/cat/1.png", "valid/cat/1.png", "more/cat/1.png"):
        picture(tmp_path / name)
    with pytest.raises(InputError, match=r"'train', 'valid' in .* splits, and 'more' beside them"):
        list_folder(tmp_path)


def test_a_class_may_be_named_as_a_split_is(tmp_path: Path) -> None:
    """Vehicles: the train among them is a class, and a note says so."""
    for name in ("bus/1.png", "train/1.png", "car/1.png"):
        picture(tmp_path / name)
    found = list_folder(tmp_path)
    assert found.class_names == ("bus", "car", "train")
    assert found.notes == ("'train' is taken for a class, as 'bus' beside it is no split",)


@pytest.mark.parametrize(
    "name", ["trainer", "tests", "value", "latest", "training wheels", "devil", "evil"]
)
def test_other_names_are_no_splits(name: str) -> None:
    assert split_named(name) is None


def test_suffixes_that_are_not_known_are_read_by_content_or_told(tmp_path: Path) -> None:
    """Eight of ten pictures were left out in silence."""
    for number, kind in enumerate(("JPEG", "PNG", "GIF", "WEBP", "AVIF", "JPEG2000")):
        picture(tmp_path / "x.png", (40 * number, 0, 0), (16, 16))
        with Image.open(tmp_path / "x.png") as image:
            image.save(tmp_path / f"{number}.picture", kind)
    for name in ("6.jfif", "7.JPE", "8.avif"):
        picture(tmp_path / name)
    (tmp_path / "x.png").rename(tmp_path / "9")
    (tmp_path / "cut.picture").write_bytes((tmp_path / "1.picture").read_bytes()[:10])
    (tmp_path / "a.heic").write_bytes(b"\0\0\0\x18ftypheic")
    (tmp_path / "b.heic").write_bytes(b"\0\0\0\x18ftypmif1")  # AVIF files may begin so too
    (tmp_path / "raw.nef").write_bytes(b"II*\0" + bytes(100))  # as TIFF files do
    (tmp_path / "empty").touch()
    (tmp_path / "labels.csv").write_text("a,b")
    found = list_folder(tmp_path)
    assert found.paths == [*(f"{n}.picture" for n in range(6)), "6.jfif", "7.JPE", "8.avif", "9"]
    by_content, left_out = found.notes
    assert by_content == "7 files are images by their content: 6 .picture, 1 no extension"
    assert left_out.startswith("5 files are left out, as they are no images that can be read: ")
    assert "2 .heic" in left_out
    assert "1 .nef" in left_out
    assert left_out.endswith("(pip install pillow-heif reads .heic)")
    images = np.zeros((10, 3, 16, 16), np.uint8)
    broken: dict[int, str] = {}
    _decode.decode(found, images, broken)
    assert broken == {}
    assert np.abs(images[:6, 0].mean((1, 2)) - 40 * np.arange(6)).max() < 4


def test_a_format_is_read_where_a_plugin_for_it_is_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As pillow-heif registers itself: a format of Pillow, with its suffixes."""
    monkeypatch.setitem(Image.OPEN, "HEIF", (BmpImageFile, lambda start: start[8:12] == b"heic"))
    monkeypatch.setitem(Image.EXTENSION, ".heic", "HEIF")
    for known in (_formats.readable, _formats.suffixes):
        known.cache_clear()
    (tmp_path / "a.heic").write_bytes(b"\0\0\0\x18ftypheic")
    try:
        assert list_folder(tmp_path).paths == ["a.heic"]
    finally:
        monkeypatch.undo()
        for known in (_formats.readable, _formats.suffixes):
            known.cache_clear()


def test_a_picture_changed_in_place_is_another_listing(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(b"one")
    before, about = list_folder(tmp_path).key(), path.stat()
    path.write_bytes(b"two")
    os.utime(path, ns=(about.st_atime_ns, about.st_mtime_ns))
    assert (path.stat().st_mtime_ns, path.stat().st_size) == (about.st_mtime_ns, about.st_size)
    assert list_folder(tmp_path).key() != before


def test_all_images_below_are_listed_without_labels(tmp_path: Path) -> None:
    """For `platform predict`: rules of class folders and of splits do not hold."""
    for name in ("train/a/1.png", "test/b/1.png", "other/x/y/1.png", "1.png"):
        picture(tmp_path / name)
    (tmp_path / "empty").mkdir()
    found = list_images(tmp_path)
    assert found.paths == ["1.png", "other/x/y/1.png", "test/b/1.png", "train/a/1.png"]
    assert (found.labels, found.class_names, found.notes) == (None, None, ())
    assert found.split.tolist() == [0, 0, 0, 0]


@pytest.mark.parametrize(
    "names",
    [
        ("train/a/1.png", "test/a/1.png", "val/a/1.png"),
        ("train/a/1.png", "val/a/1.png", "val/a/x/2.png"),
        ("train/1.png", "test/1.png"),
        ("test/a/1.png", "test/b/1.png"),
        ("train/1.png", "other/1.png"),
        ("train/1.png", "test/1.png", "1.png"),
        ("a.png", "b.png"),
    ],
)
def test_paths_alone_say_what_is_held_out(tmp_path: Path, names: tuple[str, ...]) -> None:
    for name in names:
        picture(tmp_path / name)
    found = list_folder(tmp_path)
    assert held_out(found.paths).tolist() == (found.split == TEST).tolist()
