"""Checkpoints of a running job: safetensors beside a manifest with checksums, written last.

Two are kept. A damaged one is passed over for the one before it, with a warning; nothing is ever
unpickled. Writing goes on beside the next epoch, one checkpoint at a time.
"""

import hashlib
import json
import warnings
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from safetensors.torch import load, save
from torch import Tensor

_FORMAT = 1
_KEPT = 2


class CheckpointDamage(UserWarning):
    """A checkpoint could not be used; an older one, or none, takes its place."""


class Checkpoints:
    """The checkpoints of one job in a store, under `checkpoints/<job id>/`.

    As a context manager it ends when the last one is written.
    """

    def __init__(self, store: Any, job: str) -> None:
        self._store, self._job, self._folder = store, job, f"checkpoints/{job}"
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
        self._pending: Future[None] | None = None

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, kind: type | None, *_: object) -> None:
        self._writer.shutdown()
        if kind is None:
            self._settle()

    def _settle(self) -> None:
        if self._pending is not None:
            self._pending.result()
            self._pending = None

    def save(self, epoch: int, state: Mapping[str, Tensor], history: Mapping[str, Any]) -> None:
        """Begin to make the state after `epoch` epochs durable, then to drop all but the last two.

        Returns when the state is copied and the checkpoint before it is durable.

        Args:
            epoch: number of finished epochs.
            state: flat tensors on any device.
            history: JSON value that belongs to the state (epoch rows, seconds so far).

        Raises:
            StorageError: the checkpoint before it could not be written.
        """
        data = save({k: v.detach().to("cpu").contiguous() for k, v in state.items()})
        told = json.dumps(dict(history))
        self._settle()
        self._pending = self._writer.submit(self._write, epoch, data, told)

    def _write(self, epoch: int, data: bytes, history: str) -> None:
        manifest = {
            "format": _FORMAT,
            "job": self._job,
            "epoch": epoch,
            "sha256": hashlib.sha256(data).hexdigest(),
            "history": json.loads(history),
        }
        name = f"{self._folder}/{epoch:06d}"
        self._store.write_bytes(f"{name}.safetensors", data)
        self._store.write_bytes(f"{name}.json", json.dumps(manifest).encode())
        for old in self._epochs()[:-_KEPT]:
            self._drop(old)

    def load(self) -> tuple[int, dict[str, Tensor], dict[str, Any]] | None:
        """Epoch, state and history of the newest checkpoint that is whole; None without one."""
        for epoch in reversed(self._epochs()):
            name = f"{self._folder}/{epoch:06d}"
            try:
                manifest = json.loads(self._store.read_bytes(f"{name}.json"))
                data = self._store.read_bytes(f"{name}.safetensors")
                if manifest["format"] != _FORMAT or manifest["job"] != self._job:
                    raise ValueError(f"it belongs to {manifest['job']}")
                if hashlib.sha256(data).hexdigest() != manifest["sha256"]:
                    raise ValueError("its checksum does not match")
                return epoch, load(data), manifest["history"]
            except (ValueError, KeyError, OSError, TypeError) as error:
                warnings.warn(
                    f"the checkpoint of {self._job} at epoch {epoch} is damaged ({error}); "
                    "the one before it is used",
                    CheckpointDamage,
                    stacklevel=2,
                )
        return None

    def keep_last(self) -> None:
        """Drop all but the newest: the job was stopped early and may be continued."""
        for old in self._epochs()[:-1]:
            self._drop(old)

    def clear(self) -> None:
        """Drop all: the job's result is committed."""
        for epoch in self._epochs():
            self._drop(epoch)

    def _epochs(self) -> list[int]:
        names = self._store.list(self._folder)
        return sorted(
            int(stem)
            for n in names
            if n.endswith(".json")
            and (stem := n.rsplit("/", 1)[-1].removesuffix(".json")).isdigit()
        )

    def _drop(self, epoch: int) -> None:
        for suffix in (".json", ".safetensors"):
            self._store.delete(f"{self._folder}/{epoch:06d}{suffix}")
