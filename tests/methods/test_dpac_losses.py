"""Losses and targets of DPAC against hand-worked numbers, slow references, invariants."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from deep_clustering.methods.algorithms.dpac import (
    aggregation,
    aligned,
    distance_sums,
    divergence,
    opa_target,
    self_labels,
    weighted_contrast,
)
from deep_clustering.methods.learning.clusterer import negative_entropy
from deep_clustering.methods.pretraining.simclr import nt_xent

CASES = [(12, 5, 3, 0), (40, 8, 10, 1), (7, 20, 4, 2)]  # B, d, K, seed


def drawn(batch: int, width: int, clusters: int, seed: int) -> tuple[Tensor, Tensor]:
    """Features, not negative as an encoder's, and predictions, in float64."""
    g = torch.Generator().manual_seed(seed)
    features = torch.randn(batch, width, generator=g, dtype=torch.float64).abs()
    logits = 2 * torch.randn(batch, clusters, generator=g, dtype=torch.float64)
    return features, logits.softmax(1)


def matrix(features: Tensor, distance: str) -> Tensor:
    """All distances, one by one."""
    if distance == "cosine":
        one = torch.nn.CosineSimilarity(dim=0)
        rows = [[1 - one(x, y) for y in features] for x in features]
    else:
        rows = [[(x - y).square().sum() for y in features] for x in features]
    return torch.stack([torch.stack(row) for row in rows])


def unit_views(batch: int, seed: int) -> tuple[Tensor, Tensor]:
    g = torch.Generator().manual_seed(seed)
    views = torch.randn(2, batch, 6, generator=g, dtype=torch.float64)
    first, second = F.normalize(views, dim=2)
    return first, second


# --- Eq. 9: the target ----------------------------------------------------------------------------


@pytest.mark.parametrize("distance", ["cosine", "squared"])
@pytest.mark.parametrize(("batch", "width", "clusters", "seed"), CASES)
def test_sums_equal_the_matrix_of_distances(
    batch: int, width: int, clusters: int, seed: int, distance: str
) -> None:
    x, p = drawn(batch, width, clusters, seed)
    expected = matrix(x, distance).fill_diagonal_(0) @ p
    torch.testing.assert_close(distance_sums(x, p, distance=distance), expected, atol=1e-11, rtol=0)


@pytest.mark.parametrize("distance", ["cosine", "squared"])
@pytest.mark.parametrize("m", [1.01, 1.03, 1.2, 2.0])
def test_targets_equal_the_direct_form(m: float, distance: str) -> None:
    x, p = drawn(30, 8, 5, 3)
    s = (matrix(x, distance).fill_diagonal_(0) @ p).numpy()
    shifted = s / s.min(1, keepdims=True)  # the same targets, without overflow
    expected = shifted ** (-1 / (m - 1))
    expected /= expected.sum(1, keepdims=True)
    q = opa_target(x, p, m, distance=distance)
    np.testing.assert_allclose(q.numpy(), expected, atol=1e-9)
    torch.testing.assert_close(q.sum(1), torch.ones(30, dtype=torch.float64), atol=1e-12, rtol=0)
    assert q.dtype == torch.float64


def test_targets_by_hand() -> None:
    """At right angles d is 1: S of a sample sums the predictions of the two others."""
    x = torch.eye(3)
    p = torch.tensor([[1.0, 0.0], [0.5, 0.5], [0.0, 1.0]])
    expected = torch.tensor([[3 / 4, 1 / 4], [1 / 2, 1 / 2], [1 / 4, 3 / 4]], dtype=torch.float64)
    torch.testing.assert_close(opa_target(x, p, 2.0), expected)  # S: (.5, 1.5), (1, 1), (1.5, .5)


def test_a_heavier_cluster_is_pushed_back() -> None:
    """Mass to the power -1 / (m - 1): 0.13 against 0.0967 of the batch is 5e-5 in the target."""
    x, _ = drawn(40, 8, 10, 0)
    p = torch.full((40, 10), 0.87 / 9, dtype=torch.float64)
    p[:, 0] = 0.13
    q = opa_target(x, p, 1.03)
    ratio = q[:, 0] / q[:, 1]
    expected = (0.13 / (0.87 / 9)) ** (-1 / 0.03)
    torch.testing.assert_close(ratio, torch.full_like(ratio, expected))
    assert expected == pytest.approx(5e-5, rel=0.1)


def test_the_uniform_prediction_is_a_fixed_point() -> None:
    x, _ = drawn(40, 8, 10, 0)
    p = torch.full((40, 10), 0.1, dtype=torch.float64)
    torch.testing.assert_close(opa_target(x, p, 1.03), p, atol=1e-12, rtol=0)


def test_targets_depend_on_the_shape_of_the_features_alone() -> None:
    x, p = drawn(30, 8, 5, 3)
    rows = torch.linspace(0.1, 9, 30, dtype=torch.float64)[:, None]
    shift = torch.linspace(-5, 5, 8, dtype=torch.float64)
    cosine, squared = opa_target(x, p, 1.03), opa_target(x, p, 1.03, distance="squared")
    close = {"atol": 1e-10, "rtol": 0}
    torch.testing.assert_close(opa_target(rows * x, p, 1.03), cosine, **close)
    torch.testing.assert_close(opa_target(7 * x, p, 1.03, distance="squared"), squared, **close)
    torch.testing.assert_close(opa_target(x + shift, p, 1.03, distance="squared"), squared, **close)
    unit = F.normalize(x, dim=1)
    torch.testing.assert_close(opa_target(unit, p, 1.03, distance="squared"), cosine, **close)
    assert float((cosine - squared).abs().amax()) > 1e-2


def test_permutations_carry_over() -> None:
    x, p = drawn(30, 8, 5, 3)
    g = torch.Generator().manual_seed(0)
    rows, columns = torch.randperm(30, generator=g), torch.randperm(5, generator=g)
    q = opa_target(x, p, 1.03)
    found = opa_target(x[rows], p[rows][:, columns], 1.03)
    torch.testing.assert_close(found, q[rows][:, columns], atol=1e-10, rtol=0)


def test_a_batch_is_one_simultaneous_step_and_not_a_sweep() -> None:
    """Offline PAC updates a row at a time and uses it at once; here all rows see the old ones."""
    x, p = drawn(30, 8, 5, 3)
    d = matrix(x, "cosine").fill_diagonal_(0)
    sweep = p.clone()
    for i in range(30):
        sweep[i] = (d[i] @ sweep).log().div(-0.03).softmax(0)
    q = opa_target(x, p, 1.03)
    torch.testing.assert_close(q[0], sweep[0], atol=1e-10, rtol=0)
    assert float((q[-1] - sweep[-1]).abs().amax()) > 0.1


def test_no_gradient_passes_through_a_target() -> None:
    x, p = drawn(10, 4, 3, 0)
    assert not opa_target(x.requires_grad_(), p.requires_grad_(), 1.03).requires_grad


@pytest.mark.parametrize("distance", ["cosine", "squared"])
def test_degenerate_batches_have_targets(distance: str) -> None:
    same = torch.ones(6, 4)
    hard = F.one_hot(torch.zeros(6, dtype=torch.long), 3).float()
    for x in (same, torch.zeros(6, 4)):
        q = opa_target(x, hard, 1.005, distance=distance)
        assert bool(torch.isfinite(q).all())
        torch.testing.assert_close(q.sum(1), torch.ones(6, dtype=torch.float64))


def learnt(m: float, features: Tensor, steps: int = 3000) -> Tensor:
    """Predictions of a head that could be anything, taught by the targets of one batch."""
    g = torch.Generator().manual_seed(0)
    logits = 1e-2 * torch.randn(len(features), 3, generator=g, dtype=torch.float64)
    for _ in range(steps):
        p = logits.softmax(1)
        logits = logits - 0.1 * (p - opa_target(features, p, m))
    return logits.softmax(1)


def test_above_a_largest_m_every_prediction_is_uniform() -> None:
    """Table 6's cells of exactly 1/K: uniform is stable once |lambda_min| is below m - 1."""
    x, _ = drawn(60, 8, 3, 5)
    d = matrix(x, "cosine").fill_diagonal_(0).numpy()
    degrees = d.sum(1) ** -0.5
    smallest = -np.linalg.eigvalsh(degrees[:, None] * d * degrees).min()
    below, above = learnt(1 + 0.85 * smallest, x), learnt(1 + 1.15 * smallest, x)
    assert float((above - 1 / 3).abs().amax()) < 1e-6
    assert float((below - 1 / 3).abs().amax()) > 0.05
    assert float(learnt(1.03, x).amax(1).mean()) > 0.9


# --- Eq. 10: the divergence -----------------------------------------------------------------------


def test_divergence_by_hand() -> None:
    logits = torch.tensor([[math.log(3.0), 0.0], [0.0, 0.0]])  # probabilities 3/4, 1/4 and 1/2, 1/2
    targets = torch.tensor([[0.5, 0.5], [1.0, 0.0]])
    expected = [0.5 * math.log(0.5 / 0.75) + 0.5 * math.log(0.5 / 0.25), math.log(2.0)]
    torch.testing.assert_close(divergence(targets, logits), torch.tensor(expected))


def test_divergence_is_zero_for_the_target_alone_and_its_gradient_the_difference() -> None:
    _, q = drawn(20, 4, 5, 1)
    assert float(divergence(q, q.log()).abs().amax()) < 1e-12
    logits = torch.randn(20, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    logits.requires_grad_()
    values = divergence(q, logits)
    assert bool((values > 0).all())
    values.mean().backward()
    torch.testing.assert_close(logits.grad, (logits.softmax(1) - q).detach() / 20)


# --- Eq. 11: the weighted contrast ----------------------------------------------------------------


def contrast_by_loops(z: list[np.ndarray], p: np.ndarray, temperature: float) -> list[float]:
    """Eq. 11 as printed, the anchors of the first view and then those of the second."""
    losses = []
    for own, other in ((z[0], z[1]), (z[1], z[0])):
        for i in range(len(p)):
            below = 0.0
            for j in range(len(p)):
                weight = 1 - p[i] @ p[j]
                if j != i:
                    below += weight * math.exp(own[i] @ own[j] / temperature)
                below += weight * math.exp(own[i] @ other[j] / temperature)
            losses.append(-math.log(math.exp(own[i] @ other[i] / temperature) / below))
    return losses


@pytest.mark.parametrize("temperature", [0.1, 0.5])
def test_weighted_contrast_equals_the_printed_sum(temperature: float) -> None:
    first, second = unit_views(9, 0)
    _, p = drawn(9, 3, 4, 1)
    expected = contrast_by_loops([first.numpy(), second.numpy()], p.numpy(), temperature)
    found = weighted_contrast(first, second, p, temperature)
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-12)
    swapped = weighted_contrast(second, first, p, temperature)
    torch.testing.assert_close(swapped, found.roll(9), atol=1e-12, rtol=0)


@pytest.mark.parametrize("clusters", [2, 10, 100])
def test_with_uniform_predictions_it_is_simclr_and_a_constant(clusters: int) -> None:
    first, second = (view.requires_grad_() for view in unit_views(8, 1))
    p = torch.full((8, clusters), 1 / clusters, dtype=torch.float64)
    weighted, plain = weighted_contrast(first, second, p, 0.5), nt_xent(first, second, 0.5)
    expected = plain + math.log(1 - 1 / clusters)
    torch.testing.assert_close(weighted, expected, atol=1e-12, rtol=0)
    gradients = [torch.autograd.grad(x.sum(), (first, second)) for x in (weighted, plain)]
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other, atol=1e-12, rtol=0)


def test_pairs_of_one_cluster_do_not_count() -> None:
    """Three images, two surely of one cluster: the third is the only negative of the first two."""
    first, second = unit_views(3, 2)
    p = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]], dtype=torch.float64)
    loss = weighted_contrast(first, second, p, 0.5)[0]
    below = sum(math.exp(float(first[0] @ other[2]) / 0.5) for other in (first, second))
    expected = -math.log(math.exp(float(first[0] @ second[0]) / 0.5) / below)
    assert float(loss) == pytest.approx(expected, abs=1e-9)
    moved = first.clone()
    moved[1] = -moved[1]
    assert float(weighted_contrast(moved, second, p, 0.5)[0]) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("weight", ["printed", "one", "none"])
def test_a_collapsed_batch_has_a_finite_loss(weight: str) -> None:
    first, second = (view.float().requires_grad_() for view in unit_views(6, 3))
    p = F.one_hot(torch.zeros(6, dtype=torch.long), 3).float()
    loss = weighted_contrast(first, second, p, 0.5, weight)
    loss.sum().backward()
    for value in (loss, first.grad, second.grad):
        assert value is not None
        assert bool(torch.isfinite(value).all())


def test_the_positive_pair_counts_as_asked() -> None:
    first, second = unit_views(5, 4)
    _, p = drawn(5, 3, 4, 1)
    found = {w: weighted_contrast(first, second, p, 0.5, w) for w in ("printed", "one", "none")}
    positive = ((first * second).sum(1) / 0.5).repeat(2).exp()
    below = {w: positive / (-loss).exp() for w, loss in found.items()}
    weight = (1 - p.square().sum(1)).repeat(2)
    torch.testing.assert_close(below["printed"] - below["none"], weight * positive)
    torch.testing.assert_close(below["one"] - below["none"], positive)


def test_no_gradient_passes_through_the_weights() -> None:
    first, second = unit_views(5, 4)
    _, p = drawn(5, 3, 4, 1)
    assert not weighted_contrast(first, second, p.requires_grad_(), 0.5).requires_grad


# --- Eq. 13 and the rest --------------------------------------------------------------------------


@pytest.mark.parametrize("distance", ["cosine", "squared"])
@pytest.mark.parametrize(("batch", "width", "clusters", "seed"), CASES)
def test_aggregation_equals_a_double_loop(
    batch: int, width: int, clusters: int, seed: int, distance: str
) -> None:
    x, p = (t.requires_grad_() for t in drawn(batch, width, clusters, seed))
    found = aggregation(x, p, distance=distance)
    d = matrix(x, distance)
    rows = d.detach().numpy()
    q = p.detach().numpy()
    expected = sum(q[i] @ q[j] * rows[i, j] for i in range(batch) for j in range(batch))
    assert found.item() == pytest.approx(float(expected), abs=1e-10)
    gradients = torch.autograd.grad(found, (x, p))
    direct = torch.autograd.grad((p.T @ d @ p).trace(), (x, p))
    for one, other in zip(gradients, direct, strict=True):
        torch.testing.assert_close(one, other, atol=1e-9, rtol=0)


def test_aggregation_of_a_hard_partition_is_its_spread_times_its_size() -> None:
    """J of one-hot rows is the sum over the clusters of 2 n SSE (squared distance)."""
    x, p = drawn(30, 4, 3, 0)
    labels = p.argmax(1)
    parts = [x[labels == k] for k in range(3)]
    expected = sum(2 * len(part) * (part - part.mean(0)).square().sum() for part in parts)
    found = aggregation(x, F.one_hot(labels, 3).double(), distance="squared")
    torch.testing.assert_close(found, expected)


def test_balance_is_lowest_when_even() -> None:
    even, all_in_one = torch.full((4,), 0.25), torch.tensor([1.0, 0.0, 0.0, 0.0])
    assert negative_entropy(even).item() == pytest.approx(-math.log(4))
    assert negative_entropy(all_in_one).item() == 0
    logits = torch.tensor([200.0, 0.0]).requires_grad_()
    negative_entropy(logits.softmax(0)).backward()
    assert logits.grad is not None
    assert bool(torch.isfinite(logits.grad).all())


def test_self_labels_by_hand() -> None:
    logits = torch.tensor([[math.log(19.0), 0.0], [0.0, math.log(20.0)], [0.0, 0.1]])
    labels, confident = self_labels(logits.requires_grad_(), 0.951)  # 0.95, 0.952, 0.52
    assert labels.tolist() == [0, 1, 1]
    assert confident.tolist() == [0.0, 1.0, 0.0]
    assert not confident.requires_grad


def test_targets_take_over_the_names_of_the_head() -> None:
    labels = np.array([0, 0, 1, 1, 1, 2, 2, 0])
    names = np.array([2, 0, 1])  # what the offline method calls clusters 0, 1, 2
    targets = np.eye(3)[names[labels]] * 0.9 + 0.1 / 3
    np.testing.assert_allclose(aligned(targets, labels), np.eye(3)[labels] * 0.9 + 0.1 / 3)
    noisy = labels.copy()
    noisy[0] = 2
    np.testing.assert_array_equal(aligned(targets, noisy), aligned(targets, labels))
