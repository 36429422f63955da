"""Colours, sizes and types of all charts.

A chart is drawn in the colours of light paper. Widths and font sizes are chosen so that text has
about ten pixels on a phone.
"""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import matplotlib as mpl
from matplotlib.typing import RcKeyType

from deep_clustering.platform.report.markup.colours import COLOURS

#: As matplotlib takes them: a name, or an offset and the lengths of dashes and gaps in points.
Dashes = str | tuple[float, tuple[float, ...]]

WIDTH = 4.4  # inches; a phone shows them at about their own size
HEX = {name: pair[0] for name, pair in COLOURS.items()}
SERIES = [HEX[f"s{i}"] for i in range(1, 7)]
#: The lines of a chart differ in colour and in dashes.
DASHES: list[Dashes] = [
    "-",
    (0, (5, 1.5)),
    (0, (1.5, 1.2)),
    (0, (5, 1.5, 1.5, 1.5)),
    (0, (8, 2)),
    (0, (3, 3)),
]
INK, MUTED, LINE, PAPER = (HEX[n] for n in ("ink", "muted", "line", "paper"))
RC: dict[RcKeyType, Any] = {
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
    "grid.color": LINE,
    "grid.linewidth": 0.6,
    "axes.edgecolor": MUTED,
    "axes.linewidth": 0.7,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "legend.frameon": False,
    "lines.linewidth": 1.6,
    "path.simplify": True,
}


@contextmanager
def styled() -> Iterator[None]:
    """Our style; no warning of a letter that the font lacks, as a browser has fonts of its own."""
    with mpl.rc_context(RC), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        yield
