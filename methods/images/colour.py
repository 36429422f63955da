"""Operations on the levels of the pixels, as Pillow computes them.

Each takes ``x``, uint8 (n, 3, S, S), and one magnitude a sample, (n, 1, 1, 1), in the unit that
``Operation`` names, and returns uint8 (n, 3, S, S); ``x`` stays as it is.
"""

from __future__ import annotations

import torch
from torch import Tensor

from deep_clustering.methods.images.resampling import Blur, resample


def auto_contrast(x: Tensor, _: Tensor) -> Tensor:
    """Stretches each channel to 0..255; a flat channel stays."""
    low, high = x.amin(dim=(2, 3), keepdim=True), x.amax(dim=(2, 3), keepdim=True)
    flat = low == high
    base, span = low.masked_fill(flat, 0), (high - low).masked_fill(flat, 255)
    return (x - base).float().mul_(255).div_(span).to(torch.uint8)


def equalise(x: Tensor, _: Tensor) -> Tensor:
    """Flattens each channel's histogram; Pillow's integer arithmetic."""
    lines = x.view(x.shape[0] * x.shape[1], -1)
    level = lines.long()
    cell = (level + 256 * torch.arange(len(lines), device=x.device)[:, None]).view(-1)
    counts = torch.zeros(len(lines) * 256, dtype=torch.int64, device=x.device)
    counts = counts.scatter_add_(0, cell, torch.ones_like(cell)).view(-1, 256)
    below = counts.cumsum(1) - counts
    highest = counts.gather(1, level.amax(dim=1, keepdim=True))
    step = (lines.shape[1] - highest) // 255
    table = (below + step // 2).div_(step.clamp(min=1), rounding_mode="floor").clamp_(max=255)
    table = torch.where(step > 0, table, torch.arange(256, device=x.device))
    return table.to(torch.uint8).gather(1, level).view_as(x)


def solarise(x: Tensor, threshold: Tensor) -> Tensor:
    first = threshold.ceil().to(torch.int16)
    return torch.where(x < first, x, 255 - x)


def posterise(x: Tensor, bits: Tensor) -> Tensor:
    kept = (256 - torch.exp2(8 - bits.floor())).to(torch.uint8)
    return x & kept


def colour(x: Tensor, factor: Tensor) -> Tensor:
    x = x.float()
    return _blend(_luma(x), x, factor)


def contrast(x: Tensor, factor: Tensor) -> Tensor:
    # The sum of a row is exact in float32, the sum of all in float64.
    total = _luma(x.float()).sum(3, keepdim=True).sum(2, keepdim=True, dtype=torch.float64)
    mean = (total / (x.shape[2] * x.shape[3]) + 0.5).floor().float()
    return _blend(mean, x.float(), factor)


def brightness(x: Tensor, factor: Tensor) -> Tensor:
    return (x * factor).clamp_(max=255).to(torch.uint8)


def sharpness(x: Tensor, factor: Tensor) -> Tensor:
    """Blends with Pillow's 3x3 smoothing, which leaves the border pixels."""
    x = x.float()
    lines = x[:, :, :-2] + x[:, :, 1:-1] + x[:, :, 2:]
    total = lines[..., :-2] + lines[..., 1:-1] + lines[..., 2:] + 4 * x[:, :, 1:-1, 1:-1]
    smooth = x.clone()
    smooth[:, :, 1:-1, 1:-1] = total.div_(13).add_(0.5).floor_()
    return _blend(smooth, x, factor)


def hue(x: Tensor, turns: Tensor) -> Tensor:
    """Turns the hue of HSV; value and chroma stay."""
    red, green, blue = x.float().unbind(1)
    value = torch.maximum(torch.maximum(red, green), blue)
    chroma = value - torch.minimum(torch.minimum(red, green), blue)
    # Hue in sixths of a turn, [0, 6).
    hue = torch.where(value == green, blue - red, red - green)
    hue = torch.where(value == red, green - blue, hue).div_(chroma.clamp(min=1))
    hue += torch.where(value == red, 0.0, torch.where(value == green, 2.0, 4.0))
    hue = hue.add_(6 * turns[:, 0])
    hue -= (hue / 6).floor_().mul_(6)
    # How much of the chroma each channel has: trapezoids about its own hue.
    share = torch.stack([(hue - 3).abs_() - 1, 2 - (hue - 2).abs_(), 2 - (hue - 4).abs_()], dim=1)
    share = share.clamp_(0, 1).mul_(chroma[:, None])
    return share.add_((value - chroma)[:, None]).add_(0.5).to(torch.uint8)


def blur(x: Tensor, radius: Tensor) -> Tensor:
    return resample(x, Blur(radius.view(-1), x.shape[-1]))


def _luma(x: Tensor) -> Tensor:
    """Pillow's conversion to grey (ITU-R 601): float (n, 3, H, W) to whole levels (n, 1, H, W)."""
    red, green, blue = x.unbind(1)
    # All sums stay below 2^24 and are exact.
    grey = (red * 19595).add_(green * 38470).add_(blue * 7471).add_(32768)
    return grey.div_(65536).floor_()[:, None]


def _blend(degenerate: Tensor, x: Tensor, factor: Tensor) -> Tensor:
    """Pillow's ``Image.blend``: the fraction is cut off. Returns uint8."""
    return ((x - degenerate).mul_(factor).add_(degenerate)).clamp_(0, 255).to(torch.uint8)
