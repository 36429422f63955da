"""What one process and each of two compute of SCAN and its pretraining: see `ranks`."""

from typing import Any

import torch

from deep_clustering.methods.compute.replicas import Replicas
from support import ranks, scan_trials, trials

VARIANTS: dict[str, dict[str, Any]] = {
    "both phases": {},
    "heads alone": {
        "freeze_encoder": True,
        "optimiser": "sgd",
        "balanced": False,
        "weight_average": 0.5,
        "batch_statistics": False,
    },
}


def clustered(replicas: Replicas, variant: str) -> dict[str, torch.Tensor]:
    """SCAN in float64 through both phases: losses, and probabilities and statistics afterwards."""
    settings = scan_trials.config(**VARIANTS[variant])
    model = scan_trials.scan(settings, replicas=replicas, dtype=torch.float64)
    model.initialise()
    losses = scan_trials.epochs(model, settings.epochs)
    found = {f"{step} {name}": v for step, of in enumerate(losses) for name, v in of.items()}
    found |= model.predict(torch.arange(trials.COUNT))
    return found | {k: v for k, v in model.model_state().items() if "running" in k}


def pretrained(replicas: Replicas) -> dict[str, torch.Tensor]:
    """The pretraining in float64 for some steps: losses, embedding, all that is handed over."""
    model = scan_trials.pretext(replicas=replicas, dtype=torch.float64)
    found = trials.stepped(model, 16, 3)
    found["embedding"] = model.embedding(torch.arange(trials.COUNT))
    return found | model.encoder_state()


def everything(replicas: Replicas) -> dict[str, dict[str, torch.Tensor]]:
    """All of the above, by name."""
    return {
        "pretrained": pretrained(replicas),
        **{name: clustered(replicas, name) for name in VARIANTS},
    }


if __name__ == "__main__":
    ranks.join(everything)
