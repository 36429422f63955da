"""One meaning of a batch in one process and in many: rows, gathers and sums.

A global batch is split by rows over the ranks. What a method computes from the whole batch
(k-means, selection, targets) it computes on gathered tensors, identically on every rank; losses
are divided by global counts; gradients are summed over the ranks.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

import torch
import torch.distributed as dist
from torch import Tensor


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
