"""Tiny trials of DPAC and its pretrainings, in one process and in several."""

from typing import Any

from deep_clustering.ablations._variants import applied
from deep_clustering.methods.algorithms.dpac import DPAC
from deep_clustering.methods.dpac import DPACConfig
from deep_clustering.methods.pretraining.configs import PretrainConfig
from deep_clustering.methods.pretraining.representation import pretraining
from support import trials

PRETRAIN = PretrainConfig(
    backbone="small",
    enlargement=1.0,
    epochs=4,
    batch_size=16,
    learning_rate=1e-3,
    projector_hidden=24,
    projector_dimension=16,
    crop_scale=0.5,
    blur=0.5,
    cutout=4,
    moco_queue=4,
    code_hidden=(20, 20, 30),
)
CONFIG = DPACConfig(
    pretrain=PRETRAIN,
    clusters=3,
    epochs=3,
    batch_size=32,
    hidden=12,
    encoder_lr=1e-3,
    head_lr=1e-3,
)


def config(**changes: Any) -> DPACConfig:
    """The tiny configuration with some fields changed, those of the pretraining by dotted names."""
    return applied(CONFIG, changes)


def dpac(settings: Any = CONFIG, **rest: Any) -> DPAC:
    """DPAC on an encoder with random weights."""
    return trials.built(DPAC, settings, **rest)


def pretrained(settings: Any = PRETRAIN, **rest: Any) -> Any:
    """The tiny pretraining of the configured framework."""
    return trials.built(pretraining, settings, **rest)
