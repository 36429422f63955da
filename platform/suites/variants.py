"""The variants of the methods, as `ablations/` declares them."""

import importlib
from types import ModuleType

from deep_clustering.ablations._variants import Variant
from deep_clustering.platform import registry


def variants(method: str) -> dict[str, Variant]:
    """The variants of a method; none when it has no ablation file.

    Raises:
        InputError: no such method.
    """
    registry.method(method)
    if method not in registry.names("ablations"):
        return {}
    there: dict[str, Variant] = getattr(module(method), "VARIANTS", {})
    return there


def module(name: str) -> ModuleType:
    """The file of `ablations/` of this name."""
    return importlib.import_module(f"deep_clustering.ablations.{name}")
