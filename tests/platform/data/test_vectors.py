"""Datasets of vectors: tables, OpenML's sets, who takes them; beside them MNIST and COIL-100.

OpenML's files are stand-ins of the published form with few rows, in scikit-learn's own cache.
"""

import dataclasses
import gzip
import hashlib
import io
import json
import urllib.request
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from PIL import Image

from deep_clustering.platform.data import dataset, datasets
from deep_clustering.platform.data.dataset import ImageSet, PointSet, Source
from deep_clustering.platform.errors import InputError
from deep_clustering.platform.request.request import resolve

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
            resolve("cdc", asked, root=tmp_path / "data", outline=True)
    request = resolve("pac", f"table:{path}", root=tmp_path / "data")
    assert request.config.clusters == 2
    with pytest.raises(InputError, match=r"clusters: needs at least 5 samples, found 4"):
        resolve("pac", f"table:{path}", root=tmp_path / "data", sets=["clusters=5"])
    plain = written(tmp_path, ".npy")
    with pytest.raises(InputError, match="clusters: the samples have no labels"):
        resolve("pac", f"table:{plain}", root=tmp_path / "data")


def test_a_damaged_copy_of_vectors_is_made_again(tmp_path: Path) -> None:
    path = written(tmp_path, ".csv")
    first = dataset.open(Source(f"table:{path}", tmp_path / "data"))
    (folder,) = (tmp_path / "data" / "prepared").glob("table-*")
    with open(folder / "vectors.npy", "r+b") as file:
        file.truncate(130)
    again = dataset.open(Source(f"table:{path}", tmp_path / "data"))
    assert again.fingerprint == first.fingerprint
    assert np.array_equal(again.points, NUMBERS)


# --- OpenML --------------------------------------------------------------------------------------

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
    about = dataclasses.replace(datasets._SPECS["pendigits"], count=4, dimensions=2, classes=3)
    monkeypatch.setitem(datasets._SPECS, "pendigits", about)


def test_openml_sets_are_read_from_its_files(tmp_path: Path, small: None) -> None:
    openml(tmp_path, 32)
    found = dataset.open(Source("pendigits", tmp_path))
    assert isinstance(found, PointSet)
    assert found.points.tolist() == [[1.5, 2], [3, 4], [5, 6], [7, 8]]
    assert found.class_names == ("0", "2", "10")
    assert found.labels is not None
    assert found.labels.tolist() == [2, 1, 0, 2]
    assert datasets.known(tmp_path)["pendigits"].status == "ready"
    assert resolve("kmeans", "pendigits", root=tmp_path).config.clusters == 3


def test_openml_sets_must_have_the_published_counts(tmp_path: Path) -> None:
    openml(tmp_path, 32)
    with pytest.raises(
        InputError, match=r"10992 samples of 16 numbers in 10 classes, .* came with 4, 2 and 3"
    ):
        dataset.open(Source("pendigits", tmp_path))
    assert not [p for p in (tmp_path / "prepared").iterdir() if p.is_dir()]


@pytest.fixture
def nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """No network: every address is asked of a port where nobody listens."""
    for name in ("http_proxy", "https_proxy", "HTTPS_PROXY", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.setattr(urllib.request, "_opener", None)  # it remembers proxies, for all tests


def test_openml_files_with_a_wrong_checksum_are_not_read(
    tmp_path: Path, small: None, nowhere: None
) -> None:
    openml(tmp_path, 32, md5="0" * 32)
    kept = list((tmp_path / "archives").rglob("small.arff.gz"))
    assert len(kept) == 1
    with pytest.raises(InputError, match="cannot be downloaded"):  # as it would be, again
        dataset.open(Source("pendigits", tmp_path))
    assert not kept[0].exists()


def test_openml_without_network_says_what_to_do(tmp_path: Path, nowhere: None) -> None:
    with pytest.raises(InputError, match=r"data set 300 cannot be downloaded .*say table:PATH"):
        dataset.open(Source("isolet", tmp_path))


def test_sets_that_are_not_here_are_outlined(tmp_path: Path) -> None:
    request = resolve("pac", "isolet", root=tmp_path, outline=True)
    assert request.dataset.points.shape == (7797, 617)
    assert not request.dataset.here
    assert request.config.clusters == 26
    assert len(request.jobs([0])) == 1
    images = resolve("pac", "mnist", root=tmp_path, protocol="test", outline=True)
    assert images.dataset.images.shape == (70_000, 3, 28, 28)


# --- MNIST ---------------------------------------------------------------------------------------


def test_mnist(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from torchvision.datasets import MNIST

    random = np.random.default_rng(0)
    pixels = {"train": random.integers(0, 256, (5, 28, 28), dtype=np.uint8)}
    pixels["t10k"] = random.integers(0, 256, (3, 28, 28), dtype=np.uint8)
    labels = {"train": np.array([1, 0, 9, 3, 3], np.uint8), "t10k": np.array([7, 2, 1], np.uint8)}
    (tmp_path / "archives").mkdir()
    resources = []
    for name, _ in MNIST.resources:
        array = (pixels if "images" in name else labels)[name.split("-")[0]]
        sizes = b"".join(n.to_bytes(4, "big") for n in array.shape)
        data = gzip.compress(bytes([0, 0, 8, array.ndim]) + sizes + array.tobytes())
        (tmp_path / "archives" / name).write_bytes(data)
        resources.append((name, hashlib.md5(data, usedforsecurity=False).hexdigest()))
    monkeypatch.setattr(MNIST, "resources", resources)
    found = dataset.open(Source("mnist", tmp_path))
    assert isinstance(found, ImageSet)
    assert found.images.shape == (8, 3, 28, 28)
    whole = np.concatenate([pixels["train"], pixels["t10k"]])
    assert all(np.array_equal(found.images[:, channel], whole) for channel in range(3))
    assert found.labels is not None
    assert found.labels.tolist() == [1, 0, 9, 3, 3, 7, 2, 1]
    assert found.train.tolist() == found.score.tolist() == list(range(8))
    test = dataset.open(Source("mnist", tmp_path, protocol="test"))
    assert test.train.tolist() == test.score.tolist() == test.pretrain.tolist() == [5, 6, 7]
    assert test.fingerprint == found.fingerprint


# --- COIL-100 ------------------------------------------------------------------------------------


def coil(place: Path, objects: int = 3, angles: tuple[int, ...] = (0, 5)) -> dict[str, np.ndarray]:
    """An archive of the published form with few images; its pictures by name."""
    random = np.random.default_rng(0)
    pictures = {}
    with zipfile.ZipFile(place, "w") as archive:
        for number in range(1, objects + 1):
            for angle in angles:
                name, data = f"obj{number}__{angle}.png", io.BytesIO()
                pictures[name] = random.integers(0, 256, (128, 128, 3), dtype=np.uint8)
                Image.fromarray(pictures[name]).save(data, "PNG")
                archive.writestr(f"coil-100/{name}", data.getvalue())
        archive.writestr("coil-100/convertGroupppm2png.pl", "no image")
    return pictures


def test_coil100(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = tmp_path / "archives" / "coil-100.zip"
    archive.parent.mkdir()
    pictures = coil(archive, objects=3)
    with pytest.raises(
        InputError, match=r"coil-100\.zip' is damaged .* its SHA-256 is not fcb4b8b0"
    ):
        dataset.open(Source("coil100", tmp_path))
    digest = hashlib.sha256(archive.read_bytes()).hexdigest()
    monkeypatch.setattr(datasets, "COIL_SHA256", digest)
    with pytest.raises(InputError, match=r"must hold 7200 images .* and it holds 6 of them and 0"):
        dataset.open(Source("coil100", tmp_path))
    about = dataclasses.replace(datasets._SPECS["coil100"], count=6, classes=3)
    monkeypatch.setitem(datasets._SPECS, "coil100", about)
    found = dataset.open(Source("coil100", tmp_path))
    assert isinstance(found, ImageSet)
    assert found.images.shape == (6, 3, 128, 128)
    assert found.class_names == ("obj1", "obj2", "obj3")
    assert found.labels is not None
    assert found.paths is not None
    for image, label, path in zip(found.images, found.labels, found.paths, strict=True):
        assert np.array_equal(image.transpose(1, 2, 0), pictures[path])
        assert path.startswith(f"obj{label + 1}__")
