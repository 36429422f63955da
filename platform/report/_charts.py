"""The charts of a report, drawn with matplotlib as inline SVG that follows the page's colours.

A chart is drawn in the colours of light paper. In a page each of them becomes a CSS variable, so
that the same chart is readable on dark paper; as a file it stays as drawn. Widths and font sizes
are chosen so that text has about ten pixels on a phone. Without dates and with a fixed salt, equal
numbers give equal bytes.
"""

import io
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from deep_clustering.platform.evaluation.bins import BARS, Bins
from deep_clustering.platform.metrics._arrays import Array
from deep_clustering.platform.report._html import COLOURS

_WIDTH = 4.4  # inches; a phone shows them at about their own size
_HEX = {name: pair[0] for name, pair in COLOURS.items()}
_SERIES = [_HEX[f"s{i}"] for i in range(1, 7)]
_DASHES = ["-", (0, (5, 1.5)), (0, (1.5, 1.2)), (0, (5, 1.5, 1.5, 1.5)), (0, (8, 2)), (0, (3, 3))]
_INK, _MUTED, _LINE, _PAPER = (_HEX[n] for n in ("ink", "muted", "line", "paper"))
_STYLE: Any = {
    "svg.fonttype": "none",
    "svg.hashsalt": "deep-clustering",
    "text.parse_math": False,
    "axes.unicode_minus": True,
    "font.family": "DejaVu Sans",
    "font.size": 9.5,
    "axes.titlesize": 9.5,
    "axes.labelsize": 9.5,
    "xtick.labelsize": 9,
    "ytick.labelsize": 9,
    "legend.fontsize": 9,
    "axes.titlelocation": "left",
    "axes.titlepad": 4.0,
    "figure.constrained_layout.h_pad": 0.07,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "grid.color": _LINE,
    "grid.linewidth": 0.6,
    "axes.edgecolor": _MUTED,
    "axes.linewidth": 0.7,
    "xtick.color": _MUTED,
    "ytick.color": _MUTED,
    "xtick.labelcolor": _INK,
    "ytick.labelcolor": _INK,
    "text.color": _INK,
    "axes.labelcolor": _INK,
    "axes.titlecolor": _INK,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "legend.frameon": False,
    "lines.linewidth": 1.6,
    "path.simplify": True,
}


@dataclass(frozen=True, kw_only=True)
class Chart:
    """A drawn chart; `name` is that of its files, `alt` says in a sentence what it shows."""

    name: str
    figure: Figure
    alt: str


@dataclass(frozen=True, kw_only=True)
class Band:
    """A line over x with the range that it varies in; `low` and `high` are None without one."""

    x: Array
    y: Array
    low: Array | None = None
    high: Array | None = None


# ---- from figures to bytes


@contextmanager
def _quiet() -> Iterator[None]:
    """Our style; a name in a script that the font lacks is shown by the browser's own fonts."""
    with mpl.rc_context(_STYLE), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        yield


def _svg(chart: Chart) -> str:
    sink = io.StringIO()
    with _quiet():
        FigureCanvasSVG(chart.figure).print_svg(
            sink, metadata={"Date": None, "Creator": None, "Format": None, "Type": None}
        )
    return sink.getvalue()


def files(chart: Chart) -> dict[str, bytes]:
    """Name -> content of a chart as PNG and SVG, on white paper."""
    figure, sink = chart.figure, io.BytesIO()
    figure.set_facecolor(_PAPER)
    try:
        svg = _svg(chart).encode()
        with _quiet():
            FigureCanvasAgg(figure).print_figure(
                sink, dpi=200, facecolor=_PAPER, metadata={"Software": None}
            )
    finally:
        figure.set_facecolor("none")
    return {f"{chart.name}.svg": svg, f"{chart.name}.png": sink.getvalue()}


_ID = re.compile(r' id="([^"]*)"')
_REFERENCE = re.compile(r'(?:url\(#|xlink:href="#)([^")]*)')
_COLOUR = re.compile("|".join(re.escape(colour) for colour in _HEX.values()))
_VARIABLE = {colour: f"var(--{name})" for name, colour in _HEX.items()}
_FRACTION = re.compile(r"(\d+\.\d\d)\d+")


def inline(chart: Chart) -> Markup:
    """The chart as an element of a page: scales, has a name for readers, loads nothing."""
    text = _svg(chart)
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r"<!--.*?-->", "", text, flags=re.DOTALL)
    box = re.search(r'viewBox="([^"]*)"', text)
    assert box is not None
    used = set(_REFERENCE.findall(text))

    def own(match: re.Match[str]) -> str:
        return f' id="{chart.name}-{match[1]}"' if match[1] in used else ""

    text = _ID.sub(own, text)
    text = text.replace("url(#", f"url(#{chart.name}-")
    text = text.replace('xlink:href="#', f'href="#{chart.name}-')
    text = _COLOUR.sub(lambda m: _VARIABLE[m[0]], text)
    text = _FRACTION.sub(r"\1", text)
    text = re.sub(r"\s*\n\s*", " ", text).replace("> <", "><")
    inside = text[text.index(">") + 1 :]
    return Markup('<svg viewBox="{}" role="img" aria-label="{}">').format(
        Markup(box[1]), chart.alt
    ) + Markup(inside)


# ---- parts of charts


def _panels(
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
    figure = Figure(figsize=(_WIDTH, tall), layout="constrained")
    grid = figure.subplots(
        rows, columns, sharex=share, sharey=share if share_y is None else share_y, squeeze=False
    )
    axes = list(grid.flat)
    for panel in axes[len(titles) :]:
        panel.set_visible(False)
    for panel, title in zip(axes, titles, strict=False):
        panel.set_title(_short(title, 27 if columns == 2 else 60))
    if share and len(titles) % columns:  # the panel above the empty place has no neighbour below
        axes[len(titles) - 1 - (columns - 1)].tick_params(labelbottom=True)
    return figure, axes[: len(titles)]


def _short(text: str, length: int) -> str:
    return text if len(text) <= length else text[: length - 1] + "…"


def _draw(panel: Axes, band: Band, colour: str, dashes: Any = "-", label: str = "") -> None:
    lonely = "o" if len(band.x) == 1 else ""
    panel.plot(band.x, band.y, color=colour, ls=dashes, marker=lonely, ms=4, label=label)
    if band.low is not None and band.high is not None:
        panel.fill_between(band.x, band.low, band.high, color=colour, alpha=0.22, lw=0)


def _lonely(handle: Any) -> bool:
    """Whether a line is a single point, whose marker would stand for all lines of its name."""
    return hasattr(handle, "get_xdata") and len(handle.get_xdata()) == 1


def _legend(figure: Figure, axes: Sequence[Axes]) -> None:
    handles: dict[str, Any] = {}
    for panel in axes:
        for handle, label in zip(*panel.get_legend_handles_labels(), strict=True):
            if label not in handles or not _lonely(handle):
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


# ---- charts


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
    with _quiet():
        several = max(len(lines) for lines in panels.values())
        legend = 0.2 * -(-several // 3) if several > 1 or reference else 0
        figure, axes = _panels(list(panels), height=1.3, share=share, legend=legend)
        labels = list(dict.fromkeys(label for lines in panels.values() for label in lines))
        for panel, lines in zip(axes, panels.values(), strict=True):
            if reference is not None:
                label, band = reference
                panel.plot(band.x, band.y, color=_MUTED, ls=(0, (2, 1.5)), lw=1.2, label=label)
            for label, band in lines.items():
                place = labels.index(label)
                _draw(panel, band, _SERIES[place % 6], _DASHES[place % 6], label)
            panel.margins(x=0.02)
            panel.locator_params(nbins=5)
            panel.locator_params(axis="x", integer=x == "epoch")
        _legend(figure, axes)
        figure.supxlabel(x, fontsize=9.5)
        figure.supylabel(y, fontsize=9.5)
    return Chart(name=name, figure=figure, alt=alt)


@dataclass(frozen=True, kw_only=True)
class Difference:
    """A line of a forest chart, in the unit of its axis; None where there is no such value."""

    label: str
    value: float | None
    low: float | None
    high: float | None
    published: float | None
    margin: float


def forest(name: str, alt: str, rows: Sequence[Difference], *, x: str) -> Chart:
    """Differences with intervals, and published differences with their margins."""
    with _quiet():
        figure = Figure(figsize=(_WIDTH, 0.85 + 0.42 * len(rows)), layout="constrained")
        panel = figure.subplots()
        for place, row in enumerate(rows):
            centre = row.published if row.published is not None else 0.0
            panel.fill_betweenx(
                [place - 0.32, place + 0.32],
                centre - row.margin,
                centre + row.margin,
                color=_SERIES[1],
                alpha=0.18,
                lw=0,
                label="margin",
            )
            if row.published is not None:
                panel.plot(
                    row.published, place, "D", ms=6, mfc="none", mec=_SERIES[1], label="published"
                )
            if row.value is not None and row.low is not None and row.high is not None:
                panel.plot([row.low, row.high], [place, place], color=_SERIES[0], lw=1.8)
                panel.plot(row.value, place, "o", ms=5.5, color=_SERIES[0], label="ours, 95 %")
            elif row.value is not None:
                panel.plot(row.value, place, "o", ms=5.5, color=_SERIES[0], label="ours")
        panel.axvline(0, color=_INK, lw=0.8)
        panel.set_yticks(range(len(rows)), [_short(row.label, 26) for row in rows])
        panel.set_ylim(len(rows) - 0.4, -0.6)
        panel.grid(axis="y", visible=False)
        panel.tick_params(axis="y", length=0)
        panel.locator_params(axis="x", nbins=6)
        panel.set_xlabel(x)
        _legend(figure, [panel])
    return Chart(name=name, figure=figure, alt=alt)


def reliability(name: str, alt: str, panels: Mapping[str, Bins]) -> Chart:
    """Accuracy in the 15 bins of confidence, the diagonal, and the means of both."""
    with _quiet():
        figure, axes = _panels(list(panels), height=1.6, legend=0.2)
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
                color=_SERIES[0],
                alpha=0.45,
                ec=_SERIES[0],
                lw=0.7,
                label="accuracy in a bin",
            )
            panel.plot([0, 1], [0, 1], color=_INK, lw=0.9, label="calibrated")
            panel.axhline(
                found.accuracy, color=_SERIES[0], ls=_DASHES[1], lw=1.2, label="mean accuracy"
            )
            panel.axvline(
                found.mean_confidence,
                color=_SERIES[1],
                ls=_DASHES[2],
                lw=1.4,
                label="mean confidence",
            )
            panel.set(xlim=(0, 1), ylim=(0, 1), xticks=[0, 0.5, 1], yticks=[0, 0.5, 1])
        _legend(figure, axes)
        figure.supxlabel("confidence", fontsize=9.5)
        figure.supylabel("accuracy", fontsize=9.5)
    return Chart(name=name, figure=figure, alt=alt)


def histograms(name: str, alt: str, panels: Mapping[str, Bins]) -> Chart:
    """Confidences of right images upwards and of wrong ones downwards, as shares of each group.

    Without labels, of all images upwards.
    """
    with _quiet():
        figure, axes = _panels(list(panels), height=1.4, legend=0.2, share_y=False)
        edges = np.arange(BARS + 1) / BARS
        for panel, found in zip(axes, panels.values(), strict=True):
            if found.bars_right is None:
                groups = [("all images", found.bars, 1, 0)]
            else:
                wrong = found.bars - found.bars_right
                groups = [("right", found.bars_right, 1, 0), ("wrong", wrong, -1, 1)]
            for label, counts, sign, series in groups:
                share = sign * 100 * counts / max(1, counts.sum())
                panel.stairs(
                    share, edges, fill=True, color=_SERIES[series], alpha=0.75, label=label
                )
            panel.axhline(0, color=_INK, lw=0.7)
            panel.set_xlim(0, 1)
            panel.set_xticks([0, 0.5, 1])
            panel.yaxis.set_major_formatter(lambda v, _: f"{abs(v):g}")
            panel.locator_params(axis="y", nbins=5)
        _legend(figure, axes)
        figure.supxlabel("confidence", fontsize=9.5)
        figure.supylabel("share of the group, %", fontsize=9.5)
    return Chart(name=name, figure=figure, alt=alt)


def densities(name: str, alt: str, panels: Mapping[str, tuple[Array, Array]]) -> Chart:
    """Shares of a run's own images and of others over confidence; counts (BARS,) of both."""
    with _quiet():
        figure, axes = _panels(list(panels), height=1.4, legend=0.2, share_y=False)
        edges = np.arange(BARS + 1) / BARS
        for panel, (own, others) in zip(axes, panels.values(), strict=True):
            for label, counts, series in (("own images", own, 0), ("others", others, 1)):
                share = 100 * counts / max(1, counts.sum())
                colour = _SERIES[series]
                panel.stairs(share, edges, fill=True, color=colour, alpha=0.25)
                panel.stairs(share, edges, color=colour, lw=1.3, ls=_DASHES[series], label=label)
            panel.set_xlim(0, 1)
            panel.locator_params(axis="y", nbins=4)
        _legend(figure, axes)
        figure.supxlabel("confidence", fontsize=9.5)
        figure.supylabel("share of the images, %", fontsize=9.5)
    return Chart(name=name, figure=figure, alt=alt)


def bars(name: str, alt: str, labels: Sequence[str], values: Sequence[float], *, x: str) -> Chart:
    """Horizontal bars with their values."""
    with _quiet():
        figure = Figure(figsize=(_WIDTH, 0.6 + 0.26 * len(labels)), layout="constrained")
        panel = figure.subplots()
        panel.barh(range(len(labels)), values, color=_SERIES[0], alpha=0.75, height=0.7)
        for place, given in enumerate(values):
            text = f"{given:,.0f}" if given >= 10 or given == int(given) else f"{given:.2f}"
            panel.annotate(
                text, (given, place), (3, 0), textcoords="offset points", va="center", fontsize=9
            )
        panel.set_yticks(range(len(labels)), [_short(label, 26) for label in labels])
        panel.set_ylim(len(labels) - 0.4, -0.6)
        panel.set_xlim(0, 1.15 * max([*values, 1e-9]))
        panel.grid(axis="y", visible=False)
        panel.locator_params(axis="x", nbins=5)
        panel.set_xlabel(x)
    return Chart(name=name, figure=figure, alt=alt)


def columns(name: str, alt: str, values: Sequence[float], *, x: str, y: str) -> Chart:
    """Upright bars numbered from 0, for many values such as the sizes of clusters."""
    with _quiet():
        figure = Figure(figsize=(_WIDTH, 2.2), layout="constrained")
        panel = figure.subplots()
        panel.bar(range(len(values)), values, color=_SERIES[0], alpha=0.75, width=0.8)
        panel.grid(axis="x", visible=False)
        panel.locator_params(axis="x", integer=True)
        panel.set_xlabel(x)
        panel.set_ylabel(y)
    return Chart(name=name, figure=figure, alt=alt)


def progress(
    name: str, alt: str, numbers: Sequence[int], values: Sequence[float], *, y: str, highest: bool
) -> Chart:
    """The value of each trial, and the best one so far."""
    with _quiet():
        figure = Figure(figsize=(_WIDTH, 2.6), layout="constrained")
        panel = figure.subplots()
        best = np.maximum.accumulate(values) if highest else np.minimum.accumulate(values)
        panel.step(numbers, best, where="post", color=_SERIES[1], label="best so far")
        panel.plot(numbers, values, "o", color=_SERIES[0], ms=4.5, label="trial")
        panel.locator_params(axis="x", integer=True)
        panel.set_xlabel("trial")
        panel.set_ylabel(y)
        _legend(figure, [panel])
    return Chart(name=name, figure=figure, alt=alt)


def front(name: str, alt: str, values: Array, best: Sequence[bool], *, x: str, y: str) -> Chart:
    """Two objectives of all trials (T, 2); those on the Pareto front are joined."""
    with _quiet():
        figure = Figure(figsize=(_WIDTH, 3.2), layout="constrained")
        panel = figure.subplots()
        chosen = np.asarray(best)
        rest, mine = values[~chosen], values[chosen]
        mine = mine[np.argsort(mine[:, 0])]
        panel.plot(rest[:, 0], rest[:, 1], "o", mfc="none", mec=_MUTED, ms=5, label="trial")
        panel.plot(mine[:, 0], mine[:, 1], "o-", color=_SERIES[0], ms=6, lw=1, label="front")
        panel.set_xlabel(x)
        panel.set_ylabel(y)
        _legend(figure, [panel])
    return Chart(name=name, figure=figure, alt=alt)


def parallel(
    name: str,
    alt: str,
    axes: Mapping[str, tuple[Array, Sequence[tuple[float, str]]]],
    best: Sequence[bool],
) -> Chart:
    """One line per trial through one level per parameter; the best trials stand out.

    Args:
        axes: name -> places of the trials on it, each in [0, 1], and (place, text) of its ticks.
        best: which trials stand out.
    """
    with _quiet():
        figure = Figure(figsize=(_WIDTH, 0.5 + 0.62 * len(axes)), layout="constrained")
        panel = figure.subplots()
        levels = np.arange(len(axes))
        places = np.stack([where for where, _ in axes.values()])  # (axes, trials)
        for trial in np.argsort(best, kind="stable"):
            colour, width = (_SERIES[1], 2.0) if best[trial] else (_SERIES[0], 0.8)
            panel.plot(
                places[:, trial],
                levels,
                color=colour,
                lw=width,
                alpha=1 if best[trial] else 0.45,
                label="best" if best[trial] else "trial",
            )
        for level, (_, ticks) in enumerate(axes.values()):
            panel.axhline(level, color=_MUTED, lw=0.8)
            for place, text in ticks:
                side = "left" if place < 0.1 else "right" if place > 0.9 else "center"
                panel.annotate(
                    _short(text, 14),
                    (place, level),
                    (0, -3),
                    textcoords="offset points",
                    ha=side,
                    va="top",
                    fontsize=9,
                    bbox={"fc": _PAPER, "ec": "none", "pad": 0.6, "alpha": 0.85},
                )
        panel.set_yticks(levels, [_short(label, 22) for label in axes])
        panel.set_ylim(len(axes) - 0.45, -0.3)
        panel.set_xlim(-0.02, 1.02)
        panel.set_xticks([])
        panel.grid(visible=False)
        panel.tick_params(axis="y", length=0)
        for spine in panel.spines.values():
            spine.set_visible(False)
        _legend(figure, [panel])
    return Chart(name=name, figure=figure, alt=alt)
