"""LARS: SGD whose steps are relative to the length of each weight matrix.

You, Gitman and Ginsburg, "Large batch training of convolutional networks", 2017
(https://arxiv.org/abs/1708.03888).
"""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from deep_clustering.methods.learning.state import prepare

_SMALL = 1e-8  # keeps a ratio of two zeros finite


class LARS(torch.optim.SGD):
    """Each matrix moves along trust |w| / (|g| + decay |w|) times (g + decay w), then as in SGD.

    Vectors, which are biases and the weights of normalisations, move as in SGD without decay.

    Args:
        parameters: what is trained.
        lr: of a step.
        momentum: of SGD.
        weight_decay: L2, on matrices alone.
        trust: eta.
        clip: the factor is at most the learning rate, so that no step is longer than that of SGD.
    """

    def __init__(
        self,
        parameters: Iterable[Tensor],
        lr: float,
        *,
        momentum: float,
        weight_decay: float,
        trust: float,
        clip: bool,
    ) -> None:
        every = list(parameters)
        groups = [
            {"params": [p for p in every if p.dim() > 1], "adapted": True},
            {"params": [p for p in every if p.dim() <= 1], "adapted": False},
        ]
        super().__init__(groups, lr=lr, momentum=momentum, fused=True)
        self._decay, self._trust, self._clip = weight_decay, trust, clip
        prepare(self)

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        """One step with the gradients as they are, which are changed in place."""
        for group in self.param_groups:
            if group["adapted"]:
                self._adapt([p for p in group["params"] if p.grad is not None], group["lr"])
        return super().step(closure)

    def _adapt(self, weights: list[Tensor], rate: float) -> None:
        gradients = [w.grad for w in weights if w.grad is not None]
        lengths = torch.stack(torch._foreach_norm(weights))
        slopes = torch.stack(torch._foreach_norm(gradients))
        factors = self._trust * lengths / (slopes + self._decay * lengths + _SMALL)
        if self._clip and rate > 0:
            factors = (factors / rate).clamp_max(1)
        # A matrix of zeros, or without a slope, moves as in SGD.
        factors = torch.where((lengths > 0) & (slopes > 0), factors, 1.0)
        torch._foreach_add_(gradients, weights, alpha=self._decay)
        torch._foreach_mul_(gradients, list(factors.unbind()))
