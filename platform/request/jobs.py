"""What can be computed: runs and the stages they share, each addressed by what decides its outcome.

A job is plain JSON, so that it travels to any worker and into any file. Its id is the hash of its
`identity`; everything else in it (paths, names, how often to evaluate) is cosmetic.
"""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from deep_clustering.platform.data.dataset import Dataset, Source
from deep_clustering.platform.request import configs

#: Nearest neighbours kept with the shared features, for the label-free criteria (SCAN uses 20).
NEIGHBOURS = 20


@dataclass(frozen=True, kw_only=True)
class Job:
    """One unit of work: `kind` is "run" or "encoder"."""

    id: str
    kind: str
    identity: Mapping[str, Any]
    source: Source  # where its samples are; cosmetic
    needs: tuple[str, ...] = ()
    epochs: int = 0
    watch: tuple[str, ...] = ()  # metrics that a scheduler wants at every epoch; cosmetic

    def as_json(self) -> dict[str, Any]:
        """A plain dictionary; `from_json` is its inverse."""
        return {**dataclasses.asdict(self), "source": self.source.as_json()}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "Job":
        """The job of a dictionary made by `as_json`."""
        own = {
            "source": Source.from_json(value["source"]),
            "needs": tuple(value["needs"]),
            "watch": tuple(value["watch"]),
        }
        return cls(**{**value, **own})


def _job(kind: str, identity: dict[str, Any], **rest: Any) -> Job:
    return Job(id=configs.digest({"kind": kind, **identity}), kind=kind, identity=identity, **rest)


def plan(
    name: str,
    method: Any,
    config: Any,
    seed: int,
    dataset: Dataset,
    source: Source,
    watch: tuple[str, ...] = (),
    features: "Job | str | None" = None,
) -> list[Job]:
    """The jobs of one run: the stages it needs, then the run itself, last.

    Args:
        name: registered name of the method; `method` is its record.
        config: the method's complete configuration.
        seed: of the run, non-negative.
        dataset: whose samples are trained on and scored.
        source: how a worker opens the dataset again.
        watch: metrics to compute at every epoch.
        features: for a method that fits at once: the pretraining whose features are its points, or
            the id of one that the store has; None: the images themselves.
    """
    data = {"dataset": dataset.fingerprint, "protocol": dataset.protocol}
    flat = configs.flatten(config)
    if method.pretrain is not None:
        features = pretraining(name, method, config, seed, dataset, source)
    stages = [features] if isinstance(features, Job) else []
    stage = features.id if isinstance(features, Job) else features
    run = _job(
        "run",
        {
            "method": name,
            "version": method.version,
            "config": flat,
            "seed": seed,
            "stage": stage,
            **data,
        },
        needs=() if stage is None else (stage,),
        source=source,
        epochs=1 if method.fit is not None else config.epochs,
        watch=watch,
    )
    return [*stages, run]


def pretraining(
    name: str, method: Any, config: Any, seed: int, dataset: Dataset, source: Source
) -> Job:
    """The pretraining of a run of a method that has one; arguments as in `plan`."""
    pretrain = configs.flatten(config.pretrain)
    # Seed None means the run's own seed: then every seed has a pretraining of its own.
    own = seed if pretrain.get("seed") is None else pretrain["seed"]
    return _job(
        "encoder",
        {
            "method": name,
            "version": method.version,
            "config": pretrain,
            "seed": own,
            "dataset": dataset.fingerprint,
            "protocol": dataset.protocol,
        },
        source=source,
        epochs=config.pretrain.epochs,
    )
