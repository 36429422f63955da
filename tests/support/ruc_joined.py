"""Tiny trials of RUC on a made-up base, in one process and in two: see `ranks`."""

import dataclasses
from typing import Any

import torch

from deep_clustering.methods._method import BaseOutputs
from deep_clustering.methods.algorithms.ruc import RUC
from deep_clustering.methods.compute.replicas import Replicas
from deep_clustering.methods.ruc import RUCConfig
from support import ranks, trials

TRUTH = torch.arange(trials.COUNT) % 3
CONFIG = RUCConfig(
    clusters=3,
    epochs=3,
    batch_size=32,
    strategy="metric",
    neighbours=10,
    tau2=0.36,
    crop=0.6,
    cutout=2,
    backbone="small",
    start="fresh",
)
STEPS = 7  # of a pass with three: both passes of an epoch, and one step of the next
VARIANTS: dict[str, dict[str, Any]] = {
    "both": {},
    "one network": {"co_training": False, "smoothing": None},
    "paper": {"refurbish": "epoch", "distance": "row", "ramp": 0, "counter_statistics": "batch"},
    "dividemix": {"selection": "dividemix", "refurbish": None, "warm_up": 1, "prior_weight": 1.0},
}


def config(**changes: Any) -> RUCConfig:
    """The tiny configuration with some fields changed."""
    return dataclasses.replace(CONFIG, **changes)


def base(wrong: float = 0.25, sure: float = 0.9) -> BaseOutputs:
    """Predictions of which a share are wrong, and an embedding that tells the kinds apart."""
    g = torch.Generator().manual_seed(0)
    labels = TRUTH.clone()
    chosen = torch.randperm(len(labels), generator=g)[: round(wrong * len(labels))]
    labels[chosen] = (labels[chosen] + 1) % 3
    other = (1 - sure) / 2
    probabilities = torch.full((trials.COUNT, 3), other)
    probabilities[torch.arange(trials.COUNT), labels] = sure
    # Right ones are a little surer, so that confidences differ.
    probabilities = (probabilities.log() * (1 + 0.2 * (labels == TRUTH)[:, None])).softmax(1)
    features = torch.eye(8)[TRUTH] + 0.3 * torch.randn(trials.COUNT, 8, generator=g)
    return BaseOutputs(
        index=torch.arange(trials.COUNT), probabilities=probabilities, features=features
    )


def ruc(settings: RUCConfig = CONFIG, *, given: BaseOutputs | None = None, **rest: Any) -> RUC:
    """RUC on the made-up base, or on another one."""
    own = base() if given is None else given
    return trials.built(lambda *a, **k: RUC(*a, base=own, **k), settings, **rest)


def batches(passes: int, seed: int = 0) -> list[torch.Tensor]:
    """Indices of the batches of some passes, each over all images."""
    g = torch.Generator().manual_seed(seed)
    size = CONFIG.batch_size
    orders = [torch.randperm(trials.COUNT, generator=g) for _ in range(passes)]
    return [part for order in orders for part in order.split(size)]


def trained(model: RUC, steps: int) -> RUC:
    """The model after its initialisation and some steps."""
    model.initialise()
    for indices in batches(-(-steps // 3))[:steps]:
        model.step(indices)
    return model


def clustered(replicas: Replicas, variant: str) -> dict[str, torch.Tensor]:
    """RUC in float64 for some steps: losses, what is known of the samples, probabilities."""
    model = ruc(config(**VARIANTS[variant]), replicas=replicas, dtype=torch.float64)
    found = {k: torch.tensor(v) for k, v in model.initialise().items()}
    for step, indices in enumerate(batches(3)[:STEPS]):
        found |= {f"{step} {name}": value for name, value in model.step(indices).items()}
    found |= model.predict(torch.arange(trials.COUNT))
    return found | {k: v for k, v in model.state().items() if k.startswith("samples")}


def everything(replicas: Replicas) -> dict[str, dict[str, torch.Tensor]]:
    """All variants, by name."""
    return {name: clustered(replicas, name) for name in VARIANTS}


if __name__ == "__main__":
    ranks.join(everything)
