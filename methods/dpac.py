"""DPAC: deep probability aggregation clustering.

Yan, Lu and Yan, "Deep Probability Aggregation Clustering", ECCV 2024
(https://arxiv.org/abs/2407.05246). Eq., Sec. and Table below are those of the paper; "release" is
the authors' code. `algorithms.dpac` has the losses and the model; offline PAC, the same idea on a
whole data set, is `pac`.
"""

from dataclasses import dataclass, field
from typing import Any, Literal

from deep_clustering.methods._fields import (
    Rule,
    ScaledPrecision,
    check,
    choice,
    doc,
    not_negative,
    positive,
    share,
)
from deep_clustering.methods._method import (
    CachedView,
    Later,
    Method,
    OnFeatures,
    Pretrain,
    by_side,
)
from deep_clustering.methods.differences.dpac import DIFFERENCES
from deep_clustering.methods.pretraining.configs import PretrainConfig

Objective = Literal["opa", "pac"]
Distance = Literal["cosine", "squared"]
DistanceView = Literal["original", "first"]
PositiveWeight = Literal["printed", "one", "none"]
Offline = Literal["kmeans", "fcm", "pac"]
Statistics = Literal["update", "batch", "running"]
HeadViews = Literal["first", "all"]


@dataclass(frozen=True, kw_only=True, slots=True)
class DPACConfig:
    """Defaults are those of CIFAR-10; `METHOD.presets` has the other data sets."""

    pretrain: PretrainConfig = field(default_factory=PretrainConfig)
    clusters: int = doc(10, "K; the platform sets it from the data set")
    epochs: int = doc(200, "passes over the data, the self-labelling ones included; Sec. 4.2")
    batch_size: int = doc(240, "B, images per step and target; Sec. 4.2 (release 256)")
    m: float = doc(1.03, "exponent of Eq. 9, above 1; Sec. 4.2, Table 6")
    temperature: float = doc(0.5, "of Eq. 11; Sec. 4.2")
    hidden: int = doc(512, "units of each of the two hidden layers of the clustering head; release")
    encoder_lr: float = doc(1e-4, "Adam, constant, encoder and projector; Sec. 4.2")
    head_lr: float = doc(1e-4, "Adam, constant, heads; Sec. 4.2")
    weight_decay: float = doc(1e-4, "L2, Adam, all parameters; Sec. 4.2")
    objective: Objective = doc("opa", 'Eq. 12; "pac" learns Eq. 13 without a target, Table 4')
    distance: Distance = doc("cosine", "d of Eqs. 9 and 13; release (paper: squared Euclidean)")
    detach_distance: bool = doc(True, "no gradient through the distances of Eq. 13; ours")
    distance_view: DistanceView = doc("original", "whose features Eq. 13 compares; ours")
    weighted: bool = doc(True, "Eq. 11 rather than the plain contrastive loss; Table 5a")
    positive_weight: PositiveWeight = doc(
        "printed", "of the positive pair in the denominator; Eq. 11"
    )
    balance_weight: float = doc(0.0, "of the balance regulariser; Table 5c")
    offline: Offline | None = doc(None, "targets of the whole data set in place of Eq. 9; Table 7")
    offline_every: int = doc(1, "epochs between two runs of the offline method; Table 7")
    offline_warm_start: bool = doc(False, '"pac" starts from the head\'s predictions; ours')
    fcm_m: float = doc(1.05, 'exponent of "fcm"; Table 3')
    self_label_epochs: int = doc(
        0, "last epochs, in which a linear head learns too; Table 4, dagger"
    )
    self_label_threshold: float = doc(
        0.95, "confidence asked of its labels; Sec. 4.2 (release 0.99)"
    )
    head_views: HeadViews = doc(
        "first", "that the head normalises over in training; Alg. 3 (release: all)"
    )
    target_statistics: Statistics = doc("update", "batch normalisation of the target pass; release")
    precision: ScaledPrecision = "fp32"
    views: int = doc(
        4, "kept weak views of each picture, and strong ones, on a frozen encoder", added=True
    )

    def __post_init__(self) -> None:
        queue = self.pretrain.moco_queue * self.pretrain.batch_size
        check(
            self,
            [
                *positive(self, "clusters", "batch_size", "temperature", "hidden"),
                *positive(self, "encoder_lr", "head_lr", "offline_every", "views"),
                *not_negative(self, "epochs", "weight_decay", "balance_weight"),
                *choice(self, objective=Objective, distance=Distance, precision=ScaledPrecision),
                *choice(self, distance_view=DistanceView, positive_weight=PositiveWeight),
                *choice(self, head_views=HeadViews, target_statistics=Statistics),
                *share(self, "self_label_threshold"),
                Rule(self.m > 1, "m", "must be above 1"),
                Rule(self.fcm_m > 1, "fcm_m", "must be above 1"),
                Rule(
                    self.offline is None or self.offline in Offline.__args__,  # type: ignore[attr-defined]
                    "offline",
                    "must be none, kmeans, fcm or pac",
                ),
                Rule(
                    self.offline is None or self.objective == "opa",
                    "offline",
                    f"must be none with objective '{self.objective}', which has no targets",
                ),
                Rule(
                    0 <= self.self_label_epochs <= self.epochs,
                    "self_label_epochs",
                    f"must be from 0 to epochs ({self.epochs}), of which they are the last",
                ),
                Rule(
                    self.pretrain.framework != "moco"
                    or (self.batch_size > 0 and queue % self.batch_size == 0),
                    "batch_size",
                    f"must divide the {queue} keys of a queue (pretrain.moco_queue x "
                    "pretrain.batch_size) with framework 'moco'",
                ),
            ],
        )

    @property
    def strong_views(self) -> bool:
        """Whether a head is given strong views: without an encoder to train, nothing else is."""
        return self.head_views == "all" or self.self_label_epochs > 0


_IMAGENET = {
    "pretrain.side": 224,
    "pretrain.enlargement": 8 / 7,
    "pretrain.blur": 0.5,
    "pretrain.cutout": 75,
}

#: Sec. 4.2 and the release.
PRESETS: dict[str, dict[str, Any]] = {
    "cifar10": {},
    "cifar20": {},
    "stl10": {
        "pretrain.stem": "pooled",
        "pretrain.enlargement": 7 / 6,
        "pretrain.blur": 0.5,
        "pretrain.cutout": 32,
    },
    "imagenet10": _IMAGENET,
    "imagenet-dogs": _IMAGENET,
    # Ours, tuned with labels: 40 s on one CPU core, pretraining included. Pretraining seeds 0 and 1
    # with four seeds each end at accuracies from 0.95 to 0.97 and an ECE of 0.02 to 0.03.
    "digits": {
        "pretrain.backbone": "small",
        "pretrain.enlargement": 1.0,
        "pretrain.epochs": 60,
        "pretrain.batch_size": 256,
        "pretrain.learning_rate": 3e-3,
        "pretrain.projector_hidden": 128,
        "pretrain.projector_dimension": 64,
        "pretrain.crop_scale": 0.4,
        "pretrain.jitter": 0.5,
        "pretrain.grey": 0.0,
        "pretrain.flip": 0.0,
        "pretrain.operations": 2,
        "pretrain.cutout": 3,
        "epochs": 30,
        "batch_size": 256,
        "hidden": 128,
        "encoder_lr": 1e-3,
        "head_lr": 1e-3,
    },
}


def _views(config: DPACConfig, side: int) -> tuple[CachedView, ...]:
    """What a head on a frozen encoder is taught with; `cutout` counts pixels of `side`."""
    own = config.pretrain
    weak = CachedView(kind="weak", crop=own.crop_scale, flip=own.flip)
    strong = CachedView(
        kind="strong",
        crop=own.strong_crop,
        flip=own.flip,
        operations=own.operations,
        cutout=min(1.0, own.cutout / side),
    )
    return (*weak.times(config.views), *strong.times(config.views if config.strong_views else 0))


METHOD = Method(
    summary="Deep probability aggregation clustering: a head taught by targets of each batch",
    citation=(
        "Yan, Lu, Yan. Deep Probability Aggregation Clustering. ECCV 2024. "
        "https://arxiv.org/abs/2407.05246"
    ),
    version=2,
    config=DPACConfig,
    build=Later("deep_clustering.methods.algorithms.dpac:DPAC"),
    restore=Later("deep_clustering.methods.algorithms.dpac:DPAC.restore"),
    on_features=OnFeatures(
        views=_views,
        build=Later("deep_clustering.methods.algorithms.dpac_on_features:DPACOnFeatures"),
        restore=Later("deep_clustering.methods.algorithms.dpac_on_features:DPACOnFeatures.restore"),
    ),
    needs=(
        Pretrain(
            summary="SimCLR, MoCo or an autoencoder on the images, without labels",
            config=PretrainConfig,
            build=Later("deep_clustering.methods.pretraining.representation:pretraining"),
        ),
    ),
    presets=PRESETS,
    plain=lambda values: values["pretrain.framework"] != "autoencoder",
    tuned=frozenset({"digits"}),
    by_side=by_side((12, "digits"), (48, "cifar10"), (223, "stl10"), other="imagenet10"),
    readings={
        "paper": {"distance": "squared"},
        "release": {
            "batch_size": 256,
            "self_label_threshold": 0.99,
            "head_views": "all",
            "precision": "fp16",
            "pretrain.precision": "fp16",
        },
    },
    reading_presets={
        "paper": {"stl10": {"pretrain.side": 224, "pretrain.enlargement": 8 / 7}},
        "release": {
            "cifar20": {
                "pretrain.mean": (0.5071, 0.4867, 0.4408),
                "pretrain.std": (0.2675, 0.2565, 0.2761),
            },
            "stl10": {
                "pretrain.mean": (0.485, 0.456, 0.406),  # those of ImageNet
                "pretrain.std": (0.229, 0.224, 0.225),
            },
        },
    },
    differences=DIFFERENCES,
)
