"""Why a job has no result: a kind that programs read, and a sentence that people read."""

from dataclasses import dataclass
from enum import StrEnum

from deep_clustering.platform.errors import InputError

#: What PyTorch says, in a plain RuntimeError, when the machine has no memory left.
_CPU_ALLOCATOR = "DefaultCPUAllocator"


class Kind(StrEnum):
    """What went wrong; the values of column `failure_kind` of `runs`."""

    DIVERGED = "diverged"  # a loss is not finite
    OUT_OF_MEMORY = "out_of_memory"  # of the GPU, or of the machine
    TIMEOUT = "timeout"  # it took longer than --run-limit
    LOST_WORKER = "lost_worker"  # the process died as often as it may
    BAD_DATA = "bad_data"  # the samples changed, or the method cannot take them
    STORAGE = "storage"  # something that it needs is missing or damaged in the store
    NEED = "need"  # what it stands on failed
    STOPPED = "stopped"  # by a scheduler
    ERROR = "error"  # anything else


@dataclass(frozen=True, kw_only=True)
class Failure:
    """Why a job has no result."""

    kind: Kind
    reason: str  # one line


class Cancelled(Exception):
    """Whoever asked for the job does not want it any more (a scheduler, a Ctrl-C)."""


class Diverged(Exception):
    """A loss stopped being finite."""


class Damaged(Exception):
    """What the job reads from the store is damaged; writing to it may still be possible."""


def another_died(error: Exception) -> bool:
    """Whether an error of a worker says that another one of its group is gone.

    NCCL's errors have a class of their own; gloo's are known by the file that raises them.
    """
    return type(error).__name__ == "DistBackendError" or "gloo/transport" in str(error)


def of(error: Exception, batch_size: object = None) -> Failure:
    """The failure that an exception of a job stands for.

    Args:
        batch_size: of the job's configuration, for the advice of a GPU without memory.
    """
    if isinstance(error, Diverged):
        return Failure(kind=Kind.DIVERGED, reason=str(error))
    if isinstance(error, Damaged):
        return Failure(kind=Kind.STORAGE, reason=str(error))
    if type(error).__name__ == "OutOfMemoryError":
        return Failure(
            kind=Kind.OUT_OF_MEMORY,
            reason=f"out of GPU memory at batch_size {batch_size}; set a smaller one",
        )
    line = (str(error).strip() or "no message").splitlines()[0]
    if isinstance(error, MemoryError) or _CPU_ALLOCATOR in line:
        return Failure(
            kind=Kind.OUT_OF_MEMORY,
            reason=f"out of memory ({line}); close other programs, or train fewer runs at once",
        )
    kind = Kind.ERROR
    if isinstance(error, (InputError, ValueError)):
        kind = Kind.BAD_DATA
    return Failure(kind=kind, reason=f"{type(error).__name__}: {line}")
