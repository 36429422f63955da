"""Records as rows of a table."""

import dataclasses
import types
import typing

import polars as pl

_KINDS = {str: pl.String, int: pl.Int32, float: pl.Float64, bool: pl.Boolean}


def columns(record: type) -> dict[str, type[pl.DataType]]:
    """Field -> type of its column; fields of other types than text and numbers are left out."""
    hints = typing.get_type_hints(record)
    kinds = {field.name: _plain(hints[field.name]) for field in dataclasses.fields(record)}
    return {name: _KINDS[kind] for name, kind in kinds.items() if kind in _KINDS}


def _plain(kind: object) -> type:
    """The type of a value that is not None."""
    if typing.get_origin(kind) in (types.UnionType, typing.Union):
        (kind,) = (option for option in typing.get_args(kind) if option is not type(None))
    if typing.get_origin(kind) is typing.Literal:
        return str
    return typing.cast(type, kind)
