"""Fuzzy c-means: the textbook's rounds written out, and exponents where they overflow."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from sklearn.cluster import KMeans
from sklearn.datasets import load_digits, make_blobs

from deep_clustering.methods.clustering.fcm import fcm, objective

BLOBS, TRUTH = make_blobs(150, 3, centers=4, cluster_std=2.5, random_state=0)


def slow_round(x, u, m):
    """Memberships after one round, one point and one cluster at a time."""
    n, clusters = u.shape
    centres = [
        sum(u[i, k] ** m * x[i] for i in range(n)) / sum(u[i, k] ** m for i in range(n))
        for k in range(clusters)
    ]
    found = np.empty_like(u)
    for i in range(n):
        d = [((x[i] - centre) ** 2).sum() for centre in centres]
        for k in range(clusters):
            found[i, k] = 1 / sum((d[k] / d[r]) ** (1 / (m - 1)) for r in range(clusters))
    return found


@pytest.mark.parametrize("m", [1.3, 2.0, 3.5])
def test_each_round_is_the_written_out_one(m):
    u = np.random.default_rng(5).random((150, 4))
    u = 1 - u  # of (0, 1]
    u /= u.sum(1, keepdims=True)
    for rounds in range(1, 5):
        u = slow_round(BLOBS, u, m)
        found = fcm(BLOBS, 4, m=m, seed=5, max_iter=rounds, tol=0)
        np.testing.assert_allclose(found, u, rtol=0, atol=1e-10)


@pytest.mark.parametrize("m", [1.01, 1.05, 1.1, 1.5, 2.0])
def test_no_round_increases_the_objective(m):
    values = [
        objective(BLOBS, fcm(BLOBS, 4, m=m, seed=1, max_iter=rounds, tol=0), m=m)
        for rounds in range(1, 25)
    ]
    assert all(b <= a * (1 + 1e-12) for a, b in itertools.pairwise(values))
    assert values[-1] < values[0]


def test_objective_by_hand():
    # Points 0, 2, 9 with memberships (1, 0), (1, 0), (0, 1): means 1 and 9, squares 1 + 1 + 0.
    memberships = np.array([[1, 0], [1, 0], [0, 1.0]])
    assert objective(np.array([[0.0], [2.0], [9.0]]), memberships, m=1.7) == pytest.approx(2)


@pytest.mark.parametrize("m", [1.001, 1.01, 1.05])
def test_exponents_near_one_stay_finite_and_near_k_means(m):
    x = load_digits().data
    for scale in (1e-8, 1, 1e8):  # a distance to the power 1000 leaves any format
        found = fcm(scale * x, 10, m=m, seed=0)
        np.testing.assert_allclose(found.sum(1), 1, rtol=0, atol=1e-12)
        assert found.max(1).mean() > 0.95
    inertia = objective(x, np.eye(10)[found.argmax(1)], m=1)
    assert inertia < 1.05 * KMeans(10, n_init=3, random_state=0).fit(x).inertia_


def test_large_exponents_are_uniform():
    assert np.abs(fcm(BLOBS, 4, m=50, seed=0) - 0.25).max() < 0.02


def test_settled_means_that_nothing_moves():
    found = fcm(BLOBS, 4, m=2, seed=0, tol=1e-9)
    np.testing.assert_allclose(slow_round(BLOBS, found, 2), found, rtol=0, atol=1e-8)


def test_translation_type_and_seed():
    found = fcm(BLOBS, 4, m=1.3, seed=0)
    assert (fcm(BLOBS, 4, m=1.3, seed=0) == found).all()
    np.testing.assert_allclose(fcm(BLOBS + 1e5, 4, m=1.3, seed=0), found, rtol=0, atol=1e-8)
    narrow = fcm(BLOBS.astype(np.float32), 4, m=1.3, seed=0)
    np.testing.assert_allclose(narrow, found, rtol=0, atol=1e-4)
    assert narrow.dtype == np.float64


@pytest.mark.parametrize("m", [1.05, 2.0])
def test_degenerate_points(m):
    corners = np.array([[0.0, 0], [1, 5], [7, 2]])
    for x, k in (
        (np.repeat(corners, 5, axis=0), 3),
        (np.repeat(corners, 5, axis=0), 5),  # more clusters than distinct points
        (np.ones((6, 2)), 2),
        (corners, 3),
        (corners[:1], 1),
        (1e8 * corners + 1e-3, 2),
    ):
        found = fcm(x, k, m=m, seed=0)
        assert (found >= 0).all()
        np.testing.assert_allclose(found.sum(1), 1, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("points", "clusters", "m", "message"),
    [
        (BLOBS, 4, 1.0, "m must be above 1 and finite, got 1.0"),
        (BLOBS, 151, 2, "got 151 for 150 points"),
        (BLOBS, 0, 2, "got 0"),
        (BLOBS[:, 0], 2, 2, "finite matrix"),
        (np.array([[np.nan], [1.0]]), 1, 2, "finite matrix"),
    ],
)
def test_nonsense_is_refused(points, clusters, m, message):
    with pytest.raises(ValueError, match=message):
        fcm(points, clusters, m=m, seed=0)
