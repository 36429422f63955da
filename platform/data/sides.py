"""The side at which pictures are stored, and how much of one is seen.

Stored sides below WHOLE are for small images, of which networks see all that is stored: the centred
square of the shorter side's length is resized to the stored side (bilinear, antialiased), which is
resizing the shorter side and cropping the centre.

From WHOLE on a stored square keeps the whole picture, as networks see random parts of it at 224
pixels: it lies in the upper left corner, and its size in the file is kept beside it. An axis longer
than the square is shortened to its side, the other one is not; nothing is enlarged. LARGEST bounds
the side: most files of ImageNet are 500 pixels wide or high and not larger, so they are stored
pixel by pixel, and their views are those cut from the file. Larger ones lose some detail: of a file
of 640 x 427 pixels a random crop's view has 0.81 of the high-pass energy that the file's own has;
squashed to squares of 500 pixels it would be 0.72 (and 0.89 at 500 x 375), of centred squares of
256 pixels 0.52 (0.55). A picture takes 750,000 bytes: ImageNet-10 9.75 GB, ImageNet-Dogs 14.6 GB,
ImageNet-50, -100 and -200 about 50, 100 and 200 GB. A smaller side can be asked for.
"""

import numpy as np

SIDES = (96, 64, 32)  # stored sides for small images of differing sizes, largest first
WHOLE = 256  # stored sides from this on keep whole pictures
LARGEST = 500  # stored side of photographs

#: What networks see of whole pictures, pixels, and how much larger the clean view's picture is
#: before its centre is taken: 256 to 224, as everywhere for ImageNet.
VIEW, ENLARGEMENT = 224, 8 / 7


def view_side(side: int) -> int:
    """The side networks see of a stored side: 224 pixels of whole pictures, otherwise all of it."""
    return VIEW if side >= WHOLE else side


def stored_side(sizes: np.ndarray) -> int:
    """The stored side for images of `sizes` (n, 2) in pixels.

    Equal squares of 8 to 256 keep their side. Otherwise the median shorter side decides: whole
    pictures from 256 on, at the side of the largest, at most LARGEST; below that the largest of
    SIDES that is not above it, and at least 32.
    """
    first = int(sizes[0, 0])
    if 8 <= first <= WHOLE and bool((sizes == first).all()):
        return first
    median = float(np.median(sizes.min(axis=1)))
    if median >= WHOLE:
        return min(LARGEST, int(sizes.max()))
    return next((side for side in SIDES if side <= median), SIDES[-1])
