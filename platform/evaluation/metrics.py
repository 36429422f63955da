"""How well clusters agree with labels, and how well their confidences agree with that.

Pure functions of arrays; all values are fractions, sums are taken in float64. Notation: N images,
C clusters (columns of the probabilities), L distinct labels; C and L may differ. An image's cluster
is its most probable column (the first of equals), its confidence that column's probability.
"""

import warnings
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[Any]

#: Equal-width bins of the expected calibration error (CDC, Sec. 4.1).
BINS = 15

#: A larger share of images in one cluster counts as collapse. Labels cannot be asked here; nine
#: tenths in one cluster leave so little to the others that no partition into two or more groups
#: is told apart from "everything is one", and the classes of all data sets used are far smaller.
COLLAPSED_SHARE = 0.9

#: Smallest probability inside the logarithm of the NLL: one image costs at most 27.6 nats.
SMALLEST = 1e-12

#: Above this many images k-means runs in faiss, below it in scikit-learn.
FEW = 20_000

#: The metrics that need labels, in the order in which `evaluate` returns them.
LABEL_METRICS = (
    "acc",
    "nmi",
    "ari",
    "ece",
    "ece_equal_mass",
    "brier",
    "nll",
    "auroc",
    "aurc",
    "fpr95",
)

_FLOOR_REPEATS = 100  # simulated heads; the floor's standard error is a tenth of one head's spread
_FLOOR_PARTS = 64  # of each bin, within which confidences are taken as equal


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
    counts = _contingency(pred, classes, clusters, len(values))
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


def evaluate(
    probabilities: ArrayLike, labels: ArrayLike | None = None
) -> dict[str, float | str | None]:
    """Every metric of one head on one set of images.

    | name | meaning | range |
    | --- | --- | --- |
    | acc | share of images whose cluster is matched with their label (`match`) | [1/max(C, L), 1] |
    | nmi, ari | mutual information (arithmetic mean), adjusted Rand index | [0, 1], [-1/2, 1] |
    | ece | expected calibration error, see `ece` | [0, 1] |
    | ece_floor | what `ece` would be for a perfectly calibrated head, see `ece_floor` | [0, 1] |
    | ece_equal_mass | the same with bins of equal count | [0, 1] |
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

    Returns:
        Name -> value. What needs labels is None without them, or when all are the same (matching,
        and with it right and wrong, means nothing then); `metrics_reason` says which: "no_labels",
        "one_class", else None. `auroc` and `fpr95` are also None when all images are right or all
        are wrong.

    Raises:
        ValueError: probabilities or labels are not what is asked for, with the first bad row.
    """
    given = _checked(probabilities)
    n, clusters = given.shape
    p = given.astype(np.float64, copy=False)
    cluster = given.argmax(1)
    confidence = given[np.arange(n), cluster]
    sizes = np.bincount(cluster, minlength=clusters)
    values: dict[str, float | str | None] = dict.fromkeys(LABEL_METRICS)
    values |= {
        "ece_floor": ece_floor(confidence),
        "mean_confidence": float(np.minimum(confidence.astype(np.float64), 1).mean()),
        "clusters_used": int(np.count_nonzero(sizes)),
        "largest_share": float(sizes.max() / n),
        "metrics_reason": None,
    }
    if labels is None:
        return values | {"metrics_reason": "no_labels"}
    truth = _integers(labels, n)
    classes, coded = np.unique(truth, return_inverse=True)
    if len(classes) == 1:
        return values | {"metrics_reason": "one_class"}

    assignment, acc = match(cluster, truth, clusters, p)
    correct = assignment[cluster] == truth
    counts = _contingency(cluster, coded, clusters, len(classes))
    own = _probability_of_label(p, assignment, classes, coded)
    values |= {
        "acc": acc,
        "nmi": nmi(counts),
        "ari": ari(counts),
        "ece": ece(confidence, correct),
        "ece_equal_mass": ece_equal_mass(confidence, correct),
        "brier": float(np.mean((p**2).sum(1) - 2 * own + 1)),
        "nll": float(-np.log(np.clip(own, SMALLEST, 1)).mean()),
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
    found = _integers(given, len(given) if given.ndim else 0)
    sizes = np.bincount(found, minlength=clusters or 1)
    values: dict[str, float | str | None] = dict.fromkeys(
        (*LABEL_METRICS, "ece_floor", "mean_confidence")
    )
    values |= {
        "clusters_used": int(np.count_nonzero(sizes)),
        "largest_share": float(sizes.max() / len(found)),
        "metrics_reason": "no_probabilities",
    }
    if labels is None:
        return values | {"metrics_reason": "no_labels"}
    truth = _integers(labels, len(found))
    classes, coded = np.unique(truth, return_inverse=True)
    if len(classes) == 1:
        return values | {"metrics_reason": "one_class"}
    counts = _contingency(found, coded, len(sizes), len(classes))
    acc = match(found, truth, len(sizes))[1]
    return values | {"acc": acc, "nmi": nmi(counts), "ari": ari(counts)}


def nmi(counts: Array) -> float:
    """Normalised mutual information of a contingency table (C, L), arithmetic mean; in [0, 1]."""
    joint = counts[counts.sum(1) > 0][:, counts.sum(0) > 0].astype(np.float64)
    if joint.shape == (1, 1):
        return 1.0
    joint /= joint.sum()
    rows, columns = joint.sum(1), joint.sum(0)
    inside = joint > 0
    expected = np.outer(rows, columns)[inside]
    information = float((joint[inside] * np.log(joint[inside] / expected)).sum())
    entropies = -float((rows * np.log(rows)).sum()) - float((columns * np.log(columns)).sum())
    return float(np.clip(2 * information / entropies, 0, 1))


def ari(counts: Array) -> float:
    """Rand index of a contingency table (C, L), adjusted for chance; in [-1/2, 1]."""

    def pairs(x: Array) -> float:
        x = x.astype(np.float64)
        return float((x * (x - 1) / 2).sum())

    both, rows, columns = pairs(counts), pairs(counts.sum(1)), pairs(counts.sum(0))
    everything = pairs(counts.sum(keepdims=True))
    if everything == 0 or rows + columns in (0.0, 2 * everything):
        return 1.0  # both are one group, or both are all singletons
    chance = rows * columns / everything
    return (both - chance) / ((rows + columns) / 2 - chance)


def reliability(confidence: ArrayLike, correct: ArrayLike, bins: int = BINS) -> dict[str, Array]:
    """The table behind a reliability diagram: bins of equal width, (low, high].

    0 belongs to the first bin; 1, and what a rounding error puts above it, to the last. Edges are
    compared in the precision of the confidences, so that a float32 0.2 lies on the edge 3/15.

    Args:
        confidence: (N,) in [0, 1].
        correct: (N,) booleans.
        bins: how many.

    Returns:
        `low`, `high` (edges), `count`, `confidence` and `accuracy` (means, NaN in an empty bin),
        each (bins,).
    """
    confidence, correct = np.asarray(confidence), np.asarray(correct)
    which, edges = _bins(confidence, bins)
    counts, right, sums = _per_bin(which, bins, correct, np.minimum(confidence.astype(float), 1))
    with np.errstate(invalid="ignore"):
        return {
            "low": edges[:-1],
            "high": edges[1:],
            "count": counts,
            "confidence": sums / counts,
            "accuracy": right / counts,
        }


def ece(confidence: ArrayLike, correct: ArrayLike, bins: int = BINS) -> float:
    """Expected calibration error: sum over bins of |right - confidence| / N; bins: `reliability`.

    Args:
        confidence: (N,) in [0, 1].
        correct: (N,) booleans.
        bins: of equal width.
    """
    confidence, correct = np.asarray(confidence), np.asarray(correct)
    which, _ = _bins(confidence, bins)
    _, right, sums = _per_bin(which, bins, correct, np.minimum(confidence.astype(float), 1))
    return float(np.abs(right - sums).sum() / len(confidence))


def ece_equal_mass(confidence: ArrayLike, correct: ArrayLike, bins: int = BINS) -> float:
    """The calibration error with bins of equal count, as far as `bins` divides N.

    Images of equal confidence share their errors evenly, so that the order of the images does not
    matter when a bin's edge falls among them.
    """
    confidence, wrong = _by_confidence(confidence, correct)
    gap = (1 - wrong) - confidence
    n = len(gap)
    starts = np.unique(np.arange(bins) * n // bins)
    return float(np.abs(np.add.reduceat(gap, starts)).sum() / n)


def ece_floor(confidence: ArrayLike, bins: int = BINS, seed: int = 0) -> float:
    """The mean `ece` of a perfectly calibrated head with these confidences: noise, not error.

    Each image is right with exactly its confidence, simulated 100 times with a fixed seed. An
    `ece` at or below this value cannot be told from perfect calibration at this N.

    Args:
        confidence: (N,) in [0, 1].
        bins: as in `ece`.
        seed: of the simulation.
    """
    confidence = np.asarray(confidence)
    which, edges = _bins(confidence, bins)
    clipped = np.minimum(confidence.astype(np.float64), 1)
    # The number right among images of equal confidence is binomial. Each bin is cut into parts so
    # narrow that their spread inside a part changes the variance by less than one in a thousand.
    offset = (clipped - edges[which]) * bins * _FLOOR_PARTS
    part = which * _FLOOR_PARTS + np.clip(offset.astype(np.int64), 0, _FLOOR_PARTS - 1)
    counts = np.bincount(part, minlength=bins * _FLOOR_PARTS)
    sums = np.bincount(part, clipped, bins * _FLOOR_PARTS)
    used = counts > 0
    chance = np.clip(sums[used] / counts[used], 0, 1)
    right = np.random.default_rng(seed).binomial(
        counts[used], chance, (_FLOOR_REPEATS, int(used.sum()))
    )
    gaps = np.zeros((_FLOOR_REPEATS, bins * _FLOOR_PARTS))
    gaps[:, used] = right - sums[used]
    per_bin = gaps.reshape(_FLOOR_REPEATS, bins, _FLOOR_PARTS).sum(2)
    return float(np.abs(per_bin).sum(1).mean() / len(confidence))


def failure_rejection(confidence: ArrayLike, correct: ArrayLike) -> dict[str, float | None]:
    """How well confidence tells right from wrong (Zhu et al. 2022); right is the positive class.

    Args:
        confidence: (N,).
        correct: (N,) booleans.

    Returns:
        `auroc`: area under the ROC. `fpr95`: the smallest share of wrong images kept by a
        threshold that keeps at least 95 % of the right ones. Both None when there are only right
        or only wrong images. `aurc`: the mean over j = 1..N of the share of errors among the j
        most confident images, a fraction (papers often print it times 1000); images of equal
        confidence share their errors evenly.
    """
    confidence, correct = np.asarray(confidence), np.asarray(correct).astype(bool)
    n = len(confidence)
    _, wrong = _by_confidence(confidence, correct)
    aurc = float((np.cumsum(wrong) / np.arange(1, n + 1)).mean())
    good = int(correct.sum())
    bad = n - good
    if not good or not bad:
        return {"auroc": None, "aurc": aurc, "fpr95": None}
    _, group = np.unique(-confidence, return_inverse=True)  # groups of equals, surest first
    right = np.bincount(group, correct)
    false = np.bincount(group, ~correct)
    above = np.cumsum(right)
    auroc = float((false * (above - right / 2)).sum() / good / bad)
    first = int(np.argmax(above / good >= 0.95))
    return {"auroc": auroc, "aurc": aurc, "fpr95": float(np.cumsum(false)[first] / bad)}


def risk_coverage(
    confidence: ArrayLike, correct: ArrayLike, points: int = 200
) -> tuple[Array, Array]:
    """The curve of failure rejection: errors among the most confident images, by how many are kept.

    The mean of the risks at all N ranks is `aurc` of `failure_rejection`; as there, images of equal
    confidence share their errors evenly, so that the order of the images does not matter.

    Args:
        confidence: (N,), N at least 1.
        correct: (N,) booleans.
        points: at most so many ranks out of 1..N, evenly spaced, the last of them N.

    Returns:
        Coverage, the share of images kept, in (0, 1] and ascending, and risk, the share of errors
        among them, in [0, 1]; each (min(points, N),).

    Raises:
        ValueError: no images, or no points.
    """
    n = len(np.asarray(confidence))
    if n < 1 or points < 1:
        raise ValueError(f"a curve needs at least 1 image and 1 point, got {n} and {points}")
    _, wrong = _by_confidence(confidence, correct)
    used = min(points, n)
    ranks = -(-np.arange(1, used + 1) * n // used)  # rounded up
    return ranks / n, np.cumsum(wrong)[ranks - 1] / ranks


def cluster_sizes(probabilities: ArrayLike) -> Array:
    """Images in each cluster, (C,)."""
    p = np.asarray(probabilities)
    return np.bincount(p.argmax(1), minlength=p.shape[1])


def flags(probabilities: ArrayLike) -> list[str]:
    """What is suspicious about a partition, seen without labels.

    Args:
        probabilities: (N, C).

    Returns:
        Any of "collapsed": fewer than two clusters have images, or one has more than
        `COLLAPSED_SHARE` of them; "empty_clusters": some, but not all others, have none;
        "constant_confidence": all images are equally sure to one in a million, so that confidence
        says nothing about an image.
    """
    p = np.asarray(probabilities)
    found = partition_flags(cluster_sizes(p))
    if np.ptp(p.max(1).astype(np.float64)) <= 1e-6:
        found.append("constant_confidence")
    return found


def partition_flags(sizes: ArrayLike) -> list[str]:
    """The `flags` that need no probabilities.

    Args:
        sizes: (C,) images in each cluster.
    """
    sizes = np.asarray(sizes)
    used = np.count_nonzero(sizes)
    found = []
    if used < 2 or sizes.max() > COLLAPSED_SHARE * sizes.sum():
        found.append("collapsed")
    if used < len(sizes):
        found.append("empty_clusters")
    return found


def kmeans_accuracy(
    features: ArrayLike, labels: ArrayLike | None, clusters: int, seed: int = 0
) -> float | None:
    """Accuracy of k-means on frozen features: tells weights that were never loaded from real ones.

    Args:
        features: (N, D), used as they are (CDC, App. A: raw features of the backbone).
        labels: (N,), or None.
        clusters: C.
        seed: of the restarts; the same seed gives the same value on the same machine.

    Returns:
        The accuracy as in `evaluate`; None without labels or when all are the same.
    """
    if labels is None:
        return None
    x = np.ascontiguousarray(features, dtype=np.float32)
    truth = _integers(labels, len(x))
    if len(np.unique(truth)) == 1:
        return None
    clusters = min(clusters, len(x))
    predict = _kmeans_sklearn if len(x) <= FEW else _kmeans_faiss
    return match(predict(x, clusters, seed), truth, clusters)[1]


def _kmeans_sklearn(x: Array, clusters: int, seed: int) -> Array:
    from sklearn.cluster import KMeans
    from sklearn.exceptions import ConvergenceWarning
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

    # One thread: sums over several would come in any order.
    with threadpool_limits(limits=1), warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # fewer distinct images than clusters
        found: Array = KMeans(clusters, n_init=10, random_state=seed).fit(x).labels_
    return found


def _kmeans_faiss(x: Array, clusters: int, seed: int) -> Array:
    import faiss

    threads = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(min(threads, 4))  # other runs train on this machine
    try:
        kmeans = faiss.Kmeans(
            x.shape[1],
            clusters,
            niter=50,
            nredo=5,
            seed=seed + 1,  # faiss takes 0 for "no seed"
            max_points_per_centroid=len(x),
        )
        kmeans.train(x)
        _, nearest = kmeans.index.search(x, 1)
    finally:
        faiss.omp_set_num_threads(threads)
    found: Array = nearest[:, 0]
    return found


def _checked(probabilities: ArrayLike) -> Array:
    p = np.asarray(probabilities)
    if p.dtype not in (np.float32, np.float64):
        p = p.astype(np.float64)
    if p.ndim != 2 or 0 in p.shape:
        raise ValueError(f"probabilities must be (images, clusters), got the shape {p.shape}")
    total = p.sum(1, dtype=np.float64)
    good = (np.abs(total - 1) <= 1e-3) & (p.min(1) >= -1e-6)  # NaN and infinities fail too
    if not good.all():
        row = int(np.argmin(good))
        raise ValueError(
            f"probabilities must be finite, not negative and sum to 1; row {row} is "
            f"{p[row, :5].tolist()}{'...' if p.shape[1] > 5 else ''} with the sum {total[row]}"
        )
    return p


def _integers(labels: ArrayLike, n: int) -> Array:
    found = np.asarray(labels)
    if found.shape != (n,) or found.dtype.kind not in "iub":
        raise ValueError(
            f"labels must be {n} integers, one an image; got {found.dtype} of shape {found.shape}"
        )
    if found.min(initial=0) < 0:
        row = int(np.argmax(found < 0))
        raise ValueError(f"labels must not be negative, got {found[row]} for image {row}")
    return found.astype(np.int64)


def _contingency(pred: Array, classes: Array, clusters: int, labels: int) -> Array:
    flat = np.bincount(pred.astype(np.int64) * labels + classes, minlength=clusters * labels)
    return flat.reshape(clusters, labels)


def _probability_of_label(p: Array, assignment: Array, classes: Array, coded: Array) -> Array:
    """(N,) probability of the cluster matched with each image's label; 0 where there is none."""
    columns = np.full(len(classes), -1)
    matched = np.flatnonzero(assignment >= 0)
    columns[np.searchsorted(classes, assignment[matched])] = matched
    own = columns[coded]
    return np.where(own >= 0, p[np.arange(len(p)), own], 0.0)


def _bins(confidence: Array, bins: int) -> tuple[Array, Array]:
    """The bin (N,) of each confidence, and the edges (bins + 1,)."""
    edges = np.arange(bins + 1) / bins
    inner = edges[1:-1].astype(confidence.dtype if confidence.dtype.kind == "f" else float)
    return np.searchsorted(inner, confidence, side="left"), edges


def _per_bin(which: Array, bins: int, *columns: Array) -> tuple[Array, ...]:
    """Counts, and sums of each column, per bin."""
    sums = (np.bincount(which, column.astype(np.float64), bins) for column in columns)
    return (np.bincount(which, minlength=bins), *sums)


def _by_confidence(confidence: ArrayLike, correct: ArrayLike) -> tuple[Array, Array]:
    """Confidences in descending order, and the share of errors among each one's equals."""
    given = np.minimum(np.asarray(confidence).astype(np.float64), 1)
    values, group, sizes = np.unique(-given, return_inverse=True, return_counts=True)
    errors = np.bincount(group, ~np.asarray(correct).astype(bool)) / sizes
    return np.repeat(-values, sizes), np.repeat(errors, sizes)
