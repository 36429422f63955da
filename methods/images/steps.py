"""What a view does to pictures, said as data; and how that is carried out."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import NamedTuple, TypeVar

import torch
from torch import Tensor

from deep_clustering.methods._proven import Proven, triton_is_there
from deep_clustering.methods.images._device import to_device
from deep_clustering.methods.images.operations import operate
from deep_clustering.methods.images.pictures import Pictures
from deep_clustering.methods.images.resampling import Kernel, Resize, resample
from deep_clustering.methods.images.view import Draws, View, check, normalised, parts

FUSED_SIDE = 64  # pixels, of pictures and views: what one program of a GPU holds in registers
_PROOF = 64  # pictures that both ways of making a view are compared on
_OFF = 1e-3  # share of values that may differ by more than a level: a threshold may be crossed


class Steps(NamedTuple):
    """What happens to n pictures, in this order; each tensor on the host where that knows it."""

    span: Tensor  # (n, 2, 2) of rows and of columns: start and length of the crop, pixels
    mirrored: Tensor  # (n,) bool, left and right exchanged
    kernel: Kernel  # of the resampling
    operation: Tensor | None = None  # (n, k) `Operation`, first to last
    magnitude: Tensor | None = None  # (n, k) in the operation's unit
    hole: Tensor | None = None  # (n, 4) pixels: first row, row behind the last, columns likewise
    fill: int | None = None  # level of the hole; None is the mean colour

    def part(self, rows: slice) -> Steps:
        """Of some of the pictures."""
        return self._replace(
            span=self.span[rows],
            mirrored=self.mirrored[rows],
            operation=None if self.operation is None else self.operation[rows],
            magnitude=None if self.magnitude is None else self.magnitude[rows],
            hole=None if self.hole is None else self.hole[rows],
        )


V = TypeVar("V", bound=View)
Apply = Callable[[V, Pictures, Draws, Tensor, Tensor], Tensor]


def by_steps(steps: Callable[[V, Pictures, Draws], Steps]) -> Apply[V]:
    """``View.apply``, from a method that says the steps.

    On a GPU small pictures are made by one program each, if Triton is there; see `programs`.
    """

    @wraps(steps)
    @torch.no_grad()
    def apply(view: V, pictures: Pictures, draws: Draws, mean: Tensor, std: Tensor) -> Tensor:
        check(pictures, draws)
        said = steps(view, pictures, draws)
        small = max(view.side, pictures.side) <= FUSED_SIDE
        make = _made if pictures.pixels.is_cuda and small and triton_is_there() else plain
        return make(pictures.pixels, said, view.side, mean, std)

    return apply


def plain(pixels: Tensor, steps: Steps, side: int, mean: Tensor, std: Tensor) -> Tensor:
    """Views (n, 3, side, side) by operations on whole batches, in parts that memory can hold."""
    result = torch.empty(len(pixels), 3, side, side, device=pixels.device)
    for some in parts(pixels, side):
        mine = steps.part(some)
        levels = _levels(pixels[some], mine, side)
        x = normalised(levels, mean, std, out=result[some])
        if mine.hole is not None and mine.fill is None:
            x.masked_fill_(_inside(mine.hole, x), 0)
    return result


def _levels(pixels: Tensor, steps: Steps, side: int) -> Tensor:
    """uint8 (n, 3, side, side)."""
    mirrored = to_device(steps.mirrored, pixels.device)
    both = torch.stack([torch.zeros_like(mirrored), mirrored], dim=1)
    span = to_device(steps.span, pixels.device)
    levels = resample(pixels, Resize(span, both, side, steps.kernel))
    if steps.operation is not None and steps.magnitude is not None:
        levels = operate(levels, steps.operation, steps.magnitude)
    if steps.hole is not None and steps.fill is not None:
        levels = levels.masked_fill(_inside(steps.hole, levels), steps.fill)
    return levels


def _inside(hole: Tensor, x: Tensor) -> Tensor:
    """Which pixels of squares are in the hole of each: bool (n, 1, S, S)."""
    first, behind = to_device(hole, x.device).view(-1, 2, 2, 1).unbind(2)
    place = torch.arange(x.shape[-1], device=x.device)
    rows, columns = ((place >= first) & (place < behind)).unbind(1)
    return (rows[:, :, None] & columns[:, None, :])[:, None]


def fused(pixels: Tensor, steps: Steps, side: int, mean: Tensor, std: Tensor) -> Tensor:
    """As `plain`, by one program a picture and channels last in memory."""
    from deep_clustering.methods.images import programs  # Triton is not everywhere

    return programs.views(pixels, steps, side, mean, std)


def _case(pixels: Tensor, steps: Steps, side: int, mean: Tensor, std: Tensor) -> object:
    slots = 0 if steps.operation is None else steps.operation.shape[1]
    hole = steps.hole is not None
    return pixels.device, pixels.shape[-1], side, steps.kernel, slots, hole, steps.fill is None


def differs(pixels: Tensor, steps: Steps, side: int, mean: Tensor, std: Tensor) -> str | None:
    """What is wrong with the first few pictures as `fused` makes them, against `plain`."""
    few = slice(0, _PROOF)
    given = pixels[few], steps.part(few), side, mean, std
    levels = (fused(*given) - plain(*given)).abs() * (255 * std.view(3, 1, 1))
    off = float((~(levels < 1.01)).float().mean())  # NaN is off as well
    return None if off <= _OFF else f"{off:.2%} of its values are off by more than a level"


_made = Proven("views", fast=fused, plain=plain, case=_case, differs=differs)
