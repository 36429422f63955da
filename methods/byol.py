"""BYOL, followed by k-means: a representation learnt from a slow copy of itself, and its clusters.

Grill et al., "Bootstrap your own latent", NeurIPS 2020 (https://arxiv.org/abs/2006.07733), as CDC's
Table 10 compares with it: its App. B.1 is "paper" here, and the library that it names, solo-learn
(da Costa et al., JMLR 2022), is "release". `pretraining.byol` learns the representation,
`algorithms.centres` clusters it.
"""

from dataclasses import dataclass, field
from typing import Any

from deep_clustering.methods._method import Later, Method, Pretrain, by_side
from deep_clustering.methods.differences.siamese import OF_BYOL
from deep_clustering.methods.pretraining.configs import BYOLConfig, CentresConfig


@dataclass(frozen=True, kw_only=True, slots=True)
class BYOLKMeansConfig(CentresConfig):
    """Defaults are those of CIFAR-10 but for the blur; `METHOD.presets` has the data sets."""

    pretrain: BYOLConfig = field(default_factory=BYOLConfig)


_NO_BLUR = {"pretrain.blur": 0.0, "pretrain.second_blur": 0.0}
_IMAGENET = {"pretrain.side": 224, "pretrain.enlargement": 8 / 7}

#: CDC's App. B.1; that of the digits is ours, with the views of CDC's.
PRESETS: dict[str, dict[str, Any]] = {
    "cifar10": _NO_BLUR,
    "cifar20": _NO_BLUR,
    "stl10": {},
    "imagenet10": _IMAGENET,
    "imagenet-dogs": _IMAGENET,
    "tiny-imagenet": {},
    "digits": {
        **_NO_BLUR,
        "pretrain.backbone": "small",
        "pretrain.epochs": 45,
        "pretrain.warmup_epochs": 2,
        "pretrain.batch_size": 128,
        "pretrain.projector_hidden": 128,
        "pretrain.projector_dimension": 64,
        "pretrain.predictor_hidden": 128,
        "pretrain.momentum_start": 0.98,
        "pretrain.solarise": 0.0,
        "pretrain.crop_scale": 0.6,
        "pretrain.jitter": 0.5,
        "pretrain.grey": 0.0,
        "pretrain.flip": 0.0,
    },
}


METHOD = Method(
    summary="BYOL followed by k-means: views that predict a slowly moving copy of the network",
    citation=(
        "Grill, Strub, Altche, Tallec, Richemond et al. Bootstrap Your Own Latent: A New Approach "
        "to Self-Supervised Learning. NeurIPS 2020. https://arxiv.org/abs/2006.07733"
    ),
    version=1,
    config=BYOLKMeansConfig,
    build=Later("deep_clustering.methods.algorithms.centres:Centres"),
    restore=Later("deep_clustering.methods.algorithms.centres:Centres.restore"),
    needs=(
        Pretrain(
            summary="BYOL on the images, without labels",
            config=BYOLConfig,
            build=Later("deep_clustering.methods.pretraining.byol:BYOL"),
        ),
    ),
    presets=PRESETS,
    by_side=by_side((12, "digits"), (48, "cifar10"), (223, "stl10"), other="imagenet10"),
    readings={
        "paper": {"pretrain.stem_padding": 2, "pretrain.solarise": 0.0},
        "release": {
            "pretrain.learning_rate": 1.0,
            "pretrain.weight_decay": 1e-5,
            "pretrain.momentum_start": 0.99,
            "pretrain.saturation": 0.2,
        },
    },
    differences=OF_BYOL,
)
