"""CDC: calibrated deep clustering.

Jia, Peng, Liu and Hou, "Towards Calibrated Deep Clustering Network", ICLR 2025
(https://arxiv.org/abs/2403.02998). Eq., Sec., Table and App. below are those of the paper;
"release" is the authors' code, whose reading is the default where the paper is silent.
`algorithms.cdc` has the losses and the model.
"""

import abc
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

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
)
from deep_clustering.methods._method import (
    CachedView,
    Later,
    Method,
    OnFeatures,
    Pretrain,
    by_side,
)
from deep_clustering.methods.differences.cdc import DIFFERENCES
from deep_clustering.methods.pretraining.configs import MoCoConfig

Initialisation = Literal["prototype", "random"]
Grouping = Literal["activations", "components"]
Heads = Literal["dual", "single", "single-calibrated"]
Selection = Literal["calibrated", "flexmatch", "freematch"]
Filter = Literal["gsf", "ppf"]
Calibration = Literal["mini-cluster", "label-smoothing", "focal", "l1"]
TargetView = Literal["clean", "weak"]


class Network(NamedTuple):
    """The encoder, and the views that it is given; see the fields of the same names."""

    backbone: Backbone
    stem: Stem
    stem_padding: int
    side: int | None
    frame: Frame
    enlargement: float | None


@dataclass(frozen=True, kw_only=True, slots=True)
class CDCSettings(abc.ABC):
    """All but what the encoder starts from. Defaults are those of CIFAR-10."""

    clusters: int = doc(10, "C; the platform sets it from the data set")
    epochs: int = doc(100, "passes over the data, 0 is the initialisation alone; Sec. 4.1")
    batch_size: int = doc(1000, "B, images per selection and k-means; Sec. 4.1")
    sub_batch_size: int = doc(500, "b, images per optimiser step; Algorithm 1, release")
    mini_clusters: int = doc(500, "K, regions per batch; Sec. 4.1")
    hidden: int = doc(512, "H, hidden units of the heads and prototypes behind them; Table 6")
    initialisation: Initialisation = doc("prototype", "of the heads, Sec. 3.3; Table 2-I")
    grouping: Grouping = doc(
        "activations",
        "what is clustered for the second prototypes; components of the features by the run's seed",
        added=True,
    )
    heads: Heads = doc("dual", "one head without or with the calibration loss: Table 2-III and IV")
    stop_gradient: bool = doc(
        True, "calibration loss stops before the encoder, Sec. 3.1; Table 2-V"
    )
    encoder_lr: float = doc(5e-5, "Adam, per step; Sec. 4.1")
    head_lr: float = doc(1e-4, "Adam, per step, of each head; Sec. 4.1")
    weight_decay: float = doc(0.0, "L2, Adam, all parameters; release")
    entropy_weight: float = doc(1.0, "lambda of Eq. 3; 0 removes the term, Table 6")
    calibration_loss: Calibration = doc(
        "mini-cluster", "Eq. 1; the others: App. B.5, Figs. 3 and 9"
    )
    target_view: TargetView = doc(
        "clean", "whose predictions are the targets of the calibration head, Eq. 1", added=True
    )
    label_smoothing: float = doc(0.05, "probability spread over all classes; Fig. 8")
    focal_gamma: float = doc(2.0, 'exponent of "focal"; Zhu et al. 2022')
    focal_warmup: int = doc(10, "epochs of plain cross-entropy before it; Zhu et al. 2022")
    l1_weight: float = doc(0.01, 'per sum of absolute logits of a sample, "l1"; Zhu et al. 2022')
    selection: Selection = doc("calibrated", "Eq. 4; the others: App. C.1.2, Table 9")
    fixed_threshold: float | None = doc(None, "probability in place of `selection`; Table 2-II")
    class_cap: int | None = doc(None, "M, candidates per class; None is floor(B / C), Eq. 4")
    flexmatch_threshold: float = doc(0.95, "probability; App. C.1.2")
    flexmatch_warmup: bool = doc(True, "count never confident samples as a class; FlexMatch Eq. 11")
    freematch_momentum: float = doc(0.999, "of the running thresholds, per batch; FreeMatch")
    filter: Filter | None = doc(None, "adds moderately confident samples; App. C.1.1, Table 8")
    filter_floor: float = doc(
        0.75, "probability above which a sample may be added; Tang & Jia 2022"
    )
    filter_momentum: float = doc(0.7, "of class centres and directions, per batch; Tang & Jia 2022")
    gsf_score: float = doc(0.95, '(1 + cosine) / 2 asked by "gsf"; Tang & Jia 2022')
    unit_features: bool = doc(True, "L1 norm 1 before the mini-cluster k-means; release")
    kmeans_restarts: int = doc(10, "of the mini-cluster k-means; release")
    batch_statistics: bool = doc(True, "BN of the passes without gradient; False is running ones")
    weak_crop: float = doc(0.08, "smallest area of the random crop, share; 1 is no crop; release")
    weak_flip: float = doc(0.5, "probability of the mirror image, weak view; release")
    strong_crop: float = doc(0.08, "smallest area of the random crop, share; 1 is no crop; release")
    strong_flip: float = doc(0.5, "probability of the mirror image, strong view; release")
    operations: int = doc(4, "random operations of the strong view; App. B.1, SCAN")
    cutout: int = doc(16, "largest side of the hole in the strong view, pixels; SCAN")
    empty_step: bool = doc(
        False, "a slice without a selected sample moves on by Adam's momentum; release: true"
    )
    mean: Channels | None = doc(None, "of the normalisation; None is the data set's")
    std: Channels | None = doc(None, "of the normalisation; None is the data set's")
    precision: Precision = "fp32"

    def __post_init__(self) -> None:
        counts = ("clusters", "batch_size", "sub_batch_size", "mini_clusters", "hidden")
        batch, sub, threshold = self.batch_size, self.sub_batch_size, self.fixed_threshold
        cap = self.class_cap
        check(
            self,
            [
                *positive(self, *counts, "encoder_lr", "head_lr", "kmeans_restarts"),
                *choice(self, initialisation=Initialisation, heads=Heads, selection=Selection),
                *choice(self, calibration_loss=Calibration, precision=Precision),
                *choice(self, target_view=TargetView, grouping=Grouping),
                *not_negative(self, "epochs", "weight_decay", "entropy_weight", "focal_gamma"),
                *not_negative(self, "focal_warmup", "l1_weight", "operations", "cutout"),
                *share(self, "label_smoothing", "flexmatch_threshold", "freematch_momentum"),
                *share(self, "filter_floor", "filter_momentum", "gsf_score"),
                *share(self, "weak_flip", "strong_flip"),
                *normalisation(self),
                Rule(
                    self.filter is None or self.filter in Filter.__args__,  # type: ignore[attr-defined]
                    "filter",
                    "must be none, gsf or ppf",
                ),
                *part(self, "weak_crop", "strong_crop"),
                Rule(
                    sub > 0 and batch % sub == 0,
                    "sub_batch_size",
                    f"must divide batch_size ({batch})",
                ),
                Rule(
                    self.mini_clusters <= batch,
                    "mini_clusters",
                    f"must be at most batch_size ({batch})",
                ),
                Rule(
                    self.clusters <= batch,
                    "clusters",
                    f"must be at most batch_size ({batch}), or no class has a candidate",
                ),
                Rule(
                    cap is None or 0 < cap <= batch,
                    "class_cap",
                    f"must be none or from 1 to batch_size ({batch})",
                ),
                Rule(
                    threshold is None or 0 <= threshold <= 1,
                    "fixed_threshold",
                    "must be none or from 0 to 1",
                ),
                Rule(
                    threshold is None or self.selection == "calibrated",
                    "fixed_threshold",
                    f"must be none with selection '{self.selection}': one rule selects",
                ),
            ],
        )

    @property
    @abc.abstractmethod
    def network(self) -> Network:
        """The encoder that is trained on."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CDCConfig(CDCSettings):
    """CDC on its pretraining; `METHOD.presets` has the data sets other than CIFAR-10."""

    pretrain: MoCoConfig = field(default_factory=MoCoConfig)
    views: int = doc(
        4, "kept weak views of each picture, and strong ones, on a frozen encoder", added=True
    )

    def __post_init__(self) -> None:
        CDCSettings.__post_init__(self)
        check(self, positive(self, "views"))

    @property
    def network(self) -> Network:
        """The encoder of the pretraining."""
        own = self.pretrain
        return Network(own.backbone, "side", own.stem_padding, own.side, own.frame, own.enlargement)


_RESNET50 = {
    "pretrain.backbone": "resnet50",
    "pretrain.side": 224,
    "pretrain.enlargement": 8 / 7,  # 256 pixels, of which the middle 224
    "batch_size": 500,
    "sub_batch_size": 125,
    "mini_clusters": 150,
    "cutout": 32,
}

#: Sec. 4.1 and the release; Table 12 for the last three, with the values of ImageNet-10.
PRESETS: dict[str, dict[str, Any]] = {
    "cifar10": {"pretrain.blur": 0.0},
    "cifar20": {"pretrain.blur": 0.0, "mini_clusters": 40, "encoder_lr": 1e-5},
    "stl10": {"mini_clusters": 150, "cutout": 32},
    "imagenet10": {**_RESNET50, "pretrain.backbone": "resnet34"},
    "imagenet-dogs": {**_RESNET50, "pretrain.backbone": "resnet34", "mini_clusters": 40},
    "tiny-imagenet": {
        "batch_size": 5000,
        "sub_batch_size": 1000,
        "mini_clusters": 1000,
        "encoder_lr": 1e-5,
        "cutout": 32,
    },
    "imagenet50": _RESNET50,
    "imagenet100": _RESNET50,
    "imagenet200": _RESNET50,
    # Ours, tuned with labels: 30 s on one CPU core, pretraining included. Pretrainings differ: some
    # leave two digits in one cluster, the accuracies are 0.87 to 0.97.
    "digits": {
        "pretrain.backbone": "small",
        "pretrain.epochs": 45,
        "pretrain.warmup_epochs": 2,
        "pretrain.batch_size": 128,
        "pretrain.queue_size": 1024,
        "pretrain.momentum_start": 0.996,
        "pretrain.projector_hidden": 128,
        "pretrain.projector_dimension": 64,
        "pretrain.crop_scale": 0.6,
        "pretrain.jitter": 0.5,
        "pretrain.grey": 0.0,
        "pretrain.blur": 0.0,
        "pretrain.flip": 0.0,
        "epochs": 30,
        "batch_size": 500,
        "sub_batch_size": 125,
        "mini_clusters": 200,
        "hidden": 64,
        "encoder_lr": 1e-3,
        "head_lr": 1e-3,
        "weak_crop": 0.6,
        "weak_flip": 0.0,
        "strong_crop": 0.6,
        "strong_flip": 0.0,
        "operations": 2,
        "cutout": 3,
    },
}

#: What the paper says where the release does otherwise; the defaults are the release's.
_PAPER = {
    "pretrain.stem_padding": 2,
    "pretrain.projector_norm": True,
    "pretrain.momentum_end": 0.99,
    "pretrain.symmetric": False,
    "unit_features": False,
    "weak_crop": 1.0,
    "weak_flip": 0.0,
    "strong_crop": 1.0,
}

#: What the release does where the paper, or this project for want of a reason, does otherwise.
_RELEASE = {
    "pretrain.blur": 0.5,
    "pretrain.warmup_closed": True,
    "pretrain.precision": "fp16",
    "empty_step": True,
}


def _views(config: CDCConfig, side: int) -> tuple[CachedView, ...]:
    """What heads on a frozen encoder are taught with; `cutout` counts pixels of `side`."""
    weak = CachedView(kind="weak", crop=config.weak_crop, flip=config.weak_flip)
    strong = CachedView(
        kind="strong",
        crop=config.strong_crop,
        flip=config.strong_flip,
        operations=config.operations,
        cutout=min(1.0, config.cutout / side),
    )
    return (*weak.times(config.views), *strong.times(config.views))


#: Mini-clusters for each cluster on a frozen encoder: those of the paper for CIFAR-20.
_REGIONS = 2
#: Epochs on a frozen encoder at most.
_EPOCHS = 40


def _frozen(values: Mapping[str, Any]) -> dict[str, Any]:
    """On a frozen encoder: few mini-clusters and epochs, and clusters of its features at the start.

    A mini-cluster's mean prediction can only say how unsure a region is where the region has
    pictures enough: 500 in a batch of 1,000 leave two. The paper takes so many where training makes
    the features of a cluster alike, and few, two for each class, where they stay apart (Sec. 4.3,
    VI). Nothing moves the features of a frozen encoder, so that it is the second case on all data.
    One for each cluster is no better: README, Measured.

    Heads alone are calibrated after some 100 steps. What follows teaches them their own labels
    again, without better features to show for it: of 2,000 pictures accuracy no longer grows after
    40 epochs, and the ECE does (README, Measured).

    Of a few thousand images the 512 first prototypes are means of a handful each, and what is close
    to them says less than the features do. These are all that a frozen encoder gives, and the same
    in every run: so each run clusters their components by its own seed, or all seeds would share
    one start.
    """
    return {
        "mini_clusters": min(_REGIONS * values["clusters"], values["batch_size"]),
        "epochs": min(_EPOCHS, values["epochs"]),
        "grouping": "components",
    }


METHOD = Method(
    summary="Calibrated deep clustering: a clustering head taught by a calibration head",
    citation=(
        "Jia, Peng, Liu, Hou. Towards Calibrated Deep Clustering Network. ICLR 2025. "
        "https://arxiv.org/abs/2403.02998"
    ),
    version=2,
    config=CDCConfig,
    build=Later("deep_clustering.methods.algorithms.cdc:CDC"),
    restore=Later("deep_clustering.methods.algorithms.cdc:CDC.restore"),
    on_features=OnFeatures(
        views=_views,
        build=Later("deep_clustering.methods.algorithms.cdc_on_features:CDCOnFeatures"),
        restore=Later("deep_clustering.methods.algorithms.cdc_on_features:CDCOnFeatures.restore"),
        changes=_frozen,
    ),
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
    readings={"paper": _PAPER, "release": _RELEASE},
    reading_presets={
        "release": {
            "cifar10": {"pretrain.std": (0.2470, 0.2435, 0.2616)},
            "imagenet10": {"batch_size": 1000, "class_cap": 50},
        }
    },
    differences=DIFFERENCES,
)
