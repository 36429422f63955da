"""Ranges refuse nonsense, names are checked on import, and every space fits every data set."""

import dataclasses
import itertools
import random
import re
from dataclasses import dataclass, field
from typing import Literal

import pytest

from deep_clustering.platform import registry
from deep_clustering.platform.request import configs
from deep_clustering.search_spaces._space import Choice, Float, Int, Scale, Space, resolve, space


@dataclass(frozen=True, kw_only=True, slots=True)
class Inner:
    epochs: int = 50
    lr: float = 0.5


@dataclass(frozen=True, kw_only=True, slots=True)
class Toy:
    pretrain: Inner = field(default_factory=Inner)
    batch_size: int = 1000
    sub_batch_size: int = 500
    mini_clusters: int = 500
    clusters: int = 10
    encoder_lr: float = 5e-5
    head_lr: float = 1e-4
    hidden: int = 512
    selection: Literal["calibrated", "flexible"] = "calibrated"
    threshold: float | None = None
    stop: bool = True

    def __post_init__(self) -> None:
        if self.threshold is not None and self.selection != "calibrated":
            raise ValueError("threshold: must be none with another selection")


# --- Ranges -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Float(2, 1), "Float: low must be at most high, got low 2 and high 1"),
        (lambda: Float(0, 1, log=True), "log range must begin above 0, got low 0"),
        (lambda: Float(-1, 1, log=True), "log range must begin above 0"),
        (lambda: Float(float("nan"), 1), "low must be a finite number, got nan"),
        (lambda: Float(0, float("inf")), "high must be a finite number, got inf"),
        (lambda: Float("1e-3", 1), "low must be a finite number, got '1e-3'"),
        (lambda: Float(True, 2), "low must be a finite number, got True"),
        (lambda: Int(5, 4), "low must be at most high"),
        (lambda: Int(1.0, 4), "low must be a whole number, got 1.0"),
        (lambda: Int(False, 4), "low must be a whole number, got False"),
        (lambda: Int(0, 4, log=True), "log range must begin above 0"),
        (lambda: Int(1, 9, step=0), "step must be a whole number above 0, got 0"),
        (lambda: Int(1, 9, step=3), "step must divide the range, got 3 from 1 to 9"),
        (lambda: Int(1, 9, log=True, step=2), "a log range has no steps, got step 2"),
        (lambda: Choice(), "needs at least one value, got none"),
        (lambda: Choice(1, 2, 1), "each value once, got 1 twice"),
        (lambda: Choice(float("nan")), "finite numbers or texts, got nan"),
        (lambda: Choice([1, 2]), r"finite numbers or texts, got \[1, 2\]"),
        (lambda: Scale(0, 1), "factors must be above 0, got low 0"),
        (lambda: Scale(2, 1), "low must be at most high"),
        (lambda: Scale(1, 2, step="b"), "steps need integer and no log"),
        (lambda: Scale(1, 2, integer=True, log=True, step=2), "steps need integer and no log"),
        (lambda: Scale(1, 2, integer=True, step=-1), "step must be above 0 or a field, got -1"),
    ],
)
def test_nonsense_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_ranges_are_values():
    assert Float(1e-6, 1e-3, log=True) == Float(1e-6, 1e-3, log=True)
    assert Choice(None, 0.9) == Choice(None, 0.9) != Choice(0.9, None)
    assert Choice(True, 1).values == (True, 1)  # equal, but not the same
    assert repr(Choice(None, "a")) == "Choice(None, 'a')"
    with pytest.raises(dataclasses.FrozenInstanceError):
        Int(1, 2).low = 0
    with pytest.raises(dataclasses.FrozenInstanceError):
        Choice(1).values = ()


def test_ranges_are_readable():
    assert str(Float(1e-6, 1e-3, log=True)) == "1e-06 to 0.001, log"
    assert str(Int(10, 30, step=10)) == "10 to 30, steps of 10"
    assert str(Choice(None, 0.9)) == "none, 0.9"
    wanted = "0.5 to 1.5 × the configured, steps of sub_batch_size, at most images"
    assert str(Scale(0.5, 1.5, integer=True, step="sub_batch_size", at_most="images")) == wanted


# --- Names ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"encoder_ir": Float(0, 1)}, "Toy has no field 'encoder_ir'. Did you mean 'encoder_lr'?"),
        ({"pretrain.epoch": Int(1, 2)}, "Did you mean 'pretrain.epochs'?"),
        ({"pretrain": Int(1, 2)}, "Toy has no field 'pretrain'"),
        ({"hidden": Float(1, 2)}, "hidden: the field is int and cannot be real numbers"),
        ({"hidden": Scale(1, 2)}, "hidden: the field is int and cannot be real numbers"),
        ({"stop": Int(0, 1)}, "stop: the field is bool and cannot be whole numbers"),
        ({"stop": Choice(True, 1)}, "stop: the field is bool and cannot be 1"),
        ({"hidden": Choice(1, None)}, "hidden: the field is int and cannot be None"),
        ({"selection": Choice("calibratde")}, "cannot be 'calibratde'"),
        ({"hidden": 3}, "a range is Float, Int, Choice or Scale, got 3"),
        ({"hidden": Scale(1, 2, integer=True, step="batch")}, "there is no field 'batch'"),
        ({"hidden": Scale(1, 2, integer=True, at_least="x")}, "there is no field 'x'"),
        ({"hidden": Scale(1, 2, integer=True, at_most="image")}, "Did you mean 'images'?"),
        ({}, "needs at least one field"),
        (
            {"batch_size": Choice(1, 2), "hidden": Scale(1, 2, integer=True, at_most="batch_size")},
            "hidden: it cannot be at most 'batch_size', which is searched as a choice",
        ),
        (
            {"hidden": Int(1, 2), "clusters": Scale(1, 2, integer=True, step="hidden")},
            "'hidden' cannot be both its step and searched",
        ),
    ],
)
def test_a_space_checks_its_fields(fields, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        space(Toy, **fields)


def test_all_mistakes_are_told_together():
    with pytest.raises(ValueError, match=r"hiden.*\n.*stopp.*\nbatch_size: .* real numbers$"):
        space(Toy, hiden=Int(1, 2), stopp=Choice(True), batch_size=Float(0, 1))


def test_a_space_is_a_mapping_that_does_not_change():
    found = space(Toy, threshold=Choice(None, 0.9), **{"pretrain.lr": Float(0.1, 1)})
    assert isinstance(found, Space)
    assert list(found) == ["threshold", "pretrain.lr"]
    assert found.config is Toy
    with pytest.raises(TypeError):
        found["hidden"] = Int(1, 2)


# --- Around a configuration -------------------------------------------------------------------


def test_scales_follow_the_configuration():
    searched = space(
        Toy,
        encoder_lr=Scale(0.1, 10, log=True),
        hidden=Scale(0.5, 1.5, integer=True, step=8),
        **{"pretrain.epochs": Scale(0.5, 2, integer=True)},
    )
    found = resolve(searched, Toy(hidden=100, encoder_lr=1e-3))
    assert found["pretrain.epochs"] == Int(25, 100)
    assert found["encoder_lr"] == Float(0.1 * 1e-3, 10 * 1e-3, log=True)
    assert found["hidden"] == Int(52, 148, step=8)  # 100 itself is on it


def test_a_batch_is_whole_sub_batches_and_no_more_than_the_images():
    searched = space(
        Toy, batch_size=Scale(0.5, 1.5, integer=True, step="sub_batch_size", at_most="images")
    )
    assert resolve(searched, Toy())["batch_size"] == Int(500, 1500, step=500)
    assert resolve(searched, Toy(), bounds={"images": 1200})["batch_size"] == Int(
        500, 1000, step=500
    )
    small = Toy(batch_size=500, sub_batch_size=125)
    assert resolve(searched, small)["batch_size"] == Int(250, 750, step=125)


BOTH = space(
    Toy,
    mini_clusters=Scale(0.2, 2, integer=True, log=True, at_most="batch_size"),
    batch_size=Scale(0.5, 1.5, integer=True, step="sub_batch_size", at_least="clusters"),
)


@pytest.mark.parametrize(
    ("config", "regions", "batches"),
    [
        (Toy(), Int(100, 500, log=True), Int(500, 1500, step=500)),
        (Toy(mini_clusters=40), Int(8, 80, log=True), Int(500, 1500, step=500)),
        # The configured 800 regions stay inside: batches of 500 do not.
        (Toy(mini_clusters=800), Int(160, 1000, log=True), Int(1000, 1500, step=500)),
        (Toy(clusters=700), Int(100, 1000, log=True), Int(1000, 1500, step=500)),
    ],
)
def test_no_more_regions_than_images_in_the_smallest_batch(config, regions, batches):
    assert resolve(BOTH, config) == {"mini_clusters": regions, "batch_size": batches}


def test_a_field_that_is_not_searched_bounds_too():
    searched = space(Toy, mini_clusters=Scale(0.2, 4, integer=True, at_most="batch_size"))
    assert resolve(searched, Toy())["mini_clusters"] == Int(100, 1000)


def test_choices_that_the_configuration_refuses_are_left_out():
    searched = space(Toy, threshold=Choice(None, 0.9), hidden=Int(1, 9))
    assert resolve(searched, Toy())["threshold"] == Choice(None, 0.9)
    assert list(resolve(searched, Toy(selection="flexible"))) == ["hidden"]


def test_what_can_only_have_the_configured_value_is_left_out():
    searched = space(Toy, batch_size=Scale(0.9, 1.1, integer=True, step=500), hidden=Int(7, 7))
    assert resolve(searched, Toy()) == {"hidden": Int(7, 7)}


def test_a_scale_of_nothing_and_an_empty_range_are_refused():
    with pytest.raises(ValueError, match="must be a number above 0, got None"):
        resolve(space(Toy, threshold=Scale(0.5, 1)), Toy())
    searched = space(Toy, batch_size=Scale(1, 2, integer=True, at_most="images"))
    with pytest.raises(ValueError, match="batch_size: nothing is left of its range"):
        resolve(searched, Toy(), bounds={"images": 900})
    searched = space(Toy, batch_size=Scale(1.1, 1.2, integer=True, step=500))
    with pytest.raises(ValueError, match="no value in steps of 500 from 1000"):
        resolve(searched, Toy())


# --- Every registered space -------------------------------------------------------------------


def corners(domain):
    return list(domain.values) if isinstance(domain, Choice) else [domain.low, domain.high]


def registered():
    found = [
        (name, preset)
        for name in registry.names("search_spaces")
        for preset in registry.method(name).presets or ("defaults",)
    ]
    assert {name for name, _ in found} >= {"cdc", "dpac", "pac", "fcm"}
    assert len(found) >= 10  # CDC alone has that many; a wrong path would pass as an empty loop
    return found


@pytest.mark.parametrize(("name", "preset"), registered())
def test_corners_of_every_space_are_configurations(name, preset):
    method, searched = registry.method(name), registry.space(name)
    base = configs.build(method.config, method.presets.get(preset, {}))
    flat = configs.flatten(base)
    found = resolve(searched, base, bounds={"images": 100_000})
    assert set(found) <= set(searched)
    for field_name, domain in found.items():
        value = flat[field_name]
        if isinstance(domain, Choice):
            assert value in domain.values
        else:
            assert domain.low <= value <= domain.high
            assert (value - domain.low) % getattr(domain, "step", 1) in (0, pytest.approx(0, abs=1))
    every = list(itertools.product(*map(corners, found.values())))
    for values in random.Random(0).sample(every, min(len(every), 200)):
        configs.build(method.config, flat, dict(zip(found, values, strict=True)))
