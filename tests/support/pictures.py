"""Pictures on disk, for tests of what reads them."""

from pathlib import Path

import numpy as np
from PIL import Image


def noise(path: Path, seed: int, size: tuple[int, int] = (32, 32)) -> np.ndarray:
    """Write a random RGB image and return it as (3, height, width)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    array = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(array).save(path)
    return array.transpose(2, 0, 1)


def nothing_half_written(root: Path) -> bool:
    return not list((root / "prepared").glob(".*.partial"))
