"""SCAN: semantic clustering by adopting nearest neighbours.

Van Gansbeke, Vandenhende, Georgoulis, Proesmans and Van Gool, "SCAN: Learning to Classify Images
without Labels", ECCV 2020 (https://arxiv.org/abs/2005.12320). Eq. and Sec. below are those of the
paper; "release" is the authors' code. A pretext task learns features (Sec. 2.1, `pretext`), each
image is predicted as its nearest neighbours in them are (Sec. 2.2), and confident predictions
become labels (Sec. 2.3). `algorithms.scan` has the losses and the model.
"""

from dataclasses import dataclass, field
from typing import Any, Literal

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
from deep_clustering.methods._method import Later, Method, Neighbours, Pretrain, by_side
from deep_clustering.methods.differences.scan import DIFFERENCES
from deep_clustering.methods.pretraining.configs import PretextConfig

Optimiser = Literal["adam", "sgd"]
Augmentation = Literal["strong", "pretext"]


@dataclass(frozen=True, kw_only=True, slots=True)
class SCANConfig:
    """Defaults are those of CIFAR-10 in the release; `METHOD.presets` has the other data sets."""

    pretrain: PretextConfig = field(default_factory=PretextConfig)
    clusters: int = doc(10, "C; the platform sets it from the data set")
    neighbours: int = doc(20, "nearest others that an image is paired with; Sec. 3.1")
    clustering_epochs: int = doc(50, "passes over the data, Sec. 2.2; release")
    batch_size: int = doc(128, "images per clustering step, well above C; Sec. 3.1")
    optimiser: Optimiser = doc("adam", "of the clustering steps; Sec. 3.1")
    learning_rate: float = doc(1e-4, "constant, of the clustering steps; Sec. 3.1")
    weight_decay: float = doc(1e-4, "L2, all parameters, of the clustering steps; Sec. 3.1")
    heads: int = doc(1, "linear heads, of which the one with the lowest score stays; release")
    entropy_weight: float = doc(5.0, "lambda of Eq. 2; 0 removes the term; Sec. 3.1")
    augmentation: Augmentation = doc("strong", "views of the clustering steps; Sec. 3.1")
    freeze_encoder: bool = doc(False, "clustering steps train the heads alone; release, ImageNet")
    select_epoch: bool = doc(
        True, "go on from the epoch with the lowest score, not the last; release"
    )
    score_neighbours: int = doc(5, "nearest others that the score looks at; release")
    self_label_epochs: int = doc(200, "passes over the data, Sec. 2.3; 0 leaves it out; Sec. 3.1")
    self_label_batch_size: int = doc(1000, "images per self-labelling step; release")
    self_label_optimiser: Optimiser = doc("adam", "of the self-labelling steps; Sec. 3.1")
    self_label_learning_rate: float = doc(1e-4, "constant, of the self-labelling steps; Sec. 3.1")
    self_label_weight_decay: float = doc(
        1e-4, "L2, all parameters, of the self-labelling steps; Sec. 3.1"
    )
    self_label_augmentation: Augmentation = doc("strong", "views that learn; Sec. 2.3")
    threshold: float = doc(0.99, "probability above which a prediction becomes a label; Sec. 3.1")
    balanced: bool = doc(True, "every class counts the same in a self-labelling step; Sec. 3.1")
    weight_average: float = doc(
        0.0, "share of the weights kept in each self-labelling step; release"
    )
    batch_statistics: bool = doc(True, "batch normalisation of the pass that labels; release")
    sgd_momentum: float = doc(0.9, 'of "sgd"; release')
    operations: int = doc(4, "random operations of the strong view; Sec. 3.1")
    cutout: int = doc(16, "largest side of the hole in the strong view, pixels; release")
    strong_crop: float = doc(
        1.0, "smallest area of the random crop, strong view; 1 is none; release"
    )
    strong_flip: float = doc(0.5, "probability of the mirror image, strong view; release")
    precision: Precision = "fp32"

    @property
    def epochs(self) -> int:
        """All passes over the data, first those of clustering, then those of self-labelling."""
        return self.clustering_epochs + self.self_label_epochs

    def __post_init__(self) -> None:
        check(
            self,
            [
                *positive(self, "clusters", "neighbours", "batch_size", "learning_rate", "heads"),
                *positive(self, "self_label_batch_size", "self_label_learning_rate"),
                *not_negative(self, "clustering_epochs", "self_label_epochs", "entropy_weight"),
                *not_negative(self, "weight_decay", "self_label_weight_decay"),
                *not_negative(self, "operations", "cutout"),
                *choice(self, optimiser=Optimiser, self_label_optimiser=Optimiser),
                *choice(self, augmentation=Augmentation, self_label_augmentation=Augmentation),
                *choice(self, precision=Precision),
                *share(self, "threshold", "sgd_momentum", "strong_flip"),
                Rule(
                    0 <= self.score_neighbours <= self.neighbours,
                    "score_neighbours",
                    f"must be from 0 to neighbours ({self.neighbours})",
                ),
                Rule(
                    0 <= self.weight_average < 1,
                    "weight_average",
                    "must be from 0 to below 1, which would keep all weights as they are",
                ),
                *part(self, "strong_crop"),
            ],
        )


_IMAGENET = {
    "pretrain.backbone": "resnet50",
    "pretrain.side": 224,
    "pretrain.enlargement": 8 / 7,
    "pretrain.mine_projection": False,
    "neighbours": 50,
    "clustering_epochs": 100,
    "batch_size": 1024,
    "optimiser": "sgd",
    "learning_rate": 5.0,
    "weight_decay": 0.0,
    "heads": 10,
    "augmentation": "pretext",
    "freeze_encoder": True,
    "self_label_epochs": 25,
    "self_label_batch_size": 512,
    "self_label_optimiser": "sgd",
    "self_label_learning_rate": 0.03,
    "self_label_weight_decay": 0.0,
    "balanced": False,
    "weight_average": 0.999,
    "cutout": 75,
    "strong_crop": 0.766,  # (224 / 256)^2
}

#: The release's configurations. Those of ImageNet-10 and ImageNet-Dogs, which SCAN did not use, and
#: of the digits are ours.
PRESETS: dict[str, dict[str, Any]] = {
    "cifar10": {},
    "cifar20": {"clustering_epochs": 100, "batch_size": 512},
    "stl10": {
        "pretrain.stem": "pooled",
        "clustering_epochs": 100,
        "self_label_epochs": 100,
        "cutout": 32,
    },
    "imagenet10": {**_IMAGENET, "batch_size": 512},
    "imagenet-dogs": {**_IMAGENET, "batch_size": 512},
    "imagenet50": {**_IMAGENET, "batch_size": 512},
    "imagenet100": _IMAGENET,
    "imagenet200": _IMAGENET,
    # Views and networks are those of DPAC's preset; the clustering step's rate is raised.
    "digits": {
        "pretrain.backbone": "small",
        "pretrain.epochs": 60,
        "pretrain.batch_size": 256,
        "pretrain.projector_hidden": 128,
        "pretrain.projector_dimension": 64,
        "pretrain.crop_scale": 0.4,
        "pretrain.jitter": 0.5,
        "pretrain.grey": 0.0,
        "pretrain.flip": 0.0,
        "clustering_epochs": 20,
        "learning_rate": 1e-3,
        "self_label_epochs": 20,
        "self_label_batch_size": 256,
        "operations": 2,
        "cutout": 3,
        "strong_flip": 0.0,
    },
}


METHOD = Method(
    summary="SCAN: predictions like those of the nearest neighbours, then own labels",
    citation=(
        "Van Gansbeke, Vandenhende, Georgoulis, Proesmans, Van Gool. SCAN: Learning to Classify "
        "Images without Labels. ECCV 2020. https://arxiv.org/abs/2005.12320"
    ),
    version=1,
    config=SCANConfig,
    build=Later("deep_clustering.methods.algorithms.scan:SCAN"),
    restore=Later("deep_clustering.methods.algorithms.scan:SCAN.restore"),
    needs=(
        Pretrain(
            summary="SimCLR on the images, without labels",
            config=PretextConfig,
            build=Later("deep_clustering.methods.pretraining.pretext:Pretext"),
        ),
        Neighbours(count="neighbours"),
    ),
    presets=PRESETS,
    tuned=frozenset({"digits"}),
    by_side=by_side((12, "digits"), (48, "cifar10"), (223, "stl10"), other="imagenet10"),
    readings={
        "paper": {
            "clustering_epochs": 100,
            "batch_size": 128,
            "self_label_epochs": 200,
            "pretrain.symmetric": True,
        },
        "release": {},
    },
    reading_presets={
        "release": {
            "cifar20": {
                "pretrain.mean": (0.5071, 0.4867, 0.4408),
                "pretrain.std": (0.2675, 0.2565, 0.2761),
            },
            "stl10": {
                "pretrain.mean": (0.485, 0.456, 0.406),
                "pretrain.std": (0.229, 0.224, 0.225),
            },
        }
    },
    differences=DIFFERENCES,
)
