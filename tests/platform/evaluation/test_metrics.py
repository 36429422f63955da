"""Every metric against scikit-learn, a slow reference written out, or a calculation by hand."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import (
    adjusted_rand_score,
    normalized_mutual_info_score,
    roc_auc_score,
    roc_curve,
)

from deep_clustering.platform.evaluation import metrics

EXACT = {"rel": 0, "abs": 1e-12}


def softmax(logits):
    e = np.exp(logits - logits.max(1, keepdims=True))
    return e / e.sum(1, keepdims=True)


def case(seed, n=60, clusters=4, labels=3, sharpness=2.0, rounded=None):
    """Probabilities that agree with labels now and then; rounding makes ties."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, labels, n)
    logits = rng.normal(size=(n, clusters)) * sharpness
    logits[np.arange(n), truth % clusters] += sharpness
    p = softmax(logits)
    if rounded is not None:
        p = np.round(p, rounded) + 1e-3
        p /= p.sum(1, keepdims=True)
    return p, truth


def brute_force_accuracy(pred, labels, clusters):
    values = sorted(set(labels.tolist()))
    options = [*values, *[None] * max(0, clusters - len(values))]
    return max(
        sum(chosen[c] == y for c, y in zip(pred, labels, strict=True)) / len(pred)
        for chosen in itertools.permutations(options, clusters)
    )


def slow_ece(confidence, correct, bins):
    """The definition, a bin and an image at a time."""
    total = 0.0
    for b in range(bins):
        members = [
            i
            for i, c in enumerate(confidence)
            if (c <= (b + 1) / bins or b == bins - 1) and (c > b / bins or b == 0)
        ]
        if members:
            right = math.fsum(float(correct[i]) for i in members) / len(members)
            sure = math.fsum(min(confidence[i], 1.0) for i in members) / len(members)
            total += len(members) / len(confidence) * abs(right - sure)
    return total


def slow_aurc(confidence, correct):
    """The mean risk, averaged over 4,000 random orders within the ties."""
    rng = np.random.default_rng(0)
    found = []
    for _ in range(4000):
        order = np.lexsort((rng.random(len(confidence)), -confidence))
        wrong = ~correct[order]
        found.append((np.cumsum(wrong) / np.arange(1, len(wrong) + 1)).mean())
    return np.mean(found)


# --- Matching -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("clusters", "labels"), [(3, 3), (5, 3), (3, 5), (1, 4), (6, 2)])
def test_accuracy_is_the_best_over_all_matchings(clusters, labels):
    for seed in range(10):
        rng = np.random.default_rng(seed)
        pred, truth = rng.integers(0, clusters, 30), rng.integers(0, labels, 30)
        assignment, acc = metrics.match(pred, truth, clusters)
        assert acc == pytest.approx(brute_force_accuracy(pred, truth, clusters), **EXACT)
        matched = assignment[assignment >= 0]
        assert len(set(matched.tolist())) == len(matched) == min(clusters, len(set(truth)))
        assert np.mean(assignment[pred] == truth) == pytest.approx(acc, **EXACT)


def test_an_unmatched_cluster_is_wrong_and_not_class_0():
    # Cluster 2 holds two images of class 0, but cluster 0 has the better claim to that class.
    pred, truth = np.array([0, 0, 0, 1, 1, 2, 2]), np.array([0, 0, 0, 1, 1, 0, 0])
    assignment, acc = metrics.match(pred, truth, 3)
    assert assignment.tolist() == [0, 1, -1]
    assert acc == pytest.approx(5 / 7, **EXACT)


def test_fewer_clusters_than_labels_match_what_they_can():
    pred, truth = np.array([0, 0, 0, 1, 1, 1]), np.array([7, 7, 3, 3, 5, 5])
    assignment, acc = metrics.match(pred, truth, 2)
    assert assignment.tolist() == [7, 5]  # labels need not be 0 to L - 1
    assert acc == pytest.approx(4 / 6, **EXACT)


def test_equally_right_matchings_are_told_apart_by_probability():
    # All in cluster 0, which fits both labels equally; the rest of the probability decides.
    p = np.array([[0.6, 0.3, 0.1], [0.6, 0.1, 0.3]])
    pred, truth = np.array([0, 0]), np.array([1, 0])
    for labels in (truth, 1 - truth):
        assignment, acc = metrics.match(pred, labels, 3, p)
        assert acc == 0.5
        own = [p[i, list(assignment).index(y)] for i, y in enumerate(labels)]
        assert sum(own) == pytest.approx(0.9)  # 0.6 + 0.3, the most there is


# --- Everything at once ---------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize(("clusters", "labels"), [(4, 4), (6, 3), (3, 5)])
def test_all_metrics_equal_their_references(seed, clusters, labels):
    rounded = 1 if seed % 2 else None  # every other case is full of ties
    p, truth = case(seed, clusters=clusters, labels=labels, rounded=rounded)
    found = metrics.evaluate(p, truth)
    cluster, confidence = p.argmax(1), p.max(1)
    assignment, _ = metrics.match(cluster, truth, clusters, p)
    correct = assignment[cluster] == truth

    assert found["acc"] == pytest.approx(brute_force_accuracy(cluster, truth, clusters), **EXACT)
    assert found["nmi"] == pytest.approx(normalized_mutual_info_score(truth, cluster), **EXACT)
    assert found["ari"] == pytest.approx(adjusted_rand_score(truth, cluster), **EXACT)
    assert found["ece"] == pytest.approx(slow_ece(confidence, correct, 15), **EXACT)
    assert found["mean_confidence"] == pytest.approx(math.fsum(confidence) / len(p), **EXACT)
    assert found["auroc"] == pytest.approx(roc_auc_score(correct, confidence), **EXACT)
    fpr, tpr, _ = roc_curve(correct, confidence, drop_intermediate=False)
    assert found["fpr95"] == pytest.approx(fpr[tpr >= 0.95].min(), **EXACT)

    brier, nll = [], []
    to_cluster = {label: c for c, label in enumerate(assignment) if label >= 0}
    for row, y in zip(p, truth, strict=True):
        goal = np.zeros(clusters)
        own = to_cluster.get(y)
        if own is not None:
            goal[own] = 1
        missing = 0 if own is not None else 1  # a class without a cluster has probability 0
        brier.append(((row - goal) ** 2).sum() + missing)
        nll.append(-math.log(max(row[own] if own is not None else 0, 1e-12)))
    assert found["brier"] == pytest.approx(np.mean(brier), **EXACT)
    assert found["nll"] == pytest.approx(np.mean(nll), rel=1e-12)


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    n=st.integers(5, 80),
    clusters=st.integers(2, 7),
    labels=st.integers(2, 6),
)
def test_metrics_do_not_see_names_and_order(seed, n, clusters, labels):
    p, truth = case(seed, n, clusters, labels)
    truth[:2] = 0, 1  # at least two classes
    rng = np.random.default_rng(seed)
    columns, rows, names = rng.permutation(clusters), rng.permutation(n), rng.permutation(labels)
    before = metrics.evaluate(p, truth)
    after = metrics.evaluate(p[rows][:, columns], names[truth[rows]])
    assert before["metrics_reason"] is after["metrics_reason"] is None
    for name, value in before.items():
        if value is None:
            assert after[name] is None, name
        else:
            assert after[name] == pytest.approx(value, rel=1e-9, abs=1e-12), name
    # The mean over all matchings of C clusters with L labels; invariant 27 where C = L.
    assert before["acc"] >= 1 / max(clusters, labels) - 1e-12
    for name in ("acc", "nmi", "ece", "ece_floor", "ece_equal_mass", "aurc", "largest_share"):
        assert 0 <= before[name] <= 1 + 1e-12, name
    assert before["auroc"] is None or 0 <= before["auroc"] <= 1
    assert before["brier"] <= 2 + 1e-12


def test_float32_and_float64_agree():
    p, truth = case(3, n=500)
    single, double = metrics.evaluate(p.astype(np.float32), truth), metrics.evaluate(p, truth)
    for name, value in double.items():
        assert single[name] == pytest.approx(value, abs=1e-6), name


def test_sums_are_taken_in_float64():
    # 2**24 + 1 is no float32: a float32 sum of the confidences would stop growing.
    confidence = np.full(400_000, 0.7, np.float32)
    found = metrics.ece(confidence, np.arange(400_000) % 10 < 7)
    assert found == pytest.approx(abs(0.7 - float(np.float32(0.7))), abs=1e-13)


# --- Calibration ----------------------------------------------------------------------------------


def test_bins_are_right_closed_with_1_in_the_last():
    confidence = np.array([0.0, 0.25, 0.25000001, 0.5, 0.75, 1.0, 1.0000001])
    table = metrics.reliability(confidence, np.ones(7, bool), bins=4)
    assert table["count"].tolist() == [2, 2, 1, 2]
    assert table["low"].tolist() == [0, 0.25, 0.5, 0.75]
    assert table["high"].tolist() == [0.25, 0.5, 0.75, 1]


def test_golden_example_with_confidences_on_edges():
    # Four bins. (0, .25]: .25 wrong -> gap .25 * 1. (.25, .5]: .5 right, .5 wrong -> gap 0.
    # (.5, .75]: .75 right -> gap .25 * 1. (.75, 1]: 1 right, 1 wrong, .9 right -> 2 - 2.9 = -.9.
    # Sum of gaps weighted by counts: .25 + 0 + .25 + .9 = 1.4, of 7 images.
    confidence = np.array([0.25, 0.5, 0.5, 0.75, 1.0, 1.0, 0.9])
    correct = np.array([0, 1, 0, 1, 1, 0, 1], bool)
    assert metrics.ece(confidence, correct, bins=4) == pytest.approx(1.4 / 7, **EXACT)
    # Left-closed bins, with a bin for exactly 1, would give .25 + 0 + .35 + 1 = 1.6.


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_every_edge_belongs_to_the_bin_below(dtype):
    edges = (np.arange(1, 16) / 15).astype(dtype)
    counts = metrics.reliability(edges, np.ones(15, bool))["count"]
    assert counts.tolist() == [1] * 15
    above = np.nextafter(edges[:-1], dtype(2))
    assert metrics.reliability(above, np.ones(14, bool))["count"].tolist() == [0] + [1] * 14


def test_certain_and_constant_confidence():
    correct = np.arange(10) < 7
    assert metrics.ece(np.ones(10), correct) == pytest.approx(0.3, **EXACT)  # 1 - acc
    assert metrics.ece_equal_mass(np.ones(10), correct) == pytest.approx(0.3, **EXACT)
    assert metrics.ece(np.full(10, 0.7), correct) == pytest.approx(0, **EXACT)
    assert metrics.ece(np.array([0.4]), np.array([True])) == pytest.approx(0.6, **EXACT)


def test_overconfident_everywhere_is_confidence_minus_accuracy():
    rng = np.random.default_rng(0)
    confidence = rng.uniform(0.6, 1, 3000)
    correct = rng.random(3000) < confidence - 0.3
    wanted = confidence.mean() - correct.mean()
    assert metrics.ece(confidence, correct) == pytest.approx(wanted, **EXACT)
    assert metrics.ece_equal_mass(confidence, correct) == pytest.approx(wanted, **EXACT)


def test_equal_mass_bins_hold_equal_counts():
    # Six images, three bins of two: gaps (.2 - 0) + (.4 - 1), (.5 - 0) + (.6 - 1), (.9 - 1) * 2.
    confidence = np.array([0.2, 0.4, 0.5, 0.6, 0.9, 0.9])
    correct = np.array([0, 1, 0, 1, 1, 1], bool)
    found = metrics.ece_equal_mass(confidence, correct, bins=3)
    assert found == pytest.approx((0.4 + 0.1 + 0.2) / 6, **EXACT)
    order = np.random.default_rng(0).permutation(6)
    again = metrics.ece_equal_mass(confidence[order], correct[order], bins=3)
    assert again == pytest.approx(found, **EXACT)


@pytest.mark.parametrize(
    ("shape", "n", "published"),
    # The table of noise floors: broad and sharp confidences, in percent.
    [((3, 2), 500, 5.3), ((3, 2), 2000, 2.7), ((6, 0.4), 2000, 1.0), ((6, 0.4), 13000, 0.43)],
)
def test_noise_floor_equals_a_simulation_image_by_image(shape, n, published):
    rng = np.random.default_rng(1)
    confidence = 0.05 + 0.95 * rng.beta(*shape, n)
    slow = [metrics.ece(confidence, rng.random(n) < confidence) for _ in range(300)]
    error = np.std(slow) * math.sqrt(1 / 300 + 1 / 100)
    floor = metrics.ece_floor(confidence)
    assert abs(floor - np.mean(slow)) < 4 * error
    assert floor * 100 == pytest.approx(published, rel=0.15)
    assert metrics.ece_floor(confidence) == floor  # the seed is fixed


def test_certain_heads_have_no_noise_floor():
    assert metrics.ece_floor(np.ones(100)) == 0


# --- Failure rejection ----------------------------------------------------------------------------


def test_perfect_ranking():
    n, r = 20_000, 0.3
    confidence, correct = np.linspace(1, 0.5, n), np.arange(n) < (1 - r) * n
    found = metrics.failure_rejection(confidence, correct)
    assert found["auroc"] == pytest.approx(1, **EXACT)
    assert found["fpr95"] == 0
    assert found["aurc"] == pytest.approx(r + (1 - r) * math.log(1 - r), abs=1e-4)


def test_constant_score():
    correct = np.array([1, 0, 1, 1, 0, 1, 1, 1, 1, 0], bool)
    found = metrics.failure_rejection(np.full(10, 0.4), correct)
    assert found["auroc"] == pytest.approx(0.5, **EXACT)
    assert found["aurc"] == pytest.approx(0.3, **EXACT)
    assert found["fpr95"] == 1


def test_risk_by_hand_with_a_tie():
    # .9 right; .8 right and wrong, half an error each; .1 wrong. Risks 0, .25, 1/3, .5.
    found = metrics.failure_rejection([0.8, 0.9, 0.1, 0.8], [True, True, False, False])
    assert found["aurc"] == pytest.approx((0 + 0.25 + 1 / 3 + 0.5) / 4, **EXACT)
    assert found["auroc"] == pytest.approx(3.5 / 4, **EXACT)
    assert found["fpr95"] == 0.5  # both right ones are kept from .8 on, with one of two wrong


@pytest.mark.parametrize("seed", range(3))
def test_ties_count_as_the_mean_over_their_orders(seed):
    rng = np.random.default_rng(seed)
    confidence, correct = rng.integers(1, 5, 30) / 5, rng.random(30) < 0.6
    found = metrics.failure_rejection(confidence, correct)["aurc"]
    assert found == pytest.approx(slow_aurc(confidence, correct), abs=3e-3)
    order = rng.permutation(30)
    again = metrics.failure_rejection(confidence[order], correct[order])["aurc"]
    assert again == pytest.approx(found, **EXACT)


def test_all_right_or_all_wrong_has_no_roc():
    right = metrics.failure_rejection([0.9, 0.8], [True, True])
    assert right == {"auroc": None, "aurc": 0.0, "fpr95": None}
    wrong = metrics.failure_rejection([0.9, 0.8], [False, False])
    assert wrong == {"auroc": None, "aurc": 1.0, "fpr95": None}


def test_risk_coverage_by_hand_with_a_tie():
    # .9 right; .8 right and wrong, half an error each; .1 wrong. Errors kept: 0, .5, 1, 2.
    confidence, correct = [0.8, 0.9, 0.1, 0.8], [True, True, False, False]
    coverage, risk = metrics.risk_coverage(confidence, correct)
    np.testing.assert_allclose(coverage, [0.25, 0.5, 0.75, 1])
    np.testing.assert_allclose(risk, [0, 0.25, 1 / 3, 0.5])
    coverage, risk = metrics.risk_coverage(confidence, correct, points=2)
    np.testing.assert_allclose(coverage, [0.5, 1])
    np.testing.assert_allclose(risk, [0.25, 0.5])


@pytest.mark.parametrize("n", [1, 7, 200, 333])
def test_risk_coverage_has_the_area_of_aurc(n):
    rng = np.random.default_rng(n)
    confidence, correct = rng.integers(1, 50, n) / 50, rng.random(n) < 0.6
    coverage, risk = metrics.risk_coverage(confidence, correct, points=n)
    aurc = metrics.failure_rejection(confidence, correct)["aurc"]
    assert risk.mean() == pytest.approx(aurc, **EXACT)
    few, some = metrics.risk_coverage(confidence, correct, points=10)
    assert len(few) == min(10, n)
    assert few[-1] == 1
    assert some[-1] == pytest.approx(1 - correct.mean(), **EXACT)
    assert set(zip(few, some, strict=True)) <= set(zip(coverage, risk, strict=True))
    order = rng.permutation(n)
    again = metrics.risk_coverage(confidence[order], correct[order], points=n)[1]
    np.testing.assert_allclose(again, risk, rtol=0, atol=1e-12)


def test_a_curve_of_nothing_is_refused():
    with pytest.raises(ValueError, match="at least 1 image and 1 point, got 0 and 200"):
        metrics.risk_coverage([], [])
    with pytest.raises(ValueError, match="got 1 and 0"):
        metrics.risk_coverage([0.5], [True], points=0)


# --- What cannot be scored ------------------------------------------------------------------------


def test_without_labels_only_label_metrics_are_absent():
    p, _ = case(0)
    found = metrics.evaluate(p, None)
    assert found["metrics_reason"] == "no_labels"
    assert all(found[name] is None for name in metrics.LABEL_METRICS)
    assert {k for k, v in found.items() if v is None} == set(metrics.LABEL_METRICS)
    assert found["clusters_used"] == len(set(p.argmax(1)))


def test_one_class_is_undefined_and_not_perfect():
    p, _ = case(0)
    found = metrics.evaluate(p, np.full(len(p), 3))
    assert found["metrics_reason"] == "one_class"
    assert all(found[name] is None for name in metrics.LABEL_METRICS)


@pytest.mark.parametrize(
    ("p", "labels", "message"),
    [
        ([[0.5, np.nan]], None, "finite.*row 0"),
        ([[0.5, 0.5], [0.9, 0.2]], None, "sum to 1; row 1"),
        ([[1.5, -0.5]], None, "not negative"),
        ([0.5, 0.5], None, r"\(images, clusters\)"),
        (np.zeros((0, 3)), None, r"\(images, clusters\)"),
        ([[0.5, 0.5]], [0, 1], "1 integers"),
        ([[0.5, 0.5]], [0.5], "integers"),
        ([[0.5, 0.5], [0.4, 0.6]], [1, -2], "got -2 for image 1"),
    ],
)
def test_nonsense_is_refused_with_its_place(p, labels, message):
    with pytest.raises(ValueError, match=message):
        metrics.evaluate(p, labels)


# --- Collapse -------------------------------------------------------------------------------------


def one_hot(cluster, clusters, confidence=1.0):
    cluster = np.asarray(cluster)
    p = np.full((len(cluster), clusters), (1 - confidence) / max(clusters - 1, 1))
    p[np.arange(len(cluster)), cluster] = confidence
    return p


def test_flags():
    assert metrics.flags(one_hot([0] * 10, 3)) == [
        "collapsed",
        "empty_clusters",
        "constant_confidence",
    ]
    assert metrics.flags(one_hot([0] * 91 + [1, 2, 1, 2, 1, 2, 1, 2, 1], 3))[0] == "collapsed"
    assert "collapsed" not in metrics.flags(one_hot([0] * 90 + [1] * 5 + [2] * 5, 3))
    p = softmax(np.random.default_rng(0).normal(size=(200, 4)))
    assert metrics.flags(p) == []
    assert metrics.flags(p[p.argmax(1) != 2]) == ["empty_clusters"]


def test_a_collapsed_partition_is_scored_correctly():
    truth = np.arange(100) % 5
    found = metrics.evaluate(one_hot(np.zeros(100, int), 5), truth)
    assert found["acc"] == pytest.approx(0.2, **EXACT)
    assert found["nmi"] == found["ari"] == 0
    assert found["ece"] == pytest.approx(0.8, **EXACT)
    assert (found["clusters_used"], found["largest_share"]) == (1, 1.0)


def test_cluster_sizes_count_empty_clusters():
    assert metrics.cluster_sizes(one_hot([0, 2, 2], 4)).tolist() == [1, 0, 2, 0]


# --- The canary -----------------------------------------------------------------------------------


@pytest.mark.parametrize("few", [metrics.FEW, 10], ids=["scikit-learn", "faiss"])
def test_kmeans_finds_separate_groups(few, monkeypatch):
    monkeypatch.setattr(metrics, "FEW", few)
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 4, 400)
    x = rng.normal(size=(400, 8)) + 20 * np.eye(4, 8)[truth]
    assert metrics.kmeans_accuracy(x, truth, 4, seed=0) == 1
    noise = rng.normal(size=(400, 8))
    found = metrics.kmeans_accuracy(noise, truth, 4, seed=0)
    assert found < 0.5
    assert metrics.kmeans_accuracy(noise, truth, 4, seed=0) == found


def test_the_canary_needs_labels():
    x = np.random.default_rng(0).normal(size=(20, 3))
    assert metrics.kmeans_accuracy(x, None, 3) is None
    assert metrics.kmeans_accuracy(x, np.zeros(20, int), 3) is None


def test_constant_features_are_scored_without_a_warning():
    truth = np.arange(30) % 3
    assert metrics.kmeans_accuracy(np.ones((30, 5)), truth, 3) == pytest.approx(1 / 3)
