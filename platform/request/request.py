"""What a command asks for, checked as a whole before anything starts."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from deep_clustering.platform import registry
from deep_clustering.platform.data import catalogue
from deep_clustering.platform.data import dataset as data
from deep_clustering.platform.data.catalogue import CATALOGUE, Entry, ImageEntry, PointEntry
from deep_clustering.platform.data.dataset import (
    Dataset,
    ImageSet,
    PointSet,
    Progress,
    Source,
)
from deep_clustering.platform.data.pixels import view_side
from deep_clustering.platform.data.protocols import HELD_OUT
from deep_clustering.platform.errors import InputError, nearest
from deep_clustering.platform.request import configs
from deep_clustering.platform.request.jobs import Job, plan, pretraining


@dataclass(frozen=True, kw_only=True)
class Features:
    """The pretraining whose features are the points of a method that fits at once."""

    asked: str  # as it was asked for: a method, or the first letters of a stage's id
    stage: str | None = None  # id of one that the store has; else it is that of `pretraining`
    pretraining: Callable[[int], Job] | None = None  # seed of the run -> what it needs

    def of(self, seed: int) -> Job | str:
        """The stage that a run with this seed needs: to be computed if missing, or an id."""
        if self.pretraining is not None:
            return self.pretraining(seed)
        assert self.stage is not None
        return self.stage


@dataclass(frozen=True, kw_only=True)
class Request:
    """A method on a dataset with a complete configuration."""

    method: str
    record: Any  # the method's METHOD
    dataset: Dataset
    source: Source  # how a worker opens the dataset again
    config: Any
    layers: tuple[tuple[str, Mapping[str, Any]], ...]  # what was laid over the defaults, by name
    features: Features | None = None  # None: the method's own pretraining, or the data themselves

    def jobs(
        self, seeds: Iterable[int], config: Any = None, watch: tuple[str, ...] = ()
    ) -> list[Job]:
        """The runs of some seeds with the stages they need; the stages come first, once each."""
        found: dict[str, Job] = {}
        for seed in seeds:
            for job in plan(
                self.method,
                self.record,
                config or self.config,
                seed,
                self.dataset,
                self.source,
                watch,
                None if self.features is None else self.features.of(seed),
            ):
                found.setdefault(job.id, job)
        return sorted(found.values(), key=lambda j: j.kind == "run")

    def configure(self, changes: Mapping[str, Any]) -> Any:
        """This request's configuration with some fields changed, checked against the dataset."""
        config = configs.build(self.record.config, configs.flatten(self.config), changes)
        check_sizes(config, self.dataset)
        return config


def resolve(
    method: str,
    dataset: str,
    *,
    root: Path,
    sets: Iterable[str] = (),
    preset: str | None = None,
    protocol: str | None = None,
    side: int | None = None,
    skip_broken: bool = False,
    features: str | None = None,
    store: Any = None,
    progress: Progress | None = None,
    outline: bool = False,
) -> Request:
    """Check names and values together, prepare the dataset, and build the configuration.

    With `outline` a named dataset that is not here is neither downloaded nor decoded: sizes stand
    in for it, for saying what would run.

    Args:
        features: for a method that fits at once, the pretraining whose features it clusters: a
            method that has one (computed where it is missing, and shared by all who ask for it;
            `preset` and the fields `pretrain.*` of `sets` are then its own as well), or the first
            letters of a stage's id.
        store: where a stage named by its id is looked for.

    Raises:
        InputError: every mistake that can be seen without the images, together; then those of the
            images; then those of sizes that do not fit them.
    """
    asked = _check(method, dataset, root, list(sets), preset, protocol, features, store)
    source = Source(dataset, root, skip_broken=skip_broken, side=side, protocol=protocol)
    entry = asked.entry
    if outline and entry is not None and catalogue.status(entry, root).kind != "ready":
        prepared = data.outline(entry, protocol)
    else:
        prepared = data.open(source, progress)
    source = replace(source, spec=prepared.name)
    record = asked.record
    _suits(method, record, isinstance(prepared, PointSet), prepared.name)
    _scored(method, record, prepared.name, prepared.protocol)

    layers = _layers(record, prepared.name, _view(prepared), preset)
    layers.append(("dataset", _counted(record, prepared.classes) | _viewed(record, prepared)))
    if asked.chosen:
        layers.append(("--set", asked.chosen))
    takes_clusters = "clusters" in configs.fields(record.config)
    if takes_clusters and not any("clusters" in layer for _, layer in layers):
        raise InputError(
            f"clusters: the {prepared.noun} have no labels to count classes by; "
            "say how many clusters to find, for example --set clusters=10."
        )
    config = configs.build(record.config, *(layer for _, layer in layers))
    check_sizes(config, prepared)
    found = None
    if features is not None and asked.other is not None:
        found = _pretrained(features, asked.other, prepared, source, preset, asked.inner)
    elif features is not None:
        found = Features(asked=features, stage=_stage(features, store, prepared))
    return Request(
        method=method,
        record=record,
        dataset=prepared,
        source=source,
        config=config,
        layers=tuple(layers),
        features=found,
    )


@dataclass(frozen=True, kw_only=True)
class _Asked:
    """What names and values stand for, before any image is seen."""

    record: Any  # of the method
    other: Any  # of the method whose pretraining gives the features, None without one
    entry: Entry | None  # of a named dataset
    chosen: Mapping[str, Any]  # fields set of the method
    inner: Mapping[str, Any]  # and of the other's pretraining


def _check(
    method: str,
    dataset: str,
    root: Path,
    sets: list[str],
    preset: str | None,
    protocol: str | None,
    features: str | None,
    store: Any,
) -> _Asked:
    """Raises InputError with every mistake that can be seen without the images."""
    mistakes: list[str] = []
    record = _found(lambda: registry.method(method), mistakes)
    entry = CATALOGUE.get(dataset)
    if entry is None and not dataset.startswith(("folder:", "table:")):
        mistakes.append(
            f"there is no dataset '{dataset}'.{nearest(dataset, CATALOGUE)} Known: "
            f"{', '.join(CATALOGUE)}, folder:PATH, or table:PATH."
        )
    if record is None:
        raise InputError("\n".join(mistakes))
    other = None
    if features is not None:
        _found(lambda: _takes_features(method, record), mistakes)
        if features in registry.names():
            other = _found(lambda: _with_pretraining(features), mistakes)
        elif store is None:
            mistakes.append(_no_features(features, "and no store was given to look for its id in"))
    readings = [*record.readings, *(other.readings if other is not None else ())]
    if preset is not None and preset not in readings:
        mistakes.append(
            f"there is no preset '{preset}' of {method}.{nearest(preset, readings)} "
            f"Known: {', '.join(readings) or 'none'}."
        )
    theirs = [s for s in sets if other is not None and s.startswith("pretrain.")]
    mine = [s for s in sets if s not in theirs]
    chosen = _found(lambda: configs.parse(record.config, mine), mistakes) or {}
    inner: dict[str, Any] = {}
    if other is not None:
        inner = _found(lambda: configs.parse(other.config, theirs), mistakes) or {}
    if mistakes:
        raise InputError("\n".join(mistakes))
    if entry is not None:  # its values can be judged before any download
        _suits(method, record, isinstance(entry, PointEntry), entry.name)
        _scored(method, record, entry.name, protocol or entry.protocols[0])
        view = view_side(entry.side) if isinstance(entry, ImageEntry) else 0
        layers = [layer for _, layer in _layers(record, dataset, view, preset)]
        configs.build(record.config, *layers, _counted(record, entry.classes), chosen)
    return _Asked(record=record, other=other, entry=entry, chosen=chosen, inner=inner)


def _found(ask: Callable[[], Any], mistakes: list[str]) -> Any:
    """What `ask` returns, or None with its mistake noted."""
    try:
        return ask()
    except InputError as error:
        mistakes.append(str(error))
        return None


def _layers(
    record: Any, dataset: str, view: int, preset: str | None
) -> list[tuple[str, Mapping[str, Any]]]:
    reading = preset if preset in record.readings else None
    return list(record.layers(dataset, view, reading))


def _counted(record: Any, classes: int | None) -> dict[str, Any]:
    """The number of clusters by that of the classes, for methods that take it."""
    if classes is None or classes < 2 or "clusters" not in configs.fields(record.config):
        return {}
    return {"clusters": classes}


def _view(prepared: Dataset) -> int:
    """Side of what networks see, in pixels; 0 for vectors."""
    return prepared.view if isinstance(prepared, ImageSet) else 0


def _viewed(record: Any, prepared: Dataset) -> dict[str, Any]:
    """Networks see the centre of the stored square."""
    if record.build is None or not isinstance(prepared, ImageSet):
        return {}
    if prepared.view == prepared.images.shape[-1]:
        return {}
    return {"pretrain.side": prepared.view}


def _suits(method: str, record: Any, vectors: bool, name: str) -> None:
    """Raises InputError when a method that trains networks on images is to take vectors."""
    if vectors and record.fit is None:
        raise InputError(
            f"{name} has vectors, and {method} trains networks on images; "
            f"methods that take vectors: {', '.join(registry.at_once())}."
        )


def _scored(method: str, record: Any, name: str, protocol: str) -> None:
    """Raises InputError when a method that fits what is scored is to be trained on other images."""
    if record.fit is not None and protocol in HELD_OUT:
        entry = CATALOGUE.get(name)
        having = ("all", "train") if entry is None else entry.protocols
        others = [f"--protocol {p}" for p in having if p not in HELD_OUT]
        raise InputError(
            f"{method} fits the very images that are scored, and the protocol {protocol} of {name} "
            f"trains on others; say {' or '.join(others)}."
        )


def _takes_features(method: str, record: Any) -> None:
    if record.fit is None:
        raise InputError(
            f"{method} trains networks on images and takes no --features; methods that take "
            f"features: {', '.join(registry.at_once())}."
        )


def _with_pretraining(name: str) -> Any:
    record = registry.method(name)
    if record.pretrain is None:
        raise InputError(_no_features(name, "which has no pretraining"))
    return record


def _no_features(asked: str, why: str) -> str:
    having = [n for n in registry.names() if registry.method(n).pretrain is not None]
    return (
        f"--features: got '{asked}', {why}.{nearest(asked, having)} It is a method with a "
        f"pretraining ({', '.join(having)}) or the id of a stage (`platform results stages`)."
    )


def _pretrained(
    name: str,
    record: Any,
    prepared: Dataset,
    source: Source,
    preset: str | None,
    chosen: Mapping[str, Any],
) -> Features:
    """The features of a method's own pretraining on the dataset."""
    _suits(name, record, isinstance(prepared, PointSet), prepared.name)
    layers = [layer for _, layer in _layers(record, prepared.name, _view(prepared), preset)]
    config = configs.build(record.config, *layers, _viewed(record, prepared), chosen)
    check_sizes(config, prepared, only="pretrain.")
    return Features(
        asked=name,
        pretraining=lambda seed: pretraining(name, record, config, seed, prepared, source),
    )


def _stage(text: str, store: Any, prepared: Dataset) -> str:
    """The id of the finished pretraining that begins with `text`, on this very dataset."""
    known = sorted(i for i in store.stages() if i.startswith(text))
    known = [i for i in known if store.stage_row(i)["kind"] == "encoder"]
    if not known:
        raise InputError(_no_features(text, f"and {store.uri} has no pretraining that begins so"))
    if len(known) > 1:
        raise InputError(
            f"--features: '{text}' could be {', '.join(known[:3])}; give more letters."
        )
    row = store.stage_row(known[0])
    theirs = (row["dataset_fingerprint"], row["protocol"])
    if theirs != (prepared.fingerprint, prepared.protocol):
        raise InputError(
            f"--features: the pretraining {known[0]} is of {row['dataset']} with the protocol "
            f"{row['protocol']}, and {prepared.name} with {prepared.protocol} was asked for; "
            "choose a pretraining of the same images."
        )
    return known[0]


def check_sizes(config: Any, dataset: Dataset, only: str = "") -> None:
    """Relations between a configuration and the number of images.

    Args:
        only: check the fields that begin so.

    Raises:
        InputError: all that do not hold, together.
    """
    flat = configs.flatten(config)
    sizes = {
        "batch_size": (len(dataset.train), "images to train on"),
        "pretrain.batch_size": (len(dataset.pretrain), "images to pretrain on"),
        "clusters": (len(dataset.score), dataset.noun),
    }
    wrong = [
        f"{name}: needs at least {flat[name]} {of}, found {n}; "
        f"set a smaller one, for example --set {name}={max(2, n // 2)}"
        for name, (n, of) in sizes.items()
        if name.startswith(only) and name in flat and flat[name] > n
    ]
    if wrong:
        raise InputError("\n".join(wrong))
