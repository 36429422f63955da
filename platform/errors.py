"""What can go wrong for a user, and the exit code that says so."""

import errno
import os

from deep_clustering.methods._nearest import nearest as nearest
from deep_clustering.methods._nearest import not_one_of as not_one_of


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


class Interrupted(PlatformError):
    """Somebody stopped the command by Ctrl-C or SIGTERM; the text says what is done."""

    exit_code = 130


#: What is said where a server of Ray, or the planner, is gone.
RAY_DIED = "Ray died (one of its servers ended); give the same command again to continue."

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


def storage_error(error: Exception, where: str, what: str) -> StorageError:
    """The sentence for a write that failed.

    Args:
        error: what the system said.
        where: the folder or address that was written to.
        what: what was being written, such as "run 3f2a".
    """
    number = getattr(error, "errno", None)
    text = (os.strerror(number) if number else str(error) or type(error).__name__).splitlines()[0]
    if number in _FULL:
        return StorageError(
            f"no space left in {where}: {what} was not saved; "
            f"free some and give the same command again ({text})."
        )
    return StorageError(
        f"cannot write in {where} ({text}): {what} was not saved; "
        "mend the storage and give the same command again."
    )
