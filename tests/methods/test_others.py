"""What holds of all methods that the papers compare with: predictions, states, seeds, records."""

import math
from typing import Any

import pytest
import torch

from deep_clustering.methods._method import Method
from deep_clustering.methods.compute.replicas import Replicas
from deep_clustering.methods.images.images import Images
from deep_clustering.platform import registry
from deep_clustering.platform.request import configs
from support import others_joined, others_trials, ranks, trials
from support.trials import different

NAMES = list(others_trials.CONFIGS)
TRAINED = [name for name in NAMES if others_trials.CONFIGS[name].epochs]
ALL = torch.arange(trials.COUNT)


def method_of(name: str) -> Method:
    return registry.method(name)


def model_of(name: str, *, seed: int = 0, **changes: Any) -> Any:
    return trials.built(method_of(name).build, others_trials.config(name, **changes), seed=seed)


@pytest.fixture(scope="module")
def made() -> dict[str, Any]:
    """A model of each method after two steps."""
    return {name: trials.trained(model_of(name)) for name in NAMES}


@pytest.mark.parametrize("name", NAMES)
def test_prediction_is_a_distribution_of_each_sample_alone(made: Any, name: str) -> None:
    model = made[name]
    state = model.state()
    predicted = model.predict(ALL)
    assert tuple(predicted) == model.heads
    assert model.final_head == model.heads[-1]
    for head, p in predicted.items():
        assert p.shape == (trials.COUNT, 3)
        assert p.dtype == torch.float32
        torch.testing.assert_close(p.sum(1), torch.ones(trials.COUNT))
        part = model.predict(torch.tensor([7, 3]))[head]
        torch.testing.assert_close(part, p[[7, 3]], rtol=1e-4, atol=1e-5)
    logits = model.logits(model.clean(model._images.take(ALL)))
    for head, p in predicted.items():
        assert torch.equal(logits[head].softmax(1), p)
    assert model.features(ALL).shape == (trials.COUNT, 128)
    assert not different(state, model.state())


@pytest.mark.parametrize("name", NAMES)
def test_a_restored_model_predicts_the_same(made: Any, name: str) -> None:
    model, restore = made[name], method_of(name).restore
    assert restore is not None
    around = {"images": trials.images(), "replicas": Replicas.alone()}
    again = restore(others_trials.CONFIGS[name], model.model_state(), **around)
    for head, p in model.predict(ALL).items():
        assert torch.equal(again.predict(ALL)[head], p)
    assert torch.equal(again.features(ALL), model.features(ALL))
    with pytest.raises(ValueError, match="these weights do not fit"):
        restore(others_trials.config(name, clusters=4), model.model_state(), **around)


@pytest.mark.parametrize("name", TRAINED)
def test_losses_are_finite_scalars_in_their_range(name: str) -> None:
    for indices in trials.batches(32, 2):
        losses = model_of(name).step(indices)
        for key, value in losses.items():
            assert value.dim() == 0, key
            assert not value.requires_grad, key
            assert math.isfinite(value.item()), key
        assert 0 <= losses["entropy"].item() <= math.log(3) + 1e-6
        assert 1 / 3 <= losses["confidence"].item() <= 1


@pytest.mark.parametrize("name", NAMES)
def test_a_loaded_state_continues_bit_for_bit(name: str) -> None:
    model, other = trials.trained(model_of(name, seed=4)), model_of(name, seed=77)
    saved = model.state()
    kept = {k: v.clone() for k, v in saved.items()}
    other.step(trials.batches(32, 1, seed=9)[0])
    other.load_state(saved)
    for indices in trials.batches(32, 3, seed=5):  # over the end of an epoch, which has 3 steps
        assert not different(model.step(indices), other.step(indices))
    assert not different(model.state(), other.state())
    assert not different(saved, kept)  # a copy, not a view of what goes on training


@pytest.mark.parametrize("name", NAMES)
def test_the_seed_decides_and_nothing_else_does(made: Any, name: str) -> None:
    torch.manual_seed(2)
    before = torch.get_rng_state()
    again = trials.trained(model_of(name))
    assert torch.equal(torch.get_rng_state(), before)
    assert not different(made[name].model_state(), again.model_state())
    other = trials.trained(model_of(name, seed=1)).model_state()
    first = next(key for key in other if key.endswith("conv1.weight"))
    assert different(made[name].model_state(), other, first)


@pytest.mark.parametrize("name", NAMES)
def test_images_outside_the_index_are_left_alone(name: str) -> None:
    build, config = method_of(name).build, others_trials.CONFIGS[name]
    assert build is not None

    def started(images: Images, **index: Any) -> Any:
        return build(config, images=images, replicas=Replicas.alone(), seed=0, **index)

    whole = started(trials.images(), index=torch.arange(64))
    alone = started(trials.images(64))
    assert whole.initialise() == alone.initialise()
    indices = torch.randperm(64, generator=torch.Generator().manual_seed(0))[:32]
    assert not different(whole.step(indices), alone.step(indices))
    assert not different(whole.model_state(), alone.model_state())


@pytest.mark.parametrize("name", TRAINED)
def test_too_few_images_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match="batch_size: 128 exceeds the 96 images; choose a smaller"):
        model_of(name, batch_size=128).initialise()


@pytest.mark.parametrize("name", NAMES)
def test_records(name: str) -> None:
    """Presets exist for every side, readings are configurations, differences name fields."""
    method = method_of(name)
    assert method.by_side is not None
    for side in (8, 28, 32, 64, 96, 224):
        preset = method.by_side(side)
        for reading in (None, *method.readings):
            values = {
                k: v for _, layer in method.layers(preset, side, reading) for k, v in layer.items()
            }
            configs.build(method.config, values)
    fields = set(configs.fields(method.config))
    assert {d.field for d in method.differences if d.field is not None} <= fields
    assert len({d.topic for d in method.differences}) == len(method.differences)
    set_by_readings = {k for layer in method.readings.values() for k in layer}
    set_by_readings |= {
        k for of in method.reading_presets.values() for layer in of.values() for k in layer
    } - {"mean"}  # a row for both stands under std
    listed = {d.field for d in method.differences}
    assert set_by_readings - {"mean", "enlargement"} <= listed


@pytest.fixture(scope="module")
def joined(
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[ranks.Results, list[ranks.Results]]:
    return ranks.results(others_joined, tmp_path_factory.mktemp("joined"))


@pytest.mark.ray
@pytest.mark.parametrize("name", others_joined.NAMES)
def test_two_processes_compute_what_one_does(
    joined: tuple[ranks.Results, list[ranks.Results]], name: str
) -> None:
    ranks.assert_identical(joined, name)
    ranks.assert_as_one(joined, name, rtol=1e-6, atol=1e-8)
