"""What a view is: the random choices of a batch, and how they are applied to its images."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Protocol, TypeVar

import torch
from torch import Generator, Tensor

Draws = dict[str, Tensor]
CPU_PART = 2**20  # pixel values worked on at a time on a CPU: what its caches hold as float32


class View(Protocol):
    """What ``Clean``, ``Weak``, ``Strong`` and ``Contrastive`` have in common."""

    @property
    def side(self) -> int:
        """Height and width of the view in pixels."""

    def draw(self, n: int, generator: Generator) -> Draws:
        """All random choices for ``n`` images, each tensor (n, ...), on the generator's device."""

    def apply(self, images: Tensor, draws: Draws, mean: Tensor, std: Tensor) -> Tensor:
        """Views of ``images``.

        ``images``: uint8 (n, 3, H, H). ``draws``: from ``draw``, n rows. ``mean`` and ``std``:
        (3,), of pixels scaled to [0, 1]. Returns float32 (n, 3, side, side), contiguous, without
        gradient.
        """


V = TypeVar("V", bound=View)
Apply = Callable[[V, Tensor, Draws, Tensor, Tensor], Tensor]


def in_parts(apply: Apply[V]) -> Apply[V]:
    """``View.apply`` without gradient, with its input checked, in parts on a CPU."""

    @wraps(apply)
    @torch.no_grad()
    def whole(view: V, images: Tensor, draws: Draws, mean: Tensor, std: Tensor) -> Tensor:
        n = len(images)
        if images.dtype != torch.uint8 or images.dim() != 4 or images.shape[1] != 3:
            raise ValueError(
                f"images: uint8 (n, 3, H, H), got {images.dtype} {tuple(images.shape)}."
            )
        for name, values in draws.items():
            if len(values) != n:
                raise ValueError(
                    f"draws: one row per image, got {len(values)} rows of {name!r} for {n} images."
                )
        rows = max(16, CPU_PART // (3 * max(view.side, images.shape[-1]) ** 2))
        if images.device.type != "cpu" or n <= rows:
            return apply(view, images, draws, mean, std)
        result = torch.empty(n, 3, view.side, view.side)
        for start in range(0, n, rows):
            part = slice(start, start + rows)
            mine = {name: values[part] for name, values in draws.items()}
            result[part] = apply(view, images[part], mine, mean, std)
        return result

    return whole


def normalise(pixels: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """uint8 (n, 3, H, W) to float32 (x / 255 - mean) / std, contiguous."""
    x = pixels.to(torch.float32, memory_format=torch.contiguous_format)
    return x.sub_(255 * mean[:, None, None]).mul_(1 / (255 * std[:, None, None]))


def to_device(x: Tensor, device: torch.device) -> Tensor:
    """``x`` on ``device``; to a GPU through pinned memory, so that the host need not wait."""
    if x.device == device:
        return x
    if x.device.type == "cpu" and device.type == "cuda":
        return x.pin_memory().to(device, non_blocking=True)
    return x.to(device)
