"""Random views of image batches: every sample with its own draws, on the device of its images.

A view is two steps. ``draw`` makes all random choices of a batch, ``apply`` uses them:

    view = Weak(32)
    draws = view.draw(len(images), generator)
    x = view.apply(images, draws, mean, std)      # float32 (n, 3, 32, 32), normalised

A row of the result depends on its own image and its own draws and on nothing else, bit for bit. So
several processes draw for the global batch, and each applies its own rows of images and draws.

Hand in a generator on the CPU, also when the images are on a GPU. Then the host knows which sample
gets which operation, groups the samples by operation without asking the device, and the same seed
draws the same views on every kind of device. (Draws made on a GPU work; ``Strong`` and
``Contrastive`` then wait for the device once in each ``apply``.)

The operations are those of Pillow, which the papers' pipelines run on one image at a time: 8-bit
levels between operations and its rounding. Two deliberate differences:

- Resampling weights are multiples of 1/1024. With 8-bit pixels each product and each partial sum is
  then exact, in float32 as in TF32, in any order of summation: rows stay independent of the batch
  whichever matrix kernel runs. Pillow's own weights are finer; the outcome differs by one level in
  a few per cent of the pixels.
- Blur is one Gaussian of Pillow's variance, where Pillow applies three box filters.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from functools import wraps
from math import log
from typing import Protocol, TypeVar

import torch
from torch import Generator, Tensor

Draws = dict[str, Tensor]

CROP_ATTEMPTS = 10  # torchvision's RandomResizedCrop gives up after as many
CROP_RATIO = (3 / 4, 4 / 3)  # width over height, log-uniform; torchvision's default
BLUR_RADIUS = (0.1, 2.0)  # pixels, standard deviation; MoCo v2
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


class Operation(IntEnum):
    """What can happen to the pixels of one sample; the comment gives the unit of its magnitude."""

    IDENTITY = 0
    AUTO_CONTRAST = 1
    EQUALISE = 2
    ROTATE = 3  # degrees, counter-clockwise about the centre
    SOLARISE = 4  # level: this and higher ones are inverted
    COLOUR = 5  # factor: 0 is grey, 1 leaves the image
    CONTRAST = 6  # factor: 0 is the flat mean grey
    BRIGHTNESS = 7  # factor: 0 is black
    SHARPNESS = 8  # factor: 0 is smoothed
    SHEAR_X = 9  # pixels per row
    SHEAR_Y = 10  # pixels per column
    TRANSLATE_X = 11  # share of the side
    TRANSLATE_Y = 12  # share of the side
    POSTERISE = 13  # bits kept
    HUE = 14  # turns, in [-0.5, 0.5]
    BLUR = 15  # pixels, standard deviation


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


# --------------------------------------------------------------------------------------------------
# The views
# --------------------------------------------------------------------------------------------------


V = TypeVar("V", bound=View)
Apply = Callable[[V, Tensor, Draws, Tensor, Tensor], Tensor]


def _in_parts(apply: Apply[V]) -> Apply[V]:
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


@dataclass(frozen=True)
class Clean:
    """The image itself: centre crop to ``side``, normalise. Draws nothing.

    ``resize``: None takes the pixels as they are stored; a number first brings the stored image to
    that side (bilinear, antialiased), as "resize to 256, centre crop 224" does.
    """

    side: int
    resize: int | None = None  # pixels, at least side

    def __post_init__(self) -> None:
        _check(
            _side_mistake(self.side),
            None
            if self.resize is None or self.resize >= self.side
            else f"resize: at least side ({self.side}) or None, got {self.resize}",
        )

    def draw(self, n: int, generator: Generator) -> Draws:
        """See ``View.draw``: nothing, and the generator stays where it is."""
        return {}

    @_in_parts
    def apply(self, images: Tensor, draws: Draws, mean: Tensor, std: Tensor) -> Tensor:
        """See ``View.apply``."""
        stored = images.shape[-1]
        if self.resize is not None and self.resize != stored:
            whole = _moved(torch.tensor([[0, stored]]), images.device)
            forward = torch.zeros(1, dtype=torch.bool, device=images.device)
            weights = _resampling_weights(whole, forward, stored, self.resize, _triangle)
            weights = _centre(weights, self.side, dims=(1,)).expand(len(images), -1, -1)
            pixels = _resample(images, weights, weights)
        elif stored >= self.side:
            pixels = _centre(images, self.side, dims=(2, 3))
        else:
            raise ValueError(
                f"a clean view of side {self.side} cannot be cut from images of side {stored}: "
                f"choose side <= {stored}, or set resize to enlarge them."
            )
        return _normalise(pixels, mean, std)


@dataclass(frozen=True)
class Weak:
    """Random resized crop (bilinear), horizontal flip, normalise (CDC Sec. 4.1)."""

    side: int
    crop_scale: tuple[float, float] = (0.08, 1.0)  # share of the image's area
    flip: float = 0.5  # probability

    def __post_init__(self) -> None:
        _check(
            _side_mistake(self.side),
            _scale_mistake(self.crop_scale),
            _probability_mistake("flip", self.flip),
        )

    def draw(self, n: int, generator: Generator) -> Draws:
        """See ``View.draw``."""
        return _draw_crop(n, self.crop_scale, self.flip, generator)

    @_in_parts
    def apply(self, images: Tensor, draws: Draws, mean: Tensor, std: Tensor) -> Tensor:
        """See ``View.apply``."""
        return _normalise(_crop(images, draws, self.side, _triangle), mean, std)


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
    crop_scale: tuple[float, float] = (0.08, 1.0)  # share of the image's area
    flip: float = 0.5  # probability
    operations: int = 4  # draws per image
    cutout: int = 16  # L, pixels; 0 cuts nothing

    def __post_init__(self) -> None:
        _check(
            _side_mistake(self.side),
            _scale_mistake(self.crop_scale),
            _probability_mistake("flip", self.flip),
            None if self.operations >= 0 else f"operations: at least 0, got {self.operations}",
            None if self.cutout >= 0 else f"cutout: at least 0 pixels, got {self.cutout}",
        )

    def draw(self, n: int, generator: Generator) -> Draws:
        """See ``View.draw``."""
        device = generator.device
        draws = _draw_crop(n, self.crop_scale, self.flip, generator)
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

    @_in_parts
    def apply(self, images: Tensor, draws: Draws, mean: Tensor, std: Tensor) -> Tensor:
        """See ``View.apply``."""
        pixels = _crop(images, draws, self.side, _triangle)
        pixels = operate(pixels, draws["operation"], draws["magnitude"])
        x = _normalise(pixels, mean, std)
        return _cut(x, draws["hole"]) if self.cutout else x


@dataclass(frozen=True)
class Contrastive:
    """The view of contrastive pretraining (MoCo v2, SimCLR), in the order of solo-learn's pipeline.

    Random resized crop (bicubic); with probability ``jitter`` brightness, contrast, saturation and
    hue in an order drawn per sample; grey; Gaussian blur of radius uniform in ``BLUR_RADIUS``;
    horizontal flip; normalise. Brightness, contrast and saturation factors are uniform in
    [max(0, 1 - s), 1 + s], the hue shift in [-s, s] turns.
    """

    side: int
    crop_scale: tuple[float, float] = (0.08, 1.0)  # share of the image's area
    jitter: float = 0.8  # probability
    jitter_strength: tuple[float, float, float, float] = (0.4, 0.4, 0.4, 0.1)  # s of b, c, s, hue
    grey: float = 0.2  # probability
    blur: float = 0.5  # probability
    flip: float = 0.5  # probability

    def __post_init__(self) -> None:
        strengths_fit = (
            len(self.jitter_strength) == 4
            and min(self.jitter_strength) >= 0
            and self.jitter_strength[3] <= 0.5
        )
        _check(
            _side_mistake(self.side),
            _scale_mistake(self.crop_scale),
            _probability_mistake("jitter", self.jitter),
            None
            if strengths_fit
            else "jitter_strength: four numbers >= 0 (brightness, contrast, saturation, hue), hue "
            f"at most 0.5, got {self.jitter_strength}",
            _probability_mistake("grey", self.grey),
            _probability_mistake("blur", self.blur),
            _probability_mistake("flip", self.flip),
        )

    def draw(self, n: int, generator: Generator) -> Draws:
        """See ``View.draw``."""
        device = generator.device
        draws = _draw_crop(n, self.crop_scale, self.flip, generator)
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
        return draws

    @_in_parts
    def apply(self, images: Tensor, draws: Draws, mean: Tensor, std: Tensor) -> Tensor:
        """See ``View.apply``. The flip commutes with all that follows it here."""
        pixels = _crop(images, draws, self.side, _cubic)
        pixels = operate(pixels, draws["operation"], draws["magnitude"])
        return _normalise(pixels, mean, std)


def _check(*mistakes: str | None) -> None:
    """Raises one ValueError that lists the mistakes."""
    found = [mistake for mistake in mistakes if mistake]
    if found:
        raise ValueError("\n".join(found))


def _side_mistake(side: int) -> str | None:
    # Three pixels are the least that sharpness, a 3x3 filter, can work on.
    return None if side >= 3 else f"side: at least 3 pixels, got {side}"


def _scale_mistake(scale: tuple[float, float]) -> str | None:
    fits = len(scale) == 2 and 0 < scale[0] <= scale[1] <= 1
    return None if fits else f"crop_scale: 0 < lowest <= highest <= 1, got {scale}"


def _probability_mistake(name: str, p: float) -> str | None:
    return None if 0 <= p <= 1 else f"{name}: a probability in [0, 1], got {p}"


# --------------------------------------------------------------------------------------------------
# Crop and resampling
# --------------------------------------------------------------------------------------------------


def _draw_crop(n: int, scale: tuple[float, float], flip: float, generator: Generator) -> Draws:
    """Draws of a random resized crop for an image of any size, and of the flip."""
    device = generator.device

    def uniform(*shape: int) -> Tensor:
        return torch.rand(shape, generator=generator, device=device, dtype=torch.float64)

    low, high = map(log, CROP_RATIO)
    return {
        "area": scale[0] + uniform(n, CROP_ATTEMPTS) * (scale[1] - scale[0]),  # share of the image
        "ratio": (low + uniform(n, CROP_ATTEMPTS) * (high - low)).exp(),  # width over height
        "place": uniform(n, 2),  # vertical, horizontal; share of the room left
        "flip": uniform(n) < flip,
    }


def crop_boxes(draws: Draws, side: int) -> Tensor:
    """Boxes of torchvision's ``RandomResizedCrop`` in images of ``side`` x ``side`` pixels.

    The first of ten attempts that fits into the image, or else the whole image.
    Returns int64 (n, 4): top, left, height, width.
    """
    width = (draws["area"] * draws["ratio"]).sqrt().mul(side).round()
    height = (draws["area"] / draws["ratio"]).sqrt().mul(side).round()
    fits = (width >= 1) & (width <= side) & (height >= 1) & (height <= side)
    first = fits.to(torch.uint8).argmax(dim=1, keepdim=True)
    size = torch.cat([height.gather(1, first), width.gather(1, first)], dim=1)
    size = torch.where(fits.any(dim=1, keepdim=True), size, side)
    corner = (draws["place"] * (side - size + 1)).floor()
    return torch.cat([corner, size], dim=1).long()


Kernel = Callable[[Tensor], Tensor]


def _triangle(distance: Tensor) -> Tensor:
    """Bilinear kernel; support 1."""
    return (1 - distance).clamp_(min=0)


def _cubic(distance: Tensor) -> Tensor:
    """Bicubic kernel with a = -1/2, Pillow's; support 2."""
    t = distance.clamp(max=2)
    near = (1.5 * t - 2.5) * t * t + 1
    far = ((2.5 - 0.5 * t) * t - 4) * t + 2
    return torch.where(t < 1, near, far)


def _resampling_weights(
    span: Tensor, mirrored: Tensor, source: int, target: int, kernel: Kernel
) -> Tensor:
    """Weights that resample a part of a line of ``source`` pixels to ``target`` pixels.

    Pillow's resize: the kernel widens when shrinking (antialias), and taps beyond the part are left
    out. ``span``: (..., 2), the part's start and length in pixels. ``mirrored``: bool (...).
    Returns float32 (..., target, source): multiples of 1/1024, each row summing to 1.
    """
    start, length = span.to(torch.float32)[..., None, None].unbind(-3)  # (..., 1, 1)
    place = torch.arange(target, device=span.device)[:, None] + 0.5
    place = torch.where(mirrored[..., None, None], target - place, place)
    step = length / target
    centre = start + place * step
    pixel = torch.arange(source, device=span.device) + 0.5
    weight = kernel((pixel - centre).abs_().div_(step.clamp(min=1)))
    weight *= (pixel > start) & (pixel < start + length)
    # Whole numbers, whose sums cannot depend on the order in which a device takes them.
    upto = weight.mul_(4096).round_().cumsum(-1, dtype=torch.int32)
    return _quantised(upto / upto[..., -1:])


def _blur_weights(radius: Tensor, side: int) -> Tensor:
    """Weights of a Gaussian blur of a line that continues beyond its ends with its end values.

    Each pixel weighs the Gaussian's integral over it. ``radius``: (n,), standard deviation in
    pixels, 0.1 to 2 and more; the integrated kernel's variance is matched to it (within 5 %).
    Returns float32 (n, side, side): multiples of 1/1024, each row summing to 1.
    """
    variance = radius.to(torch.float64) ** 2
    # Integrating over pixels adds 1/12 to the variance of a wide Gaussian; a narrow one reaches the
    # two neighbours only, each with the tail beyond half a pixel.
    narrow = -0.5 / torch.special.ndtri(variance / 2)
    width = torch.where(variance < 1 / 3, narrow, (variance - 1 / 12).clamp(min=0.01).sqrt())
    offset = torch.arange(-side, side, device=radius.device) + 0.5
    below = torch.special.ndtr(offset / width[:, None])  # (n, 2 side)
    upto = below.unfold(1, side, 1)[:, 1:].flip(1).clone()  # row o: right edges of pixels 0.. - o
    upto[..., -1] = 1
    return _quantised(upto.to(torch.float32))


def _quantised(upto: Tensor) -> Tensor:
    """Cumulative weights (..., m) to weights that are multiples of 1/1024 with the same end."""
    upto = upto.mul(1024).round_()
    weight = upto.clone()
    weight[..., 1:] -= upto[..., :-1]
    return weight.div_(1024)


def _resample(pixels: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Separable resampling, horizontally first, rounded to 8 bits after each pass as in Pillow.

    ``pixels``: uint8 (n, 3, H, W). ``rows``: (n, T, H) and ``columns``: (n, S, W), multiples of
    1/1024. Returns uint8 (n, 3, T, S).
    """
    n, channels, height, width = pixels.shape
    # Autocast would round the weights to bfloat16.
    with torch.autocast(pixels.device.type, enabled=False):
        # With the channel between the axes, either pass is one matrix product per image.
        lines = pixels.transpose(1, 2).to(torch.float32, memory_format=torch.contiguous_format)
        lines = torch.bmm(lines.view(n, height * channels, width), columns.mT)
        lines = lines.add_(0.5).floor_().clamp_(0, 255)
        lines = torch.bmm(rows, lines.view(n, height, channels * columns.shape[1]))
    lines = lines.add_(0.5).clamp_(0, 255).view(n, rows.shape[1], channels, columns.shape[1])
    return lines.transpose(1, 2).to(torch.uint8, memory_format=torch.contiguous_format)


def _crop(images: Tensor, draws: Draws, side: int, kernel: Kernel) -> Tensor:
    """Random resized crop and flip: uint8 (n, 3, side, side)."""
    source = images.shape[-1]
    span = crop_boxes(draws, source).view(-1, 2, 2).mT  # vertical, horizontal; start, length
    mirrored = torch.stack([torch.zeros_like(draws["flip"]), draws["flip"]], dim=1)
    weights = _resampling_weights(
        _moved(span, images.device), _moved(mirrored, images.device), source, side, kernel
    )
    rows, columns = weights.unbind(1)
    return _resample(images, rows, columns)


def _centre(x: Tensor, side: int, dims: tuple[int, ...]) -> Tensor:
    """The middle ``side`` entries along ``dims``; torchvision's rounding of the margin."""
    for dim in dims:
        x = x.narrow(dim, round((x.shape[dim] - side) / 2), side)
    return x


def _normalise(pixels: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """uint8 (n, 3, H, W) to float32 (x / 255 - mean) / std, contiguous."""
    x = pixels.to(torch.float32, memory_format=torch.contiguous_format)
    return x.sub_(255 * mean[:, None, None]).mul_(1 / (255 * std[:, None, None]))


def _cut(x: Tensor, hole: Tensor) -> Tensor:
    """Fills each sample's hole with 0, in place. ``hole``: (n, 3), row, column, half-side."""
    hole = _moved(hole, x.device)
    place = torch.arange(x.shape[-1], device=x.device)
    half = hole[:, 2:]
    inside = [(place >= at - half) & (place < at + half) for at in (hole[:, :1], hole[:, 1:2])]
    return x.masked_fill_((inside[0][:, :, None] & inside[1][:, None, :])[:, None], 0)


def _moved(x: Tensor, device: torch.device) -> Tensor:
    """``x`` on ``device``; to a GPU through pinned memory, so that the host need not wait."""
    if x.device == device:
        return x
    if x.device.type == "cpu" and device.type == "cuda":
        return x.pin_memory().to(device, non_blocking=True)
    return x.to(device)


# --------------------------------------------------------------------------------------------------
# Operations
# --------------------------------------------------------------------------------------------------


def operate(pixels: Tensor, operation: Tensor, magnitude: Tensor) -> Tensor:
    """Applies to each sample its own operations, one after the other.

    ``pixels``: uint8 (n, 3, S, S), contiguous. ``operation``: int64 (n, k), members of
    ``Operation``, first to last; on the CPU if the host shall not wait. ``magnitude``: float (n, k)
    in the operation's unit. Returns uint8 (n, 3, S, S).
    """
    device = pixels.device
    operation, magnitude = operation.cpu(), magnitude.cpu()
    matrix = affine_matrices(operation, magnitude, pixels.shape[-1])
    # The geometric operations differ in their matrix only, so they are done together.
    kind = torch.where(_is_geometric(operation), int(Operation.ROTATE), operation)
    counts = torch.stack([(kind == o).sum(dim=0) for o in Operation], dim=1).tolist()
    # In each slot the samples are brought into the order of their operations.
    order = kind.argsort(dim=0, stable=True)
    place = order.argsort(dim=0)
    moves = order.clone()  # from the arrangement of the slot before
    for slot in range(1, len(counts)):
        moves[:, slot] = place[order[:, slot], slot - 1]
    magnitude = _moved(magnitude.gather(0, order).to(torch.float32), device)
    matrix = _moved(matrix.gather(0, order[..., None].expand_as(matrix)), device)
    moves, place = _moved(moves, device), _moved(place, device)
    for slot, lengths in enumerate(counts):
        groups = zip(
            Operation,
            pixels.index_select(0, moves[:, slot]).split(lengths),
            magnitude[:, slot].split(lengths),
            matrix[:, slot].split(lengths),
            strict=True,
        )
        pixels = torch.cat([_operated(*group) for group in groups])
    return pixels.index_select(0, place[:, -1]) if counts else pixels


def _operated(o: Operation, x: Tensor, magnitude: Tensor, matrix: Tensor) -> Tensor:
    """One operation for all of ``x``, which stays as it is."""
    if o is Operation.IDENTITY or len(x) == 0:
        return x
    if o is Operation.ROTATE:
        return _affine(x, matrix)
    return _FUNCTIONS[o](x, magnitude[:, None, None, None])


_GEOMETRIC = (
    Operation.ROTATE,
    Operation.SHEAR_X,
    Operation.SHEAR_Y,
    Operation.TRANSLATE_X,
    Operation.TRANSLATE_Y,
)


def _is_geometric(operation: Tensor) -> Tensor:
    return torch.isin(operation, torch.tensor(_GEOMETRIC, device=operation.device))


def affine_matrices(operation: Tensor, magnitude: Tensor, side: int) -> Tensor:
    """Where each output pixel comes from, as Pillow computes it, in units of 1/65536 pixel.

    ``operation`` and ``magnitude``: (n, k). Returns int64 (n, k, 6), (a, b, c, d, e, f): output
    pixel (x, y) shows source pixel ((a x + b y + c) >> 16, (d x + e y + f) >> 16). Identity where
    the operation is not a geometric one.
    """
    magnitude = magnitude.to(torch.float64)

    def only(o: Operation) -> Tensor:
        return torch.where(operation == o, magnitude, 0.0)

    angle = -torch.deg2rad(only(Operation.ROTATE))
    cos, sin = angle.cos(), angle.sin()
    a, b = cos, sin + only(Operation.SHEAR_X)
    d, e = -sin + only(Operation.SHEAR_Y), cos
    half = side / 2
    turned = operation == Operation.ROTATE  # about the centre; the shears fix the top left corner
    c = torch.where(turned, half - half * (cos + sin), only(Operation.TRANSLATE_X) * side)
    f = torch.where(turned, half - half * (cos - sin), only(Operation.TRANSLATE_Y) * side)
    # Coordinates are taken at pixel centres.
    exact = torch.stack([a, b, c + (a + b) / 2, d, e, f + (d + e) / 2], dim=-1)
    return (exact * 65536 + 0.5).floor().long()


def _affine(x: Tensor, matrix: Tensor) -> Tensor:
    """Nearest neighbour, black outside. ``matrix``: int64 (n, 6), see ``affine_matrices``."""
    n, channels, side, _ = x.shape
    place = torch.arange(side, device=x.device, dtype=torch.int32)
    a, b, c, d, e, f = matrix.to(torch.int32)[:, :, None, None].unbind(1)  # (n, 1, 1)
    column = (a * place + (b * place[:, None] + c)).bitwise_right_shift_(16)
    row = (d * place + (e * place[:, None] + f)).bitwise_right_shift_(16)
    inside = (column >= 0) & (column < side) & (row >= 0) & (row < side)
    source = (row.mul_(side).add_(column)).mul_(inside).to(torch.int64)
    index = source.view(n, 1, -1).expand(n, channels, -1)
    moved = x.view(n, channels, -1).gather(2, index).view_as(x)
    return moved.mul_(inside[:, None])


def _luma(x: Tensor) -> Tensor:
    """Pillow's conversion to grey (ITU-R 601): float (n, 3, H, W) to whole levels (n, 1, H, W)."""
    red, green, blue = x.unbind(1)
    # All sums stay below 2^24 and are exact.
    grey = (red * 19595).add_(green * 38470).add_(blue * 7471).add_(32768)
    return grey.div_(65536).floor_()[:, None]


def _blend(degenerate: Tensor, x: Tensor, factor: Tensor) -> Tensor:
    """Pillow's ``Image.blend``: the fraction is cut off. Returns uint8."""
    return ((x - degenerate).mul_(factor).add_(degenerate)).clamp_(0, 255).to(torch.uint8)


def _auto_contrast(x: Tensor, _: Tensor) -> Tensor:
    """Stretches each channel to 0..255; a flat channel stays."""
    low, high = x.amin(dim=(2, 3), keepdim=True), x.amax(dim=(2, 3), keepdim=True)
    flat = low == high
    base, span = low.masked_fill(flat, 0), (high - low).masked_fill(flat, 255)
    return (x - base).float().mul_(255).div_(span).to(torch.uint8)


def _equalise(x: Tensor, _: Tensor) -> Tensor:
    """Flattens each channel's histogram; Pillow's integer arithmetic."""
    lines = x.view(x.shape[0] * x.shape[1], -1)
    level = lines.long()
    cell = (level + 256 * torch.arange(len(lines), device=x.device)[:, None]).view(-1)
    counts = torch.zeros(len(lines) * 256, dtype=torch.int64, device=x.device)
    counts = counts.scatter_add_(0, cell, torch.ones_like(cell)).view(-1, 256)
    below = counts.cumsum(1) - counts
    highest = counts.gather(1, level.amax(dim=1, keepdim=True))
    step = (lines.shape[1] - highest) // 255
    table = (below + step // 2).div_(step.clamp(min=1), rounding_mode="floor").clamp_(max=255)
    table = torch.where(step > 0, table, torch.arange(256, device=x.device))
    return table.to(torch.uint8).gather(1, level).view_as(x)


def _solarise(x: Tensor, threshold: Tensor) -> Tensor:
    return torch.where(x < threshold.ceil().to(torch.int16), x, 255 - x)


def _posterise(x: Tensor, bits: Tensor) -> Tensor:
    return x & (256 - torch.exp2(8 - bits.floor())).to(torch.uint8)


def _colour(x: Tensor, factor: Tensor) -> Tensor:
    x = x.float()
    return _blend(_luma(x), x, factor)


def _contrast(x: Tensor, factor: Tensor) -> Tensor:
    x = x.float()
    # The sum of a row is exact in float32, the sum of all in float64.
    total = _luma(x).sum(3, keepdim=True).sum(2, keepdim=True, dtype=torch.float64)
    mean = (total / (x.shape[2] * x.shape[3]) + 0.5).floor().float()
    return _blend(mean, x, factor)


def _brightness(x: Tensor, factor: Tensor) -> Tensor:
    return (x * factor).clamp_(max=255).to(torch.uint8)


def _sharpness(x: Tensor, factor: Tensor) -> Tensor:
    """Blends with Pillow's 3x3 smoothing, which leaves the border pixels."""
    x = x.float()
    lines = x[:, :, :-2] + x[:, :, 1:-1] + x[:, :, 2:]
    total = lines[..., :-2] + lines[..., 1:-1] + lines[..., 2:] + 4 * x[:, :, 1:-1, 1:-1]
    smooth = x.clone()
    smooth[:, :, 1:-1, 1:-1] = total.div_(13).add_(0.5).floor_()
    return _blend(smooth, x, factor)


def _hue(x: Tensor, turns: Tensor) -> Tensor:
    """Turns the hue of HSV; value and chroma stay."""
    red, green, blue = x.float().unbind(1)
    value = torch.maximum(torch.maximum(red, green), blue)
    chroma = value - torch.minimum(torch.minimum(red, green), blue)
    # Hue in sixths of a turn, [0, 6).
    hue = torch.where(value == green, blue - red, red - green)
    hue = torch.where(value == red, green - blue, hue).div_(chroma.clamp(min=1))
    hue += torch.where(value == red, 0.0, torch.where(value == green, 2.0, 4.0))
    hue = hue.add_(6 * turns[:, 0])
    hue -= (hue / 6).floor_().mul_(6)
    # How much of the chroma each channel has: trapezoids about its own hue.
    share = torch.stack([(hue - 3).abs_() - 1, 2 - (hue - 2).abs_(), 2 - (hue - 4).abs_()], dim=1)
    share = share.clamp_(0, 1).mul_(chroma[:, None])
    return share.add_((value - chroma)[:, None]).add_(0.5).to(torch.uint8)


def _blur(x: Tensor, radius: Tensor) -> Tensor:
    weights = _blur_weights(radius.view(-1), x.shape[-1])
    return _resample(x, weights, weights)


# x uint8 (n, 3, S, S) and magnitude (n, 1, 1, 1) to uint8 (n, 3, S, S).
_FUNCTIONS: dict[Operation, Callable[[Tensor, Tensor], Tensor]] = {
    Operation.AUTO_CONTRAST: _auto_contrast,
    Operation.EQUALISE: _equalise,
    Operation.SOLARISE: _solarise,
    Operation.COLOUR: _colour,
    Operation.CONTRAST: _contrast,
    Operation.BRIGHTNESS: _brightness,
    Operation.SHARPNESS: _sharpness,
    Operation.POSTERISE: _posterise,
    Operation.HUE: _hue,
    Operation.BLUR: _blur,
}
