"""Label-free criteria: equal to scikit-learn, and never won by a collapsed or random partition."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.cluster import KMeans
from sklearn.datasets import load_digits
from sklearn.metrics import calinski_harabasz_score, silhouette_score
from sklearn.neighbors import NearestNeighbors

from deep_clustering.platform.metrics import criteria

CRITERIA = sorted(criteria.WORST)


def one_hot(cluster, clusters, confidence=0.9):
    cluster = np.asarray(cluster)
    p = np.full((len(cluster), clusters), (1 - confidence) / (clusters - 1))
    p[np.arange(len(cluster)), cluster] = confidence
    return p


def reference_of(x, k=5):
    found = NearestNeighbors(n_neighbors=k + 1).fit(x).kneighbors(x)[1]
    return criteria.Reference(x, found[:, 1:])


@pytest.fixture(scope="module")
def digits():
    x = load_digits().data[:900]
    return x, reference_of(x, 20)


@pytest.fixture(scope="module")
def kmeans(digits):
    return KMeans(10, n_init=2, random_state=0).fit(digits[0]).labels_


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    n=st.integers(8, 60),
    clusters=st.integers(2, 6),
    dimensions=st.integers(2, 7),
)
def test_silhouette_and_calinski_harabasz_equal_scikit_learn(seed, n, clusters, dimensions):
    rng = np.random.default_rng(seed)
    cluster = rng.integers(0, clusters, n)
    cluster[:2] = 0, 1
    x = rng.normal(size=(n, dimensions)) + cluster[:, None] * rng.random()
    reference = reference_of(x)
    if len(set(cluster)) == n:
        return
    wanted = silhouette_score(x, cluster, metric="cosine")
    assert criteria.silhouette(cluster, reference) == pytest.approx(wanted, abs=1e-9)
    wanted = calinski_harabasz_score(x, cluster)
    assert criteria.calinski_harabasz(cluster, reference) == pytest.approx(wanted, rel=1e-9)


def test_a_zero_vector_and_a_cluster_of_one_are_treated_as_in_scikit_learn():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(12, 4))
    x[3] = 0
    cluster = np.array([0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 2])
    wanted = silhouette_score(x, cluster, metric="cosine")
    assert criteria.silhouette(cluster, reference_of(x)) == pytest.approx(wanted, abs=1e-9)


def test_float32_features_agree_with_float64(digits, kmeans):
    x, double = digits
    single = criteria.Reference(x.astype(np.float32), double.neighbours)
    p = one_hot(kmeans, 10)
    wanted, found = criteria.criteria(p, double), criteria.criteria(p, single)
    for name in CRITERIA:
        assert found[name] == pytest.approx(wanted[name], rel=1e-4), name


def test_neighbour_agreement_by_hand():
    # Two clusters of two; each image has one neighbour: 0-1 agree, 1-0 agree, 2-3 agree, 3-0 not.
    reference = criteria.Reference(np.eye(4), [[1], [0], [3], [0]])
    # Agreement 3/4; a random pair agrees with 4 / 12 = 1/3. (3/4 - 1/3) / (2/3) = 0.625.
    found = criteria.neighbour_agreement(np.array([0, 0, 1, 1]), reference)
    assert found == pytest.approx(0.625, abs=1e-12)


def test_neighbour_agreement_has_mean_0_over_permutations():
    rng = np.random.default_rng(0)
    reference = reference_of(rng.normal(size=(40, 3)), 4)
    cluster = np.repeat([0, 1, 2], [25, 10, 5])
    found = [criteria.neighbour_agreement(rng.permutation(cluster), reference) for _ in range(4000)]
    assert abs(np.mean(found)) < 4 * np.std(found) / np.sqrt(4000)


def test_scan_consistency_by_hand():
    # Neighbours 0-1, 1-0: .9 * .8 + .1 * .2 = .74 twice; 2-0: .3 * .9 + .7 * .1 = .34.
    p = np.array([[0.9, 0.1], [0.8, 0.2], [0.3, 0.7]])
    reference = criteria.Reference(np.eye(3), [[1], [0], [0]])
    wanted = (0.74 + 0.74 + 0.34) / 3 - ((2 / 3) ** 2 + (1 / 3) ** 2)
    assert criteria.scan_consistency(p, reference) == pytest.approx(wanted, abs=1e-12)


def test_scan_consistency_is_0_for_what_says_nothing(digits):
    _, reference = digits
    n = len(reference)
    constant = np.tile([0.7, 0.2, 0.1], (n, 1))
    assert criteria.scan_consistency(constant, reference) == pytest.approx(0, abs=1e-12)
    assert criteria.scan_consistency(one_hot(np.zeros(n, int), 3, 1.0), reference) == 0


def test_balance():
    assert criteria.balance(one_hot([0, 1, 2, 3], 4)) == pytest.approx(1)
    assert criteria.balance(one_hot([0, 0, 1, 1], 4)) == pytest.approx(0.5)  # ln 2 / ln 4
    assert criteria.balance(one_hot([2, 2, 2, 2], 4)) == 0


# --- Nothing trivial may win ----------------------------------------------------------------------


def collapsed(n, rng):
    return one_hot(np.zeros(n, int), 10, 1.0)


def nearly_collapsed(n, rng):
    cluster = np.zeros(n, int)
    cluster[: n // 8] = rng.integers(1, 10, n // 8)  # the largest share is just below 0.9
    return one_hot(cluster, 10, 1.0)


def unequal_random(n, rng):
    return one_hot(
        rng.choice(10, n, p=[0.4, 0.2, 0.1, 0.05, 0.05, 0.04, 0.04, 0.04, 0.04, 0.04]), 10
    )


def certain_balanced_random(n, rng):
    return one_hot(rng.permutation(np.arange(n) % 10), 10, 1.0)


def uniform(n, rng):
    return np.full((n, 10), 0.1)


TRIVIAL = {
    collapsed: "collapsed",
    nearly_collapsed: "too few clusters used",
    unequal_random: "no better than random",
    certain_balanced_random: "no better than random",
    uniform: "collapsed",
}


@pytest.mark.parametrize("make", TRIVIAL, ids=lambda f: f.__name__)
@pytest.mark.parametrize("seed", range(3))
def test_a_trivial_partition_takes_the_worst_value_of_every_criterion(digits, kmeans, make, seed):
    _, reference = digits
    baseline = criteria.criteria(one_hot(kmeans, 10, 0.6), reference)
    assert baseline["criteria_guard"] is None
    assert baseline["guarded"] == 0
    p = make(len(reference), np.random.default_rng(seed))
    assert criteria.guard(p, reference) == TRIVIAL[make]
    found = criteria.criteria(p, reference)
    assert found["criteria_guard"] == TRIVIAL[make]
    assert found["guarded"] == 1
    for name in CRITERIA:
        assert found[name] == criteria.WORST[name], name
        assert found[name] < baseline[name], name


@pytest.mark.parametrize("make", TRIVIAL, ids=lambda f: f.__name__)
def test_most_criteria_need_no_guard_for_that(digits, kmeans, make):
    _, reference = digits
    p = make(len(reference), np.random.default_rng(0))
    good, bad = kmeans, p.argmax(1)
    for score in (
        criteria.silhouette,
        criteria.calinski_harabasz,
        criteria.neighbour_agreement,
    ):
        assert score(bad, reference) < score(good, reference), score.__name__
    scan = criteria.scan_consistency
    assert scan(p, reference) < scan(one_hot(good, 10, 0.6), reference)


def test_confidence_and_balance_do_need_it(digits, kmeans):
    # Why `balance` is no objective and `confidence` is called easy to game.
    p = certain_balanced_random(len(digits[1]), np.random.default_rng(0))
    assert p.max(1).mean() > 0.6
    assert criteria.balance(p) > criteria.balance(one_hot(kmeans, 10))


def test_two_honest_unequal_clusters_pass(digits):
    x, reference = digits
    zero = load_digits().target[: len(x)] == 0
    assert criteria.guard(one_hot(zero.astype(int), 2), reference) is None  # a tenth, nine tenths


def test_floor_is_never_above_a_real_value(digits):
    _, reference = digits
    for seed in range(5):
        cluster = np.random.default_rng(seed).integers(0, 3, len(reference))
        assert criteria.silhouette(cluster, reference) >= criteria.WORST["silhouette"]
        assert criteria.neighbour_agreement(cluster, reference) >= -1
    against = criteria.Reference(np.eye(4), [[2], [3], [0], [1]])
    assert criteria.neighbour_agreement(np.array([0, 0, 0, 1]), against) >= -1


@pytest.mark.parametrize(
    ("features", "neighbours", "message"),
    [
        (np.ones((3, 2)), np.zeros((2, 1), int), "equal length"),
        (np.ones((1, 2)), np.zeros((1, 1), int), "at least 2"),
        (np.array([[1.0, np.nan], [1, 1]]), np.array([[1], [0]]), "NaN"),
    ],
)
def test_a_bad_reference_is_refused(features, neighbours, message):
    with pytest.raises(ValueError, match=message):
        criteria.Reference(features, neighbours)


def test_other_images_than_the_references_are_refused(digits):
    with pytest.raises(ValueError, match="3 images, the reference of 900"):
        criteria.criteria(one_hot([0, 1, 2], 3), digits[1])
