"""Fields of configurations: what they mean, and the checks that they share.

Every mistake is collected, then one error names them all.
"""

import dataclasses
import typing
from collections.abc import Iterable
from typing import Literal, NamedTuple, Protocol, TypeVar

from deep_clustering.methods._nearest import not_one_of

T = TypeVar("T")

#: Precision of the network: "bf16" is bfloat16 autocast, "auto" is that on CUDA and float32
#: elsewhere; the platform makes it "bf16" where the CPU has instructions for it. In "fp32"
#: convolutions on CUDA round their inputs to TF32, PyTorch's own setting. It is the default
#: everywhere: that bfloat16 costs no accuracy is not established.
Precision = Literal["auto", "fp32", "bf16"]

#: The same for what can scale its loss: "fp16" is float16 autocast on CUDA and float32 elsewhere,
#: with a scaled loss, as releases train.
ScaledPrecision = Literal["auto", "fp32", "bf16", "fp16"]

#: First layers of a ResNet: "small" is 3x3, stride 1; "pooled" adds a 2x2 max-pooling of stride 2,
#: padding 1; "large" is 7x7, stride 2, and a max-pooling; "side" is "small" or "large" by the side.
Stem = Literal["side", "small", "pooled", "large"]

#: Fresh weights of the 3x3 stem: "fan-in" is PyTorch's default, uniform up to 1 / sqrt(27);
#: "fan-out" is Kaiming's normal distribution, as of all other convolutions.
StemWeights = Literal["fan-in", "fan-out"]

#: Names of the encoders, the keys of `networks.encoders.ENCODERS`.
Backbone = Literal["resnet18", "resnet34", "resnet50", "small"]

#: What a view is made of: the whole picture, or the centred square of its shorter side.
Frame = Literal["whole", "centre"]

#: One value for each channel.
Channels = tuple[float, float, float]


class Rule(NamedTuple):
    """What one field has to fulfil."""

    kept: bool
    field: str
    text: str  # the rule as a sentence without subject, such as "must be above 0"
    known: tuple[str, ...] = ()  # the values of a choice


def doc(default: T, meaning: str, *, added: bool = False) -> T:
    """A field of a configuration.

    Args:
        default: its value where none is given.
        meaning: what it is, its unit and where it is from, in a line; `platform methods METHOD`
            shows it, and it stands in the field's metadata under "meaning".
        added: came after runs had been made, whose outcome the default does not change: where it
            has its default it plays no part in ids, so that those runs are found again.
    """
    metadata = {"meaning": meaning, "added": added}
    field: T = dataclasses.field(default=default, metadata=metadata)
    return field


def check(config: object, rules: Iterable[Rule]) -> None:
    """Refuses a configuration that breaks a rule.

    Args:
        config: its values are read for the message.
        rules: of all fields; they have been evaluated.

    Raises:
        ValueError: one line for every broken rule: "field: rule, got value", and for a choice
            "field: must be one of names; got value. Did you mean name?".
    """
    wrong = [
        f"{rule.field}: {not_one_of(getattr(config, rule.field), rule.known)}"
        if rule.known
        else f"{rule.field}: {rule.text}, got {getattr(config, rule.field)!r}"
        for rule in rules
        if not rule.kept
    ]
    if wrong:
        raise ValueError("\n".join(wrong))


def positive(config: object, *names: str) -> list[Rule]:
    """Rules: each field is above 0."""
    return [Rule(getattr(config, name) > 0, name, "must be above 0") for name in names]


def not_negative(config: object, *names: str) -> list[Rule]:
    """Rules: each field is 0 or above."""
    return [Rule(getattr(config, name) >= 0, name, "must not be negative") for name in names]


def share(config: object, *names: str) -> list[Rule]:
    """Rules: each field lies in [0, 1]."""
    return [Rule(0 <= getattr(config, name) <= 1, name, "must be from 0 to 1") for name in names]


def part(config: object, *names: str) -> list[Rule]:
    """Rules: each field lies in (0, 1]."""
    return [
        Rule(0 < getattr(config, name) <= 1, name, "must be above 0 and at most 1")
        for name in names
    ]


def choice(config: object, **kinds: object) -> list[Rule]:
    """Rules: each field is one of the values of its `Literal`."""
    return [
        Rule(
            getattr(config, name) in typing.get_args(kind),
            name,
            "must be one of its choices",
            tuple(map(str, typing.get_args(kind))),
        )
        for name, kind in kinds.items()
    ]


class Normalised(Protocol):
    """A configuration with a normalisation of its own."""

    @property
    def mean(self) -> Channels | None: ...

    @property
    def std(self) -> Channels | None: ...


def normalisation(config: Normalised) -> list[Rule]:
    """Rules: `mean` and `std` are None, or three values from 0 to 1 and three above 0."""
    mean, std = config.mean, config.std
    return [
        Rule(
            mean is None or (len(mean) == 3 and min(mean) >= 0 and max(mean) <= 1),
            "mean",
            "must be none or three values from 0 to 1",
        ),
        Rule(
            std is None or (len(std) == 3 and min(std) > 0),
            "std",
            "must be none or three values above 0",
        ),
    ]


class Sized(Protocol):
    """A configuration of how large images are seen."""

    @property
    def side(self) -> int | None: ...

    @property
    def enlargement(self) -> float | None: ...


def sizes(config: Sized) -> list[Rule]:
    """Rules: `side`, of the views, and `enlargement`, of the clean one, are None or in bounds."""
    side, enlargement = config.side, config.enlargement
    return [
        Rule(side is None or side > 0, "side", "must be above 0"),
        Rule(enlargement is None or enlargement >= 1, "enlargement", "must be at least 1"),
    ]
