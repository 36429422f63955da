"""The pages' sheets of pictures: clusters, pairs that may be one, near duplicates, and a map."""

import numpy as np
import polars as pl
from numpy.typing import NDArray

from deep_clustering.platform.evaluation import finished, measures
from deep_clustering.platform.evaluation.assignments import assignments, final_probabilities
from deep_clustering.platform.report.charts import scatter
from deep_clustering.platform.report.markup.parts import (
    Figures,
    Heading,
    Paragraph,
    Part,
    Section,
    Sheet,
)
from deep_clustering.platform.report.pages._album import Album
from deep_clustering.platform.report.pages._draft import Draft, RunRow

#: Pictures of a sheet, and of all sheets of clusters together; 1,200 take about 3 MB.
_EACH, _ALL = 6, 1200
#: Two clusters may be one where each gives the other at least this probability on average.
_ONE = 0.1
#: Cosine of the features from which two pictures are near duplicates.
_ALIKE = 0.97
_PAIRS = 6
#: Points of a map.
_POINTS = 1500


def sheets(draft: Draft, album: Album, row: RunRow, predictions: pl.DataFrame) -> list[Section]:
    """Sections with the pictures of a run.

    Args:
        album: its pictures.
        row: of the run; `predictions` is its table.
    """
    taken = assignments(draft.store, row).with_columns(predictions["sample"])
    p = final_probabilities(draft.store, row, predictions["cluster"].to_numpy())
    found = [Section(title="Clusters in pictures", parts=_clusters(album, taken))]
    if p is not None and (parts := _pairs(album, taken, p)):
        found.append(Section(title="Clusters that may be one", parts=parts))
    if row["stage_id"] is not None and draft.store.stage_ready(row["stage_id"]):
        features = finished.pretext(draft.store, row["stage_id"]).numpy().astype(np.float64)
        if parts := _duplicates(album, taken, features):
            found.append(Section(title="Near duplicates", parts=parts))
        if len(features) >= 3:
            found.append(Section(title="Map", parts=[_map(draft, row, taken, features)]))
    return found


def _percent(share: float | None) -> str:
    return "" if share is None else f"{100 * share:.0f} %"


def _clusters(album: Album, taken: pl.DataFrame) -> list[Part]:
    """For every cluster its surest, middle and most doubtful pictures."""
    clusters = sorted(taken["cluster"].unique())
    each = max(1, min(_EACH, _ALL // (3 * len(clusters))))
    random = np.random.default_rng(0)
    parts: list[Part] = []
    shown = 0
    for cluster in clusters:
        own = taken.filter(pl.col("cluster") == cluster).sort(
            "confidence", "sample", descending=[True, False], nulls_last=True
        )
        few, n = min(each, own.height), own.height
        surest = list(range(few))
        doubtful = [i for i in range(n - 1, -1, -1) if i not in surest][:few]
        rest = [i for i in range(n) if i not in surest and i not in doubtful]
        middle = sorted(random.choice(rest, min(few, len(rest)), replace=False)) if rest else []
        mean = own["confidence"].mean()
        known = "" if mean is None else f", mean confidence {_percent(float(mean))}"  # type: ignore[arg-type]
        doubted = own["doubtful"].sum()
        count = measures.plural(n, "picture")
        parts.append(Heading(f"Cluster {cluster}: {count}{known}, {doubted} doubtful"))
        for title, at in (("Surest", surest), ("Middle", middle), ("Most doubtful", doubtful)):
            if at:
                rows = own[[int(i) for i in at]]
                texts = [_caption(one, title == "Most doubtful") for one in rows.to_dicts()]
                parts.append(Sheet(title=title, thumbs=album.thumbs(rows["sample"], texts)))
                shown += len(at)
    lead = (
        f"{shown:,} of {taken.height:,} pictures are shown. Below each is its confidence; below "
        "the most doubtful also the cluster that they were nearly in."
    )
    return [Paragraph(lead), *parts]


def _caption(image: dict[str, float], second: bool) -> str:
    text = _percent(image["confidence"])
    if second and image["second"] is not None:
        text += f", or {image['second']}: {_percent(image['second_confidence'])}"
    return text


def _pairs(album: Album, taken: pl.DataFrame, p: NDArray[np.float32]) -> list[Part]:
    """Pairs of clusters whose pictures are nearly in the other one, the closest first."""
    cluster, count = taken["cluster"].to_numpy(), p.shape[1]
    given = np.zeros((count, count))
    for c in range(count):
        if (cluster == c).any():
            given[c] = p[cluster == c].mean(0)
    both = np.minimum(given, given.T)
    a, b = np.triu_indices(count, 1)
    order = np.argsort(-both[a, b], kind="stable")
    parts: list[Part] = []
    for i in order[:_PAIRS]:
        one, other = int(a[i]), int(b[i])
        if both[one, other] < _ONE:
            break
        inside = np.isin(cluster, (one, other))
        between = np.where(inside, np.minimum(p[:, one], p[:, other]), -1)
        at = np.argsort(-between, kind="stable")[:_EACH]
        texts = [f"{one}: {_percent(p[j, one])}, {other}: {_percent(p[j, other])}" for j in at]
        title = f"{one} and {other}: each gives the other {_percent(both[one, other])} or more"
        parts.append(Sheet(title=title, thumbs=album.thumbs(taken["sample"].to_numpy()[at], texts)))
    if not parts:
        return []
    return [Paragraph("Pictures between two clusters that the features hardly tell apart."), *parts]


def _duplicates(album: Album, taken: pl.DataFrame, features: NDArray[np.float64]) -> list[Part]:
    """The most alike pairs of pictures, by the cosine of their features."""
    import faiss

    x = features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-12)
    flat = np.ascontiguousarray(x, dtype=np.float32)
    if len(flat) < 2:
        return []
    near, at = faiss.knn(flat, flat, 2, metric=faiss.METRIC_INNER_PRODUCT)
    other = np.where(at[:, 0] == np.arange(len(at)), 1, 0)
    rows = np.arange(len(at))
    pairs = {
        (min(i, j), max(i, j)): float(value)
        for i, j, value in zip(
            rows.tolist(), at[rows, other].tolist(), near[rows, other], strict=True
        )
        if value >= _ALIKE
    }
    if not pairs:
        return []
    best = sorted(pairs, key=lambda pair: (-pairs[pair], pair))[:_PAIRS]
    samples = taken["sample"].to_numpy()
    thumbs = album.thumbs(
        [samples[i] for pair in best for i in pair],
        [f"pair {n + 1}: {pairs[pair]:.3f}" for n, pair in enumerate(best) for _ in pair],
    )
    text = (
        f"{len(pairs):,} pairs of pictures have features whose cosine is {_ALIKE:g} or more; "
        f"{len(best)} are shown, the most alike first."
    )
    return [Paragraph(text), Sheet(title="Pairs", thumbs=thumbs)]


def _map(draft: Draft, row: RunRow, taken: pl.DataFrame, features: NDArray[np.float64]) -> Figures:
    """The two principal components of the features, coloured by cluster and by confidence."""
    x = features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-12)
    x = x - x.mean(0)
    values, axes = np.linalg.eigh(x.T @ x)
    plane = x @ axes[:, -2:][:, ::-1]
    share = float(values[-2:].sum() / values.sum())
    at = np.arange(len(x))
    if len(x) > _POINTS:
        at = np.sort(np.random.default_rng(0).choice(len(x), _POINTS, replace=False))
    cluster = taken["cluster"].to_numpy().astype(np.int64)[at]
    query = draft.query(
        f"results.predictions(store).filter(pl.col('run_id') == {row['run_id']!r}).collect()"
    )
    shown = (
        f"{len(at):,} of {len(x):,} pictures; the two directions hold {_percent(share)} of the "
        "spread."
    )
    figures = [
        draft.figure(
            scatter.by_group(
                "map-clusters", f"Features of {shown} Coloured by cluster.", plane[at], cluster
            ),
            "Features by cluster.",
            shown,
            query,
        )
    ]
    if taken["confidence"].null_count() == 0:
        confidence = taken["confidence"].to_numpy().astype(np.float64)[at]
        chart = scatter.by_share(
            "map-confidence", f"Features of {shown} Coloured by confidence.", plane[at], confidence
        )
        figures.append(draft.figure(chart, "Features by confidence.", shown, query))
    return Figures(figures)
