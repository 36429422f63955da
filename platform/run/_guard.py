"""Ends what a command has started once the command itself has ended, even by SIGKILL.

Run as a program with the name of a scratch folder. Lines of process ids and the times of their
start arrive on standard input, which closes when the command ends, however it does.
"""

import shutil
import sys
import time

import psutil

#: Seconds that processes get to end by themselves.
_PATIENCE = 1.0


def main() -> None:
    """Wait for the end of the input, then end the processes and remove the folder."""
    scratch = sys.argv[1]
    known = dict(line.split() for line in sys.stdin)
    time.sleep(_PATIENCE)
    for process in psutil.process_iter():
        try:
            mine = known.get(str(process.pid)) == repr(process.create_time())
            mine = mine or any(scratch in word for word in process.cmdline()[1:])
            if mine and process.pid != psutil.Process().pid:
                process.kill()
        except psutil.Error:
            pass
    shutil.rmtree(scratch, ignore_errors=True)


if __name__ == "__main__":
    main()
