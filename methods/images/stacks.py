"""Images that a frozen encoder has seen: of each a stack of features, one for every view."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from deep_clustering.methods.images._device import to_device
from deep_clustering.methods.images.images import Images
from deep_clustering.methods.images.pictures import Pictures
from deep_clustering.methods.images.view import Draws


class Stacks(Images):
    """Features in place of images: the picture of an image is the stack of its views' features.

    Args:
        views: each (n, D), of the same n images; the clean one first. They may be memory-mapped:
            rows are read when they are taken.
        index: (n,) int64, ascending: which images of the dataset these are.
        count: images of the dataset; indices of others than `index` are refused.
        device: that stacks are handed out on.
    """

    def __init__(
        self, views: Sequence[Tensor], *, index: Tensor, count: int, device: torch.device
    ) -> None:
        self.device = device
        self.dimension: int = views[0].shape[1]
        self.views = tuple(views)
        self._count = count
        self._row = torch.full((count,), -1, dtype=torch.int64)
        self._row[index] = torch.arange(len(index))
        # What a learner asks of images and a stack does not use.
        self.side = 1
        self.mean = torch.zeros(3, device=device)
        self.std = torch.ones(3, device=device)

    def __len__(self) -> int:
        return self._count

    def take(self, index: Tensor) -> Pictures:
        """The stacks of the images at `index` (n,): float32 (n, views, D) on the device."""
        rows = self._row[index.cpu()]
        if len(rows) and int(rows.min()) < 0:
            raise IndexError("an image was asked for whose features are not here")
        stack = torch.stack([view[rows] for view in self.views], 1).float()
        return Pictures(to_device(stack, self.device))


@dataclass(frozen=True)
class Cached:
    """A view of stacks: the features of one of `count` kept views, drawn for each image.

    Attributes:
        first: place in the stack of the first of them.
        count: how many there are to draw from; one draws nothing.
    """

    first: int
    count: int = 1
    side: int = 1

    def draw(self, n: int, generator: Generator) -> Draws:
        """See ``View.draw``."""
        if self.count == 1:
            return {}
        return {"which": torch.randint(self.count, (n,), generator=generator)}

    def apply(self, pictures: Pictures, draws: Draws, mean: Tensor, std: Tensor) -> Tensor:
        """Features (n, D) of stacks."""
        stack = pictures.pixels
        if "which" not in draws:
            return stack[:, self.first]
        which = to_device(draws["which"], stack.device)
        return stack[torch.arange(len(stack), device=stack.device), self.first + which]
