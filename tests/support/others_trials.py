"""Tiny trials of the methods that the papers compare with."""

from typing import Any

from deep_clustering.ablations._variants import applied
from deep_clustering.methods.byol import BYOLKMeansConfig
from deep_clustering.methods.cc import CCConfig
from deep_clustering.methods.pretraining.configs import BYOLConfig, SimSiamConfig
from deep_clustering.methods.secu import SeCuConfig
from deep_clustering.methods.simsiam import SimSiamKMeansConfig
from deep_clustering.methods.spice import SPICEConfig
from deep_clustering.methods.tsuc import TSUCConfig
from support import trials

_PRETRAIN: dict[str, Any] = {
    "backbone": "small",
    "epochs": 4,
    "warmup_epochs": 1,
    "batch_size": 16,
    "projector_hidden": 24,
    "projector_dimension": 16,
    "predictor_hidden": 8,
    "crop_scale": 0.5,
}
SIMSIAM = SimSiamConfig(**_PRETRAIN)
BYOL = BYOLConfig(**_PRETRAIN)

#: Method -> its tiny configuration, of three clusters and batches of 32 images.
CONFIGS: dict[str, Any] = {
    "simsiam": SimSiamKMeansConfig(pretrain=SIMSIAM, clusters=3, restarts=2, batch_size=32),
    "byol": BYOLKMeansConfig(pretrain=BYOL, clusters=3, restarts=2, batch_size=32),
    "cc": CCConfig(
        clusters=3, epochs=3, batch_size=32, dimension=8, backbone="small", crop_scale=0.5
    ),
    "secu": SeCuConfig(
        clusters=3,
        groupings=2,
        epochs=3,
        warmup_epochs=1,
        batch_size=32,
        dimension=8,
        backbone="small",
        crop_scale=0.5,
    ),
    "tsuc": TSUCConfig(
        clusters=3,
        rounds=2,
        round_epochs=1,
        cluster_epochs=2,
        batch_size=32,
        growth=0.5,
        heads=2,
        backbone="small",
        crop_scale=0.5,
    ),
    "spice": SPICEConfig(
        pretrain=trials.PRETRAIN,
        clusters=3,
        epochs=3,
        batch_size=32,
        sub_batch_size=8,
        repeats=2,
        heads=2,
        cutout=4,
    ),
}


def config(name: str, **changes: Any) -> Any:
    """The tiny configuration of a method with some fields changed."""
    return applied(CONFIGS[name], changes)
