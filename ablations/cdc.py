"""CDC's ablations: its variants, and a suite for every table and figure that is an experiment.

Tables and figures are those of the ICLR 2025 paper. Margins are half a point of accuracy and of
calibration error, about one standard deviation over seeds in Table 10; the claims are those that
the text makes about a table.
"""

from deep_clustering.ablations._cdc_tables import SIX, unknown_to
from deep_clustering.ablations._suite import Claim, Direction, Row, Suite, against_full, axis, grid
from deep_clustering.ablations._variants import Times, Variant, variants
from deep_clustering.methods.cdc import CDCConfig

VARIANTS = variants(
    CDCConfig,
    Variant(
        name="random-init",
        changes={"initialisation": "random"},
        source="Table 2-I, w/o Init.",
        removes="prototype initialisation",
    ),
    Variant(name="untrained", changes={"epochs": 0}, source="Table 2-I, after initialisation"),
    Variant(
        name="fixed-threshold",
        changes={"fixed_threshold": 0.95},
        source="Table 2-II",
        removes="confidence-aware selection",
    ),
    Variant(name="fixed-threshold-99", changes={"fixed_threshold": 0.99}, source="Table 2-II"),
    Variant(name="fixed-threshold-90", changes={"fixed_threshold": 0.90}, source="Table 2-II"),
    Variant(name="fixed-threshold-80", changes={"fixed_threshold": 0.80}, source="Table 2-II"),
    Variant(
        name="single-head",
        changes={"heads": "single"},
        source="Table 2-III",
        removes="calibration head",
    ),
    Variant(
        name="single-head-calibrated", changes={"heads": "single-calibrated"}, source="Table 2-IV"
    ),
    Variant(
        name="no-stop-gradient",
        changes={"stop_gradient": False},
        source="Table 2-V",
        removes="stop-gradient",
    ),
    Variant(
        name="no-entropy",
        changes={"entropy_weight": 0.0},
        source="Table 6, loss weight 0",
        removes="entropy term",
    ),
    Variant(name="gsf", changes={"filter": "gsf"}, source="Table 8, App. C.1.1"),
    Variant(name="ppf", changes={"filter": "ppf"}, source="Table 8, App. C.1.1"),
    Variant(name="flexmatch", changes={"selection": "flexmatch"}, source="Table 9, App. C.1.2"),
    Variant(name="freematch", changes={"selection": "freematch"}, source="Table 9, App. C.1.2"),
    Variant(
        name="label-smoothing",
        changes={"calibration_loss": "label-smoothing"},
        source="Fig. 3, App. B.5",
    ),
    Variant(name="focal-loss", changes={"calibration_loss": "focal"}, source="Fig. 3, App. B.5"),
    Variant(name="l1-norm", changes={"calibration_loss": "l1"}, source="Fig. 3, App. B.5"),
    Variant(
        name="running-statistics",
        changes={"batch_statistics": False},
        source="of this project: batch-norm mode of the passes without gradient",
    ),
    Variant(
        name="one-restart",
        changes={"kmeans_restarts": 1},
        source="of this project: one k-means start in place of ten",
    ),
)

_THREE = SIX[:3]
_TWO = ("stl10", "cifar20")
_OURS = ("", "CDC-Cal (Ours)")
_POINT = 0.005  # half a point of accuracy or of ECE

#: What the text says of Fig. 3: the gain of CDC-Cal over the second best, which it does not name,
#: so that the gain over any other is at least as large. Half of it is the margin: less is SMALLER.
#: In points; whether the paper means these or percent of the other's value is not stated.
_REJECTION: tuple[tuple[str, Direction, float], ...] = (
    ("auroc", "higher", 0.086),
    ("aurc", "lower", 0.106),
    ("fpr95", "lower", 0.065),
)

#: Losses of Fig. 3 and 9 on the calibration head.
_LOSSES = (
    Row(name="label smoothing", variants=("label-smoothing",)),
    Row(name="focal loss", variants=("focal-loss",)),
    Row(name="L1 norm", variants=("l1-norm",)),
)
#: Label smoothing of Fig. 8, whose values are not printed.
_SMOOTHING = (0.05, 0.1, 0.2, 0.3, 0.5)

#: Both heads of one training; k-means on the pretrained features is measured on the way.
_BOTH_HEADS = (
    Row(
        name="MoCo-v2",
        columns={"acc": "encoder_kmeans_acc"},
        printed=("", "MoCo-v2"),
        of_pretraining=True,
    ),
    Row(name="CDC-Clu", head="clustering", printed=("", "CDC-Clu (Ours)")),
    Row(name="CDC-Cal", printed=_OURS),
)
_CALIBRATED = Claim(
    row="CDC-Cal", against="CDC-Clu", metric="ece", direction="lower", margin=_POINT
)
_BETTER_THAN_KMEANS = Claim(
    row="CDC-Cal", against="MoCo-v2", metric="acc", direction="higher", margin=_POINT
)

_REMOVALS = {  # row as printed -> its variants
    "w/o Init.+CDC": ("I", ("random-init",)),
    "Fixed Thre. (0.99)": ("II", ("fixed-threshold-99",)),
    "Fixed Thre. (0.95)": ("II", ("fixed-threshold",)),
    "Fixed Thre. (0.90)": ("II", ("fixed-threshold-90",)),
    "Fixed Thre. (0.80)": ("II", ("fixed-threshold-80",)),
    "Single-head (Clu)": ("III", ("single-head",)),
    "Single-head (Clu+Cal)": ("IV", ("single-head-calibrated",)),
    "Cal (w/o Stop Gradient)": ("V", ("no-stop-gradient",)),
}
#: What Table 13 starts from -> method, its variants, and the same as fields of a base.
_BEFORE: dict[str, tuple[str, tuple[str, ...], str]] = {
    "SCAN-2": ("scan", ("no-self-labelling",), " self_label_epochs=0"),
    "SCAN-3": ("scan", (), ""),
    "SeCu-Size": ("secu", (), ""),
}
_GAINS: tuple[tuple[str, Direction], ...] = (("acc", "higher"), ("ece", "lower"))
_THRESHOLDS = tuple(row for row in _REMOVALS if row.startswith("Fixed"))


def _seeds(table: str, datasets: tuple[str, ...]) -> Suite:
    return Suite(
        name=f"cdc-{table}",
        title=f"mean and spread over seeds, {', '.join(datasets)}",
        method="cdc",
        datasets=datasets,
        table=("cdc", table),
        rows=(
            Row(
                name="MoCo-v2",
                columns={"acc": "encoder_kmeans_acc"},
                printed=("", "MoCo-v2"),
                of_pretraining=True,
            ),
            Row(name="SimSiam", method="simsiam", printed=("", "Simsiam"), of_pretraining=True),
            Row(name="BYOL", method="byol", printed=("", "BYOL"), of_pretraining=True),
            Row(name="CDC-Cal", printed=("", "CDC-Cal")),
        ),
        claims=(_BETTER_THAN_KMEANS,),
        note="k-means on SimSiam and BYOL, which have no calibration in the paper",
    )


def _ood(table: str, dataset: str) -> Suite:
    return Suite(
        name=f"cdc-{table}",
        title=f"out-of-distribution detection, trained on {dataset}",
        method="cdc",
        datasets=(dataset,),
        table=("cdc", table),
        rows=(
            Row(name="CDC-Clu", head="clustering"),
            Row(name="CDC-Cal", printed=("", "CDC-Cal")),
        ),
        metrics=("auroc", "fpr95"),
        evaluations={"ood": unknown_to(table)},
        note="splits of the out-of-distribution sets are not stated in the paper; the rows of CC, "
        "SCAN, SPICE and SeCu are suites of their own",
    )


SUITES = (
    Suite(
        name="cdc-table1",
        title="accuracy, ARI and calibration of both heads on six data sets",
        method="cdc",
        datasets=SIX,
        table=("cdc", "table1"),
        rows=_BOTH_HEADS,
        metrics=("acc", "ari", "ece"),
        claims=(_CALIBRATED, _BETTER_THAN_KMEANS),
        note="one run in the paper; Tables 10 and 11 have its means",
    ),
    Suite(
        name="cdc-table2",
        title="what each component does: initialisation, thresholds, heads, stop-gradient",
        method="cdc",
        datasets=_THREE,
        table=("cdc", "table2"),
        rows=(
            Row(
                name="After Randomly Init.",
                variants=("random-init", "untrained"),
                head="clustering",  # not stated; the heads differ, and this one gives clusters
                printed=("I", "After Randomly Init."),
            ),
            Row(
                name="After Proposed Init.",
                variants=("untrained",),
                printed=("I", "After Proposed Init."),
                of_pretraining=True,  # the prototypes come from k-means with a fixed seed
            ),
            *(
                Row(name=name, variants=names, printed=(section, name))
                for name, (section, names) in _REMOVALS.items()
            ),
            Row(name="CDC-Cal", printed=("II", "CDC-Cal (Ours)")),
        ),
        claims=(
            *against_full("CDC-Cal", ("w/o Init.+CDC",), acc=_POINT, ece=_POINT),
            *against_full("CDC-Cal", _THRESHOLDS, acc=_POINT),
            *against_full("CDC-Cal", ("Single-head (Clu)",), acc=_POINT, ece=_POINT),
            *against_full("CDC-Cal", ("Single-head (Clu+Cal)",), acc=_POINT, ece=_POINT),
            *against_full("CDC-Cal", ("Cal (w/o Stop Gradient)",), acc=_POINT, ece=_POINT),
            Claim(
                row="After Proposed Init.",
                against="After Randomly Init.",
                metric="acc",
                direction="higher",
                margin=_POINT,
            ),
        ),
        note="ECE after initialisation follows the length of features and the width of heads: on "
        "digits, with 64 hidden units, heads begin far underconfident",
    ),
    Suite(
        name="cdc-table4",
        title="NMI of both heads on six data sets",
        method="cdc",
        datasets=SIX,
        table=("cdc", "table4"),
        rows=_BOTH_HEADS[1:],
        metrics=("nmi",),
        note="the runs of Table 1",
    ),
    Suite(
        name="cdc-table5",
        title="batch size and number of mini-clusters",
        method="cdc",
        datasets=_TWO,
        table=("cdc", "table5"),
        rows=tuple(
            Row(name=label, changes=changes, printed=("", "CDC-Cal", label))
            for label, changes in grid(
                B=axis(
                    "batch_size",
                    {"500": Times(factor=0.5), "1000": Times(factor=1), "1500": Times(factor=1.5)},
                ),
                K=axis(
                    "mini_clusters",
                    {"-20%": Times(factor=0.8), "0%": Times(factor=1), "+20%": Times(factor=1.2)},
                ),
            )
        ),
        metrics=("acc", "ece"),
        claims=tuple(
            Claim(
                row=f"B={batch};K={regions}",
                against="B=1000;K=0%",
                metric="acc",
                direction="equal",
                margin=0.02,  # App. B.4: accuracy varies by about 1.4 points
            )
            for batch in (500, 1000, 1500)
            for regions in ("-20%", "0%", "+20%")
            if (batch, regions) != (1000, "0%")
        ),
        note="batch sizes are 0.5, 1 and 1.5 times the data set's own, 1000 in the paper",
    ),
    Suite(
        name="cdc-table6",
        title="hidden units of the heads, and weight of the entropy term",
        method="cdc",
        datasets=_TWO,
        table=("cdc", "table6"),
        rows=(
            *(
                Row(
                    name=f"H={width}",
                    changes={"hidden": width},
                    printed=("hidden layer size", "CDC-Cal", f"H={width}"),
                )
                for width in (256, 384, 512, 640, 768)
            ),
            *(
                Row(
                    name=f"lambda={weight}",
                    changes={"entropy_weight": weight},
                    printed=("loss weight", "CDC-Cal", f"lambda={weight}"),
                )
                for weight in (0.0, 0.1, 0.5, 1.0, 5.0, 10.0)
            ),
        ),
        metrics=("acc", "ece"),
        claims=against_full("lambda=1.0", ("lambda=0.0",), acc=_POINT),
    ),
    Suite(
        name="cdc-table7",
        title="parameters, time and memory, measured",
        method="cdc",
        datasets=SIX,
        table=("cdc", "table7"),
        rows=(
            Row(name="parameters", printed=("Million Parameters of CDC", "CDC")),
            Row(name="time", printed=("Running Time (Hour)", "CDC (100 eps)")),
            Row(name="memory", printed=("GPU Memory (MB)", "CDC")),
        ),
        metrics=("params_m", "hours", "memory_mb"),
        seeds=1,
        mismatch="time and memory are of another device (RTX 3090)",
        note="training with its evaluations, without pretraining",
    ),
    Suite(
        name="cdc-table8",
        title="filters that add moderately confident samples",
        method="cdc",
        datasets=_TWO,
        table=("cdc", "table8"),
        rows=(
            Row(name="CDC", printed=("", "CDC")),
            Row(name="CDC+GSF", variants=("gsf",), printed=("", "CDC+GSF")),
            Row(name="CDC+PPF", variants=("ppf",), printed=("", "CDC+PPF")),
        ),
        metrics=("acc", "nmi", "ari"),
        claims=tuple(
            Claim(row=row, against="CDC", metric="acc", direction="equal", margin=0.01)
            for row in ("CDC+GSF", "CDC+PPF")
        ),
        note="how the filters are attached to CDC is not stated in the paper",
    ),
    Suite(
        name="cdc-table9",
        title="selection by FlexMatch and FreeMatch",
        method="cdc",
        datasets=_TWO,
        table=("cdc", "table9"),
        rows=(
            Row(
                name="FlexMatch",
                variants=("single-head", "flexmatch"),
                printed=("Apply Directly", "FlexMatch"),
            ),
            Row(
                name="FreeMatch",
                variants=("single-head", "freematch"),
                printed=("Apply Directly", "FreeMatch"),
            ),
            Row(name="CDC-Cal", printed=("", "CDC-Cal")),
            Row(
                name="CDC+FlexMatch",
                variants=("flexmatch",),
                printed=("Integration", "CDC+FlexMatch"),
            ),
            Row(
                name="CDC+FreeMatch",
                variants=("freematch",),
                printed=("Integration", "CDC+FreeMatch"),
            ),
        ),
        metrics=("acc", "nmi", "ari", "ece", "selected_pct"),
        claims=(
            *against_full(
                "CDC-Cal", ("FlexMatch", "FreeMatch", "CDC+FlexMatch"), acc=_POINT, ece=_POINT
            ),
            *against_full("CDC-Cal", ("CDC+FreeMatch",), acc=_POINT),  # its printed ECE is smaller
        ),
    ),
    _seeds("table10", _THREE),
    _seeds("table11", ("imagenet10", "imagenet-dogs", "tiny-imagenet")),
    Suite(
        name="cdc-table12",
        title="50, 100 and 200 classes of ImageNet with ResNet-50",
        method="cdc",
        datasets=("imagenet50", "imagenet100", "imagenet200"),
        table=("cdc", "table12"),
        rows=(Row(name="CDC-Cal", printed=("", "CDC-Cal")),),
        metrics=("acc", "ece"),
        mismatch="the paper starts from MoCo-v2 weights of all of ImageNet",
    ),
    Suite(
        name="cdc-table13",
        title="CDC after other clustering methods: differences",
        method="cdc_from",
        datasets=("cifar10", "cifar20"),
        table=("cdc", "table13"),
        rows=(
            *(Row(name=name, method=base, variants=v) for name, (base, v, _) in _BEFORE.items()),
            *(
                Row(name=f"{name} + CDC", base=f"{base}{sets}", printed=("", f"{name} +CDC"))
                for name, (base, _, sets) in _BEFORE.items()
            ),
        ),
        claims=tuple(
            Claim(row=f"{name} + CDC", against=name, metric=metric, direction=better, margin=_POINT)
            for name in _BEFORE
            for metric, better in _GAINS
        ),
        mismatch="CDC trained the bases with a ResNet-34",
        note="printed are differences to the row without CDC; SeCu's self-labelling is not here",
    ),
    _ood("table14", "cifar10"),
    _ood("table15", "cifar20"),
    Suite(
        name="cdc-fig1",
        title="reliability of SCAN, of label smoothing and of CDC; the heads as they start",
        method="cdc",
        datasets=("cifar20",),
        rows=(
            Row(name="SCAN", method="scan"),
            Row(name="CDC-Clu", head="clustering"),
            Row(name="label smoothing", variants=("label-smoothing",)),
            Row(name="CDC-Cal"),
            Row(
                name="MoCo-v2 and k-means",
                columns={"acc": "encoder_kmeans_acc"},
                of_pretraining=True,
            ),
            Row(
                name="random heads",
                variants=("random-init", "untrained"),
                head="clustering",
            ),
        ),
        metrics=("acc", "mean_confidence", "ece"),
        claims=(
            Claim(row="SCAN", against="CDC-Cal", metric="ece", direction="higher", margin=_POINT),
            Claim(
                row="random heads",
                against="MoCo-v2 and k-means",
                metric="acc",
                direction="lower",
                margin=0.20,  # half of 50.7 to 10.4, Sec. 3.3
            ),
        ),
        note="the diagrams are in `platform report`; SPICE and supervised training are not here",
    ),
    Suite(
        name="cdc-fig3",
        title="other calibration losses, and what confidence tells about failure",
        method="cdc",
        datasets=("cifar20",),
        rows=(
            Row(name="CDC-Clu", head="clustering"),
            Row(
                name="CDC-Clu, temperature set with labels",  # an oracle: what scaling could reach
                columns={"acc": "clustering_acc", "ece": "clustering_ece_temperature"},
            ),
            *_LOSSES,
            Row(name="CDC-Cal"),
        ),
        metrics=("acc", "ece", "auroc", "aurc", "fpr95"),
        claims=tuple(
            Claim(row="CDC-Cal", against=row, metric=metric, direction=direction, margin=gain / 2)
            for row in ("CDC-Clu", *(row.name for row in _LOSSES))
            for metric, direction, gain in _REJECTION
        ),
        note="the figure has no printed values; margins are half of the gains over the second best "
        "that the text quotes",
    ),
    Suite(
        name="cdc-fig4",
        title="accuracy by epoch",
        method="cdc",
        datasets=("cifar10", "imagenet-dogs"),
        rows=_BOTH_HEADS[1:],
        metrics=("acc", "ece"),
        note="the curves are in `platform report`",
    ),
    Suite(
        name="cdc-fig5",
        title="number of mini-clusters, from one to one per sample",
        method="cdc",
        datasets=("cifar20",),
        rows=(
            *(
                Row(name=f"K={regions}", changes={"mini_clusters": regions})
                for regions in (1, 10, 20, 32, 40, 48, 100, 200, 500)
            ),
            Row(name="K=B", changes={"mini_clusters": Times(factor=1, of="batch_size")}),
        ),
        metrics=("acc", "ece", "mean_confidence"),
        note="the values of the figure's axis are not printed",
    ),
    Suite(
        name="cdc-fig7",
        title="reliability of all models trained on CIFAR-20",
        method="cdc",
        datasets=("cifar20",),
        rows=(
            Row(name="CC", method="cc"),
            Row(name="SCAN-2", method="scan", variants=("no-self-labelling",)),
            Row(name="SCAN-3", method="scan"),
            Row(name="SPICE-2", method="spice"),
            Row(name="SeCu-Size", method="secu"),
            *_BOTH_HEADS[1:],
        ),
        metrics=("acc", "mean_confidence", "ece"),
        claims=(_CALIBRATED,),
        note="the diagrams are in `platform report`; the runs of Table 1, of all methods",
    ),
    Suite(
        name="cdc-fig8",
        title="the strength of label smoothing",
        method="cdc",
        datasets=("cifar20",),
        rows=(
            *(
                Row(
                    name=f"smoothing={strength}",
                    variants=("label-smoothing",),
                    changes={"label_smoothing": strength},
                )
                for strength in _SMOOTHING
            ),
            Row(name="CDC-Cal"),
        ),
        metrics=("acc", "mean_confidence", "ece", "auroc"),
        claims=tuple(
            Claim(
                row=f"smoothing={strength}",
                against="CDC-Cal",
                metric=metric,
                direction="lower",
                margin=0.01,
            )
            for strength in _SMOOTHING
            for metric in ("acc", "auroc")
        ),
        note="the confidences of correct and wrong samples are in `platform report`; the values of "
        "the figure are not printed",
    ),
    Suite(
        name="cdc-fig9",
        title="reliability with other calibration losses",
        method="cdc",
        datasets=("cifar20",),
        rows=(*_LOSSES, Row(name="CDC-Cal")),
        metrics=("acc", "mean_confidence", "ece"),
        claims=against_full("CDC-Cal", (row.name for row in _LOSSES), acc=0.01),
        note="the diagrams are in `platform report`; the runs of Fig. 3",
    ),
    Suite(
        name="cdc-fig11",
        title="confidences of images of the training set and of others",
        method="cdc",
        datasets=("cifar10", "cifar20"),
        rows=(Row(name="CDC-Cal"),),
        metrics=("auroc", "fpr95"),
        evaluations={"ood": ("tiny-imagenet", "svhn", "textures", "places365")},
        note="the densities are in `platform report`; the runs of Tables 14 and 15",
    ),
)
