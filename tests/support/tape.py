"""What a GPU's graphs do, on the CPU: the operations of a piece of work, carried out once more.

As in a graph, tensors stay where they were and Python does not run again: numbers are as they were.
What has to know a value of a tensor is refused, as a GPU refuses it while it records.
"""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

_REFUSED = ("_local_scalar_dense", "nonzero", "masked_select", "unique")


class Tape(TorchDispatchMode):
    """Notes every operation inside."""

    def __init__(self) -> None:
        super().__init__()
        self._done: list[tuple[Any, Any, Any, Any]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.name().removeprefix("aten::").split(".")[0]
        if name.startswith(_REFUSED):
            raise RuntimeError(f"{name}: operation not permitted when stream is capturing")
        if name.startswith("index") and any(
            x is not None and x.dtype == torch.bool for x in _tensors(args[1:2])
        ):
            raise RuntimeError("a mask as an index: operation not permitted")
        out = func(*args, **(kwargs or {}))
        self._done.append((func, args, kwargs or {}, out))
        return out

    @torch.no_grad()
    def replay(self) -> None:
        """All of it again."""
        for func, args, kwargs, out in self._done:
            kinds = [kind.alias_info for kind in func._schema.returns]
            if any(kind is not None and not kind.is_write for kind in kinds):
                continue  # a view: it shows what its base holds now
            again = func(*args, **kwargs)
            if not any(kinds):
                for held, made in zip(_tensors(out), _tensors(again), strict=True):
                    held.copy_(made)


def _tensors(value: Any) -> Iterable[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _tensors(item)


def record(
    work: Callable[[], tuple[Tensor, ...]],
) -> tuple[tuple[Tensor, ...], Callable[[], None]]:
    """A `Recorder`; unlike a GPU it carries the work out as it records it."""
    tape = Tape()
    with tape:
        outputs = work()
    return outputs, tape.replay
