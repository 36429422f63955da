"""The same command gives the same bits on a CPU, for every method that there is.

Each runs alone in a lane of this process, stopped in the middle of all its parts and continued; and
in a fresh process, in one lane with the others and with runs that failed. Both leave the same.
"""

import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest

from deep_clustering.platform import registry, results
from deep_clustering.platform.run.execute import execute
from deep_clustering.platform.run.failure import Cancelled
from deep_clustering.platform.store.store import Store
from support.small import Watcher, place
from support.small_runs import small_run

pytestmark = pytest.mark.ray

_TIMED = ("seconds", "started", "ended", "peak_memory_mb", "resumed_at", "attempts")


@pytest.fixture(scope="module")
def together(folder: Path, root: Path, tmp_path_factory: pytest.TempPathFactory) -> Store:
    """The store of the fresh process."""
    store = tmp_path_factory.mktemp("together") / "store"
    program = [sys.executable, "-m", "support.small_runs", folder, root, store]
    done = subprocess.run(
        [*map(str, program), *registry.names()], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return Store.open(store)


def left(store: Store, run: str) -> list[pl.DataFrame]:
    """All that a run has left, but for its times."""
    mine = pl.col("run_id") == run
    row = results.runs(store).filter(mine).collect()
    assert row["status"].to_list() == ["ok"]
    dropped = ("_file", "_columns")  # and the fields of a table of all methods are texts in part
    row = row.drop(c for c in row.columns if c in _TIMED or c.endswith(dropped) or "config." in c)
    row = row.select(sorted(c for c in row.columns if row[c].null_count() == 0))
    epochs = results.epochs(store).filter(mine).collect().drop("seconds")
    soft = [results.predictions(store), results.probabilities(store)]
    tables = [epochs, *(table.filter(mine).collect() for table in soft)]
    kept = [t.select(c for c in t.columns if t[c].null_count() < t.height) for t in tables]
    return [row, *kept]


@pytest.mark.fault(14)
@pytest.mark.parametrize("method", registry.names())
def test_a_run_has_the_same_bits_however_it_came_about(
    method: str, together: Store, folder: Path, root: Path, tmp_path: Path
) -> None:
    store = Store.open(tmp_path / "store")
    todo = small_run(method, folder, root)
    stopped = 0
    for job in todo:
        try:
            execute(job, place(store), Watcher(stop_after=job.epochs // 2))
        except Cancelled:
            stopped += 1
            execute(job, place(store), Watcher())
    assert stopped or registry.method(method).fit is not None
    for mine, theirs in zip(left(store, todo[-1].id), left(together, todo[-1].id), strict=True):
        assert mine.equals(theirs)
