"""What a method file hands to the platform: one frozen record, and what it builds.

The record of a method is the last name of its file, `METHOD`. It has one of two shapes: networks
that are trained epoch by epoch on images (`build`), or an algorithm that fits all points at once
(`fit`). Nothing here knows a method.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from torch import Tensor


class Trainable(Protocol):
    """Something trained one global batch at a time; all its randomness comes from its seed.

    `epochs` and `batch_size` (images of a global batch over all ranks) are what the loop outside
    needs. `initialise` runs once before the first epoch, and not when a state is loaded. `step`
    takes the indices (B,) of a global batch, the same on every rank, and returns 0-d tensors under
    the same names every time, without waiting for the device. `state` is flat and complete: a
    trainable that loads it continues as if nothing had happened.
    """

    @property
    def epochs(self) -> int: ...

    @property
    def batch_size(self) -> int: ...

    def initialise(self) -> dict[str, float]: ...

    def step(self, indices: Tensor) -> dict[str, Tensor]: ...

    def state(self) -> dict[str, Tensor]: ...

    def load_state(self, state: Mapping[str, Tensor]) -> None: ...


@dataclass(frozen=True, kw_only=True)
class Pretrain:
    """A stage that makes an encoder, shared by all runs whose `config.pretrain` is the same.

    `build(config.pretrain, *, images, replicas, seed, index=None)` returns a `Trainable` that also
    has `encoder_state() -> dict[str, Tensor]`. The seed is the run's; a configuration with a seed
    of its own does not use it. `index` (n,): the images trained on, None for all; its length sets
    the steps of an epoch (`n // batch_size`) and with them the learning-rate schedule.
    """

    summary: str
    config: type
    build: Callable[..., Any]


@dataclass(frozen=True, kw_only=True)
class Fitted:
    """What `Method.fit` finds.

    Attributes:
        labels: (n,) int64 cluster of each point, from 0.
        probabilities: (n, K) float64, rows summing to 1, whose largest entries are `labels`; None
            from a method that gives none.
        info: numbers to keep with the result, such as "sweeps" and "objective".
        seconds: of the algorithm alone, without imports and compilation; None leaves it to the
            caller's clock.
    """

    labels: np.ndarray
    probabilities: np.ndarray | None = None
    info: Mapping[str, float] = field(default_factory=dict)
    seconds: float | None = None


@dataclass(frozen=True, kw_only=True)
class Difference:
    """One point on which a paper and its released code differ, and which one is the default here.

    `field` names the configuration field that chooses (dotted), None where none does.
    """

    topic: str
    paper: str
    release: str
    default: str
    field: str | None = None


@dataclass(frozen=True, kw_only=True)
class Method:
    """A method as the platform sees it: exactly one of `build` and `fit`.

    Attributes:
        summary: one line.
        citation: of the paper.
        version: raised when a change alters results; part of the run id.
        config: the dataclass of its configuration.
        build: `build(config, *, images, replicas, seed, encoder_state, index=None)` returns a
            `Trainable` that also has `predict`, `features`, `heads`, `final_head` and
            `model_state`. `index` (n,) is as in `Pretrain`: the images trained on, None for all.
        restore: `restore(config, model_state, *, images, replicas)`: the same for prediction only.
        fit: `fit(config, points, seed)` returns a `Fitted`. `points`: float32 (n, d), which it
            does not change; all randomness comes from the seed, and the order of columns plays
            no part beyond rounding. Raises ValueError for points that it cannot cluster so.
            It has no pretraining and leaves no model; the configuration of a method that takes the
            number of clusters has a field `clusters`.
        pretrain: its shared stage, None without one.
        presets: data set name -> overrides of the defaults, dotted names.
        by_side: image side in pixels -> the preset for a data set without one of its own; None
            where the defaults serve.
        readings: name of a reading ("paper", "release") -> overrides for every data set.
        reading_presets: reading -> data set name -> overrides for that data set alone.
        differences: where paper and release differ.
    """

    summary: str
    citation: str
    version: int
    config: type
    build: Callable[..., Any] | None = None
    restore: Callable[..., Any] | None = None
    fit: Callable[[Any, np.ndarray, int], Fitted] | None = None
    pretrain: Pretrain | None = None
    presets: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    by_side: Callable[[int], str] | None = None
    readings: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    reading_presets: Mapping[str, Mapping[str, Mapping[str, Any]]] = field(default_factory=dict)
    differences: tuple[Difference, ...] = ()

    def __post_init__(self) -> None:
        if (self.build is None) == (self.fit is None):
            raise ValueError("a method has either build or fit; give exactly one of them")
        if (self.build is None) != (self.restore is None):
            raise ValueError("build and restore belong together; give both or neither")
        if self.fit is not None and self.pretrain is not None:
            raise ValueError("a method that fits at once has no pretraining; leave pretrain out")

    def layers(
        self, dataset: str, side: int, reading: str | None = None
    ) -> list[tuple[str, Mapping[str, Any]]]:
        """Named overrides to lay over the defaults, the last one winning.

        Args:
            dataset: name; without a preset of its own it takes the one for its image side.
            side: of the images, in pixels.
            reading: a name of `readings`, None for the defaults.

        Raises:
            ValueError: no such reading.
        """
        layers: list[tuple[str, Mapping[str, Any]]] = []
        if dataset in self.presets:
            layers.append((dataset, self.presets[dataset]))
        elif self.by_side is not None:
            preset = self.by_side(side)
            layers.append((preset, self.presets[preset]))
        if reading is None:
            return layers
        if reading not in self.readings:
            known = ", ".join(self.readings) or "none"
            raise ValueError(f"reading: must be one of {known}, got '{reading}'")
        layers.append((reading, self.readings[reading]))
        own = self.reading_presets.get(reading, {}).get(dataset)
        if own is not None:
            layers.append((f"{reading}/{dataset}", own))
        return layers
