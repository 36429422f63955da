"""How a report prints numbers: names and units of metrics, times, counts."""

import math

from deep_clustering.platform.metrics.metric import PLAIN, Unit
from deep_clustering.platform.metrics.registry import METRICS


def base(metric: str) -> str:
    """The metric without the name of a head: "calibration_ece" is an "ece"."""
    if metric in METRICS:
        return metric
    ends = [name for name in METRICS if metric.endswith(f"_{name}")]
    return max(ends, key=len, default=metric)


def column(head: str | None, metric: str) -> str:
    """The column of a metric of a head; its own name where there are no heads."""
    return f"{head}_{metric}" if head else metric


def unit(metric: str) -> Unit:
    """How values of a metric are shown."""
    core = base(metric)
    return METRICS[core].unit if core in METRICS else PLAIN


def name(metric: str) -> str:
    """What a metric is called, with its head before it."""
    core = base(metric)
    title = METRICS[core].title if core in METRICS else core.replace("_", " ")
    front = metric.removesuffix(core).strip("_").replace("_", " ")
    return f"{front} {title}".strip()


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


def on_one_line(text: str) -> str:
    """A user's text for a terminal: characters that would move its cursor or more are escaped."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def duration(seconds: float) -> str:
    """A time for a sentence."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"
