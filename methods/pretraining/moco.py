"""MoCo v2+, the contrastive pretraining of CDC's encoder.

He et al., "Momentum contrast for unsupervised visual representation learning", CVPR 2020
(https://arxiv.org/abs/1911.05722), and Chen et al., "Improved baselines with momentum contrastive
learning" (https://arxiv.org/abs/2003.04297), in the symmetric form with two queues of solo-learn
(da Costa et al., JMLR 2022), which is what the authors of CDC trained with.
"""

import copy
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Unpack

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from deep_clustering.methods.compute.random import generator, seeded
from deep_clustering.methods.compute.replicas import Replicas
from deep_clustering.methods.images.contrastive import Contrastive
from deep_clustering.methods.images.pictures import Pictures
from deep_clustering.methods.learning.learner import Context, descend, sgd
from deep_clustering.methods.networks.encoders import (
    Encoder,
    encoder,
    features_of,
    place,
    wide,
)
from deep_clustering.methods.networks.perceptron import perceptron
from deep_clustering.methods.pretraining.configs import MoCoConfig
from deep_clustering.methods.pretraining.pretraining import Pretraining


def info_nce(queries: Tensor, keys: Tensor, negatives: Tensor, temperature: float) -> Tensor:
    """Contrastive loss of each query (MoCo, Eq. 1).

    Args:
        queries: (n, d), unit rows.
        keys: (n, d), unit rows; the positive of each query.
        negatives: (q, d), unit rows, shared by all queries.
        temperature: above 0.

    Returns:
        (n,) losses -log(e^(q.k/T) / (e^(q.k/T) + sum of e^(q.n/T))); ln(1 + q) where a query is
        orthogonal to all keys.
    """
    positive = (queries * keys).sum(1, keepdim=True)
    logits = torch.cat([positive, queries @ negatives.T], 1) / temperature
    return logits.logsumexp(1) - logits[:, 0]


def learning_rate(
    step: int, *, steps: int, warmup: int, start: float, peak: float, closed: bool = False
) -> float:
    """Learning rate of a step, counted from 0.

    Linear from `start` to `peak` over the `warmup` steps, which the first step after them has, or,
    if `closed`, their last one too; then cosine to 0 at `steps`.
    """
    if step < warmup:
        return start + (peak - start) * step / max(1, warmup - closed)
    return peak * 0.5 * (1 + math.cos(math.pi * (step - warmup) / (steps - warmup)))


def momentum(step: int, *, steps: int, start: float, end: float) -> float:
    """Momentum of the key encoder after `step` steps: cosine from `start` to `end` at `steps`."""
    return end - (end - start) * (math.cos(math.pi * step / steps) + 1) / 2


class MoCo(Pretraining):
    """Contrastive training of an encoder; see `Pretraining`.

    Args:
        config: the pretraining.
        build: (side in pixels, replicas) -> a fresh encoder; None is the configured backbone.
        context: see `Context`; the number of images trained on sets the length of the schedules.
    """

    def __init__(
        self,
        config: MoCoConfig,
        *,
        build: Callable[[int, Replicas], Encoder] | None = None,
        **context: Unpack[Context],
    ) -> None:
        super().__init__(
            config,
            build
            or (
                lambda side, replicas: encoder(
                    config.backbone, side=side, replicas=replicas, stem_padding=config.stem_padding
                )
            ),
            enlargement=config.enlargement,
            **context,
        )
        self.config = config
        device = self._device
        self._view = Contrastive(
            side=self._side,
            crop_scale=(config.crop_scale, 1.0),
            jitter=config.jitter,
            grey=config.grey,
            blur=config.blur,
            flip=config.flip,
            frame=config.frame,
        )
        with seeded(self._seed, "projector"):
            self._projector = perceptron(
                self._encoder.dimension,
                config.projector_hidden,
                config.projector_dimension,
                layers=1,
                norm=config.projector_norm,
                replicas=self._replicas,
            )
        place(self._projector, device)
        self._key_encoder = copy.deepcopy(self._encoder).requires_grad_(False)
        self._key_projector = copy.deepcopy(self._projector).requires_grad_(False)
        self._online: list[Tensor] = [*self._encoder.parameters(), *self._projector.parameters()]
        self._averaged: list[Tensor] = [
            *self._key_encoder.parameters(),
            *self._key_projector.parameters(),
        ]

        #: (query view, key view): which view is compared with which, and so which queues exist.
        self._pairs = ((0, 1), (1, 0)) if config.symmetric else ((0, 1),)
        self._queues = Queues(config, self._seed).to(device)
        self._optimiser = sgd(
            self._online,
            config.warmup_rate,
            momentum=config.sgd_momentum,
            weight_decay=config.weight_decay,
        )
        self._total = self._per_epoch * config.epochs
        self._warmup = self._per_epoch * config.warmup_epochs
        self._peak = config.learning_rate * config.batch_size / 256
        self._trained = self._piece("the step", self._train)

    def step(self, indices: Tensor) -> dict[str, Tensor]:
        """One SGD step on a global batch.

        Args:
            indices: (batch_size,) of the images, the same on every rank.

        Returns:
            `loss`; `accuracy`, the share of queries nearer to their key than to any negative; and
            `spread`, the standard deviation of the queries' coordinates times the root of their
            number: 1 when they fill the sphere, 0 when they have collapsed to a point.
        """
        config = self.config
        pictures = self._images.take(self._mine(indices))
        views = [self._augmented(pictures) for _ in range(2)]
        rate = learning_rate(
            self._steps,
            steps=self._total,
            warmup=self._warmup,
            start=config.warmup_rate,
            peak=self._peak,
            closed=config.warmup_closed,
        )
        kept = momentum(
            self._steps, steps=self._total, start=config.momentum_start, end=config.momentum_end
        )
        first = self._queues.first(self._steps, config.batch_size)
        self._now.set(rate=rate, share=1 - kept, first=first)
        loss, accuracy, spread = self._trained(*views)
        self._steps += 1
        return {"loss": loss, "accuracy": accuracy, "spread": spread}

    def _train(self, *views: Tensor) -> tuple[Tensor, ...]:
        """The step on this rank's two views (n, 3, S, S); see `Recorded`. Returns the metrics."""
        config = self.config
        asking, answering = zip(*self._pairs, strict=True)
        queries = self._projected(self._encoder, self._projector, views, asking)
        with torch.no_grad():
            keys = self._projected(self._key_encoder, self._key_projector, views, answering)
        losses = torch.stack(
            [
                info_nce(queries[i], keys[j], self._queues.of(j), config.temperature)
                for i, j in self._pairs
            ]
        )
        # Divided by the global number, so that gradients add up over the ranks.
        loss = losses.sum() / (len(self._pairs) * config.batch_size)
        for group in self._optimiser.param_groups:
            group["lr"] = self._now["rate"]
        descend(loss, self._optimiser, self._replicas, self._loss_scale)
        with torch.no_grad():
            metrics = self._metrics(loss, queries, keys)
            self._average()
            for j, new in keys.items():
                new = self._replicas.gather(new, self._rows, self.batch_size)
                self._queues.put(j, new, self._now["first"])
        return metrics

    def _augmented(self, pictures: Pictures) -> Tensor:
        return self._viewed(self._view, pictures, self._generator)

    def _projected(
        self,
        network: nn.Module,
        projector: nn.Module,
        views: Sequence[Tensor],
        chosen: Sequence[int],
    ) -> dict[int, Tensor]:
        """Unit rows (n, d) of the chosen views; weights are rounded once for all of them."""
        with self._autocast():
            projected = {i: projector(features_of(network, views[i])) for i in chosen}
        return {i: F.normalize(wide(x), dim=1) for i, x in projected.items()}

    def _average(self) -> None:
        """Moves the key parameters towards the online ones; buffers are each network's own."""
        share = self._now["share"]
        if isinstance(share, float):
            torch._foreach_lerp_(self._averaged, self._online, share)
            return
        apart = torch._foreach_sub(self._online, self._averaged)
        torch._foreach_mul_(apart, share)
        torch._foreach_add_(self._averaged, apart)

    def _metrics(
        self, loss: Tensor, queries: Mapping[int, Tensor], keys: Mapping[int, Tensor]
    ) -> tuple[Tensor, ...]:
        """Loss, accuracy and spread; see `step`."""
        i, j = self._pairs[0]
        query, key = queries[i], keys[j]
        nearest = (query @ self._queues.of(j).T).amax(1)
        hits = ((query * key).sum(1) > nearest).sum()
        sums = torch.cat([query.sum(0), query.square().sum(0), loss.view(1), hits.float().view(1)])
        sums = self._replicas.total(sums)
        width = query.shape[1]
        mean = sums[:width] / self.batch_size
        variance = sums[width : 2 * width] / self.batch_size - mean.square()
        spread = variance.clamp_min(0).sqrt().mean() * math.sqrt(width)
        return sums[-2], sums[-1] / self.batch_size, spread

    def _handed_over(self) -> dict[str, nn.Module]:
        """The online encoder, all that CDC needs."""
        return {"": self._encoder}

    def _networks(self) -> dict[str, nn.Module]:
        return {
            "encoder": self._encoder,
            "projector": self._projector,
            "key_encoder": self._key_encoder,
            "key_projector": self._key_projector,
            "queues": self._queues,
        }


class Queues(nn.Module):
    """Past keys of each view, unit rows; new ones replace the oldest."""

    def __init__(self, config: MoCoConfig, seed: int) -> None:
        super().__init__()
        for view in (0, 1) if config.symmetric else (1,):
            noise = torch.randn(
                config.queue_size,
                config.projector_dimension,
                generator=generator(seed, f"queue {view}"),
            )
            self.register_buffer(f"view{view}", F.normalize(noise, dim=1))

    def of(self, view: int) -> Tensor:
        return self.get_buffer(f"view{view}")

    def first(self, step: int, batch: int) -> int:
        """Where the keys of a step go: a queue holds a whole number of batches."""
        return step * batch % len(self.of(1))

    def put(self, view: int, keys: Tensor, first: float | Tensor) -> None:
        """Keys (n, d) in place of those at `first`, a whole number, and after it."""
        rows = torch.arange(len(keys), device=keys.device) + first
        self.of(view).index_copy_(0, rows.long(), keys)
