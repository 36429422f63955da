"""What can go wrong for a user, and the exit code that says so."""

import difflib
from collections.abc import Iterable


class PlatformError(Exception):
    """A failure that is told in one sentence; `exit_code` is what the command returns."""

    exit_code = 1


class InputError(PlatformError):
    """The request itself is wrong; nothing was started."""

    exit_code = 2


class StorageError(PlatformError):
    """The store is damaged, full or cannot be written."""

    exit_code = 4


class EnvironmentProblem(PlatformError):
    """Ray, the GPU or memory is not what the request needs."""

    exit_code = 5


def nearest(name: str, known: Iterable[str]) -> str:
    """A sentence that names the closest known name, or nothing when none is close."""
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f" Did you mean '{close[0]}'?" if close else ""
