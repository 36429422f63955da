"""The user's own tables of numbers."""

import json
import os
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow.parquet as pq
import pytest

from deep_clustering.platform.data import _tables, dataset
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


@pytest.mark.fault(39)
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


@pytest.mark.fault(39)
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
            resolved("cdc", asked, root=tmp_path / "data", outline="missing")
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


# --- what files of users are like ----------------------------------------------------------------


def opened(place: Path, name: str, text: str) -> PointSet:
    (place / name).write_text(text)
    found = dataset.open(Source(f"table:{place / name}", place / "data"))
    assert isinstance(found, PointSet)
    return found


@pytest.mark.parametrize("name", ["data[1]", "data*", "da?a1", "data{1}"])
@pytest.mark.parametrize("suffix", [".csv", ".parquet", ".npz"])
def test_a_name_is_that_file_and_no_pattern(tmp_path: Path, name: str, suffix: str) -> None:
    written(tmp_path, suffix).rename(tmp_path / f"{name}{suffix}")
    for other in ("data1", "data2"):
        pl.DataFrame({"x": [9.0]}).write_csv(tmp_path / f"{other}.csv")
        pl.DataFrame({"x": [9.0]}).write_parquet(tmp_path / f"{other}.parquet")
    found = dataset.open(Source(f"table:{tmp_path / name}{suffix}", tmp_path / "data"))
    assert isinstance(found, PointSet)
    assert np.array_equal(found.points, NUMBERS)


@pytest.mark.parametrize(
    "text",
    [
        "5.1,3.5,setosa\n4.9,3.0,setosa\n6.1,2.5,virginica\n",
        "1,1,1\n0,1.5,1\n1,2,2\n",
        "1,2,a\n5,6,b\n7,8,a\n",
        "?,2,a\n5,6,b\n7,8,a\n",
        "1;2;3\n4;5;6\n",
    ],
)
def test_the_first_sample_is_no_line_of_names(tmp_path: Path, text: str) -> None:
    with pytest.raises(InputError, match=r"first line of .* holds numbers.*add a line with names"):
        opened(tmp_path, "bare.csv", text)
    (tmp_path / "bare.csv").write_text(text)
    with pytest.raises(InputError, match="add a line with names"):
        dataset.open(Source(f"table:{tmp_path / 'bare.csv'}#setosa", tmp_path / "data"))


def test_names_may_be_numbers_that_count_on(tmp_path: Path) -> None:
    found = opened(tmp_path, "pandas.csv", ",0,1,label\n0,1.5,2,a\n1,3,4,b\n")
    assert found.points.tolist() == [[1.5, 2], [3, 4]]
    assert found.class_names == ("a", "b")


def test_a_saved_index_is_no_number_of_the_samples(tmp_path: Path) -> None:
    for head in ("", "Unnamed: 0", "id", "ID", "sample_id"):
        found = opened(tmp_path, "index.csv", f"{head},x,y\n7,1,2\n3,3,4\n9,5,6\n")
        assert found.points.tolist() == [[1, 2], [3, 4], [5, 6]]
        assert any(repr(head) in note and "left out" in note for note in found.notes)
    found = opened(tmp_path, "groups.csv", "id,x\n7,1\n7,3\n")
    assert found.points.tolist() == [[7, 1], [7, 3]]
    assert "the column 'id' is trained on; take it out if it holds ids" in found.notes
    with pytest.raises(InputError, match=r"column without a name of its own \(''\)"):
        opened(tmp_path, "unnamed.csv", ",x\n7.5,1\n7.5,3\n")
    path = tmp_path / "index.parquet"
    frame = pl.DataFrame({"__index_level_0__": [5, 3], "x": [1.0, 2.0]})
    frame.write_parquet(path)
    found_too = dataset.open(Source(f"table:{path}", tmp_path / "data"))
    assert isinstance(found_too, PointSet)
    assert found_too.points.tolist() == [[1], [2]]
    arrow = frame.rename({"__index_level_0__": "when"}).to_arrow()
    about = {"index_columns": ["when"], "columns": [], "column_indexes": []}
    pq.write_table(arrow.replace_schema_metadata({"pandas": json.dumps(about)}), path)
    found_too = dataset.open(Source(f"table:{path}", tmp_path / "data"))
    assert isinstance(found_too, PointSet)
    assert found_too.points.tolist() == [[1], [2]]


@pytest.mark.parametrize(
    "head", ["Class", "target", "Label", "label ", "LABELS", "class_label", "y_true"]
)
def test_usual_names_of_labels_are_labels(tmp_path: Path, head: str) -> None:
    found = opened(tmp_path, "labels.csv", f"x,{head}\n1,0\n3,1\n")
    assert found.points.tolist() == [[1], [3]]
    assert found.class_names == ("0", "1")
    np.savez(tmp_path / "labels.npz", points=NUMBERS, **{head: np.arange(4)})
    arrays = dataset.open(Source(f"table:{tmp_path / 'labels.npz'}", tmp_path / "data"))
    assert arrays.class_names == ("0", "1", "2", "3")


def test_a_second_label_is_asked_about(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="say which one holds the labels"):
        opened(tmp_path, "twice.csv", "label,x,label\n0,1,0\n1,2,1\n")
    with pytest.raises(InputError, match="say which one holds the labels"):
        opened(tmp_path, "twice.csv", "Label,x,label\n0,1,0\n1,2,1\n")
    found = dataset.open(Source(f"table:{tmp_path / 'twice.csv'}#Label", tmp_path / "data"))
    assert any("'label' is trained on, although" in note for note in found.notes)


@pytest.mark.parametrize(
    "text",
    [
        "x;y;label\n1.5;2;a\n3;4.25;b\n",
        "x;y;label\n1,5;2;a\n3;4,25;b\n",
        "x\ty\tlabel\n1.5\t2\ta\n3\t4.25\tb\n",
        "x, y , label\n1.5, 2 , a\n 3,4.25, b\n",
        "\ufeffx,y,label\r\n1.5,2,a\r\n3,4.25,b\r\n",
    ],
)
def test_other_separators_and_blanks(tmp_path: Path, text: str) -> None:
    found = opened(tmp_path, "other.csv", text)
    assert found.points.tolist() == [[1.5, 2], [3, 4.25]]
    assert found.class_names == ("a", "b")


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        ("x,label\n1,0\n".encode("utf-16"), "is a text in UTF-16; save it again in UTF-8"),
        (b"x,label\r1,0\r2,1\r", r"end as on old Macs \(CR\); save it again"),
    ],
)
def test_texts_of_another_form_say_so(tmp_path: Path, data: bytes, sentence: str) -> None:
    """They were columns without numbers, or no samples of four numbers."""
    (tmp_path / "odd.csv").write_bytes(data)
    with pytest.raises(InputError, match=sentence):
        dataset.open(Source(f"table:{tmp_path / 'odd.csv'}", tmp_path / "data"))


def test_an_empty_column_at_the_end_is_no_index(tmp_path: Path) -> None:
    found = opened(tmp_path, "trailing.csv", "x,y,\n1,2,\n3,4,\n")
    assert found.points.tolist() == [[1, 2], [3, 4]]
    assert found.notes == ("the column '' is empty and left out",)


def test_values_between_blanks_are_one_column(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="has one column, 'x y label'; separate its columns by"):
        opened(tmp_path, "blanks.csv", "x y label\n1 2 a\n3 4 b\n")


@pytest.mark.parametrize("suffix", [".parquet", ".npy", ".npz"])
def test_every_damaged_byte_ends_in_a_sentence(tmp_path: Path, suffix: str) -> None:
    """Or in numbers: not every byte is covered by a checksum."""
    path = written(tmp_path, suffix)
    whole = path.read_bytes()
    (tmp_path / "out").mkdir()
    refused = []
    for place in range(0, len(whole), 3):
        damaged = bytearray(whole)
        damaged[place] ^= 0xFF
        path.write_bytes(damaged)
        try:
            _tables.build(tmp_path / "out", table=_tables.located(str(path)))
        except InputError as error:
            refused.append(str(error))
    assert len(refused) > 20
    heads = (f"{str(path)!r} ", "The array", "The numbers of", "Labels", "Either")
    assert all(text.startswith(heads) for text in refused)


@pytest.mark.parametrize("suffix", [".csv", ".parquet", ".npy", ".npz"])
@pytest.mark.parametrize("form", [".csv", ".parquet", ".npy", ".npz"])
def test_misnamed_files_end_in_a_sentence(tmp_path: Path, suffix: str, form: str) -> None:
    if suffix == form:
        return
    path = written(tmp_path, form).rename(tmp_path / f"other{suffix}")
    with pytest.raises(InputError, match=r"cannot be read|lacks|first line|must hold"):
        dataset.open(Source(f"table:{path}", tmp_path / "data"))


def test_a_shape_that_no_memory_holds_ends_in_a_sentence(tmp_path: Path) -> None:
    path = tmp_path / "huge.npy"
    with open(path, "wb") as file:
        header = {"descr": "<f8", "fortran_order": False, "shape": (10**9, 10**6)}
        np.lib.format.write_array_header_1_0(file, header)
    with pytest.raises(InputError, match=r"does not fit into the memory, or is damaged"):
        dataset.open(Source(f"table:{path}", tmp_path / "data"))


def test_a_file_changed_in_place_is_read_again(tmp_path: Path) -> None:
    found = opened(tmp_path, "in_place.csv", "x\n1\n2\n")
    before = (tmp_path / "in_place.csv").stat()
    (tmp_path / "in_place.csv").write_text("x\n1\n3\n")
    os.utime(tmp_path / "in_place.csv", ns=(before.st_atime_ns, before.st_mtime_ns))
    again = dataset.open(Source(f"table:{tmp_path / 'in_place.csv'}", tmp_path / "data"))
    assert isinstance(again, PointSet)
    assert found.points.tolist() == [[1], [2]]
    assert again.points.tolist() == [[1], [3]]


# --- float32 -------------------------------------------------------------------------------------


def test_time_stamps_and_coordinates_keep_their_differences(tmp_path: Path) -> None:
    times = 1_700_000_000_000 + np.arange(100) * 250
    norths = 5_400_000 + np.arange(100) / 10
    frame = pl.DataFrame({"t": times, "north": norths, "x": np.arange(100) / 7})
    for suffix, write in ((".csv", frame.write_csv), (".parquet", frame.write_parquet)):
        write(tmp_path / f"far{suffix}")
        found = dataset.open(Source(f"table:{tmp_path / 'far'}{suffix}", tmp_path / "data"))
        assert isinstance(found, PointSet)
        assert found.duplicates == 0
        assert np.array_equal(np.diff(found.points[:, 0]), np.full(99, 250.0, np.float32))
        assert np.allclose(np.diff(found.points[:, 1]), 0.1, rtol=0, atol=1e-4)
        assert np.array_equal(found.points[:, 2], (np.arange(100) / 7).astype(np.float32))
        assert any("stored less their means: 't' less 1700000012375.0" in n for n in found.notes)
    np.save(tmp_path / "far.npy", frame.to_numpy())
    array = dataset.open(Source(f"table:{tmp_path / 'far.npy'}", tmp_path / "data"))
    assert array.fingerprint == found.fingerprint


def test_what_float32_cannot_hold_at_all_is_told(tmp_path: Path) -> None:
    wide = opened(tmp_path, "wide.csv", "x\n1000000000000000128\n1e18\n1\n2\n")
    assert any("1 of 4 samples differ from an earlier one by less" in n for n in wide.notes)
    with pytest.raises(InputError, match=r"'x'; multiply these columns by a large number"):
        opened(tmp_path, "tiny.csv", "x\n1e-50\n3e-50\n")


def test_ordinary_numbers_are_stored_as_they_are(tmp_path: Path) -> None:
    exact = np.random.default_rng(0).normal(100, 1, (50, 3))
    np.save(tmp_path / "plain.npy", exact)
    found = dataset.open(Source(f"table:{tmp_path / 'plain.npy'}", tmp_path / "data"))
    assert isinstance(found, PointSet)
    assert np.array_equal(found.points, exact.astype(np.float32))
    assert found.notes == ()
