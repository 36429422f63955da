"""The trials of a search: in order, by two objectives, and with their parameters."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from deep_clustering.platform.metrics.arrays import Array
from deep_clustering.platform.report.charts._layout import legend, short, single
from deep_clustering.platform.report.charts._style import MUTED, PAPER, SERIES, styled
from deep_clustering.platform.report.charts.chart import Chart


def progress(
    name: str, alt: str, numbers: Sequence[int], values: Sequence[float], *, y: str, highest: bool
) -> Chart:
    """The value of each trial, and the best one so far."""
    with styled():
        figure, panel = single(2.6)
        best = np.maximum.accumulate(values) if highest else np.minimum.accumulate(values)
        panel.step(numbers, best, where="post", color=SERIES[1], label="best so far")
        panel.plot(numbers, values, "o", color=SERIES[0], ms=4.5, label="trial")
        panel.locator_params(axis="x", integer=True)
        panel.set_xlabel("trial")
        panel.set_ylabel(y)
        legend(figure, [panel])
    return Chart(name=name, figure=figure, alt=alt)


def front(name: str, alt: str, values: Array, best: Sequence[bool], *, x: str, y: str) -> Chart:
    """Two objectives of all trials (T, 2); those on the Pareto front are joined."""
    with styled():
        figure, panel = single(3.2)
        chosen = np.asarray(best)
        rest, mine = values[~chosen], values[chosen]
        mine = mine[np.argsort(mine[:, 0])]
        panel.plot(rest[:, 0], rest[:, 1], "o", mfc="none", mec=MUTED, ms=5, label="trial")
        panel.plot(mine[:, 0], mine[:, 1], "o-", color=SERIES[0], ms=6, lw=1, label="front")
        panel.set_xlabel(x)
        panel.set_ylabel(y)
        legend(figure, [panel])
    return Chart(name=name, figure=figure, alt=alt)


@dataclass(frozen=True, kw_only=True)
class Axis:
    """A parameter in the chart of parallel lines; places are from 0 (left) to 1 (right).

    Attributes:
        places: of each trial, (T,).
        ticks: (place, text).
    """

    places: Array
    ticks: Sequence[tuple[float, str]]


def parallel(
    name: str,
    alt: str,
    axes: Mapping[str, Axis],
    best: Sequence[bool],
) -> Chart:
    """One line per trial through one level per parameter; the best trials stand out.

    Args:
        axes: name -> axis, from top to bottom.
        best: which trials stand out.
    """
    with styled():
        figure, panel = single(0.5 + 0.62 * len(axes))
        levels = np.arange(len(axes))
        places = np.stack([axis.places for axis in axes.values()])  # (axes, trials)
        for trial in np.argsort(best, kind="stable"):
            colour, width = (SERIES[1], 2.0) if best[trial] else (SERIES[0], 0.8)
            panel.plot(
                places[:, trial],
                levels,
                color=colour,
                lw=width,
                alpha=1 if best[trial] else 0.45,
                label="best" if best[trial] else "trial",
            )
        for level, axis in enumerate(axes.values()):
            panel.axhline(level, color=MUTED, lw=0.8)
            for place, text in axis.ticks:
                side = "left" if place < 0.1 else "right" if place > 0.9 else "center"
                panel.annotate(
                    short(text, 14),
                    (place, level),
                    (0, -3),
                    textcoords="offset points",
                    ha=side,
                    va="top",
                    fontsize=9,
                    bbox={"fc": PAPER, "ec": "none", "pad": 0.6, "alpha": 0.85},
                )
        panel.set_yticks(levels, [short(label, 22) for label in axes])
        panel.set_ylim(len(axes) - 0.45, -0.3)
        panel.set_xlim(-0.02, 1.02)
        panel.set_xticks([])
        panel.grid(visible=False)
        panel.tick_params(axis="y", length=0)
        for spine in panel.spines.values():
            spine.set_visible(False)
        legend(figure, [panel])
    return Chart(name=name, figure=figure, alt=alt)
