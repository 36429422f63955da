"""What one process and each of two compute of DPAC and its pretrainings: see `ranks`."""

from typing import Any

import torch

from deep_clustering.methods.compute.replicas import Replicas
from support import dpac_trials, ranks, trials

STEPS = 3
VARIANTS: dict[str, dict[str, Any]] = {
    "opa": {"balance_weight": 0.5},
    "all views": {"head_views": "all"},
    "squared": {"distance": "squared", "weighted": False, "target_statistics": "batch"},
    "pac": {"objective": "pac", "distance_view": "first", "detach_distance": False},
    "pac squared": {"objective": "pac", "distance": "squared", "detach_distance": False},
    "offline": {"offline": "kmeans", "self_label_epochs": 3, "self_label_threshold": 0.3},
    "moco": {"pretrain.framework": "moco"},
    "autoencoder": {"pretrain.framework": "autoencoder"},
}


def clustered(replicas: Replicas, variant: str) -> dict[str, torch.Tensor]:
    """DPAC in float64 for some steps: losses, and probabilities and statistics afterwards."""
    settings = dpac_trials.config(**VARIANTS[variant])
    model = dpac_trials.dpac(settings, replicas=replicas, dtype=torch.float64)
    found = {k: torch.tensor(v) for k, v in model.initialise().items()}
    found |= trials.stepped(model, 32, STEPS)
    found |= model.predict(torch.arange(trials.COUNT))
    kept = ("running", "queues", "projector", "decoder", "offline")
    return found | {k: v for k, v in model.state().items() if any(name in k for name in kept)}


def pretrained(replicas: Replicas, framework: str) -> dict[str, torch.Tensor]:
    """A pretraining in float64 for some steps: losses, features, all that is handed over."""
    settings = dpac_trials.config(**{"pretrain.framework": framework}).pretrain
    model = dpac_trials.pretrained(settings, replicas=replicas, dtype=torch.float64)
    found = trials.stepped(model, 16, STEPS)
    found["features"] = model.features(torch.arange(trials.COUNT))
    return found | model.encoder_state()


def everything(replicas: Replicas) -> dict[str, dict[str, torch.Tensor]]:
    """All of the above, by name."""
    return {
        **{f"pretrained {name}": pretrained(replicas, name) for name in ("simclr", "autoencoder")},
        **{name: clustered(replicas, name) for name in VARIANTS},
    }


if __name__ == "__main__":
    ranks.join(everything)
