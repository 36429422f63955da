"""Resampling of images by weights that are exact in float32: resize and Gaussian blur."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

Kernel = Callable[[Tensor], Tensor]

SMALL = 48  # pixels, side: up to here a CPU works on whole batches as fast as picture by picture


def triangle(distance: Tensor) -> Tensor:
    """Bilinear kernel; support 1."""
    return (1 - distance).clamp_(min=0)


def cubic(distance: Tensor) -> Tensor:
    """Bicubic kernel with a = -1/2, Pillow's; support 2."""
    t = distance.clamp(max=2)
    near = (1.5 * t - 2.5) * t * t + 1
    far = ((2.5 - 0.5 * t) * t - 4) * t + 2
    return torch.where(t < 1, near, far)


class Taps(NamedTuple):
    """Weights that resample lines, of the pixels about each target alone.

    ``first``: int64 (..., target), the pixel that the first weight is of; pixels outside of a line
    have the weight 0. ``weight``: float32 (..., target, number), multiples of 1/1024, each row
    summing to 1.
    """

    first: Tensor
    weight: Tensor


class Lines(Protocol):
    """How the rows and the columns of n squares, or of all alike (n = 1), are resampled."""

    @property
    def target(self) -> int:
        """Pixels of a line when that is done."""

    def weights(self, source: int) -> Tensor:
        """Of all ``source`` pixels of a line: float32 (n, 2, target, source), as in ``Taps``."""

    def taps(self) -> Taps:
        """Of the pixels that matter: (n, 2, target) and (n, 2, target, number)."""


class Resize:
    """How a part of each line of pixels becomes ``target`` pixels.

    Pillow's resize: the kernel widens when shrinking (antialias), and taps beyond the part are left
    out. ``span``: (n, 2, 2), of rows and of columns the part's start and length in pixels, at least
    1 long; a pixel belongs to it if its centre does. ``mirrored``: bool (n, 2). ``among``:
    (n, 2, 2), first and number: the targets are those from the first on among this number, to which
    the part is resampled; None: they are all.
    """

    def __init__(
        self,
        span: Tensor,
        mirrored: Tensor,
        target: int,
        kernel: Kernel,
        among: Tensor | None = None,
    ) -> None:
        self._kernel, self.target = kernel, target
        # (n, 2, 1, 1)
        self._start, self._length = span.to(torch.float32)[..., None, None].unbind(-3)
        place = torch.arange(target, device=span.device)[:, None] + 0.5
        place = torch.where(mirrored[..., None, None], target - place, place)
        step = self._length / target
        if among is not None:
            first, number = among.to(torch.float32)[..., None, None].unbind(-3)
            place, step = first + place, self._length / number
        self._centre = self._start + place * step  # (n, 2, target, 1)
        self._width = step.clamp(min=1)

    def weights(self, source: int) -> Tensor:
        """See ``Lines``."""
        return self._weights(torch.arange(source, device=self._centre.device) + 0.5)

    def taps(self) -> Taps:
        """See ``Lines``; for a kernel of support 2 or less."""
        first = (self._centre - 2 * self._width).floor_().long() - 1
        number = int((4 * self._width).max()) + 3
        pixel = first + torch.arange(number, device=first.device)
        return Taps(first[..., 0], self._weights(pixel.to(torch.float32) + 0.5))

    def _weights(self, pixel: Tensor) -> Tensor:
        """Of pixels with these centres, (..., number), in their order."""
        weight = self._kernel((pixel - self._centre).abs_().div_(self._width))
        weight *= (pixel >= self._start) & (pixel < self._start + self._length)
        # Whole numbers, whose sums cannot depend on the order in which a device takes them.
        upto = weight.mul_(4096).round_().cumsum(-1, dtype=torch.int32)
        return _quantised(upto / upto[..., -1:])


class Blur:
    """A Gaussian blur of squares that continue beyond their ends with their end values.

    Each pixel weighs the Gaussian's integral over it. ``radius``: (n,), standard deviation in
    pixels, 0.1 to 2 and more; the integrated kernel's variance is matched to it (within 5 %).
    """

    def __init__(self, radius: Tensor, side: int) -> None:
        variance = radius.to(torch.float64) ** 2
        # Integrating over pixels adds 1/12 to the variance of a wide Gaussian; a narrow one reaches
        # the two neighbours only, each with the tail beyond half a pixel.
        narrow = -0.5 / torch.special.ndtri(variance / 2)
        wide = (variance - 1 / 12).clamp(min=0.01).sqrt()
        self._width = torch.where(variance < 1 / 3, narrow, wide)[:, None]
        self.target = side

    def weights(self, source: int) -> Tensor:
        """See ``Lines``; ``source`` is the side."""
        below = self.below(source)
        upto = below.unfold(1, source, 1)[:, 1:].flip(1).clone()  # row o: right edges of 0.. - o
        upto[..., -1] = 1
        return _quantised(upto)[:, None].expand(-1, 2, -1, -1)

    def taps(self) -> Taps:
        """See ``Lines``."""
        reach = int((4 * self._width).max()) + 1  # beyond it less than half of 1/1024
        near = torch.arange(-reach, reach + 1, device=self._width.device)
        place = torch.arange(self.target, device=near.device)
        pixel = place[:, None] + near
        upto = self._below(near)[:, None].expand(-1, self.target, -1).clone()
        upto.masked_fill_(pixel < 0, 0).masked_fill_(pixel >= self.target - 1, 1)
        first = (place - reach).expand(len(upto), 2, -1)
        return Taps(first, _quantised(upto)[:, None].expand(-1, 2, -1, -1))

    def below(self, source: int) -> Tensor:
        """The share below the right edge of a pixel, of -source to source - 1 pixels off.

        (n, 2 source).
        """
        return self._below(torch.arange(-source, source, device=self._width.device))

    def _below(self, offset: Tensor) -> Tensor:
        """The share below the right edge of a pixel that lies so far off, (n, number)."""
        return torch.special.ndtr((offset + 0.5) / self._width).to(torch.float32)


def _quantised(upto: Tensor) -> Tensor:
    """Cumulative weights (..., m) to weights that are multiples of 1/1024 with the same end."""
    upto = upto.mul(1024).round_()
    weight = upto.clone()
    weight[..., 1:] -= upto[..., :-1]
    return weight.div_(1024)


def resample(pixels: Tensor, lines: Lines) -> Tensor:
    """Separable resampling, horizontally first, rounded to 8 bits after each pass as in Pillow.

    ``pixels``: uint8 (n, 3, H, H). Returns uint8 (n, 3, T, T), the same on every device.
    """
    if pixels.device.type == "cpu" and lines.target > SMALL:
        from deep_clustering.methods.images import taps  # numba takes half a second to import

        return taps.resample(pixels, lines.taps())
    weights = lines.weights(pixels.shape[-1]).expand(len(pixels), -1, -1, -1)
    return _by_products(pixels, *weights.unbind(1))


def _by_products(pixels: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """By matrices (n, T, H), multiples of 1/1024, most of whose entries are 0."""
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
