"""How a report prints numbers: units as the papers have them, and what the metrics mean."""

import math
from dataclasses import dataclass

from deep_clustering.ablations._published import PERCENT


@dataclass(frozen=True, kw_only=True)
class Unit:
    """What values of a metric are multiplied with, and the decimals that are shown."""

    factor: float
    decimals: int
    suffix: str  # of its name in a heading, such as " %"


_PERCENT = Unit(factor=100, decimals=1, suffix=" %")
_UNITS = {
    **dict.fromkeys(PERCENT, _PERCENT),
    **dict.fromkeys(
        ("mean_confidence", "ece_floor", "ece_equal_mass", "encoder_kmeans_acc", "selected"),
        _PERCENT,
    ),
    **dict.fromkeys(("largest_share", "confidence", "risk", "coverage"), _PERCENT),
    "aurc": Unit(factor=1000, decimals=1, suffix=" ×10³"),
    "hours": Unit(factor=1, decimals=2, suffix=" h"),
    "params_m": Unit(factor=1, decimals=2, suffix=" million"),
    "memory_mb": Unit(factor=1, decimals=0, suffix=" MiB"),
    "calinski_harabasz": Unit(factor=1, decimals=1, suffix=""),
}
_PLAIN = Unit(factor=1, decimals=3, suffix="")

_NAMES = {
    **{m: m.upper() for m in ("acc", "nmi", "ari", "ece", "nll", "auroc", "aurc", "fpr95")},
    "ece_floor": "ECE floor",
    "ece_equal_mass": "ECE, equal mass",
    "brier": "Brier",
    "mean_confidence": "mean confidence",
    "encoder_kmeans_acc": "k-means ACC",
    "hours": "time",
    "params_m": "parameters",
    "memory_mb": "memory",
    "selected_pct": "selected",
}

#: Metric -> what it is, for the glossary.
MEANINGS = {
    "acc": "Accuracy: share of images whose cluster is matched with their class. Clusters are "
    "matched one to one with classes, so that most images agree (Hungarian method).",
    "nmi": "Normalised mutual information of clusters and classes, arithmetic mean.",
    "ari": "Adjusted Rand index of clusters and classes; 0 is chance.",
    "ece": "Expected calibration error: mean distance of confidence and accuracy over 15 bins of "
    "equal width. Lower is better.",
    "ece_floor": "The ECE that a perfectly calibrated head shows with these confidences. An ECE at "
    "or below it cannot be told from perfect calibration.",
    "ece_equal_mass": "The same with bins of equal count.",
    "brier": "Squared error of the probabilities, summed over classes; 0 to 2, lower is better.",
    "nll": "Negative log-likelihood of the matched classes, in nats. Lower is better.",
    "auroc": "How well confidence ranks right before wrong images: area under the ROC curve. 50 is "
    "chance. For out-of-distribution sets: own images before others.",
    "aurc": "Area under the risk-coverage curve, times 1000: mean share of errors among the most "
    "confident images. Lower is better.",
    "fpr95": "Share of wrong images that are kept when 95 % of the right ones are. Lower is "
    "better. For out-of-distribution sets: share of the others that are kept.",
    "mean_confidence": "Mean of the largest probability.",
    "encoder_kmeans_acc": "Accuracy of k-means on the features before training.",
    "selected_pct": "Share of images that are used as pseudo-labels in the last epoch.",
    "hours": "Time of training and evaluation, without pretraining.",
    "params_m": "Weights of the trained model.",
    "memory_mb": "Largest memory use of the device.",
}


def base(metric: str) -> str:
    """The metric without the name of a head: "calibration_ece" is an "ece"."""
    known = {*_UNITS, *_NAMES, *MEANINGS}
    if metric in known:
        return metric
    ends = [name for name in known if metric.endswith(f"_{name}")]
    return max(ends, key=len, default=metric)


def unit(metric: str) -> Unit:
    """How values of a metric are shown."""
    return _UNITS.get(base(metric), _PLAIN)


def name(metric: str) -> str:
    """What a metric is called, with its head before it."""
    core = base(metric)
    front = metric.removesuffix(core).strip("_").replace("_", " ")
    return f"{front} {_NAMES.get(core, core.replace('_', ' '))}".strip()


def heading(metric: str) -> str:
    """The name with its unit."""
    return name(metric) + unit(metric).suffix


def value(metric: str, given: float | None, *, signed: bool = False) -> str:
    """A value as the papers print it; a dash where there is none."""
    if given is None or not math.isfinite(given):
        return "–"
    u = unit(metric)
    text = f"{given * u.factor:{'+' if signed else ''}.{u.decimals}f}"
    return text.replace("-", "−")


def cell(metric: str, mean: float, low: float | None, high: float | None, n: int) -> str:
    """Mean ± half-width of its interval (n); no interval where there is none."""
    if low is None or high is None:
        return f"{value(metric, mean)} ({n})"
    return f"{value(metric, mean)} ± {value(metric, (high - low) / 2)} ({n})"


def p_value(p: float | None) -> str:
    """A p value with two digits."""
    if p is None:
        return "–"
    return "< .001" if p < 0.001 else f"{p:.2g}"


def plural(count: int, word: str, words: str | None = None) -> str:
    """ "1 run", "2 runs"."""
    return f"{count:,} {word if count == 1 else words or word + 's'}"


def duration(seconds: float) -> str:
    """A time for a sentence."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"
