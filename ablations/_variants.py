"""Variants: named overrides of a method's configuration, as data."""

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from deep_clustering.methods._nearest import nearest


@dataclass(frozen=True, kw_only=True, slots=True)
class Times:
    """A value relative to what the data set's configuration has: `factor` times a field.

    `of` names that field; None is the field that is overridden. Whole numbers stay whole.
    """

    factor: float
    of: str | None = None

    def __post_init__(self) -> None:
        if not self.factor > 0:
            raise ValueError(f"factor: must be above 0, got {self.factor}")

    def value(self, own: str, configuration: Mapping[str, Any]) -> Any:
        """The value for the field `own` of a flat configuration (dotted names)."""
        base = configuration[self.of or own]
        return round(base * self.factor) if isinstance(base, int) else base * self.factor

    def __str__(self) -> str:
        return f"{self.factor:g} x {self.of or 'its default'}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Variant:
    """A named override.

    Attributes:
        name: lower case, words joined by hyphens.
        changes: dotted field -> value, or a `Times`.
        source: the table, figure or section that it is from.
        removes: the component it takes away, "" where it replaces or adds something; those that
            remove one are what `--leave-one-out` goes through.
    """

    name: str
    changes: Mapping[str, Any] = field(default_factory=dict)
    source: str
    removes: str = ""


def variants(config: type, *rows: Variant) -> dict[str, Variant]:
    """The variants of a method by name, each checked by building its configuration.

    Args:
        config: the method's configuration, a dataclass; its defaults have to be complete.
        rows: in the order to list them.

    Raises:
        ValueError: a name twice, a field that does not exist (with the nearest that does), a value
            out of bounds; all of them together.
    """
    wrong: list[str] = []
    by_name: dict[str, Variant] = {}
    for row in rows:
        if row.name in by_name:
            wrong.append(f"{row.name}: is there twice")
        by_name[row.name] = row
        wrong += [f"{row.name}: {mistake}" for mistake in unknown(row.changes, flat(config()))]
        if not wrong:
            try:
                applied(config(), row.changes)
            except (ValueError, TypeError) as error:
                wrong += [f"{row.name}: {line}" for line in str(error).splitlines()]
    if wrong:
        raise ValueError("\n".join(wrong))
    return by_name


def combined(parts: Iterable[Variant]) -> dict[str, Any]:
    """The overrides of several variants together.

    Raises:
        ValueError: two of them set one field to different values.
    """
    changes: dict[str, Any] = {}
    owner: dict[str, str] = {}
    for part in parts:
        for name, value in part.changes.items():
            if name in changes and changes[name] != value:
                raise ValueError(
                    f"{owner[name]} and {part.name} do not go together: they set {name} to "
                    f"{changes[name]} and to {value}"
                )
            changes[name], owner[name] = value, part.name
    return changes


def applied(config: Any, changes: Mapping[str, Any]) -> Any:
    """A configuration with overrides; relative values refer to what it had."""
    values = resolved(changes, flat(config))
    nested: dict[str, dict[str, Any]] = {}
    own: dict[str, Any] = {}
    for name, value in values.items():
        head, dot, rest = name.partition(".")
        if dot:
            nested.setdefault(head, {})[rest] = value
        else:
            own[head] = value
    for head, inner in nested.items():
        own[head] = applied(getattr(config, head), inner)
    return dataclasses.replace(config, **own)


def resolved(changes: Mapping[str, Any], configuration: Mapping[str, Any]) -> dict[str, Any]:
    """Overrides with every `Times` replaced by its value in a flat configuration."""
    return {
        name: value.value(name, configuration) if isinstance(value, Times) else value
        for name, value in changes.items()
    }


def flat(config: Any) -> dict[str, Any]:
    """Dotted field name -> value."""
    values: dict[str, Any] = {}
    for item in dataclasses.fields(config):
        value = getattr(config, item.name)
        if dataclasses.is_dataclass(value):
            values |= {f"{item.name}.{k}": v for k, v in flat(value).items()}
        else:
            values[item.name] = value
    return values


def unknown(given: Iterable[str], known: Iterable[str], kind: str = "field") -> list[str]:
    """A sentence for each name that is not known, with the nearest one that is."""
    known = list(known)
    return [
        f"there is no {kind} '{name}'.{nearest(name, known)}" for name in given if name not in known
    ]
