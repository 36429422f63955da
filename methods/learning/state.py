"""Flat states: modules, optimisers and generators to named tensors and back, bit for bit."""

from collections.abc import Mapping
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

#: All that has a state, by name.
Parts = tuple[dict[str, nn.Module], dict[str, Optimizer], dict[str, torch.Generator]]

_Optimizer = TypeVar("_Optimizer", bound=Optimizer)


def prepare(optimiser: _Optimizer) -> _Optimizer:
    """Creates the zero state of an Adam or SGD now rather than at its first step.

    A state then has the same names before training as after. Both optimisers continue from zeros
    exactly as they start without a state.
    """
    for group in optimiser.param_groups:
        for parameter in group["params"]:
            state = optimiser.state[parameter]
            if isinstance(optimiser, torch.optim.SGD):
                state["momentum_buffer"] = torch.zeros_like(parameter)
            else:
                state["step"] = torch.zeros((), dtype=torch.float32, device=parameter.device)
                state["exp_avg"] = torch.zeros_like(parameter)
                state["exp_avg_sq"] = torch.zeros_like(parameter)
    return optimiser


def pack(
    modules: Mapping[str, nn.Module],
    optimisers: Mapping[str, Optimizer] | None = None,
    generators: Mapping[str, torch.Generator] | None = None,
) -> dict[str, Tensor]:
    """Copies of all that these hold: contiguous tensors under dotted names.

    A module named "" adds no prefix. Optimiser states are named by the position of the parameter,
    generator states are uint8.
    """
    state = {
        name: value.detach().clone(memory_format=torch.contiguous_format)
        for name, value in references(modules, optimisers or {}).items()
    }
    for name, source in (generators or {}).items():
        state[f"{name}.state"] = source.get_state()
    return state


def unpack(
    state: Mapping[str, Tensor],
    modules: Mapping[str, nn.Module],
    optimisers: Mapping[str, Optimizer] | None = None,
    generators: Mapping[str, torch.Generator] | None = None,
) -> None:
    """Restores in place what `pack` made of the same things.

    Raises:
        ValueError: names are missing or unknown, or shapes differ; nothing is changed then.
    """
    generators = generators or {}
    targets = references(modules, optimisers or {})
    expected = [*targets, *(f"{name}.state" for name in generators)]
    missing = [name for name in expected if name not in state]
    unknown = sorted(set(state) - set(expected))
    shapes = [
        f"{name} {tuple(state[name].shape)} for {tuple(target.shape)}"
        for name, target in targets.items()
        if name in state and state[name].shape != target.shape
    ]
    wrong = [
        f"{len(names)} {what} ({', '.join(names[:3])}{', ...' if len(names) > 3 else ''})"
        for what, names in (
            ("missing", missing),
            ("unexpected", unknown),
            ("of another shape", shapes),
        )
        if names
    ]
    if wrong:
        raise ValueError(
            f"these weights do not fit: {'; '.join(wrong)}; they belong to another configuration"
        )
    with torch.no_grad():
        for name, target in targets.items():
            target.copy_(state[name])
    for name, generator in generators.items():
        generator.set_state(state[f"{name}.state"].cpu())


def references(
    modules: Mapping[str, nn.Module], optimisers: Mapping[str, Optimizer]
) -> dict[str, Tensor]:
    """The tensors themselves that `pack` copies, under the same names."""
    found: dict[str, Tensor] = {}
    for name, module in modules.items():
        prefix = f"{name}." if name else ""
        found |= {f"{prefix}{key}": value for key, value in module.state_dict().items()}
    for name, optimiser in optimisers.items():
        parameters = [p for group in optimiser.param_groups for p in group["params"]]
        for position, parameter in enumerate(parameters):
            for key, value in optimiser.state[parameter].items():
                found[f"{name}.{position}.{key}"] = value
    return found
