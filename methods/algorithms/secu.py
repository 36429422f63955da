"""SeCu at work: the losses and the constraints, then the model.

"Release" is the code of the author of the paper that `methods.secu` cites.
"""

import math
from collections.abc import Mapping
from typing import Any, Unpack

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from deep_clustering.methods.compute.random import generator, seeded
from deep_clustering.methods.images.contrastive import Contrastive
from deep_clustering.methods.learning.clusterer import Clusterer, negative_entropy
from deep_clustering.methods.learning.learner import Context, Parts, descend, sgd
from deep_clustering.methods.networks.encoders import described, wide
from deep_clustering.methods.networks.perceptron import perceptron
from deep_clustering.methods.secu import SeCuConfig

# --- Losses ---------------------------------------------------------------------------------------


def centre_loss(cosines: Tensor, labels: Tensor, temperature: float) -> Tensor:
    """Cross-entropy (n,) whose gradient reaches the centre of each image's own label alone.

    Without positives in a batch a centre then stays where it is: the others do not push it away.

    Args:
        cosines: (n, K) of images and centres.
        labels: (n,) from 0 to K - 1.
    """
    own = F.one_hot(labels, cosines.shape[1]).bool()
    return F.cross_entropy(
        torch.where(own, cosines, cosines.detach()) / temperature, labels, reduction="none"
    )


def image_targets(other: Tensor, labels: Tensor, own: float) -> Tensor:
    """Targets (n, K): `own` of the label (n,), the rest the prediction for the other view.

    Args:
        other: (n, K) logits of the other view; no gradient passes.
    """
    hard = F.one_hot(labels, other.shape[1]).to(other)
    return own * hard + (1 - own) * other.detach().softmax(1)


def learning_rate(step: int, *, per_epoch: int, epochs: int, warmup: int, peak: float) -> float:
    """Of encoder and projector in a step counted from 0.

    0 in the first epoch, linear to `peak` at the end of `warmup` epochs, then a cosine to 0.
    """
    start, end = warmup * per_epoch, epochs * per_epoch
    if step < per_epoch:
        return 0.0
    if step < start:
        return peak * max(1, step - per_epoch) / (start - per_epoch)
    return peak * (1 + math.cos(math.pi * (step - start) / (end - start))) / 2


# --- Constraints on the clusters of all images ----------------------------------------------------


def entropy_change(counts: Tensor, labels: Tensor | None) -> Tensor:
    """How the negative entropy of the sizes changes when one image goes to each cluster.

    Args:
        counts: (K,) images of each cluster.
        labels: (n,) cluster that an image leaves; None for images that are not counted yet.

    Returns:
        (n, K), or (1, K) without labels; 0 for the cluster that an image is in. All 0 where no
        image is counted.
    """
    if labels is None:
        total = counts.sum() + 1
        p = counts / total
        return (_plogp(p + 1 / total) - _plogp(p))[None] * (counts.sum() > 0)
    total = counts.sum()
    p = counts / total
    joining = _plogp(p + 1 / total) - _plogp(p)
    leaving = _plogp(p[labels] - 1 / total) - _plogp(p[labels])
    return (joining + leaving[:, None]).scatter(1, labels[:, None], 0.0)


def _plogp(p: Tensor) -> Tensor:
    return torch.where(p > 0, p * p.clamp_min(torch.finfo(p.dtype).tiny).log(), 0.0)


class Assignment(nn.Module):
    """The clusters that all images are in, and what keeps their sizes apart from 0.

    Args:
        images: in the data set.
        clusters: K of this grouping.
        config: the constraint and its parameters.
    """

    labels: Tensor
    counts: Tensor
    prices: Tensor

    def __init__(self, images: int, clusters: int, config: SeCuConfig) -> None:
        super().__init__()
        self._config = config
        self.register_buffer("labels", torch.zeros(images, dtype=torch.long))
        self.register_buffer("counts", torch.zeros(clusters))  # of "entropy"
        self.register_buffer("prices", torch.zeros(clusters))  # of "size", duals

    def choose(self, cosines: Tensor, labels: Tensor | None) -> Tensor:
        """Clusters (n,) for images from their cosines (n, K), with the labels (n,) they have."""
        if self._config.constraint == "size":
            return (cosines + self.prices).argmax(1)
        change = entropy_change(self.counts, labels)
        return (cosines - self._config.entropy_price * change).argmax(1)

    def update(self, indices: Tensor, chosen: Tensor, first: bool) -> None:
        """Takes the clusters (B,) of a global batch of images (B,), new to it if `first`."""
        config, width = self._config, len(self.prices)
        if config.constraint == "size":
            shares = torch.bincount(chosen, minlength=width) / len(chosen)
            self.prices += config.dual_rate * (config.size_share / width - shares)
            if config.size_share < 1:
                self.prices.clamp_min_(0)
        else:
            self.counts += torch.bincount(chosen, minlength=width)
            if not first:
                self.counts -= torch.bincount(self.labels[indices], minlength=width)
        self.labels[indices] = chosen


# --- The model ------------------------------------------------------------------------------------


class Head(nn.Module):
    """Features (n, D) to logits (n, K): projection, cosines with centres, over a temperature."""

    def __init__(self, projector: nn.Module, clusters: int, config: SeCuConfig) -> None:
        super().__init__()
        self.projector = projector
        self.centres = _centres(clusters, config.dimension)
        self._temperature = config.temperature

    def projected(self, features: Tensor) -> Tensor:
        """Unit rows (n, d)."""
        return F.normalize(self.projector(features), dim=1)

    def forward(self, features: Tensor) -> Tensor:
        cosines = self.projected(features) @ F.normalize(self.centres, dim=1).T
        return cosines / self._temperature


def _centres(clusters: int, dimension: int) -> nn.Parameter:
    return nn.Parameter(F.normalize(torch.randn(clusters, dimension), dim=1))


class _Before(nn.Module):
    """The centres of every grouping as they were when the epoch began, unit rows."""

    def __init__(self, centres: list[nn.Parameter]) -> None:
        super().__init__()
        for i, one in enumerate(centres):
            self.register_buffer(f"centres{i}", one.detach().clone())

    def of(self, grouping: int) -> Tensor:
        return self.get_buffer(f"centres{grouping}")

    def take(self, centres: list[nn.Parameter]) -> None:
        for i, one in enumerate(centres):
            self.of(i).copy_(F.normalize(one.detach(), dim=1))


class SeCu(Clusterer):
    """Joint training of representation and centres from random weights; see `Clusterer`.

    Args:
        config: the method.
        context: see `Context`.

    Raises:
        ValueError: a batch that the processes cannot share.
    """

    _heads: Mapping[str, Head]

    def __init__(self, config: SeCuConfig, **context: Unpack[Context]) -> None:
        self.config = config
        super().__init__(
            config,
            {"encoder": described(config)},
            side=config.side,
            enlargement=config.enlargement,
            mean=config.mean,
            std=config.std,
            **context,
        )
        self._make_heads(("clustering",), self._head)
        self._clustering = self._heads["clustering"]
        sizes = [(i + 1) * config.clusters for i in range(config.groupings)]
        with seeded(self._seed, "further centres"):
            further = nn.ParameterList(_centres(k, config.dimension) for k in sizes[1:])
        self._further = further.to(self._device)
        self._centres = [self._clustering.centres, *self._further]
        self._before = _Before(self._centres).to(self._device)
        self._assigned = nn.ModuleList(Assignment(len(self._images), k, config) for k in sizes).to(
            self._device
        )
        self._views = tuple(
            Contrastive(
                side=self._side,
                crop_scale=(config.crop_scale, 1.0),
                jitter=config.jitter,
                jitter_strength=(0.4, 0.4, config.saturation, 0.1),
                grey=config.grey,
                blur=blur,
                solarise=solarise,
                flip=config.flip,
                frame=config.frame,
            )
            for blur, solarise in ((config.blur, 0.0), (config.second_blur, config.solarise))
        )
        self._generator = generator(self._seed, "views")
        network = [*self._encoder.parameters(), *self._clustering.projector.parameters()]
        groups: list[dict[str, Any]] = [
            {"params": network},
            {"params": self._centres, "lr": config.centre_rate},
        ]
        self._optimiser = sgd(
            groups,
            config.learning_rate,
            momentum=config.sgd_momentum,
            weight_decay=config.weight_decay,
        )

    def _head(self, name: str) -> Head:
        width, config = self._encoder.dimension, self.config
        projector = perceptron(
            width, width, config.dimension, layers=1, norm=True, replicas=self._replicas
        )
        return Head(projector, config.clusters, config)

    def step(self, indices: Tensor) -> dict[str, Tensor]:
        """One SGD step on a global batch.

        Args:
            indices: (batch_size,) of the images, the same on every rank.

        Returns:
            `image_loss` and `centre_loss`, means over the groupings; `entropy` of the sizes of the
            batch's clusters, in nats, and mean `confidence` of the first views, both of the first
            grouping.
        """
        config = self.config
        first = self._steps < self._per_epoch
        if self._steps % self._per_epoch == 0:
            self._before.take(self._centres)
        indices = indices.to(self._device)
        pictures = self._images.take(self._mine(indices))
        views = [self._viewed(view, pictures, self._generator) for view in self._views]
        x = [self._clustering.projected(wide(self._encoded(view))) for view in views]
        terms = [self._grouping(i, x, indices, first) for i in range(config.groupings)]
        image, centre = (torch.stack(losses).mean() for losses in zip(*terms, strict=True))
        self._optimiser.param_groups[0]["lr"] = learning_rate(
            self._steps,
            per_epoch=self._per_epoch,
            epochs=config.epochs,
            warmup=config.warmup_epochs,
            peak=config.learning_rate,
        )
        told = self._told(x[0].detach(), indices)
        descend(image + centre, self._optimiser, self._replicas)
        self._steps += 1
        return {
            "image_loss": self._replicas.total(image),
            "centre_loss": self._replicas.total(centre),
            **told,
        }

    def _grouping(
        self, i: int, x: list[Tensor], indices: Tensor, first: bool
    ) -> tuple[Tensor, Tensor]:
        """This rank's terms of both losses of one grouping; its images change their clusters."""
        config, size = self.config, self.batch_size
        assigned = self._assigned[i]
        assert isinstance(assigned, Assignment)
        mine = self._mine(indices)
        now = F.normalize(self._centres[i], dim=1)
        cosines = [one.detach() @ now.T for one in x]
        with torch.no_grad():
            before = assigned.labels[mine]
            mean = (cosines[0] + cosines[1]) / 2
            local = assigned.choose(mean, None if first else before)
            chosen = self._replicas.gather(local, self._rows, size)
            assigned.update(indices, chosen, first)
            # Images are told apart by where they were in the epoch before, once they were.
            labels = local if first else before
        centre = sum(
            (centre_loss(c, local, config.centre_temperature) for c in cosines),
            start=torch.zeros_like(mean[:, 0]),
        )
        logits = [one @ self._before.of(i).T / config.temperature for one in x]
        image = torch.zeros_like(mean[:, 0])
        for own, other in (logits, reversed(logits)):
            targets = image_targets(other, labels, config.own_label)
            image = image - (targets * own.log_softmax(1)).sum(1)
        # Divided by the global number, so that gradients add up over the ranks.
        return image.sum() / (2 * size), centre.sum() / (2 * size)

    @torch.no_grad()
    def _told(self, x: Tensor, indices: Tensor) -> dict[str, Tensor]:
        """What is shown of the first grouping."""
        config, size = self.config, self.batch_size
        assigned = self._assigned[0]
        assert isinstance(assigned, Assignment)
        logits = x @ F.normalize(self._centres[0], dim=1).T / config.temperature
        confidence = self._replicas.total(logits.softmax(1).amax(1).sum() / size)
        shares = torch.bincount(assigned.labels[indices], minlength=config.clusters) / size
        return {"entropy": -negative_entropy(shares), "confidence": confidence}

    def _parts(self) -> Parts:
        modules: dict[str, nn.Module] = {
            **self._networks(),
            "further": self._further,
            "before": self._before,
            "assigned": self._assigned,
        }
        return modules, {"optimiser": self._optimiser}, {"generator": self._generator}
