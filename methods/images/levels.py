"""The operations of `colour` and `operations` on a CPU, one large picture at a time.

The same arithmetic in float32, hence the same levels to the bit; a picture stays in the caches from
its first to its last step, where whole batches would go to memory and back at each.

Compiled on first use, in a few seconds, and kept on disk from then on.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from deep_clustering.methods._compiled import compiled, each
from deep_clustering.methods.images.operations import Operation

Array = NDArray[Any]

_0, _1, _2, _3, _4, _6 = (np.float32(n) for n in (0, 1, 2, 3, 4, 6))
_HALF, _13, _255 = np.float32(0.5), np.float32(13), np.float32(255)

# numba knows whole numbers; what is none of these moves pixels.
_IDENTITY, _BLUR = int(Operation.IDENTITY), int(Operation.BLUR)
_AUTO_CONTRAST, _EQUALISE = int(Operation.AUTO_CONTRAST), int(Operation.EQUALISE)
_SOLARISE, _POSTERISE = int(Operation.SOLARISE), int(Operation.POSTERISE)
_CONTRAST, _BRIGHTNESS = int(Operation.CONTRAST), int(Operation.BRIGHTNESS)
_COLOUR, _SHARPNESS, _HUE = map(int, (Operation.COLOUR, Operation.SHARPNESS, Operation.HUE))


def operate(pixels: Tensor, operation: Tensor, magnitude: Tensor, matrix: Tensor) -> Tensor:
    """See ``operations.operate`` and ``affine_matrices``; blurring is left out."""
    result = torch.empty_like(pixels)
    magnitude, matrix = magnitude.to(torch.float32), matrix.to(torch.int32)
    tensors = (pixels, operation.to(torch.int32), magnitude, matrix, result)
    each(_operate, *(tensor.contiguous().numpy() for tensor in tensors))
    return result


@compiled()
def _operate(x: Array, operation: Array, magnitude: Array, matrix: Array, result: Array) -> None:
    one, other = np.empty_like(x[0]), np.empty_like(x[0])
    for i in range(x.shape[0]):
        source = x[i]
        for slot in range(operation.shape[1]):
            kind = operation[i, slot]
            if kind != _IDENTITY and kind != _BLUR:
                _operated(kind, source, magnitude[i, slot], matrix[i, slot], one)
                source, one, other = one, other, one
        result[i] = source


@compiled()
def _operated(kind: Any, x: Array, magnitude: Any, matrix: Array, result: Array) -> None:
    if kind == _COLOUR:
        _colour(x, magnitude, result)
    elif kind == _SHARPNESS:
        _sharpness(x, magnitude, result)
    elif kind == _HUE:
        _hue(x, _6 * magnitude, result)
    elif kind == _EQUALISE:
        _equalise(x, result)
    elif kind == _AUTO_CONTRAST:
        _auto_contrast(x, result)
    elif kind in (_SOLARISE, _CONTRAST, _BRIGHTNESS, _POSTERISE):
        table = np.empty(256, np.uint8)
        if kind == _SOLARISE:
            _solarised(magnitude, table)
        elif kind == _CONTRAST:
            _contrasted(_mean_grey(x), magnitude, table)
        elif kind == _BRIGHTNESS:
            _brightened(magnitude, table)
        else:
            _posterised(magnitude, table)
        for channel in range(3):
            _look_up(x[channel], table, result[channel])
    else:
        _affine(x, matrix, result)


@compiled()
def _blended(degenerate: Any, x: Any, factor: Any) -> Any:
    mixed = (x - degenerate) * factor + degenerate
    return np.uint8(min(max(mixed, _0), _255))


# ---- what becomes of each level alone


@compiled()
def _look_up(x: Array, table: Array, result: Array) -> None:
    levels, found = x.reshape(-1), result.reshape(-1)
    for place in range(len(levels)):
        found[place] = table[levels[place]]


@compiled()
def _solarised(threshold: Any, table: Array) -> None:
    first = np.ceil(threshold)
    for level in range(256):
        table[level] = level if level < first else 255 - level


@compiled()
def _contrasted(mean: Any, factor: Any, table: Array) -> None:
    for level in range(256):
        table[level] = _blended(mean, np.float32(level), factor)


@compiled()
def _brightened(factor: Any, table: Array) -> None:
    for level in range(256):
        table[level] = np.uint8(min(np.float32(level) * factor, _255))


@compiled()
def _posterised(bits: Any, table: Array) -> None:
    kept = np.uint8(256 - 2 ** int(8 - np.floor(bits)))
    for level in range(256):
        table[level] = np.uint8(level) & kept


@compiled()
def _auto_contrast(x: Array, result: Array) -> None:
    table = np.empty(256, np.uint8)
    for channel in range(3):
        low, high = x[channel].min(), x[channel].max()
        for level in range(256):
            stretched = np.float32(level - np.int32(low)) * _255 / np.float32(max(high - low, 1))
            table[level] = np.uint8(stretched) if low <= level <= high and low < high else level
        _look_up(x[channel], table, result[channel])


@compiled()
def _equalise(x: Array, result: Array) -> None:
    counts, table = np.empty(256, np.int64), np.empty(256, np.uint8)
    for channel in range(3):
        levels = x[channel].reshape(-1)
        counts[:] = 0
        for level in levels:
            counts[level] += 1
        highest = 255
        while counts[highest] == 0:
            highest -= 1
        step = (len(levels) - counts[highest]) // 255
        below = 0
        for level in range(256):
            table[level] = min((below + step // 2) // step, 255) if step > 0 else level
            below += counts[level]
        _look_up(x[channel], table, result[channel])


@compiled()
def _mean_grey(x: Array) -> Any:
    red, green, blue = x[0].reshape(-1), x[1].reshape(-1), x[2].reshape(-1)
    total = 0
    for place in range(len(red)):
        total += _grey(red[place], green[place], blue[place])
    return np.float32(np.floor(total / len(red) + 0.5))


# ---- what becomes of each pixel


@compiled()
def _grey(red: Any, green: Any, blue: Any) -> Any:
    """ITU-R 601, in units of 1/65536."""
    weighed = np.int32(19595) * red + np.int32(38470) * green + np.int32(7471) * blue
    return (weighed + np.int32(32768)) >> 16


@compiled()
def _colour(x: Array, factor: Any, result: Array) -> None:
    red, green, blue = x[0].reshape(-1), x[1].reshape(-1), x[2].reshape(-1)
    reds, greens, blues = result[0].reshape(-1), result[1].reshape(-1), result[2].reshape(-1)
    for place in range(len(red)):
        grey = np.float32(_grey(red[place], green[place], blue[place]))
        reds[place] = _blended(grey, np.float32(red[place]), factor)
        greens[place] = _blended(grey, np.float32(green[place]), factor)
        blues[place] = _blended(grey, np.float32(blue[place]), factor)


@compiled()
def _sharpness(x: Array, factor: Any, result: Array) -> None:
    side = x.shape[1]
    for channel in range(3):
        source = x[channel]
        for row in range(side):
            edge = row == 0 or row == side - 1
            for column in range(side):
                here = np.float32(source[row, column])
                smooth = here
                if not (edge or column == 0 or column == side - 1):
                    total = np.int32(4) * source[row, column]
                    for down in range(-1, 2):
                        for across in range(-1, 2):
                            total += source[row + down, column + across]
                    smooth = np.floor(np.float32(total) / _13 + _HALF)
                result[channel, row, column] = _blended(smooth, here, factor)


@compiled()
def _hue(x: Array, sixths: Any, result: Array) -> None:
    for row in range(x.shape[1]):
        for column in range(x.shape[2]):
            red = np.float32(x[0, row, column])
            green = np.float32(x[1, row, column])
            blue = np.float32(x[2, row, column])
            value = max(red, green, blue)
            chroma = value - min(red, green, blue)
            if value == red:
                place, start = green - blue, _0
            elif value == green:
                place, start = blue - red, _2
            else:
                place, start = red - green, _4
            place = place / max(chroma, _1) + start + sixths
            place -= np.floor(place / _6) * _6
            rest = value - chroma
            result[0, row, column] = _share(abs(place - _3) - _1, chroma, rest)
            result[1, row, column] = _share(_2 - abs(place - _2), chroma, rest)
            result[2, row, column] = _share(_2 - abs(place - _4), chroma, rest)


@compiled()
def _share(share: Any, chroma: Any, rest: Any) -> Any:
    return np.uint8(min(max(share, _0), _1) * chroma + rest + _HALF)


# ---- where pixels go


@compiled()
def _affine(x: Array, matrix: Array, result: Array) -> None:
    side = np.int32(x.shape[1])
    right, down = matrix[0], matrix[3]  # how far the source moves from one column to the next
    red, green, blue = x[0].reshape(-1), x[1].reshape(-1), x[2].reshape(-1)
    for row in range(side):
        start = np.int32(matrix[1] * row + matrix[2])
        start_deep = np.int32(matrix[4] * row + matrix[5])
        first, behind = 0, side  # the columns that are inside the picture
        across, deep = start, start_deep
        while first < side and not _inside(across, deep, side):
            first += 1
            across, deep = np.int32(across + right), np.int32(deep + down)
        across = np.int32(start + right * (side - 1))
        deep = np.int32(start_deep + down * (side - 1))
        while first < behind and not _inside(across, deep, side):
            behind -= 1
            across, deep = np.int32(across - right), np.int32(deep - down)
        reds, greens, blues = result[0, row], result[1, row], result[2, row]
        for line in (reds, greens, blues):
            line[:first] = 0
            line[behind:] = 0
        across = np.int32(start + right * first)
        deep = np.int32(start_deep + down * first)
        for column in range(first, behind):
            place = np.uint32((deep >> 16) * side + (across >> 16))
            reds[column], greens[column], blues[column] = red[place], green[place], blue[place]
            across, deep = np.int32(across + right), np.int32(deep + down)


@compiled()
def _inside(across: Any, deep: Any, side: Any) -> bool:
    """Whether a place in units of 1/65536 pixel is in the picture."""
    return 0 <= across < side << 16 and 0 <= deep < side << 16
