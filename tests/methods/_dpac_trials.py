"""Tiny trials of DPAC and its pretrainings, in one process and in several."""

import dataclasses
import sys
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).parent))
import _trials

from deep_clustering.methods._encoders import Encoder
from deep_clustering.methods._replicas import Replicas
from deep_clustering.methods._representation import PretrainConfig, pretraining
from deep_clustering.methods.dpac import DPAC, DPACConfig

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
    inner = {k.removeprefix("pretrain."): v for k, v in changes.items() if "." in k}
    own = {k: v for k, v in changes.items() if "." not in k}
    pretrain = dataclasses.replace(PRETRAIN, **inner)
    return dataclasses.replace(CONFIG, pretrain=pretrain, **own)


def dpac(
    settings: Any = CONFIG,
    *,
    seed: int = 0,
    replicas: Replicas | None = None,
    dtype: torch.dtype = torch.float32,
) -> DPAC:
    """DPAC on an encoder with random weights."""
    with _trials._built_in(dtype):
        model = DPAC(
            settings, images=_trials.images(), replicas=replicas or Replicas.alone(), seed=seed
        )
    for network in (model._encoder, *model._representation.modules.values()):
        feed(network, dtype)
    return model


def pretrained(
    settings: Any = PRETRAIN,
    *,
    seed: int = 0,
    replicas: Replicas | None = None,
    dtype: torch.dtype = torch.float32,
) -> Any:
    """The tiny pretraining of the configured framework."""
    with _trials._built_in(dtype):
        model = pretraining(
            settings, images=_trials.images(), replicas=replicas or Replicas.alone(), seed=seed
        )
    for network in vars(model).values():
        feed(network, dtype)
    return model


def feed(network: Any, dtype: torch.dtype) -> None:
    """Hands views, which are float32, over in the dtype of an encoder."""
    if isinstance(network, Encoder):
        network.register_forward_pre_hook(lambda _, inputs: inputs[0].to(dtype))
