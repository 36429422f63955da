"""TEMI: heads on frozen features that teach themselves with pairs of nearest neighbours.

Adaloglou, Michels, Kalisch and Kollmann, "Exploring the Limits of Deep Image Clustering using
Pretrained Models", BMVC 2023 (https://arxiv.org/abs/2303.17896). "Release" is the authors' code,
whose command for CIFAR-10 gives the defaults. `algorithms.temi` has the losses and the fit.
"""

from dataclasses import dataclass

from deep_clustering.methods._fields import check, doc, not_negative, part, positive, share
from deep_clustering.methods._method import Difference, Later, Method


@dataclass(frozen=True, kw_only=True, slots=True)
class TemiConfig:
    clusters: int = doc(10, "K; the platform sets it from the data set")
    unit: bool = doc(False, "rows divided by their Euclidean length first")
    heads: int = doc(16, "trained side by side, the one of the least loss is the answer; release")
    hidden: int = doc(512, "units of the hidden layer of a head; release")
    bottleneck: int = doc(256, "numbers before its last layer, at length 1; release")
    neighbours: int = doc(50, "of each point, one of which is its partner in a step; release")
    epochs: int = doc(100, "passes over the points; release")
    warmup_epochs: int = doc(20, "in which the rate rises from 0; release")
    batch: int = doc(1024, "points of a step, all where there are fewer; release")
    lr: float = doc(1e-4, "AdamW, for a batch of 256 and in proportion to it; release")
    weight_decay: float = doc(1e-4, "of AdamW, without biases; release")
    momentum: float = doc(0.996, "of the teacher's weights, per step; release")
    temperature: float = doc(0.1, "of the softmax of teacher and student; release")
    beta: float = doc(0.6, "exponent of the mutual information; below 1 balances; release")
    prior_momentum: float = doc(0.9, "of the running mean prediction, per step; release")
    frozen_epochs: int = doc(1, "first epochs in which last layers stay; release")

    def __post_init__(self) -> None:
        counts = ("clusters", "heads", "hidden", "bottleneck", "neighbours", "epochs", "batch")
        check(
            self,
            [
                *positive(self, *counts, "lr", "temperature"),
                *not_negative(self, "warmup_epochs", "weight_decay", "frozen_epochs"),
                *share(self, "momentum", "prior_momentum"),
                *part(self, "beta"),
            ],
        )


METHOD = Method(
    summary="Heads that teach themselves with pairs of neighbours, on all points at once",
    citation=(
        "Adaloglou, Michels, Kalisch, Kollmann. Exploring the Limits of Deep Image Clustering "
        "using Pretrained Models. BMVC 2023. https://arxiv.org/abs/2303.17896"
    ),
    version=1,
    config=TemiConfig,
    fit=Later("deep_clustering.methods.algorithms.temi:fit"),
    differences=(
        Difference(
            topic="scale of the features",
            paper="as the encoder gives them",
            release="as the encoder gives them, or each coordinate standardised (`embed_norm`)",
            default="centred, and divided by one number, so that rates mean the same for every "
            "encoder",
        ),
        Difference(
            topic="last batch of an epoch",
            paper="not said",
            release="left out where it is smaller",
            default="left out where it is smaller; fewer points than a batch are one batch",
        ),
    ),
)
