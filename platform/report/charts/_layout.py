"""Panels, their titles and their common legend."""

from collections.abc import Sequence

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from deep_clustering.platform.report.charts._style import WIDTH


def single(height: float) -> tuple[Figure, Axes]:
    """A figure of one panel; `height` in inches."""
    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    return figure, figure.subplots()


def panelled(
    titles: Sequence[str],
    *,
    height: float,
    share: bool = True,
    legend: float = 0,
    share_y: bool | None = None,
) -> tuple[Figure, list[Axes]]:
    """One panel for each title, two in a row; `height` of a panel and of the legend in inches."""
    columns = 1 if len(titles) == 1 else 2
    rows = -(-len(titles) // columns)
    tall = rows * height * (1.5 if columns == 1 else 1) + 0.35 + legend
    figure = Figure(figsize=(WIDTH, tall), layout="constrained")
    grid = figure.subplots(
        rows, columns, sharex=share, sharey=share if share_y is None else share_y, squeeze=False
    )
    axes = list(grid.flat)
    for panel in axes[len(titles) :]:
        panel.set_visible(False)
    for panel, title in zip(axes, titles, strict=False):
        panel.set_title(short(title, 27 if columns == 2 else 60))
    if share and len(titles) % columns:  # the panel above the empty place has no neighbour below
        axes[len(titles) - 1 - (columns - 1)].tick_params(labelbottom=True)
    return figure, axes[: len(titles)]


def short(text: str, length: int) -> str:
    """The text, or its beginning and an ellipsis where it has more letters than `length`."""
    return text if len(text) <= length else text[: length - 1] + "…"


def described(figure: Figure, axes: Sequence[Axes], *, x: str, y: str) -> None:
    """The legend of all panels, and names of the axes that all of them have."""
    legend(figure, axes)
    figure.supxlabel(x, fontsize=9.5)
    figure.supylabel(y, fontsize=9.5)


def legend(figure: Figure, axes: Sequence[Axes]) -> None:
    """One legend above all panels; nothing where there is only one name."""
    handles: dict[str, Artist] = {}
    for panel in axes:
        for handle, label in zip(*panel.get_legend_handles_labels(), strict=True):
            if label not in handles or not _is_point(handle):
                handles[label] = handle
    if len(handles) > 1:
        figure.legend(
            list(handles.values()),
            list(handles),
            loc="outside upper left",
            ncols=2 if max(map(len, handles)) > 14 else 3,
            handlelength=1.8,
            columnspacing=1.2,
            borderpad=0,
        )


def _is_point(handle: Artist) -> bool:
    """Whether it is a line of a single point: its marker would stand for all lines of its name."""
    return isinstance(handle, Line2D) and np.size(handle.get_xdata()) == 1
