"""Lines over epochs, coverage or another axis."""

from collections.abc import Mapping
from dataclasses import dataclass

from matplotlib.axes import Axes

from deep_clustering.platform.metrics.arrays import Array
from deep_clustering.platform.report.charts._layout import described, panelled
from deep_clustering.platform.report.charts._style import DASHES, MUTED, SERIES, Dashes, styled
from deep_clustering.platform.report.charts.chart import Chart


@dataclass(frozen=True, kw_only=True)
class Band:
    """A line over x with the range that it varies in; `low` and `high` are None without one."""

    x: Array
    y: Array
    low: Array | None = None
    high: Array | None = None


def curves(
    name: str,
    alt: str,
    panels: Mapping[str, Mapping[str, Band]],
    *,
    x: str,
    y: str,
    reference: tuple[str, Band] | None = None,
    share: bool = True,
) -> Chart:
    """Lines over x, a panel for each title.

    Args:
        panels: title -> label -> line.
        x, y: names of the axes.
        reference: a line that every panel repeats in grey, with its label.
        share: all panels have the same axes.
    """
    with styled():
        several = max(len(lines) for lines in panels.values())
        space = 0.2 * -(-several // 3) if several > 1 or reference else 0
        figure, axes = panelled(list(panels), height=1.3, share=share, legend=space)
        labels = list(dict.fromkeys(label for lines in panels.values() for label in lines))
        for panel, lines in zip(axes, panels.values(), strict=True):
            if reference is not None:
                label, band = reference
                panel.plot(band.x, band.y, color=MUTED, ls=(0, (2, 1.5)), lw=1.2, label=label)
            for label, band in lines.items():
                place = labels.index(label)
                _draw(panel, band, SERIES[place % 6], DASHES[place % 6], label)
            panel.margins(x=0.02)
            panel.locator_params(nbins=5)
            panel.locator_params(axis="x", integer=x == "epoch")
        described(figure, axes, x=x, y=y)
    return Chart(name=name, figure=figure, alt=alt)


def _draw(panel: Axes, band: Band, colour: str, dashes: Dashes, label: str) -> None:
    lonely = "o" if len(band.x) == 1 else ""
    panel.plot(band.x, band.y, color=colour, ls=dashes, marker=lonely, ms=4, label=label)
    if band.low is not None and band.high is not None:
        panel.fill_between(band.x, band.low, band.high, color=colour, alpha=0.22, lw=0)
