"""Batch normalisation whose statistics are those of the global batch, over all ranks."""

from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn

from deep_clustering.methods._proven import Proven
from deep_clustering.methods.compute.replicas import Replicas

#: Rows that both forms of a layer across ranks are compared on, and how far they may be apart, as a
#: share of the largest entry: where numbers have 32 bits or more, and where they have 16.
_PROOF = 64
_APART = (1e-3, 0.03)


class BatchNorm(nn.Module):
    """Batch normalisation over all ranks, for (n, C) and (n, C, H, W).

    `torch.nn.BatchNorm2d` in parameters, buffers and results; with several ranks the statistics
    are those of the global batch, on CPU (gloo) as on CUDA, and differentiable. The weight and
    bias gradients are of the local rows: sum them over ranks as all others.
    """

    momentum, eps = 0.1, 1e-5

    running_mean: Tensor
    running_var: Tensor
    num_batches_tracked: Tensor

    def __init__(self, features: int, *, replicas: Replicas) -> None:
        super().__init__()
        self.replicas = replicas
        self.weight = nn.Parameter(torch.ones(features))
        self.bias = nn.Parameter(torch.zeros(features))
        self.register_buffer("running_mean", torch.zeros(features))
        self.register_buffer("running_var", torch.ones(features))
        self.register_buffer("num_batches_tracked", torch.tensor(0, dtype=torch.long))
        self.uncounted = 0  # batches that this counter does not have yet: no launch for each layer

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            if not torch.compiler.is_compiling():  # what is compiled is counted from outside
                self.uncounted += 1
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
        normalise = _NORMALISED if x.is_cuda else plain
        statistics = Running(self.running_mean, self.running_var, self.momentum, self.eps)
        return normalise(x, self.weight, self.bias, statistics)

    def _save_to_state_dict(self, *arguments: Any) -> None:
        self.num_batches_tracked += self.uncounted
        self.uncounted = 0
        super()._save_to_state_dict(*arguments)

    def _load_from_state_dict(self, *arguments: Any) -> None:
        self.uncounted = 0
        super()._load_from_state_dict(*arguments)

    def extra_repr(self) -> str:
        return f"{self.weight.numel()}, world={self.replicas.world}"


def _layers(networks: Iterable[nn.Module]) -> list[BatchNorm]:
    modules = (module for network in networks for module in network.modules())
    return [module for module in modules if isinstance(module, BatchNorm)]


class Counts:
    """The batches of which layers have not told the device yet; see `BatchNorm`.

    What a GPU replays without the host counts none.
    """

    def __init__(self, networks: Iterable[nn.Module]) -> None:
        self._layers = _layers(networks)

    def read(self) -> list[int]:
        """How many each layer has counted."""
        return [layer.uncounted for layer in self._layers]

    def write(self, counts: Sequence[int]) -> None:
        """As many as that, in place of what was counted."""
        for layer, count in zip(self._layers, counts, strict=True):
            layer.uncounted = count

    def add(self, counts: Sequence[int]) -> None:
        """So many more."""
        for layer, count in zip(self._layers, counts, strict=True):
            layer.uncounted += count


class Running(NamedTuple):
    """Running statistics (C,), which a batch moves in place, and how a batch is normalised."""

    mean: Tensor
    variance: Tensor
    momentum: float  # share of the batch's
    eps: float


def plain(x: Tensor, weight: Tensor, bias: Tensor, running: Running) -> Tensor:
    """The normalised (n, C) or (n, C, H, W) by operations that every device has."""
    result, mean, variance, count = _NormaliseAcross.apply(x, weight, bias, running.eps)
    with torch.no_grad():
        running.mean.lerp_(mean, running.momentum)
        # The running variance is the unbiased one, the normalising variance is not.
        running.variance.lerp_(variance * (count / (count - 1)), running.momentum)
    return result


def by_kernels(x: Tensor, weight: Tensor, bias: Tensor, running: Running) -> Tensor:
    """As `plain`, on CUDA, by the kernels of PyTorch's own synchronised normalisation.

    Its layer waits for the device at every call, to leave out ranks without a row. Here every rank
    has as many rows as the others.
    """
    result: Tensor = _ByKernels.apply(x, weight, bias, running)
    return result


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


class _ByKernels(torch.autograd.Function):
    """One message of all ranks forward and one backward."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, running: Running) -> Tensor:
        x = _dense(x)
        channels = x.shape[1]
        mean, scale = torch.batch_norm_stats(x, running.eps)
        count = torch.full_like(mean[:1], x.numel() // channels)
        own = torch.cat([mean, scale, count])
        every = [torch.empty_like(own) for _ in range(dist.get_world_size())]
        dist.all_gather(every, own)
        means, scales, counts = torch.stack(every).split([channels, channels, 1], dim=1)
        mean, scale = torch.batch_norm_gather_stats_with_counts(
            x, means, scales, *running, counts.reshape(-1)
        )
        ctx.save_for_backward(x, weight, mean, scale, counts.to(torch.int32))
        result: Tensor = torch.batch_norm_elemt(x, weight, bias, mean, scale, running.eps)
        return result

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        x, weight, mean, scale, counts = ctx.saved_tensors
        gradient = _dense(gradients[0])
        *sums, weight_gradient, bias_gradient = torch.batch_norm_backward_reduce(
            gradient, x, mean, scale, weight, True, True, True
        )
        whole = torch.cat(sums)
        dist.all_reduce(whole)
        sum_of_gradients, sum_of_products = whole.chunk(2)
        x_gradient = torch.batch_norm_backward_elemt(
            gradient, x, mean, scale, weight, sum_of_gradients, sum_of_products, counts
        )
        return x_gradient, weight_gradient, bias_gradient, None


def _dense(x: Tensor) -> Tensor:
    last = x.dim() == 4 and x.is_contiguous(memory_format=torch.channels_last)
    return x if last else x.contiguous()


Form = Callable[[Tensor, Tensor, Tensor, Running], Tensor]


def differs(
    x: Tensor, weight: Tensor, bias: Tensor, running: Running, fast: Form = by_kernels
) -> str | None:
    """What is wrong with a few rows of `x` and their gradients by `fast`, against `plain`.

    Every rank is told if it is wrong on any, since all have to go on alike.
    """
    given = x[:_PROOF], weight, bias, running
    expected, wrong = _tried(plain, *given), None
    try:
        found = _tried(fast, *given)
    except Exception as error:  # the same on every rank: what is called is, and so are the shapes
        wrong = f"{type(error).__name__}: {error}"
    else:
        most = _APART[x.dtype.itemsize < 4]
        for name, value in expected.items():
            off = float((found[name].float() - value.float()).abs().max())
            if not off <= most * float(value.abs().max()):  # NaN is off as well
                wrong = wrong or f"its {name} is off by {off:.3g}"
    verdict = torch.full((), float(wrong is not None), device=x.device)
    dist.all_reduce(verdict)
    return wrong or ("it is wrong in another process" if verdict else None)


def _tried(
    form: Form, x: Tensor, weight: Tensor, bias: Tensor, running: Running
) -> dict[str, Tensor]:
    """The result of a form, the running statistics after it, and the gradients of a sum."""
    leaves = [t.detach().clone().requires_grad_() for t in (x, weight, bias)]
    own = running._replace(mean=running.mean.clone(), variance=running.variance.clone())
    with torch.enable_grad():
        result = form(leaves[0], leaves[1], leaves[2], own)
        factors = 1 + torch.arange(result.numel(), device=x.device).sin()
        (result.float() * factors.view(result.shape)).sum().backward()
    gradients = {
        f"gradient {i}": leaf.grad for i, leaf in enumerate(leaves) if leaf.grad is not None
    }
    return {
        "result": result.detach(),
        "running mean": own.mean,
        "running variance": own.variance,
        **gradients,
    }


def _case(x: Tensor, weight: Tensor, bias: Tensor, running: Running) -> Hashable:
    return x.device, x.dtype, x.dim(), x.shape[1], dist.get_world_size()


_NORMALISED = Proven(
    "synchronised batch normalisation", fast=by_kernels, plain=plain, case=_case, differs=differs
)


@contextmanager
def batch_statistics(*networks: nn.Module) -> Iterator[None]:
    """Inside, the statistics of the batch normalise and the running ones stay."""
    layers = _layers(networks)
    before = [layer.momentum for layer in layers]
    for layer in layers:
        layer.momentum = 0.0
    try:
        yield
    finally:
        for layer, momentum in zip(layers, before, strict=True):
            layer.momentum = momentum
