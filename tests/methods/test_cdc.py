"""CDC: one batch against a slow reference, the gradient wall, states, fields, presets."""

import dataclasses
import functools
import math
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from deep_clustering.ablations._variants import applied
from deep_clustering.methods.algorithms.cdc import CDC, Head
from deep_clustering.methods.cdc import METHOD, CDCConfig
from deep_clustering.methods.clustering.kmeans import kmeans
from deep_clustering.methods.compute.replicas import Replicas
from deep_clustering.methods.images.images import Images
from deep_clustering.methods.pretraining.configs import MoCoConfig
from deep_clustering.methods.pretraining.moco import MoCo
from support import trials
from support.trials import State, different

ALL = torch.arange(trials.COUNT)


def weights(model: CDC) -> State:
    """The state without what a forward pass in training mode moves."""
    return {k: v for k, v in model.state().items() if "running" not in k and "num_batch" not in k}


def trained(settings: Any, steps: int = 2) -> CDC:
    return trials.trained(trials.cdc(settings), steps)


# --- One batch ------------------------------------------------------------------------------------


def reference_batch(twin: CDC, indices: Tensor) -> tuple[State, dict[str, float]]:
    """Algorithm 1 with loops, masks and PyTorch's plain Adam, on the networks of `twin`."""
    config = twin.config
    networks = twin._networks()
    encoder, clustering, calibration = networks.values()
    first = torch.optim.Adam(
        [
            {"params": encoder.parameters(), "lr": config.encoder_lr},
            {"params": clustering.parameters(), "lr": config.head_lr},
        ],
        foreach=False,
    )
    second = torch.optim.Adam(calibration.parameters(), lr=config.head_lr, foreach=False)
    pixels = twin._images.take(indices)

    def view(name: str, made: Any) -> Tensor:
        draws = made.draw(len(indices), twin._generators[name])
        return made.apply(pixels, draws, twin._mean, twin._std)

    with torch.no_grad():
        clean = encoder(twin._clean.apply(pixels, {}, twin._mean, twin._std))
        p_clean = clustering(clean).softmax(1)
        weak = encoder(view("weak", twin._weak))
        clustering(weak)
        p_weak = calibration(weak).softmax(1)
    strong = view("strong", twin._strong)

    labels, confidence = p_weak.argmax(1), p_weak.amax(1)
    cap = config.batch_size // config.clusters
    selected = np.zeros(len(indices), dtype=bool)
    for c in range(config.clusters):
        ranking = p_weak[:, c].argsort(descending=True)
        count = math.floor(cap * float(confidence[ranking[:cap]].mean()))
        selected[ranking[:count].numpy()] = True
    regions = kmeans(
        clean / clean.abs().sum(1, keepdim=True), config.mini_clusters, restarts=2
    ).labels
    targets = torch.stack([p_clean[regions == regions[i]].mean(0) for i in range(len(indices))])

    size, sums = config.sub_batch_size, {"clustering_loss": 0.0, "calibration_loss": 0.0}
    for start in range(0, config.batch_size, size):
        part = slice(start, start + size)
        logits = clustering(encoder(strong[part]))
        chosen = torch.from_numpy(selected[part])
        loss = F.cross_entropy(logits[chosen], labels[part][chosen])
        first.zero_grad()
        loss.backward()
        first.step()
        sums["clustering_loss"] += loss.item() * size / config.batch_size

        logits = calibration(clean[part])
        cross = F.cross_entropy(logits, targets[part])
        mean = logits.softmax(1).mean(0)
        second.zero_grad()
        (cross + config.entropy_weight * (mean * mean.log()).sum()).backward()
        second.step()
        sums["calibration_loss"] += cross.item() * size / config.batch_size
    return twin.model_state(), sums | {"selected": selected.mean()}


def test_a_batch_equals_the_slow_reference() -> None:
    model, twin = (trials.cdc(seed=3, dtype=torch.float64) for _ in range(2))
    model.initialise(), twin.initialise()
    indices = trials.batches(32, 1)[0]
    found = model.step(indices)
    expected, losses = reference_batch(twin, indices)
    assert 0 < losses["selected"] < 1
    for name, value in losses.items():
        assert found[name].item() == pytest.approx(value, abs=1e-7), name
    for name, value in model.model_state().items():
        torch.testing.assert_close(value, expected[name], rtol=1e-7, atol=1e-7, msg=name)


def test_losses_have_the_names_of_the_terms() -> None:
    assert list(trials.cdc().step(trials.batches(32, 1)[0])) == [
        "clustering_loss",
        "calibration_loss",
        "entropy",
        "selected",
        "skipped",
        "threshold",
        "confidence",
    ]


# --- The wall between the losses, and slices without a sample -------------------------------------


@pytest.mark.fault(53)
def test_without_a_selected_sample_only_the_calibration_head_moves() -> None:
    start = trained(trials.config(fixed_threshold=0.0)).state()
    model = trials.cdc(trials.config(fixed_threshold=1.0))
    model.load_state(start)
    before = weights(model)
    losses = model.step(trials.batches(32, 1, seed=9)[0])
    after = weights(model)
    assert losses["skipped"].item() == 2
    assert losses["selected"].item() == 0
    assert losses["clustering_loss"].item() == 0
    for part in ("encoder.", "clustering.", "optimiser.encoder.", "optimiser.clustering."):
        assert not different(before, after, part), part  # bit for bit, step counters included
    for part in ("calibration.", "optimiser.calibration."):
        assert different(before, after, part), part


def test_only_the_empty_slice_is_skipped() -> None:
    model = trials.cdc(seed=1)
    model.initialise()
    indices = trials.batches(32, 1)[0]

    class Half(torch.nn.Module):
        def forward(self, p: Tensor, _: Tensor) -> tuple[Tensor, Tensor]:
            return torch.arange(32) >= 16, p.new_tensor(0.0)

    model._rule = Half()
    losses = model.step(indices)
    assert losses["skipped"].item() == 1
    assert losses["selected"].item() == 0.5
    steps = {int(v) for k, v in model.state().items() if k.endswith("step")}
    assert steps == {1, 2}  # encoder and clustering head made one step, the calibration head two
    counts = {
        k: int(v) for k, v in model.state().items() if k.startswith("optimiser.encoder.0.step")
    }
    assert list(counts.values()) == [1]


def test_a_cap_of_one_selects_nothing() -> None:
    model = trials.cdc(trials.config(class_cap=1))  # floor(1 * confidence) = 0
    losses = model.step(trials.batches(32, 1)[0])
    assert losses["skipped"].item() == 2


@pytest.mark.parametrize(
    ("changes", "moved", "still"),
    [
        ({"stop_gradient": False}, ("encoder.", "calibration."), ("clustering.",)),
        ({"heads": "single-calibrated"}, ("clustering.",), ("encoder.",)),
        ({"heads": "single-calibrated", "stop_gradient": False}, ("clustering.", "encoder."), ()),
        ({"heads": "single"}, (), ("clustering.", "encoder.")),
    ],
)
def test_where_the_calibration_loss_reaches(
    changes: dict[str, Any], moved: tuple[str, ...], still: tuple[str, ...]
) -> None:
    model = trials.cdc(trials.config(fixed_threshold=1.0, **changes))
    before = weights(model)
    model.step(trials.batches(32, 1)[0])
    after = weights(model)
    for part in moved:
        assert different(before, after, part), part
        assert different(before, after, f"optimiser.{part}"), part
    for part in still:
        assert not different(before, after, part), part
        assert not different(before, after, f"optimiser.{part}"), part


# --- Batch statistics -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, {"encoder": 4, "clustering": 4, "calibration": 3}),  # 2 + S, 2 + S, 1 + S
        ({"sub_batch_size": 8}, {"encoder": 6, "clustering": 6, "calibration": 5}),
        ({"batch_statistics": False}, {"encoder": 2, "clustering": 2, "calibration": 2}),
        ({"stop_gradient": False}, {"encoder": 6, "clustering": 4, "calibration": 3}),
        ({"heads": "single"}, {"encoder": 4, "clustering": 4}),
        ({"filter": "gsf", "filter_floor": 0.0}, {"encoder": 4, "clustering": 4, "calibration": 3}),
    ],
)
def test_every_pass_counts_in_the_running_statistics(
    changes: dict[str, Any], expected: dict[str, int]
) -> None:
    model = trials.cdc(trials.config(**changes))
    for batch in range(1, 3):
        model.step(trials.batches(32, 1, seed=batch)[0])
        model.predict(ALL)
        for network, count in expected.items():
            found = {
                int(v)
                for k, v in model.model_state().items()
                if k.startswith(network) and k.endswith("num_batches_tracked")
            }
            assert found == {count * batch}, network


# --- Initialisation and prediction ----------------------------------------------------------------


def test_prototypes_make_both_heads_alike() -> None:
    model = trials.cdc()
    overlap = model.initialise()["prototype_overlap"]
    assert overlap == pytest.approx(-0.5, abs=0.05)  # a simplex of three
    state = model.model_state()
    for name in ("hidden", "output"):
        assert torch.equal(state[f"clustering.{name}.weight"], state[f"calibration.{name}.weight"])
        for head in model.heads:
            assert not state[f"{head}.{name}.bias"].any()
    for head in model.heads:
        assert torch.equal(state[f"{head}.norm.running_mean"], torch.zeros(10))
        assert torch.equal(state[f"{head}.norm.running_var"], torch.ones(10))
        assert int(state[f"{head}.norm.num_batches_tracked"]) == 0
    predicted = model.predict(ALL)
    assert torch.equal(predicted["clustering"], predicted["calibration"])


def test_before_training_logits_are_as_long_as_the_features() -> None:
    head = Head(6, 20, 3, Replicas.alone(torch.device("cpu"))).eval()
    generator = torch.Generator().manual_seed(0)
    first = F.normalize(torch.randn(20, 6, generator=generator))
    head.install(first, torch.randn(3, 20, generator=generator))
    features = torch.rand(9, 6, generator=generator)
    logits = head(features)
    assert torch.allclose(head(8 * features), 8 * logits, rtol=1e-4)
    sure = [(scale * logits).softmax(1).amax(1).mean() for scale in (0.1, 1.0, 8.0)]
    assert sure[0] < 0.45 < sure[1] < 0.95 < sure[2]


def test_random_heads_are_independent_and_repeatable() -> None:
    settings = trials.config(initialisation="random")
    model = trials.cdc(settings)
    before = model.model_state()
    assert model.initialise() == {}
    assert not different(before, model.model_state())
    assert not torch.equal(before["clustering.output.weight"], before["calibration.output.weight"])
    assert not different(before, trials.cdc(settings).model_state())
    other = trials.cdc(settings, seed=1).model_state()
    assert different(before, other, "clustering.output.weight")


def test_features_are_those_of_the_loaded_encoder() -> None:
    moco = trials.moco()
    moco.step(trials.batches(16, 1)[0])
    model = CDC(
        trials.CONFIG,
        images=trials.images(),
        replicas=Replicas.alone(),
        seed=0,
        encoder_state=moco.encoder_state(),
    )
    features = model.features(ALL)
    assert features.shape == (trials.COUNT, 128)
    assert torch.equal(features, moco.features(ALL))
    assert float((features - trials.cdc().features(ALL)).abs().amax()) > 1e-3


def test_weights_of_another_encoder_are_refused() -> None:
    state = trials.moco().encoder_state()
    state["conv9.weight"] = state.pop("conv1.weight")
    state["bn1.bias"] = torch.zeros(7)
    with pytest.raises(
        ValueError, match=r"1 missing \(conv1.weight\); 1 unexpected \(conv9.weight\); 1 of another"
    ):
        CDC(
            trials.CONFIG,
            images=trials.images(),
            replicas=Replicas.alone(),
            seed=0,
            encoder_state=state,
        )


def test_networks_see_the_configured_side() -> None:
    """Images stored larger than the views, as those of ImageNet are."""
    settings = trials.config(pretrain=dataclasses.replace(trials.PRETRAIN, side=8))
    large = trials.images(side=12)
    moco = MoCo(settings.pretrain, images=large, replicas=Replicas.alone(), seed=0)
    moco.step(trials.batches(16, 1)[0])
    model = CDC(
        settings,
        images=large,
        replicas=Replicas.alone(),
        seed=0,
        encoder_state=moco.encoder_state(),
    )
    model.initialise()
    model.step(trials.batches(32, 1)[0])
    middle = trials.images(side=12).take(ALL).pixels[:, :, 2:10, 2:10].contiguous()
    cropped = Images(middle, mean=(0.5,) * 3, std=(0.25,) * 3, device=torch.device("cpu"))
    alike = METHOD.restore(settings, model.model_state(), images=cropped, replicas=Replicas.alone())
    assert torch.equal(alike.features(ALL), model.features(ALL))


def test_too_few_images_for_the_prototypes_are_refused() -> None:
    with pytest.raises(ValueError, match="hidden: 97 prototypes need as many images, got 96"):
        trials.cdc(trials.config(hidden=97)).initialise()


@pytest.mark.fault(56)
def test_low_precision_is_close() -> None:
    exact = trained(trials.CONFIG, steps=0).predict(ALL)["clustering"]
    low = trained(trials.config(precision="bf16"), steps=0)
    rough = low.predict(ALL)["clustering"]
    assert rough.dtype == torch.float32
    assert 0 < float((rough - exact).abs().amax()) < 0.1
    for value in low.step(trials.batches(32, 1)[0]).values():
        assert math.isfinite(value.item())


# --- States and seeds -----------------------------------------------------------------------------


def test_a_state_of_another_configuration_is_refused() -> None:
    state = trials.cdc(trials.config(heads="single")).state()
    with pytest.raises(ValueError, match=r"these weights do not fit: .* missing .calibration"):
        trials.cdc().load_state(state)


# --- Fields ---------------------------------------------------------------------------------------


class Watched:
    """A configuration that notes which of its fields are read."""

    def __init__(self, config: Any, seen: set[str], prefix: str = "") -> None:
        self._config, self._seen, self._prefix = config, seen, prefix

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._config, name)
        self._seen.add(self._prefix + name)
        if dataclasses.is_dataclass(value):
            return Watched(value, self._seen, f"{self._prefix}{name}.")
        return value


@pytest.mark.ray
def test_every_field_has_a_reader() -> None:
    seen: set[str] = set()
    for changes in (
        {},
        {"calibration_loss": "label-smoothing", "selection": "flexmatch"},
        {"calibration_loss": "focal", "selection": "freematch", "filter": "gsf"},
        {"calibration_loss": "l1", "filter": "ppf", "focal_warmup": 0},
    ):
        settings = trials.config(**changes)
        moco = trials.moco(Watched(settings.pretrain, seen, "pretrain."))
        moco.step(trials.batches(16, 1)[0])
        model = trials.cdc(Watched(settings, seen))
        model.initialise()
        model.step(trials.batches(32, 1)[0])
        # The focal exponent is read after the warm-up only: here, in a state of a later epoch.
        model.load_state(model.state() | {"steps": torch.tensor(10_000)})
        model.step(trials.batches(32, 1)[0])
    assert "network" in seen  # what the clustering reads of the pretraining's fields
    assert METHOD.on_features is not None
    METHOD.on_features.views(Watched(trials.config(), seen), 8)
    fields = {f.name for f in dataclasses.fields(CDCConfig)} - {"pretrain"}
    fields |= {f"pretrain.{f.name}" for f in dataclasses.fields(MoCoConfig)}
    assert len(fields) >= 60
    assert fields - seen == set()


CHANGES: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({}, {"initialisation": "prototype"}),
    ({}, {"heads": "single"}),
    ({}, {"heads": "single-calibrated"}),
    ({}, {"stop_gradient": False}),
    ({"heads": "single-calibrated"}, {"stop_gradient": False}),
    ({}, {"fixed_threshold": 0.6}),
    ({}, {"selection": "flexmatch"}),
    ({}, {"selection": "freematch"}),
    ({"selection": "flexmatch", "flexmatch_warmup": False}, {"flexmatch_threshold": 0.5}),
    ({"selection": "flexmatch", "flexmatch_threshold": 0.5}, {"flexmatch_warmup": False}),
    ({"selection": "freematch"}, {"freematch_momentum": 0.1}),
    ({"class_cap": 3, "initialisation": "prototype"}, {"filter": "ppf", "filter_floor": 0.0}),
    ({"class_cap": 3}, {"filter": "gsf", "filter_floor": 0.0, "gsf_score": 0.5}),
    ({}, {"calibration_loss": "label-smoothing"}),
    ({}, {"calibration_loss": "focal"}),
    ({}, {"calibration_loss": "l1"}),
    ({"calibration_loss": "label-smoothing"}, {"label_smoothing": 0.5}),
    ({"calibration_loss": "focal"}, {"focal_warmup": 0}),
    ({"calibration_loss": "focal", "focal_warmup": 0}, {"focal_gamma": 5.0}),
    ({"calibration_loss": "l1"}, {"l1_weight": 1.0}),
    ({}, {"entropy_weight": 0.0}),
    ({}, {"mini_clusters": 3}),
    ({}, {"unit_features": False, "mini_clusters": 3}),
    ({}, {"class_cap": 4}),
    ({}, {"batch_statistics": False}),
    ({}, {"target_view": "weak"}),
    ({"initialisation": "prototype"}, {"grouping": "components"}),
    ({}, {"sub_batch_size": 32}),
    ({}, {"batch_size": 16}),
    ({}, {"hidden": 8}),
    ({}, {"encoder_lr": 1e-2}),
    ({}, {"head_lr": 1e-2}),
    ({}, {"weight_decay": 0.5}),
    ({}, {"weak_crop": 1.0}),
    ({}, {"weak_flip": 0.0}),
    ({}, {"strong_crop": 1.0}),
    ({}, {"strong_flip": 0.0}),
    ({}, {"operations": 0}),
    ({}, {"cutout": 0}),
    ({}, {"mean": (0.1, 0.1, 0.1)}),
    ({}, {"std": (1.0, 1.0, 1.0)}),
]


@functools.cache
def outcome(fields: tuple[tuple[str, Any], ...]) -> Tensor:
    """Predictions of the final head after some steps, from the quick start unless fields say."""
    settings = trials.config(**{"initialisation": "random"} | dict(fields))
    # FlexMatch asks for little before it has seen confident samples.
    model = trained(settings, steps=6 if "flexmatch" in str(fields) else 2)
    return model.predict(ALL)[model.final_head]


@pytest.mark.ray
@pytest.mark.parametrize(("base", "change"), CHANGES)
def test_every_switch_changes_the_outcome(base: dict[str, Any], change: dict[str, Any]) -> None:
    before, after = outcome(tuple(base.items())), outcome(tuple((base | change).items()))
    assert not torch.equal(before, after)


# --- The record -----------------------------------------------------------------------------------


CLASSES = {
    "cifar10": 10,
    "cifar20": 20,
    "stl10": 10,
    "imagenet10": 10,
    "imagenet-dogs": 15,
    "tiny-imagenet": 200,
    "imagenet50": 50,
    "imagenet100": 100,
    "imagenet200": 200,
    "digits": 10,
}


@pytest.mark.parametrize("dataset", sorted(CLASSES))
@pytest.mark.parametrize("reading", [None, "paper", "release"])
def test_presets_and_readings_are_valid(dataset: str, reading: str | None) -> None:
    merged: dict[str, Any] = {"clusters": CLASSES[dataset]}
    for _, overrides in METHOD.layers(dataset, 32, reading):
        merged |= overrides
    config = applied(CDCConfig(), merged)
    assert config.batch_size // config.clusters >= 1
    assert set(METHOD.presets) == set(CLASSES)


@pytest.mark.parametrize(
    ("dataset", "expected"),  # recipe, section 5: B, b, K, encoder lr, cutout
    [
        ("cifar10", (1000, 500, 500, 5e-5, 16)),
        ("cifar20", (1000, 500, 40, 1e-5, 16)),
        ("stl10", (1000, 500, 150, 5e-5, 32)),
        ("imagenet10", (500, 125, 150, 5e-5, 32)),
        ("imagenet-dogs", (500, 125, 40, 5e-5, 32)),
        ("tiny-imagenet", (5000, 1000, 1000, 1e-5, 32)),
        ("imagenet200", (500, 125, 150, 5e-5, 32)),
    ],
)
def test_presets_are_those_of_the_paper(dataset: str, expected: tuple[float, ...]) -> None:
    c = applied(CDCConfig(), {**METHOD.presets[dataset], "clusters": CLASSES[dataset]})
    found = (c.batch_size, c.sub_batch_size, c.mini_clusters, c.encoder_lr, c.cutout)
    assert found == expected
    assert (c.head_lr, c.entropy_weight, c.epochs, c.hidden) == (1e-4, 1.0, 100, 512)
    assert (c.pretrain.epochs, c.pretrain.batch_size, c.pretrain.queue_size) == (1000, 256, 32768)
    assert c.pretrain.backbone == ("resnet50" if dataset == "imagenet200" else "resnet34")
    assert c.pretrain.side == (224 if "imagenet" in dataset and "tiny" not in dataset else None)


def test_the_release_had_another_batch_on_imagenet10() -> None:
    layers = dict(METHOD.layers("imagenet10", 256, "release"))
    assert layers["release/imagenet10"] == {"batch_size": 1000, "class_cap": 50}
    assert [name for name, _ in METHOD.layers("pictures", 32, "release")] == ["cifar10", "release"]
    with pytest.raises(ValueError, match="reading: must be one of paper, release, got 'papers'"):
        METHOD.layers("cifar10", 32, "papers")


@pytest.mark.fault(63)
def test_all_mistakes_are_reported_at_once() -> None:
    with pytest.raises(ValueError, match="mini_clusters") as caught:
        CDCConfig(
            batch_size=100,
            sub_batch_size=30,
            mini_clusters=101,
            fixed_threshold=0.9,
            selection="flexmatch",
            heads="triple",  # type: ignore[arg-type]
            cutout=-1,
        )
    assert str(caught.value).splitlines() == [
        "heads: must be one of dual, single, single-calibrated; got 'triple'",
        "cutout: must not be negative, got -1",
        "sub_batch_size: must divide batch_size (100), got 30",
        "mini_clusters: must be at most batch_size (100), got 101",
        "fixed_threshold: must be none with selection 'flexmatch': one rule selects, got 0.9",
    ]
