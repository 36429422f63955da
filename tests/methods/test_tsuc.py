"""TSUC: its losses by hand and against slow ones, the memory, the rounds, what each switch does."""

import functools
import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from deep_clustering.methods.algorithms import tsuc
from deep_clustering.methods.algorithms.tsuc import TSUC
from support import others_trials, trials
from support.trials import different


def model_of(**changes: Any) -> TSUC:
    return trials.built(TSUC, others_trials.config("tsuc", **changes))  # type: ignore[no-any-return]


def unit(*shape: int, seed: int = 0) -> Tensor:
    drawn = torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return F.normalize(drawn, dim=1)


def test_an_image_may_be_taken_for_its_neighbour() -> None:
    likelihood = torch.tensor([[0.5, 0.25, 0.25], [0.1, 0.2, 0.7]])
    found = tsuc.neighbourhood(likelihood.log(), torch.tensor([0, 1]), torch.tensor([-1, 2]))
    torch.testing.assert_close(found, -torch.tensor([0.5, 0.9]).log())


def test_uncertainty_leaves_the_image_itself_out() -> None:
    logits = torch.tensor([[9.0, 1.0, 1.0], [0.0, 50.0, 0.0]])
    found = tsuc.uncertainty(logits, torch.tensor([0, 0]))
    torch.testing.assert_close(found, torch.tensor([math.log(2), 0.0]))


def test_spreading_equals_the_slow_one() -> None:
    both = unit(6, 7)  # two views of three images
    total = 0.0
    for i in range(6):
        weight = [math.exp(float(both[i] @ both[k]) / 0.3) * (k != i) for k in range(6)]
        for k in range(6):
            p = weight[k] / sum(weight)
            total -= math.log(p if k == (i + 3) % 6 else 1 - p)
    assert float(tsuc.spreading(both, 0.3)) == pytest.approx(total / 6)


def test_information_by_hand() -> None:
    """Even clusters on which both views agree; no agreement; one cluster for all."""
    sure = torch.eye(3).repeat(2, 1)
    even = torch.full((6, 3), 1 / 3)
    one = torch.eye(3)[[0] * 6]
    found = tsuc.information(
        torch.stack([sure, sure, even, one]), torch.stack([sure, even, even, one])
    )
    torch.testing.assert_close(found, torch.tensor([-math.log(3), 0.0, 0.0, 0.0]))


def test_the_rate_falls_for_the_first_time_one_interval_after_its_start() -> None:
    rates = [tsuc.learning_rate(e, 0.03, 80, 40) for e in (0, 79, 80, 119, 120, 160, 199)]
    assert rates == pytest.approx([0.03] * 4 + [0.003, 0.0003, 0.0003])


def test_the_surest_images_get_their_nearest_neighbour(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tsuc, "_BLOCK", 4)
    bank = unit(10, 4)
    assert bool((tsuc.discovered(bank, 0.0, 0.1) == -1).all())
    cosines = bank @ bank.T
    p = (cosines / 0.1).softmax(1)
    entropy = -(p * p.log()).sum(1)
    found = tsuc.discovered(bank, 0.35, 0.1)
    chosen = (found >= 0).nonzero()[:, 0]
    assert set(chosen.tolist()) == set(entropy.argsort()[:3].tolist())
    nearest = cosines.fill_diagonal_(-2).argmax(1)
    assert torch.equal(found[chosen], nearest[chosen])


def test_edges_are_sobels() -> None:
    ramp = torch.arange(6.0).expand(1, 3, 6, 6)  # grows by 1 from column to column
    found = tsuc.edges(ramp)[0, :, 1:-1, 1:-1]
    assert bool((found[0] == 8).all())
    assert bool((found[1:] == 0).all())


def test_the_embedding_is_of_unit_length_and_the_prototypes_stay() -> None:
    model = model_of()
    before = model._clustering.prototypes.clone()
    trials.trained(model, 12)
    assert torch.equal(model._clustering.prototypes, before)
    torch.testing.assert_close(before.norm(dim=1), torch.ones(2, 3))
    rows = model.features(torch.arange(5))
    torch.testing.assert_close(rows.norm(dim=1), torch.ones(5))


def test_images_move_in_the_memory_towards_their_views() -> None:
    model = model_of(bank_momentum=0.0, rounds=1)
    (batch,) = trials.batches(32, 1)
    before = model._memory.bank.clone()
    model.step(batch)
    moved = (model._memory.bank != before).any(1).nonzero()[:, 0]
    assert set(moved.tolist()) == set(batch.tolist())
    torch.testing.assert_close(model._memory.bank[batch].norm(dim=1), torch.ones(32))
    still = model_of(bank_momentum=1.0, rounds=1)
    before = F.normalize(still._memory.bank[batch], dim=1)
    still.step(batch)
    torch.testing.assert_close(still._memory.bank[batch], before)


def test_stages_follow_each_other() -> None:
    """Two rounds of an epoch of 3 steps, the second with neighbours; then two epochs of heads."""
    model = model_of()
    seen = []
    for batch in trials.batches(32, 12):
        losses = model.step(batch)
        stage = float(losses["neighbour_loss"]) > 0, float(losses["information_loss"]) < 0
        seen.append((*stage, int((model._memory.neighbour >= 0).sum())))
    assert seen[:3] == [(True, False, 0)] * 3
    assert seen[3:6] == [(True, False, trials.COUNT // 2)] * 3
    assert [s[:2] for s in seen[6:]] == [(False, True)] * 6


@pytest.mark.parametrize("select", [True, False])
def test_the_epoch_and_the_head_of_the_lowest_loss_are_kept(
    select: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two epochs of 3 steps with heads alone; the losses of the second one are made to rise."""
    model = model_of(rounds=0, select_epoch=select)
    each = tsuc.information
    raised = torch.tensor([0.0, 0.5])  # the second head is never the best
    monkeypatch.setattr(tsuc, "information", lambda *views: each(*views) + raised)
    batches = trials.batches(32, 6)
    for batch in batches[:3]:
        model.step(batch)
    first = model.encoder_weights()["linear.weight"].clone()
    raised += 5 - 10 * torch.tensor([0.0, 0.5])  # now it is, and all are worse on the whole
    for batch in batches[3:]:
        model.step(batch)
    kept = torch.equal(model.encoder_weights()["linear.weight"], first)
    assert (kept, int(model._clustering.selected)) == ((True, 0) if select else (False, 1))


@pytest.mark.ray
@pytest.mark.parametrize(
    "change",
    [
        {"temperature": 0.5},
        {"bank_momentum": 0.9},
        {"certainty_weight": 5.0},
        {"spread_weight": 0.0},
        {"heads": 1},
        {"head_temperature": 1.0},
        {"edges": False},
        {"learning_rate": 0.1},
        {"cluster_rate": 0.1},
        {"weight_decay": 0.1},
        {"sgd_momentum": 0.0},
        {"decay_start": 0, "decay_every": 1},
        {"crop_scale": 0.9},
        {"jitter": 0.0},
        {"grey": 0.9},
        {"flip": 0.0},
        {"mean": (0.1, 0.2, 0.3)},
    ],
)
def test_every_switch_changes_the_outcome(change: dict[str, Any]) -> None:
    assert different(plain(), weights(**change))


def weights(**changes: Any) -> trials.State:
    """Of a model after a round of two epochs of 3 steps and 2 steps with heads."""
    settings = {"rounds": 1, "round_epochs": 2, "certainty_every": 1, **changes}
    return trials.trained(model_of(**settings), 8).encoder_weights()  # type: ignore[no-any-return]


@functools.cache
def plain() -> trials.State:
    return weights()
