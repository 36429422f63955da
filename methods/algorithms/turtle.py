"""TURTLE at work; Eq. and Sec. are those of the paper that `methods.turtle` cites."""

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from deep_clustering.methods._method import Fitted
from deep_clustering.methods.clustering.points import prepared, standardised, stopwatch
from deep_clustering.methods.compute.random import generator
from deep_clustering.methods.turtle import TurtleConfig


def disagreement(scores: Tensor, labels: Tensor) -> Tensor:
    """Mean cross-entropy of a classifier's scores (n, K) against labels (n, K)."""
    return -(labels * scores.log_softmax(1)).sum(1).mean()


def mean_entropy(labels: Tensor) -> Tensor:
    """Entropy of the mean of labels (n, K), nats: what keeps clusters from being empty; Eq. 12."""
    return torch.special.entr(labels.mean(0)).sum()


def scores(columns: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Of a linear map (K, d) with biases (K,) for points in columns (d, n): (K, n).

    With few clusters, a product of wide matrices takes a fraction of the time of one of tall ones.
    """
    return torch.addmm(bias[:, None], weight, columns)


class Labelling:
    """The labelling of Eq. 9: softmax of a linear map whose rows have a length of their own."""

    def __init__(self, weight: Tensor, bias: Tensor) -> None:
        self.direction = weight.requires_grad_()
        self.length = weight.detach().norm(dim=1, keepdim=True).requires_grad_()
        self.bias = bias.requires_grad_()

    @property
    def parameters(self) -> list[Tensor]:
        return [self.direction, self.length, self.bias]

    def __call__(self, columns: Tensor) -> Tensor:
        """Labels (n, K) of points in columns (d, n)."""
        weight = self.length * F.normalize(self.direction, dim=1)
        return scores(columns, weight, self.bias).softmax(0).T


def _linear(dimension: int, clusters: int, random: torch.Generator) -> tuple[Tensor, Tensor]:
    """Fresh weights (K, d) and biases (K,), uniform up to 1 / sqrt(d), as PyTorch's layers."""
    bound = 1 / math.sqrt(dimension)
    weight = torch.empty(clusters, dimension).uniform_(-bound, bound, generator=random)
    return weight, torch.empty(clusters).uniform_(-bound, bound, generator=random)


class _Classifier:
    """The inner learner: a linear classifier of its own and its optimiser."""

    def __init__(self, config: TurtleConfig, dimension: int, random: torch.Generator) -> None:
        self._steps = config.inner_steps
        self._weight, self._bias = _linear(dimension, config.clusters, random)
        own = [self._weight, self._bias]
        self._optimiser = torch.optim.Adam(own, lr=config.inner_lr, fused=True)

    @torch.no_grad()
    def learn(self, points: Tensor, columns: Tensor, labels: Tensor) -> Tensor:
        """Scores (n, K) of the points after some steps towards their labels.

        Args:
            points: (n, d).
            columns: (d, n), the same.
            labels: (n, K).
        """
        wanted = labels.T.contiguous()
        for _ in range(self._steps):
            # The gradient of `disagreement`, written out: most of the time goes here.
            error = (scores(columns, self._weight, self._bias).softmax(0) - wanted) / len(points)
            self._weight.grad, self._bias.grad = error @ points, error.sum(1)
            self._optimiser.step()
        return scores(columns, self._weight, self._bias).T


def fit(config: TurtleConfig, points: np.ndarray, seed: int) -> Fitted:
    """Clusters of `points` (n, d) with probabilities; see `Method.fit`.

    `info` has "disagreement" (of the last step, nats, without the entropy's part) and "entropy" (of
    the mean label there, nats).
    """
    x = torch.from_numpy(standardised(prepared(points, unit=config.unit, clusters=config.clusters)))
    random = generator(seed, "turtle")
    count = min(config.batch, len(x))
    with stopwatch() as seconds:
        labelling = Labelling(*_linear(x.shape[1], config.clusters, random))
        optimiser = torch.optim.Adam(labelling.parameters, lr=config.outer_lr)
        classifier = _Classifier(config, x.shape[1], random)
        some, columns = x, x.T.contiguous()
        for _ in range(config.iterations):
            if count < len(x):
                some = x[torch.randperm(len(x), generator=random)[:count]]
                columns = some.T.contiguous()
            labels = labelling(columns)
            if config.start == "cold":
                classifier = _Classifier(config, x.shape[1], random)
            found = classifier.learn(some, columns, labels.detach())
            error, entropy = disagreement(found, labels), mean_entropy(labels)
            optimiser.zero_grad()
            (error - config.entropy_weight * entropy).backward()
            optimiser.step()
        with torch.no_grad():
            p = labelling(x.T).double().numpy()
    p /= p.sum(1, keepdims=True)
    return Fitted(
        labels=p.argmax(1),
        probabilities=p,
        info={"disagreement": float(error.detach()), "entropy": float(entropy.detach())},
        seconds=seconds[0],
    )
