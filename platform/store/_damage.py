"""What is wrong with a file of a store: the kind for programs, the sentence for people."""

import errno
import os
import warnings
from collections.abc import Callable
from typing import Literal, NamedTuple

from deep_clustering.platform.store.schema import Damaged, NewerSchema

#: damaged: not what was written. missing: a row names it. unreadable: the storage refused just now.
#: closed: somebody else keeps it for himself. newer: this release cannot read it.
#: outdated: a copy of what has changed since.
Kind = Literal["damaged", "missing", "unreadable", "closed", "newer", "outdated"]


class Problem(NamedTuple):
    """A file that cannot be used."""

    path: str
    kind: Kind
    reason: str  # a sentence without its subject, which is the path, and without a full stop


class Finding(NamedTuple):
    """A problem and what mends it, which returns what was done."""

    problem: Problem
    mend: Callable[[], str]


class StoreDamage(UserWarning):
    """A file of the store could not be used; its content is left out, nothing else."""

    def __init__(self, problem: Problem, then: str) -> None:
        super().__init__(problem, then)
        self.problem, self.then = problem, then

    def __str__(self) -> str:
        return f"{self.problem.path}: {self.problem.reason}; {self.then}"


def problem(path: str, error: Damaged | NewerSchema | OSError) -> Problem:
    """What an error says about a file."""
    if isinstance(error, NewerSchema):
        return Problem(path, "newer", str(error).rstrip("."))
    if isinstance(error, Damaged):
        return Problem(path, "damaged", f"damaged ({error.reason})")
    if isinstance(error, FileNotFoundError):
        return Problem(path, "missing", "missing")
    text = error.strerror or os.strerror(errno.EIO)
    kind: Kind = "closed" if isinstance(error, PermissionError) else "unreadable"
    return Problem(path, kind, f"cannot be read ({text})")


def warn(problem: Problem, then: str = "it is left out, nothing else") -> None:
    """Say that a file could not be used, and what follows from it."""
    warnings.warn(StoreDamage(problem, then), stacklevel=4)
