"""What a folder's layout means, and how each kind of image file becomes pixels."""

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from deep_clustering.platform.data import _folder
from deep_clustering.platform.data._cache import TEST
from deep_clustering.platform.errors import InputError


def picture(path: Path, colour: object = (200, 30, 60), size: tuple[int, int] = (32, 32)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, colour).save(path)  # type: ignore[arg-type]
    return path


def pixels(path: Path, side: int = 4) -> np.ndarray:
    with Image.open(path) as image:
        return _folder.pixels(image, side)


# --- layout --------------------------------------------------------------------------------------


def test_images_directly_in_the_folder_have_no_labels(tmp_path: Path) -> None:
    for name in ("b.png", "a.JPG", "c.webp"):
        picture(tmp_path / name)
    (tmp_path / "readme.txt").write_text("no image")
    found = _folder.listing(tmp_path)
    assert found.paths == ["a.JPG", "b.png", "c.webp"]
    assert found.labels is None
    assert found.class_names is None
    assert found.notes == ()


def test_first_level_folders_are_classes_whatever_lies_below(tmp_path: Path) -> None:
    for name in ("dog/1.png", "cat/deep/er/2.png", "cat/1.png"):
        picture(tmp_path / name)
    found = _folder.listing(tmp_path)
    assert found.paths == ["cat/1.png", "cat/deep/er/2.png", "dog/1.png"]
    assert found.class_names == ("cat", "dog")
    assert found.labels is not None
    assert found.labels.tolist() == [0, 0, 1]


def test_images_beside_folders_switch_labels_off_and_say_so(tmp_path: Path) -> None:
    for name in ("x.png", "cat/1.png", "dog/1.png"):
        picture(tmp_path / name)
    found = _folder.listing(tmp_path)
    assert found.labels is None
    assert len(found.paths) == 3
    assert "1 images lie beside the sub-folders" in found.notes[0]


def test_split_folders_are_merged_train_first(tmp_path: Path) -> None:
    for name in ("train/b/1.png", "train/a/1.png", "test/a/1.png", "test/b/1.png", "test/b/2.png"):
        picture(tmp_path / name)
    found = _folder.listing(tmp_path)
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
    found = _folder.listing(tmp_path)
    assert found.class_names == ("a", "b")
    for path, number in zip(found.paths, found.split, strict=True):
        assert number == split[path.split("/")[0]]


def test_split_folders_without_classes_have_no_labels(tmp_path: Path) -> None:
    for name in ("train/1.png", "train/2.png", "test/1.png"):
        picture(tmp_path / name)
    found = _folder.listing(tmp_path)
    assert found.labels is None
    assert found.split.tolist() == [0, 0, 1]


def test_splits_with_different_classes_are_refused(tmp_path: Path) -> None:
    for name in ("train/cat/1.png", "train/dog/1.png", "test/cat/1.png", "test/cow/1.png"):
        picture(tmp_path / name)
    with pytest.raises(InputError, match="'test' lacks 'dog'; 'train' lacks 'cow'"):
        _folder.listing(tmp_path)


def test_an_empty_class_folder_is_refused_by_name(tmp_path: Path) -> None:
    picture(tmp_path / "cat" / "1.png")
    (tmp_path / "dog").mkdir()
    (tmp_path / "cow").mkdir()
    (tmp_path / "cow" / "list.txt").write_text("")
    with pytest.raises(InputError, match="2 hold none: 'cow', 'dog'; remove them"):
        _folder.listing(tmp_path)


def test_an_empty_class_folder_of_a_split_is_refused_by_name(tmp_path: Path) -> None:
    for name in ("train/cat/1.png", "train/dog/1.png", "test/cat/1.png"):
        picture(tmp_path / name)
    (tmp_path / "test" / "dog").mkdir()
    with pytest.raises(InputError, match="1 hold none: 'test/dog'"):
        _folder.listing(tmp_path)


def test_no_image_says_what_was_found_and_what_was_looked_for(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "a.heic").write_bytes(b"x")
    (tmp_path / "b.heic").write_bytes(b"x")
    (tmp_path / "sub" / "noext").write_bytes(b"x")
    with pytest.raises(InputError) as error:
        _folder.listing(tmp_path)
    assert "1 sub-folders and other files (2 .heic, 1 no extension)" in str(error.value)
    assert ".jpg, .jpeg" in str(error.value)


def test_one_class_is_allowed_and_noted(tmp_path: Path) -> None:
    picture(tmp_path / "only" / "1.png")
    found = _folder.listing(tmp_path)
    assert found.class_names == ("only",)
    assert "one class, 'only'" in found.notes[0]


def test_a_class_that_is_a_link_to_another_keeps_its_images(tmp_path: Path) -> None:
    for name in ("train/cat/1.png", "test/cat/2.png"):
        picture(tmp_path / name)
        other = (tmp_path / name).parent.with_name("same")
        other.symlink_to(tmp_path / Path(name).parent, target_is_directory=True)
    assert _folder.listing(tmp_path).paths == [
        "train/cat/1.png", "train/same/1.png", "test/cat/2.png", "test/same/2.png",
    ]  # fmt: skip


def test_order_does_not_depend_on_creation(tmp_path: Path) -> None:
    names = [f"{top}/{number}.png" for top in ("b", "a", "c/d", "c") for number in (10, 9, 1)]
    for place, order in (("one", names), ("two", names[::-1])):
        for name in order:
            picture(tmp_path / place / name, size=(2, 2))
    one, two = _folder.listing(tmp_path / "one"), _folder.listing(tmp_path / "two")
    assert one.paths == two.paths
    assert one.paths[:4] == ["a/1.png", "a/10.png", "a/9.png", "b/1.png"]
    assert one.paths[6:] == [
        "c/1.png", "c/10.png", "c/9.png", "c/d/1.png", "c/d/10.png", "c/d/9.png",
    ]  # fmt: skip


def test_hidden_names_are_passed_over(tmp_path: Path) -> None:
    for name in ("cat/1.png", "cat/._1.png", ".thumbs/1.png", "dog/1.png"):
        picture(tmp_path / name)
    assert _folder.listing(tmp_path).paths == ["cat/1.png", "dog/1.png"]


def test_names_that_differ_by_case_are_different_classes(tmp_path: Path) -> None:
    for name in ("Cat/1.png", "cat/1.png", "CAT/1.png"):
        picture(tmp_path / name)
    if len(os.listdir(tmp_path)) < 3:
        pytest.skip("this file system folds case")
    assert _folder.listing(tmp_path).class_names == ("CAT", "Cat", "cat")


@pytest.mark.timeout(10)
def test_link_loops_end(tmp_path: Path) -> None:
    picture(tmp_path / "cat" / "1.png")
    picture(tmp_path / "dog" / "1.png")
    (tmp_path / "cat" / "again").symlink_to(tmp_path / "cat", target_is_directory=True)
    (tmp_path / "cat" / "up").symlink_to(tmp_path, target_is_directory=True)
    (tmp_path / "dog" / "over").symlink_to(tmp_path / "cat", target_is_directory=True)
    (tmp_path / "dog" / "self.png").symlink_to(tmp_path / "dog" / "self.png")
    (tmp_path / "dog" / "self").symlink_to(tmp_path / "dog" / "self")
    found = _folder.listing(tmp_path)
    assert [path for path in found.paths if path.startswith("cat")] == ["cat/1.png"]
    assert found.paths[1:] == ["dog/1.png", "dog/self.png", "dog/over/1.png"]
    assert found.sizes[2] == _folder.UNREADABLE


@pytest.mark.timeout(10)
def test_a_pipe_named_like_an_image_does_not_block(tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    os.mkfifo(tmp_path / "b.png")
    found = _folder.listing(tmp_path)
    _, broken = _folder.measure(found)
    assert broken == {1: "not a regular file, or a link to nothing"}


def test_key_follows_names_sizes_times_and_place(tmp_path: Path) -> None:
    picture(tmp_path / "one" / "a.png")
    before = _folder.listing(tmp_path / "one").key()
    assert _folder.listing(tmp_path / "one").key() == before
    assert _folder.listing(tmp_path / "one").key(64) != before

    os.utime(tmp_path / "one" / "a.png", ns=(1, 1))
    touched = _folder.listing(tmp_path / "one").key()
    assert touched != before
    os.rename(tmp_path / "one" / "a.png", tmp_path / "one" / "b.png")
    renamed = _folder.listing(tmp_path / "one").key()
    assert renamed not in (before, touched)
    os.rename(tmp_path / "one", tmp_path / "two")
    assert _folder.listing(tmp_path / "two").key() != renamed


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
    found = _folder.listing(tmp_path)
    assert _folder.held_out(found.paths).tolist() == (found.split == TEST).tolist()


# --- stored side ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sizes", "side"),
    [
        ([(28, 28), (28, 28)], 28),  # equal squares keep their side
        ([(256, 256)], 256),
        ([(8, 8)], 8),
        ([(6, 6)], 32),  # too small for any network
        ([(512, 512), (512, 512)], 256),
        ([(28, 28), (30, 30)], 32),  # not below 32
        ([(100, 300), (96, 97), (90, 90)], 96),  # median shorter side 96
        ([(95, 300), (95, 97)], 64),
        ([(640, 255), (480, 255)], 96),
        ([(640, 480), (500, 375), (40, 40)], 256),
    ],
)
def test_stored_side(sizes: list[tuple[int, int]], side: int) -> None:
    assert _folder.stored_side(np.array(sizes)) == side


# --- pixels --------------------------------------------------------------------------------------


def test_rgb_is_kept_bit_for_bit(tmp_path: Path) -> None:
    array = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    Image.fromarray(array).save(tmp_path / "a.png")
    assert np.array_equal(pixels(tmp_path / "a.png", 8), array.transpose(2, 0, 1))


def test_centre_square_is_taken(tmp_path: Path) -> None:
    # 12 wide, 4 high: black, white, black thirds; the centre square is the white third.
    array = np.zeros((4, 12, 3), np.uint8)
    array[:, 4:8] = 255
    Image.fromarray(array).save(tmp_path / "a.png")
    assert (pixels(tmp_path / "a.png", 4) == 255).all()


def test_shrinking_is_antialiased(tmp_path: Path) -> None:
    # A checkerboard of single pixels shrunk by 8 is grey; without averaging it would be 0 or 255.
    board = (np.indices((64, 64)).sum(0) % 2 * 255).astype(np.uint8)
    Image.fromarray(board).save(tmp_path / "a.png")
    assert np.abs(pixels(tmp_path / "a.png", 8).astype(int) - 127).max() <= 2


def test_resize_equals_resizing_the_shorter_side_and_cropping(tmp_path: Path) -> None:
    array = np.random.default_rng(1).integers(0, 256, (60, 120, 3), dtype=np.uint8)
    Image.fromarray(array).save(tmp_path / "a.png")
    resized = Image.fromarray(array).resize((60, 30), Image.Resampling.BILINEAR)
    expected = np.asarray(resized.crop((15, 0, 45, 30))).transpose(2, 0, 1)
    assert np.abs(pixels(tmp_path / "a.png", 30).astype(int) - expected).max() <= 1


def test_grey_is_copied_to_three_channels(tmp_path: Path) -> None:
    Image.new("L", (4, 4), 77).save(tmp_path / "a.png")
    assert (pixels(tmp_path / "a.png") == 77).all()


def test_one_bit(tmp_path: Path) -> None:
    Image.new("1", (4, 4), 1).save(tmp_path / "a.png")
    assert (pixels(tmp_path / "a.png") == 255).all()


def test_transparency_lies_over_white(tmp_path: Path) -> None:
    Image.new("RGBA", (4, 4), (255, 0, 0, 0)).save(tmp_path / "clear.png")
    Image.new("RGBA", (4, 4), (100, 0, 200, 128)).save(tmp_path / "half.png")
    Image.new("LA", (4, 4), (10, 0)).save(tmp_path / "grey.png")
    assert (pixels(tmp_path / "clear.png") == 255).all()
    assert (pixels(tmp_path / "grey.png") == 255).all()
    # alpha 128/255: 0.498 * 255 = 127 of white shows through
    half = pixels(tmp_path / "half.png")[:, 0, 0].astype(int)
    assert np.abs(half - [177, 127, 227]).max() <= 1


def test_palette_with_and_without_transparency(tmp_path: Path) -> None:
    image = Image.new("P", (4, 4), 1)
    image.putpalette([0, 0, 0, 10, 20, 30])
    image.save(tmp_path / "plain.png")
    image.save(tmp_path / "clear.png", transparency=1)
    image.save(tmp_path / "bytes.png", transparency=b"\xff\x00")
    assert pixels(tmp_path / "plain.png")[:, 0, 0].tolist() == [10, 20, 30]
    assert (pixels(tmp_path / "clear.png") == 255).all()
    assert (pixels(tmp_path / "bytes.png") == 255).all()


def test_rgb_with_a_transparent_colour(tmp_path: Path) -> None:
    Image.new("RGB", (4, 4), (9, 8, 7)).save(tmp_path / "a.png", transparency=(9, 8, 7))
    assert (pixels(tmp_path / "a.png") == 255).all()


def test_cmyk(tmp_path: Path) -> None:
    Image.new("CMYK", (8, 8), (0, 255, 255, 0)).save(tmp_path / "a.jpg", quality=100)
    red, green, blue = pixels(tmp_path / "a.jpg")[:, 0, 0].astype(int)
    assert red > 250
    assert green < 5
    assert blue < 5


@pytest.mark.parametrize("kind", ["png", "tif"])
def test_sixteen_bit_grey_is_scaled_without_stretching(tmp_path: Path, kind: str) -> None:
    values = np.array([[0, 257], [257 * 100, 65535]], np.uint16)
    Image.fromarray(values).save(tmp_path / f"a.{kind}")
    out = pixels(tmp_path / f"a.{kind}", 2)
    assert out[0].tolist() == [[0, 1], [100, 255]]
    assert (out[0] == out[2]).all()


def test_thirty_two_bit_values_out_of_range_are_refused(tmp_path: Path) -> None:
    Image.fromarray(np.array([[0, 70000]] * 2, np.int32)).save(tmp_path / "a.tif")
    with pytest.raises(ValueError, match=r"outside 0\.\.65535"):
        pixels(tmp_path / "a.tif", 2)


def test_floating_point_values_are_refused(tmp_path: Path) -> None:
    Image.fromarray(np.zeros((2, 2), np.float32)).save(tmp_path / "a.tif")
    with pytest.raises(ValueError, match="no known range"):
        pixels(tmp_path / "a.tif", 2)


def test_exif_orientation_is_applied(tmp_path: Path) -> None:
    # Left half white; orientation 6 asks for a quarter turn clockwise, which brings it to the top.
    array = np.zeros((16, 16, 3), np.uint8)
    array[:, :8] = 255
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(array).save(tmp_path / "a.png", exif=exif)
    out = pixels(tmp_path / "a.png", 16)
    assert (out[:, :8] == 255).all()
    assert (out[:, 8:] == 0).all()


@pytest.mark.parametrize("kind", ["gif", "webp", "tif"])
def test_first_frame_of_several(tmp_path: Path, kind: str) -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    options = {"lossless": True} if kind == "webp" else {}
    frames[0].save(tmp_path / f"a.{kind}", save_all=True, append_images=frames[1:], **options)  # type: ignore[arg-type]
    assert pixels(tmp_path / f"a.{kind}")[:, 0, 0].tolist() == [255, 0, 0]


# --- damaged files -------------------------------------------------------------------------------


def test_each_damage_has_a_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "a_good.png")
    Image.fromarray(noise).save(tmp_path / "b_cut.jpg")
    Image.fromarray(noise).save(tmp_path / "c_cut.png")
    for name in ("b_cut.jpg", "c_cut.png"):
        data = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(data[: len(data) // 2])
    (tmp_path / "d_empty.png").touch()
    (tmp_path / "e_text.png").write_text("hello")
    (tmp_path / "f_gone.png").symlink_to(tmp_path / "nowhere.png")
    picture(tmp_path / "g_huge.png", size=(70, 70))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 64 * 64)

    found = _folder.listing(tmp_path)
    images = np.zeros((len(found.paths), 3, 64, 64), np.uint8)
    broken: dict[int, str] = {}
    _folder.decode(found, images, broken)
    reasons = {found.paths[index]: reason for index, reason in broken.items()}
    assert sorted(reasons) == sorted(found.paths[1:])
    assert "truncated" in reasons["b_cut.jpg"]
    assert reasons["c_cut.png"]
    assert reasons["d_empty.png"] == "empty file"
    assert reasons["e_text.png"] == "not an image that Pillow knows"
    assert reasons["f_gone.png"] == "not a regular file, or a link to nothing"
    assert reasons["g_huge.png"] == "more than Pillow's limit of 4,096 pixels"
    assert np.array_equal(images[0], noise.transpose(2, 0, 1))


def test_progress_reaches_the_total(tmp_path: Path) -> None:
    for number in range(130):
        picture(tmp_path / f"{number:03}.png", size=(2, 2))
    seen: list[tuple[int, int]] = []
    _folder.measure(_folder.listing(tmp_path), lambda done, total: seen.append((done, total)))
    assert seen == [(64, 130), (128, 130), (130, 130)]
