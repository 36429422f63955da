"""TEMI: its loss by hand, its heads against a plain loop, and what it finds."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.datasets import make_blobs
from sklearn.metrics import adjusted_rand_score

from deep_clustering.methods.algorithms import temi
from deep_clustering.methods.temi import TemiConfig

SMALL = TemiConfig(
    clusters=3, heads=2, hidden=16, bottleneck=8, epochs=15, warmup_epochs=2, lr=0.01, neighbours=10
)


def test_information_by_hand() -> None:
    p, q = torch.tensor([[0.5, 0.5]]), torch.tensor([[0.8, 0.2]])
    prior = torch.tensor([[0.25, 0.75]])
    found = temi.information(p.log(), q.log(), prior, 1.0)
    assert float(found) == pytest.approx(np.log(0.4 / 0.25 + 0.1 / 0.75))
    found = temi.information(p.log(), q.log(), prior, 0.5)
    assert float(found) == pytest.approx(np.log(0.4**0.5 / 0.25 + 0.1**0.5 / 0.75))


def test_the_weight_is_the_chance_of_one_cluster_mean_over_heads() -> None:
    p = torch.tensor([[[0.5, 0.5]], [[1.0, 0.0]]]).clamp_min(1e-30).log()
    q = torch.tensor([[[0.8, 0.2]], [[0.0, 1.0]]]).clamp_min(1e-30).log()
    assert temi.alike(p, q).tolist() == pytest.approx([0.25])


def test_heads_side_by_side_are_each_a_network() -> None:
    heads = temi.Heads(SMALL, 5, torch.Generator().manual_seed(0))
    heads.biases[0].normal_()
    points = torch.randn(7, 5)
    found = heads(points)
    for head in range(2):
        x = F.gelu(points @ heads.weights[0][head] + heads.biases[0][head])
        x = F.normalize(x @ heads.weights[1][head] + heads.biases[1][head], dim=1)
        assert torch.allclose(found[head], x @ heads.last[0][head].T, atol=1e-5)


def test_the_teacher_follows_slowly_and_last_layers_wait() -> None:
    x = torch.randn(64, 5)
    training = temi._Training(SMALL, x, 0)
    before = [p.clone() for p in training.teacher.parameters]
    training.epoch(0)
    student, teacher = training.student.parameters, training.teacher.parameters
    for held, old, new in zip(teacher, before, student, strict=True):
        assert torch.allclose(held, old + (1 - SMALL.momentum) * (new - old), atol=1e-6)
    assert torch.equal(training.student.last[0], before[4])
    training.epoch(1)
    assert not torch.equal(training.student.last[0], before[4])


def test_separate_groups_are_found_by_the_head_of_the_least_loss() -> None:
    points, labels = make_blobs(120, n_features=6, centers=3, random_state=1)
    found = temi.fit(SMALL, points.astype(np.float32), 0)
    assert adjusted_rand_score(labels, found.labels) == 1
    assert found.info["head"] in (0.0, 1.0)


def test_mistakes_are_named_together() -> None:
    with pytest.raises(ValueError, match=r"heads: must be above 0, got 0\nbeta: must be above 0"):
        TemiConfig(heads=0, beta=0.0)
