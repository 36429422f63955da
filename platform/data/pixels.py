"""How an image file becomes pixels: the same rule for every file.

The first frame; turned upright by its EXIF tag; transparency over white; grey, palette and CMYK to
RGB by Pillow's conversions; 16-bit grey scaled from 0..65535 to 0..255 with no stretch per image.
Floating-point images are refused, as their range is not known. How large they are stored
is in `sides`.
"""

import numpy as np
from PIL import ExifTags, Image

from deep_clustering.platform.data.sides import WHOLE

_TURNS = {  # EXIF's values of orientation
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def upright(image: Image.Image) -> Image.Image:
    """An opened image in RGB, by the rules at the top of this file.

    Raises:
        ValueError: its values have no known range.
    """
    return to_rgb(turned(image))


def pixels(image: Image.Image, side: int) -> np.ndarray:
    """What is stored of an upright image: its centred square, or all of it from WHOLE on.

    Returns:
        uint8 (3, h, w), with h and w equal to `side`, or at most that.
    """
    if side < WHOLE:
        return _square(image, image.size, side)
    size = min(image.width, side), min(image.height, side)
    if size != image.size:
        image = image.resize(size, Image.Resampling.BILINEAR)
    return np.asarray(image).transpose(2, 0, 1)


def _square(image: Image.Image, size: tuple[int, int], side: int) -> np.ndarray:
    """The centred square of an image whose file has `size`: width and height."""
    if image.size != (side, side):
        short = min(size)
        across, down = image.width / size[0], image.height / size[1]
        left, upper = (size[0] - short) / 2 * across, (size[1] - short) / 2 * down
        box = (left, upper, left + short * across, upper + short * down)
        image = image.resize((side, side), Image.Resampling.BILINEAR, box=box)
    return np.asarray(image).transpose(2, 0, 1)


def turned(image: Image.Image) -> Image.Image:
    """The image as its EXIF tag of orientation says; as it lies where that cannot be read.

    Pillow's own function also writes the tags anew, which fails for a whole photo with an odd one.
    """
    image.load()
    try:
        orientation = image.getexif().get(ExifTags.Base.Orientation)
    except Exception:  # tags that are damaged; the pixels are whole
        return image
    turn = _TURNS.get(orientation) if isinstance(orientation, int) else None
    return image if turn is None else image.transpose(turn)


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


def squares(images: np.ndarray, sizes: np.ndarray | None, side: int) -> np.ndarray:
    """The centred squares of stored pictures at a side, uint8 (n, 3, side, side), as for files.

    Args:
        images: uint8 (n, 3, S, S).
        sizes: int (n, 2), height and width of each in its file; None where all are S x S.
    """
    stored = images.shape[-1]
    if sizes is None:
        if stored == side:
            return np.ascontiguousarray(images)
        sizes = np.full((len(images), 2), stored)
    found = np.empty((len(images), 3, side, side), np.uint8)
    for number, (height, width) in enumerate(sizes.tolist()):
        seen = images[number, :, : min(height, stored), : min(width, stored)]
        found[number] = _square(Image.fromarray(seen.transpose(1, 2, 0)), (width, height), side)
    return found
