"""Pictures sorted into folders: links that work, and no picture touched."""

from pathlib import Path

import polars as pl
import pytest

from deep_clustering.platform.commands import _sort as sort
from deep_clustering.platform.data import dataset as datasets
from deep_clustering.platform.data.dataset import Dataset, Source
from deep_clustering.platform.errors import InputError
from support.small import images


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Nine pictures in three folders, two of one name."""
    folder = images(tmp_path / "photos", count=3)
    (folder / "kind 1" / "1-0.png").rename(folder / "kind 1" / "0-0.png")
    return folder


@pytest.fixture
def opened(photos: Path, tmp_path: Path) -> Dataset:
    return datasets.open(Source(f"folder:{photos}", tmp_path / "data"))


def taken(dataset: Dataset) -> pl.DataFrame:
    """All pictures in cluster 0, every third one doubtful."""
    paths = dataset.paths
    assert paths is not None
    doubtful = [number % 3 == 2 for number in range(len(paths))]
    return pl.DataFrame({"path": paths, "cluster": [0] * len(paths), "doubtful": doubtful})


def test_each_picture_has_one_link_and_none_is_touched(opened: Dataset, tmp_path: Path) -> None:
    before = {p: p.read_bytes() for p in (tmp_path / "photos").rglob("*.png")}
    target = tmp_path / "sorted"
    sort.refuse(target, opened)
    assert sort.into(target, opened, taken(opened)) == 0
    sure = list((target / "cluster-00").iterdir())
    doubtful = list((target / "doubtful" / "cluster-00").iterdir())
    assert (len(sure), len(doubtful)) == (6, 3)
    assert {p.resolve() for p in (*sure, *doubtful)} == {p.resolve() for p in before}
    assert {p: p.read_bytes() for p in before} == before
    assert "kind 1__0-0.png" in {p.name for p in sure}  # the second of its name
    assert sorted(p.name for p in tmp_path.iterdir()) == ["data", "photos", "sorted"]


@pytest.mark.parametrize("links", [True, False])
def test_the_same_again_changes_nothing_and_all_else_is_refused(
    opened: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, links: bool
) -> None:
    def refused(*_: object) -> None:
        raise OSError(1, "no links here")

    target, found = tmp_path / "sorted", taken(opened)
    with monkeypatch.context() as none:
        if not links:
            none.setattr(Path, "symlink_to", refused)
        copied = sort.into(target, opened, found)
    assert copied == (0 if links else 9)
    made = {p: p.lstat().st_mtime_ns for p in target.rglob("*")}
    sort.refuse(target, opened, again=True)
    assert sort.into(target, opened, found) == copied
    assert {p: p.lstat().st_mtime_ns for p in target.rglob("*")} == made
    with pytest.raises(InputError, match="is there already"):
        sort.refuse(target, opened)  # something is still to be computed: it cannot be the same
    other = found.with_columns(cluster=pl.Series([1, *([0] * 8)]))
    with pytest.raises(InputError, match="is there already"):
        sort.into(target, opened, other)
    one = next(p for p in sorted(target.rglob("*.png")))
    moved = one.rename(one.with_name("kept by hand.png"))
    with pytest.raises(InputError, match="is there already"):
        sort.into(target, opened, found)
    assert moved.exists()


def test_a_folder_that_has_something_is_refused(opened: Dataset, tmp_path: Path) -> None:
    target = tmp_path / "sorted"
    target.mkdir()
    sort.refuse(target, opened)  # an empty one serves
    (target / "mine.txt").write_text("kept")
    with pytest.raises(InputError, match="is there already and is not an empty folder"):
        sort.refuse(target, opened)
    with pytest.raises(InputError, match="lies in the folder of the pictures"):
        sort.refuse(tmp_path / "photos" / "sorted", opened)
    with pytest.raises(InputError, match="there is no folder"):
        sort.refuse(tmp_path / "nowhere" / "sorted", opened)
    digits = datasets.open(Source("digits", tmp_path / "data"))
    with pytest.raises(InputError, match="are no files"):
        sort.refuse(target, digits)
