"""DPAC's ablations: its variants, and a suite for every table and figure that is an experiment.

Tables and figures are those of the ECCV 2024 paper. Tables 2 and 3 compare methods that fit at
once, on raw data and on the features of DPAC's own pretraining; the others vary DPAC.
"""

from typing import Any

from deep_clustering.ablations._suite import Claim, Row, Suite
from deep_clustering.ablations._variants import Times, Variant, variants
from deep_clustering.methods.dpac import DPACConfig

VARIANTS = variants(
    DPACConfig,
    Variant(
        name="plain-contrast",
        changes={"weighted": False},
        source="Table 5a, SimCLR+OPA",
        removes="weights of the contrastive loss",
    ),
    Variant(
        name="moco",
        changes={"pretrain.framework": "moco"},
        source="Table 5a: MoCo in place of SimCLR",
    ),
    Variant(
        name="autoencoder",
        # its codes have no norm, and lose their structure at the rates of contrastive features
        changes={
            "pretrain.framework": "autoencoder",
            "distance": "squared",
            "encoder_lr": 1e-4,
        },
        source="Table 5b: an autoencoder in place of contrastive learning",
    ),
    Variant(name="jpac", changes={"objective": "pac"}, source="Table 4, Eq. 13"),
    Variant(name="balanced", changes={"balance_weight": 1.0}, source="Table 5c, with CR"),
    Variant(name="offline-kmeans", changes={"offline": "kmeans"}, source="Table 7"),
    Variant(name="offline-fcm", changes={"offline": "fcm"}, source="Table 7"),
    Variant(
        name="offline-pac",
        changes={"offline": "pac"},
        source="Table 7",
        removes="targets of each batch",
    ),
    Variant(
        name="self-labelled",
        changes={"epochs": Times(factor=2), "self_label_epochs": Times(factor=1, of="epochs")},
        source="Table 4, dagger: as many epochs again, with self-labels",
    ),
    Variant(
        name="squared-distance", changes={"distance": "squared"}, source="Sec. 3.1, the paper's d"
    ),
    Variant(
        name="batch-statistics",
        changes={"target_statistics": "batch"},
        source="of this project: the target pass leaves running statistics alone",
    ),
)

_FIVE = ("cifar10", "cifar20", "stl10", "imagenet10", "imagenet-dogs")
_POINT = 0.005  # half a point of accuracy


def _at_once(features: str | None, **more: dict[str, Any]) -> tuple[Row, ...]:
    """The methods of Tables 2 and 3; on features every row is divided by its length."""
    printed = {
        "kmeans": "KM", "pam": "PAM", "fcm": "FCM", "sc": "SC", "spkm": "SPKF", "rcc": "RCC",
        "finch": "FINCH", "pac": "PAC",
    }  # fmt: skip

    def changes(method: str) -> dict[str, Any]:
        scaled = features is not None and method != "spkm"  # which divides them anyway
        return ({"unit": True} if scaled else {}) | more.get(method, {})

    return tuple(
        Row(
            name=name,
            method=method,
            features=features,
            changes=changes(method),
            printed=("", name),
        )
        for method, name in printed.items()
        if features is None or method != "rcc"  # the paper leaves it out on features
    )


_ROUNDED = "the two printed values, 90.7 and 90.8, differ by a tenth of a point"

_COLLAPSE = f"0.1 % or the fraction 0.1: one cluster for all either way; {_ROUNDED}"


def _better(row: str, others: tuple[str, ...], harmless: str = "") -> tuple[Claim, ...]:
    return tuple(
        Claim(
            row=row,
            against=other,
            metric="acc",
            direction="higher",
            margin=_POINT,
            harmless=harmless,
        )
        for other in others
    )


_OFFLINE = (("KM", "offline-kmeans"), ("FCM", "offline-fcm"), ("PAC", "offline-pac"))
_EVERY: tuple[tuple[int, Any], ...] = (  # runs in 200 epochs -> epochs between two of them
    (200, 1),
    (20, Times(factor=0.05, of="epochs")),
    (1, Times(factor=1, of="epochs")),
)

SUITES = (
    Suite(
        name="dpac-table2",
        title="machine clustering on raw data, with times",
        method="pac",
        datasets=("coil100", "isolet", "pendigits", "mnist"),
        table=("dpac", "table2"),
        rows=_at_once(None),
        metrics=("acc", "seconds"),
        claims=_better("PAC", ("KM", "PAM", "FCM", "SPKF", "FINCH")),
        seeds=10,
        protocols={"mnist": "test"},
        note="times are of another machine, and those of PAC of an O(N^2 K) form; the paper does "
        "not say which 10,000 images of MNIST, here the test images",
    ),
    Suite(
        name="dpac-table3",
        title="machine clustering on the features of SimCLR",
        method="pac",
        datasets=_FIVE,
        table=("dpac", "table3"),
        rows=_at_once("dpac", pac={"metric": "cosine"}, fcm={"m": 1.05}),
        metrics=("acc",),
        claims=_better("PAC", ("KM", "PAM", "FCM", "SPKF", "FINCH")),
        seeds=10,
        note="in the paper KM and FCM repeat CIFAR's numbers on the ImageNet subsets",
    ),
    Suite(
        name="dpac-table4",
        title="DPAC by Eq. 13, by targets of each batch, and with self-labels",
        method="dpac",
        datasets=_FIVE,
        table=("dpac", "table4"),
        rows=(
            Row(name="DPAC-Jpac", variants=("jpac",), printed=("", "DPAC^{Jpac}")),
            Row(name="DPAC-OPA", printed=("", "DPAC^{opa}")),
            Row(
                name="DPAC-OPA, self-labelled",
                variants=("self-labelled",),
                printed=("With self-labeling fine-tuning (†)", "DPAC^{opa}†"),
            ),
        ),
        metrics=("nmi", "acc", "ari"),
        claims=(
            *_better("DPAC-OPA", ("DPAC-Jpac",), harmless=_ROUNDED),
            *_better("DPAC-OPA, self-labelled", ("DPAC-OPA",), harmless=_ROUNDED),
        ),
        note="single runs in the paper",
    ),
    Suite(
        name="dpac-table5a",
        title="contrastive frameworks",
        method="dpac",
        datasets=("cifar10",),
        table=("dpac", "table5a"),
        rows=(
            Row(
                name="SimCLR+KM",
                columns={"acc": "encoder_kmeans_acc"},
                of_pretraining=True,
                printed=("", "SimCLR+KM"),
            ),
            Row(name="SimCLR+OPA", variants=("plain-contrast",), printed=("", "SimCLR+OPA")),
            Row(
                name="MoCo+KM",
                variants=("moco",),
                columns={"acc": "encoder_kmeans_acc"},
                of_pretraining=True,
                printed=("", "MoCo+KM"),
            ),
            Row(name="MoCo+OPA", variants=("moco",), printed=("", "MoCo+OPA")),
            Row(name="DPAC-OPA", printed=("", "DPAC^{opa}")),
        ),
        metrics=("acc",),
        claims=(
            *_better("SimCLR+OPA", ("SimCLR+KM",)),
            *_better("MoCo+OPA", ("MoCo+KM",)),
            *_better("DPAC-OPA", ("SimCLR+OPA", "MoCo+OPA"), harmless=_ROUNDED),
        ),
    ),
    Suite(
        name="dpac-table5b",
        title="an autoencoder in place of contrastive learning",
        method="dpac",
        datasets=("mnist",),
        table=("dpac", "table5b"),
        rows=(Row(name="AE+OPA", variants=("autoencoder",), printed=("", "AE+OPA")),),
        metrics=("nmi", "acc"),
        note="the network and its training are not stated in the paper",
    ),
    Suite(
        name="dpac-table5c",
        title="a balance regulariser",
        method="dpac",
        datasets=("cifar10",),
        table=("dpac", "table5c"),
        rows=(
            Row(
                name="DPAC-Jpac with CR",
                variants=("jpac", "balanced"),
                printed=("", "DPAC^{Jpac}", "CR=with"),
            ),
            Row(name="DPAC-Jpac", variants=("jpac",), printed=("", "DPAC^{Jpac}", "CR=without")),
            Row(
                name="DPAC-OPA with CR",
                variants=("balanced",),
                printed=("", "DPAC^{opa}", "CR=with"),
            ),
            Row(name="DPAC-OPA", printed=("", "DPAC^{opa}", "CR=without")),
        ),
        metrics=("acc",),
        claims=(
            *_better("DPAC-OPA", ("DPAC-OPA with CR",), harmless=_COLLAPSE),
            *_better("DPAC-Jpac", ("DPAC-Jpac with CR",)),
        ),
        note="the printed 0.1 is most likely the fraction 0.1, one cluster for all",
    ),
    Suite(
        name="dpac-table6",
        title="the exponent m",
        method="dpac",
        datasets=("cifar10", "stl10", "cifar20"),
        table=("dpac", "table6"),
        rows=tuple(
            Row(name=f"m={m}", changes={"m": m}, printed=("", "OPA", f"m={m};alpha={alpha}"))
            for m, alpha in (
                (1.01, "100.0"),
                (1.04, "25.0"),
                (1.07, "14.3"),
                (1.1, "10.0"),
                (1.13, "7.7"),
                (1.16, "6.3"),
                (1.2, "5.0"),
            )
        ),
        metrics=("acc",),
        claims=(
            Claim(row="m=1.2", against="m=1.01", metric="acc", direction="lower", margin=_POINT),
            Claim(row="m=1.04", against="m=1.01", metric="acc", direction="equal", margin=0.02),
        ),
        note="where m is too large the head stays uniform: exactly one in K",
    ),
    Suite(
        name="dpac-table7",
        title="targets of the whole data set every so many epochs, with times",
        method="dpac",
        datasets=("stl10",),
        table=("dpac", "table7"),
        rows=(
            *(
                Row(
                    name=f"offline {name}, {runs} runs",
                    variants=(variant,),
                    changes={"offline_every": every},
                    printed=("", f"DPAC + offline {name}", f"offline_runs={runs}"),
                )
                for name, variant in _OFFLINE
                for runs, every in _EVERY
            ),
            Row(name="DPAC-OPA", printed=("", "DPAC^{opa}")),
        ),
        metrics=("hours", "acc"),
        claims=_better(
            "DPAC-OPA",
            tuple(f"offline {name}, {runs} runs" for name, _ in _OFFLINE for runs in (200, 20, 1)),
        ),
        note="the paper's times of offline PAC are of an O(N^2 K) form",
    ),
    Suite(
        name="dpac-fig1",
        title="m in fuzzy c-means and in PAC",
        method="pac",
        datasets=("pendigits",),
        rows=tuple(
            Row(name=f"{name}, m={m}", method=method, changes={"m": m})
            for method, name in (("fcm", "FCM"), ("pac", "PAC"))
            for m in (1.01, 1.02, 1.03, 1.05, 1.07, 1.1, 1.15, 1.2, 1.3, 1.5, 2.0)
        ),
        metrics=("acc", "nmi"),
        seeds=10,
        note="the values of the figure's axis are not legible",
    ),
    Suite(
        name="dpac-fig2",
        title="accuracy by epoch with offline targets and with those of each batch",
        method="dpac",
        datasets=("stl10",),
        rows=(
            Row(
                name="offline PAC, 20 runs",
                variants=("offline-pac",),
                changes={"offline_every": Times(factor=0.05, of="epochs")},
            ),
            Row(name="DPAC-OPA"),
        ),
        metrics=("acc", "nmi"),
        claims=_better("DPAC-OPA", ("offline PAC, 20 runs",)),
        note="the curves are in `platform report`; labels lost by the offline run are not counted",
    ),
)
