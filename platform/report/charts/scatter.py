"""Points in a plane, coloured by group or by a share."""

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from deep_clustering.platform.report.charts._layout import single
from deep_clustering.platform.report.charts._style import INK, PAPER, SERIES, WIDTH, styled
from deep_clustering.platform.report.charts.chart import Chart

_MARKERS = "osD^vP"
_SHADES = 4  # of a share


def by_group(name: str, alt: str, points: NDArray[np.float64], groups: NDArray[np.int64]) -> Chart:
    """Each group in a colour and a shape, its number at its middle.

    Args:
        points: (n, 2).
        groups: (n,) from 0.
    """
    with styled():
        figure, panel = single(WIDTH * 0.8)
        for group in np.unique(groups):
            own = points[groups == group]
            turn = int(group) // len(SERIES)
            panel.plot(
                *own.T,
                linestyle="",
                marker=_MARKERS[turn % len(_MARKERS)],
                markersize=2.2,
                markeredgewidth=0,
                color=SERIES[int(group) % len(SERIES)],
                alpha=0.6,
            )
        for group in np.unique(groups):
            middle = np.median(points[groups == group], axis=0)
            panel.annotate(
                str(group),
                (middle[0], middle[1]),
                ha="center",
                va="center",
                color=INK,
                bbox={"boxstyle": "round,pad=0.15", "facecolor": PAPER, "edgecolor": INK},
            )
        _bare(panel)
    return Chart(name=name, figure=figure, alt=alt)


def by_share(
    name: str, alt: str, points: NDArray[np.float64], shares: NDArray[np.float64]
) -> Chart:
    """Each point in the strength of its share.

    Args:
        points: (n, 2).
        shares: (n,) in 0..1.
    """
    with styled():
        figure, panel = single(WIDTH * 0.8)
        bins = np.minimum((shares * _SHADES).astype(int), _SHADES - 1)
        for shade in range(_SHADES):
            own = points[bins == shade]
            low, high = 100 * shade // _SHADES, 100 * (shade + 1) // _SHADES
            panel.plot(
                *own.T,
                linestyle="",
                marker="osD^"[shade],
                markersize=2.4,
                markeredgewidth=0,
                color=(SERIES[4], SERIES[1], SERIES[5], SERIES[0])[shade],
                alpha=0.7,
                label=f"{low} to {high} %",
            )
        panel.legend(loc="upper right", markerscale=2)
        _bare(panel)
    return Chart(name=name, figure=figure, alt=alt)


def _bare(panel: Axes) -> None:
    """Without numbers: directions of a projection have no unit."""
    panel.set_xticks([])
    panel.set_yticks([])
    panel.grid(visible=False)
