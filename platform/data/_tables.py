"""The user's own tables of numbers as datasets of vectors.

`table:PATH` is a .csv (its first line names the columns) or .parquet file, a .npy file with one
array (samples, dimensions), or a .npz file with one such array. Every column is a number, except
the label: the column `label` or `class`, or the one named in `table:PATH#NAME` (in .npz: an array
of that name, one entry a sample). Labels are whole numbers, true and false, or texts; without a
label column there are no labels. Numbers are stored as float32.
"""

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.lib.npyio import NpzFile

from deep_clustering.platform.data import _cache
from deep_clustering.platform.data._cache import FORMAT, Content
from deep_clustering.platform.data._text import quoted
from deep_clustering.platform.data.protocols import TRAIN
from deep_clustering.platform.errors import InputError, nearest

if TYPE_CHECKING:
    import polars as pl

SUFFIXES = (".csv", ".parquet", ".npy", ".npz")
LABELS = ("label", "class")  # columns that hold labels without being named

_MISSING = ["nan", "NaN", "NA", "N/A", "null", "None", "?"]  # in place of a number


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


class _Columns(NamedTuple):
    """What a file holds."""

    vectors: np.ndarray  # float32 (N, D)
    labels: np.ndarray | None  # (N,), of whatever type the file has


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
        raise InputError(f"{quoted(path)} is a folder; for images in it say 'folder:{path}'.")
    if not path.is_file():
        siblings = [p.name for p in path.parent.glob("*")] if path.parent.is_dir() else []
        raise InputError(f"There is no table {quoted(path)}.{nearest(path.name, siblings)}")
    if path.suffix.lower() not in SUFFIXES:
        raise InputError(
            f"A table ends in {', '.join(SUFFIXES)}, and {quoted(path.name)} does not; convert it."
        )
    return Table(path, column)


def _resolved(text: str) -> Path:
    return Path(os.path.realpath(os.path.expanduser(text)))


def build(folder: Path, *, table: Table) -> Content:
    """Write a table's vectors into `folder`.

    Raises:
        InputError: it cannot be read, is empty, or holds what is no number.
    """
    before = table.key()
    readers = {".csv": _frame, ".parquet": _frame, ".npy": _array, ".npz": _arrays}
    columns = readers[table.path.suffix.lower()](table)
    if table.key() != before:
        raise InputError(
            f"{quoted(table.path)} changed while it was read; repeat when it is at rest."
        )
    labels = names = None
    if columns.labels is not None:
        labels, names = _numbered(columns.labels, table)
    _cache.write_vectors(folder, columns.vectors)
    return Content(
        labels=labels,
        split=np.full(len(columns.vectors), TRAIN, np.uint8),
        class_names=names,
        source=str(table.path),
    )


# --- CSV and Parquet -----------------------------------------------------------------------------


def _frame(table: Table) -> _Columns:
    """Numbers and labels of a CSV or Parquet file."""
    import polars as pl

    frame = _read_frame(table)
    label = _label_column(table, frame.columns)
    numbers = frame.drop(label) if label is not None else frame
    _refuse_empty(frame.height, numbers.width, table)
    _refuse_texts(numbers, table)
    vectors = numbers.select(pl.all().cast(pl.Float32)).fill_null(float("nan")).to_numpy()
    _refuse_missing(vectors, table, numbers.columns)
    return _Columns(vectors, None if label is None else frame[label].to_numpy())


def _read_frame(table: Table) -> "pl.DataFrame":
    import polars as pl

    is_csv = table.path.suffix.lower() == ".csv"
    try:
        if is_csv:
            frame = pl.read_csv(table.path, infer_schema_length=None, null_values=_MISSING)
        else:
            frame = pl.read_parquet(table.path)
    except (pl.exceptions.PolarsError, OSError) as error:
        first = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise InputError(
            f"{quoted(table.path)} cannot be read as a table ({first}); every line needs the same "
            "number of values, and the first one names the columns."
        ) from error
    if is_csv and all(_is_number(name) for name in frame.columns):
        raise InputError(
            f"The first line of {quoted(table.path)} holds numbers, and names of columns are "
            "expected there; add a line with names."
        )
    return frame


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _refuse_texts(numbers: "pl.DataFrame", table: Table) -> None:
    import polars as pl

    texts = [
        name
        for name, kind in numbers.schema.items()
        if not (kind.is_numeric() or kind == pl.Boolean)
    ]
    if texts:
        listed = ", ".join(map(repr, texts[:5])) + (", ..." if len(texts) > 5 else "")
        raise InputError(
            f"Every column of {quoted(table.path)} must hold numbers, and {listed} of "
            f"{numbers.width} columns do not; remove them, or name the one with the labels as in "
            f"'table:{table.path}#{texts[0]}'."
        )


# --- numpy ---------------------------------------------------------------------------------------


def _array(table: Table) -> _Columns:
    """The numbers of an .npy file."""
    if table.column is not None:
        raise InputError(
            f"{quoted(table.path)} holds one array without names; put labels beside it into an "
            ".npz file as 'label'."
        )
    return _Columns(_numbers(_load_array(table), table), None)


def _load_array(table: Table) -> np.ndarray:
    try:
        loaded = np.load(table.path)
    except (OSError, EOFError, ValueError) as error:
        raise _unreadable(table, error) from error
    if isinstance(loaded, NpzFile):
        loaded.close()
        raise _unreadable(table, ValueError("it holds several arrays, as .npz files do"))
    return loaded


def _arrays(table: Table) -> _Columns:
    """Numbers and labels of an .npz file."""
    with _load_arrays(table) as arrays:
        names = list(arrays)
        label = _label_column(table, names)
        others = [name for name in names if name != label]
        if len(others) != 1:
            raise InputError(
                f"{quoted(table.path)} must hold one array (samples, dimensions) beside the "
                f"labels, and it holds {', '.join(others) or 'none'}; leave one of them."
            )
        try:
            vectors = _numbers(arrays[others[0]], table)
            labels = None if label is None else arrays[label]
        except ValueError as error:
            raise _unreadable(table, error) from error
    if labels is not None and labels.shape != (len(vectors),):
        raise InputError(
            f"The array {label!r} of {quoted(table.path)} must hold one label for each of "
            f"{len(vectors)} samples, and its shape is {labels.shape}."
        )
    return _Columns(vectors, labels)


def _load_arrays(table: Table) -> NpzFile:
    try:
        loaded = np.load(table.path)
    except (OSError, EOFError, ValueError) as error:
        raise _unreadable(table, error) from error
    if not isinstance(loaded, NpzFile):
        raise _unreadable(table, ValueError("it holds one array without a name, as .npy files do"))
    return loaded


def _unreadable(table: Table, error: Exception) -> InputError:
    return InputError(
        f"{quoted(table.path)} cannot be read ({str(error).splitlines()[0]}); save it again with "
        "numpy, as numbers."
    )


def _numbers(array: np.ndarray, table: Table) -> np.ndarray:
    """The array as float32 (N, D)."""
    if array.ndim != 2 or array.dtype.kind not in "biuf":
        raise InputError(
            f"{quoted(table.path)} must hold numbers of shape (samples, dimensions), and it holds "
            f"{array.dtype} of shape {array.shape}."
        )
    _refuse_empty(len(array), array.shape[1], table)
    with np.errstate(over="ignore"):
        vectors = array.astype(np.float32)
    _refuse_missing(vectors, table, range(array.shape[1]))
    return vectors


# --- for all of them -----------------------------------------------------------------------------


def _refuse_empty(samples: int, numbers: int, table: Table) -> None:
    if not samples or not numbers:
        raise InputError(
            f"{quoted(table.path)} has {samples} samples of {numbers} numbers, and at least one of "
            "each is needed."
        )


def _refuse_missing(
    vectors: np.ndarray, table: Table, columns: Sequence[str] | Sequence[int]
) -> None:
    wrong = ~np.isfinite(vectors)
    if wrong.any():
        row, column = (int(i) for i in np.argwhere(wrong)[0])
        raise InputError(
            f"{quoted(table.path)} lacks a finite number in {int(wrong.sum())} places, the first "
            f"in column {columns[column]!r} of sample {row} (from 0); fill them in or leave these "
            "samples out."
        )


def _label_column(table: Table, names: list[str]) -> str | None:
    if table.column is not None:
        if table.column not in names:
            raise InputError(
                f"{quoted(table.path)} has no column {table.column!r}."
                f"{nearest(table.column, names)}"
            )
        return table.column
    usual = [name for name in LABELS if name in names]
    if len(usual) > 1:
        raise InputError(
            f"{quoted(table.path)} has the columns {' and '.join(usual)}; say which one holds the "
            f"labels, as in 'table:{table.path}#{usual[0]}'."
        )
    return usual[0] if usual else None


def _numbered(given: np.ndarray, table: Table) -> tuple[np.ndarray, tuple[str, ...]]:
    """Labels from 0 in the order of their values, int64 (N,), and the names of these."""
    values = given.tolist()
    missing = [i for i, value in enumerate(values) if value is None or value != value]
    if missing:
        raise InputError(
            f"Either all samples of {quoted(table.path)} have a label or none has, and sample "
            f"{missing[0]} (from 0) has none; {len(missing)} lack one."
        )
    if all(isinstance(value, float) and value.is_integer() for value in values):
        values = [int(value) for value in values]
    _refuse_mixed(values, table)
    different = sorted(set(values))
    label = {value: number for number, value in enumerate(different)}
    return np.array([label[value] for value in values], np.int64), tuple(map(str, different))


def _refuse_mixed(values: list[object], table: Table) -> None:
    """Labels are all numbers (true and false among them), or all texts."""
    texts = [isinstance(value, str) for value in values]
    numbers = [isinstance(value, bool | int) for value in values]
    if all(texts) or all(numbers):
        return
    if any(texts):
        raise InputError(f"Labels in {quoted(table.path)} must be of one kind, numbers or texts.")
    other = next(value for value in values if not isinstance(value, bool | int))
    raise InputError(
        f"Labels in {quoted(table.path)} must be whole numbers, true and false, or texts, and "
        f"one is {other!r}."
    )
