"""The rule by which finished runs decide about a published claim.

A claim is a published difference of an arm (a row of an ablation) from its baseline, in one metric
on one dataset. "Shown above x" is said when the e-value against "the difference is at most x"
reaches K / alpha, K being the testable claims of the suite (`evidence.py`): so all that is shown in
a suite is true at once with a probability of 95 %, however often one looked and whatever was added
after looking. The difference is taken in the claimed direction; the first line that holds is the
verdict.

A higher or lower value is claimed:

- NOT TESTABLE: n < 2, failed runs, another protocol, a doubted published value, a margin above half
  the published difference, or a published difference of the other sign.
- REPLICATED: shown above 0, and within the margin of the published difference. The margin is half
  of that, unless the suite's is larger: ours is between a half and one and a half times as large.
- SMALLER: shown above 0, and below the margin.
- DIRECTION ONLY: shown above 0; its size is not settled.
- NOT REPLICATED: shown below the margin, or below 0.
- INCONCLUSIVE: anything else.

No difference is claimed ("equal"):

- NOT TESTABLE: as above, or a published difference above the margin.
- REPLICATED: shown above -margin and below the margin.
- NOT REPLICATED: shown above the margin or below -margin.
- INCONCLUSIVE: anything else.

The published difference has an error of its own. Where that is known, it takes half of the error
probability: the published one may lie anywhere in its interval.

"Not significantly different from the paper" is therefore never a success.
"""

import math
from typing import Literal

import numpy as np
from scipy import special

from deep_clustering.ablations._suite import Direction
from deep_clustering.platform.suites.evidence import Array, Sample

Name = Literal[
    "REPLICATED", "SMALLER", "DIRECTION ONLY", "NOT REPLICATED", "INCONCLUSIVE", "NOT TESTABLE"
]

#: What runs can decide, in the order of the codes that `decide` returns.
DECISIONS: tuple[Name, ...] = (
    "REPLICATED",
    "SMALLER",
    "DIRECTION ONLY",
    "NOT REPLICATED",
    "INCONCLUSIVE",
)


def decide(
    sample: Sample,
    *,
    direction: Direction,
    published: float | None,
    published_error: float,
    margin: float,
    claims: int,
    alpha: float,
) -> Array:
    """What the rule says of testable claims, as indices into `DECISIONS`.

    Args:
        sample: of the differences, any common shape.
        direction, published, published_error, margin: as in `verdicts.Question`.
        claims: testable claims of the suite.
        alpha: probability that anything false is shown in the suite.
    """
    threshold = math.log(claims / alpha)
    if direction == "equal":
        inside = (sample.above(-margin) >= threshold) & (sample.below(margin) >= threshold)
        outside = (sample.above(margin) >= threshold) | (sample.below(-margin) >= threshold)
        return np.select([inside, outside], [0, 3], 4)
    sense = sign(direction)
    shown, hidden = (sample.above, sample.below) if sense > 0 else (sample.below, sample.above)
    real = shown(0.0) >= threshold
    small = hidden(sense * margin) >= threshold
    same = np.zeros_like(real)
    if published is not None:
        size, share = abs(published), alpha / claims
        slack = 0.0
        if published_error > 0:  # half of the error probability is the published difference's
            slack = float(special.ndtri(1 - share / 2)) * published_error
            share /= 2
        ends = (size - margin + slack, size + margin - slack)
        same = (shown(sense * ends[0]) >= -math.log(share)) & (
            hidden(sense * ends[1]) >= -math.log(share)
        )
    return np.select([real & same, real & small, real, small], [0, 1, 2, 3], 4)


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
