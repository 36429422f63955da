"""What the papers print about the cost of their own methods: hours of training and weights."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from deep_clustering.ablations import _published

#: Weights of a ResNet-34 with its heads, the network of most tables; where a paper prints none.
TYPICAL_WEIGHTS = 22e6


@dataclass(frozen=True, kw_only=True, slots=True)
class Cost:
    """The printed time of an epoch.

    Attributes:
        seconds: of one epoch.
        source: where it is printed, to follow "from".
    """

    seconds: float
    source: str


def epoch(method: str, dataset: str) -> Cost | None:
    """The time of one epoch of a method, from the hours that its own paper prints.

    Args:
        method: a registered name.
        dataset: our name of the data set.

    Returns:
        None where no paper prints the hours, or not for how many epochs they are.
    """
    for cell in _of(method, dataset, "hours"):
        if epochs := re.search(r"epochs=(\d+)", cell.setting):
            table = cell.table.replace("table", "Table ")
            return Cost(
                seconds=cell.value * 3600 / int(epochs[1]),
                source=f"the paper's {table}, on its own device",
            )
    return None


def weights(method: str, dataset: str) -> float:
    """The number of weights that a method's own paper prints, else `TYPICAL_WEIGHTS`."""
    return next(
        (cell.value * 1e6 for cell in _of(method, dataset, "params_m")),
        TYPICAL_WEIGHTS,
    )


def _of(method: str, dataset: str, metric: str) -> Iterator[_published.PublishedCell]:
    """Single values of a metric that the paper of a method prints of the method itself."""
    if method not in _published.papers():
        return
    for cell in _published.cells(method):
        if (
            cell.metric == metric
            and cell.statistic == "single"
            and cell.dataset == dataset
            and cell.method.startswith(method.upper())
            and "+" not in cell.method  # the method on top of another one
        ):
            yield cell
