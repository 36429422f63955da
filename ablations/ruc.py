"""RUC's ablations: its variants, and a suite for every table and figure that is an experiment.

Tables and figures are those of the CVPR 2021 paper. Its numbers are of one seed each, "last" and
"best" over the epochs; the best epoch is chosen with labels, so only the last one is compared. The
accuracy of a row that names no strategy is that of Table 1's confidence rows, so confidence is
taken there. Which network RUC retrains on TSUC is not given: a fresh one here.
"""

from deep_clustering.ablations._suite import Claim, Row, Suite
from deep_clustering.ablations._variants import Variant, variants
from deep_clustering.methods.ruc import RUCConfig

VARIANTS = variants(
    RUCConfig,
    Variant(name="confidence", changes={"strategy": "confidence"}, source="Table 1"),
    Variant(name="metric", changes={"strategy": "metric"}, source="Table 1"),
    Variant(name="extraction", changes={"epochs": 0}, source="Tables 3 and 5, before training"),
    Variant(
        name="fresh",
        changes={"start": "fresh"},
        source="of this project: on a base like SCAN; on TSUC the networks are fresh anyway",
        removes="weights of the base",
    ),
    Variant(
        name="no-co-training",
        changes={"co_training": False},
        source="Table 2, Fig. 12",
        removes="co-training",
    ),
    Variant(
        name="no-label-smoothing",
        changes={"smoothing": None},
        source="Table 2",
        removes="the loss of strong views with smoothed labels",
    ),
    Variant(
        name="unsmoothed",
        changes={"smoothing": 0.0},
        source="of this project: the other reading of Table 2, strong views without smoothing",
    ),
    Variant(
        name="no-co-refinement",
        changes={"co_refinement": False},
        source="of this project: labels of clean images stay",
        removes="co-refinement",
    ),
    Variant(
        name="no-refurbishing",
        changes={"refurbish": None},
        source="of this project: the clean set stays",
        removes="co-refurbishing",
    ),
    Variant(
        name="no-unlabelled-loss",
        changes={"unlabelled_weight": 0.0},
        source="of this project: nothing is learnt from unclean images",
        removes="the loss of unclean images",
    ),
    Variant(
        name="no-mixing",
        changes={"alpha": 0.0},
        source="of this project: MixMatch without its mixing",
        removes="mixing of images",
    ),
    Variant(
        name="no-ramp",
        changes={"ramp": 0},
        source="of this project: lambda_U from the start, as the paper reads",
        removes="growth of lambda_U",
    ),
    Variant(
        name="weak-views",
        changes={"strong": False},
        source="of this project: label smoothing on weak views",
        removes="strong augmentation",
    ),
    Variant(
        name="dividemix",
        changes={
            "selection": "dividemix",
            "warm_up": 10,
            "refurbish": None,
            "smoothing": None,
            "prior_weight": 1.0,
            "counter_statistics": "batch",
        },
        source="Fig. 3",
    ),
)

_THREE = ("cifar10", "cifar20", "stl10")
_PROTOCOLS = {"cifar10": "train", "cifar20": "train"}  # what the release trains on and scores
_POINT = 0.005  # half a point
#: Row as printed -> its field: in all three, as a preset may have another one than the default.
STRATEGIES = {name: {"strategy": name.lower()} for name in ("Confidence", "Metric", "Hybrid")}
_FULL = Row(name="RUC", variants=("confidence",), printed=("SCAN+RUC", "RUC with all components"))


def _better(*rows: str, against: str) -> tuple[Claim, ...]:
    return tuple(
        Claim(row=row, against=against, metric="last_acc", direction="higher", margin=_POINT)
        for row in rows
    )


def _without(name: str, printed: str, *removed: str) -> Row:
    return Row(name=name, variants=("confidence", *removed), printed=("SCAN+RUC", printed))


SUITES = (
    Suite(
        name="ruc-table1",
        title="three strategies on SCAN, and SCAN itself",
        method="ruc",
        base="scan",
        datasets=_THREE,
        protocols=_PROTOCOLS,
        table=("ruc", "table1"),
        rows=(
            Row(name="SCAN", method="scan"),
            *(
                Row(name=name, changes=own, printed=("SCAN+RUC", f"SCAN + RUC ({name})"))
                for name, own in STRATEGIES.items()
            ),
        ),
        metrics=("last_acc",),
        claims=_better(*STRATEGIES, against="SCAN"),
        note="its rows on TSUC are tsuc-ruc-table1; compare gains over the base, not accuracies",
    ),
    Suite(
        name="ruc-table2",
        title="RUC without its components",
        method="ruc",
        base="scan",
        datasets=("stl10",),
        table=("ruc", "table2"),
        rows=(
            _FULL,
            _without("without co-training", "without co-training", "no-co-training"),
            _without("without label smoothing", "without label smoothing", "no-label-smoothing"),
            Row(name="unsmoothed", variants=("confidence", "unsmoothed")),
            _without("MixMatch only", "with MixMatch only", "no-co-training", "no-label-smoothing"),
        ),
        metrics=("last_acc",),
        claims=tuple(
            Claim(row=row, against="RUC", metric="last_acc", direction="lower", margin=_POINT)
            for row in ("without co-training", "without label smoothing", "MixMatch only")
        ),
        note="effects are 0.3 to 1.5 points of one seed each",
    ),
    Suite(
        name="ruc-table3",
        title="precision, recall and F1 of the clean set on SCAN, without training",
        method="ruc",
        base="scan",
        datasets=_THREE,
        protocols=_PROTOCOLS,
        table=("ruc", "table3"),
        rows=tuple(
            Row(name=name, variants=("extraction",), changes=own, printed=("SCAN+RUC", name))
            for name, own in STRATEGIES.items()
        ),
        metrics=("precision", "recall", "f1"),
        evaluations={"clean": ("own",)},
    ),
    Suite(
        name="ruc-table5",
        title="precision, recall and F1 of the clean set on TSUC, without training",
        method="ruc",
        base="tsuc",
        datasets=_THREE,
        protocols=_PROTOCOLS,
        table=("ruc", "table5"),
        rows=tuple(
            Row(
                name=name,
                variants=("extraction",),
                changes=own,
                printed=("TSUC+RUC", name),
            )
            for name, own in STRATEGIES.items()
        ),
        metrics=("precision", "recall", "f1"),
        evaluations={"clean": ("own",)},
        note="two of the printed F1 contradict their precision and recall",
    ),
    Suite(
        name="ruc-fig3",
        title="RUC against DivideMix on the pseudo-labels of SCAN",
        method="ruc",
        base="scan",
        datasets=("stl10",),
        rows=(
            Row(name="RUC", variants=("confidence",)),
            Row(name="DivideMix", variants=("dividemix",)),
        ),
        metrics=("acc",),
        claims=(
            Claim(row="DivideMix", against="RUC", metric="acc", direction="lower", margin=_POINT),
        ),
        note="the paper gives no settings of DivideMix, and says that its accuracy falls sharply",
    ),
    Suite(
        name="ruc-fig4",
        title="the clean set before training and after the last epoch",
        method="ruc",
        base="scan",
        datasets=("stl10",),
        rows=(
            Row(name="before", variants=("confidence", "extraction")),
            Row(name="after", variants=("confidence",)),
        ),
        metrics=("precision", "recall", "f1"),
        evaluations={"clean": ("own",)},
        claims=(
            Claim(row="after", against="before", metric="recall", direction="higher", margin=0.01),
            Claim(row="after", against="before", metric="f1", direction="higher", margin=0.01),
        ),
        note="the curve between them is in the columns clean_precisions and clean_recalls",
    ),
    Suite(
        name="ruc-fig5",
        title="calibration error of SCAN and of RUC on it",
        method="ruc",
        base="scan",
        datasets=("stl10",),
        rows=(Row(name="SCAN", method="scan"), Row(name="RUC", variants=("confidence",))),
        metrics=("ece", "mean_confidence", "acc"),
        claims=(Claim(row="RUC", against="SCAN", metric="ece", direction="lower", margin=_POINT),),
        note="printed in the figure: 18.5 and 17.0; RUC's is on the other side, under-confident",
    ),
    Suite(
        name="ruc-fig9",
        title="accuracy that FGSM and BIM take from SCAN and from RUC on it",
        method="ruc",
        base="scan",
        datasets=("stl10",),
        rows=(Row(name="SCAN", method="scan"), Row(name="RUC", variants=("confidence",))),
        metrics=("accuracy_drop",),
        evaluations={"attack": ("fgsm", "bim")},
        claims=(
            Claim(
                row="RUC", against="SCAN", metric="accuracy_drop", direction="lower", margin=0.02
            ),
        ),
        note="units of the strengths are not stated; curves are in attack_eps and attack_drops",
    ),
    Suite(
        name="ruc-fig10",
        title="tau1 with the confidence strategy, k with the metric one",
        method="ruc",
        base="scan",
        datasets=("stl10",),
        rows=(
            *(
                Row(
                    name=f"tau1={t:g}",
                    variants=("confidence",),
                    changes={"tau1": t, "tau1_share": None},
                )
                for t in (0.9, 0.95, 0.98, 0.99, 0.995, 0.999)
            ),
            *(
                Row(name=f"k={k}", variants=("metric",), changes={"neighbours": k})
                for k in (10, 50, 100, 200, 500)
            ),
        ),
        metrics=("acc",),
        claims=(
            Claim(
                row="tau1=0.9", against="tau1=0.99", metric="acc", direction="lower", margin=_POINT
            ),
            Claim(row="k=10", against="k=100", metric="acc", direction="equal", margin=0.01),
            Claim(row="k=500", against="k=100", metric="acc", direction="equal", margin=0.01),
        ),
        note="the grids are not in the text; these are ours",
    ),
    Suite(
        name="ruc-fig11",
        title="calibration error of TSUC and of RUC on it",
        method="ruc",
        base="tsuc",
        datasets=("stl10",),
        rows=(
            Row(name="TSUC", method="tsuc"),
            Row(name="RUC", variants=("confidence",)),
        ),
        metrics=("ece", "mean_confidence", "acc"),
        claims=(Claim(row="RUC", against="TSUC", metric="ece", direction="lower", margin=_POINT),),
        note="printed in the figure: 34.0 and 27.3; RUC's is on the other side, under-confident",
    ),
    Suite(
        name="ruc-fig12",
        title="with and without co-training",
        method="ruc",
        base="tsuc",
        datasets=("cifar20",),
        protocols=_PROTOCOLS,
        rows=(
            Row(name="RUC", variants=("confidence",)),
            Row(name="without co-training", variants=("confidence", "no-co-training")),
        ),
        metrics=("acc",),
        claims=(
            Claim(
                row="without co-training",
                against="RUC",
                metric="acc",
                direction="lower",
                margin=_POINT,
            ),
        ),
        note="the accuracies of all epochs are in `platform results epochs`",
    ),
)
