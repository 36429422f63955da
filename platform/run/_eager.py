"""PyTorch's optimisers without its compiler, which no lane uses on them.

Making and stepping an optimiser imports `torch._dynamo` and with it sympy, only to tell a compiler
that is not there to step aside: 1.5 s of CPU time and 160 MB in every process that trains. The
methods themselves stand in PyTorch under the decorators that import it, and are used directly.
"""

import inspect

import torch
from torch.optim import Optimizer

#: Methods of every optimiser that PyTorch hides from its compiler.
_HIDDEN = ("add_param_group", "zero_grad", "state_dict", "load_state_dict")


def optimisers_without_compiler() -> None:
    """Let every optimiser of this process compute as it stands; the results are the same bits.

    For processes that compile no optimiser. Where another version of PyTorch decorates its methods
    otherwise nothing is changed but speed and memory.
    """
    for name in _HIDDEN:
        plain = inspect.unwrap(getattr(Optimizer, name))
        setattr(plain, "__dynamo_disable", plain)  # PyTorch's own cache of the import
    for optimiser in (torch.optim.SGD, torch.optim.Adam, torch.optim.AdamW):
        # In place of a decorator that disables gradients as well, and tells the compiler so.
        optimiser.step = torch.no_grad()(inspect.unwrap(optimiser.step))  # type: ignore[method-assign]
