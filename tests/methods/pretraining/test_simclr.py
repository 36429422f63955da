"""SimCLR, and MoCo and the autoencoder in its place: loss, steps, what is handed over, states."""

import dataclasses
import functools
import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from deep_clustering.methods.compute.replicas import Replicas
from deep_clustering.methods.networks.autoencoder import Pixels, reconstruction_error
from deep_clustering.methods.networks.encoders import encoder
from deep_clustering.methods.pretraining.configs import PretrainConfig, SimCLRConfig
from deep_clustering.methods.pretraining.representation import moco_config
from deep_clustering.methods.pretraining.simclr import nt_xent
from support import dpac_trials, trials

ALL = torch.arange(trials.COUNT)
FRAMEWORKS = ["simclr", "moco", "autoencoder"]


def settings(**changes: Any) -> PretrainConfig:
    return dataclasses.replace(dpac_trials.PRETRAIN, **changes)


# --- The loss -------------------------------------------------------------------------------------


def test_views_that_are_all_alike() -> None:
    z = F.one_hot(torch.tensor([0, 0, 0, 0]), 3).float()
    assert nt_xent(z, z, 0.5).tolist() == pytest.approx([math.log(7)] * 8)


def test_loss_by_hand() -> None:
    """Two images at right angles, the second view of the first turned by 60 degrees."""
    first = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    second = torch.tensor([[0.5, math.sqrt(3) / 2], [0.0, 1.0]])
    side = math.sqrt(3) / 2
    expected = [  # anchors: first views, then second ones; similarities over T = 0.5
        -1 + math.log(math.exp(1) + 1 + 1),
        -2 + math.log(math.exp(2) + 1 + math.exp(2 * side)),
        -1 + math.log(math.exp(1) + 2 * math.exp(2 * side)),
        -2 + math.log(math.exp(2) + 1 + math.exp(2 * side)),
    ]
    assert nt_xent(first, second, 0.5).tolist() == pytest.approx(expected, abs=1e-6)


def test_loss_equals_cross_entropy_and_is_symmetric_in_the_views() -> None:
    g = torch.Generator().manual_seed(0)
    first, second = F.normalize(torch.randn(2, 7, 5, generator=g, dtype=torch.float64), dim=2)
    both = torch.cat([first, second])
    logits = (both @ both.T / 0.2).fill_diagonal_(-math.inf)
    other = torch.arange(14).roll(7)
    losses = nt_xent(first, second, 0.2)
    torch.testing.assert_close(losses, F.cross_entropy(logits, other, reduction="none"))
    torch.testing.assert_close(nt_xent(second, first, 0.2), losses.roll(7))
    order = torch.randperm(7, generator=g)
    torch.testing.assert_close(nt_xent(first[order], second[order], 0.2)[:7], losses[:7][order])


# --- Steps ----------------------------------------------------------------------------------------


def test_the_first_step_equals_a_plain_one() -> None:
    """One pass over a weak and a strong view, the mean over all anchors, PyTorch's own Adam."""
    model, twin = (dpac_trials.pretrained(dtype=torch.float64) for _ in range(2))
    indices = trials.batches(16, 1)[0]
    found = model.step(indices)
    pixels = twin._images.take(indices)
    views = torch.cat(
        [
            view.apply(pixels, view.draw(16, twin._generator), twin._mean, twin._std)
            for view in twin._views
        ]
    )
    z = F.normalize(twin._projector(twin._encoder(views)), dim=1)
    loss = nt_xent(z[:16], z[16:], 0.5).mean()
    parameters = [*twin._encoder.parameters(), *twin._projector.parameters()]
    adam = torch.optim.Adam(parameters, lr=1e-3, weight_decay=1e-4, foreach=False)
    loss.backward()
    adam.step()
    assert found["loss"].item() == pytest.approx(loss.item(), abs=1e-12)
    expected = twin.encoder_state()
    for name, value in model.encoder_state().items():
        torch.testing.assert_close(value, expected[name], rtol=1e-9, atol=1e-9, msg=name)


@pytest.mark.ray
@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_training_lowers_the_loss(framework: str) -> None:
    model = dpac_trials.pretrained(settings(framework=framework, epochs=20))
    losses = [model.step(indices)["loss"].item() for indices in trials.batches(16, 60)]
    begin = slice(5, 15)  # MoCo's queues hold keys by then rather than noise
    assert sum(losses[-10:]) < 0.97 * sum(losses[begin])


def test_metrics_are_in_range() -> None:
    model = dpac_trials.pretrained()
    rows = [model.step(indices) for indices in trials.batches(16, 30)]
    for row in rows:
        assert list(row) == ["loss", "accuracy", "spread"]
        assert 0 <= row["accuracy"].item() <= 1
        assert 0 <= row["spread"].item() <= 1.01
        assert all(value.dim() == 0 and not value.requires_grad for value in row.values())
    assert sum(r["accuracy"].item() for r in rows[-5:]) > sum(
        r["accuracy"].item() for r in rows[:5]
    )


def test_reconstruction_error_by_hand() -> None:
    view = torch.zeros(2, 3, 1, 2)
    view[1] = 2.0
    decoded = torch.ones(2, 6)
    assert reconstruction_error(decoded, view).tolist() == [1.0, 1.0]
    decoded[1] = torch.tensor([2.0, 2.0, 2.0, 2.0, 2.0, 5.0])
    assert reconstruction_error(decoded, view).tolist() == [1.0, 1.5]


def test_the_autoencoder_is_that_of_dec() -> None:
    network = Pixels(28, (500, 500, 2000), 10)
    shapes = [tuple(p.shape) for p in network.parameters() if p.dim() == 2]
    assert shapes == [(500, 3 * 784), (500, 500), (2000, 500), (10, 2000)]
    codes = network(torch.randn(4, 3, 28, 28))
    assert codes.shape == (4, 10)
    assert bool((codes < 0).any())  # linear at the end


# --- What is handed over --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("framework", "parts"),
    [
        ("simclr", {"encoder", "projector"}),
        ("moco", {"encoder", "projector", "key_encoder", "key_projector", "queues"}),
        ("autoencoder", {"encoder", "decoder"}),
    ],
)
def test_clustering_starts_where_pretraining_ended(framework: str, parts: set[str]) -> None:
    config = dpac_trials.config(**{"pretrain.framework": framework})
    before = dpac_trials.pretrained(config.pretrain)
    for indices in trials.batches(16, 2):
        before.step(indices)
    state = before.encoder_state()
    assert {name.split(".")[0] for name in state} == parts
    model = dpac_trials.DPAC(
        config,
        images=trials.images(),
        replicas=Replicas.alone(),
        seed=3,
        encoder_state=state,
    )
    after = model.state()
    for name, value in state.items():
        assert torch.equal(after[name], value), name
    assert torch.equal(model.features(ALL), before.features(ALL))


def test_moco_learns_on_two_weak_views_of_the_same_encoder() -> None:
    config = settings(framework="moco", moco_queue=5, stem_padding=2)
    inner = moco_config(config)
    assert (inner.queue_size, inner.epochs, inner.warmup_epochs) == (80, 4, 0)
    assert moco_config(PretrainConfig()).warmup_epochs == 50
    assert moco_config(PretrainConfig()).queue_size == 4320
    model = dpac_trials.pretrained(config)
    assert model._view == dpac_trials.pretrained()._views[0]
    assert model._projector[0].out_features == 24


def test_the_pooled_stem_halves_the_small_one() -> None:
    """96 pixels: 96, 49 after pooling with padding, 49, 25, 13, 7."""
    alone = Replicas.alone()
    sizes = {}
    for stem in ("small", "pooled", "large"):
        network = encoder("resnet18", side=96, replicas=alone, stem=stem)  # type: ignore[arg-type]
        network.eval()
        x = torch.zeros(1, 3, 96, 96)
        sizes[stem] = [(x := network.pool(network.conv1(x))).shape[-1]]
        for stage in (network.layer1, network.layer2, network.layer3, network.layer4):
            sizes[stem].append((x := stage(x)).shape[-1])
    assert sizes["pooled"] == [49, 49, 25, 13, 7]
    assert sizes["small"] == [96, 96, 48, 24, 12]
    assert sizes["large"] == [24, 24, 12, 6, 3]


# --- States and fields ----------------------------------------------------------------------------


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_a_loaded_state_continues_bit_for_bit(framework: str) -> None:
    config = settings(framework=framework, seed=None)
    batches = trials.batches(16, 5)
    model = dpac_trials.pretrained(config, seed=3)
    assert model.initialise() == {}
    for indices in batches[:3]:
        model.step(indices)
    saved = model.state()
    losses = [model.step(indices) for indices in batches[3:]]
    other = dpac_trials.pretrained(config, seed=8)
    other.load_state(saved)
    for expected, indices in zip(losses, batches[3:], strict=True):
        assert {k: v.item() for k, v in other.step(indices).items()} == {
            k: v.item() for k, v in expected.items()
        }
    end, again = model.state(), other.state()
    assert list(end) == list(again)
    for name, value in end.items():
        assert torch.equal(value, again[name]), name


def test_its_own_seed_wins_over_that_of_the_run() -> None:
    def first(seed: int | None, run: int) -> torch.Tensor:
        model = dpac_trials.pretrained(settings(seed=seed), seed=run)
        model.step(trials.batches(16, 1)[0])
        return model.encoder_state()["encoder.conv1.weight"]

    assert torch.equal(first(5, 0), first(5, 1))
    assert torch.equal(first(None, 5), first(5, 1))
    assert not torch.equal(first(None, 0), first(None, 1))


CHANGES: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({}, {"framework": "moco"}),
    ({}, {"framework": "autoencoder"}),
    ({}, {"backbone": "resnet18"}),
    ({"backbone": "resnet18"}, {"stem": "pooled"}),
    ({"backbone": "resnet18"}, {"stem_padding": 2}),
    ({"backbone": "resnet18"}, {"stem_weights": "fan-in"}),
    ({}, {"side": 6}),
    ({}, {"frame": "centre"}),
    ({}, {"enlargement": 1.25}),
    ({}, {"batch_size": 8}),
    ({}, {"learning_rate": 1e-2}),
    ({}, {"weight_decay": 0.5}),
    ({}, {"temperature": 0.1}),
    ({}, {"projector_hidden": 20}),
    ({}, {"projector_dimension": 8}),
    ({}, {"crop_scale": 1.0}),
    ({}, {"jitter": 0.0}),
    ({}, {"grey": 1.0}),
    ({}, {"blur": 0.0}),
    ({}, {"flip": 0.0}),
    ({}, {"strong_crop": 0.3}),
    ({}, {"operations": 0}),
    ({}, {"cutout": 0}),
    ({}, {"mean": (0.1, 0.1, 0.1)}),
    ({}, {"std": (1.0, 1.0, 1.0)}),
    ({}, {"precision": "bf16"}),
    ({}, {"seed": 1}),
    ({"framework": "moco"}, {"moco_queue": 3}),
    ({"framework": "moco"}, {"moco_temperature": 0.5}),
    ({"framework": "moco"}, {"moco_learning_rate": 5.0}),
    ({"framework": "moco"}, {"epochs": 9}),  # the length of MoCo's schedules
    ({"framework": "autoencoder"}, {"code_hidden": (20, 20, 20)}),
    ({"framework": "autoencoder"}, {"code_dimension": 5}),
]


@functools.cache
def outcome(fields: tuple[tuple[str, Any], ...]) -> torch.Tensor:
    """Features of some photographs after two steps."""
    config = settings(**dict(fields))
    model = dpac_trials.pretrained(config, pictures=trials.photographs())
    for indices in trials.batches(config.batch_size, 2):
        model.step(indices)
    return model.features(ALL[:20])


@pytest.mark.ray
@pytest.mark.parametrize(("base", "change"), CHANGES)
def test_every_switch_changes_the_outcome(base: dict[str, Any], change: dict[str, Any]) -> None:
    first, second = outcome(tuple(base.items())), outcome(tuple((base | change).items()))
    assert first.shape != second.shape or not torch.equal(first, second)


def test_every_field_is_switched() -> None:
    switched = {name for _, change in CHANGES for name in change}
    assert switched == {f.name for f in dataclasses.fields(PretrainConfig)}
    assert dpac_trials.pretrained(settings(epochs=7)).epochs == 7


# --- Mistakes -------------------------------------------------------------------------------------


def test_mistakes_are_reported_at_once() -> None:
    with pytest.raises(ValueError, match="enlargement") as caught:
        SimCLRConfig(enlargement=0.9, crop_scale=0.0, temperature=0.0, seed=-1)
    assert str(caught.value).splitlines() == [
        "temperature: must be above 0, got 0.0",
        "enlargement: must be at least 1, got 0.9",
        "crop_scale: must be above 0 and at most 1, got 0.0",
        "seed: must be none or not negative, got -1",
    ]
    with pytest.raises(ValueError, match=r"framework: must be one of simclr, moco, autoencoder"):
        PretrainConfig(framework="byol")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"code_hidden: must be three numbers above 0"):
        PretrainConfig(code_hidden=(5, 0, 5))


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_too_few_images_are_refused(framework: str) -> None:
    with pytest.raises(ValueError, match="at least one batch of 128 images, got 96; choose a"):
        dpac_trials.pretrained(settings(framework=framework, batch_size=128))
