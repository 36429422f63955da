"""Random views, against Pillow, torchvision and slow references."""

import random
from collections.abc import Callable

import numpy as np
import pytest
import torch
from PIL import Image, ImageEnhance, ImageFilter, ImageOps
from torch import Tensor
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as tv

from deep_clustering.methods.images import operations, resampling, taps
from deep_clustering.methods.images import view as _view
from deep_clustering.methods.images.clean import Clean
from deep_clustering.methods.images.contrastive import Contrastive
from deep_clustering.methods.images.crops import crop_boxes
from deep_clustering.methods.images.operations import Operation, affine_matrices, operate
from deep_clustering.methods.images.pictures import Pictures
from deep_clustering.methods.images.resampling import Blur, Kernel, Lines, Resize, cubic, triangle
from deep_clustering.methods.images.strong import STRONG_RANGES, Strong
from deep_clustering.methods.images.view import View
from deep_clustering.methods.images.weak import Weak

MEAN, STD = torch.tensor([0.49, 0.48, 0.45]), torch.tensor([0.2, 0.25, 0.3])
UNIT = (torch.zeros(3), torch.full((3,), 1 / 255))  # "normalised" values are then the levels

Picture = Image.Image


def noise_and_gradients(n: int, side: int, seed: int = 0) -> Tensor:
    """Every second image white noise, the others smooth with few levels; uint8 (n, 3, S, S)."""
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, (n, 3, side, side), dtype=np.uint8)
    for image in images[1::2]:
        coarse = Image.fromarray(rng.integers(40, 200, (4, 4, 3), dtype=np.uint8))
        image[:] = np.asarray(coarse.resize((side, side), Image.Resampling.BICUBIC)).transpose(
            2, 0, 1
        )
    return torch.from_numpy(images)


def to_pil(image: Tensor) -> Picture:
    return Image.fromarray(image.permute(1, 2, 0).contiguous().numpy())


def from_pil(image: Picture) -> Tensor:
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)


def distance(a: Tensor, b: Tensor) -> Tensor:
    return (a.int() - b.int()).abs()


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def rows_of(draws: dict[str, Tensor], rows: Tensor | slice) -> dict[str, Tensor]:
    return {name: values[rows] for name, values in draws.items()}


def affine(image: Picture, *matrix: float) -> Picture:
    return image.transform(image.size, Image.Transform.AFFINE, matrix)


PILLOW: dict[Operation, Callable[[Picture, float], Picture]] = {
    Operation.IDENTITY: lambda im, m: im,
    Operation.AUTO_CONTRAST: lambda im, m: ImageOps.autocontrast(im),
    Operation.EQUALISE: lambda im, m: ImageOps.equalize(im),
    Operation.ROTATE: lambda im, m: im.rotate(m),
    Operation.SOLARISE: ImageOps.solarize,
    Operation.COLOUR: lambda im, m: ImageEnhance.Color(im).enhance(m),
    Operation.CONTRAST: lambda im, m: ImageEnhance.Contrast(im).enhance(m),
    Operation.BRIGHTNESS: lambda im, m: ImageEnhance.Brightness(im).enhance(m),
    Operation.SHARPNESS: lambda im, m: ImageEnhance.Sharpness(im).enhance(m),
    Operation.SHEAR_X: lambda im, m: affine(im, 1, m, 0, 0, 1, 0),
    Operation.SHEAR_Y: lambda im, m: affine(im, 1, 0, 0, m, 1, 0),
    Operation.TRANSLATE_X: lambda im, m: affine(im, 1, 0, m * im.size[0], 0, 1, 0),
    Operation.TRANSLATE_Y: lambda im, m: affine(im, 1, 0, 0, 0, 1, m * im.size[1]),
    Operation.POSTERISE: lambda im, m: ImageOps.posterize(im, int(m)),
}

VIEWS = [Clean, Weak, Strong, Contrastive]


# --------------------------------------------------------------------------------------------------
# Operations
# --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("side", [8, 33, 64])
@pytest.mark.parametrize("o", list(STRONG_RANGES), ids=lambda o: o.name.lower())
def test_operation_is_pillows(o: Operation, side: int) -> None:
    images = noise_and_gradients(30, side)
    low, high = STRONG_RANGES[o]
    magnitude = low + torch.rand(30, generator=generator()) * (high - low)
    ours = operate(images, torch.full((30, 1), int(o)), magnitude[:, None])
    theirs = torch.stack(
        [from_pil(PILLOW[o](to_pil(x), m.item())) for x, m in zip(images, magnitude, strict=True)]
    )
    if o is Operation.AUTO_CONTRAST:
        # Pillow multiplies by an inexact scale, and so may end just below a whole level.
        assert distance(ours, theirs).max() <= 1
        assert (ours == theirs).float().mean() > 0.99
    else:
        assert torch.equal(ours, theirs)


@pytest.mark.parametrize("o", list(Operation), ids=lambda o: o.name.lower())
def test_large_pictures_get_the_levels_that_small_ones_get(
    o: Operation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To the bit, of pictures that go picture by picture on a CPU; some of few levels, or one."""
    images = noise_and_gradients(7, 56)
    images[4] = images[4] // 64 * 64
    images[5, 0], images[6] = 7, 255
    low, high = {
        **STRONG_RANGES,
        Operation.HUE: (-0.5, 0.5),
        Operation.BLUR: (0.1, 3.0),
        Operation.COLOUR: (0.0, 1.9),
        Operation.CONTRAST: (0.0, 1.9),
        Operation.BRIGHTNESS: (0.0, 1.9),
        Operation.TRANSLATE_X: (-1.2, 1.2),
    }[o]
    magnitude = low + torch.rand(7, 1, generator=generator()) * (high - low)
    found = operate(images, torch.full((7, 1), int(o)), magnitude)
    for module in (operations, resampling):
        monkeypatch.setattr(module, "SMALL", 1000)
    assert torch.equal(found, operate(images, torch.full((7, 1), int(o)), magnitude))


def test_large_pictures_get_their_operations_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    images = noise_and_gradients(60, 50)
    before = images.clone()
    operation = torch.randint(0, len(Operation), (60, 5), generator=generator())
    operation[:, 3][operation[:, 3] == Operation.BLUR] = Operation.IDENTITY
    assert (operation == Operation.BLUR).any(0).tolist() == [True, True, True, False, True]
    magnitude = torch.rand(60, 5, generator=generator())
    found = operate(images, operation, magnitude)
    assert torch.equal(images, before)
    for module in (operations, resampling):
        monkeypatch.setattr(module, "SMALL", 1000)
    assert torch.equal(found, operate(images, operation, magnitude))


def test_every_strong_operation_was_compared() -> None:
    assert set(PILLOW) == set(STRONG_RANGES)
    assert len(STRONG_RANGES) == 14


@pytest.mark.parametrize("o", [Operation.AUTO_CONTRAST, Operation.EQUALISE])
def test_channels_with_one_or_two_levels(o: Operation) -> None:
    images = torch.full((2, 3, 8, 8), 77, dtype=torch.uint8)
    images[1, 0, :, 4:] = 90
    images[1, 1, 0, 0] = 255
    ours = operate(images, torch.full((2, 1), int(o)), torch.zeros(2, 1))
    assert torch.equal(ours, torch.stack([from_pil(PILLOW[o](to_pil(x), 0)) for x in images]))
    assert torch.equal(ours[0], images[0])


def test_each_sample_gets_its_own_operations_in_its_own_order() -> None:
    exact = [o for o in STRONG_RANGES if o is not Operation.AUTO_CONTRAST]
    images = noise_and_gradients(60, 16)
    before = images.clone()
    which = torch.tensor(exact)[torch.randint(len(exact), (60, 5), generator=generator())]
    low, high = torch.tensor([STRONG_RANGES[o] for o in Operation if o in STRONG_RANGES]).unbind(1)
    share = torch.rand(60, 5, generator=generator(1))
    magnitude = low[which] + share * (high - low)[which]
    ours = operate(images, which, magnitude)
    for image, result, chosen, strengths in zip(images, ours, which, magnitude, strict=True):
        expected = to_pil(image)
        for o, strength in zip(chosen.tolist(), strengths.tolist(), strict=True):
            expected = PILLOW[Operation(o)](expected, strength)
        assert torch.equal(result, from_pil(expected))
    assert torch.equal(images, before)


def test_no_operations_leave_the_images() -> None:
    images = noise_and_gradients(4, 8)
    assert torch.equal(
        operate(images, torch.empty(4, 0, dtype=torch.long), torch.empty(4, 0)), images
    )


def test_affine_matrices_by_hand() -> None:
    which = torch.tensor([[Operation.TRANSLATE_X, Operation.SHEAR_Y, Operation.SOLARISE]])
    matrices = affine_matrices(which, torch.tensor([[0.25, 0.5, 128.0]]), side=8)
    one, half = 65536, 32768
    assert matrices[0, 0].tolist() == [one, 0, 2 * one + half, 0, one, half]
    assert matrices[0, 1].tolist() == [one, 0, half, half, one, half + half // 2]
    assert matrices[0, 2].tolist() == [one, 0, half, 0, one, half]
    turned = affine_matrices(torch.tensor([[Operation.ROTATE]]), torch.tensor([[90.0]]), side=8)
    # A quarter turn, counter-clockwise: output (x, y) shows source (7 - y, x).
    a, b, c, d, e, f = turned[0, 0].tolist()
    for x, y in [(0, 0), (7, 0), (3, 5)]:
        assert ((a * x + b * y + c) >> 16, (d * x + e * y + f) >> 16) == (7 - y, x)


@pytest.mark.parametrize("factor", [0.6, 1.0, 1.4])
@pytest.mark.parametrize(
    ("o", "theirs"),
    [
        (Operation.BRIGHTNESS, tv.adjust_brightness),
        (Operation.CONTRAST, tv.adjust_contrast),
        (Operation.COLOUR, tv.adjust_saturation),
    ],
    ids=["brightness", "contrast", "saturation"],
)
def test_jitter_factor_is_torchvisions(
    o: Operation, theirs: Callable[[Tensor, float], Tensor], factor: float
) -> None:
    images = noise_and_gradients(20, 16)
    ours = operate(images, torch.full((20, 1), int(o)), torch.full((20, 1), factor))
    expected = torch.stack([theirs(image, factor) for image in images])
    # torchvision's tensors keep fractions of the grey level, Pillow and we do not.
    assert distance(ours, expected).max() <= 1
    pillow = torch.stack([from_pil(PILLOW[o](to_pil(x), factor)) for x in images])
    assert torch.equal(ours, pillow)


@pytest.mark.parametrize("turns", [-0.5, -0.1, -0.03, 0.0, 0.07, 0.1, 0.5])
def test_hue_is_torchvisions(turns: float) -> None:
    images = noise_and_gradients(20, 16)
    images[0] = images[0, :1]  # grey has no hue to turn
    ours = operate(images, torch.full((20, 1), int(Operation.HUE)), torch.full((20, 1), turns))
    expected = torch.stack([tv.adjust_hue(image, turns) for image in images])
    assert distance(ours, expected).max() <= 1
    assert torch.equal(ours[0], images[0])
    assert torch.equal(ours.amax(1), images.amax(1))
    if turns == 0:
        assert torch.equal(ours, images)


@pytest.mark.parametrize("turns", [-0.1, -0.03, 0.02, 0.07, 0.1])
def test_hue_differs_from_pillows_by_its_8_bit_steps(turns: float) -> None:
    """A row of the differences: on smooth images less than a level, on noise at most 16."""
    images = noise_and_gradients(40, 32)
    ours = operate(images, torch.full((40, 1), int(Operation.HUE)), torch.full((40, 1), turns))
    theirs = torch.stack([from_pil(tv.adjust_hue(to_pil(x), turns)) for x in images])
    assert distance(ours, theirs).max() <= 16
    assert 0 < distance(ours, theirs).float().mean() < 2
    assert distance(ours, theirs)[1::2].float().mean() < 1


@pytest.mark.parametrize("radius", [0.1, 0.4, 0.6, 1.0, 1.5, 2.0])
def test_blur_is_close_to_pillows(radius: float) -> None:
    images = noise_and_gradients(20, 32)
    ours = operate(images, torch.full((20, 1), int(Operation.BLUR)), torch.full((20, 1), radius))
    theirs = torch.stack(
        [from_pil(to_pil(x).filter(ImageFilter.GaussianBlur(radius))) for x in images]
    )
    smooth, rough = distance(ours, theirs)[1::2], distance(ours, theirs)[::2]
    assert smooth.max() <= 4
    assert smooth.float().mean() < 1
    assert rough.float().mean() < 6  # of white noise, whose standard deviation is 74 levels


@pytest.mark.parametrize("radius", [0.2, 0.5, 0.58, 0.8, 1.3, 2.0])
def test_blur_has_the_variance_of_its_radius(radius: float) -> None:
    line = torch.zeros(1, 3, 41, 41, dtype=torch.uint8)
    line[..., 20] = 255
    blurred = operate(line, torch.tensor([[Operation.BLUR]]), torch.tensor([[radius]]))
    weight = blurred[0, 0, 0].double() / blurred[0, 0, 0].sum()
    place = torch.arange(41, dtype=torch.float64)
    assert (weight * place).sum() == pytest.approx(20)
    assert (weight * (place - 20) ** 2).sum() == pytest.approx(radius**2, rel=0.07, abs=0.01)


# --------------------------------------------------------------------------------------------------
# Crop
# --------------------------------------------------------------------------------------------------


def slow_boxes(draws: dict[str, Tensor], side: int) -> list[tuple[int, int, int, int]]:
    """torchvision's ``RandomResizedCrop.get_params`` for a square image, fed with our draws."""
    boxes = []
    for area, ratio, (down, right) in zip(
        draws["area"].tolist(), draws["ratio"].tolist(), draws["place"].tolist(), strict=True
    ):
        height = width = side
        for share, aspect in zip(area, ratio, strict=True):
            w = round((share * side * side * aspect) ** 0.5)
            h = round((share * side * side / aspect) ** 0.5)
            if 0 < w <= side and 0 < h <= side:
                height, width = h, w
                break
        boxes.append(
            (int(down * (side - height + 1)), int(right * (side - width + 1)), height, width)
        )
    return boxes


def square_boxes(draws: dict[str, Tensor], side: int) -> Tensor:
    """int64 (n, 4): top, left, height, width."""
    boxes = crop_boxes(draws, torch.full((1, 2), side, dtype=torch.float64))
    return boxes.mT.flatten(1).long()


@pytest.mark.parametrize("side", [8, 32, 96])
def test_crop_boxes_are_the_first_that_fit(side: int) -> None:
    draws = Weak(side, crop_scale=(0.6, 1.0)).draw(500, generator())
    boxes = square_boxes(draws, side)
    assert [tuple(box) for box in boxes.tolist()] == slow_boxes(draws, side)
    top, left, height, width = boxes.unbind(1)
    assert (top >= 0).all()
    assert (left >= 0).all()
    assert (top + height <= side).all()
    assert (left + width <= side).all()


def test_crop_boxes_fall_back_to_the_whole_image() -> None:
    draws = {
        "area": torch.ones(2, 10, dtype=torch.float64),
        "ratio": torch.full((2, 10), 4 / 3, dtype=torch.float64),
        "place": torch.full((2, 2), 0.999, dtype=torch.float64),
    }
    draws["area"][1, 9] = 0.25
    assert square_boxes(draws, 32).tolist() == [[0, 0, 32, 32], [18, 14, 14, 18]]


def test_crop_boxes_are_distributed_as_torchvisions() -> None:
    n = 20_000
    draws = Weak(32).draw(n, generator(3))
    ours = square_boxes(draws, 32).double()
    torch.manual_seed(0)
    image = torch.empty(3, 32, 32)
    crop = v2.RandomResizedCrop(32)
    theirs = torch.tensor(
        [list(crop.make_params([image]).values()) for _ in range(n)], dtype=torch.float64
    )
    for ours_of, theirs_of in ((ours, theirs), (ours**2, theirs**2)):
        error = (ours_of.var(0) / n + theirs_of.var(0) / n).sqrt()
        assert ((ours_of.mean(0) - theirs_of.mean(0)).abs() < 4.5 * error).all()


@pytest.mark.parametrize(("source", "side"), [(8, 8), (32, 32), (50, 32), (20, 33), (96, 96)])
@pytest.mark.parametrize("kernel", ["bilinear", "bicubic"])
def test_crop_is_pillows(kernel: str, source: int, side: int) -> None:
    images = noise_and_gradients(40, source)
    bilinear = kernel == "bilinear"
    view: View = Weak(side) if bilinear else Contrastive(side, jitter=0.0, grey=0.0, blur=0.0)
    draws = view.draw(40, generator())
    ours = view.apply(Pictures(images), draws, *UNIT)
    resampling = Image.Resampling.BILINEAR if bilinear else Image.Resampling.BICUBIC
    expected = []
    for image, (top, left, height, width), flip in zip(
        images, square_boxes(draws, source).tolist(), draws["flip"].tolist(), strict=True
    ):
        cut = to_pil(image).crop((left, top, left + width, top + height))
        # Horizontally first, as we do; which axis Pillow takes first depends on its version.
        cut = cut.resize((side, height), resampling).resize((side, side), resampling)
        expected.append(from_pil(ImageOps.mirror(cut) if flip else cut))
    apart = distance(ours.round(), torch.stack(expected))
    assert (ours - ours.round()).abs().max() < 1e-3
    assert apart.max() <= 2
    assert (apart <= 1).float().mean() > 0.999
    assert (apart == 0).float().mean() > 0.94


@pytest.mark.parametrize("kernel", [triangle, cubic])
@pytest.mark.parametrize(("source", "target"), [(8, 8), (32, 32), (96, 32), (32, 96)])
def test_resampling_weights_leave_no_room_for_rounding(
    kernel: Kernel, source: int, target: int
) -> None:
    start = torch.randint(source - 3, (200,), generator=generator())
    length = (torch.rand(200, generator=generator(1)) * (source - start)).long() + 1
    mirrored = torch.arange(200) % 2 == 0
    span = torch.stack([start, length], dim=1)[:, None]
    weight = Resize(span, mirrored[:, None], target, kernel).weights(source)[:, 0]
    whole = weight * 1024
    assert torch.equal(whole, whole.round())
    assert whole.abs().max() <= 2048  # 11 bits, what TF32 keeps
    assert torch.equal(weight.sum(-1), torch.ones(200, target))
    # Sums of absolute products with pixels stay within the 24 bits of float32.
    assert whole.abs().sum(-1).max() * 255 < 2**24
    place = torch.arange(source)
    outside = (place < start[:, None]) | (place >= (start + length)[:, None])
    assert (weight * outside[:, None]).abs().max() == 0


def any_lines(kind: str, n: int, source: int, target: int) -> Lines:
    """Parts of lines, every second one mirrored, some of them outside of the line; or a blur."""
    if kind == "blur":
        return Blur(torch.linspace(0.1, 4.0, n), source)
    start = torch.rand(n, 2, generator=generator()) * (source - 3)
    length = 1 + torch.rand(n, 2, generator=generator(1)) * (source - 1 - start)
    among = torch.tensor([[5, target + 9], [0, target]]).expand(n, -1, -1)
    return Resize(
        torch.stack([start, length], dim=2),
        torch.arange(2 * n).view(n, 2) % 3 == 0,
        target,
        cubic if kind == "cubic" else triangle,
        among if kind == "among" else None,
    )


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize(("source", "target"), [(64, 64), (70, 49), (50, 77)])
@pytest.mark.parametrize("kind", ["triangle", "cubic", "among", "blur"])
def test_the_weights_that_matter_make_the_same_levels_as_all(
    kind: str, source: int, target: int, threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    images, before = noise_and_gradients(7, source), torch.get_num_threads()
    lines = any_lines(kind, 7, source, target)
    monkeypatch.setattr(resampling, "SMALL", 1000)
    expected = resampling.resample(images, lines)
    torch.set_num_threads(threads)
    try:
        assert torch.equal(taps.resample(images, lines.taps()), expected)
    finally:
        torch.set_num_threads(before)
    monkeypatch.setattr(resampling, "SMALL", 48)
    assert torch.equal(resampling.resample(images, lines), expected)


def test_one_resize_is_for_all_pictures_alike() -> None:
    images = noise_and_gradients(5, 64)
    span = torch.tensor([[[3.0, 50.0], [0.0, 64.0]]])
    lines = Resize(span, torch.zeros(1, 2, dtype=torch.bool), 56, triangle)
    apart = Resize(span.expand(5, -1, -1), torch.zeros(5, 2, dtype=torch.bool), 56, triangle)
    assert torch.equal(resampling.resample(images, lines), resampling.resample(images, apart))


def test_pixels_beyond_the_crop_do_not_shine_in() -> None:
    view = Weak(32, crop_scale=(0.1, 0.5))
    draws = view.draw(30, generator())
    images = torch.zeros(30, 3, 32, 32, dtype=torch.uint8)
    for image, (top, left, height, width) in zip(images, square_boxes(draws, 32), strict=True):
        image[:, top : top + height, left : left + width] = 200
    assert (view.apply(Pictures(images), draws, *UNIT).round() == 200).all()


def test_whole_image_and_certain_flip() -> None:
    images = noise_and_gradients(6, 16)
    view = Weak(16, crop_scale=(1.0, 1.0), flip=1.0)
    ours = view.apply(Pictures(images), view.draw(6, generator()), *UNIT)
    assert torch.equal(ours.round(), images.flip(3).float())


# --------------------------------------------------------------------------------------------------
# Views
# --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("source", "side"), [(8, 8), (32, 32), (40, 32)])
@pytest.mark.parametrize("kind", VIEWS)
def test_rows_depend_on_nothing_but_themselves(
    kind: type[View], source: int, side: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    n = 70
    images = noise_and_gradients(n, source)
    view = kind(side)
    draws = view.draw(n, generator())
    whole = view.apply(Pictures(images), draws, MEAN, STD)
    assert whole.shape == (n, 3, side, side)
    assert whole.is_contiguous()
    shuffled = torch.randperm(n, generator=generator(5))
    for rows in (shuffled, shuffled[:13], torch.arange(1, n, 2), torch.tensor([7])):
        assert torch.equal(
            view.apply(Pictures(images[rows]), rows_of(draws, rows), MEAN, STD), whole[rows]
        )
    assert view.apply(Pictures(images[:0]), rows_of(draws, slice(0)), MEAN, STD).shape[0] == 0
    monkeypatch.setattr(_view, "CPU_PART", 1)  # parts of the smallest size
    assert torch.equal(view.apply(Pictures(images), draws, MEAN, STD), whole)


@pytest.mark.parametrize("kind", VIEWS)
def test_draws_follow_the_generator_alone(kind: type[View]) -> None:
    view = kind(16)
    torch.manual_seed(1)
    states = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].copy()
    source = generator(9)
    first, second = view.draw(50, source), view.draw(50, source)
    view.apply(Pictures(noise_and_gradients(50, 16)), first, MEAN, STD)
    again = view.draw(50, generator(9))
    assert first.keys() == again.keys()
    for name, values in first.items():
        assert len(values) == 50
        assert torch.equal(values, again[name])
        assert not torch.equal(values, second[name])
    assert torch.equal(torch.get_rng_state(), states[0])
    assert random.getstate() == states[1]
    np.testing.assert_array_equal(np.random.get_state()[1], states[2])


@pytest.mark.parametrize("kind", [Weak, Strong, Contrastive])
def test_equal_images_get_different_views(kind: type[View]) -> None:
    images = noise_and_gradients(1, 32).expand(20, -1, -1, -1)
    view = kind(32)
    rows = view.apply(Pictures(images), view.draw(20, generator()), MEAN, STD).flatten(1)
    assert len(torch.unique(rows, dim=0)) == 20


@pytest.mark.parametrize("kind", VIEWS)
def test_computes_in_float32_whatever_surrounds_it(kind: type[View]) -> None:
    images = noise_and_gradients(20, 16)
    view = kind(16)
    draws = view.draw(20, generator())
    plain = view.apply(Pictures(images), draws, MEAN.clone().requires_grad_(), STD)
    assert not plain.requires_grad
    with torch.autocast("cpu", dtype=torch.bfloat16):
        surrounded = view.apply(Pictures(images), draws, MEAN, STD)
    assert surrounded.dtype == torch.float32
    assert torch.equal(plain, surrounded)


@pytest.mark.parametrize("kind", [Clean, Weak, Strong])
def test_small_grey_images_stay_grey(kind: type[View]) -> None:
    images = noise_and_gradients(40, 8)[:, :1].expand(-1, 3, -1, -1).contiguous()
    view = kind(8)
    ours = view.apply(Pictures(images), view.draw(40, generator()), *UNIT)
    assert torch.equal(ours[:, 0], ours[:, 1])
    assert torch.equal(ours[:, 0], ours[:, 2])


def test_clean_normalises() -> None:
    images = noise_and_gradients(5, 32)
    view = Clean(32)
    assert view.draw(5, generator()) == {}
    expected = tv.normalize(images.float() / 255, MEAN.tolist(), STD.tolist())
    torch.testing.assert_close(
        view.apply(Pictures(images), {}, MEAN, STD), expected, rtol=0, atol=2e-6
    )


@pytest.mark.parametrize("stored", [33, 37, 40])
def test_clean_crops_the_centre(stored: int) -> None:
    images = noise_and_gradients(5, stored)
    expected = tv.center_crop(images, [32, 32]).float()
    ours = Clean(32).apply(Pictures(images), {}, *UNIT)
    assert ours.is_contiguous()
    assert torch.equal(ours.round(), expected)


@pytest.mark.parametrize(("stored", "resize", "side"), [(32, 40, 32), (60, 40, 32), (40, 40, 33)])
def test_clean_resizes_first(stored: int, resize: int, side: int) -> None:
    images = noise_and_gradients(6, stored)
    ours = Clean(side, resize=resize).apply(Pictures(images), {}, *UNIT)
    for image, result in zip(images, ours, strict=True):
        larger = to_pil(image).resize((resize, resize), Image.Resampling.BILINEAR)
        expected = tv.center_crop(from_pil(larger), [side, side])
        assert distance(result.round(), expected).max() <= 1


def test_clean_cannot_invent_pixels() -> None:
    with pytest.raises(ValueError, match="side 32 cannot be cut from images of side 28"):
        Clean(32).apply(Pictures(noise_and_gradients(2, 28)), {}, MEAN, STD)


def test_strong_draws_keep_to_their_ranges() -> None:
    n = 4000
    draws = Strong(32).draw(n, generator())
    which, magnitude = draws["operation"], draws["magnitude"]
    assert which.shape == magnitude.shape == (n, 4)
    counts = torch.bincount(which.flatten(), minlength=14).double()
    expected = 4 * n / 14
    assert len(counts) == 14
    assert ((counts - expected) ** 2 / expected).sum() < 34.5  # chi-square, 13 d.o.f., p = 0.001
    repeated = (which[:, 0] == which[:, 1]).double().mean()
    assert repeated == pytest.approx(1 / 14, abs=0.02)
    for o, (low, high) in STRONG_RANGES.items():
        drawn = magnitude[which == o]
        assert drawn.min() >= low
        assert drawn.max() <= (7 if o is Operation.POSTERISE else high)
        if low < high and o is not Operation.POSTERISE:
            assert drawn.min() < low + 0.02 * (high - low)
            assert drawn.max() > high - 0.02 * (high - low)
    assert magnitude[which == Operation.POSTERISE].unique().tolist() == [4, 5, 6, 7]


@pytest.mark.parametrize(("side", "cutout"), [(32, 16), (8, 16), (33, 5)])
def test_cutout(side: int, cutout: int) -> None:
    n = 300
    images = noise_and_gradients(n, side)
    view, plain = Strong(side, cutout=cutout), Strong(side, cutout=0)
    draws = view.draw(n, generator())
    row, column, half = draws["hole"].unbind(1)
    assert 2 * half.max() == cutout // 2 * 2
    assert half.min() == 0
    assert set(row.tolist()) == set(column.tolist()) == set(range(side))
    # half = 0 comes from l = 1 only, any other value from two lengths.
    assert (half == 0).double().mean() == pytest.approx(1 / cutout, abs=0.06)
    ours = view.apply(Pictures(images), draws, MEAN, STD)
    uncut = plain.apply(Pictures(images), draws, MEAN, STD)
    for i in range(n):
        y, x, h = int(row[i]), int(column[i]), int(half[i])
        uncut[i, :, max(0, y - h) : y + h, max(0, x - h) : x + h] = 0
    assert torch.equal(ours, uncut)


def test_contrastive_draws() -> None:
    n = 6000
    view = Contrastive(32)
    draws = view.draw(n, generator())
    which, magnitude = draws["operation"], draws["magnitude"]
    jitter = (Operation.BRIGHTNESS, Operation.CONTRAST, Operation.COLOUR, Operation.HUE)
    jittered = which[:, 0] != Operation.IDENTITY
    assert jittered.double().mean() == pytest.approx(0.8, abs=0.025)
    assert (which[jittered, :4].sort(dim=1).values == torch.tensor(sorted(jitter))).all()
    assert (which[~jittered, :4] == Operation.IDENTITY).all()
    orders = torch.unique(which[jittered, :4], dim=0, return_counts=True)[1].double()
    assert len(orders) == 24
    assert ((orders / orders.sum() * 24 - 1).abs() < 0.4).all()
    ranges = [(0.6, 1.4), (0.6, 1.4), (0.6, 1.4), (-0.1, 0.1)]
    for o, (low, high) in zip(jitter, ranges, strict=True):
        drawn = magnitude[:, :4][which[:, :4] == o]
        assert low <= drawn.min() < low + 0.02 * (high - low)
        assert high - 0.02 * (high - low) < drawn.max() <= high
    grey, blurred = which[:, 4] == Operation.COLOUR, which[:, 5] == Operation.BLUR
    assert grey.double().mean() == pytest.approx(0.2, abs=0.025)
    assert blurred.double().mean() == pytest.approx(0.5, abs=0.03)
    assert (magnitude[:, 4] == 0).all()
    assert 0.1 <= magnitude[:, 5].min() < 0.12
    assert 1.98 < magnitude[:, 5].max() <= 2.0
    together = (jittered & grey & blurred).double().mean()
    assert together == pytest.approx(0.8 * 0.2 * 0.5, abs=0.015)


def test_contrastive_grey_is_pillows() -> None:
    images = noise_and_gradients(10, 16)
    view = Contrastive(16, crop_scale=(1.0, 1.0), jitter=0.0, grey=1.0, blur=0.0, flip=0.0)
    ours = view.apply(Pictures(images), view.draw(10, generator()), *UNIT)
    expected = torch.stack([from_pil(to_pil(x).convert("L").convert("RGB")) for x in images])
    assert torch.equal(ours.round(), expected.float())


@pytest.mark.parametrize(
    ("make", "messages"),
    [
        (lambda: Clean(32, resize=24), ["resize: at least side (32) or None, got 24"]),
        (
            lambda: Weak(2, crop_scale=(0.0, 1.0), flip=1.5),
            ["side: at least 3", "crop_scale: 0 < lowest", "flip: a probability in [0, 1]"],
        ),
        (
            lambda: Strong(32, operations=-1, cutout=-2),
            ["operations: at least 0, got -1", "cutout: at least 0 pixels, got -2"],
        ),
        (
            lambda: Contrastive(32, jitter=2.0, jitter_strength=(0.4, 0.4, 0.4, 0.6), grey=-1.0),
            ["jitter: a probability", "jitter_strength: four numbers", "grey: a probability"],
        ),
    ],
)
def test_mistakes_are_listed_together(make: Callable[[], View], messages: list[str]) -> None:
    with pytest.raises(ValueError, match=":") as error:
        make()
    lines = str(error.value).splitlines()
    assert len(lines) == len(messages)
    for line, message in zip(lines, messages, strict=True):
        assert line.startswith(message)


def test_batches_that_do_not_fit_are_refused() -> None:
    view = Weak(16)
    images = noise_and_gradients(4, 16)
    with pytest.raises(ValueError, match=r"got 5 rows of 'area' for 4 images"):
        view.apply(Pictures(images), view.draw(5, generator()), MEAN, STD)
    with pytest.raises(ValueError, match=r"uint8 \(n, 3, H, H\), got torch.float32"):
        view.apply(Pictures(images.float()), view.draw(4, generator()), MEAN, STD)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("kind", VIEWS)
def test_gpu_agrees_with_cpu_and_with_itself(kind: type[View]) -> None:
    n = 200
    images = noise_and_gradients(n, 32)
    view = kind(32)
    draws = view.draw(n, generator())
    expected = view.apply(Pictures(images), draws, *UNIT)
    norm = [t.cuda() for t in UNIT]
    with torch.autocast("cuda", dtype=torch.bfloat16):
        ours = view.apply(Pictures(images.cuda()), draws, *norm)
    apart = (ours.cpu() - expected).abs()
    assert (apart < 0.01).float().mean() > 0.999
    for rows in (torch.tensor([7]), torch.arange(0, n, 3)):
        part = view.apply(Pictures(images[rows].cuda()), rows_of(draws, rows), *norm)
        assert torch.equal(part, ours[rows.cuda()])
    on_gpu = view.draw(n, torch.Generator("cuda").manual_seed(0))
    assert view.apply(Pictures(images.cuda()), on_gpu, *norm).shape == (n, 3, 32, 32)
