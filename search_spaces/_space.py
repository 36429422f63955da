"""Search spaces as data: ranges of the fields of a configuration.

A range is absolute (`Float`, `Int`, `Choice`) or relative to the configured value (`Scale`), so
that one space fits every data set: `resolve` makes it absolute for one configuration.
"""

import dataclasses
import math
import types
import typing
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from deep_clustering.methods._nearest import nearest

#: What `resolve` can be told about the data, for `Scale(at_most=...)`.
BOUNDS = ("images",)

#: Values that a `Choice` can hold: those with one spelling in every table and file.
_PLAIN = (type(None), bool, int, float, str)


@dataclass(frozen=True)
class Float:
    """Real numbers from `low` to `high`, both included; even in the logarithm if `log`."""

    low: float
    high: float
    log: bool = False

    def __post_init__(self) -> None:
        _check_range(self, (int, float))

    def __str__(self) -> str:
        return f"{self.low:g} to {self.high:g}" + ", log" * self.log


@dataclass(frozen=True)
class Int:
    """Whole numbers `low`, `low + step`, ... up to `high`; even in the logarithm if `log`."""

    low: int
    high: int
    log: bool = False
    step: int = 1

    def __post_init__(self) -> None:
        _check_range(self, (int,))
        if type(self.step) is not int or self.step < 1:
            raise ValueError(f"Int: step must be a whole number above 0, got {self.step!r}")
        if self.log and self.step != 1:
            raise ValueError(f"Int: a log range has no steps, got step {self.step}")
        if (self.high - self.low) % self.step:
            raise ValueError(
                f"Int: step must divide the range, got {self.step} from {self.low} to {self.high}"
            )

    def __str__(self) -> str:
        steps = f", steps of {self.step}" if self.step > 1 else ""
        return f"{self.low} to {self.high}" + ", log" * self.log + steps


@dataclass(frozen=True, init=False)
class Choice:
    """One of some values: None, booleans, numbers or texts, in no order."""

    values: tuple[Any, ...]

    def __init__(self, *values: Any) -> None:
        object.__setattr__(self, "values", values)
        if not values:
            raise ValueError("Choice: needs at least one value, got none")
        seen: list[tuple[type, Any]] = []
        for value in values:
            if type(value) not in _PLAIN or (isinstance(value, float) and not math.isfinite(value)):
                raise ValueError(
                    f"Choice: values must be none, true, false, finite numbers or texts, "
                    f"got {value!r}"
                )
            if (type(value), value) in seen:
                raise ValueError(f"Choice: each value once, got {value!r} twice")
            seen.append((type(value), value))

    def __repr__(self) -> str:
        return f"Choice({', '.join(map(repr, self.values))})"

    def __str__(self) -> str:
        return ", ".join("none" if v is None else str(v) for v in self.values)


@dataclass(frozen=True)
class Scale:
    """Multiples of the configured value, from `low` to `high` times it.

    Attributes:
        low, high: factors, above 0.
        log: even in the logarithm.
        integer: only whole numbers.
        step: values differ from the configured one by multiples of this number, or of the
            configured value of this field. With a configured multiple, all are multiples.
        at_most: no value above that of this field, whichever value that takes, or above this bound
            (`BOUNDS`).
        at_least: no value below the configured one of this field.
    """

    low: float
    high: float
    log: bool = False
    integer: bool = False
    step: int | str = 1
    at_most: str | None = None
    at_least: str | None = None

    def __post_init__(self) -> None:
        _check_range(self, (int, float))
        if self.low <= 0:
            raise ValueError(f"Scale: factors must be above 0, got low {self.low}")
        if self.step != 1 and (self.log or not self.integer):
            raise ValueError(f"Scale: steps need integer and no log, got step {self.step!r}")
        if isinstance(self.step, bool) or (isinstance(self.step, int) and self.step < 1):
            raise ValueError(f"Scale: step must be above 0 or a field, got {self.step!r}")

    def __str__(self) -> str:
        steps = f", steps of {self.step}" if self.step != 1 else ""
        most = f", at most {self.at_most}" if self.at_most else ""
        return f"{self.low:g} to {self.high:g} × the configured" + ", log" * self.log + steps + most


Domain = Float | Int | Choice | Scale
Concrete = Float | Int | Choice


class Space(Mapping[str, Domain]):
    """Field -> range, of one configuration class; immutable. Made by `space`."""

    def __init__(self, config: type, domains: Mapping[str, Domain]) -> None:
        self.config = config
        self._domains = types.MappingProxyType(dict(domains))

    def __getitem__(self, field: str) -> Domain:
        return self._domains[field]

    def __iter__(self) -> Iterator[str]:
        return iter(self._domains)

    def __len__(self) -> int:
        return len(self._domains)


def space(config: type, /, **domains: Domain) -> Space:
    """A search space over some fields of a configuration class.

    Args:
        config: a dataclass.
        **domains: field -> range; those of a dataclass inside it have dotted names, as in
            `**{"pretrain.epochs": ...}`.

    Raises:
        ValueError: lists every field that does not exist (with the nearest one), and every range
            that its field cannot hold or that leans on something that does not exist.
    """
    kinds = _kinds(config)
    wrong: list[str] = []
    if not domains:
        wrong.append(f"a space over {config.__name__} needs at least one field")
    for name, domain in domains.items():
        if name not in kinds:
            wrong.append(f"{config.__name__} has no field '{name}'.{nearest(name, kinds)}")
            continue
        wrong.extend(f"{name}: {mistake}" for mistake in _misfits(kinds[name], domain))
        if isinstance(domain, Scale):
            wrong.extend(f"{name}: {mistake}" for mistake in _leaning(domain, domains, kinds))
    if wrong:
        raise ValueError("\n".join(wrong))
    return Space(config, domains)


def resolve(
    searched: Mapping[str, Domain], config: Any, *, bounds: Mapping[str, int] | None = None
) -> dict[str, Concrete]:
    """The absolute ranges of a space around one configuration, whose own values stay inside.

    `Scale(at_most=field)` holds for every combination: where that field is searched as well, its
    range is first raised to the configured value of this one, then this range ends where that one
    begins. Of a `Choice`, values that the configuration refuses are left out. A field that could
    only take its configured value is left out.

    Args:
        searched: from `space`.
        config: an instance of its configuration class.
        bounds: name in `BOUNDS` -> the largest value.

    Raises:
        ValueError: a `Scale` of something that is not a number above 0, or nothing is left of a
            range.
    """
    unsearched = {n: _value(config, n) for n in _kinds(type(config)) if n not in searched}
    limits = {**unsearched, **(bounds or {})}
    found: dict[str, Concrete] = {}
    for name, domain in searched.items():
        if isinstance(domain, Scale):
            found[name] = _around(name, domain, config, limits)
        elif isinstance(domain, Choice):
            kept = [v for v in domain.values if _accepts(config, name, v)]
            if kept:
                found[name] = Choice(*kept)
        else:
            found[name] = domain
    for name, domain in searched.items():
        if isinstance(domain, Scale) and domain.at_most is not None and domain.at_most in found:
            _order(name, domain.at_most, found, config)
    return {
        name: domain for name, domain in found.items() if _only(domain) != (_value(config, name),)
    }


def _around(name: str, scale: Scale, config: Any, limits: Mapping[str, Any]) -> Float | Int:
    base = _value(config, name)
    if isinstance(base, bool) or not isinstance(base, int | float) or base <= 0:
        raise ValueError(
            f"{name}: its range is relative to the configured value, which must be a number above "
            f"0, got {base!r}; search other fields or set this one"
        )
    low, high = base * scale.low, base * scale.high
    if scale.at_least is not None:
        low = max(low, _value(config, scale.at_least))
    if scale.at_most is not None and scale.at_most in limits:
        high = min(high, limits[scale.at_most])
    if low > high:
        raise ValueError(
            f"{name}: nothing is left of its range, {low:g} to {high:g}; "
            f"set a smaller one than {base}"
        )
    if not scale.integer:
        return Float(low, high, scale.log)
    step = scale.step if isinstance(scale.step, int) else int(_value(config, scale.step))
    below = math.floor((base - max(low, 1)) / step + 1e-9)  # 0.1 * 30 is a little above 3
    above = math.floor((high - base) / step + 1e-9)
    first, last = base - below * step, base + above * step
    if first > last:
        raise ValueError(
            f"{name}: no value in steps of {step} from {base} lies in {low:g} to {high:g}"
        )
    return Int(int(first), int(last), scale.log, step)


def _order(name: str, other: str, found: dict[str, Concrete], config: Any) -> None:
    """Make every value of `name` at most every value of `other`, keeping the configured ones."""
    mine, theirs = found[name], found[other]
    assert not isinstance(mine, Choice)
    assert not isinstance(theirs, Choice)
    wanted = min(_value(config, name), _value(config, other))
    if theirs.low < wanted:
        step = theirs.step if isinstance(theirs, Int) else 0
        raised = theirs.low + math.ceil((wanted - theirs.low) / step) * step if step else wanted
        theirs = dataclasses.replace(theirs, low=raised)
        found[other] = theirs
    high = min(mine.high, theirs.low)
    if high < mine.low:
        raise ValueError(
            f"{name}: nothing is left of its range, {mine.low} to {mine.high}, "
            f"at or below the smallest {other}, {theirs.low}"
        )
    if isinstance(mine, Int):
        steps = (int(high) - mine.low) // mine.step
        found[name] = dataclasses.replace(mine, high=mine.low + steps * mine.step)
    else:
        found[name] = dataclasses.replace(mine, high=high)


def _only(domain: Concrete) -> tuple[Any, ...]:
    """The single value of a range, or nothing."""
    if isinstance(domain, Choice):
        return domain.values if len(domain.values) == 1 else ()
    return (domain.low,) if domain.low == domain.high else ()


def _value(config: Any, name: str) -> Any:
    for part in name.split("."):
        config = getattr(config, part)
    return config


def _accepts(config: Any, name: str, value: Any) -> bool:
    """Whether the configuration with this one field changed is a valid one."""
    try:
        _replaced(config, name.split("."), value)
    except ValueError:
        return False
    return True


def _replaced(config: Any, path: list[str], value: Any) -> Any:
    if len(path) > 1:
        value = _replaced(getattr(config, path[0]), path[1:], value)
    return dataclasses.replace(config, **{path[0]: value})


def _kinds(config: type) -> dict[str, Any]:
    """Dotted field name -> its type."""
    hints = typing.get_type_hints(config)
    found: dict[str, Any] = {}
    for field in dataclasses.fields(config):
        kind = hints[field.name]
        if isinstance(kind, type) and dataclasses.is_dataclass(kind):
            found |= {f"{field.name}.{inner}": k for inner, k in _kinds(kind).items()}
        else:
            found[field.name] = kind
    return found


def _misfits(kind: Any, domain: Any) -> list[str]:
    """What a field of this type cannot hold of a range."""
    if not isinstance(domain, Float | Int | Choice | Scale):
        return [f"a range is Float, Int, Choice or Scale, got {domain!r}"]
    values: tuple[Any, ...] = (1,)
    if isinstance(domain, Choice):
        values = domain.values
    elif isinstance(domain, Float) or (isinstance(domain, Scale) and not domain.integer):
        values = (0.5,)
    if all(_fits(kind, v) for v in values):
        return []
    if isinstance(domain, Choice):
        wrong = ", ".join(repr(v) for v in values if not _fits(kind, v))
    else:
        wrong = "whole numbers" if values == (1,) else "real numbers"
    return [f"the field is {getattr(kind, '__name__', kind)} and cannot be {wrong}"]


def _fits(kind: Any, value: Any) -> bool:
    origin = typing.get_origin(kind)
    if origin in (typing.Union, types.UnionType):
        return any(_fits(k, value) for k in typing.get_args(kind))
    if origin is typing.Literal:
        return value in typing.get_args(kind)
    if kind is float:
        return type(value) in (int, float)
    return isinstance(kind, type) and type(value) is kind


def _leaning(scale: Scale, domains: Mapping[str, Any], kinds: Mapping[str, Any]) -> list[str]:
    """What is wrong with the fields that a scale refers to."""
    wrong = [
        f"there is no field '{name}'.{nearest(name, kinds)}"
        for name in (scale.step, scale.at_least)
        if isinstance(name, str) and name not in kinds
    ]
    if scale.step in domains:
        wrong.append(f"'{scale.step}' cannot be both its step and searched")
    most = scale.at_most
    if most is not None and most not in kinds and most not in BOUNDS:
        wrong.append(f"there is no field or bound '{most}'.{nearest(most, [*kinds, *BOUNDS])}")
    if isinstance(domains.get(most or ""), Choice):
        wrong.append(f"it cannot be at most '{most}', which is searched as a choice")
    return wrong


def _check_range(domain: Any, allowed: tuple[type, ...]) -> None:
    """Rules of all ranges with two ends."""
    kind = type(domain).__name__
    for end in ("low", "high"):
        value = getattr(domain, end)
        if type(value) not in allowed or not math.isfinite(value):
            number = "a finite number" if float in allowed else "a whole number"
            raise ValueError(f"{kind}: {end} must be {number}, got {value!r}")
    if domain.low > domain.high:
        raise ValueError(
            f"{kind}: low must be at most high, got low {domain.low} and high {domain.high}"
        )
    if domain.log and domain.low <= 0:
        raise ValueError(f"{kind}: a log range must begin above 0, got low {domain.low}")
