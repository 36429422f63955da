"""Clusters that may be two, pictures that belong nowhere: found where they were made, no more."""

import numpy as np
import polars as pl
import pytest
import torch

from deep_clustering.methods.clustering.kmeans import neighbours
from deep_clustering.platform.data import dataset as datasets
from deep_clustering.platform.data.dataset import ImageSet, Source
from deep_clustering.platform.metrics import embedding
from deep_clustering.platform.report.markup.parts import Heading, Paragraph, Part, Sheet
from deep_clustering.platform.report.pages import _map, _suspects
from deep_clustering.platform.report.pages._album import Album
from support.small import images


@pytest.fixture(scope="module")
def album(tmp_path_factory: pytest.TempPathFactory) -> Album:
    """120 pictures."""
    base = tmp_path_factory.mktemp("album")
    folder = images(base / "photos", labelled=False, count=40)
    found = datasets.open(Source(f"folder:{folder}", base / "data"))
    assert isinstance(found, ImageSet)
    return Album(found)


def table(cluster: list[int]) -> pl.DataFrame:
    return pl.DataFrame({"sample": range(len(cluster)), "cluster": cluster})


def rows(*groups: tuple[int, int]) -> np.ndarray:
    """Directions with noise: for each (axis, count) so many along an axis of eight."""
    random = np.random.default_rng(0)
    x = np.concatenate([np.eye(8)[[axis] * count] for axis, count in groups])
    x = x + 0.15 * random.normal(size=x.shape)
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def near(x: np.ndarray) -> _suspects.Near:
    """As the stage of an encoder keeps them."""
    return _suspects.Near.of(x, neighbours(torch.from_numpy(x), 20).numpy())


def headings(parts: list[Part]) -> list[str]:
    return [str(part.text) for part in parts if isinstance(part, Heading)]


def test_a_cluster_of_two_kinds_may_be_two(album: Album) -> None:
    x = rows((0, 40), (1, 40), (2, 40))
    parts = _suspects.two(album, table([0] * 80 + [1] * 40), x)
    assert [text[:9] for text in headings(parts)] == ["Cluster 0"]
    sheets = [part for part in parts if isinstance(part, Sheet)]
    assert [sheet.title for sheet in sheets] in (
        ["One part, 40 pictures", "The other, 40 pictures"],
    )
    kinds = [{int(str(t.alt).partition("-")[0]) for t in sheet.thumbs} for sheet in sheets]
    assert kinds in ([{0}, {1}], [{1}, {0}])
    assert _suspects.two(album, table([0] * 40 + [1] * 40 + [2] * 40), x) == []


def test_a_picture_like_no_other_belongs_nowhere(album: Album) -> None:
    x = rows((0, 60), (1, 60))
    assert _suspects.nowhere(album, table([0] * 60 + [1] * 60), near(x)) == []
    x[7] = np.eye(8)[5]
    lead, sheet = _suspects.nowhere(album, table([0] * 60 + [1] * 60), near(x))
    assert isinstance(lead, Paragraph)
    assert str(lead.text).startswith("1 of 120 pictures are like no other")
    assert isinstance(sheet, Sheet)
    assert [thumb.alt for thumb in sheet.thumbs] == ["0-15.png"]  # the eighth by name


def test_the_nearest_are_compared_by_their_cosine() -> None:
    x = np.array([[1, 0], [0.8, 0.6], [0, 1], [0.6, 0.8]])
    found = _suspects.Near.of(x, np.array([[1, 3, 2], [3, 0, 2], [3, 1, 0], [1, 2, 0]]))
    assert np.allclose(found.cosines[0], [0.8, 0.6, 0])
    assert np.allclose(found.cosines[3], [0.96, 0.8, 0.6])


def test_the_plane_holds_the_two_largest_directions() -> None:
    random = np.random.default_rng(0)
    x = random.normal(size=(500, 5)) * [1, 9, 1, 4, 1]
    plane, share = _map._plane(x)
    assert abs(np.corrcoef(plane[:, 0], x[:, 1])[0, 1]) > 0.99
    assert abs(np.corrcoef(plane[:, 1], x[:, 3])[0, 1]) > 0.98
    assert share == pytest.approx((81 + 16) / (81 + 16 + 3), abs=0.02)


@pytest.mark.skipif(not embedding.is_here(), reason="umap-learn is not installed")
@pytest.mark.ray  # it compiles for half a minute
def test_umap_keeps_groups_together_and_draws_the_same_plane_again() -> None:
    x = rows((0, 40), (1, 40), (2, 40))
    plane = embedding.umap(x, dimensions=2, neighbours=15)
    assert plane.shape == (120, 2)
    middles = plane.reshape(3, 40, 2).mean(1)
    within = np.linalg.norm(plane - np.repeat(middles, 40, axis=0), axis=1).mean()
    assert min(np.linalg.norm(middles[i] - middles[i - 1]) for i in range(3)) > 2 * within
    assert np.array_equal(embedding.umap(x, dimensions=2, neighbours=15), plane)
