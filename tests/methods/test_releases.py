"""Rows of the differences between paper and release: what two readings share, and what not.

Every reference here is written from its definition; `test_differences` says which test holds a row.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from deep_clustering.methods._method import Method
from deep_clustering.methods.algorithms.cdc import CDC, select_by_confidence
from deep_clustering.methods.algorithms.dpac import DPAC
from deep_clustering.methods.cdc import METHOD as CDC_METHOD
from deep_clustering.methods.compute.replicas import Replicas
from deep_clustering.methods.dpac import METHOD as DPAC_METHOD
from deep_clustering.methods.learning.learner import LossScale, adam, descend
from deep_clustering.methods.networks.encoders import autocast, encoder, features_of, place
from deep_clustering.methods.pretraining.moco import MoCo, learning_rate
from deep_clustering.platform.metrics.agreement import match
from deep_clustering.platform.metrics.calibration import ece, reliability
from support import dpac_trials, trials
from support.trials import different

ALL = torch.arange(trials.COUNT)

# --- Pictures of ImageNet's size ------------------------------------------------------------------


def _seen(model: Any) -> dict[str, Tensor]:
    """The views that a method trains and predicts on, by name."""
    pictures = model._images.take(ALL[:32])
    views = dict(model._views()) if isinstance(model, DPAC) else {}
    if isinstance(model, CDC):
        views = {"weak": model._weak, "strong": model._strong}
    if isinstance(model, MoCo):
        views = {"pretraining": model._view}
    found = {"clean": model.clean(pictures)}
    for name, view in views.items():
        draws = view.draw(32, torch.manual_seed(0))
        found[name] = view.apply(pictures, draws, model._mean, model._std)
    return found


def _frames(make: Callable[..., Any], settings: Callable[[str], Any]) -> dict[str, set[str]]:
    """Frame -> the views to which the sides of a photograph matter."""
    reached = {}
    for frame in ("whole", "centre"):
        one, other = (
            _seen(make(settings(frame), pictures=trials.photographs(seed))) for seed in (1, 2)
        )
        reached[frame] = {name for name in one if not torch.equal(one[name], other[name])}
    squares = [_seen(make(settings(frame))) for frame in ("whole", "centre")]
    for name, view in squares[0].items():
        assert torch.equal(view, squares[1][name]), name  # of a square both readings are one
    return reached


def test_crops_of_cdc_reach_into_the_whole_photograph_or_its_centre() -> None:
    def pretraining(frame: str) -> Any:
        return dataclasses.replace(trials.PRETRAIN, frame=frame, side=8, enlargement=9 / 8)

    assert _frames(trials.moco, pretraining) == {"whole": {"pretraining"}, "centre": set()}
    found = _frames(trials.cdc, lambda frame: trials.config(pretrain=pretraining(frame)))
    assert found == {"whole": {"weak", "strong"}, "centre": set()}
    # the paper's views have no crop: they are the centred square, as SCAN's
    paper = {"weak_crop": 1.0, "strong_crop": 1.0}
    found = _frames(trials.cdc, lambda frame: trials.config(pretrain=pretraining(frame), **paper))
    assert found == {"whole": set(), "centre": set()}


def test_all_views_of_dpac_are_of_the_whole_photograph_or_of_its_centre() -> None:
    def settings(frame: str) -> Any:
        return dpac_trials.config(**{"pretrain.frame": frame, "pretrain.side": 8})

    found = _frames(dpac_trials.dpac, settings)
    assert found == {"whole": {"clean", "weak", "strong"}, "centre": set()}


@pytest.mark.parametrize("method", [CDC_METHOD, DPAC_METHOD], ids=["cdc", "dpac"])
def test_the_geometry_is_that_of_the_releases_unless_chosen(method: Method) -> None:
    assert method.config().pretrain.frame == "whole"
    for name in ("imagenet10", "imagenet-dogs"):
        preset = method.presets[name]
        assert preset["pretrain.side"] * preset["pretrain.enlargement"] == 256
        assert preset["pretrain.side"] == 224


# --- CDC: a slice without a selected sample -------------------------------------------------------


def _one_empty_step(empty_step: bool) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """States before and after a batch of which no sample is selected, from one common start."""
    start = trials.trained(trials.cdc(trials.config(fixed_threshold=0.0), seed=1)).state()
    settings = trials.config(fixed_threshold=1.0, empty_step=empty_step, sub_batch_size=32)
    model = trials.cdc(settings)
    model.load_state(start)
    assert model.step(trials.batches(32, 1, seed=9)[0])["skipped"].item() == 1
    return start, model.state()


def test_an_empty_slice_moves_by_momentum_alone_in_the_release() -> None:
    before, ours = _one_empty_step(False)
    _, theirs = _one_empty_step(True)
    for part in ("encoder.", "clustering."):
        for name in (n for n in before if n.startswith(part)):
            if "running" in name or "tracked" in name:
                assert torch.equal(ours[name], theirs[name]), name  # the same passes were made
    for name in (n for n in before if n.startswith(("calibration.", "optimiser.calibration."))):
        assert torch.equal(ours[name], theirs[name]), name
    assert not different(before, ours, "optimiser.encoder.")
    for part, rate in (("encoder", 1e-3), ("clustering", 1e-3)):
        learnt = [n for n in before if n.startswith(f"{part}.") and n.endswith(("weight", "bias"))]
        for position, name in enumerate(learnt):
            old = f"optimiser.{part}.{position}"
            step = int(before[f"{old}.step"]) + 1
            first, second = 0.9 * before[f"{old}.exp_avg"], 0.999 * before[f"{old}.exp_avg_sq"]
            move = first / (1 - 0.9**step) / ((second / (1 - 0.999**step)).sqrt() + 1e-8)
            assert torch.equal(ours[name], before[name]), name
            torch.testing.assert_close(theirs[name], before[name] - rate * move, msg=name)
        assert different(before, theirs, f"{part}.")


# --- CDC: exactly equal probabilities -------------------------------------------------------------


def test_equal_probabilities_are_ranked_in_the_order_of_the_batch() -> None:
    confident = torch.tensor([[1.0, 0.0]]).repeat(600, 1)
    hesitant = torch.tensor([[0.5, 0.5]]).repeat(400, 1)
    p = torch.cat([hesitant, confident])[torch.randperm(1000, generator=torch.manual_seed(0))]
    selected = select_by_confidence(p, 100)
    first = (p[:, 0] == 1).nonzero().flatten()[:100]
    second = (p[:, 0] == 0.5).nonzero().flatten()[:50]  # floor(100 * 0.5) of the other class
    assert selected.nonzero().flatten().tolist() == sorted([*first.tolist(), *second.tolist()])


# --- CDC: evaluation ------------------------------------------------------------------------------


def test_of_equally_good_matchings_ours_has_more_probability_on_the_labels() -> None:
    labels = np.array([0, 1, 0, 1])
    found = np.array([0, 0, 1, 1])  # either matching has half of the images right
    p = np.array([[0.6, 0.4], [0.9, 0.1], [0.1, 0.9], [0.4, 0.6]])
    assignment, share = match(found, labels, 2, p)
    other, other_share = match(found, labels, 2)
    assert share == other_share == 0.5
    assert list(assignment) == [1, 0]  # 0.4 + 0.9 + 0.9 + 0.4 of probability against 1.4
    values = {}
    for taken in ([1, 0], [0, 1]):
        values[tuple(taken)] = ece(p.max(1), np.array(taken)[found] == labels)
    assert values[1, 0] != values[0, 1]  # accuracy is the same, the ECE is not
    assert sorted(other) == [0, 1]


def test_a_confidence_between_two_ideas_of_an_edge_changes_its_bin() -> None:
    """float32 edges made by steps, as in the release, against k / 15 rounded."""
    made, rounded = torch.linspace(0, 1, 16).numpy(), (np.arange(16) / 15).astype(np.float32)
    beside = np.flatnonzero(made != rounded)
    assert len(beside) == 6
    assert abs(made - rounded).max() < 1e-7
    for k in beside:
        confidence = np.array([max(made[k], rounded[k])])
        (ours,) = np.flatnonzero(reliability(confidence, np.array([True]))["count"])
        theirs = int((made < confidence).sum()) - 1  # (low, high]
        assert sorted((ours, theirs)) == [k - 1, k]
    for k in set(range(1, 16)) - set(beside.tolist()):
        (ours,) = np.flatnonzero(reliability(rounded[[k]], np.array([True]))["count"])
        assert ours == int((made < rounded[k]).sum()) - 1 == k - 1


# --- The pretraining of CDC -----------------------------------------------------------------------


def test_the_release_divides_the_warm_up_by_its_length_minus_one() -> None:
    schedule = {"steps": 100, "warmup": 11, "start": 0.1, "peak": 1.1}
    ours = [learning_rate(t, **schedule) for t in range(101)]
    theirs = [learning_rate(t, **schedule, closed=True) for t in range(101)]
    assert ours[:12] == pytest.approx([0.1 + t / 11 for t in range(11)] + [1.1])
    assert theirs[:12] == pytest.approx([0.1 + t / 10 for t in range(11)] + [1.1])
    assert ours[11:] == theirs[11:]
    model = trials.moco(dataclasses.replace(trials.PRETRAIN, warmup_closed=True))
    rates = []
    for indices in trials.batches(16, 6):  # an epoch of warm-up
        model.step(indices)
        rates.append(model._optimiser.param_groups[0]["lr"])
    assert rates[-1] == pytest.approx(model._peak)


# --- DPAC: fresh weights and normalisation --------------------------------------------------------


@pytest.mark.parametrize("stem", ["small", "pooled"])
def test_the_two_readings_of_the_stem_differ_in_its_weights_alone(stem: str) -> None:
    states = {}
    for weights in ("fan-in", "fan-out"):
        torch.manual_seed(0)
        network = encoder(
            "resnet18", side=32, replicas=Replicas.alone(), stem=stem, stem_weights=weights
        )
        states[weights] = network.state_dict()
    ours, theirs = states["fan-in"], states["fan-out"]
    assert {n for n in ours if not torch.equal(ours[n], theirs[n])} == {"conv1.weight"}
    assert float(ours["conv1.weight"].std()) == pytest.approx(1 / 9, rel=0.05)  # 27^-0.5 / 3^0.5
    assert float(theirs["conv1.weight"].std()) == pytest.approx((2 / (64 * 9)) ** 0.5, rel=0.05)


def test_dpac_begins_with_the_stem_of_its_release_and_cdc_with_that_of_its_own() -> None:
    assert DPAC_METHOD.config().pretrain.stem_weights == "fan-out"
    assert not hasattr(CDC_METHOD.config().pretrain, "stem_weights")


def test_the_release_normalises_stl10_as_imagenet() -> None:
    release = DPAC_METHOD.reading_presets["release"]
    mean, std = release["stl10"]["pretrain.mean"], release["stl10"]["pretrain.std"]
    plain = dpac_trials.dpac(dpac_trials.config())
    other = dpac_trials.dpac(dpac_trials.config(**release["stl10"]))
    pixels = plain._images.take(ALL[:8])
    shape = (3, 1, 1)
    levels = plain.clean(pixels) * 0.25 + 0.5  # the mean and std of the trials' images
    expected = (levels - torch.tensor(mean).view(shape)) / torch.tensor(std).view(shape)
    torch.testing.assert_close(other.clean(pixels), expected)
    views = [
        m._viewed(m._views()[0][1], m._images.take(ALL[:32]), m._generators["weak"])
        for m in (plain, other)
    ]
    again = (views[0] * 0.25 + 0.5 - torch.tensor(mean).view(shape)) / torch.tensor(std).view(shape)
    torch.testing.assert_close(views[1], again)
    ours = np.array([(0.5071, 0.4865, 0.4409), (0.2673, 0.2564, 0.2762)])
    theirs = np.array([release["cifar20"][f"pretrain.{name}"] for name in ("mean", "std")])
    assert 0 < abs(ours - theirs).max() < 2.1e-4


# --- Precision ------------------------------------------------------------------------------------


def test_the_releases_train_in_their_precisions() -> None:
    cdc, dpac = CDC_METHOD.readings["release"], DPAC_METHOD.readings["release"]
    assert (cdc["pretrain.precision"], cdc.get("precision")) == ("fp16", None)
    assert (dpac["pretrain.precision"], dpac["precision"]) == ("fp16", "fp16")
    for method in (CDC_METHOD, DPAC_METHOD):
        assert method.config().precision == method.config().pretrain.precision == "fp32"


def test_without_a_gpu_a_scaled_loss_changes_nothing() -> None:
    """A power of two leaves a float32 gradient as it is; there is no float16 on a CPU."""
    plain, scaled = (
        trials.trained(dpac_trials.dpac(dpac_trials.config(precision=precision))).state()
        for precision in ("fp32", "fp16")
    )
    assert set(scaled) - set(plain) == {"loss_scale.factor", "loss_scale.good"}
    assert int(scaled["loss_scale.good"]) == 2
    for name, value in plain.items():
        torch.testing.assert_close(scaled[name], value, rtol=1e-5, atol=1e-7, msg=name)


def test_an_overflow_leaves_the_step_out_and_halves_the_scale() -> None:
    weight = nn.Parameter(torch.ones(3))
    optimiser = adam(([weight], 0.1), weight_decay=0.0)
    scale = LossScale()
    descend((weight * 1e36).sum(), optimiser, Replicas.alone(), scale)  # times 2^16: beyond float32
    assert weight.tolist() == [1.0] * 3
    assert (float(scale.factor), int(scale.good)) == (2.0**15, 0)
    assert not any(float(v.sum()) for v in optimiser.state[weight].values())
    descend(weight.sum(), optimiser, Replicas.alone(), scale)
    assert weight.tolist() == pytest.approx([0.9] * 3)  # Adam's first step
    assert optimiser.state[weight]["exp_avg"].tolist() == pytest.approx([0.1] * 3)
    assert (float(scale.factor), int(scale.good)) == (2.0**15, 1)


def test_many_good_steps_double_the_scale() -> None:
    scale = LossScale()
    for _ in range(LossScale.PATIENCE):
        assert float(scale.factor) == 2.0**16
        scale.follow(torch.tensor(0.0))
    assert (float(scale.factor), int(scale.good)) == (2.0**17, 0)
    scale.follow(torch.tensor(1.0))
    assert float(scale.factor) == 2.0**16


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_on_a_gpu_the_release_computes_in_float16() -> None:
    device = torch.device("cuda")
    network = place(encoder("small", side=8, replicas=Replicas.alone(device)), device)
    seen = []
    network.conv1.register_forward_hook(lambda _, inputs, output: seen.append(output.dtype))
    optimiser, scale = adam((network.parameters(), 1e-3), weight_decay=0.0), LossScale().to(device)
    before = [p.detach().clone() for p in network.parameters()]
    with autocast("fp16", device)():
        features = features_of(network, torch.rand(16, 3, 8, 8, device=device))
    assert (seen, features.dtype) == ([torch.float16], torch.float32)
    descend(features.square().mean(), optimiser, Replicas.alone(device), scale)
    assert float(scale.factor) == 2.0**16
    for old, new in zip(before, network.parameters(), strict=True):
        assert 0 < float((new - old).abs().amax()) < 2e-3
