"""Ends what a command has started once the command itself has ended, even by SIGKILL.

Run as a program with the name of the command's scratch folder, before the command starts anything
else. Standard input closes when the command ends, however it does. What it has started is known by
a variable of the environment, which every process hands on to those that it starts, and by its
current folder: Ray writes the titles of its agents over the first variables, whichever they are.
"""

import os
import shutil
import sys
import time

import psutil

#: Holds the name of the scratch folder in all processes of a command but the command itself.
VARIABLE = "DEEP_CLUSTERING_SCRATCH"

#: Seconds that processes get to end by themselves, and between two looks at those that are left.
_PATIENCE = 1.0
_PAUSE = 0.2
#: Looks without a process, after which there is none: one that was just starting is seen by then.
_LOOKS = 3


def main() -> None:
    """Wait for the end of the input, then end the processes and remove the folder."""
    scratch = sys.argv[1]
    sys.stdin.read()
    time.sleep(_PATIENCE)
    empty = 0
    while empty < _LOOKS:
        empty = 0 if _end(scratch) else empty + 1
        time.sleep(_PAUSE)
    shutil.rmtree(scratch, ignore_errors=True)


def _end(scratch: str) -> bool:
    """Kill what belongs to the command; whether there was anything."""
    found = False
    for process in psutil.process_iter():
        try:
            if (
                _belongs(process, scratch)
                and process.status() != psutil.STATUS_ZOMBIE
                and process.pid != os.getpid()
            ):
                process.kill()
                found = True
        except (psutil.Error, OSError):  # it is gone, or somebody else's
            pass
    return found


def _belongs(process: psutil.Process, scratch: str) -> bool:
    """Whether the command has started the process, itself or through others."""
    if (process.cwd() + os.sep).startswith(scratch + os.sep):
        return True
    return f"{VARIABLE}={scratch}" in _environment(process)


def _environment(process: psutil.Process) -> list[str]:
    """The variables that a process was started with, each with its value."""
    if not sys.platform.startswith("linux"):
        return [f"{name}={value}" for name, value in process.environ().items()]
    # psutil stops at an empty variable, as those are that a title was written over.
    with open(f"/proc/{process.pid}/environ", "rb") as file:
        return os.fsdecode(file.read()).split("\0")


if __name__ == "__main__":
    main()
