"""Every metric has a complete record, and what is listed anywhere follows from the records."""

import numpy as np
import pytest

from deep_clustering.platform.evaluation import measures
from deep_clustering.platform.metrics import criteria, registry
from deep_clustering.platform.metrics.evaluate import WITH_LABELS, evaluate, evaluate_partition
from deep_clustering.platform.metrics.metric import Metric
from deep_clustering.platform.metrics.objectives import OBJECTIVES
from deep_clustering.platform.metrics.registry import GROUPS, METRICS
from deep_clustering.platform.store import schema

#: Values of `evaluate` that are no numbers.
TEXTS = {"metrics_reason"}


def test_all_records_are_found():
    assert len(METRICS) == 48
    assert {name: len(group) for name, group in GROUPS.items()} == {
        "agreement": 3,
        "calibration": 12,
        "criteria": 8,
        "features": 1,
        "partition": 2,
        "rejection": 3,
        "reliability": 5,
        "selection": 4,
        "temperature": 2,
        "training": 8,
    }


@pytest.mark.parametrize("metric", METRICS.values(), ids=lambda m: m.name)
def test_every_record_is_complete(metric):
    assert METRICS[metric.name] is metric
    assert metric.name.isidentifier()
    assert metric.title
    assert metric.summary
    assert not metric.summary.endswith(".")
    assert metric.meaning.endswith(".")
    assert metric.unit.factor > 0
    low, high = metric.low, metric.high
    assert low is None or high is None or low < high
    if metric.objective:
        assert metric.better in ("max", "min")
        assert metric.worst == (low if metric.better == "max" else high)
    if metric.floor is not None:
        assert METRICS[metric.floor].unit == metric.unit
    if metric.needs_labels or metric.needs_probabilities:
        assert metric.source is None
    assert measures.unit(metric.name) == measures.unit(f"some_head_{metric.name}") == metric.unit
    assert metric.title in measures.name(metric.name)


def test_every_number_of_a_head_and_of_a_partition_has_a_record():
    rng = np.random.default_rng(0)
    p = rng.dirichlet([0.5] * 4, 60)
    truth = rng.integers(0, 4, 60)
    neighbours = np.stack([np.roll(np.arange(60), s) for s in (1, 2, 3)], 1)
    reference = criteria.Reference(rng.normal(size=(60, 3)), neighbours)
    of_head = evaluate(p, truth)
    assert of_head.keys() - TEXTS == {
        m.name
        for group in (
            *("agreement", "calibration", "partition", "rejection", "reliability", "temperature"),
        )
        for m in GROUPS[group]
    }
    assert of_head.keys() == evaluate_partition(p.argmax(1), truth).keys()
    of_space = criteria.criteria(p, reference)
    assert of_space.keys() - {"guarded", "criteria_guard"} == {m.name for m in GROUPS["criteria"]}
    without = evaluate_partition(p.argmax(1), None)
    for name, value in of_head.items():
        if name in TEXTS:
            continue
        metric = METRICS[name]
        assert isinstance(value, float | int), name
        assert metric.low is None or value >= metric.low - 1e-12, name
        assert metric.high is None or value <= metric.high + 1e-12, name
        assert metric.needs_labels == (name in WITH_LABELS)
        absent = metric.needs_labels or metric.needs_probabilities
        assert (without[name] is None) == absent, name


def test_columns_follow_from_the_records():
    columns = {m.name: m.column for m in METRICS.values() if m.column is not None}
    assert len(columns) == 13
    assert {n: c.meaning for n, c in list(schema.METRICS.items())[:13]} == columns
    assert list(schema.METRICS)[:13] == list(columns)
    assert list(schema.METRICS)[13:] == ["metrics_reason", "cluster_sizes", "collapsed", "flags"]


def test_objectives_follow_from_the_records():
    assert list(OBJECTIVES) == [m.name for m in METRICS.values() if m.objective]
    assert len(OBJECTIVES) == 10


@pytest.mark.parametrize(
    ("labels", "probabilities", "wanted"),
    [
        (True, True, ("acc", "ece", "nmi", "mean_confidence")),
        (True, False, ("acc", "nmi", "ari", "silhouette")),
        (False, True, ("mean_confidence", "silhouette")),
        (False, False, ("silhouette", "balance")),
    ],
)
def test_what_the_live_view_shows(labels, probabilities, wanted):
    assert registry.shown(labels=labels, probabilities=probabilities) == wanted


def test_every_epoch_reports_the_five_that_it_always_did():
    every = [m.name for m in METRICS.values() if m.every_epoch]
    assert every == ["acc", "nmi", "ari", "ece", "mean_confidence"]


def test_a_record_needs_what_a_search_asks_for():
    with pytest.raises(ValueError, match="the objective new needs `better` and `worst`"):
        Metric(name="new", title="", meaning="", summary="", rank=1, objective=True)
