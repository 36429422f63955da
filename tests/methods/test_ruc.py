"""RUC: the clean set, labels and losses by hand, one batch, states, processes, fields."""

import dataclasses
import functools
import math
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from deep_clustering.methods._method import BaseOutputs
from deep_clustering.methods.algorithms import ruc
from deep_clustering.methods.algorithms.ruc import RUC
from deep_clustering.methods.compute.random import derived
from deep_clustering.methods.compute.replicas import Replicas
from deep_clustering.methods.learning.mixmatch import smoothed_cross_entropy
from deep_clustering.methods.ruc import METHOD, RUCConfig
from support import ranks, ruc_joined, trials
from support.ranks import Results
from support.ruc_joined import TRUTH, base, batches, config, trained
from support.trials import different

ALL = torch.arange(trials.COUNT)


# --- Sec. 3.1: the clean set ----------------------------------------------------------------------


def of(p: Tensor, **changes: Any) -> Tensor:
    """The clean set of predictions without useful features."""
    features = torch.eye(p.shape[1])[p.argmax(1)]
    settings = RUCConfig(**{"clusters": p.shape[1], "strategy": "confidence"} | changes)
    return ruc.extracted(settings, ruc.Pseudo(p, p.argmax(1), features))


def test_nothing_above_the_threshold_says_what_there_is() -> None:
    p = torch.tensor([[0.6, 0.4], [0.3, 0.7]])
    with pytest.raises(
        ValueError,
        match=r"tau1: no image is clean .* largest confidence is 0.7.*tau1_share=0.7 and fewest=",
    ):
        of(p)
    assert of(p, fewest=1).tolist() == [True, True]
    assert of(p, tau1_share=1.0).tolist() == [True, True]


def test_a_cluster_without_a_clean_member_is_an_error_unless_some_are_to_stay() -> None:
    p = torch.tensor([[0.995, 0.005], [0.3, 0.7], [0.4, 0.6]])
    with pytest.raises(ValueError, match=r"fewest: cluster 1 would disappear.* set fewest=10"):
        of(p)
    assert of(p, fewest=1).tolist() == [True, True, False]


def test_an_empty_cluster_of_the_base_is_counted_and_stays_empty() -> None:
    p = torch.tensor([[0.995, 0.005, 0.0], [0.003, 0.997, 0.0]])
    assert of(p).tolist() == [True, True]
    given = base()
    narrow = given.probabilities.clone()
    narrow[:, 1] += narrow[:, 2] + 0.2
    narrow[:, 2] = 0
    there = dataclasses.replace(given, probabilities=narrow / narrow.sum(1, keepdim=True))
    assert ruc_joined.ruc(given=there).initialise()["empty_clusters"] == 1.0


def test_clusters_without_probabilities_have_no_confidence() -> None:
    p = torch.eye(3)
    with pytest.raises(ValueError, match="clusters without probabilities; set strategy=metric"):
        of(p)
    assert of(p, strategy="metric", neighbours=1).tolist() == [True] * 3


def test_a_calibrated_base_needs_a_share() -> None:
    """CDC's calibration head: hardly anything is surer than 0.99."""
    calibrated = base(sure=0.6)
    settings = config(strategy="confidence")
    with pytest.raises(ValueError, match="no image is clean"):
        ruc_joined.ruc(settings, given=calibrated).initialise()
    shared = dataclasses.replace(settings, tau1_share=0.7)
    found = ruc_joined.ruc(shared, given=calibrated).initialise()
    assert 0.7 <= found["clean_share"] < 0.8


# --- Sec. 3.2: labels and losses by hand ----------------------------------------------------------


def test_sharpening_by_hand() -> None:
    p = torch.tensor([[0.6, 0.4], [1.0, 0.0], [0.5, 0.5]])
    found = ruc.sharpen(p, 0.5)
    torch.testing.assert_close(found[0], torch.tensor([0.36, 0.16]) / 0.52)  # 0.6923, 0.3077
    assert torch.equal(found[1:], p[1:])
    torch.testing.assert_close(ruc.sharpen(p, 1.0), p)


def test_co_refinement_by_hand() -> None:
    """(1 - 0.5) (1, 0) + 0.5 (0.2, 0.8) = (0.6, 0.4), squared and divided by 0.52."""
    labels, prediction = torch.tensor([0, 0, 0]), torch.tensor([[0.2, 0.8]] * 3)
    found = ruc.refined(labels, torch.tensor([0.5, 0.0, 1.0]), prediction, 0.5)
    expected = [[0.36 / 0.52, 0.16 / 0.52], [1.0, 0.0], [0.04 / 0.68, 0.64 / 0.68]]
    torch.testing.assert_close(found, torch.tensor(expected))


def test_label_smoothing_by_hand() -> None:
    """The least loss is the entropy of the target: ln 6 for K = 10, 2.1653 for K = 20."""
    for k, least in ((10, math.log(6)), (20, 2.1653)):
        target = torch.full((1, k), 0.5 / (k - 1))
        target[0, 3] = 0.5
        found = smoothed_cross_entropy(torch.tensor([3]), target.log(), smoothing=0.5)
        assert found.item() == pytest.approx(least, abs=1e-4)
    logits = torch.randn(5, 4, generator=torch.Generator().manual_seed(0))
    labels = torch.tensor([0, 1, 2, 3, 0])
    plain = smoothed_cross_entropy(labels, logits, smoothing=0.0)
    torch.testing.assert_close(plain, F.cross_entropy(logits, labels, reduction="none"))


def test_squared_error_by_hand() -> None:
    targets, logits = torch.tensor([[0.75, 0.25]]), torch.zeros(1, 2)
    assert ruc.squared_error(targets, logits, distance="row").item() == pytest.approx(0.125)
    assert ruc.squared_error(targets, logits, distance="entry").item() == pytest.approx(0.0625)
    same = torch.tensor([[0.3, 0.7]])
    assert ruc.squared_error(same, same.log(), distance="row").item() == pytest.approx(0, abs=1e-12)


def test_soft_targets_by_hand() -> None:
    targets, p = torch.tensor([[0.25, 0.75]]), torch.tensor([[0.5, 0.5]])
    assert ruc.soft_cross_entropy(targets, p.log()).item() == pytest.approx(math.log(2))


def test_weights_are_normalised_confidences() -> None:
    recorded = torch.tensor([0.5, 0.9, 0.7, -1.0])
    torch.testing.assert_close(ruc.normalised(recorded), torch.tensor([0.0, 1.0, 0.5, 0.0]))
    assert ruc.normalised(torch.tensor([0.4, 0.4])).tolist() == [0.0, 0.0]
    assert ruc.normalised(torch.tensor([-1.0, -1.0])).tolist() == [0.0, 0.0]


def test_schedules() -> None:
    settings = RUCConfig()
    assert [ruc.ramped(settings, e) for e in (0, 20, 100, 200)] == [0.1, 0.1, 0.5, 1.0]
    assert ruc.ramped(RUCConfig(ramp=0), 0) == 1.0
    rates = [ruc.cosine_rate(settings, e) for e in (0, 100, 199)]
    assert rates == pytest.approx([0.01, 0.005, 6.17e-7], rel=1e-3)
    found = [ruc.refurbish_threshold(settings, e) for e in (0, 39, 40, 80, 120, 160, 199)]
    assert found == pytest.approx([0.9, 0.9, 0.92, 0.94, 0.96, 0.98, 0.98])
    assert ruc.refurbish_threshold(settings, 4000) == 1.0


def test_ensembles() -> None:
    first, second = torch.tensor([[2.0, 0.0]]), torch.tensor([[0.0, 1.0]])
    assert ruc.ENSEMBLES["sum"](first, second).tolist() == [[2.0, 1.0]]
    assert ruc.ENSEMBLES["average"](first, second).tolist() == [[1.0, 0.5]]
    mean = (first.softmax(1) + second.softmax(1)) / 2
    torch.testing.assert_close(ruc.ENSEMBLES["probabilities"](first, second).softmax(1), mean)


# --- One batch ------------------------------------------------------------------------------------


def logits_of(model: RUC, network: int, view: Tensor) -> Tensor:
    encoder = list(model._encoders.values())[network]
    return list(model._heads.values())[network](encoder(view))


def test_a_batch_equals_a_plain_one() -> None:
    """The recipe's order of one step, with PyTorch's own losses and optimiser; second pass."""
    model, twin = (trained(ruc_joined.ruc(seed=3, dtype=torch.float64), 4) for _ in range(2))
    samples = twin._samples
    samples.recorded[:5] = -1.0  # as if the last partial batch had been dropped
    samples.weight.copy_(torch.linspace(0, 1, trials.COUNT))
    model.load_state(twin.state())
    indices = batches(1, seed=9)[0]
    found = model.step(indices)

    mean, std, pixels = twin._mean, twin._std, twin._images.take(indices)
    v0 = twin.clean(pixels)
    v1, v2, v3 = (
        view.apply(pixels, view.draw(32, twin._generators[name]), mean, std)
        for name, view in twin._views.items()
    )
    clean, y = samples.entered[indices] >= 0, samples.labels[indices].clone()
    with torch.no_grad():
        f = [logits_of(twin, 1, v).softmax(1) for v in (v0, v1, v2)]
        g = [logits_of(twin, 0, v).softmax(1) for v in (v0, v1, v2)]
    s = logits_of(twin, 1, v3)[clean].log_softmax(1)
    w = samples.weight[indices].double()[:, None]
    refined = ((1 - w) * F.one_hot(y, 3) + w * g[0]) ** 2
    guessed = ((f[1] + f[2] + g[1] + g[2]) / 4) ** 2
    targets = torch.where(clean[:, None], refined, guessed)
    targets = (targets / targets.sum(1, keepdim=True)).repeat(2, 1)
    random = np.random.default_rng(derived(3, "mix 4"))
    share = random.beta(4, 4)
    share = max(share, 1 - share)
    partner = torch.from_numpy(random.permutation(64))
    images = torch.cat([v1, v2])
    x = logits_of(twin, 1, share * images + (1 - share) * images[partner])
    t = share * targets + (1 - share) * targets[partner]
    both = clean.repeat(2)
    l_x = F.cross_entropy(x[both], t[both])
    l_u = F.mse_loss(x[~both].softmax(1), t[~both])
    target = torch.full_like(s, 0.25).scatter(1, y[clean][:, None], 0.5)
    l_s = -(target * s).sum(1).mean()
    for name, value in (("labelled", l_x), ("unlabelled", l_u), ("smoothed", l_s)):
        assert found[f"{name}_loss"].item() == pytest.approx(value.item(), rel=1e-9), name
    loss = l_x + 25 * max(0.1, (0 + 1 / 4) / 3) * l_u + l_s
    parameters = [p for n in twin._trained[1] for p in n.parameters()]
    plain = torch.optim.SGD(parameters, lr=0.01, momentum=0.9, nesterov=True, weight_decay=5e-4)
    for parameter in parameters:  # the step before has left its momentum
        plain.state[parameter] = dict(twin._optimisers[1].state[parameter])
    plain.zero_grad()
    loss.backward()
    plain.step()
    for mine, theirs in zip(
        (p for n in model._trained[1] for p in n.parameters()), parameters, strict=True
    ):
        torch.testing.assert_close(mine, theirs, rtol=1e-9, atol=1e-12)
    for own, other in zip(model._trained[1], twin._trained[1], strict=True):
        for statistic, expected in zip(own.buffers(), other.buffers(), strict=True):
            torch.testing.assert_close(statistic, expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("entered", [0, -1])
def test_an_empty_half_of_a_batch_is_zero(entered: int) -> None:
    model = ruc_joined.ruc(config(refurbish=None))
    model.initialise()
    model._samples.entered.fill_(entered)
    losses = model.step(batches(1)[0])
    empty = "unlabelled_loss" if entered == 0 else "labelled_loss"
    assert losses[empty].item() == 0
    assert all(math.isfinite(v.item()) for v in losses.values())
    assert losses["clean_share"].item() == (entered == 0)
    weights = model.model_state()
    assert all(bool(torch.isfinite(v).all()) for v in weights.values() if v.is_floating_point())


@pytest.mark.parametrize("statistics", ["update", "batch"])
def test_only_the_trained_network_learns(statistics: str) -> None:
    model = ruc_joined.ruc(config(counter_statistics=statistics))
    model.initialise()
    before = model.state()
    for indices in batches(1):
        model.step(indices)
    after = model.state()
    for name in before:
        if name.startswith(("encoder2.", "second.")) and "num_batches" not in name:
            moves = "running" in name and statistics == "update"
            assert torch.equal(before[name], after[name]) != moves, name
    assert different(before, after, "encoder.")
    assert different(before, after, "first.")


def test_networks_start_alike_but_for_their_heads() -> None:
    donor = ruc_joined.ruc(seed=5)
    given = dataclasses.replace(base(), encoder=donor.encoder_weights())
    model = ruc_joined.ruc(config(start="base"), given=given)
    for encoder in model._encoders.values():
        for name, value in encoder.state_dict().items():
            assert torch.equal(value, given.encoder[name]), name
    heads = list(model._heads.values())
    assert not torch.equal(heads[0].weight, heads[1].weight)
    fresh = ruc_joined.ruc(given=given)
    first, second = fresh._encoders.values()
    assert not torch.equal(first.conv1.weight, given.encoder["conv1.weight"])
    assert not torch.equal(first.conv1.weight, second.conv1.weight)


def test_a_base_that_does_not_fit_is_refused() -> None:
    given = dataclasses.replace(base(), encoder={"conv1.weight": torch.zeros(1)})
    with pytest.raises(
        ValueError, match=r"backbone: small is not the encoder of the base .*start="
    ):
        ruc_joined.ruc(config(start="base"), given=given)
    with pytest.raises(ValueError, match=r"start: the base has trained no network; set start"):
        ruc_joined.ruc(config(start="base"))
    with pytest.raises(
        ValueError, match="clusters: the base has 3 clusters, got 4; set clusters=3"
    ):
        ruc_joined.ruc(config(clusters=4))
    whole = base()
    part = BaseOutputs(
        index=whole.index[:90],
        probabilities=whole.probabilities[:90],
        features=whole.features[:90],
    )
    with pytest.raises(ValueError, match="says nothing about 6 of the 96 images"):
        ruc_joined.ruc(given=part)


# --- The clean set while training -----------------------------------------------------------------


@pytest.mark.parametrize("refurbish", ["batch", "epoch"])
def test_the_clean_set_only_grows_and_its_labels_stay(refurbish: str) -> None:
    model = ruc_joined.ruc(config(refurbish=refurbish))
    model.initialise()
    samples = model._samples
    grown = 0
    for epoch in range(3):
        for indices in batches(2, seed=epoch):
            before, labels = samples.entered.clone(), samples.labels.clone()
            share = model.step(indices)["clean_share"].item()
            assert share == pytest.approx((before[indices] >= 0).float().mean().item())
            was = before >= 0
            assert torch.equal(samples.entered[was], before[was])
            assert torch.equal(samples.labels[was], labels[was])
            new = (samples.entered >= 0) & ~was
            assert bool((samples.entered[new] == epoch + 1).all())
            grown += int(new.sum())
    assert grown > 0


def test_refurbished_labels_are_those_of_the_trained_network() -> None:
    model = ruc_joined.ruc()
    model.initialise()
    model._samples.entered.fill_(-1)
    indices = batches(1)[0]
    encoder, head = model._trained[0]
    with torch.no_grad():
        p = head(encoder(model.clean(model._images.take(indices)))).softmax(1)
    model.step(indices)
    sure = p.amax(1) >= 0.36
    assert 0 < int(sure.sum()) < 32
    assert torch.equal(model._samples.entered[indices] >= 0, sure)
    assert torch.equal(model._samples.labels[indices][sure], p.argmax(1)[sure])


def test_weights_of_a_pass_are_the_confidences_of_the_one_before() -> None:
    model = ruc_joined.ruc()
    model.initialise()
    for indices in batches(1):
        model.step(indices)
        assert not bool(model._samples.weight.any())  # the first pass refines nothing
    recorded = model._samples.recorded.clone()
    assert bool((recorded >= 1 / 3).all())
    model.step(batches(2)[3])
    assert torch.equal(model._samples.weight, ruc.normalised(recorded))
    assert int((model._samples.recorded >= 0).sum()) == 32


def test_dividemix_divides_before_each_pass() -> None:
    changes = ruc_joined.VARIANTS["dividemix"]
    model = ruc_joined.ruc(config(**changes))
    assert model.initialise()["clean_share"] == 1.0
    for indices in batches(2):
        assert model.step(indices)["unlabelled_loss"].item() == 0  # the warm-up
    model.step(batches(1)[0])
    samples = model._samples
    clean = samples.entered >= 0
    assert 0 < int(clean.sum()) < trials.COUNT
    assert bool((samples.weight[clean] < 0.5).all())
    assert bool((samples.weight[~clean] >= 0.5).all())


# --- What follows from it all ---------------------------------------------------------------------


def test_noisy_labels_are_mended() -> None:
    """A quarter of the labels is wrong, and the embedding knows better."""
    model = ruc_joined.ruc(config(epochs=8, tau2=0.9))
    model.initialise()
    right = base().probabilities.argmax(1) == TRUTH
    clean = model._samples.entered >= 0
    assert right.float().mean().item() == 0.75
    assert right[clean].float().mean().item() > 0.95
    for epoch in range(8):
        for indices in batches(2, seed=epoch):
            model.step(indices)
    accuracy = (model.predict(ALL)["ensemble"].argmax(1) == TRUTH).float().mean().item()
    assert accuracy > 0.95


@pytest.mark.ray
@pytest.mark.parametrize("after", [2, 3, 4, 6])
@pytest.mark.parametrize("variant", ruc_joined.VARIANTS)
def test_a_loaded_state_continues_bit_for_bit(variant: str, after: int) -> None:
    """Interrupted in the first pass, between both, in the second, and after an epoch."""
    settings = config(**ruc_joined.VARIANTS[variant])
    whole = ruc_joined.ruc(settings)
    first = trained(whole, after).state()
    again = ruc_joined.ruc(settings)
    again.load_state(first)
    rest = batches(3)[after:8]
    for indices in rest:
        expected, found = whole.step(indices), again.step(indices)
        assert all(torch.equal(expected[k], found[k]) for k in expected)
    assert not different(whole.state(), again.state())


@pytest.mark.parametrize("changes", [{}, {"co_training": False}])
def test_a_restored_model_predicts_the_same(changes: dict[str, Any]) -> None:
    model = trained(ruc_joined.ruc(config(**changes)), 2)
    around: dict[str, Any] = {"images": trials.images(), "replicas": Replicas.alone()}
    again = METHOD.restore(config(**changes), model.model_state(), **around)
    found = again.predict(ALL)
    expected = model.predict(ALL)
    assert tuple(found) == model.heads == again.heads
    assert model.final_head == ("ensemble" if not changes else "first")
    for head, p in expected.items():
        assert torch.equal(found[head], p)
        logits = again.logits(model.clean(model._images.take(ALL)))[head]
        torch.testing.assert_close(logits.softmax(1), p)


def test_renamed_clusters_train_the_renamed_network() -> None:
    """Clusters under other names, and the rows of the heads likewise."""
    names = torch.tensor([1, 2, 0])
    given = base()
    renamed = torch.empty_like(given.probabilities)
    renamed[:, names] = given.probabilities
    one = ruc_joined.ruc(dtype=torch.float64)
    other = ruc_joined.ruc(
        given=dataclasses.replace(given, probabilities=renamed), dtype=torch.float64
    )
    for mine, theirs in zip(one._heads.values(), other._heads.values(), strict=True):
        theirs.weight.data[names] = mine.weight.data
        theirs.bias.data[names] = mine.bias.data
    trained(one, 5)
    trained(other, 5)
    for head, p in one.predict(ALL).items():
        torch.testing.assert_close(other.predict(ALL)[head][:, names], p, rtol=1e-8, atol=1e-10)


@pytest.fixture(scope="module")
def joined(tmp_path_factory: pytest.TempPathFactory) -> tuple[Results, list[Results]]:
    return ranks.results(ruc_joined, tmp_path_factory.mktemp("joined"))


@pytest.mark.ray
@pytest.mark.parametrize("variant", ruc_joined.VARIANTS)
def test_two_processes_train_as_one(joined: tuple[Results, list[Results]], variant: str) -> None:
    ranks.assert_as_one(joined, variant, rtol=1e-6, atol=1e-8)
    ranks.assert_identical(joined, variant)


# --- Configuration --------------------------------------------------------------------------------

#: Field -> a value that changes the outcome, and what has to be set beside it.
CHANGES: dict[str, dict[str, Any]] = {
    "batches": {"batches": "halves"},
    "strategy": {"strategy": "confidence", "tau1": 0.0},
    "tau1": {"strategy": "confidence", "tau1": 0.9},
    "tau1_share": {"strategy": "confidence", "tau1_share": 1.0},
    "neighbours": {"neighbours": 1},
    "fewest": {"neighbours": 60, "fewest": 30},
    "selection": {"selection": "dividemix", "refurbish": None},
    "warm_up": {"warm_up": 1},
    "co_training": {"co_training": False},
    "co_refinement": {"co_refinement": False},
    "refurbish": {"refurbish": None},
    "tau2": {"tau2": 0.9},
    "tau2_step": {"tau2_step": 0.6, "tau2_every": 1},
    "smoothing": {"smoothing": None},
    "unlabelled_weight": {"unlabelled_weight": 1.0},
    "ramp": {"ramp": 0},
    "ramp_floor": {"ramp_floor": 0.5},
    "distance": {"distance": "row"},
    "prior_weight": {"prior_weight": 1.0},
    "temperature": {"temperature": 1.0},
    "alpha": {"alpha": 0.0},
    "learning_rate": {"learning_rate": 0.1},
    "weight_decay": {"weight_decay": 0.0},
    "counter_statistics": {"counter_statistics": "batch"},
    "strong": {"strong": False},
    "crop": {"crop": 1.0},
    "flip": {"flip": 0.0},
    "operations": {"operations": 5},
    "cutout": {"cutout": 0},
    "ensemble": {"ensemble": "sum"},
}


@functools.cache
def unchanged(steps: int) -> Tensor:
    """Predictions of the ensemble after some steps with the plain configuration."""
    return trained(ruc_joined.ruc(), steps).predict(ALL)["ensemble"]


@pytest.mark.ray
@pytest.mark.parametrize("field", CHANGES)
def test_every_switch_changes_the_outcome(field: str) -> None:
    steps = 12 if field == "tau2_step" else 4
    other = trained(ruc_joined.ruc(config(**CHANGES[field])), steps)
    assert not torch.equal(other.predict(ALL)[other.final_head], unchanged(steps))


@pytest.mark.parametrize("dataset", ["cifar10", "cifar20", "stl10", "digits"])
@pytest.mark.parametrize("reading", [None, "paper", "release"])
def test_presets_and_readings_are_valid(dataset: str, reading: str | None) -> None:
    side = {"stl10": 96, "digits": 8}.get(dataset, 32)
    merged: dict[str, Any] = {}
    for _, layer in METHOD.layers(dataset, side, reading):
        merged |= layer
    RUCConfig(**merged)


def test_all_mistakes_are_reported_at_once() -> None:
    with pytest.raises(ValueError, match="tau1") as error:
        RUCConfig(tau1=2.0, smoothing=1.0, tau1_share=0.0, selection="dividemix", operations=15)
    for field in ("tau1: ", "smoothing: ", "tau1_share: ", "refurbish: ", "operations: "):
        assert field in str(error.value)


def test_differences_name_fields_that_exist() -> None:
    assert len(METHOD.differences) == 26
    fields = {field.name for field in dataclasses.fields(RUCConfig)}
    assert {d.field for d in METHOD.differences if d.field} <= fields


def test_batch_normalisation_layers_follow_as_often_as_the_release_does() -> None:
    """Five passes of the trained network a step, three of the counter network."""
    model = trained(ruc_joined.ruc(), 1)
    counts = [
        {int(n) for name, n in encoder.state_dict().items() if name.endswith("batches_tracked")}
        for encoder in model._encoders.values()
    ]
    assert counts == [{5}, {3}]
