"""Methods, search spaces and ablations by name: the module's name is the registered name."""

import importlib
from pathlib import Path
from typing import Any

from deep_clustering.platform.errors import InputError, nearest

_ROOT = Path(__file__).resolve().parent.parent


def folder(name: str) -> Path:
    """Where the files of `methods`, `search_spaces` or `ablations` are."""
    return _ROOT / name


def names(kind: str = "methods") -> list[str]:
    """Registered names in `methods`, `search_spaces` or `ablations`, without importing any."""
    return sorted(p.stem for p in folder(kind).glob("*.py") if not p.stem.startswith("_"))


def method(name: str) -> Any:
    """The `METHOD` record of a method file.

    Raises:
        InputError: no such method; the sentence names the nearest one.
    """
    return _entry("methods", name, "METHOD")


def at_once() -> list[str]:
    """Names of the methods that fit all points at once; the others train networks on images."""
    return [name for name in names() if method(name).fit is not None]


def space(name: str) -> Any:
    """The `SPACE` of a method's search space file."""
    return _entry("search_spaces", name, "SPACE")


def _entry(folder: str, name: str, attribute: str) -> Any:
    known = names(folder)
    if name not in known:
        kind = "method" if folder == "methods" else folder.replace("_", " ").rstrip("s")
        raise InputError(
            f"there is no {kind} '{name}'.{nearest(name, known)} Known: {', '.join(known)}."
        )
    return getattr(importlib.import_module(f"deep_clustering.{folder}.{name}"), attribute)
