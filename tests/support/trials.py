"""Tiny trials shared by the tests of CDC and its pretraining, in one process and in several."""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from deep_clustering.methods.algorithms.cdc import CDC
from deep_clustering.methods.cdc import CDCConfig
from deep_clustering.methods.compute.replicas import Replicas
from deep_clustering.methods.images.images import Images
from deep_clustering.methods.networks.encoders import Encoder
from deep_clustering.methods.pretraining.configs import MoCoConfig
from deep_clustering.methods.pretraining.moco import MoCo

COUNT = 96
State = dict[str, torch.Tensor]


def images(count: int = COUNT, side: int = 8, device: torch.device | str = "cpu") -> Images:
    """Three kinds of noisy stripes, reproducible."""
    g = np.random.default_rng(0)
    kind = np.arange(count) % 3
    line = np.arange(side)
    waves = [
        np.sin(line)[:, None] + 0 * line,
        np.sin(line) + 0 * line[:, None],
        np.cos(line[:, None] + line),
    ]
    base = np.stack([waves[k] for k in kind])[:, None].repeat(3, 1)
    noisy = 128 + 80 * base + 25 * g.standard_normal(base.shape)
    array = noisy.clip(0, 255).astype(np.uint8)
    return Images(array, mean=(0.5,) * 3, std=(0.25,) * 3, device=torch.device(device))


PRETRAIN = MoCoConfig(
    backbone="small",
    epochs=4,
    warmup_epochs=1,
    batch_size=16,
    queue_size=64,
    projector_hidden=24,
    projector_dimension=16,
    crop_scale=0.5,
)
CONFIG = CDCConfig(
    pretrain=PRETRAIN,
    clusters=3,
    epochs=3,
    batch_size=32,
    sub_batch_size=16,
    mini_clusters=12,
    hidden=10,
    encoder_lr=1e-3,
    head_lr=1e-3,
    weak_crop=0.5,
    strong_crop=0.5,
    cutout=4,
    kmeans_restarts=2,
)


def config(**changes: Any) -> CDCConfig:
    """The tiny configuration with some fields changed."""
    return dataclasses.replace(CONFIG, **changes)


def photographs(seed: int = 0) -> Images:
    """Pictures of 8 x 12 pixels, whole; the seed is of the outermost columns alone."""
    array = np.zeros((COUNT, 3, 12, 12), np.uint8)
    array[:, :, :8] = np.random.default_rng(seed).integers(0, 256, (COUNT, 3, 8, 12))
    array[:, :, :8, 1:11] = np.random.default_rng(0).integers(0, 256, (COUNT, 3, 8, 10))
    return Images(
        array,
        mean=(0.5,) * 3,
        std=(0.25,) * 3,
        device=torch.device("cpu"),
        sizes=np.tile([8, 12], (COUNT, 1)),
    )


def built(
    build: Callable[..., Any],
    settings: Any,
    *,
    seed: int = 0,
    replicas: Replicas | None = None,
    dtype: torch.dtype = torch.float32,
    pictures: Images | None = None,
) -> Any:
    """A model of the images or of other pictures, its networks of this dtype and not pretrained.

    Views, which are float32, are handed over to its encoders in their dtype.
    """
    torch.set_default_dtype(dtype)
    try:
        model = build(
            settings, images=pictures or images(), replicas=replicas or Replicas.alone(), seed=seed
        )
    finally:
        torch.set_default_dtype(torch.float32)
    for network in model._parts()[0].values():
        if isinstance(network, Encoder):
            network.register_forward_pre_hook(lambda _, inputs: inputs[0].to(dtype))
    return model


def cdc(settings: Any = CONFIG, **rest: Any) -> CDC:
    """CDC on an encoder pretrained for no step at all."""
    return built(CDC, settings, **rest)


def moco(settings: Any = PRETRAIN, **rest: Any) -> MoCo:
    """The tiny pretraining."""
    return built(MoCo, settings, **rest)


def trained(model: Any, steps: int = 2) -> Any:
    """The model after its initialisation and some steps."""
    model.initialise()
    for indices in batches(model.batch_size, steps):
        model.step(indices)
    return model


def stepped(model: Any, size: int, steps: int) -> State:
    """The losses of some steps on batches of this size, by step and name."""
    return {
        f"{step} {name}": value
        for step, indices in enumerate(batches(size, steps))
        for name, value in model.step(indices).items()
    }


def different(before: State, after: State, prefix: str = "") -> bool:
    """Whether any entry under a prefix differs; there must be some."""
    names = [name for name in before if name.startswith(prefix)]
    assert names, prefix
    return any(not torch.equal(before[name], after[name]) for name in names)


def batches(size: int, steps: int, seed: int = 0) -> list[torch.Tensor]:
    """Indices of global batches."""
    g = torch.Generator().manual_seed(seed)
    return [torch.randperm(COUNT, generator=g)[:size] for _ in range(steps)]
