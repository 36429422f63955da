"""The suggestion behind every message about a name that nobody knows."""

import string

import pytest

from deep_clustering.methods._nearest import nearest, not_one_of

METRICS = (
    *("acc", "nmi", "ari", "ece", "ece_floor", "brier", "nll", "auroc", "aurc", "fpr95"),
    *("mean_confidence", "confidence", "silhouette", "accuracy_drop", "label-free"),
)
FIELDS = (
    *("clusters", "epochs", "batch_size", "sub_batch_size", "mini_clusters", "hidden", "heads"),
    *("head_lr", "encoder_lr", "weight_decay", "fixed_threshold", "target_view", "views"),
    *("pretrain.epochs", "pretrain.warmup_epochs", "pretrain.learning_rate", "pretrain.seed"),
)
METHODS = ("cdc", "cdc_from", "consensus", "dpac", "kmeans", "pac", "sc", "scan", "secu", "turtle")
DATASETS = ("digits", "mnist", "cifar20", "cifar10", "imagenet-dogs", "imagenet10", "svhn")


def _meant(name: str, known: tuple[str, ...]) -> str | None:
    said = nearest(name, known)
    return said.removeprefix(" Did you mean '").removesuffix("'?") or None


@pytest.mark.parametrize(
    ("known", "meant", "names"),
    [
        (METRICS, "acc", "accuracy acuracy acurracy accurracy accuarcy Accuracy ACC ac accurcy"),
        (METRICS, "nmi", "nim mni NMI nmi_score mutual_information normalized_mutual_info_score"),
        (METRICS, "ari", "adjusted_rand adjusted_rand_score rand air adjusted-rand-index"),
        (METRICS, "ece", "calibration_error expected_calibration_error ECE"),
        (METRICS, "silhouette", "silouete silhoutte silhouette_score sil"),
        (METRICS, "mean_confidence", "confidence_mean mean-confidence"),
        (METRICS, "brier", "brier_score brie"),
        (FIELDS, "clusters", "cluster n_clusters num_clusters nclusters"),
        (FIELDS, "epochs", "epoch n_epochs num_epochs max_epochs"),
        (FIELDS, "batch_size", "batchsize batch-size batch Batch_Size"),
        (FIELDS, "mini_clusters", "mini_cluster miniclusters"),
        (FIELDS, "encoder_lr", "encoderlr encoder_learning_rate"),
        (FIELDS, "head_lr", "lr head_l"),
        (FIELDS, "heads", "head"),
        (FIELDS, "views", "view"),
        (FIELDS, "fixed_threshold", "threshold"),
        (FIELDS, "pretrain.learning_rate", "pretrain.lr pretrain_learning_rate"),
        (FIELDS, "pretrain.warmup_epochs", "warmup_epochs"),
        (FIELDS, "pretrain.seed", "seed"),
        (METHODS, "kmeans", "k-means kmean KMeans k_means"),
        (METHODS, "sc", "spectral spectral-clustering"),
        (METHODS, "cdc", "CDC cdd"),
        (DATASETS, "cifar10", "cifar-10 CIFAR10"),
        (DATASETS, "imagenet10", "imagenet imagenet-10"),
        (DATASETS, "imagenet-dogs", "dogs imagenetdogs"),
        (("adam", "sgd"), "adam", "adamw Adam"),
        (("config.batch_size", "acc"), "config.batch_size", "batch_size config.batchsize"),
    ],
)
def test_what_was_meant(known: tuple[str, ...], meant: str, names: str) -> None:
    assert {name: _meant(name, known) for name in names.split()} == dict.fromkeys(
        names.split(), meant
    )


@pytest.mark.parametrize(
    ("known", "names"),
    [
        (("store", "photos", "figs"), "nothere digits figures pictures"),
        (("config.dimensions", "acc", "ari", "run_id"), "consensus a b cdc ok"),
        (("train", "tune", "cluster", "spaces"), "list search run help"),
        (METRICS, "learning_rate"),
        ((), "anything"),
    ],
)
def test_nothing_is_better_than_another_thing(known: tuple[str, ...], names: str) -> None:
    assert [name for name in names.split() if _meant(name, known)] == []


@pytest.mark.parametrize("known", [METRICS, FIELDS, METHODS, DATASETS])
def test_a_letter_left_out_doubled_changed_or_swapped(known: tuple[str, ...]) -> None:
    """Of all such slips in names of six letters and more nearly all are found out."""
    slips = {}
    for name in (n for n in known if len(n) > 5):
        for i, letter in enumerate(name):
            other = string.ascii_lowercase[(ord(letter) * 7 + i) % 26]
            for slip in (
                name[:i] + name[i + 1 :],
                name[:i] + letter + name[i:],
                name[:i] + other + name[i + 1 :],
                name[:i] + name[i + 1 : i + 2] + letter + name[i + 2 :],
            ):
                slips[slip] = name
    slips = {slip: name for slip, name in slips.items() if slip not in known}
    wrong = {slip: found for slip, name in slips.items() if (found := _meant(slip, known)) != name}
    assert len(slips) > 80
    # Digits of two names that differ by these alone.
    assert set(wrong.values()) <= {"cifar10", "cifar20", "imagenet10"}, wrong
    assert len(wrong) < 8


def test_the_sentence_of_a_choice() -> None:
    assert (
        not_one_of("tow", ("one", "two"))
        == "must be one of one, two; got 'tow'. Did you mean 'two'?"
    )
    assert not_one_of(3, ("one", "two")) == "must be one of one, two; got 3"
