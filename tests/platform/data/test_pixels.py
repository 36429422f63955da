"""How a file becomes pixels."""

import struct
import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from deep_clustering.platform.data import pixels as rule


def picture(path: Path, colour: object = (200, 30, 60), size: tuple[int, int] = (32, 32)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, colour).save(path)  # type: ignore[arg-type]
    return path


def pixels(path: Path, side: int = 4) -> np.ndarray:
    with Image.open(path) as image:
        return rule.pixels(rule.upright(image), side)


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


@pytest.mark.fault(45)
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


@pytest.mark.fault(45)
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


@pytest.mark.fault(45)
def test_cmyk(tmp_path: Path) -> None:
    Image.new("CMYK", (8, 8), (0, 255, 255, 0)).save(tmp_path / "a.jpg", quality=100)
    red, green, blue = pixels(tmp_path / "a.jpg")[:, 0, 0].astype(int)
    assert red > 250
    assert green < 5
    assert blue < 5


@pytest.mark.fault(45)
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


@pytest.mark.fault(45)
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


@pytest.mark.parametrize(
    ("odd", "turned"),
    [
        ((0x0100, 2, 2, b"a\0\0\0"), True),  # the width as text: it cannot be written anew
        ((0x0102, 2, 3, b"ab\0\0"), True),
        ((0x8769, 4, 1, b"\xff\xff\0\0"), True),  # points behind the end
        ((0x0112, 2, 2, b"6\0\0\0"), False),  # the orientation itself as text
        ((0x0112, 3, 1, b"\x0b\0\0\0"), False),  # there is no such orientation
    ],
)
def test_a_whole_photo_with_an_odd_tag_is_read(
    tmp_path: Path, odd: tuple[int, int, int, bytes], turned: bool
) -> None:
    """Each tag of EXIF: its number, type, count and value."""
    tags = [(0x0112, 3, 1, b"\6\0\0\0"), odd] if turned else [odd]
    body = b"".join(struct.pack("<HHI4s", *tag) for tag in tags)
    exif = b"Exif\0\0" + struct.pack("<2sHIH", b"II", 42, 8, len(tags)) + body + bytes(4)
    array = np.zeros((16, 16, 3), np.uint8)
    array[:, :8] = 255  # the left half is white; a quarter turn clockwise brings it to the top
    Image.fromarray(array).save(tmp_path / "a.png", exif=exif)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's remarks about the tags
        out = pixels(tmp_path / "a.png", 16)
    assert np.array_equal(out[0], array[..., 0].T if turned else array[..., 0])


def test_turns_are_those_of_pillow(tmp_path: Path) -> None:
    array = np.random.default_rng(0).integers(0, 256, (6, 6, 3), dtype=np.uint8)
    for orientation in range(10):
        exif = Image.Exif()
        exif[0x0112] = orientation
        Image.fromarray(array).save(tmp_path / "a.png", exif=exif)
        with Image.open(tmp_path / "a.png") as image:
            expected = np.asarray(ImageOps.exif_transpose(image)).transpose(2, 0, 1)
        assert np.array_equal(pixels(tmp_path / "a.png", 6), expected)


@pytest.mark.fault(45)
@pytest.mark.parametrize("kind", ["gif", "webp", "tif"])
def test_first_frame_of_several(tmp_path: Path, kind: str) -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    options = {"lossless": True} if kind == "webp" else {}
    frames[0].save(tmp_path / f"a.{kind}", save_all=True, append_images=frames[1:], **options)  # type: ignore[arg-type]
    assert pixels(tmp_path / f"a.{kind}")[:, 0, 0].tolist() == [255, 0, 0]


def test_whole_pictures_are_kept_pixel_by_pixel_where_they_fit(tmp_path: Path) -> None:
    array = np.random.default_rng(0).integers(0, 256, (270, 300, 3), dtype=np.uint8)
    Image.fromarray(array).save(tmp_path / "a.png")
    assert np.array_equal(pixels(tmp_path / "a.png", 300), array.transpose(2, 0, 1))
    shorter = Image.fromarray(array).resize((280, 270), Image.Resampling.BILINEAR)
    assert np.array_equal(pixels(tmp_path / "a.png", 280), np.asarray(shorter).transpose(2, 0, 1))
    assert pixels(tmp_path / "a.png", 256).shape == (3, 256, 256)
    assert pixels(tmp_path / "a.png", 255).shape == (3, 255, 255)  # a centred square


@pytest.mark.parametrize("side", [8, 12, 30])
def test_squares_change_their_side_as_files_do(side: int, tmp_path: Path) -> None:
    stored = np.random.default_rng(0).integers(0, 256, (3, 3, 12, 12), dtype=np.uint8)
    found = rule.squares(stored, None, side)
    assert found.shape == (3, 3, side, side)
    for number, square in enumerate(stored):
        path = tmp_path / f"{number}.png"
        Image.fromarray(square.transpose(1, 2, 0)).save(path)
        assert np.array_equal(found[number], pixels(path, side))
    # with antialiasing: half the side is near the mean of four pixels, not one of them
    means = stored.reshape(3, 3, 6, 2, 6, 2).mean((3, 5))
    assert np.abs(rule.squares(stored, None, 6) - means).mean() < 20


def test_squares_of_whole_pictures_are_those_of_their_files() -> None:
    generator = np.random.default_rng(0)
    shapes = [(260, 200), (100, 260), (150, 150), (400, 200)]  # the last one is shortened
    files = [
        Image.fromarray(generator.integers(0, 256, (5, 5, 3), dtype=np.uint8)).resize(
            (width, height), Image.Resampling.BICUBIC
        )
        for height, width in shapes
    ]
    stored = np.full((4, 3, 260, 260), 255, np.uint8)  # what lies beside a picture is not looked at
    for image, place in zip(files, stored, strict=True):
        found = rule.pixels(image, 260)
        place[:, : found.shape[1], : found.shape[2]] = found
    squares = rule.squares(stored, np.array(shapes), 64).astype(int)
    expected = np.stack([rule.pixels(image, 64) for image in files]).astype(int)
    assert np.array_equal(squares[:3], expected[:3])
    assert np.abs(squares - expected).max() <= 2
