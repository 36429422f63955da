"""Ctrl-C, SIGTERM (sent by SLURM and Kubernetes) and SIGHUP (sent by a terminal that is closed):
all end a command alike, at every moment.
"""

import contextlib
import os
import shlex
import signal
import sys
import time
from collections.abc import Callable
from typing import NoReturn

#: Seconds within which a second signal is the first one: it is told to a process and to its group.
_SAME = 1.0


def at_once() -> None:
    """While nothing has been done, such as during the imports: end at the signal."""
    _answer(_leave)


def by_exception() -> None:
    """From now on a signal is a KeyboardInterrupt, so that what is being done is put in order.

    Another one after a while ends the process at once.
    """
    _answer(_raise)


def no_more() -> None:
    """The command is ending: a second signal changes nothing."""
    _answer(signal.SIG_IGN)


def _answer(handler: Callable[..., None] | signal.Handlers) -> None:
    signal.signal(signal.SIGINT, handler)
    signal.signal(signal.SIGTERM, handler)
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # as it is under nohup
        signal.signal(signal.SIGHUP, handler)


def told(arguments: list[str]) -> str:
    """What is said of a command that was interrupted before it computed anything."""
    return f"\ninterrupted\ncontinue with: {shlex.join(['platform', *arguments])}\n"


def _raise(*_: object) -> NoReturn:
    first = time.monotonic()

    def again(*_: object) -> None:
        if time.monotonic() - first > _SAME:
            _leave()

    _answer(again)
    raise KeyboardInterrupt


def _leave(*_: object) -> NoReturn:
    with contextlib.suppress(OSError):  # nobody reads it
        os.write(2, told(sys.argv[1:]).encode())
    os._exit(130)
