"""The process above the one that carries a command out: it says how that one ended.

Where a server of Ray dies while a command registers with it, Ray ends the command's process at
once by `_exit(1)`, past every handler. Only another process can tell what that was.
"""

import atexit
import contextlib
import ctypes
import os
import signal
import sys
from collections.abc import Callable
from typing import NoReturn

from deep_clustering.platform.errors import RAY_DIED, EnvironmentProblem

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
#: Of Linux: the signal that a process gets when the one that has started it ends.
_PR_SET_PDEATHSIG = 1


def below(complain: Callable[[str], None]) -> None:
    """Go on in a new process, while this one waits for it and then ends as it has ended.

    Signals are handed on, and the new process is killed together with this one. There is no new
    process but on Linux.

    Args:
        complain: how a last sentence is said.
    """
    if not sys.platform.startswith("linux"):
        return
    above = os.getpid()
    heard, tell = os.pipe()
    signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    process = os.fork()
    if process:
        os.close(tell)
        _end_as(process, heard, complain)
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != above:
        os._exit(1)  # nobody waits any more
    os.close(heard)
    atexit.register(os.write, tell, b"own")  # Python itself ends the process, whatever the code
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)


def _end_as(process: int, heard: int, complain: Callable[[str], None]) -> NoReturn:
    """Wait for a process and end with its exit code, or by the signal that has ended it."""

    def hand_on(number: int, _: object) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, number)

    for number in _SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, hand_on)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
    code = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
    if code < 0:
        with contextlib.suppress(OSError):  # SIGKILL has no handler
            signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    if code == 1 and not _said(heard):
        complain(f"error: {RAY_DIED}")
        code = EnvironmentProblem.exit_code
    os._exit(code)


def _said(pipe: int) -> bytes:
    """What was written into a pipe, which others may still hold open."""
    os.set_blocking(pipe, False)
    try:
        return os.read(pipe, 1)
    except BlockingIOError:
        return b""
