"""DPAC: one batch against a plain one, heads and stages, processes, states, fields, presets."""

import dataclasses
import functools
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from deep_clustering.ablations._variants import applied
from deep_clustering.methods.algorithms.dpac import DPAC, opa_target, weighted_contrast
from deep_clustering.methods.compute.replicas import Replicas
from deep_clustering.methods.dpac import METHOD, DPACConfig
from deep_clustering.methods.images.images import Images
from deep_clustering.methods.pretraining.configs import PretrainConfig
from support import dpac_joined, dpac_trials, ranks, trials
from support.ranks import Results
from support.trials import different

ALL = torch.arange(trials.COUNT)


def trained(settings: Any, steps: int = 2) -> DPAC:
    return trials.trained(dpac_trials.dpac(settings), steps)


# --- One batch ------------------------------------------------------------------------------------


@pytest.mark.parametrize("objective", ["opa", "pac"])
def test_a_batch_equals_a_plain_one(objective: str) -> None:
    """Algorithm 3 with all distances, PyTorch's own losses and its plain Adam."""
    settings = dpac_trials.config(objective=objective, head_lr=3e-3, balance_weight=0.5)
    model, twin = (dpac_trials.dpac(settings, seed=3, dtype=torch.float64) for _ in range(2))
    indices = trials.batches(32, 1)[0]
    found = model.step(indices)

    encoder, head = twin._encoder, twin._clustering
    projector = twin._representation.modules["projector"]
    pixels = twin._images.take(indices)
    views = [
        view.apply(pixels, view.draw(32, twin._generators[name]), twin._mean, twin._std)
        for name, view in twin._views()
    ]
    features = encoder(torch.cat(views))
    logits = head(features[:32])
    with torch.no_grad():
        x = encoder(twin._clean.apply(pixels, {}, twin._mean, twin._std))
        p = head(x).softmax(1)
        unit = x / x.norm(dim=1, keepdim=True)
        d = (1 - unit @ unit.T).fill_diagonal_(0)
        powers = (d @ p) ** (-1 / 0.03)
        q = powers / powers.sum(1, keepdim=True)
    z = F.normalize(projector(features), dim=1)
    contrast = weighted_contrast(z[:32], z[32:], p, 0.5).mean()
    weak = logits.softmax(1)
    if objective == "opa":
        aggregated = F.kl_div(logits.log_softmax(1), q, reduction="batchmean")
    else:
        aggregated = (weak.T @ d @ weak).trace() / 32
    mean = weak.mean(0)
    (contrast + aggregated + 0.5 * (mean * mean.log()).sum()).backward()
    learnt = [*encoder.parameters(), *projector.parameters()]
    groups = [{"params": learnt, "lr": 1e-3}, {"params": head.parameters(), "lr": 3e-3}]
    torch.optim.Adam(groups, weight_decay=1e-4, foreach=False).step()

    assert found["representation_loss"].item() == pytest.approx(contrast.item(), abs=1e-10)
    assert found["clustering_loss"].item() == pytest.approx(aggregated.item(), abs=1e-8)
    assert found["entropy"].item() == pytest.approx(-(mean * mean.log()).sum().item(), abs=1e-10)
    assert found["confidence"].item() == pytest.approx(p.amax(1).mean().item(), abs=1e-10)
    assert found["pair_weight"].item() == pytest.approx((1 - p @ p.T).mean().item(), abs=1e-10)
    expected = twin.model_state()
    for name, value in model.model_state().items():
        torch.testing.assert_close(value, expected[name], rtol=1e-6, atol=1e-8, msg=name)


def test_the_clustering_loss_stops_where_it_should() -> None:
    """With the contrast alone the clustering head has no gradient but that of its own loss."""
    model = dpac_trials.dpac(dpac_trials.config(weight_decay=0.0))
    with torch.no_grad():
        batch = model._observed(model._images.take(ALL[:32]))
    target = opa_target(*batch, 1.03)
    assert not any(t.requires_grad for t in (*batch, target))


@pytest.mark.parametrize(
    ("statistics", "counted", "moves"),
    [("update", 2, True), ("batch", 2, False), ("running", 1, False)],
)
def test_the_target_pass_moves_running_statistics_as_asked(
    statistics: str, counted: int, moves: bool
) -> None:
    """Two passes a step: first and second views together, then the original ones."""
    model = dpac_trials.dpac(dpac_trials.config(target_statistics=statistics))
    before = model.model_state()
    model._observed(model._images.take(ALL[:32]))
    middle = model.model_state()
    assert different(before, middle, "encoder.bn1.running_mean") == moves
    assert different(before, middle, "clustering.1.running_var") == moves
    model.load_state(dpac_trials.dpac(dpac_trials.CONFIG).state())
    model.step(trials.batches(32, 1)[0])
    model.predict(ALL)
    for name in ("encoder.bn1", "clustering.1"):
        assert int(model.model_state()[f"{name}.num_batches_tracked"]) == counted


@pytest.mark.ray
def test_a_too_large_m_leaves_predictions_uniform() -> None:
    """Table 6 on a network: 1/K everywhere above the m that `initialise` reports."""
    spread = {}
    for m in (1.03, 2.0):
        settings = dpac_trials.config(m=m, head_lr=1e-2)
        model = dpac_trials.dpac(settings)
        assert 1.03 < model.initialise()["largest_m"] < 2
        for indices in trials.batches(32, 60):
            row = model.step(indices)
        spread[m] = float(row["confidence"]) - 1 / 3
    assert spread[2.0] < 0.03
    assert spread[1.03] > 0.3


# --- Self-labelling -------------------------------------------------------------------------------


def test_the_linear_head_learns_in_the_last_epochs_alone() -> None:
    settings = dpac_trials.config(self_label_epochs=1, self_label_threshold=0.0, weight_decay=0.0)
    model = dpac_trials.dpac(settings)  # 3 epochs of 3 batches, the last one self-labelling
    assert model.heads == ("clustering", "linear")
    assert model.final_head == "linear"
    shares, moved = [], []
    for indices in trials.batches(32, 9):
        before = model.state()
        row = model.step(indices)
        shares.append(row["self_labelled"].item())
        moved.append(different(before, model.state(), "linear"))
        assert (row["self_label_loss"].item() > 0) == (len(shares) > 6)
    assert shares == [0.0] * 6 + [1.0] * 3
    assert moved == [False] * 6 + [True] * 3


def test_an_unconfident_sample_teaches_nothing() -> None:
    settings = dpac_trials.config(self_label_epochs=3, self_label_threshold=1.0, weight_decay=0.0)
    model = dpac_trials.dpac(settings)
    before = model.state()
    row = model.step(trials.batches(32, 1)[0])
    assert row["self_labelled"].item() == row["self_label_loss"].item() == 0
    assert not different(before, model.state(), "linear")


# --- Offline targets ------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["kmeans", "fcm", "pac"])
def test_offline_targets_are_made_every_so_many_epochs(kind: str) -> None:
    settings = dpac_trials.config(offline=kind, offline_every=2)
    model = dpac_trials.dpac(settings)
    changes = []
    for indices in trials.batches(32, 9):  # 3 batches an epoch
        before = model.state()
        model.step(indices)
        after = model.state()
        changes.append(different(before, after, "offline.targets"))
        rows = after["offline.targets"].sum(1)
        torch.testing.assert_close(rows, torch.ones(trials.COUNT, dtype=torch.float64))
    assert changes == [True, *[False] * 5, True, False, False]


def test_offline_targets_follow_the_clusters_of_the_head() -> None:
    """Stripes of three kinds: at a second run the names still agree with the first."""
    settings = dpac_trials.config(offline="kmeans", encoder_lr=1e-5, head_lr=1e-2)
    model = dpac_trials.dpac(settings)
    tables = []
    for step, indices in enumerate(trials.batches(32, 40)):
        model.step(indices)
        if step % 3 == 0:
            tables.append(model.state()["offline.targets"].argmax(1))
    assert float((tables[-1] == tables[-2]).float().mean()) > 0.9
    found = model.predict(ALL)["clustering"].argmax(1)
    assert float((found == tables[-1]).float().mean()) > 0.8  # by chance a third


def test_offline_targets_are_of_the_images_trained_on() -> None:
    part = torch.arange(64)
    settings = dpac_trials.config(offline="kmeans")
    model = DPAC(settings, images=trials.images(), replicas=Replicas.alone(), seed=0, index=part)
    model.step(part[:32])
    targets = model.state()["offline.targets"]
    assert bool((targets[:64].sum(1) == 1).all())
    assert not targets[64:].any()


# --- Prediction -----------------------------------------------------------------------------------


def test_weights_of_another_pretraining_are_refused() -> None:
    state = dpac_trials.pretrained().encoder_state()
    with pytest.raises(ValueError, match=r"these weights do not fit: 16 missing \(encoder"):
        DPAC(
            dpac_trials.config(**{"pretrain.framework": "autoencoder"}),
            images=trials.images(),
            replicas=Replicas.alone(),
            seed=0,
            encoder_state=state,
        )


def test_the_original_view_is_the_middle_of_an_enlarged_image() -> None:
    settings = dpac_trials.config(**{"pretrain.enlargement": 1.5, "pretrain.side": 8})
    model = trained(settings, steps=1)
    large = trials.images(side=12)  # stored as large as 1.5 x 8: taken as they are
    middle = large.take(ALL).pixels[:, :, 2:10, 2:10].contiguous()
    cropped = Images(middle, mean=(0.5,) * 3, std=(0.25,) * 3, device=torch.device("cpu"))
    plain = dpac_trials.config()
    around = {"replicas": Replicas.alone()}
    one = METHOD.restore(settings, model.model_state(), images=large, **around)
    other = METHOD.restore(plain, model.model_state(), images=cropped, **around)
    assert torch.equal(one.features(ALL), other.features(ALL))


def test_three_kinds_of_stripes_are_told_apart() -> None:
    """From random weights, without pretraining: every cluster is of one kind."""
    settings = dpac_trials.config(epochs=20, head_lr=3e-3)
    model = dpac_trials.dpac(settings)
    for indices in trials.batches(32, 60):
        model.step(indices)
    found = model.predict(ALL)["clustering"].argmax(1)
    counts = np.zeros((3, 3))
    np.add.at(counts, (found.numpy(), ALL.numpy() % 3), 1)
    assert counts.max(1).sum() / trials.COUNT > 0.9


# --- Several processes ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> tuple[Results, list[Results]]:
    return ranks.results(dpac_joined, tmp_path_factory.mktemp("joined"))


TRIALS = ["pretrained simclr", "pretrained autoencoder", *dpac_joined.VARIANTS]


@pytest.mark.ray
@pytest.mark.parametrize("name", TRIALS)
def test_two_processes_train_as_one(results: tuple[Results, list[Results]], name: str) -> None:
    ranks.assert_as_one(results, name, rtol=1e-6, atol=1e-7)


@pytest.mark.ray
@pytest.mark.parametrize("name", TRIALS)
def test_processes_stay_identical(results: tuple[Results, list[Results]], name: str) -> None:
    ranks.assert_identical(results, name)


# --- Fields ---------------------------------------------------------------------------------------

PAC = {"objective": "pac"}
SELF = {"self_label_epochs": 3}
SLOW = {"offline": "pac", "offline_every": 2}
CHANGES: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({}, {"pretrain.framework": "moco"}),
    ({}, {"pretrain.framework": "autoencoder"}),
    ({}, {"clusters": 4}),
    ({}, {"batch_size": 16}),
    ({}, {"m": 1.5}),
    ({}, {"temperature": 0.1}),
    ({}, {"hidden": 8}),
    ({}, {"encoder_lr": 1e-2}),
    ({}, {"head_lr": 1e-2}),
    ({}, {"weight_decay": 0.5}),
    ({}, {"objective": "pac"}),
    ({}, {"distance": "squared"}),
    (PAC, {"distance": "squared"}),
    (PAC, {"detach_distance": False}),
    (PAC, {"distance_view": "first"}),
    (PAC | {"distance_view": "first"}, {"detach_distance": False}),
    ({}, {"weighted": False}),
    ({}, {"positive_weight": "one"}),
    ({}, {"positive_weight": "none"}),
    ({}, {"balance_weight": 1.0}),
    ({}, {"offline": "kmeans"}),
    ({}, {"offline": "fcm"}),
    ({}, {"offline": "pac"}),
    (SLOW, {"offline_every": 1}),
    (SLOW, {"offline_warm_start": True}),
    ({"offline": "fcm"}, {"fcm_m": 2.0}),
    ({}, SELF),
    (SELF, {"epochs": 4}),  # self-labelling begins an epoch later
    (SELF | {"self_label_threshold": 0.0}, {"self_label_threshold": 0.99}),
    ({}, {"head_views": "all"}),
    ({}, {"target_statistics": "batch"}),
    ({}, {"target_statistics": "running"}),
    ({}, {"precision": "bf16"}),
    ({}, {"pretrain.crop_scale": 1.0}),
    ({}, {"pretrain.operations": 0}),
    ({}, {"pretrain.enlargement": 1.25}),
    ({}, {"pretrain.mean": (0.1, 0.1, 0.1)}),
    ({}, {"pretrain.std": (1.0, 1.0, 1.0)}),
    ({"pretrain.framework": "moco"}, {"pretrain.moco_temperature": 0.5}),
]


@functools.cache
def outcome(fields: tuple[tuple[str, Any], ...]) -> Tensor:
    """Predictions of the final head after some steps."""
    model = trained(dpac_trials.config(**dict(fields)), steps=5)
    return model.predict(ALL)[model.final_head]


@pytest.mark.ray
@pytest.mark.parametrize(("base", "change"), CHANGES)
def test_every_switch_changes_the_outcome(base: dict[str, Any], change: dict[str, Any]) -> None:
    before, after = outcome(tuple(base.items())), outcome(tuple((base | change).items()))
    assert before.shape != after.shape or not torch.equal(before, after)


def test_every_field_is_switched() -> None:
    """Those of the pretraining, and of heads on kept features, are switched in their own tests."""
    switched = {name for _, change in CHANGES for name in change if "." not in name}
    assert switched | {"pretrain", "views"} == {f.name for f in dataclasses.fields(DPACConfig)}


# --- The record -----------------------------------------------------------------------------------


DATASETS = ("cifar10", "cifar20", "stl10", "imagenet10", "imagenet-dogs", "digits")


@pytest.mark.parametrize("dataset", DATASETS)
@pytest.mark.parametrize("reading", [None, "paper", "release"])
def test_presets_and_readings_are_valid(dataset: str, reading: str | None) -> None:
    merged: dict[str, Any] = {}
    for _, overrides in METHOD.layers(dataset, 32, reading):
        merged |= overrides
    config = applied(DPACConfig(), merged)
    assert config.m == 1.03
    assert config.distance == ("squared" if reading == "paper" else "cosine")
    assert set(METHOD.presets) == set(DATASETS)


@pytest.mark.parametrize(
    ("dataset", "side", "expected"),  # recipe, 4.3 and 4.4: R, C, blur, stem
    [
        ("cifar10", 32, (40, 16, 0.0, "side")),
        ("cifar20", 32, (40, 16, 0.0, "side")),
        ("stl10", 96, (112, 32, 0.5, "pooled")),
        ("imagenet10", 224, (256, 75, 0.5, "side")),
        ("imagenet-dogs", 224, (256, 75, 0.5, "side")),
    ],
)
def test_presets_are_those_of_the_paper(dataset: str, side: int, expected: tuple[Any, ...]) -> None:
    c = applied(DPACConfig(), METHOD.presets[dataset])
    p = c.pretrain
    assert (round(side * p.enlargement), p.cutout, p.blur, p.stem) == expected
    assert (c.epochs, c.batch_size, c.m, c.temperature) == (200, 240, 1.03, 0.5)
    assert (c.encoder_lr, c.head_lr, c.weight_decay, c.hidden) == (1e-4, 1e-4, 1e-4, 512)
    assert (p.epochs, p.batch_size, p.temperature, p.learning_rate) == (1000, 240, 0.5, 1e-4)
    assert (p.backbone, p.projector_hidden, p.projector_dimension) == ("resnet34", 512, 128)
    assert p.side == (224 if side == 224 else None)


def test_the_paper_has_larger_images_of_stl10() -> None:
    merged: dict[str, Any] = {}
    for _, overrides in METHOD.layers("stl10", 96, "paper"):
        merged |= overrides
    pretrain = applied(DPACConfig(), merged).pretrain
    assert (pretrain.side, round(224 * pretrain.enlargement), pretrain.stem) == (224, 256, "pooled")
    release = dict(METHOD.layers("stl10", 96, "release"))
    assert release["release"]["batch_size"] == 256
    assert release["release"]["self_label_threshold"] == 0.99


def test_all_mistakes_are_reported_at_once() -> None:
    with pytest.raises(ValueError, match="self_label_epochs") as caught:
        DPACConfig(
            m=1.0,
            epochs=5,
            self_label_epochs=6,
            objective="pac",
            offline="kmeans",
            distance="manhattan",  # type: ignore[arg-type]
            pretrain=PretrainConfig(framework="moco"),
            batch_size=256,
        )
    assert str(caught.value).splitlines() == [
        "distance: must be one of cosine, squared; got 'manhattan'",
        "m: must be above 1, got 1.0",
        "offline: must be none with objective 'pac', which has no targets, got 'kmeans'",
        "self_label_epochs: must be from 0 to epochs (5), of which they are the last, got 6",
        "batch_size: must divide the 4320 keys of a queue (pretrain.moco_queue x "
        "pretrain.batch_size) with framework 'moco', got 256",
    ]
