"""What the pages of a report share: their store, queries, figures, warnings and provenance."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from markupsafe import Markup

from deep_clustering.platform.evaluation import measures
from deep_clustering.platform.metrics.registry import METRICS
from deep_clustering.platform.report import _charts as charts
from deep_clustering.platform.report import _html as page
from deep_clustering.platform.report._html import Cell, Note, Row, Section
from deep_clustering.platform.store.store import Store

#: Names that a list shows before it says how many more there are.
_LISTED = 8

_FLAGS = {
    "collapsed": "Nearly all images are in one cluster",
    "empty_clusters": "Some clusters have no images",
    "constant_confidence": "All images have the same confidence, which then says nothing",
}


@dataclass(frozen=True, kw_only=True)
class Page:
    """What a page says, before it is HTML."""

    title: str
    summary: Sequence[str]
    sections: Sequence[Section]


@dataclass
class Report:
    """A page in the making: where its numbers are from, and its charts so far."""

    store: Store
    drawn: list[charts.Chart] = field(default_factory=list)

    def code(self, expression: str, *modules: str) -> str:
        """A whole program that ends with an expression over the store; `modules` as "room.name"."""
        imports = "".join(
            f"from deep_clustering.platform.{room} import {name}\n"
            for room, name in (module.split(".") for module in sorted(modules))
        )
        return (
            f"import polars as pl\nfrom deep_clustering.platform import results\n{imports}\n"
            f"store = {self.store.uri!r}\n{expression}"
        )

    def figure(self, chart: charts.Chart, title: str, caption: str, code: str) -> Markup:
        """A chart with its caption and query."""
        self.drawn.append(chart)
        return page.figure(charts.inline(chart), title, caption, code)


# ---- texts


def listed(names: Iterable[Any]) -> str:
    """Names in a sentence; the first few of many."""
    found = [str(name) for name in names]
    more = len(found) - _LISTED
    return ", ".join(found[:_LISTED]) + (f" and {more} more" if more > 0 else "")


def counted(counts: Mapping[str, int]) -> str:
    """ "3 finished, 1 failed", without what there is none of."""
    return ", ".join(f"{n:,} {what}" for what, n in counts.items() if n) or "none yet"


def ids(runs: Iterable[str]) -> str:
    """A list of run ids as code."""
    found = sorted(set(runs))
    return "[" + ", ".join(repr(run) for run in found) + "]"


def slug(*parts: str) -> str:
    """A name for files and ids."""
    return page.anchor("-".join(p for p in parts if p))


# ---- warnings


def flagged(rows: Iterable[tuple[str, Mapping[str, Any]]]) -> list[Note]:
    """Notes on what runs noticed of themselves; `rows` are (label, row of `runs`)."""
    found: dict[str, dict[str, None]] = {}
    for label, row in rows:
        for flag in row.get("flags") or []:
            found.setdefault(flag, {})[label] = None
    return [
        Note(
            level="bad",
            head=f"{_FLAGS.get(flag, flag)}.",
            text=f"{measures.plural(len(labels), 'run')}: {listed(labels)}.",
        )
        for flag, labels in found.items()
    ]


def mixtures(rows: Sequence[Mapping[str, Any]]) -> list[Note]:
    """Notes on runs that were made by different code or on different devices."""
    found = []
    for column, what in (
        ("git_revision", "revisions of the code"),
        ("torch_version", "releases of PyTorch"),
        ("device_name", "devices"),
    ):
        values = {row[column] for row in rows if row.get(column)}
        if len(values) > 1:
            text = f"The runs were made with {len(values)} {what}: {listed(sorted(values))}."
            found.append(Note(text=text))
    if any(row.get("git_dirty") for row in rows):
        found.append(Note(text="Some runs were made by code with changes that are in no revision."))
    skipped = {row["dataset"]: row["skipped_images"] for row in rows if row.get("skipped_images")}
    for dataset, count in skipped.items():
        many = measures.plural(count, "unreadable image")
        found.append(Note(level="bad", text=f"{many} of {dataset} were left out."))
    return found


def failures(
    report: Report, lost: Sequence[tuple[str, Mapping[str, Any]]], names: str
) -> list[Markup]:
    """The table of runs without a result; `lost` are (label, row), `names` heads the labels."""
    if not lost:
        return []
    rows = [
        Row(
            cells=[
                Cell(content=label, heading=True),
                Cell(content=str(row["dataset"])),
                page.number(str(row["seed"])),
                Cell(content=page.element("span", str(row["status"]), class_="badge failed")),
                Cell(content=str(row["reason"] or "no reason on record"), class_="wide"),
                Cell(content=page.element("code", str(row["run_id"]))),
            ]
        )
        for label, row in lost
    ]
    code = report.code(
        f'results.runs(store).filter(pl.col("run_id").is_in({ids(r["run_id"] for _, r in lost)}))'
        '\\\n    .select("run_id", "dataset", "seed", "status", "reason").collect()'
    )
    head = page.head(names, "data set", "seed", "status", "reason", "run")
    return [page.table("Runs without a result", [head], rows), page.query(code)]


# ---- provenance


def provenance(
    report: Report,
    rows: Sequence[Mapping[str, Any]],
    select: str,
    commands: Sequence[str] = (),
) -> Section:
    """How the runs came about; `select` is the expression of their lazy frame."""
    columns = {
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
    pairs: list[tuple[str, str | Markup]] = []
    for column, what in columns.items():
        values = {row[column] for row in rows if row.get(column) is not None}
        if values:
            pairs.append((what, listed(sorted(values))))
    seconds = sum(row["seconds"] or 0 for row in rows)
    ended = [row["ended"] for row in rows if row.get("ended") is not None]
    if ended:
        first, last = f"{min(ended):%Y-%m-%d %H:%M}", f"{max(ended):%Y-%m-%d %H:%M}"
        pairs.append(("ended", first if first == last else f"{first} to {last} (UTC)"))
    pairs.append(("time in training", measures.duration(seconds)))
    pairs.append(("store", report.store.uri))
    kept = [c for c in columns if any(row.get(c) is not None for row in rows)]
    names = ", ".join(f'"{c}"' for c in kept)
    code = report.code(f"{select}\\\n    .select({names}).unique().collect()")
    parts = [page.definitions(pairs), page.query(code)]
    if commands:
        parts += [
            page.element("h3", "Commands"),
            page.element("pre", page.element("code", "\n".join(commands)), tabindex="0"),
        ]
    return Section(title="Provenance", parts=parts)


def glossary(metrics: Iterable[str]) -> list[Section]:
    """What the metrics of a page mean, each once."""
    used = dict.fromkeys(measures.base(metric) for metric in metrics)
    pairs: list[tuple[str, str | Markup]] = [
        (metric.title, metric.meaning) for metric in METRICS.values() if metric.name in used
    ]
    return [Section(title="Glossary", parts=[page.definitions(pairs)])] if pairs else []


# ---- numbers


def mean_cell(metric: str, values: Sequence[float]) -> str:
    """A cell of a table from the values of finished runs."""
    from deep_clustering.platform.suites import verdicts

    known = [v for v in values if v is not None and math.isfinite(v)]
    if not known:
        return "–"
    low, high = verdicts.interval(known) or (None, None)
    return measures.cell(metric, float(np.mean(known)), low, high, len(known))


def band(
    histories: Sequence[Sequence[tuple[float, float | None]]], factor: float = 1
) -> charts.Band | None:
    """Mean and range over runs at every x that all of them have a value at; None without any.

    Args:
        histories: (x, value) of each run.
        factor: values are multiplied with it.
    """
    known = [{x: y for x, y in h if y is not None and math.isfinite(y)} for h in histories]
    known = [k for k in known if k]
    if not known:
        return None
    x = sorted(set.intersection(*(set(k) for k in known)))
    if not x:
        return None
    y = np.array([[k[i] for i in x] for k in known]) * factor
    if len(known) == 1:
        return charts.Band(x=np.array(x), y=y[0])
    return charts.Band(x=np.array(x), y=y.mean(0), low=y.min(0), high=y.max(0))
