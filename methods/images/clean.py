"""The clean view: an image as it is, which targets and predictions come from."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from deep_clustering.methods.images._checks import refuse, side_mistake
from deep_clustering.methods.images.crops import centre
from deep_clustering.methods.images.resampling import resample, resampling_weights, triangle
from deep_clustering.methods.images.view import Draws, in_parts, normalise, to_device


@dataclass(frozen=True)
class Clean:
    """The image itself: centre crop to ``side``, normalise. Draws nothing.

    ``resize``: None takes the pixels as they are stored; a number first brings the stored image to
    that side (bilinear, antialiased), as "resize to 256, centre crop 224" does.
    """

    side: int
    resize: int | None = None  # pixels, at least side

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

    @in_parts
    def apply(self, images: Tensor, draws: Draws, mean: Tensor, std: Tensor) -> Tensor:
        """See ``View.apply``."""
        stored = images.shape[-1]
        if self.resize is not None and self.resize != stored:
            whole = to_device(torch.tensor([[0, stored]]), images.device)
            forward = torch.zeros(1, dtype=torch.bool, device=images.device)
            weights = resampling_weights(whole, forward, stored, self.resize, triangle)
            weights = centre(weights, self.side, dims=(1,)).expand(len(images), -1, -1)
            pixels = resample(images, weights, weights)
        elif stored >= self.side:
            pixels = centre(images, self.side, dims=(2, 3))
        else:
            raise ValueError(
                f"a clean view of side {self.side} cannot be cut from images of side {stored}: "
                f"choose side <= {stored}, or set resize to enlarge them."
            )
        return normalise(pixels, mean, std)


def clean_view(side: int, enlargement: float | None) -> Clean:
    """The middle of an image brought to `enlargement` times the side; None takes it as stored."""
    return Clean(side=side, resize=None if enlargement is None else round(side * enlargement))
