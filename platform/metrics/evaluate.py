"""Every metric of a head or a partition at once."""

import numpy as np
from numpy.typing import ArrayLike

from deep_clustering.platform.metrics import (
    agreement,
    calibration,
    rejection,
    reliability,
    temperature,
)
from deep_clustering.platform.metrics.agreement import (
    ari,
    column_of_label,
    match,
    nmi,
    probability_of_label,
)
from deep_clustering.platform.metrics.arrays import checked, integers
from deep_clustering.platform.metrics.calibration import (
    brier,
    ece,
    ece_debiased,
    ece_equal_mass,
    ece_floor,
    ece_interval,
    mean_confidence,
    nll,
    over_and_under,
)
from deep_clustering.platform.metrics.rejection import failure_rejection
from deep_clustering.platform.metrics.reliability import decomposition, ece_classwise, ece_smooth
from deep_clustering.platform.metrics.temperature import with_temperature

_OF_CONFIDENCES = (
    *calibration.METRICS,
    *reliability.METRICS,
    *temperature.METRICS,
    *rejection.METRICS,
)

#: The metrics that need labels, in the order in which `evaluate` returns them.
WITH_LABELS = tuple(
    metric.name
    for metric in sorted((*agreement.METRICS, *_OF_CONFIDENCES), key=lambda m: m.rank)
    if metric.needs_labels
)


def evaluate(
    probabilities: ArrayLike, labels: ArrayLike | None = None, whole: bool = True
) -> dict[str, float | str | None]:
    """Every metric of one head on one set of images.

    | name | meaning | range |
    | --- | --- | --- |
    | acc | share of images whose cluster is matched with their label (`match`) | [1/max(C, L), 1] |
    | nmi, ari | mutual information (arithmetic mean), adjusted Rand index | [0, 1], [-1/2, 1] |
    | ece | expected calibration error, see `ece` | [0, 1] |
    | ece_floor, ece_floor_95 | mean and 95 % point of it for perfectly calibrated heads | [0, 1] |
    | ece_low, ece_high | its 95 % interval, see `ece_interval` | [0, 1] |
    | ece_debiased | the same less what noise adds | [0, 1] |
    | overconfidence, underconfidence | its two parts | [0, 1] |
    | ece_equal_mass | the same with bins of equal count | [0, 1] |
    | ece_smooth, ece_classwise | without bins; of each cluster's own probability | [0, 1] |
    | miscalibration, discrimination, uncertainty | squared error by `decomposition` | [0, 1] |
    | temperature, ece_temperature | fitted with the labels, an oracle | [1/64, 64], [0, 1] |
    | brier | squared distance of probabilities from the label, summed over classes | [0, 2] |
    | nll | negative log-probability of the label's cluster, nats, see `SMALLEST` | [0, 27.6] |
    | auroc, aurc, fpr95 | wrong images found by confidence, see `failure_rejection` | [0, 1] |
    | mean_confidence | mean of the largest probability | [1/C, 1] |
    | clusters_used, largest_share | clusters with images; share of the largest | |

    For brier and nll a label is the cluster matched with it; the probability of an unmatched
    cluster is probability of something wrong, and a label without a cluster has probability 0.

    Args:
        probabilities: (N, C), rows sum to 1.
        labels: integers (N,) from 0, None when nobody knows them.
        whole: whether to compute what takes long as well: floors, intervals and what has no bins;
            None in their place if not.

    Returns:
        Name -> value. What needs labels is None without them, or when all are the same (matching,
        and with it right and wrong, means nothing then); `metrics_reason` says which: "no_labels",
        "one_class", else None. `auroc` and `fpr95` are also None when all images are right or all
        are wrong.

    Raises:
        ValueError: probabilities or labels are not what is asked for, with the first bad row.
    """
    given = checked(probabilities)
    n, clusters = given.shape
    p = given.astype(np.float64, copy=False)
    cluster = given.argmax(1)
    confidence = given[np.arange(n), cluster]
    sizes = np.bincount(cluster, minlength=clusters)
    values: dict[str, float | str | None] = dict.fromkeys(WITH_LABELS)
    floor = ece_floor(confidence) if whole else None
    values |= {
        "ece_floor": None if floor is None else floor.mean,
        "ece_floor_95": None if floor is None else floor.point,
        "mean_confidence": mean_confidence(confidence),
        "clusters_used": int(np.count_nonzero(sizes)),
        "largest_share": float(sizes.max() / n),
        "metrics_reason": None,
    }
    if labels is None:
        return values | {"metrics_reason": "no_labels"}
    truth = integers(labels, n)
    classes, coded = np.unique(truth, return_inverse=True)
    if len(classes) == 1:
        return values | {"metrics_reason": "one_class"}

    assignment, acc = match(cluster, truth, clusters, p)
    correct = assignment[cluster] == truth
    column = column_of_label(assignment, classes, coded)
    own = probability_of_label(p, column)
    values |= {
        "acc": acc,
        "nmi": nmi(cluster, truth),
        "ari": ari(cluster, truth),
        "ece": ece(confidence, correct),
        "ece_debiased": ece_debiased(confidence, correct),
        **over_and_under(confidence, correct),
        "ece_equal_mass": ece_equal_mass(confidence, correct),
        "brier": brier(p, own),
        "nll": nll(own),
    }
    if floor is not None:
        low, high = ece_interval(confidence, correct, floor)
        values |= {
            "ece_low": low,
            "ece_high": high,
            "ece_smooth": ece_smooth(confidence, correct),
            "ece_classwise": ece_classwise(given, assignment, truth),
            **decomposition(confidence, correct),
            **with_temperature(p, column, correct),
        }
    return values | failure_rejection(confidence, correct)


def evaluate_partition(
    cluster: ArrayLike, labels: ArrayLike | None = None, clusters: int | None = None
) -> dict[str, float | str | None]:
    """The metrics of `evaluate` for clusters without probabilities.

    Args:
        cluster: integers (N,) from 0.
        labels: integers (N,) from 0, None when nobody knows them.
        clusters: C, including clusters without images; None: up to the last that has one.

    Returns:
        The names of `evaluate`. What is made of confidences is None; `metrics_reason` then says
        "no_probabilities", unless there are no labels either.

    Raises:
        ValueError: clusters or labels are not what is asked for.
    """
    given = np.asarray(cluster)
    codes = integers(given, len(given) if given.ndim else 0)
    sizes = np.bincount(codes, minlength=clusters or 1)
    values: dict[str, float | str | None] = dict.fromkeys(
        (*WITH_LABELS, "ece_floor", "ece_floor_95", "mean_confidence")
    )
    values |= {
        "clusters_used": int(np.count_nonzero(sizes)),
        "largest_share": float(sizes.max() / len(codes)),
        "metrics_reason": "no_probabilities",
    }
    if labels is None:
        return values | {"metrics_reason": "no_labels"}
    truth = integers(labels, len(codes))
    if len(np.unique(truth)) == 1:
        return values | {"metrics_reason": "one_class"}
    acc = match(codes, truth, len(sizes))[1]
    return values | {"acc": acc, "nmi": nmi(codes, truth), "ari": ari(codes, truth)}
