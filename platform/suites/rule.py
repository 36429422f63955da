"""The rule by which finished runs decide about a published claim.

A claim is a published difference of an arm (a row of an ablation) from its baseline, in one metric
on one dataset. "Significant" is said of the two-sided t test of the difference, paired where the
runs are, at alpha after Holm's correction over all testable claims of the same metric. "Within the
margin of x" is said when the interval of level 1 - 2 alpha (90 %) lies inside x +- margin, which is
two one-sided t tests (TOST) at alpha. The first line that holds is the verdict.

A higher or lower value is claimed:

- NOT TESTABLE: n < 2, failed runs, another protocol, a margin above half the published difference,
  or a published difference of the other sign.
- REPLICATED: significant as claimed, and within the margin of the published difference.
- DIRECTION ONLY: significant as claimed.
- NOT REPLICATED: significant in the other direction, or within the margin of 0.
- INCONCLUSIVE: anything else.

No difference is claimed ("equal"):

- NOT TESTABLE: n < 2, failed runs, another protocol, or a published difference above the margin.
- REPLICATED: within the margin of 0. Several such claims in one metric are corrected among
  themselves: the p values of their TOST go through Holm as well.
- NOT REPLICATED: significant, and the 90 % interval lies wholly outside +- margin. A difference
  that is significant but may still be smaller than the margin does not contradict the claim.
- INCONCLUSIVE: anything else.

"Not significantly different from the paper" is therefore never a success.
"""

from typing import Literal

import numpy as np

from deep_clustering.ablations._suite import Direction
from deep_clustering.platform.suites.differences import Array
from deep_clustering.platform.suites.significance import tail, tost

Name = Literal["REPLICATED", "DIRECTION ONLY", "NOT REPLICATED", "INCONCLUSIVE", "NOT TESTABLE"]

#: What runs can decide, in the order of the codes that `decide` returns.
DECISIONS: tuple[Name, ...] = ("REPLICATED", "DIRECTION ONLY", "NOT REPLICATED", "INCONCLUSIVE")


def decide(
    delta: Array,
    error: Array,
    freedom: Array,
    p_difference: Array,
    p_equal: Array,
    *,
    direction: Direction,
    published: float | None,
    published_error: float,
    margin: float,
    alpha: float,
) -> Array:
    """What the rule says of testable claims, as indices into `DECISIONS`.

    Args:
        delta, error, freedom: of the differences, any common shape.
        p_difference: two-sided p of no difference, after correction.
        p_equal: TOST p of a difference of at least the margin, after correction; "equal" reads it.
    """
    significant = p_difference <= alpha
    if direction == "equal":
        beyond = tail(np.abs(delta) - margin, error, freedom) <= alpha
        return np.select([p_equal <= alpha, significant & beyond], [0, 2], 3)
    claimed = significant & (delta * sign(direction) > 0)
    nothing = tost(delta, error, freedom, margin) <= alpha
    if published is None:
        same = np.zeros_like(claimed)
    else:
        # The paper's error counts as known: it adds variance, and freedom (Satterthwaite).
        total = np.hypot(error, published_error)
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            wider = np.where(error > 0, freedom * (total / error) ** 4, np.inf)
        same = tost(delta - published, total, wider, margin) <= alpha
    return np.select([claimed & same, claimed, significant | nothing], [0, 1, 2], 3)


def senseless(direction: Direction, published: float, margin: float) -> str | None:
    """Why no number of runs can test a published difference with this margin, or None."""
    if direction == "equal":
        if abs(published) > margin * (1 + 1e-9):
            return (
                f"no difference is claimed, but the published one, {published:+.3g}, "
                f"is larger than the margin of {margin:.3g}"
            )
        return None
    if published * sign(direction) < 0:
        return f"a {direction} value is claimed, but the published difference is {published:+.3g}"
    if margin > abs(published) / 2 * (1 + 1e-9):  # published differences carry rounding errors
        return (
            f"effect smaller than the margin can tell: the margin of {margin:.3g} is more than "
            f"half the published difference of {published:+.3g}"
        )
    return None


def sign(direction: Direction) -> int:
    return -1 if direction == "lower" else 1
