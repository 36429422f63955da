"""CDC's heads on kept features: the stacks, the views drawn from them, and what is learnt."""

import pytest
import torch
from sklearn.datasets import make_blobs
from sklearn.metrics import adjusted_rand_score

from deep_clustering.methods.algorithms.cdc_on_features import CDCOnFeatures
from deep_clustering.methods.cdc import METHOD, CDCConfig
from deep_clustering.methods.compute.replicas import Replicas
from deep_clustering.methods.images.stacks import Cached, Stacks

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


@pytest.mark.parametrize(("heads", "stop"), [("dual", True), ("dual", False), ("single", True)])
def test_heads_learn_and_come_back_without_the_views(heads: str, stop: bool) -> None:
    points, labels = make_blobs(120, n_features=8, centers=3, random_state=1)
    clean = torch.from_numpy(points).float()
    config = CDCConfig(
        **{f: getattr(CONFIG, f) for f in CONFIG.__dataclass_fields__}
        | {"heads": heads, "stop_gradient": stop, "head_lr": 1e-2}
    )
    kept, alone = stacks(clean, 4), Replicas.alone(CPU)
    model = CDCOnFeatures(config, images=kept, replicas=alone, seed=0)
    model.initialise()
    order = torch.Generator().manual_seed(0)
    for _ in range(6):
        losses = model.step(torch.randperm(120, generator=order)[:60])
    assert all(torch.isfinite(value) for value in losses.values())
    everyone = torch.arange(120)
    found = model.predict(everyone)[model.final_head]
    assert adjusted_rand_score(labels, found.argmax(1)) > 0.95
    assert torch.equal(model.features(everyone), clean.half().float())
    back = CDCOnFeatures.restore(
        config, model.model_state(), images=stacks(clean, 0), replicas=alone
    )
    assert torch.equal(back.predict(everyone)[back.final_head], found)


def test_an_interrupted_training_goes_on_as_if_it_had_not_been() -> None:
    points, _ = make_blobs(120, n_features=8, centers=3, random_state=1)
    kept, alone = stacks(torch.from_numpy(points).float(), 4), Replicas.alone(CPU)
    batches = [torch.randperm(120)[:60] for _ in range(4)]
    whole, first, second = (
        CDCOnFeatures(CONFIG, images=kept, replicas=alone, seed=0) for _ in range(3)
    )
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
