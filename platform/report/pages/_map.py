"""A map of the features of a run's pictures, coloured by what is known of them."""

import numpy as np
import polars as pl
from numpy.typing import NDArray

from deep_clustering.methods.clustering.components import components
from deep_clustering.platform.metrics import embedding
from deep_clustering.platform.metrics.arrays import Array
from deep_clustering.platform.report.charts import scatter
from deep_clustering.platform.report.markup.parts import Figures
from deep_clustering.platform.report.pages._draft import Draft, RunRow
from deep_clustering.platform.report.pages._words import percent

#: Points of a map.
_POINTS = 1500
#: Pictures that UMAP sees at most; it takes a minute for ten thousand.
_MAPPED = 10_000


def shown(
    draft: Draft,
    row: RunRow,
    taken: pl.DataFrame,
    x: Array,
    labels: pl.Series | None,
) -> Figures:
    """The features in a plane, coloured by cluster, by confidence, and by label where there is one.

    Args:
        taken: cluster and confidence of each picture.
        x: features (n, D), rows of length 1.
        labels: of the pictures, None without.
    """
    random = np.random.default_rng(0)
    if embedding.is_here() and len(x) > 3:
        seen = np.sort(random.permutation(len(x))[:_MAPPED])
        plane = embedding.umap(x[seen], dimensions=2, neighbours=15)
        how = "UMAP keeps neighbours together, and distances mean little."
    else:
        seen = np.arange(len(x))
        plane, share = _plane(x)
        how = f"The two directions hold {percent(share)} of the spread."
    at = np.sort(random.permutation(len(seen))[:_POINTS])
    plane, seen = plane[at], seen[at]
    text = f"{len(seen):,} of {len(x):,} pictures. {how}"
    query = draft.query(
        f"results.predictions(store).filter(pl.col('run_id') == {row['run_id']!r}).collect()"
    )
    groups = {"cluster": taken["cluster"]}
    if labels is not None and labels.null_count() == 0:
        groups["label"] = labels
    figures = []
    for name, values in groups.items():
        numbers = values.to_numpy().astype(np.int64)[seen]
        alt = f"Features of {text} Coloured by {name}."
        chart = scatter.by_group(f"map-{name}s", alt, plane, numbers)
        figures.append(draft.figure(chart, f"Features by {name}.", text, query))
    if taken["confidence"].null_count() == 0:
        confidence = taken["confidence"].to_numpy().astype(np.float64)[seen]
        alt = f"Features of {text} Coloured by confidence."
        chart = scatter.by_share("map-confidence", alt, plane, confidence)
        figures.append(draft.figure(chart, "Features by confidence.", text, query))
    return Figures(figures)


def _plane(x: Array) -> tuple[NDArray[np.float64], float]:
    """The two principal components (n, 2), and the share of the spread that they hold."""
    plane = components(x, 2)(x).astype(np.float64)
    spread = float(x.var(0, dtype=np.float64).sum())
    return plane, float(plane.var(0).sum()) / spread if spread else 0.0
