"""Records as rows of a table."""

import dataclasses
import types
import typing

import polars as pl

from deep_clustering.platform.evaluation import contract

_KINDS = {str: pl.String, int: pl.Int32, float: pl.Float64, bool: pl.Boolean}


def columns(record: type) -> dict[str, type[pl.DataType]]:
    """Field -> type of its column; fields of other types than text and numbers are left out."""
    hints = typing.get_type_hints(record)
    kinds = {field.name: _plain(hints[field.name]) for field in dataclasses.fields(record)}
    return {name: _KINDS[kind] for name, kind in kinds.items() if kind in _KINDS}


def with_evaluations(record: type) -> dict[str, type[pl.DataType]]:
    """`columns`, and after `dataset` one for each evaluation: what runs are compared with there."""
    schema: dict[str, type[pl.DataType]] = {}
    for name, kind in columns(record).items():
        schema[name] = kind
        if name == "dataset":
            schema |= {contract.find(n).label: pl.String for n in contract.names()}
    return schema


def as_row(record: object, compared: tuple[str, str] | None) -> dict[str, object]:
    """A record as a line of a table with the columns `with_evaluations`.

    Args:
        record: a dataclass.
        compared: name of an evaluation and what runs are compared with there; None for none.
    """
    line: dict[str, object] = {name: getattr(record, name) for name in columns(type(record))}
    if compared is not None:
        evaluation, thing = compared
        line[contract.find(evaluation).label] = thing
    return line


def _plain(kind: object) -> type:
    """The type of a value that is not None."""
    if typing.get_origin(kind) in (types.UnionType, typing.Union):
        (kind,) = (option for option in typing.get_args(kind) if option is not type(None))
    if typing.get_origin(kind) is typing.Literal:
        return str
    return typing.cast(type, kind)
