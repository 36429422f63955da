"""Plain JPEG files have Pillow's bits without Pillow, and all others are left to it."""

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from deep_clustering.platform.data import _decode, _jpeg
from deep_clustering.platform.data.folder import list_folder
from deep_clustering.platform.data.pixels import upright


def smooth(width: int, height: int, seed: int = 0) -> Image.Image:
    """A coloured picture with edges and gradients."""
    coarse = np.random.default_rng(seed).integers(0, 256, (4, 4, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)


def jpeg(image: Image.Image, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, "JPEG", **options)  # type: ignore[arg-type]
    return file.getvalue()


def by_pillow(data: bytes) -> np.ndarray | None:
    """The pixels by the house's rule for any file; None where it is refused."""
    try:
        return np.asarray(upright(Image.open(io.BytesIO(data), formats=("JPEG", "MPO"))))
    except Exception:
        return None


@pytest.mark.parametrize("quality", [10, 75, 100])
@pytest.mark.parametrize("subsampling", [0, 1, 2])
@pytest.mark.parametrize("size", [(1, 1), (32, 32), (33, 17), (64, 95)])
def test_bits_are_those_of_pillow(size: tuple[int, int], subsampling: int, quality: int) -> None:
    for mode, options in (("RGB", {"subsampling": subsampling}), ("L", {})):
        data = jpeg(smooth(*size).convert(mode), quality=quality, optimize=True, **options)
        found, expected = _jpeg.decoded(data), by_pillow(data)
        assert found is not None
        assert expected is not None
        assert np.array_equal(found, expected)
        assert _jpeg.size(data[: _jpeg.HEADER]) == size


def test_other_colours_and_restarts_too() -> None:
    for options in ({"keep_rgb": True}, {"restart_marker_blocks": 1}, {"comment": b"a"}):
        data = jpeg(smooth(40, 24), **options)
        found, expected = _jpeg.decoded(data), by_pillow(data)
        assert found is not None
        assert expected is not None
        assert np.array_equal(found, expected)


def turned() -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6
    return jpeg(smooth(8, 16), exif=exif)


@pytest.mark.parametrize(
    "make",
    [
        turned,
        lambda: jpeg(smooth(8, 8), xmp=b'<x tiff:Orientation="6"/>'),
        lambda: jpeg(smooth(8, 8), progressive=True),
        lambda: jpeg(Image.new("CMYK", (8, 8))),
        lambda: jpeg(smooth(8, 8), comment=b"a" * _jpeg.HEADER),  # its frame stands further on
        lambda: jpeg(smooth(32, 32))[:-40],
        lambda: jpeg(smooth(32, 32))[:100],
        lambda: b"\xff\xd8",
        lambda: b"",
        lambda: b"text",
    ],
)
def test_others_are_left_to_pillow(make: Callable[[], bytes]) -> None:
    assert _jpeg.decoded(make()) is None


def test_pictures_above_the_limit_are_left_to_pillow(monkeypatch: pytest.MonkeyPatch) -> None:
    data = jpeg(smooth(64, 64))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 64 * 64 - 1)
    assert _jpeg.size(data) is None
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 64 * 64)
    assert _jpeg.size(data) == (64, 64)


def test_damaged_bytes_never_make_other_pixels() -> None:
    generator = np.random.default_rng(0)
    whole = [jpeg(smooth(24, 20, 1), quality=90), jpeg(smooth(16, 16, 2).convert("L"))]
    accepted = 0
    for number in range(600):
        data = bytearray(whole[number % 2])
        for place in generator.integers(2, len(data), 1 + number % 3):
            data[place] = generator.integers(256)
        found = _jpeg.decoded(bytes(data))
        if found is not None:
            accepted += 1
            expected = by_pillow(bytes(data))
            assert expected is not None
            assert np.array_equal(found, expected)
    assert accepted > 50  # the comparison was made


def test_a_folder_of_both_kinds_is_as_by_pillow_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(12):
        data = jpeg(smooth(20 + number, 24, number), progressive=number % 3 == 0)
        (tmp_path / f"{number:02}.jpg").write_bytes(data[: -30 if number == 7 else None])
    (tmp_path / "turned.jpg").write_bytes(turned())
    listing = list_folder(tmp_path)

    def read() -> tuple[np.ndarray, np.ndarray, dict[int, str]]:
        images, broken = np.zeros((13, 3, 22, 22), np.uint8), dict[int, str]()
        return images, _decode.decode(listing, images, broken), broken

    images, sizes, broken = read()
    measured = _decode.measure(listing)
    monkeypatch.setattr(_jpeg, "usable", lambda: False)
    expected = read()
    assert np.array_equal(images, expected[0])
    assert np.array_equal(sizes, expected[1])
    assert broken == expected[2]
    assert list(broken) == [7]
    assert sizes[12].tolist() == [8, 16]  # upright: as it is seen
    assert np.array_equal(measured[0], _decode.measure(listing)[0])
