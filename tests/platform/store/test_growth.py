"""What a command does with a store grows with its own work, and not with what is there already.

Counted in files that are read: `tests/benchmarks/growth.py` measures 10,000 and 100,000 runs.
"""

from collections import Counter
from pathlib import Path

import pytest

from deep_clustering.platform import results
from deep_clustering.platform.store._local import LocalFiles
from deep_clustering.platform.store.store import Store
from support.store_rows import run


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often files of each folder were read."""
    counted: Counter[str] = Counter()
    plain = LocalFiles.read

    def read(self: LocalFiles, path: str) -> bytes:
        counted[path.partition("/")[0]] += 1
        return plain(self, path)

    monkeypatch.setattr(LocalFiles, "read", read)
    return counted


def filled(folder: Path, count: int) -> str:
    store = Store.open(folder)
    for number in range(count):
        store.commit_run(run(f"r{number}", acc=number / count), None, None)
    store.compact()
    store.seal()
    return store.uri


@pytest.mark.fault(32)
def test_a_command_reads_as_many_files_of_a_large_store_as_of_a_small_one(
    tmp_path: Path, reads: Counter[str]
) -> None:
    def command(uri: str) -> tuple[Counter[str], int]:
        """What every command does: opens, cleans up, looks for what is done; then the table."""
        reads.clear()
        store = Store.open(uri)
        store.sweep()
        store.seal()
        assert store.done(["r1", "r3", "not-there"]) == {"r1", "r3"}
        assert store.failures(["not-there"]) == {}
        known = len(store.finished())
        assert results.runs(store).collect().height == known
        store.tidy()
        return reads.copy(), known

    small, few = command(filled(tmp_path / "small", 10))
    large, many = command(filled(tmp_path / "large", 150))
    assert (few, many) == (10, 150)
    assert large == small
    assert large["runs"] == 2  # the two that were asked for
