"""CC: contrastive clustering, of images by rows and of clusters by columns.

Li, Hu, Liu, Peng, Zhou and Peng, "Contrastive Clustering", AAAI 2021
(https://arxiv.org/abs/2009.09687). Eq. and Sec. below are those of the paper; "release" is the
authors' code. One network, trained from random weights, has two heads on the features of two views:
one contrasts images, the other, whose outputs are the clusters' probabilities, contrasts clusters.
`algorithms.cc` has the losses and the model.
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
from deep_clustering.methods.differences.cc import DIFFERENCES


@dataclass(frozen=True, kw_only=True, slots=True)
class CCConfig:
    """Defaults are those of CIFAR-10; `METHOD.presets` has the other data sets."""

    clusters: int = doc(10, "M; the platform sets it from the data set")
    epochs: int = doc(1000, "passes over the data; Sec. 4.1")
    batch_size: int = doc(256, "images per step; Sec. 4.1")
    learning_rate: float = doc(3e-4, "Adam, constant; Sec. 4.1")
    weight_decay: float = doc(0.0, "L2, Adam, all parameters; Sec. 4.1")
    instance_weight: float = doc(1.0, "of the loss of images; 0 removes it; Eq. 7")
    cluster_weight: float = doc(1.0, "of the loss of clusters; 0 removes it; Eq. 7")
    entropy_weight: float = doc(1.0, "of the entropy H(Y) of the clusters; 0 removes it; Eq. 6")
    instance_temperature: float = doc(0.5, "of the loss of images; Sec. 4.1")
    cluster_temperature: float = doc(1.0, "of the loss of clusters; Sec. 4.1")
    dimension: int = doc(128, "of what is contrasted of an image; Sec. 4.1")
    crop_scale: float = doc(0.08, "smallest area of the random crop, share of the image; release")
    jitter: float = doc(0.8, "probability of the colour jitter; release")
    grey: float = doc(0.2, "probability of grey; release")
    blur: float = doc(0.0, "probability of the blur; 0.5 on ImageNet; release")
    flip: float = doc(0.5, "probability of the mirror image; release")
    backbone: Backbone = doc("resnet34", "Sec. 4.1")
    stem: Stem = doc("side", 'first layers of a ResNet; "large" in the release, at 224 pixels')
    stem_padding: int = doc(1, "pixels, of the 3x3 stem")
    side: int | None = doc(None, "pixels, of the views; Sec. 4.1: 224; None is the images' own")
    frame: Frame = doc("whole", 'what views are cut from; "centre": the square of a photograph')
    enlargement: float | None = doc(
        None, "clean view: middle of the image at this multiple of side; None takes it as stored"
    )
    mean: Channels | None = doc(None, "of the normalisation; None is the data set's")
    std: Channels | None = doc(None, "of the normalisation; None is the data set's")
    precision: Precision = "fp32"

    def __post_init__(self) -> None:
        check(
            self,
            [
                *positive(self, "clusters", "epochs", "batch_size", "learning_rate", "dimension"),
                *positive(self, "instance_temperature", "cluster_temperature"),
                *not_negative(self, "instance_weight", "cluster_weight", "entropy_weight"),
                *not_negative(self, "weight_decay", "stem_padding"),
                *share(self, "jitter", "grey", "blur", "flip"),
                *choice(self, backbone=Backbone, stem=Stem, frame=Frame, precision=Precision),
                *part(self, "crop_scale"),
                *sizes(self),
                *normalisation(self),
            ],
        )


_IMAGENET = {"side": 224, "enlargement": 1.0, "blur": 0.5}

#: Sec. 4.1 and the release; that of the digits is ours, with the views of CDC's.
PRESETS: dict[str, dict[str, Any]] = {
    "cifar10": {},
    "cifar20": {},
    "stl10": {},
    "imagenet10": _IMAGENET,
    "imagenet-dogs": _IMAGENET,
    "tiny-imagenet": {},
    "digits": {
        "backbone": "small",
        "epochs": 60,
        "batch_size": 256,
        "learning_rate": 1e-3,
        "dimension": 64,
        "crop_scale": 0.6,
        "jitter": 0.5,
        "grey": 0.0,
        "flip": 0.0,
    },
}


METHOD = Method(
    summary="Contrastive clustering: images contrasted by rows, clusters by columns, from scratch",
    citation=(
        "Li, Hu, Liu, Peng, Zhou, Peng. Contrastive Clustering. AAAI 2021. "
        "https://arxiv.org/abs/2009.09687"
    ),
    version=1,
    config=CCConfig,
    build=Later("deep_clustering.methods.algorithms.cc:CC"),
    restore=Later("deep_clustering.methods.algorithms.cc:CC.restore"),
    presets=PRESETS,
    by_side=by_side((12, "digits"), (48, "cifar10"), (223, "stl10"), other="imagenet10"),
    readings={
        "release": {
            "side": 224,
            "enlargement": 1.0,
            "stem": "large",
            "mean": (0.0, 0.0, 0.0),
            "std": (1.0, 1.0, 1.0),
        },
    },
    differences=DIFFERENCES,
)
