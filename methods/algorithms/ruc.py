"""RUC at work: the clean set, losses and labels in the order of the paper, then the model.

Eq., Sec. and Table are those of the paper that `methods.ruc` cites; "release" is the authors' code.
The clean set is extracted once (`learning.clean_set`); then two networks learn from it in turn, one
pass over the images each, which together are an epoch.
"""

import math
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import NamedTuple, Self, Unpack

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from deep_clustering.methods._method import BaseOutputs
from deep_clustering.methods.compute.random import derived, generator
from deep_clustering.methods.compute.replicas import Replicas
from deep_clustering.methods.images.images import Images
from deep_clustering.methods.images.randaugment import RandAugment
from deep_clustering.methods.images.view import View
from deep_clustering.methods.images.weak import Weak
from deep_clustering.methods.learning.base import check_outputs, take_encoder
from deep_clustering.methods.learning.clean_set import (
    Samples,
    agreeing,
    confident,
    halves,
    normalised,
    small_loss,
    threshold_of_share,
    with_fewest,
)
from deep_clustering.methods.learning.clusterer import Clusterer, negative_entropy
from deep_clustering.methods.learning.learner import Context, LearnerConfig, Parts, descend
from deep_clustering.methods.learning.mixmatch import (
    mixed,
    sharpen,
    smoothed_cross_entropy,
    soft_cross_entropy,
    squared_error,
)
from deep_clustering.methods.learning.state import prepare
from deep_clustering.methods.networks.batchnorm import batch_statistics
from deep_clustering.methods.networks.encoders import described
from deep_clustering.methods.ruc import RUCConfig

_MOMENTUM = 0.9  # of SGD with Nesterov; Sec. 4.1, release


# --- Sec. 3.1: extracting clean samples -----------------------------------------------------------


class Pseudo(NamedTuple):
    """What a base says about the images that RUC trains on."""

    probabilities: Tensor  # (n, K) float32
    labels: Tensor  # (n,) the cluster of the largest
    features: Tensor  # (n, D) in which neighbours are sought


def _threshold(config: RUCConfig, pseudo: Pseudo) -> float:
    """Tau1, or the confidence that the configured share reaches."""
    if config.tau1_share is None:
        return config.tau1
    return threshold_of_share(pseudo.probabilities, config.tau1_share)


def _by_confidence(config: RUCConfig, pseudo: Pseudo) -> Tensor:
    p = pseudo.probabilities
    if bool(((p == 0) | (p == 1)).all()):
        raise ValueError(
            f"strategy: '{config.strategy}' needs confidences, and the base gives clusters without "
            "probabilities; set strategy=metric"
        )
    # What is to be a share is one: its own threshold belongs to it.
    strict = config.strict and config.tau1_share is None
    return confident(p, _threshold(config, pseudo), strict=strict)


def _by_neighbours(config: RUCConfig, pseudo: Pseudo) -> Tensor:
    return agreeing(pseudo.features, pseudo.labels, config.neighbours)


#: Name -> which samples are clean, bool (n,).
STRATEGIES: dict[str, Callable[[RUCConfig, Pseudo], Tensor]] = {
    "confidence": _by_confidence,
    "metric": _by_neighbours,
    "hybrid": lambda config, pseudo: (
        _by_confidence(config, pseudo) & _by_neighbours(config, pseudo)
    ),
}


def extracted(config: RUCConfig, pseudo: Pseudo) -> Tensor:
    """The clean set that training starts from, bool (n,).

    Raises:
        ValueError: confidences are asked for that the base does not have, no sample is clean, or a
            cluster has members but no clean one.
    """
    confidence = pseudo.probabilities.amax(1)
    clean = STRATEGIES[config.strategy](config, pseudo)
    clean = with_fewest(clean, confidence, pseudo.labels, config.fewest)
    if not bool(clean.any()):
        raise ValueError(
            f"tau1: no image is clean by the strategy '{config.strategy}' with "
            f"{_threshold(config, pseudo):g}; the largest confidence is {confidence.max():.4g}; "
            "set tau1_share=0.7 and fewest=10 to take the most confident 70 % of all images and 10 "
            "of each cluster, or strategy=metric"
        )
    lost = sorted(set(pseudo.labels.unique().tolist()) - set(pseudo.labels[clean].tolist()))
    if lost:
        raise ValueError(
            f"fewest: {'cluster' if len(lost) == 1 else 'clusters'} {', '.join(map(str, lost))} "
            "would disappear, having no clean member; set fewest=10 to keep the 10 most confident "
            "members of each cluster"
        )
    return clean


# --- Sec. 3.2: losses and labels ------------------------------------------------------------------


def refined(labels: Tensor, weight: Tensor, prediction: Tensor, temperature: float) -> Tensor:
    """Eqs. 9 and 10: labels of clean samples, moved towards a prediction and sharpened.

    Args:
        labels: (n,) int64.
        weight: (n,) of the prediction, 0 to 1.
        prediction: (n, K) of the counter network.
    """
    own = F.one_hot(labels, prediction.shape[1]).to(prediction)
    weight = weight[:, None].to(prediction)
    return sharpen((1 - weight) * own + weight * prediction, temperature)


def refurbish_threshold(config: RUCConfig, epoch: int) -> float:
    """Tau2 in an epoch counted from 0, at most 1."""
    return min(1.0, config.tau2 + config.tau2_step * (epoch // config.tau2_every))


def ramped(config: RUCConfig, epochs: float) -> float:
    """The share of lambda_U after so many epochs, from `ramp_floor` to 1."""
    length = config.epochs if config.ramp is None else config.ramp
    if length == 0:
        return 1.0
    return min(1.0, max(config.ramp_floor, epochs / length))


def cosine_rate(config: RUCConfig, epoch: int) -> float:
    """The learning rate of an epoch counted from 0."""
    return config.learning_rate * (1 + math.cos(math.pi * epoch / config.epochs)) / 2


#: Logits (n, K) of the two networks -> logits of both together.
ENSEMBLES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "average": lambda first, second: (first + second) / 2,
    "sum": lambda first, second: first + second,
    "probabilities": lambda first, second: (
        torch.logaddexp(first.log_softmax(1), second.log_softmax(1)) - math.log(2)
    ),
}

#: Batch normalisation of the counter network while it predicts.
STATISTICS: dict[str, Callable[..., AbstractContextManager[None]]] = {
    "update": lambda *networks: nullcontext(),
    "batch": batch_statistics,
}


# --- The model ------------------------------------------------------------------------------------


class _Moment(NamedTuple):
    """Where training is."""

    epoch: int  # from 0
    network: int  # the one that is trained
    batch: int  # of its pass, from 0


class _Batch(NamedTuple):
    """A global batch as this rank sees it."""

    mine: Tensor  # (n,) of this rank's images
    labels: Tensor  # (n,) their labels
    clean: Tensor  # (B,) of the whole batch
    own: list[Tensor]  # (n, K) of the trained network for the clean and the weak views


_ENCODERS = ("encoder", "encoder2")
_HEADS = ("first", "second")
_VIEWS = ("first", "second", "strong")
#: Prefix of what is known of the samples, in the weights that are stored.
CLEAN_SET = "clean_set"


class RUC(Clusterer):
    """Retraining on a clean set with two networks that teach each other (Algorithm 1).

    An epoch has a pass over the images for each network. See `Clusterer`; the final head is the
    ensemble of both networks.

    Args:
        config: the method.
        base: what the finished run says; None only for a model that is restored.
        context: see `Context`.

    Raises:
        ValueError: a batch that the processes cannot share, a base with another number of clusters,
            without some of the images, or with an encoder of another kind.
    """

    def __init__(
        self,
        config: RUCConfig,
        *,
        base: BaseOutputs | None = None,
        **context: Unpack[Context],
    ) -> None:
        self.config = config
        self.passes = 1 + config.co_training
        super().__init__(
            config,
            dict.fromkeys(_ENCODERS[: self.passes], described(config)),
            side=config.side,
            mean=config.mean,
            std=config.std,
            enlargement=config.enlargement,
            **context,
        )
        names = _HEADS[: self.passes]
        self._make_heads(
            names,
            lambda name: nn.Linear(self._encoder.dimension, config.clusters),
            on=dict(zip(names, _ENCODERS, strict=False)),
        )
        if config.co_training:
            self.heads = (*names, "ensemble")
            self.final_head = "ensemble"
        self._base = base
        if base is not None:
            check_outputs(base, config.clusters, self._index)
            self._take_weights(base)
        # After the weights are in place: networks and their optimisers, in the order of training.
        self._trained = [
            (encoder, self._heads[name])
            for encoder, name in zip(self._encoders.values(), names, strict=True)
        ]
        self._optimisers = [_sgd(config, networks) for networks in self._trained]
        weak = Weak(self._side, (config.crop, 1.0), config.flip)
        strong = RandAugment(
            self._side, (config.crop, 1.0), config.flip, config.operations, config.cutout
        )
        views = (weak, weak, strong if config.strong else weak)
        self._views: dict[str, View] = dict(zip(_VIEWS, views, strict=True))
        self._generators = {name: generator(self._seed, f"{name} view") for name in _VIEWS}
        self._samples = Samples(len(self._images)).to(self._device)
        self._both = torch.cat([self._rows, self._rows + self.batch_size])

    def _take_weights(self, base: BaseOutputs) -> None:
        """Both encoders start from the base's, unless they are to be fresh."""
        if self.config.start == "fresh":
            return
        if not base.encoder:
            raise ValueError("start: the base has trained no network; set start=fresh")
        for network in self._encoders.values():
            take_encoder(base, network, self.config.backbone, ", or start=fresh")

    # --- Sec. 3.1 -------------------------------------------------------------------------------

    def initialise(self) -> dict[str, float]:
        """Extracts the clean set.

        Returns:
            `clean_share` of the images trained on, and `empty_clusters`, those of the base without
            any of them.

        Raises:
            ValueError: fewer images than a batch, and as `extracted`.
        """
        self._require_a_batch()
        assert self._base is not None
        base, config, index = self._base, self.config, self._index
        rows = torch.searchsorted(base.index, index)
        pretext = base.pretext if config.embedding == "pretext" else None
        features = base.features if pretext is None else pretext
        probabilities = base.probabilities[rows]
        pseudo = Pseudo(probabilities, probabilities.argmax(1), features[rows])
        divides = config.selection == "dividemix"  # its first clean set comes after the warm-up
        clean = torch.ones(len(index), dtype=torch.bool) if divides else extracted(config, pseudo)
        samples, where = self._samples, index.to(self._device)
        samples.labels[where] = pseudo.labels.to(self._device)
        samples.initial[where] = pseudo.labels.int().to(self._device)
        samples.entered[where] = (clean.int() - 1).to(self._device)
        return {
            "clean_share": float(clean.double().mean()),
            "empty_clusters": float(config.clusters - len(pseudo.labels.unique())),
        }

    # --- Sec. 3.2, Algorithm 1, one batch -------------------------------------------------------

    def step(self, indices: Tensor) -> dict[str, Tensor]:
        """One SGD step of one network on a global batch.

        Args:
            indices: (batch_size,) of the images, the same on every rank; they tell nothing where
                a batch is drawn in halves.

        Returns:
            `labelled_loss` (Eq. 6; in the warm-up the cross-entropy of all pseudo-labels),
            `unlabelled_loss` (Eq. 7 without its weight), `smoothed_loss` (Eq. 8), `clean_share` of
            the batch before the step and `refurbished`, the share that becomes clean in it; mean
            `confidence` of the trained network on the clean views.
        """
        config, samples = self.config, self._samples
        moment = self._moment()
        if moment.batch == 0:
            self._begin(moment)
        indices = indices.to(self._device)
        if config.batches == "halves":
            indices = halves(samples.entered, self._index, self.batch_size, self._random("halves"))
        mine = self._mine(indices)
        views = self._viewed_all(mine)
        batch = _Batch(
            mine=mine,
            labels=samples.labels[mine],  # before they are refurbished
            clean=samples.entered[indices] >= 0,
            own=self._predicted(moment.network, views[:3]),
        )
        confidence = self._record(indices, batch.own[0])
        learn = RUC._learn if moment.epoch >= config.warm_up else RUC._warm
        loss, values = learn(self, moment, batch, views)
        refurbished = self._refurbish(moment, indices, batch.own[0])
        optimiser = self._optimisers[moment.network]
        for group in optimiser.param_groups:
            group["lr"] = cosine_rate(config, moment.epoch)
        descend(loss, optimiser, self._replicas)
        self._steps += 1
        if config.refurbish == "epoch" and self._steps % (self.passes * self._per_epoch) == 0:
            self._refurbish_all(moment.epoch)
        return {
            **values,
            "clean_share": batch.clean.float().mean(),
            "refurbished": refurbished,
            "confidence": confidence.mean(),
        }

    def _moment(self) -> _Moment:
        passes, batch = divmod(self._steps, self._per_epoch)
        return _Moment(*divmod(passes, self.passes), batch)

    def _begin(self, moment: _Moment) -> None:
        """Before a pass: what the pass before has recorded becomes the weights of Eq. 9."""
        config, samples = self.config, self._samples
        if config.selection == "dividemix":
            if moment.epoch >= config.warm_up:
                self._divide(moment)
        elif config.co_training and config.co_refinement and self._steps:
            samples.weight.copy_(normalised(samples.recorded))
        samples.recorded.fill_(-1)

    def _viewed_all(self, mine: Tensor) -> list[Tensor]:
        """This rank's clean, two weak and strong views, (n, 3, S, S) each."""
        pictures = self._images.take(mine)
        drawn = [self._viewed(v, pictures, self._generators[k]) for k, v in self._views.items()]
        return [self.clean(pictures), *drawn]

    def _through(self, network: int, view: Tensor) -> Tensor:
        """Logits (n, K) of one network in training mode."""
        head = self._heads[_HEADS[network]]
        logits: Tensor = head(self._encoded(view, _ENCODERS[network]))
        return logits

    @torch.no_grad()
    def _predicted(self, network: int, views: list[Tensor]) -> list[Tensor]:
        """Probabilities (n, K) of one network for each view: each a batch of its own."""
        return [self._through(network, view).softmax(1) for view in views]

    def _counter(self, moment: _Moment, batch: _Batch, views: list[Tensor]) -> list[Tensor]:
        """The same of the other network; of the trained one where there is no other."""
        if not self.config.co_training:
            return batch.own
        other = 1 - moment.network
        with STATISTICS[self.config.counter_statistics](*self._trained[other]):
            return self._predicted(other, views[:3])

    def _record(self, indices: Tensor, predicted: Tensor) -> Tensor:
        """Notes the confidences (B,) of the trained network on the clean views; returns them."""
        found = self._replicas.gather(predicted.amax(1).float(), self._rows, self.batch_size)
        self._samples.recorded[indices] = found
        return found

    # --- Eqs. 5 to 11 ---------------------------------------------------------------------------

    def _learn(
        self, moment: _Moment, batch: _Batch, views: list[Tensor]
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Eq. 11: this rank's part of the loss, and the values of its terms.

        A term of no images is 0.
        """
        config = self.config
        # Before the mixed images: running statistics follow the views in this order (release).
        smoothed = self._smoothed(moment, batch, views[3])
        targets = self._targets(batch, self._counter(moment, batch, views))
        logits, wanted, clean = self._mixed(moment.network, views, targets, batch.clean)
        labelled = self._mean_of(soft_cross_entropy(wanted, logits), clean, 2 * batch.clean.sum())
        unlabelled = self._mean_of(
            squared_error(wanted, logits, distance=config.distance),
            ~clean,
            2 * (~batch.clean).sum(),
        )
        epochs = moment.epoch + moment.batch / (self._per_epoch + 1)
        weight = config.unlabelled_weight * ramped(config, epochs)
        loss = labelled + weight * unlabelled + smoothed
        if config.prior_weight:
            loss = loss + config.prior_weight * self._off_uniform(logits)
        names = ("labelled_loss", "unlabelled_loss", "smoothed_loss")
        terms = zip(names, (labelled, unlabelled, smoothed), strict=True)
        return loss, {name: self._replicas.total(term) for name, term in terms}

    def _smoothed(self, moment: _Moment, batch: _Batch, strong: Tensor) -> Tensor:
        """Eq. 8: this rank's part of it, 0 where it is removed."""
        if self.config.smoothing is None:
            return torch.zeros((), device=self._device)
        logits = self._through(moment.network, strong)
        losses = smoothed_cross_entropy(batch.labels, logits, smoothing=self.config.smoothing)
        return self._mean_of(losses, batch.clean[self._rows], batch.clean.sum())

    def _mean_of(self, losses: Tensor, counted: Tensor, count: Tensor) -> Tensor:
        """This rank's part of the mean of the counted losses (n,) over all ranks."""
        return torch.where(counted, losses, 0.0).sum() / count.clamp_min(1)

    def _targets(self, batch: _Batch, counter: list[Tensor]) -> Tensor:
        """Labels (n, K) of this rank's images: refined where clean, guessed where not."""
        config = self.config
        own, views = batch.own, batch.own[1:]
        guessed = torch.stack([*views, *counter[1:]]).mean(0)
        refining = counter[0]
        if config.selection == "dividemix":  # its own two weak views
            refining = torch.stack(views).mean(0)
        weight = self._samples.weight[batch.mine].to(own[0])
        return torch.where(
            batch.clean[self._rows][:, None],
            refined(batch.labels, weight, refining, config.temperature),
            sharpen(guessed, config.temperature),
        )

    def _mixed(
        self, network: int, views: list[Tensor], targets: Tensor, clean: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """MixMatch on both weak views of the whole batch.

        Returns:
            Logits (2n, K) of this rank's mixed images, their mixed targets, and whether the images
            that they are mostly made of are clean.
        """
        size, gather = self.batch_size, self._replicas.gather
        images = torch.cat([gather(view, self._rows, size) for view in views[1:3]])
        targets = gather(targets, self._rows, size).repeat(2, 1)
        random = self._random("mix")
        alpha = self.config.alpha
        drawn = random.beta(alpha, alpha) if alpha else 1.0
        share = max(drawn, 1 - drawn)
        partners = torch.from_numpy(random.permutation(2 * size)).to(self._device)[self._both]
        return (
            self._through(network, mixed(images[self._both], images[partners], share)),
            mixed(targets[self._both], targets[partners], share),
            clean.repeat(2)[self._both],
        )

    def _random(self, purpose: str) -> np.random.Generator:
        """The draws of this step for one purpose."""
        return np.random.default_rng(derived(self._seed, f"{purpose} {self._steps}"))

    def _off_uniform(self, logits: Tensor) -> Tensor:
        """Divergence of the mean prediction from uniform (DivideMix)."""
        total = self._replicas.global_sum(logits.softmax(1).sum(0))
        return math.log(self.config.clusters) + negative_entropy(total / (2 * self.batch_size))

    def _warm(
        self, moment: _Moment, batch: _Batch, views: list[Tensor]
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The cross-entropy of all pseudo-labels on a weak view (DivideMix)."""
        logits = self._through(moment.network, views[1])
        loss = F.cross_entropy(logits, batch.labels, reduction="sum") / self.batch_size
        zero = torch.zeros((), device=self._device)
        value = self._replicas.total(loss)
        return loss, {"labelled_loss": value, "unlabelled_loss": zero, "smoothed_loss": zero}

    # --- Eqs. 18 and 19: co-refurbishing --------------------------------------------------------

    def _refurbish(self, moment: _Moment, indices: Tensor, predicted: Tensor) -> Tensor:
        """Unclean images of which the trained network is sure become clean with its label.

        Returns:
            Their share of the batch.
        """
        if self.config.refurbish != "batch":
            return torch.zeros((), device=self._device)
        whole = self._replicas.gather(predicted, self._rows, self.batch_size)
        return self._accept(indices, whole, moment.epoch)

    def _refurbish_all(self, epoch: int) -> None:
        """The same at the end of an epoch, by the surer of both networks in evaluation mode."""

        def outputs(indices: Tensor) -> Tensor:
            found = self.predict(indices)
            both = torch.stack([found[name] for name in _HEADS[: self.passes]])  # (2, n, K)
            surer = both.amax(2).argmax(0)
            return both[surer, torch.arange(len(surer), device=surer.device)]

        self._accept(self._index.to(self._device), self._of_all(outputs), epoch)

    def _accept(self, indices: Tensor, predicted: Tensor, epoch: int) -> Tensor:
        """Takes predictions (n, K) for the labels of unclean images where they reach tau2."""
        config, samples = self.config, self._samples
        threshold = refurbish_threshold(config, epoch)
        sure = confident(predicted.float(), threshold, strict=config.strict)
        new = sure & (samples.entered[indices] < 0)
        samples.labels[indices] = torch.where(new, predicted.argmax(1), samples.labels[indices])
        samples.entered[indices] = torch.where(new, epoch + 1, samples.entered[indices])
        return new.float().mean()

    # --- DivideMix, Fig. 3 ----------------------------------------------------------------------

    def _divide(self, moment: _Moment) -> None:
        """Divides the images by the losses of the other network, in evaluation mode."""
        samples, where = self._samples, self._index.to(self._device)
        name = _HEADS[(1 - moment.network) if self.config.co_training else moment.network]
        p = self._of_all(lambda indices: self.predict(indices)[name])
        own = p.gather(1, samples.labels[where][:, None])[:, 0]
        losses = -own.double().clamp_min(1e-30).log()
        clean = torch.from_numpy(small_loss(losses.cpu().numpy())).to(self._device)
        samples.entered[where] = torch.where(clean > 0.5, moment.epoch + 1, -1).int()
        samples.weight[where] = (1 - clean).float()

    # --- Predictions and state ------------------------------------------------------------------

    def logits(self, view: Tensor) -> dict[str, Tensor]:
        """See `Clusterer`; the ensemble's last, differentiable through both networks."""
        found = super().logits(view)
        if self.config.co_training:
            found["ensemble"] = ENSEMBLES[self.config.ensemble](*found.values())
        return found

    def model_state(self) -> dict[str, Tensor]:
        """Weights and buffers, and what is known of the samples, which `restore` leaves out."""
        known = ("initial", "labels", "entered")
        kept = {f"{CLEAN_SET}.{k}": getattr(self._samples, k).clone() for k in known}
        return super().model_state() | kept

    @classmethod
    def restore(
        cls,
        config: LearnerConfig,
        model_state: Mapping[str, Tensor],
        *,
        images: Images,
        replicas: Replicas,
    ) -> Self:
        """See `Clusterer`."""
        weights = {k: v for k, v in model_state.items() if not k.startswith(CLEAN_SET)}
        return super().restore(config, weights, images=images, replicas=replicas)

    def _parts(self) -> Parts:
        modules = {**self._networks(), "samples": self._samples}
        optimisers: dict[str, torch.optim.Optimizer] = {
            f"optimiser.{name}": one for name, one in zip(_HEADS, self._optimisers, strict=False)
        }
        generators = {f"generator.{name}": g for name, g in self._generators.items()}
        return modules, optimisers, generators


def _sgd(config: RUCConfig, networks: tuple[nn.Module, ...]) -> torch.optim.SGD:
    parameters = [parameter for network in networks for parameter in network.parameters()]
    return prepare(
        torch.optim.SGD(
            parameters,
            lr=config.learning_rate,
            momentum=_MOMENTUM,
            nesterov=True,
            weight_decay=config.weight_decay,
        )
    )
