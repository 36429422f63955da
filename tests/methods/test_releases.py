"""Rows of the differences between paper and release: what two readings share, and what not.

Every reference here is written from its definition. Rows that have tests elsewhere: the head of
DPAC's training pass (`test_dpac_steps`), pixels of the augmentation (`images/test_views`).
"""

import dataclasses

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from deep_clustering.methods.cdc import METHOD as CDC_METHOD
from deep_clustering.methods.cdc import select_by_confidence
from deep_clustering.methods.compute.replicas import Replicas
from deep_clustering.methods.dpac import METHOD as DPAC_METHOD
from deep_clustering.methods.learning.learner import LossScale, adam, descend
from deep_clustering.methods.networks.encoders import autocast, encoder, features_of, place
from deep_clustering.methods.pretraining.moco import learning_rate
from deep_clustering.platform.data.pixels import pixels, view_side
from deep_clustering.platform.metrics.agreement import match
from deep_clustering.platform.metrics.calibration import ece, reliability
from support import dpac_trials, trials
from support.trials import different

ALL = torch.arange(trials.COUNT)

# --- Pictures of ImageNet's size ------------------------------------------------------------------


def test_a_quarter_of_a_photograph_is_not_stored() -> None:
    """The release crops all 500 x 375 pixels; of ours the 375 in the middle are left, at 256."""
    photograph = np.random.default_rng(0).integers(0, 256, (375, 500, 3), dtype=np.uint8)
    stored = pixels(Image.fromarray(photograph), 256)
    for left, width, same in ((0, 62, True), (438, 62, True), (70, 20, False)):
        other = photograph.copy()
        other[:, left : left + width] = 0
        assert np.array_equal(pixels(Image.fromarray(other), 256), stored) == same
    assert stored.shape == (3, 256, 256)
    assert view_side(256) == 224
    for method in (CDC_METHOD, DPAC_METHOD):
        assert method.presets["imagenet10"]["pretrain.side"] == 224


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
    assert (cdc["pretrain.precision"], cdc["precision"]) == ("fp16", "fp32")
    assert (dpac["pretrain.precision"], dpac["precision"]) == ("fp16", "fp16")
    for method in (CDC_METHOD, DPAC_METHOD):
        assert method.config().precision == method.config().pretrain.precision == "auto"


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
