"""A disk that is full in the middle of a write: told in a sentence, nothing lost, then continued.

The disk is a small one in memory, where this machine lets us mount it; elsewhere the seam is a
limit on the size of files, `test_store_faults.test_a_full_disk_is_said_in_one_sentence`.
"""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from deep_clustering.platform.errors import StorageError
from deep_clustering.platform.run import manifest
from deep_clustering.platform.run.checkpoints import Checkpoints, History
from deep_clustering.platform.store.store import Store
from support.small_disk import fill
from support.store_child import OPERATIONS
from support.store_rows import commit, whole


def _checkpoint(store: Store, epoch: int = 2) -> None:
    with Checkpoints(store, "job") as checkpoints:
        state = {"w": torch.full((4000,), float(epoch))}
        checkpoints.save(epoch, state, History(started="2026-01-02"))


WRITES: dict[str, Callable[[Store], object]] = {**OPERATIONS, "checkpoint": _checkpoint}
del WRITES["repair"]


@pytest.mark.ray
@pytest.mark.fault(16, 17)
@pytest.mark.parametrize("what", WRITES)
def test_a_full_disk_loses_nothing(disk: Path, what: str) -> None:
    store = Store.open(disk / "store")
    commit(store, "old", 0.25)
    commit(store, "older", 0.5)
    _checkpoint(store, 1)
    said, done = [], False
    for left in range(40):
        ballast = fill(disk, left)
        try:
            WRITES[what](store)
            done = True
        except StorageError as error:
            said.append(str(error))
        ballast.unlink()
        again = Store.open(disk / "store")
        assert [whole(again, id) for id in ("old", "older")] == [0.25, 0.5]
        assert again.verify(manifest.findings(again)) == []
        assert [p for p in disk.rglob(".*.tmp") if p.is_file()] == []
        found = Checkpoints(again, "job").load()
        assert found is not None
        assert found.epoch == (2 if what == "checkpoint" and done else 1)
        if done:
            break
    assert done
    assert said
    for text in said:
        assert text.startswith(f"no space left in {disk / 'store'}: ")
        assert "\n" not in text
    WRITES[what](Store.open(disk / "store"))
