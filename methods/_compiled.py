"""numba's compiler as the kernels of this package use it."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray


def compiled(
    *, fastmath: set[str] | bool = False, inline: str = "never"
) -> Callable[[Callable[..., Any]], Any]:
    """Compiles a function on first use, without the interpreter's lock.

    The result is kept on disk where a folder for it can be written.
    """
    # With the other error model a possible division by zero keeps loops from being vectorised.
    options: dict[str, Any] = {"nogil": True, "error_model": "numpy"}
    options |= {"fastmath": fastmath, "inline": inline}

    def compile_(function: Callable[..., Any]) -> Any:
        try:
            return numba.njit(cache=True, **options)(function)
        except RuntimeError:  # neither the package's folder nor the user's cache can be written
            return numba.njit(**options)(function)

    return compile_


def each(kernel: Callable[..., Any], *arrays: NDArray[Any]) -> None:
    """Calls a compiled kernel that works on row after row of some arrays, in PyTorch's threads.

    Args:
        arrays: of one length, which the threads share.
    """
    import torch  # what is compiled here is for NumPy's arrays, and need not wait for it

    count = len(arrays[0])
    threads = min(torch.get_num_threads(), count)
    if threads <= 1:
        kernel(*arrays)
        return
    ends = np.linspace(0, count, threads + 1).astype(int)
    with ThreadPoolExecutor(threads) as pool:  # kernels work without the interpreter's lock
        shares = [[array[low:high] for array in arrays] for low, high in pairwise(ends)]
        list(pool.map(lambda share: kernel(*share), shares))
