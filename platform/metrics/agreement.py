"""How well clusters agree with labels.

Notation of this folder: N images, C clusters (columns of the probabilities), L distinct labels; C
and L may differ. An image's cluster is its most probable column (the first of equals), its
confidence that column's probability. Values are fractions, sums are taken in float64.
"""

import numpy as np
from numpy.typing import ArrayLike

from deep_clustering.platform.metrics.arrays import Array
from deep_clustering.platform.metrics.metric import PERCENT, Metric


def match(
    pred: ArrayLike, labels: ArrayLike, clusters: int, probabilities: Array | None = None
) -> tuple[Array, float]:
    """Clusters matched one to one with labels, so that most images agree (Hungarian method).

    With more clusters than labels the rest stays unmatched, and its images count as wrong; with
    fewer, some labels are never right.

    Args:
        pred: cluster (N,) of each image, in [0, clusters).
        labels: label (N,) of each image, integers from 0, not necessarily all of them.
        clusters: C, including clusters without images.
        probabilities: (N, C), to choose among matchings that are equally right: the one with the
            most probability on the images' own labels. Only Brier, NLL and ECE can notice.

    Returns:
        The label (C,) of each cluster, -1 where it is unmatched, and the share of images whose
        cluster is matched with their label.
    """
    from scipy.optimize import linear_sum_assignment

    pred, labels = np.asarray(pred), np.asarray(labels)
    values, classes = np.unique(labels, return_inverse=True)
    counts = contingency(pred, classes, clusters, len(values))
    gain = counts.astype(np.float64)
    if probabilities is not None:
        mass = np.stack(
            [np.bincount(classes, column, len(values)) for column in probabilities.T.astype(float)]
        )
        gain += mass / (2 * len(pred) + 1)  # adds up to less than one image: only ties see it
    rows, columns = linear_sum_assignment(gain, maximize=True)
    assignment = np.full(clusters, -1, np.int64)
    assignment[rows] = values[columns]
    return assignment, float(counts[rows, columns].sum() / len(pred))


def contingency(pred: Array, classes: Array, clusters: int, labels: int) -> Array:
    """How many images (C, L) of each cluster have each label; both are numbered from 0."""
    flat = np.bincount(pred.astype(np.int64) * labels + classes, minlength=clusters * labels)
    return flat.reshape(clusters, labels)


def nmi(pred: ArrayLike, labels: ArrayLike) -> float:
    """Normalised mutual information of clusters and labels (N,), arithmetic mean; in [0, 1]."""
    from sklearn.metrics import normalized_mutual_info_score

    return float(normalized_mutual_info_score(labels, pred))


def ari(pred: ArrayLike, labels: ArrayLike) -> float:
    """Rand index of clusters and labels (N,), adjusted for chance; in [-1/2, 1]."""
    from sklearn.metrics import adjusted_rand_score

    return float(adjusted_rand_score(labels, pred))


def column_of_label(assignment: Array, classes: Array, coded: Array) -> Array:
    """(N,) cluster matched with each image's label; -1 where there is none."""
    columns = np.full(len(classes), -1)
    matched = np.flatnonzero(assignment >= 0)
    columns[np.searchsorted(classes, assignment[matched])] = matched
    own: Array = columns[coded]
    return own


def probability_of_label(p: Array, column: Array) -> Array:
    """(N,) probability of `column_of_label`; 0 where there is none."""
    return np.where(column >= 0, p[np.arange(len(p)), column], 0.0)


METRICS = (
    Metric(
        name="acc",
        title="ACC",
        meaning="Accuracy: share of images whose cluster is matched with their class. Clusters "
        "are matched one to one with classes, so that most images agree (Hungarian method).",
        summary="accuracy after one-to-one matching",
        column="clustering accuracy by Hungarian matching, 0 to 1",
        rank=10,
        unit=PERCENT,
        better="max",
        worst=0.0,
        objective=True,
        needs_labels=True,
        every_epoch=True,
        headline=True,
        view=1,
    ),
    Metric(
        name="nmi",
        title="NMI",
        meaning="Normalised mutual information of clusters and classes, arithmetic mean.",
        summary="normalised mutual information, arithmetic mean",
        column="normalised mutual information, arithmetic mean, 0 to 1",
        rank=20,
        unit=PERCENT,
        better="max",
        worst=0.0,
        objective=True,
        needs_labels=True,
        every_epoch=True,
        view=3,
    ),
    Metric(
        name="ari",
        title="ARI",
        meaning="Adjusted Rand index of clusters and classes; 0 is chance.",
        summary="adjusted Rand index",
        column="adjusted Rand index, at most 1",
        rank=30,
        unit=PERCENT,
        low=-0.5,
        better="max",
        worst=-0.5,
        objective=True,
        needs_labels=True,
        every_epoch=True,
        view=5,
    ),
)
