"""Optimisers of a lane take the same steps without PyTorch's compiler, which they never import."""

import subprocess
import sys

import pytest

_PROGRAM = """
import sys
import torch
from deep_clustering.methods.learning.lars import LARS
from deep_clustering.platform.run._eager import optimisers_without_compiler

OPTIMISERS = [
    lambda parameters: torch.optim.SGD(parameters, lr=0.1, momentum=0.9, fused=True),
    lambda parameters: torch.optim.Adam(parameters, lr=0.1, weight_decay=0.1, fused=True),
    lambda parameters: torch.optim.AdamW(parameters, lr=0.1),
    lambda parameters: LARS(
        parameters, lr=0.1, momentum=0.9, weight_decay=0.1, trust=0.02, clip=True
    ),
]

def trained():
    weights = []
    for make in OPTIMISERS:
        torch.manual_seed(0)
        network = torch.nn.Linear(3, 3)
        optimiser = make(network.parameters())
        for _ in range(3):
            optimiser.zero_grad()
            network(torch.randn(5, 3)).square().sum().backward()
            optimiser.step()
            optimiser.load_state_dict(optimiser.state_dict())
        weights.append(network.weight.detach())
    return torch.stack(weights)

classes = (torch.optim.SGD, torch.optim.Adam, torch.optim.AdamW)
before = [each.step for each in classes]
optimisers_without_compiler()
lean = trained()
assert not {"torch._dynamo", "sympy"} & set(sys.modules), "the compiler was imported"
for each, step in zip(classes, before):
    each.step = step
assert torch.equal(lean, trained())
assert "torch._dynamo" in sys.modules, "PyTorch no longer imports it: the module can go"
"""


@pytest.mark.ray
def test_optimisers_take_the_same_steps_without_the_compiler() -> None:
    done = subprocess.run([sys.executable, "-c", _PROGRAM], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
