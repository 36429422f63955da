"""Failure rejection by hand, and ties against the mean over their orders."""

import math

import numpy as np
import pytest

from deep_clustering.platform.metrics import rejection

EXACT = {"rel": 0, "abs": 1e-12}


def slow_aurc(confidence, correct):
    """The mean risk, averaged over 4,000 random orders within the ties."""
    rng = np.random.default_rng(0)
    found = []
    for _ in range(4000):
        order = np.lexsort((rng.random(len(confidence)), -confidence))
        wrong = ~correct[order]
        found.append((np.cumsum(wrong) / np.arange(1, len(wrong) + 1)).mean())
    return np.mean(found)


def test_perfect_ranking():
    n, r = 20_000, 0.3
    confidence, correct = np.linspace(1, 0.5, n), np.arange(n) < (1 - r) * n
    found = rejection.failure_rejection(confidence, correct)
    assert found["auroc"] == pytest.approx(1, **EXACT)
    assert found["fpr95"] == 0
    assert found["aurc"] == pytest.approx(r + (1 - r) * math.log(1 - r), abs=1e-4)


def test_constant_score():
    correct = np.array([1, 0, 1, 1, 0, 1, 1, 1, 1, 0], bool)
    found = rejection.failure_rejection(np.full(10, 0.4), correct)
    assert found["auroc"] == pytest.approx(0.5, **EXACT)
    assert found["aurc"] == pytest.approx(0.3, **EXACT)
    assert found["fpr95"] == 1


def test_risk_by_hand_with_a_tie():
    # .9 right; .8 right and wrong, half an error each; .1 wrong. Risks 0, .25, 1/3, .5.
    found = rejection.failure_rejection([0.8, 0.9, 0.1, 0.8], [True, True, False, False])
    assert found["aurc"] == pytest.approx((0 + 0.25 + 1 / 3 + 0.5) / 4, **EXACT)
    assert found["auroc"] == pytest.approx(3.5 / 4, **EXACT)
    assert found["fpr95"] == 0.5  # both right ones are kept from .8 on, with one of two wrong


@pytest.mark.parametrize("seed", range(3))
def test_ties_count_as_the_mean_over_their_orders(seed):
    rng = np.random.default_rng(seed)
    confidence, correct = rng.integers(1, 5, 30) / 5, rng.random(30) < 0.6
    found = rejection.failure_rejection(confidence, correct)["aurc"]
    assert found == pytest.approx(slow_aurc(confidence, correct), abs=3e-3)
    order = rng.permutation(30)
    again = rejection.failure_rejection(confidence[order], correct[order])["aurc"]
    assert again == pytest.approx(found, **EXACT)


def test_all_right_or_all_wrong_has_no_roc():
    right = rejection.failure_rejection([0.9, 0.8], [True, True])
    assert right == {"auroc": None, "aurc": 0.0, "fpr95": None}
    wrong = rejection.failure_rejection([0.9, 0.8], [False, False])
    assert wrong == {"auroc": None, "aurc": 1.0, "fpr95": None}


def test_risk_coverage_by_hand_with_a_tie():
    # .9 right; .8 right and wrong, half an error each; .1 wrong. Errors kept: 0, .5, 1, 2.
    confidence, correct = [0.8, 0.9, 0.1, 0.8], [True, True, False, False]
    coverage, risk = rejection.risk_coverage(confidence, correct)
    np.testing.assert_allclose(coverage, [0.25, 0.5, 0.75, 1])
    np.testing.assert_allclose(risk, [0, 0.25, 1 / 3, 0.5])
    coverage, risk = rejection.risk_coverage(confidence, correct, points=2)
    np.testing.assert_allclose(coverage, [0.5, 1])
    np.testing.assert_allclose(risk, [0.25, 0.5])


@pytest.mark.parametrize("n", [1, 7, 200, 333])
def test_risk_coverage_has_the_area_of_aurc(n):
    rng = np.random.default_rng(n)
    confidence, correct = rng.integers(1, 50, n) / 50, rng.random(n) < 0.6
    coverage, risk = rejection.risk_coverage(confidence, correct, points=n)
    aurc = rejection.failure_rejection(confidence, correct)["aurc"]
    assert risk.mean() == pytest.approx(aurc, **EXACT)
    few, some = rejection.risk_coverage(confidence, correct, points=10)
    assert len(few) == min(10, n)
    assert few[-1] == 1
    assert some[-1] == pytest.approx(1 - correct.mean(), **EXACT)
    assert set(zip(few, some, strict=True)) <= set(zip(coverage, risk, strict=True))
    order = rng.permutation(n)
    again = rejection.risk_coverage(confidence[order], correct[order], points=n)[1]
    np.testing.assert_allclose(again, risk, rtol=0, atol=1e-12)


def test_a_curve_of_nothing_is_refused():
    with pytest.raises(ValueError, match="at least 1 image and 1 point, got 0 and 200"):
        rejection.risk_coverage([], [])
    with pytest.raises(ValueError, match="got 1 and 0"):
        rejection.risk_coverage([0.5], [True], points=0)
