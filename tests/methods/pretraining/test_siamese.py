"""SimSiam and BYOL: loss, stop of the gradient, target network, LARS, states."""

import copy
import dataclasses
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from deep_clustering.methods.images.contrastive import Contrastive
from deep_clustering.methods.images.operations import Operation
from deep_clustering.methods.images.pictures import Pictures
from deep_clustering.methods.learning.lars import LARS
from deep_clustering.methods.pretraining.byol import BYOL
from deep_clustering.methods.pretraining.moco import learning_rate, momentum
from deep_clustering.methods.pretraining.siamese import Siamese, disagreement
from deep_clustering.methods.pretraining.simsiam import SimSiam
from support import others_trials, trials
from support.trials import different

PRETRAININGS: dict[str, tuple[Any, Any]] = {
    "simsiam": (SimSiam, others_trials.SIMSIAM),
    "byol": (BYOL, others_trials.BYOL),
}
(BATCH,) = trials.batches(16, 1)


def model_of(name: str, seed: int = 0, **changes: Any) -> Any:
    build, config = PRETRAININGS[name]
    return trials.built(build, dataclasses.replace(config, **{"seed": None, **changes}), seed=seed)


def views_of(model: Siamese) -> list[Tensor]:
    """The views that the next step will draw."""
    drawn = torch.Generator()
    drawn.set_state(model._generator.get_state())
    pictures = model._images.take(BATCH)
    return [model._viewed(view, pictures, drawn) for view in model._views]


# --- The loss -------------------------------------------------------------------------------------


def test_disagreement_by_hand() -> None:
    predictions = torch.tensor([[2.0, 0.0], [0.0, 1.0], [1.0, 1.0]], requires_grad=True)
    targets = torch.tensor([[3.0, 4.0], [0.0, -5.0], [1.0, 1.0]], requires_grad=True)
    found = disagreement(predictions, targets)
    assert found.tolist() == pytest.approx([-0.6, 1.0, -1.0])
    found.sum().backward()
    assert targets.grad is None
    assert predictions.grad is not None
    # along the prediction nothing changes; across it the target pulls: (0, -0.8) / 2
    assert predictions.grad[0].tolist() == pytest.approx([0.0, -0.4])


@pytest.mark.parametrize("name", PRETRAININGS)
def test_the_first_step_equals_a_slow_one(name: str) -> None:
    model = model_of(name)
    views = views_of(model)
    networks = copy.deepcopy(model._networks())
    encoder, projector = networks["encoder"], networks["projector"]
    z = [projector(encoder(view)) for view in views]
    p = [networks["predictor"](one) for one in z]
    targets = z
    if name == "byol":
        target = networks["target_encoder"], networks["target_projector"]
        targets = [target[1](target[0](view)) for view in views]
    cosines = [F.cosine_similarity(p[0], targets[1]), F.cosine_similarity(p[1], targets[0])]
    means = sum(float(c.detach().mean()) for c in cosines)
    losses = model.step(BATCH)
    assert float(losses["loss"]) == pytest.approx(
        -means / 2 if name == "simsiam" else 4 - 2 * means, abs=1e-5
    )
    first = F.normalize(z[0].detach(), dim=1)
    spread = first.std(0, correction=0).mean() * 16**0.5
    assert float(losses["spread"]) == pytest.approx(float(spread), abs=1e-5)


def test_the_gradient_of_simsiam_stops_at_the_targets() -> None:
    model = model_of("simsiam", learning_rate=1.0, warmup_rate=1.0, weight_decay=0.0)
    views = views_of(model)
    networks = copy.deepcopy(model._networks())
    z = [networks["projector"](networks["encoder"](view)) for view in views]
    p = [networks["predictor"](one) for one in z]
    stopped = [one.detach() for one in z]
    mean = (F.cosine_similarity(p[0], stopped[1]) + F.cosine_similarity(p[1], stopped[0])).mean()
    (-mean / 2).backward()
    model.step(BATCH)
    for name in ("encoder", "projector", "predictor"):
        rate = 1.0 if name != "predictor" else 1 / 16  # 16 images of 256, and no warm-up
        pairs = zip(networks[name].parameters(), model._networks()[name].parameters(), strict=True)
        for before, after in pairs:
            if before.grad is not None:
                torch.testing.assert_close(after, before - rate * before.grad)


# --- BYOL's target --------------------------------------------------------------------------------


def test_the_target_follows_the_online_networks() -> None:
    model = model_of("byol", momentum_start=0.5, momentum_end=0.9)
    batches = trials.batches(16, 3)
    for step, indices in enumerate(batches):
        before = [value.clone() for value in model._averaged]
        model.step(indices)
        kept = momentum(step, steps=4 * 6, start=0.5, end=0.9)
        for old, online, new in zip(before, model._online, model._averaged, strict=True):
            torch.testing.assert_close(new, kept * old + (1 - kept) * online)
    assert all(value.grad is None for value in model._averaged)


def test_a_target_that_never_moves_is_the_first_network() -> None:
    model = model_of("byol", momentum_start=1.0)
    before = [value.clone() for value in model._averaged]
    trials.trained(model, 3)
    assert all(torch.equal(a, b) for a, b in zip(before, model._averaged, strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(before, model._online, strict=True))


# --- Optimisers -----------------------------------------------------------------------------------


@pytest.mark.parametrize(("decays", "fixed"), [(False, True), (True, False)])
def test_the_rate_of_simsiams_predictor_stays_unless_asked(decays: bool, fixed: bool) -> None:
    model = model_of("simsiam", predictor_decays=decays)
    for step, indices in enumerate(trials.batches(16, 8)):
        model.step(indices)
        rate = learning_rate(step, steps=24, warmup=6, start=3e-5, peak=0.5 / 16)
        network, predictor = (group["lr"] for group in model._optimiser.param_groups)
        assert network == rate
        assert predictor == (0.5 / 16 if fixed else rate)


@pytest.mark.parametrize("clip", [False, True])
def test_lars_equals_a_slow_loop(clip: bool) -> None:
    g = torch.Generator().manual_seed(0)
    shapes = [(3, 4), (5,), (2, 3, 3), (2, 2), (4, 4)]
    weights = [torch.randn(shape, generator=g).requires_grad_() for shape in shapes]
    with torch.no_grad():
        weights[3].zero_()  # has no length
        weights[4].mul_(100)  # is so long that its factor is cut off
    slow = [w.detach().clone() for w in weights]
    moments = [torch.zeros_like(w) for w in slow]
    optimiser = LARS(weights, 0.3, momentum=0.9, weight_decay=0.1, trust=0.02, clip=clip)
    for _ in range(3):
        gradients = [torch.randn(shape, generator=g) for shape in shapes]
        for i, gradient in enumerate(gradients):
            weights[i].grad = gradient.clone()
            step = gradient
            if gradient.dim() > 1:
                step, factor = gradient + 0.1 * slow[i], 1.0
                length, slope = slow[i].norm(), gradient.norm()
                if length > 0:
                    factor = float(0.02 * length / (slope + 0.1 * length))
                    factor = min(factor / 0.3, 1.0) if clip else factor
                step = step * factor
            moments[i] = 0.9 * moments[i] + step
            slow[i] = slow[i] - 0.3 * moments[i]
        optimiser.step()
        for weight, expected in zip(weights, slow, strict=True):
            torch.testing.assert_close(weight.detach(), expected)


# --- Views, states, configuration -----------------------------------------------------------------


def test_solarised_views_leave_the_other_draws_as_they_were() -> None:
    plain, half = Contrastive(8, blur=0.3), Contrastive(8, blur=0.3, solarise=0.5)
    before, after = (view.draw(2000, torch.Generator().manual_seed(3)) for view in (plain, half))
    for name, drawn in before.items():
        kept = after[name][:, : drawn.shape[1]] if drawn.dim() == 2 else after[name]
        assert torch.equal(kept, drawn), name
    inverted = after["operation"][:, -1] == Operation.SOLARISE
    assert 0.45 < float(inverted.float().mean()) < 0.55
    certain = Contrastive(4, crop_scale=(1.0, 1.0), jitter=0, grey=0, blur=0, solarise=1, flip=0)
    pixels = torch.tensor([0, 127, 128, 250], dtype=torch.uint8).expand(1, 3, 4, 4)
    seen = certain.apply(
        Pictures(pixels), certain.draw(1, torch.Generator()), torch.zeros(3), torch.ones(3)
    )
    assert (seen[0, 0, 0] * 255).round().tolist() == [0, 127, 127, 5]


@pytest.mark.parametrize("name", PRETRAININGS)
def test_a_loaded_state_continues_bit_for_bit(name: str) -> None:
    model, other = model_of(name, seed=4), model_of(name, seed=77)
    trials.trained(model)
    saved = model.state()
    other.step(BATCH)
    other.load_state(saved)
    for indices in trials.batches(16, 2, seed=5):
        assert not different(model.step(indices), other.step(indices))
    assert not different(model.state(), other.state())


@pytest.mark.parametrize("name", PRETRAININGS)
def test_what_is_handed_over_is_the_encoder(name: str) -> None:
    model = trials.trained(model_of(name))
    state, again = model.encoder_state(), model_of(name, seed=9)
    assert state.keys() == model.encoder_weights().keys()
    again.load_encoder(state)
    every = torch.arange(trials.COUNT)
    assert torch.equal(again.features(every), model.features(every))


@pytest.mark.parametrize("name", PRETRAININGS)
def test_training_brings_views_together(name: str) -> None:
    model = model_of(name, weight_decay=0.0)
    losses = [model.step(indices) for indices in trials.batches(16, 24)]
    first, last = (float(sum(x["loss"] for x in part)) for part in (losses[:6], losses[-6:]))
    assert last < first
    assert float(losses[-1]["spread"]) > 0.3  # and they have not collapsed


def test_mistakes_are_reported_at_once() -> None:
    with pytest.raises(ValueError, match=r"warmup_epochs: must be below epochs \(4\), got 4"):
        dataclasses.replace(others_trials.BYOL, warmup_epochs=4)
    with pytest.raises(ValueError, match=r"trust: must be above 0, got 0.0\nsolarise: must be fro"):
        dataclasses.replace(others_trials.BYOL, trust=0.0, solarise=1.5)
    with pytest.raises(ValueError, match="projector_layers: must not be negative, got -1"):
        dataclasses.replace(others_trials.SIMSIAM, projector_layers=-1)
