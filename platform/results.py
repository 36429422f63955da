"""Results as polars tables: `runs`, `epochs`, `predictions`, `probabilities`, `stages`, `study`,
`suite`, and what a suite comes to: `cells` and `verdicts`.

    from deep_clustering.platform import results
    results.runs().filter(pl.col("dataset") == "cifar20").sort("ece").collect()

`deep_clustering.platform.store.schema` lists the columns. A damaged file harms only its own run:
it is left out with a `StoreDamage` warning. What is read is a snapshot of the moment; all of this
works while a search is writing.
"""

import os
from collections.abc import Iterator, Sequence
from typing import Any

import polars as pl
from polars.io.plugins import register_io_source

from deep_clustering.platform.errors import InputError, nearest
from deep_clustering.platform.request.options import default_store
from deep_clustering.platform.store import schema
from deep_clustering.platform.store.store import Store, StoreDamage

__all__ = [
    "StoreDamage",
    "cells",
    "default_store",
    "epochs",
    "predictions",
    "probabilities",
    "runs",
    "stages",
    "study",
    "suite",
    "verdicts",
]

Place = Store | str | os.PathLike[str] | None


def runs(store: Place = None) -> pl.LazyFrame:
    """One row per run: its result, or else what its last failed or stopped attempt left.

    Raises:
        InputError: there is no such store.
    """
    return _rows(_opened(store)).lazy()


def stages(store: Place = None) -> pl.LazyFrame:
    """One row per piece of shared work, such as a pretraining."""
    return _opened(store).rows("stages").lazy()


def epochs(store: Place = None) -> pl.LazyFrame:
    """One row per run and epoch: losses, counters and metrics.

    A filter on `run_id` reads the files of those runs only.
    """
    return _tables(_opened(store), "epochs")


def predictions(store: Place = None) -> pl.LazyFrame:
    """One row per finished run and image: cluster and confidence of each head.

    Images of a folder have the paths that they had when a command last opened the folder.
    A filter on `run_id` reads the files of those runs only.
    """
    return _tables(_opened(store), "predictions")


def probabilities(store: Place = None) -> pl.LazyFrame:
    """One row per finished run and image: each head's probability of every cluster.

    The column of a head is an array of float32, exactly as the model gave it; a list where runs
    differ in their number of clusters. A filter on `run_id` reads the files of those runs only.
    Runs that an older release computed have no rows.
    """
    return _tables(_opened(store), "probabilities")


def suite(name: str, store: Place = None) -> pl.LazyFrame:
    """The runs of an ablation suite, with the labels of its plan (such as `variant`) as columns.

    A run that stands for several rows of the suite comes once for each; where a row is about one
    head (column `head`), the metrics are that head's.

    Raises:
        InputError: no such suite in the store.
    """
    return _planned(_opened(store), "suite", name)


def cells(name: str, store: Place = None) -> pl.LazyFrame:
    """One row per row of a suite's table, data set and metric: ours beside the published value.

    `deep_clustering.platform.suites.cells.Cell` lists the columns.

    Raises:
        InputError: no such suite in the store.
    """
    from deep_clustering.platform.suites import cells as tables
    from deep_clustering.platform.suites.measured import measured

    return tables.cells(measured(_opened(store), name)).lazy()


def verdicts(name: str, store: Place = None) -> pl.LazyFrame:
    """One row per claim of a suite and data set: the difference, and whether the claim holds.

    `deep_clustering.platform.suites.claims.JudgedClaim` lists the columns.

    Raises:
        InputError: no such suite in the store.
    """
    from deep_clustering.platform.suites.claims import judged
    from deep_clustering.platform.suites.measured import measured

    return judged(measured(_opened(store), name)).lazy()


def study(name: str, store: Place = None) -> pl.LazyFrame:
    """The runs of a search.

    Raises:
        InputError: no such study in the store.
    """
    return _planned(_opened(store), "study", name)


def _opened(store: Place) -> Store:
    if isinstance(store, Store):
        return store
    return Store.open(default_store() if store is None else store, create=False)


def _rows(store: Store) -> pl.DataFrame:
    described = [name for name in schema.RUNS if name.endswith("_columns")]
    return store.rows("runs").drop(described).sort("ended", "run_id")


def _planned(store: Store, kind: str, name: str) -> pl.LazyFrame:
    known = store.plans(kind)
    if name not in known:
        listed = f" Known: {', '.join(known)}." if known else " It has none."
        raise InputError(
            f"there is no {kind} '{name}' in {store.uri}.{nearest(name, known)}{listed}"
        )
    asked = store.read_plan(kind, name)
    labels = [{"run_id": run.run_id, **run.labels} for run in asked.runs]
    if "definitions" in asked.details:  # a suite: only what belongs to its newest definition
        from deep_clustering.platform.suites import plans

        labels = [
            {"run_id": run.run_id, "variant": run.variant, "head": run.head}
            for run in plans.current(asked).runs
        ]
    columns = dict.fromkeys(["run_id", *(k for e in labels for k in e)])
    plan = pl.DataFrame(
        {c: pl.Series(c, [e.get(c) for e in labels], strict=False) for c in columns},
        schema_overrides={"run_id": pl.String},
    )
    rows = _rows(store)
    own = [c for c in columns if c != "run_id"]
    joined = plan.join(
        rows.drop(own, strict=False), on="run_id", how="inner", maintain_order="left"
    )
    chosen = joined.select("run_id", *own, pl.exclude("run_id", *own))
    return (_of_heads(chosen) if "head" in own else chosen).lazy()


def _of_heads(rows: pl.DataFrame) -> pl.DataFrame:
    """Rows about one head show that head's metrics in the columns without a prefix."""
    for head in rows["head"].unique().drop_nulls().to_list():
        mine = [m for m in schema.METRICS if f"{head}_{m}" in rows.columns]
        rows = rows.with_columns(
            pl.when(pl.col("head") == head)
            .then(pl.col(f"{head}_{metric}"))
            .otherwise(pl.col(metric))
            .alias(metric)
            for metric in mine
        )
    return rows


# ---- tables of many files


def _tables(store: Store, kind: str) -> pl.LazyFrame:
    """A table over the files that rows name; a file is opened when its rows are asked for."""
    rows = store.rows("runs").select("run_id", f"{kind}_file", f"{kind}_columns").drop_nulls()
    texts = rows[f"{kind}_columns"].unique(maintain_order=True)
    target = schema.common([schema.restored(text) for text in texts], kind)

    def read(
        columns: list[str] | None, predicate: pl.Expr | None, limit: int | None, batch: int | None
    ) -> Iterator[pl.DataFrame]:
        chosen = rows.select("run_id", f"{kind}_file")
        for part in _conjuncts(predicate):
            if set(part.meta.root_names()) == {"run_id"}:
                chosen = chosen.filter(part)
        left = limit
        for piece in store.tables(kind, chosen[f"{kind}_file"].to_list()):
            frame = schema.conform(piece, target)
            if predicate is not None:
                frame = frame.filter(predicate)
            if columns is not None:
                frame = frame.select(columns)
            if left is not None:
                frame = frame.head(left)
                left -= frame.height
            yield frame
            if left == 0:
                return

    return register_io_source(read, schema=target, is_pure=True)


def _conjuncts(predicate: pl.Expr | None) -> Sequence[Any]:
    """The conditions that a row has to meet all of."""
    if predicate is None:
        return []
    parts = predicate.meta.pop()
    if len(parts) == 2:
        left, right = parts
        if predicate.meta.eq(left & right) or predicate.meta.eq(right & left):
            return [*_conjuncts(left), *_conjuncts(right)]
    return [predicate]
