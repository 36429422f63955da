"""Bars, lying with names or upright with numbers."""

from collections.abc import Sequence

from deep_clustering.platform.report.charts._layout import short, single
from deep_clustering.platform.report.charts._style import SERIES, styled
from deep_clustering.platform.report.charts.chart import Chart


def bars(name: str, alt: str, labels: Sequence[str], values: Sequence[float], *, x: str) -> Chart:
    """Horizontal bars with their values."""
    with styled():
        figure, panel = single(0.6 + 0.26 * len(labels))
        panel.barh(range(len(labels)), values, color=SERIES[0], alpha=0.75, height=0.7)
        for place, given in enumerate(values):
            text = f"{given:,.0f}" if given >= 10 or given == int(given) else f"{given:.2f}"
            panel.annotate(
                text, (given, place), (3, 0), textcoords="offset points", va="center", fontsize=9
            )
        panel.set_yticks(range(len(labels)), [short(label, 26) for label in labels])
        panel.set_ylim(len(labels) - 0.4, -0.6)
        panel.set_xlim(0, 1.15 * max([*values, 1e-9]))
        panel.grid(axis="y", visible=False)
        panel.locator_params(axis="x", nbins=5)
        panel.set_xlabel(x)
    return Chart(name=name, figure=figure, alt=alt)


def columns(name: str, alt: str, values: Sequence[float], *, x: str, y: str) -> Chart:
    """Upright bars numbered from 0, for many values such as the sizes of clusters."""
    with styled():
        figure, panel = single(2.2)
        panel.bar(range(len(values)), values, color=SERIES[0], alpha=0.75, width=0.8)
        panel.grid(axis="x", visible=False)
        panel.locator_params(axis="x", integer=True)
        panel.set_xlabel(x)
        panel.set_ylabel(y)
    return Chart(name=name, figure=figure, alt=alt)
