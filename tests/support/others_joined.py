"""What one process and each of two compute of the methods compared with: see `ranks`."""

import torch

from deep_clustering.methods.compute.replicas import Replicas
from deep_clustering.methods.pretraining.byol import BYOL
from deep_clustering.methods.pretraining.simsiam import SimSiam
from deep_clustering.platform import registry
from support import others_trials, ranks, trials

NAMES = [*others_trials.CONFIGS, "simsiam pretraining", "byol pretraining", "secu by entropy"]


def computed(name: str, replicas: Replicas) -> dict[str, torch.Tensor]:
    """Losses of some steps in float64, and the probabilities or features afterwards."""
    every = torch.arange(trials.COUNT)
    if name.endswith("pretraining"):
        build, config = {
            "simsiam pretraining": (SimSiam, others_trials.SIMSIAM),
            "byol pretraining": (BYOL, others_trials.BYOL),
        }[name]
        model = trials.built(build, config, replicas=replicas, dtype=torch.float64)  # type: ignore[arg-type]
        return trials.stepped(model, 16, 3) | model.encoder_state()
    method, _, constraint = name.partition(" by ")
    changes = {"constraint": constraint, "entropy_price": 3.0} if constraint else {}
    model = trials.built(
        registry.method(method).build,  # type: ignore[arg-type]
        others_trials.config(method, **changes),
        replicas=replicas,
        dtype=torch.float64,
    )
    model.initialise()
    return trials.stepped(model, 32, 4) | model.predict(every) | model.model_state()


def everything(replicas: Replicas) -> dict[str, dict[str, torch.Tensor]]:
    """All of the above, by name."""
    return {name: computed(name, replicas) for name in NAMES}


if __name__ == "__main__":
    ranks.join(everything)
