"""CSV and Parquet files of the user's as frames, whose first line surely holds names."""

from collections.abc import Iterable
from pathlib import Path

import polars as pl
from pyarrow.parquet import ParquetFile

from deep_clustering.platform.data._columns import is_saved_index, original, usual_labels
from deep_clustering.platform.data._text import quoted
from deep_clustering.platform.errors import InputError

_MISSING = ["nan", "NaN", "NA", "N/A", "null", "None", "?"]  # in place of a number


def read_csv(path: Path) -> pl.DataFrame:
    """A file whose values are separated by commas, semicolons or tabs.

    With semicolons, a comma may be the decimal sign. Blanks around values do not count.

    Raises:
        InputError: the first line holds values in place of names.
        polars.exceptions.PolarsError, OSError: it is no such file.
    """
    separator = _separator(path)
    frame = _parsed(path, separator, decimal_comma=False)
    if separator == ";":
        other = _parsed(path, separator, decimal_comma=True)
        frame = min(frame, other, key=lambda f: sum(kind == pl.String for kind in f.dtypes))
    frame = frame.with_columns(
        _without_blanks(frame[name]) for name in frame.columns if frame[name].dtype == pl.String
    )
    if _holds_values(frame):
        raise InputError(
            f"The first line of {quoted(path)} holds numbers, and names of columns are "
            "expected there; add a line with names."
        )
    return frame


def numbers_in(path: Path) -> int:
    """How many values a Parquet file says that it holds.

    Raises:
        pyarrow.ArrowException, OSError: it is none, or is damaged.
    """
    with open(path, "rb") as file:
        about = ParquetFile(file).metadata
    return int(about.num_rows * about.num_columns)


def read_parquet(path: Path) -> pl.DataFrame:
    """A Parquet file, whose index of pandas has a name that `is_saved_index` knows.

    By pyarrow, which refuses damaged files that make polars panic or end the process.

    Raises:
        pyarrow.ArrowException, OSError, ValueError: it is none, or is damaged.
    """
    with open(path, "rb") as file:
        table = ParquetFile(file, page_checksum_verification=True).read(use_threads=False)
    table.validate(full=True)
    index = (table.schema.pandas_metadata or {}).get("index_columns", [])
    names = [name for name in index if isinstance(name, str) and name in table.column_names]
    unnamed = {name: f"Unnamed: {i}" for i, name in enumerate(names) if not is_saved_index(name)}
    frame = pl.DataFrame(table)
    return frame.rename(unnamed)


def _parsed(path: Path, separator: str, *, decimal_comma: bool) -> pl.DataFrame:
    return pl.read_csv(
        path,
        separator=separator,
        decimal_comma=decimal_comma,
        infer_schema_length=None,
        null_values=_MISSING,
        glob=False,  # the file of this name, whatever signs are in it
    )


def _separator(path: Path) -> str:
    """The first of comma, semicolon and tab that is in the first line; comma where none is.

    Raises:
        InputError: it is a text of another form than is read here.
    """
    with open(path, "rb") as file:
        first = file.readline(1 << 20)
    if first.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise InputError(f"{quoted(path)} is a text in UTF-16; save it again in UTF-8.")
    if b"\r" in first.rstrip(b"\r\n"):
        raise InputError(
            f"The lines of {quoted(path)} end as on old Macs (CR); save it again with usual ones."
        )
    return next((sign for sign in ",;\t" if sign.encode() in first), ",")


def _without_blanks(column: pl.Series) -> pl.Series:
    """A column of texts, as numbers where blanks alone kept it from being read as such."""
    texts = column.str.strip_chars()
    if texts.equals(column, null_equal=True):
        return column
    texts = texts.replace(["", *_MISSING], [None] * (1 + len(_MISSING)))
    for kind in (pl.Int64, pl.Float64):
        numbers = texts.cast(kind, strict=False)
        if numbers.null_count() == texts.null_count():
            return numbers
    return texts


def _holds_values(frame: pl.DataFrame) -> bool:
    """Whether the names of the columns are rather the first sample's values.

    Names may be numbers too, when they count on (0, 1, 2, or years), and then the others among
    them are no values of their columns.
    """
    names = {name: original(name, frame.columns).strip() for name in frame.columns}
    numbers = [text for text in names.values() if _is_number(text)]
    if not numbers:
        return False
    if len(numbers) == len(names) or not _counts_on(numbers):
        return True
    others = [name for name, text in names.items() if not _is_number(text)]
    usual = set(usual_labels(others)) | {name for name in others if is_saved_index(name)}
    return any(names[name] in _texts(frame[name]) for name in others if name not in usual)


def _texts(column: pl.Series) -> set[str]:
    return set(column.cast(pl.String, strict=False).drop_nulls().to_list())


def _counts_on(texts: Iterable[str]) -> bool:
    try:
        numbers = [int(text) for text in texts]
    except ValueError:
        return False
    return numbers == list(range(numbers[0], numbers[0] + len(numbers)))


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return text in _MISSING
    return True
