"""What a finished run says of each image: its cluster, how sure that is, and the second choice."""

import numpy as np
import polars as pl

from deep_clustering.platform.errors import InputError
from deep_clustering.platform.evaluation.finished import Row
from deep_clustering.platform.store.store import Store

#: An image is doubtful when its cluster is less likely right than wrong.
DOUBTFUL = 0.5


def predictions(store: Store, row: Row) -> pl.DataFrame | None:
    """The table of predictions of a run; None where it has none, or a damaged one (a warning)."""
    file = row["predictions_file"]
    frames = list(store.tables("predictions", [str(file)])) if file else []
    return pl.concat(frames) if frames else None


def assignments(store: Store, row: Row) -> pl.DataFrame:
    """A row for each scored image of a run.

    Args:
        store: that has the run.
        row: of the run.

    Returns:
        `path` (`sample` where the images have no paths), `cluster`, `confidence`, `second` (the
        next likely cluster), `second_confidence`, `doubtful`; null what a method does not give.

    Raises:
        InputError: the run has no table of predictions.
    """
    frame = predictions(store, row)
    if frame is None:
        raise InputError(f"run {row['run_id']} has no table of predictions.")
    named = "path" in frame.columns and frame["path"].null_count() == 0
    taken = frame.select("path" if named else "sample", "cluster", "confidence")
    p = final_probabilities(store, row, frame["cluster"].to_numpy())
    return judged(taken, p)


def judged(taken: pl.DataFrame, p: np.ndarray | None) -> pl.DataFrame:
    """Clusters with the second choice of each image, and whether it is doubtful.

    Args:
        taken: with `confidence`.
        p: probabilities (n, K) of the same images; None where there are none.

    Returns:
        The same with `second`, `second_confidence` and `doubtful`.
    """
    if p is None or p.shape[1] < 2:
        second = pl.Series("second", [None] * len(taken), pl.Int32)
        likely = pl.Series("second_confidence", [None] * len(taken), pl.Float32)
    else:
        order = np.argsort(-p, axis=1, kind="stable")[:, 1]
        second = pl.Series("second", order.astype(np.int32))
        likely = pl.Series("second_confidence", p[np.arange(len(p)), order].astype(np.float32))
    return taken.with_columns(second, likely, doubtful=pl.col("confidence") < DOUBTFUL)


def final_probabilities(store: Store, row: Row, clusters: np.ndarray) -> np.ndarray | None:
    """Probabilities (n, K) of the head whose clusters are the run's; None where it has none."""
    if row["probabilities_file"] is None:
        return None
    heads = store.probabilities(str(row["run_id"]))
    return next((p for p in heads.values() if np.array_equal(p.argmax(1), clusters)), None)
