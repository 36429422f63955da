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
    assert len(objectives.OBJECTIVES) == 14
    for name, objective in objectives.OBJECTIVES.items():
        assert objective.name == name
        worse = values[name] - objective.worst
        assert (worse > 0) if objective.better == "max" else (worse < 0), name
        assert objective.needs_labels == (name in WITH_LABELS)
    assert not objectives.OBJECTIVES[objectives.DEFAULT_OBJECTIVE].needs_labels


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
    ],
)
def test_bad_objectives(text, message):
    with pytest.raises(InputError) as caught:
        objectives.parse_objective(text)
    assert message in str(caught.value)


def test_label_metrics_without_labels_name_the_label_free_ones():
    with pytest.raises(InputError) as caught:
        objectives.parse_objective("acc,silhouette", labelled=False)
    assert "objective acc needs labels" in str(caught.value)
    assert "neighbour_agreement" in str(caught.value)
    objectives.parse_objective("silhouette,scan_consistency", labelled=False)
