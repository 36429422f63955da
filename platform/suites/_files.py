"""Suites of a user, from a .py or a .toml file."""

import dataclasses
import importlib.util
import sys
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from deep_clustering.ablations._suite import Claim, Row, Suite
from deep_clustering.ablations._variants import Times, unknown
from deep_clustering.platform.errors import InputError

T = TypeVar("T", Suite, Row, Claim)


def from_python(path: Path) -> list[Suite]:
    """`SUITES`, or the one `SUITE`, of a file.

    Raises:
        InputError: the file fails, or it has no suites.
    """
    spec = importlib.util.spec_from_file_location(f"_suite_{path.stem.replace('-', '_')}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise InputError(f"{path}: {type(error).__name__}: {error}") from error
    suites = getattr(module, "SUITES", None) or [getattr(module, "SUITE", None)]
    if not all(isinstance(suite, Suite) for suite in suites):
        raise InputError(f"{path}: needs SUITE = Suite(...) or SUITES = (Suite(...), ...).")
    return list(suites)


def from_toml(path: Path) -> Suite:
    """The suite of a TOML file; its keys are the fields of `Suite`, `Row` and `Claim`.

    Raises:
        InputError: it is not TOML, or has a mistake.
    """
    try:
        given = tomllib.loads(path.read_text("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: is not TOML: {error}") from error
    given.setdefault("name", path.stem)
    given.setdefault("title", given["name"])
    rows = tuple(
        built(Row, f"{path}: row", {**row, "changes": _relative(row.get("changes", {}))})
        for row in given.pop("rows", [])
    )
    claims = tuple(built(Claim, f"{path}: claim", claim) for claim in given.pop("claims", []))
    return built(Suite, str(path), {**given, "rows": rows, "claims": claims})


def _relative(changes: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested TOML tables as dotted fields; a table with `times` is a `Times`."""
    flat: dict[str, Any] = {}
    for name, value in changes.items():
        if isinstance(value, dict) and "times" in value:
            flat[prefix + name] = Times(factor=value["times"], of=value.get("of"))
        elif isinstance(value, dict):
            flat |= _relative(value, f"{prefix}{name}.")
        else:
            flat[prefix + name] = value
    return flat


def built(kind: type[T], where: str, given: Mapping[str, Any]) -> T:
    """A record from plain values.

    Args:
        kind: of the record.
        where: what a message about a mistake begins with, such as the path of a file.
        given: its fields; lists become tuples.

    Raises:
        InputError: unknown or missing fields, or values that the record refuses.
    """
    fields = dataclasses.fields(kind)
    wrong = unknown(given, [f.name for f in fields], "key")
    wrong += [
        f"'{f.name}' is missing."
        for f in fields
        if f.default is dataclasses.MISSING
        and f.default_factory is dataclasses.MISSING
        and f.name not in given
    ]
    if wrong:
        raise InputError(f"{where}: " + "\n".join(wrong))
    plain: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in given.items()}
    if isinstance(things := plain.get("evaluations"), Mapping):
        plain["evaluations"] = {name: tuple(values) for name, values in things.items()}
    try:
        return kind(**plain)
    except (ValueError, TypeError) as error:
        raise InputError(f"{where}: {error}") from error
