"""Paths as a user gives them, made absolute."""

import os
import tempfile
from pathlib import Path

from deep_clustering.platform.errors import InputError

#: Whether the process was started without a home folder: a user id without a name, and no HOME.
HOMELESS = os.path.expanduser("~") == "~"


def absolute(path: str | os.PathLike[str]) -> Path:
    """The path in full, with `~` and relative parts resolved; links are kept.

    Raises:
        InputError: the home folder is not known, or the current folder has been deleted.
    """
    try:
        return Path(os.path.abspath(Path(path).expanduser()))
    except RuntimeError as error:
        raise InputError(
            f"{os.fspath(path)!r}: that home folder is not known (HOME is not set, or there is no "
            "such user); give the path in full."
        ) from error
    except FileNotFoundError as error:
        raise InputError(
            f"{os.fspath(path)!r}: the current folder has been deleted; change to one that is "
            "there, or give the path in full."
        ) from error


def settle_home() -> None:
    """Give a process without a home folder one for what it starts; Ray needs one."""
    if HOMELESS:
        os.environ["HOME"] = tempfile.gettempdir()
