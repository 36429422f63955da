"""Consensus k-means: hand-worked temperatures, known structure, confidences that hold."""

import numpy as np
import pytest
from sklearn.datasets import load_digits, make_blobs

from deep_clustering.methods.consensus import (
    ConsensusConfig,
    fit,
    softmax,
    temperature,
)
from deep_clustering.platform.metrics.evaluate import evaluate


def blobs(spread: float, centres: int = 4) -> tuple[np.ndarray, np.ndarray]:
    x, y = make_blobs(400, 6, centers=centres, cluster_std=spread, random_state=1)
    return x.astype(np.float32), y


def test_the_temperature_is_that_of_the_odds() -> None:
    """A difference of 1 gives odds of exp(1 / T); with 3 to 1 that is T = 1 / ln 3."""
    distances = np.tile([[1.0, 2.0]], (400, 1))
    clusters = np.repeat([0, 1], [300, 100])
    found = temperature(distances, clusters)
    assert found == pytest.approx(1 / np.log(3), rel=1e-3)
    assert softmax(-distances / found)[0, 0] == pytest.approx(0.75, rel=1e-3)


def test_the_temperature_has_the_unit_of_the_distances() -> None:
    random = np.random.default_rng(0)
    distances, clusters = random.random((200, 3)), random.integers(0, 3, 200)
    one, many = temperature(distances, clusters), temperature(1000 * distances, clusters)
    assert many == pytest.approx(1000 * one, rel=1e-3)


def test_clusters_that_are_there_are_stable_and_sure() -> None:
    x, y = blobs(0.5)
    found = fit(ConsensusConfig(clusters=4, resamples=3), x, 0)
    assert found.probabilities is not None
    values = evaluate(found.probabilities.astype(np.float32), y)
    assert values["acc"] == 1
    assert found.info["stability"] == 1
    assert found.probabilities.max(1).min() > 0.99
    assert found.info["stability_excess"] > 0.3


def test_points_without_clusters_are_as_stable_as_chance() -> None:
    x = np.random.default_rng(0).normal(size=(600, 6)).astype(np.float32)
    info = fit(ConsensusConfig(clusters=4, resamples=6, restarts=1, starts=1), x, 0).info
    assert abs(info["stability_excess"]) < 4 * info["stability_excess_error"]


def test_the_true_number_is_more_stable_than_one_more_or_fewer() -> None:
    x, _ = blobs(1.0, centres=5)
    excess = {
        k: fit(ConsensusConfig(clusters=k, resamples=4, restarts=1), x, 0).info["stability_excess"]
        for k in (4, 5, 6)
    }
    assert max(excess, key=excess.__getitem__) == 5


def test_confidences_on_digits_hold() -> None:
    """Without labels the ECE stays below 0.08, where a hard partition has 1 - 0.79 = 0.21."""
    digits = load_digits()
    x = (digits.data / 16).astype(np.float32)
    found = fit(ConsensusConfig(restarts=3, starts=1, resamples=4), x, 0)
    assert found.probabilities is not None
    values = evaluate(found.probabilities.astype(np.float32), digits.target)
    assert values["ece"] < 0.08
    assert abs(values["mean_confidence"] - values["acc"]) < 0.08


def test_halves_smaller_than_the_number_of_clusters_are_refused() -> None:
    with pytest.raises(ValueError, match="at least 20 points for 10 clusters"):
        fit(ConsensusConfig(clusters=10), blobs(1.0)[0][:19], 0)
