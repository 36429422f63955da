"""How an image file becomes pixels: the same rule for every file.

The first frame; turned upright by its EXIF tag; transparency over white; grey, palette and CMYK to
RGB by Pillow's conversions; 16-bit grey scaled from 0..65535 to 0..255 with no stretch per image.
Floating-point images are refused, as their range is not known. The centred square of the shorter
side's length is then resized to the stored side (bilinear, antialiased), which is resizing the
shorter side and cropping the centre.
"""

import numpy as np
from PIL import ExifTags, Image

SIDES = (256, 96, 64, 32)  # stored sides for images of differing sizes, largest first

_TURNS = {  # EXIF's values of orientation
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def view_side(side: int) -> int:
    """The side networks see of a stored side: 224 of 256, as for ImageNet, otherwise all of it."""
    return 224 if side == 256 else side


def stored_side(sizes: np.ndarray) -> int:
    """The stored side for images of `sizes` (n, 2) in pixels.

    Equal squares of 8 to 256 keep their side. Otherwise it is the largest of SIDES that is not
    above the median shorter side, and at least 32.
    """
    first = int(sizes[0, 0])
    if 8 <= first <= SIDES[0] and bool((sizes == first).all()):
        return first
    median = float(np.median(sizes.min(axis=1)))
    return next((side for side in SIDES if side <= median), SIDES[-1])


def pixels(image: Image.Image, side: int) -> np.ndarray:
    """An opened image as uint8 (3, side, side), by the rules at the top of this file.

    Raises:
        ValueError: its values have no known range.
    """
    upright = to_rgb(turned(image))
    width, height = upright.size
    if (width, height) != (side, side):
        short = min(width, height)
        left, upper = (width - short) / 2, (height - short) / 2
        upright = upright.resize(
            (side, side), Image.Resampling.BILINEAR, box=(left, upper, left + short, upper + short)
        )
    return np.asarray(upright).transpose(2, 0, 1)


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


def resized(images: np.ndarray, side: int) -> np.ndarray:
    """Stored squares, uint8 (n, 3, S, S), at another side, by the rule for files."""
    if images.shape[-1] == side:
        return np.ascontiguousarray(images)
    return np.stack([pixels(Image.fromarray(image.transpose(1, 2, 0)), side) for image in images])
