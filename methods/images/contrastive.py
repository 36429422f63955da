"""The view of contrastive pretraining: crop, colour jitter, grey and blur."""

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
from deep_clustering.methods.images.resampling import cubic
from deep_clustering.methods.images.steps import Steps, by_steps
from deep_clustering.methods.images.view import Draws

BLUR_RADIUS = (0.1, 2.0)  # pixels, standard deviation; MoCo v2
SOLARISED = 128  # level: this and higher ones are inverted; BYOL


@dataclass(frozen=True)
class Contrastive:
    """The view of contrastive pretraining (MoCo v2, SimCLR), in the order of solo-learn's pipeline.

    Random resized crop (bicubic); with probability ``jitter`` brightness, contrast, saturation and
    hue in an order drawn per sample; grey; Gaussian blur of radius uniform in ``BLUR_RADIUS``;
    solarise at ``SOLARISED``; horizontal flip; normalise. Brightness, contrast and saturation
    factors are uniform in [max(0, 1 - s), 1 + s], the hue shift in [-s, s] turns.
    """

    side: int
    crop_scale: tuple[float, float] = (0.08, 1.0)  # share of the frame's area; (1, 1): no crop
    jitter: float = 0.8  # probability
    jitter_strength: tuple[float, float, float, float] = (0.4, 0.4, 0.4, 0.1)  # s of b, c, s, hue
    grey: float = 0.2  # probability
    blur: float = 0.5  # probability
    solarise: float = 0.0  # probability
    flip: float = 0.5  # probability
    frame: Frame = "whole"  # what is cropped

    def __post_init__(self) -> None:
        strengths_fit = (
            len(self.jitter_strength) == 4
            and min(self.jitter_strength) >= 0
            and self.jitter_strength[3] <= 0.5
        )
        refuse(
            side_mistake(self.side),
            scale_mistake(self.crop_scale),
            probability_mistake("jitter", self.jitter),
            None
            if strengths_fit
            else "jitter_strength: four numbers >= 0 (brightness, contrast, saturation, hue), hue "
            f"at most 0.5, got {self.jitter_strength}",
            probability_mistake("grey", self.grey),
            probability_mistake("blur", self.blur),
            probability_mistake("solarise", self.solarise),
            probability_mistake("flip", self.flip),
        )

    def draw(self, n: int, generator: Generator) -> Draws:
        """See ``View.draw``."""
        device = generator.device
        draws = draw_crop(n, self.crop_scale, self.flip, generator)
        happens = torch.rand((n, 3), generator=generator, device=device)
        jittered, greyed, blurred = (
            happens < torch.tensor([self.jitter, self.grey, self.blur], device=device)
        ).unbind(1)

        which = (Operation.BRIGHTNESS, Operation.CONTRAST, Operation.COLOUR, Operation.HUE)
        low = [max(0.0, 1 - s) for s in self.jitter_strength[:3]] + [-self.jitter_strength[3]]
        high = [1 + s for s in self.jitter_strength[:3]] + [self.jitter_strength[3]]
        share = torch.rand((n, 4), generator=generator, device=device)
        factors = torch.tensor(low, device=device).lerp(torch.tensor(high, device=device), share)
        order = torch.rand((n, 4), generator=generator, device=device).argsort(dim=1)
        radius = torch.empty(n, device=device).uniform_(*BLUR_RADIUS, generator=generator)

        identity = torch.full((n, 6), int(Operation.IDENTITY), device=device)
        operation = torch.tensor(which, device=device)[order]
        grey_and_blur = torch.tensor([Operation.COLOUR, Operation.BLUR], device=device).expand(n, 2)
        chosen = torch.cat([jittered[:, None].expand(n, 4), greyed[:, None], blurred[:, None]], 1)
        draws["operation"] = torch.where(
            chosen, torch.cat([operation, grey_and_blur], dim=1), identity
        )
        draws["magnitude"] = torch.cat(  # colour with factor 0 is grey
            [factors.gather(1, order), torch.zeros(n, 1, device=device), radius[:, None]], dim=1
        )
        return self._solarised(draws, generator) if self.solarise > 0 else draws

    def _solarised(self, draws: Draws, generator: Generator) -> Draws:
        """The draws with one operation more, drawn last: views without it stay as they are."""
        n, device = len(draws["operation"]), generator.device
        happens = torch.rand((n, 1), generator=generator, device=device) < self.solarise
        operation = torch.where(happens, int(Operation.SOLARISE), int(Operation.IDENTITY))
        level = torch.full((n, 1), float(SOLARISED), device=device)
        draws["operation"] = torch.cat([draws["operation"], operation], dim=1)
        draws["magnitude"] = torch.cat([draws["magnitude"], level], dim=1)
        return draws

    @by_steps
    def apply(self, pictures: Pictures, draws: Draws) -> Steps:
        """See ``View.apply``. The flip commutes with all that follows it here."""
        return cropped(pictures, draws, cubic, scale=self.crop_scale, frame=self.frame)
