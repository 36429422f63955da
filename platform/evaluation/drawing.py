"""What a report draws of an evaluation: plain data, so that an evaluation draws nothing itself."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from deep_clustering.platform.metrics.arrays import Array


@dataclass(frozen=True, kw_only=True)
class Densities:
    """How often a value occurs among some images and among others.

    Attributes:
        heading: names the evaluation, above the figures of all rows of a suite.
        title: of the figure, said after the name of the row.
        panels: title -> label of a curve -> a value from 0 to 1 for each image, (n,).
        xlabel: what the values are.
        caption: sentences below the figure.
        columns: of `results.stages`, that say the same in numbers.
    """

    heading: str
    title: str
    panels: Mapping[str, Mapping[str, Array]]
    xlabel: str
    caption: str
    columns: Sequence[str]


def pooled(drawings: Sequence[Densities]) -> Densities:
    """Drawings of several runs as one: panels and curves of the same name share their values.

    Args:
        drawings: at least one, of one evaluation; all but the panels is taken from the first.
    """
    parts: dict[str, dict[str, list[Array]]] = {}
    for drawing in drawings:
        for title, series in drawing.panels.items():
            for label, values in series.items():
                parts.setdefault(title, {}).setdefault(label, []).append(values)
    panels = {
        title: {label: np.concatenate(values) for label, values in series.items()}
        for title, series in parts.items()
    }
    return replace(drawings[0], panels=panels)
