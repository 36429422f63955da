"""CC: both losses by hand and against slow ones, what each weight removes."""

import copy
import functools
import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from deep_clustering.methods.algorithms.cc import CC, cluster_contrast, imbalance
from support import others_trials, trials
from support.trials import different

(BATCH,) = trials.batches(32, 1)


def model_of(**changes: Any) -> CC:
    return trials.built(CC, others_trials.config("cc", **changes))  # type: ignore[no-any-return]


def test_clusters_that_are_chosen_alike_cannot_be_told_apart() -> None:
    even = torch.full((6, 4), 0.25)
    assert float(cluster_contrast(even, even, 1.0)) == pytest.approx(math.log(7))
    assert float(imbalance(even, even)) == pytest.approx(0.0, abs=1e-6)


def test_sure_and_even_predictions_by_hand() -> None:
    """Columns of different clusters are at right angles, those of the two views the same."""
    sure = torch.eye(3).repeat(2, 1)
    expected = -1 + math.log(math.exp(1) + 4)  # its other view, and two columns in each view
    assert float(cluster_contrast(sure, sure, 1.0)) == pytest.approx(expected)
    assert float(imbalance(sure, sure)) == pytest.approx(0.0, abs=1e-6)


def test_one_cluster_for_all_is_the_most_uneven() -> None:
    one = torch.eye(3)[[0, 0, 0, 0]]
    assert float(imbalance(one, one)) == pytest.approx(2 * math.log(3))
    half = torch.eye(3)[[0, 1, 0, 1]]
    assert float(imbalance(one, half)) == pytest.approx(2 * math.log(3) - math.log(2))


def slow_cluster_contrast(first: Tensor, second: Tensor, temperature: float) -> float:
    """Eq. 5 as it is written, cluster after cluster."""
    columns = [*first.T, *second.T]
    clusters, total = first.shape[1], 0.0
    for i, column in enumerate(columns):
        similar = [float(F.cosine_similarity(column, other, dim=0)) for other in columns]
        positive = (i + clusters) % (2 * clusters)
        others = sum(math.exp(s / temperature) for k, s in enumerate(similar) if k != i)
        total -= similar[positive] / temperature - math.log(others)
    return total / (2 * clusters)


def test_loss_of_clusters_equals_the_slow_one_and_is_symmetric() -> None:
    g = torch.Generator().manual_seed(0)
    first, second = torch.randn(2, 9, 4, generator=g, dtype=torch.float64).softmax(2)
    found = float(cluster_contrast(first, second, 0.7))
    assert found == pytest.approx(slow_cluster_contrast(first, second, 0.7))
    assert float(cluster_contrast(second, first, 0.7)) == pytest.approx(found)
    images, clusters = torch.randperm(9, generator=g), torch.randperm(4, generator=g)
    moved = (p[images][:, clusters] for p in (first, second))
    assert float(cluster_contrast(*moved, 0.7)) == pytest.approx(found)


def test_the_first_step_equals_a_slow_one() -> None:
    model = model_of(entropy_weight=0.5)
    drawn = torch.Generator()
    drawn.set_state(model._generator.get_state())
    pictures = model._images.take(BATCH)
    views = [model._viewed(model._view, pictures, drawn) for _ in range(2)]
    encoder, heads = copy.deepcopy(model._encoder), copy.deepcopy(model._clustering)
    instance = copy.deepcopy(model._instance)
    features = [encoder(view) for view in views]
    z = F.normalize(torch.cat([instance(f) for f in features]), dim=1).detach()
    p = [heads(f).softmax(1).detach() for f in features]
    losses = model.step(BATCH)
    logits = (z @ z.T / 0.5).fill_diagonal_(-math.inf)
    expected = F.cross_entropy(logits, torch.arange(64).roll(32))
    assert float(losses["instance_loss"]) == pytest.approx(float(expected), abs=1e-5)
    assert float(losses["cluster_loss"]) == pytest.approx(
        slow_cluster_contrast(p[0], p[1], 1.0), abs=1e-5
    )
    mean = p[0].mean(0)
    assert float(losses["entropy"]) == pytest.approx(float(-(mean * mean.log()).sum()), abs=1e-5)
    assert float(losses["confidence"]) == pytest.approx(float(p[0].amax(1).mean()), abs=1e-5)


@pytest.mark.parametrize(
    ("removed", "still"),
    [
        ({"instance_weight": 0.0}, "instance."),
        ({"cluster_weight": 0.0, "entropy_weight": 0.0}, "clustering."),
    ],
)
def test_a_removed_loss_leaves_its_head_alone(removed: dict[str, float], still: str) -> None:
    model = model_of(**removed)
    before = model.state()
    model.step(BATCH)
    after = model.state()
    weights = {k: v for k, v in before.items() if not k.startswith("optimiser")}
    assert not different(weights, after, still)
    assert different(weights, after, "encoder.conv1")


@pytest.mark.parametrize(
    "change",
    [
        {"instance_weight": 0.0},
        {"cluster_weight": 0.0},
        {"entropy_weight": 0.0},
        {"instance_temperature": 0.9},
        {"cluster_temperature": 0.3},
        {"dimension": 5},
        {"learning_rate": 1e-3},
        {"weight_decay": 0.1},
        {"crop_scale": 0.9},
        {"jitter": 0.0},
        {"grey": 0.9},
        {"blur": 0.9},
        {"flip": 0.0},
        {"mean": (0.1, 0.2, 0.3)},
    ],
)
def test_every_switch_changes_the_outcome(change: dict[str, Any]) -> None:
    assert different(plain(), trials.trained(model_of(**change), 2).encoder_weights())


@functools.cache
def plain() -> trials.State:
    return trials.trained(model_of(), 2).encoder_weights()  # type: ignore[no-any-return]
