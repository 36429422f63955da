"""SeCu: what reaches a centre, targets, both constraints by hand, rates, labels of the epoch."""

import copy
import functools
import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from deep_clustering.methods.algorithms.secu import (
    Assignment,
    SeCu,
    centre_loss,
    entropy_change,
    image_targets,
    learning_rate,
)
from support import others_trials, trials
from support.trials import different

(BATCH,) = trials.batches(32, 1)


def config(**changes: Any) -> Any:
    return others_trials.config("secu", **changes)


def model_of(**changes: Any) -> SeCu:
    return trials.built(SeCu, config(**changes))  # type: ignore[no-any-return]


# --- Losses ---------------------------------------------------------------------------------------


def test_a_centre_moves_by_its_own_images_alone() -> None:
    cosines = torch.tensor([[0.5, 0.1, 0.0], [0.2, 0.4, 0.3]], requires_grad=True)
    labels = torch.tensor([0, 0])
    losses = centre_loss(cosines, labels, 0.5)
    # the value is the cross-entropy
    torch.testing.assert_close(
        losses.detach(), F.cross_entropy(cosines.detach() / 0.5, labels, reduction="none")
    )
    losses.sum().backward()
    gradient, p = cosines.grad, (cosines.detach() / 0.5).softmax(1)
    assert gradient is not None
    assert (gradient[:, 1:] == 0).all()
    # harder images, whose probability of the own cluster is smaller, weigh more
    torch.testing.assert_close(gradient[:, 0], -(1 - p[:, 0]) / 0.5)
    assert gradient[1, 0].abs() > gradient[0, 0].abs()


def test_a_cluster_without_an_image_in_the_batch_stays_where_it_is() -> None:
    model = model_of(weight_decay=0.0, sgd_momentum=0.0, groupings=1, clusters=5, size_share=0.0)
    before = model._centres[0].detach().clone()
    model.step(BATCH)
    there = set(model._assigned[0].labels[BATCH].tolist())  # type: ignore[union-attr]
    moved = (model._centres[0].detach() != before).any(1)
    assert {int(k) for k in moved.nonzero()} == there
    assert len(there) < 5


def test_targets_by_hand() -> None:
    other = torch.tensor([[math.log(3.0), 0.0]], requires_grad=True)  # 3/4 and 1/4
    found = image_targets(other, torch.tensor([1]), 0.2)
    assert found[0].tolist() == pytest.approx([0.6, 0.4])
    assert not found.requires_grad


def test_rates_of_the_release() -> None:
    """11 epochs of warm-up, the first of which has rate 0, then a cosine to the end of 401."""

    def rate(step: int) -> float:
        return learning_rate(step, per_epoch=100, epochs=401, warmup=11, peak=0.2)

    assert [rate(step) for step in (0, 99)] == [0.0, 0.0]
    assert rate(100) == rate(101) == pytest.approx(0.2 / 1000)
    assert rate(600) == pytest.approx(0.1)
    assert rate(1100) == pytest.approx(0.2)
    assert rate(1100 + 39000 // 2) == pytest.approx(0.1)
    assert rate(40099) < 1e-8


# --- Constraints ----------------------------------------------------------------------------------


def test_prices_of_sizes_by_hand() -> None:
    """Four images of two clusters, which are each to hold 0.45 of them at least."""
    assigned = Assignment(8, 2, config(dual_rate=0.1, size_share=0.9))
    cosines = torch.tensor([[0.9, 0.8], [0.9, 0.1], [0.7, 0.2], [0.6, 0.5]])
    chosen = assigned.choose(cosines, None)
    assert chosen.tolist() == [0, 0, 0, 0]
    assigned.update(torch.tensor([5, 1, 2, 3]), chosen, first=True)
    # 0 + 0.1 * (0.45 - 1) is not below 0; 0 + 0.1 * (0.45 - 0)
    assert assigned.prices.tolist() == pytest.approx([0.0, 0.045])
    for _ in range(2):
        assigned.update(torch.tensor([5, 1, 2, 3]), chosen, first=False)
    assert assigned.prices.tolist() == pytest.approx([0.0, 0.135])
    assert assigned.choose(cosines, chosen).tolist() == [1, 0, 0, 1]
    assert assigned.labels.tolist() == [0] * 8


def test_exact_halves_have_prices_of_both_signs() -> None:
    assigned = Assignment(4, 2, config(dual_rate=0.1, size_share=1.0))
    assigned.update(torch.arange(4), torch.zeros(4, dtype=torch.long), first=True)
    assert assigned.prices.tolist() == pytest.approx([-0.05, 0.05])


def test_sizes_keep_to_their_bound() -> None:
    """Images that all lie near one centre are shared out until every cluster has its least."""
    g = torch.Generator().manual_seed(0)
    cosines = torch.rand(300, 3, generator=g) * 0.2 + torch.tensor([0.5, 0.0, 0.0])
    assigned = Assignment(300, 3, config(dual_rate=0.1, size_share=0.9))
    for step in range(300):
        batch = torch.randperm(300, generator=g)[:50]
        chosen = assigned.choose(cosines[batch], assigned.labels[batch])
        assigned.update(batch, chosen, first=step == 0)
    sizes = torch.bincount(assigned.choose(cosines, None), minlength=3)
    assert int(sizes.min()) > 0.8 * 0.9 * 100


def negative_entropy(counts: list[int]) -> float:
    total = sum(counts)
    return sum(c / total * math.log(c / total) for c in counts if c)


def test_changes_of_the_entropy_equal_moving_an_image() -> None:
    counts = [5, 3, 0, 1]
    labels = [0, 1, 3]
    found = entropy_change(torch.tensor(counts, dtype=torch.float64), torch.tensor(labels))
    for row, old in zip(found.tolist(), labels, strict=True):
        for new, change in enumerate(row):
            moved = list(counts)
            moved[old] -= 1
            moved[new] += 1
            expected = negative_entropy(moved) - negative_entropy(counts)
            assert change == pytest.approx(expected, abs=1e-12)


def test_images_that_are_counted_for_the_first_time() -> None:
    assert entropy_change(torch.zeros(3), None).tolist() == [[0.0, 0.0, 0.0]]
    found = entropy_change(torch.tensor([2.0, 1.0]), None)[0].tolist()
    whole = [p / 4 * math.log(p / 4) for p in (1, 2, 3)]
    assert found == pytest.approx([whole[2] - whole[1], whole[1] - whole[0]])
    assert found[1] < found[0]  # the smaller cluster costs less


def test_counts_are_those_of_the_labels() -> None:
    model = model_of(constraint="entropy", entropy_price=5.0)
    for indices in trials.batches(32, 3):
        model.step(indices)
    counted = model._assigned[1].counts  # type: ignore[union-attr]
    assert float(counted.sum()) == 96  # an epoch, images drawn twice counted twice
    before = counted.clone()
    for indices in trials.batches(32, 3, seed=1):
        model.step(indices)
    assert float(counted.sum()) == 96
    assert not torch.equal(counted, before)


# --- The model ------------------------------------------------------------------------------------


def test_in_the_first_epoch_the_centres_alone_learn() -> None:
    model = model_of(weight_decay=0.0)
    before = model.encoder_weights()
    for indices in trials.batches(32, 3):
        model.step(indices)
    weights = {k: v for k, v in before.items() if "running" not in k and "tracked" not in k}
    assert not different(weights, model.encoder_weights())
    centres = model._centres[0].detach().clone()
    model.step(BATCH)
    assert different(weights, model.encoder_weights())
    assert not torch.equal(centres, model._centres[0])


def test_images_are_told_apart_by_the_centres_and_labels_of_the_epoch_before() -> None:
    model = model_of(groupings=1)
    for indices in trials.batches(32, 3):
        model.step(indices)
    centres = F.normalize(model._centres[0].detach().clone(), dim=1)
    labels = model._assigned[0].labels[BATCH].clone()  # type: ignore[union-attr]
    drawn = torch.Generator()
    drawn.set_state(model._generator.get_state())
    pictures = model._images.take(BATCH)
    views = [model._viewed(view, pictures, drawn) for view in model._views]
    encoder, projector = copy.deepcopy(model._encoder), copy.deepcopy(model._clustering.projector)
    x = [F.normalize(projector(encoder(view)), dim=1).detach() for view in views]
    logits = [one @ centres.T / 0.05 for one in x]
    hard = F.one_hot(labels, 3)
    expected = 0.0
    for own, other in ((0, 1), (1, 0)):
        target = 0.2 * hard + 0.8 * logits[other].softmax(1)
        expected -= float((target * logits[own].log_softmax(1)).sum(1).mean()) / 2
    assert float(model.step(BATCH)["image_loss"]) == pytest.approx(expected, abs=1e-4)
    for indices in trials.batches(32, 2, seed=3):
        model.step(indices)
        assert torch.allclose(model._before.of(0), centres, atol=1e-6)


def test_every_grouping_has_clusters_and_labels_of_its_own() -> None:
    model = trials.trained(model_of(groupings=3))
    assert [len(c) for c in model._centres] == [3, 6, 9]
    assert model.predict(BATCH)["clustering"].shape == (32, 3)
    assert int(model._assigned[2].labels[BATCH].max()) > 2


@pytest.mark.ray
@pytest.mark.parametrize(
    "change",
    [
        {"groupings": 1},
        {"learning_rate": 0.02},
        {"centre_rate": 0.1},
        {"sgd_momentum": 0.0},
        {"weight_decay": 0.1},
        {"constraint": "entropy", "entropy_price": 1.0},
        {"size_share": 0.1},
        {"dual_rate": 1.0},
        {"own_label": 0.9},
        {"temperature": 0.5},
        {"centre_temperature": 1.0},
        {"dimension": 5},
        {"crop_scale": 0.9},
        {"jitter": 0.0},
        {"saturation": 0.9},
        {"grey": 0.9},
        {"blur": 0.0},
        {"second_blur": 0.9},
        {"solarise": 0.9},
        {"flip": 0.0},
    ],
)
def test_every_switch_changes_the_outcome(change: dict[str, Any]) -> None:
    assert different(plain(), trials.trained(model_of(**change), 4).encoder_weights())


@functools.cache
def plain() -> trials.State:
    return trials.trained(model_of(), 4).encoder_weights()  # type: ignore[no-any-return]


def test_the_first_epoch_comes_before_the_others() -> None:
    with pytest.raises(ValueError, match=r"warmup_epochs: must be at least 1 and below epochs"):
        config(warmup_epochs=3)
