"""One process of a group of two: `python _dpac_joined.py RANK FOLDER`; results go to FOLDER.

The same functions run in the test's own process with `Replicas.alone()`.
"""

import sys
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

sys.path.insert(0, str(Path(__file__).parent))
import _dpac_trials
import _trials

from deep_clustering.methods._replicas import Replicas

WORLD = 2
STEPS = 3
VARIANTS: dict[str, dict[str, Any]] = {
    "opa": {"balance_weight": 0.5},
    "squared": {"distance": "squared", "weighted": False, "target_statistics": "batch"},
    "pac": {"objective": "pac", "distance_view": "first", "detach_distance": False},
    "pac squared": {"objective": "pac", "distance": "squared", "detach_distance": False},
    "offline": {"offline": "kmeans", "self_label_epochs": 3, "self_label_threshold": 0.3},
    "moco": {"pretrain.framework": "moco"},
    "autoencoder": {"pretrain.framework": "autoencoder"},
}


def clustered(replicas: Replicas, variant: str) -> dict[str, torch.Tensor]:
    """DPAC in float64 for some steps: losses, and probabilities and statistics afterwards."""
    settings = _dpac_trials.config(**VARIANTS[variant])
    model = _dpac_trials.dpac(settings, replicas=replicas, dtype=torch.float64)
    found = {k: torch.tensor(v) for k, v in model.initialise().items()}
    for step, indices in enumerate(_trials.batches(32, STEPS)):
        found |= {f"{step} {k}": v for k, v in model.step(indices).items()}
    found |= model.predict(torch.arange(_trials.COUNT))
    kept = ("running", "queues", "projector", "decoder", "offline")
    return found | {k: v for k, v in model.state().items() if any(name in k for name in kept)}


def pretrained(replicas: Replicas, framework: str) -> dict[str, torch.Tensor]:
    """A pretraining in float64 for some steps: losses, features, all that is handed over."""
    settings = _dpac_trials.config(**{"pretrain.framework": framework}).pretrain
    model = _dpac_trials.pretrained(settings, replicas=replicas, dtype=torch.float64)
    found = {}
    for step, indices in enumerate(_trials.batches(16, STEPS)):
        found |= {f"{step} {k}": v for k, v in model.step(indices).items()}
    found["features"] = model.features(torch.arange(_trials.COUNT))
    return found | model.encoder_state()


def everything(replicas: Replicas) -> dict[str, dict[str, torch.Tensor]]:
    """All of the above, by name."""
    return {
        **{f"pretrained {name}": pretrained(replicas, name) for name in ("simclr", "autoencoder")},
        **{name: clustered(replicas, name) for name in VARIANTS},
    }


if __name__ == "__main__":
    torch.set_num_threads(1)
    rank, folder = int(sys.argv[1]), Path(sys.argv[2])
    dist.init_process_group(
        "gloo", init_method=f"file://{folder / 'meeting'}", rank=rank, world_size=WORLD
    )
    torch.save(everything(Replicas.joined("cpu")), folder / f"{rank}.pt")
    dist.destroy_process_group()
