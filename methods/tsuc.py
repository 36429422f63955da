"""TSUC: an embedding by neighbourhoods, then clusters by mutual information; RUC's other base.

Han, Park, Park, Kim and Cha, "Mitigating Embedding and Class Assignment Mismatch in Unsupervised
Image Classification", ECCV 2020. "Release" is the authors' code, which is of CIFAR only. Two
towers, one of which sees edges, learn an embedding in rounds (Super-AND); then it is moved so that
several heads of fixed random prototypes tell clusters. `algorithms.tsuc` has the losses and the
model.
"""

from dataclasses import dataclass
from typing import Any

from deep_clustering.methods._fields import (
    Backbone,
    Channels,
    Frame,
    Precision,
    Stem,
    check,
    choice,
    doc,
    normalisation,
    not_negative,
    part,
    positive,
    share,
    sizes,
)
from deep_clustering.methods._method import Later, Method, by_side
from deep_clustering.methods.differences.tsuc import DIFFERENCES


@dataclass(frozen=True, kw_only=True, slots=True)
class TSUCConfig:
    """Defaults are those of CIFAR-10; `METHOD.presets` has the other data sets."""

    clusters: int = doc(10, "K; the platform sets it from the data set")
    rounds: int = doc(5, "of the embedding; each takes more images with a neighbour")
    round_epochs: int = doc(200, "passes over the data in each round")
    cluster_epochs: int = doc(300, "passes over the data with the heads")
    batch_size: int = doc(128, "images per step")
    learning_rate: float = doc(0.03, "SGD with Nesterov's momentum, of the embedding")
    cluster_rate: float = doc(0.01, "the same, with the heads")
    sgd_momentum: float = doc(0.9, "Nesterov's")
    weight_decay: float = doc(5e-4, "L2, all parameters")
    decay_start: int = doc(80, "epoch of a round, or of the heads', that the decay counts from")
    decay_every: int = doc(40, "epochs; every so many, the rate is a tenth; release: first at 120")
    temperature: float = doc(0.1, "of cosines with the memory and within a batch")
    bank_momentum: float = doc(0.5, "share of its old entry that an image keeps in the memory")
    growth: float = doc(0.25, "share of images more with a neighbour in each round; 0 in the first")
    certainty_weight: float = doc(
        0.2, "of the entropy over the other images, times the number of `certainty_every` passed"
    )
    certainty_every: int = doc(80, "epochs of a round")
    spread_weight: float = doc(1.0, "of the loss of invariance within a batch; 0 removes it")
    heads: int = doc(5, "of random prototypes; the one with the lowest loss is kept")
    head_temperature: float = doc(0.1, "of cosines with the prototypes")
    dimension: int = doc(128, "of the embedding")
    edges: bool = doc(True, "whether a second tower sees Sobel's edges")
    select_epoch: bool = doc(True, "end with the weights of the epoch of the lowest loss")
    crop_scale: float = doc(0.2, "smallest area of the random crop, share of the image")
    jitter: float = doc(1.0, "probability of the colour jitter, 0.4 of each kind; release")
    grey: float = doc(0.2, "probability of grey")
    flip: float = doc(0.5, "probability of the mirror image")
    backbone: Backbone = doc("resnet18", "of each tower")
    stem: Stem = doc("side", "first layers of a ResNet")
    stem_padding: int = doc(1, "pixels, of the 3x3 stem")
    side: int | None = doc(None, "pixels, of the views; None is the images' own")
    frame: Frame = doc("whole", 'what views are cut from; "centre": the square of a photograph')
    enlargement: float | None = doc(
        None, "clean view: middle of the image at this multiple of side; None takes it as stored"
    )
    mean: Channels | None = doc(None, "of the normalisation; None is the data set's")
    std: Channels | None = doc(None, "of the normalisation; None is the data set's")
    precision: Precision = "fp32"

    @property
    def epochs(self) -> int:
        """All passes over the data: those of the rounds, then those with the heads."""
        return self.rounds * self.round_epochs + self.cluster_epochs

    def __post_init__(self) -> None:
        check(
            self,
            [
                *positive(self, "clusters", "cluster_epochs", "batch_size", "learning_rate"),
                *positive(self, "cluster_rate", "decay_every", "temperature", "certainty_every"),
                *positive(self, "heads", "head_temperature", "dimension"),
                *not_negative(self, "rounds", "round_epochs", "decay_start", "weight_decay"),
                *not_negative(self, "certainty_weight", "spread_weight", "stem_padding"),
                *share(self, "sgd_momentum", "bank_momentum", "growth", "jitter", "grey", "flip"),
                *choice(self, backbone=Backbone, stem=Stem, frame=Frame, precision=Precision),
                *part(self, "crop_scale"),
                *sizes(self),
                *normalisation(self),
            ],
        )


#: What is known is the same for all data sets; that of the digits is ours.
PRESETS: dict[str, dict[str, Any]] = {
    "cifar10": {},
    "cifar20": {},
    "stl10": {},
    "digits": {
        "backbone": "small",
        "rounds": 3,
        "round_epochs": 8,
        "cluster_epochs": 30,
        "cluster_rate": 0.1,
        "decay_start": 20,
        "decay_every": 6,
        "temperature": 0.2,
        "spread_weight": 0.5,
        "certainty_every": 4,
        "dimension": 64,
        "crop_scale": 0.75,
        "grey": 0.0,
        "jitter": 0.5,
        "flip": 0.0,
    },
}


METHOD = Method(
    summary="TSUC: an embedding by neighbourhoods (Super-AND), then heads by mutual information",
    citation=(
        "Han, Park, Park, Kim, Cha. Mitigating Embedding and Class Assignment Mismatch in "
        "Unsupervised Image Classification. ECCV 2020. https://github.com/Sungwon-Han/TwoStageUC"
    ),
    version=1,
    config=TSUCConfig,
    build=Later("deep_clustering.methods.algorithms.tsuc:TSUC"),
    restore=Later("deep_clustering.methods.algorithms.tsuc:TSUC.restore"),
    presets=PRESETS,
    plain=lambda values: False,  # two towers
    tuned=frozenset({"digits"}),
    by_side=by_side((12, "digits"), (48, "cifar10"), other="stl10"),
    differences=DIFFERENCES,
)
