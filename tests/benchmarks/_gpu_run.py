"""CDC on CIFAR-10 from pretraining to last epoch, through the methods alone: a part of `gpu.py`.

The aims, on one H100: 100 epochs of CDC with an evaluation after each in 6 minutes, MoCo's 1,000
epochs in 80.
"""

import argparse
import os
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _bench import Row, Setting
from _gpu_parts import epoch
from torch import Tensor

from deep_clustering.methods.algorithms.cdc import CDC
from deep_clustering.methods.cdc import METHOD, CDCConfig
from deep_clustering.methods.compute.replicas import Replicas
from deep_clustering.methods.images.images import Images
from deep_clustering.methods.pretraining.moco import MoCo
from deep_clustering.platform.metrics import agreement, calibration
from deep_clustering.platform.request import configs

#: Share of the time that the pretraining takes where nobody says how many epochs it has.
_PRETRAINING = 0.6
#: Seconds after which the encoder is saved again.
_SAVED = 60.0

#: What tries the script itself.
_TINY: dict[str, Any] = {
    "pretrain.backbone": "small",
    "pretrain.batch_size": 32,
    "pretrain.queue_size": 64,
    "batch_size": 80,
    "sub_batch_size": 40,
    "mini_clusters": 20,
    "hidden": 16,
}


def rows(
    arguments: argparse.Namespace, setting: Setting, images: Images, labels: np.ndarray
) -> Iterator[Row]:
    """A row for each figure of each epoch; both trainings end where their time is up."""
    begun = time.monotonic()
    chosen = _TINY if setting.tiny else {}
    config = configs.build(
        CDCConfig,
        METHOD.presets["cifar10"],
        {"clusters": int(labels.max()) + 1},
        chosen,
        {"precision": "auto", "pretrain.precision": "auto"},
        configs.parse(CDCConfig, arguments.set),
    )
    alone: dict[str, Any] = {
        "images": images,
        "replicas": Replicas.alone(setting.device),
        "seed": arguments.seed,
    }
    weights: dict[str, Tensor] | None = None
    if arguments.encoder is not None and arguments.encoder.exists():
        weights = torch.load(arguments.encoder, map_location="cpu", weights_only=True)
    elif arguments.pretrain_epochs != 0:
        until = begun + arguments.limit * (_PRETRAINING if arguments.epochs != 0 else 1.0)
        weights = yield from _pretrained(arguments, setting, config, alone, until)
    if arguments.epochs != 0:
        yield from _clustered(arguments, setting, config, alone, weights, labels, begun)


def _pretrained(
    arguments: argparse.Namespace,
    setting: Setting,
    config: CDCConfig,
    alone: dict[str, Any],
    until: float,
) -> Iterator[Row]:
    """MoCo for the epochs that were asked for, else for as many as fit; returns the encoder."""
    images: Images = alone["images"]
    epochs = arguments.pretrain_epochs
    if epochs is None:
        trial = MoCo(config.pretrain, **alone)
        epoch(trial, len(images), 0, setting, most=4)
        steps = len(images) // trial.batch_size
        begun = time.monotonic()
        epoch(trial, len(images), 1, setting, most=8)
        each = (time.monotonic() - begun) / min(8, steps) * steps
        epochs = max(1, int((until - time.monotonic()) / each))
    # The published share of 1,000 epochs; one epoch alone has no warm-up.
    warm_up = min(50, epochs // 20)
    pretrain = replace(config.pretrain, epochs=epochs, warmup_epochs=warm_up)
    model, saved = MoCo(pretrain, **alone), time.monotonic()
    for number in range(1, epochs + 1):
        begun = time.monotonic()
        losses = epoch(model, len(images), number, setting)
        name = f"MoCo epoch {number} of {epochs}"
        yield Row(name=name, value=time.monotonic() - begun, unit="s")
        for loss, value in losses.items():
            yield Row(name=f"  {loss}", value=value, unit="")
        if arguments.encoder is not None and time.monotonic() - saved > _SAVED:
            _save(model.encoder_state(), arguments.encoder)
            saved = time.monotonic()
        if time.monotonic() > until and arguments.pretrain_epochs is None:
            break
    weights: dict[str, Tensor] = model.encoder_state()
    if arguments.encoder is not None:
        _save(weights, arguments.encoder)
    return weights


def _save(weights: dict[str, Tensor], file: Path) -> None:
    """Whole, or as it was before."""
    beside = file.with_suffix(".partial")
    torch.save(weights, beside)
    os.replace(beside, file)


def _clustered(
    arguments: argparse.Namespace,
    setting: Setting,
    config: CDCConfig,
    alone: dict[str, Any],
    weights: dict[str, Tensor] | None,
    labels: np.ndarray,
    begun: float,
) -> Iterator[Row]:
    """CDC with an evaluation after every epoch."""
    images: Images = alone["images"]
    epochs = config.epochs if arguments.epochs is None else arguments.epochs
    model = CDC(replace(config, epochs=epochs), encoder_state=weights, **alone)
    started = time.monotonic()
    model.initialise()
    yield Row(name="CDC, initialisation", value=time.monotonic() - started, unit="s")
    yield from _evaluated(model, images, labels)
    took = []
    for number in range(1, epochs + 1):
        started = time.monotonic()
        epoch(model, len(images), number, setting)
        found = list(_evaluated(model, images, labels))
        took.append(time.monotonic() - started)
        yield Row(name=f"CDC epoch {number} of {epochs}", value=took[-1], unit="s")
        yield from found
        over = time.monotonic() - begun + max(took) > arguments.limit
        if over and arguments.epochs is None:
            break
    minutes = float(np.median(took)) * 100 / 60
    yield Row(name="CDC, 100 epochs so", value=minutes, unit="min", at_most=6.0)


def _evaluated(model: CDC, images: Images, labels: np.ndarray) -> Iterator[Row]:
    """Accuracy and calibration of the final head on all images."""
    p = model.predict(torch.arange(len(images)))[model.final_head].float().cpu().numpy()
    cluster = p.argmax(1)
    assignment, acc = agreement.match(cluster, labels, p.shape[1])
    ece = calibration.ece(p.max(1), assignment[cluster] == labels)
    for name, value in (("accuracy", acc), ("ECE", ece), ("confidence", float(p.max(1).mean()))):
        yield Row(name=f"  {name}", value=float(value), unit="")
