"""Pictures that are not square: boxes, views and what is stored, against torchvision and Pillow."""

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_sample_images
from torch import Tensor
from torchvision import transforms as tv

from deep_clustering.methods.images.clean import Clean
from deep_clustering.methods.images.contrastive import Contrastive
from deep_clustering.methods.images.crops import crop_boxes
from deep_clustering.methods.images.images import Images
from deep_clustering.methods.images.pictures import Frame, Pictures
from deep_clustering.methods.images.randaugment import RandAugment
from deep_clustering.methods.images.strong import Strong
from deep_clustering.methods.images.view import Draws, View
from deep_clustering.methods.images.weak import Weak

UNIT = (torch.zeros(3), torch.full((3,), 1 / 255))  # "normalised" values are then the levels
BILINEAR = Image.Resampling.BILINEAR
#: Heights and widths: landscape, portrait, so wide and so tall that crops seldom fit, a square.
SHAPES = ((30, 40), (60, 45), (12, 64), (64, 10), (33, 33))


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def files(n: int, shapes: tuple[tuple[int, int], ...] = SHAPES) -> list[Image.Image]:
    """Smooth pictures of these shapes in turn, with some noise."""
    rng = np.random.default_rng(0)
    made = []
    for number in range(n):
        height, width = shapes[number % len(shapes)]
        coarse = Image.fromarray(rng.integers(30, 220, (4, 4, 3), dtype=np.uint8))
        smooth = np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC), int)
        noisy = smooth + rng.integers(-20, 21, smooth.shape)
        made.append(Image.fromarray(noisy.clip(0, 255).astype(np.uint8)))
    return made


def stored(pictures: list[Image.Image], side: int = 64, beside: int = 0) -> Pictures:
    """As the platform stores whole pictures; `beside` is what lies beyond them."""
    pixels = np.full((len(pictures), 3, side, side), beside, np.uint8)
    for square, image in zip(pixels, pictures, strict=True):
        kept = image.resize((min(image.width, side), min(image.height, side)), BILINEAR)
        square[:, : kept.height, : kept.width] = np.asarray(kept).transpose(2, 0, 1)
    size = torch.tensor([[image.height, image.width] for image in pictures])
    return Pictures(torch.from_numpy(pixels), size)


def levels(image: Image.Image) -> Tensor:
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)


def views(frame: Frame, side: int = 32) -> list[View]:
    clean: View = Clean(side, resize=36, frame=frame)
    weak, strong = Weak(side, frame=frame), Strong(side, frame=frame)
    return [clean, weak, strong, Contrastive(side, frame=frame), RandAugment(side, frame=frame)]


def slow_boxes(draws: Draws, height: int, width: int) -> list[tuple[int, int, int, int]]:
    """torchvision's ``RandomResizedCrop.get_params``, fed with our draws."""
    boxes = []
    for area, ratio, (down, right) in zip(
        draws["area"].tolist(), draws["ratio"].tolist(), draws["place"].tolist(), strict=True
    ):
        for share, aspect in zip(area, ratio, strict=True):
            w = round((share * height * width * aspect) ** 0.5)
            h = round((share * height * width / aspect) ** 0.5)
            if 0 < w <= width and 0 < h <= height:
                top, left = int(down * (height - h + 1)), int(right * (width - w + 1))
                break
        else:
            w, h = width, height
            if width / height < 3 / 4:
                h = round(width / (3 / 4))
            elif width / height > 4 / 3:
                w = round(height * (4 / 3))
            top, left = (height - h) // 2, (width - w) // 2
        boxes.append((top, left, h, w))
    return boxes


@pytest.mark.parametrize("shape", [(375, 500), (500, 333), (60, 500), (500, 70), (400, 399)])
def test_boxes_are_torchvisions_in_pictures_of_any_shape(shape: tuple[int, int]) -> None:
    draws = Weak(32, crop_scale=(0.4, 1.0)).draw(400, generator())
    found = crop_boxes(draws, torch.tensor([shape], dtype=torch.float64))
    expected = slow_boxes(draws, *shape)
    assert [tuple(box) for box in found.mT.flatten(1).tolist()] == expected
    middle = min(shape) / max(shape) < 0.2  # none of ten attempts fits
    assert (len(set(expected)) < 20) == middle


def test_boxes_are_distributed_as_torchvisions() -> None:
    n, shape = 10_000, (90, 120)
    ours = crop_boxes(
        Weak(32).draw(n, generator(3)), torch.tensor([shape], dtype=torch.float64)
    ).mT.flatten(1)
    torch.manual_seed(0)
    image, drawn = torch.empty(3, *shape), tv.RandomResizedCrop.get_params
    theirs = torch.tensor(
        [drawn(image, [0.08, 1.0], [3 / 4, 4 / 3]) for _ in range(n)], dtype=torch.float64
    )
    for a, b in ((ours, theirs), (ours**2, theirs**2)):
        error = (a.var(0) / n + b.var(0) / n).sqrt()
        assert ((a.mean(0) - b.mean(0)).abs() < 4.5 * error).all()


@pytest.mark.parametrize("kernel", ["bilinear", "bicubic"])
def test_crops_are_pillows_on_the_file(kernel: str) -> None:
    pictures = files(40)
    bilinear = kernel == "bilinear"
    view: View = Weak(32) if bilinear else Contrastive(32, jitter=0.0, grey=0.0, blur=0.0)
    draws = view.draw(40, generator())
    ours = view.apply(stored(pictures), draws, *UNIT).round()
    resampling = BILINEAR if bilinear else Image.Resampling.BICUBIC
    apart = []
    for number, (image, result) in enumerate(zip(pictures, ours, strict=True)):
        mine = {name: values[number : number + 1] for name, values in draws.items()}
        ((top, left, height, width),) = slow_boxes(mine, image.height, image.width)
        cut = image.crop((left, top, left + width, top + height))
        cut = cut.resize((32, height), resampling).resize((32, 32), resampling)
        expected = levels(cut).flip(2) if mine["flip"] else levels(cut)
        apart.append((result - expected).abs())
    differing = torch.stack(apart)
    assert differing.max() <= 2
    assert (differing == 0).float().mean() > 0.94


def test_a_picture_larger_than_its_square_is_cut_in_its_own_pixels() -> None:
    """Boxes of 1,200 x 800 pixels, looked up in 500 x 500."""
    pictures = files(12, ((80, 120), (128, 90)))
    draws = Weak(16, crop_scale=(0.3, 1.0)).draw(12, generator())
    whole = Weak(16, crop_scale=(0.3, 1.0)).apply(stored(pictures, 128), draws, *UNIT)
    bounded = Weak(16, crop_scale=(0.3, 1.0)).apply(stored(pictures, 80), draws, *UNIT)
    apart = (whole - bounded).abs()  # noise of 12 levels is averaged over more or fewer pixels
    assert 0 < apart.mean() < 2
    assert apart.max() < 20
    as_squares = Pictures(stored(pictures, 80).pixels)
    moved = Weak(16, crop_scale=(0.3, 1.0)).apply(as_squares, draws, *UNIT)
    assert (whole - moved).abs().mean() > 3 * apart.mean()  # boxes of squares are others


@pytest.mark.parametrize("side", [16, 48])
def test_without_a_crop_the_whole_picture_is_squashed(side: int) -> None:
    """DPAC's strong view before its operations, "resize to S x S"."""
    pictures = files(10)
    view = Strong(side, crop_scale=(1.0, 1.0), flip=0.0, operations=0, cutout=0)
    ours = view.apply(stored(pictures), view.draw(10, generator()), *UNIT).round()
    for image, result in zip(pictures, ours, strict=True):
        expected = image.resize((side, image.height), BILINEAR).resize((side, side), BILINEAR)
        assert (result - levels(expected)).abs().max() <= 1


def test_the_centred_square_is_cropped_like_a_square_file() -> None:
    shapes = ((30, 40), (60, 46), (12, 64))
    pictures = files(30, shapes)
    squares = []
    for image in pictures:
        short = min(image.size)
        left, top = (image.width - short) // 2, (image.height - short) // 2
        squares.append(image.crop((left, top, left + short, top + short)))
    for ours in views("centre")[1:]:
        draws = ours.draw(30, generator())
        seen = ours.apply(stored(pictures), draws, *UNIT)
        assert torch.equal(seen, ours.apply(stored(squares), draws, *UNIT))
    whole = Weak(32).apply(stored(pictures), draws, *UNIT)
    assert not torch.equal(whole, Weak(32).apply(stored(squares), draws, *UNIT))


@pytest.mark.parametrize(("resize", "side"), [(36, 32), (20, 15), (48, 48)])
def test_clean_views_are_torchvisions_on_the_file(resize: int, side: int) -> None:
    """CDC's and SCAN's keep the ratio, DPAC's squashes."""
    pictures = files(10, ((30, 40), (60, 45), (40, 64), (64, 50), (33, 33)))
    for frame, size in (("centre", resize), ("whole", (resize, resize))):
        view = Clean(side, resize=resize, frame=frame)  # type: ignore[arg-type]
        ours = view.apply(stored(pictures), {}, *UNIT).round()
        theirs = tv.Compose([tv.Resize(size), tv.CenterCrop(side)])
        for image, result in zip(pictures, ours, strict=True):
            assert (result - levels(theirs(image))).abs().max() <= 1


@pytest.mark.parametrize("frame", ["whole", "centre"])
def test_rows_depend_on_their_own_picture_alone(frame: Frame) -> None:
    n = 40
    dark, light = (stored(files(n), beside=level) for level in (0, 255))
    some = torch.arange(1, n, 3)
    for view in views(frame):
        draws = view.draw(n, generator())
        seen = view.apply(dark, draws, *UNIT)
        assert torch.equal(seen, view.apply(light, draws, *UNIT))  # nothing beside it shines in
        assert dark.size is not None
        few = Pictures(dark.pixels[some], dark.size[some])
        mine = {name: values[some] for name, values in draws.items()}
        assert torch.equal(view.apply(few, mine, *UNIT), seen[some])


@pytest.mark.parametrize("frame", ["whole", "centre"])
@pytest.mark.parametrize("side", [16, 32])
def test_squares_are_the_same_with_and_without_their_size(frame: Frame, side: int) -> None:
    pixels = stored(files(20, ((side, side),)), side).pixels
    for one, other in zip(views(frame), views("whole"), strict=True):
        draws = one.draw(20, generator())
        sized = one.apply(Pictures(pixels, torch.full((20, 2), side)), draws, *UNIT)
        assert torch.equal(sized, one.apply(Pictures(pixels), draws, *UNIT))
        assert torch.equal(sized, other.apply(Pictures(pixels), draws, *UNIT))


def test_boxes_of_less_than_a_stored_pixel_show_one() -> None:
    pictures = Pictures(stored(files(50)).pixels, torch.tensor([[9000, 7000]]).expand(50, 2))
    for view in (Weak(8, crop_scale=(1e-8, 1e-8)), Contrastive(8, crop_scale=(1e-8, 1e-8))):
        seen = view.apply(pictures, view.draw(50, generator()), *UNIT)
        assert torch.isfinite(seen).all()
    weak = Weak(8, crop_scale=(1e-8, 1e-8))
    flat = weak.apply(pictures, weak.draw(50, generator()), *UNIT).round()
    assert torch.equal(flat, flat[:, :, :1, :1].expand_as(flat))


def test_batches_carry_the_sizes() -> None:
    pictures = stored(files(10))
    assert pictures.size is not None
    sizes = pictures.size.int().numpy()
    about = {"mean": (0.5,) * 3, "std": (0.5,) * 3, "device": torch.device("cpu")}
    images = Images(pictures.pixels.numpy(), sizes=sizes, **about)  # type: ignore[arg-type]
    index = torch.tensor([7, 0, 7])
    taken = images.take(index)
    assert taken.size is not None
    assert torch.equal(taken.pixels, pictures.pixels[index])
    assert torch.equal(taken.size, pictures.size[index])
    assert Images(pictures.pixels.numpy(), **about).take(index).size is None  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"sizes: shape \(10, 2\), got \(9, 2\)"):
        Images(pictures.pixels.numpy(), sizes=sizes[:9], **about)  # type: ignore[arg-type]
    wrong = Pictures(pictures.pixels, pictures.size[:9])
    with pytest.raises(ValueError, match=r"size: \(n, 2\) with n = 10, got \(9, 2\)"):
        Clean(8).apply(wrong, {}, *UNIT)


def energy(x: Tensor) -> float:
    """Mean over views (n, 3, S, S) of the deviation that a small blur takes away, in levels."""
    grey = x.mean(1, keepdim=True)
    kernel = torch.tensor([[0, 1, 0], [1, 4, 1], [0, 1, 0]]) / 8
    low = torch.nn.functional.conv2d(grey, kernel[None, None])
    return float((grey[..., 1:-1, 1:-1] - low).std((1, 2, 3)).mean())


def test_views_of_photographs_are_as_sharp_as_those_of_the_file() -> None:
    """Of 500 x 375 pixels; from centred squares of 256, as once stored, they are much softer."""
    photographs = [
        Image.fromarray(image[:, :569]).resize((500, 375), Image.Resampling.LANCZOS)
        for image in load_sample_images().images
    ]
    n = 8
    draws = Weak(224).draw(n, generator())
    boxes = slow_boxes(draws, 375, 500)
    pictures = (photographs * n)[:n]
    ours = energy(Weak(224).apply(stored(pictures, 500), draws, *UNIT))
    cuts = []
    for image, (top, left, height, width) in zip(pictures, boxes, strict=True):
        cut = image.crop((left, top, left + width, top + height))
        cuts.append(levels(cut.resize((224, 224), BILINEAR)))
    assert ours == pytest.approx(energy(torch.stack(cuts).float()), rel=0.01)
    squares = [p.resize((256, 256), BILINEAR, box=(62, 0, 437, 375)) for p in photographs]
    soft = Pictures(torch.stack([levels(p) for p in (squares * n)[:n]]))
    assert energy(Weak(224).apply(soft, draws, *UNIT)) < 0.6 * ours


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("frame", ["whole", "centre"])
def test_gpu_agrees_with_cpu(frame: Frame, monkeypatch: pytest.MonkeyPatch) -> None:
    pictures = stored(files(100))
    assert pictures.size is not None
    there = Pictures(pictures.pixels.cuda(), pictures.size.cuda())
    for view in views(frame):
        draws = view.draw(100, generator())
        expected = view.apply(pictures, draws, *UNIT)
        ours = view.apply(there, draws, *(t.cuda() for t in UNIT))
        assert ((ours.cpu() - expected).abs() < 0.01).float().mean() > 0.999
        with monkeypatch.context() as patch:
            patch.setattr("deep_clustering.methods.images.view.GPU_PART", 1)
            assert torch.equal(view.apply(there, draws, *(t.cuda() for t in UNIT)), ours)
