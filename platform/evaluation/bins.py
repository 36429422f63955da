"""What a run's predictions come to: bins of confidence, risks, sizes of clusters."""

import functools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from deep_clustering.platform.evaluation import assignments
from deep_clustering.platform.metrics import diagrams
from deep_clustering.platform.metrics.agreement import match
from deep_clustering.platform.metrics.arrays import Array
from deep_clustering.platform.metrics.calibration import reliability
from deep_clustering.platform.metrics.diagrams import Cells
from deep_clustering.platform.metrics.rejection import risk_coverage
from deep_clustering.platform.store.store import Store

#: Bars of a histogram of confidences.
BARS = 30
#: Points of a risk-coverage curve.
POINTS = 60


def heads(columns: Iterable[str]) -> list[str]:
    """The heads that a table of predictions has columns of, in their order."""
    ending = "_confidence"
    return [name.removesuffix(ending) for name in columns if name.endswith(ending)]


def judged(predictions: pl.DataFrame, head: str | None = None) -> pl.DataFrame:
    """Predictions of one head with `right`: whether the cluster is matched with the label.

    Clusters are matched within each run, by counts alone: among equally good matchings the metrics
    of `runs` may have another one, which probabilities chose.

    Args:
        predictions: of one or several runs.
        head: whose cluster and confidence; None for the final one.

    Returns:
        `run_id`, `sample`, `cluster`, `confidence`, `label` and `right`; the last is null without
        labels, or where all are the same, and so is `label` without them.
    """
    front = f"{head}_" if head else ""
    chosen = predictions.select(
        "run_id",
        "sample",
        pl.col(f"{front}cluster").alias("cluster"),
        pl.col(f"{front}confidence").alias("confidence"),
        label=pl.col("label") if "label" in predictions.columns else pl.lit(None, pl.Int32),
    )
    parts = [_with_right(part) for part in chosen.partition_by("run_id", maintain_order=True)]
    return pl.concat(parts) if parts else chosen.with_columns(right=pl.lit(None, pl.Boolean))


def _with_right(part: pl.DataFrame) -> pl.DataFrame:
    if part["label"].null_count() or part["label"].n_unique() < 2:
        return part.with_columns(right=pl.lit(None, pl.Boolean))
    cluster, label = part["cluster"].to_numpy(), part["label"].to_numpy()
    assignment, _ = match(cluster, label, int(cluster.max()) + 1)
    return part.with_columns(right=pl.Series(assignment[cluster] == label))


@dataclass(frozen=True, kw_only=True)
class Bins:
    """Counts of one run, or of several added up; `right` is None without labels.

    Attributes:
        runs: how many.
        count, confidence, right: of the 15 bins of the ECE: images, sums of their confidences and
            how many are right; each (15,).
        bars: images in bars of equal width over [0, 1], (BARS,).
        bars_right: those that are right.
        cells: of the diagrams without bins; None without labels.
        coverage, risks: the curve of each run, (POINTS,) and (runs, POINTS).
    """

    runs: int
    count: Array
    confidence: Array
    right: Array | None
    bars: Array
    bars_right: Array | None
    cells: Cells | None
    coverage: Array
    risks: Array | None

    @property
    def images(self) -> int:
        """All images, over the runs."""
        return int(self.count.sum())

    @property
    def accuracy(self) -> float | None:
        """Share of right images, 0 to 1."""
        return None if self.right is None else float(self.right.sum() / self.images)

    @property
    def mean_confidence(self) -> float:
        """0 to 1."""
        return float(self.confidence.sum() / self.images)


def bins(samples: pl.DataFrame) -> Bins:
    """The bins of one run's `judged` predictions."""
    confidence = samples["confidence"].to_numpy()
    known = samples["right"].null_count() == 0 and samples.height > 0
    right = samples["right"].to_numpy() if known else np.zeros(samples.height, bool)
    table = reliability(confidence, right)
    count = table["count"]
    bar = np.clip((confidence * BARS).astype(np.int64), 0, BARS - 1)
    coverage, risk = risk_coverage(confidence, right, POINTS)
    return Bins(
        runs=1,
        count=count,
        confidence=np.nan_to_num(table["confidence"]) * count,
        right=np.nan_to_num(table["accuracy"]) * count if known else None,
        bars=np.bincount(bar, minlength=BARS),
        bars_right=np.bincount(bar[right], minlength=BARS) if known else None,
        cells=diagrams.cells(confidence, right) if known else None,
        coverage=coverage,
        risks=risk[None] if known else None,
    )


def pooled(parts: Sequence[Bins]) -> Bins:
    """Bins of several runs as one; curves stay apart."""
    first = parts[0]
    known = all(p.right is not None for p in parts)
    alike = all(len(p.coverage) == len(first.coverage) for p in parts)

    def total(name: str) -> Any:
        return np.sum([getattr(p, name) for p in parts], axis=0)

    return Bins(
        runs=sum(p.runs for p in parts),
        count=total("count"),
        confidence=total("confidence"),
        right=total("right") if known else None,
        bars=total("bars"),
        bars_right=total("bars_right") if known else None,
        cells=functools.reduce(Cells.__add__, [p.cells for p in parts if p.cells is not None])
        if known
        else None,
        coverage=first.coverage,
        risks=np.concatenate([p.risks for p in parts if p.risks is not None])
        if known and alike
        else None,
    )


class Reader:
    """Bins of runs; each run's predictions are read once, and only their counts are kept."""

    def __init__(self, store: Store, rows: Mapping[str, Mapping[str, Any]]) -> None:
        self._store, self._rows = store, rows
        self._known: dict[str, dict[str, Bins]] = {}

    def bins(self, run: str, head: str | None = None) -> Bins | None:
        """The bins of a run's head (None: the final one); None where there are none."""
        if run not in self._known:
            self._known[run] = self._read(run)
        return self._known[run].get(head or "")

    def _read(self, run: str) -> dict[str, Bins]:
        frame = assignments.predictions(self._store, self._rows[run])
        if frame is None or frame["confidence"].null_count() == frame.height:
            return {}  # none, or of a method without confidences
        return {head: bins(judged(frame, head or None)) for head in ("", *heads(frame.columns))}
