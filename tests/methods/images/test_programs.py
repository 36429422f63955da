"""Triton's programs, run by its interpreter on the CPU, against the operations on whole batches."""

import pytest
import torch
from torch import Tensor

from deep_clustering.methods.images import programs, steps
from deep_clustering.methods.images.crops import cropped, draw_crop
from deep_clustering.methods.images.operations import Operation
from deep_clustering.methods.images.pictures import Pictures
from deep_clustering.methods.images.resampling import Kernel, cubic, triangle
from deep_clustering.methods.images.steps import Steps
from support.programs import interpreted

MEAN, STD = torch.tensor([0.49, 0.48, 0.45]), torch.tensor([0.2, 0.25, 0.3])

#: A magnitude in its unit for every operation, none of which leaves a picture as it is.
MAGNITUDES = {
    Operation.IDENTITY: 0.0,
    Operation.BRIGHTNESS: 1.4,
    Operation.HUE: 0.17,
    Operation.ROTATE: -17.0,
    Operation.SHARPNESS: 0.3,
    Operation.BLUR: 1.3,
    Operation.CONTRAST: 1.6,
    Operation.SHEAR_X: 0.1,
    Operation.SOLARISE: 140.2,
    Operation.COLOUR: 0.4,
    Operation.EQUALISE: 0.0,
    Operation.TRANSLATE_Y: -0.1,
    Operation.POSTERISE: 5.0,
    Operation.AUTO_CONTRAST: 0.0,
    Operation.SHEAR_Y: -0.07,
    Operation.TRANSLATE_X: 0.2,
}


def pixels(n: int, side: int) -> Tensor:
    """Noise of few levels on a slope: no operation finds it flat or full."""
    random = torch.Generator().manual_seed(0)
    noise = torch.randint(0, 60, (n, 3, side, side), generator=random)
    return (noise + 5 * torch.arange(side) + 20 * torch.arange(3).view(3, 1, 1)).to(torch.uint8)


def every_operation(x: Tensor, kernel: Kernel, fill: int | None) -> Steps:
    """A crop, all operations, in an order of its own for every picture, and a hole."""
    random = torch.Generator().manual_seed(1)
    draws = draw_crop(len(x), (0.08, 1.0), 0.5, random)
    crop = cropped(Pictures(x), draws, kernel, scale=(0.08, 1.0), frame="whole")
    order = torch.stack([torch.randperm(len(MAGNITUDES), generator=random) for _ in x])
    hole = torch.tensor([[2, 6, -1, 3]]).expand(len(x), -1)
    return crop._replace(
        operation=torch.tensor(list(MAGNITUDES))[order],
        magnitude=torch.tensor(list(MAGNITUDES.values()))[order],
        hole=hole,
        fill=fill,
    )


def test_every_operation_has_a_magnitude_here() -> None:
    assert set(MAGNITUDES) == set(Operation)


@interpreted
@pytest.mark.parametrize(
    ("kernel", "fill", "source", "side"),
    [(triangle, None, 16, 16), (cubic, 127, 20, 16), (cubic, None, 12, 18)],
)
def test_a_program_makes_the_same_bits(
    kernel: Kernel, fill: int | None, source: int, side: int
) -> None:
    x = pixels(1, source)
    wanted = every_operation(x, kernel, fill)
    theirs = steps.plain(x, wanted, side, MEAN, STD)
    ours = programs.views(x, wanted, side, MEAN, STD)
    assert ours.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(ours, theirs)


@interpreted
def test_a_program_only_crops_where_nothing_else_is_asked() -> None:
    x = pixels(2, 16)
    whole = every_operation(x, triangle, None)._replace(operation=None, magnitude=None, hole=None)
    theirs = steps.plain(x, whole, 16, MEAN, STD)
    assert torch.equal(programs.views(x, whole, 16, MEAN, STD), theirs)
    assert steps.differs(x, whole, 16, MEAN, STD) is None


@interpreted
def test_a_program_that_makes_other_levels_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    x = pixels(1, 16)
    wanted = every_operation(x, triangle, None)._replace(operation=None, magnitude=None)
    made = programs.views
    monkeypatch.setattr(programs, "views", lambda *given: made(*given) + 0.04)
    told = steps.differs(x, wanted, 16, MEAN, STD)
    assert told == "100.00% of its values are off by more than a level"
