"""Which files are images: formats of pictures, by the suffix of a name or by the first bytes.

Pillow knows more formats than these. Some of them run another program (EPS) or hold no picture that
can be decoded (stubs), and some have no signature, so that any file could be taken for one.
"""

import contextlib
from collections.abc import Mapping
from functools import cache

from PIL import Image

#: Formats that files are read as, by their names in Pillow. HEIF needs the package pillow-heif.
FORMATS = (
    "JPEG", "MPO", "PNG", "GIF", "WEBP", "TIFF", "BMP", "DIB", "PPM", "JPEG2000", "AVIF", "HEIF",
)  # fmt: skip
#: For messages.
USUAL = ".jpg, .jpeg, .png, .gif, .webp, .tif, .bmp or another one that Pillow reads"

#: Those whose first bytes no other file has. Cameras' raw files begin as TIFF does.
_SIGNED = ("JPEG", "PNG", "GIF", "WEBP", "JPEG2000", "AVIF", "HEIF")
_START = 32  # bytes


@cache
def readable() -> tuple[str, ...]:
    """Those of FORMATS that this installation reads."""
    with contextlib.suppress(ImportError):
        import pillow_heif

        pillow_heif.register_heif_opener()
    Image.init()
    return tuple(name for name in FORMATS if name in Image.OPEN)


@cache
def suffixes() -> tuple[str, ...]:
    """Suffixes of image files that can be read, in lower case."""
    known: Mapping[str, str] = Image.registered_extensions()
    return tuple(suffix for suffix, name in known.items() if name in readable())


def is_image(path: str) -> bool:
    """Whether a regular file begins as an image does that can be read."""
    with contextlib.suppress(Exception):  # a plugin raises anything about what is no image
        with open(path, "rb") as file:
            start = file.read(_START)
        signed = [name for name in _SIGNED if name in readable()]
        alike = [
            name for name in signed if (accept := Image.OPEN[name][1]) and accept(start) is True
        ]
        if alike:
            with Image.open(path, formats=alike):
                return True
    return False


def missing(suffix: str) -> str:
    """What would make files of a suffix readable; empty where that is not known."""
    heif = suffix in (".heic", ".heif", ".hif")
    return f"pip install pillow-heif reads {suffix}" if heif else ""
