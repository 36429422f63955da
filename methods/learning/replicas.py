"""One meaning of a batch in one process and in many: rows, gathers, sums and batch statistics.

A global batch is split by rows over the ranks. What a method computes from the whole batch
(k-means, selection, targets) it computes on gathered tensors, identically on every rank; losses
are divided by global counts; gradients are summed over the ranks.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Self

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn


@dataclass(frozen=True)
class Replicas:
    """The processes that train one model together, as seen from one of them.

    Attributes:
        rank: of this process, 0 to world - 1.
        world: number of processes.
        device: of this process.
    """

    rank: int
    world: int
    device: torch.device

    @classmethod
    def alone(cls, device: torch.device | str = "cpu") -> Self:
        """One process; nothing is ever communicated."""
        return cls(0, 1, torch.device(device))

    @classmethod
    def joined(cls, device: torch.device | str = "cpu") -> Self:
        """The default group of `torch.distributed`, or `alone` where none was started."""
        if not (dist.is_available() and dist.is_initialized()):
            return cls.alone(device)
        return cls(dist.get_rank(), dist.get_world_size(), torch.device(device))

    def rows(self, batch: int, slices: int = 1) -> Tensor:
        """Rows (batch / world,) of a global batch held by this rank, ascending, on its device.

        The batch consists of `slices` equal consecutive slices, and each rank holds a contiguous
        share of each of them: its rows of slice j are entries j * m to (j + 1) * m, where
        m = batch / slices / world.

        Raises:
            ValueError: the batch cannot be split so.
        """
        if batch % (slices * self.world):
            raise ValueError(
                f"a batch of {batch} in {slices} slices cannot be shared equally by {self.world} "
                f"processes; choose a batch size that is a multiple of {slices * self.world}"
            )
        share = batch // slices // self.world
        within = torch.arange(share, device=self.device) + self.rank * share
        starts = torch.arange(slices, device=self.device) * (batch // slices)
        return (starts[:, None] + within).flatten()

    def gather(self, local: Tensor, rows: Tensor, batch: int) -> Tensor:
        """The global (batch, ...) of which every rank holds `local` at `rows`; no gradient.

        Each row of the batch belongs to exactly one rank; ranks may hold different numbers of
        them. Bit-identical on every rank.
        """
        local = local.detach()
        if self.world == 1:
            return local
        whole = local.new_zeros((batch, *local.shape[1:]))
        whole[rows] = local
        dist.all_reduce(whole)  # one rank's value plus zeros: exact
        return whole

    def total(self, value: Tensor) -> Tensor:
        """Sum over the ranks, no gradient; a new tensor."""
        value = value.detach()
        if self.world == 1:
            return value
        value = value.clone()
        dist.all_reduce(value)
        return value

    def global_sum(self, local: Tensor) -> Tensor:
        """Sum over the ranks, with the gradient of the local term.

        For a loss that every rank computes in full from global sums: its gradients, summed over the
        ranks by `reduce_gradients`, are then those of one process that holds the whole batch.
        """
        if self.world == 1:
            return local
        return local + (self.total(local) - local.detach())

    def reduce_gradients(self, parameters: Iterable[Tensor]) -> None:
        """Sums the gradients over the ranks, in one message per dtype.

        A parameter has a gradient on all ranks or on none.
        """
        if self.world == 1:
            return
        by_dtype: dict[torch.dtype, list[Tensor]] = {}
        for parameter in parameters:
            if parameter.grad is not None:
                by_dtype.setdefault(parameter.grad.dtype, []).append(parameter.grad)
        for gradients in by_dtype.values():
            flat = torch.cat([g.reshape(-1) for g in gradients])
            dist.all_reduce(flat)
            for gradient, summed in zip(
                gradients, flat.split([g.numel() for g in gradients]), strict=True
            ):
                gradient.copy_(summed.view(gradient.shape))


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

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            self.num_batches_tracked += 1
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
