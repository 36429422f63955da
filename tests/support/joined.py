"""What one process and each of two compute of CDC, its pretraining and its parts: see `ranks`."""

import dataclasses
from typing import Any

import torch
from torch import Tensor

from deep_clustering.methods.compute.replicas import Replicas
from deep_clustering.methods.networks.batchnorm import BatchNorm, Running, differs, plain
from support import ranks, trials

STEPS = 3
VARIANTS: dict[str, dict[str, Any]] = {
    "dual": {},
    "through": {"stop_gradient": False},
    "single": {"heads": "single", "selection": "freematch"},
    "single-calibrated": {"heads": "single-calibrated", "filter": "ppf"},
    "smoothed": {"calibration_loss": "label-smoothing", "selection": "flexmatch"},
}


def normalised(replicas: Replicas) -> dict[str, torch.Tensor]:
    """Output, gradients and buffers of the layer in float64, for one batch in two slices."""
    found = {}
    for shape in ((12, 4), (12, 4, 3, 3)):
        torch.manual_seed(0)
        x = (torch.randn(shape, dtype=torch.float64) * 3 + 100).to(replicas.device)
        weight = torch.randn(shape, dtype=torch.float64).to(replicas.device)
        layer = BatchNorm(4, replicas=replicas).double().to(replicas.device)
        with torch.no_grad():
            layer.weight.copy_(torch.linspace(0.5, 2, 4))
            layer.bias.copy_(torch.linspace(-1, 1, 4))
        rows = replicas.rows(12, 2)
        mine = x[rows].requires_grad_()
        y = layer(mine)
        (y.square() * weight[rows]).sum().backward()
        replicas.reduce_gradients(layer.parameters())
        assert mine.grad is not None
        name = f"{len(shape)}d"
        found[f"{name} output"] = replicas.gather(y, rows, 12)
        found[f"{name} input gradient"] = replicas.gather(mine.grad, rows, 12)
        for key, parameter in layer.named_parameters():
            assert parameter.grad is not None
            found[f"{name} {key} gradient"] = parameter.grad
        found |= {f"{name} {key}": value for key, value in layer.named_buffers()}
    return found


def judged(replicas: Replicas) -> dict[str, torch.Tensor]:
    """Whether every process refuses forms of the layer of which one or all have a wrong one."""

    def wrong_in_one(x: Tensor, weight: Tensor, bias: Tensor, running: Running) -> Tensor:
        return plain(x, weight, bias + replicas.rank, running)

    def lagging(x: Tensor, weight: Tensor, bias: Tensor, running: Running) -> Tensor:
        return plain(x, weight, bias, running._replace(momentum=0.0))

    def broken(x: Tensor, weight: Tensor, bias: Tensor, running: Running) -> Tensor:
        raise NotImplementedError

    torch.manual_seed(replicas.rank)
    ones, zeros = torch.ones(4), torch.zeros(4)
    given = (
        torch.randn(6, 4, 3, 3) + 1,
        ones,
        zeros,
        Running(zeros.clone(), ones.clone(), 0.1, 1e-5),
    )
    forms = {"plain": plain, "one": wrong_in_one, "lagging": lagging, "broken": broken}
    return {
        name: torch.tensor(differs(*given, form) is not None)
        for name, form in forms.items()
        if replicas.world > 1
    }


def summed(replicas: Replicas) -> dict[str, torch.Tensor]:
    """Communication of known numbers."""
    x = torch.arange(24.0).view(8, 3)
    rows = replicas.rows(8, 2)
    part = x[rows].clone().requires_grad_()
    replicas.global_sum(part.sum()).square().backward()
    assert part.grad is not None
    return {
        "gathered": replicas.gather(x[rows], rows, 8),
        "total": replicas.total(x[rows].sum()),
        "gradient of a global sum": replicas.gather(part.grad, rows, 8),
    }


def clustered(replicas: Replicas, variant: str) -> dict[str, torch.Tensor]:
    """CDC in float64 for some steps: losses, and probabilities afterwards."""
    model = trials.cdc(trials.config(**VARIANTS[variant]), replicas=replicas, dtype=torch.float64)
    found = {"overlap": torch.tensor(model.initialise()["prototype_overlap"])}
    found |= trials.stepped(model, 32, STEPS)
    found |= model.predict(torch.arange(trials.COUNT))
    return found | {k: v for k, v in model.model_state().items() if "norm" in k or "bn" in k}


def pretrained(replicas: Replicas) -> dict[str, torch.Tensor]:
    """The pretraining in float64 for some steps: losses, features, queues."""
    found = {}
    for symmetric in (True, False):
        settings = dataclasses.replace(
            trials.PRETRAIN, symmetric=symmetric, projector_norm=symmetric
        )
        model = trials.moco(settings, replicas=replicas, dtype=torch.float64)
        name = f"symmetric {symmetric}"
        losses = trials.stepped(model, 16, STEPS)
        found |= {f"{name} {k}": v for k, v in losses.items()}
        found[f"{name} features"] = model.features(torch.arange(trials.COUNT))
        found[f"{name} queue"] = model.state()["queues.view1"]
    return found


def everything(replicas: Replicas) -> dict[str, dict[str, torch.Tensor]]:
    """All of the above, by name."""
    return {
        "normalised": normalised(replicas),
        "judged": judged(replicas),
        "summed": summed(replicas),
        "pretrained": pretrained(replicas),
        **{variant: clustered(replicas, variant) for variant in VARIANTS},
    }


if __name__ == "__main__":
    ranks.join(everything)
