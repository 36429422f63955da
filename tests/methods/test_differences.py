"""The lists of differences between paper and release: what readings set, and what holds each row.

Every row names the test that shows what it says; those that are in no other file are below. A row
without a test says so with None: what it tells of is no part of the methods here.
"""

import ast
import functools
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from deep_clustering.ablations._variants import applied
from deep_clustering.methods._method import Method
from deep_clustering.methods.algorithms.cdc import CALIBRATORS
from deep_clustering.methods.algorithms.dpac import opa_target
from deep_clustering.methods.cdc import METHOD as CDC
from deep_clustering.methods.dpac import METHOD as DPAC
from deep_clustering.methods.networks.batchnorm import BatchNorm
from deep_clustering.platform.request import configs
from deep_clustering.platform.run._loop import _epoch
from support import dpac_trials, trials
from support.small import Watcher

METHODS: dict[str, Method] = {"cdc": CDC, "dpac": DPAC}
ALL = torch.arange(trials.COUNT)
TESTS = Path(__file__).parents[1]

HERE = "methods/test_differences.py"
RELEASES, IMAGES = "methods/test_releases.py", "methods/images/test_views.py"
MOCO, SIMCLR = "methods/pretraining/test_moco.py", "methods/pretraining/test_simclr.py"
OF_CDC, LOSSES = "methods/test_cdc.py", "methods/test_cdc_losses.py"
OF_DPAC, TARGETS = "methods/test_dpac.py", "methods/test_dpac_losses.py"
STEPS = "methods/test_dpac_steps.py"
PROTOTYPES = "methods/learning/test_prototypes.py"

#: Row -> file and name of its test.
HELD: dict[str, dict[str, tuple[str, str] | None]] = {
    "cdc": {
        "head that gives the pseudo-label": (OF_CDC, "test_a_batch_equals_the_slow_reference"),
        "probability averaged for a class count (Eq. 4)": (LOSSES, "test_counts_by_hand"),
        "candidates of a class (Eq. 4)": (
            LOSSES, "test_a_sample_taken_for_two_classes_counts_once",
        ),
        "batch size on ImageNet-10": (OF_CDC, "test_the_release_had_another_batch_on_imagenet10"),
        "scale of features before the mini-cluster k-means": (
            HERE, "test_mini_clusters_of_the_release_do_not_see_the_length_of_features",
        ),
        "weak view": (HERE, "test_views_of_the_paper_are_not_cropped"),
        "mirror image in the weak view": (HERE, "test_views_of_the_paper_are_not_cropped"),
        "picture that ImageNet's crops are cut from": (
            RELEASES, "test_crops_of_cdc_reach_into_the_whole_photograph_or_its_centre",
        ),
        "strong view": (HERE, "test_views_of_the_paper_are_not_cropped"),
        "batch over which a loss is averaged": (OF_CDC, "test_a_batch_equals_the_slow_reference"),
        "slice without a selected sample": (
            RELEASES, "test_an_empty_slice_moves_by_momentum_alone_in_the_release",
        ),
        "samples with exactly equal probabilities, in the ranking of a class": (
            RELEASES, "test_equal_probabilities_are_ranked_in_the_order_of_the_batch",
        ),
        "batch normalisation of the passes that make labels and targets": (
            OF_CDC, "test_every_pass_counts_in_the_running_statistics",
        ),
        "batch normalisation while the heads are initialised": (PROTOTYPES, "test_steps_in_order"),
        "scale of features before the initial k-means": (
            PROTOTYPES, "test_products_of_rows_are_correlations",
        ),
        "orthogonalisation of the prototypes": (PROTOTYPES, "test_spread_is_the_written_optimiser"),
        "padding of the 3x3 stem for 32-pixel images": (
            "methods/networks/test_encoders.py", "test_stem_padding_widens_the_maps",
        ),
        "end of the warm-up in the pretraining": (
            RELEASES, "test_the_release_divides_the_warm_up_by_its_length_minus_one",
        ),
        "precision of the pretraining on a GPU": (
            RELEASES, "test_the_releases_train_in_their_precisions",
        ),
        "pixels of the augmentation": (IMAGES, "test_hue_differs_from_pillows_by_its_8_bit_steps"),
        "projector of the pretraining": (HERE, "test_the_projector_of_the_paper_normalises"),
        "momentum of the key encoder": (MOCO, "test_momentum_of_the_release"),
        "blur in the pretraining on CIFAR": (HERE, "test_blur_on_cifar_is_the_releases_alone"),
        "loss of the pretraining": (
            MOCO, "test_the_first_loss_is_that_of_the_negatives_before_the_batch",
        ),
        "weight decay of SimSiam, a baseline": None,
        "normalisation of CIFAR-10 images": (
            HERE, "test_the_release_pretrains_cifar10_with_another_deviation",
        ),
        "pretraining images of ImageNet-Dogs": None,  # a path in a configuration file
        "Adam": (OF_CDC, "test_a_batch_equals_the_slow_reference"),
        "encoder learning rate": (OF_CDC, "test_presets_are_those_of_the_paper"),
        "epoch that is reported": (
            "platform/run/test_training.py",
            "test_labels_replaced_by_noise_leave_predictions_bit_for_bit_the_same",
        ),
        "seeds": (MOCO, "test_its_own_seed_wins_over_that_of_the_run"),
        "last, incomplete batch of an epoch": (
            HERE, "test_an_epoch_has_whole_batches_and_predictions_are_of_all",
        ),
        "learning-rate schedule": (HERE, "test_rates_of_cdc_stay_as_they_are"),
        "k-means": ("methods/clustering/test_kmeans.py", "test_inertia_of_the_slow_reference"),
        "matchings of clusters and classes that are equally good": (
            RELEASES, "test_of_equally_good_matchings_ours_has_more_probability_on_the_labels",
        ),
        "edges of the bins of the ECE": (
            RELEASES, "test_a_confidence_between_two_ideas_of_an_edge_changes_its_bin",
        ),
        "ECE quoted for SPICE-2 on STL-10 (7.8 falling to 0.8)": None,
        "near out-of-distribution images for CIFAR-10": (
            "platform/data/test_catalogue.py", "test_same_samples_are_said_by_both",
        ),
        "pretrained weights whose names do not match": (
            OF_CDC, "test_weights_of_another_encoder_are_refused",
        ),
        "heads on a frozen encoder (`--encoder`), ours": (
            "methods/test_on_features.py", "test_heads_learn_and_come_back_without_the_views",
        ),
    },
    "dpac": {
        "weighted contrastive loss (Eq. 11)": (
            TARGETS, "test_weighted_contrast_equals_the_printed_sum",
        ),
        "reduction of the contrastive loss beside the divergence": (
            STEPS, "test_three_joint_steps_equal_the_formulas",
        ),
        "positive pair in the denominator of Eq. 11": (
            TARGETS, "test_the_positive_pair_counts_as_asked",
        ),
        "batch size": (HERE, "test_the_two_readings_differ_in_exactly_these_fields"),
        "side of STL-10 images": (OF_DPAC, "test_the_paper_has_larger_images_of_stl10"),
        "pretraining images of STL-10": (
            "platform/data/test_arrays.py", "test_stl10_keeps_unlabelled_images_for_pretraining",
        ),
        "distance of the online target (Eq. 9)": (
            HERE, "test_on_unit_features_both_distances_give_the_same_targets",
        ),
        "gradient through the online target": (
            TARGETS, "test_no_gradient_passes_through_a_target",
        ),
        "precision of the online target": (
            HERE, "test_on_unit_features_both_distances_give_the_same_targets",
        ),
        "batch normalisation of the clustering head in the training pass": (
            STEPS, "test_only_the_head_of_the_training_pass_sees_the_strong_views",
        ),
        "batch normalisation of the target pass": (
            OF_DPAC, "test_the_target_pass_moves_running_statistics_as_asked",
        ),
        "distances of J_pac as a loss (Eq. 13)": (TARGETS, "test_aggregation_equals_a_double_loop"),
        "view compared in J_pac (Eq. 13)": (OF_DPAC, "test_every_switch_changes_the_outcome"),
        "balance regulariser of Table 5c": (TARGETS, "test_balance_is_lowest_when_even"),
        "fresh weights of the 3x3 stem": (
            RELEASES, "test_the_two_readings_of_the_stem_differ_in_its_weights_alone",
        ),
        "mean of the normalisation": (RELEASES, "test_the_release_normalises_stl10_as_imagenet"),
        "standard deviation of the normalisation": (
            RELEASES, "test_the_release_normalises_stl10_as_imagenet",
        ),
        "precision of the pretraining on a GPU": (
            RELEASES, "test_the_releases_train_in_their_precisions",
        ),
        "precision of the clustering step on a GPU": (
            RELEASES, "test_the_releases_train_in_their_precisions",
        ),
        "pixels of the augmentation": (IMAGES, "test_hue_differs_from_pillows_by_its_8_bit_steps"),
        "size of the projector": (HERE, "test_the_projector_of_dpac_has_the_releases_size"),
        "projector at the start of the clustering step": (
            SIMCLR, "test_clustering_starts_where_pretraining_ended",
        ),
        "threshold of the self-labels": (TARGETS, "test_self_labels_by_hand"),
        "schedule of the self-labelling": (
            OF_DPAC, "test_the_linear_head_learns_in_the_last_epochs_alone",
        ),
        "original view of small images": (
            OF_DPAC, "test_the_original_view_is_the_middle_of_an_enlarged_image",
        ),
        "picture that ImageNet's views are made of": (
            RELEASES, "test_all_views_of_dpac_are_of_the_whole_photograph_or_of_its_centre",
        ),
        "interpolation of the random crop in SimCLR's view": (IMAGES, "test_crop_is_pillows"),
        "saved epoch of the pretraining": None,  # names of files
        "learning rate and weight decay": (OF_DPAC, "test_presets_are_those_of_the_paper"),
        "MoCo in place of SimCLR (Table 5a)": (
            SIMCLR, "test_moco_learns_on_two_weak_views_of_the_same_encoder",
        ),
        "autoencoder in place of SimCLR (Table 5b)": (
            SIMCLR, "test_the_autoencoder_is_that_of_dec",
        ),
        "cluster names of offline targets between two runs (Table 7)": (
            OF_DPAC, "test_offline_targets_follow_the_clusters_of_the_head",
        ),
        "start of offline PAC after the first run (Table 7)": (
            OF_DPAC, "test_every_switch_changes_the_outcome",
        ),
        "accuracy with fewer clusters found than classes": (
            "platform/metrics/test_agreement.py",
            "test_fewer_clusters_than_labels_match_what_they_can",
        ),
        "head on a frozen encoder (`--encoder`), ours": (
            "methods/test_on_features.py", "test_dpac_on_features_equals_the_written_steps",
        ),
    },
}  # fmt: skip


@pytest.mark.parametrize("name", METHODS)
def test_every_row_has_a_test(name: str) -> None:
    assert list(HELD[name]) == [d.topic for d in METHODS[name].differences]
    for held in HELD[name].values():
        if held is not None:
            file, test = held
            assert test in _tests(file), held


@functools.cache
def _tests(file: str) -> set[str]:
    body = ast.parse((TESTS / file).read_text()).body
    return {node.name for node in body if isinstance(node, ast.FunctionDef)}


# --- Fields that the readings set -----------------------------------------------------------------

CDC_FIELDS = {
    "pretrain.stem_padding": (2, 1),
    "pretrain.projector_norm": (True, False),
    "pretrain.momentum_end": (0.99, 0.999),
    "pretrain.symmetric": (False, True),
    "pretrain.warmup_closed": (False, True),
    "pretrain.precision": ("fp32", "fp16"),
    "unit_features": (False, True),
    "weak_crop": (1.0, 0.08),
    "weak_flip": (0.0, 0.5),
    "strong_crop": (1.0, 0.08),
    "empty_step": (False, True),
}
DPAC_FIELDS = {
    "batch_size": (240, 256),
    "distance": ("squared", "cosine"),
    "head_views": ("first", "all"),
    "self_label_threshold": (0.95, 0.99),
    "pretrain.precision": ("fp32", "fp16"),
    "precision": ("fp32", "fp16"),
}
IMAGENET = {
    "pretrain.mean": (None, [0.485, 0.456, 0.406]),
    "pretrain.std": (None, [0.229, 0.224, 0.225]),
}
CIFAR20 = {
    "pretrain.mean": (None, [0.5071, 0.4867, 0.4408]),
    "pretrain.std": (None, [0.2675, 0.2565, 0.2761]),
}
BLUR = {"pretrain.blur": (0.0, 0.5)}


@pytest.mark.parametrize(
    ("name", "dataset", "expected"),
    [
        ("cdc", "cifar10", CDC_FIELDS | BLUR | {"pretrain.std": (None, [0.2470, 0.2435, 0.2616])}),
        ("cdc", "cifar20", CDC_FIELDS | BLUR),
        ("cdc", "stl10", CDC_FIELDS),
        ("cdc", "imagenet10", CDC_FIELDS | {"batch_size": (500, 1000), "class_cap": (None, 50)}),
        ("cdc", "imagenet-dogs", CDC_FIELDS),
        ("cdc", "tiny-imagenet", CDC_FIELDS),
        ("dpac", "cifar10", DPAC_FIELDS),
        ("dpac", "cifar20", DPAC_FIELDS | CIFAR20),
        (
            "dpac",
            "stl10",
            DPAC_FIELDS
            | IMAGENET
            | {"pretrain.side": (224, None), "pretrain.enlargement": (8 / 7, 7 / 6)},
        ),
        ("dpac", "imagenet10", DPAC_FIELDS),
        ("dpac", "imagenet-dogs", DPAC_FIELDS),
    ],
)
def test_the_two_readings_differ_in_exactly_these_fields(
    name: str, dataset: str, expected: dict[str, tuple[object, object]]
) -> None:
    """What the rows say of paper and release, by hand."""
    method = METHODS[name]
    paper, release = (
        configs.flatten(
            configs.build(
                method.config, *(layer for _, layer in method.layers(dataset, 32, reading))
            )
        )
        for reading in ("paper", "release")
    )
    found = {k: (paper[k], release[k]) for k in paper if paper[k] != release[k]}
    assert found == expected


# --- CDC ------------------------------------------------------------------------------------------


def test_views_of_the_paper_are_not_cropped() -> None:
    """Weak: the clean view itself. Strong, without what SCAN's has beside: that or its mirror."""
    release = trials.cdc(trials.config(weak_crop=0.08, strong_crop=0.08, operations=0, cutout=0))
    changes = {name: CDC.readings["paper"][name] for name in ("weak_crop", "strong_crop")}
    changes["weak_flip"] = CDC.readings["paper"]["weak_flip"]
    paper = trials.cdc(trials.config(**changes, operations=0, cutout=0))

    def seen(model: Any) -> tuple[Tensor, Tensor, Tensor]:
        pictures = model._images.take(ALL[:32])
        weak = model._viewed(model._weak, pictures, model._generators["weak"])
        strong = model._viewed(model._strong, pictures, model._generators["strong"])
        return model.clean(pictures), weak, strong

    clean, weak, strong = seen(paper)
    assert torch.equal(weak, clean)
    mirrored = torch.tensor([torch.equal(a, b.flip(2)) for a, b in zip(strong, clean, strict=True)])
    assert 0 < mirrored.sum() < 32
    expected = torch.where(mirrored[:, None, None, None], clean.flip(3), clean)
    assert torch.equal(strong, expected)
    again, cropped, harder = seen(release)
    assert torch.equal(again, clean)
    assert not torch.equal(cropped, clean)
    assert not torch.equal(harder, strong)


def test_mini_clusters_of_the_release_do_not_see_the_length_of_features() -> None:
    g = torch.manual_seed(0)
    features, p = torch.rand(64, 12, generator=g), torch.rand(64, 3, generator=g).softmax(1)
    lengths = 2.0 ** torch.randint(-3, 4, (64, 1), generator=g)  # exact in floating point
    same = {}
    for unit in (True, False):
        targets = CALIBRATORS["mini-cluster"](trials.config(unit_features=unit)).targets
        same[unit] = torch.equal(targets(features, p), targets(features * lengths, p))
    assert same == {True: True, False: False}


def test_the_projector_of_the_paper_normalises() -> None:
    for norm in (True, False):
        model = trials.moco(applied(trials.CONFIG, {"pretrain.projector_norm": norm}).pretrain)
        kinds = [type(layer) for layer in model._projector.modules()]
        assert (BatchNorm in kinds) == norm
        assert kinds.count(nn.Linear) == 2


def test_blur_on_cifar_is_the_releases_alone() -> None:
    for dataset, side in (("cifar10", 32), ("cifar20", 32), ("stl10", 96)):
        layers = {r: dict(CDC.layers(dataset, side, r)) for r in ("paper", "release")}
        blur = {
            reading: applied(CDC.config(), {k: v for x in parts.values() for k, v in x.items()})
            for reading, parts in layers.items()
        }
        assert blur["release"].pretrain.blur == 0.5
        assert blur["paper"].pretrain.blur == (0.0 if "cifar" in dataset else 0.5)


def test_the_release_pretrains_cifar10_with_another_deviation() -> None:
    """Its inputs of the clustering stage are 1.22 to 1.30 times larger."""
    own = CDC.reading_presets["release"]["cifar10"]
    assert set(own) == {"pretrain.std"}
    ratio = torch.tensor(own["pretrain.std"]) / torch.tensor((0.2023, 0.1994, 0.2010))
    assert [round(float(r), 2) for r in ratio] == [1.22, 1.22, 1.3]
    settings = applied(trials.CONFIG, dict(own))
    plain, other = trials.moco(trials.PRETRAIN), trials.moco(settings.pretrain)
    pictures = plain._images.take(ALL[:4])
    scale = 0.25 / torch.tensor(own["pretrain.std"]).view(3, 1, 1)
    torch.testing.assert_close(other.clean(pictures), plain.clean(pictures) * scale)
    assert torch.equal(trials.cdc(settings).clean(pictures), plain.clean(pictures))


@pytest.mark.fault(43)
def test_an_epoch_has_whole_batches_and_predictions_are_of_all() -> None:
    """Of 96 images a batch of 40 leaves 16 out of an epoch's training and none of its answer."""
    model = trials.cdc(trials.config(batch_size=40, sub_batch_size=20, initialisation="random"))
    trained_on: list[int] = []

    def step(indices: Tensor) -> dict[str, Tensor]:
        trained_on.extend(indices.tolist())
        return type(model).step(model, indices)

    model.step = step  # type: ignore[method-assign]
    _epoch(model, [ALL], 1, Watcher())
    assert trained_on == list(range(80))
    assert len(model.predict(ALL)[model.final_head]) == 96


def test_rates_of_cdc_stay_as_they_are() -> None:
    model = trials.trained(trials.cdc(trials.config(initialisation="random")), steps=4)
    rates = {name: o.param_groups[0]["lr"] for name, o in model._optimisers.items()}
    assert set(rates.values()) == {1e-3}


# --- DPAC -----------------------------------------------------------------------------------------


def test_on_unit_features_both_distances_give_the_same_targets() -> None:
    g = torch.manual_seed(0)
    features = torch.nn.functional.normalize(torch.randn(40, 6, generator=g), dim=1)
    p = torch.randn(40, 3, generator=g).softmax(1)
    cosine, squared = (opa_target(features, p, 1.03, distance=d) for d in ("cosine", "squared"))
    assert cosine.dtype == torch.float64  # whatever the features are
    torch.testing.assert_close(cosine, squared, rtol=0, atol=1e-5)
    longer = features * torch.linspace(1, 3, 40)[:, None]
    again, other = (opa_target(longer, p, 1.03, distance=d) for d in ("cosine", "squared"))
    torch.testing.assert_close(again, cosine, rtol=0, atol=1e-5)
    assert (other - squared).abs().amax() > 0.01


def test_the_projector_of_dpac_has_the_releases_size() -> None:
    pretrain = DPAC.config().pretrain
    assert (pretrain.projector_hidden, pretrain.projector_dimension) == (512, 128)
    model = dpac_trials.pretrained()
    layers = list(model._projector)
    assert [layer.out_features for layer in layers if isinstance(layer, nn.Linear)] == [24, 24, 16]
    assert sum(type(x) is BatchNorm for x in layers) == 2
