"""Pictures of any size in one array of squares, and what part of a picture a view is made of."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from deep_clustering.methods._fields import Frame as Frame


class Pictures(NamedTuple):
    """Pictures as they are stored: each in the upper left corner of its square.

    A picture takes min(its height, H) rows and min(its width, H) columns of a square; what lies
    beyond is never looked at. So one that fits keeps its pixels, and of a larger one each axis is
    shortened to H, by its own factor. All boxes are drawn in the picture's own pixels.

    ``pixels``: uint8 (n, 3, H, H). ``size``: int (n, 2), height and width of the picture before it
    was stored, on the same device; None where all pictures are H x H.
    """

    pixels: Tensor
    size: Tensor | None = None

    @property
    def side(self) -> int:
        """Of the squares, pixels: H."""
        return self.pixels.shape[-1]

    def sizes(self) -> Tensor:
        """Height and width of each picture, float64 (n, 2); (1, 2) where all are H x H."""
        if self.size is None:
            return self.pixels.new_full((1, 2), self.side, dtype=torch.float64)
        return self.size.double()

    def stored(self) -> Tensor:
        """Rows and columns that each picture takes of its square, float64, as `sizes`."""
        return self.sizes().clamp(max=self.side)

    def part(self, rows: slice) -> Pictures:
        """Some of them."""
        return Pictures(self.pixels[rows], None if self.size is None else self.size[rows])


def framed(sizes: Tensor, frame: Frame) -> tuple[Tensor, Tensor]:
    """Upper left corner and size of the part that ``frame`` says, float64 (n, 2) each, pixels.

    ``sizes``: float64 (n, 2), height and width. The centred square may begin at half a pixel.
    """
    if frame == "whole":
        return torch.zeros_like(sizes), sizes
    short = sizes.amin(dim=1, keepdim=True).expand_as(sizes)
    return (sizes - short) / 2, short
