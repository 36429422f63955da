"""The images of a dataset as one uint8 array that batches are taken from."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from deep_clustering.methods.images._device import to_device
from deep_clustering.methods.images.pictures import Pictures

DEVICE_SHARE = 0.6  # of a GPU's free memory that the whole array may take
COPY_BYTES = 64 * 2**20  # moved to a GPU at a time


class Images:
    """RGB pictures in squares, in memory or memory-mapped, handed out as batches on one device.

    On the CPU the array is used where it lies, without a copy. On a GPU the whole array moves there
    if it takes less than 60 % of the memory that is free, and a batch is a gather on the device.
    Otherwise batches are gathered on the host into pinned memory and copied asynchronously.

    ``array``: uint8 (N, 3, H, H), C-contiguous. ``mean``, ``std``: of pixels scaled to [0, 1], per
    channel; kept for the views that normalise. ``sizes``: int (N, 2), height and width of each
    picture, as in ``Pictures``; None where all are H x H. Raises ValueError if one of them does not
    fit.
    """

    def __init__(
        self,
        array: np.ndarray | Tensor,
        *,
        mean: tuple[float, float, float],
        std: tuple[float, float, float],
        device: torch.device,
        sizes: np.ndarray | Tensor | None = None,
    ) -> None:
        _check(array, mean, std, sizes)
        self.device = _with_index(torch.device(device))
        self.side: int = array.shape[-1]  # pixels, height and width
        self.mean = torch.tensor(mean, dtype=torch.float32, device=self.device)  # (3,)
        self.std = torch.tensor(std, dtype=torch.float32, device=self.device)  # (3,)
        # np.asarray takes the plain view of a memory map: same memory, faster indexing.
        self._array: np.ndarray | Tensor = array if isinstance(array, Tensor) else np.asarray(array)
        if self.device.type == "cuda" and (
            (isinstance(array, Tensor) and array.device == self.device) or self._fits()
        ):
            self._array = _moved(self._array, self.device)
        elif isinstance(self._array, Tensor):
            self._array = self._array.cpu().numpy()
        where = self.device if isinstance(self._array, Tensor) else torch.device("cpu")
        self._sizes = None if sizes is None else torch.as_tensor(sizes, device=where)

    def __len__(self) -> int:
        return len(self._array)

    def take(self, index: Tensor) -> Pictures:
        """The images at ``index``, int64 (n,), 0 <= index < N: n pictures on the device.

        Keep ``index`` on the CPU unless the images are on the GPU as a whole, or the host waits for
        the device. Raises IndexError for an index out of range (as a device assertion on a GPU).
        """
        if isinstance(self._array, Tensor):
            index = index.to(self.device, non_blocking=True)
            return Pictures(self._array.index_select(0, index), self._size_of(index))
        rows = index.cpu().numpy()
        if len(rows) and not 0 <= rows.min() <= rows.max() < len(self):
            raise IndexError(
                f"image index out of range: 0 <= index < {len(self)}, got {rows.min()} to "
                f"{rows.max()}."
            )
        batch = torch.empty(
            (len(rows), *self._array.shape[1:]),
            dtype=torch.uint8,
            pin_memory=self.device.type == "cuda",
        )
        # With a mode other than "raise", numpy writes straight into the batch.
        np.take(self._array, rows, axis=0, out=batch.numpy(), mode="clip")
        size = self._size_of(index.cpu())
        return Pictures(
            batch.to(self.device, non_blocking=True),
            None if size is None else to_device(size, self.device),
        )

    def _size_of(self, index: Tensor) -> Tensor | None:
        """On the device of the sizes, as ``index``."""
        return None if self._sizes is None else self._sizes.index_select(0, index)

    def _fits(self) -> bool:
        free, _ = torch.cuda.mem_get_info(self.device)
        return self._array.nbytes < DEVICE_SHARE * free


def _check(
    array: np.ndarray | Tensor,
    mean: tuple[float, float, float],
    std: tuple[float, float, float],
    sizes: np.ndarray | Tensor | None,
) -> None:
    """Raises one ValueError that lists what does not fit."""
    shape = tuple(array.shape)
    mistakes = []
    if array.dtype not in (np.uint8, torch.uint8):
        mistakes.append(f"array: uint8 levels 0..255, got {array.dtype}")
    if len(shape) != 4 or shape[1] != 3 or shape[2] != shape[3]:
        mistakes.append(f"array: shape (N, 3, H, H), got {shape}")
    contiguous = array.is_contiguous() if isinstance(array, Tensor) else array.flags["C_CONTIGUOUS"]
    if not contiguous:
        mistakes.append("array: C-contiguous, got a strided view; copy it first")
    if len(mean) != 3:
        mistakes.append(f"mean: three numbers, one per channel, got {mean}")
    if len(std) != 3 or not all(s > 0 for s in std):
        mistakes.append(f"std: three numbers above 0, one per channel, got {std}")
    if sizes is not None and tuple(sizes.shape) != (len(array), 2):
        mistakes.append(f"sizes: shape ({len(array)}, 2), got {tuple(sizes.shape)}")
    if mistakes:
        raise ValueError("\n".join(mistakes))


def _with_index(device: torch.device) -> torch.device:
    """``cuda`` as ``cuda:0`` (the current one), so that devices compare equal when they are."""
    if device.type == "cuda" and device.index is None:
        return torch.device("cuda", torch.cuda.current_device())
    return device


def _moved(array: np.ndarray | Tensor, device: torch.device) -> Tensor:
    """The array on the device, copied piece by piece: a memory map is never whole in memory."""
    if isinstance(array, Tensor):
        return array.to(device)
    result = torch.empty(array.shape, dtype=torch.uint8, device=device)
    rows = max(1, COPY_BYTES // max(1, array[:1].nbytes))
    for start in range(0, len(array), rows):
        # A copy, because torch warns of arrays that it may not write to.
        piece = torch.from_numpy(array[start : start + rows].copy())
        result[start : start + rows] = piece.to(device)
    return result
