"""Confidences that are no numbers are refused wherever a value is made of them."""

import numpy as np
import pytest

from deep_clustering.platform.evaluations import ood
from deep_clustering.platform.metrics import (
    calibration,
    criteria,
    diagrams,
    partition,
    rejection,
    reliability,
    temperature,
)
from deep_clustering.platform.metrics.evaluate import evaluate

RIGHT = np.array([True, False, True, True])
FLOOR = calibration.Floor(mean=0.1, point=0.2)
#: Each takes confidences (4,).
OF_CONFIDENCES = {
    "ece": lambda c: calibration.ece(c, RIGHT),
    "ece_equal_mass": lambda c: calibration.ece_equal_mass(c, RIGHT),
    "ece_floor": calibration.ece_floor,
    "ece_debiased": lambda c: calibration.ece_debiased(c, RIGHT),
    "ece_interval": lambda c: calibration.ece_interval(c, RIGHT, FLOOR),
    "over_and_under": lambda c: calibration.over_and_under(c, RIGHT),
    "ece_smooth": lambda c: reliability.ece_smooth(c, RIGHT),
    "decomposition": lambda c: reliability.decomposition(c, RIGHT),
    "cells": lambda c: diagrams.cells(c, RIGHT),
    "mean_confidence": calibration.mean_confidence,
    "nll": calibration.nll,
    "separation": lambda c: ood.separation(c, c),
    "reliability": lambda c: calibration.reliability(c, RIGHT),
    "failure_rejection": lambda c: rejection.failure_rejection(c, RIGHT),
    "risk_coverage": lambda c: rejection.risk_coverage(c, RIGHT),
}
REFERENCE = criteria.Reference(np.eye(4), [[1], [0], [3], [2]])
#: Each takes probabilities (4, 2).
OF_PROBABILITIES = {
    "brier": lambda p: calibration.brier(p, p[:, 0]),
    "flags": partition.flags,
    "with_temperature": lambda p: temperature.with_temperature(p, [0, 1, 0, 1], RIGHT),
    "evaluate": evaluate,
    "criteria": lambda p: criteria.criteria(p, REFERENCE),
}


@pytest.mark.parametrize("name", OF_CONFIDENCES)
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_no_value_is_made_of_nan(name, bad, dtype):
    good = np.array([0.9, 0.8, 0.7, 0.6], dtype)
    assert OF_CONFIDENCES[name](good) is not None
    good[2] = bad
    with pytest.raises(ValueError, match=f"finite numbers, got {bad} for image 2"):
        OF_CONFIDENCES[name](good)


@pytest.mark.parametrize("name", OF_PROBABILITIES)
def test_no_probabilities_are_nan(name):
    p = np.array([[0.9, 0.1], [0.2, 0.8], [0.7, 0.3], [0.4, 0.6]])
    OF_PROBABILITIES[name](p)
    p[1] = np.nan
    with pytest.raises(ValueError, match="finite"):
        OF_PROBABILITIES[name](p)
