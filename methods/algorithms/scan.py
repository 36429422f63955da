"""SCAN at work: losses in the order of the paper, then the model.

Eq. and Sec. are those of the paper that `methods.scan` cites; "release" is the authors' code.
"""

from collections.abc import Callable, Mapping
from contextlib import nullcontext
from typing import Unpack

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from deep_clustering.methods.compute.random import generator
from deep_clustering.methods.images.strong import Strong
from deep_clustering.methods.images.view import View
from deep_clustering.methods.learning.best import Best
from deep_clustering.methods.learning.clusterer import Clusterer, negative_entropy
from deep_clustering.methods.learning.learner import Context, Parts, adam, evaluation, sgd
from deep_clustering.methods.learning.state import unpack
from deep_clustering.methods.pretraining.pretext import (
    pretext_encoder,
    pretext_view,
)
from deep_clustering.methods.scan import SCANConfig

#: Smallest logarithm of a likelihood that the selection score sees; release.
LOG_FLOOR = -100.0


# --- Losses, in the order of the paper ------------------------------------------------------------


def inconsistency(anchors: Tensor, neighbours: Tensor) -> Tensor:
    """First term of Eq. 2: -log <p, q> of each image's and its neighbour's prediction.

    Args:
        anchors, neighbours: (..., n, C) logits.

    Returns:
        (..., n) from 0, where both are sure of one class; ln C where one of them is uniform.
    """
    return -(anchors.log_softmax(-1) + neighbours.log_softmax(-1)).logsumexp(-1)


def selection_scores(probabilities: Tensor, partners: Tensor) -> Tensor:
    """What the epoch and the head are selected by, without labels: Eq. 2 with lambda = 1.

    Args:
        probabilities: (N, H, C) of every image by every head.
        partners: (N, m) int64, positions of the images that each one is compared with.

    Returns:
        (H,) mean of -log <p_i, p_j> over the images and their partners, minus the entropy of the
        mean prediction, in nats; the lower the better, from -ln C.
    """
    inconsistent = torch.zeros(probabilities.shape[:2], device=probabilities.device)
    for column in partners.T:  # one partner at a time keeps memory at N * H * C
        likelihood = (probabilities * probabilities[column]).sum(2)
        inconsistent -= likelihood.log().clamp_min(LOG_FLOOR)
    mean = probabilities.mean(0)
    entropy = torch.stack([-negative_entropy(m) for m in mean])
    return inconsistent.mean(0) / partners.shape[1] - entropy


def confident_labels(probabilities: Tensor, threshold: float) -> tuple[Tensor, Tensor]:
    """Labels (n,) of predictions (n, C), and whether each is above a threshold (n,); Sec. 2.3."""
    confidence, labels = probabilities.max(1)
    return labels, confidence > threshold


def label_weights(labels: Tensor, confident: Tensor, classes: int, balanced: bool) -> Tensor:
    """What each image counts in the cross-entropy of a batch (Eq. 3).

    Args:
        labels: (B,) from 0 to C - 1.
        confident: (B,) bool; the others count nothing.
        classes: C.
        balanced: whether all classes with a confident image count the same; otherwise all
            confident images do.

    Returns:
        (B,) float, summing to 1, or 0 everywhere where nothing is confident.
    """
    chosen = confident.float()
    if not balanced:
        return chosen / chosen.sum().clamp_min(1)
    counts = torch.zeros(classes, device=labels.device).index_add_(0, labels, chosen)
    present = (counts > 0).sum().clamp_min(1)
    return chosen / (counts[labels].clamp_min(1) * present)


# --- The model ------------------------------------------------------------------------------------


class Heads(nn.Module):
    """Linear heads on the same features, one of which is the selected one."""

    selected: Tensor

    def __init__(self, dimension: int, clusters: int, count: int) -> None:
        super().__init__()
        self.linear = nn.ModuleList(nn.Linear(dimension, clusters) for _ in range(count))
        self.register_buffer("selected", torch.tensor(0))

    def every(self, features: Tensor) -> Tensor:
        """Logits (H, n, C) of all heads for features (n, D)."""
        return torch.stack([head(features) for head in self.linear])

    def forward(self, features: Tensor) -> Tensor:
        """Logits (n, C) of the selected head for features (n, D)."""
        return self.every(features).index_select(0, self.selected.view(1)).squeeze(0)


class _Tally(nn.Module):
    """How many self-labelling steps of this epoch had something to learn from."""

    taught: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("taught", torch.tensor(0.0))


class SCAN(Clusterer):
    """Clustering by neighbours, then by own labels, in one training; see `Clusterer`.

    The second phase starts from the weights of the epoch that was selected in the first one, with a
    fresh optimiser. `batch_size` is that of the phase.

    Args:
        config: the method.
        encoder_state: what the configured pretraining ended with; None starts from random weights.
        neighbours: (n, k) positions among the images trained on of each one's nearest others,
            nearest first; None leaves each image alone with itself.
        context: see `Context`.

    Raises:
        ValueError: a batch that the processes cannot share, or weights that are not those of the
            pretraining.
    """

    _heads: Mapping[str, Heads]

    def __init__(
        self,
        config: SCANConfig,
        *,
        encoder_state: Mapping[str, Tensor] | None = None,
        neighbours: Tensor | None = None,
        **context: Unpack[Context],
    ) -> None:
        self.config = config
        pretrain = config.pretrain
        super().__init__(
            config,
            {"encoder": lambda side, replicas: pretext_encoder(pretrain, side, replicas)},
            side=pretrain.side,
            enlargement=pretrain.enlargement,
            mean=pretrain.mean,
            std=pretrain.std,
            **context,
        )
        if encoder_state is not None:
            prefix = "encoder."
            own = {k: v for k, v in encoder_state.items() if k.startswith(prefix)}
            unpack(own, {"encoder": self._encoder})
        self._make_heads(
            ("clustering",),
            lambda name: Heads(self._encoder.dimension, config.clusters, config.heads),
        )
        self._clustering = self._heads["clustering"]

        device, count = self._device, len(self._index)
        itself = torch.arange(count)[:, None]
        others = itself[:, :0] if neighbours is None else neighbours.cpu()
        #: (n, k + 1) positions of what each image may be paired with, the image itself first
        self._partners = torch.cat([itself, others], 1).to(device)
        self._positions = torch.zeros(len(self._images), dtype=torch.long, device=device)
        self._positions[self._index.to(device)] = itself[:, 0].to(device)

        views = AUGMENTATIONS[config.augmentation], AUGMENTATIONS[config.self_label_augmentation]
        self._clustering_view, self._labelling_view = (make(config, self._side) for make in views)
        self._generators = {
            name: generator(self._seed, name)
            for name in ("anchor view", "neighbour view", "neighbour", "labelled view")
        }
        self._tally = _Tally().to(device)
        self._best = Best(self._networks()) if config.select_epoch else None
        self._replicas.rows(config.self_label_batch_size)  # refuses one that cannot be shared
        self._clustering_steps = config.clustering_epochs * self._per_epoch
        self._labelling = False
        self._keep_one_head()
        learning = [self._clustering] if config.freeze_encoder else [*self._networks().values()]
        self._optimiser = OPTIMISERS[config.optimiser](
            [p for network in learning for p in network.parameters()],
            config.learning_rate,
            config.weight_decay,
            config.sgd_momentum,
        )
        self._enter_phase()

    def initialise(self) -> dict[str, float]:
        """Nothing to prepare.

        Raises:
            ValueError: fewer images than a batch of one of the phases.
        """
        self._require_a_batch()
        size, count = self.config.self_label_batch_size, len(self._index)
        if self.config.self_label_epochs and size > count:
            raise ValueError(
                f"self_label_batch_size: {size} exceeds the {count} images; choose a smaller one"
            )
        return {}

    def step(self, indices: Tensor) -> dict[str, Tensor]:
        """One optimiser step on a global batch.

        Args:
            indices: (batch_size,) of the images, the same on every rank.

        Returns:
            `consistency_loss` (first term of Eq. 2, selected head; 0 in self-labelling steps) and
            `self_label_loss` (Eq. 3; 0 in clustering steps); `self_labelled`, the share of the
            batch that it learns from, and `skipped`, 1 where there is none and no step is made;
            `entropy` of the mean prediction, in nats, and `confidence`, mean over the batch: on the
            anchors' views in clustering steps, on clean views in self-labelling steps.

        Raises:
            ValueError: a whole epoch of self-labelling without a confident prediction.
        """
        losses = self._label(indices) if self._labelling else self._cluster(indices)
        self._steps += 1
        if self._labelling:
            if (self._steps - self._clustering_steps) % self._per_epoch == 0:
                self._count_lessons()
        elif self._steps % self._per_epoch == 0 and self._steps <= self._clustering_steps:
            self._select()
            self._enter_phase()
        return losses

    # --- Sec. 2.2, clustering -------------------------------------------------------------------

    def _cluster(self, indices: Tensor) -> dict[str, Tensor]:
        """Eq. 2 on a batch of images, each with one of its neighbours or itself."""
        config, size = self.config, self.batch_size
        indices = indices.to(self._device)
        views = (
            ("anchor view", indices),
            ("neighbour view", self._paired(indices)),
        )
        anchors, neighbours = (
            self._clustering.every(self._seen(self._mine(images), name)) for name, images in views
        )
        inconsistent = inconsistency(anchors, neighbours).sum(1) / size
        means = self._replicas.global_sum(anchors.softmax(2).sum(1) / size)
        negative = torch.stack([negative_entropy(mean) for mean in means])
        self._descend((inconsistent + config.entropy_weight * negative).sum())
        with torch.no_grad():
            selected = self._clustering.selected
            confidence = anchors[selected].softmax(1).amax(1).sum() / size
            zero = torch.zeros_like(confidence)
            return {
                "consistency_loss": self._replicas.total(inconsistent)[selected],
                "self_label_loss": zero,
                "self_labelled": zero,
                "skipped": zero,
                "entropy": -negative.detach()[selected],
                "confidence": self._replicas.total(confidence),
            }

    def _paired(self, indices: Tensor) -> Tensor:
        """One image for each of a global batch: itself or a neighbour, all alike probable."""
        width = self._partners.shape[1]
        draws = torch.randint(
            width, (self.batch_size,), generator=self._generators["neighbour"]
        ).to(self._device)
        positions = self._partners[self._positions[indices], draws]
        return self._index.to(self._device)[positions]

    def _seen(self, images: Tensor, name: str) -> Tensor:
        """Features (n, D) of fresh views of this rank's images, which clustering learns on."""
        pictures = self._images.take(images)
        view = self._viewed(self._clustering_view, pictures, self._generators[name])
        if not self.config.freeze_encoder:
            return self._encoded(view)
        with torch.no_grad(), evaluation(self._encoder):
            return self._encoded(view)

    @torch.no_grad()
    def _select(self) -> None:
        """Selects the head with the lowest score now, and remembers the lowest of all epochs."""
        config = self.config
        partners = self._partners[:, : config.score_neighbours + 1]
        scores = selection_scores(self._of_all(self._every_prediction), partners)
        lowest, head = scores.min(0)
        self._clustering.selected.copy_(head)
        if self._best is None:
            return
        self._best.offer(self._networks(), lowest)
        if self._steps == self._clustering_steps:
            self._best.give_back(self._networks())

    @torch.no_grad()
    def _every_prediction(self, indices: Tensor) -> Tensor:
        """Probabilities (n, H, C) of all heads for clean views, in evaluation mode."""
        features = self.features(indices)
        return self._clustering.every(features).softmax(2).transpose(0, 1)

    def _enter_phase(self) -> None:
        """Starts self-labelling where the clustering epochs are over."""
        config = self.config
        over = self._steps >= self._clustering_steps
        if self._labelling or not (over and config.self_label_epochs):
            return
        self._labelling = True
        self._best = None
        self._keep_one_head()
        self.batch_size = size = config.self_label_batch_size
        self._rows = self._replicas.rows(size)
        self._host_rows = self._rows.cpu()
        self._per_epoch = max(1, len(self._index) // size)
        self._optimiser = OPTIMISERS[config.self_label_optimiser](
            [p for network in self._networks().values() for p in network.parameters()],
            config.self_label_learning_rate,
            config.self_label_weight_decay,
            config.sgd_momentum,
        )

    def _keep_one_head(self) -> None:
        """From now on the selected head alone learns: without a gradient the others do not move."""
        self._head = self._clustering.linear[int(self._clustering.selected)]

    # --- Sec. 2.3, self-labelling ---------------------------------------------------------------

    def _label(self, indices: Tensor) -> dict[str, Tensor]:
        """Eq. 3: confident predictions for clean views are learnt on views that are harder."""
        config, size = self.config, self.batch_size
        before = self._weights() if config.weight_average else {}
        pictures = self._images.take(self._mine(indices))
        networks = self._networks().values()
        statistics = nullcontext() if config.batch_statistics else evaluation(*networks)
        with torch.no_grad(), statistics:
            clean = self._head(self._encoded(self.clean(pictures))).softmax(1)
            predictions = self._replicas.gather(clean, self._rows, size)
            labels, confident = confident_labels(predictions, config.threshold)
            weights = label_weights(labels, confident, config.clusters, config.balanced)
        view = self._viewed(self._labelling_view, pictures, self._generators["labelled view"])
        logits = self._head(self._encoded(view))
        losses = F.cross_entropy(logits, labels[self._rows], reduction="none")
        loss = (losses * weights[self._rows]).sum()
        skipped = (~confident.any()).float()
        self._descend(loss, skipped)
        self._average(before)
        self._tally.taught += 1 - skipped
        return {
            "consistency_loss": torch.zeros_like(skipped),
            "self_label_loss": self._replicas.total(loss),
            "self_labelled": confident.float().mean(),
            "skipped": skipped,
            "entropy": -negative_entropy(predictions.mean(0)),
            "confidence": predictions.amax(1).mean(),
        }

    def _descend(self, loss: Tensor, skipped: Tensor | None = None) -> None:
        """One optimiser step with the gradients of this rank's term, summed over the ranks.

        Where `skipped` is 1 the weights and the optimiser's state stay exactly as they are: a zero
        gradient would still move them. The switch is the one that gradient scaling uses, which the
        device reads without telling the host.
        """
        optimiser = self._optimiser
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        self._replicas.reduce_gradients(p for g in optimiser.param_groups for p in g["params"])
        optimiser.found_inf = skipped  # type: ignore[attr-defined]
        optimiser.step()

    def _weights(self) -> dict[str, Tensor]:
        """Copies of all weights and buffers."""
        state = nn.ModuleDict(self._networks()).state_dict()
        return {name: value.clone() for name, value in state.items()}

    @torch.no_grad()
    def _average(self, before: Mapping[str, Tensor]) -> None:
        """Goes back from the new weights to a mean with those before, buffers all the way.

        The release copies its running mean of the weights back into the network after every step,
        so that the two are one, and never updates the buffers in it.
        """
        networks = nn.ModuleDict(self._networks())
        learnt = dict(networks.named_parameters())
        now = networks.state_dict()
        for name, value in before.items():
            if name in learnt:
                now[name].lerp_(value, self.config.weight_average)
            else:
                now[name].copy_(value)

    def _count_lessons(self) -> None:
        """Refuses to go on after an epoch in which nothing was learnt."""
        if not self._tally.taught:
            raise ValueError(
                f"self-labelling: no prediction of a whole epoch is above {self.config.threshold}; "
                "set a lower threshold or more clustering_epochs"
            )
        self._tally.taught.zero_()

    # --- State ----------------------------------------------------------------------------------

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Continues from a `state()`, in the phase in which it was made.

        Raises:
            ValueError: names or shapes differ from this configuration's.
        """
        self._steps = int(state["steps"])
        self._enter_phase()
        super().load_state(state)
        self._keep_one_head()

    def _parts(self) -> Parts:
        modules: dict[str, nn.Module] = {**self._networks(), "tally": self._tally}
        if self._best is not None:
            modules["best"] = self._best
        generators = {f"generator.{name}": g for name, g in self._generators.items()}
        return modules, {"optimiser": self._optimiser}, generators


#: (parameters, learning rate, weight decay, momentum of SGD) -> the optimiser of a phase.
OPTIMISERS: dict[
    str, Callable[[list[nn.Parameter], float, float, float], torch.optim.Optimizer]
] = {
    "adam": lambda p, rate, decay, momentum: adam((p, rate), weight_decay=decay),
    "sgd": lambda p, rate, decay, momentum: sgd(p, rate, momentum=momentum, weight_decay=decay),
}

#: (configuration, side in pixels) -> a view that is learnt on.
AUGMENTATIONS: dict[str, Callable[[SCANConfig, int], View]] = {
    "strong": lambda config, side: Strong(
        side=side,
        crop_scale=(config.strong_crop, 1.0),
        flip=config.strong_flip,
        operations=config.operations,
        cutout=config.cutout,
        frame="centre",
    ),
    "pretext": lambda config, side: pretext_view(config.pretrain, side),
}
