"""TEMI at work; the paper is the one that `methods.temi` cites."""

from collections.abc import Iterator

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from deep_clustering.methods._method import Fitted
from deep_clustering.methods.clustering.kmeans import neighbours
from deep_clustering.methods.clustering.points import prepared, standardised, stopwatch
from deep_clustering.methods.compute.random import generator
from deep_clustering.methods.temi import TemiConfig


def information(first: Tensor, second: Tensor, prior: Tensor, beta: float) -> Tensor:
    """The pointwise mutual information of pairs: log sum_k (p_k q_k)^beta / m_k, (..., n).

    Args:
        first, second: log-probabilities (..., n, K) of two points that are neighbours.
        prior: mean prediction m (..., 1, K).
        beta: below 1 it takes from clusters what they gain by being certain alone.
    """
    return (beta * (first + second) - prior.log()).logsumexp(-1)


def alike(first: Tensor, second: Tensor) -> Tensor:
    """The weight (n,) of pairs: sum_k p_k q_k of log-probabilities (H, n, K), mean over the heads.

    Partners that the teachers put into different clusters count little.
    """
    return (first + second).exp().sum(-1).mean(0)


class Heads:
    """H heads side by side: (n, d) to (H, n, K). Linear, GELU, linear, length 1, linear.

    The rows of the last layer have a length of their own.

    Args:
        config: sizes.
        dimension: d.
        random: of the fresh weights.
    """

    def __init__(self, config: TemiConfig, dimension: int, random: torch.Generator) -> None:
        count, hidden, width = config.heads, config.hidden, config.bottleneck

        def normal(*shape: int) -> Tensor:
            weight = torch.empty(*shape)
            return torch.nn.init.trunc_normal_(weight, std=0.02, generator=random)

        last = torch.randn(count, config.clusters, width, generator=random)
        self.weights = [normal(count, dimension, hidden), normal(count, hidden, width)]
        self.biases = [torch.zeros(count, 1, hidden), torch.zeros(count, 1, width)]
        self.last = [F.normalize(last, dim=2), torch.ones(count, config.clusters, 1)]

    @property
    def parameters(self) -> list[Tensor]:
        return [*self.weights, *self.biases, *self.last]

    def __call__(self, points: Tensor) -> Tensor:
        first, second = self.weights
        x = F.gelu(torch.matmul(points, first) + self.biases[0])
        x = F.normalize(torch.baddbmm(self.biases[1], x, second), dim=2)
        direction, length = self.last
        return x @ (length * F.normalize(direction, dim=2)).transpose(1, 2)

    def log_probabilities(self, points: Tensor, temperature: float) -> Tensor:
        """(H, n, K) of points (n, d)."""
        return (self(points) / temperature).log_softmax(2)


class _Training:
    """Students, their teachers and what both remember; see `fit`."""

    def __init__(self, config: TemiConfig, x: Tensor, seed: int) -> None:
        self._config, self._x = config, x
        self._near = neighbours(x, min(config.neighbours, len(x) - 1)) if len(x) > 1 else None
        self._size = min(config.batch, len(x))
        random = generator(seed, "temi")
        self._random = random
        self.student, self.teacher = (
            Heads(config, x.shape[1], generator(seed, "temi heads")) for _ in range(2)
        )
        for parameter in self.student.parameters:
            parameter.requires_grad_()
        decayed = [*self.student.weights, *self.student.last]
        self._optimiser = torch.optim.AdamW(
            [
                {"params": decayed, "weight_decay": config.weight_decay},
                {"params": self.student.biases, "weight_decay": 0.0},
            ]
        )
        self._prior = torch.full((config.heads, 1, config.clusters), 1 / config.clusters)

    def epoch(self, number: int) -> Tensor:
        """One pass over the points; mean losses (H,) of the heads."""
        losses = [self._step(batch, number, done) for done, batch in self._batches()]
        return torch.stack(losses).mean(0)

    def _batches(self) -> Iterator[tuple[float, Tensor]]:
        """(share of the epoch that is done, indices of a batch)."""
        order = torch.randperm(len(self._x), generator=self._random)
        count = len(order) // self._size
        for number in range(count):
            yield number / count, order[number * self._size : (number + 1) * self._size]

    def _partners(self, batch: Tensor) -> Tensor:
        if self._near is None:
            return batch
        which = torch.randint(self._near.shape[1], (len(batch),), generator=self._random)
        return self._near[batch, which]

    def _step(self, batch: Tensor, epoch: int, done: float) -> Tensor:
        config = self._config
        risen = min(1.0, (epoch + done) / config.warmup_epochs) if config.warmup_epochs else 1.0
        for group in self._optimiser.param_groups:
            group["lr"] = config.lr * self._size / 256 * risen
        pair = self._x[torch.cat([batch, self._partners(batch)])]
        with torch.no_grad():
            taught = self.teacher.log_probabilities(pair, config.temperature)
            mean = taught.exp().mean(1, keepdim=True)
            self._prior.lerp_(mean, 1 - config.prior_momentum)
            one, other = taught.chunk(2, 1)
            weight = alike(one, other)
        mine, theirs = self.student.log_probabilities(pair, config.temperature).chunk(2, 1)
        said = information(theirs, one, self._prior, config.beta)
        said = (said + information(mine, other, self._prior, config.beta)) / 2
        losses = -(weight * said).mean(1)
        self._optimiser.zero_grad()
        losses.mean().backward()
        if epoch < config.frozen_epochs:
            for parameter in self.student.last:
                parameter.grad = None
        self._optimiser.step()
        with torch.no_grad():
            for held, new in zip(self.teacher.parameters, self.student.parameters, strict=True):
                held.lerp_(new, 1 - config.momentum)
        return losses.detach()


def fit(config: TemiConfig, points: np.ndarray, seed: int) -> Fitted:
    """Clusters of `points` (n, d) with probabilities; see `Method.fit`.

    `info` has "loss" (mean of the last epoch, of the head that is the answer) and "head" (its
    number, from 0).
    """
    x = torch.from_numpy(standardised(prepared(points, unit=config.unit, clusters=config.clusters)))
    with stopwatch() as seconds:
        training = _Training(config, x, seed)
        for number in range(config.epochs):
            losses = training.epoch(number)
        best = int(losses.argmin())
        with torch.no_grad():
            parts = [
                training.teacher.log_probabilities(part, config.temperature)[best]
                for part in x.split(config.batch)
            ]
        p = torch.cat(parts).double().exp().numpy()
    p /= p.sum(1, keepdims=True)
    return Fitted(
        labels=p.argmax(1),
        probabilities=p,
        info={"loss": float(losses[best]), "head": float(best)},
        seconds=seconds[0],
    )
