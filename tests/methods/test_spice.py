"""SPICE-self: labels of prototypes, the double softmax, heads, a batch, the frozen encoder."""

import copy
import functools
import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from deep_clustering.methods.algorithms.spice import (
    SPICE,
    Heads,
    label_loss,
    nearest_to_prototypes,
)
from support import others_trials, trials
from support.trials import different

ALL = torch.arange(trials.COUNT)
(BATCH,) = trials.batches(32, 1)


def model_of(**changes: Any) -> SPICE:
    return trials.built(SPICE, others_trials.config("spice", **changes))  # type: ignore[no-any-return]


def test_labels_of_prototypes_by_hand() -> None:
    """Five images on an arc; the surest one of each cluster is its prototype."""
    angles = torch.tensor([0.0, 20.0, 50.0, 70.0, 90.0]).deg2rad()
    features = torch.stack([angles.cos(), angles.sin()], 1)
    p = torch.tensor([[0.8, 0.2], [0.9, 0.1], [0.5, 0.5], [0.2, 0.8], [0.3, 0.7]])
    assert nearest_to_prototypes(features, p, 1, 2).tolist() == [[1, 0], [3, 2]]
    # Two surest ones: prototypes in between; then an image that both clusters label.
    # Of two surest ones a prototype lies between them, and the middle image is near both.
    both = nearest_to_prototypes(features, p, 2, 3)
    assert [set(one) for one in both.tolist()] == [{0, 1, 2}, {2, 3, 4}]


def test_labels_equal_a_slow_search() -> None:
    g = torch.Generator().manual_seed(0)
    features = F.normalize(torch.randn(40, 6, generator=g), dim=1)
    p = torch.randn(40, 4, generator=g).softmax(1)
    found = nearest_to_prototypes(features, p, 3, 10)
    for k in range(4):
        surest = sorted(range(40), key=lambda i: -float(p[i, k]))[:3]
        prototype = sum((features[i] for i in surest), start=torch.zeros(6)) / 3
        near = sorted(range(40), key=lambda i: -float(features[i] @ prototype))[:10]
        assert found[k].tolist() == near


def test_the_double_softmax_is_never_sure() -> None:
    certain = torch.tensor([[100.0, 0.0, 0.0], [0.0, 0.0, 100.0]])
    labels = torch.tensor([0, 2])
    least = math.log(1 + 2 / math.e)
    assert label_loss(certain, labels, True).tolist() == pytest.approx([least] * 2)
    assert label_loss(certain, labels, False).tolist() == pytest.approx([0.0] * 2)
    even = torch.zeros(2, 3)
    for double in (True, False):
        assert label_loss(even, labels, double).tolist() == pytest.approx([math.log(3)] * 2)


def test_heads_are_perceptrons_side_by_side() -> None:
    heads = Heads(5, 3, 4)
    x = torch.randn(7, 5)
    logits = heads.every(x)
    assert logits.shape == (4, 7, 3)
    for i in range(4):
        hidden = (x @ heads.get_parameter("hidden_weight")[i] + heads.hidden_bias[i]).relu()
        expected = hidden @ heads.get_parameter("output_weight")[i] + heads.output_bias[i]
        torch.testing.assert_close(logits[i], expected)
    assert not torch.equal(logits[0], logits[1])
    heads.selected.fill_(2)
    assert torch.equal(heads(x), logits[2])


def test_a_batch_equals_a_slow_one() -> None:
    """One pass over the labelled images in one step: the loss before it, of both heads."""
    model = model_of(repeats=1, sub_batch_size=96)
    drawn = {name: torch.Generator() for name in model._generators}
    for name, g in drawn.items():
        g.set_state(model._generators[name].get_state())
    pictures = model._images.take(BATCH)
    encoder, heads = copy.deepcopy(model._encoder).eval(), copy.deepcopy(model._clustering)
    with torch.no_grad():
        views = {
            "plain": model.clean(pictures),
            "weak": model._viewed(model._weak, pictures, drawn["weak"]),
            "strong": model._viewed(model._strong, pictures, drawn["strong"]),
        }
        features = {name: encoder(view) for name, view in views.items()}
        p = heads.every(features["weak"]).softmax(2)
        unit, losses = F.normalize(features["plain"], dim=1), []
        for h in range(2):
            near = nearest_to_prototypes(unit, p[h], 5, 10)
            for k in range(3):
                logits = heads.every(features["strong"][near[k]])[h]
                losses += label_loss(logits, torch.full((10,), k), True).tolist()
    found = model.step(BATCH)
    assert float(found["label_loss"]) == pytest.approx(sum(losses) / len(losses), abs=1e-5)
    assert float(found["confidence"]) == pytest.approx(float(p[0].amax(1).mean()), abs=1e-5)


def test_the_encoder_stays_as_it_is_pretrained() -> None:
    model = model_of()
    before = model.encoder_weights()
    heads = copy.deepcopy(model._clustering.state_dict())
    trials.trained(model, 4)
    assert not different(before, model.encoder_weights())
    assert different(heads, model._clustering.state_dict())


def test_the_head_that_agrees_best_with_its_labels_is_selected() -> None:
    model = model_of(heads=2, select_epoch=False, repeats=30, sub_batch_size=16)
    heads = model._clustering
    for indices in trials.batches(32, 2):
        model.step(indices)
    with torch.no_grad():  # a head without weights says the same of all images
        heads.output_weight[0].zero_()
        heads.hidden_weight[0].zero_()
    model._select()
    assert int(heads.selected) == 1


def test_the_last_step_gives_back_the_best_epoch() -> None:
    model = model_of(epochs=2)
    for indices in trials.batches(32, 5):
        model.step(indices)
    assert model._best is not None
    kept = {k: v.clone() for k, v in model._best.networks["clustering"].state_dict().items()}
    with torch.no_grad():
        model._best.score.fill_(-1.0)  # nothing after it is better
    model.step(BATCH)
    assert not different(kept, model._clustering.state_dict())


@pytest.mark.parametrize(
    "change",
    [
        {"sub_batch_size": 16},
        {"repeats": 1},
        {"learning_rate": 0.05},
        {"weight_decay": 0.5},
        {"centre_share": 0.1},
        {"label_share": 0.5},
        {"double_softmax": False},
        {"weak_crop": 0.1},
        {"weak_flip": 1.0},
        {"operations": 0},
        {"cutout": 0},
        {"strong_flip": 0.0},
    ],
)
def test_every_switch_changes_the_outcome(change: dict[str, Any]) -> None:
    other = trials.trained(model_of(select_epoch=False, **change), 2)
    assert different(plain(), other._clustering.state_dict(), "hidden")


@functools.cache
def plain() -> trials.State:
    model = trials.trained(model_of(select_epoch=False), 2)
    return model._clustering.state_dict()  # type: ignore[no-any-return]


def test_fewer_images_than_clusters_are_refused() -> None:
    with pytest.raises(ValueError, match=r"clusters: must be at most batch_size \(2\)"):
        others_trials.config("spice", batch_size=2)
