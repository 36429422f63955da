"""Matching of clusters with labels, against all matchings."""

import itertools

import numpy as np
import pytest

from deep_clustering.platform.metrics import agreement

EXACT = {"rel": 0, "abs": 1e-12}


def brute_force_accuracy(pred, labels, clusters):
    values = sorted(set(labels.tolist()))
    options = [*values, *[None] * max(0, clusters - len(values))]
    return max(
        sum(chosen[c] == y for c, y in zip(pred, labels, strict=True)) / len(pred)
        for chosen in itertools.permutations(options, clusters)
    )


@pytest.mark.parametrize(("clusters", "labels"), [(3, 3), (5, 3), (3, 5), (1, 4), (6, 2)])
def test_accuracy_is_the_best_over_all_matchings(clusters, labels):
    for seed in range(10):
        rng = np.random.default_rng(seed)
        pred, truth = rng.integers(0, clusters, 30), rng.integers(0, labels, 30)
        assignment, acc = agreement.match(pred, truth, clusters)
        assert acc == pytest.approx(brute_force_accuracy(pred, truth, clusters), **EXACT)
        matched = assignment[assignment >= 0]
        assert len(set(matched.tolist())) == len(matched) == min(clusters, len(set(truth)))
        assert np.mean(assignment[pred] == truth) == pytest.approx(acc, **EXACT)


def test_an_unmatched_cluster_is_wrong_and_not_class_0():
    # Cluster 2 holds two images of class 0, but cluster 0 has the better claim to that class.
    pred, truth = np.array([0, 0, 0, 1, 1, 2, 2]), np.array([0, 0, 0, 1, 1, 0, 0])
    assignment, acc = agreement.match(pred, truth, 3)
    assert assignment.tolist() == [0, 1, -1]
    assert acc == pytest.approx(5 / 7, **EXACT)


@pytest.mark.fault(57)
def test_fewer_clusters_than_labels_match_what_they_can():
    pred, truth = np.array([0, 0, 0, 1, 1, 1]), np.array([7, 7, 3, 3, 5, 5])
    assignment, acc = agreement.match(pred, truth, 2)
    assert assignment.tolist() == [7, 5]  # labels need not be 0 to L - 1
    assert acc == pytest.approx(4 / 6, **EXACT)


def test_equally_right_matchings_are_told_apart_by_probability():
    # All in cluster 0, which fits both labels equally; the rest of the probability decides.
    p = np.array([[0.6, 0.3, 0.1], [0.6, 0.1, 0.3]])
    pred, truth = np.array([0, 0]), np.array([1, 0])
    for labels in (truth, 1 - truth):
        assignment, acc = agreement.match(pred, labels, 3, p)
        assert acc == 0.5
        own = [p[i, list(assignment).index(y)] for i, y in enumerate(labels)]
        assert sum(own) == pytest.approx(0.9)  # 0.6 + 0.3, the most there is
