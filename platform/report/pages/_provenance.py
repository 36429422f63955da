"""How the numbers of a page came about, and what its metrics mean."""

from collections.abc import Iterable, Sequence

from deep_clustering.platform.evaluation import measures
from deep_clustering.platform.metrics.registry import METRICS
from deep_clustering.platform.report.markup.parts import (
    Commands,
    Definitions,
    Heading,
    Part,
    Section,
)
from deep_clustering.platform.report.pages._draft import Draft, RunRow
from deep_clustering.platform.report.pages._words import listed, quoted

#: Column of `runs` -> what a reader calls it.
_COLUMNS = {
    "method": "method",
    "version": "version of the method",
    "code_version": "deep-clustering",
    "git_revision": "revision of the code",
    "python_version": "Python",
    "torch_version": "PyTorch",
    "ray_version": "Ray",
    "device": "device",
    "device_name": "model of the device",
    "host": "machine",
    "workers": "processes per run",
    "threads": "CPU threads per process",
    "seed": "seeds",
    "dataset": "data set",
    "dataset_fingerprint": "fingerprint of the data",
    "protocol": "protocol",
    "stage_id": "pretraining",
}


def provenance(
    draft: Draft, rows: Sequence[RunRow], select: str, commands: Sequence[str] = ()
) -> Section:
    """The section on where runs were made and by what.

    Args:
        rows: the runs of the page.
        select: the expression of their lazy frame.
        commands: that asked for them.
    """
    values = {c: {row[c] for row in rows if row.get(c) is not None} for c in _COLUMNS}
    pairs = [(_COLUMNS[c], listed(sorted(given))) for c, given in values.items() if given]
    ended = [row["ended"] for row in rows if row.get("ended") is not None]
    if ended:
        first, last = f"{min(ended):%Y-%m-%d %H:%M}", f"{max(ended):%Y-%m-%d %H:%M}"
        pairs.append(("ended", f"{first if first == last else f'{first} to {last}'} (UTC)"))
    seconds = sum(row["seconds"] or 0 for row in rows)
    pairs.append(("time in training", measures.duration(seconds)))
    pairs.append(("store", draft.store.uri))
    columns = quoted(column for column, given in values.items() if given)
    query = draft.query(f"{select}\\\n    .select({columns}).unique().collect()")
    parts: list[Part] = [Definitions(pairs), query]
    if commands:
        parts += [Heading("Commands"), Commands(commands)]
    return Section(title="Provenance", parts=parts)


def glossary(metrics: Iterable[str]) -> list[Section]:
    """The section on what the metrics of a page mean, each once."""
    used = {measures.base(metric) for metric in metrics}
    pairs = [(metric.title, metric.meaning) for metric in METRICS.values() if metric.name in used]
    return [Section(title="Glossary", parts=[Definitions(pairs)])] if pairs else []
