"""Checkpoints of a running job: safetensors beside a manifest with checksums, written last.

Two are kept. A damaged one is passed over for the one before it, with a warning; nothing is ever
unpickled.
"""

import hashlib
import json
import warnings
from collections.abc import Mapping
from typing import Any

from safetensors.torch import load, save
from torch import Tensor

_FORMAT = 1
_KEPT = 2


class CheckpointDamage(UserWarning):
    """A checkpoint could not be used; an older one, or none, takes its place."""


class Checkpoints:
    """The checkpoints of one job in a store, under `checkpoints/<job id>/`."""

    def __init__(self, store: Any, job: str) -> None:
        self._store, self._job, self._folder = store, job, f"checkpoints/{job}"

    def save(self, epoch: int, state: Mapping[str, Tensor], history: Mapping[str, Any]) -> None:
        """Make the state after `epoch` epochs durable, then drop all but the last two.

        Args:
            epoch: number of finished epochs.
            state: flat tensors on any device.
            history: JSON value that belongs to the state (epoch rows, seconds so far).
        """
        data = save({k: v.detach().to("cpu").contiguous() for k, v in state.items()})
        manifest = {
            "format": _FORMAT,
            "job": self._job,
            "epoch": epoch,
            "sha256": hashlib.sha256(data).hexdigest(),
            "history": dict(history),
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
