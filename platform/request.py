"""What a command asks for, checked as a whole before anything starts."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from deep_clustering.platform import configs, datasets, registry
from deep_clustering.platform.errors import InputError, nearest
from deep_clustering.platform.jobs import Job, plan


@dataclass(frozen=True, kw_only=True)
class Request:
    """A method on a dataset with a complete configuration."""

    method: str
    record: Any  # the method's METHOD
    dataset: Any  # the prepared Dataset
    source: Mapping[str, Any]  # how a worker finds the dataset again
    config: Any
    layers: tuple[tuple[str, Mapping[str, Any]], ...]  # what was laid over the defaults, by name

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
    progress: Any = None,
    outline: bool = False,
) -> Request:
    """Check names and values together, prepare the dataset, and build the configuration.

    With `outline` a named dataset that is not here is neither downloaded nor decoded: sizes stand
    in for it, for saying what would run.

    Raises:
        InputError: every mistake that can be seen without the images, together; then those of the
            images; then those of sizes that do not fit them.
    """
    mistakes: list[str] = []
    record = None
    try:
        record = registry.method(method)
    except InputError as error:
        mistakes.append(str(error))
    if not dataset.startswith("folder:") and dataset not in datasets.known(root):
        known = list(datasets.known(root))
        mistakes.append(
            f"there is no dataset '{dataset}'.{nearest(dataset, known)} Known: "
            f"{', '.join(known)}, or folder:PATH."
        )
    chosen: dict[str, Any] = {}
    if record is not None:
        if preset is not None and preset not in record.readings:
            mistakes.append(
                f"there is no preset '{preset}' of {method}.{nearest(preset, record.readings)} "
                f"Known: {', '.join(record.readings)}."
            )
        try:
            chosen = configs.parse(record.config, sets)
        except InputError as error:
            mistakes.append(str(error))
        spec = datasets.known(root).get(dataset)
        if spec is not None and not mistakes:  # its values can be judged before any download
            layers = [layer for _, layer in record.layers(dataset, spec.view, preset)]
            configs.build(record.config, *layers, {"clusters": spec.classes}, chosen)
    if mistakes:
        raise InputError("\n".join(mistakes))
    assert record is not None

    source: dict[str, Any] = {"spec": dataset, "root": str(root)}
    source |= {"skip_broken": True} if skip_broken else {}
    source |= {"side": side} if side else {}
    source |= {"protocol": protocol} if protocol else {}
    rest = {k: v for k, v in source.items() if k not in ("spec", "root")}
    spec = datasets.known(root).get(dataset)
    if outline and spec is not None and spec.status != "ready":
        prepared = _outline(spec, protocol)
    else:
        prepared = datasets.prepare(dataset, root=root, progress=progress, **rest)
    source["spec"] = prepared.name

    layers = list(record.layers(prepared.name, prepared.view, preset))
    own: dict[str, Any] = {}
    if prepared.classes is not None and prepared.classes > 1:
        own["clusters"] = prepared.classes
    if prepared.view != prepared.images.shape[-1]:  # networks see the centre of the stored square
        own["pretrain.side"] = prepared.view
    layers.append(("dataset", own))
    if chosen:
        layers.append(("--set", chosen))
    if not any("clusters" in layer for _, layer in layers):
        raise InputError(
            "clusters: the images have no labels to count classes by; "
            "say how many clusters to find, for example --set clusters=10."
        )
    config = configs.build(record.config, *(layer for _, layer in layers))
    check_sizes(config, prepared)
    return Request(
        method=method,
        record=record,
        dataset=prepared,
        source=source,
        config=config,
        layers=tuple(layers),
    )


#: Begins the fingerprint of a dataset that is not here: no run of it is in any store.
NOT_HERE = "not here: "


def _outline(spec: Any, protocol: str | None) -> Any:
    """A dataset of the right sizes without its images."""
    count = spec.count or 1300 * spec.classes  # ImageNet has about 1,300 train images per class
    every = np.arange(count)
    return datasets.Dataset(
        name=spec.name,
        images=np.broadcast_to(np.uint8(0), (count, 3, spec.side, spec.side)),
        labels=np.broadcast_to(np.int64(0), (count,)),
        classes=spec.classes,
        class_names=None,
        fingerprint=NOT_HERE + spec.name,
        mean=spec.mean,
        std=spec.std,
        view=spec.view,
        protocol=protocol or spec.protocols[0],
        train=every,
        score=every,
        pretrain=every,
        paths=None,
        skipped=(),
        duplicates=0,
        notes=(),
    )


def check_sizes(config: Any, dataset: Any) -> None:
    """Relations between a configuration and the number of images.

    Raises:
        InputError: all that do not hold, together.
    """
    flat = configs.flatten(config)
    sizes = {
        "batch_size": (len(dataset.train), "images to train on"),
        "pretrain.batch_size": (len(dataset.pretrain), "images to pretrain on"),
        "clusters": (len(dataset.score), "images"),
    }
    wrong = [
        f"{name}: needs at least {flat[name]} {what}, found {n}; "
        f"set a smaller one, for example --set {name}={max(2, n // 2)}"
        for name, (n, what) in sizes.items()
        if name in flat and flat[name] > n
    ]
    if wrong:
        raise InputError("\n".join(wrong))
