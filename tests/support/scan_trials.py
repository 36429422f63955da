"""Tiny trials of SCAN and its pretraining."""

from typing import Any

import torch

from deep_clustering.ablations._variants import applied
from deep_clustering.methods.algorithms.scan import SCAN
from deep_clustering.methods.pretraining.configs import PretextConfig
from deep_clustering.methods.pretraining.pretext import Pretext
from deep_clustering.methods.scan import SCANConfig
from support import trials

PRETRAIN = PretextConfig(
    backbone="small",
    epochs=4,
    batch_size=16,
    learning_rate=0.1,
    projector_hidden=24,
    projector_dimension=16,
    crop_scale=0.5,
)
CONFIG = SCANConfig(
    pretrain=PRETRAIN,
    clusters=3,
    neighbours=4,
    clustering_epochs=2,
    batch_size=32,
    learning_rate=1e-3,
    heads=2,
    score_neighbours=2,
    self_label_epochs=2,
    self_label_batch_size=48,
    self_label_learning_rate=1e-3,
    threshold=0.34,
    cutout=4,
)
#: Each image's neighbours: the next ones of its kind, which are three places on.
NEIGHBOURS = (torch.arange(trials.COUNT)[:, None] + 3 * torch.arange(1, 5)) % trials.COUNT


def config(**changes: Any) -> SCANConfig:
    """The tiny configuration with some fields changed, those of the pretraining by dotted names."""
    return applied(CONFIG, changes)


def scan(settings: SCANConfig = CONFIG, **rest: Any) -> SCAN:
    """SCAN on an encoder with random weights."""

    def build(*args: Any, **context: Any) -> SCAN:
        return SCAN(*args, neighbours=NEIGHBOURS, **context)

    return trials.built(build, settings, **rest)


def pretext(settings: PretextConfig = PRETRAIN, **rest: Any) -> Pretext:
    """The tiny pretraining."""
    return trials.built(Pretext, settings, **rest)


def epochs(model: Any, count: int, seed: int = 0) -> list[dict[str, torch.Tensor]]:
    """The losses of all steps of some epochs, in batches of the size that the model asks for."""
    g = torch.Generator().manual_seed(seed)
    losses = []
    for _ in range(count):
        order = torch.randperm(trials.COUNT, generator=g)
        size = model.batch_size
        losses += [
            model.step(order[s * size : (s + 1) * size]) for s in range(trials.COUNT // size)
        ]
    return losses
