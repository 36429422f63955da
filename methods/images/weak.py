"""The weak view: crop and flip."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Generator

from deep_clustering.methods.images._checks import (
    probability_mistake,
    refuse,
    scale_mistake,
    side_mistake,
)
from deep_clustering.methods.images.crops import cropped, draw_crop
from deep_clustering.methods.images.pictures import Frame, Pictures
from deep_clustering.methods.images.resampling import triangle
from deep_clustering.methods.images.steps import Steps, by_steps
from deep_clustering.methods.images.view import Draws


@dataclass(frozen=True)
class Weak:
    """Random resized crop (bilinear), horizontal flip, normalise (CDC Sec. 4.1)."""

    side: int
    crop_scale: tuple[float, float] = (0.08, 1.0)  # share of the frame's area; (1, 1): no crop
    flip: float = 0.5  # probability
    frame: Frame = "whole"  # what is cropped

    def __post_init__(self) -> None:
        refuse(
            side_mistake(self.side),
            scale_mistake(self.crop_scale),
            probability_mistake("flip", self.flip),
        )

    def draw(self, n: int, generator: Generator) -> Draws:
        """See ``View.draw``."""
        return draw_crop(n, self.crop_scale, self.flip, generator)

    @by_steps
    def apply(self, pictures: Pictures, draws: Draws) -> Steps:
        """See ``View.apply``."""
        return cropped(pictures, draws, triangle, scale=self.crop_scale, frame=self.frame)
