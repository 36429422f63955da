"""The loop over epochs: checkpoints, divergence, cancellation."""

import hashlib
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from deep_clustering.methods._method import Trainable
from deep_clustering.platform.metrics.arrays import Array
from deep_clustering.platform.request.jobs import Job
from deep_clustering.platform.run.checkpoints import Checkpoints, EpochRow, History
from deep_clustering.platform.run.failure import Cancelled, Diverged
from deep_clustering.platform.run.progress import Numbers, Observer
from deep_clustering.platform.run.record import Row, measured, now
from deep_clustering.platform.run.workplace import Workplace


@dataclass
class Training:
    """What a training came to, over all attempts."""

    rows: list[EpochRow] = field(default_factory=list)  # one an epoch; 0 is before the first
    seconds: float = 0.0
    started: str = field(default_factory=now)
    resumed_at: int = 0  # epoch from which the last attempt continued

    def work(self, place: Workplace) -> Row:
        """The columns about the work itself, now that it is done; see `record.measured`."""
        return measured(
            started=self.started,
            seconds=self.seconds,
            device=place.device,
            workers=place.replicas.world,
            resumed_at=self.resumed_at,
        )


def train(
    trainable: Trainable,
    index: Array,
    job: Job,
    place: Workplace,
    observer: Observer,
    evaluate: Callable[[], Numbers] | None = None,
) -> Training:
    """Train to the last epoch, from the last checkpoint if there is one.

    The last partial batch of an epoch is dropped (recipe of CDC).

    Args:
        index: (n,) the images trained on.
        evaluate: called by the first process before the first epoch, after every n-th one as the
            place says, and after the last one; rows of other epochs have losses alone.

    Raises:
        Cancelled: nobody wants the job any more; its last epoch stays as a checkpoint.
        Diverged: a loss became NaN or infinite.
    """
    with Checkpoints(place.store, job.id, place.longest_pause) as checkpoints:
        return _epochs(trainable, index, job, place, observer, evaluate, checkpoints)


def _epochs(
    trainable: Trainable,
    index: Array,
    job: Job,
    place: Workplace,
    observer: Observer,
    evaluate: Callable[[], Numbers] | None,
    checkpoints: Checkpoints,
) -> Training:
    order = torch.Generator().manual_seed(_seed_of_order(job.seed))
    images = torch.from_numpy(index)
    chief = place.replicas.rank == 0
    training = Training()

    with warnings.catch_warnings(record=True) as damage:
        warnings.simplefilter("always")
        saved = checkpoints.load()
    for warning in damage:
        observer.note(str(warning.message))
    begun = time.monotonic()

    def over(epoch: int, values: Numbers) -> None:
        if chief:
            seconds = training.seconds + time.monotonic() - begun
            training.rows.append(EpochRow(epoch=epoch, seconds=seconds, values=values))
            state = trainable.state() | {"loop.order": order.get_state()}
            rows = tuple(training.rows)
            history = History(rows=rows, seconds=seconds, started=training.started)
            checkpoints.keep(epoch, state, history)
            observer.epoch(epoch, values)

    def evaluated(epoch: int) -> Numbers:
        due = epoch % place.evaluate_every == 0 or epoch == trainable.epochs
        return evaluate() if evaluate and chief and due else {}

    if saved is None:
        values = dict(trainable.initialise())
        over(0, {**values, **evaluated(0)})
    else:
        training.resumed_at, history = saved.epoch, saved.history
        order.set_state(saved.state.pop("loop.order"))
        trainable.load_state(saved.state)
        training.rows, training.seconds = list(history.rows), history.seconds
        training.started = history.started

    for epoch in range(training.resumed_at + 1, trainable.epochs + 1):
        passes = (torch.randperm(len(images), generator=order) for _ in range(trainable.passes))
        shuffled = [images[turn].to(place.device) for turn in passes]
        losses = _epoch(trainable, shuffled, epoch, observer)
        over(epoch, {**losses, **evaluated(epoch)})
    training.seconds += time.monotonic() - begun
    return training


def _epoch(
    trainable: Trainable, shuffled: list[Tensor], epoch: int, observer: Observer
) -> dict[str, float]:
    """The passes of an epoch over the images (n,), each in its order: the mean of each loss."""
    size = trainable.batch_size
    batches = [
        turn[i : i + size] for turn in shuffled for i in range(0, len(turn) - size + 1, size)
    ]
    collected: list[Tensor] = []
    names: list[str] = []
    for batch in batches:
        if observer.cancelled():
            raise Cancelled
        losses = trainable.step(batch)
        names = list(losses)
        collected.append(torch.stack([v.float() for v in losses.values()]))
    table = torch.stack(collected).double().cpu()
    finite = torch.isfinite(table)
    if not bool(finite.all()):
        step, term = (int(i) for i in (~finite).nonzero()[0])
        raise Diverged(f"diverged at epoch {epoch}, step {step + 1}: {names[term]} is not finite")
    return dict(zip(names, table.mean(0).tolist(), strict=True))


def _seed_of_order(seed: int) -> int:
    """A 63-bit seed of the order of the images, unrelated to those that the method derives."""
    return int.from_bytes(hashlib.sha256(f"{seed}:order".encode()).digest()[:8], "big") >> 1
