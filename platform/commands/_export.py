"""Choose, show and write rows of the result tables, for `platform results`."""

import io
import json
import re
from collections.abc import Callable, Iterable
from datetime import datetime
from pathlib import Path
from typing import Any

import polars as pl
from rich.console import Console
from rich.table import Table
from rich.text import Text

from deep_clustering.platform import _disk
from deep_clustering.platform.errors import InputError, nearest, storage_error
from deep_clustering.platform.evaluation.measures import on_one_line
from deep_clustering.platform.places import absolute

#: Shown first, as far as the width goes, when a table has more columns than `_FEW`; between the two
#: parts the fields of configurations that tell its rows apart.
_FIRST = (
    *("run_id", "stage_id", "kind", "variant", "method", "dataset", "seed", "epoch", "sample"),
    *("status", "acc", "ece", "reason", "nmi", "ari"),
)
_THEN = ("stability", "silhouette", "seconds", "device", "cluster", "confidence", "stage_id")
#: A table of at most this many columns is shown as it is.
_FEW = 12
#: Rows shown at most.
_ROWS = 50
_WIDEST = 32  # characters of one cell
_SHORT = 20  # characters of a path that is shown whole
_QUOTED_OR_DOTTED = re.compile(r"""'(?:[^']|'')*'|"[^"]*"|`[^`]*`|[A-Za-z_]\w*(?:\.\w+)+""")


# ---- choosing


def select(
    frame: pl.LazyFrame,
    *,
    where: str | None = None,
    sort: str | None = None,
    columns: str | None = None,
    limit: int | None = None,
) -> pl.DataFrame:
    """The rows and columns that a person asked for.

    Args:
        where: an SQL condition, such as `dataset = 'digits' and acc > 0.8`. Names with dots need
            no quotes.
        sort: columns, comma-separated; `-` before one sorts it from large to small. Nulls go last.
        columns: those to keep, comma-separated, in this order.
        limit: at most this many rows, after sorting.

    Raises:
        InputError: a condition that cannot be read or applied, or unknown columns, all together.
    """
    known = frame.collect_schema().names()
    wanted = _names(columns)
    order = _names(sort)
    descending = [n.startswith("-") for n in order]
    order = [n.removeprefix("-") for n in order]
    condition = None if where is None else _condition(where)
    used = [] if condition is None else list(dict.fromkeys(condition.meta.root_names()))
    asked = [("--where", n) for n in used]
    asked += [("--sort", n) for n in order] + [("--columns", n) for n in wanted]
    wrong = [
        f"{option}: there is no column '{name}'.{nearest(name, known)}"
        for option, name in asked
        if name not in known
    ]
    if wrong:
        texts = [n for n in used if n not in known and _compared(n, where or "")]
        hint = f" If it is a text, write it in single quotes: '{texts[0]}'." if texts else ""
        raise InputError("\n".join(wrong) + hint)
    try:
        if condition is not None:
            frame = frame.filter(condition)
        if order:
            frame = frame.sort(order, descending=descending, nulls_last=True, maintain_order=True)
        if limit is not None:
            frame = frame.head(limit)
        return (frame.select(wanted) if wanted else frame).collect()
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
        if condition is None:
            raise
        raise InputError(f"--where: {where!r} cannot be applied ({_first(error)}).") from error


def _names(text: str | None) -> list[str]:
    return list(dict.fromkeys(n.strip() for n in (text or "").split(",") if n.strip()))


def _condition(where: str) -> pl.Expr:
    def quote(match: re.Match[str]) -> str:
        return match[0] if match[0][0] in "'\"`" else f'"{match[0]}"'

    try:
        return pl.sql_expr(_QUOTED_OR_DOTTED.sub(quote, where))
    except pl.exceptions.PolarsError as error:
        raise InputError(
            f"--where: {where!r} is not a condition ({_first(error)}); write for example "
            "\"dataset = 'digits' and acc > 0.8\", with texts in single quotes."
        ) from error


def _compared(name: str, where: str) -> bool:
    """Whether a name stands where the values of a condition do, or in the quotes of some texts."""
    return f'"{name}"' in where or re.search(rf"[=<>(,]\s*{re.escape(name)}\b", where) is not None


def _first(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


# ---- showing


def show(frame: pl.DataFrame, console: Console) -> None:
    """Print a table as wide as the console; says what it leaves out.

    Args:
        frame: any table. One with many columns is shown with the most telling first, without
            those that are null throughout, which few columns lose where they do not fit.
    """
    if frame.height == 0:
        console.print("no rows")
        return
    part = frame.head(_ROWS)
    names = part.columns
    if len(names) > _FEW:
        names = _telling(part)
    cells = {n: _cells(n, part[n]) for n in names}
    widths = {n: min(_WIDEST, max(map(len, [n, *cells[n]]))) for n in names}
    if len(part.columns) <= _FEW and sum(widths.values()) + 2 * len(names) > console.width:
        names = [n for n in names if part[n].null_count() < part.height] or names
    shown: list[str] = []
    room = console.width
    for name in names:
        if len(frame.columns) > _FEW and widths[name] > room:
            break
        shown.append(name)
        room -= widths[name] + 2
    table = Table(box=None, pad_edge=False, header_style="dim")
    for name in shown:
        number = part[name].dtype.is_numeric()
        table.add_column(
            Text(name),
            justify="right" if number else "left",
            overflow="ellipsis" if len(frame.columns) > _FEW else "fold",
            no_wrap=len(frame.columns) > _FEW,
            max_width=_WIDEST,
        )
    for i in range(part.height):
        table.add_row(*(_styled(n, cells[n][i]) for n in shown))
    console.print(table)
    left = []
    if frame.height > part.height:
        left.append(f"{frame.height - part.height} more rows")
    if len(shown) < len(frame.columns):
        left.append(f"{len(frame.columns) - len(shown)} more columns")
    if left:
        say = f"{' and '.join(left)}: --columns and --where choose, --output FILE has all"
        console.print(say, style="dim", soft_wrap=True)


def _telling(table: pl.DataFrame) -> list[str]:
    """The columns that are not null throughout, the most telling first."""
    full = [n for n in table.columns if table[n].null_count() < table.height]
    fields = [n for n in full if n.startswith("config.") and table[n].drop_nulls().n_unique() > 1]
    # Of runs a stage is what they stand on; of stages it is what they are.
    first = [n for n in _FIRST if n in full and (n != "stage_id" or "kind" in full)]
    order = [*first, *fields, *(n for n in _THEN if n in full), *full]
    return list(dict.fromkeys(order))


def _cells(name: str, column: pl.Series) -> list[str]:
    if name in ("run_id", "stage_id"):
        return _short_ids(column.to_list())
    if name == "dataset":
        return _short_places(column.to_list())
    return [_text(v) for v in column.to_list()]


def _short_ids(ids: list[Any]) -> list[str]:
    """The first letters of ids: eight, or as many as tell them apart."""
    different = {i for i in ids if i is not None}
    length = 8
    while len({i[:length] for i in different}) < len(different):
        length += 1
    return ["-" if i is None else i[:length] for i in ids]


def _short_places(names: list[Any]) -> list[str]:
    """Datasets; of a path its last folders, as many as tell them apart, when it is long."""
    known = {n for n in names if n is not None}

    def last(name: str, parts: int) -> str:
        kind, colon, path = name.partition(":")
        folders = path.split("/")
        if not colon or len(name) <= _SHORT or len(folders) <= parts:
            return name
        return f"{kind}:…/{'/'.join(folders[-parts:])}"

    parts = 1
    while len({last(n, parts) for n in known}) < len(known):
        parts += 1
    return ["-" if n is None else on_one_line(last(n, parts)) for n in names]


def _text(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        usual = value == 0 or 1e-3 <= abs(value) < 1e5
        return f"{value:.3f}" if usual else f"{value:.3g}"
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M}"
    if isinstance(value, list):
        return ",".join(map(_text, value)) or "none"
    return on_one_line(str(value))


def _styled(name: str, text: str) -> Text:
    return Text(text, style="red" if name == "status" and text == "failed" else "")


# ---- writing


def refuse(path: Path) -> None:
    """Refuse a place for a table before anything is computed for it.

    Raises:
        InputError: the suffix is none of a table, or there is no such folder.
    """
    formats = _formats()
    if path.suffix.lower() not in formats:
        raise InputError(
            f"--output: {path.name} ends with none of {', '.join(formats)}, which say the format."
        )
    folder = absolute(path).parent
    if not folder.is_dir():
        raise InputError(f"--output: there is no folder {folder}.")


def write(frame: pl.DataFrame, path: Path) -> None:
    """Write a table whole or not at all, in the format of the suffix.

    In CSV a list is JSON.

    Args:
        frame: any table.
        path: ends with .csv, .parquet, .json (a list of rows), .arrow, .feather or .ipc.

    Raises:
        InputError: another suffix, or no such folder.
        StorageError: it could not be written.
    """
    refuse(path)
    folder = absolute(path).parent
    try:
        _disk.write(folder / path.name, _formats()[path.suffix.lower()](frame))
    except OSError as error:
        raise storage_error(error, str(folder), path.name) from error


def _formats() -> dict[str, Callable[[pl.DataFrame], bytes]]:
    """Suffix of a file -> what makes its bytes."""
    return {
        ".csv": _csv,
        ".parquet": _parquet,
        ".json": lambda table: table.write_json().encode(),
        **dict.fromkeys((".arrow", ".feather", ".ipc"), _arrow),
    }


def _csv(frame: pl.DataFrame) -> bytes:
    lists = [n for n, kind in frame.schema.items() if isinstance(kind, pl.List)]
    plain = frame.with_columns(pl.Series(n, _as_json(frame[n]), pl.String) for n in lists)
    return plain.write_csv().encode()


def _as_json(values: Iterable[Any]) -> list[str | None]:
    return [None if v is None else json.dumps(list(v)) for v in values]


def _parquet(frame: pl.DataFrame) -> bytes:
    sink = io.BytesIO()
    frame.write_parquet(sink)
    return sink.getvalue()


def _arrow(frame: pl.DataFrame) -> bytes:
    sink = io.BytesIO()
    frame.write_ipc(sink, compat_level=pl.CompatLevel.oldest())
    return sink.getvalue()
