"""Diagrams without bins, and the temperature that labels give: by hand, and against other code."""

import numpy as np
import pytest
from sklearn.isotonic import IsotonicRegression

from deep_clustering.platform.metrics import calibration, diagrams, reliability
from deep_clustering.platform.metrics.diagrams import Cells
from deep_clustering.platform.metrics.evaluate import evaluate
from deep_clustering.platform.metrics.temperature import with_temperature


def head(n, seed, shift=0.1):
    rng = np.random.default_rng(seed)
    confidence = 0.05 + 0.95 * rng.beta(3, 2, n)
    return confidence, rng.random(n) < np.clip(confidence - shift, 0, 1)


# ---- other packages


# Values that netcal 1.4.0, probmetrics 1.3.0 and relplot 1.0.3 gave, installed without their
# dependencies beside torch 2.15.0. They are kept and not installed for the tests: what they import
# takes four seconds each, and warns (a deprecated part of PyTorch), which is an error here.


def test_errors_of_confidences_equal_those_of_other_packages():
    """netcal: `ECE(15)` and `ECE(15, equal_intervals=False)`; relplot: `smECE`, on its own grid."""
    confidence, correct = head(500, 7)
    assert calibration.ece(confidence, correct) == pytest.approx(0.1434349512456374, abs=1e-12)
    equal_mass = calibration.ece_equal_mass(confidence, correct)
    assert equal_mass == pytest.approx(0.14275212237492227, abs=1e-12)
    smooth = reliability.ece_smooth(confidence, correct)
    assert smooth == pytest.approx(0.14274735422416968, abs=2e-5)


def test_errors_of_probabilities_equal_those_of_other_packages():
    """netcal: `ECE(15).measure(p, labels)`; probmetrics: `Metrics.from_names`, and its
    `TemperatureScalingCalibrator(max_bisection_steps=60)`."""
    rng = np.random.default_rng(11)
    p = softmax(rng.normal(0, 2, (600, 4)))
    labels = (p.cumsum(1) < rng.random((600, 1))).sum(1)
    p = p**1.7 / (p**1.7).sum(1, keepdims=True)  # too sure
    found = evaluate(p, labels)
    theirs = {
        "acc": 0.6583333333333333,  # probmetrics, accuracy: clusters are classes here
        "ece": 0.1400510998804819,
        "brier": 0.47810319984087907,
        "nll": 0.940342169028018,
        "temperature": 1 / 0.5445852212353314,
        "ece_temperature": 0.046875258782453244,  # netcal, of what the calibrator gives
    }
    assert {name: found[name] for name in theirs} == pytest.approx(theirs, abs=1e-6)


def test_decomposition_equals_model_diagnostics():
    from model_diagnostics import scoring

    confidence, correct = head(500, 7)
    theirs = scoring.decompose(correct * 1.0, confidence, scoring_function=scoring.SquaredError())
    for name, value in reliability.decomposition(confidence, correct).items():
        assert value == pytest.approx(theirs[name].item(), abs=1e-9)


# ---- diagrams


def test_cells_add_up():
    confidence, correct = head(300, 0)
    whole = diagrams.cells(confidence, correct)
    parts = diagrams.cells(confidence[:100], correct[:100])
    parts += diagrams.cells(confidence[100:], correct[100:])
    for name in ("count", "confidence", "right"):
        assert getattr(whole, name) == pytest.approx(getattr(parts, name))
    assert whole.count.sum() == 300
    assert whole.right.sum() == correct.sum()
    assert diagrams.cells([0.0, 1.0, 1.0000001], [0, 1, 1]).count[[0, -1]].tolist() == [1, 2]


def test_the_isotonic_line_is_scikit_learns():
    confidence, correct = head(400, 1)
    confidence = (np.floor(confidence * diagrams.CELLS) + 0.5) / diagrams.CELLS  # one a cell
    best = IsotonicRegression(out_of_bounds="clip").fit(confidence, correct)
    found = diagrams.corp(diagrams.cells(confidence, correct))
    assert found["confidence"] == pytest.approx(np.unique(confidence))
    assert found["accuracy"] == pytest.approx(best.predict(found["confidence"]))
    assert found["count"].sum() == 400


def test_a_calibrated_head_stays_in_the_band():
    inside = []
    for seed in range(40):
        found = diagrams.corp(diagrams.cells(*head(400, seed, shift=0)))
        middle = len(found["confidence"]) // 2
        low, high = found["low"][middle], found["high"][middle]
        inside.append(low <= found["accuracy"][middle] <= high)
    assert np.mean(inside) >= 0.85
    found = diagrams.corp(diagrams.cells(*head(2000, 0, shift=0.2)))
    assert (found["accuracy"] < found["low"]).mean() > 0.8


def test_the_smooth_line_is_the_kernels_mean():
    confidence, correct = head(200, 3)
    found = diagrams.smooth(diagrams.cells(confidence, correct))
    width = reliability.ece_smooth(confidence, correct)
    for at in (20, 60, 90):
        x = found["confidence"][at]
        kernel = sum(
            np.exp(-((x - (image + sign * confidence)) ** 2) / 2 / width**2)
            for image in (-2, 0, 2)
            for sign in (1, -1)
        )
        wanted = (kernel * correct).sum() / kernel.sum()
        assert found["accuracy"][at] == pytest.approx(wanted, abs=0.02)
    one = diagrams.smooth(diagrams.cells([0.7], [True]))
    assert one["accuracy"] == pytest.approx([1.0])


def test_nan_is_no_confidence():
    with pytest.raises(ValueError, match="finite numbers, got nan for image 1"):
        diagrams.cells([0.3, np.nan], [1, 0])
    assert isinstance(diagrams.cells([0.3], [1]), Cells)


# ---- the temperature


def softmax(logits):
    p = np.exp(logits - logits.max(1, keepdims=True))
    return p / p.sum(1, keepdims=True)


@pytest.mark.parametrize("scale", [0.2, 1.0, 3.0])
def test_the_temperature_undoes_a_scale(scale):
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 2, (4000, 3))
    labels = (softmax(logits).cumsum(1) < rng.random((4000, 1))).sum(1)  # calibrated by making
    p = softmax(scale * logits)
    correct = p.argmax(1) == labels
    found = with_temperature(p, labels, correct)
    assert found["temperature"] == pytest.approx(scale, rel=0.06)
    assert found["ece_temperature"] < 0.02
    assert (calibration.ece(p.max(1), correct) > 0.1) == (scale != 1.0)


def test_the_temperature_by_hand():
    # Odds 9 : 1, right in 3 of 4: 9^(1/T) = 3, so that T = 2 and every confidence is .75.
    p = np.tile([0.9, 0.1], (4, 1))
    found = with_temperature(p, [0, 0, 0, 1], [1, 1, 1, 0])
    assert found["temperature"] == pytest.approx(2)
    assert found["ece_temperature"] == pytest.approx(0, abs=1e-9)
    # an image whose label has no cluster is wrong, and moves no temperature
    more = with_temperature(np.vstack([p, p[:1]]), [0, 0, 0, 1, -1], [1, 1, 1, 0, 0])
    assert more["temperature"] == pytest.approx(2)
    assert more["ece_temperature"] == pytest.approx(0.75 - 0.6)


def test_evaluate_has_them_where_there_are_labels():
    p = softmax(np.random.default_rng(1).normal(size=(60, 3)))
    labels = p.argmax(1)
    assert evaluate(p, labels)["temperature"] < 0.1  # all right: as sure as it may be
    assert evaluate(p)["ece_temperature"] is None
    assert evaluate(p, labels, whole=False)["temperature"] is None
