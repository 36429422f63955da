"""How many clusters: a choice without labels, and how far the data support it.

Partitions into 2, 3, ... clusters are compared by their stability under resampling, above that of
points without clusters (`stability_excess` of a run, see `methods.consensus`).
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from deep_clustering.platform.request.configs import Value

#: Numbers of clusters that are tried where none is given.
RANGE = range(2, 21)
#: A number is tried with at least this many images a cluster.
_IMAGES = 5
#: Differences of up to this many standard errors tell two numbers not apart.
ERRORS = 2.0
#: What the most stable number is not, see `verdict`.
_COARSE = "Halves agree most on coarse groups: there may be more kinds than that."


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """One number of clusters.

    Attributes:
        clusters: how many.
        run: id of the run with that many.
        excess: stability above that of points without clusters; `error` is its standard error.
        silhouette, agreement: label-free criteria, None where they could not be computed.
    """

    clusters: int
    run: str
    excess: float
    error: float
    silhouette: float | None
    agreement: float | None

    @classmethod
    def of(cls, clusters: int, row: Mapping[str, Value]) -> "Candidate":
        """The candidate of a row of `runs`."""

        def number(column: str) -> float | None:
            value = row.get(column)
            return float(value) if isinstance(value, (int, float)) else None

        return cls(
            clusters=clusters,
            run=str(row["run_id"]),
            excess=number("stability_excess") or 0.0,
            error=number("stability_excess_error") or 0.0,
            silhouette=number("silhouette"),
            agreement=number("neighbour_agreement"),
        )


def numbers(images: int) -> list[int]:
    """The numbers that are tried for some images."""
    return [k for k in RANGE if k * _IMAGES <= images]


def ranked(candidates: Iterable[Candidate]) -> list[Candidate]:
    """The most stable one first; of equals the one with fewer clusters."""
    return sorted(candidates, key=lambda c: (-c.excess, c.clusters))


def close(order: list[Candidate]) -> list[Candidate]:
    """Those that the data do not tell from the first of `ranked`."""
    best = order[0]
    return [
        other
        for other in order[1:]
        if best.excess - other.excess <= ERRORS * math.hypot(best.error, other.error)
    ]


def verdict(order: list[Candidate]) -> str:
    """What the data say about the number of clusters, in a few sentences.

    The most stable number is seldom above that of the kinds which a person would name, and often
    below it: README, Measured, has how often on folders whose kinds are known.
    """
    best, others = order[0], close(order)
    if best.excess <= ERRORS * best.error:
        return (
            "No number of clusters is more stable than it would be without any clusters: these "
            f"pictures, seen so, may have none. {best.clusters} is the least unstable one."
        )
    if others:
        listed = ", ".join(str(c.clusters) for c in others)
        text = (
            f"The data do not tell the number: {best.clusters} is the most stable one, and "
            f"{listed} within two standard errors of it."
        )
    else:
        text = f"{best.clusters} clusters are more stable than every other number that was tried."
    if best.clusters == max(c.clusters for c in order) >= RANGE[-1]:
        return f"{text} It is the largest one that was tried; say --clusters for more."
    return f"{text} {_COARSE}"
