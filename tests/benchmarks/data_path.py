"""Images per second of the data path, against the same views made by Pillow one image at a time."""

import random
from collections.abc import Callable

import numpy as np
import torch
from _bench import MEAN, STD, Row, Setting, seconds
from PIL import Image, ImageEnhance, ImageFilter, ImageOps
from torch import Tensor

from deep_clustering.methods.images.clean import Clean
from deep_clustering.methods.images.contrastive import Contrastive
from deep_clustering.methods.images.images import Images
from deep_clustering.methods.images.strong import Strong
from deep_clustering.methods.images.view import View
from deep_clustering.methods.images.weak import Weak

Picture = Image.Image
BATCH = 250


def title(setting: Setting) -> str:
    """What was measured."""
    return f"take and augment, batches of {BATCH}, against Pillow on one CPU thread"


def rows(setting: Setting) -> list[Row]:
    """A row for each view and side."""
    found: list[Row] = []
    for side in (32,) if setting.quick else (32, 96, 224):
        generator = np.random.default_rng(0)
        # Smooth pictures: Pillow's histograms and ours cost the same on all, but noise is no image.
        coarse = generator.integers(0, 256, (BATCH, 4, 4, 3), dtype=np.uint8)
        pictures = [
            Image.fromarray(c).resize((side, side), Image.Resampling.BICUBIC) for c in coarse
        ]
        array = np.stack([np.asarray(p) for p in pictures]).transpose(0, 3, 1, 2).copy()
        images = Images(array, mean=MEAN, std=STD, device=setting.device)
        views: tuple[tuple[str, View, Callable[[Picture], Picture]], ...] = (
            ("clean", Clean(side), lambda picture: picture),
            ("weak", Weak(side), _weak),
            ("strong", Strong(side), _strong),
            ("contrastive", Contrastive(side), _contrastive),
        )
        for name, view, pillow in views:
            ours = _ours(setting, images, view) / BATCH
            theirs = _theirs(pictures, pillow) / BATCH
            found.append(
                Row(
                    name=f"{name}, {side} px",
                    value=1 / ours,
                    unit="images/s",
                    ratio=theirs / ours,
                    of=" x Pillow",
                )
            )
    return found


def _ours(setting: Setting, images: Images, view: View) -> float:
    index = torch.arange(BATCH, device=setting.device)
    generator = torch.Generator().manual_seed(0)

    def work() -> Tensor:
        draws = view.draw(BATCH, generator)
        return view.apply(images.take(index), draws, images.mean, images.std)

    return seconds(work, setting, repeats=9)


def _theirs(pictures: list[Picture], pillow: Callable[[Picture], Picture]) -> float:
    random.seed(0)
    mean, std = (torch.tensor(v)[:, None, None] for v in (MEAN, STD))

    def work() -> Tensor:
        made = []
        for picture in pictures:
            pixels = torch.from_numpy(np.array(pillow(picture)).transpose(2, 0, 1))
            made.append(pixels.float().div_(255).sub_(mean).div_(std))
        return torch.stack(made)

    return seconds(work, Setting(device=torch.device("cpu"), quick=True), repeats=5)


def _weak(picture: Picture, resampling: Image.Resampling = Image.Resampling.BILINEAR) -> Picture:
    """Random resized crop, and flip."""
    side = picture.size[0]
    for _ in range(10):
        area = random.uniform(0.08, 1) * side * side
        ratio = np.exp(random.uniform(np.log(3 / 4), np.log(4 / 3)))
        width, height = round((area * ratio) ** 0.5), round((area / ratio) ** 0.5)
        if 0 < width <= side and 0 < height <= side:
            break
    else:
        width = height = side
    left, top = random.randint(0, side - width), random.randint(0, side - height)
    box = (left, top, left + width, top + height)
    made = picture.crop(box).resize((side, side), resampling)
    return ImageOps.mirror(made) if random.random() < 0.5 else made


def _strong(picture: Picture) -> Picture:
    """The weak view, then four of the fourteen operations (the hole costs nothing and is left)."""
    picture = _weak(picture)
    for operation in random.choices(OPERATIONS, k=4):
        picture = operation(picture)
    return picture


def _contrastive(picture: Picture) -> Picture:
    """A bicubic crop, and solo-learn's jitter, grey and blur with their probabilities."""
    picture = _weak(picture, Image.Resampling.BICUBIC)
    if random.random() < 0.8:
        turns = [_factor(ImageEnhance.Brightness), _factor(ImageEnhance.Contrast)]
        for turn in random.sample([*turns, _factor(ImageEnhance.Color), _hue], 4):
            picture = turn(picture)
    if random.random() < 0.2:
        picture = picture.convert("L").convert("RGB")
    if random.random() < 0.5:
        picture = picture.filter(ImageFilter.GaussianBlur(random.uniform(0.1, 2)))
    return picture


def _factor(kind: Callable[[Picture], ImageEnhance._Enhance]) -> Callable[[Picture], Picture]:
    return lambda picture: kind(picture).enhance(random.uniform(0.6, 1.4))


def _hue(picture: Picture) -> Picture:
    """As torchvision turns the hue of a Pillow image."""
    hue, saturation, value = picture.convert("HSV").split()
    turned = (np.asarray(hue, np.int16) + random.randint(-25, 25)).astype(np.uint8)
    return Image.merge("HSV", (Image.fromarray(turned), saturation, value)).convert("RGB")


def _enhanced(kind: Callable[[Picture], ImageEnhance._Enhance]) -> Callable[[Picture], Picture]:
    return lambda picture: kind(picture).enhance(random.uniform(0.05, 0.95))


def _moved(*places: int, share: bool = False) -> Callable[[Picture], Picture]:
    def moved(picture: Picture) -> Picture:
        matrix = [1.0, 0, 0, 0, 1.0, 0]
        for place in places:
            matrix[place] = random.uniform(-0.1, 0.1) * (picture.size[0] if share else 1)
        return picture.transform(picture.size, Image.Transform.AFFINE, matrix)

    return moved


OPERATIONS: tuple[Callable[[Picture], Picture], ...] = (
    lambda picture: picture,
    ImageOps.autocontrast,
    ImageOps.equalize,
    lambda picture: picture.rotate(random.uniform(-30, 30)),
    lambda picture: ImageOps.solarize(picture, random.randint(0, 256)),
    _enhanced(ImageEnhance.Color),
    _enhanced(ImageEnhance.Contrast),
    _enhanced(ImageEnhance.Brightness),
    _enhanced(ImageEnhance.Sharpness),
    _moved(1),
    _moved(3),
    _moved(2, share=True),
    _moved(5, share=True),
    lambda picture: ImageOps.posterize(picture, random.randint(4, 7)),
)
