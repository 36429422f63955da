"""The networks as they were after the epoch with the lowest score, for what goes on from them."""

import copy
from collections.abc import Mapping

import torch
from torch import Tensor, nn


class Best(nn.Module):
    """Copies of networks, and the score that they had; the score is infinite before the first.

    Args:
        networks: as they are now.
    """

    score: Tensor

    def __init__(self, networks: Mapping[str, nn.Module]) -> None:
        super().__init__()
        self.networks = nn.ModuleDict(dict(copy.deepcopy(networks))).requires_grad_(False)
        self.register_buffer("score", torch.tensor(torch.inf))

    @torch.no_grad()
    def offer(self, networks: Mapping[str, nn.Module], score: Tensor) -> None:
        """Takes the networks as they are now if their score (0-d) is lower than the one kept."""
        if score < self.score:
            self.score.copy_(score)
            for name, module in self.networks.items():
                module.load_state_dict(networks[name].state_dict())

    @torch.no_grad()
    def give_back(self, networks: Mapping[str, nn.Module]) -> None:
        """Puts what is kept into the networks."""
        for name, module in networks.items():
            module.load_state_dict(self.networks[name].state_dict())
