"""What a view is: the random choices of a batch, and how they are applied to its images."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import torch
from torch import Generator, Tensor

from deep_clustering.methods.images.pictures import Pictures

Draws = dict[str, Tensor]
CPU_PART = 2**20  # pixel values worked on at a time on a CPU: what its caches hold as float32
GPU_PART = 2**28  # and on a GPU: 1 GiB as float32, 350 photographs of 500 x 500


class View(Protocol):
    """What all views have in common."""

    @property
    def side(self) -> int:
        """Height and width of the view in pixels."""

    def draw(self, n: int, generator: Generator) -> Draws:
        """All random choices for ``n`` images, each tensor (n, ...), on the generator's device."""

    def apply(self, pictures: Pictures, draws: Draws, mean: Tensor, std: Tensor) -> Tensor:
        """Views of ``pictures``.

        ``draws``: from ``draw``, a row a picture. ``mean`` and ``std``: (3,), of pixels scaled to
        [0, 1]. Returns float32 (n, 3, side, side), without gradient.
        """


def check(pictures: Pictures, draws: Draws) -> None:
    """Raises ValueError where the input of ``View.apply`` does not fit together."""
    pixels, size = pictures
    n = len(pixels)
    if pixels.dtype != torch.uint8 or pixels.dim() != 4 or pixels.shape[1] != 3:
        raise ValueError(f"pictures: uint8 (n, 3, H, H), got {pixels.dtype} {tuple(pixels.shape)}.")
    if size is not None and size.shape != (n, 2):
        raise ValueError(f"size: (n, 2) with n = {n}, got {tuple(size.shape)}.")
    for name, values in draws.items():
        if len(values) != n:
            raise ValueError(
                f"draws: one row per image, got {len(values)} rows of {name!r} for {n} images."
            )


def parts(pixels: Tensor, side: int) -> Iterator[slice]:
    """Rows of pictures (n, 3, H, H) that memory can hold together while views of them are made."""
    part = CPU_PART if pixels.device.type == "cpu" else GPU_PART
    rows = max(16, part // (3 * max(side, pixels.shape[-1]) ** 2))
    for start in range(0, len(pixels), rows):
        yield slice(start, start + rows)


def normalised(levels: Tensor, mean: Tensor, std: Tensor, *, out: Tensor) -> Tensor:
    """(x / 255 - mean) / std of levels (n, 3, S, S), written to ``out``."""
    shift, scale = to_normalise(mean, std)
    return out.copy_(levels).sub_(shift[:, None, None]).mul_(scale[:, None, None])


def to_normalise(mean: Tensor, std: Tensor) -> tuple[Tensor, Tensor]:
    """What is taken from a level, and what the difference is multiplied with: (3,) each."""
    return 255 * mean, 1 / (255 * std)
