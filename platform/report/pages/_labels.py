"""What labels were used for, said from what happened."""

import json
from collections.abc import Sequence

import polars as pl

from deep_clustering.platform.encoders.names import Encoder
from deep_clustering.platform.report.markup.parts import Note
from deep_clustering.platform.report.pages._draft import Draft, RunRow
from deep_clustering.platform.request.jobs import FROZEN
from deep_clustering.platform.request.labels import of_row


def labels(draft: Draft, rows: Sequence[RunRow]) -> Note:
    """What labels decided about some finished runs, at least one, before they were evaluated."""
    stages = draft.store.rows("stages").filter(pl.col("kind") == FROZEN)
    encoders = {
        stage: Encoder.from_config(json.loads(config))
        for stage, config in stages.select("stage_id", "config_json").iter_rows()
    }
    before = list(dict.fromkeys(use for row in rows for use in of_row(row, encoders)))
    unlabelled = all(row.get("metrics_reason") == "no_labels" for row in rows)
    if unlabelled and not before:
        return Note(level="good", text="The images have no labels, so that nothing here used any.")
    if not before:
        return Note(
            level="good",
            text="Labels were used only to evaluate: every value is that of the last epoch, and "
            "labels chose nothing.",
        )
    if unlabelled:
        return Note(text=f"The images have no labels. Labels were used {' and '.join(before)}.")
    return Note(
        text=f"Labels were used {' and '.join(['to evaluate', *before])}. In the runs they chose "
        "nothing: every value is that of the last epoch."
    )
