"""TURTLE: the labels that linear classifiers of frozen features learn best.

Gadetsky, Jiang and Brbić, "Let Go of Your Labels with Unsupervised Transfer", ICML 2024
(https://arxiv.org/abs/2406.07236). Eq. and Sec. below are those of the paper; "release" is the
authors' code. `algorithms.turtle` has the losses and the fit.
"""

from dataclasses import dataclass
from typing import Literal

from deep_clustering.methods._fields import check, choice, doc, not_negative, positive
from deep_clustering.methods._method import Difference, Later, Method

Start = Literal["cold", "warm"]


@dataclass(frozen=True, kw_only=True, slots=True)
class TurtleConfig:
    clusters: int = doc(10, "K; the platform sets it from the data set")
    unit: bool = doc(False, "rows divided by their Euclidean length first, as for features of CLIP")
    iterations: int = doc(6000, "T, steps of the labelling; release")
    inner_steps: int = doc(10, "M, steps of the classifier before each of them; release")
    inner_lr: float = doc(1e-3, "Adam, of the classifier; release")
    outer_lr: float = doc(1e-3, "Adam, of the labelling; release")
    entropy_weight: float = doc(10.0, "gamma, of the mean label's entropy, Eq. 12; release")
    start: Start = doc("cold", "of the classifier, each time anew or from where it was; release")
    batch: int = doc(10_000, "points of a step, all where there are fewer; release")

    def __post_init__(self) -> None:
        counts = ("clusters", "iterations", "inner_steps", "batch")
        check(
            self,
            [
                *positive(self, *counts, "inner_lr", "outer_lr"),
                *not_negative(self, "entropy_weight"),
                *choice(self, start=Start),
            ],
        )


METHOD = Method(
    summary="Labels that a linear classifier of the features learns best, on all points at once",
    citation=(
        "Gadetsky, Jiang, Brbić. Let Go of Your Labels with Unsupervised Transfer. ICML 2024. "
        "https://arxiv.org/abs/2406.07236"
    ),
    version=2,
    config=TurtleConfig,
    fit=Later("deep_clustering.methods.algorithms.turtle:fit"),
    differences=(
        Difference(
            topic="scale of the features",
            paper="as the encoder gives them",
            release="as the encoder gives them",
            default="centred, and divided by one number, so that rates mean the same for every "
            "encoder",
        ),
        Difference(
            topic="spaces of features",
            paper="one, or several whose labels are averaged",
            release="one or several",
            default="one",
        ),
        Difference(
            topic="generalisation score",
            paper="accuracy of a linear classifier trained on its labels, cross-validated",
            release="logistic regression, ten folds",
            default="the criterion generalisation of every run: least squares, each point left out "
            "in turn; no objective, as merging clusters raises it",
        ),
    ),
)
