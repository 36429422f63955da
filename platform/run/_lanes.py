"""How the workers of a lane are started, and started again when they die.

A lane of one process is an actor in which Ray Train runs in local mode: it is ready in seconds. A
lane of several is a `TorchTrainer` worker group. Both run `lane.serve`.
"""

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import ray

from deep_clustering.platform.run.client import Client

if TYPE_CHECKING:
    from ray import train
    from ray.actor import ActorHandle

    from deep_clustering.platform.run.planner import Planner
    from deep_clustering.platform.run.session import Room

#: How often a lane is started anew before it counts as gone; the planner bounds how often one job
#: may kill its worker.
_LIVES = 16


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What the workers of a lane are started with.

    Attributes:
        lane: its number.
        store: address.
        provenance: columns that every row carries.
        threads: CPU threads of each worker in a run or an evaluation.
        stage_threads: and in a stage.
        limit: seconds that one job may take; None: any.
        evaluate_every: epochs between two evaluations.
    """

    lane: int
    planner: "ActorHandle[Planner]"
    store: str
    provenance: Mapping[str, str | bool | None]
    threads: int
    stage_threads: int
    limit: float | None
    evaluate_every: int


def keep(settings: Settings, room: "Room", storage: str) -> None:
    """Run a lane until the planner has no more work; blocks.

    Args:
        storage: a place that all nodes see; nothing that is written there is read.

    Raises:
        Exception: whatever ended the lane for good.
    """
    if room.workers == 1:
        _alone(settings, room, storage)
    else:
        _together(settings, room, storage)


class Lane:
    """The process of a lane that has one, which imports what every lane needs when it is made."""

    def __init__(self) -> None:
        from deep_clustering.platform.run import lane  # noqa: F401

    def serve(self, settings: Settings, gpu: bool, storage: str) -> None:
        """The loop of `lane.serve`, as Ray Train's local mode runs it."""
        from ray import train

        _trainer(settings, train.ScalingConfig(num_workers=0, use_gpu=gpu), storage, 0).fit()


def _alone(settings: Settings, room: "Room", storage: str) -> None:
    process = ray.remote(num_cpus=room.cpus, num_gpus=room.gpus, max_restarts=0)(Lane)
    for life in range(1, _LIVES + 1):
        actor = process.remote()
        try:
            ray.get(actor.serve.remote(settings, room.gpus > 0, storage))
            return
        except ray.exceptions.RayError:
            if life == _LIVES or not ray.is_initialized():
                raise
            # Another lane may do what it was doing before there is room for the next process: where
            # a machine is lost, there is less room than before.
            Client(settings.planner).lane_gone(settings.lane)
        finally:
            ray.kill(actor)


def _together(settings: Settings, room: "Room", storage: str) -> None:
    from ray import train

    resources = {"CPU": room.cpus} | ({"GPU": room.gpus} if room.gpus else {})
    scaling = train.ScalingConfig(
        num_workers=room.workers, use_gpu=room.gpus > 0, resources_per_worker=resources
    )
    _trainer(settings, scaling, storage, _LIVES).fit()


def _trainer(
    settings: Settings, scaling: "train.ScalingConfig", storage: str, lives: int
) -> "train.DataParallelTrainer":
    from ray import train
    from ray.train.torch import TorchConfig, TorchTrainer

    from deep_clustering.platform.run.lane import serve

    return TorchTrainer(
        serve,
        train_loop_config={"settings": settings},
        torch_config=TorchConfig(backend="cpu:gloo,cuda:nccl" if scaling.use_gpu else "gloo"),
        scaling_config=scaling,
        run_config=train.RunConfig(
            name=f"lane-{settings.lane}-{secrets.token_hex(4)}",
            storage_path=storage,
            failure_config=train.FailureConfig(max_failures=lives),
        ),
    )
