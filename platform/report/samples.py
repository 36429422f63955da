"""Single images of runs: their clusters, and which of them are right."""

from collections.abc import Iterable

import polars as pl

from deep_clustering.platform import results
from deep_clustering.platform.evaluation import bins
from deep_clustering.platform.results import Place


def read(runs: Iterable[str], store: Place = None, *, head: str | None = None) -> pl.DataFrame:
    """Predictions of runs, each judged by its own matching of clusters with labels.

    Args:
        runs: run ids in full.
        store: a store or its address; the default one without.
        head: whose cluster and confidence; None for the final one.

    Returns:
        `run_id`, `sample`, `cluster`, `confidence`, `label`, `right`; the last is null where there
        are no labels.

    Raises:
        InputError: no such store.
    """
    wanted = list(runs)
    predictions = results.predictions(store).filter(pl.col("run_id").is_in(wanted)).collect()
    return bins.judged(predictions, head)
