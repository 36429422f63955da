"""What can be said about a partition without labels.

A criterion is only comparable between trials when all are scored in the same space: in each trial's
own embedding the silhouette can even run against accuracy (Wang & Ye, ACE, arXiv:2403.14830). So
all trials are scored in the features of their shared pretraining, prepared once as a `Reference`.

Every criterion has a partition that is good for it and for nothing else (a random partition with
certain probabilities has perfect confidence and perfect balance). `guard` names such partitions,
and under it each criterion takes its worst value: no search can win by collapsing.
"""

import numpy as np
from numpy.typing import ArrayLike

from deep_clustering.platform.metrics.arrays import Array
from deep_clustering.platform.metrics.metric import PERCENT, Metric, Unit
from deep_clustering.platform.metrics.partition import cluster_sizes, partition_flags

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
        objective=True,
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
        objective=True,
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
        objective=True,
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
        objective=True,
        needs_probabilities=True,
        short="consistency",
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


class Reference:
    """The space in which all partitions of a set of images are scored.

    Args:
        features: (N, D), N >= 2. Results have the precision of its type (float32 or float64).
        neighbours: (N, k) indices of each image's k nearest others.
    """

    def __init__(self, features: ArrayLike, neighbours: ArrayLike) -> None:
        x = np.asarray(features)
        if x.dtype != np.float64:
            x = x.astype(np.float32)
        self.neighbours = np.asarray(neighbours)
        if x.ndim != 2 or self.neighbours.ndim != 2 or len(x) != len(self.neighbours):
            raise ValueError(
                "features (N, D) and neighbours (N, k) must be two tables of equal length, "
                f"got {x.shape} and {self.neighbours.shape}"
            )
        if not np.isfinite(x).all():
            raise ValueError("the reference features contain NaN or infinity")
        if len(x) < 2:
            raise ValueError(f"the reference needs at least 2 images, got {len(x)}")
        # Features are kept once, as directions and lengths: all images of a data set can be large.
        self.norms = np.linalg.norm(x, axis=1)
        self.unit = x / np.where(self.norms == 0, 1, self.norms)[:, None]
        self.mean = x.mean(0, dtype=np.float64)
        squares = self.norms.astype(np.float64) ** 2
        self.spread = float(squares.sum() - len(x) * (self.mean**2).sum())

    def __len__(self) -> int:
        return len(self.unit)


def criteria(probabilities: ArrayLike, reference: Reference) -> dict[str, float | str | None]:
    """Every label-free criterion of one partition; higher is better for all.

    `silhouette`, `calinski_harabasz`, `neighbour_agreement`, `scan_consistency` and `balance` are
    those of the functions below; `confidence` is the mean of the largest probability (of a
    calibrated head it estimates the accuracy; it is the easiest to game).

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
    found = of_partition(p.argmax(1), reference, clusters=p.shape[1])
    if found["guarded"]:
        return {
            **found,
            "confidence": WORST["confidence"],
            "scan_consistency": WORST["scan_consistency"],
        }
    return {
        **found,
        "confidence": float(p.max(1).mean(dtype=np.float64)),
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
    found = np.asarray(cluster)
    sizes = np.bincount(found, minlength=clusters or 1)
    agreement = neighbour_agreement(found, reference)
    reason = _guard(sizes, agreement, fewest=FEWEST_SHARE * clusters if clusters else 0)
    none = {"confidence": None, "scan_consistency": None}
    if reason is not None:
        return {**WORST, **none, "guarded": 1.0, "criteria_guard": reason}
    return {
        "silhouette": silhouette(found, reference),
        "calinski_harabasz": calinski_harabasz(found, reference),
        "neighbour_agreement": agreement,
        **none,
        "balance": _balance(sizes),
        "guarded": 0.0,
        "criteria_guard": None,
    }


def guard(probabilities: ArrayLike, reference: Reference) -> str | None:
    """Why a partition must not win a search, or None.

    Returns:
        "collapsed": see `partition.flags`. "too few clusters used": the exponential of the entropy
        of the cluster sizes is below `FEWEST_SHARE` of C. "no better than random": the
        neighbour agreement is below `LEAST_AGREEMENT`.
    """
    p = np.asarray(probabilities)
    agreement = neighbour_agreement(p.argmax(1), reference)
    return _guard(cluster_sizes(p), agreement, fewest=FEWEST_SHARE * p.shape[1])


def _guard(sizes: Array, agreement: float, *, fewest: float) -> str | None:
    if "collapsed" in partition_flags(sizes):
        return "collapsed"
    if np.exp(_entropy(sizes)) < fewest:
        return "too few clusters used"
    if agreement < LEAST_AGREEMENT:
        return "no better than random"
    return None


def silhouette(cluster: Array, reference: Reference) -> float:
    """Mean silhouette with the cosine distance, in [-1, 1]; -1 for fewer than two clusters.

    Exact in N * C * D operations: the mean cosine distance to a cluster is one minus the product
    with the mean of its unit vectors, so that no distance between two images is ever computed.
    An image alone in its cluster counts 0, as in scikit-learn.

    Args:
        cluster: (N,) integers from 0.
        reference: of the same images.
    """
    codes, sizes = _codes(cluster)
    if len(sizes) < 2:
        return WORST["silhouette"]
    u = reference.unit
    distance = sizes - u @ _sums(u, codes, len(sizes)).T  # (N, C), summed over the members
    everyone = np.arange(len(u))
    itself = 1 - np.einsum("nd,nd->n", u, u)
    own = (distance[everyone, codes] - itself) / np.maximum(sizes[codes] - 1, 1)
    distance /= sizes
    distance[everyone, codes] = np.inf
    other = distance.min(1)
    larger = np.maximum(own, other)
    with np.errstate(invalid="ignore", divide="ignore"):
        value = np.where((sizes[codes] > 1) & (larger > 0), (other - own) / larger, 0)
    return float(value.mean(dtype=np.float64))


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
    sums = _sums(reference.unit, codes, k, reference.norms).astype(np.float64)
    between = float((sizes * ((sums / sizes[:, None] - reference.mean) ** 2).sum(1)).sum())
    within = reference.spread - between
    if within <= 1e-12 * reference.spread:
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


def balance(probabilities: ArrayLike) -> float:
    """Entropy of the cluster sizes over log C, in [0, 1]; a constraint, not an objective.

    Nothing in it says that like images are together: a balanced random partition has 1.

    Args:
        probabilities: (N, C).
    """
    return _balance(cluster_sizes(probabilities))


def _balance(sizes: Array) -> float:
    return _entropy(sizes) / float(np.log(len(sizes))) if len(sizes) > 1 else 0.0


def _codes(cluster: Array) -> tuple[Array, Array]:
    """Clusters renumbered without the empty ones (N,), and their sizes."""
    _, codes, sizes = np.unique(cluster, return_inverse=True, return_counts=True)
    return codes, sizes


def _sums(x: Array, codes: Array, clusters: int, weights: Array | None = None) -> Array:
    """Sums (C, D) of the rows of each cluster, weighted by `weights` (N,)."""
    from scipy.sparse import csr_array

    n = len(codes)
    weights = np.ones(n, x.dtype) if weights is None else weights
    members = csr_array((weights, codes, np.arange(n + 1)), shape=(n, clusters))
    sums: Array = np.asarray(members.T @ x)
    return sums


def _entropy(sizes: Array) -> float:
    """Entropy of shares proportional to `sizes`, nats."""
    shares = sizes[sizes > 0] / sizes.sum()
    return float(-(shares * np.log(shares)).sum())
