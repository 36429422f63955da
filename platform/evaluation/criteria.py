"""What can be said about a partition without labels, and everything a search can optimise.

A criterion is only comparable between trials when all are scored in the same space: in each trial's
own embedding the silhouette can even run against accuracy (Wang & Ye, ACE, arXiv:2403.14830). So
all trials are scored in the features of their shared pretraining, prepared once as a `Reference`.

Every criterion has a partition that is good for it and for nothing else (a random partition with
certain probabilities has perfect confidence and perfect balance). `guard` names such partitions,
and under it each criterion takes its worst value: no search can win by collapsing.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from deep_clustering.platform.errors import InputError, nearest
from deep_clustering.platform.evaluation.metrics import Array, cluster_sizes, partition_flags

#: The value of each criterion under the guard: the smallest that it can take.
FLOOR: dict[str, float] = {
    "silhouette": -1.0,
    "calinski_harabasz": 0.0,
    "neighbour_agreement": -1.0,
    "confidence": 0.0,
    "scan_consistency": -1.0,
    "balance": 0.0,
}

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
        then every value is the one in `FLOOR`, else 0.
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
            "confidence": FLOOR["confidence"],
            "scan_consistency": FLOOR["scan_consistency"],
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
        return {**FLOOR, **none, "guarded": 1.0, "criteria_guard": reason}
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
        "collapsed": see `metrics.flags`. "too few clusters used": the exponential of the entropy
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
        return FLOOR["silhouette"]
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
        return FLOOR["calinski_harabasz"]
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


@dataclass(frozen=True, kw_only=True)
class Objective:
    """Something a search can optimise.

    Attributes:
        name: as in `--objective` and in the column of the results.
        direction: "max" or "min".
        needs_labels: whether a search for it has seen the labels.
        worst: stands for the value of a trial that has none: diverged, or undefined.
        summary: one line.
    """

    name: str
    direction: str
    needs_labels: bool
    worst: float
    summary: str


def _objectives() -> dict[str, Objective]:
    rows = (
        ("acc", "max", True, 0.0, "accuracy after one-to-one matching"),
        ("nmi", "max", True, 0.0, "normalised mutual information, arithmetic mean"),
        ("ari", "max", True, -0.5, "adjusted Rand index"),
        ("ece", "min", True, 1.0, "expected calibration error, 15 bins of equal width"),
        ("nll", "min", True, 27.7, "negative log-likelihood of the matched labels, nats"),
        ("brier", "min", True, 2.0, "squared error of the probabilities, summed over classes"),
        ("auroc", "max", True, 0.0, "right told from wrong by confidence: area under the ROC"),
        ("aurc", "min", True, 1.0, "area under the risk-coverage curve"),
        ("fpr95", "min", True, 1.0, "wrong images kept when 95 % of the right ones are"),
        ("silhouette", "max", False, None, "cosine silhouette in the pretrained features"),
        ("calinski_harabasz", "max", False, None, "spread between over spread within clusters"),
        ("neighbour_agreement", "max", False, None, "neighbours in one cluster, beyond chance"),
        ("scan_consistency", "max", False, None, "neighbours predicted alike, beyond chance"),
        ("confidence", "max", False, None, "mean confidence; easy to game, even when guarded"),
    )
    return {
        name: Objective(
            name=name,
            direction=direction,
            needs_labels=needs,
            worst=FLOOR[name] if worst is None else worst,
            summary=summary,
        )
        for name, direction, needs, worst, summary in rows
    }


#: Everything `--objective` knows, by name.
OBJECTIVES: dict[str, Objective] = _objectives()

#: What `--objective label-free` stands for: the criterion that followed NMI best over settings of
#: two deep clustering methods when scored in shared embeddings (ACE, Tables 1 and 2).
LABEL_FREE = "silhouette"

#: Without `--objective`. Needs no labels, so that the plain command never selects with them.
DEFAULT_OBJECTIVE = LABEL_FREE


def parse_objective(text: str, *, labelled: bool = True) -> tuple[Objective, ...]:
    """The objectives of `--objective`, several separated by commas.

    Args:
        text: such as "acc,ece"; "label-free" stands for `LABEL_FREE`.
        labelled: whether the dataset has labels.

    Raises:
        InputError: an unknown name, one given twice, none at all, or a label metric without labels.
    """
    names = [name.strip() for name in text.split(",") if name.strip()]
    names = [LABEL_FREE if name == "label-free" else name for name in names]
    if not names:
        raise InputError(f"--objective: needs a name. Known: {', '.join(OBJECTIVES)}.")
    for name in names:
        if name == "balance":
            raise InputError(
                "balance is reported and guarded, but is no objective: a random partition is "
                f"perfectly balanced. Label-free objectives: {', '.join(_free())}."
            )
        if name not in OBJECTIVES:
            known = (*OBJECTIVES, "label-free")
            raise InputError(
                f"there is no objective '{name}'.{nearest(name, known)} Known: {', '.join(known)}."
            )
        if names.count(name) > 1:
            raise InputError(f"--objective: '{name}' is given twice; name each objective once.")
    found = tuple(OBJECTIVES[name] for name in names)
    if not labelled:
        refuse_labels(found)
    return found


def refuse_labels(objectives: Iterable[Objective]) -> None:
    """For a dataset without labels.

    Raises:
        InputError: names the objectives that need labels, and those that do not.
    """
    asking = [o.name for o in objectives if o.needs_labels]
    if asking:
        raise InputError(
            f"the objective {', '.join(asking)} needs labels, and the dataset has none; "
            f"without labels choose from {', '.join(_free())}."
        )


def _free() -> list[str]:
    return [o.name for o in OBJECTIVES.values() if not o.needs_labels]


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
