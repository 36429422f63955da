"""What a reader has to know before any number: warnings, and runs without a result."""

import json
from collections.abc import Iterable, Sequence

from deep_clustering.platform.encoders.names import MEANING, Encoder
from deep_clustering.platform.evaluation import measures
from deep_clustering.platform.report.markup.parts import (
    Badge,
    Code,
    Note,
    Part,
    cell,
    label,
    number,
    table,
    wide,
)
from deep_clustering.platform.report.pages._draft import Draft, RunRow
from deep_clustering.platform.report.pages._words import ids, listed
from deep_clustering.platform.request.jobs import FROZEN

_FLAGS = {
    "collapsed": "Nearly all images are in one cluster",
    "empty_clusters": "Some clusters have no images",
    "constant_confidence": "All images have the same confidence, which then says nothing",
}


def trained_with(draft: Draft, row: RunRow) -> list[Note]:
    """A note on the frozen encoder that a run builds on, where it builds on one."""
    if row["stage_id"] is None or row["stage_id"] not in draft.store.stages():
        return []
    stage = draft.store.stage_row(row["stage_id"])
    if stage["kind"] != FROZEN:
        return []
    encoder = Encoder.from_config(json.loads(stage["config_json"]))
    return [
        Note(
            level="plain" if encoder.labels in ("none", "captions") else "bad",
            head=f"On features of the encoder {encoder.name}.",
            text=MEANING[encoder.labels],
        )
    ]


def flagged(rows: Iterable[tuple[str, RunRow]]) -> list[Note]:
    """Notes on what is wrong with the results of runs; `rows` are (what a run is called, row)."""
    labels: dict[str, dict[str, None]] = {}
    for name, row in rows:
        for flag in row.get("flags") or []:
            labels.setdefault(flag, {})[name] = None
    return [
        Note(
            level="bad",
            head=f"{_FLAGS.get(flag, flag)}.",
            text=f"{measures.plural(len(names), 'run')}: {listed(names)}.",
        )
        for flag, names in labels.items()
    ]


def without_result(count: int) -> list[Note]:
    """A note on how many runs failed, where any did."""
    if not count:
        return []
    head = f"{measures.plural(count, 'run has', 'runs have')} no result."
    return [Note(level="bad", head=head, text="The table below says why.")]


def mixtures(rows: Sequence[RunRow]) -> list[Note]:
    """Notes on runs by different code, on different devices, or without some of the images."""
    notes = []
    for column, what in (
        ("git_revision", "revisions of the code"),
        ("torch_version", "releases of PyTorch"),
        ("device_name", "devices"),
    ):
        values = {row[column] for row in rows if row.get(column)}
        if len(values) > 1:
            text = f"The runs were made with {len(values)} {what}: {listed(sorted(values))}."
            notes.append(Note(text=text))
    if any(row.get("git_dirty") for row in rows):
        notes.append(Note(text="Some runs were made by code with uncommitted changes."))
    skipped = {row["dataset"]: row["skipped_images"] for row in rows if row.get("skipped_images")}
    for dataset, count in skipped.items():
        one, more = (f"unreadable {word}" for word in ("image was", "images were"))
        many = measures.plural(count, one, more)
        notes.append(Note(level="bad", text=f"{many} left out of {dataset}."))
    return notes


def failures(draft: Draft, lost: Sequence[tuple[str, RunRow]], names: str) -> list[Part]:
    """The table of runs without a result.

    Args:
        lost: (what a run is called, its row).
        names: heads the column of what they are called.
    """
    if not lost:
        return []
    rows = [
        [
            label(name),
            cell(str(row["dataset"])),
            number(str(row["seed"])),
            cell([Badge(str(row["status"]))]),
            wide(str(row["reason"] or "no reason on record")),
            cell([Code(str(row["run_id"]))]),
        ]
        for name, row in lost
    ]
    heads = [names, "data set", "seed", "status", "reason", "run"]
    query = draft.query(
        f'results.runs(store).filter(pl.col("run_id").is_in({ids(r["run_id"] for _, r in lost)}))'
        '\\\n    .select("run_id", "dataset", "seed", "status", "reason").collect()'
    )
    return [table("Runs without a result", heads, rows), query]
