"""TSUC at work: the losses of both stages, the networks, then the model.

"Release" is the code of the authors of the paper that `methods.tsuc` cites.
"""

import math
from collections.abc import Mapping
from typing import Unpack

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from deep_clustering.methods.compute.random import generator
from deep_clustering.methods.compute.replicas import Replicas
from deep_clustering.methods.images.contrastive import Contrastive
from deep_clustering.methods.learning.best import Best
from deep_clustering.methods.learning.clusterer import Clusterer, negative_entropy
from deep_clustering.methods.learning.learner import Context, Parts, descend, sgd
from deep_clustering.methods.networks.encoders import Encoder, described, wide
from deep_clustering.methods.pretraining.simclr import whole_batch
from deep_clustering.methods.tsuc import TSUCConfig

_BLOCK = 1024  # images that are compared with the whole memory at a time

# --- Losses ---------------------------------------------------------------------------------------


def neighbourhood(log_likelihood: Tensor, own: Tensor, neighbour: Tensor) -> Tensor:
    """-log of the probability that an image is taken for itself or for its neighbour, (B,).

    Args:
        log_likelihood: (B, N) of being taken for each image of the memory.
        own: (B,) the image's own place in the memory.
        neighbour: (B,) its neighbour's; -1 for an image that counts alone.
    """
    itself = log_likelihood.gather(1, own[:, None])[:, 0]
    other = log_likelihood.gather(1, neighbour.clamp_min(0)[:, None])[:, 0]
    return -torch.where(neighbour < 0, itself, torch.logaddexp(itself, other))


def uncertainty(logits: Tensor, own: Tensor) -> Tensor:
    """Entropy, in nats, of what an image is taken for among all others, (B,).

    Args:
        logits: (B, N) for the images of the memory, N > 1.
        own: (B,) the image's own place, which is left out.
    """
    others = logits.scatter(1, own[:, None], torch.finfo(logits.dtype).min).log_softmax(1)
    return -(others.exp() * others).sum(1)


def spreading(both: Tensor, temperature: float) -> Tensor:
    """Each view is told from all others to be its image's, and each other one not to be, 0-d.

    Mean over the rows i of -log P(i' | i) - sum over the other k of log(1 - P(k | i)), where i' is
    the other view of i's image and P a softmax of cosines with all rows but i. As in the release,
    the rows that one is compared with have no gradient.

    Args:
        both: (2B, D) unit rows, first the first views of B images, then their second ones.
    """
    count = len(both)
    rows = torch.arange(count, device=both.device)
    itself = F.one_hot(rows, count).bool()
    partner = F.one_hot(rows.roll(count // 2), count).bool()
    cosines = both @ both.detach().T / temperature
    taken = cosines.masked_fill(itself, -math.inf).log_softmax(1)
    apart = torch.log1p(-taken.exp().masked_fill(itself | partner, 0))
    return -(taken[partner].sum() + apart.sum()) / count


def information(first: Tensor, second: Tensor) -> Tensor:
    """Minus the mutual information of the clusters of two views, for each of H heads, (H,).

    From -log K, where both views agree on even clusters, to 0.

    Args:
        first, second: (H, B, K) probabilities.
    """
    joint = first.mT @ second / first.shape[1]
    joint = ((joint + joint.mT) / 2).clamp_min(torch.finfo(joint.dtype).tiny)
    rows, columns = joint.sum(2, keepdim=True), joint.sum(1, keepdim=True)
    return (joint * (rows.log() + columns.log() - joint.log())).sum((1, 2))


def learning_rate(epoch: int, peak: float, start: int, every: int) -> float:
    """In an epoch, from 0: a tenth for each `every` epochs that have passed since `start`."""
    return float(peak * 0.1 ** max(0, (epoch - start) // every))


@torch.no_grad()
def discovered(bank: Tensor, share: float, temperature: float) -> Tensor:
    """The nearest other image (N,) of the images that are told apart most surely; -1 elsewhere.

    Args:
        bank: (N, D), rows of about unit length.
        share: of the images, those of the lowest entropy over the memory.
    """
    entropies, nearest = [], []
    for start in range(0, len(bank), _BLOCK):
        cosines = bank[start : start + _BLOCK] @ bank.T
        log_likelihood = (cosines / temperature).log_softmax(1)
        entropies.append(-(log_likelihood.exp() * log_likelihood).sum(1))
        own = torch.arange(start, start + len(cosines), device=bank.device)
        nearest.append(cosines.scatter(1, own[:, None], -2.0).argmax(1))
    found = torch.full((len(bank),), -1, device=bank.device)
    surest = torch.cat(entropies).argsort(stable=True)[: int(share * len(bank))]
    found[surest] = torch.cat(nearest)[surest]
    return found


# --- Networks -------------------------------------------------------------------------------------


class Towers(Encoder):
    """Views (n, 3, S, S) to unit rows (n, dimension), by one tower or by two."""

    def __init__(self, towers: Mapping[str, Encoder], dimension: int) -> None:
        super().__init__()
        self.dimension = dimension
        self.towers = nn.ModuleDict(dict(towers))
        inside = sum(tower.dimension for tower in towers.values())
        self.linear = nn.Linear(inside, dimension)

    def forward(self, x: Tensor) -> Tensor:
        seen = {"colour": x, "edges": edges(x) if "edges" in self.towers else x}
        found = [tower(seen[name]) for name, tower in self.towers.items()]
        return F.normalize(wide(self.linear(torch.cat(found, 1))), dim=1)


def edges(x: Tensor) -> Tensor:
    """Sobel's two filters on the mean of the channels (n, 3, S, S), and a channel of 0."""
    kernel = x.new_tensor([[-1.0, 0.0, 1.0], [-2.0, 0.0, 2.0], [-1.0, 0.0, 1.0]])
    kernels = torch.stack([kernel, kernel.T, torch.zeros_like(kernel)])[:, None]
    found = F.conv2d(x.mean(1, keepdim=True), kernels, padding=1)
    return found.contiguous(memory_format=torch.channels_last)


class Heads(nn.Module):
    """Logits (n, K) of unit rows (n, D): cosines with random prototypes, which never learn."""

    prototypes: Tensor
    selected: Tensor

    def __init__(self, dimension: int, clusters: int, count: int, temperature: float) -> None:
        super().__init__()
        drawn = F.normalize(torch.randn(count, dimension, clusters), dim=1)
        self.register_buffer("prototypes", drawn)
        self.register_buffer("selected", torch.tensor(0))
        self._temperature = temperature

    def every(self, features: Tensor) -> Tensor:
        """Of all heads, (H, n, K)."""
        return features @ self.prototypes / self._temperature

    def forward(self, features: Tensor) -> Tensor:
        return features @ self.prototypes[self.selected] / self._temperature


class _Memory(nn.Module):
    """What is known of each image, and of the losses of an epoch."""

    bank: Tensor
    neighbour: Tensor
    losses: Tensor
    total: Tensor

    def __init__(self, images: int, dimension: int, heads: int, draws: torch.Generator) -> None:
        super().__init__()
        drawn = torch.rand(images, dimension, generator=draws)
        self.register_buffer("bank", (2 * drawn - 1) * math.sqrt(3 / dimension))
        self.register_buffer("neighbour", torch.full((images,), -1))
        self.register_buffer("losses", torch.zeros(heads))
        self.register_buffer("total", torch.zeros(()))


# --- The model ------------------------------------------------------------------------------------


class TSUC(Clusterer):
    """Training of the embedding in rounds, then with the heads; see `Clusterer`.

    Args:
        config: the method.
        context: see `Context`.

    Raises:
        ValueError: a batch that the processes cannot share.
    """

    _heads: Mapping[str, Heads]

    def __init__(self, config: TSUCConfig, **context: Unpack[Context]) -> None:
        self.config = config
        super().__init__(
            config,
            {"encoder": self._fresh},
            side=config.side,
            enlargement=config.enlargement,
            frame=config.frame,
            mean=config.mean,
            std=config.std,
            **context,
        )
        self._make_heads(("clustering",), self._head)
        self._clustering = self._heads["clustering"]
        count, device = len(self._index), self._device
        drawn = generator(self._seed, "memory")
        self._memory = _Memory(count, config.dimension, config.heads, drawn).to(device)
        self._positions = torch.zeros(len(self._images), dtype=torch.long, device=device)
        self._positions[self._index.to(device)] = torch.arange(count, device=device)
        self._best = Best(self._networks()) if config.select_epoch else None
        self._view = Contrastive(
            side=self._side,
            crop_scale=(config.crop_scale, 1.0),
            jitter=config.jitter,
            jitter_strength=(0.4, 0.4, 0.4, 0.4),
            grey=config.grey,
            blur=0.0,
            flip=config.flip,
            frame=config.frame,
        )
        self._generator = generator(self._seed, "views")
        self._optimiser = sgd(
            self._encoder.parameters(),
            config.learning_rate,
            momentum=config.sgd_momentum,
            weight_decay=config.weight_decay,
            nesterov=config.sgd_momentum > 0,
        )
        self._both = torch.cat([self._rows, self._rows + config.batch_size])

    def _fresh(self, side: int, replicas: Replicas) -> Encoder:
        config = self.config
        names = ("colour", "edges") if config.edges else ("colour",)
        build = described(config)
        return Towers({name: build(side, replicas) for name in names}, config.dimension)

    def _head(self, name: str) -> Heads:
        config = self.config
        return Heads(config.dimension, config.clusters, config.heads, config.head_temperature)

    def step(self, indices: Tensor) -> dict[str, Tensor]:
        """One SGD step on a global batch.

        Args:
            indices: (batch_size,) of the images, the same on every rank.

        Returns:
            `neighbour_loss`, of the embedding, and `information_loss`, mean over the heads, in
            nats: each 0 in the other's stage; `spread_loss`; `entropy` of the mean prediction of
            the selected head, in nats, and its mean `confidence`, of the first views.
        """
        config, size = self.config, self.batch_size
        epoch = self._steps // self._per_epoch
        embedding = epoch < config.rounds * config.round_epochs
        pictures = self._images.take(self._mine(indices))
        views = [self._viewed(self._view, pictures, self._generator) for _ in range(2)]
        local = torch.cat([self._encoded(view) for view in views])
        both = whole_batch(self._replicas, local, self._both, 2 * size)
        first, second = both.chunk(2)
        spread = spreading(both, config.temperature)
        zero = torch.zeros_like(spread.detach())
        own = self._positions[indices.to(self._device)]
        if embedding:
            main = self._embed(both, own, epoch)
            told = {"neighbour_loss": main.detach(), "information_loss": zero}
        else:
            main = self._cluster(first, second, epoch - config.rounds * config.round_epochs)
            told = {"neighbour_loss": zero, "information_loss": main.detach()}
        loss = main + config.spread_weight * spread
        descend(loss, self._optimiser, self._replicas)
        self._steps += 1
        if embedding:
            self._remember(second, own)
        else:
            self._memory.total += loss.detach()
            if self._steps % self._per_epoch == 0:
                self._end_of_epoch()
        with torch.no_grad():
            p = self._clustering(first).softmax(1)
            return {
                **told,
                "spread_loss": spread.detach(),
                "entropy": -negative_entropy(p.mean(0)),
                "confidence": p.amax(1).mean(),
            }

    def _embed(self, both: Tensor, own: Tensor, epoch: int) -> Tensor:
        """The loss of a step of the embedding, 0-d: means over both views (2B, D)."""
        config, memory = self.config, self._memory
        number, epoch = divmod(epoch, config.round_epochs)
        if self._steps % (config.round_epochs * self._per_epoch) == 0:
            share = min(1.0, number * config.growth)
            memory.neighbour.copy_(discovered(memory.bank, share, config.temperature))
        self._rate(config.learning_rate, epoch)
        logits, places = both @ memory.bank.T / config.temperature, own.repeat(2)
        loss = neighbourhood(logits.log_softmax(1), places, memory.neighbour[places]).mean()
        weight = config.certainty_weight * (epoch // config.certainty_every)
        if weight:
            loss = loss + weight * uncertainty(logits, places).mean()
        return loss

    @torch.no_grad()
    def _remember(self, views: Tensor, own: Tensor) -> None:
        """The images at their places in the memory (B,) move towards their views (B, D)."""
        bank = self._memory.bank
        moved = bank[own].lerp(views.to(bank), 1 - self.config.bank_momentum)
        bank[own] = F.normalize(moved, dim=1)

    def _cluster(self, first: Tensor, second: Tensor, epoch: int) -> Tensor:
        """The loss of a step with the heads, 0-d."""
        config, losses = self.config, self._memory.losses
        if self._steps == config.rounds * config.round_epochs * self._per_epoch:
            for state in self._optimiser.state.values():
                state["momentum_buffer"].zero_()
        self._rate(config.cluster_rate, epoch)
        p = [self._clustering.every(x).softmax(2) for x in (first, second)]
        each = information(*p)
        losses += each.detach()
        return each.mean()

    def _rate(self, peak: float, epoch: int) -> None:
        config = self.config
        rate = learning_rate(epoch, peak, config.decay_start, config.decay_every)
        self._optimiser.param_groups[0]["lr"] = rate

    @torch.no_grad()
    def _end_of_epoch(self) -> None:
        """Selects the head with the lowest loss, and at the end the epoch of the lowest one."""
        losses = self._memory.losses
        self._clustering.selected.copy_(losses.argmin())
        if self._best is not None:
            self._best.offer(self._networks(), self._memory.total)
            if self._steps == self.epochs * self._per_epoch:
                self._best.give_back(self._networks())
        losses.zero_()
        self._memory.total.zero_()

    def _parts(self) -> Parts:
        modules: dict[str, nn.Module] = {**self._networks(), "memory": self._memory}
        if self._best is not None:
            modules["best"] = self._best
        return modules, {"optimiser": self._optimiser}, {"generator": self._generator}
