"""Crops: the random resized crop with its flip, and the middle of an image."""

from __future__ import annotations

from math import log

import torch
from torch import Generator, Tensor

from deep_clustering.methods.images._device import to_device
from deep_clustering.methods.images.pictures import Frame, Pictures, framed
from deep_clustering.methods.images.resampling import Kernel
from deep_clustering.methods.images.steps import Steps
from deep_clustering.methods.images.view import Draws

CROP_ATTEMPTS = 10  # torchvision's RandomResizedCrop gives up after as many
CROP_RATIO = (3 / 4, 4 / 3)  # width over height, log-uniform; torchvision's default


def draw_crop(n: int, scale: tuple[float, float], flip: float, generator: Generator) -> Draws:
    """Draws of a random resized crop for an image of any size, and of the flip."""
    device = generator.device

    def uniform(*shape: int) -> Tensor:
        return torch.rand(shape, generator=generator, device=device, dtype=torch.float64)

    low, high = map(log, CROP_RATIO)
    return {
        "area": scale[0] + uniform(n, CROP_ATTEMPTS) * (scale[1] - scale[0]),  # share of the image
        "ratio": (low + uniform(n, CROP_ATTEMPTS) * (high - low)).exp(),  # width over height
        "place": uniform(n, 2),  # vertical, horizontal; share of the room left
        "flip": uniform(n) < flip,
    }


def crop_boxes(draws: Draws, sizes: Tensor) -> Tensor:
    """Boxes of torchvision's ``RandomResizedCrop`` in images of ``sizes`` (n, 2), height and width.

    The first of ten attempts that fits into the image; or else the whole image, of which the middle
    is taken if it is narrower or wider than ``CROP_RATIO``. Returns float64 (n, 2, 2): vertical and
    horizontal, of which each start and length, whole pixels of ``sizes`` where those are whole.
    """
    root = sizes.prod(dim=1, keepdim=True).sqrt()
    tall, wide = sizes[:, :1], sizes[:, 1:]
    width = (draws["area"] * draws["ratio"]).sqrt().mul(root).round()
    height = (draws["area"] / draws["ratio"]).sqrt().mul(root).round()
    fits = (width >= 1) & (width <= wide) & (height >= 1) & (height <= tall)
    first = fits.to(torch.uint8).argmax(dim=1, keepdim=True)
    length = torch.cat([height.gather(1, first), width.gather(1, first)], dim=1)
    start = (draws["place"] * (sizes - length + 1)).floor()

    low, high = CROP_RATIO
    most = torch.cat([(wide / low).round(), (tall * high).round()], dim=1).minimum(sizes)
    middle = ((sizes - most) / 2).floor()
    fits = fits.any(dim=1, keepdim=True)
    return torch.stack([torch.where(fits, start, middle), torch.where(fits, length, most)], dim=2)


def cropped(
    pictures: Pictures,
    draws: Draws,
    kernel: Kernel,
    *,
    scale: tuple[float, float],
    frame: Frame,
) -> Steps:
    """Random resized crop of the ``frame`` of each picture, flip, and the drawn operations, if any.

    A ``scale`` of (1, 1) takes the frame as it is, whatever its ratio.
    """
    if pictures.size is None:  # the boxes follow from the draws alone, wherever they are
        device = draws["area"].device
        sizes = stored = torch.full((1, 2), pictures.side, dtype=torch.float64, device=device)
    else:
        device = pictures.pixels.device
        sizes, stored = pictures.sizes(), pictures.stored()
    mine = {name: to_device(draws[name], device) for name in ("area", "ratio", "place", "flip")}
    corner, inner = framed(sizes, frame)
    if scale[0] < 1:
        start, length = crop_boxes(mine, inner).unbind(2)
    else:
        start, length = torch.zeros_like(inner), inner
    shrunk = stored / sizes  # 1 where the picture is stored as it is
    length = (length * shrunk).clamp(min=1)
    start = ((corner + start) * shrunk).minimum(stored - length)
    span = torch.stack([start, length], dim=2).expand(len(pictures.pixels), -1, -1)
    operation, magnitude = draws.get("operation"), draws.get("magnitude")
    return Steps(span, mine["flip"], kernel, operation, magnitude)


def centre(pixels: Tensor, side: int) -> Tensor:
    """The middle of squares (n, 3, H, H), ``side`` pixels; torchvision's rounding of the margin."""
    margin = round((pixels.shape[-1] - side) / 2)
    return pixels.narrow(2, margin, side).narrow(3, margin, side)
