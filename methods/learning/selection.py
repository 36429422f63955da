"""Which samples of a batch to learn from: the rules and filters that CDC is compared with.

A rule is a module, so that what it remembers is in the checkpoint. It is called once per batch with
`(probabilities (B, C), indices (B,))` of the weak views and returns the mask (B,) of the selected
samples and a 0-d tensor, the mean confidence asked of a sample.

A filter adds samples to a mask. It is called with `(selected (B,), probabilities (B, C), features,
head)`: a function that returns the features (B, D) of the weak views, and the clustering head.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn


class Fixed(nn.Module):
    """Every sample whose confidence reaches one threshold (CDC, Table 2, type II)."""

    def __init__(self, threshold: float) -> None:
        super().__init__()
        self.threshold = threshold

    def forward(self, probabilities: Tensor, indices: Tensor) -> tuple[Tensor, Tensor]:
        confidence = probabilities.amax(1)
        return confidence >= self.threshold, confidence.new_full((), self.threshold)


class FlexMatch(nn.Module):
    """Curriculum thresholds of FlexMatch (Zhang et al., NeurIPS 2021, Eqs. 5, 7, 11 and 12).

    The threshold of a class falls with the number of training samples whose latest prediction above
    `threshold` was that class; at first, when there are none, everything is selected. The counts
    are those before the batch, as in the authors' code.
    """

    latest: Tensor

    def __init__(
        self, images: int, trained: Tensor, clusters: int, *, threshold: float, warmup: bool
    ) -> None:
        """Remembers `trained` (n,) of all `images`; `warmup` as in `flex_shares`."""
        super().__init__()
        self.threshold = threshold
        self.warmup = warmup
        self.clusters = clusters
        #: Class of the latest confident prediction; C stands for none so far, C + 1 for an image
        #: that is not trained on.
        self.register_buffer("latest", torch.full((images,), clusters + 1))
        self.latest[trained] = clusters

    def forward(self, probabilities: Tensor, indices: Tensor) -> tuple[Tensor, Tensor]:
        confidence, labels = probabilities.max(1)
        counts = torch.zeros(self.clusters + 2, device=labels.device)
        counts.index_add_(0, self.latest, torch.ones(len(self.latest), device=labels.device))
        shares = flex_shares(counts[:-2], counts[-2], warmup=self.warmup)
        asked = self.threshold * (shares / (2 - shares))[labels]
        confident = confidence >= self.threshold
        self.latest[indices] = torch.where(confident, labels, self.latest[indices])
        return confidence >= asked, asked.mean()


def flex_shares(counts: Tensor, unused: Tensor, *, warmup: bool) -> Tensor:
    """How well each class is learnt, beta (C,) in [0, 1].

    Args:
        counts: (C,) samples remembered for each class.
        unused: 0-d, samples without a confident prediction so far.
        warmup: divide by the larger of the largest count and `unused` (Eq. 11), not by the largest
            count alone (Eq. 6).
    """
    largest = counts.amax()
    if warmup:
        largest = torch.maximum(largest, unused)
    return counts / largest.clamp_min(1)


class FreeMatch(nn.Module):
    """Self-adaptive thresholds of FreeMatch (Wang et al., ICLR 2023, Eqs. 5, 8 and 9).

    A global threshold, the running mean of the confidence, is scaled for each class by its running
    mean probability over the largest one. Both start at 1 / C and follow the batch before it is
    judged.
    """

    confidence: Tensor
    probabilities: Tensor

    def __init__(self, clusters: int, *, momentum: float) -> None:
        super().__init__()
        self.momentum = momentum
        self.register_buffer("confidence", torch.tensor(1 / clusters))
        self.register_buffer("probabilities", torch.full((clusters,), 1 / clusters))

    def forward(self, probabilities: Tensor, indices: Tensor) -> tuple[Tensor, Tensor]:
        confidence, labels = probabilities.max(1)
        self.confidence.lerp_(confidence.mean(), 1 - self.momentum)
        self.probabilities.lerp_(probabilities.mean(0), 1 - self.momentum)
        shares = self.probabilities / self.probabilities.amax()
        asked = (self.confidence * shares)[labels]
        return confidence >= asked, asked.mean()


class Prototypes(nn.Module):
    """Prototype proximity filter (Tang & Jia, 2022; CDC, App. C.1.1, Table 8: "PPF").

    Adds moderately confident samples near the running centre of their class. The distance asked is
    a running mean over batches of the smallest score 1 / (1 + distance squared) of the selected.
    """

    centres: Tensor
    seen: Tensor
    score: Tensor
    started: Tensor

    def __init__(self, clusters: int, dimension: int, *, floor: float, momentum: float) -> None:
        super().__init__()
        self.floor = floor
        self.momentum = momentum
        self.register_buffer("centres", torch.zeros(clusters, dimension))
        self.register_buffer("seen", torch.zeros(clusters, dtype=torch.bool))
        self.register_buffer("score", torch.ones(()))
        self.register_buffer("started", torch.zeros((), dtype=torch.bool))

    def forward(
        self,
        selected: Tensor,
        probabilities: Tensor,
        features: Callable[[], Tensor],
        head: nn.Module,
    ) -> Tensor:
        confidence, labels = probabilities.max(1)
        points = features()
        sums, counts = class_sums(points, labels, selected, len(self.centres))
        present = counts > 0
        means = sums / counts.clamp_min(1)[:, None]
        _follow(self.centres, means, present, self.seen, self.momentum)
        scores = 1 / (1 + (points - self.centres[labels]).square().sum(1))
        smallest = torch.where(selected, scores, torch.inf).amin()
        _follow(self.score, smallest, selected.any(), self.started, self.momentum)
        near = (scores >= self.score) & self.seen[labels] & self.started
        return selected | ((confidence > self.floor) & near)


class Gradients(nn.Module):
    """Gradient synchronisation filter (Tang & Jia, 2022; CDC, App. C.1.1, Table 8: "GSF").

    Adds moderately confident samples whose unit gradient of the cross-entropy with respect to the
    feature points the way of the running sum of those of the selected samples of their class.
    """

    directions: Tensor
    seen: Tensor

    def __init__(
        self, clusters: int, dimension: int, *, floor: float, momentum: float, score: float
    ) -> None:
        super().__init__()
        self.floor = floor
        self.momentum = momentum
        self.asked = score
        self.register_buffer("directions", torch.zeros(clusters, dimension))
        self.register_buffer("seen", torch.zeros(clusters, dtype=torch.bool))

    def forward(
        self,
        selected: Tensor,
        probabilities: Tensor,
        features: Callable[[], Tensor],
        head: nn.Module,
    ) -> Tensor:
        confidence, labels = probabilities.max(1)
        gradients = nn.functional.normalize(feature_gradients(head, features(), labels), dim=1)
        sums, counts = class_sums(gradients, labels, selected, len(self.directions))
        _follow(self.directions, sums, counts > 0, self.seen, self.momentum)
        cosines = nn.functional.cosine_similarity(gradients, self.directions[labels], dim=1)
        alike = ((1 + cosines) / 2 >= self.asked) & self.seen[labels]
        return selected | ((confidence > self.floor) & alike)


def class_sums(
    values: Tensor, labels: Tensor, selected: Tensor, clusters: int
) -> tuple[Tensor, Tensor]:
    """Sums (C, D) of the selected values (B, D) of each class, and their numbers (C,)."""
    member = (labels[:, None] == torch.arange(clusters, device=labels.device)) & selected[:, None]
    weights = member.to(values.dtype)
    return weights.T @ values, weights.sum(0)


def feature_gradients(head: nn.Module, features: Tensor, labels: Tensor) -> Tensor:
    """Gradient (B, D) of each sample's cross-entropy with respect to its own feature.

    The head runs with its running statistics: batch statistics would mix the samples, and count a
    batch more.
    """
    training = head.training
    head.eval()
    with torch.enable_grad():
        inputs = features.detach().requires_grad_()
        loss = nn.functional.cross_entropy(head(inputs), labels, reduction="sum")
        (gradient,) = torch.autograd.grad(loss, inputs)
    head.train(training)
    return gradient


def _follow(average: Tensor, value: Tensor, present: Tensor, seen: Tensor, momentum: float) -> None:
    """Running mean, entry by entry: the first value as it is, none where none is present."""
    more = (1,) * (average.dim() - present.dim())
    now, before = present.view(present.shape + more), seen.view(seen.shape + more)
    moved = torch.where(before, momentum * average + (1 - momentum) * value, value)
    average.copy_(torch.where(now, moved, average))
    seen.logical_or_(present)
