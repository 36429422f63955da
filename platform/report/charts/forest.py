"""Differences with their intervals, beside published ones."""

from collections.abc import Sequence
from dataclasses import dataclass

from deep_clustering.platform.report.charts._layout import legend, short, single
from deep_clustering.platform.report.charts._style import INK, SERIES, styled
from deep_clustering.platform.report.charts.chart import Chart


@dataclass(frozen=True, kw_only=True)
class ForestLine:
    """A line of a forest chart, in the unit of its axis; None where there is no such value."""

    label: str
    value: float | None
    low: float | None
    high: float | None
    published: float | None
    margin: float


def forest(name: str, alt: str, rows: Sequence[ForestLine], *, x: str) -> Chart:
    """Differences with intervals, and published differences with their margins."""
    with styled():
        figure, panel = single(0.85 + 0.42 * len(rows))
        for place, row in enumerate(rows):
            centre = row.published if row.published is not None else 0.0
            panel.fill_betweenx(
                [place - 0.32, place + 0.32],
                centre - row.margin,
                centre + row.margin,
                color=SERIES[1],
                alpha=0.18,
                lw=0,
                label="margin",
            )
            if row.published is not None:
                panel.plot(
                    row.published, place, "D", ms=6, mfc="none", mec=SERIES[1], label="published"
                )
            if row.value is not None and row.low is not None and row.high is not None:
                panel.plot([row.low, row.high], [place, place], color=SERIES[0], lw=1.8)
                panel.plot(row.value, place, "o", ms=5.5, color=SERIES[0], label="ours, 95 %")
            elif row.value is not None:
                panel.plot(row.value, place, "o", ms=5.5, color=SERIES[0], label="ours")
        panel.axvline(0, color=INK, lw=0.8)
        panel.set_yticks(range(len(rows)), [short(row.label, 26) for row in rows])
        panel.set_ylim(len(rows) - 0.4, -0.6)
        panel.grid(axis="y", visible=False)
        panel.tick_params(axis="y", length=0)
        panel.locator_params(axis="x", nbins=6)
        panel.set_xlabel(x)
        legend(figure, [panel])
    return Chart(name=name, figure=figure, alt=alt)
