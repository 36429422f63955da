"""The two kinds of dataset, and how a worker opens one again."""

import json
from pathlib import Path

import numpy as np
import pytest

from deep_clustering.platform.data import dataset, datasets
from deep_clustering.platform.data.dataset import ImageSet, PointSet, Source


@pytest.mark.parametrize(
    ("source", "plain"),
    [
        (Source("digits", Path("/data")), {"spec": "digits", "root": "/data"}),
        (
            Source("folder:/a b", Path("/data"), skip_broken=True, side=32, protocol="train"),
            {
                "spec": "folder:/a b",
                "root": "/data",
                "skip_broken": True,
                "side": 32,
                "protocol": "train",
            },
        ),
    ],
)
def test_a_source_comes_back_from_json(source: Source, plain: dict[str, object]) -> None:
    assert source.as_json() == plain
    assert Source.from_json(json.loads(json.dumps(source.as_json()))) == source


def test_every_field_of_a_source_is_in_its_json() -> None:
    changed = Source("x", Path("/y"), skip_broken=True, side=8, protocol="all")
    assert set(changed.as_json()) == set(Source.__dataclass_fields__) - {"_"}


def test_a_source_opens_the_same_dataset_again(tmp_path: Path) -> None:
    first = dataset.open(Source("digits", tmp_path))
    again = dataset.open(Source.from_json(Source(first.name, tmp_path).as_json()))
    assert (again.fingerprint, again.protocol) == (first.fingerprint, "all")
    assert first.here


def test_images_and_points_say_what_their_samples_are(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.arange(6.0).reshape(3, 2))
    images = dataset.open(Source("digits", tmp_path))
    points = dataset.open(Source(f"table:{tmp_path / 'x.npy'}", tmp_path))
    assert isinstance(images, ImageSet)
    assert isinstance(points, PointSet)
    assert (images.noun, points.noun) == ("images", "samples")
    with pytest.raises(AttributeError):
        images.points  # type: ignore[attr-defined]  # noqa: B018


@pytest.mark.parametrize(("name", "samples"), [("mnist", 70_000), ("isolet", 7797)])
def test_an_outline_has_the_sizes_and_says_that_it_is_one(name: str, samples: int) -> None:
    about = datasets.known()[name]
    found = dataset.outline(about)
    assert not found.here
    assert (found.name, found.protocol) == (name, about.protocols[0])
    assert len(found.train) == len(found.score) == len(found.pretrain) == samples
    if about.dimensions is None:
        assert isinstance(found, ImageSet)
        assert found.images.shape == (samples, 3, about.side, about.side)
    else:
        assert isinstance(found, PointSet)
        assert found.points.shape == (samples, about.dimensions)


def test_an_outline_takes_the_protocol_that_is_asked_for() -> None:
    assert dataset.outline(datasets.known()["mnist"], "test").protocol == "test"
