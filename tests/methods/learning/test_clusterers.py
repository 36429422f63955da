"""What holds of CDC and DPAC alike: losses, predictions, states, seeds, records."""

import dataclasses
import math
from types import ModuleType
from typing import Any

import pytest
import torch

from deep_clustering.methods import cdc, dpac
from deep_clustering.methods.compute.replicas import Replicas
from support import dpac_joined, dpac_trials, trials
from support.trials import different

ALL = torch.arange(trials.COUNT)
METHODS = {"cdc": cdc.METHOD, "dpac": dpac.METHOD}
TRIALS: dict[str, ModuleType] = {"cdc": trials, "dpac": dpac_trials}
FRAMEWORKS = [{"pretrain.framework": name} for name in ("simclr", "moco", "autoencoder")]


def model_of(name: str, changes: dict[str, Any], *, seed: int = 0) -> Any:
    return trials.built(METHODS[name].build, TRIALS[name].config(**changes), seed=seed)


BOUNDS = {"entropy": math.log(3), "confidence": 1.0, "pair_weight": 2 / 3}


@pytest.mark.parametrize(
    ("name", "variants"),
    [
        (
            "cdc",
            [
                {},
                {"heads": "single"},
                {"heads": "single-calibrated"},
                {"stop_gradient": False},
                {"fixed_threshold": 1.0},
                {"selection": "flexmatch"},
                {"selection": "freematch", "filter": "gsf"},
            ],
        ),
        ("dpac", list(dpac_joined.VARIANTS.values())),
    ],
)
def test_losses_are_scalars_under_the_same_names(name: str, variants: list[dict[str, Any]]) -> None:
    names = set()
    for changes in variants:
        model = model_of(name, changes)
        for indices in trials.batches(32, 2):
            losses = model.step(indices)
            names.add(tuple(losses))
            for key, value in losses.items():
                assert value.dim() == 0, key
                assert not value.requires_grad, key
                assert math.isfinite(value.item()), key
            for key in BOUNDS.keys() & losses.keys():
                assert 0 <= losses[key].item() <= BOUNDS[key] + 1e-6, key
            assert losses["confidence"].item() >= 1 / 3
    assert len(names) == 1


# --- Prediction -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "changes", "final", "width"),
    [
        ("cdc", {"heads": "dual"}, "calibration", 128),
        ("cdc", {"heads": "single"}, "clustering", 128),
        ("cdc", {"heads": "single-calibrated"}, "clustering", 128),
        ("dpac", {}, "clustering", 128),
        *(
            ("dpac", {**f, "self_label_epochs": 1}, "linear", width)
            for f, width in zip(FRAMEWORKS, (128, 128, 10), strict=True)
        ),
    ],
)
def test_prediction_is_a_distribution_of_each_sample_alone(
    name: str, changes: dict[str, Any], final: str, width: int
) -> None:
    model = trials.trained(model_of(name, changes))
    state = model.state()
    predicted = model.predict(ALL)
    assert tuple(predicted) == model.heads
    assert model.final_head == model.heads[-1] == final
    for head, p in predicted.items():
        assert p.shape == (trials.COUNT, 3)
        assert p.dtype == torch.float32
        torch.testing.assert_close(p.sum(1), torch.ones(trials.COUNT))
        part = model.predict(torch.tensor([7, 3]))[head]
        torch.testing.assert_close(part, p[[7, 3]], rtol=1e-5, atol=1e-6)
    assert model.features(ALL).shape == (trials.COUNT, width)
    assert not different(state, model.state())


@pytest.mark.parametrize(
    ("name", "changes", "wrong"),
    [("cdc", {}, {"heads": "single"}), *(("dpac", f, {"hidden": 7}) for f in FRAMEWORKS)],
)
def test_a_restored_model_predicts_the_same(
    name: str, changes: dict[str, Any], wrong: dict[str, Any]
) -> None:
    model = trials.trained(model_of(name, changes))
    restore, config = METHODS[name].restore, TRIALS[name].config
    around = {"images": trials.images(), "replicas": Replicas.alone()}
    again = restore(config(**changes), model.model_state(), **around)
    found = again.predict(ALL)
    for head, p in model.predict(ALL).items():
        assert torch.equal(found[head], p)
    assert torch.equal(again.features(ALL), model.features(ALL))
    with pytest.raises(ValueError, match="these weights do not fit"):
        restore(config(**wrong), model.model_state(), **around)


@pytest.mark.parametrize(("name", "changes"), [("cdc", {"selection": "flexmatch"}), ("dpac", {})])
def test_images_outside_the_index_are_left_alone(name: str, changes: dict[str, Any]) -> None:
    """An index of a part of the images is as good as having only that part."""
    build, config = METHODS[name].build, TRIALS[name].config(**changes)
    around = {"replicas": Replicas.alone(), "seed": 0}
    whole = build(config, images=trials.images(), index=torch.arange(64), **around)
    alone = build(config, images=trials.images(64), **around)
    assert whole.initialise() == alone.initialise()
    indices = torch.randperm(64, generator=torch.Generator().manual_seed(0))[:32]
    expected = alone.step(indices)
    for key, value in whole.step(indices).items():
        assert torch.equal(value, expected[key]), key
    assert not different(whole.model_state(), alone.model_state())


@pytest.mark.parametrize("name", METHODS)
def test_too_few_images_are_refused(name: str) -> None:
    model = model_of(name, {"batch_size": 128})
    with pytest.raises(ValueError, match="batch_size: 128 exceeds the 96 images; choose a smaller"):
        model.initialise()


# --- States and seeds -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "changes", "other_seed"),
    [
        *(
            ("cdc", changes, 77)
            for changes in (
                {},
                {"heads": "single", "selection": "flexmatch"},
                {"heads": "single-calibrated", "selection": "freematch"},
                {"stop_gradient": False, "filter": "ppf", "filter_floor": 0.1},
                {
                    "filter": "gsf",
                    "filter_floor": 0.1,
                    "calibration_loss": "focal",
                    "focal_warmup": 1,
                },
                {"initialisation": "random", "weight_decay": 0.1},
            )
        ),
        # Seeds of offline runs are not in the state: they follow from the seed of the run.
        *(("dpac", changes, 4) for changes in dpac_joined.VARIANTS.values()),
    ],
)
def test_a_loaded_state_continues_bit_for_bit(
    name: str, changes: dict[str, Any], other_seed: int
) -> None:
    model = trials.trained(model_of(name, changes, seed=4))
    saved = model.state()
    kept = {k: v.clone() for k, v in saved.items()}
    batches = trials.batches(32, 5)[2:]
    losses = [model.step(indices) for indices in batches]
    assert not different(saved, kept)  # a copy, not a view of what goes on training

    other = model_of(name, changes, seed=other_seed)
    other.step(trials.batches(32, 1, seed=9)[0])
    other.load_state(saved)
    for expected, indices in zip(losses, batches, strict=True):
        found = other.step(indices)
        assert {k: v.item() for k, v in found.items()} == {k: v.item() for k, v in expected.items()}
    end, again = model.state(), other.state()
    assert list(end) == list(again)
    assert not different(end, again)


@pytest.mark.parametrize(
    ("name", "changes"), [("cdc", {}), ("dpac", {"self_label_epochs": 1, "offline": "kmeans"})]
)
def test_state_has_names_and_dtypes_that_files_can_hold(name: str, changes: dict[str, Any]) -> None:
    model = model_of(name, changes)
    before = model.state()
    model.step(trials.batches(32, 1)[0])
    after = model.state()
    assert {k: (v.shape, v.dtype) for k, v in before.items()} == {
        k: (v.shape, v.dtype) for k, v in after.items()
    }
    assert all(v.is_contiguous() for v in after.values())
    assert after["generator.weak.state"].dtype == torch.uint8
    assert int(after["steps"]) == 1
    assert any(k.endswith("exp_avg_sq") for k in after)


@pytest.mark.parametrize("name", METHODS)
def test_the_seed_decides_and_nothing_else_does(name: str) -> None:
    torch.manual_seed(1)
    first = trials.trained(model_of(name, {})).model_state()
    torch.manual_seed(2)
    before = torch.get_rng_state()
    second = trials.trained(model_of(name, {}))
    assert torch.equal(torch.get_rng_state(), before)
    assert not different(first, second.model_state())
    third = trials.trained(model_of(name, {}, seed=1)).model_state()
    assert different(first, third, "encoder.conv1")


# --- The record -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", METHODS)
def test_unknown_data_sets_go_by_their_side(name: str) -> None:
    by_side = METHODS[name].by_side
    assert by_side is not None
    names = [by_side(side) for side in (8, 28, 32, 64, 96, 128, 224, 256)]
    assert names == ["digits", *["cifar10"] * 2, *["stl10"] * 3, *["imagenet10"] * 2]


@pytest.mark.parametrize(("name", "count"), [("cdc", 40), ("dpac", 35)])
def test_the_differences_are_listed_with_fields_that_exist(name: str, count: int) -> None:
    method = METHODS[name]
    assert len(method.differences) == count
    assert len({d.topic for d in method.differences}) == count
    config = method.config()
    fields = {f.name for f in dataclasses.fields(config)}
    fields |= {f"pretrain.{f.name}" for f in dataclasses.fields(config.pretrain)}
    assert {d.field for d in method.differences if d.field is not None} <= fields


#: Fields of rows that no reading sets: paper or release says nothing, or both allow the default.
UNSET = {
    "cdc": {
        "batch_statistics",
        "encoder_lr",
        "epochs",
        "kmeans_restarts",
        "pretrain.frame",
        "pretrain.seed",
        "sub_batch_size",
        "views",
        "weight_decay",
    },
    "dpac": {
        "balance_weight",
        "detach_distance",
        "distance_view",
        "encoder_lr",
        "offline",
        "offline_warm_start",
        "positive_weight",
        "pretrain.code_hidden",
        "pretrain.epochs",
        "pretrain.frame",
        "pretrain.framework",
        "pretrain.projector_hidden",
        "pretrain.stem_weights",
        "self_label_epochs",
        "target_statistics",
        "views",
        "weighted",
    },
}


@pytest.mark.parametrize("name", METHODS)
def test_readings_set_what_the_differences_list(name: str) -> None:
    """No reading changes a field without a row, and the fields of rows are set but for these."""
    method = METHODS[name]
    layers = [*method.readings.values()]
    layers += [layer for of in method.reading_presets.values() for layer in of.values()]
    set_somewhere = {field for layer in layers for field in layer}
    listed = {d.field for d in method.differences if d.field is not None}
    assert set_somewhere <= listed
    assert listed - set_somewhere == UNSET[name]


@pytest.mark.parametrize("name", METHODS)
def test_softmax_of_the_logits_of_clean_views_is_the_prediction(name: str) -> None:
    model = trials.trained(model_of(name, {}))
    logits = model.logits(model.clean(model._images.take(ALL)))
    predictions = model.predict(ALL)
    assert list(logits) == list(predictions) == list(model.heads)
    for head, p in predictions.items():
        assert torch.equal(logits[head].softmax(1), p)


@pytest.mark.parametrize("name", METHODS)
def test_gradient_of_the_logits_is_that_of_finite_differences(name: str) -> None:
    model = trials.built(METHODS[name].build, TRIALS[name].config(), dtype=torch.float64)
    model.initialise()
    g = torch.Generator().manual_seed(0)
    view = model.clean(model._images.take(ALL[:4])).double().requires_grad_()
    for head, logits in model.logits(view).items():
        weights = torch.randn(logits.shape, generator=g, dtype=torch.float64)
        (gradient,) = torch.autograd.grad((logits * weights).sum(), view, retain_graph=True)
        step = 1e-6 * torch.randn(view.shape, generator=g, dtype=torch.float64)
        with torch.no_grad():
            up, down = (model.logits(view + sign * step)[head] for sign in (1, -1))
        change = ((up - down) * weights).sum()
        assert float(change.abs()) > 0
        torch.testing.assert_close((2 * step * gradient).sum(), change, rtol=1e-4, atol=1e-12)
    assert all(
        p.grad is None for network in model._networks().values() for p in network.parameters()
    )


@pytest.mark.parametrize("name", METHODS)
def test_logits_leave_the_model_as_it_was(name: str) -> None:
    model = model_of(name, {})
    before = model.state()
    model.logits(model.clean(model._images.take(ALL)))
    assert not different(before, model.state())
    assert all(network.training for network in model._networks().values())
