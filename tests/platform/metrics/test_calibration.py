"""Calibration errors by hand, and the noise floor against a simulation."""

import math

import numpy as np
import pytest

from deep_clustering.platform.metrics import calibration

EXACT = {"rel": 0, "abs": 1e-12}


def test_bins_are_right_closed_with_1_in_the_last():
    confidence = np.array([0.0, 0.25, 0.25000001, 0.5, 0.75, 1.0, 1.0000001])
    table = calibration.reliability(confidence, np.ones(7, bool), bins=4)
    assert table["count"].tolist() == [2, 2, 1, 2]
    assert table["low"].tolist() == [0, 0.25, 0.5, 0.75]
    assert table["high"].tolist() == [0.25, 0.5, 0.75, 1]


def test_golden_example_with_confidences_on_edges():
    # Four bins. (0, .25]: .25 wrong -> gap .25 * 1. (.25, .5]: .5 right, .5 wrong -> gap 0.
    # (.5, .75]: .75 right -> gap .25 * 1. (.75, 1]: 1 right, 1 wrong, .9 right -> 2 - 2.9 = -.9.
    # Sum of gaps weighted by counts: .25 + 0 + .25 + .9 = 1.4, of 7 images.
    confidence = np.array([0.25, 0.5, 0.5, 0.75, 1.0, 1.0, 0.9])
    correct = np.array([0, 1, 0, 1, 1, 0, 1], bool)
    assert calibration.ece(confidence, correct, bins=4) == pytest.approx(1.4 / 7, **EXACT)
    # Left-closed bins, with a bin for exactly 1, would give .25 + 0 + .35 + 1 = 1.6.


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_every_edge_belongs_to_the_bin_below(dtype):
    edges = (np.arange(1, 16) / 15).astype(dtype)
    counts = calibration.reliability(edges, np.ones(15, bool))["count"]
    assert counts.tolist() == [1] * 15
    above = np.nextafter(edges[:-1], dtype(2))
    assert calibration.reliability(above, np.ones(14, bool))["count"].tolist() == [0] + [1] * 14


def test_certain_and_constant_confidence():
    correct = np.arange(10) < 7
    assert calibration.ece(np.ones(10), correct) == pytest.approx(0.3, **EXACT)  # 1 - acc
    assert calibration.ece_equal_mass(np.ones(10), correct) == pytest.approx(0.3, **EXACT)
    assert calibration.ece(np.full(10, 0.7), correct) == pytest.approx(0, **EXACT)
    assert calibration.ece(np.array([0.4]), np.array([True])) == pytest.approx(0.6, **EXACT)


def test_overconfident_everywhere_is_confidence_minus_accuracy():
    rng = np.random.default_rng(0)
    confidence = rng.uniform(0.6, 1, 3000)
    correct = rng.random(3000) < confidence - 0.3
    wanted = confidence.mean() - correct.mean()
    assert calibration.ece(confidence, correct) == pytest.approx(wanted, **EXACT)
    assert calibration.ece_equal_mass(confidence, correct) == pytest.approx(wanted, **EXACT)


def test_equal_mass_bins_hold_equal_counts():
    # Six images, three bins of two: gaps (.2 - 0) + (.4 - 1), (.5 - 0) + (.6 - 1), (.9 - 1) * 2.
    confidence = np.array([0.2, 0.4, 0.5, 0.6, 0.9, 0.9])
    correct = np.array([0, 1, 0, 1, 1, 1], bool)
    found = calibration.ece_equal_mass(confidence, correct, bins=3)
    assert found == pytest.approx((0.4 + 0.1 + 0.2) / 6, **EXACT)
    order = np.random.default_rng(0).permutation(6)
    again = calibration.ece_equal_mass(confidence[order], correct[order], bins=3)
    assert again == pytest.approx(found, **EXACT)


@pytest.mark.parametrize(
    ("shape", "n", "published"),
    # The table of noise floors: broad and sharp confidences, in percent.
    [((3, 2), 500, 5.3), ((3, 2), 2000, 2.7), ((6, 0.4), 2000, 1.0), ((6, 0.4), 13000, 0.43)],
)
def test_noise_floor_equals_a_simulation_image_by_image(shape, n, published):
    rng = np.random.default_rng(1)
    confidence = 0.05 + 0.95 * rng.beta(*shape, n)
    slow = [calibration.ece(confidence, rng.random(n) < confidence) for _ in range(300)]
    error = np.std(slow) * math.sqrt(1 / 300 + 1 / 1000)
    floor = calibration.ece_floor(confidence).mean
    assert abs(floor - np.mean(slow)) < 4 * error
    assert floor * 100 == pytest.approx(published, rel=0.15)
    assert calibration.ece_floor(confidence).mean == floor  # the seed is fixed


def test_certain_heads_have_no_noise_floor():
    assert calibration.ece_floor(np.ones(100)) == calibration.Floor(mean=0, point=0)


def test_sums_are_taken_in_float64():
    # 2**24 + 1 is no float32: a float32 sum of the confidences would stop growing.
    confidence = np.full(400_000, 0.7, np.float32)
    found = calibration.ece(confidence, np.arange(400_000) % 10 < 7)
    assert found == pytest.approx(abs(0.7 - float(np.float32(0.7))), abs=1e-13)
