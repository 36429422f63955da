"""Configurations: typed values, every mistake at once, one text for one value."""

from dataclasses import dataclass, field
from typing import Literal

import pytest

from deep_clustering.methods._fields import doc
from deep_clustering.platform import registry
from deep_clustering.platform.errors import InputError
from deep_clustering.platform.request import configs


@dataclass(frozen=True, kw_only=True)
class Inner:
    epochs: int = 3
    rate: float = doc(0.5, "SGD, per step")

    def __post_init__(self) -> None:
        if self.epochs < 1:
            raise ValueError(f"epochs: must be above 0, got {self.epochs}")


@dataclass(frozen=True, kw_only=True)
class Outer:
    pretrain: Inner = field(default_factory=Inner)
    batch_size: int = doc(10, "images per step")
    regions: int = 5
    threshold: float | None = None
    kind: Literal["one", "two"] = "one"
    flip: bool = True
    spread: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        if self.regions > self.batch_size:
            raise ValueError(
                f"regions: must be at most batch_size ({self.batch_size}), got {self.regions}"
            )


def test_fields_say_what_they_are() -> None:
    assert configs.meanings(Outer) == {
        "pretrain.rate": "SGD, per step",
        "batch_size": "images per step",
    }


@pytest.mark.parametrize("name", registry.names())
def test_every_field_of_a_method_says_what_it_is(name: str) -> None:
    config = registry.method(name).config
    silent = configs.fields(config).keys() - configs.meanings(config).keys()
    assert {field.rpartition(".")[2] for field in silent} <= {"precision"}  # one for all methods


@dataclass(frozen=True, kw_only=True)
class Later(Outer):
    shade: float = doc(0.25, "share", added=True)


@dataclass(frozen=True, kw_only=True)
class Around:
    pretrain: Later = field(default_factory=Later)
    tint: str = doc("none", "colour", added=True)


def test_an_added_field_tells_runs_apart_where_it_is_not_as_before() -> None:
    """What has its default is what runs of before had."""
    before = {f"pretrain.{name}": value for name, value in configs.flatten(Outer()).items()}
    assert configs.identity(Around()) == before
    assert configs.flatten(Around()) == before | {"pretrain.shade": 0.25, "tint": "none"}
    changed = Around(pretrain=Later(shade=0.5), tint="red")
    assert configs.identity(changed) == before | {"pretrain.shade": 0.5, "tint": "red"}
    assert configs.identity(Outer()) == configs.flatten(Outer())


def test_values_take_the_type_of_their_field() -> None:
    given = ["pretrain.rate=1e-3", "batch_size=20", "threshold=none", "kind=two", "flip=false"]
    found = configs.parse(Outer, [*given, "spread=0.5,1"])
    assert found == {
        "pretrain.rate": 1e-3,
        "batch_size": 20,
        "threshold": None,
        "kind": "two",
        "flip": False,
        "spread": (0.5, 1.0),
    }


@pytest.mark.fault(60)
@pytest.mark.parametrize(
    ("item", "text"),
    [
        ("batchsize=3", "there is no field 'batchsize'. Did you mean 'batch_size'?"),
        ("batch_size=1e1", "batch_size: needs a whole number, got '1e1'"),
        ("batch_size=true", "batch_size: needs a whole number, got 'true'"),
        ("pretrain.rate=fast", "pretrain.rate: needs a number, got 'fast'"),
        ("pretrain.rate=nan", "pretrain.rate: needs a finite number, got 'nan'"),
        ("pretrain.rate=inf", "pretrain.rate: needs a finite number, got 'inf'"),
        ("kind=tow", "kind: must be one of one, two; got 'tow'. Did you mean 'two'?"),
        ("flip=1", "flip: needs true or false, got '1'"),
        ("threshold=high", "threshold: needs a number or none, got 'high'"),
        ("batch_size", "'batch_size' is not of the form field=value"),
    ],
)
def test_a_wrong_item_names_field_rule_and_value(item: str, text: str) -> None:
    with pytest.raises(InputError) as error:
        configs.parse(Outer, [item])
    assert str(error.value) == text


def test_all_mistakes_are_told_together() -> None:
    with pytest.raises(InputError) as error:
        configs.parse(Outer, ["batchsize=3", "flip=maybe"])
    assert str(error.value).startswith("2 mistakes:")
    with pytest.raises(InputError) as error:
        configs.build(Outer, {"pretrain.epochs": 0, "regions": 11})
    assert "pretrain.epochs: must be above 0, got 0" in str(error.value)
    assert "regions: must be at most batch_size (10), got 11" in str(error.value)


def test_layers_the_last_one_wins() -> None:
    config = configs.build(Outer, {"batch_size": 20, "regions": 15}, {"regions": 7})
    assert (config.batch_size, config.regions) == (20, 7)


def test_flatten_and_build_are_inverse() -> None:
    config = configs.build(Outer, {"pretrain.rate": 0.25, "spread": (1.0, 2.0), "kind": "two"})
    assert configs.build(Outer, configs.flatten(config)) == config


def test_one_value_has_one_id() -> None:
    whole = configs.build(Outer, {"pretrain.rate": 1})
    real = configs.build(Outer, {"pretrain.rate": 1.0})
    assert configs.digest(configs.flatten(whole)) == configs.digest(configs.flatten(real))
    assert configs.canonical({"b": 1, "a": [1.5, None]}) == '{"a":[1.5,null],"b":1}'
    other = configs.build(Outer, {"pretrain.rate": 1.0000001})
    assert configs.digest(configs.flatten(real)) != configs.digest(configs.flatten(other))
