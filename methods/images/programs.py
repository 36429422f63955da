"""Views of small pictures on a GPU, each picture by one Triton program from its crop to its pixels.

The arithmetic is that of `resampling`, `colour` and `operations` in float32, step by step, with
products and divisions rounded each for itself: the same levels. Levels are whole numbers, held as
float32 in squares whose sides are powers of two; what lies beyond the picture is 0.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from deep_clustering.methods.images._device import to_device
from deep_clustering.methods.images.operations import Operation, affine_matrices, is_geometric
from deep_clustering.methods.images.resampling import Blur, cubic, triangle
from deep_clustering.methods.images.steps import Steps
from deep_clustering.methods.images.view import to_normalise

_AUTO_CONTRAST = tl.constexpr(int(Operation.AUTO_CONTRAST))
_EQUALISE = tl.constexpr(int(Operation.EQUALISE))
_AFFINE = tl.constexpr(int(Operation.ROTATE))  # and all that differ from it in their matrix
_SOLARISE = tl.constexpr(int(Operation.SOLARISE))
_COLOUR = tl.constexpr(int(Operation.COLOUR))
_CONTRAST = tl.constexpr(int(Operation.CONTRAST))
_BRIGHTNESS = tl.constexpr(int(Operation.BRIGHTNESS))
_SHARPNESS = tl.constexpr(int(Operation.SHARPNESS))
_POSTERISE = tl.constexpr(int(Operation.POSTERISE))
_HUE = tl.constexpr(int(Operation.HUE))
_BLUR = tl.constexpr(int(Operation.BLUR))


def views(pixels: Tensor, steps: Steps, side: int, mean: Tensor, std: Tensor) -> Tensor:
    """See `steps.plain`: float32 (n, 3, side, side), channels last in memory.

    ``pixels``: uint8 (n, 3, H, H) on a GPU; H and ``side`` at most `steps.FUSED_SIDE`. On the CPU
    by Triton's interpreter, where TRITON_INTERPRET=1 was set before Triton was imported.
    """
    n, source, device = len(pixels), pixels.shape[-1], pixels.device
    if steps.kernel not in (triangle, cubic):
        raise ValueError(f"no program resamples by {steps.kernel}")
    result = torch.empty(
        (n, 3, side, side), device=device, memory_format=torch.channels_last, dtype=torch.float32
    )
    span = to_device(steps.span.to(torch.float32).contiguous(), device)
    shift, scale = to_normalise(mean, std)
    width = _power_of_two(side)
    # Of a view without operations or hole, anything: the program does not look at it.
    operations = _operations(steps, side, device) or (span,) * 4
    hole = span if steps.hole is None else to_device(steps.hole.to(torch.int32), device)
    with torch.cuda.device_of(pixels):
        _view[(n,)](
            pixels.contiguous(),
            span,
            span[..., 1] / side,
            to_device(steps.mirrored.to(torch.int32), device),
            *operations,
            hole.contiguous(),
            shift,
            scale,
            result,
            source=source,
            side=side,
            padded=_power_of_two(source),
            width=width,
            slots=0 if steps.operation is None else steps.operation.shape[1],
            by_cubic=steps.kernel is cubic,
            holed=steps.hole is not None,
            fill=-1 if steps.fill is None else steps.fill,
            num_warps=8 if width <= 32 else 16,
            enable_fp_fusion=False,
        )
    return result


def _power_of_two(side: int) -> int:
    return max(16, 1 << (side - 1).bit_length())  # 16: the least that a product of blocks takes


def _operations(steps: Steps, side: int, device: torch.device) -> tuple[Tensor, ...] | None:
    """On the device: what happens (n, k), how strongly, the matrices (n, k, 6) of what moves
    pixels, and, if something is blurred, the weights (n, k, 2 side); see `Blur.below`."""
    if steps.operation is None or steps.magnitude is None:
        return None
    operation, magnitude = steps.operation.cpu(), steps.magnitude.cpu().to(torch.float32)
    matrix = affine_matrices(operation, magnitude, side).to(torch.int32)
    kind = torch.where(is_geometric(operation), int(Operation.ROTATE), operation).to(torch.int32)
    blurred = kind == Operation.BLUR
    moved = [to_device(x.contiguous(), device) for x in (kind, magnitude, matrix)]
    below = moved[1]
    if bool(blurred.any()):
        radius = to_device(torch.where(blurred, magnitude, 1.0).view(-1), device)
        below = Blur(radius, side).below(side).contiguous()
    return *moved, below


@triton.jit
def _rounded(x: tl.tensor) -> tl.tensor:
    """To the nearest whole number, halves to the even one; for less than 2^22."""
    return (x + 12582912.0) - 12582912.0


@triton.jit
def _quantised(below: tl.tensor, upto: tl.tensor) -> tl.tensor:
    """The weights between cumulative ones, as multiples of 1/1024; see `resampling`."""
    return (_rounded(upto * 1024.0) - _rounded(below * 1024.0)) / 1024.0


@triton.jit
def _weights(
    start: tl.tensor,
    length: tl.tensor,
    step: tl.tensor,
    mirrored: tl.tensor,
    side: tl.constexpr,
    width: tl.constexpr,
    padded: tl.constexpr,
    by_cubic: tl.constexpr,
) -> tl.tensor:
    """Of a line's pixels for each target, (width, padded); see `resampling.Resize`."""
    place = tl.arange(0, width).to(tl.float32) + 0.5
    place = tl.where(mirrored != 0, side - place, place)
    centre = start + place * step
    reach = tl.maximum(step, 1.0)
    pixel = tl.arange(0, padded).to(tl.float32)[None, :] + 0.5
    t = tl.div_rn(tl.abs(pixel - centre[:, None]), reach + tl.zeros((width, padded), tl.float32))
    if by_cubic:
        t = tl.minimum(t, 2.0)
        near = (1.5 * t - 2.5) * t * t + 1.0
        far = ((2.5 - 0.5 * t) * t - 4.0) * t + 2.0
        weight = tl.where(t < 1.0, near, far)
    else:
        weight = tl.maximum(1.0 - t, 0.0)
    weight = tl.where((pixel >= start) & (pixel < start + length), weight, 0.0)
    whole = _rounded(weight * 4096.0).to(tl.int32)
    upto = tl.cumsum(whole, 1)
    total = tl.maximum(tl.sum(whole, 1), 1)[:, None] + tl.zeros((width, padded), tl.int32)
    total = total.to(tl.float32)
    below = tl.div_rn((upto - whole).to(tl.float32), total)
    return _quantised(below, tl.div_rn(upto.to(tl.float32), total))


@triton.jit
def _combined(x: tl.tensor, rows: tl.tensor, columns: tl.tensor) -> tl.tensor:
    """Levels (h, w) by weights (t, h) of rows and (t, w) of columns: (t, t); exact sums."""
    lines = tl.dot(x, tl.trans(columns), input_precision="tf32")
    lines = tl.minimum(tl.maximum(tl.floor(lines + 0.5), 0.0), 255.0)
    lines = tl.dot(rows, lines, input_precision="tf32")
    return tl.floor(tl.minimum(tl.maximum(lines + 0.5, 0.0), 255.0))


@triton.jit
def _blend(degenerate: tl.tensor, x: tl.tensor, factor: tl.tensor) -> tl.tensor:
    mixed = (x - degenerate) * factor + degenerate
    return tl.floor(tl.minimum(tl.maximum(mixed, 0.0), 255.0))


@triton.jit
def _luma(r: tl.tensor, g: tl.tensor, b: tl.tensor) -> tl.tensor:
    return tl.floor((r * 19595.0 + g * 38470.0 + b * 7471.0 + 32768.0) / 65536.0)


@triton.jit
def _stretched(x: tl.tensor, inside: tl.tensor) -> tl.tensor:
    """See `colour.auto_contrast`."""
    low = tl.min(tl.min(tl.where(inside, x, 255.0), 1), 0)
    high = tl.max(tl.max(tl.where(inside, x, 0.0), 1), 0)
    base = tl.where(low == high, 0.0, low)
    span = tl.where(low == high, 255.0, high - low)
    return tl.floor(tl.div_rn((x - base) * 255.0, span + tl.zeros(x.shape, tl.float32)))


@triton.jit
def _equalised(x: tl.tensor, side: tl.constexpr, width: tl.constexpr) -> tl.tensor:
    """See `colour.equalise`."""
    every = tl.arange(0, 256)
    level = tl.reshape(x, (width * width,)).to(tl.int32)
    counts = tl.histogram(level, 256)
    counts = tl.where(every == 0, counts - (width * width - side * side), counts)
    highest = tl.sum(tl.where(every == tl.max(level, 0), counts, 0), 0)
    step = (side * side - highest) // 255
    below = tl.cumsum(counts, 0) - counts
    table = tl.minimum((below + step // 2) // tl.maximum(step, 1), 255)
    table = tl.where(step > 0, table, every)
    return tl.reshape(tl.gather(table, level, 0), (width, width)).to(tl.float32)


@triton.jit
def _sharpened(
    x: tl.tensor, factor: tl.tensor, row: tl.tensor, column: tl.tensor, side: tl.constexpr
) -> tl.tensor:
    """See `colour.sharpness`: the sum over 3 x 3 pixels is a product with bands of ones."""
    band = tl.where((row - column <= 1) & (column - row <= 1), 1.0, 0.0)
    total = tl.dot(band, tl.dot(x, band, input_precision="tf32"), input_precision="ieee")
    smooth = tl.floor(tl.div_rn(total + 4.0 * x, 13.0 + tl.zeros(x.shape, tl.float32)) + 0.5)
    border = (row == 0) | (row == side - 1) | (column == 0) | (column == side - 1)
    return _blend(tl.where(border, x, smooth), x, factor)


@triton.jit
def _share(share: tl.tensor, chroma: tl.tensor, rest: tl.tensor) -> tl.tensor:
    return tl.floor(tl.minimum(tl.maximum(share, 0.0), 1.0) * chroma + rest + 0.5)


@triton.jit
def _moved(x: tl.tensor, source: tl.tensor, inside: tl.tensor, width: tl.constexpr) -> tl.tensor:
    """Pixels from elsewhere; ``source``: (width * width,) places."""
    found = tl.gather(tl.reshape(x, (width * width,)), source, 0)
    return tl.where(inside, tl.reshape(found, (width, width)), 0.0)


@triton.jit
def _view(
    pixels: tl.tensor,
    span: tl.tensor,
    steps: tl.tensor,
    mirrored: tl.tensor,
    operation: tl.tensor,
    magnitude: tl.tensor,
    matrix: tl.tensor,
    below: tl.tensor,
    hole: tl.tensor,
    shift: tl.tensor,
    scale: tl.tensor,
    result: tl.tensor,
    source: tl.constexpr,
    side: tl.constexpr,
    padded: tl.constexpr,
    width: tl.constexpr,
    slots: tl.constexpr,
    by_cubic: tl.constexpr,
    holed: tl.constexpr,
    fill: tl.constexpr,
) -> None:
    """All of one picture; what each pointer points to is in `views`."""
    n = tl.program_id(0).to(tl.int64)
    line = tl.arange(0, padded)
    held = (line < source)[:, None] & (line < source)[None, :]
    first = pixels + n * 3 * source * source + line[:, None] * source + line[None, :]
    plane = source * source
    r = tl.load(first, held, 0).to(tl.float32)
    g = tl.load(first + plane, held, 0).to(tl.float32)
    b = tl.load(first + 2 * plane, held, 0).to(tl.float32)

    box = span + 4 * n
    top, height = tl.load(box), tl.load(box + 1)
    left, across = tl.load(box + 2), tl.load(box + 3)
    down_step, across_step = tl.load(steps + 2 * n), tl.load(steps + 2 * n + 1)
    rows = _weights(top, height, down_step, 0, side, width, padded, by_cubic)
    turned = tl.load(mirrored + n)
    columns = _weights(left, across, across_step, turned, side, width, padded, by_cubic)
    row, column = tl.arange(0, width)[:, None], tl.arange(0, width)[None, :]
    inside = (row < side) & (column < side)
    r = tl.where(inside, _combined(r, rows, columns), 0.0)
    g = tl.where(inside, _combined(g, rows, columns), 0.0)
    b = tl.where(inside, _combined(b, rows, columns), 0.0)

    for slot in range(slots):
        code = tl.load(operation + n * slots + slot)
        m = tl.load(magnitude + n * slots + slot)
        if code == _AUTO_CONTRAST:
            r, g, b = _stretched(r, inside), _stretched(g, inside), _stretched(b, inside)
        elif code == _EQUALISE:
            r, g = _equalised(r, side, width), _equalised(g, side, width)
            b = _equalised(b, side, width)
        elif code == _AFFINE:
            at = matrix + (n * slots + slot) * 6
            from_column = tl.load(at) * column + (tl.load(at + 1) * row + tl.load(at + 2))
            from_row = tl.load(at + 3) * column + (tl.load(at + 4) * row + tl.load(at + 5))
            from_column, from_row = from_column >> 16, from_row >> 16
            there = (from_column >= 0) & (from_column < side)
            there = there & (from_row >= 0) & (from_row < side)
            place = tl.where(there, from_row * width + from_column, 0)
            place = tl.reshape(place, (width * width,))
            r, g = _moved(r, place, there, width), _moved(g, place, there, width)
            b = _moved(b, place, there, width)
        elif code == _SOLARISE:
            least = tl.ceil(m)
            r = tl.where(r < least, r, 255.0 - r)
            g = tl.where(g < least, g, 255.0 - g)
            b = tl.where(b < least, b, 255.0 - b)
        elif code == _COLOUR:
            grey = _luma(r, g, b)
            r, g, b = _blend(grey, r, m), _blend(grey, g, m), _blend(grey, b, m)
        elif code == _CONTRAST:
            luma = tl.where(inside, _luma(r, g, b), 0.0).to(tl.int32)
            total = tl.sum(tl.sum(luma, 1), 0)
            area = side * side
            mean = ((2 * total + area) // (2 * area)).to(tl.float32)  # rounded, halves up
            r, g, b = _blend(mean, r, m), _blend(mean, g, m), _blend(mean, b, m)
        elif code == _BRIGHTNESS:
            r = tl.floor(tl.minimum(r * m, 255.0))
            g = tl.floor(tl.minimum(g * m, 255.0))
            b = tl.floor(tl.minimum(b * m, 255.0))
        elif code == _SHARPNESS:
            r = _sharpened(r, m, row, column, side)
            g = _sharpened(g, m, row, column, side)
            b = _sharpened(b, m, row, column, side)
        elif code == _POSTERISE:
            lost = 8 - tl.floor(m).to(tl.int32)
            r = ((r.to(tl.int32) >> lost) << lost).to(tl.float32)
            g = ((g.to(tl.int32) >> lost) << lost).to(tl.float32)
            b = ((b.to(tl.int32) >> lost) << lost).to(tl.float32)
        elif code == _HUE:
            value = tl.maximum(tl.maximum(r, g), b)
            chroma = value - tl.minimum(tl.minimum(r, g), b)
            place = tl.where(value == r, g - b, tl.where(value == g, b - r, r - g))
            place = tl.div_rn(place, tl.maximum(chroma, 1.0))
            place += tl.where(value == r, 0.0, tl.where(value == g, 2.0, 4.0))
            place += 6.0 * m
            sixth = tl.floor(tl.div_rn(place, 6.0 + tl.zeros(r.shape, tl.float32)))
            place -= sixth * 6.0
            rest = value - chroma
            r = _share(tl.abs(place - 3.0) - 1.0, chroma, rest)
            g = _share(2.0 - tl.abs(place - 2.0), chroma, rest)
            b = _share(2.0 - tl.abs(place - 4.0), chroma, rest)
        elif code == _BLUR:
            # From pixel `column` to target `row`; beyond the ends all weight is theirs.
            offset = column - row + side
            table = below + (n * slots + slot) * 2 * side
            upto = tl.load(table + offset, inside, 0.0)
            upto = tl.where(column == side - 1, 1.0, upto)
            before = tl.load(table + offset - 1, inside & (column > 0), 0.0)
            blurring = tl.where(inside, _quantised(before, upto), 0.0)
            r = _combined(r, blurring, blurring)
            g = _combined(g, blurring, blurring)
            b = _combined(b, blurring, blurring)
        r = tl.where(inside, r, 0.0)
        g = tl.where(inside, g, 0.0)
        b = tl.where(inside, b, 0.0)

    cut = inside & (row < 0)
    if holed:
        edges = hole + 4 * n
        cut = (row >= tl.load(edges)) & (row < tl.load(edges + 1))
        cut = cut & (column >= tl.load(edges + 2)) & (column < tl.load(edges + 3))
    to = result + (n * side * side + row * side + column) * 3
    _stored(to, r, cut, inside, tl.load(shift), tl.load(scale), fill)
    _stored(to + 1, g, cut, inside, tl.load(shift + 1), tl.load(scale + 1), fill)
    _stored(to + 2, b, cut, inside, tl.load(shift + 2), tl.load(scale + 2), fill)


@triton.jit
def _stored(
    to: tl.tensor,
    x: tl.tensor,
    cut: tl.tensor,
    inside: tl.tensor,
    shift: tl.tensor,
    scale: tl.tensor,
    fill: tl.constexpr,
) -> None:
    """Normalises, with the hole at its level, or at the mean colour where ``fill`` is -1."""
    if fill >= 0:
        x = tl.where(cut, 0.0 + fill, x)
    x = (x - shift) * scale
    if fill < 0:
        x = tl.where(cut, 0.0, x)
    tl.store(to, x, inside)
