"""Every later release reads what an earlier one wrote: a small store of each is kept here.

Its files are made by `support.golden` when a release is, and never changed.
"""

import json
import tarfile
from pathlib import Path
from typing import Any

import pytest

from deep_clustering.platform.store import schema
from deep_clustering.platform.store.store import Store
from support.golden import seen
from support.store_rows import commit, whole

FOLDER = Path(__file__).with_name("golden")
RELEASES = sorted(path.name.removesuffix(".tar.gz") for path in FOLDER.glob("*.tar.gz"))


def _within(old: Any, new: Any) -> bool:
    """Whether all that an old release has read is there; later columns may stand beside it."""
    if isinstance(old, dict) and isinstance(new, dict):
        return all(name in new and _within(value, new[name]) for name, value in old.items())
    if isinstance(old, list) and isinstance(new, list):
        return len(old) == len(new) and all(map(_within, old, new))
    return bool(old == new)


def test_this_release_has_one() -> None:
    assert schema.release() in RELEASES


@pytest.mark.fault(29)
@pytest.mark.parametrize("release", RELEASES)
def test_a_store_of_a_release_is_read_whole(tmp_path: Path, release: str) -> None:
    with tarfile.open(FOLDER / f"{release}.tar.gz") as archive:
        archive.extractall(tmp_path, filter="data")
    store = Store.open(tmp_path, create=False)
    assert store.verify() == []
    known = json.loads((FOLDER / f"{release}.json").read_text())
    assert len(known["runs"]) == 6
    now = seen(store)
    for name, value in known.items():
        assert _within(value, now[name]), name
    assert store.finished() == {"r0", "r1", "r2", "late"}
    assert store.stages() == {"enc", "far"}


@pytest.mark.parametrize("release", RELEASES)
def test_a_store_of_a_release_is_continued(tmp_path: Path, release: str) -> None:
    with tarfile.open(FOLDER / f"{release}.tar.gz") as archive:
        archive.extractall(tmp_path, filter="data")
    store = Store.open(tmp_path)
    assert not commit(store, "r0", 0.75)
    assert commit(store, "r3", 0.5)
    store.sweep()
    store.compact()
    store.tidy()
    assert whole(store, "r0") == 0.0
    assert whole(store, "r3") == 0.5
    assert store.verify() == []
