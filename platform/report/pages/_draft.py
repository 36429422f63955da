"""A page in the making: where its numbers are from, and which charts it has so far."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

from deep_clustering.platform import results
from deep_clustering.platform.report.charts.chart import Chart, inline
from deep_clustering.platform.report.markup.parts import Figure, Query
from deep_clustering.platform.store.store import Store

#: A row of the table `runs`: column -> value. Columns differ with the method.
RunRow = Mapping[str, Any]


@dataclass
class Draft:
    """The store of a page, where its pictures are, and the charts that were drawn for it."""

    store: Store
    root: Path = Path()  # the data directory
    drawn: list[Chart] = field(default_factory=list)

    def query(self, expression: str, *modules: ModuleType) -> Query:
        """A whole program that ends with an expression over `store`.

        Args:
            expression: may use `pl`, `results` and `store`.
            modules: further modules that it uses.
        """
        places = sorted(module.__name__.rpartition(".") for module in (results, *modules))
        imports = "\n".join(f"from {package} import {name}" for package, _, name in places)
        return Query(f"import polars as pl\n{imports}\n\nstore = {self.store.uri!r}\n{expression}")

    def figure(self, chart: Chart, title: str, caption: str, query: Query) -> Figure:
        """A chart with its caption and query; the draft remembers the chart."""
        self.drawn.append(chart)
        return Figure(svg=inline(chart), title=title, caption=caption, query=query)
