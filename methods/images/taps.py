"""Resampling on a CPU by the few weights of a line that are not zero: for views of large pictures.

The same numbers as ``resampling.resample`` to the bit: weights are whole multiples of 1/1024, so
that sums of them are exact in whole numbers as they are in float32. As there, lines are rounded
to 8 bits after the horizontal pass. A part of a picture that no weight reaches is not read.

Compiled on first use, in a few seconds, and kept on disk from then on.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from deep_clustering.methods._compiled import compiled, each
from deep_clustering.methods.images.resampling import Taps

Array = NDArray[Any]

_BLOCK = 16  # pixels, side of the squares in which lines become columns


def resample(pixels: Tensor, taps: Taps) -> Tensor:
    """Separable resampling, horizontally first; see ``resampling.resample``.

    ``pixels``: uint8 (n, 3, H, H), on the CPU. ``taps``: of rows and columns, see ``Lines``.
    """
    n = len(pixels)
    first = taps.first.to(torch.int32).expand(n, -1, -1).contiguous()
    weight = (taps.weight * 1024).to(torch.int32).expand(n, -1, -1, -1).contiguous()
    result = torch.empty(*pixels.shape[:2], first.shape[2], first.shape[2], dtype=torch.uint8)
    each(_resampled, *(x.numpy() for x in (pixels, first, weight, result)))
    return result


@compiled()
def _reach(first: Array, weight: Array) -> tuple[int, int]:
    """The pixels that weights reach: the first one, and the one behind the last one."""
    low, high = 1 << 30, 0
    for line in range(weight.shape[0]):
        for tap in range(weight.shape[1]):
            if weight[line, tap] != 0:
                low = min(low, first[line] + tap)
                high = max(high, first[line] + tap + 1)
    return low, high


@compiled()
def _turned(source: Array, target: Array) -> None:
    """target = source with rows and columns exchanged."""
    height, width = source.shape
    for top in range(0, height, _BLOCK):
        for left in range(0, width, _BLOCK):
            for column in range(left, min(left + _BLOCK, width)):
                for row in range(top, min(top + _BLOCK, height)):
                    target[column, row] = source[row, column]


@compiled()
def _combined(source: Array, first: Array, weight: Array, low: int, target: Array) -> None:
    """Each line of the target is a weighted sum of lines of the source, whose first one is `low`.

    ``source``: uint8 (h, w). ``target``: uint8 (lines, w).
    """
    width = source.shape[1]
    total = np.empty(width, np.int32)
    for line in range(weight.shape[0]):
        total[:] = 512
        for tap in range(weight.shape[1]):
            share = weight[line, tap]
            if share != 0:
                one = source[first[line] + tap - low]
                for place in range(width):
                    total[place] += share * np.int32(one[place])
        for place in range(width):
            target[line, place] = min(max(total[place] >> 10, 0), 255)


@compiled()
def _resampled(pixels: Array, first: Array, weight: Array, result: Array) -> None:
    side = result.shape[2]
    for i in range(pixels.shape[0]):
        top, bottom = _reach(first[i, 0], weight[i, 0])
        left, right = _reach(first[i, 1], weight[i, 1])
        turned = np.empty((right - left, bottom - top), np.uint8)
        narrow = np.empty((side, bottom - top), np.uint8)
        back = np.empty((bottom - top, side), np.uint8)
        for channel in range(pixels.shape[1]):
            _turned(pixels[i, channel, top:bottom, left:right], turned)
            _combined(turned, first[i, 1], weight[i, 1], left, narrow)
            _turned(narrow, back)
            _combined(back, first[i, 0], weight[i, 0], top, result[i, channel])
