"""Run by `python -m support.store_child`: an operation on a store, killed at its n-th call.

    crash OPERATION TEMPLATE FOLDER   a killed process for n = 0, 1, ...; JSON lines
    race ADDRESS NUMBER               commit the runs named on the input
    commit ADDRESS                    commit run-0, run-1, ... until killed
    full ADDRESS BYTES                commit where files cannot grow further

The processes of `crash` are forked before anything has started a thread.
"""

import json
import os
import resource
import shutil
import sys
from pathlib import Path
from typing import Any

from deep_clustering.platform import _disk
from deep_clustering.platform.errors import PlatformError
from deep_clustering.platform.store import _local
from deep_clustering.platform.store.store import Plan, Store
from support.store_rows import commit, epochs, run, stage

#: Calls of the file layer that change the disk.
CHANGING = ("open", "write", "fsync", "link", "unlink", "replace", "rename", "mkdir", "rmdir")


class Killer:
    """Stands in for `os`: ends the process before its n-th changing call.

    That is also after the call before: nothing happens to the disk in between.
    """

    def __init__(self, at: int) -> None:
        self.left = at

    def __getattr__(self, name: str) -> Any:
        real = getattr(os, name)
        if name not in CHANGING:
            return real

        def call(*arguments: Any, **named: Any) -> Any:
            self.left -= 1
            if self.left < 0:
                os._exit(9)
            return real(*arguments, **named)

        return call


def _compact(store: Store) -> None:
    store.compact()


def _repair(store: Store) -> None:
    store.repair()


OPERATIONS = {
    "commit": lambda store: commit(store, "new", 0.75),
    "failure": lambda store: store.record_failure(
        run("lost", status="failed", reason="out of memory"), epochs()
    ),
    "stage": lambda store: stage(store, "shared"),
    "plan": lambda store: store.write_plan("study", "s", Plan.of(["old", "new"])),
    "compact": _compact,
    "repair": _repair,
}


def crash(operation: str, template: str, folder: str) -> None:
    number, status = 0, 9
    while status == 9:
        place = Path(folder) / str(number)
        shutil.copytree(template, place)
        child = os.fork()
        if child == 0:
            store = Store.open(place)
            _disk.os = _local.os = Killer(number)  # type: ignore[attr-defined]
            OPERATIONS[operation](store)
            os._exit(0)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        print(json.dumps({"place": str(place), "acknowledged": status == 0, "status": status}))
        number += 1


def race(address: str, number: str) -> None:
    store = Store.open(address)
    for line in sys.stdin:
        print(commit(store, line.strip(), (int(number) + 1) / 10), flush=True)


def commit_all(address: str) -> None:
    store = Store.open(address)
    print("ready", flush=True)
    for i in range(100_000):
        commit(store, f"run-{i}", i / 1000)
        print(f"run-{i}", flush=True)


def full(address: str, size: str) -> None:
    store = Store.open(address)
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(size), int(size)))
    try:
        store.commit_run(run("new"), epochs(), None)
    except PlatformError as error:
        print(error)
        sys.exit(error.exit_code)


if __name__ == "__main__":
    task = {"crash": crash, "race": race, "commit": commit_all, "full": full}
    task[sys.argv[1]](*sys.argv[2:])
