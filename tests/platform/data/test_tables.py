"""The user's own tables of numbers."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from deep_clustering.platform.data import dataset
from deep_clustering.platform.data.dataset import PointSet, Source
from deep_clustering.platform.errors import InputError
from support.small import resolved

NUMBERS = np.array([[0.5, 1, 2], [3, 4, 5], [6, 7, 8.25], [0.5, 1, 2]], np.float32)


LABELS = ["b", "a", "b", "b"]


def frame() -> pl.DataFrame:
    return pl.DataFrame({"x": NUMBERS[:, 0], "label": LABELS, "y": NUMBERS[:, 1:][:, 0]}).hstack(
        [pl.Series("z", NUMBERS[:, 2])]
    )


def written(place: Path, suffix: str) -> Path:
    path = place / f"numbers{suffix}"
    match suffix:
        case ".csv":
            frame().write_csv(path)
        case ".parquet":
            frame().write_parquet(path)
        case ".npy":
            np.save(path, NUMBERS)
        case ".npz":
            np.savez(path, points=NUMBERS, label=np.array(LABELS))
    return path


@pytest.mark.parametrize("suffix", [".csv", ".parquet", ".npy", ".npz"])
def test_a_table_is_a_dataset(tmp_path: Path, suffix: str) -> None:
    path = written(tmp_path, suffix)
    found = dataset.open(Source(f"table:{path}", tmp_path / "data"))
    assert found.name == f"table:{path}"
    assert isinstance(found, PointSet)
    assert isinstance(found.points, np.memmap)
    assert found.points.dtype == np.float32
    assert np.array_equal(found.points, NUMBERS)
    assert found.train.tolist() == found.score.tolist() == [0, 1, 2, 3]
    assert found.protocol == "all"
    assert found.duplicates == 1
    assert found.notes == ("1 of 4 samples repeat an earlier one number by number",)
    if suffix == ".npy":
        assert found.labels is None
        assert found.classes is None
    else:
        assert found.labels is not None
        assert found.labels.tolist() == [1, 0, 1, 1]
        assert found.class_names == ("a", "b")
    again = dataset.open(Source(f"table:{path}", tmp_path / "data"))
    assert again.fingerprint == found.fingerprint


def test_the_same_numbers_in_another_form_are_the_same_data(tmp_path: Path) -> None:
    found = {
        dataset.open(Source(f"table:{written(tmp_path, s)}", tmp_path / "data")).fingerprint
        for s in (".csv", ".parquet", ".npz")
    }
    assert len(found) == 1
    path = written(tmp_path, ".npz")
    np.savez(path, points=NUMBERS + 1, label=np.array(LABELS))
    changed = dataset.open(Source(f"table:{path}", tmp_path / "data")).fingerprint
    assert changed not in found


def test_the_label_column_can_be_named(tmp_path: Path) -> None:
    path = tmp_path / "a#b.csv"
    path.write_text("x,kind,y,label\n1,10,2,0.5\n3,9,4,0.25\n5,10,6,0.5\n")
    found = dataset.open(Source(f"table:{path}#kind", tmp_path / "data"))
    assert found.name == f"table:{path}#kind"
    assert isinstance(found, PointSet)
    assert found.points.tolist() == [[1, 2, 0.5], [3, 4, 0.25], [5, 6, 0.5]]
    assert found.class_names == ("9", "10")
    assert found.labels is not None
    assert found.labels.tolist() == [1, 0, 1]
    with pytest.raises(InputError, match=r"has no column 'knid'\. Did you mean 'kind'"):
        dataset.open(Source(f"table:{path}#knid", tmp_path / "data"))
    with pytest.raises(InputError, match=r"must be whole numbers.*and one is 0\.5"):
        dataset.open(Source(f"table:{path}", tmp_path / "data"))


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "cannot be read as a table"),
        ("x,y\n", "has 0 samples of 2 numbers"),
        ("x,y\n1,2\n3,4,5\n", "every line needs the same number of values"),
        (
            "x,y\n1,2\n3\n",
            r"in 1 places, the first in column 'y' of sample 1 \(from 0\)",
        ),
        ("x,y\n1,2\n3,nan\n", "lacks a finite number in 1 places"),
        ("x,y\n1,2\n1e60,3\n", r"lacks a finite number in 1 places, the first in column 'x'"),
        ("x,name,y\n1,a,2\n3,b,4\n", r"must hold numbers, and 'name' of 3 columns do not;.*#name'"),
        ("1,2\n3,4\n", "The first line of .* holds numbers"),
        ("label,class,x\n1,1,1\n", "has the columns label and class; say which one"),
        ("label,x\na,1\n,2\n", r"sample 1 \(from 0\) has none; 1 lack one"),
        ("label\na\nb\n", "has 2 samples of 0 numbers"),
    ],
)
def test_a_csv_that_is_no_table_of_numbers(tmp_path: Path, text: str, sentence: str) -> None:
    (tmp_path / "bad.csv").write_text(text)
    with pytest.raises(InputError, match=sentence):
        dataset.open(Source(f"table:{tmp_path / 'bad.csv'}", tmp_path / "data"))
    prepared = tmp_path / "data" / "prepared"
    assert not [p for p in prepared.iterdir() if p.is_dir()]


def test_numpy_files_that_are_no_table(tmp_path: Path) -> None:
    def refused(sentence: str, name: str = "bad.npy") -> None:
        with pytest.raises(InputError, match=sentence):
            dataset.open(Source(f"table:{tmp_path / name}", tmp_path / "data"))

    np.save(tmp_path / "bad.npy", np.zeros((2, 2, 2)))
    refused(r"numbers of shape \(samples, dimensions\), and it holds float64 of shape \(2, 2, 2\)")
    np.save(tmp_path / "bad.npy", np.array([["a", "b"]]))
    refused("it holds <U1 of shape")
    np.save(tmp_path / "bad.npy", np.array([[1, None]], dtype=object), allow_pickle=True)
    refused("cannot be read .*; save it again with numpy, as numbers")
    (tmp_path / "bad.npy").write_bytes(b"")
    refused("cannot be read")
    np.savez(tmp_path / "bad", a=NUMBERS)
    (tmp_path / "bad.npz").rename(tmp_path / "bad.npy")
    refused(r"it holds several arrays, as \.npz files do")
    np.save(tmp_path / "bad.npy", NUMBERS)
    (tmp_path / "bad.npy").rename(tmp_path / "bad.npz")
    refused(r"it holds one array without a name", "bad.npz")
    np.savez(tmp_path / "bad.npz", a=NUMBERS, b=NUMBERS)
    refused("it holds a, b; leave one", "bad.npz")
    np.savez(tmp_path / "bad.npz", a=NUMBERS, label=np.zeros(3, int))
    refused(r"one label for each of 4 samples, and its shape is \(3,\)", "bad.npz")
    written(tmp_path, ".npy")
    refused("holds one array without names", "numbers.npy#label")


def test_tables_that_are_not_there(tmp_path: Path) -> None:
    written(tmp_path, ".csv")
    (tmp_path / "text.txt").write_text("1 2")
    for text, sentence in {
        "": "needs a path",
        f"{tmp_path}": "is a folder; for images",
        f"{tmp_path / 'nubmers.csv'}": "There is no table .* Did you mean 'numbers.csv'",
        f"{tmp_path / 'text.txt'}": r"A table ends in \.csv, .*'text\.txt' does not",
    }.items():
        with pytest.raises(InputError, match=sentence):
            dataset.open(Source(f"table:{text}", tmp_path / "data"))
    path = written(tmp_path, ".csv")
    with pytest.raises(InputError, match="has vectors, which have no image size"):
        dataset.open(Source(f"table:{path}", tmp_path / "data", side=32))
    with pytest.raises(InputError, match="has the protocols all, and 'train'"):
        dataset.open(Source(f"table:{path}", tmp_path / "data", protocol="train"))


def test_networks_refuse_vectors_and_name_those_that_take_them(tmp_path: Path) -> None:
    path = written(tmp_path, ".csv")
    for asked in (f"table:{path}", "isolet"):
        with pytest.raises(
            InputError, match=r"has vectors, and cdc trains networks on images; .*pac"
        ):
            resolved("cdc", asked, root=tmp_path / "data", outline=True)
    request = resolved("pac", f"table:{path}", root=tmp_path / "data")
    assert request.config.clusters == 2
    with pytest.raises(InputError, match=r"clusters: needs at least 5 samples, found 4"):
        resolved("pac", f"table:{path}", root=tmp_path / "data", sets=("clusters=5",))
    plain = written(tmp_path, ".npy")
    with pytest.raises(InputError, match="clusters: the samples have no labels"):
        resolved("pac", f"table:{plain}", root=tmp_path / "data")


def test_a_damaged_copy_of_vectors_is_made_again(tmp_path: Path) -> None:
    path = written(tmp_path, ".csv")
    first = dataset.open(Source(f"table:{path}", tmp_path / "data"))
    (folder,) = (tmp_path / "data" / "prepared").glob("table-*")
    with open(folder / "vectors.npy", "r+b") as file:
        file.truncate(130)
    again = dataset.open(Source(f"table:{path}", tmp_path / "data"))
    assert again.fingerprint == first.fingerprint
    assert np.array_equal(again.points, NUMBERS)
