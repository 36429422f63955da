"""The numbers of clusters that were tried beside the one of a run."""

import json
from collections.abc import Sequence

import numpy as np
import polars as pl

from deep_clustering.platform.report.charts.lines import Band, curves
from deep_clustering.platform.report.markup.parts import (
    Figure,
    Figures,
    Paragraph,
    Part,
    Query,
    Section,
    label,
    number,
    table,
)
from deep_clustering.platform.report.pages._draft import Draft, RunRow
from deep_clustering.platform.search.number import ERRORS, Candidate, ranked, verdict

#: Fewer numbers than this are no choice.
_FEWEST = 3


def numbers_tried(draft: Draft, row: RunRow) -> list[Section]:
    """A table of runs that differ from this one in the number of clusters alone."""
    if row.get("stability_excess") is None:
        return []
    alike = draft.store.rows("runs").filter(
        pl.col("status") == "ok",
        *(
            pl.col(name).eq_missing(pl.lit(row[name]))
            for name in ("method", "version", "dataset_fingerprint", "protocol", "seed", "stage_id")
        ),
    )
    mine = _without_number(row)
    found = {
        int(json.loads(other["config_json"])["clusters"]): other
        for other in alike.iter_rows(named=True)
        if _without_number(other) == mine
    }
    if len(found) < _FEWEST:
        return []
    order = ranked(Candidate.of(count, other) for count, other in found.items())
    place = {candidate.clusters: rank for rank, candidate in enumerate(order, 1)}
    lines = [
        [
            label(str(c.clusters)),
            number(f"{c.excess:.3f} ± {c.error:.3f}"),
            *(number("" if v is None else f"{v:.3f}") for v in (c.silhouette, c.agreement)),
            number(str(place[c.clusters])),
        ]
        for c in sorted(order, key=lambda c: c.clusters)
    ]
    names = ["clusters", "stability beyond chance", "silhouette", "neighbour agreement", "place"]
    columns = '"config.clusters", "^stability.*$", "silhouette", "neighbour_agreement"'
    query = draft.query(
        f'results.runs(store).filter(pl.col("run_id").is_in({[c.run for c in order]!r}))\\\n'
        f"    .select({columns}).collect()"
    )
    text = f"{verdict(order)} Chosen without labels; ± is a standard error over resamples."
    caption = f"{len(order)} numbers of clusters"
    parts: list[Part] = [
        Paragraph(text),
        Figures([_curve(draft, order, query)]),
        table(caption, names, lines),
        query,
    ]
    return [Section(title="Number of clusters", parts=parts)]


def _curve(draft: Draft, order: Sequence[Candidate], query: Query) -> Figure:
    """The stability over the number of clusters, with two standard errors on either side."""
    tried = sorted(order, key=lambda c: c.clusters)
    excess = np.array([c.excess for c in tried])
    reach = ERRORS * np.array([c.error for c in tried])
    band = Band(
        x=np.array([c.clusters for c in tried]), y=excess, low=excess - reach, high=excess + reach
    )
    axis = "stability beyond chance"
    chart = curves(
        "numbers-of-clusters",
        f"Stability beyond chance of {tried[0].clusters} to {tried[-1].clusters} clusters, highest "
        f"at {order[0].clusters}.",
        {"": {axis: band}},
        x="clusters",
        y=axis,
    )
    caption = "The band is two standard errors over resamples to either side."
    return draft.figure(chart, "Stability by number of clusters.", caption, query)


def _without_number(row: RunRow) -> dict[str, object]:
    config: dict[str, object] = json.loads(row["config_json"])
    return {name: value for name, value in config.items() if name != "clusters"}
