"""What the features of a run's pictures cast doubt on: clusters that may be two, pictures that are
like no other, and pictures that are nearly the same."""

from typing import NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from deep_clustering.methods.consensus import ConsensusConfig, fit
from deep_clustering.platform.metrics.arrays import Array
from deep_clustering.platform.report.markup.parts import Heading, Paragraph, Part, Sheet
from deep_clustering.platform.report.pages._album import Album

#: Pictures of a sheet, and sheets of a kind.
_EACH, _SHEETS = 6, 6
#: A cluster may be two where halves of it are cut in the same two by this much beyond chance, ...
_STABLE = 0.25
#: ... the smaller one of them has this share, and it has this many pictures at least.
_PART, _FEWEST = 0.1, 30
#: Cosine of the features from which two pictures are near duplicates.
_ALIKE = 0.97
#: Neighbours that a picture is compared with, and how far beyond the upper quartile of the
#: logarithms of their distances, in interquartile ranges, it belongs nowhere (Tukey's outer fence).
_NEAR, _FENCE = 5, 3.0
#: Of a cosine in float32.
_ROUNDING = 1e-6


def two(album: Album, taken: pl.DataFrame, x: Array) -> list[Part]:
    """Clusters that two-means cuts in the same two, whichever half of them it sees.

    Args:
        album: the pictures.
        taken: the cluster and number of each.
        x: their features (n, D), rows of length 1.
    """
    cluster, samples = taken["cluster"].to_numpy(), taken["sample"].to_numpy()
    found: list[tuple[float, int, NDArray[np.float64]]] = []
    for number in np.unique(cluster):
        own = x[cluster == number]
        if len(own) < _FEWEST:
            continue
        config = ConsensusConfig(
            clusters=2, dimensions=20, restarts=3, resamples=6, starts=1, sample=1000
        )
        parts = fit(config, own, 0)
        assert parts.probabilities is not None
        excess, error = parts.info["stability_excess"], parts.info["stability_excess_error"]
        smaller = np.bincount(parts.labels, minlength=2).min() / len(own)
        if excess > max(_STABLE, 2 * error) and smaller >= _PART:
            found.append((excess, int(number), parts.probabilities))
    shown: list[Part] = []
    for excess, number, p in sorted(found, key=lambda one: (-one[0], one[1]))[:_SHEETS]:
        own_samples = samples[cluster == number]
        shown.append(Heading(f"Cluster {number}: two parts, {excess:.2f} beyond chance"))
        for part, name in enumerate(("One part", "The other")):
            at = np.argsort(-p[:, part], kind="stable")[:_EACH]
            count = int((p.argmax(1) == part).sum())
            title = f"{name}, {count:,} pictures"
            thumbs = album.thumbs(own_samples[at], ["" for _ in at])
            shown.append(Sheet(title=title, thumbs=thumbs))
    if not shown:
        return []
    text = (
        "Halves of these clusters, each clustered on its own, fall into the same two parts: the "
        "adjusted Rand index of the two, beyond that of points without clusters, is given."
    )
    return [Paragraph(text), *shown]


class Near(NamedTuple):
    """The nearest others of each picture, the nearest first.

    Attributes:
        others: (n, k) which ones.
        cosines: (n, k) of their features with its own.
    """

    others: NDArray[np.int64]
    cosines: Array

    @classmethod
    def of(cls, x: Array, others: NDArray[np.int64]) -> "Near":
        """Of features (n, D) of length 1, whose nearest others (n, k) are known."""
        asked = others[:, :_NEAR]
        cosines = [np.einsum("nd,nd->n", x, x[column]) for column in asked.T]
        return cls(asked, np.stack(cosines, axis=1))


def nowhere(album: Album, taken: pl.DataFrame, near: Near) -> list[Part]:
    """Pictures that are far from all others, the farthest first."""
    away = 1 - near.cosines.mean(1)
    logs = np.log(np.maximum(away, _ROUNDING))  # distances are skewed, their logarithms hardly
    low, high = np.quantile(logs, [0.25, 0.75])
    beyond = np.flatnonzero(logs > high + _FENCE * (high - low))
    if not len(beyond):
        return []
    at = beyond[np.argsort(-away[beyond], kind="stable")][: 2 * _EACH]
    rows = taken[at.tolist()]
    texts = [
        f"in {cluster}, likeness {value:.2f}"
        for cluster, value in zip(rows["cluster"], 1 - away[at], strict=True)
    ]
    text = (
        f"{len(beyond):,} of {len(away):,} pictures are like no other: the mean cosine of their "
        f"features with the {near.cosines.shape[1]} nearest is far below what is usual here "
        f"({1 - np.median(away):.2f}). {len(at)} are shown."
    )
    return [Paragraph(text), Sheet(title="Alone", thumbs=album.thumbs(rows["sample"], texts))]


def duplicates(album: Album, taken: pl.DataFrame, near: Near) -> list[Part]:
    """The most alike pairs of pictures, by the cosine of their features."""
    values, others = near.cosines[:, 0], near.others[:, 0]
    pairs = {
        (min(i, j), max(i, j)): float(value)
        for i, (j, value) in enumerate(zip(others.tolist(), values.tolist(), strict=True))
        if value >= _ALIKE
    }
    if not pairs:
        return []
    best = sorted(pairs, key=lambda pair: (-pairs[pair], pair))[:_SHEETS]
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
