"""RUC's strong view: crop, flip, operations of one strength each, and a grey square."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from deep_clustering.methods.images._checks import (
    probability_mistake,
    refuse,
    scale_mistake,
    side_mistake,
)
from deep_clustering.methods.images.crops import cropped, draw_crop
from deep_clustering.methods.images.operations import Operation, is_geometric
from deep_clustering.methods.images.pictures import Frame, Pictures
from deep_clustering.methods.images.resampling import triangle
from deep_clustering.methods.images.steps import Steps, by_steps
from deep_clustering.methods.images.view import Draws

#: The strength of each operation in RUC's release. It draws a level from {1, ..., m - 1} on a scale
#: of 10 with m = 2, so the level is always 1, and level / 10 of the range of the paper's Table 4
#: counts from its lower end. The geometric ones draw a sign.
STRENGTHS: dict[Operation, float] = {
    Operation.IDENTITY: 0.0,
    Operation.AUTO_CONTRAST: 0.0,
    Operation.EQUALISE: 0.0,
    Operation.ROTATE: 41.0,
    Operation.SOLARISE: 231.0,
    Operation.COLOUR: 0.109,
    Operation.CONTRAST: 0.109,
    Operation.BRIGHTNESS: 0.109,
    Operation.SHARPNESS: 0.109,
    Operation.SHEAR_X: 0.27,
    Operation.SHEAR_Y: 0.27,
    Operation.TRANSLATE_X: 0.27,
    Operation.TRANSLATE_Y: 0.27,
    Operation.POSTERISE: 8.0,  # all bits: nothing happens
}
_SHARE = 0.5  # probability that a drawn operation is executed; release
_GREY = 127  # colour of the square; release


@dataclass(frozen=True)
class RandAugment:
    """Random resized crop (bilinear), flip, distinct operations, a grey square, normalise.

    The operations are drawn without replacement from the fourteen of ``STRENGTHS``, and each of
    them is executed with probability 0.5. The square is ``cutout`` + 1 pixels wide; its centre is
    uniform over the pixels, and it is moved back at the upper and left border but cut at the
    others (RUC's release).
    """

    side: int
    crop_scale: tuple[float, float] = (0.2, 1.0)  # share of the frame's area; (1, 1): no crop
    flip: float = 0.5  # probability
    operations: int = 2  # draws per image, 0 to 14
    cutout: int = 16  # pixels; 0 cuts nothing
    frame: Frame = "whole"  # what is cropped

    def __post_init__(self) -> None:
        most = len(STRENGTHS)
        refuse(
            side_mistake(self.side),
            scale_mistake(self.crop_scale),
            probability_mistake("flip", self.flip),
            None
            if 0 <= self.operations <= most
            else f"operations: from 0 to {most}, got {self.operations}",
            None if self.cutout >= 0 else f"cutout: at least 0 pixels, got {self.cutout}",
        )

    def draw(self, n: int, generator: Generator) -> Draws:
        """See ``View.draw``."""
        device = generator.device

        def uniform(*shape: int) -> Tensor:
            return torch.rand(shape, generator=generator, device=device)

        draws = draw_crop(n, self.crop_scale, self.flip, generator)
        which = uniform(n, len(STRENGTHS)).argsort(dim=1)[:, : self.operations]
        operation = torch.tensor(list(STRENGTHS), device=device)[which]
        strength = torch.tensor(list(STRENGTHS.values()), device=device)[which]
        negative = is_geometric(operation) & (uniform(*which.shape) < 0.5)
        executed = uniform(*which.shape) < _SHARE
        draws["operation"] = torch.where(executed, operation, int(Operation.IDENTITY))
        draws["magnitude"] = torch.where(negative, -strength, strength)
        if self.cutout:
            centre = torch.randint(self.side, (n, 2), generator=generator, device=device)
            draws["corner"] = (centre - self.cutout // 2).clamp_min(0)  # row, column
        return draws

    @by_steps
    def apply(self, pictures: Pictures, draws: Draws) -> Steps:
        """See ``View.apply``."""
        steps = cropped(pictures, draws, triangle, scale=self.crop_scale, frame=self.frame)
        if not self.cutout:
            return steps
        row, column = draws["corner"].unbind(1)
        width = self.cutout + 1
        hole = torch.stack([row, row + width, column, column + width], dim=1)
        return steps._replace(hole=hole, fill=_GREY)
