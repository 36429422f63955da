"""Batch normalisation whose statistics are those of the global batch, over all ranks."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn

from deep_clustering.methods.compute.replicas import Replicas


class BatchNorm(nn.Module):
    """Batch normalisation over all ranks, for (n, C) and (n, C, H, W).

    `torch.nn.BatchNorm2d` in parameters, buffers and results; with several ranks the statistics
    are those of the global batch, on CPU (gloo) as on CUDA, and differentiable. The weight and
    bias gradients are of the local rows: sum them over ranks as all others.
    """

    running_mean: Tensor
    running_var: Tensor
    num_batches_tracked: Tensor

    def __init__(
        self, features: int, *, replicas: Replicas, momentum: float = 0.1, eps: float = 1e-5
    ) -> None:
        super().__init__()
        self.replicas = replicas
        self.momentum = momentum
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(features))
        self.bias = nn.Parameter(torch.zeros(features))
        self.register_buffer("running_mean", torch.zeros(features))
        self.register_buffer("running_var", torch.ones(features))
        self.register_buffer("num_batches_tracked", torch.tensor(0, dtype=torch.long))
        self._uncounted = 0  # batches that this counter does not have yet: no launch for each layer

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            self._uncounted += 1
            if self.replicas.world > 1:
                return self._across(x)
        return F.batch_norm(
            x,
            self.running_mean,
            self.running_var,
            self.weight,
            self.bias,
            self.training,
            self.momentum,
            self.eps,
        )

    def _across(self, x: Tensor) -> Tensor:
        result, mean, variance, count = _NormaliseAcross.apply(x, self.weight, self.bias, self.eps)
        with torch.no_grad():
            self.running_mean.lerp_(mean, self.momentum)
            # The running variance is the unbiased one, the normalising variance is not.
            self.running_var.lerp_(variance * (count / (count - 1)), self.momentum)
        return result

    def _save_to_state_dict(self, *arguments: Any) -> None:
        self.num_batches_tracked += self._uncounted
        self._uncounted = 0
        super()._save_to_state_dict(*arguments)

    def _load_from_state_dict(self, *arguments: Any) -> None:
        self._uncounted = 0
        super()._load_from_state_dict(*arguments)

    def extra_repr(self) -> str:
        return f"{self.weight.numel()}, world={self.replicas.world}"


class _NormaliseAcross(torch.autograd.Function):
    """(x - mean) / sqrt(variance + eps) * weight + bias with statistics of all ranks."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, eps: float
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        axes = [0, *range(2, x.dim())]
        shape = [1, -1, *([1] * (x.dim() - 2))]
        wide = x.to(weight.dtype)
        local = x.numel() // x.shape[1]
        count = wide.new_tensor(local)
        mean = wide.mean(axes)
        # Chan's merge of counts, means and squared deviations: two sums of all ranks, and no
        # difference of two large numbers.
        sums = torch.cat([mean * count, count.reshape(1)])
        dist.all_reduce(sums)
        count = sums[-1]
        mean = sums[:-1] / count
        squares = (wide - mean.view(shape)).square_().sum(axes)
        dist.all_reduce(squares)
        variance = squares / count
        scale = (variance + eps).rsqrt()
        normalised = (wide - mean.view(shape)) * scale.view(shape)
        ctx.save_for_backward(normalised, weight, scale, count)
        ctx.axes, ctx.shape = axes, shape
        ctx.mark_non_differentiable(mean, variance, count)
        result = normalised * weight.view(shape) + bias.view(shape)
        return result.to(x.dtype), mean, variance, count

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        normalised, weight, scale, count = ctx.saved_tensors
        axes, shape = ctx.axes, ctx.shape
        gradient = gradients[0].to(weight.dtype)
        bias_gradient = gradient.sum(axes)
        weight_gradient = (gradient * normalised).sum(axes)
        sums = torch.stack([bias_gradient, weight_gradient])
        dist.all_reduce(sums)
        means = sums / count
        inner = gradient - means[0].view(shape) - normalised * means[1].view(shape)
        x_gradient = inner * (weight * scale).view(shape)
        return x_gradient.to(gradients[0].dtype), weight_gradient, bias_gradient, None


@contextmanager
def batch_statistics(*networks: nn.Module) -> Iterator[None]:
    """Inside, the statistics of the batch normalise and the running ones stay."""
    layers = [x for network in networks for x in network.modules() if isinstance(x, BatchNorm)]
    before = [layer.momentum for layer in layers]
    for layer in layers:
        layer.momentum = 0.0
    try:
        yield
    finally:
        for layer, momentum in zip(layers, before, strict=True):
            layer.momentum = momentum
