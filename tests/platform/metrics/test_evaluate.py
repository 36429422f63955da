"""Every metric against scikit-learn, a slow reference written out, or a calculation by hand."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score, roc_curve

from deep_clustering.platform.metrics import agreement
from deep_clustering.platform.metrics.evaluate import WITH_LABELS, evaluate

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


def slow_nmi(pred, labels):
    """Twice the mutual information over the sum of the entropies, a pair of groups at a time."""

    def entropy(groups):
        shares = [np.mean(groups == g) for g in set(groups.tolist())]
        return -math.fsum(s * math.log(s) for s in shares)

    information = 0.0
    for c in set(pred.tolist()):
        for y in set(labels.tolist()):
            both = np.mean((pred == c) & (labels == y))
            if both:
                information += both * math.log(both / np.mean(pred == c) / np.mean(labels == y))
    return 2 * information / (entropy(pred) + entropy(labels))


def slow_ari(pred, labels):
    """The Rand index over all pairs of images, adjusted for its expectation."""
    pairs = list(itertools.combinations(range(len(pred)), 2))
    alike = [(pred[i] == pred[j], labels[i] == labels[j]) for i, j in pairs]
    both = sum(a and b for a, b in alike)
    first, second = sum(a for a, _ in alike), sum(b for _, b in alike)
    chance = first * second / len(pairs)
    return (both - chance) / ((first + second) / 2 - chance)


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


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize(("clusters", "labels"), [(4, 4), (6, 3), (3, 5)])
def test_all_metrics_equal_their_references(seed, clusters, labels):
    rounded = 1 if seed % 2 else None  # every other case is full of ties
    p, truth = case(seed, clusters=clusters, labels=labels, rounded=rounded)
    found = evaluate(p, truth)
    cluster, confidence = p.argmax(1), p.max(1)
    assignment, _ = agreement.match(cluster, truth, clusters, p)
    correct = assignment[cluster] == truth

    assert found["acc"] == pytest.approx(brute_force_accuracy(cluster, truth, clusters), **EXACT)
    assert found["nmi"] == pytest.approx(slow_nmi(cluster, truth), **EXACT)
    assert found["ari"] == pytest.approx(slow_ari(cluster, truth), **EXACT)
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
    whole = seed % 5 == 0
    before = evaluate(p, truth, whole)
    after = evaluate(p[rows][:, columns], names[truth[rows]], whole)
    assert before["metrics_reason"] is after["metrics_reason"] is None
    for name, value in before.items():
        if value is None:
            assert not whole or name in ("metrics_reason", "auroc", "fpr95")
            assert after[name] is None, name
        else:
            assert after[name] == pytest.approx(value, rel=1e-9, abs=1e-12), name
    # The mean over all matchings of C clusters with L labels; invariant 27 where C = L.
    assert before["acc"] >= 1 / max(clusters, labels) - 1e-12
    for name in ("acc", "nmi", "ece", "ece_floor", "ece_equal_mass", "aurc", "largest_share"):
        assert before[name] is None or 0 <= before[name] <= 1 + 1e-12, name
    assert before["auroc"] is None or 0 <= before["auroc"] <= 1
    assert before["brier"] <= 2 + 1e-12


def test_float32_and_float64_agree():
    p, truth = case(3, n=500)
    single, double = evaluate(p.astype(np.float32), truth), evaluate(p, truth)
    for name, value in double.items():
        assert single[name] == pytest.approx(value, abs=1e-6), name


def test_without_labels_only_label_metrics_are_absent():
    p, _ = case(0)
    found = evaluate(p, None)
    assert found["metrics_reason"] == "no_labels"
    assert all(found[name] is None for name in WITH_LABELS)
    assert {k for k, v in found.items() if v is None} == set(WITH_LABELS)
    assert found["clusters_used"] == len(set(p.argmax(1)))


def test_what_takes_long_can_be_left_out():
    p, truth = case(0)
    whole, quick = evaluate(p, truth), evaluate(p, truth, whole=False)
    assert whole.keys() == quick.keys()
    absent = {name for name, value in quick.items() if value is None} - {"metrics_reason"}
    assert absent == {
        "ece_floor", "ece_floor_95", "ece_low", "ece_high", "ece_smooth", "ece_classwise",
        "miscalibration", "discrimination", "uncertainty", "temperature", "ece_temperature",
    }  # fmt: skip
    assert all(quick[name] == whole[name] for name in quick.keys() - absent)


@pytest.mark.fault(37)
def test_one_class_is_undefined_and_not_perfect():
    p, _ = case(0)
    found = evaluate(p, np.full(len(p), 3))
    assert found["metrics_reason"] == "one_class"
    assert all(found[name] is None for name in WITH_LABELS)


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
        evaluate(p, labels)


def one_hot(cluster, clusters, confidence=1.0):
    cluster = np.asarray(cluster)
    p = np.full((len(cluster), clusters), (1 - confidence) / max(clusters - 1, 1))
    p[np.arange(len(cluster)), cluster] = confidence
    return p


@pytest.mark.fault(54)
def test_a_collapsed_partition_is_scored_correctly():
    truth = np.arange(100) % 5
    found = evaluate(one_hot(np.zeros(100, int), 5), truth)
    assert found["acc"] == pytest.approx(0.2, **EXACT)
    assert found["nmi"] == found["ari"] == 0
    assert found["ece"] == pytest.approx(0.8, **EXACT)
    assert (found["clusters_used"], found["largest_share"]) == (1, 1.0)
