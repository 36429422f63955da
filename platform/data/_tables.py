"""The user's own tables of numbers as datasets of vectors.

`table:PATH` is a .csv (its first line names the columns, which commas, semicolons or tabs
separate) or .parquet file, a .npy file with one array (samples, dimensions), or a .npz file with
one such array. Every column is a number, except the label: a column of a usual name (`_columns`),
or the one named in `table:PATH#NAME` (in .npz: an array of that name, one entry a sample). Labels
are whole numbers, true and false, or texts; without a label column there are no labels. Columns
that only tell samples apart, such as a saved index, are left out. Numbers are stored as float32.
"""

import hashlib
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import psutil
from numpy.lib.npyio import NpzFile

from deep_clustering.platform.data import _cache
from deep_clustering.platform.data._cache import Content
from deep_clustering.platform.data._columns import (
    is_id,
    is_saved_index,
    tells_apart,
    usual_labels,
)
from deep_clustering.platform.data._float32 import stored
from deep_clustering.platform.data._text import quoted
from deep_clustering.platform.data.protocols import TRAIN
from deep_clustering.platform.errors import InputError, PlatformError, nearest
from deep_clustering.platform.places import absolute

if TYPE_CHECKING:
    import polars as pl

FORMAT = 2  # raised when a table is read in another way; older copies are then made anew
SUFFIXES = (".csv", ".parquet", ".npy", ".npz")


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
        """16 hexadecimal digits that change with the file's place, size or times, or the column.

        The time of the last change counts too: tools can set the other one back.
        """
        about = self.path.stat()
        times = (about.st_mtime_ns, about.st_ctime_ns)
        text = repr((FORMAT, str(self.path), self.column, about.st_size, *times))
        return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:16]


class _Columns(NamedTuple):
    """What a file holds."""

    vectors: np.ndarray  # float32 (N, D)
    labels: np.ndarray | None  # (N,), of whatever type the file has
    notes: tuple[str, ...] = ()  # what the user should know


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
    return Path(os.path.realpath(absolute(text)))


def build(folder: Path, *, table: Table) -> Content:
    """Write a table's vectors into `folder`.

    Raises:
        InputError: it cannot be read, is empty, or holds what is no number.
    """
    before = table.key()
    readers = {".csv": _frame, ".parquet": _frame, ".npy": _array, ".npz": _arrays}
    with _told(table):
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
        notes=columns.notes,
        source=str(table.path),
    )


@contextmanager
def _told(table: Table) -> Iterator[None]:
    """Whatever a damaged or misnamed file raises in its reader becomes a sentence.

    Readers promise no list of errors: a bad archive, an odd header, a size that no memory holds,
    and polars' panics, which are no `Exception`, have all been seen.
    """
    from polars.exceptions import PanicException

    try:
        yield
    except PlatformError:
        raise
    except MemoryError as error:
        raise InputError(
            f"{quoted(table.path)} does not fit into the memory, or is damaged and says so; "
            "check it, and take a part of it where it is whole."
        ) from error
    except (Exception, PanicException) as error:
        first = (str(error).strip() or type(error).__name__).splitlines()[0]
        advice = {
            ".csv": "every line needs the same number of values, and the first one names the "
            "columns",
            ".parquet": "see that it is whole and a Parquet file, or save it again",
        }.get(table.path.suffix.lower(), "save it again with numpy, as numbers")
        raise InputError(
            f"{quoted(table.path)} cannot be read as a table ({first}); {advice}."
        ) from error


def _refuse_large(table: Table, numbers: int) -> None:
    """See that there is memory for a table's numbers in double precision and as they are stored.

    A small file may hold a large table: equal numbers take next to nothing when they are packed.
    """
    needed, free = 12 * numbers, free_bytes()
    if needed > free:
        raise InputError(
            f"{quoted(table.path)} would need {needed / 2**20:,.0f} MiB of memory, and "
            f"{free / 2**20:,.0f} MiB are free; take a part of it."
        )


def free_bytes() -> int:
    """Memory of this machine that can be had."""
    return int(psutil.virtual_memory().available)


# --- CSV and Parquet -----------------------------------------------------------------------------


def _frame(table: Table) -> _Columns:
    """Numbers and labels of a CSV or Parquet file."""
    import polars as pl

    from deep_clustering.platform.data import _frames

    is_csv = table.path.suffix.lower() == ".csv"
    if not is_csv:
        _refuse_large(table, _frames.numbers_in(table.path))
    frame = _frames.read_csv(table.path) if is_csv else _frames.read_parquet(table.path)
    label = _label_column(table, frame.columns)
    others = frame.drop(label) if label is not None else frame
    numbers, notes = _without_ids(others, table)
    _refuse_empty(frame.height, numbers.width, table)
    _refuse_texts(numbers, table)
    kind = pl.Float32 if set(numbers.dtypes) == {pl.Float32} else pl.Float64
    exact = numbers.select(pl.all().cast(kind)).fill_null(float("nan")).to_numpy()
    vectors, more = stored(exact, numbers.columns, quoted(table.path))
    _refuse_missing(vectors, exact, table, numbers.columns)
    labels = None if label is None else frame[label].to_numpy()
    return _Columns(vectors, labels, (*notes, *_trained_on(numbers.columns), *more))


def _without_ids(frame: "pl.DataFrame", table: Table) -> tuple["pl.DataFrame", list[str]]:
    """The frame without the columns that only tell samples apart, and notes about them.

    Raises:
        InputError: a column without a name may be one of numbers or not.
    """
    notes: list[str] = []
    for name in frame.columns:
        column = frame[name]
        if is_saved_index(name):
            if not tells_apart(column) and column.null_count() < len(column):
                raise InputError(
                    f"{quoted(table.path)} has a column without a name of its own ({name!r}), and "
                    "it is no index, as values repeat; name it or take it out."
                )
            what = "taken for a saved index" if column.null_count() < len(column) else "empty"
            notes.append(f"the column {name!r} is {what} and left out")
        elif is_id(name) and tells_apart(column):
            notes.append(
                f"the column {name!r} holds another value for each sample, so it is taken for an "
                "id and left out; rename it to train on it"
            )
        else:
            if is_id(name):
                notes.append(f"the column {name!r} is trained on; take it out if it holds ids")
            continue
        frame = frame.drop(name)
    return frame, notes


def _trained_on(names: Sequence[str]) -> list[str]:
    """Notes about columns that are numbers of the samples although their names speak of labels."""
    return [
        f"the column {name!r} is trained on, although its name is one of labels; take it out if it "
        "holds labels"
        for name in usual_labels(names)
    ]


def _refuse_texts(numbers: "pl.DataFrame", table: Table) -> None:
    import polars as pl

    texts = [
        name
        for name, kind in numbers.schema.items()
        if not (kind.is_numeric() or kind == pl.Boolean)
    ]
    if numbers.width == 1 and texts and len(texts[0].split()) > 1:
        raise InputError(
            f"{quoted(table.path)} has one column, {texts[0]!r}; separate its columns by commas, "
            "semicolons or tabs."
        )
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
    with open(table.path, "rb") as file:  # numpy leaves its own open where the file is damaged
        loaded = np.load(file)
    if isinstance(loaded, NpzFile):
        raise _other_form(table, "it holds several arrays, as .npz files do")
    vectors, notes = _numbers(loaded, table)
    return _Columns(vectors, None, notes)


def _arrays(table: Table) -> _Columns:
    """Numbers and labels of an .npz file."""
    with open(table.path, "rb") as file:
        arrays = np.load(file)
        if not isinstance(arrays, NpzFile):
            raise _other_form(table, "it holds one array without a name, as .npy files do")
        assert arrays.zip is not None  # until it is closed
        _refuse_large(table, sum(member.file_size for member in arrays.zip.infolist()) // 8)
        names = list(arrays)
        label = _label_column(table, names)
        others = [name for name in names if name != label]
        if len(others) != 1:
            raise InputError(
                f"{quoted(table.path)} must hold one array (samples, dimensions) beside the "
                f"labels, and it holds {', '.join(others) or 'none'}; leave one of them, or name "
                f"the labels as in 'table:{table.path}#{others[-1] if others else 'label'}'."
            )
        vectors, notes = _numbers(arrays[others[0]], table)
        labels = None if label is None else arrays[label]
    if labels is not None and labels.shape != (len(vectors),):
        raise InputError(
            f"The array {label!r} of {quoted(table.path)} must hold one label for each of "
            f"{len(vectors)} samples, and its shape is {labels.shape}."
        )
    return _Columns(vectors, labels, notes)


def _other_form(table: Table, what: str) -> InputError:
    return InputError(
        f"{quoted(table.path)} cannot be read ({what}); save it again with numpy, as numbers."
    )


def _numbers(array: np.ndarray, table: Table) -> tuple[np.ndarray, tuple[str, ...]]:
    """The array as float32 (N, D), and notes."""
    if array.ndim != 2 or array.dtype.kind not in "biuf":
        raise InputError(
            f"{quoted(table.path)} must hold numbers of shape (samples, dimensions), and it holds "
            f"{array.dtype} of shape {array.shape}."
        )
    _refuse_empty(len(array), array.shape[1], table)
    found = stored(array, range(array.shape[1]), quoted(table.path))
    _refuse_missing(found.vectors, array, table, range(array.shape[1]))
    return found


# --- for all of them -----------------------------------------------------------------------------


def _refuse_empty(samples: int, numbers: int, table: Table) -> None:
    if not samples or not numbers:
        raise InputError(
            f"{quoted(table.path)} has {samples} samples of {numbers} numbers, and at least one of "
            "each is needed."
        )


def _refuse_missing(
    vectors: np.ndarray, exact: np.ndarray, table: Table, columns: Sequence[str] | Sequence[int]
) -> None:
    wrong = ~np.isfinite(vectors)
    if wrong.any():
        row, column = (int(i) for i in np.argwhere(wrong)[0])
        there = float(exact[row, column])
        large = f", as {there!r} is too large for float32" if np.isfinite(there) else ""
        raise InputError(
            f"{quoted(table.path)} lacks a finite number in {int(wrong.sum())} places, the first "
            f"in column {columns[column]!r} of sample {row} (from 0){large}; fill them in or leave "
            "these samples out."
        )


def _label_column(table: Table, names: list[str]) -> str | None:
    """The column named by the user, else the one of a usual name, if there is one."""
    if table.column is not None:
        same = [name for name in names if name.strip() == table.column.strip()]
        if table.column not in names and len(same) != 1:
            raise InputError(
                f"{quoted(table.path)} has no column {table.column!r}."
                f"{nearest(table.column, names)}"
            )
        return table.column if table.column in names else same[0]
    usual = usual_labels(names)
    if len(usual) > 1:
        raise InputError(
            f"{quoted(table.path)} has the columns {' and '.join(usual)}; say which one holds the "
            f"labels, as in 'table:{table.path}#{usual[0]}', and take the others out if they hold "
            "labels too."
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
        f"one is {other!r}; rename the column if it holds none, or name the one that does."
    )
