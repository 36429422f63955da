"""Checkpoints of a running job: safetensors beside a manifest with checksums, written last.

Two are kept. A damaged one is passed over for the one before it, with a warning; nothing is ever
unpickled. Writing goes on beside the next epoch, one checkpoint at a time.

A training keeps a copy of its state after every epoch, and writes it when that has cost little of
the time since the last one, or a minute has gone by: a process that is killed loses no more than
that and the epoch that was running. What ends a job in any other way writes the newest state.
"""

import contextlib
import hashlib
import json
import time
import warnings
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from deep_clustering.platform.request.configs import Value
from deep_clustering.platform.run.manifest import Manifest, epochs
from deep_clustering.platform.run.progress import Numbers
from deep_clustering.platform.store.store import Store

_KEPT = 2

#: Seconds of work, at most, that are not durable at the end of an epoch.
LONGEST_PAUSE = 60.0
#: A checkpoint is written when this many times the time that the last one took has gone by.
_WORK = 25


@dataclass(frozen=True, kw_only=True)
class EpochRow:
    """One row of a run's table of epochs; 0 is before the first epoch."""

    epoch: int
    seconds: float  # since the beginning, over all attempts
    values: Numbers  # losses, counters, metrics

    def as_json(self) -> dict[str, Value]:
        """A flat dictionary, as in the table."""
        return {"epoch": self.epoch, "seconds": self.seconds, **self.values}

    @classmethod
    def from_json(cls, value: Mapping[str, Value]) -> "EpochRow":
        """The inverse of `as_json`."""
        values = dict(value)
        return cls(epoch=values.pop("epoch"), seconds=values.pop("seconds"), values=values)  # type: ignore[arg-type]


@dataclass(frozen=True, kw_only=True)
class History:
    """What belongs to a state beside its tensors."""

    rows: tuple[EpochRow, ...] = ()
    seconds: float = 0.0  # of training, over all attempts
    started: str  # beginning of the first attempt, ISO 8601

    def as_json(self) -> dict[str, Value]:
        """Plain values."""
        rows = [row.as_json() for row in self.rows]
        return {"rows": rows, "seconds": self.seconds, "started": self.started}

    @classmethod
    def from_json(cls, value: Mapping[str, Value]) -> "History":
        """The inverse of `as_json`.

        Raises:
            KeyError, TypeError: it is not what `as_json` makes.
        """
        rows, seconds, started = value["rows"], value["seconds"], value["started"]
        if not isinstance(rows, list) or not isinstance(started, str):
            raise TypeError("its history is of another form")
        if not isinstance(seconds, (int, float)):
            raise TypeError("its seconds are no number")
        return cls(rows=tuple(map(EpochRow.from_json, rows)), seconds=seconds, started=started)


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """What a job continues from."""

    epoch: int  # epochs done
    state: dict[str, Tensor]
    history: History


def on_cpu(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors as they are written to a file."""
    return {k: v.detach().to("cpu").contiguous() for k, v in state.items()}


class CheckpointDamage(UserWarning):
    """A checkpoint could not be used; an older one, or none, takes its place."""


class Checkpoints:
    """The checkpoints of one job in a store, under `checkpoints/<job id>/`.

    As a context manager it ends when the last one is written.

    Args:
        store: where they are.
        job: id.
        longest: seconds after which `keep` writes a state, whatever that costs; 0: always.
    """

    def __init__(self, store: Store, job: str, longest: float = LONGEST_PAUSE) -> None:
        self._store, self._job, self._folder = store, job, f"checkpoints/{job}"
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
        self._pending: Future[None] | None = None
        self._longest = longest
        self._held: Checkpoint | None = None  # a copy that is not written yet
        self._last = time.monotonic()  # when the newest was begun
        self._cost = 0.0  # seconds that it took, in the loop and beside it

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, kind: type | None, *_: object) -> None:
        if kind is not None and self._held is not None:
            with contextlib.suppress(Exception):  # the error that ended the job is the one to tell
                self.save(self._held.epoch, self._held.state, self._held.history)
        self._writer.shutdown()
        if kind is None:
            self._settle()

    def _settle(self) -> None:
        if self._pending is not None:
            self._pending.result()
            self._pending = None

    def keep(self, epoch: int, state: Mapping[str, Tensor], history: History) -> None:
        """Save the state after `epoch` epochs if it is time to, see `save`; else hold a copy.

        The copy is written when an error, such as that nobody wants the job any more, ends the
        work.
        """
        pause = min(self._longest, _WORK * self._cost)
        if time.monotonic() - self._last >= pause:
            self._held = None
            self.save(epoch, state, history)
        else:
            copies = {name: tensor.detach().clone() for name, tensor in state.items()}
            self._held = Checkpoint(epoch=epoch, state=copies, history=history)

    def save(self, epoch: int, state: Mapping[str, Tensor], history: History) -> None:
        """Begin to make the state after `epoch` epochs durable, then to drop all but the last two.

        Returns when the state is copied and the checkpoint before it is durable.

        Args:
            epoch: number of finished epochs.
            state: flat tensors on any device.
            history: what belongs to the state.

        Raises:
            StorageError: the checkpoint before it could not be written.
        """
        begun = time.monotonic()
        data = save(on_cpu(state))
        told = json.dumps(history.as_json())
        self._settle()
        self._last = time.monotonic()
        self._cost = self._last - begun
        self._pending = self._writer.submit(self._write, epoch, data, told)

    def _write(self, epoch: int, data: bytes, history: str) -> None:
        manifest = Manifest(
            job=self._job,
            epoch=epoch,
            sha256=hashlib.sha256(data).hexdigest(),
            history=json.loads(history),
        )
        name = f"{self._folder}/{epoch:06d}"
        self._store.write_bytes(f"{name}.safetensors", data)
        self._store.write_bytes(f"{name}.json", manifest.encoded())
        for old in self._epochs()[:-_KEPT]:
            self._drop(old)
        self._cost += time.monotonic() - self._last

    def load(self) -> Checkpoint | None:
        """The newest checkpoint that is whole; None without one."""
        for epoch in reversed(self._epochs()):
            name = f"{self._folder}/{epoch:06d}"
            try:
                read = self._store.read_bytes(f"{name}.json")
                manifest = Manifest.decoded(read, self._job, epoch)
                data = self._store.read_bytes(f"{name}.safetensors")
                manifest.check(data)
                history = History.from_json(manifest.history)
                return Checkpoint(epoch=epoch, state=load(data), history=history)
            except (ValueError, KeyError, OSError, TypeError, SafetensorError) as error:
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
        return epochs(self._store, self._job)

    def _drop(self, epoch: int) -> None:
        for suffix in (".json", ".safetensors"):
            self._store.delete(f"{self._folder}/{epoch:06d}{suffix}")
