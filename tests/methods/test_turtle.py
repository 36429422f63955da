"""TURTLE: its losses by hand, and that it finds what a linear classifier learns best."""

import numpy as np
import pytest
import torch
from sklearn.datasets import make_blobs
from sklearn.metrics import adjusted_rand_score

from deep_clustering.methods.algorithms import turtle
from deep_clustering.methods.clustering.points import standardised
from deep_clustering.methods.turtle import TurtleConfig

#: Rates at which few steps are enough.
QUICK = {"iterations": 40, "inner_steps": 5, "inner_lr": 0.1, "outer_lr": 0.1}


def test_losses_by_hand() -> None:
    scores = torch.tensor([[0.0, np.log(3.0)]])  # probabilities 1/4 and 3/4
    labels = torch.tensor([[0.5, 0.5]])
    expected = -0.5 * np.log(0.25) - 0.5 * np.log(0.75)
    assert float(turtle.disagreement(scores, labels)) == pytest.approx(expected)
    sides = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    assert float(turtle.mean_entropy(sides)) == pytest.approx(np.log(2))
    assert float(turtle.mean_entropy(sides[:1])) == 0


def test_the_classifier_follows_the_gradient_of_the_disagreement() -> None:
    config = TurtleConfig(clusters=3, inner_steps=1, inner_lr=0.01)
    points, labels = torch.randn(20, 4), torch.rand(20, 3).softmax(1)
    learner = turtle._Classifier(config, 4, torch.Generator().manual_seed(0))
    weight = learner._weight.clone().requires_grad_()
    bias = learner._bias.clone().requires_grad_()
    turtle.disagreement(points @ weight.T + bias, labels).backward()
    learner.learn(points, points.T.contiguous(), labels)
    assert torch.allclose(learner._weight.grad, weight.grad, atol=1e-6)  # type: ignore[arg-type]
    assert torch.allclose(learner._bias.grad, bias.grad, atol=1e-6)  # type: ignore[arg-type]


def test_points_are_brought_to_one_scale_place_and_order() -> None:
    points = np.random.default_rng(0).normal(size=(50, 3)) * [1, 5, 2] + 100
    found = standardised(points.astype(np.float32))
    assert np.abs(found.mean(0)).max() < 1e-5
    assert np.square(found).mean() == pytest.approx(1, abs=1e-5)
    assert found.std(0).tolist() == sorted(found.std(0), reverse=True)
    again = standardised((7 * points[:, [2, 0, 1]]).astype(np.float32))
    assert np.abs(found - again).max() < 1e-4
    assert np.array_equal(standardised(np.ones((4, 2))), np.zeros((4, 2)))


@pytest.mark.parametrize("start", ["cold", "warm"])
def test_separate_groups_are_found_and_small_batches_do_as_well(start: str) -> None:
    points, labels = make_blobs(120, n_features=6, centers=3, random_state=1)
    for batch in (10_000, 60):
        config = TurtleConfig(clusters=3, batch=batch, start=start, **QUICK)  # type: ignore[arg-type]
        found = turtle.fit(config, points.astype(np.float32), 0)
        assert adjusted_rand_score(labels, found.labels) == 1
        assert found.info["entropy"] == pytest.approx(np.log(3), abs=0.05)


def test_the_entropy_keeps_clusters_equal() -> None:
    points, _ = make_blobs([40, 80], n_features=6, centers=None, random_state=1)
    found = {}
    for weight in (0.0, 10.0, 100.0):
        config = TurtleConfig(clusters=2, entropy_weight=weight, **QUICK)  # type: ignore[arg-type]
        found[weight] = turtle.fit(config, points.astype(np.float32), 0)
    assert sorted(np.bincount(found[0.0].labels).tolist()) == [40, 80]
    entropies = [one.info["entropy"] for one in found.values()]
    assert entropies == sorted(entropies)
    assert entropies[0] == pytest.approx(np.log(3) - np.log(2) * 2 / 3, abs=0.01)  # of 1/3 and 2/3
    assert entropies[-1] == pytest.approx(np.log(2), abs=0.01)
