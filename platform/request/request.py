"""What a command asks for, checked as a whole before anything starts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeVar

from deep_clustering.methods._method import Config, Method
from deep_clustering.platform import registry
from deep_clustering.platform.data import catalogue
from deep_clustering.platform.data import dataset as datasets
from deep_clustering.platform.data.catalogue import CATALOGUE, Entry, ImageEntry, PointEntry
from deep_clustering.platform.data.dataset import Dataset, ImageSet, PointSet, Progress, Source
from deep_clustering.platform.data.protocols import HELD_OUT
from deep_clustering.platform.data.sides import view_side
from deep_clustering.platform.encoders import names as encoders
from deep_clustering.platform.encoders.names import Encoder
from deep_clustering.platform.errors import InputError, nearest
from deep_clustering.platform.request import configs
from deep_clustering.platform.request._origins import (
    Origin,
    check_base,
    found_run,
    found_stage,
    known_of,
    no_features,
)
from deep_clustering.platform.request._precision import settled
from deep_clustering.platform.request.configs import Value
from deep_clustering.platform.request.jobs import (
    Given,
    Job,
    frozen,
    of_run,
    pretraining,
)
from deep_clustering.platform.request.options import Asked

if TYPE_CHECKING:
    from deep_clustering.platform.store.store import Store

T = TypeVar("T")
Layer = tuple[str, Mapping[str, Value]]


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """The runs that are asked for, and before them the work that they stand on, each job once."""

    runs: tuple[Job, ...]
    before: tuple[Job, ...] = ()

    @property
    def jobs(self) -> tuple[Job, ...]:
        """All jobs; what others stand on comes first."""
        return (*self.before, *self.runs)


def together(parts: Iterable[Wanted]) -> Wanted:
    """What several ask for, each job once; a run that somebody asks for is nobody's base."""
    parts = list(parts)
    runs = {job.id: job for part in parts for job in part.runs}
    before = {job.id: job for part in parts for job in part.before if job.id not in runs}
    return Wanted(runs=tuple(runs.values()), before=tuple(before.values()))


@dataclass(frozen=True, kw_only=True)
class Request:
    """A method on a dataset with a complete configuration.

    Attributes:
        method: registered name; `record` is its METHOD.
        asked: as a person wrote it.
        dataset: prepared; `source` is how a worker finds it again.
        layers: what was laid over the defaults, by name.
        features: whose features a method that fits at once clusters, None for the data themselves.
        base: the finished run that the method starts from, None for a method without one.
    """

    method: str
    record: Method
    asked: Asked
    dataset: Dataset
    source: Source
    config: Config
    layers: tuple[Layer, ...]
    features: Origin | None = None
    base: Origin | None = None

    def wanted(
        self, seeds: Iterable[int], config: Config | None = None, watch: tuple[str, ...] = ()
    ) -> Wanted:
        """The runs of some seeds.

        Args:
            seeds: non-negative.
            config: in place of this request's own.
            watch: metrics to compute at every epoch.
        """
        runs: dict[str, Job] = {}
        before: dict[str, Job] = {}
        for seed in seeds:
            given = Given(
                features=None if self.features is None else self.features.work(seed),
                base=None if self.base is None else self.base.work(seed),
            )
            *first, run = of_run(
                self.method,
                self.record,
                self.config if config is None else config,
                seed,
                self.dataset,
                self.source,
                watch,
                given,
            )
            runs.setdefault(run.id, run)
            for job in first:
                before.setdefault(job.id, job)
        return Wanted(runs=tuple(runs.values()), before=tuple(before.values()))

    def configure(self, changes: Mapping[str, Value]) -> Config:
        """This request's configuration with some fields changed, checked against the dataset."""
        kind, own = self.record.config, self.values
        config: Config = configs.build(kind, own, changes, settled(kind, own, changes))
        check_sizes(config, self.dataset, _part(self.asked))
        return config

    @cached_property
    def values(self) -> Mapping[str, Value]:
        """The configuration by dotted names of fields."""
        return configs.flatten(self.config)

    @property
    def follows(self) -> Mapping[str, Value]:
        """The fields that the base has changed."""
        return self._layer(BASED)

    @property
    def fixed(self) -> Mapping[str, Value]:
        """The fields that were set by hand."""
        return self._layer(BY_HAND)

    def _layer(self, wanted: str) -> Mapping[str, Value]:
        return next((layer for name, layer in self.layers if name == wanted), {})


#: Which named datasets are told by their sizes alone; those that are built in are never missing.
Outline = Literal["never", "missing", "always"]

#: Names of the layers of what follows from a base, and of fields that were set by hand.
BASED, BY_HAND = "--base", "--set"

#: The layer that gives each seed a pretraining of its own.
_ANEW: Layer = ("--replicate", {"pretrain.seed": None})


def pretrained(method: str, features: str | None = None, base: str | None = None) -> bool:
    """Whether runs of a method stand on a pretraining that can be drawn anew for each seed.

    Args:
        method: a registered name.
        features, base: as in `Asked`; the id of finished work is drawn already.
    """
    parts = (method, features, None if base is None else base_words(base)[0])
    known = [name for name in parts if name in registry.names()]
    return any(registry.method(name).pretrain is not None for name in known)


def base_words(text: str) -> tuple[str, tuple[str, ...]]:
    """What `--base` names, and the fields that are set behind it."""
    name, *sets = text.split() or [""]
    return name, tuple(sets)


def _outlined(entry: Entry, root: Path, outline: Outline) -> bool:
    """Whether a named dataset is told by its sizes alone."""
    if outline == "missing":
        return catalogue.status(entry, root).kind != "ready"
    return outline == "always"


def resolve(
    asked: Asked,
    *,
    root: Path,
    store: Store | None = None,
    progress: Progress | None = None,
    outline: Outline = "never",
) -> Request:
    """Check names and values together, prepare the dataset, and build the configuration.

    Args:
        root: where decoded images live.
        store: where a stage or a base run named by its id is looked for.
        progress: called with (done, total) while files are read.
        outline: which named datasets are neither downloaded nor decoded, for saying what would
            run: sizes stand in for those that are missing, or always for all.

    Raises:
        InputError: every mistake that can be seen without the images, together; then those of the
            images; then those of sizes that do not fit them.
    """
    names = _check(asked, store)
    record = names.record
    source = Source(
        asked.dataset,
        root,
        skip_broken=asked.skip_broken,
        side=asked.side,
        protocol=asked.protocol,
    )
    entry = names.entry
    if entry is not None and _outlined(entry, root, outline):
        prepared = datasets.outline(entry, asked.protocol)
    else:
        prepared = datasets.open(source, progress)
    source = replace(source, spec=prepared.name)
    _suits(asked.method, record, isinstance(prepared, PointSet), prepared.name)
    _scored(asked, record, prepared.name, prepared.protocol)
    layers = _layers(record, prepared.name, _view(prepared), asked.preset)
    layers.append(("dataset", _counted(record, prepared.classes) | _viewed(record, prepared)))
    if asked.replicate == "pretraining" and "pretrain.seed" in configs.fields(record.config):
        layers.append(_ANEW)
    base = None if asked.base is None else _base(asked, prepared, root, store, names.chosen)
    if base is not None:
        layers.append((BASED, _follows(base, record, layers, names.chosen)))
    if names.chosen:
        layers.append((BY_HAND, names.chosen))
    takes_clusters = "clusters" in configs.fields(record.config)
    counted = any("clusters" in layer for _, layer in layers)
    counted = counted or (base is not None and "clusters" in base.known)
    if takes_clusters and not counted:
        raise InputError(
            f"clusters: the {prepared.noun} have no labels to count classes by; "
            "say how many clusters to find, for example --set clusters=10."
        )
    if names.encoder is not None and record.on_features is not None:
        changes = record.on_features.changes(configs.merged(record.config, *layers))
        layers.insert(len(layers) - bool(names.chosen), ("frozen encoder", changes))
    layers.append(("this CPU", settled(record.config, *(layer for _, layer in layers))))
    config: Config = configs.build(record.config, *(layer for _, layer in layers))
    check_sizes(config, prepared, _part(asked))
    return Request(
        method=asked.method,
        record=record,
        asked=asked,
        dataset=prepared,
        source=source,
        config=config,
        layers=tuple(layers),
        features=_features(asked, names, prepared, source, store),
        base=base,
    )


@dataclass(frozen=True, kw_only=True)
class _Names:
    """What names and values stand for, before any image is seen."""

    record: Method
    other: Method | None  # whose pretraining gives the features
    encoder: Encoder | None  # a frozen one that gives them
    entry: Entry | None  # of a named dataset
    chosen: Mapping[str, Value]  # fields set of the method
    inner: Mapping[str, Value]  # and of the other's pretraining


def _check(asked: Asked, store: Store | None) -> _Names:
    """Raises InputError with every mistake that can be seen without the images."""
    mistakes: list[str] = []
    method, features = asked.method, asked.features
    record = _noted(lambda: registry.method(method), mistakes)
    entry = CATALOGUE.get(asked.dataset)
    if entry is None and not asked.dataset.startswith(("folder:", "table:")):
        mistakes.append(datasets.unknown(asked.dataset))
    if record is None:
        raise InputError("\n".join(mistakes))
    other = None
    if features is not None:
        _noted(lambda: _takes_features(method, record, "features"), mistakes)
        if features in registry.names():
            other = _noted(lambda: _with_pretraining(features), mistakes)
        elif store is None:
            mistakes.append(no_features(features, "and no store was given to look for its id in"))
    encoder = _noted(lambda: _encoder(asked, record), mistakes)
    _noted(lambda: check_base(method, record, asked.base), mistakes)
    _noted(lambda: _replicates(asked), mistakes)
    readings = [*record.readings, *(other.readings if other is not None else ())]
    if asked.preset is not None and asked.preset not in readings:
        mistakes.append(
            f"there is no preset '{asked.preset}' of {method}.{nearest(asked.preset, readings)} "
            f"Known: {', '.join(readings) or 'none'}."
        )
    theirs = [s for s in asked.sets if other is not None and s.startswith("pretrain.")]
    mine = [s for s in asked.sets if s not in theirs]
    chosen = _noted(lambda: configs.parse(record.config, mine), mistakes) or {}
    inner: dict[str, Value] = {}
    if other is not None:
        inner = _noted(lambda: configs.parse(other.config, theirs), mistakes) or {}
    if mistakes:
        raise InputError("\n".join(mistakes))
    if entry is not None:  # its values can be judged before any download
        _suits(method, record, isinstance(entry, PointEntry), entry.name)
        _scored(asked, record, entry.name, asked.protocol or entry.protocols[0])
        view = view_side(entry.side) if isinstance(entry, ImageEntry) else 0
        layers = [layer for _, layer in _layers(record, asked.dataset, view, asked.preset)]
        configs.build(record.config, *layers, _counted(record, entry.classes), chosen)
    return _Names(
        record=record, other=other, encoder=encoder, entry=entry, chosen=chosen, inner=inner
    )


def _replicates(asked: Asked) -> None:
    """Raises InputError where --replicate has nothing to work on, or contradicts --set."""
    if asked.replicate is None:
        return
    if asked.encoder is not None or not pretrained(asked.method, asked.features, asked.base):
        raise InputError(
            f"--replicate says whether each seed has a pretraining of its own, and there is none "
            f"to draw here: {asked.method} has no pretraining, or a frozen encoder in its place, "
            "nor do --features or --base name a method that has one; leave it out."
        )
    by_hand = next((s for s in asked.sets if s.partition("=")[0] == "pretrain.seed"), None)
    none = by_hand is not None and by_hand.partition("=")[2].strip().lower() == "none"
    if by_hand is not None and none != (asked.replicate == "pretraining"):
        raise InputError(
            f"--replicate {asked.replicate} and --set {by_hand} contradict each other; leave one "
            "of them out."
        )


def _noted(ask: Callable[[], T], mistakes: list[str]) -> T | None:
    """What `ask` returns, or None with its mistake noted."""
    try:
        return ask()
    except InputError as error:
        mistakes.append(str(error))
        return None


def _layers(record: Method, dataset: str, view: int, preset: str | None) -> list[Layer]:
    reading = preset if preset in record.readings else None
    return list(record.layers(dataset, view, reading))


def _view(prepared: Dataset) -> int:
    """The side that networks see, pixels; 0 for vectors."""
    return prepared.view if isinstance(prepared, ImageSet) else 0


def _counted(record: Method, classes: int | None) -> dict[str, Value]:
    """The number of clusters by that of the classes, for methods that take it."""
    if classes is None or classes < 2 or "clusters" not in configs.fields(record.config):
        return {}
    return {"clusters": classes}


def _viewed(record: Method, prepared: Dataset) -> dict[str, Value]:
    """What networks see of whole pictures."""
    if not isinstance(prepared, ImageSet) or prepared.enlargement is None:
        return {}
    seen: dict[str, Value] = {"side": prepared.view, "enlargement": prepared.enlargement}
    fields = configs.fields(record.config)
    return {
        front + name: value
        for name, value in seen.items()
        for front in ("pretrain.", "")
        if front + name in fields
    }


def _suits(method: str, record: Method, vectors: bool, name: str) -> None:
    """Raises InputError when a method that trains networks on images is to take vectors."""
    if vectors and record.fit is None:
        raise InputError(
            f"{name} has vectors, and {method} trains networks on images; "
            f"methods that take vectors: {', '.join(registry.at_once())}."
        )


def _scored(asked: Asked, record: Method, name: str, protocol: str) -> None:
    """Raises InputError when a method that fits what is scored is to be trained on other images."""
    if (record.fit is not None or asked.encoder is not None) and protocol in HELD_OUT:
        entry = CATALOGUE.get(name)
        having = ("all", "train") if entry is None else entry.protocols
        others = [f"--protocol {p}" for p in having if p not in HELD_OUT]
        raise InputError(
            f"{_fitting(asked)} fits the very images that are scored, and the protocol {protocol} "
            f"of {name} trains on others; say {' or '.join(others)}."
        )


#: Which fields count: all, those of a pretraining, or those of the method itself.
Part = Literal["all", "pretraining", "own"]


def check_sizes(config: Config, dataset: Dataset, part: Part = "all") -> None:
    """Relations between a configuration and the number of images.

    Args:
        part: the fields that are checked.

    Raises:
        InputError: all that do not hold, together.
    """
    flat = configs.flatten(config)
    sizes = {
        "batch_size": (len(dataset.train), "images to train on"),
        "self_label_batch_size": (len(dataset.train), "images to train on"),
        "pretrain.batch_size": (len(dataset.pretrain), "images to pretrain on"),
        "clusters": (len(dataset.score), dataset.noun),
    }
    wrong = []
    for name, (n, of) in sizes.items():
        value = flat.get(name)
        inner = name.startswith("pretrain.")
        if part != "all" and inner != (part == "pretraining"):
            continue
        if isinstance(value, int) and value > n:
            wrong.append(
                f"{name}: needs at least {value} {of}, found {n}; "
                f"set a smaller one, for example{_smaller(config, name, max(2, n // 2))}"
            )
    clusters = flat.get("clusters")
    if isinstance(clusters, int) and dataset.different < clusters <= len(dataset.score):
        wrong.append(
            f"clusters: needs at least {clusters} {dataset.noun} that differ, found "
            f"{dataset.different}; the others repeat them value by value"
        )
    if wrong:
        raise InputError("\n".join(wrong))


def _smaller(config: Config, name: str, most: int) -> str:
    """Options that make a field at most so large, and what its rules tie to it smaller with it."""
    flat = configs.flatten(config)
    of = flat[name]
    assert isinstance(of, int)
    for size in range(most, 1, -1):
        tied = configs.broken(type(config), flat | {name: size})
        counts = {field: value for field in tied if isinstance(value := flat[field], int)}
        if "clusters" in tied or len(counts) < len(tied):
            break
        changed = {name: size} | {field: value * size // of for field, value in counts.items()}
        if not configs.broken(type(config), flat | changed):
            return "".join(f" --set {field}={value}" for field, value in changed.items())
    return f" --set {name}={most}"


def _fitting(asked: Asked) -> str:
    return asked.method if asked.encoder is None else f"{asked.method} on a frozen encoder"


# ---- features that a method clusters


def _part(asked: Asked) -> Part:
    """A frozen encoder stands in place of the pretraining, whose fields play no part then."""
    return "all" if asked.encoder is None else "own"


def _features(
    asked: Asked, names: _Names, prepared: Dataset, source: Source, store: Store | None
) -> Origin | None:
    """What is clustered in place of the data themselves, None for these."""
    if names.encoder is not None:
        return _frozen(names.encoder, prepared, source)
    if asked.features is None:
        return None
    if names.other is not None:
        return _pretrained(asked, names.other, prepared, source, names.inner)
    assert store is not None
    stage = found_stage(asked.features, store, prepared)
    return Origin(asked=asked.features, id=stage, work=lambda _: stage)


def _takes_features(method: str, record: Method, option: str) -> None:
    if record.fit is None:
        raise InputError(
            f"{method} trains networks on images and takes no --{option}; methods that take "
            f"features: {', '.join(_having(option))}."
        )


def _encoder(asked: Asked, record: Method) -> Encoder | None:
    """The frozen encoder that was asked for."""
    if asked.encoder is None:
        if asked.architecture is not None:
            raise InputError("--architecture belongs to --encoder FILE; say which file.")
        return None
    if record.on_features is None:
        _takes_features(asked.method, record, "encoder")
    if asked.features is not None:
        raise InputError("--encoder and --features both say what is clustered; give one of them.")
    return encoders.find(asked.encoder, asked.architecture)


def _frozen(encoder: Encoder, prepared: Dataset, source: Source) -> Origin:
    """The features of a frozen encoder."""
    if isinstance(prepared, PointSet):
        raise InputError(f"{prepared.name} has vectors, and an encoder takes images; leave it out.")
    stage = frozen(encoder, prepared, source)
    return Origin(asked=encoder.name, id=stage.id, work=lambda _: (stage,))


def _with_pretraining(name: str) -> Method:
    record = registry.method(name)
    if record.pretrain is None:
        raise InputError(no_features(name, "which has no pretraining"))
    return record


def _pretrained(
    asked: Asked, record: Method, prepared: Dataset, source: Source, chosen: Mapping[str, Value]
) -> Origin:
    """The features of a method's own pretraining on the dataset."""
    name = asked.features
    assert name is not None
    _suits(name, record, isinstance(prepared, PointSet), prepared.name)
    layers = [x for _, x in _layers(record, prepared.name, _view(prepared), asked.preset)]
    if asked.replicate == "pretraining":
        layers.append(_ANEW[1])
    layers += [_viewed(record, prepared), chosen]
    config: Config = configs.build(record.config, *layers, settled(record.config, *layers))
    check_sizes(config, prepared, "pretraining")
    return Origin(
        asked=name,
        work=lambda seed: (pretraining(name, record, config, seed, prepared, source),),
    )


def _having(option: str) -> list[str]:
    """The methods that take features by an option."""
    heads = [n for n in registry.names() if registry.method(n).on_features is not None]
    return sorted([*registry.at_once(), *(heads if option == "encoder" else [])])


# ---- a run that a method starts from


def _base(
    asked: Asked,
    prepared: Dataset,
    root: Path,
    store: Store | None,
    by_hand: Mapping[str, Value],
) -> Origin:
    """The base run: by method, or the one in the store whose id begins with what was asked for.

    A method is given the number of clusters that was set `by_hand`, unless it has its own.
    """
    text = asked.base
    assert text is not None
    name, sets = base_words(text)
    if name in registry.names():
        takes = "clusters" in by_hand and "clusters" in configs.fields(registry.method(name).config)
        if takes and not any(item.startswith("clusters=") for item in sets):
            sets = (*sets, f"clusters={by_hand['clusters']}")
        plain = Asked(
            method=name,
            sets=sets,
            dataset=asked.dataset,
            protocol=asked.protocol,
            replicate=asked.replicate if pretrained(name) else None,
            side=asked.side,
            skip_broken=asked.skip_broken,
        )
        outline: Outline = "never" if prepared.here else "always"
        try:
            request = resolve(plain, root=root, store=store, outline=outline)
        except InputError as error:
            raise InputError(f"--base {name}: {error}") from error
        return Origin(
            asked=text,
            work=lambda seed: request.wanted([seed]).jobs,
            known=known_of(request.record, request.values),
        )
    return found_run(text, store, prepared)


def _follows(
    base: Origin, record: Method, layers: list[Layer], by_hand: Mapping[str, Value]
) -> dict[str, Value]:
    """What a base changes in the fields of a method that starts from it."""
    assert record.base is not None
    try:
        changes = record.base.changes(base.known, by_hand)
    except ValueError as error:
        raise InputError(f"--base {base.asked}: {error}") from error
    before = configs.merged(record.config, *layers)
    return {n: v for n, v in changes.items() if n in before and v != before[n]}
