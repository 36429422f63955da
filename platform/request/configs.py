"""Typed configurations: `--set field=value`, layers of overrides, canonical JSON.

A configuration is a frozen dataclass of a method, possibly with one nested dataclass (its
pretraining); nested fields are written with a dot, `pretrain.epochs`.
"""

import dataclasses
import functools
import hashlib
import itertools
import json
import math
import types
import typing
from collections.abc import Iterable, Mapping, Sequence
from typing import TypeAlias, TypeVar

from deep_clustering.methods._method import Config
from deep_clustering.platform.errors import InputError, nearest, not_one_of

#: What JSON can hold.
Value: TypeAlias = "bool | int | float | str | Sequence[Value] | Mapping[str, Value] | None"

C = TypeVar("C", bound=Config)


@functools.cache
def _hints(config_class: type[Config]) -> dict[str, object]:
    """Field name -> its type."""
    return typing.get_type_hints(config_class)


@functools.cache
def fields(config_class: type[Config]) -> Mapping[str, object]:
    """Dotted field name -> its type, in the order of the dataclass."""
    hints = _hints(config_class)
    kinds: dict[str, object] = {}
    for field in dataclasses.fields(config_class):
        kind = hints[field.name]
        if dataclasses.is_dataclass(kind):
            kinds |= {f"{field.name}.{k}": v for k, v in fields(typing.cast(type, kind)).items()}
        else:
            kinds[field.name] = kind
    return kinds


def defaults(config_class: type[Config]) -> dict[str, Value]:
    """Dotted field name -> default; a field without one is left out."""
    return dict(_defaults(config_class))


@functools.cache
def _defaults(config_class: type[Config]) -> Mapping[str, Value]:
    hints = _hints(config_class)
    values: dict[str, Value] = {}
    for field in dataclasses.fields(config_class):
        kind = hints[field.name]
        if dataclasses.is_dataclass(kind):
            inner = _defaults(typing.cast(type, kind))
            values |= {f"{field.name}.{k}": v for k, v in inner.items()}
        elif field.default is not dataclasses.MISSING:
            values[field.name] = field.default
    return values


def meanings(config_class: type[Config]) -> dict[str, str]:
    """Dotted field name -> what it is, of the fields that say so."""
    hints = _hints(config_class)
    told: dict[str, str] = {}
    for field in dataclasses.fields(config_class):
        kind = hints[field.name]
        if dataclasses.is_dataclass(kind):
            inner = meanings(typing.cast(type, kind))
            told |= {f"{field.name}.{k}": v for k, v in inner.items()}
        elif "meaning" in field.metadata:
            told[field.name] = field.metadata["meaning"]
    return told


def parse(config_class: type[Config], items: Iterable[str]) -> dict[str, Value]:
    """Values of `field=value` items, each of its field's type.

    Raises:
        InputError: lists every unknown field (with the nearest name) and every value of the
            wrong type.
    """
    known = fields(config_class)
    values: dict[str, Value] = {}
    wrong: list[str] = []
    for item in items:
        name, equals, text = item.partition("=")
        if not equals:
            wrong.append(f"'{item}' is not of the form field=value")
        elif name not in known:
            wrong.append(f"there is no field '{name}'.{nearest(name, known)}")
        else:
            try:
                values[name] = _typed(known[name], text)
            except ValueError as error:
                words = _words(known[name])
                said = not_one_of(text, words) if words else f"{error}, got '{text}'"
                wrong.append(f"{name}: {said}")
    _refuse(wrong)
    return values


def merged(
    config_class: type[Config], *layers: tuple[str, Mapping[str, Value]]
) -> dict[str, Value]:
    """The value of each field after named layers of overrides, the last one winning; unchecked."""
    values = flatten(config_class())
    for _, layer in layers:
        values |= layer
    return values


def build(config_class: type[C], *layers: Mapping[str, Value]) -> C:
    """One configuration from layers of dotted overrides, the last one winning.

    Raises:
        InputError: unknown fields, or the mistakes the configuration finds in itself, all at once.
    """
    known = fields(config_class)
    merged: dict[str, Value] = {}
    for layer in layers:
        _refuse([f"there is no field '{n}'.{nearest(n, known)}" for n in layer if n not in known])
        merged |= layer
    wrong: list[str] = []
    config = _assemble(config_class, merged, wrong)
    _refuse(wrong)
    assert config is not None
    return config


def broken(config_class: type[C], values: Mapping[str, Value]) -> list[str]:
    """The fields whose rules these values of all fields break."""
    wrong: list[str] = []
    _assemble(config_class, values, wrong)
    return [line.partition(":")[0] for line in wrong]


def _assemble(config_class: type[C], values: Mapping[str, Value], wrong: list[str]) -> C | None:
    hints = _hints(config_class)
    given: dict[str, object] = {}
    for name, nested in _nested(config_class).items():
        if nested:
            prefix = name + "."
            inner = {k.removeprefix(prefix): v for k, v in values.items() if k.startswith(prefix)}
            mistakes: list[str] = []
            part = _assemble(typing.cast(type, hints[name]), inner, mistakes)
            if part is not None:  # else its default stands in, so that the rest is checked too
                given[name] = part
            wrong.extend(prefix + m for m in mistakes)
        elif name in values:
            given[name] = _normal(hints[name], values[name])
    try:
        return config_class(**given)
    except (ValueError, TypeError) as error:
        wrong.extend(line for line in str(error).splitlines() if line.strip())
        return None


def _normal(kind: object, value: Value) -> object:
    """Lists become tuples and whole numbers of float fields floats: one value, one run id."""
    if isinstance(value, list):
        return tuple(value)
    if isinstance(value, int) and not isinstance(value, bool):
        options = typing.get_args(kind) or (kind,)
        if float in options and int not in options:
            return float(value)
    return value


def flatten(config: Config) -> dict[str, Value]:
    """Dotted field name -> JSON value of a configuration."""
    values: dict[str, Value] = {}
    for name, nested in _nested(type(config)).items():
        value = getattr(config, name)
        if nested:
            values |= {f"{name}.{k}": v for k, v in flatten(value).items()}
        else:
            values[name] = list(value) if isinstance(value, tuple) else value
    return values


@functools.cache
def _nested(config_class: type[Config]) -> dict[str, bool]:
    """Field name -> whether it is a configuration of its own."""
    return {name: dataclasses.is_dataclass(kind) for name, kind in _hints(config_class).items()}


def identity(config: Config) -> dict[str, Value]:
    """What of a configuration tells runs apart: `flatten` without later fields at their default.

    A field is a later one if its metadata say "added" (`methods._fields.doc`).
    """
    return told_apart(config, flatten(config))


def told_apart(config: Config, flat: Mapping[str, Value]) -> dict[str, Value]:
    """`identity` of a configuration whose values are known by their names."""
    unchanged = _unchanged(config)
    return {name: value for name, value in flat.items() if name not in unchanged}


def _unchanged(config: Config) -> set[str]:
    """Dotted names of fields that were added and have their default."""
    kind = type(config)
    names = {name for name, default in _added(kind).items() if getattr(config, name) == default}
    for name, nested in _nested(kind).items():
        if nested:
            names |= {f"{name}.{inner}" for inner in _unchanged(getattr(config, name))}
    return names


@functools.cache
def _added(config_class: type[Config]) -> Mapping[str, object]:
    """Fields that were added -> their defaults."""
    known = dataclasses.fields(config_class)
    return {field.name: field.default for field in known if field.metadata.get("added")}


def canonical(value: object) -> str:
    """One text for one value: sorted keys, no spaces, no NaN; equal numbers print alike."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def digest(value: object) -> str:
    """20 hexadecimal characters of the SHA-256 of the canonical JSON."""
    return hashlib.sha256(canonical(value).encode()).hexdigest()[:20]


def _refuse(wrong: list[str]) -> None:
    if len(wrong) == 1:
        raise InputError(wrong[0])
    if wrong:
        raise InputError("\n".join([f"{len(wrong)} mistakes:", *(f"  {line}" for line in wrong)]))


def _words(kind: object) -> tuple[str, ...]:
    """The words that are all the values of a kind; none where it has others."""
    options = typing.get_args(kind)
    if typing.get_origin(kind) is typing.Literal:
        return options
    if kind is type(None):
        return ("none",)
    parts = [_words(option) for option in options]
    return tuple(itertools.chain(*parts)) if all(parts) else ()


def _typed(kind: object, text: str) -> Value:
    origin, options = typing.get_origin(kind), typing.get_args(kind)
    if origin in (types.UnionType, typing.Union):
        if text.lower() == "none" and type(None) in options:
            return None
        last: ValueError | None = None
        for option in (o for o in options if o is not type(None)):
            try:
                return _typed(option, text)
            except ValueError as error:
                last = error
        also = " or none" if type(None) in options else ""
        raise ValueError(f"{last}{also}")
    if origin is typing.Literal:
        if text not in options:
            raise ValueError(f"needs {' or '.join(options)}")
        return text
    if origin is tuple:
        parts = [p for p in text.strip("()[] ").split(",") if p.strip()]
        if len(parts) != len(options):
            raise ValueError(f"needs {len(options)} comma-separated values")
        return tuple(_typed(o, p.strip()) for o, p in zip(options, parts, strict=True))
    if kind is bool:
        if text.lower() not in ("true", "false"):
            raise ValueError("needs true or false")
        return text.lower() == "true"
    if kind is int:
        try:
            return int(text)
        except ValueError:
            raise ValueError("needs a whole number") from None
    if kind is float:
        try:
            value = float(text)
        except ValueError:
            raise ValueError("needs a number") from None
        if not math.isfinite(value):
            raise ValueError("needs a finite number")
        return value
    return text
