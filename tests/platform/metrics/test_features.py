"""k-means on features."""

import numpy as np
import pytest

from deep_clustering.platform.metrics import features


@pytest.mark.parametrize("few", [features.FEW, 10], ids=["scikit-learn", "faiss"])
def test_kmeans_finds_separate_groups(few, monkeypatch):
    monkeypatch.setattr(features, "FEW", few)
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 4, 400)
    x = rng.normal(size=(400, 8)) + 20 * np.eye(4, 8)[truth]
    assert features.kmeans_accuracy(x, truth, 4, seed=0) == 1
    noise = rng.normal(size=(400, 8))
    found = features.kmeans_accuracy(noise, truth, 4, seed=0)
    assert found < 0.5
    assert features.kmeans_accuracy(noise, truth, 4, seed=0) == found


def test_the_canary_needs_labels():
    x = np.random.default_rng(0).normal(size=(20, 3))
    assert features.kmeans_accuracy(x, None, 3) is None
    assert features.kmeans_accuracy(x, np.zeros(20, int), 3) is None


def test_constant_features_are_scored_without_a_warning():
    truth = np.arange(30) % 3
    assert features.kmeans_accuracy(np.ones((30, 5)), truth, 3) == pytest.approx(1 / 3)
