"""RUC's clean set: each rule by hand, by brute force and under renaming; batches in halves."""

import itertools

import numpy as np
import pytest
import torch
from torch import Tensor

from deep_clustering.methods.algorithms import ruc
from deep_clustering.methods.learning.clean_set import (
    agreeing,
    confident,
    halves,
    small_loss,
    threshold_of_share,
    with_fewest,
)
from deep_clustering.methods.ruc import RUCConfig


def pseudo(count: int = 60, clusters: int = 4) -> tuple[Tensor, Tensor, Tensor]:
    """Probabilities, their labels, and features that agree with most of them."""
    g = torch.Generator().manual_seed(1)
    p = (3 * torch.randn(count, clusters, generator=g)).softmax(1)
    labels = p.argmax(1)
    features = torch.eye(6)[labels] + 0.6 * torch.randn(count, 6, generator=g)
    return p, labels, features


def test_confidence_is_nested_and_at_least_the_threshold() -> None:
    p = torch.tensor([[0.9, 0.1], [0.5, 0.5], [0.25, 0.75]])
    assert confident(p, 0.75).tolist() == [True, False, True]
    assert confident(p, 0.75, strict=True).tolist() == [True, False, False]
    assert bool(confident(p, 0.0).all())
    many = pseudo()[0]
    sets = [confident(many, t) for t in (0.5, 0.9, 0.99)]
    assert all(bool((small <= large).all()) for large, small in itertools.pairwise(sets))


def test_a_share_is_the_most_confident_one() -> None:
    p = torch.tensor([[0.9, 0.1], [0.5, 0.5], [0.3, 0.7], [0.4, 0.6]])
    for share, count in ((0.25, 1), (0.5, 2), (1.0, 4), (1e-9, 1)):
        threshold = threshold_of_share(p, share)
        assert int(confident(p, threshold).sum()) == count


def by_brute_force(features: Tensor, labels: Tensor, k: int) -> Tensor:
    unit = features / features.norm(dim=1, keepdim=True)
    s = unit @ unit.T
    s.fill_diagonal_(2.0)  # the sample itself comes first
    found = []
    for i in range(len(labels)):
        near = s[i].argsort(descending=True)[:k].tolist()
        votes: dict[int, list[float]] = {}
        for j in near:
            similarity = 1.0 if j == i else float(s[i, j])
            votes.setdefault(int(labels[j]), []).append(similarity)
        ranked = sorted(votes.items(), key=lambda v: (-len(v[1]), -sum(v[1]), v[0]))
        found.append(ranked[0][0] == int(labels[i]))
    return torch.tensor(found)


@pytest.mark.parametrize("k", [2, 5, 59])
def test_neighbours_vote_as_by_brute_force(k: int) -> None:
    _, labels, features = pseudo()
    assert torch.equal(agreeing(features, labels, k), by_brute_force(features, labels, k))


def test_invariants_of_the_vote() -> None:
    _, labels, features = pseudo()
    mine = agreeing(features, labels, 7)
    assert 0 < int(mine.sum()) < len(mine)
    assert bool(agreeing(features, labels, 1).all())
    modal = labels == labels.bincount().argmax()
    for k in (len(labels), 10 * len(labels)):  # more neighbours than samples are all samples
        assert torch.equal(agreeing(features, labels, k), modal)
    scaled = features * torch.linspace(0.1, 9, len(labels))[:, None]
    assert torch.equal(agreeing(scaled, labels, 7), mine)
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(2))
    assert torch.equal(agreeing(features[order], labels[order], 7), mine[order])


def test_hybrid_is_both_and_renaming_clusters_changes_nothing() -> None:
    p, labels, features = pseudo()
    names = torch.tensor([2, 0, 3, 1])
    for strategy in ("confidence", "metric", "hybrid"):
        settings = RUCConfig(clusters=4, strategy=strategy, tau1=0.6, neighbours=7)  # type: ignore[arg-type]
        found = ruc.extracted(settings, ruc.Pseudo(p, labels, features))
        expected = torch.ones(len(labels), dtype=torch.bool)
        if strategy != "metric":
            expected &= confident(p, 0.6)
        if strategy != "confidence":
            expected &= agreeing(features, labels, 7)
        assert torch.equal(found, expected)
        renamed = torch.empty_like(p)
        renamed[:, names] = p
        again = ruc.extracted(settings, ruc.Pseudo(renamed, names[labels], features))
        assert torch.equal(again, found)


def test_the_fewest_of_a_cluster_are_its_most_confident_members() -> None:
    clean = torch.tensor([True, False, False, False, False])
    confidence = torch.tensor([0.2, 0.9, 0.5, 0.7, 0.6])
    labels = torch.tensor([0, 0, 1, 1, 1])
    assert with_fewest(clean, confidence, labels, 0).tolist() == clean.tolist()
    assert with_fewest(clean, confidence, labels, 1).tolist() == [True, False, False, True, False]
    assert with_fewest(clean, confidence, labels, 2).tolist() == [True, True, False, True, True]
    assert bool(with_fewest(clean, confidence, labels, 9).all())


def test_small_losses_are_told_from_large_ones() -> None:
    g = torch.Generator().manual_seed(0)
    low, high = 0.2 + 0.05 * torch.randn(300, generator=g), 3 + 0.4 * torch.randn(100, generator=g)
    p = small_loss(torch.cat([low, high]).numpy())
    assert (p[:300] > 0.5).all()
    assert (p[300:] < 0.5).all()
    assert small_loss(torch.ones(4).numpy()).tolist() == [1.0] * 4


@pytest.mark.parametrize(("clean", "first"), [(20, 5), (3, 3), (47, 7), (0, 0), (50, 10)])
def test_halves_of_a_batch(clean: int, first: int) -> None:
    """Ten of fifty images: five of each kind, or what there is and the rest of the other."""
    entered = torch.full((60,), -1)
    entered[5 : 5 + clean] = 0
    index = torch.arange(5, 55)
    found = halves(entered, index, 10, np.random.default_rng(0))
    assert (entered[found] >= 0).tolist() == [True] * first + [False] * (10 - first)
    assert len(found.unique()) == 10
    assert set(found.tolist()) <= set(index.tolist())
    again = halves(entered, index, 10, np.random.default_rng(1))
    assert clean in (0, 50) or not torch.equal(found, again)
