"""CDC at work: losses and targets in the order of the paper, then the model.

Eq., Sec., Table and App. are those of the paper that `methods.cdc` cites; "release" is the authors'
code, whose reading is the default where the paper is silent.
"""

from collections.abc import Callable, Mapping
from contextlib import nullcontext
from typing import NamedTuple, Unpack

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from deep_clustering.methods.algorithms._cdc_batch import Batch, Observed, Slice
from deep_clustering.methods.cdc import CDCSettings
from deep_clustering.methods.clustering.batches import mini_clusters, never_waits
from deep_clustering.methods.clustering.components import components
from deep_clustering.methods.clustering.kmeans import kmeans
from deep_clustering.methods.clustering.points import prepared
from deep_clustering.methods.compute.aside import Aside, side_stream
from deep_clustering.methods.compute.random import generator
from deep_clustering.methods.compute.replicas import Replicas
from deep_clustering.methods.consensus import OF_IMAGES
from deep_clustering.methods.images.pictures import Frame
from deep_clustering.methods.images.strong import Strong
from deep_clustering.methods.images.view import View
from deep_clustering.methods.images.weak import Weak
from deep_clustering.methods.learning.clusterer import Clusterer, negative_entropy
from deep_clustering.methods.learning.learner import Context, Parts, adam, evaluation
from deep_clustering.methods.learning.prototypes import prototypes
from deep_clustering.methods.learning.selection import (
    Fixed,
    FlexMatch,
    FreeMatch,
    Gradients,
    Prototypes,
)
from deep_clustering.methods.learning.state import unpack
from deep_clustering.methods.networks.batchnorm import BatchNorm
from deep_clustering.methods.networks.encoders import Encoder, described

#: Starts of the k-means in components: of ten, the best is still a matter of luck there.
_STARTS = 30

# --- Losses and targets, in the order of the paper ------------------------------------------------


def mini_cluster_targets(probabilities: Tensor, assignment: Tensor, regions: int) -> Tensor:
    """Targets of Eq. 1: each sample gets the mean prediction of its mini-cluster.

    Args:
        probabilities: (B, C), predictions of the clustering head; no gradient passes.
        assignment: (B,) mini-cluster of each sample, 0 to K - 1; some may be empty.
        regions: K.

    Returns:
        (B, C) distributions with the same sum over the batch as `probabilities`.
    """
    probabilities = probabilities.detach()
    member = assignment[:, None] == torch.arange(regions, device=assignment.device)
    weights = member.to(probabilities.dtype)
    sizes = weights.sum(0).clamp_min(1)  # an empty mini-cluster is never looked up
    means = (weights.T @ probabilities) / sizes[:, None]
    return means[assignment]


def soft_cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """Cross-entropy (n,) of each sample's logits (n, C) against a distribution (n, C); Eq. 1."""
    return -(targets * logits.log_softmax(1)).sum(1)


def focal_loss(logits: Tensor, targets: Tensor, gamma: float | Tensor) -> Tensor:
    """-sum of t (1 - p)^gamma log p for each sample (n,); gamma 0 is the cross-entropy."""
    log_p = logits.log_softmax(1)
    return -(targets * (1 - log_p.exp()).pow(gamma) * log_p).sum(1)


def class_counts(confidence: Tensor, cap: int) -> Tensor:
    """Eq. 4: floor(M * mean confidence of a class's M candidates) samples to take from it.

    The product is float32, as in the release: a class saturated up to rounding yields M - 1.

    Args:
        confidence: (M, C), largest probability of each candidate.
        cap: M.

    Returns:
        (C,) counts from 0 to M, of the dtype of `confidence`.
    """
    return (cap * confidence.mean(0)).floor()


def select_by_confidence(probabilities: Tensor, cap: int) -> Tensor:
    """Samples worth learning from, by the confidence of their class (Sec. 3.2, Eq. 4).

    For each class the M samples of the whole batch with the largest probability of it are its
    candidates; the first n_c (Eq. 4) of them are taken. A sample may enter through a class that is
    not its own most probable one, and counts once. Samples whose probabilities are exactly equal
    are ranked in the order of the batch, so that every kind of device takes the same ones.

    Args:
        probabilities: (B, C) of the calibration head on weak views.
        cap: M, at most B.

    Returns:
        (B,) bool.
    """
    order = probabilities.argsort(dim=0, descending=True, stable=True)  # `topk` leaves ties open
    candidates = order[:cap]  # (M, C), best first
    counts = class_counts(probabilities.amax(1)[candidates], cap)
    taken = torch.arange(cap, device=probabilities.device)[:, None] < counts
    hits = torch.zeros(len(probabilities), device=probabilities.device)
    return hits.index_add_(0, candidates.flatten(), taken.flatten().to(hits.dtype)) > 0


def smoothed_labels(probabilities: Tensor, smoothing: float) -> Tensor:
    """Hard labels of the predictions (B, C) as distributions (B, C), some of it spread evenly."""
    classes = probabilities.shape[1]
    best = probabilities.argmax(1, keepdim=True)
    hard = torch.zeros_like(probabilities).scatter_(1, best, 1.0)
    return (1 - smoothing) * hard + smoothing / classes


# --- Choices, each looked up once when the class is built -----------------------------------------


class Calibrator(NamedTuple):
    """How the calibration head is taught.

    `targets(features (B, D), probabilities (B, C))` makes distributions (B, C) from features of the
    clean views of a whole batch and predictions of `target_view`; `loss(logits (n, C), targets
    (n, C), epoch)` is a loss (n,) for each sample, the epoch counted from 0. `queued(features)`
    says whether the targets are made without a wait for the device.
    """

    targets: Callable[[Tensor, Tensor], Tensor]
    loss: Callable[[Tensor, Tensor, float | Tensor], Tensor]
    queued: Callable[[Tensor], bool] = lambda features: True


def _mini_clusters(config: CDCSettings) -> Calibrator:
    sizes = config.mini_clusters, config.kmeans_restarts

    def points(features: Tensor) -> Tensor:
        return F.normalize(features, p=1.0, dim=1) if config.unit_features else features

    def targets(features: Tensor, probabilities: Tensor) -> Tensor:
        found = mini_clusters(points(features), *sizes)
        return mini_cluster_targets(probabilities, found.labels, config.mini_clusters)

    return Calibrator(
        targets,
        lambda logits, targets, epoch: soft_cross_entropy(logits, targets),
        lambda features: never_waits(points(features), *sizes),
    )


def _label_smoothing(config: CDCSettings) -> Calibrator:
    return Calibrator(
        lambda features, p: smoothed_labels(p, config.label_smoothing),
        lambda logits, targets, epoch: soft_cross_entropy(logits, targets),
    )


def _focal(config: CDCSettings) -> Calibrator:
    def loss(logits: Tensor, targets: Tensor, epoch: float | Tensor) -> Tensor:
        return focal_loss(logits, targets, config.focal_gamma * (epoch >= config.focal_warmup))

    return Calibrator(lambda features, p: smoothed_labels(p, 0.0), loss)


def _l1(config: CDCSettings) -> Calibrator:
    def loss(logits: Tensor, targets: Tensor, epoch: float | Tensor) -> Tensor:
        return soft_cross_entropy(logits, targets) + config.l1_weight * logits.abs().sum(1)

    return Calibrator(lambda features, p: smoothed_labels(p, 0.0), loss)


CALIBRATORS: dict[str, Callable[[CDCSettings], Calibrator]] = {
    "mini-cluster": _mini_clusters,
    "label-smoothing": _label_smoothing,
    "focal": _focal,
    "l1": _l1,
}


class Calibrated(nn.Module):
    """The selection rule of CDC, in the form of the rules in `learning.selection`."""

    def __init__(self, cap: int) -> None:
        super().__init__()
        self.cap = cap

    def forward(self, probabilities: Tensor, indices: Tensor) -> tuple[Tensor, Tensor]:
        selected = select_by_confidence(probabilities, self.cap)
        confidence = probabilities.amax(1)
        return selected, torch.where(selected, confidence, 1.0).amin()


RULES: dict[str, Callable[[CDCSettings, int, Tensor], nn.Module]] = {
    "calibrated": lambda config, images, trained: Calibrated(
        config.class_cap or config.batch_size // config.clusters
    ),
    "flexmatch": lambda config, images, trained: FlexMatch(
        images,
        trained,
        config.clusters,
        threshold=config.flexmatch_threshold,
        warmup=config.flexmatch_warmup,
    ),
    "freematch": lambda config, images, trained: FreeMatch(
        config.clusters, momentum=config.freematch_momentum
    ),
}

FILTERS: dict[str, Callable[[CDCSettings, int], nn.Module]] = {
    "ppf": lambda config, dimension: Prototypes(
        config.clusters, dimension, floor=config.filter_floor, momentum=config.filter_momentum
    ),
    "gsf": lambda config, dimension: Gradients(
        config.clusters,
        dimension,
        floor=config.filter_floor,
        momentum=config.filter_momentum,
        score=config.gsf_score,
    ),
}


class _NoFilter(nn.Module):
    def forward(self, selected: Tensor, *others: object) -> Tensor:
        return selected


# --- The model ------------------------------------------------------------------------------------


class Head(nn.Module):
    """Features (n, D) to logits (n, C): linear, batch normalisation, ReLU, linear (Sec. 3.3)."""

    def __init__(self, dimension: int, hidden: int, clusters: int, replicas: Replicas) -> None:
        super().__init__()
        self.hidden = nn.Linear(dimension, hidden)
        self.norm = BatchNorm(hidden, replicas=replicas)
        self.output = nn.Linear(hidden, clusters)

    def forward(self, features: Tensor) -> Tensor:
        return self.output(self.norm(self.hidden(features)).relu_())

    @torch.no_grad()
    def install(self, first: Tensor, second: Tensor) -> None:
        """Puts prototypes (H, D) and (C, H) in as weights, in place, and clears the biases.

        Before training, logits are then proportional to the features' length, and grow with H: how
        confident the heads are says how long features are, not how good. On digits (length 4.7,
        H = 64) they are far underconfident, ECE .66; it is .51 for H = 256 and .33 for H = 512, and
        .02 with the one temperature that fits the labels.
        """
        self.hidden.weight.copy_(first)
        self.output.weight.copy_(second)
        self.hidden.bias.zero_()
        self.output.bias.zero_()


def weighted(features: Tensor) -> Tensor:
    """Features (n, D) as `consensus` clusters those of images: (n, components), ours.

    In one thread, so that the number of processors plays no part.
    """
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

    points = prepared(features.cpu().numpy(), unit=OF_IMAGES.unit)
    with threadpool_limits(1):
        seen = components(points, OF_IMAGES.dimensions, weighting=OF_IMAGES.weighting)
        return torch.from_numpy(seen(points)).to(features)


class CDC(Clusterer):
    """Joint training of a clustering and a calibration head (Algorithm 1); see `Clusterer`.

    Args:
        config: the method.
        encoder_state: weights of exactly the configured backbone; None starts from random ones.
        context: see `Context`; the features of the images trained on make the prototypes.

    Raises:
        ValueError: a batch that the processes cannot share, or weights that are not those of the
            backbone.
    """

    _heads: Mapping[str, Head]

    def __init__(
        self,
        config: CDCSettings,
        *,
        encoder_state: Mapping[str, Tensor] | None = None,
        **context: Unpack[Context],
    ) -> None:
        self.config = config
        self._slices = config.batch_size // config.sub_batch_size
        network = config.network
        super().__init__(
            config,
            {"encoder": self._build_encoder},
            side=network.side,
            enlargement=network.enlargement,
            mean=config.mean,
            std=config.std,
            slices=self._slices,
            **context,
        )
        self._share = config.sub_batch_size // self._replicas.world
        if encoder_state is not None:
            unpack(encoder_state, {"": self._encoder})

        device, dimension = self._device, self._encoder.dimension
        self._weak, self._strong = self._views()
        self._generators = {
            name: generator(self._seed, f"{name} view") for name in ("weak", "strong")
        }
        self._make_heads(
            HEADS[config.heads],
            lambda name: Head(dimension, config.hidden, config.clusters, self._replicas),
        )
        self._clustering = self._heads["clustering"]
        self._final = self._heads[self.final_head]
        rates = {"encoder": config.encoder_lr, **dict.fromkeys(self.heads, config.head_lr)}
        self._optimisers = {
            name: adam((module.parameters(), rates[name]), weight_decay=config.weight_decay)
            for name, module in self._networks().items()
            if any(True for _ in module.parameters())  # a frozen encoder has none
        }

        self._calibrator = CALIBRATORS[config.calibration_loss](config)
        rule = RULES[config.selection]
        self._rule = (
            rule(config, len(self._images), self._index)
            if config.fixed_threshold is None
            else Fixed(config.fixed_threshold)
        ).to(device)
        self._filter = (
            _NoFilter() if config.filter is None else FILTERS[config.filter](config, dimension)
        ).to(device)
        self._update = UPDATES[config.heads, config.stop_gradient]
        self._side_stream = side_stream(device)
        self._looked = self._piece("the passes without gradient", self._look)
        self._clustered = self._piece("the clustering step", self._cluster)
        self._calibrated = self._piece("the calibration step", self._calibrate)
        self._joined = self._piece("the joint step", self._join)

    def _build_encoder(self, side: int, replicas: Replicas) -> Encoder:
        """The configured backbone with fresh weights."""
        return described(self.config.network)(side, replicas)

    def _views(self) -> tuple[View, View]:
        """The weak and the strong view."""
        config, side = self.config, self._side
        crops = config.weak_crop, config.strong_crop
        # Without a crop a view is the centred square, as SCAN's are.
        frames: list[Frame] = [config.network.frame if crop < 1 else "centre" for crop in crops]
        operations = config.operations, config.cutout
        return (
            Weak(side, (crops[0], 1.0), config.weak_flip, frames[0]),
            Strong(side, (crops[1], 1.0), config.strong_flip, *operations, frames[1]),
        )

    # --- Sec. 3.3 -------------------------------------------------------------------------------

    def initialise(self) -> dict[str, float]:
        """Prepares the heads (Sec. 3.3).

        Returns:
            With prototypes, `prototype_overlap`: the largest cosine between two clusters' rows of
            the second layer, near 1 when clusters coincide. Otherwise nothing.

        Raises:
            ValueError: fewer images than a batch, or than prototypes.
        """
        self._require_a_batch()
        return INITIALISATIONS[self.config.initialisation](self)

    def _given_labels(self, features: Tensor) -> Tensor | None:
        """Clusters (n,) that the prototypes are to have; None finds them among activations.

        Args:
            features: (n, D) of the images trained on.
        """
        if self.config.grouping == "activations":
            return None
        clusters = self.config.clusters
        return kmeans(weighted(features), clusters, restarts=_STARTS, seed=self._seed).labels

    def _install_prototypes(self) -> dict[str, float]:
        config = self.config
        if len(self._index) < config.hidden:
            raise ValueError(
                f"hidden: {config.hidden} prototypes need as many images, got {len(self._index)}; "
                "choose a smaller hidden"
            )
        features = self._of_all(self.features)
        # K-means seed 0 for every run, as in the release: the prototypes follow from the features,
        # and from the clusters where these are given.
        first, second = prototypes(
            features, config.hidden, config.clusters, 0, self._given_labels(features)
        )
        for head in self._heads.values():
            head.install(first, second)
        rows = F.normalize(second, dim=1)
        cosines = (rows @ rows.T).fill_diagonal_(-1.0)
        return {"prototype_overlap": float(cosines.amax())}

    # --- Algorithm 1, one batch -----------------------------------------------------------------

    def step(self, indices: Tensor) -> dict[str, Tensor]:
        """Selection and targets for a global batch, then one optimiser step for each slice of it.

        Args:
            indices: (batch_size,) of the images, the same on every rank.

        Returns:
            `clustering_loss` (Eq. 5; 0 when nothing was selected), `calibration_loss` (Eq. 1) and
            `entropy` (of the mean prediction, in nats, -Eq. 2), means over the slices; `selected`,
            share of the batch; `skipped`, slices without a selected sample, whose clustering step
            is left out unless `empty_step`; `threshold`, the confidence asked (the lowest selected
            one where the rule is by counts); `confidence`, mean over the batch on weak views.
        """
        pictures = self._images.take(self._mine(indices))
        clean = self.clean(pictures)
        weak = self._viewed(self._weak, pictures, self._generators["weak"])
        strong = self._viewed(self._strong, pictures, self._generators["strong"])
        self._now.set(epoch=self._steps // self._per_epoch)
        seen = Observed(*self._looked(indices.to(self._device), clean, weak))
        targets = Aside(
            lambda: self._calibrator.targets(seen.all_features, seen.all_taught)[self._rows],
            self._side_stream,
            queued=self.config.heads != "single" and self._calibrator.queued(seen.all_features),
        )
        batch = Batch(strong, clean, seen, targets, self._share)
        losses = torch.stack([self._update(self, batch, j) for j in range(self._slices)])
        clustering, calibration, entropy = losses.sum(0)
        # The first two are this rank's shares of the sum, the entropy is of all.
        clustering, calibration = self._replicas.total(torch.stack([clustering, calibration]))
        skipped = seen.empty.sum()
        self._steps += 1
        return {
            "clustering_loss": clustering / (self._slices - skipped).clamp_min(1),
            "calibration_loss": calibration / self._slices,
            "entropy": entropy / self._slices,
            "selected": seen.share,
            "skipped": skipped,
            "threshold": seen.threshold,
            "confidence": seen.confidence,
        }

    @torch.no_grad()
    def _look(self, indices: Tensor, clean: Tensor, weak_view: Tensor) -> Observed:
        """Predictions of clean and weak views, pseudo-labels, selection (Sec. 3.1-2).

        Also the passes whose output nobody reads are made: they feed the running statistics that
        evaluation uses.
        """
        config = self.config
        running = evaluation(*self._networks().values())
        with nullcontext() if config.batch_statistics else running:
            features, weak_features = self._each_encoded([clean, weak_view])
            clean_logits = self._clustering(features)
            weak_logits = {name: head(weak_features) for name, head in self._heads.items()}
        whole = self._replicas.gather
        size = len(indices)
        weak = whole(weak_logits[self.final_head].softmax(1), self._rows, size)
        selected, threshold = self._rule(weak, indices)
        selected = self._filter(
            selected,
            weak,
            lambda: whole(weak_features, self._rows, size),
            self._clustering,
        )
        confidence, labels = weak.max(1)
        taught = clean_logits if config.target_view == "clean" else weak_logits["clustering"]
        chosen = selected.float()
        counts = chosen.view(self._slices, -1).sum(1)
        return Observed(
            features=features,
            all_features=whole(features, self._rows, size),
            all_taught=whole(taught.softmax(1), self._rows, size),
            labels=labels[self._rows],
            selected=chosen[self._rows],
            counts=counts,
            empty=(counts == 0).float(),
            share=chosen.mean(),
            threshold=threshold,
            confidence=confidence.mean(),
        )

    def _clustering_loss(self, part: Slice) -> Tensor:
        """Eq. 5 on a slice: this rank's part of the mean over its selected samples."""
        logits = self._clustering(self._encoded(part.strong))
        losses = F.cross_entropy(logits, part.labels, reduction="none")
        return (losses * part.selected).sum() / part.selections.clamp_min(1)

    def _calibration_losses(self, features: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Eqs. 1 and 2 on a slice: this rank's part of the first, and the second of all ranks."""
        logits = self._final(features)
        size = self.config.sub_batch_size
        losses = self._calibrator.loss(logits, targets, self._now["epoch"])
        mean = self._replicas.global_sum(logits.softmax(1).sum(0) / size)
        return losses.sum() / size, negative_entropy(mean)

    def _cluster(self, *given: Tensor) -> tuple[Tensor, ...]:
        """The clustering step of a `Slice`; its loss."""
        part = Slice(*given)
        loss = self._clustering_loss(part)
        both = ("encoder", "clustering")
        self._descend(loss, part.empty, taught=both, gated=both)
        return (loss.detach(),)

    def _calibrate(self, features: Tensor, targets: Tensor) -> tuple[Tensor, ...]:
        """The calibration step of a slice; its loss, and the entropy."""
        calibration, negative = self._calibration_losses(features, targets)
        loss = calibration + self.config.entropy_weight * negative
        self._descend(loss, None, taught=("calibration",), gated=())
        return calibration.detach(), -negative.detach()

    def _join(self, seen: Tensor, targets: Tensor, *given: Tensor) -> tuple[Tensor, ...]:
        """Both losses of a slice in one step; they, and the entropy.

        `seen`: features, where the encoder learns of the first loss alone; clean views where both
        reach it.
        """
        through = not self.config.stop_gradient
        part = Slice(*given)
        features = self._encoded(seen) if through else seen
        clustering = self._clustering_loss(part)
        calibration, negative = self._calibration_losses(features, targets)
        loss = clustering + calibration + self.config.entropy_weight * negative
        behind = (
            () if len(self.heads) == 1 else ("clustering",)
        )  # what the first loss alone reaches
        gated = behind if through else ("encoder",)
        self._descend(loss, part.empty, taught=("encoder", *self.heads), gated=gated)
        return clustering.detach(), calibration.detach(), -negative.detach()

    def _learn_clusters(self, batch: Batch, j: int) -> Tensor:
        """Table 2-III: the clustering step of a slice alone."""
        (clustering,) = self._clustered(*batch.slice(j))
        zero = torch.zeros_like(clustering)
        return torch.stack([clustering, zero, zero])

    def _learn_in_turn(self, batch: Batch, j: int) -> Tensor:
        """Algorithm 1: the clustering step of a slice, then the calibration step.

        The second sees features stored before the first, so nothing of it reaches the encoder.
        """
        (clustering,) = self._clustered(*batch.slice(j))
        features = batch.part(batch.observed.features, j)
        return torch.stack(
            [clustering, *self._calibrated(features, batch.part(batch.targets(), j))]
        )

    def _learn_jointly(self, batch: Batch, j: int) -> Tensor:
        """Table 2-IV: one head, both losses in one step; the encoder sees the first alone."""
        return self._learn_both(batch, j, batch.observed.features)

    def _learn_through(self, batch: Batch, j: int) -> Tensor:
        """Table 2-V: both losses in one step, and both reach the encoder."""
        return self._learn_both(batch, j, batch.clean)

    def _learn_both(self, batch: Batch, j: int, seen: Tensor) -> Tensor:
        targets = batch.part(batch.targets(), j)
        return torch.stack(self._joined(batch.part(seen, j), targets, *batch.slice(j)))

    def _descend(
        self, loss: Tensor, empty: Tensor | None, taught: tuple[str, ...], gated: tuple[str, ...]
    ) -> None:
        """One Adam step on the `taught` networks.

        Those `gated` by the selection stay exactly as they are, optimiser state included, when the
        slice is `empty` of selected samples, unless `empty_step`: a gradient of zero still moves
        them. The switch is the one that gradient scaling uses, which the device reads without
        telling the host.
        """
        networks = self._networks()
        taught = tuple(name for name in taught if name in self._optimisers)
        parameters = [p for name in taught for p in networks[name].parameters()]
        for parameter in parameters:
            parameter.grad = None
        loss.backward()
        self._replicas.reduce_gradients(parameters)
        for name in taught:
            optimiser = self._optimisers[name]
            left_out = name in gated and not self.config.empty_step
            optimiser.found_inf = empty if left_out else None  # type: ignore[attr-defined]
            optimiser.step()

    def _parts(self) -> Parts:
        modules = {**self._networks(), "rule": self._rule, "filter": self._filter}
        optimisers: dict[str, torch.optim.Optimizer] = {
            f"optimiser.{name}": optimiser for name, optimiser in self._optimisers.items()
        }
        generators = {f"generator.{name}": g for name, g in self._generators.items()}
        return modules, optimisers, generators


HEADS: dict[str, tuple[str, ...]] = {
    "dual": ("clustering", "calibration"),
    "single": ("clustering",),
    "single-calibrated": ("clustering",),
}

INITIALISATIONS: dict[str, Callable[[CDC], dict[str, float]]] = {
    "prototype": CDC._install_prototypes,
    "random": lambda model: {},
}

#: (heads, stop_gradient) -> the update of one slice; returns the losses (3,) it had.
UPDATES: dict[tuple[str, bool], Callable[[CDC, Batch, int], Tensor]] = {
    ("dual", True): CDC._learn_in_turn,
    ("dual", False): CDC._learn_through,
    ("single", True): CDC._learn_clusters,
    ("single", False): CDC._learn_clusters,
    ("single-calibrated", True): CDC._learn_jointly,
    ("single-calibrated", False): CDC._learn_through,
}
