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

Array = NDArray[Any]

_0, _1, _2, _3, _4, _6 = (np.float32(n) for n in (0, 1, 2, 3, 4, 6))
_HALF, _13, _255 = np.float32(0.5), np.float32(13), np.float32(255)
_RED, _GREEN, _BLUE = np.float32(19595), np.float32(38470), np.float32(7471)  # ITU-R 601, 1/65536
_ROUND, _WHOLE = np.float32(32768), np.float32(65536)


def looked_up(x: Tensor, table: Tensor) -> Tensor:
    """Each level by a table: uint8 (n, 3, S, S), and (n, 3 or 1, 256) of what becomes of each."""
    result = torch.empty_like(x)
    each(_looked_up, *_arrays(x, table.expand(-1, 3, -1).contiguous(), result))
    return result


def equalise(x: Tensor) -> Tensor:
    """See ``colour.equalise``."""
    result = torch.empty_like(x)
    each(_equalise, *_arrays(x, result))
    return result


def colour(x: Tensor, factor: Tensor) -> Tensor:
    """See ``colour.colour``."""
    result = torch.empty_like(x)
    each(_colour, *_arrays(x, factor.float().view(-1), result))
    return result


def sharpness(x: Tensor, factor: Tensor) -> Tensor:
    """See ``colour.sharpness``."""
    result = torch.empty_like(x)
    each(_sharpness, *_arrays(x, factor.float().view(-1), result))
    return result


def hue(x: Tensor, turns: Tensor) -> Tensor:
    """See ``colour.hue``."""
    result = torch.empty_like(x)
    each(_hue, *_arrays(x, 6 * turns.float().view(-1), result))
    return result


def affine(x: Tensor, matrix: Tensor) -> Tensor:
    """See ``operations.affine_matrices``."""
    result = torch.empty_like(x)
    each(_affine, *_arrays(x, matrix.to(torch.int32), result))
    return result


def _arrays(*tensors: Tensor) -> list[Array]:
    return [tensor.contiguous().numpy() for tensor in tensors]


@compiled()
def _blended(degenerate: Any, x: Any, factor: Any) -> Any:
    mixed = (x - degenerate) * factor + degenerate
    return np.uint8(min(max(mixed, _0), _255))


@compiled()
def _looked_up(x: Array, table: Array, result: Array) -> None:
    for i in range(x.shape[0]):
        for channel in range(x.shape[1]):
            for row in range(x.shape[2]):
                for column in range(x.shape[3]):
                    level = x[i, channel, row, column]
                    result[i, channel, row, column] = table[i, channel, level]


@compiled()
def _equalise(x: Array, result: Array) -> None:
    counts, table = np.empty(256, np.int64), np.empty(256, np.uint8)
    for i in range(x.shape[0]):
        for channel in range(x.shape[1]):
            levels = x[i, channel].ravel()
            counts[:] = 0
            highest = 0
            for level in levels:
                counts[level] += 1
                highest = max(highest, level)
            step = (len(levels) - counts[highest]) // 255
            below = 0
            for level in range(256):
                table[level] = min((below + step // 2) // step, 255) if step > 0 else level
                below += counts[level]
            found = result[i, channel].ravel()
            for place in range(len(levels)):
                found[place] = table[levels[place]]


@compiled()
def _colour(x: Array, factor: Array, result: Array) -> None:
    for i in range(x.shape[0]):
        for row in range(x.shape[2]):
            for column in range(x.shape[3]):
                red = np.float32(x[i, 0, row, column])
                green = np.float32(x[i, 1, row, column])
                blue = np.float32(x[i, 2, row, column])
                total = red * _RED + green * _GREEN + blue * _BLUE + _ROUND
                grey = np.floor(total / _WHOLE)
                result[i, 0, row, column] = _blended(grey, red, factor[i])
                result[i, 1, row, column] = _blended(grey, green, factor[i])
                result[i, 2, row, column] = _blended(grey, blue, factor[i])


@compiled()
def _sharpness(x: Array, factor: Array, result: Array) -> None:
    side = x.shape[2]
    for i in range(x.shape[0]):
        for channel in range(x.shape[1]):
            source = x[i, channel]
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
                    result[i, channel, row, column] = _blended(smooth, here, factor[i])


@compiled()
def _hue(x: Array, sixths: Array, result: Array) -> None:
    for i in range(x.shape[0]):
        for row in range(x.shape[2]):
            for column in range(x.shape[3]):
                red = np.float32(x[i, 0, row, column])
                green = np.float32(x[i, 1, row, column])
                blue = np.float32(x[i, 2, row, column])
                value = max(red, green, blue)
                chroma = value - min(red, green, blue)
                if value == red:
                    place, start = green - blue, _0
                elif value == green:
                    place, start = blue - red, _2
                else:
                    place, start = red - green, _4
                place = place / max(chroma, _1) + start + sixths[i]
                place -= np.floor(place / _6) * _6
                rest = value - chroma
                result[i, 0, row, column] = _share(abs(place - _3) - _1, chroma, rest)
                result[i, 1, row, column] = _share(_2 - abs(place - _2), chroma, rest)
                result[i, 2, row, column] = _share(_2 - abs(place - _4), chroma, rest)


@compiled()
def _share(share: Any, chroma: Any, rest: Any) -> Any:
    return np.uint8(min(max(share, _0), _1) * chroma + rest + _HALF)


@compiled()
def _affine(x: Array, matrix: Array, result: Array) -> None:
    side = x.shape[2]
    source = np.empty(side, np.int32)
    for i in range(x.shape[0]):
        a, b, c, d, e, f = matrix[i]
        for row in range(side):
            for column in range(side):
                across = (a * column + (b * row + c)) >> 16
                down = (d * column + (e * row + f)) >> 16
                inside = across >= 0 and across < side and down >= 0 and down < side
                source[column] = down * side + across if inside else -1
            for channel in range(x.shape[1]):
                levels = x[i, channel].ravel()
                for column in range(side):
                    place = source[column]
                    result[i, channel, row, column] = levels[place] if place >= 0 else 0
