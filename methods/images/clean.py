"""The clean view: an image as it is, which targets and predictions come from."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from deep_clustering.methods.images._checks import refuse, side_mistake
from deep_clustering.methods.images.crops import centre
from deep_clustering.methods.images.pictures import Frame, Pictures
from deep_clustering.methods.images.resampling import Resize, resample, triangle
from deep_clustering.methods.images.view import Draws, check, normalised, parts


@dataclass(frozen=True)
class Clean:
    """The image itself: resize, centre crop to ``side``, normalise. Draws nothing.

    ``resize``: bilinear, antialiased. With the frame "centre" the shorter side of a picture becomes
    that long and the other one follows, as "resize to 256, centre crop 224" does; with "whole" both
    do, which squashes a picture that is not square. None is the side of the stored squares: the
    pixels as they are, where pictures fill them.
    """

    side: int
    resize: int | None = None  # pixels, at least side
    frame: Frame = "centre"

    def __post_init__(self) -> None:
        refuse(
            side_mistake(self.side),
            None
            if self.resize is None or self.resize >= self.side
            else f"resize: at least side ({self.side}) or None, got {self.resize}",
        )

    def draw(self, n: int, generator: Generator) -> Draws:
        """See ``View.draw``: nothing, and the generator stays where it is."""
        return {}

    @torch.no_grad()
    def apply(self, pictures: Pictures, draws: Draws, mean: Tensor, std: Tensor) -> Tensor:
        """See ``View.apply``."""
        check(pictures, draws)
        target = pictures.side if self.resize is None else self.resize
        if target < self.side:
            raise ValueError(
                f"a clean view of side {self.side} cannot be cut from images of side {target}: "
                f"choose side <= {target}, or set resize to enlarge them."
            )
        as_they_are = pictures.size is None and target == pictures.side
        pixels = pictures.pixels
        result = torch.empty(len(pixels), 3, self.side, self.side, device=pixels.device)
        for some in parts(pixels, self.side):
            if as_they_are:
                levels = centre(pixels[some], self.side)
            else:
                levels = resample(pixels[some], self._lines(pictures.part(some), target))
            normalised(levels, mean, std, out=result[some])
        return result

    def _lines(self, pictures: Pictures, target: int) -> Resize:
        """Of rows and of columns."""
        sizes, stored = pictures.sizes(), pictures.stored()
        resized = torch.full_like(sizes, target)
        if self.frame == "centre":  # torchvision's Resize cuts the fraction of the longer side off
            resized = (target * sizes / sizes.amin(dim=1, keepdim=True)).floor()
        among = torch.stack([((resized - self.side) / 2).round(), resized], dim=2)
        span = torch.stack([torch.zeros_like(stored), stored], dim=2)
        forward = torch.zeros_like(sizes, dtype=torch.bool)
        return Resize(span, forward, self.side, triangle, among)


def clean_view(side: int, enlargement: float | None, frame: Frame = "centre") -> Clean:
    """The middle of a picture brought to `enlargement` times the side; see `Clean`."""
    resize = None if enlargement is None else round(side * enlargement)
    return Clean(side=side, resize=resize, frame=frame)
