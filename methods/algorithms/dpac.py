"""DPAC at work: losses and targets in the order of the paper, then the model.

Eq., Sec. and Table are those of the paper that `methods.dpac` cites; "release" is the authors'
code. Offline PAC, the same idea on a whole data set, is in `pac`.
"""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import NamedTuple, Unpack

import numpy as np
import torch
import torch.nn.functional as F
from scipy.optimize import linear_sum_assignment
from torch import Tensor, nn

from deep_clustering.methods.clustering.kmeans import kmeans
from deep_clustering.methods.compute.random import derived, generator
from deep_clustering.methods.compute.replicas import Replicas
from deep_clustering.methods.dpac import DPACConfig
from deep_clustering.methods.images.pictures import Pictures
from deep_clustering.methods.images.view import View
from deep_clustering.methods.learning.clusterer import Clusterer, negative_entropy
from deep_clustering.methods.learning.learner import Context, Parts, adam, descend, evaluation
from deep_clustering.methods.learning.state import unpack
from deep_clustering.methods.networks.batchnorm import batch_statistics
from deep_clustering.methods.networks.encoders import Encoder
from deep_clustering.methods.networks.perceptron import perceptron
from deep_clustering.methods.pretraining.representation import (
    FRAMEWORKS,
    Representation,
    Surroundings,
)
from deep_clustering.methods.pretraining.simclr import nt_xent

#: Smallest weight of a pair in Eq. 11: with 0, a batch predicted as one cluster has no denominator.
WEIGHT_FLOOR = 1e-12
#: Smallest score of Eq. 9: below it a cluster has no mass at all, up to rounding.
SCORE_FLOOR = 1e-300


# --- Losses and targets, in the order of the paper ------------------------------------------------

Total = Callable[[Tensor], Tensor]


def _alone(value: Tensor) -> Tensor:
    return value


def _cosine(features: Tensor, total: Total) -> tuple[Tensor, Tensor]:
    return F.normalize(features, dim=1), torch.full_like(features[:, 0], 0.5)


def _squared(features: Tensor, total: Total) -> tuple[Tensor, Tensor]:
    sums = total(torch.cat([features.detach().sum(0), features.new_tensor([len(features)])]))
    points = features - sums[:-1] / sums[-1]  # distances do not change, rounding does
    return points * 2**0.5, points.square().sum(1)


#: Distance -> points (n, d) and halves (n,) such that d_ij = half_i + half_j - point_i . point_j.
DISTANCES: dict[str, Callable[[Tensor, Total], tuple[Tensor, Tensor]]] = {
    "cosine": _cosine,
    "squared": _squared,
}


def _aggregates(
    points: Tensor, halves: Tensor, probabilities: Tensor, total: Total
) -> tuple[Tensor, Tensor, Tensor]:
    """Mass (K,), weighted sum of halves (K,) and of points (d, K) of each cluster."""
    columns = torch.cat([torch.ones_like(halves)[:, None], halves[:, None], points], 1)
    sums = total(columns.T @ probabilities)
    return sums[0], sums[1], sums[2:]


def distance_sums(
    features: Tensor, probabilities: Tensor, *, distance: str = "cosine", total: Total = _alone
) -> Tensor:
    """S = D P of Eq. 9, from sums over the clusters: the B x B distances D are never made.

    Args:
        features: (n, d) of this rank's samples.
        probabilities: (n, K) of the same samples.
        distance: a key of `DISTANCES`: 1 - cosine, or the squared Euclidean distance.
        total: sum over the ranks; the batch is all their samples.

    Returns:
        (n, K): sum over the batch of p_jk d_ij, not negative up to rounding. A sample's distance to
        itself is 0.
    """
    points, halves = DISTANCES[distance](features, total)
    mass, half, sums = _aggregates(points, halves, probabilities, total)
    return halves[:, None] * mass + half - points @ sums


@torch.no_grad()
def opa_target(
    features: Tensor,
    probabilities: Tensor,
    m: float,
    *,
    distance: str = "cosine",
    total: Total = _alone,
) -> Tensor:
    """Target of Eq. 9: one step of probability aggregation on a batch, in float64.

    Args:
        features: (n, d) of this rank's original views.
        probabilities: (n, K) of the clustering head for the same views.
        m: exponent, above 1; close to 1 the targets are nearly hard.
        distance: a key of `DISTANCES`.
        total: sum over the ranks; the batch is all their samples.

    Returns:
        (n, K) distributions q proportional to S^(-1 / (m - 1)), float64, without a graph.
    """
    sums = distance_sums(features.double(), probabilities.double(), distance=distance, total=total)
    return (sums.clamp_min(SCORE_FLOOR).log() / (1 - m)).softmax(1)


def divergence(targets: Tensor, logits: Tensor) -> Tensor:
    """Eq. 10: KL(q || softmax of the logits) (n,) of each sample, both (n, K); 0 log 0 is 0."""
    return (torch.xlogy(targets, targets) - targets * logits.log_softmax(1)).sum(1)


def weighted_contrast(
    first: Tensor,
    second: Tensor,
    probabilities: Tensor,
    temperature: float,
    positive_weight: str = "printed",
) -> Tensor:
    """Eq. 11: SimCLR's loss in which a pair counts by how surely its clusters differ.

    Args:
        first, second: (B, d), unit rows; two views of the same images.
        probabilities: (B, K) of the original views; no gradient passes.
        temperature: above 0.
        positive_weight: of the positive pair in the denominator: "printed" is 1 - |p|^2, as of all
            pairs; "one"; "none" leaves it out.

    Returns:
        (2B,) losses, as of `nt_xent`. With p uniform they are `nt_xent` + log(1 - 1/K). A pair that
        is surely of one cluster has a weight of 1e-12, so that the loss stays finite in a collapse.
    """
    p = probabilities.detach().to(torch.promote_types(probabilities.dtype, first.dtype))
    weights = (1 - p @ p.T).clamp_min(WEIGHT_FLOOR)
    logarithms = weights.log()
    if positive_weight in POSITIVES:
        logarithms = logarithms.diagonal_scatter(
            torch.full_like(logarithms[0], POSITIVES[positive_weight])
        )
    return nt_xent(first, second, temperature, logarithms)


#: Logarithm of the positive pair's weight where it is not that of all pairs.
POSITIVES = {"one": 0.0, "none": -torch.inf}


def aggregation(
    features: Tensor, probabilities: Tensor, *, distance: str = "cosine", total: Total = _alone
) -> Tensor:
    """Eq. 13 times B: the sum over all pairs of <p_i, p_j> d_ij, 0-d, from sums over the clusters.

    Args:
        features: (n, d) of this rank's samples, wide enough for a difference of large numbers.
        probabilities: (n, K) of the same samples.
        distance: a key of `DISTANCES`.
        total: sum over the ranks that keeps the gradient of this one's term.
    """
    points, halves = DISTANCES[distance](features, total)
    mass, half, sums = _aggregates(points, halves, probabilities, total)
    return 2 * (mass @ half) - sums.square().sum()


def self_labels(logits: Tensor, threshold: float) -> tuple[Tensor, Tensor]:
    """Labels (n,) of the clustering head's logits (n, K), and 1.0 where it is confident (n,)."""
    confidence, labels = logits.detach().softmax(1).max(1)
    return labels, (confidence >= threshold).to(logits.dtype)


def aligned(targets: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Targets (n, K) with columns permuted so that their hard labels agree most with `labels` (n,).

    Runs of an offline method name their clusters in any order; the head has one already.
    """
    clusters = targets.shape[1]
    counts = np.zeros((clusters, clusters))
    np.add.at(counts, (targets.argmax(1), labels), 1)
    rows, columns = linear_sum_assignment(counts, maximize=True)
    result = np.empty_like(targets)
    result[:, columns] = targets[:, rows]
    return result


# --- Choices, each looked up once when the class is built -----------------------------------------


def _kmeans_targets(
    config: DPACConfig, features: np.ndarray, seed: int, start: np.ndarray
) -> np.ndarray:
    labels = kmeans(torch.from_numpy(features), config.clusters, seed=seed).labels
    return F.one_hot(labels, config.clusters).double().numpy()


def _fcm_targets(
    config: DPACConfig, features: np.ndarray, seed: int, start: np.ndarray
) -> np.ndarray:
    from deep_clustering.methods.clustering.fcm import fcm

    return fcm(features, config.clusters, m=config.fcm_m, seed=seed)


def _pac_targets(
    config: DPACConfig, features: np.ndarray, seed: int, start: np.ndarray
) -> np.ndarray:
    from deep_clustering.methods.algorithms.pac import pac_probabilities

    return pac_probabilities(
        features,
        config.clusters,
        m=config.m,
        metric="cosine" if config.distance == "cosine" else "sqeuclidean",
        seed=seed,
        start=start if config.offline_warm_start else None,
    )


#: (config, features (n, d) float64, seed, predictions (n, K)) -> targets (n, K).
OFFLINE: dict[str, Callable[[DPACConfig, np.ndarray, int, np.ndarray], np.ndarray]] = {
    "kmeans": _kmeans_targets,
    "fcm": _fcm_targets,
    "pac": _pac_targets,
}


STATISTICS: dict[str, Callable[..., AbstractContextManager[None]]] = {
    "update": lambda *networks: nullcontext(),
    "batch": batch_statistics,
    "running": evaluation,
}


# --- The model ------------------------------------------------------------------------------------


class _Batch(NamedTuple):
    """A global batch as this rank sees it."""

    indices: Tensor  # (n,) of this rank's images
    first: Tensor  # (n, D) features of the first views
    logits: Tensor  # (n, K) of the clustering head for them
    features: Tensor  # (n, D) of the original views
    probabilities: Tensor  # (n, K) for the original views


class _Table(nn.Module):
    """The offline target of every image."""

    targets: Tensor

    def __init__(self, images: int, clusters: int) -> None:
        super().__init__()
        self.register_buffer("targets", torch.zeros(images, clusters, dtype=torch.float64))


class DPAC(Clusterer):
    """Joint training of an encoder and a clustering head towards online targets (Algorithm 3).

    See `Clusterer`.

    Args:
        config: the method.
        encoder_state: what the configured pretraining ended with; None starts from random weights.
        context: see `Context`.

    Raises:
        ValueError: a batch that the processes cannot share, or weights that are not those of the
            pretraining.
    """

    def __init__(
        self,
        config: DPACConfig,
        *,
        encoder_state: Mapping[str, Tensor] | None = None,
        **context: Unpack[Context],
    ) -> None:
        self.config = config
        pretrain = config.pretrain
        super().__init__(
            config,
            {"encoder": self._build_encoder},
            side=pretrain.side,
            mean=pretrain.mean,
            std=pretrain.std,
            enlargement=pretrain.enlargement,
            frame=pretrain.frame,
            **context,
        )
        self._representation = self._represented(
            Surroundings(
                encoder=self._encoder,
                side=self._side,
                replicas=self._replicas,
                rows=self._rows,
                batch=config.batch_size,
                seed=self._seed,
                autocast=self._autocast,
                contrast=CONTRASTS[config.weighted](config),
            )
        )
        if encoder_state is not None:
            unpack(encoder_state, {"encoder": self._encoder, **self._representation.modules})
        self._generators = {
            name: generator(self._seed, f"{name} view") for name in self._representation.views
        }

        self._make_heads(
            ("clustering", "linear")[: 1 + (config.self_label_epochs > 0)],
            lambda name: HEADS[name](config, self._encoder.dimension, self._replicas),
        )
        self._clustering = self._heads["clustering"]

        learnt = _parameters(self._encoder, *self._representation.trained.values())
        heads = _parameters(*self._heads.values())
        self._optimiser = adam(
            (learnt, config.encoder_lr),
            (heads, config.head_lr),
            weight_decay=config.weight_decay,
        )
        self._objective = OBJECTIVES[config.objective]
        self._target = DPAC._online if config.offline is None else DPAC._stored
        self._table = (
            None
            if config.offline is None
            else _Table(len(self._images), config.clusters).to(self._device)
        )
        self._statistics = STATISTICS[config.target_statistics]
        self._passed = HEAD_VIEWS[config.head_views]

    def _build_encoder(self, side: int, replicas: Replicas) -> Encoder:
        """The encoder of the pretraining with fresh weights."""
        pretrain = self.config.pretrain
        return FRAMEWORKS[pretrain.framework].encoder(pretrain, side, replicas)

    def _represented(self, around: Surroundings) -> Representation:
        """What the encoder keeps learning beside the clusters, and the views that it is given."""
        pretrain = self.config.pretrain
        return FRAMEWORKS[pretrain.framework].representation(pretrain, around)

    def initialise(self) -> dict[str, float]:
        """Looks at the features that training starts from.

        Returns:
            `largest_m`: about the largest m with which the head leaves the uniform prediction, 1 +
            the share of the features' variance along its first direction. With a larger m every
            prediction stays at 1/K (Table 6).

        Raises:
            ValueError: fewer images than a batch.
        """
        self._require_a_batch()
        points, _ = DISTANCES[self.config.distance](self._clean_outputs()[0].double(), _alone)
        spectrum = torch.linalg.eigvalsh(points.T.cov(correction=0))
        return {"largest_m": 1 + float(spectrum[-1] / spectrum.sum().clamp_min(SCORE_FLOOR))}

    # --- Algorithm 3, one batch -----------------------------------------------------------------

    def step(self, indices: Tensor) -> dict[str, Tensor]:
        """One Adam step on a global batch.

        Args:
            indices: (batch_size,) of the images, the same on every rank.

        Returns:
            `representation_loss` (Eq. 11, or that of the framework), `clustering_loss` (Eq. 10 or
            13), `self_label_loss` (0 outside the self-labelling epochs) and `self_labelled`, the
            share of the batch that it learns from; `entropy` of the mean prediction for first
            views, in nats; `confidence`, mean over the batch on original views; `pair_weight`, mean
            weight of Eq. 11, near 0 when all is one cluster.
        """
        mine = self._mine(indices)
        if self._table is not None and self._steps % self._every() == 0:
            self._refresh(self._table)
        pictures = self._images.take(mine)
        views = torch.cat(
            [self._viewed(view, pictures, self._generators[name]) for name, view in self._views()]
        )
        features = self._encoded(views)
        n = len(mine)
        logits = self._clustering(self._passed(features, n))[:n]
        batch = _Batch(mine, features[:n], logits, *self._observed(pictures))
        predictions = self._replicas.gather(batch.probabilities, self._rows, self.batch_size)

        learnt, representation = self._representation.loss(features, views, predictions)
        aggregated, clustering = self._objective(self, batch)
        mean = self._replicas.global_sum(batch.logits.softmax(1).sum(0) / self.batch_size)
        balance = negative_entropy(mean)
        labelled, labelling, share = self._self_labelled(batch, features[-len(mine) :])
        loss = learnt + aggregated + self.config.balance_weight * balance + labelled

        descend(loss, self._optimiser, self._replicas, self._loss_scale)
        self._representation.follow(self._steps)
        self._steps += 1
        return {
            "representation_loss": representation,
            "clustering_loss": clustering,
            "self_label_loss": labelling,
            "self_labelled": share,
            "entropy": -balance.detach(),
            "confidence": predictions.amax(1).mean(),
            "pair_weight": 1 - predictions.mean(0).square().sum(),
        }

    def _views(self) -> list[tuple[str, View]]:
        return list(self._representation.views.items())

    def _observed(self, pictures: Pictures) -> tuple[Tensor, Tensor]:
        """Features and predictions of the original views, which targets and weights come from.

        No gradient passes, except through the distances of Eq. 13 where that is asked for.
        """
        through = self.config.objective == "pac" and not self.config.detach_distance
        statistics = self._statistics(self._encoder, self._clustering)
        with torch.set_grad_enabled(through), statistics:
            features = self._encoded(self.clean(pictures))
            return features, self._clustering(features).softmax(1)

    def _towards_targets(self, batch: _Batch) -> tuple[Tensor, Tensor]:
        """Eq. 10: this rank's part of the mean over the batch, and the mean."""
        targets = self._target(self, batch).to(batch.logits.dtype)
        loss = divergence(targets, batch.logits).sum() / self.batch_size
        return loss, self._replicas.total(loss)

    def _aggregation(self, batch: _Batch) -> tuple[Tensor, Tensor]:
        """Eq. 13, of all ranks."""
        features = {"original": batch.features, "first": batch.first}[self.config.distance_view]
        loss = aggregation(
            features.detach().double() if self.config.detach_distance else features.double(),
            batch.logits.double().softmax(1),
            distance=self.config.distance,
            total=self._replicas.global_sum,
        )
        loss = loss / self.batch_size
        return loss, loss.detach()

    def _online(self, batch: _Batch) -> Tensor:
        config = self.config
        return opa_target(
            batch.features,
            batch.probabilities,
            config.m,
            distance=config.distance,
            total=self._replicas.total,
        )

    def _stored(self, batch: _Batch) -> Tensor:
        assert self._table is not None
        return self._table.targets[batch.indices.to(self._device)]

    def _self_labelled(self, batch: _Batch, last: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The linear head's loss on the last views: this rank's part, the mean, the share used."""
        config = self.config
        zero = torch.zeros((), device=self._device)
        begin = (config.epochs - config.self_label_epochs) * self._per_epoch
        if config.self_label_epochs == 0 or self._steps < begin:
            return zero, zero, zero
        labels, confident = self_labels(batch.logits, config.self_label_threshold)
        losses = F.cross_entropy(self._heads["linear"](last), labels, reduction="none")
        loss = (losses * confident).sum() / self.batch_size
        sums = self._replicas.total(torch.stack([loss, confident.sum()]))
        return loss, sums[0], sums[1] / self.batch_size

    # --- Offline targets, Table 7 ---------------------------------------------------------------

    def _every(self) -> int:
        return self.config.offline_every * self._per_epoch

    def _refresh(self, table: _Table) -> None:
        """Runs the offline method on the original views of all images trained on."""
        config = self.config
        assert config.offline is not None
        features, predictions = self._clean_outputs()
        points, _ = DISTANCES[config.distance](features.double(), _alone)
        start = predictions.double().cpu().numpy()
        seed = derived(self._seed, f"offline {self._steps}") % 2**31
        found = OFFLINE[config.offline](config, points.cpu().numpy(), seed, start)
        targets = torch.from_numpy(aligned(found, start.argmax(1))).to(table.targets)
        table.targets[self._index.to(self._device)] = targets

    def _clean_outputs(self) -> tuple[Tensor, Tensor]:
        """Features (N, D) and predictions (N, K) of all images trained on, in evaluation mode."""

        @torch.no_grad()
        def outputs(indices: Tensor) -> Tensor:
            features = self.features(indices)
            with evaluation(self._clustering):
                return torch.cat([features, self._clustering(features).softmax(1)], 1)

        features, predictions = self._of_all(outputs).split(
            [self._encoder.dimension, self.config.clusters], 1
        )
        return features, predictions

    # --- State ----------------------------------------------------------------------------------

    def _parts(self) -> Parts:
        modules = {**self._networks(), **self._representation.modules}
        if self._table is not None:
            modules["offline"] = self._table
        generators = {f"generator.{name}": g for name, g in self._generators.items()}
        return modules, {"optimiser": self._optimiser}, generators


def _parameters(*networks: nn.Module) -> list[nn.Parameter]:
    return [parameter for network in networks for parameter in network.parameters()]


#: Name -> a head with fresh weights: features (n, D) to logits (n, K).
HEADS: dict[str, Callable[[DPACConfig, int, Replicas], nn.Module]] = {
    "clustering": lambda config, dimension, replicas: perceptron(
        dimension, config.hidden, config.clusters, layers=2, norm=True, replicas=replicas
    ),
    "linear": lambda config, dimension, replicas: nn.Linear(dimension, config.clusters),
}

#: `weighted` -> the loss (2B,) of two views (B, d) each, given predictions (B, K).
CONTRASTS: dict[bool, Callable[[DPACConfig], Callable[[Tensor, Tensor, Tensor], Tensor]]] = {
    True: lambda config: (
        lambda first, second, p: weighted_contrast(
            first, second, p, config.temperature, config.positive_weight
        )
    ),
    False: lambda config: lambda first, second, p: nt_xent(first, second, config.temperature),
}

#: (features (v n, D) of this rank's stacked views, n) -> those that the clustering head is given.
#: Its answer is read for the first views alone; what else passes takes part in the statistics of
#: its batch normalisation, and so receives a gradient.
HEAD_VIEWS: dict[str, Callable[[Tensor, int], Tensor]] = {
    "first": lambda features, n: features[:n],
    "all": lambda features, n: features,
}

#: The loss of a batch: this rank's term, whose gradients add up over the ranks, and its value.
OBJECTIVES: dict[str, Callable[[DPAC, _Batch], tuple[Tensor, Tensor]]] = {
    "opa": DPAC._towards_targets,
    "pac": DPAC._aggregation,
}
