"""What a view is: the random choices of a batch, and how they are applied to its images."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Protocol, TypeVar

import torch
from torch import Generator, Tensor

from deep_clustering.methods.images.pictures import Pictures

Draws = dict[str, Tensor]
CPU_PART = 2**20  # pixel values worked on at a time on a CPU: what its caches hold as float32
GPU_PART = 2**28  # and on a GPU: 1 GiB as float32, 350 photographs of 500 x 500


class View(Protocol):
    """What ``Clean``, ``Weak``, ``Strong`` and ``Contrastive`` have in common."""

    @property
    def side(self) -> int:
        """Height and width of the view in pixels."""

    def draw(self, n: int, generator: Generator) -> Draws:
        """All random choices for ``n`` images, each tensor (n, ...), on the generator's device."""

    def apply(self, pictures: Pictures, draws: Draws, mean: Tensor, std: Tensor) -> Tensor:
        """Views of ``pictures``.

        ``draws``: from ``draw``, a row a picture. ``mean`` and ``std``: (3,), of pixels scaled to
        [0, 1]. Returns float32 (n, 3, side, side), contiguous, without gradient.
        """


V = TypeVar("V", bound=View)
Apply = Callable[[V, Pictures, Draws, Tensor, Tensor], Tensor]


def in_parts(apply: Apply[V]) -> Apply[V]:
    """``View.apply`` without gradient, with its input checked, in parts that memory can hold."""

    @wraps(apply)
    @torch.no_grad()
    def whole(view: V, pictures: Pictures, draws: Draws, mean: Tensor, std: Tensor) -> Tensor:
        pixels, size = pictures
        n = len(pixels)
        if pixels.dtype != torch.uint8 or pixels.dim() != 4 or pixels.shape[1] != 3:
            raise ValueError(
                f"pictures: uint8 (n, 3, H, H), got {pixels.dtype} {tuple(pixels.shape)}."
            )
        if size is not None and size.shape != (n, 2):
            raise ValueError(f"size: (n, 2) with n = {n}, got {tuple(size.shape)}.")
        for name, values in draws.items():
            if len(values) != n:
                raise ValueError(
                    f"draws: one row per image, got {len(values)} rows of {name!r} for {n} images."
                )
        part = CPU_PART if pixels.device.type == "cpu" else GPU_PART
        rows = max(16, part // (3 * max(view.side, pictures.side) ** 2))
        if n <= rows:
            return apply(view, pictures, draws, mean, std)
        result = torch.empty(n, 3, view.side, view.side, device=pixels.device)
        for start in range(0, n, rows):
            some = slice(start, start + rows)
            mine = {name: values[some] for name, values in draws.items()}
            result[some] = apply(view, pictures.part(some), mine, mean, std)
        return result

    return whole


def normalise(pixels: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """uint8 (n, 3, H, W) to float32 (x / 255 - mean) / std, contiguous."""
    x = pixels.to(torch.float32, memory_format=torch.contiguous_format)
    return x.sub_(255 * mean[:, None, None]).mul_(1 / (255 * std[:, None, None]))
