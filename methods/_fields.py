"""Checks that configurations share: every mistake is collected, then one error names them all."""

import typing
from collections.abc import Iterable
from typing import Any, Literal

#: Precision of the network: "auto" is bfloat16 autocast on CUDA and float32 elsewhere.
Precision = Literal["auto", "fp32", "bf16"]


def check(config: Any, rules: Iterable[tuple[bool, str, str]]) -> None:
    """Refuses a configuration that breaks a rule.

    Args:
        config: its values are read for the message.
        rules: (kept, field, rule) triples.

    Raises:
        ValueError: one line "field: rule, got value" for every broken rule.
    """
    wrong = [
        f"{name}: {rule}, got {getattr(config, name)!r}" for kept, name, rule in rules if not kept
    ]
    if wrong:
        raise ValueError("\n".join(wrong))


def positive(config: Any, *names: str) -> list[tuple[bool, str, str]]:
    """Rules: each field is above 0."""
    return [(getattr(config, name) > 0, name, "must be above 0") for name in names]


def not_negative(config: Any, *names: str) -> list[tuple[bool, str, str]]:
    """Rules: each field is 0 or above."""
    return [(getattr(config, name) >= 0, name, "must not be negative") for name in names]


def share(config: Any, *names: str) -> list[tuple[bool, str, str]]:
    """Rules: each field lies in [0, 1]."""
    return [(0 <= getattr(config, name) <= 1, name, "must be from 0 to 1") for name in names]


def choice(config: Any, **kinds: Any) -> list[tuple[bool, str, str]]:
    """Rules: each field is one of the values of its `Literal`."""
    return [
        (
            getattr(config, name) in typing.get_args(kind),
            name,
            f"must be one of {', '.join(map(str, typing.get_args(kind)))}",
        )
        for name, kind in kinds.items()
    ]


def spread(config: Any, name: str = "std") -> list[tuple[bool, str, str]]:
    """Rule: None, or three values above 0."""
    value = getattr(config, name)
    kept = value is None or (len(value) == 3 and min(value) > 0)
    return [(kept, name, "must be none or three values above 0")]
