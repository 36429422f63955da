"""Crops: the random resized crop with its flip, and the middle of an image."""

from __future__ import annotations

from math import log

import torch
from torch import Generator, Tensor

from deep_clustering.methods.images.resampling import Kernel, resample, resampling_weights
from deep_clustering.methods.images.view import Draws, to_device

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


def crop_boxes(draws: Draws, side: int) -> Tensor:
    """Boxes of torchvision's ``RandomResizedCrop`` in images of ``side`` x ``side`` pixels.

    The first of ten attempts that fits into the image, or else the whole image.
    Returns int64 (n, 4): top, left, height, width.
    """
    width = (draws["area"] * draws["ratio"]).sqrt().mul(side).round()
    height = (draws["area"] / draws["ratio"]).sqrt().mul(side).round()
    fits = (width >= 1) & (width <= side) & (height >= 1) & (height <= side)
    first = fits.to(torch.uint8).argmax(dim=1, keepdim=True)
    size = torch.cat([height.gather(1, first), width.gather(1, first)], dim=1)
    size = torch.where(fits.any(dim=1, keepdim=True), size, side)
    corner = (draws["place"] * (side - size + 1)).floor()
    return torch.cat([corner, size], dim=1).long()


def crop(images: Tensor, draws: Draws, side: int, kernel: Kernel) -> Tensor:
    """Random resized crop and flip: uint8 (n, 3, side, side)."""
    source = images.shape[-1]
    span = crop_boxes(draws, source).view(-1, 2, 2).mT  # vertical, horizontal; start, length
    mirrored = torch.stack([torch.zeros_like(draws["flip"]), draws["flip"]], dim=1)
    weights = resampling_weights(
        to_device(span, images.device), to_device(mirrored, images.device), source, side, kernel
    )
    rows, columns = weights.unbind(1)
    return resample(images, rows, columns)


def centre(x: Tensor, side: int, dims: tuple[int, ...]) -> Tensor:
    """The middle ``side`` entries along ``dims``; torchvision's rounding of the margin."""
    for dim in dims:
        x = x.narrow(dim, round((x.shape[dim] - side) / 2), side)
    return x
