"""At which side pictures are stored, and how much of one networks see."""

import numpy as np
import pytest

from deep_clustering.platform.data.sides import stored_side, view_side


@pytest.mark.parametrize(
    ("sizes", "side"),
    [
        ([(28, 28), (28, 28)], 28),  # equal squares keep their side
        ([(256, 256)], 256),
        ([(8, 8)], 8),
        ([(6, 6)], 32),  # too small for any network
        ([(512, 512), (512, 512)], 500),  # photographs
        ([(300, 300), (300, 300)], 300),
        ([(28, 28), (30, 30)], 32),  # not below 32
        ([(100, 300), (96, 97), (90, 90)], 96),  # median shorter side 96
        ([(95, 300), (95, 97)], 64),
        ([(640, 255), (480, 255)], 96),
        ([(640, 480), (500, 375), (40, 40)], 500),
        ([(400, 256), (400, 300)], 400),  # no larger than the largest
    ],
)
def test_stored_side(sizes: list[tuple[int, int]], side: int) -> None:
    assert stored_side(np.array(sizes)) == side


def test_of_whole_pictures_networks_see_224_pixels() -> None:
    assert (view_side(255), view_side(256), view_side(500)) == (255, 224, 224)
