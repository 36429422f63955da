"""Named datasets of vectors from OpenML."""

import dataclasses
import gzip
import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from deep_clustering.platform.data import catalogue, dataset
from deep_clustering.platform.data.catalogue import CATALOGUE
from deep_clustering.platform.data.dataset import PointSet, Source
from deep_clustering.platform.errors import InputError
from support.small import resolved

ARFF = """@relation small
@attribute a numeric
@attribute b numeric
@attribute class {0, 2, 10}
@data
1.5,2,10
3,4,2
5,6,0
7,8,10
"""


def openml(root: Path, number: int, arff: str = ARFF, md5: str | None = None) -> None:
    """What scikit-learn's cache holds after a download, for a small set."""
    url = f"https://www.openml.org/data/v1/download/{number}/small.arff"
    place = root / "archives" / "openml" / "openml.org"

    def keep(path: str, data: bytes) -> None:
        target = place / f"{path}.gz"
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(gzip.compress(data))

    def api(path: str, value: Any) -> None:
        keep(f"api/v1/json/data/{path}", json.dumps(value).encode())

    md5 = md5 or hashlib.md5(arff.encode(), usedforsecurity=False).hexdigest()
    about = {
        "id": str(number), "name": "small", "version": "1", "description": "", "format": "ARFF",
        "status": "active", "file_id": "1", "url": url, "md5_checksum": md5,
    }  # fmt: skip
    columns = [
        {
            "index": str(i), "name": name, "data_type": kind, "is_target": str(i == 2).lower(),
            "is_ignore": "false", "is_row_identifier": "false", "number_of_missing_values": "0",
        }
        for i, (name, kind) in enumerate((("a", "numeric"), ("b", "numeric"), ("class", "nominal")))
    ]  # fmt: skip
    api(f"{number}", {"data_set_description": about})
    api(f"features/{number}", {"data_features": {"feature": columns}})
    qualities = [{"name": "NumberOfInstances", "value": "4.0"}]
    api(f"qualities/{number}", {"data_qualities": {"quality": qualities}})
    keep(f"data/v1/download/{number}/small.arff", arff.encode())


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pendigits is said to have four samples of two numbers in three classes."""
    about = dataclasses.replace(CATALOGUE["pendigits"], count=4, dimensions=2, classes=3)
    monkeypatch.setitem(catalogue.CATALOGUE, "pendigits", about)


def test_openml_sets_are_read_from_its_files(tmp_path: Path, small: None) -> None:
    openml(tmp_path, 32)
    found = dataset.open(Source("pendigits", tmp_path))
    assert isinstance(found, PointSet)
    assert found.points.tolist() == [[1.5, 2], [3, 4], [5, 6], [7, 8]]
    assert found.class_names == ("0", "2", "10")
    assert found.labels is not None
    assert found.labels.tolist() == [2, 1, 0, 2]
    assert catalogue.status(CATALOGUE["pendigits"], tmp_path).text == "ready"
    assert resolved("kmeans", "pendigits", root=tmp_path).config.clusters == 3


def test_openml_sets_must_have_the_published_counts(tmp_path: Path) -> None:
    openml(tmp_path, 32)
    with pytest.raises(
        InputError, match=r"10992 samples of 16 numbers in 10 classes, .* came with 4, 2 and 3"
    ):
        dataset.open(Source("pendigits", tmp_path))
    assert not [p for p in (tmp_path / "prepared").iterdir() if p.is_dir()]


def test_openml_files_with_a_wrong_checksum_are_not_read(
    tmp_path: Path, small: None, nowhere: None
) -> None:
    openml(tmp_path, 32, md5="0" * 32)
    kept = list((tmp_path / "archives").rglob("small.arff.gz"))
    assert len(kept) == 1
    with pytest.raises(InputError, match="cannot be downloaded"):  # as it would be, again
        dataset.open(Source("pendigits", tmp_path))
    assert not kept[0].exists()


@pytest.mark.ray
def test_openml_without_network_says_what_to_do(tmp_path: Path, nowhere: None) -> None:
    with pytest.raises(InputError, match=r"data set 300 cannot be downloaded .*say table:PATH"):
        dataset.open(Source("isolet", tmp_path))
