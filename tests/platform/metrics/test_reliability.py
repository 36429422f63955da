"""Calibration errors and their noise: by hand, against slow references and by simulation."""

import math

import numpy as np
import pytest
from sklearn.isotonic import IsotonicRegression

from deep_clustering.platform.metrics import calibration, reliability
from deep_clustering.platform.metrics.agreement import match

EXACT = {"rel": 0, "abs": 1e-12}


def head(n, seed, shift=0.0, shape=(3, 2)):
    """Confidences, and what is right: as often as they say, less `shift`."""
    rng = np.random.default_rng(seed)
    confidence = 0.05 + 0.95 * rng.beta(*shape, n)
    return confidence, rng.random(n) < np.clip(confidence - shift, 0, 1)


# --- In bins


def test_over_and_underconfidence_by_hand():
    # Four bins. .9 right, .9 wrong, .8 wrong: 1 - 2.6 = -1.6. .3 right: +.7. .6 wrong: -.6.
    confidence = np.array([0.9, 0.9, 0.8, 0.3, 0.6])
    correct = np.array([1, 0, 0, 1, 0], bool)
    found = calibration.over_and_under(confidence, correct, bins=4)
    assert found == pytest.approx({"overconfidence": 2.2 / 5, "underconfidence": 0.7 / 5}, **EXACT)
    assert sum(found.values()) == pytest.approx(calibration.ece(confidence, correct, 4), **EXACT)


def test_debiased_error_by_hand():
    # One bin, .75 said of 4, 2 right: distance 1, spread of the number right sqrt(4 / 4) = 1. The
    # mean of |1 + z| is 2 phi(1) + 2 Phi(1) - 1 = .48394 + .68269 = 1.16663: noise adds .16663.
    confidence, correct = np.full(4, 0.75), np.array([1, 1, 0, 0], bool)
    found = calibration.ece_debiased(confidence, correct, bins=1)
    assert found == pytest.approx((1 - 0.1666304) / 4, abs=1e-6)
    assert calibration.ece_debiased(np.ones(3), np.zeros(3, bool)) == 1  # no noise, no correction


def test_debiased_error_equals_a_simulation():
    confidence, correct = head(400, 1, shift=0.05)
    table = calibration.reliability(confidence, correct)
    used = table["count"] > 0
    n, accuracy = table["count"][used], table["accuracy"][used]
    rng = np.random.default_rng(0)
    drawn = rng.normal(accuracy, np.sqrt(accuracy * (1 - accuracy) / n), (40_000, used.sum()))
    errors = (np.abs(drawn - table["confidence"][used]) * n).sum(1) / 400
    found = calibration.ece(confidence, correct)
    wanted = found - (errors.mean() - found)
    assert calibration.ece_debiased(confidence, correct) == pytest.approx(wanted, abs=4e-4)
    assert wanted < found


def test_five_in_a_hundred_calibrated_heads_lie_above_the_95_point():
    confidence, _ = head(2000, 3)
    rng = np.random.default_rng(4)
    heads = [calibration.ece(confidence, rng.random(2000) < confidence) for _ in range(600)]
    floor = calibration.ece_floor(confidence)
    assert np.mean(np.array(heads) > floor.point) == pytest.approx(0.05, abs=0.03)
    assert 0.3 < np.mean(np.array(heads) > floor.mean) < 0.6  # which the mean never said


@pytest.mark.ray
@pytest.mark.parametrize(("shift", "shape"), [(0.0, (3, 2)), (0.02, (6, 0.4)), (0.1, (3, 2))])
def test_the_interval_covers_the_error(shift, shape):
    confidence, _ = head(400_000, 0, shape=shape)
    gaps = np.minimum(confidence, shift)  # what is right less often than said
    truth = gaps.mean()
    hits = 0
    for seed in range(30):
        confidence, correct = head(700, seed, shift, shape)
        floor = calibration.ece_floor(confidence)
        low, high = calibration.ece_interval(confidence, correct, floor)
        assert 0 <= low < high <= 1
        hits += low <= truth <= high
    assert hits >= 26, hits


def test_the_interval_does_not_see_the_order():
    confidence, correct = head(300, 5, shift=0.1)
    order = np.random.default_rng(0).permutation(300)
    floor = calibration.ece_floor(confidence)
    found = calibration.ece_interval(confidence, correct, floor)
    again = calibration.ece_interval(confidence[order], correct[order], floor)
    assert again == pytest.approx(found)


# --- Without bins


def slow_smooth(confidence, correct):
    """The definition: the reflected kernel of every image at every point of a grid."""
    points = (np.arange(1000) + 0.5) / 1000
    residual = correct - confidence

    def error(width):
        total = np.zeros_like(points)
        for image in (-2, 0, 2):
            for sign in (1, -1):
                away = points[:, None] - (image + sign * confidence)
                kernel = np.exp(-(away**2) / 2 / width**2) / width / math.sqrt(2 * math.pi)
                total += kernel @ residual / len(confidence)
        return np.abs(total).mean()

    low, high = 1e-3, 1.0
    for _ in range(20):
        middle = (low + high) / 2
        low, high = (middle, high) if error(middle) > middle else (low, middle)
    return high


@pytest.mark.parametrize("shift", [0.0, 0.1, 0.4])
def test_smooth_error_equals_a_slow_reference(shift):
    confidence, correct = head(150, 2, shift=shift)
    found = reliability.ece_smooth(confidence, correct)
    assert found == pytest.approx(slow_smooth(confidence, correct), abs=1e-3)


def test_smooth_error_of_a_shifted_head_is_the_shift():
    confidence = np.random.default_rng(0).uniform(0.4, 1, 20_000)
    correct = np.random.default_rng(1).random(20_000) < confidence - 0.3
    assert reliability.ece_smooth(confidence, correct) == pytest.approx(0.3, abs=0.01)
    assert reliability.ece_smooth(*head(20_000, 1)) < 0.02


@pytest.mark.parametrize("seed", range(4))
def test_decomposition_equals_scikit_learn(seed):
    confidence, correct = head(300, seed, shift=0.15)
    confidence = confidence.round(2)  # with ties
    best = IsotonicRegression(out_of_bounds="clip").fit_transform(confidence, correct)
    found = reliability.decomposition(confidence, correct)
    score, recalibrated = np.mean((confidence - correct) ** 2), np.mean((best - correct) ** 2)
    share = correct.mean()
    assert found["miscalibration"] == pytest.approx(score - recalibrated, abs=1e-9)
    assert found["discrimination"] == pytest.approx(share * (1 - share) - recalibrated, abs=1e-9)
    assert found["uncertainty"] == pytest.approx(share * (1 - share))
    parts = found["miscalibration"] - found["discrimination"] + found["uncertainty"]
    assert parts == pytest.approx(score, abs=1e-12)


def test_decomposition_by_hand():
    # .2 wrong, .6 wrong, .6 right, .8 right: isotonic 0, .5, .5, 1. Score (.04 + .36 + .16 + .04)
    # / 4 = .15, recalibrated .5 / 4 = .125, accuracy .5.
    found = reliability.decomposition([0.2, 0.6, 0.6, 0.8], [0, 0, 1, 1])
    wanted = {"miscalibration": 0.025, "discrimination": 0.125, "uncertainty": 0.25}
    assert found == pytest.approx(wanted, **EXACT)
    certain = reliability.decomposition(np.ones(5), np.ones(5))
    assert certain == {"miscalibration": 0, "discrimination": 0, "uncertainty": 0}


def test_classwise_error_by_hand():
    # Cluster 0 is class 1: .9 right, .2 wrong -> (.1 + .2) / 2. Cluster 1 is class 0: likewise.
    p = np.array([[0.9, 0.1], [0.2, 0.8]])
    found = reliability.ece_classwise(p, [1, 0], [1, 0])
    assert found == pytest.approx((0.15 + 0.15) / 2, **EXACT)
    # a cluster without a class is never right
    assert reliability.ece_classwise(p, [1, -1], [1, 0]) == pytest.approx((0.15 + 0.45) / 2)
    assignment, _ = match(p.argmax(1), np.array([1, 0]), 2, p)
    assert reliability.ece_classwise(p, assignment, [1, 0]) == pytest.approx(found)
