"""Heads on kept features: the stacks, the views drawn from them, and what CDC and DPAC learn."""

import dataclasses
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from sklearn.datasets import make_blobs
from sklearn.metrics import adjusted_rand_score

from deep_clustering.methods import cdc, dpac
from deep_clustering.methods.algorithms.cdc_on_features import CDCOnFeatures
from deep_clustering.methods.algorithms.dpac import divergence, opa_target
from deep_clustering.methods.algorithms.dpac_on_features import DPACOnFeatures
from deep_clustering.methods.cdc import METHOD, CDCConfig
from deep_clustering.methods.compute.replicas import Replicas
from deep_clustering.methods.dpac import DPACConfig
from deep_clustering.methods.images.stacks import Cached, Stacks
from deep_clustering.methods.networks.batchnorm import BatchNorm

CPU = torch.device("cpu")
CONFIG = CDCConfig(
    clusters=3,
    batch_size=60,
    sub_batch_size=30,
    mini_clusters=15,
    hidden=12,
    epochs=3,
    views=2,
    kmeans_restarts=2,
)
OF_DPAC = DPACConfig(clusters=3, batch_size=60, hidden=12, epochs=3, views=2, head_lr=1e-2)
#: Configuration -> the class whose heads it is of, and how many views of an image it asks for.
MODELS: dict[str, tuple[Any, type[CDCOnFeatures] | type[DPACOnFeatures], int]] = {
    "cdc": (CONFIG, CDCOnFeatures, 4),
    "cdc, joint": (dataclasses.replace(CONFIG, stop_gradient=False), CDCOnFeatures, 4),
    "cdc, single": (dataclasses.replace(CONFIG, heads="single"), CDCOnFeatures, 4),
    "dpac": (OF_DPAC, DPACOnFeatures, 2),
    "dpac, both views": (dataclasses.replace(OF_DPAC, head_views="all"), DPACOnFeatures, 4),
    "dpac, labels": (
        dataclasses.replace(OF_DPAC, epochs=9, self_label_epochs=8, self_label_threshold=0.5),
        DPACOnFeatures,
        4,
    ),
}


def stacks(clean: torch.Tensor, views: int) -> Stacks:
    """The features and views of them, each with noise of its own."""
    noise = torch.Generator().manual_seed(1)
    others = [clean + 0.05 * torch.randn(clean.shape, generator=noise) for _ in range(views)]
    index = torch.arange(len(clean))
    return Stacks(
        [clean.half(), *(o.half() for o in others)], index=index, count=len(clean), device=CPU
    )


def test_a_picture_is_the_stack_of_its_views() -> None:
    clean = torch.arange(8.0).view(4, 2)
    kept = Stacks([clean, clean + 100], index=torch.tensor([1, 4, 5, 9]), count=12, device=CPU)
    assert len(kept) == 12
    assert kept.take(torch.tensor([9, 4])).pixels.tolist() == [
        [[6, 7], [106, 107]],
        [[2, 3], [102, 103]],
    ]
    with pytest.raises(IndexError, match="whose features are not here"):
        kept.take(torch.tensor([4, 0]))


def test_each_image_draws_one_of_the_views_of_a_kind() -> None:
    values = [torch.full((500, 1), float(v)) for v in range(4)]
    pictures = Stacks(values, index=torch.arange(500), count=500, device=CPU).take(
        torch.arange(500)
    )
    none = torch.zeros(3)
    view = Cached(1, 2)
    draws = view.draw(500, torch.Generator().manual_seed(0))
    seen = view.apply(pictures, draws, none, none)
    assert set(seen.flatten().tolist()) == {1.0, 2.0}
    assert 150 < (seen == 1).sum() < 350
    assert Cached(3).apply(pictures, {}, none, none).unique().tolist() == [3.0]


def test_views_are_named_and_the_hole_keeps_its_share() -> None:
    assert METHOD.on_features is not None
    views = METHOD.on_features.views(CONFIG, 32)
    assert [v.name for v in views] == ["weak-0", "weak-1", "strong-0", "strong-1"]
    assert views[2].cutout == 0.5  # 16 of 32 pixels
    assert METHOD.on_features.views(CONFIG, 8)[2].cutout == 1.0
    assert METHOD.on_features.views(CONFIG, 64)[2].cutout == 0.25


@pytest.mark.parametrize("name", MODELS)
def test_views_that_no_head_is_given_are_not_asked_for(name: str) -> None:
    config, _, count = MODELS[name]
    record = (cdc if name.startswith("cdc") else dpac).METHOD.on_features
    assert record is not None
    views = record.views(config, 32)
    assert [v.name for v in views] == ["weak-0", "weak-1", "strong-0", "strong-1"][:count]
    assert {v.cutout for v in views if v.kind == "weak"} == {0.0}


@pytest.mark.parametrize("name", MODELS)
def test_heads_learn_and_come_back_without_the_views(name: str) -> None:
    points, labels = make_blobs(120, n_features=8, centers=3, random_state=1)
    clean = torch.from_numpy(points).float()
    config, kind, count = MODELS[name]
    config = dataclasses.replace(config, head_lr=1e-2)
    kept, alone = stacks(clean, count), Replicas.alone(CPU)
    model = kind(config, images=kept, replicas=alone, seed=0)
    model.initialise()
    order = torch.Generator().manual_seed(0)
    for _ in range(6 if kind is CDCOnFeatures else 40):  # which has no start from prototypes
        losses = model.step(torch.randperm(120, generator=order)[:60])
    assert all(torch.isfinite(value) for value in losses.values())
    everyone = torch.arange(120)
    found = model.predict(everyone)[model.final_head]
    assert adjusted_rand_score(labels, found.argmax(1)) > 0.95
    assert torch.equal(model.features(everyone), clean.half().float())
    back = kind.restore(config, model.model_state(), images=stacks(clean, 0), replicas=alone)
    assert torch.equal(back.predict(everyone)[back.final_head], found)


def test_on_a_frozen_encoder_each_seed_starts_from_clusters_of_its_own() -> None:
    assert METHOD.on_features is not None
    asked = METHOD.on_features.changes({"clusters": 3, "batch_size": 60, "epochs": 100})
    assert asked == {"mini_clusters": 6, "epochs": 40, "grouping": "components"}
    few = METHOD.on_features.changes({"clusters": 3, "batch_size": 60, "epochs": 7})
    assert few["epochs"] == 7  # as in a preset of fewer
    everyone, alone = torch.arange(120), Replicas.alone(CPU)

    def started(clean: torch.Tensor, seed: int, **fields: Any) -> torch.Tensor:
        config = dataclasses.replace(CONFIG, **fields)
        model = CDCOnFeatures(config, images=stacks(clean, 4), replicas=alone, seed=seed)
        model.initialise()
        return model.predict(everyone)["clustering"].argmax(1)

    none = torch.randn(120, 8, generator=torch.Generator().manual_seed(0))  # without clusters
    assert torch.equal(started(none, 0), started(none, 1))  # what differs is the pretraining
    assert not torch.equal(started(none, 0, **asked), started(none, 1, **asked))
    points, labels = make_blobs(120, n_features=8, centers=3, random_state=1)
    for seed in (0, 1):
        found = started(torch.from_numpy(points).float(), seed, **asked)
        assert adjusted_rand_score(labels, found) > 0.95


@pytest.mark.parametrize("name", ["cdc", "dpac", "dpac, labels"])
def test_an_interrupted_training_goes_on_as_if_it_had_not_been(name: str) -> None:
    points, _ = make_blobs(120, n_features=8, centers=3, random_state=1)
    config, kind, count = MODELS[name]
    kept, alone = stacks(torch.from_numpy(points).float(), count), Replicas.alone(CPU)
    batches = [torch.randperm(120)[:60] for _ in range(4)]
    whole, first, second = (kind(config, images=kept, replicas=alone, seed=0) for _ in range(3))
    whole.initialise()
    first.initialise()
    for batch in batches:
        whole.step(batch)
    for batch in batches[:2]:
        first.step(batch)
    second.load_state(first.state())
    for batch in batches[2:]:
        second.step(batch)
    ends = whole.state(), second.state()
    assert all(torch.equal(ends[0][name], ends[1][name]) for name in ends[0])


def test_dpac_on_features_equals_the_written_steps() -> None:
    """Targets of the clean features, the head learns on the drawn ones, and nothing else does."""
    clean = torch.randn(60, 8, generator=torch.Generator().manual_seed(3)).half().float()
    weak = (clean + 1).half().float()  # one view, so that nothing is drawn
    kept = Stacks([clean, weak], index=torch.arange(60), count=60, device=CPU)
    config = dataclasses.replace(OF_DPAC, views=1, m=1.5)
    model, other = (
        DPACOnFeatures(config, images=kept, replicas=Replicas.alone(CPU), seed=0) for _ in range(2)
    )
    head = other._heads["clustering"].train()
    adam = torch.optim.Adam(head.parameters(), lr=config.head_lr, weight_decay=config.weight_decay)
    for step in range(3):
        batch = torch.randperm(60, generator=torch.Generator().manual_seed(step))
        losses = model.step(batch)
        logits = head(weak[batch])
        with torch.no_grad():
            p = head(clean[batch]).softmax(1)
        q = opa_target(clean[batch], p, 1.5).float()
        loss = divergence(q, logits).mean()
        adam.zero_grad()
        loss.backward()
        adam.step()
        assert float(losses["clustering_loss"]) == pytest.approx(float(loss.detach()), abs=1e-6)
        assert float(losses["representation_loss"]) == 0
    found = model._heads["clustering"].state_dict()
    # Normalisation takes a bias before it away: it has a gradient of rounding alone, which Adam
    # turns into a step of up to its rate; the running mean follows.
    norms = [i for i, layer in enumerate(head) if isinstance(layer, BatchNorm)]
    loose = {name for i in norms for name in (f"{i - 1}.bias", f"{i}.running_mean")}
    for name, value in head.state_dict().items():
        most = 2 * 3 * config.head_lr if name in loose else 1e-6  # three steps, of both
        assert torch.allclose(found[name], value, atol=most), name
    # What it does with a batch tells no bias apart, and everything else.
    seen = [one.train()(weak) for one in (head, model._heads["clustering"])]
    assert torch.allclose(*seen, atol=1e-5)
    assert F.mse_loss(model.features(torch.arange(60)), clean) == 0
