"""What can be said about a partition without labels.

A criterion is only comparable between trials when all are scored in the same space: in each trial's
own embedding the silhouette can even run against accuracy (Wang & Ye, ACE, arXiv:2403.14830). So
all trials are scored in the features of their shared pretraining, prepared once as a `Reference`.

Every criterion has a partition that is good for it and for nothing else (a random partition with
certain probabilities has perfect confidence and perfect balance). `guard` names such partitions,
and under it each criterion takes its worst value: no search can win by collapsing. The guard does
not see a partition that merges classes, and most criteria like it better than the honest one: they
are shown, and no search optimises them (`Metric.unfit`). The silhouette does not.

How well some follow the accuracy, on 66 runs of CDC's Table 2 on digits over 8 pretrainings: rank
correlations over all runs, over the 33 of an accuracy above .85, and both within a pretraining,
where a search compares (mean); and in how many of the 8 a worse partition has a higher value than
the best run: that run with the two nearest of ten clusters merged, with five left, and k-means.

| | all | good | all, within | good, within | nine | five | k-means |
| --- | --- | --- | --- | --- | --- | --- | --- |
| silhouette | .92 | .66 | .81 | .45 | 0 | 0 | 8 |
| generalisation | .81 | .67 | .81 | .50 | 6 | 8 | 0 |
| silhouette after UMAP | .89 | .45 | .92 | .69 | 1 | 0 | 0 |
| Calinski-Harabasz | .80 | .51 | .78 | .28 | 7 | 0 | 8 |

No guard helps generalisation: with five clusters it is still higher after a correction for their
number. Shuffling a tenth of the images lowers all four, always.
"""

import numpy as np
from numpy.typing import ArrayLike

from deep_clustering.platform.metrics.arrays import Array, finite
from deep_clustering.platform.metrics.metric import PERCENT, Metric, Unit
from deep_clustering.platform.metrics.partition import partition_flags
from deep_clustering.platform.metrics.reference import Reference

METRICS = (
    Metric(
        name="silhouette",
        title="silhouette",
        meaning="How much nearer an image is to its own cluster than to the next one, by the "
        "cosine distance of pretrained features; -1 to 1. Needs no labels.",
        summary="cosine silhouette in the pretrained features",
        rank=400,
        low=-1.0,
        better="max",
        worst=-1.0,
        objective=True,
        view=6,
    ),
    Metric(
        name="calinski_harabasz",
        title="calinski harabasz",
        meaning="Spread between clusters over spread within them, in pretrained features. Needs "
        "no labels.",
        summary="spread between over spread within clusters",
        rank=410,
        unit=Unit(factor=1, decimals=1, suffix=""),
        high=None,
        better="max",
        worst=0.0,
        unfit="a partition that merges classes has a higher value than the honest one",
        short="CH",
    ),
    Metric(
        name="neighbour_agreement",
        title="neighbour agreement",
        meaning="Share of nearest neighbours that are in one cluster, beyond chance; 0 is chance. "
        "Needs no labels.",
        summary="neighbours in one cluster, beyond chance",
        rank=420,
        low=-1.0,
        better="max",
        worst=-1.0,
        unfit="a partition that merges classes has a higher value than the honest one",
        short="agreement",
    ),
    Metric(
        name="confidence",
        title="confidence",
        meaning="Mean of the largest probability, and 0 for a partition that is guarded. Needs no "
        "labels.",
        summary="mean confidence; easy to game, even when guarded",
        rank=430,
        unit=PERCENT,
        better="max",
        worst=0.0,
        unfit="a partition that merges classes, or is random in part, can be the surest",
        needs_probabilities=True,
    ),
    Metric(
        name="scan_consistency",
        title="scan consistency",
        meaning="How alike the probabilities of nearest neighbours are, beyond chance. Needs no "
        "labels.",
        summary="neighbours predicted alike, beyond chance",
        rank=440,
        low=-1.0,
        better="max",
        worst=-1.0,
        unfit="a partition that merges classes has a higher value than the honest one",
        needs_probabilities=True,
        short="consistency",
    ),
    Metric(
        name="generalisation",
        title="generalisation",
        meaning="Share of images whose cluster a linear classifier of at most 2,048 pretrained "
        "features finds, each image left out in turn; TURTLE's score. Needs no labels.",
        summary="clusters that a linear classifier finds, in images that it has not seen",
        rank=445,
        unit=PERCENT,
        better="max",
        worst=0.0,
        unfit="a partition that merges classes has a higher value than the honest one",
    ),
    Metric(
        name="silhouette_umap",
        title="silhouette after UMAP",
        meaning="The silhouette with the Euclidean distance of pretrained features after UMAP; -1 "
        "to 1. Only where umap-learn is installed. Needs no labels.",
        summary="silhouette after UMAP; needs pip install 'deep-clustering[umap]'",
        rank=447,
        low=-1.0,
        better="max",
        worst=-1.0,
        unfit="a partition that merges two classes which are hard to tell apart can have a higher "
        "value than the honest one",
        short="sil. UMAP",
    ),
    Metric(
        name="balance",
        title="balance",
        meaning="Entropy of the cluster sizes, as a share of the largest possible. Needs no "
        "labels.",
        summary="entropy of the cluster sizes, as a share of the largest possible",
        rank=450,
        better="max",
        worst=0.0,
        unfit="a random partition is perfectly balanced",
        view=7,
    ),
)

#: The value of each criterion under the guard: the smallest that it can take.
WORST: dict[str, float] = {m.name: m.worst for m in METRICS if m.worst is not None}

#: Fewer clusters in effect (the exponential of the entropy of their sizes) than this share of C
#: are too few. Two hundred classes of Zipf sizes, an extreme long tail, still have 0.32 C.
FEWEST_SHARE = 0.25

#: Below this neighbour agreement a partition is taken for a random one. Random partitions of a
#: thousand images stay within 0.01 of 0; k-means on raw pixels of the digits has 0.88.
LEAST_AGREEMENT = 0.05

_NEAR = 1 << 12  # rows of which differences are taken at a time
_CANCELS = 1e-5  # of its terms: a smaller difference has lost too many of its digits
_ROUNDING = 1e-25  # of all spread: a smaller one is made of rounding errors


def criteria(probabilities: ArrayLike, reference: Reference) -> dict[str, float | str | None]:
    """Every label-free criterion of one partition; higher is better for all.

    `silhouette`, `calinski_harabasz`, `neighbour_agreement`, `scan_consistency`, `generalisation`,
    `silhouette_umap` (None without umap-learn) and `balance` are those of the functions below;
    `confidence` is the mean of the largest probability (of a calibrated head it estimates the
    accuracy; it is the easiest to game).

    Args:
        probabilities: (N, C) of the final head.
        reference: of the same N images.

    Returns:
        Name -> value; `criteria_guard`: what `guard` says; `guarded`: 1 if it says something, and
        then every value is the one in `WORST`, else 0.
    """
    p = np.asarray(probabilities)
    if len(p) != len(reference):
        raise ValueError(
            f"the probabilities are of {len(p)} images, the reference of {len(reference)}"
        )
    confidence = finite(p.max(1))
    values = of_partition(p.argmax(1), reference, clusters=p.shape[1])
    if values["guarded"]:
        return {
            **values,
            "confidence": WORST["confidence"],
            "scan_consistency": WORST["scan_consistency"],
        }
    return {
        **values,
        "confidence": float(confidence.mean(dtype=np.float64)),
        "scan_consistency": scan_consistency(p, reference),
    }


def of_partition(
    cluster: ArrayLike, reference: Reference, *, clusters: int | None = None
) -> dict[str, float | str | None]:
    """The criteria that need no probabilities; those that do are None.

    Args:
        cluster: (N,) integers from 0.
        reference: of the same N images.
        clusters: C, how many were asked for; None where the method finds the number itself, and
            then few of them are no reason to guard.

    Returns:
        As `criteria`.
    """
    codes = np.asarray(cluster)
    sizes = np.bincount(codes, minlength=clusters or 1)
    agreement = neighbour_agreement(codes, reference)
    fewest = FEWEST_SHARE * clusters if clusters else 0
    reason = guard(sizes, _within_reach(codes, reference), fewest=fewest)
    none: dict[str, float | None] = {"confidence": None, "scan_consistency": None}
    if reason is not None:
        none["generalisation"] = WORST["generalisation"] if reference.narrow else None
        none["silhouette_umap"] = WORST["silhouette_umap"] if reference.embedded else None
        return {**WORST, **none, "guarded": 1.0, "criteria_guard": reason}
    return {
        "silhouette": silhouette(codes, reference),
        "calinski_harabasz": calinski_harabasz(codes, reference),
        "neighbour_agreement": agreement,
        **none,
        "generalisation": generalisation(codes, reference),
        "silhouette_umap": silhouette_umap(codes, reference),
        "balance": balance(sizes),
        "guarded": 0.0,
        "criteria_guard": None,
    }


def guard(sizes: Array, agreement: float, *, fewest: float) -> str | None:
    """Why a partition must not win a search, or None.

    Args:
        sizes: (C,) images in each cluster.
        agreement: of neighbours, see `_within_reach`.
        fewest: clusters in effect, the exponential of the entropy of their sizes.

    Returns:
        "collapsed": see `partition.flags`. "too few clusters used": there are fewer than `fewest`.
        "no better than random": the agreement is below `LEAST_AGREEMENT`.
    """
    if "collapsed" in partition_flags(sizes):
        return "collapsed"
    if np.exp(_entropy(sizes)) < fewest:
        return "too few clusters used"
    if agreement < LEAST_AGREEMENT:
        return "no better than random"
    return None


def silhouette(cluster: Array, reference: Reference) -> float:
    """Mean silhouette with the cosine distance, in [-1, 1]; -1 for fewer than two clusters.

    In one dimension with the distance itself. Exact in N * C * D operations: the mean distance to a
    cluster follows from its mean, so that no distance between two images is ever computed. An image
    alone in its cluster counts 0, as in scikit-learn.

    Args:
        cluster: (N,) integers from 0.
        reference: of the same images.
    """
    codes, sizes = _codes(cluster)
    if len(sizes) < 2:
        return WORST["silhouette"]
    if reference.features.shape[1] == 1:
        x = np.concatenate([part[:, 0] for _, part in reference.blocks()])
        return _silhouette(_sums_on_a_line(x, codes, len(sizes)), codes, sizes)
    return _silhouette(_sums_of_cosine_distances(reference, codes, sizes), codes, sizes)


def _silhouette(distance: Array, codes: Array, sizes: Array) -> float:
    """Mean silhouette from the sums of distances (N, C) of each image to those of each cluster."""
    everyone = np.arange(len(codes))
    own = distance[everyone, codes] / np.maximum(sizes[codes] - 1, 1)
    distance = distance / sizes
    distance[everyone, codes] = np.inf
    other = distance.min(1)
    larger = np.maximum(own, other)
    with np.errstate(invalid="ignore", divide="ignore"):
        value = np.where((sizes[codes] > 1) & (larger > 0), (other - own) / larger, 0)
    return float(value.mean())


def _sums_on_a_line(x: Array, codes: Array, clusters: int) -> Array:
    """Sums (N, C) of the distances of each number to those of each cluster."""
    total = np.empty((len(x), clusters))
    for c in range(clusters):
        members = np.sort(x[codes == c])
        below = np.searchsorted(members, x)
        sums = np.concatenate([[0.0], np.cumsum(members)])
        under = x * below - sums[below]
        total[:, c] = under + (sums[-1] - sums[below]) - x * (len(members) - below)
    return np.maximum(total, 0)


def _sums_of_cosine_distances(reference: Reference, codes: Array, sizes: Array) -> Array:
    """Sums (N, C) of the cosine distances of each image to those of each cluster, itself left out.

    Half the squared distance of two unit vectors is their cosine distance, and the mean squared
    distance to a cluster is that to its mean plus the cluster's own spread. The products that give
    the former fast lose digits where it is small; there it is taken from the differences.
    """
    clusters = len(sizes)
    means = np.zeros((clusters, len(reference.direction)))
    for part, u in reference.directions():
        means += _sums(u - reference.direction, codes[part], clusters)
    means /= sizes[:, None]
    lengths = (means**2).sum(1)
    total = np.empty((len(codes), clusters))  # squared distances to the means, at first
    zeros = np.zeros(len(codes))  # the cosine distance of a zero vector is 1 to everything
    for part, u in reference.directions():
        zeros[part] = ~u.any(1)
        w = u - reference.direction
        terms = np.einsum("nd,nd->n", w, w)[:, None] + lengths
        squared = terms - 2 * w @ means.T
        near = np.nonzero(squared < _CANCELS * terms)
        for start in range(0, len(near[0]), _NEAR):
            rows, columns = near[0][start : start + _NEAR], near[1][start : start + _NEAR]
            squared[rows, columns] = ((w[rows] - means[columns]) ** 2).sum(1)
        total[part] = np.where(squared < _ROUNDING, 0, squared)  # lengths are 1
    everyone = np.arange(len(codes))
    total = sizes * total + np.bincount(codes, total[everyone, codes], clusters)
    # Half the squared distance of a zero vector to a unit vector is 1/2; 1/2 is missing.
    total = (total + sizes * zeros[:, None] + np.bincount(codes, zeros, clusters)) / 2
    total[everyone, codes] -= zeros
    return np.maximum(total, 0)


def calinski_harabasz(cluster: Array, reference: Reference) -> float:
    """Spread between clusters over spread within, per degree of freedom; from 0, no upper end.

    0 for fewer than two clusters, or when each image is its own. Features as they are, Euclidean.

    Args:
        cluster: (N,) integers from 0.
        reference: of the same images.
    """
    codes, sizes = _codes(cluster)
    n, k = len(codes), len(sizes)
    if k < 2 or k == n:
        return WORST["calinski_harabasz"]
    means = np.zeros((k, len(reference.centre)))
    for part, x in reference.blocks():
        means += _sums(x - reference.centre, codes[part], k)
    means /= sizes[:, None]
    between = float((sizes * (means**2).sum(1)).sum())
    within = 0.0
    for part, x in reference.blocks():
        away = x - reference.centre - means[codes[part]]
        within += float(np.einsum("nd,nd->", away, away))
    if within <= _ROUNDING * (between + within):
        return 1.0  # scikit-learn's value when every cluster is a point
    return between * (n - k) / (within * (k - 1))


def neighbour_agreement(cluster: Array, reference: Reference) -> float:
    """Share of nearest neighbours in the image's own cluster, adjusted for chance; in [-1, 1].

    Adjusted as the Rand index is: 0 is the expectation over all permutations of the images
    among the clusters, 1 means that no neighbour is elsewhere. 0 when all are in one cluster.

    Args:
        cluster: (N,) integers from 0.
        reference: of the same images.
    """
    codes, sizes = _codes(cluster)
    n = len(codes)
    chance = float((sizes.astype(float) * (sizes - 1)).sum() / (n * (n - 1)))
    if chance == 1:
        return 0.0
    agree = float((codes[reference.neighbours] == codes[:, None]).mean())
    return max((agree - chance) / (1 - chance), -1.0)


def _within_reach(cluster: Array, reference: Reference) -> float:
    """`neighbour_agreement` that a perfect partition into small groups has in full.

    A cluster with fewer others than an image has neighbours cannot hold them all: so of each image
    only the nearest are asked, as many as its cluster has others. Where that is no limit, the value
    is that of `neighbour_agreement`.
    """
    codes, sizes = _codes(cluster)
    k = reference.neighbours.shape[1]
    asked = np.minimum(sizes[codes] - 1, k)
    if not asked.any():
        return 0.0
    alike = codes[reference.neighbours] == codes[:, None]
    agree = float((alike & (np.arange(k) < asked[:, None])).sum() / asked.sum())
    chance = float((asked * (sizes[codes] - 1)).sum() / (asked.sum() * (len(codes) - 1)))
    if chance == 1:
        return 0.0
    return max((agree - chance) / (1 - chance), -1.0)


def scan_consistency(probabilities: Array, reference: Reference) -> float:
    """How alike the predictions of neighbours are, beyond chance; in [-1, 1].

    Mean over images and their neighbours of the product of their probabilities (the likelihood in
    the loss of SCAN, Eq. 2, without the logarithm), minus that of two random images. 0 when all
    probabilities are the same, and in expectation when they are shuffled among the images.

    Args:
        probabilities: (N, C).
        reference: of the same images.
    """
    p = np.asarray(probabilities)
    alike = 0.0
    for column in reference.neighbours.T:  # one neighbour at a time keeps memory at N * C
        alike += float(np.einsum("nc,nc->n", p, p[column]).sum(dtype=np.float64))
    mean = p.mean(0, dtype=np.float64)
    return alike / reference.neighbours.size - float((mean**2).sum())


def generalisation(cluster: Array, reference: Reference) -> float | None:
    """Share of images whose cluster a linear classifier finds without having seen them, in [0, 1].

    The score by which TURTLE compares its runs (Gadetsky et al., ICML 2024, Sec. 4), there the
    accuracy of a logistic regression over ten folds. Here the classifier is least squares with a
    small ridge, which leaves out each image in turn in closed form; over runs on digits both rank
    alike (Spearman .98) at a hundredth of the time. 0 for fewer than two clusters; None for points
    of more than `reference.WIDEST` numbers, such as pixels, where it would take too long.

    Args:
        cluster: (N,) integers from 0.
        reference: of the same images.
    """
    if not reference.narrow:
        return None
    codes, sizes = _codes(cluster)
    if len(sizes) < 2:
        return WORST["generalisation"]
    sums = np.zeros((len(sizes), len(reference.centre)))
    for part, x in reference.blocks():
        sums += _sums(x - reference.centre, codes[part], len(sizes))
    weights = reference.ridge.inverse @ sums.T
    found = 0
    for part, x in reference.blocks():
        # What is said of an image without it is what is said with it, less what it says itself.
        scores = (x - reference.centre) @ weights + sizes / len(codes)
        everyone = np.arange(len(scores))
        own = scores[everyone, codes[part]] - reference.ridge.leverage[part]
        scores[everyone, codes[part]] = -np.inf
        found += int((own > scores.max(1)).sum())
    return found / len(codes)


def silhouette_umap(cluster: Array, reference: Reference) -> float | None:
    """Mean silhouette after UMAP in [-1, 1], with the Euclidean distance; see `Reference.embedded`.

    None where umap-learn is not installed; -1 for fewer than two clusters among the images that are
    embedded, or one for each image.

    Args:
        cluster: (N,) integers from 0.
        reference: of the same images.
    """
    if reference.embedded is None:
        return None
    codes = np.asarray(cluster)[reference.embedded.images]
    if not 1 < len(np.unique(codes)) < len(codes):
        return WORST["silhouette_umap"]
    from sklearn.metrics import silhouette_score

    return float(silhouette_score(reference.embedded.points, codes))


def balance(sizes: Array) -> float:
    """Entropy of the cluster sizes (C,) over log C, in [0, 1]; a constraint, not an objective.

    Nothing in it says that like images are together: a balanced random partition has 1.
    """
    return _entropy(sizes) / float(np.log(len(sizes))) if len(sizes) > 1 else 0.0


def _codes(cluster: Array) -> tuple[Array, Array]:
    """Clusters renumbered without the empty ones (N,), and their sizes."""
    _, codes, sizes = np.unique(cluster, return_inverse=True, return_counts=True)
    return codes, sizes


def _sums(x: Array, codes: Array, clusters: int) -> Array:
    """Sums (C, D) of the rows of each cluster."""
    from scipy.sparse import csr_array

    n = len(codes)
    members = csr_array((np.ones(n), codes, np.arange(n + 1)), shape=(n, clusters))
    sums: Array = np.asarray(members.T @ x)
    return sums


def _entropy(sizes: Array) -> float:
    """Entropy of shares proportional to `sizes`, nats."""
    shares = sizes[sizes > 0] / sizes.sum()
    return float(-(shares * np.log(shares)).sum())
