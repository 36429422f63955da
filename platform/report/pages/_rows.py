"""Which runs the charts of a suite compare on a data set."""

from collections.abc import Sequence
from dataclasses import dataclass

from deep_clustering.platform.suites.measured import Measured


@dataclass(frozen=True, kw_only=True)
class RowGroup:
    """Rows of a suite on a data set that are read from the same predictions."""

    rows: tuple[str, ...]  # names
    head: str | None  # whose predictions they are read from; None is the final head
    runs: tuple[str, ...]  # the finished ones

    @property
    def label(self) -> str:
        """The names of its rows."""
        return " / ".join(self.rows)


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """The groups of a suite that have finished runs on a data set."""

    suite: str
    dataset: str
    groups: Sequence[RowGroup]
    baseline: RowGroup | None  # the group that most claims compare with

    @property
    def runs(self) -> list[str]:
        """All runs, each once."""
        return list(dict.fromkeys(run for group in self.groups for run in group.runs))


def comparison(measured: Measured, dataset: str) -> Comparison | None:
    """The groups of a suite on a data set; None where no run has finished."""
    groups = _groups(measured, dataset)
    if not groups:
        return None
    suite = measured.current.suite
    against = [claim.against for claim in suite.claims]
    baseline = None
    if against and len(groups) > 1:
        most = max(dict.fromkeys(against), key=against.count)
        baseline = next((group for group in groups if most in group.rows), None)
    return Comparison(suite=suite.name, dataset=dataset, groups=groups, baseline=baseline)


def _groups(measured: Measured, dataset: str) -> list[RowGroup]:
    groups: dict[tuple[tuple[str, ...], str | None], list[str]] = {}
    for row in measured.current.suite.rows:
        if row.columns:  # measured before the training, so that it has no predictions
            continue
        runs = tuple(
            run.run_id
            for run in measured.current.runs
            if run.variant == row.name
            and run.dataset == dataset
            and measured.rows.get(run.run_id, {}).get("status") == "ok"
        )
        if runs:
            groups.setdefault((runs, row.head), []).append(row.name)
    return [
        RowGroup(rows=tuple(names), head=head, runs=runs) for (runs, head), names in groups.items()
    ]
