"""Passes of a frozen encoder over images: a stage for the clean view, one for each random view."""

import time
from dataclasses import dataclass

import torch
from safetensors.torch import save as save_tensors
from torch import Tensor

from deep_clustering.methods._method import CachedView
from deep_clustering.methods.images.pictures import Frame
from deep_clustering.methods.images.strong import Strong
from deep_clustering.methods.images.view import View
from deep_clustering.methods.images.weak import Weak
from deep_clustering.platform.encoders import network, weights
from deep_clustering.platform.encoders.names import Encoder
from deep_clustering.platform.errors import InputError
from deep_clustering.platform.request.jobs import Job
from deep_clustering.platform.run import record
from deep_clustering.platform.run.checkpoints import Checkpoints, History
from deep_clustering.platform.run.failure import Cancelled
from deep_clustering.platform.run.progress import Observer
from deep_clustering.platform.run.stages import shared
from deep_clustering.platform.run.workplace import Workplace

#: Seconds between two checkpoints of a pass.
_PAUSE = 30.0


def clean(job: Job, place: Workplace, observer: Observer) -> None:
    """The features of the scored images by a frozen encoder, stored as those of a pretraining."""
    if place.replicas.rank == 0:
        done = _pass(job, place, observer, None, 0)
        place.store.commit_stage(done.row, {"features": shared(done.features)})
        Checkpoints(place.store, job.id).clear()


def view(job: Job, place: Workplace, observer: Observer) -> None:
    """The features of one random view of the scored images: (n, D) in half precision."""
    if place.replicas.rank == 0:
        front = "view."
        own = {k.removeprefix(front): v for k, v in job.config.items() if k.startswith(front)}
        asked = CachedView(**own)  # type: ignore[arg-type]
        side = Encoder.from_config(job.config).side
        done = _pass(job, place, observer, _made(asked, side), asked.number)
        held = {"features": done.features.half().contiguous()}
        place.store.commit_stage(done.row, {"features": save_tensors(held)})
        Checkpoints(place.store, job.id).clear()


def _made(asked: CachedView, side: int) -> View:
    """The view as an encoder sees it that looks at images of a side."""
    scale = (asked.crop, 1.0)
    frame: Frame = "whole" if asked.crop < 1 else "centre"
    if asked.kind == "weak":
        return Weak(side, scale, asked.flip, frame)
    hole = round(asked.cutout * side)
    return Strong(side, scale, asked.flip, asked.operations, hole, frame)


@dataclass(frozen=True)
class _Done:
    features: Tensor  # (n, D) float32
    row: record.Row


def _pass(job: Job, place: Workplace, observer: Observer, seen: View | None, seed: int) -> _Done:
    """All features, from the last checkpoint if there is one.

    A batch has the same draws whether or not the pass was interrupted before it.

    Raises:
        Cancelled: nobody wants the job any more; its last checkpoint stays.
    """
    begun, started = time.monotonic(), record.now()
    dataset, images = place.images(job)
    named = Encoder.from_config(job.config)
    file = weights.path(named, job.source.root)
    if weights.identity(named) != job.config["weights"]:
        raise InputError(f"{file} changed after the command started; give the same command again.")
    seeing = network.Seeing(named, network.load(named, file), images.device)
    index = torch.from_numpy(dataset.score)
    parts: list[Tensor] = []
    seconds, resumed = 0.0, 0
    with Checkpoints(place.store, job.id) as checkpoints:
        saved = checkpoints.load()
        if saved is not None:
            parts, resumed = [saved.state["features"]], saved.epoch
            started, seconds = saved.history.started, saved.history.seconds
        last = time.monotonic()
        observer.images(sum(map(len, parts)), len(index))
        for number, found in enumerate(
            network.features(seeing, images, index, seen, seed, resumed), resumed + 1
        ):
            parts.append(found)
            observer.images(min(number * network.BATCH, len(index)), len(index))
            if observer.cancelled():
                raise Cancelled
            if time.monotonic() - last > _PAUSE:
                parts = [torch.cat(parts)]
                spent = seconds + time.monotonic() - begun
                checkpoints.save(
                    number, {"features": parts[0]}, History(seconds=spent, started=started)
                )
                last = time.monotonic()
    work = record.measured(
        started=started,
        seconds=seconds + time.monotonic() - begun,
        device=place.device,
        resumed_at=resumed,
    )
    return _Done(torch.cat(parts), record.finished(job, dataset, work, place.provenance))
