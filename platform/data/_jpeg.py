"""The plain JPEG file, which most pictures are, without what Pillow spends on each file.

Of a picture of 32 pixels Pillow takes a tenth of a millisecond, and the decoder below it a tenth of
that. So a file that surely needs nothing of Pillow's own rules is handed to that decoder,
libjpeg-turbo, at once, with the settings that Pillow gives it: the pixels are the same bits. Every
other file, and every file that the decoder finds fault with, is left to Pillow and its reasons.
"""

from functools import cache

import numpy as np
import simplejpeg
from PIL import Image, features

#: Files above it are left to Pillow, which does not hold a whole file in memory. Bytes.
LARGEST = 256 * 1024
#: Enough of a file for the header of a plain one. Bytes.
HEADER = 2048

_START_OF_FRAME = (0xC0, 0xC1)  # one scan after the other, Huffman codes
_START_OF_SCAN = 0xDA
#: Segments that neither change pixels nor hold a turn: JFIF (0xE0), Adobe's colours (0xEE), which
#: the decoder knows as well, a comment, and the tables of the decoder.
_PLAIN = frozenset((0xE0, 0xEE, 0xFE, 0xDB, 0xC4, 0xDD))
_COMPONENTS = (1, 3)  # grey, colours; four are CMYK


@cache
def usable() -> bool:
    """Whether Pillow decodes by libjpeg-turbo here, so that the bits are the same."""
    return bool(features.check_feature("libjpeg_turbo"))


def size(start: bytes) -> tuple[int, int] | None:
    """Width and height of a plain JPEG file by its first bytes; None where Pillow has to look.

    Plain is a file of one or three components of 8 bits, not progressive, without EXIF and XMP,
    which may turn a picture, and not above Pillow's limit of pixels.
    """
    if start[:2] != b"\xff\xd8":
        return None
    found, place = None, 2
    while place + 9 < len(start) and start[place] == 0xFF:
        kind = start[place + 1]
        if kind == _START_OF_SCAN:
            return found
        if kind in _START_OF_FRAME and found is None:
            found = _size_of_frame(start, place)
            if found is None:
                return None
        elif kind not in _PLAIN:
            return None
        place += 2 + int.from_bytes(start[place + 2 : place + 4], "big")
    return None


def _size_of_frame(start: bytes, place: int) -> tuple[int, int] | None:
    height = int.from_bytes(start[place + 5 : place + 7], "big")
    width = int.from_bytes(start[place + 7 : place + 9], "big")
    bits, components = start[place + 4], start[place + 9]
    limit = Image.MAX_IMAGE_PIXELS
    if bits != 8 or components not in _COMPONENTS or not width * height:
        return None
    return None if limit is not None and width * height > limit else (width, height)


def decoded(data: bytes) -> np.ndarray | None:
    """The pixels of a plain JPEG file, uint8 (height, width, 3); None where Pillow has to look.

    Args:
        data: the whole file.
    """
    if size(data[:HEADER]) is None:
        return None
    try:
        array: np.ndarray = simplejpeg.decode_jpeg(data, "RGB")
    except ValueError:  # also where the decoder only warns: Pillow decides, and says why
        return None
    return array
