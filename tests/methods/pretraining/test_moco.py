"""MoCo v2+: loss, schedules, momentum, queues, states."""

import dataclasses
import math

import pytest
import torch
import torch.nn.functional as F

from deep_clustering.methods.compute.replicas import Replicas
from deep_clustering.methods.pretraining.configs import MoCoConfig
from deep_clustering.methods.pretraining.moco import MoCo, info_nce, learning_rate, momentum
from support import trials


def test_a_query_orthogonal_to_every_key() -> None:
    query = F.one_hot(torch.tensor([0, 0]), 3).float()
    other = F.one_hot(torch.tensor([1]), 3).float()
    losses = info_nce(query, other.expand(2, 3), other.expand(32768, 3), 0.2)
    assert losses.tolist() == pytest.approx([math.log(32769)] * 2)  # 10.397


def test_loss_by_hand() -> None:
    query = torch.tensor([[1.0, 0.0]])
    key = torch.tensor([[0.6, 0.8]])
    negatives = torch.tensor([[0.0, 1.0], [-1.0, 0.0]])
    expected = -math.log(math.exp(3) / (math.exp(3) + math.exp(0) + math.exp(-5)))
    assert info_nce(query, key, negatives, 0.2).item() == pytest.approx(expected, abs=1e-6)


def test_loss_equals_cross_entropy_and_ignores_the_order_of_negatives() -> None:
    g = torch.Generator().manual_seed(0)
    q, k, n = (F.normalize(torch.randn(m, 8, generator=g), dim=1) for m in (5, 5, 20))
    logits = torch.cat([(q * k).sum(1, keepdim=True), q @ n.T], 1) / 0.2
    expected = F.cross_entropy(logits, torch.zeros(5, dtype=torch.long), reduction="none")
    torch.testing.assert_close(info_nce(q, k, n, 0.2), expected)
    torch.testing.assert_close(info_nce(q, k, n.flip(0), 0.2), expected)


def test_learning_rate_of_the_release() -> None:
    """Recipe 2.1 on CIFAR: 234 steps an epoch, 50 of 1000 epochs of warm-up, peak 0.5."""
    steps, warmup = 234_000, 11_700
    values = [
        learning_rate(t, steps=steps, warmup=warmup, start=3e-5, peak=0.5)
        for t in (0, warmup // 2, warmup, (steps + warmup) // 2, steps - 1, steps)
    ]
    assert values[:4] == pytest.approx([3e-5, (3e-5 + 0.5) / 2, 0.5, 0.25])
    assert 0 <= values[5] < values[4] < 1e-9


def test_momentum_of_the_release() -> None:
    values = [momentum(t, steps=1000, start=0.99, end=0.999) for t in (0, 500, 1000)]
    assert values == pytest.approx([0.99, 0.9945, 0.999], abs=1e-12)


def test_keys_follow_the_queries() -> None:
    moco = trials.moco(dataclasses.replace(trials.PRETRAIN, warmup_epochs=0, learning_rate=8.0))
    start = moco.state()
    online = [k for k in start if k.startswith(("encoder.", "projector."))]
    for name in online:
        assert torch.equal(start[name], start[f"key_{name}"])
    moco.step(trials.batches(16, 1)[0])
    end = moco.state()
    parameters = [k for k in online if "running" not in k and "num_batches" not in k]
    assert len(parameters) == 13
    for name in parameters:
        expected = 0.99 * start[name] + 0.01 * end[name]
        torch.testing.assert_close(end[f"key_{name}"], expected, rtol=1e-5, atol=1e-7)
        assert not torch.equal(end[f"key_{name}"], start[name])
    # Buffers are not averaged: each network saw two views and keeps its own statistics.
    assert int(end["key_encoder.bn1.num_batches_tracked"]) == 2
    assert int(end["encoder.bn1.num_batches_tracked"]) == 2


def test_key_networks_receive_no_gradient() -> None:
    moco = trials.moco()
    moco.step(trials.batches(16, 1)[0])
    assert all(p.grad is None for p in moco._key_encoder.parameters())
    assert all(p.grad is not None for p in moco._encoder.parameters())


def test_queues_hold_unit_keys_and_drop_the_oldest() -> None:
    moco = trials.moco()  # four batches of 16 fill a queue of 64
    queues = [moco.state()["queues.view0"]]
    for indices in trials.batches(16, 5):
        moco.step(indices)
        queues.append(moco.state()["queues.view0"])
    for queue in queues:
        torch.testing.assert_close(queue.norm(dim=1), torch.ones(64))
    for step in range(5):
        replaced = (queues[step + 1] != queues[step]).any(1).nonzero().flatten().tolist()
        first = 16 * (step % 4)
        assert replaced == list(range(first, first + 16))
    assert set(moco.state()) >= {"queues.view0", "queues.view1"}


def test_the_first_loss_is_that_of_the_negatives_before_the_batch() -> None:
    """One view, as published: recomputed from the state before the step."""
    settings = dataclasses.replace(trials.PRETRAIN, symmetric=False)
    moco, twin = trials.moco(settings), trials.moco(settings)
    indices = trials.batches(16, 1)[0]
    found = moco.step(indices)["loss"].item()
    pixels = twin._images.take(indices)
    views = [twin._augmented(pixels) for _ in range(2)]
    q = F.normalize(twin._projector(twin._encoder(views[0])), dim=1)
    k = F.normalize(twin._key_projector(twin._key_encoder(views[1])), dim=1)
    before = twin.state()["queues.view1"]
    expected = info_nce(q, k, before, settings.temperature).mean()
    assert found == pytest.approx(expected.item(), abs=1e-5)
    assert "queues.view0" not in moco.state()
    torch.testing.assert_close(moco.state()["queues.view1"][:16], k.detach())


def test_the_rate_of_each_step_is_that_of_the_schedule() -> None:
    moco = trials.moco()  # 6 steps an epoch, 6 of 24 warm up; 0.5 / 256 * 16 at most
    rates = []
    for indices in trials.batches(16, 8):
        moco.step(indices)
        rates.append(moco._optimiser.param_groups[0]["lr"])
    peak = 0.5 * 16 / 256
    assert rates[0] == pytest.approx(3e-5)
    assert rates[3] == pytest.approx((3e-5 + peak) / 2)
    assert rates[6] == pytest.approx(peak)
    assert rates[7] == pytest.approx(peak * (1 + math.cos(math.pi / 18)) / 2)


def test_the_schedule_is_as_long_as_the_images_trained_on() -> None:
    settings = dataclasses.replace(trials.PRETRAIN, learning_rate=1.6, warmup_rate=0.0)
    moco = MoCo(
        settings,
        images=trials.images(),
        replicas=Replicas.alone(),
        seed=0,
        index=torch.arange(32),  # 2 steps an epoch, 2 of 8 warm up
    )
    rates = []
    for indices in trials.batches(16, 8):
        moco.step(indices % 32)
        rates.append(moco._optimiser.param_groups[0]["lr"])
    expected = [0, 0.5, *((1 + math.cos(math.pi * t / 6)) / 2 for t in range(6))]
    assert rates == pytest.approx([0.1 * x for x in expected])


@pytest.mark.parametrize("symmetric", [True, False])
def test_a_loaded_state_continues_bit_for_bit(symmetric: bool) -> None:
    settings = dataclasses.replace(
        trials.PRETRAIN, symmetric=symmetric, projector_norm=True, seed=None
    )
    batches = trials.batches(16, 6)
    moco = trials.moco(settings, seed=3)
    for indices in batches[:3]:
        moco.step(indices)
    saved = moco.state()
    losses = [moco.step(indices) for indices in batches[3:]]
    other = trials.moco(settings, seed=8)
    other.load_state(saved)
    for expected, indices in zip(losses, batches[3:], strict=True):
        assert {k: v.item() for k, v in other.step(indices).items()} == {
            k: v.item() for k, v in expected.items()
        }
    end, again = moco.state(), other.state()
    assert list(end) == list(again)
    for name, value in end.items():
        assert torch.equal(value, again[name]), name


def test_its_own_seed_wins_over_that_of_the_run() -> None:
    def first(seed: int | None, run: int) -> torch.Tensor:
        moco = trials.moco(dataclasses.replace(trials.PRETRAIN, seed=seed), seed=run)
        moco.step(trials.batches(16, 1)[0])
        return moco.encoder_state()["conv1.weight"]

    assert torch.equal(first(5, 0), first(5, 1))
    assert torch.equal(first(None, 5), first(5, 1))
    assert not torch.equal(first(None, 0), first(None, 1))


def test_training_tells_images_apart() -> None:
    moco = trials.moco(dataclasses.replace(trials.PRETRAIN, epochs=10, learning_rate=2.0))
    rows = [moco.step(indices) for indices in trials.batches(16, 60)]
    losses = [row["loss"].item() for row in rows]
    filled = losses[5:10]  # by then the queues hold keys rather than noise, which is easy to tell
    assert sum(losses[-5:]) < sum(filled) * 0.95
    assert sum(r["accuracy"].item() for r in rows[-5:]) > sum(
        r["accuracy"].item() for r in rows[5:10]
    )
    assert all(0 <= row["accuracy"].item() <= 1 for row in rows)
    assert all(0 <= row["spread"].item() <= 1.01 for row in rows)


def test_mistakes_are_reported_at_once() -> None:
    with pytest.raises(ValueError, match="queue_size") as caught:
        MoCoConfig(batch_size=100, epochs=20, crop_scale=0.0, temperature=0.0)
    assert str(caught.value).splitlines() == [
        "temperature: must be above 0, got 0.0",
        "crop_scale: must be above 0 and at most 1, got 0.0",
        "warmup_epochs: must be below epochs (20), got 50",
        "queue_size: must be a multiple of batch_size (100), got 32768",
    ]


def test_too_few_images_are_refused() -> None:
    settings = dataclasses.replace(trials.PRETRAIN, batch_size=128, queue_size=128)
    with pytest.raises(ValueError, match="at least one batch of 128 images, got 96; choose a"):
        trials.moco(settings)
