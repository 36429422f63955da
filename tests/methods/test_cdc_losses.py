"""Losses, targets and selection of CDC against hand-worked numbers, slow references, invariants."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from deep_clustering.methods.algorithms.cdc import (
    class_counts,
    focal_loss,
    mini_cluster_targets,
    select_by_confidence,
    smoothed_labels,
    soft_cross_entropy,
)
from deep_clustering.methods.learning.clusterer import negative_entropy
from deep_clustering.methods.learning.selection import (
    Fixed,
    FlexMatch,
    FreeMatch,
    Gradients,
    Prototypes,
    feature_gradients,
    flex_shares,
)

CASES = [(40, 3, 7, 0), (64, 10, 20, 1), (30, 5, 1, 2), (12, 4, 12, 3)]  # B, C, K, seed


def drawn(batch: int, classes: int, seed: int, sharpness: float = 2.0) -> Tensor:
    g = torch.Generator().manual_seed(seed)
    return (sharpness * torch.randn(batch, classes, generator=g)).softmax(1)


def assigned(batch: int, regions: int, seed: int) -> Tensor:
    return torch.randint(regions, (batch,), generator=torch.Generator().manual_seed(seed))


# --- Eq. 1: targets -------------------------------------------------------------------------------


def test_targets_by_hand() -> None:
    p = torch.tensor([[1.0, 0.0], [0.5, 0.5], [0.0, 1.0]])
    targets = mini_cluster_targets(p, torch.tensor([2, 2, 0]), 4)
    expected = torch.tensor([[0.75, 0.25], [0.75, 0.25], [0.0, 1.0]])
    torch.testing.assert_close(targets, expected, rtol=0, atol=1e-7)


@pytest.mark.parametrize(("batch", "classes", "regions", "seed"), CASES)
def test_targets_equal_a_loop_and_keep_the_mean(
    batch: int, classes: int, regions: int, seed: int
) -> None:
    p, assignment = drawn(batch, classes, seed), assigned(batch, regions, seed)
    targets = mini_cluster_targets(p, assignment, regions)
    reference = np.stack(
        [p.double().numpy()[(assignment == assignment[i]).numpy()].mean(0) for i in range(batch)]
    )
    np.testing.assert_allclose(targets.numpy(), reference, atol=1e-6)
    torch.testing.assert_close(targets.sum(1), torch.ones(batch))
    torch.testing.assert_close(targets.sum(0), p.sum(0))


def test_one_mini_cluster_per_sample_changes_nothing() -> None:
    p = drawn(20, 6, 0)
    order = torch.randperm(20, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(mini_cluster_targets(p, order, 20), p, rtol=0, atol=0)


def test_a_single_mini_cluster_gives_everyone_the_mean() -> None:
    p = drawn(20, 6, 0)
    targets = mini_cluster_targets(p, torch.zeros(20, dtype=torch.long), 1)
    torch.testing.assert_close(targets, p.mean(0).expand(20, 6))
    assert float((targets - 1 / 6).abs().max()) > 1e-3  # the mean is not uniform


@pytest.mark.parametrize(("batch", "classes", "regions", "seed"), CASES)
def test_confidence_never_grows_within_a_mini_cluster(
    batch: int, classes: int, regions: int, seed: int
) -> None:
    """Theorem 1 on a finite sample: equality only where the members share their best class."""
    p, assignment = drawn(batch, classes, seed), assigned(batch, regions, seed)
    targets = mini_cluster_targets(p, assignment, regions)
    for region in assignment.unique():
        members = assignment == region
        before = float(p[members].amax(1).mean())
        after = float(targets[members][0].amax())
        assert after <= before + 1e-6
        agree = len(p[members].argmax(1).unique()) == 1
        assert agree == (abs(after - before) < 1e-6)


def test_a_finer_partition_never_lowers_the_confidence() -> None:
    p, coarse = drawn(60, 5, 4), assigned(60, 4, 4)
    fine = coarse * 3 + assigned(60, 3, 5)  # each coarse region split in three
    confidence = [float(mini_cluster_targets(p, a, 12).amax(1).mean()) for a in (coarse, fine)]
    assert confidence[0] <= confidence[1] + 1e-6


@pytest.mark.fault(52)
def test_targets_carry_no_graph_and_survive_empty_mini_clusters() -> None:
    p = drawn(10, 3, 0).requires_grad_()
    targets = mini_cluster_targets(p, torch.full((10,), 3), 50)
    assert not targets.requires_grad
    assert bool(torch.isfinite(targets).all())


# --- Eqs. 1 to 3: losses --------------------------------------------------------------------------


def test_soft_cross_entropy_by_hand() -> None:
    logits = torch.tensor([[math.log(3.0), 0.0], [0.0, 0.0]])  # probabilities 3/4, 1/4 and 1/2, 1/2
    targets = torch.tensor([[0.5, 0.5], [1.0, 0.0]])
    expected = [-0.5 * math.log(0.75) - 0.5 * math.log(0.25), math.log(2.0)]
    torch.testing.assert_close(soft_cross_entropy(logits, targets), torch.tensor(expected))


def test_gradient_of_the_calibration_loss_is_the_difference() -> None:
    logits = torch.randn(8, 5, dtype=torch.float64, requires_grad=True)
    targets = drawn(8, 5, 3).double()
    (soft_cross_entropy(logits, targets).sum() / 8).backward()
    assert logits.grad is not None
    torch.testing.assert_close(logits.grad, (logits.detach().softmax(1) - targets) / 8)


def test_calibration_loss_is_at_least_the_entropy_of_its_targets() -> None:
    targets = drawn(30, 4, 5)
    entropy = -(targets * targets.log()).sum(1)
    assert bool((soft_cross_entropy(torch.randn(30, 4), targets) >= entropy - 1e-6).all())
    torch.testing.assert_close(soft_cross_entropy(targets.log(), targets), entropy)


def test_negative_entropy_range_and_minimum() -> None:
    uniform = torch.full((7,), 1 / 7, requires_grad=True)
    value = negative_entropy(uniform)
    assert value.item() == pytest.approx(-math.log(7), abs=1e-6)
    (gradient,) = torch.autograd.grad(value, uniform)
    assert float(gradient.std()) < 1e-6  # along the simplex there is none
    for seed in range(5):
        mean = drawn(1, 7, seed)[0]
        assert -math.log(7) < float(negative_entropy(mean)) <= 0.0


@pytest.mark.fault(55)
def test_negative_entropy_of_a_vanished_class_is_finite() -> None:
    logits = torch.tensor([[0.0, -200.0, 1.0]], requires_grad=True)  # softmax underflows to 0
    value = negative_entropy(logits.softmax(1).mean(0))
    value.backward()
    assert logits.grad is not None
    assert bool(torch.isfinite(value))
    assert bool(torch.isfinite(logits.grad).all())
    p = np.exp([0.0, 1.0]) / np.exp([0.0, 1.0]).sum()
    assert value.item() == pytest.approx(float((p * np.log(p)).sum()), abs=1e-6)


def test_focal_loss_by_hand_and_as_cross_entropy() -> None:
    logits = torch.tensor([[math.log(3.0), 0.0]])
    hard = torch.tensor([[1.0, 0.0]])
    assert float(focal_loss(logits, hard, 2.0)) == pytest.approx(-(0.25**2) * math.log(0.75))
    torch.testing.assert_close(focal_loss(logits, hard, 0.0), soft_cross_entropy(logits, hard))


def test_smoothed_labels_by_hand() -> None:
    p = torch.tensor([[0.6, 0.4, 0.0, 0.0]])
    expected = torch.tensor([[0.9 + 0.025, 0.025, 0.025, 0.025]])
    torch.testing.assert_close(smoothed_labels(p, 0.1), expected)


# --- Eq. 4: selection -----------------------------------------------------------------------------


def slow_selection(p: np.ndarray, cap: int) -> np.ndarray:
    """Step 4 in loops; float32 where the rule is."""
    confidence, chosen = p.max(1), set()
    for c in range(p.shape[1]):
        ranking = np.argsort(-p[:, c], kind="stable")
        mean = np.float32(confidence[ranking[:cap]].mean(dtype=np.float32))
        chosen |= set(ranking[: math.floor(np.float32(cap) * mean)].tolist())
    return np.isin(np.arange(len(p)), list(chosen))


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize(("batch", "classes"), [(50, 5), (64, 10), (30, 3)])
def test_selection_equals_a_loop(batch: int, classes: int, seed: int) -> None:
    p, cap = drawn(batch, classes, seed, 3.0), batch // classes
    selected = select_by_confidence(p, cap)
    np.testing.assert_array_equal(selected.numpy(), slow_selection(p.numpy(), cap))
    counts = class_counts(p.amax(1)[p.topk(cap, 0).indices], cap)
    assert bool(((counts >= 0) & (counts <= cap)).all())
    assert int(selected.sum()) <= int(counts.sum()) <= cap * classes <= batch


def test_counts_by_hand() -> None:
    confidence = torch.tensor([[0.9, 0.3], [0.8, 0.2], [0.7, 0.1], [0.5, 0.1]])
    assert class_counts(confidence, 4).tolist() == [2.0, 0.0]  # floor(2.9), floor(0.7)


def test_full_confidence_selects_everything() -> None:
    p = torch.eye(4).repeat(5, 1)
    assert bool(select_by_confidence(p, 5).all())


def test_no_confidence_selects_the_share_of_chance() -> None:
    confidence = torch.full((10, 4), 0.25)
    assert class_counts(confidence, 10).tolist() == [2.0] * 4  # floor(10 / 4)


def test_a_sample_taken_for_two_classes_counts_once() -> None:
    # Sample 0 leads both classes; each class takes floor(2 * 0.55) = 1.
    p = torch.tensor([[0.55, 0.45], [0.55, 0.01], [0.01, 0.4], [0.1, 0.1]])
    p[1:, :] = torch.tensor([[0.54, 0.0], [0.0, 0.44], [0.0, 0.0]])
    counts = class_counts(p.amax(1)[p.topk(2, 0).indices], 2)
    selected = select_by_confidence(p, 2)
    assert counts.tolist() == [1.0, 0.0]
    p[2, 1] = 0.449  # the second class now has candidates 0.55 and 0.449: still floor(0.999) = 0
    p[2, 0] = 0.46  # confidence 0.46: floor(1.01) = 1, and its first candidate is sample 0 again
    assert class_counts(p.amax(1)[p.topk(2, 0).indices], 2).tolist() == [1.0, 1.0]
    assert select_by_confidence(p, 2).tolist() == selected.tolist() == [True, False, False, False]


@pytest.mark.parametrize("seed", range(4))
def test_selection_follows_permutations(seed: int) -> None:
    p = drawn(60, 6, seed, 3.0)
    g = torch.Generator().manual_seed(seed)
    classes, samples = torch.randperm(6, generator=g), torch.randperm(60, generator=g)
    selected = select_by_confidence(p, 10)
    torch.testing.assert_close(select_by_confidence(p[:, classes], 10), selected)
    torch.testing.assert_close(select_by_confidence(p[samples], 10), selected[samples])


def test_fixed_threshold_includes_its_value() -> None:
    p = torch.tensor([[0.75, 0.25], [0.5, 0.5], [0.125, 0.875]])
    selected, asked = Fixed(0.75)(p, torch.arange(3))
    assert selected.tolist() == [True, False, True]
    assert float(asked) == 0.75


# --- Table 9 --------------------------------------------------------------------------------------


def test_flexmatch_shares_by_hand() -> None:
    counts, unused = torch.tensor([8.0, 4.0, 0.0]), torch.tensor(16.0)
    assert flex_shares(counts, unused, warmup=True).tolist() == [0.5, 0.25, 0.0]
    assert flex_shares(counts, unused, warmup=False).tolist() == [1.0, 0.5, 0.0]
    assert flex_shares(torch.zeros(3), torch.zeros(()), warmup=False).tolist() == [0.0, 0.0, 0.0]


def test_flexmatch_remembers_its_latest_confident_predictions() -> None:
    rule = FlexMatch(6, torch.tensor([0, 1, 2, 3]), 2, threshold=0.9, warmup=True)
    p = torch.tensor([[0.95, 0.05], [0.4, 0.6], [0.03, 0.97]])
    selected, asked = rule(p, torch.tensor([0, 1, 2]))
    assert selected.all()
    assert float(asked) == 0.0  # nobody was confident so far
    assert rule.latest.tolist() == [0, 2, 1, 2, 3, 3]  # 2: none yet, 3: not trained on
    # One of each class, two of none: beta = 1/2, and 0.9 * 0.5 / 1.5 = 0.3 is asked of both.
    selected, asked = rule(torch.tensor([[0.6, 0.4], [0.05, 0.95]]), torch.tensor([0, 1]))
    assert float(asked) == pytest.approx(0.3)
    assert rule.latest.tolist() == [0, 1, 1, 2, 3, 3]  # 0.6 is not confident: sample 0 stays
    # Counts 1 and 2, one of none: beta = 1/2 and 1, so 0.3 and 0.9 are asked.
    selected, asked = rule(torch.tensor([[0.6, 0.4], [0.2, 0.8]]), torch.tensor([0, 3]))
    assert selected.tolist() == [True, False]
    assert float(asked) == pytest.approx((0.3 + 0.9) / 2)


def test_freematch_by_hand() -> None:
    rule = FreeMatch(2, momentum=0.5)
    p = torch.tensor([[0.8, 0.2], [0.6, 0.4]])
    selected, asked = rule(p, torch.arange(2))
    # Confidence 0.5 -> 0.6; probabilities (0.5, 0.5) -> (0.6, 0.4); both samples are class 0.
    assert float(asked) == pytest.approx(0.6)
    assert selected.tolist() == [True, True]
    selected, _ = rule(torch.tensor([[0.45, 0.55], [0.7, 0.3]]), torch.arange(2))
    # Confidence -> 0.6125; probabilities -> (0.5875, 0.4125): class 1 asks 0.6125 * 0.702 = 0.43.
    assert selected.tolist() == [True, True]
    assert float(rule.confidence) == pytest.approx(0.6125)
    assert rule.probabilities.tolist() == pytest.approx([0.5875, 0.4125])


# --- Table 8 --------------------------------------------------------------------------------------


def test_prototype_filter_by_hand() -> None:
    rule = Prototypes(2, 1, floor=0.75, momentum=0.7)
    p = torch.tensor([[0.9, 0.1], [0.9, 0.1], [0.8, 0.2], [0.8, 0.2], [0.7, 0.3], [0.1, 0.9]])
    points = torch.tensor([[0.0], [2.0], [1.5], [4.0], [1.0], [9.0]])
    selected = torch.tensor([True, True, False, False, False, False])
    # Centre of class 0 is 1, smallest score of the selected 1 / (1 + 1). Sample 2 is near and
    # confident enough, 3 is too far, 4 not confident, 5 of a class without a centre.
    added = rule(selected, p, lambda: points, torch.nn.Identity())
    assert added.tolist() == [True, True, True, False, False, False]
    assert float(rule.score) == 0.5
    rule(torch.tensor([True] + [False] * 5), p, lambda: points, torch.nn.Identity())
    assert float(rule.centres[0]) == pytest.approx(0.7 * 1 + 0.3 * 0)
    assert float(rule.score) == pytest.approx(0.7 * 0.5 + 0.3 / (1 + 0.7**2))
    before = {k: v.clone() for k, v in rule.state_dict().items()}
    assert not rule(
        torch.zeros(6, dtype=torch.bool), p, lambda: points + 99, torch.nn.Identity()
    ).any()
    for name, value in rule.state_dict().items():
        assert torch.equal(value, before[name])


def test_gradients_are_those_of_single_samples() -> None:
    torch.manual_seed(0)
    head = torch.nn.Sequential(
        torch.nn.Linear(4, 6), torch.nn.BatchNorm1d(6), torch.nn.Linear(6, 3)
    )
    head(torch.randn(20, 4))
    buffers = {k: v.clone() for k, v in head.state_dict().items()}
    points, labels = torch.randn(5, 4), torch.tensor([0, 1, 2, 0, 1])
    found = feature_gradients(head, points, labels)
    assert head.training
    assert all(torch.equal(v, buffers[k]) for k, v in head.state_dict().items())
    head.eval()
    for i in range(5):
        x = points[i : i + 1].clone().requires_grad_()
        torch.nn.functional.cross_entropy(head(x), labels[i : i + 1]).backward()
        assert x.grad is not None
        torch.testing.assert_close(found[i], x.grad[0])


def test_gradient_filter_adds_the_aligned() -> None:
    head = torch.nn.Linear(2, 2, bias=False)
    with torch.no_grad():
        head.weight.copy_(torch.eye(2))
    rule = Gradients(2, 2, floor=0.75, momentum=0.7, score=0.95)
    p = torch.tensor([[0.9, 0.1], [0.8, 0.2], [0.8, 0.2], [0.2, 0.8]])
    points = torch.tensor([[1.0, 0.0], [0.5, 0.0], [0.0, 3.0], [0.0, 1.0]])
    # With two classes the gradient is (p - y) times a factor: all of class 0 point the same way.
    added = rule(torch.tensor([True, False, False, False]), p, lambda: points, head)
    assert added.tolist() == [True, True, True, False]  # class 1 has no direction yet
    assert rule.seen.tolist() == [True, False]
    torch.testing.assert_close(rule.directions[0], torch.tensor([-1.0, 1.0]) / math.sqrt(2))
