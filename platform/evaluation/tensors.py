"""Tensors from a file of the store: safetensors only, nothing is ever unpickled."""

from pathlib import Path
from typing import TYPE_CHECKING

from deep_clustering.platform.errors import StorageError

if TYPE_CHECKING:
    from torch import Tensor


def loaded(path: Path) -> "dict[str, Tensor]":
    """Name -> tensor of a file of safetensors.

    Raises:
        StorageError: it is of another kind, a pickle for example.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)  # memory-mapped
    except SafetensorError as error:
        raise StorageError(f"{path} holds no safetensors ({error}); it is not read.") from error
