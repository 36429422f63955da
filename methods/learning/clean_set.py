"""Which pseudo-labels can be trusted: RUC's three strategies, and DivideMix's.

Park et al., "Improving unsupervised image clustering with robust learning", CVPR 2021, Sec. 3.1.
All functions are pure ones of soft predictions, pseudo-labels, embeddings and losses; `Samples` is
what a training remembers of each image.
"""

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from deep_clustering.methods.clustering.kmeans import neighbours

#: Rows whose neighbours' similarities are summed at a time.
_BLOCK = 256
#: EM of the two-component mixture, as DivideMix runs it: most rounds, smallest gain of the mean
#: log-likelihood, added to each variance.
_ROUNDS, _GAIN, _FLOOR = 10, 1e-2, 5e-4


def confident(probabilities: Tensor, threshold: float, *, strict: bool = False) -> Tensor:
    """Confidence strategy: whose largest probability reaches the threshold.

    Args:
        probabilities: (n, K) float32.
        threshold: tau1; at least that, or above it where `strict` (Sec. 3.1; the release does not).

    Returns:
        bool (n,).
    """
    largest = probabilities.amax(1)
    return largest > threshold if strict else largest >= threshold


def threshold_of_share(probabilities: Tensor, share: float) -> float:
    """The threshold that the most confident share of the rows reaches, ties with the last included.

    Args:
        probabilities: (n, K) float32.
        share: above 0, at most 1; at least one row is meant.
    """
    count = min(len(probabilities), max(1, round(share * len(probabilities))))
    return float(probabilities.amax(1).topk(count).values[-1])


def agreeing(features: Tensor, labels: Tensor, k: int) -> Tensor:
    """Metric strategy: whose label is that of most of its `k` nearest samples, itself included.

    Similarity is the cosine. Every neighbour has one vote; ties go to the label with the larger sum
    of similarities, then to the smaller label.

    Args:
        features: (n, D), finite.
        labels: (n,) int64, from 0.
        k: at least 1; more than n are n.

    Returns:
        bool (n,).
    """
    n = len(features)
    unit = F.normalize(features.float(), dim=1)
    own = torch.arange(n, device=features.device)[:, None]
    k = min(k, n)
    near = own if k == 1 else torch.cat([own, neighbours(unit, k - 1)], 1)
    width = int(labels.max()) + 1
    agrees = torch.empty(n, dtype=torch.bool, device=features.device)
    for rows in torch.arange(n, device=features.device).split(_BLOCK):
        found = labels[near[rows]]
        similarity = (unit[rows][:, None] * unit[near[rows]]).sum(2).double()
        zeros = torch.zeros(len(rows), width, dtype=torch.float64, device=features.device)
        votes = zeros.scatter_add(1, found, torch.ones_like(similarity))
        sums = zeros.scatter_add(1, found, similarity)
        most = votes == votes.amax(1, keepdim=True)
        winner = torch.where(most, sums, -math.inf).argmax(1)
        agrees[rows] = winner == labels[rows]
    return agrees


def with_fewest(clean: Tensor, confidence: Tensor, labels: Tensor, fewest: int) -> Tensor:
    """A clean set with at least so many members of each cluster, the most confident ones.

    Args:
        clean: bool (n,).
        confidence: (n,).
        labels: (n,) int64, from 0.
        fewest: of each cluster, as far as it has members; 0 changes nothing.

    Returns:
        bool (n,), True wherever `clean` is.
    """
    clean = clean.clone()
    for label in labels.unique().tolist() if fewest else []:
        members = (labels == label).nonzero()[:, 0]
        if int(clean[members].sum()) < fewest:
            order = confidence[members].argsort(descending=True, stable=True)
            clean[members[order[:fewest]]] = True
    return clean


def small_loss(losses: np.ndarray) -> np.ndarray:
    """Probability (n,) that each loss belongs to the lower of two normal distributions (DivideMix).

    The losses are brought to [0, 1] first. All are 1 where they are the same.
    """
    low, high = float(losses.min()), float(losses.max())
    if not high > low:
        return np.ones(len(losses))
    x = (losses.astype(np.float64) - low) / (high - low)
    lower = x < x.mean()
    responsible = np.stack([lower, ~lower], 1).astype(np.float64)
    before = -np.inf
    for _ in range(_ROUNDS):
        weight = responsible.sum(0).clip(1e-12)
        mean = (responsible * x[:, None]).sum(0) / weight
        variance = (responsible * (x[:, None] - mean) ** 2).sum(0) / weight + _FLOOR
        joint = (
            np.log(weight / len(x))
            - 0.5 * np.log(2 * np.pi * variance)
            - 0.5 * (x[:, None] - mean) ** 2 / variance
        )
        total = np.logaddexp(joint[:, 0], joint[:, 1])
        responsible = np.exp(joint - total[:, None])
        if total.mean() - before < _GAIN:
            break
        before = total.mean()
    found: np.ndarray = responsible[:, int(mean.argmin())]
    return found


def normalised(recorded: Tensor) -> Tensor:
    """Confidences (n,) brought to 0 to 1 by the smallest and the largest of them (Sec. 3.2).

    What was not recorded is negative, takes no part and has 0; where all are alike all have 0.
    """
    seen = recorded >= 0
    low = torch.where(seen, recorded, math.inf).amin()
    high = torch.where(seen, recorded, -math.inf).amax()
    there = seen & (high > low)
    return torch.where(there, (recorded - low) / (high - low).clamp_min(1e-30), 0.0)


class Samples(nn.Module):
    """What is known of each image: shared by both networks.

    Attributes:
        initial: (N,) int32 the base's label, -1 for images that are not trained on.
        labels: (N,) int64 the label now.
        entered: (N,) int32 epoch in which it became clean, 0 from the beginning, -1 not yet.
        recorded: (N,) confidences of the pass so far, -1 before an image's turn.
        weight: (N,) of the counter network's prediction in Eq. 9.
    """

    initial: Tensor
    labels: Tensor
    entered: Tensor
    recorded: Tensor
    weight: Tensor

    def __init__(self, count: int) -> None:
        super().__init__()
        self.register_buffer("initial", torch.full((count,), -1, dtype=torch.int32))
        self.register_buffer("labels", torch.zeros(count, dtype=torch.int64))
        self.register_buffer("entered", torch.full((count,), -1, dtype=torch.int32))
        self.register_buffer("recorded", torch.full((count,), -1.0, dtype=torch.float32))
        self.register_buffer("weight", torch.zeros(count, dtype=torch.float32))


def halves(entered: Tensor, index: Tensor, size: int, random: np.random.Generator) -> Tensor:
    """A batch of as many clean as unclean images, the clean ones first (RUC, Algorithm 1).

    Where there are fewer of one kind than half of the batch, all of them are in it and the other
    kind fills it up.

    Args:
        entered: (N,) epoch in which an image became clean, negative for the others.
        index: (n,) the images trained on, at least `size`.
        size: of the batch.
        random: draws without replacement.

    Returns:
        (size,) int64, on the device of `entered`.
    """
    known = index.cpu()
    clean = (entered.cpu()[known] >= 0).numpy()
    kinds = [known.numpy()[clean], known.numpy()[~clean]]
    first = min(len(kinds[0]), max(size // 2, size - len(kinds[1])))
    drawn = [
        random.choice(kind, count, replace=False)
        for kind, count in zip(kinds, (first, size - first), strict=True)
    ]
    return torch.from_numpy(np.concatenate(drawn)).to(entered.device)
