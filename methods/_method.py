"""What a method file hands to the platform: one frozen record, and what it builds.

The record of a method is the last name of its file, `METHOD`. It has one of two shapes: networks
that are trained epoch by epoch on images (`build`), or an algorithm that fits all points at once
(`fit`). Nothing here knows a method.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import Field, dataclass, field, replace
from operator import attrgetter
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Literal, Protocol, TypeVar, cast

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from deep_clustering.methods.images.pictures import Pictures

R = TypeVar("R")


class Config(Protocol):
    """A configuration: a frozen dataclass, possibly with others nested in it."""

    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]


class TrainedConfig(Config, Protocol):
    """The configuration of a method that trains: `epochs` is a field or follows from fields."""

    @property
    def epochs(self) -> int: ...


class Trainable(Protocol):
    """Something trained one global batch at a time; all its randomness comes from its seed.

    `epochs` and `batch_size` (images of a global batch over all ranks) are what the loop outside
    needs. `initialise` runs once before the first epoch, and not when a state is loaded. `step`
    takes the indices (B,) of a global batch, the same on every rank, and returns 0-d tensors under
    the same names every time, without waiting for the device. `state` is flat and complete: a
    trainable that loads it continues as if nothing had happened. `features` (n, D) are those of
    clean views, in evaluation mode, and `encoder_weights` are of the network that gives them. An
    epoch has `passes` over the images, each in an order of its own.
    """

    @property
    def epochs(self) -> int: ...

    @property
    def batch_size(self) -> int: ...

    @property
    def passes(self) -> int: ...

    def initialise(self) -> dict[str, float]: ...

    def step(self, indices: Tensor) -> dict[str, Tensor]: ...

    def state(self) -> dict[str, Tensor]: ...

    def load_state(self, state: Mapping[str, Tensor]) -> None: ...

    def features(self, indices: Tensor) -> Tensor: ...

    def encoder_weights(self) -> dict[str, Tensor]: ...


class Pretraining(Trainable, Protocol):
    """A `Trainable` whose encoder others start from.

    `encoder_state` is what runs are given; `load_encoder` takes it back, for features without
    training. `embedding` (n, d) of clean views, in evaluation mode, is what neighbours are looked
    for in.
    """

    def encoder_state(self) -> dict[str, Tensor]: ...

    def load_encoder(self, state: Mapping[str, Tensor]) -> None: ...

    def embedding(self, indices: Tensor) -> Tensor: ...


class Model(Protocol):
    """A trained model: probabilities, logits and features of images.

    `heads` are the names under which `predict` gives probabilities (n, K) float32 of clean views of
    the images at some indices; `final_head` is the one that is the method's answer. `logits` gives
    (n, K) of normalised views (n, 3, S, S) and is differentiable with respect to them; `clean`
    makes such views of pictures.
    """

    @property
    def heads(self) -> tuple[str, ...]: ...

    @property
    def final_head(self) -> str: ...

    def predict(self, indices: Tensor) -> dict[str, Tensor]: ...

    def features(self, indices: Tensor) -> Tensor: ...

    def encoder_weights(self) -> dict[str, Tensor]: ...

    def logits(self, view: Tensor) -> dict[str, Tensor]: ...

    def clean(self, pictures: Pictures) -> Tensor: ...


class Clustering(Trainable, Model, Protocol):
    """What `Method.build` returns; `model_state` is what `Method.restore` takes."""

    def model_state(self) -> dict[str, Tensor]: ...


@dataclass(frozen=True)
class Later(Generic[R]):
    """A function that is imported when it is called: a record without PyTorch.

    Attributes:
        where: "module:function" or "module:Class.function".
    """

    where: str

    def find(self) -> Callable[..., R]:
        """The function itself."""
        module, _, name = self.where.partition(":")
        return cast("Callable[..., R]", attrgetter(name)(importlib.import_module(module)))

    def __call__(self, *args: object, **kwargs: object) -> R:
        return self.find()(*args, **kwargs)


# ---- what a method stands on


@dataclass(frozen=True, kw_only=True)
class Pretrain:
    """A stage that makes an encoder, shared by all runs whose `config.pretrain` is the same.

    The run is given `encoder_state() -> dict[str, Tensor]` of what `build` returns.

    Attributes:
        build: `build(config.pretrain, *, images, replicas, seed, index=None)` returns a
            `Pretraining`. The seed is the run's; a configuration with a seed of its own does not
            use it. `index` (n,): the images trained on, None for all; its length sets the steps of
            an epoch (`n // batch_size`) and with them the learning-rate schedule.
    """

    summary: str
    config: type
    build: Callable[..., Pretraining]
    name: str = "encoder_state"


@dataclass(frozen=True, kw_only=True)
class Neighbours:
    """A stage that lists the nearest neighbours of images by the pretraining's embedding of them.

    The run is given an int64 tensor (n, k): for each of the n images, ascending, the positions
    among them of its k nearest others by cosine similarity, nearest first.

    Attributes:
        count: the configuration field that holds k, at least 1 and below n.
        images: whose neighbours: those trained on, or those scored.
    """

    count: str
    images: Literal["train", "score"] = "train"
    name: str = "neighbours"


@dataclass(frozen=True, kw_only=True)
class BaseOutputs:
    """What a finished run says about images: its soft predictions and an embedding.

    Attributes:
        index: (n,) int64, ascending: the images.
        probabilities: (n, K) float32 of its final head; rows of a method that gives none are 0 and
            1.
        features: (n, D) float32: of its encoder, or the points that it clustered.
        pretext: (n, E) float32: of the encoder that its pretraining ended with; None without one.
        encoder: weights of its encoder, of its pretraining's where it clustered the features of
            one; empty where no network was trained.
    """

    index: Tensor
    probabilities: Tensor
    features: Tensor
    pretext: Tensor | None = None
    encoder: Mapping[str, Tensor] = field(default_factory=dict)


#: Values of fields, dotted names.
Values = Mapping[str, Any]

#: Fields by which a configuration describes an encoder of `networks.encoders` and what it sees.
OF_NETWORK = (
    *("backbone", "stem", "stem_padding"),
    *("side", "frame", "enlargement", "mean", "std"),
)


@dataclass(frozen=True, kw_only=True)
class Base:
    """A finished run of any method on the same images; the run is given `BaseOutputs`.

    Attributes:
        changes: `changes(base, by_hand)`: what the base changes over the preset, fields that the
            method lacks aside; those set `by_hand` stay. `base` has what is known of it before it
            has run: "clusters", and the fields `OF_NETWORK` unless it has no network that others
            can start from. Raises ValueError for a base that the method cannot start from.
    """

    name: str = "base"
    changes: Callable[[Values, Values], Values] = lambda base, by_hand: base


Need = Pretrain | Neighbours | Base


# ---- heads on a frozen encoder


@dataclass(frozen=True, kw_only=True)
class CachedView:
    """One random view of every image, whose features by a frozen encoder are kept.

    Attributes:
        kind: "weak" (crop and flip) or "strong" (with operations and a hole).
        number: from 0, of its kind; each has draws of its own, whatever the seed of a run.
        crop: smallest area of the random crop, share; 1 is no crop.
        flip: probability of the mirror image.
        operations: random ones of a strong view.
        cutout: largest side of the hole in a strong view, share of the side that is seen.
    """

    kind: Literal["weak", "strong"]
    number: int = 0
    crop: float
    flip: float
    operations: int = 0
    cutout: float = 0.0

    @property
    def name(self) -> str:
        """Another one for each of a method."""
        return f"{self.kind}-{self.number}"

    def times(self, count: int) -> tuple[CachedView, ...]:
        """So many of it, numbered from 0."""
        return tuple(replace(self, number=number) for number in range(count))


@dataclass(frozen=True, kw_only=True)
class OnFeatures:
    """How a method trains its heads on the features of a frozen encoder, in place of an encoder.

    Its pretraining is left out then. `images` are `images.stacks.Stacks`: of each image the
    features of its clean view and of the views that `views` names, in that order.

    Attributes:
        views: configuration and side of the images that networks see, pixels -> the views of
            each image that it trains with.
        build, restore: as those of `Method`; `restore` is given clean views alone.
        changes: values of all fields (dotted names) -> what a frozen encoder changes in them, over
            the preset; fields that were set by hand stay.
    """

    views: Callable[[Any, int], tuple[CachedView, ...]]
    build: Callable[..., Clustering]
    restore: Callable[..., Model]
    changes: Callable[[Mapping[str, Any]], Mapping[str, Any]] = lambda values: {}


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


class OfPoints(Protocol):
    """What a method found in points, and what gives the clusters of others."""

    @property
    def fitted(self) -> Fitted: ...

    def probabilities(self, points: np.ndarray) -> np.ndarray:
        """Probabilities (m, K) of points (m, d)."""
        ...


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
        build: `build(config, *, images, replicas, seed, index=None, **given)` returns a
            `Clustering`; `given` has what `needs` asks for, under the names that it says. `index`
            (n,) is as in `Pretrain`: the images trained on, None for all.
        restore: `restore(config, model_state, *, images, replicas)`: the same for prediction only.
        fit: `fit(config, points, seed)` returns a `Fitted`. `points`: float32 (n, d), which it
            does not change; all randomness comes from the seed, and the order of columns plays
            no part beyond rounding. Raises ValueError for points that it cannot cluster so.
            It stands on no other work and leaves no model; the configuration of a method that
            takes the number of clusters has a field `clusters`.
        model: `model(config, points, seed)` does what `fit` does and keeps what gives the clusters
            of other points; None where a method has no such thing.
        on_features: how it trains on the features of a frozen encoder; None if it does not.
        needs: the work that has to be finished before a run starts, each under another name.
        presets: data set name -> overrides of the defaults, dotted names.
        by_side: image side in pixels -> the preset for a data set without one of its own; None
            where the defaults serve.
        plain: values of all fields -> whether the encoder that a run ends with is the one of
            `networks.encoders` that its fields describe, or those of its pretraining; from another
            kind no other method starts.
        tuned: data sets whose preset was tuned with their labels.
        readings: name of a reading ("paper", "release") -> overrides for every data set.
        reading_presets: reading -> data set name -> overrides for that data set alone.
        differences: where paper and release differ.
    """

    summary: str
    citation: str
    version: int
    config: type
    build: Callable[..., Clustering] | None = None
    restore: Callable[..., Model] | None = None
    fit: Callable[[Any, np.ndarray, int], Fitted] | None = None
    model: Callable[[Any, np.ndarray, int], OfPoints] | None = None
    on_features: OnFeatures | None = None
    needs: tuple[Need, ...] = ()
    presets: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    by_side: Callable[[int], str] | None = None
    plain: Callable[[Values], bool] = lambda values: True
    tuned: frozenset[str] = frozenset()
    readings: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    reading_presets: Mapping[str, Mapping[str, Mapping[str, Any]]] = field(default_factory=dict)
    differences: tuple[Difference, ...] = ()

    def __post_init__(self) -> None:
        if (self.build is None) == (self.fit is None):
            raise ValueError("a method has either build or fit; give exactly one of them")
        if unknown := self.tuned - self.presets.keys():
            raise ValueError(f"tuned: there is no preset {', '.join(sorted(unknown))}")
        if (self.build is None) != (self.restore is None):
            raise ValueError("build and restore belong together; give both or neither")
        if self.fit is not None and self.needs:
            raise ValueError("a method that fits at once stands on no other work; leave needs out")
        names = [need.name for need in self.needs]
        if len(set(names)) < len(names):
            raise ValueError(f"needs: each must have another name, got {', '.join(names)}")
        if self.pretrain is None and any(isinstance(need, Neighbours) for need in self.needs):
            raise ValueError("neighbours are those of a pretraining; add one to needs")

    @property
    def pretrain(self) -> Pretrain | None:
        """The pretraining that it starts from, None without one."""
        return next((need for need in self.needs if isinstance(need, Pretrain)), None)

    @property
    def base(self) -> Base | None:
        """The finished run that it starts from, None without one."""
        return next((need for need in self.needs if isinstance(need, Base)), None)

    def network(self, values: Values) -> dict[str, Any]:
        """The fields `OF_NETWORK` of the encoder that its runs end with, see `plain`.

        Args:
            values: of all its fields.

        Returns:
            Nothing where there is no encoder that others can start from.
        """
        front = "" if self.pretrain is None else "pretrain."
        known = {n: values[front + n] for n in OF_NETWORK if front + n in values}
        if "backbone" not in known or not self.plain(values):
            return {}
        return {"stem": "side", "stem_padding": 1, **known}  # as where nothing says so

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


def by_side(*bounds: tuple[int, str], other: str) -> Callable[[int], str]:
    """For `Method.by_side`: the preset of the first bound that a side in pixels does not exceed.

    Args:
        bounds: (largest side, name of the preset), ascending.
        other: the preset of larger images.
    """

    def preset(side: int) -> str:
        return next((name for bound, name in bounds if side <= bound), other)

    return preset
