"""Precision, recall and F1 of a choice, and the published F1 of RUC from their own P and R."""

import numpy as np
import pytest

from deep_clustering.ablations import _published
from deep_clustering.platform.metrics.selection import f1, quality


def test_quality_by_hand() -> None:
    chosen = np.array([True, True, True, False, False])
    right = np.array([True, True, False, True, True])
    found = quality(chosen, right)
    assert found == {"precision": 2 / 3, "recall": 0.5, "f1": pytest.approx(4 / 7)}


def test_an_empty_choice_has_no_precision() -> None:
    nothing, all_of_it = np.zeros(3, bool), np.ones(3, bool)
    assert quality(nothing, all_of_it) == {"precision": None, "recall": 0.0, "f1": None}
    assert quality(all_of_it, nothing) == {"precision": 0.0, "recall": None, "f1": None}
    assert f1(0.0, 0.0) == 0.0


def test_published_f1_follow_from_precision_and_recall_but_for_two_that_are_flagged() -> None:
    """RUC, Tables 3 and 5: 18 values, to the last digit that both factors leave certain."""
    cells = [c for t in ("table3", "table5") for c in _published.cells("ruc", t)]
    by_key = {(c.table, c.method, c.dataset, c.metric): c for c in cells}
    keys = sorted({key[:3] for key in by_key})
    assert len(keys) == 18
    wrong = []
    for key in keys:
        p, r, printed = (by_key[(*key, m)] for m in ("precision", "recall", "f1"))
        found = f1(p.value, r.value)
        assert found is not None
        if abs(found - printed.value) > 0.0011:
            wrong.append((*key, round(100 * found, 1)))
            assert printed.flag
    assert [(x[0], x[2], x[3]) for x in wrong] == [
        ("table5", "cifar10", 75.0),
        ("table5", "cifar20", 57.1),
    ]
