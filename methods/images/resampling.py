"""Resampling of images by weights that are exact in float32: resize and Gaussian blur."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

Kernel = Callable[[Tensor], Tensor]


def triangle(distance: Tensor) -> Tensor:
    """Bilinear kernel; support 1."""
    return (1 - distance).clamp_(min=0)


def cubic(distance: Tensor) -> Tensor:
    """Bicubic kernel with a = -1/2, Pillow's; support 2."""
    t = distance.clamp(max=2)
    near = (1.5 * t - 2.5) * t * t + 1
    far = ((2.5 - 0.5 * t) * t - 4) * t + 2
    return torch.where(t < 1, near, far)


def resampling_weights(
    span: Tensor,
    mirrored: Tensor,
    source: int,
    target: int,
    kernel: Kernel,
    among: Tensor | None = None,
) -> Tensor:
    """Weights that resample a part of a line of ``source`` pixels to ``target`` pixels.

    Pillow's resize: the kernel widens when shrinking (antialias), and taps beyond the part are left
    out. ``span``: (..., 2), the part's start and length in pixels, at least 1 long; a pixel belongs
    to it if its centre does. ``mirrored``: bool (...). ``among``: (..., 2), first and number: the
    targets are those from the first on among this number, to which the part is resampled; None:
    they are all. Returns float32 (..., target, source): multiples of 1/1024, each row summing to 1.
    """
    start, length = span.to(torch.float32)[..., None, None].unbind(-3)  # (..., 1, 1)
    place = torch.arange(target, device=span.device)[:, None] + 0.5
    place = torch.where(mirrored[..., None, None], target - place, place)
    step = length / target
    if among is not None:
        first, number = among.to(torch.float32)[..., None, None].unbind(-3)
        place, step = first + place, length / number
    centre = start + place * step
    pixel = torch.arange(source, device=span.device) + 0.5
    weight = kernel((pixel - centre).abs_().div_(step.clamp(min=1)))
    weight *= (pixel >= start) & (pixel < start + length)
    # Whole numbers, whose sums cannot depend on the order in which a device takes them.
    upto = weight.mul_(4096).round_().cumsum(-1, dtype=torch.int32)
    return _quantised(upto / upto[..., -1:])


def blur_weights(radius: Tensor, side: int) -> Tensor:
    """Weights of a Gaussian blur of a line that continues beyond its ends with its end values.

    Each pixel weighs the Gaussian's integral over it. ``radius``: (n,), standard deviation in
    pixels, 0.1 to 2 and more; the integrated kernel's variance is matched to it (within 5 %).
    Returns float32 (n, side, side): multiples of 1/1024, each row summing to 1.
    """
    variance = radius.to(torch.float64) ** 2
    # Integrating over pixels adds 1/12 to the variance of a wide Gaussian; a narrow one reaches the
    # two neighbours only, each with the tail beyond half a pixel.
    narrow = -0.5 / torch.special.ndtri(variance / 2)
    width = torch.where(variance < 1 / 3, narrow, (variance - 1 / 12).clamp(min=0.01).sqrt())
    offset = torch.arange(-side, side, device=radius.device) + 0.5
    below = torch.special.ndtr(offset / width[:, None])  # (n, 2 side)
    upto = below.unfold(1, side, 1)[:, 1:].flip(1).clone()  # row o: right edges of pixels 0.. - o
    upto[..., -1] = 1
    return _quantised(upto.to(torch.float32))


def _quantised(upto: Tensor) -> Tensor:
    """Cumulative weights (..., m) to weights that are multiples of 1/1024 with the same end."""
    upto = upto.mul(1024).round_()
    weight = upto.clone()
    weight[..., 1:] -= upto[..., :-1]
    return weight.div_(1024)


def resample(pixels: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Separable resampling, horizontally first, rounded to 8 bits after each pass as in Pillow.

    ``pixels``: uint8 (n, 3, H, W). ``rows``: (n, T, H) and ``columns``: (n, S, W), multiples of
    1/1024. Returns uint8 (n, 3, T, S).
    """
    n, channels, height, width = pixels.shape
    # Autocast would round the weights to bfloat16.
    with torch.autocast(pixels.device.type, enabled=False):
        # With the channel between the axes, either pass is one matrix product per image.
        lines = pixels.transpose(1, 2).to(torch.float32, memory_format=torch.contiguous_format)
        lines = torch.bmm(lines.view(n, height * channels, width), columns.mT)
        lines = lines.add_(0.5).floor_().clamp_(0, 255)
        lines = torch.bmm(rows, lines.view(n, height, channels * columns.shape[1]))
    lines = lines.add_(0.5).clamp_(0, 255).view(n, rows.shape[1], channels, columns.shape[1])
    return lines.transpose(1, 2).to(torch.uint8, memory_format=torch.contiguous_format)
