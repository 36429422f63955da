"""What a search can optimise."""

import numpy as np
import pytest
from sklearn.cluster import KMeans
from sklearn.datasets import load_digits
from sklearn.neighbors import NearestNeighbors

from deep_clustering.platform.errors import InputError
from deep_clustering.platform.metrics import agreement, criteria, objectives
from deep_clustering.platform.metrics.evaluate import WITH_LABELS, evaluate


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


def test_every_objective_is_computed_and_has_its_worst_value(digits, kmeans):
    _, reference = digits
    truth = load_digits().target[: len(reference)]
    p = one_hot(kmeans, 10)
    assignment, _ = agreement.match(kmeans, truth, 10)
    wrong = np.flatnonzero(assignment[kmeans] != truth)[::2]
    p[wrong] = one_hot(kmeans[wrong], 10, 0.4)  # half of the wrong ones are unsure
    values = evaluate(p, truth) | criteria.criteria(p, reference)
    assert len(objectives.OBJECTIVES) == 10
    for name, objective in objectives.OBJECTIVES.items():
        assert objective.name == name
        worse = values[name] - objective.worst
        assert (worse > 0) if objective.better == "max" else (worse < 0), name
        assert objective.needs_labels == (name in WITH_LABELS)
    assert not objectives.OBJECTIVES[objectives.DEFAULT_OBJECTIVE].needs_labels


def merged(cluster, x, clusters):
    """The nearest pairs of clusters made one, until so many are left."""
    cluster = np.array(cluster)
    while len(names := np.unique(cluster)) > clusters:
        centres = np.stack([x[cluster == c].mean(0) for c in names])
        centres /= np.linalg.norm(centres, axis=1, keepdims=True)
        alike = centres @ centres.T - 2 * np.eye(len(names))
        a, b = np.unravel_index(alike.argmax(), alike.shape)
        cluster[cluster == names[b]] = names[a]
    return cluster


@pytest.mark.parametrize("clusters", [5, 4])
def test_merged_classes_win_no_search(digits, kmeans, clusters):
    """They pass the guard, and every criterion that likes them better is no objective."""
    x, reference = digits
    honest = criteria.criteria(one_hot(kmeans, 10), reference)
    liked = set()
    for fewer in (
        KMeans(clusters, n_init=2, random_state=0).fit(x).labels_,
        merged(kmeans, x, clusters),
    ):
        worse = criteria.criteria(one_hot(fewer, 10), reference)
        assert worse["criteria_guard"] is None
        known = [name for name, value in worse.items() if value is not None]
        liked |= {
            m.name for m in criteria.METRICS if m.name in known and worse[m.name] > honest[m.name]
        }
    assert {"calinski_harabasz", "neighbour_agreement", "generalisation"} <= liked
    assert not liked & objectives.OBJECTIVES.keys()


@pytest.mark.parametrize("share", [0.3, 0.7])
def test_shuffled_partitions_win_no_search(digits, kmeans, share):
    rng = np.random.default_rng(0)
    shuffled = np.where(rng.random(len(kmeans)) < share, rng.permutation(kmeans), kmeans)
    honest = criteria.criteria(one_hot(kmeans, 10, 0.7), digits[1])
    worse = criteria.criteria(one_hot(shuffled, 10, 0.9), digits[1])
    assert worse["silhouette"] < honest["silhouette"]
    assert worse["confidence"] > honest["confidence"]  # and it is no objective
    assert "confidence" not in objectives.OBJECTIVES


def test_objectives_are_parsed_in_order():
    assert [o.name for o in objectives.parse_objective("acc, ece")] == ["acc", "ece"]
    assert [o.better for o in objectives.parse_objective("acc,ece")] == ["max", "min"]
    assert objectives.parse_objective("label-free")[0].needs_labels is False


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("silouette", "there is no objective 'silouette'. Did you mean 'silhouette'?"),
        ("acc,acc", "'acc' is given twice"),
        (" , ", "needs a name"),
        ("balance", "no objective: a random partition is perfectly balanced"),
        ("calinski_harabasz", "no objective: a partition that merges classes has a higher value"),
        ("confidence", "can be the surest. Label-free objectives: silhouette"),
        ("generalisation", "no objective: a partition that merges classes has a higher value"),
        ("silhouette_umap", "two classes which are hard to tell apart can have a higher value"),
    ],
)
def test_bad_objectives(text, message):
    with pytest.raises(InputError) as caught:
        objectives.parse_objective(text)
    assert message in str(caught.value)


def test_label_metrics_without_labels_name_the_label_free_ones():
    with pytest.raises(InputError) as caught:
        objectives.refuse_labels(objectives.parse_objective("acc,silhouette"))
    assert "objective acc needs labels" in str(caught.value)
    assert "choose from silhouette" in str(caught.value)
    objectives.refuse_labels(objectives.parse_objective("silhouette"))
