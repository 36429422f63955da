"""Jobs: units of work, each named by a hash of what decides its outcome.

A job may stand on any other work: a stage, a run, an evaluation of a run. It names what it needs by
id. An id is a hash that contains the ids of what the work needs, so that no cycle is possible.
"""

import dataclasses
import typing
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

from deep_clustering.methods._method import (
    Base,
    CachedView,
    Config,
    Method,
    Neighbours,
    Pretrain,
    TrainedConfig,
)
from deep_clustering.platform.data.dataset import Dataset, ImageSet, Source
from deep_clustering.platform.encoders import weights
from deep_clustering.platform.encoders.names import Encoder
from deep_clustering.platform.request import configs
from deep_clustering.platform.request.configs import Value

#: Nearest neighbours kept with the shared features, for the label-free criteria (SCAN uses 20).
NEIGHBOURS = 20

#: Name under which a method that fits at once is given features.
FEATURES = "features"

#: Raised when a change alters what these stages hold; part of their ids.
_FROZEN_VERSION = 1
_VIEW_VERSION = 1
_NEIGHBOURS_VERSION = 1
_OUTPUTS_VERSION = 2

#: Kinds of work, and the word for each in a sentence. All others are evaluations, by their name.
RUN, ENCODER, FROZEN, LIST, OUTPUTS = "run", "encoder", "frozen", "neighbours", "outputs"
VIEW = "view"
WORDS = {
    RUN: "run",
    ENCODER: "pretraining",
    FROZEN: "encoder",
    VIEW: "view by the encoder",
    LIST: "list of neighbours",
    OUTPUTS: "base's outputs",
}


@dataclass(frozen=True, kw_only=True)
class Job:
    """One unit of work.

    Attributes:
        id: hash of what decides the outcome.
        kind: "run", a kind of stage, or the name of an evaluation.
        method: registered name; of an evaluation and of a run's outputs, that of the run; of the
            features of a frozen encoder, the encoder's.
        version: declared by what computes it.
        config: flat configuration, dotted names.
        seed: non-negative.
        dataset: fingerprint.
        protocol: which images are trained on and scored.
        needs: name -> id of the work that has to be finished first.
        source: where the images are; plays no part in the id.
        epochs: of training, 0 where there is none.
        watch: metrics that a scheduler wants at every epoch; plays no part in the id.
    """

    id: str
    kind: str
    method: str
    version: int
    config: Mapping[str, Value]
    seed: int
    dataset: str
    protocol: str
    source: Source
    needs: Mapping[str, str] = field(default_factory=dict)
    epochs: int = 0
    watch: tuple[str, ...] = ()

    @property
    def is_stage(self) -> bool:
        """Whether it is neither a run nor an evaluation: work that others stand on."""
        return self.kind in WORDS and self.kind != RUN

    @property
    def stage(self) -> str | None:
        """The pretraining that it stands on, or the stage whose features it clusters."""
        return next((i for name, i in self.needs.items() if name in _STARTS), None)

    def as_json(self) -> dict[str, Value]:
        """A plain dictionary, of which `from_json` makes an equal job."""
        plain = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        return {**plain, "source": self.source.as_json(), "watch": list(self.watch)}

    @classmethod
    def from_json(cls, value: Mapping[str, Value]) -> "Job":
        """The job of a dictionary made by `as_json`."""
        plain = dict(value)
        source, watch = plain.pop("source"), plain.pop("watch")
        assert isinstance(source, Mapping)
        assert isinstance(watch, list)
        return cls(**plain, source=Source.from_json(source), watch=tuple(watch))  # type: ignore[arg-type]


def stages_at_once(jobs: Iterable[Job]) -> int:
    """How many stages could be computed side by side: those of the kind that has the most."""
    return max(Counter(job.kind for job in jobs if job.is_stage).values(), default=0)


def at_once(jobs: Collection[Job]) -> int:
    """How many jobs could be computed side by side at first: those that stand on none of these."""
    ids = {job.id for job in jobs}
    return sum(ids.isdisjoint(job.needs.values()) for job in jobs)


#: Names of the needs that give features: column `stage_id` of a run.
_STARTS = ("encoder_state", FEATURES)


def _id(kind: str, identity: Mapping[str, Value]) -> str:
    return configs.digest({"kind": kind, **identity})


#: Jobs, of which the last one is stood on and the others come first; or the id of finished work.
Work = tuple[Job, ...] | str


@dataclass(frozen=True, kw_only=True)
class Given:
    """What a run is to stand on that its configuration does not say.

    Attributes:
        features: for a method that fits at once: the pretraining or the frozen encoder whose
            features are its points; for one that trains heads on them, the frozen encoder.
        base: for a method that starts from a finished run: that run.
    """

    features: Work | None = None
    base: Work | None = None


def of_run(
    name: str,
    method: Method,
    config: Config,
    seed: int,
    dataset: Dataset,
    source: Source,
    watch: tuple[str, ...] = (),
    given: Given | None = None,
) -> list[Job]:
    """The jobs of one run: the work that it stands on, then the run itself, last.

    Args:
        name: registered name of the method; `method` is its record.
        config: the method's complete configuration.
        seed: of the run, non-negative.
        dataset: prepared.
        source: how a worker finds the dataset again.
        watch: metrics to compute at every epoch.
        given: what it stands on that its configuration does not say.
    """
    flat = configs.flatten(config)
    own = configs.told_apart(config, flat)
    before: list[Job] = []
    needs: dict[str, str] = {}
    if given is not None and given.features is not None:
        needs[FEATURES] = _stand_on(given.features, before)
        if method.on_features is not None:
            assert isinstance(dataset, ImageSet)
            for asked in method.on_features.views(config, dataset.view):
                needs[asked.name] = _stand_on((view(before[0], asked),), before)
    for need in method.needs:
        if isinstance(need, Pretrain) and FEATURES in needs:
            continue  # a frozen encoder stands in its place
        if isinstance(need, Pretrain):
            start = _pretraining(name, method, flat, own, seed, dataset, source)
            needs[need.name] = _stand_on((start,), before)
        elif isinstance(need, Neighbours):
            start = next(job for job in before if job.kind == ENCODER)
            needs[need.name] = _stand_on((neighbours(start, need, flat),), before)
        elif isinstance(need, Base):
            assert given is not None
            assert given.base is not None
            needs[need.name] = _stand_on(_outputs(given.base, dataset, source), before)
    stage = next((i for n, i in needs.items() if n in _STARTS), None)
    rest: dict[str, Value] = {n: i for n, i in needs.items() if n not in _STARTS}
    identity: dict[str, Value] = {
        "method": name,
        "version": method.version,
        "config": own,
        "seed": seed,
        "stage": stage,
        "dataset": dataset.fingerprint,
        "protocol": dataset.protocol,
        **({"needs": rest} if rest else {}),
    }
    epochs = 1 if method.fit is not None else typing.cast(TrainedConfig, config).epochs
    run = Job(
        id=_id(RUN, identity),
        kind=RUN,
        method=name,
        version=method.version,
        config=flat,
        seed=seed,
        dataset=dataset.fingerprint,
        protocol=dataset.protocol,
        source=source,
        needs=needs,
        epochs=epochs,
        watch=watch,
    )
    return [*before, run]


def _stand_on(work: Work, before: list[Job]) -> str:
    """The id of what is needed; jobs are done before."""
    if isinstance(work, str):
        return work
    before.extend(job for job in work if job not in before)
    return work[-1].id


def pretraining(
    name: str, method: Method, config: Config, seed: int, dataset: Dataset, source: Source
) -> Job:
    """The pretraining of a run of a method that has one; arguments as in `of_run`."""
    flat = configs.flatten(config)
    own = configs.told_apart(config, flat)
    return _pretraining(name, method, flat, own, seed, dataset, source)


def _pretraining(
    name: str,
    method: Method,
    flat: Mapping[str, Value],
    own: Mapping[str, Value],
    seed: int,
    dataset: Dataset,
    source: Source,
) -> Job:
    """See `pretraining`; of the configuration its values, and what of them tells runs apart."""
    values = _pretrain(flat)
    # Seed None means the run's own seed: then every seed has a pretraining of its own.
    fixed, epochs = values.get("seed"), values["epochs"]
    assert fixed is None or isinstance(fixed, int)
    assert isinstance(epochs, int)
    used = seed if fixed is None else fixed
    identity: dict[str, Value] = {
        "method": name,
        "version": method.version,
        "config": _pretrain(own),
        "seed": used,
        "dataset": dataset.fingerprint,
        "protocol": dataset.protocol,
    }
    return Job(
        id=_id(ENCODER, identity),
        kind=ENCODER,
        method=name,
        version=method.version,
        config=values,
        seed=used,
        dataset=dataset.fingerprint,
        protocol=dataset.protocol,
        source=source,
        epochs=epochs,
    )


def _pretrain(flat: Mapping[str, Value]) -> dict[str, Value]:
    """The fields of a pretraining, without the prefix."""
    return {k.removeprefix("pretrain."): v for k, v in flat.items() if k.startswith("pretrain.")}


def frozen(encoder: Encoder, dataset: Dataset, source: Source) -> Job:
    """The features of the scored images by a frozen encoder."""
    identity: dict[str, Value] = {
        "version": _FROZEN_VERSION,
        "weights": weights.identity(encoder),
        "architecture": encoder.architecture,
        "view": [encoder.side, list(encoder.mean), list(encoder.std)],
        "dataset": dataset.fingerprint,
        "protocol": dataset.protocol,
    }
    return Job(
        id=_id(FROZEN, identity),
        kind=FROZEN,
        method=encoder.name,
        version=_FROZEN_VERSION,
        config={**encoder.as_config(), "weights": identity["weights"]},
        seed=0,
        dataset=dataset.fingerprint,
        protocol=dataset.protocol,
        source=source,
        epochs=1,
    )


def view(start: Job, asked: CachedView) -> Job:
    """The features of one random view of the scored images by a frozen encoder.

    Args:
        start: the job of that encoder's features.
        asked: the view.
    """
    plain: dict[str, Value] = {
        f"view.{name}": value for name, value in dataclasses.asdict(asked).items()
    }
    identity: dict[str, Value] = {"version": _VIEW_VERSION, "features": start.id, "view": plain}
    return dataclasses.replace(
        start,
        id=_id(VIEW, identity),
        kind=VIEW,
        version=_VIEW_VERSION,
        config={**start.config, **plain},
    )


def neighbours(start: Job, need: Neighbours, config: Mapping[str, Value]) -> Job:
    """The list of neighbours of some images by the features of a pretraining.

    Args:
        start: the pretraining.
        need: whose neighbours, and which field of `config` says how many.
    """
    asked: dict[str, Value] = {"images": need.images, "count": config[need.count]}
    identity: dict[str, Value] = {
        "version": _NEIGHBOURS_VERSION,
        "config": asked,
        "stage": start.id,
        "dataset": start.dataset,
        "protocol": start.protocol,
    }
    return dataclasses.replace(
        start,
        id=_id(LIST, identity),
        kind=LIST,
        version=_NEIGHBOURS_VERSION,
        # What the pretraining was made with goes along, for restoring its encoder.
        config={**asked, **{f"pretrain.{k}": v for k, v in start.config.items()}},
        needs={"encoder_state": start.id},
        epochs=0,
    )


def _outputs(base: Work, dataset: Dataset, source: Source) -> Work:
    """What a base run says about all images of the dataset that are trained on or scored."""
    before, run = ((), None) if isinstance(base, str) else (base, base[-1])
    id = base if isinstance(base, str) else base[-1].id
    return (
        *before,
        Job(
            id=_id(OUTPUTS, {"version": _OUTPUTS_VERSION, "run": id}),
            kind=OUTPUTS,
            method="" if run is None else run.method,
            version=_OUTPUTS_VERSION,
            config={},
            seed=0 if run is None else run.seed,
            dataset=dataset.fingerprint,
            protocol=dataset.protocol,
            source=source,
            needs={"run": id},
        ),
    )


def of_evaluation(
    name: str,
    *,
    run: str,
    version: int,
    identity: Mapping[str, Value],
    config: Mapping[str, Value],
    method: str,
    seed: int,
    dataset: str,
    protocol: str,
    source: Source,
) -> Job:
    """The evaluation of a run.

    Args:
        name: of the evaluation.
        run: id.
        version: declared by the evaluation.
        identity: what decides the outcome besides these two.
        config: what it needs to know; plays no part in the id.
        method, seed, dataset, protocol, source: of the run.
    """
    return Job(
        id=_id(name, {**identity, "run": run, "version": version}),
        kind=name,
        method=method,
        version=version,
        config=config,
        seed=seed,
        dataset=dataset,
        protocol=protocol,
        source=source,
        needs={"run": run},
    )
