"""SimSiam, followed by k-means: a representation without negatives, and what clusters it has.

Chen and He, "Exploring simple Siamese representation learning", CVPR 2021
(https://arxiv.org/abs/2011.10566), as CDC's Table 10 compares with it: its App. B.1 is "paper"
here, and the library that it names, solo-learn (da Costa et al., JMLR 2022), is "release".
`pretraining.simsiam` learns the representation, `algorithms.centres` clusters it.
"""

from dataclasses import dataclass, field
from typing import Any

from deep_clustering.methods._method import Later, Method, Pretrain, by_side
from deep_clustering.methods.differences.siamese import OF_SIMSIAM
from deep_clustering.methods.pretraining.configs import CentresConfig, SimSiamConfig


@dataclass(frozen=True, kw_only=True, slots=True)
class SimSiamKMeansConfig(CentresConfig):
    """Defaults are those of CIFAR-10; `METHOD.presets` has the other data sets."""

    pretrain: SimSiamConfig = field(default_factory=SimSiamConfig)


_IMAGENET = {"pretrain.side": 224, "pretrain.enlargement": 8 / 7}

#: CDC's App. B.1; that of the digits is ours, with the views of CDC's.
PRESETS: dict[str, dict[str, Any]] = {
    "cifar10": {"pretrain.blur": 0.0},
    "cifar20": {"pretrain.blur": 0.0},
    "stl10": {},
    "imagenet10": _IMAGENET,
    "imagenet-dogs": _IMAGENET,
    "tiny-imagenet": {},
    "digits": {
        "pretrain.backbone": "small",
        "pretrain.epochs": 45,
        "pretrain.warmup_epochs": 2,
        "pretrain.batch_size": 128,
        "pretrain.projector_hidden": 128,
        "pretrain.projector_dimension": 128,
        "pretrain.predictor_hidden": 32,
        "pretrain.crop_scale": 0.6,
        "pretrain.jitter": 0.5,
        "pretrain.grey": 0.0,
        "pretrain.blur": 0.0,
        "pretrain.flip": 0.0,
    },
}


METHOD = Method(
    summary="SimSiam followed by k-means: views that predict each other, without negatives",
    citation=(
        "Chen, He. Exploring Simple Siamese Representation Learning. CVPR 2021. "
        "https://arxiv.org/abs/2011.10566"
    ),
    version=1,
    config=SimSiamKMeansConfig,
    build=Later("deep_clustering.methods.algorithms.centres:Centres"),
    restore=Later("deep_clustering.methods.algorithms.centres:Centres.restore"),
    needs=(
        Pretrain(
            summary="SimSiam on the images, without labels",
            config=SimSiamConfig,
            build=Later("deep_clustering.methods.pretraining.simsiam:SimSiam"),
        ),
    ),
    presets=PRESETS,
    by_side=by_side((12, "digits"), (48, "cifar10"), (223, "stl10"), other="imagenet10"),
    readings={
        "paper": {
            "pretrain.stem_padding": 2,
            "pretrain.projector_layers": 1,
            "pretrain.projector_hidden": 4096,
            "pretrain.projector_dimension": 256,
        },
        "release": {"pretrain.weight_decay": 1e-5},
    },
    differences=OF_SIMSIAM,
)
