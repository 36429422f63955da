"""MixMatch: sharpened guesses, mixed images, and the two losses of labelled and unlabelled ones.

Berthelot et al., "MixMatch: a holistic approach to semi-supervised learning", NeurIPS 2019. Numbers
of equations without another name are those of RUC, which learns from its clean set so.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from torch import Tensor

Distance = Literal["entry", "row"]


def soft_cross_entropy(targets: Tensor, logits: Tensor) -> Tensor:
    """Eq. 6 without its mean: the cross-entropy (n,) of soft targets (n, K) and logits (n, K)."""
    return -(targets * logits.log_softmax(1)).sum(1)


def squared_error(targets: Tensor, logits: Tensor, *, distance: Distance) -> Tensor:
    """Eq. 7 without its mean: distance (n,) of the predictions of logits (n, K) from targets.

    Args:
        targets: (n, K), rows sum to 1.
        distance: "row" is the squared norm, as printed; "entry" its K-th part, as in the release
            and in MixMatch, whose weight lambda_U this is.
    """
    squares = (logits.softmax(1) - targets).square()
    return squares.sum(1) if distance == "row" else squares.mean(1)


def smoothed_cross_entropy(labels: Tensor, logits: Tensor, *, smoothing: float) -> Tensor:
    """Eq. 8 without its mean: (n,), with 1 - smoothing on the label and the rest spread evenly.

    Args:
        labels: (n,) int64.
        logits: (n, K) of strong views.
        smoothing: epsilon, from 0 to below 1.
    """
    log = logits.log_softmax(1)
    own = log.gather(1, labels[:, None])[:, 0]
    others = (log.sum(1) - own) / (logits.shape[1] - 1)
    return -(1 - smoothing) * own - smoothing * others


def sharpen(probabilities: Tensor, temperature: float) -> Tensor:
    """Rows (n, K) to the power of 1 / T, summing to 1 again: Eq. 5 of MixMatch."""
    powers = probabilities.pow(1 / temperature)
    return powers / powers.sum(1, keepdim=True)


def mixed(values: Tensor, partners: Tensor, share: float) -> Tensor:
    """MixMatch's convex combination of images or targets: `share` of the first."""
    return share * values + (1 - share) * partners
