"""What labels were used for, said from what happened."""

import json
from collections.abc import Sequence

from deep_clustering.platform import registry
from deep_clustering.platform.data.catalogue import CATALOGUE
from deep_clustering.platform.report.markup.parts import Note
from deep_clustering.platform.report.pages._draft import RunRow
from deep_clustering.platform.report.pages._words import listed


def labels(rows: Sequence[RunRow]) -> Note:
    """What labels decided about some finished runs, at least one, before they were evaluated."""
    if all(row.get("metrics_reason") == "no_labels" for row in rows):
        return Note(level="good", text="The images have no labels, so that nothing here used any.")
    before = [*_tuned(rows), *_counted(rows)]
    if not before:
        return Note(
            level="good",
            text="Labels were used only to evaluate: every value is that of the last epoch, and "
            "labels chose nothing.",
        )
    return Note(
        text=f"Labels were used {' and '.join(['to evaluate', *before])}. In the runs they chose "
        "nothing: every value is that of the last epoch."
    )


def _tuned(rows: Sequence[RunRow]) -> list[str]:
    pairs = {
        (row["method"], row["dataset"])
        for row in rows
        if row["method"] in registry.names()
        and row["dataset"] in registry.method(row["method"]).tuned
    }
    return [f"to tune the preset of {method} on {dataset}" for method, dataset in sorted(pairs)]


def _counted(rows: Sequence[RunRow]) -> list[str]:
    """Where the number of clusters is that of the classes."""
    counted = set()
    for row in rows:
        entry = CATALOGUE.get(row["dataset"])
        clusters = json.loads(row.get("config_json") or "{}").get("clusters")
        if entry is not None and clusters is not None and clusters == entry.classes:
            counted.add(row["dataset"])
    return [f"to say the number of clusters on {listed(sorted(counted))}"] if counted else []
