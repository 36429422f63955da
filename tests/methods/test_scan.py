"""SCAN: hand-worked losses, the two phases, selection of the head, processes, kills, no labels."""

import dataclasses
import math
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file

from deep_clustering.methods.algorithms.scan import (
    SCAN,
    Heads,
    confident_labels,
    inconsistency,
    label_weights,
    selection_scores,
)
from deep_clustering.methods.compute.replicas import Replicas
from deep_clustering.methods.learning.learner import evaluation
from deep_clustering.methods.pretraining.pretext import anchored, learning_rate
from deep_clustering.methods.scan import METHOD
from deep_clustering.platform import results
from deep_clustering.platform.run.execute import execute
from deep_clustering.platform.run.failure import Cancelled
from deep_clustering.platform.store.store import Store
from support import ranks, scan_joined, scan_trials, small, trials
from support.trials import different

ALL = torch.arange(trials.COUNT)
SURE = 1e4  # a logit that makes a prediction one-hot in float32


# --- The pretext task -----------------------------------------------------------------------------


def test_learning_rate_is_a_cosine_over_epochs() -> None:
    rates = [learning_rate(e, epochs=500, peak=0.4, final=1e-3) for e in range(500)]
    assert rates[0] == 0.4
    assert rates[250] == pytest.approx((0.4 + 4e-4) / 2)
    assert rates == sorted(rates, reverse=True)
    assert 4e-4 < rates[-1] < 5e-4


def test_the_pretext_loss_by_hand() -> None:
    # Two images; anchors a1, a2 are orthogonal, b1 = a1 and b2 = a1 as well; temperature 1.
    first = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    second = torch.tensor([[1.0, 0.0], [1.0, 0.0]])
    # a1: positive e, others e^0 (a2) and e (b1), e (b2); a2: positive e^0, all three others e^0.
    expected = ((math.log(1 + 2 * math.e) - 1) + math.log(3)) / 2
    assert float(anchored(first, second, 1.0, symmetric=False)) == pytest.approx(expected)


def test_the_pretext_loss_has_one_side_and_no_order() -> None:
    g = torch.Generator().manual_seed(0)
    first, second = (F.normalize(torch.randn(6, 4, generator=g), dim=1) for _ in range(2))
    order = torch.randperm(6, generator=g)
    one = anchored(first, second, 0.1, symmetric=False)
    torch.testing.assert_close(anchored(first[order], second[order], 0.1, symmetric=False), one)
    other = anchored(second, first, 0.1, symmetric=False)
    assert abs(float(one - other)) > 1e-3
    both = anchored(first, second, 0.1, symmetric=True)
    torch.testing.assert_close(both, (one + other) / 2)
    alike = first[:1].expand(6, -1)
    assert float(anchored(alike, alike, 0.1, symmetric=False)) == pytest.approx(math.log(11))


@pytest.mark.parametrize("projection", [True, False])
def test_neighbours_are_looked_for_in_the_projection_or_before_it(projection: bool) -> None:
    settings = dataclasses.replace(scan_trials.PRETRAIN, mine_projection=projection)
    model = scan_trials.pretext(settings)
    before = model.state()
    embedding = model.embedding(ALL)
    if projection:
        assert embedding.shape == (trials.COUNT, 16)
        torch.testing.assert_close(embedding.norm(dim=1), torch.ones(trials.COUNT))
    else:
        assert torch.equal(embedding, model.features(ALL))
    assert not different(before, model.state())


# --- Losses ---------------------------------------------------------------------------------------


def test_inconsistency_by_hand() -> None:
    anchors = torch.tensor([[0.5, 0.5], [0.9, 0.1], [1.0, 0.0]]).log()
    neighbours = torch.tensor([[0.2, 0.8], [0.6, 0.4], [1.0, 0.0]]).log()
    likelihoods = torch.tensor([0.5, 0.9 * 0.6 + 0.1 * 0.4, 1.0])
    found = inconsistency(anchors, neighbours)
    torch.testing.assert_close(found, -likelihoods.log())
    torch.testing.assert_close(inconsistency(neighbours, anchors), found)
    assert torch.isfinite(inconsistency(SURE * torch.eye(2), SURE * torch.eye(2).flip(0))).all()


@pytest.mark.parametrize("classes", [2, 10])
def test_scores_of_known_predictions(classes: int) -> None:
    sure = torch.eye(classes).repeat(3, 1)[:, None]
    itself = torch.arange(3 * classes)[:, None]
    partners = torch.cat([itself, (itself + classes) % (3 * classes)], 1)  # of the same class
    score = selection_scores(sure, partners)
    torch.testing.assert_close(score, torch.tensor([-math.log(classes)]))
    uniform = torch.full_like(sure, 1 / classes)
    torch.testing.assert_close(selection_scores(uniform, partners), torch.zeros(1))
    one = torch.eye(classes)[:1].repeat(3 * classes, 1)[:, None]
    torch.testing.assert_close(selection_scores(one, partners), torch.zeros(1))


def test_the_score_weighs_entropy_once_and_follows_a_permutation_of_heads() -> None:
    g = torch.Generator().manual_seed(0)
    p = torch.randn(12, 3, 4, generator=g).softmax(2)
    partners = torch.randint(12, (12, 5), generator=g)
    score = selection_scores(p, partners)
    for head in range(3):
        q = p[:, head]
        agreement = torch.stack([(q[i] @ q[j]).log() for i in range(12) for j in partners[i]])
        mean = q.mean(0)
        expected = -agreement.mean() + (mean * mean.log()).sum()
        torch.testing.assert_close(score[head], expected)
    order = torch.tensor([2, 0, 1])
    assert torch.equal(selection_scores(p[:, order], partners), score[order])


def test_a_prediction_at_the_threshold_is_no_label() -> None:
    p = torch.tensor([[0.75, 0.25], [0.2, 0.8], [0.5, 0.5]])
    labels, confident = confident_labels(p, 0.75)
    assert labels.tolist()[:2] == [0, 1]
    assert confident.tolist() == [False, True, False]


def test_weights_average_over_classes_and_then_over_their_images() -> None:
    labels = torch.tensor([0, 0, 0, 1, 2, 2])
    confident = torch.tensor([True, True, True, True, True, False])
    weights = label_weights(labels, confident, 4, balanced=True)
    expected = torch.tensor([1 / 9, 1 / 9, 1 / 9, 1 / 3, 1 / 3, 0])
    torch.testing.assert_close(weights, expected)
    losses = torch.tensor([1.0, 2.0, 6.0, 5.0, 7.0, 100.0])
    assert float((weights * losses).sum()) == pytest.approx((3 + 5 + 7) / 3)
    plain = label_weights(labels, confident, 4, balanced=False)
    assert float((plain * losses).sum()) == pytest.approx(21 / 5)
    assert not label_weights(labels, torch.zeros(6, dtype=torch.bool), 4, balanced=True).any()


def test_weights_equal_those_of_a_weighted_cross_entropy() -> None:
    g = torch.Generator().manual_seed(0)
    logits, labels = torch.randn(20, 3, generator=g), torch.randint(3, (20,), generator=g)
    counts = torch.bincount(labels, minlength=3)
    expected = F.cross_entropy(logits, labels, weight=20 / counts)
    weights = label_weights(labels, torch.ones(20, dtype=torch.bool), 3, balanced=True)
    found = (F.cross_entropy(logits, labels, reduction="none") * weights).sum()
    torch.testing.assert_close(found, expected)


# --- The clustering step --------------------------------------------------------------------------


def test_an_image_is_its_own_neighbour_once_in_k_plus_one_draws() -> None:
    model = scan_trials.scan()
    pairs = torch.stack([model._paired(ALL[:32]) for _ in range(300)])
    itself = (pairs == ALL[:32]).double().mean()
    assert float(itself) == pytest.approx(1 / 5, abs=0.02)
    allowed = torch.cat([ALL[:32, None], scan_trials.NEIGHBOURS[:32]], 1)
    assert (pairs[:, :, None] == allowed).any(2).all()
    assert all((pairs == allowed[:, i]).any() for i in range(5))


def test_neighbours_are_positions_among_the_images_trained_on() -> None:
    index = torch.arange(10, 74)
    near = (torch.arange(64)[:, None] + 1) % 64
    settings = scan_trials.config(neighbours=1, score_neighbours=0)
    around: dict[str, Any] = {"images": trials.images(), "replicas": Replicas.alone(), "seed": 0}
    model = SCAN(settings, neighbours=near, index=index, **around)
    drawn = torch.stack([model._paired(index[:32]) for _ in range(20)])
    assert set((drawn - index[:32]).unique().tolist()) == {0, 1}


@pytest.mark.parametrize("scores", [(1.0, 0.5, 2.0), (3.0, 2.0, 1.0)])
def test_the_epoch_with_the_lowest_score_goes_on(
    scores: tuple[float, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = scan_trials.scan(scan_trials.config(clustering_epochs=3, self_label_epochs=0))
    given = iter(scores)

    def score(p: torch.Tensor, partners: torch.Tensor) -> torch.Tensor:
        value = next(given)
        return torch.tensor([value + 1, value])

    monkeypatch.setattr("deep_clustering.methods.algorithms.scan.selection_scores", score)
    after = []
    for _ in scores:
        last = model.state()
        scan_trials.epochs(model, 1)
        after.append(model.model_state())
    best = int(np.argmin(scores))
    assert int(model._clustering.selected) == 1
    assert different(last, after[0], "encoder.conv1")
    if best < 2:
        assert not different(after[2], after[best])
    else:
        assert different(after[2], after[1], "encoder.conv1")


def test_the_selected_head_is_the_one_with_the_lowest_score() -> None:
    model = scan_trials.scan(scan_trials.config(heads=3, clustering_epochs=1))
    scan_trials.epochs(model, 1)
    features = model.features(ALL)
    p = torch.stack([head(features).softmax(1) for head in model._clustering.linear], 1)
    lowest = selection_scores(p, torch.cat([ALL[:, None], scan_trials.NEIGHBOURS[:, :2]], 1))
    assert int(model._clustering.selected) == int(lowest.argmin())
    selected = p[:, int(model._clustering.selected)]
    torch.testing.assert_close(model.predict(ALL)["clustering"], selected)


def test_permuted_heads_permute_the_selected_one_alone() -> None:
    heads = Heads(4, 3, 3)
    features = torch.randn(5, 4, generator=torch.Generator().manual_seed(0))
    heads.selected.fill_(2)
    before = heads(features)
    heads.linear = torch.nn.ModuleList(heads.linear[i] for i in (2, 0, 1))
    heads.selected.fill_(0)
    assert torch.equal(heads(features), before)


def test_a_frozen_encoder_stays_in_the_clustering_step() -> None:
    model = scan_trials.scan(scan_trials.config(freeze_encoder=True, clustering_epochs=3))
    before = model.model_state()
    scan_trials.epochs(model, 2)
    assert not different(before, model.model_state(), "encoder.")
    assert different(before, model.model_state(), "clustering.linear")


# --- Self-labelling -------------------------------------------------------------------------------


def labelling(**changes: Any) -> SCAN:
    """A model at the beginning of its self-labelling epochs."""
    return scan_trials.scan(scan_trials.config(clustering_epochs=0, **changes))


def test_self_labelling_equals_the_written_out_step() -> None:
    model, twin = labelling(), labelling()
    indices = trials.batches(48, 1)[0]
    losses = model.step(indices)
    encoder, head = twin._encoder, twin._clustering.linear[0]
    pixels = twin._images.take(indices)
    with torch.no_grad():
        p = head(encoder(twin.clean(pixels))).softmax(1)
    view = twin._labelling_view
    draws = view.draw(48, twin._generators["labelled view"])
    logits = head(encoder(view.apply(pixels, draws, twin._mean, twin._std)))
    confidence, labels = p.max(1)
    kept = confidence > 0.34
    per_class = [
        F.cross_entropy(logits[kept & (labels == c)], labels[kept & (labels == c)])
        for c in range(3)
        if (kept & (labels == c)).any()
    ]
    loss = torch.stack(per_class).mean()
    torch.testing.assert_close(losses["self_label_loss"], loss.detach())
    parameters = [*encoder.parameters(), *head.parameters()]
    loss.backward()
    torch.optim.Adam(parameters, lr=1e-3, weight_decay=1e-4).step()
    expected = twin.model_state()
    for name, value in model.model_state().items():
        torch.testing.assert_close(value, expected[name], rtol=1e-4, atol=1e-5, msg=name)


def test_the_other_heads_stay_as_they_are() -> None:
    model = labelling()
    before = model.model_state()
    scan_trials.epochs(model, 1)
    after = model.model_state()
    assert not different(before, after, "clustering.linear.1.")
    assert different(before, after, "clustering.linear.0.")


@pytest.mark.parametrize("optimiser", ["adam", "sgd"])
def test_a_batch_without_labels_moves_no_weight(optimiser: str) -> None:
    model = labelling(threshold=1.0, self_label_optimiser=optimiser)
    before = model.state()
    before = {k: v for k, v in before.items() if "running" not in k and "num_batch" not in k}
    losses = model.step(trials.batches(48, 1)[0])
    after = model.state()
    assert float(losses["skipped"]) == 1
    assert float(losses["self_labelled"]) == float(losses["self_label_loss"]) == 0
    for part in ("encoder.", "clustering.", "optimiser."):
        assert not different(before, after, part), part


def test_an_epoch_without_labels_is_an_error_that_says_what_to_do() -> None:
    with pytest.raises(ValueError, match=r"no prediction of a whole epoch is above 1\.0; set a lo"):
        scan_trials.epochs(labelling(threshold=1.0), 1)


def test_averaged_weights_go_a_part_of_the_step_and_keep_their_buffers() -> None:
    model, whole = labelling(weight_average=0.75), labelling()
    before = model.model_state()
    indices = trials.batches(48, 1)[0]
    model.step(indices), whole.step(indices)
    after, full = model.model_state(), whole.model_state()
    for name, value in before.items():
        if "running" in name or not value.is_floating_point():
            assert torch.equal(after[name], value), name
        else:
            torch.testing.assert_close(after[name], 0.75 * value + 0.25 * full[name], msg=name)


# --- Both phases ----------------------------------------------------------------------------------


def test_the_batch_and_the_optimiser_are_those_of_the_phase() -> None:
    model = scan_trials.scan()
    assert (model.epochs, model.batch_size) == (4, 32)
    first = scan_trials.epochs(model, 2)
    assert model.batch_size == 48
    fresh = [v for k, v in model.state().items() if k.startswith("optimiser")]
    assert fresh
    assert not any(v.any() for v in fresh)
    second = scan_trials.epochs(model, 2)
    assert (len(first), len(second)) == (6, 4)
    assert {tuple(losses) for losses in first + second} == {tuple(first[0])}
    assert all(float(losses["consistency_loss"]) > 0 for losses in first)
    assert all(float(losses["self_label_loss"]) > 0 for losses in second)


@pytest.mark.parametrize("done", [1, 2, 3])
@pytest.mark.parametrize("changes", [{}, {"select_epoch": False, "self_label_optimiser": "sgd"}])
def test_a_loaded_state_continues_bit_for_bit(done: int, changes: dict[str, Any]) -> None:
    model = scan_trials.scan(scan_trials.config(**changes))
    scan_trials.epochs(model, done)
    saved = model.state()
    scan_trials.epochs(model, 4 - done, seed=5)
    other = scan_trials.scan(scan_trials.config(**changes), seed=9)
    other.load_state(saved)
    scan_trials.epochs(other, 4 - done, seed=5)
    end, again = model.state(), other.state()
    assert list(end) == list(again)
    assert not different(end, again)


def test_prediction_is_a_distribution_and_survives_being_restored() -> None:
    model = scan_trials.scan()
    scan_trials.epochs(model, 4)
    p = model.predict(ALL)["clustering"]
    assert model.final_head == "clustering"
    assert p.dtype == torch.float32
    torch.testing.assert_close(p.sum(1), torch.ones(trials.COUNT))
    again = SCAN.restore(
        scan_trials.CONFIG, model.model_state(), images=trials.images(), replicas=Replicas.alone()
    )
    assert torch.equal(again.predict(ALL)["clustering"], p)
    with evaluation(model._encoder):
        logits = model.logits(model.clean(model._images.take(ALL)))["clustering"]
    assert torch.equal(logits.softmax(1), p)


def test_too_few_images_for_either_phase_are_refused() -> None:
    with pytest.raises(ValueError, match="batch_size: 128 exceeds the 96 images"):
        scan_trials.scan(scan_trials.config(batch_size=128)).initialise()
    with pytest.raises(ValueError, match="self_label_batch_size: 128 exceeds the 96 images"):
        scan_trials.scan(scan_trials.config(self_label_batch_size=128)).initialise()


def test_bad_fields_are_named_together() -> None:
    with pytest.raises(ValueError, match="score_neighbours: must be from 0 to neighbours") as told:
        scan_trials.config(score_neighbours=9, weight_average=1.0, optimiser="adm")
    assert "Did you mean 'adam'?" in str(told.value)
    assert "weight_average: must be from 0 to below 1" in str(told.value)


def test_differences_name_fields_that_exist() -> None:
    fields = {f.name for f in dataclasses.fields(METHOD.config)}
    fields |= {f"pretrain.{f.name}" for f in dataclasses.fields(scan_trials.PRETRAIN)}
    assert len(METHOD.differences) == len({d.topic for d in METHOD.differences}) == 23
    assert {d.field for d in METHOD.differences if d.field is not None} <= fields
    by_side = METHOD.by_side
    assert by_side is not None
    assert [by_side(side) for side in (8, 32, 96, 256)] == [
        "digits", "cifar10", "stl10", "imagenet10",
    ]  # fmt: skip


# --- Two processes --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def processes(
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[ranks.Results, list[ranks.Results]]:
    return ranks.results(scan_joined, tmp_path_factory.mktemp("joined"))


@pytest.mark.ray
@pytest.mark.parametrize("name", ["pretrained", *scan_joined.VARIANTS])
def test_two_processes_train_as_one(
    processes: tuple[ranks.Results, list[ranks.Results]], name: str
) -> None:
    ranks.assert_as_one(processes, name, rtol=1e-5, atol=1e-6)
    ranks.assert_identical(processes, name)


# --- On the platform ------------------------------------------------------------------------------

SETS = (
    "pretrain.backbone=small", "pretrain.epochs=2", "pretrain.batch_size=16",
    "pretrain.learning_rate=0.1", "neighbours=5", "clustering_epochs=2", "batch_size=16",
    "self_label_epochs=2", "self_label_batch_size=24", "threshold=0.34", "clusters=3", "cutout=2",
    "learning_rate=0.001", "self_label_learning_rate=0.001",
)  # fmt: skip


def outcome(
    folder: Path, store: Store, stop_after: int | None = None, labels: np.ndarray | None = None
) -> tuple[pl.DataFrame, pl.DataFrame, dict[str, torch.Tensor]]:
    """Predictions, epochs and weights of a run that was stopped after an epoch and given again."""
    asked = small.resolved("scan", f"folder:{folder}", root=folder.parent / "data", sets=SETS)
    for job in small.jobs(asked, 0):
        lane = small.place(store)
        if labels is not None:
            object.__setattr__(lane.dataset(job), "labels", labels)
        if stop_after is not None and job.kind == "run":
            with pytest.raises(Cancelled):
                execute(job, lane, small.Watcher(stop_after=stop_after))
            assert store.list("checkpoints") != []
        execute(job, lane, small.Watcher())
    (row,) = results.runs(store.uri).collect().rows(named=True)
    assert row["status"] == "ok"
    assert row["epochs"] == 4
    path = store.model_path(row["run_id"])
    weights = load_file(path)
    hidden = ["sample", "cluster", "confidence"]
    predictions = results.predictions(store.uri).select(hidden).collect().sort("sample")
    epochs = results.epochs(store.uri).collect().sort("epoch").select("epoch", "self_label_loss")
    return predictions, epochs, weights


@pytest.mark.ray
def test_kills_and_noisy_labels_leave_every_weight_bit_equal(tmp_path: Path) -> None:
    folder = small.images(tmp_path / "pictures")
    whole = outcome(folder, Store.open(tmp_path / "whole"))
    assert whole[1]["epoch"].to_list() == [0, 1, 2, 3, 4]
    noise = np.random.default_rng(1).integers(0, 3, 48)
    others = {
        "clustering": outcome(folder, Store.open(tmp_path / "1"), stop_after=1),
        "between": outcome(folder, Store.open(tmp_path / "2"), stop_after=2),
        "self-labelling": outcome(folder, Store.open(tmp_path / "3"), stop_after=3),
        "noise": outcome(folder, Store.open(tmp_path / "n"), labels=noise),
    }
    for name, other in others.items():
        assert other[0].equals(whole[0]), name
        assert other[1].equals(whole[1]), name
        assert list(other[2]) == list(whole[2])
        assert not different(whole[2], other[2]), name
