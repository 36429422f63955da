"""What the store costs: a commit beside plain Parquet files, and reading a store of many runs.

Wall time, which is what a person waits for: a commit waits for the disk several times, plain
writing for nothing. The rows are those of CDC with 100 epochs and 60,000 predictions each; the many
runs that are read have made-up numbers, and they were written without waiting for the disk.
"""

import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from _bench import Row, Setting

PREDICTIONS = 60_000


def title(setting: Setting) -> str:
    """What was measured."""
    return f"commits, and a store of {_runs(setting):,} runs, wall time"


def _runs(setting: Setting) -> int:
    return 1_000 if setting.quick else 10_000


def rows(setting: Setting) -> list[Row]:
    """Commits, then reading everything with and without segments."""
    from deep_clustering.platform import results
    from deep_clustering.platform.store.store import Store

    with tempfile.TemporaryDirectory(prefix="deep-clustering-benchmark-") as scratch:
        folder = Path(scratch)
        row, epochs, predictions = result(folder / "data")
        found = _commits(folder, row, epochs, predictions, 5 if setting.quick else 15)
        count = _runs(setting)
        store = Store.open(folder / "many")
        with no_waiting(), ThreadPoolExecutor(4) as pool:
            list(pool.map(lambda i: store.commit_run(another(row, i), None, None), range(count)))
            packing = _seconds(store.compact)
        uri = store.uri
        scan = min(_seconds(lambda: _counted(results.runs(uri), count)) for _ in range(3))
        resume = min(_seconds(lambda: Store.open(uri).finished()) for _ in range(3))
    return [
        *found,
        Row(name=f"results.runs(), {count:,} runs", value=scan, unit="s", at_most=1.0),
        Row(name=f"what is done, {count:,} runs", value=resume, unit="s", at_most=1.0),
        Row(name=f"compaction of {count:,} runs", value=packing, unit="s"),
    ]


def _commits(folder: Path, row: Any, epochs: Any, predictions: Any, repeats: int) -> list[Row]:
    """A commit and a plain write of the same three tables, in turns."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    from deep_clustering.platform.store.store import Store

    plain = folder / "plain"
    plain.mkdir()
    store = Store.open(folder / "store")
    single = pa.table({name: [value] for name, value in row.items() if value is not None})

    def write(i: int) -> None:
        for name, table in (("epochs", epochs), ("predictions", predictions), ("runs", single)):
            pq.write_table(table, plain / f"{name}-{i}.parquet")

    commits, writes, small = [], [], []
    for i in range(repeats + 1):
        commits.append(_seconds(store.commit_run, another(row, i), epochs, predictions))
        writes.append(_seconds(write, i))
        small.append(_seconds(store.commit_run, another(row, -1 - i), None, None))
    commit, bare, alone = (statistics.median(t[1:]) for t in (commits, writes, small))
    return [
        Row(
            name="commit of a run",
            value=commit * 1e3,
            unit="ms",
            ratio=commit / bare,
            of="x write_table",
        ),
        Row(name="commit of a row alone", value=alone * 1e3, unit="ms"),
    ]


def result(root: Path) -> tuple[dict[str, Any], Any, Any]:
    """The row, the epochs and the predictions of a run such as CDC leaves."""
    import pyarrow as pa

    from deep_clustering.platform.metrics.evaluate import evaluate
    from deep_clustering.platform.request.options import Asked
    from deep_clustering.platform.request.request import resolve
    from deep_clustering.platform.run import record

    (job,) = resolve(Asked(method="cdc", dataset="digits"), root=root).wanted([0]).runs
    random = np.random.default_rng(0)
    labels = random.integers(10, size=PREDICTIONS)
    p = random.random((PREDICTIONS, 10)) + 9 * np.eye(10)[labels]
    p = (p / p.sum(1, keepdims=True)).astype(np.float32)
    values = evaluate(p, labels)
    heads = ("clustering", "calibration")
    row = {
        **record.described(job),
        **values,
        **{f"{head}_{name}": value for head in heads for name, value in values.items()},
        "status": "ok",
        "cluster_sizes": np.bincount(p.argmax(1)).tolist(),
        "started": "2026-01-01T00:00:00+00:00",
        "ended": "2026-01-01T01:00:00+00:00",
        "seconds": 3600.0,
    }
    names = ("clustering_loss", "calibration_loss", "acc", "nmi", "ari", "ece", "selected")
    epochs = pa.table({"epoch": range(101), **{name: random.random(101) for name in names}})
    columns = {"sample": np.arange(PREDICTIONS), "label": labels.astype(np.int32)}
    for prefix in ("", *(f"{head}_" for head in heads)):
        columns[f"{prefix}cluster"] = p.argmax(1).astype(np.int32)
        columns[f"{prefix}confidence"] = p.max(1)
    return row, epochs, pa.table(columns)


def another(row: dict[str, Any], number: int) -> dict[str, Any]:
    """The same run under another id and seed, with other numbers."""
    run = f"{number % 2**63:016x}"
    return {**row, "run_id": run, "seed": abs(number), "acc": (number % 997) / 997}


def _counted(frame: Any, count: int) -> None:
    found = frame.collect().height
    if found != count:
        raise RuntimeError(f"the store has {count} runs and {found} were read")


def _seconds(work: Callable[..., Any], *given: Any) -> float:
    begun = time.monotonic()
    work(*given)
    return time.monotonic() - begun


@contextmanager
def no_waiting() -> Iterator[None]:
    """Nothing waits for the disk inside: to set up what is not measured in seconds, not minutes."""
    before, os.fsync = os.fsync, lambda fd: None
    try:
        yield
    finally:
        os.fsync = before
