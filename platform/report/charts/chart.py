"""A drawn chart, and how it becomes part of a page or a file.

In a page each colour becomes a CSS variable, so that the same chart is readable on dark paper; as a
file it stays as drawn. Without dates and with a fixed salt, equal numbers give equal bytes.
"""

import io
import re
from dataclasses import dataclass

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from deep_clustering.platform.report.charts._style import HEX, PAPER, styled
from deep_clustering.platform.report.markup.parts import Svg


@dataclass(frozen=True, kw_only=True)
class Chart:
    """A drawn chart; `name` is that of its files, `alt` says in a sentence what it shows."""

    name: str
    figure: Figure
    alt: str


def _svg(chart: Chart) -> str:
    sink = io.StringIO()
    with styled():
        FigureCanvasSVG(chart.figure).print_svg(
            sink, metadata={"Date": None, "Creator": None, "Format": None, "Type": None}
        )
    return sink.getvalue()


def files(chart: Chart) -> dict[str, bytes]:
    """Name -> content of a chart as PNG and SVG, on white paper."""
    figure, sink = chart.figure, io.BytesIO()
    figure.set_facecolor(PAPER)
    try:
        svg = _svg(chart).encode()
        with styled():
            FigureCanvasAgg(figure).print_figure(
                sink, dpi=200, facecolor=PAPER, metadata={"Software": None}
            )
    finally:
        figure.set_facecolor("none")
    return {f"{chart.name}.svg": svg, f"{chart.name}.png": sink.getvalue()}


_ID = re.compile(r' id="([^"]*)"')
_REFERENCE = re.compile(r'(?:url\(#|xlink:href="#)([^")]*)')
_COLOUR = re.compile("|".join(re.escape(colour) for colour in HEX.values()))
_VARIABLE = {colour: f"var(--{name})" for name, colour in HEX.items()}
_FRACTION = re.compile(r"(\d+\.\d\d)\d+")


def inline(chart: Chart) -> Svg:
    """The chart as a drawing of a page: it scales, and loads nothing."""
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
    inside = text[text.index(">") + 1 : text.rindex("</svg>")]
    return Svg(alt=chart.alt, box=box[1], inside=inside)
