"""Drawings of several runs become one."""

import numpy as np

from deep_clustering.platform.evaluation.drawing import Densities, pooled


def _drawing(title: str, own: list[float], caption: str = "c") -> Densities:
    return Densities(
        heading="h",
        title="t",
        panels={title: {"own": np.array(own), "others": np.array([0.5])}},
        xlabel="confidence",
        caption=caption,
        columns=("a",),
    )


def test_panels_of_the_same_title_share_their_values() -> None:
    drawings = [_drawing("svhn", [0.1]), _drawing("stl10", [0.3]), _drawing("svhn", [0.2, 0.4])]
    whole = pooled(drawings)
    assert list(whole.panels) == ["svhn", "stl10"]
    assert whole.panels["svhn"]["own"].tolist() == [0.1, 0.2, 0.4]
    assert whole.panels["svhn"]["others"].tolist() == [0.5, 0.5]
    assert whole.panels["stl10"]["own"].tolist() == [0.3]


def test_all_else_is_that_of_the_first() -> None:
    whole = pooled([_drawing("svhn", [0.1], "first"), _drawing("svhn", [0.2], "second")])
    assert (whole.caption, whole.columns) == ("first", ("a",))
