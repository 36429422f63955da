"""SPICE-self: heads on a frozen encoder, taught by labels of prototypes.

Niu, Shan and Wang, "SPICE: Semantic Pseudo-Labeling for Image Clustering", IEEE Transactions on
Image Processing 31, 2022 (https://arxiv.org/abs/2103.09382). "Release" is the authors' code, from
which all values are. On MoCo's features the surest images of each cluster make its prototype, the
images nearest to it are labelled, and heads learn the labels on harder views. This is what CDC
calls "SPICE-2"; the semi-supervised training after it ("SPICE-3") is not here. `algorithms.spice`
has the labels and the model.
"""

from dataclasses import dataclass, field
from typing import Any

from deep_clustering.methods._fields import (
    Precision,
    Rule,
    check,
    choice,
    doc,
    not_negative,
    part,
    positive,
    share,
)
from deep_clustering.methods._method import Later, Method, Pretrain, by_side
from deep_clustering.methods.cdc import PRESETS as OF_CDC
from deep_clustering.methods.differences.spice import DIFFERENCES
from deep_clustering.methods.pretraining.configs import MoCoConfig


@dataclass(frozen=True, kw_only=True, slots=True)
class SPICEConfig:
    """Defaults are those of CIFAR-10 in the release; `METHOD.presets` has the other data sets."""

    pretrain: MoCoConfig = field(default_factory=MoCoConfig)
    clusters: int = doc(10, "K; the platform sets it from the data set")
    epochs: int = doc(100, "passes over the data; release")
    batch_size: int = doc(5000, "images that labels are made for at once; release")
    sub_batch_size: int = doc(128, "labelled images of an optimiser step; release")
    repeats: int = doc(8, "passes over the labelled images of a batch; release")
    heads: int = doc(10, "of which the one that agrees best with its labels counts; release")
    learning_rate: float = doc(0.005, "Adam, constant; release")
    weight_decay: float = doc(0.0, "L2, Adam, of the heads; release")
    centre_share: float = doc(0.5, "of an even cluster, its surest images make the prototype")
    label_share: float = doc(1.0, "of an even cluster, the images nearest to it are labelled")
    double_softmax: bool = doc(True, "the cross-entropy is of the softmax of the probabilities")
    select_epoch: bool = doc(True, "keep the epoch with the lowest loss, not the last; release")
    weak_crop: float = doc(0.77, "smallest area of the random crop, share, view that labels; ours")
    weak_flip: float = doc(0.5, "probability of the mirror image, view that labels; release")
    operations: int = doc(4, "random operations of the view that learns; release")
    cutout: int = doc(16, "largest side of the hole in it, pixels; release")
    strong_flip: float = doc(0.5, "probability of the mirror image, view that learns; release")
    precision: Precision = "fp32"

    def __post_init__(self) -> None:
        check(
            self,
            [
                *positive(self, "clusters", "epochs", "batch_size", "sub_batch_size", "repeats"),
                *positive(self, "heads", "learning_rate", "centre_share", "label_share"),
                *not_negative(self, "weight_decay", "operations", "cutout"),
                *share(self, "centre_share", "label_share", "weak_flip", "strong_flip"),
                *choice(self, precision=Precision),
                *part(self, "weak_crop"),
                Rule(
                    self.clusters <= self.batch_size,
                    "clusters",
                    f"must be at most batch_size ({self.batch_size}), or no image is nearest",
                ),
            ],
        )


def _preset(name: str, **own: Any) -> dict[str, Any]:
    """The pretraining of CDC's preset, whose comparison SPICE is part of, and what is SPICE's."""
    return {k: v for k, v in OF_CDC[name].items() if k.startswith("pretrain.")} | own


PRESETS: dict[str, dict[str, Any]] = {
    "cifar10": _preset("cifar10"),
    "cifar20": _preset("cifar20"),
    "stl10": _preset("stl10", cutout=32),
    "imagenet10": _preset("imagenet10", cutout=75),
    "imagenet-dogs": _preset("imagenet-dogs", cutout=75),
    "tiny-imagenet": _preset("tiny-imagenet", cutout=32),
    # Ours, with the pretraining and the views of CDC's.
    "digits": _preset(
        "digits",
        epochs=15,
        batch_size=1700,
        sub_batch_size=100,
        repeats=4,
        heads=5,
        learning_rate=0.001,
        weak_flip=0.0,
        operations=2,
        cutout=3,
        strong_flip=0.0,
    ),
}


METHOD = Method(
    summary="SPICE-self: heads on frozen features, taught by the images nearest to prototypes",
    citation=(
        "Niu, Shan, Wang. SPICE: Semantic Pseudo-Labeling for Image Clustering. IEEE Trans. Image "
        "Processing 31, 2022. https://arxiv.org/abs/2103.09382"
    ),
    version=1,
    config=SPICEConfig,
    build=Later("deep_clustering.methods.algorithms.spice:SPICE"),
    restore=Later("deep_clustering.methods.algorithms.spice:SPICE.restore"),
    needs=(
        Pretrain(
            summary="MoCo v2+ on the images, without labels",
            config=MoCoConfig,
            build=Later("deep_clustering.methods.pretraining.moco:MoCo"),
        ),
    ),
    presets=PRESETS,
    tuned=frozenset({"digits"}),
    by_side=by_side((12, "digits"), (48, "cifar10"), (223, "stl10"), other="imagenet10"),
    differences=DIFFERENCES,
)
