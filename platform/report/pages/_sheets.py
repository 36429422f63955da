"""The pages' sheets of pictures: clusters, pairs that may be one, and what `_suspects` finds."""

import numpy as np
import polars as pl
from numpy.typing import NDArray

from deep_clustering.methods.clustering.points import directions
from deep_clustering.platform.evaluation import finished, measures
from deep_clustering.platform.evaluation.assignments import assignments, final_probabilities
from deep_clustering.platform.report.markup.parts import (
    Heading,
    Paragraph,
    Part,
    Section,
    Sheet,
)
from deep_clustering.platform.report.pages import _suspects as suspects
from deep_clustering.platform.report.pages._album import Album
from deep_clustering.platform.report.pages._draft import Draft, RunRow
from deep_clustering.platform.report.pages._map import shown
from deep_clustering.platform.report.pages._words import percent

#: Pictures of a sheet, and of all sheets of clusters together; 1,200 take 3 MB, at most 4.2.
_EACH, _ALL = 6, 1200
#: Two clusters may be one where each gives the other at least this probability on average.
_ONE = 0.1
_PAIRS = 6


def sheets(draft: Draft, album: Album, row: RunRow, predictions: pl.DataFrame) -> list[Section]:
    """Sections with the pictures of a run.

    Args:
        album: its pictures.
        row: of the run; `predictions` is its table.
    """
    taken = assignments(draft.store, row).with_columns(predictions["sample"])
    p = final_probabilities(draft.store, row, predictions["cluster"].to_numpy())
    found = [Section(title="Clusters in pictures", parts=clusters(album, taken))]
    if p is not None and (parts := _pairs(album, taken, p)):
        found.append(Section(title="Clusters that may be one", parts=parts))
    if row["stage_id"] is not None and draft.store.stage_ready(row["stage_id"]):
        space = finished.pretext(draft.store, row["stage_id"])
        x = directions(space.features.numpy())
        if parts := suspects.two(album, taken, x):
            found.append(Section(title="Clusters that may be two", parts=parts))
        if len(x) >= 2:
            near = suspects.Near.of(x, space.neighbours.numpy())
            if parts := suspects.nowhere(album, taken, near):
                found.append(Section(title="Pictures that belong nowhere", parts=parts))
            if parts := suspects.duplicates(album, taken, near):
                found.append(Section(title="Near duplicates", parts=parts))
        if len(x) >= 3:
            labels = predictions["label"] if "label" in predictions.columns else None
            found.append(Section(title="Map", parts=[shown(draft, row, taken, x, labels)]))
    return found


def clusters(album: Album, taken: pl.DataFrame) -> list[Part]:
    """For every cluster its surest, middle and most doubtful pictures.

    Args:
        album: the pictures.
        taken: as `assignments` gives it, with the number `sample` of each picture.
    """
    by_size = taken["cluster"].value_counts(sort=True)["cluster"].to_list()
    numbers = sorted(by_size[: _ALL // 3])
    each = max(1, min(_EACH, _ALL // (3 * len(numbers))))
    random = np.random.default_rng(0)
    parts: list[Part] = []
    shown = 0
    for cluster in numbers:
        own = taken.filter(pl.col("cluster") == cluster).sort(
            "confidence", "sample", descending=[True, False], nulls_last=True
        )
        few, n = min(each, own.height), own.height
        surest = list(range(few))
        doubtful = [i for i in range(n - 1, -1, -1) if i not in surest][:few]
        rest = [i for i in range(n) if i not in surest and i not in doubtful]
        middle = sorted(random.choice(rest, min(few, len(rest)), replace=False)) if rest else []
        mean = own["confidence"].mean()
        known = "" if mean is None else f", mean confidence {percent(float(mean))}"  # type: ignore[arg-type]
        doubted = own["doubtful"].sum()
        count = measures.plural(n, "picture")
        parts.append(Heading(f"Cluster {cluster}: {count}{known}, {doubted} doubtful"))
        for title, at in (("Surest", surest), ("Middle", middle), ("Most doubtful", doubtful)):
            if at:
                rows = own[[int(i) for i in at]]
                texts = [_caption(one, title == "Most doubtful") for one in rows.to_dicts()]
                parts.append(Sheet(title=title, thumbs=album.thumbs(rows["sample"], texts)))
                shown += len(at)
    lead = "" if len(numbers) == len(by_size) else f"The {len(numbers)} largest clusters. "
    lead += (
        f"{shown:,} of {taken.height:,} pictures are shown. Below each is its confidence; below "
        "the most doubtful also the cluster that they were nearly in."
    )
    return [Paragraph(lead), *parts]


def _caption(image: dict[str, float], second: bool) -> str:
    text = percent(image["confidence"])
    if second and image["second"] is not None:
        text += f", or {image['second']}:\N{NO-BREAK SPACE}{percent(image['second_confidence'])}"
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
        texts = [f"{one}: {percent(p[j, one])}, {other}: {percent(p[j, other])}" for j in at]
        title = f"{one} and {other}: each gives the other {percent(both[one, other])} or more"
        parts.append(Sheet(title=title, thumbs=album.thumbs(taken["sample"].to_numpy()[at], texts)))
    if not parts:
        return []
    return [Paragraph("Pictures between two clusters that the features hardly tell apart."), *parts]
