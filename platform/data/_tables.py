"""Tables of numbers as datasets of vectors: the user's own files, and sets of OpenML.

`table:PATH` is a .csv (its first line names the columns) or .parquet file, a .npy file with one
array (samples, dimensions), or a .npz file with one such array. Every column is a number, except
the label: the column `label` or `class`, or the one named in `table:PATH#NAME` (in .npz: an array
of that name, one entry a sample). Labels are whole numbers, true and false, or texts; without a
label column there are no labels. Numbers are stored as float32.
"""

import hashlib
import os
import socket
import urllib.error
import warnings
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import Any

import numpy as np

from deep_clustering.platform.data import _cache
from deep_clustering.platform.data._cache import FORMAT, TRAIN, Content
from deep_clustering.platform.data._folder import show
from deep_clustering.platform.errors import InputError, nearest

SUFFIXES = (".csv", ".parquet", ".npy", ".npz")
LABELS = ("label", "class")  # columns that hold labels without being named

_MISSING = ["nan", "NaN", "NA", "N/A", "null", "None", "?"]  # in place of a number
_TIMEOUT = 60.0  # seconds without a byte before a download is given up


# --- the user's own files ------------------------------------------------------------------------


@dataclass(frozen=True)
class Table:
    """A file of the user's, and the column in it that holds the labels, where one is named."""

    path: Path  # absolute, links resolved
    column: str | None

    @property
    def name(self) -> str:
        """Of the dataset."""
        return f"table:{self.path}" + (f"#{self.column}" if self.column is not None else "")

    def key(self) -> str:
        """16 hexadecimal digits that change with the file's place, size or time, or the column."""
        about = self.path.stat()
        text = repr((FORMAT, str(self.path), self.column, about.st_size, about.st_mtime_ns))
        return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:16]


def located(text: str) -> Table:
    """The table that is meant by what follows "table:".

    Raises:
        InputError: there is no such file, or its form is not known by its name.
    """
    if not text or "\0" in text:
        raise InputError("table: needs a path, as in table:/home/me/numbers.csv.")
    path, column = _resolved(text), None
    if not path.is_file() and "#" in text:
        before, _, column = text.rpartition("#")
        path = _resolved(before)
    if path.is_dir():
        raise InputError(f"{show(path)} is a folder; for images in it say 'folder:{path}'.")
    if not path.is_file():
        siblings = [p.name for p in path.parent.glob("*")] if path.parent.is_dir() else []
        raise InputError(f"There is no table {show(path)}.{nearest(path.name, siblings)}")
    if path.suffix.lower() not in SUFFIXES:
        raise InputError(
            f"A table ends in {', '.join(SUFFIXES)}, and {show(path.name)} does not; convert it."
        )
    return Table(path, column)


def _resolved(text: str) -> Path:
    return Path(os.path.realpath(os.path.expanduser(text)))


def build_table(folder: Path, *, source: Table) -> Content:
    """Write a table's vectors into `folder`.

    Raises:
        InputError: it cannot be read, is empty, or holds what is no number.
    """
    before = source.key()
    readers = {".csv": _columns, ".parquet": _columns, ".npy": _array, ".npz": _arrays}
    vectors, given = readers[source.path.suffix.lower()](source)
    if source.key() != before:
        raise InputError(
            f"{show(source.path)} changed while it was read; repeat when it is at rest."
        )
    labels = names = None
    if given is not None:
        labels, names = _coded(given, source)
    _cache.write_vectors(folder, vectors)
    return Content(
        labels=labels,
        split=np.full(len(vectors), TRAIN, np.uint8),
        class_names=names,
        source=str(source.path),
    )


def _columns(source: Table) -> tuple[np.ndarray, Any]:
    """Numbers and labels of a CSV or Parquet file."""
    import polars as pl

    try:
        if source.path.suffix.lower() == ".csv":
            frame = pl.read_csv(source.path, infer_schema_length=None, null_values=_MISSING)
        else:
            frame = pl.read_parquet(source.path)
    except (pl.exceptions.PolarsError, OSError) as error:
        first = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise InputError(
            f"{show(source.path)} cannot be read as a table ({first}); every line needs the same "
            "number of values, and the first one names the columns."
        ) from error
    if source.path.suffix.lower() == ".csv" and all(_is_number(name) for name in frame.columns):
        raise InputError(
            f"The first line of {show(source.path)} holds numbers, and names of columns are "
            "expected there; add a line with names."
        )
    label = _label_column(source, frame.columns)
    numbers = frame.drop(label) if label is not None else frame
    _refuse_empty(frame.height, numbers.width, source)
    texts = [
        n for n, kind in numbers.schema.items() if not (kind.is_numeric() or kind == pl.Boolean)
    ]
    if texts:
        listed = ", ".join(map(repr, texts[:5])) + (", ..." if len(texts) > 5 else "")
        raise InputError(
            f"Every column of {show(source.path)} must hold numbers, and {listed} of "
            f"{numbers.width} columns do not; remove them, or name the one with the labels as in "
            f"'table:{source.path}#{texts[0]}'."
        )
    vectors = numbers.select(pl.all().cast(pl.Float32)).fill_null(float("nan")).to_numpy()
    _refuse_missing(vectors, source, numbers.columns)
    return vectors, None if label is None else frame[label].to_numpy()


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _array(source: Table) -> tuple[np.ndarray, Any]:
    """The numbers of an .npy file."""
    if source.column is not None:
        raise InputError(
            f"{show(source.path)} holds one array without names; put labels beside it into an .npz "
            "file as 'label'."
        )
    return _numbers(_loaded(source), source), None


def _arrays(source: Table) -> tuple[np.ndarray, Any]:
    """Numbers and labels of an .npz file."""
    with _loaded(source) as held:
        names = list(held)
        label = _label_column(source, names)
        others = [name for name in names if name != label]
        if len(others) != 1:
            raise InputError(
                f"{show(source.path)} must hold one array (samples, dimensions) beside the labels, "
                f"and it holds {', '.join(others) or 'none'}; leave one of them."
            )
        try:
            vectors = _numbers(held[others[0]], source)
            given = None if label is None else held[label]
        except ValueError as error:
            raise _unreadable(source, error) from error
    if given is not None and given.shape != (len(vectors),):
        raise InputError(
            f"The array {label!r} of {show(source.path)} must hold one label for each of "
            f"{len(vectors)} samples, and its shape is {given.shape}."
        )
    return vectors, given


def _loaded(source: Table) -> Any:
    try:
        return np.load(source.path)
    except (OSError, EOFError, ValueError) as error:
        raise _unreadable(source, error) from error


def _unreadable(source: Table, error: Exception) -> InputError:
    return InputError(
        f"{show(source.path)} cannot be read ({str(error).splitlines()[0]}); save it again with "
        "numpy, as numbers."
    )


def _numbers(array: np.ndarray, source: Table) -> np.ndarray:
    if array.ndim != 2 or array.dtype.kind not in "biuf":
        raise InputError(
            f"{show(source.path)} must hold numbers of shape (samples, dimensions), and it holds "
            f"{array.dtype} of shape {array.shape}."
        )
    _refuse_empty(len(array), array.shape[1], source)
    with np.errstate(over="ignore"):
        vectors = array.astype(np.float32)
    _refuse_missing(vectors, source, list(range(array.shape[1])))
    return vectors


def _refuse_empty(samples: int, numbers: int, source: Table) -> None:
    if not samples or not numbers:
        raise InputError(
            f"{show(source.path)} has {samples} samples of {numbers} numbers, and at least one of "
            "each is needed."
        )


def _refuse_missing(vectors: np.ndarray, source: Table, columns: list[Any]) -> None:
    wrong = ~np.isfinite(vectors)
    if wrong.any():
        row, column = (int(i) for i in np.argwhere(wrong)[0])
        raise InputError(
            f"{show(source.path)} lacks a finite number in {int(wrong.sum())} places, the first in "
            f"column {columns[column]!r} of sample {row} (from 0); fill them in or leave these "
            "samples out."
        )


def _label_column(source: Table, names: list[str]) -> str | None:
    if source.column is not None:
        if source.column not in names:
            raise InputError(
                f"{show(source.path)} has no column {source.column!r}."
                f"{nearest(source.column, names)}"
            )
        return source.column
    found = [name for name in LABELS if name in names]
    if len(found) > 1:
        raise InputError(
            f"{show(source.path)} has the columns {' and '.join(found)}; say which one holds the "
            f"labels, as in 'table:{source.path}#{found[0]}'."
        )
    return found[0] if found else None


def _coded(given: np.ndarray, source: Table) -> tuple[np.ndarray, tuple[str, ...]]:
    """Labels from 0 in the order of their values, and the names of these."""
    values = given.tolist()
    missing = [i for i, v in enumerate(values) if v is None or v != v]
    if missing:
        raise InputError(
            f"Either all samples of {show(source.path)} have a label or none has, and sample "
            f"{missing[0]} (from 0) has none; {len(missing)} lack one."
        )
    if all(isinstance(v, float) and v.is_integer() for v in values):
        values = [int(v) for v in values]
    if not all(isinstance(v, (bool, int)) for v in values) and not all(
        isinstance(v, str) for v in values
    ):
        raise InputError(
            f"Labels in {show(source.path)} must be whole numbers, true and false, or texts, and "
            f"one is {next(v for v in values if not isinstance(v, (bool, int, str)))!r}."
            if not any(isinstance(v, str) for v in values)
            else f"Labels in {show(source.path)} must be of one kind, numbers or texts."
        )
    kinds = sorted(set(values))
    code = {value: number for number, value in enumerate(kinds)}
    return np.array([code[v] for v in values], np.int64), tuple(map(str, kinds))


# --- OpenML --------------------------------------------------------------------------------------


def build_openml(folder: Path, *, root: Path, number: int, about: Any) -> Content:
    """A set of OpenML by its number, kept under `root`/archives; OpenML's own MD5 is checked.

    Args:
        about: the `DatasetSpec`, whose counts the table must have.

    Raises:
        InputError: no network, a file that is not the published one, or other counts.
    """
    from sklearn.datasets import fetch_openml
    from sklearn.datasets._openml import OpenMLError

    place = root / "archives"
    by_hand = (
        f"download data set {number} of openml.org elsewhere and say table:PATH, or bring a copy "
        f"of {show(place / 'openml')} from a machine that has it."
    )
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(_TIMEOUT)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of retries, which errors end as well
            found = fetch_openml(
                data_id=number,
                data_home=str(place),
                as_frame=False,
                parser="liac-arff",
                n_retries=1,
            )
    except (urllib.error.URLError, HTTPException, TimeoutError, ConnectionError) as error:
        reason = getattr(error, "reason", None) or error
        raise InputError(
            f"OpenML's data set {number} cannot be downloaded ({reason}); {by_hand}"
        ) from error
    except (OpenMLError, ValueError) as error:
        raise InputError(
            f"OpenML's data set {number} is incomplete or altered "
            f"({str(error).splitlines()[0]}); delete {show(place / 'openml')} and repeat, or "
            f"{by_hand}"
        ) from error
    finally:
        socket.setdefaulttimeout(before)
    vectors = np.asarray(found.data, np.float32)
    names = sorted(set(found.target), key=lambda name: (len(name), name))  # "2" before "10"
    shape = (*vectors.shape, len(names))
    if shape != (about.count, about.dimensions, about.classes) or not np.isfinite(vectors).all():
        raise InputError(
            f"{about.name} has {about.count} samples of {about.dimensions} numbers in "
            f"{about.classes} classes, and OpenML's data set {number} came with {shape[0]}, "
            f"{shape[1]} and {shape[2]}; {by_hand}"
        )
    code = {name: label for label, name in enumerate(names)}
    _cache.write_vectors(folder, vectors)
    return Content(
        labels=np.array([code[name] for name in found.target], np.int64),
        split=np.full(len(vectors), TRAIN, np.uint8),
        class_names=tuple(names),
        source=f"https://www.openml.org/d/{number}",
    )
