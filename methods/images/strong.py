"""The strong view: crop, flip, random operations and a hole."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Generator

from deep_clustering.methods.images._checks import (
    probability_mistake,
    refuse,
    scale_mistake,
    side_mistake,
)
from deep_clustering.methods.images.crops import cropped, draw_crop
from deep_clustering.methods.images.operations import Operation
from deep_clustering.methods.images.pictures import Frame, Pictures
from deep_clustering.methods.images.resampling import triangle
from deep_clustering.methods.images.steps import Steps, by_steps
from deep_clustering.methods.images.view import Draws

# The fourteen operations of the strong view and the range of each magnitude: SCAN's augmentations,
# which CDC (Sec. 4.1) and DPAC take over. A posterising magnitude counts with its integer part.
STRONG_RANGES: dict[Operation, tuple[float, float]] = {
    Operation.IDENTITY: (0.0, 0.0),
    Operation.AUTO_CONTRAST: (0.0, 0.0),
    Operation.EQUALISE: (0.0, 0.0),
    Operation.ROTATE: (-30.0, 30.0),
    Operation.SOLARISE: (0.0, 256.0),
    Operation.COLOUR: (0.05, 0.95),
    Operation.CONTRAST: (0.05, 0.95),
    Operation.BRIGHTNESS: (0.05, 0.95),
    Operation.SHARPNESS: (0.05, 0.95),
    Operation.SHEAR_X: (-0.1, 0.1),
    Operation.SHEAR_Y: (-0.1, 0.1),
    Operation.TRANSLATE_X: (-0.1, 0.1),
    Operation.TRANSLATE_Y: (-0.1, 0.1),
    Operation.POSTERISE: (4.0, 8.0),
}


@dataclass(frozen=True)
class Strong:
    """Flip, random resized crop (bilinear), random operations, normalise, cutout (CDC Sec. 4.1).

    The operations are drawn with replacement from the fourteen of ``STRONG_RANGES``, each applied
    with a uniform magnitude. Cutout fills one square with 0 after normalisation, i.e. with the mean
    colour: l uniform in 1..``cutout``, half-side floor(l / 2), centre uniform over the pixels,
    clipped at the borders. The flip is applied after the crop, which is the same in distribution
    because the crop's place is symmetric.
    """

    side: int
    crop_scale: tuple[float, float] = (0.08, 1.0)  # share of the frame's area; (1, 1): no crop
    flip: float = 0.5  # probability
    operations: int = 4  # draws per image
    cutout: int = 16  # L, pixels; 0 cuts nothing
    frame: Frame = "whole"  # what is cropped

    def __post_init__(self) -> None:
        refuse(
            side_mistake(self.side),
            scale_mistake(self.crop_scale),
            probability_mistake("flip", self.flip),
            None if self.operations >= 0 else f"operations: at least 0, got {self.operations}",
            None if self.cutout >= 0 else f"cutout: at least 0 pixels, got {self.cutout}",
        )

    def draw(self, n: int, generator: Generator) -> Draws:
        """See ``View.draw``."""
        device = generator.device
        draws = draw_crop(n, self.crop_scale, self.flip, generator)
        shape = (n, self.operations)
        which = torch.randint(len(STRONG_RANGES), shape, generator=generator, device=device)
        low, high = torch.tensor(list(STRONG_RANGES.values()), device=device).unbind(1)
        share = torch.rand(shape, generator=generator, device=device)
        magnitude = low[which] + share * (high - low)[which]
        draws["operation"] = torch.tensor(list(STRONG_RANGES), device=device)[which]
        # The integer part of (4, 8) is at most 7; the product above may have been rounded up to 8.
        draws["magnitude"] = torch.where(
            draws["operation"] == Operation.POSTERISE, magnitude.floor().clamp(max=7), magnitude
        )
        if self.cutout:
            length = torch.randint(1, self.cutout + 1, (n, 1), generator=generator, device=device)
            centre = torch.randint(self.side, (n, 2), generator=generator, device=device)
            draws["hole"] = torch.cat([centre, length // 2], dim=1)  # row, column, half-side
        return draws

    @by_steps
    def apply(self, pictures: Pictures, draws: Draws) -> Steps:
        """See ``View.apply``."""
        steps = cropped(pictures, draws, triangle, scale=self.crop_scale, frame=self.frame)
        if not self.cutout:
            return steps
        row, column, half = draws["hole"].unbind(1)
        hole = torch.stack([row - half, row + half, column - half, column + half], dim=1)
        return steps._replace(hole=hole)
