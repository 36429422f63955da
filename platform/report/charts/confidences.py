"""How confident a model is: reliability diagrams, histograms and densities."""

from collections.abc import Mapping

import numpy as np

from deep_clustering.platform.evaluation.bins import BARS, Bins
from deep_clustering.platform.metrics import diagrams
from deep_clustering.platform.metrics.arrays import Array
from deep_clustering.platform.report.charts._layout import described, panelled
from deep_clustering.platform.report.charts._style import DASHES, INK, MUTED, SERIES, styled
from deep_clustering.platform.report.charts.chart import Chart

_BAND = 60  # points of a band that are drawn


def reliability(name: str, alt: str, panels: Mapping[str, Bins]) -> Chart:
    """Accuracy in the 15 bins of confidence, the diagonal, and the means of both."""
    with styled():
        figure, axes = panelled(list(panels), height=1.6, legend=0.2)
        for panel, found in zip(axes, panels.values(), strict=True):
            assert found.right is not None
            assert found.accuracy is not None
            used = found.count > 0
            edges = np.arange(len(found.count) + 1) / len(found.count)
            height = found.right[used] / found.count[used]
            panel.bar(
                edges[:-1][used],
                height,
                width=edges[1],
                align="edge",
                color=SERIES[0],
                alpha=0.45,
                ec=SERIES[0],
                lw=0.7,
                label="accuracy in a bin",
            )
            panel.plot([0, 1], [0, 1], color=INK, lw=0.9, label="calibrated")
            panel.axhline(
                found.accuracy, color=SERIES[0], ls=DASHES[1], lw=1.2, label="mean accuracy"
            )
            panel.axvline(
                found.mean_confidence,
                color=SERIES[1],
                ls=DASHES[2],
                lw=1.4,
                label="mean confidence",
            )
            panel.set(xlim=(0, 1), ylim=(0, 1), xticks=[0, 0.5, 1], yticks=[0, 0.5, 1])
        described(figure, axes, x="confidence", y="accuracy")
    return Chart(name=name, figure=figure, alt=alt)


def without_bins(name: str, alt: str, panels: Mapping[str, Bins]) -> Chart:
    """Accuracy over confidence by isotonic regression with its band, and smooth."""
    with styled():
        figure, axes = panelled(list(panels), height=1.6, legend=0.2)
        for panel, found in zip(axes, panels.values(), strict=True):
            assert found.cells is not None
            corp, smooth = diagrams.corp(found.cells), diagrams.smooth(found.cells)
            x, y = corp["confidence"], corp["accuracy"]
            some = np.unique(np.linspace(0, len(x) - 1, _BAND).astype(np.int64))
            panel.fill_between(
                x[some],
                corp["low"][some],
                corp["high"][some],
                color=MUTED,
                alpha=0.3,
                lw=0,
                label="95 % of calibrated heads",
            )
            panel.plot([0, 1], [0, 1], color=INK, lw=0.9, label="calibrated")
            lonely = "o" if len(x) == 1 else ""
            step = np.append(True, np.diff(y) != 0)
            ends = step | np.append(step[1:], True)  # of each level
            panel.plot(x[ends], y[ends], color=SERIES[0], marker=lonely, ms=4, label="isotonic")
            panel.plot(
                smooth["confidence"],
                smooth["accuracy"],
                color=SERIES[1],
                ls=DASHES[1],
                marker=lonely,
                ms=3,
                label="smooth",
            )
            panel.set(xlim=(0, 1), ylim=(0, 1), xticks=[0, 0.5, 1], yticks=[0, 0.5, 1])
        described(figure, axes, x="confidence", y="accuracy")
    return Chart(name=name, figure=figure, alt=alt)


def histograms(name: str, alt: str, panels: Mapping[str, Bins]) -> Chart:
    """Confidences of right images upwards and of wrong ones downwards, as shares of each group.

    Without labels, of all images upwards.
    """
    with styled():
        figure, axes = panelled(list(panels), height=1.4, legend=0.2, share_y=False)
        edges = np.arange(BARS + 1) / BARS
        for panel, found in zip(axes, panels.values(), strict=True):
            if found.bars_right is None:
                groups = [("all images", found.bars, 1, 0)]
            else:
                wrong = found.bars - found.bars_right
                groups = [("right", found.bars_right, 1, 0), ("wrong", wrong, -1, 1)]
            for label, counts, sign, series in groups:
                share = sign * 100 * counts / max(1, counts.sum())
                panel.stairs(share, edges, fill=True, color=SERIES[series], alpha=0.75, label=label)
            panel.axhline(0, color=INK, lw=0.7)
            panel.set_xlim(0, 1)
            panel.set_xticks([0, 0.5, 1])
            panel.yaxis.set_major_formatter(lambda v, _: f"{abs(v):g}")
            panel.locator_params(axis="y", nbins=5)
        described(figure, axes, x="confidence", y="share, %")
    return Chart(name=name, figure=figure, alt=alt)


def densities(
    name: str,
    alt: str,
    panels: Mapping[str, Mapping[str, Array]],
    *,
    x: str,
) -> Chart:
    """Shares of values in bars of equal width, a curve for each label.

    Args:
        panels: title -> label -> values (n,), from 0 to 1.
        x: name of the axis.
    """
    with styled():
        figure, axes = panelled(list(panels), height=1.4, legend=0.2, share_y=False)
        for panel, series in zip(axes, panels.values(), strict=True):
            for place, (label, values) in enumerate(series.items()):
                counts, edges = np.histogram(values, BARS, (0.0, 1.0))
                share = 100 * counts / max(1, counts.sum())
                colour = SERIES[place % 6]
                panel.stairs(share, edges, fill=True, color=colour, alpha=0.25)
                panel.stairs(share, edges, color=colour, lw=1.3, ls=DASHES[place % 6], label=label)
            panel.set_xlim(0, 1)
            panel.locator_params(axis="y", nbins=4)
        described(figure, axes, x=x, y="share, %")
    return Chart(name=name, figure=figure, alt=alt)
