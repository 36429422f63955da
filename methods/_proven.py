"""Fast forms of some code that have to prove themselves on the device that they are used on."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from importlib.util import find_spec
from typing import Generic, ParamSpec, TypeVar

import torch

P = ParamSpec("P")
R = TypeVar("R")

_allowed = os.environ.get("DEEP_CLUSTERING_PLAIN", "0") in ("", "0")


class Proven(Generic[P, R]):
    """A fast form, used in place of the plain one once both gave the same.

    The first call of each case computes a small part with both. An exception, or a difference
    beyond what is allowed, is said in one warning, and from then on the plain form computes that
    case. The proof decides nothing but the form: a call's result is the fast one's as soon as its
    case has passed, from the first call on.

    The environment's ``DEEP_CLUSTERING_PLAIN=1`` has the plain forms everywhere.

    Args:
        name: what it computes, for the warning.
        fast, plain: the same signature and, within `differs`, the same result.
        case: the arguments -> what needs a proof of its own (device, shapes compiled for).
        differs: the arguments -> what is wrong with the fast form, None if nothing; it computes
            the small part with both.
        together: the arguments -> what is given up with a case of it; by default each case alone.
    """

    def __init__(
        self,
        name: str,
        *,
        fast: Callable[P, R],
        plain: Callable[P, R],
        case: Callable[P, Hashable],
        differs: Callable[P, str | None],
        together: Callable[P, Hashable] | None = None,
    ) -> None:
        self._name = name
        self._fast, self._plain = fast, plain
        self._case, self._differs = case, differs
        self._together = together or case
        self._passed: set[Hashable] = set()
        self._rejected: set[Hashable] = set()

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        if self.passed(*args, **kwargs):
            try:
                return self._fast(*args, **kwargs)
            except torch.OutOfMemoryError:
                raise  # the plain form takes no less
            except Exception as error:
                self._reject(said(error), *args, **kwargs)
        return self._plain(*args, **kwargs)

    def passed(self, *args: P.args, **kwargs: P.kwargs) -> bool:
        """Whether the fast form computes this; the first call of a case finds out."""
        if not _allowed or self._together(*args, **kwargs) in self._rejected:
            return False
        case = self._case(*args, **kwargs)
        if case not in self._passed:
            try:
                wrong = self._differs(*args, **kwargs)
            except torch.OutOfMemoryError:
                raise
            except Exception as error:
                wrong = said(error)
            if wrong is not None:
                self._reject(wrong, *args, **kwargs)
                return False
            self._passed.add(case)
        return True

    def _reject(self, wrong: str, *args: P.args, **kwargs: P.kwargs) -> None:
        self._rejected.add(self._together(*args, **kwargs))
        warn(self._name, wrong)


def allowed() -> bool:
    """Whether fast forms may be used at all."""
    return _allowed


def warn(name: str, wrong: str) -> None:
    """Says that the fast form of what has this name is not used, and why."""
    warnings.warn(
        f"the fast form of {name} is not used ({wrong}); the plain form computes the same, more "
        "slowly",
        RuntimeWarning,
        stacklevel=5,
    )


def said(error: Exception) -> str:
    """An error in a line, and in a second one where the first only announces it."""
    lines = str(error).strip().splitlines() or [""]
    told = " ".join(lines[: 1 + lines[0].endswith(":")])
    return f"{type(error).__name__}: {told[:200]}"


@contextmanager
def plainly() -> Iterator[None]:
    """Inside, the plain forms compute everything: what the fast ones are measured against."""
    global _allowed
    before, _allowed = _allowed, False
    try:
        yield
    finally:
        _allowed = before


@lru_cache(maxsize=1)
def triton_is_there() -> bool:
    """Whether Triton's programs can be compiled; it comes with PyTorch for CUDA on Linux."""
    return find_spec("triton") is not None
