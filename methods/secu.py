"""SeCu: stable cluster discrimination, representations and cluster centres learnt together.

Qian, "Stable Cluster Discrimination for Deep Clustering", ICCV 2023
(https://arxiv.org/abs/2311.14310). "Release" is the author's code, from which all values are. One
network is trained from random weights: images are told apart by the centres of the epoch before,
and each centre moves by its own images alone. A constraint on all images keeps clusters from
emptying. `algorithms.secu` has the losses and the model.
"""

from dataclasses import dataclass
from typing import Any, Literal

from deep_clustering.methods._fields import (
    Backbone,
    Channels,
    Frame,
    Precision,
    Rule,
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
from deep_clustering.methods.differences.secu import DIFFERENCES

Constraint = Literal["size", "entropy"]


@dataclass(frozen=True, kw_only=True, slots=True)
class SeCuConfig:
    """Defaults are those of CIFAR-10 in the release; `METHOD.presets` has the other data sets."""

    clusters: int = doc(10, "K; the platform sets it from the data set")
    groupings: int = doc(10, "how many are learnt at once: K, 2K, ... clusters, the first counts")
    epochs: int = doc(401, "passes over the data; in the first one the encoder stays")
    batch_size: int = doc(128, "images per step")
    learning_rate: float = doc(0.2, "SGD, of encoder and projector, cosine after the warm-up")
    centre_rate: float = doc(1.2, "SGD, of the centres, constant; 0.8 elsewhere")
    warmup_epochs: int = doc(11, "linear, per step; the first of them has rate 0")
    sgd_momentum: float = doc(0.9, "momentum, not Nesterov's")
    weight_decay: float = doc(1e-4, "L2, all parameters, the centres included")
    constraint: Constraint = doc("size", "what keeps clusters from emptying; 'entropy': a price")
    size_share: float = doc(0.9, "'size': least share of an even cluster; 0 asks for nothing")
    dual_rate: float = doc(0.1, "'size': step of the prices, per batch")
    entropy_price: float = doc(6000.0, "'entropy': of the negative entropy of the sizes, alpha")
    own_label: float = doc(
        0.2, "of an image's label in its target, tau; the rest is the other view's prediction"
    )
    temperature: float = doc(0.05, "of the cosines that images are told apart by")
    centre_temperature: float = doc(0.05, "of the cosines that centres learn by; 1 on STL-10")
    dimension: int = doc(128, "of the space of the centres")
    crop_scale: float = doc(0.3, "smallest area of the random crop, share; 0.2 elsewhere")
    jitter: float = doc(0.8, "probability of the colour jitter")
    saturation: float = doc(0.2, "strength of the jitter of the saturation")
    grey: float = doc(0.2, "probability of grey")
    blur: float = doc(1.0, "probability of the blur, first view")
    second_blur: float = doc(0.1, "probability of the blur, second view")
    solarise: float = doc(0.2, "probability of inverted bright pixels, second view")
    flip: float = doc(0.5, "probability of the mirror image")
    backbone: Backbone = doc("resnet18", "encoder; a ResNet-34 in CDC's comparison")
    stem: Stem = doc("side", 'first layers of a ResNet; "pooled" on STL-10')
    stem_padding: int = doc(1, "pixels, of the 3x3 stem")
    side: int | None = doc(None, "pixels, of the views; None is the images' own")
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
                *positive(self, "clusters", "groupings", "epochs", "batch_size", "learning_rate"),
                *positive(self, "centre_rate", "temperature", "centre_temperature", "dimension"),
                *not_negative(self, "weight_decay", "dual_rate", "entropy_price", "stem_padding"),
                *share(self, "sgd_momentum", "size_share", "own_label", "flip", "saturation"),
                *share(self, "jitter", "grey", "blur", "second_blur", "solarise"),
                *choice(self, constraint=Constraint, backbone=Backbone, stem=Stem),
                *choice(self, frame=Frame, precision=Precision),
                *part(self, "crop_scale"),
                *sizes(self),
                *normalisation(self),
                Rule(
                    1 <= self.warmup_epochs < self.epochs,
                    "warmup_epochs",
                    f"must be at least 1 and below epochs ({self.epochs})",
                ),
            ],
        )


_SLOWER = {"epochs": 801, "centre_rate": 0.8, "crop_scale": 0.2}
_IMAGENET = {**_SLOWER, "side": 224, "enlargement": 8 / 7}

#: The release's configurations; those of ImageNet-10 and ImageNet-Dogs, which SeCu did not use, and
#: of the digits are ours.
PRESETS: dict[str, dict[str, Any]] = {
    "cifar10": {},
    "cifar20": _SLOWER,
    "stl10": {**_SLOWER, "stem": "pooled", "centre_temperature": 1.0},
    "imagenet10": _IMAGENET,
    "imagenet-dogs": _IMAGENET,
    "digits": {
        "groupings": 3,
        "backbone": "small",
        "epochs": 40,
        "warmup_epochs": 2,
        "batch_size": 32,
        "learning_rate": 0.03,
        "centre_rate": 0.3,
        "dual_rate": 0.05,
        "dimension": 64,
        "crop_scale": 0.6,
        "jitter": 0.5,
        "grey": 0.0,
        "blur": 0.0,
        "second_blur": 0.0,
        "solarise": 0.0,
        "flip": 0.0,
    },
}


METHOD = Method(
    summary="SeCu: centres that move by their own images alone, under a constraint on their sizes",
    citation=(
        "Qian. Stable Cluster Discrimination for Deep Clustering. ICCV 2023. "
        "https://arxiv.org/abs/2311.14310"
    ),
    version=1,
    config=SeCuConfig,
    build=Later("deep_clustering.methods.algorithms.secu:SeCu"),
    restore=Later("deep_clustering.methods.algorithms.secu:SeCu.restore"),
    presets=PRESETS,
    tuned=frozenset({"digits"}),
    by_side=by_side((12, "digits"), (48, "cifar10"), (223, "stl10"), other="imagenet10"),
    readings={"release": {}},
    reading_presets={
        "release": {
            "cifar20": {
                "mean": (0.5071, 0.4867, 0.4408),
                "std": (0.2675, 0.2565, 0.2761),
            },
            "stl10": {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)},
        }
    },
    differences=DIFFERENCES,
)
