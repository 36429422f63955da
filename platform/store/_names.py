"""The names that a store takes: each is a part of a path and cannot lead out of the store."""

import re
from typing import Any

from deep_clustering.platform.errors import InputError

_ID = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")
_LABEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


def checked_id(id: Any) -> str:
    """An id of a run or a stage, as it stands in names of files.

    Raises:
        InputError: it is not one.
    """
    if not isinstance(id, str) or not _ID.fullmatch(id):
        raise InputError(f"an id has 1 to 64 of a-z, 0-9, '-' and '_', got {id!r}.")
    return id


def checked_label(name: str) -> str:
    """The name of a plan, a kind of plans or a lock, as it stands in paths.

    Raises:
        InputError: it is not one.
    """
    if not _LABEL.fullmatch(name):
        raise InputError(
            f"a name has 1 to 128 letters, digits, '.', '_' and '-' and begins with a letter or "
            f"digit, got {name!r}."
        )
    return name
