"""What a command found, for programs: one JSON object on the standard output (`--json`).

Every command gives the same keys, whatever becomes of it; `AGENTS.md` says what they mean. Keys may
be added; none changes its meaning while `VERSION` is the same.
"""

import contextlib
import functools
import json
import math
import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

import click

from deep_clustering.platform.errors import PlatformError

if TYPE_CHECKING:
    import polars as pl

    from deep_clustering.platform.store.store import Store

VERSION = 1

#: A table of a listing: rows, column -> value.
Rows = Sequence[Mapping[str, object]]


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What a command found.

    Attributes:
        code: its exit code.
        store: that it worked on, None for a command without one.
        runs: ids of the runs that it is about.
        to_do: ids of those runs, and of work that they stand on, that the store lacks.
        tables: name -> rows that it prints.
        files: that it wrote.
    """

    code: int = 0
    store: "Store | None" = None
    runs: Collection[str] = ()
    to_do: Collection[str] = ()
    tables: "Mapping[str, pl.DataFrame | Rows]" = field(default_factory=dict)
    files: Collection[Path] = ()


def answering(function: Callable[..., Answer]) -> Callable[..., int]:
    """A command with the option `--json`, which returns its exit code."""

    @click.option(
        "--json",
        "as_json",
        is_flag=True,
        help="One JSON object on the standard output, and all else on the standard error.",
    )
    @functools.wraps(function)
    def command(*, as_json: bool, **options: object) -> int:
        if not as_json:
            return function(**options).code
        name = click.get_current_context().info_name or ""
        answer, error = Answer(), None
        with _aside() as output:
            try:
                answer = function(**options)
            except PlatformError as problem:
                answer, error = Answer(code=problem.exit_code), problem
            text = json.dumps(_plain(name, answer, error), ensure_ascii=False, allow_nan=False)
            print(text, file=output, flush=True)
        if error is not None:
            raise error
        return answer.code

    return command


@contextlib.contextmanager
def _aside() -> Iterator[TextIO]:
    """What is printed goes to the standard error inside; the standard output is given."""
    output = sys.stdout
    with contextlib.redirect_stdout(sys.stderr):
        yield output


def _plain(command: str, answer: Answer, error: PlatformError | None) -> dict[str, object]:
    store = answer.store
    runs: list[dict[str, object]] = []
    if store is not None and answer.runs:
        runs = _rows(store.rows("runs", ids=answer.runs).sort("run_id").iter_rows(named=True))
    return {
        "version": VERSION,
        "command": command,
        "exit_code": answer.code,
        "error": None if error is None else str(error),
        "store": None if store is None else store.uri,
        "runs": runs,
        "to_do": sorted(answer.to_do),
        "tables": {
            name: _rows(table if isinstance(table, Sequence) else table.iter_rows(named=True))
            for name, table in answer.tables.items()
        },
        "files": [str(file) for file in answer.files],
    }


def _rows(rows: Iterable[Mapping[str, object]]) -> list[dict[str, object]]:
    """Rows without what is null."""
    return [
        {name: _value(value) for name, value in row.items() if value is not None} for row in rows
    ]


def _value(value: object) -> object:
    """As JSON holds it: times as ISO 8601, and null for a number that is none."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, (list, tuple)):
        return [_value(one) for one in value]
    if isinstance(value, dict):
        return {str(name): _value(one) for name, one in value.items()}
    if value is None or isinstance(value, (str, bool, int, float)):
        return value
    return str(value)
