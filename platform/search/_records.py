"""A dataclass back from the JSON that `dataclasses.asdict` made of it, with every type checked."""

import dataclasses
import types
import typing
from collections.abc import Mapping
from typing import TypeVar

T = TypeVar("T")

#: Type of a field -> types of what JSON has there.
_KINDS: dict[object, tuple[type, ...]] = {
    int: (int,),
    float: (int, float),
    str: (str,),
    Mapping: (dict,),
}


def record(kind: type[T], value: object) -> T:
    """The record that a JSON object holds.

    Args:
        kind: a dataclass of numbers, text, None, tuples and mappings.
        value: the object; what a mapping holds is taken as it is.

    Raises:
        ValueError: a field is missing, unknown, or of another type.
    """
    hints = {field.name: field.type for field in dataclasses.fields(kind)}  # type: ignore[arg-type]
    if not isinstance(value, Mapping) or value.keys() != hints.keys():
        raise ValueError(f"{kind.__name__} has the fields {', '.join(hints)}, got {value!r}")
    return kind(**{n: _as(hint, value[n], f"{kind.__name__}.{n}") for n, hint in hints.items()})


def _as(hint: object, value: object, name: str) -> object:
    """A value of a type."""
    origin, options = typing.get_origin(hint), typing.get_args(hint)
    if origin in (types.UnionType, typing.Union):
        (hint,) = (option for option in options if option is not type(None))
        return None if value is None else _as(hint, value, name)
    if origin is tuple and isinstance(value, list | tuple):
        if options[-1] is Ellipsis:
            return tuple(_as(options[0], item, name) for item in value)
        if len(value) == len(options):
            return tuple(_as(o, item, name) for o, item in zip(options, value, strict=True))
    elif origin is typing.Literal:
        if value in options:
            return value
    elif type(value) in _KINDS.get(origin or hint, ()):
        return value
    raise ValueError(f"{name}: {value!r} is not what a release writes")
