"""numba's compiler as the kernels of this package use it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba


def compiled(
    *, fastmath: set[str] | bool = False, inline: str = "never"
) -> Callable[[Callable[..., Any]], Any]:
    """Compiles a function on first use, without the interpreter's lock.

    The result is kept on disk where a folder for it can be written.
    """
    # With the other error model a possible division by zero keeps loops from being vectorised.
    options: dict[str, Any] = {"nogil": True, "error_model": "numpy"}
    options |= {"fastmath": fastmath, "inline": inline}

    def compile_(function: Callable[..., Any]) -> Any:
        try:
            return numba.njit(cache=True, **options)(function)
        except RuntimeError:  # neither the package's folder nor the user's cache can be written
            return numba.njit(**options)(function)

    return compile_
