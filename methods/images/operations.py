"""Random operations: which one happens to a sample, and all of them on a batch at once."""

from __future__ import annotations

from collections.abc import Callable
from enum import IntEnum

import torch
from torch import Tensor

from deep_clustering.methods.images._device import to_device
from deep_clustering.methods.images.colour import (
    auto_contrast,
    blur,
    brightness,
    colour,
    contrast,
    equalise,
    hue,
    posterise,
    sharpness,
    solarise,
)
from deep_clustering.methods.images.resampling import SMALL


class Operation(IntEnum):
    """What can happen to the pixels of one sample; the comment gives the unit of its magnitude."""

    IDENTITY = 0
    AUTO_CONTRAST = 1
    EQUALISE = 2
    ROTATE = 3  # degrees, counter-clockwise about the centre
    SOLARISE = 4  # level: this and higher ones are inverted
    COLOUR = 5  # factor: 0 is grey, 1 leaves the image
    CONTRAST = 6  # factor: 0 is the flat mean grey
    BRIGHTNESS = 7  # factor: 0 is black
    SHARPNESS = 8  # factor: 0 is smoothed
    SHEAR_X = 9  # pixels per row
    SHEAR_Y = 10  # pixels per column
    TRANSLATE_X = 11  # share of the side
    TRANSLATE_Y = 12  # share of the side
    POSTERISE = 13  # bits kept
    HUE = 14  # turns, in [-0.5, 0.5]
    BLUR = 15  # pixels, standard deviation


def operate(pixels: Tensor, operation: Tensor, magnitude: Tensor) -> Tensor:
    """Applies to each sample its own operations, one after the other.

    ``pixels``: uint8 (n, 3, S, S), contiguous. ``operation``: int64 (n, k), members of
    ``Operation``, first to last; on the CPU if the host shall not wait. ``magnitude``: float (n, k)
    in the operation's unit. Returns uint8 (n, 3, S, S).
    """
    device = pixels.device
    operation, magnitude = operation.cpu(), magnitude.cpu()
    matrix = affine_matrices(operation, magnitude, pixels.shape[-1])
    if device.type == "cpu" and pixels.shape[-1] > SMALL:
        return _by_pictures(pixels, operation, magnitude, matrix)
    # The geometric operations differ in their matrix only, so they are done together.
    kind = torch.where(is_geometric(operation), int(Operation.ROTATE), operation)
    counts = torch.stack([(kind == o).sum(dim=0) for o in Operation], dim=1).tolist()
    # In each slot the samples are brought into the order of their operations.
    order = kind.argsort(dim=0, stable=True)
    place = order.argsort(dim=0)
    moves = order.clone()  # from the arrangement of the slot before
    for slot in range(1, len(counts)):
        moves[:, slot] = place[order[:, slot], slot - 1]
    magnitude = to_device(magnitude.gather(0, order).to(torch.float32), device)
    matrix = to_device(matrix.gather(0, order[..., None].expand_as(matrix)), device)
    moves, place = to_device(moves, device), to_device(place, device)
    for slot, lengths in enumerate(counts):
        groups = zip(
            Operation,
            pixels.index_select(0, moves[:, slot]).split(lengths),
            magnitude[:, slot].split(lengths),
            matrix[:, slot].split(lengths),
            strict=True,
        )
        pixels = torch.cat([_operated(*group) for group in groups])
    return pixels.index_select(0, place[:, -1]) if counts else pixels


def _by_pictures(pixels: Tensor, operation: Tensor, magnitude: Tensor, matrix: Tensor) -> Tensor:
    """As `operate`, one picture after the other; only blurring is done for several at once."""
    from deep_clustering.methods.images import levels  # numba takes half a second to import

    blurred, begin = operation == Operation.BLUR, 0
    for slot in range(operation.shape[1]):
        rows = blurred[:, slot].nonzero()[:, 0]
        if len(rows) == 0 and slot < operation.shape[1] - 1:
            continue
        some = slice(begin, slot + 1)
        pixels = levels.operate(pixels, operation[:, some], magnitude[:, some], matrix[:, some])
        if len(rows):
            pixels[rows] = blur(pixels[rows], magnitude[rows, slot].float())
        begin = slot + 1
    return pixels


def _operated(o: Operation, x: Tensor, magnitude: Tensor, matrix: Tensor) -> Tensor:
    """One operation for all of ``x``, which stays as it is."""
    if o is Operation.IDENTITY or len(x) == 0:
        return x
    if o is Operation.ROTATE:
        return _affine(x, matrix)
    return _FUNCTIONS[o](x, magnitude[:, None, None, None])


_GEOMETRIC = (
    Operation.ROTATE,
    Operation.SHEAR_X,
    Operation.SHEAR_Y,
    Operation.TRANSLATE_X,
    Operation.TRANSLATE_Y,
)


def is_geometric(operation: Tensor) -> Tensor:
    return torch.isin(operation, torch.tensor(_GEOMETRIC, device=operation.device))


def affine_matrices(operation: Tensor, magnitude: Tensor, side: int) -> Tensor:
    """Where each output pixel comes from, as Pillow computes it, in units of 1/65536 pixel.

    ``operation`` and ``magnitude``: (n, k). Returns int64 (n, k, 6), (a, b, c, d, e, f): output
    pixel (x, y) shows source pixel ((a x + b y + c) >> 16, (d x + e y + f) >> 16). Identity where
    the operation is not a geometric one.
    """
    magnitude = magnitude.to(torch.float64)

    def only(o: Operation) -> Tensor:
        return torch.where(operation == o, magnitude, 0.0)

    angle = -torch.deg2rad(only(Operation.ROTATE))
    cos, sin = angle.cos(), angle.sin()
    a, b = cos, sin + only(Operation.SHEAR_X)
    d, e = -sin + only(Operation.SHEAR_Y), cos
    half = side / 2
    turned = operation == Operation.ROTATE  # about the centre; the shears fix the top left corner
    c = torch.where(turned, half - half * (cos + sin), only(Operation.TRANSLATE_X) * side)
    f = torch.where(turned, half - half * (cos - sin), only(Operation.TRANSLATE_Y) * side)
    # Coordinates are taken at pixel centres.
    exact = torch.stack([a, b, c + (a + b) / 2, d, e, f + (d + e) / 2], dim=-1)
    return (exact * 65536 + 0.5).floor().long()


def _affine(x: Tensor, matrix: Tensor) -> Tensor:
    """Nearest neighbour, black outside. ``matrix``: int64 (n, 6), see ``affine_matrices``."""
    n, channels, side, _ = x.shape
    place = torch.arange(side, device=x.device, dtype=torch.int32)
    a, b, c, d, e, f = matrix.to(torch.int32)[:, :, None, None].unbind(1)  # (n, 1, 1)
    column = (a * place + (b * place[:, None] + c)).bitwise_right_shift_(16)
    row = (d * place + (e * place[:, None] + f)).bitwise_right_shift_(16)
    inside = (column >= 0) & (column < side) & (row >= 0) & (row < side)
    source = (row.mul_(side).add_(column)).mul_(inside).to(torch.int64)
    index = source.view(n, 1, -1).expand(n, channels, -1)
    moved = x.view(n, channels, -1).gather(2, index).view_as(x)
    return moved.mul_(inside[:, None])


# x uint8 (n, 3, S, S) and magnitude (n, 1, 1, 1) to uint8 (n, 3, S, S).
_FUNCTIONS: dict[Operation, Callable[[Tensor, Tensor], Tensor]] = {
    Operation.AUTO_CONTRAST: auto_contrast,
    Operation.EQUALISE: equalise,
    Operation.SOLARISE: solarise,
    Operation.COLOUR: colour,
    Operation.CONTRAST: contrast,
    Operation.BRIGHTNESS: brightness,
    Operation.SHARPNESS: sharpness,
    Operation.POSTERISE: posterise,
    Operation.HUE: hue,
    Operation.BLUR: blur,
}
