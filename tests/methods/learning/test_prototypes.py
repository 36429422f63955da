"""Prototype initialisation: invariants, the facts known about the spread, and the step order."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from deep_clustering.methods.clustering.kmeans import kmeans
from deep_clustering.methods.learning import prototypes as _prototypes
from deep_clustering.methods.learning.prototypes import prototypes, spread, standardise


def features(
    n: int = 200, d: int = 24, classes: int = 5, seed: int = 0, noise: float = 0.15
) -> Tensor:
    """Non-negative features around `classes` patterns, in turn."""
    generator = torch.Generator().manual_seed(seed)
    patterns = torch.rand(classes, d, generator=generator)
    picks = torch.arange(n) % classes
    return (patterns[picks] + noise * torch.randn(n, d, generator=generator)).relu()


def loss(z: Tensor, v: Tensor) -> Tensor:
    cosines = F.normalize(z.relu(), dim=1) @ F.normalize(v, dim=1).T
    return F.cross_entropy(5 * cosines, torch.arange(len(z)))


def slow_spread(weight: Tensor, steps: int) -> tuple[Tensor, Tensor]:
    """`spread` with autograd and torch's own optimiser and schedule; (Z, V)."""
    z, v = weight.clone().requires_grad_(), weight.clone().requires_grad_()
    optimiser = torch.optim.SGD([z, v], lr=0.1, momentum=0.9, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    for _ in range(steps):
        optimiser.zero_grad()
        loss(z, v).backward()
        optimiser.step()
        schedule.step()
    return z.detach(), v.detach()


def cosines(v: Tensor) -> Tensor:
    unit = F.normalize(v, dim=1)
    return (unit @ unit.T)[~torch.eye(len(v), dtype=torch.bool)]


# --- standardise ---------------------------------------------------------------------------------


def test_rows_have_zero_sum_and_unit_length():
    rows = standardise(features())
    torch.testing.assert_close(rows.sum(1), torch.zeros(200), atol=1e-5, rtol=0)
    torch.testing.assert_close(rows.norm(dim=1), torch.ones(200))


def test_products_of_rows_are_correlations():
    x = features(20)
    rows = standardise(x)
    torch.testing.assert_close(rows @ rows.T, torch.corrcoef(x))


def test_constant_rows_become_zero():
    x = torch.full((3, 7), 0.1)
    x[1] = 0
    assert torch.equal(standardise(x), torch.zeros(3, 7))


# --- spread --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("n", "expected"), [(10, 0.0342), (15, 0.0639), (20, 0.0939)])
def test_loss_at_the_simplex(n, expected):
    # Checks the loss of this file: cosine 1 on the diagonal, -1/(n-1) elsewhere.
    logits = 5 * torch.where(torch.eye(n, dtype=torch.bool), 1.0, -1 / (n - 1))
    assert float(F.cross_entropy(logits, torch.arange(n))) == pytest.approx(expected, abs=5e-5)


@pytest.mark.ray
@pytest.mark.parametrize(("n", "expected"), [(10, 0.0342), (15, 0.0639)])
def test_spread_reaches_the_simplex(n, expected):
    # Groups already far apart, as of good features: rows turn little and keep the decay's length.
    blocks = torch.eye(n).repeat_interleave(6, dim=1)
    noise = 0.1 * torch.randn(n, 6 * n, generator=torch.Generator().manual_seed(n))
    weight = 0.9 * standardise(blocks + noise)
    v = spread(weight)
    torch.testing.assert_close(
        cosines(v), torch.full((n * (n - 1),), -1 / (n - 1)), atol=5e-3, rtol=0
    )
    ratio = v.norm(dim=1) / weight.norm(dim=1)
    assert ratio.min() > 0.90
    assert ratio.max() < 0.93
    # The table's losses are those of a simplex on both sides; the ReLU keeps Z from reaching one.
    unit = F.normalize(v, dim=1)
    simplex = F.cross_entropy(5 * unit @ unit.T, torch.arange(n))
    assert float(simplex) == pytest.approx(expected, abs=5e-4)
    z_slow, v_slow = slow_spread(weight, 2000)
    torch.testing.assert_close(v, v_slow, atol=2e-3, rtol=0)
    assert expected < float(loss(z_slow, v)) < float(loss(weight, weight))
    # Each row stays the prototype it was.
    assert (F.normalize(v, dim=1) @ F.normalize(weight, dim=1).T).argmax(1).tolist() == list(
        range(n)
    )


def test_spread_is_the_written_optimiser():
    weight = torch.randn(12, 9, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(spread(weight, steps=60), slow_spread(weight, 60)[1])


def test_spread_leaves_its_input_and_zero_rows_alone():
    weight = torch.randn(6, 8, generator=torch.Generator().manual_seed(1))
    weight[2] = 0
    weight[3] = -weight[3].abs()  # nothing left after the ReLU
    copy = weight.clone()
    v = spread(weight, steps=200)
    assert torch.equal(weight, copy)
    assert torch.equal(v[2], torch.zeros(8))
    assert torch.isfinite(v).all()


def test_more_rows_than_a_simplex_can_hold():
    weight = torch.randn(20, 6, generator=torch.Generator().manual_seed(2))
    before = cosines(weight).max()
    assert cosines(spread(weight, steps=500)).max() < before


def test_spread_of_one_row():
    v = spread(torch.tensor([[3.0, 4.0]]))
    # No gradient, only weight decay: exp(-(sum of rates) / (1 - momentum) * decay) = exp(-0.1).
    assert float(v.norm()) == pytest.approx(5 * math.exp(-0.1), rel=2e-3)


# --- prototypes ----------------------------------------------------------------------------------


def test_steps_in_order():
    x = features()
    first, second = prototypes(x, 16, 5, seed=0)
    w1 = kmeans(standardise(x), 16).centres
    layers = torch.nn.Sequential(
        torch.nn.Linear(24, 16, bias=False), torch.nn.BatchNorm1d(16), torch.nn.ReLU()
    ).eval()
    with torch.no_grad():
        layers[0].weight.copy_(w1)
        hidden = layers(x)
    w2 = kmeans(standardise(hidden), 5).centres
    steps = _prototypes._STEPS
    torch.testing.assert_close(first, spread(w1, steps=steps), atol=1e-4, rtol=0)
    torch.testing.assert_close(second, spread(w2, steps=steps), atol=1e-4, rtol=0)


def test_rows_of_the_centres_sum_to_zero():
    w1, w2 = _prototypes._centres(features(), 16, 5, 0)
    torch.testing.assert_close(w1.sum(1), torch.zeros(16), atol=1e-5, rtol=0)
    torch.testing.assert_close(w2.sum(1), torch.zeros(5), atol=1e-5, rtol=0)
    assert w1.norm(dim=1).max() < 1


def test_scaling_the_features_changes_nothing():
    w1, w2 = _prototypes._centres(features(), 16, 5, 0)
    scaled1, scaled2 = _prototypes._centres(1000 * features(), 16, 5, 0)
    torch.testing.assert_close(w1, scaled1, atol=1e-5, rtol=0)
    torch.testing.assert_close(w2, scaled2, atol=1e-5, rtol=0)


def test_heads_cluster_at_once():
    # Five clear groups: the head built from the prototypes tells them apart without training.
    x = features(classes=5, noise=0.05)
    w1, w2 = prototypes(x, 32, 5, 0)
    labels = (F.relu(x @ w1.T) @ w2.T).argmax(1).view(-1, 5)
    assert (labels == labels[0]).all()
    assert sorted(labels[0].tolist()) == [0, 1, 2, 3, 4]


def test_deterministic_and_shapes():
    torch.manual_seed(0)
    state = torch.get_rng_state()
    one = prototypes(features(60), 12, 3, 4)
    assert torch.equal(torch.get_rng_state(), state)
    two = prototypes(features(60), 12, 3, 4)
    assert one[0].shape == (12, 24)
    assert one[1].shape == (3, 12)
    assert torch.equal(one[0], two[0])
    assert torch.equal(one[1], two[1])


def test_seed_matters():
    assert not torch.equal(prototypes(features(), 16, 5, 0)[0], prototypes(features(), 16, 5, 1)[0])


@pytest.mark.parametrize(
    ("hidden", "clusters", "text"),
    [(61, 5, "hidden=61 for 60 samples"), (16, 61, "clusters=61 for 60"), (0, 5, "hidden=0")],
)
def test_too_few_samples(hidden, clusters, text):
    with pytest.raises(ValueError, match=text):
        prototypes(features(60), hidden, clusters, 0)


def test_features_that_are_not_finite():
    x = features(60)
    x[3, 3] = math.nan
    with pytest.raises(ValueError, match="NaN"):
        prototypes(x, 16, 5, 0)
