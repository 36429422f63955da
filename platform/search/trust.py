"""Which label-free criterion could have chosen for us: measured on trials whose accuracy is known.

For every criterion: its rank correlation with accuracy over the trials, and its regret, the
accuracy given away by taking the trial that it likes best. Both again without collapsed trials,
since a criterion may look good only because it notices collapse.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

import numpy as np
import polars as pl
from rich.table import Table

from deep_clustering.platform.metrics.registry import GROUPS
from deep_clustering.platform.request.configs import Value


@runtime_checkable
class ArrowTable(Protocol):
    """A table of pyarrow."""

    def to_pylist(self) -> list[dict[str, Value]]: ...


#: One trial: metrics, criteria, and what was noticed of it.
Row = Mapping[str, Value]
#: Several trials, in any of the usual forms.
Trials = Iterable[Row] | Mapping[str, Sequence[Value]] | pl.DataFrame | pl.LazyFrame | ArrowTable

#: Fewer trials than this get a sentence instead of a number: of three trials, any criterion ranks
#: one in six times all of them as accuracy does.
FEWEST = 4

_ALMOST = 1 - 1e-9  # a correlation of 1 has no finite transform


@dataclass(frozen=True, kw_only=True)
class Trust:
    """One criterion on one set of trials.

    Attributes:
        criterion: its name.
        trials: "all", or "not collapsed".
        n: trials that have both the criterion and the accuracy.
        spearman, kendall: rank correlations with the accuracy, in [-1, 1] (Kendall's tau-b).
        regret: best accuracy minus that of the trial with the highest criterion (their mean where
            several are highest), in [0, 1]. A fact about these trials; what other trials would
            show, a few do not tell: a bootstrap interval covered it in 3 of 4 cases.
        chance: the regret of taking one of these trials at random.
        spearman_interval: 95 %, by Fisher's transformation (Bonett and Wright 2000).
        reason: why the numbers are None.
    """

    criterion: str
    trials: str
    n: int
    spearman: float | None = None
    spearman_interval: tuple[float, float] | None = None
    kendall: float | None = None
    regret: float | None = None
    chance: float | None = None
    reason: str | None = None


def assess(trials: Trials, *, target: str = "acc") -> list[Trust]:
    """How far each criterion agrees with a label metric over finished trials.

    Args:
        trials: rows as dictionaries, a dictionary of columns, a polars frame or a pyarrow table.
            Read are `target`, the criteria (those it has), and what tells collapsed trials:
            `guarded` and `collapsed`. Diverged trials and missing values are left out.
        target: a label metric of which more is better.

    Returns:
        For each criterion one record over all trials, and one without those of which any run
        collapsed or was guarded.
    """
    rows = [row for row in _rows(trials) if not row.get("diverged")]
    sound = [row for row in rows if not row.get("guarded") and not row.get("collapsed")]
    return [
        _assess(name, label, chosen, target)
        for name in (metric.name for metric in GROUPS["criteria"])
        if any(_number(row, name) for row in rows)
        for label, chosen in (("all", rows), ("not collapsed", sound))
    ]


def _assess(name: str, label: str, rows: Sequence[Row], target: str) -> Trust:
    both = [row for row in rows if _number(row, name) and _number(row, target)]
    n = len(both)
    if n < FEWEST:
        reason = f"too few trials: {n}, needs {FEWEST}"
        return Trust(criterion=name, trials=label, n=n, reason=reason)
    criterion = np.array([row[name] for row in both], np.float64)
    acc = np.array([row[target] for row in both], np.float64)
    picked = acc[criterion == criterion.max()].mean()
    trust = Trust(
        criterion=name,
        trials=label,
        n=n,
        regret=float(acc.max() - picked),
        chance=float(acc.max() - acc.mean()),
    )
    if np.ptp(criterion) == 0 or np.ptp(acc) == 0:
        same = "it" if np.ptp(criterion) == 0 else target
        return replace(trust, reason=f"{same} is constant")
    from scipy.stats import kendalltau, spearmanr

    spearman = float(spearmanr(criterion, acc).statistic)
    return replace(
        trust,
        spearman=spearman,
        spearman_interval=_interval(spearman, n),
        kendall=float(kendalltau(criterion, acc).statistic),
    )


def table(trials: Trials, *, target: str = "acc") -> Table:
    """What `assess` finds, for the terminal."""
    shown = Table(
        title=f"would a label-free criterion have found the best {target}?",
        title_justify="left",
        caption="regret: of these trials, beside that of one taken at random; a criterion that was "
        "the objective is no evidence for itself",
        caption_justify="left",
        box=None,
        pad_edge=False,
    )
    shown.add_column("criterion", no_wrap=True)
    for column in ("n", "Spearman", "Kendall", f"regret in {target}"):
        shown.add_column(column, justify="right", no_wrap=True)
    records = assess(trials, target=target)
    every = [r for r in records if r.trials == "all"]
    sound = [r for r in records if r.trials != "all"]
    if [r.n for r in sound] == [r.n for r in every]:  # nothing collapsed: both say the same
        records = every
    for record in records:
        shown.add_row(
            record.criterion if record.trials == "all" else f"  {record.trials}",
            str(record.n),
            record.reason or _cell(record.spearman, record.spearman_interval),
            _cell(record.kendall),
            ""
            if record.regret is None or record.chance is None
            else f"{record.regret:.2f} (random {record.chance:.2f})",
        )
    if not records:
        shown.add_row("no trial has a label-free criterion", *[""] * 4)
    return shown


def _interval(spearman: float, n: int) -> tuple[float, float]:
    """95 % interval of a rank correlation over n trials."""
    z = math.atanh(max(-_ALMOST, min(_ALMOST, spearman)))
    half = 1.959964 * math.sqrt((1 + spearman**2 / 2) / (n - 3))
    return math.tanh(z - half), math.tanh(z + half)


def _cell(value: float | None, interval: tuple[float, float] | None = None) -> str:
    if value is None:
        return ""
    return f"{value:.2f}" + (f" [{interval[0]:.2f}, {interval[1]:.2f}]" if interval else "")


def _number(row: Row, name: str) -> bool:
    value = row.get(name)
    return isinstance(value, (int, float)) and math.isfinite(value)


def _rows(trials: Trials) -> Sequence[Row]:
    if isinstance(trials, ArrowTable):
        return trials.to_pylist()
    if isinstance(trials, pl.LazyFrame):
        return trials.collect().to_dicts()
    if isinstance(trials, pl.DataFrame):
        return trials.to_dicts()
    if isinstance(trials, Mapping):
        names, columns = list(trials), [list(column) for column in trials.values()]
        return [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]
    return list(trials)
