"""Methods, search spaces, ablations and evaluations by name: a module's name is the registered one.

What is registered are the files of a folder whose names do not begin with an underscore. Each ends
with the one name that is read from it. A folder of the same import path elsewhere on Python's path
(`somewhere/deep_clustering/methods`, `somewhere` on PYTHONPATH) adds its files.
"""

import functools
import importlib
import pkgutil
import sys
import typing
from pathlib import Path
from typing import TYPE_CHECKING

from deep_clustering.platform.errors import InputError, nearest

if TYPE_CHECKING:
    from deep_clustering.methods._method import Method
    from deep_clustering.search_spaces._space import Space

#: Registry -> its package, and what one of its entries is called.
_PACKAGES = {
    "methods": ("deep_clustering.methods", "method"),
    "search_spaces": ("deep_clustering.search_spaces", "search space"),
    "ablations": ("deep_clustering.ablations", "ablation"),
    "evaluations": ("deep_clustering.platform.evaluations", "evaluation"),
}


def folders(kind: str) -> list[Path]:
    """Where the files of a registry are."""
    package = importlib.import_module(_PACKAGES[kind][0])
    return [path for entry in package.__path__ if (path := Path(entry)).is_dir()]


def names(kind: str = "methods") -> list[str]:
    """Names in a registry, without importing any of them."""
    places = {str(folder): folder.stat().st_mtime_ns for folder in folders(kind)}
    return sorted({name for place in places.items() for name in _modules(*place)})


@functools.cache
def _modules(folder: str, changed: int) -> frozenset[str]:
    """Names of the files in a folder, looked for again when it has changed.

    Args:
        changed: time of its last change.
    """
    modules = pkgutil.iter_modules([folder])
    return frozenset(m.name for m in modules if not m.ispkg and not m.name.startswith("_"))


def method(name: str) -> "Method":
    """The `METHOD` record of a method file.

    Raises:
        InputError: no such method; the sentence names the nearest one.
    """
    record = entry("methods", name, "METHOD")
    return typing.cast("Method", record)


def at_once() -> list[str]:
    """Names of the methods that fit all points at once; the others train networks on images."""
    return [name for name in names() if method(name).fit is not None]


def space(name: str) -> "Space":
    """The `SPACE` of a method's search space file.

    Raises:
        InputError: the method has none.
    """
    record = entry("search_spaces", name, "SPACE")
    return typing.cast("Space", record)


def entry(kind: str, name: str, attribute: str) -> object:
    """What a registered file ends with.

    Args:
        kind: of the registry.
        name: of the file.
        attribute: that is read from it.

    Raises:
        InputError: no such entry; the sentence names the nearest one.
    """
    package, word = _PACKAGES[kind]
    path = f"{package}.{name}"
    if path not in sys.modules or name.startswith("_"):  # else it was found before
        known = names(kind)
        if name not in known:
            raise InputError(
                f"there is no {word} '{name}'.{nearest(name, known)} Known: {', '.join(known)}."
            )
    value: object = getattr(importlib.import_module(path), attribute)
    return value
