"""All metrics by name: gathered from the `METRICS` of every module of this folder."""

import importlib
import pkgutil
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from deep_clustering.platform.metrics.metric import Metric


def _groups() -> dict[str, tuple[Metric, ...]]:
    groups: dict[str, tuple[Metric, ...]] = {}
    for module in pkgutil.iter_modules([str(Path(__file__).parent)]):
        if module.name in ("registry", "objectives"):  # these read what is gathered here
            continue
        content = importlib.import_module(f"deep_clustering.platform.metrics.{module.name}")
        records: tuple[Metric, ...] = getattr(content, "METRICS", ())
        if records:
            groups[module.name] = tuple(sorted(records, key=lambda m: m.rank))
    return groups


def _by_name(groups: Mapping[str, tuple[Metric, ...]]) -> dict[str, Metric]:
    records = sorted((m for group in groups.values() for m in group), key=lambda m: m.rank)
    by_name = {record.name: record for record in records}
    if len(by_name) < len(records) or len({r.rank for r in records}) < len(records):
        raise ValueError("two metrics have one name or one rank")
    return by_name


#: Module of this folder -> its metrics, by rank.
GROUPS: Mapping[str, tuple[Metric, ...]] = MappingProxyType(_groups())

#: Name -> metric, by rank.
METRICS: Mapping[str, Metric] = MappingProxyType(_by_name(GROUPS))

#: Names of the metrics that are computed after every epoch, by rank.
EVERY_EPOCH = tuple(name for name, metric in METRICS.items() if metric.every_epoch)

#: Names of the metrics that a report shows on top, by rank.
HEADLINES = tuple(name for name, metric in METRICS.items() if metric.headline)


def names(*groups: str) -> tuple[str, ...]:
    """Names of the metrics of some modules of this folder, by rank."""
    chosen = {metric.name for group in groups for metric in GROUPS[group]}
    return tuple(name for name in METRICS if name in chosen)


def shown(*, labels: bool, probabilities: bool) -> tuple[str, ...]:
    """Names of the metrics that the live view shows unless it is asked for others.

    Args:
        labels: whether the dataset has labels.
        probabilities: whether the method gives probabilities.
    """
    known = sorted(
        (m.view, m.name)
        for m in METRICS.values()
        if m.view is not None
        and (labels or not m.needs_labels)
        and (probabilities or not m.needs_probabilities)
    )
    return tuple(name for _, name in known[: 4 if labels else 2])
