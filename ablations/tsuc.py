"""TSUC's variants, the rows of RUC's Table 1 that start from it, and what each part of it does."""

from deep_clustering.ablations._suite import Claim, Row, Suite, against_full
from deep_clustering.ablations._variants import Variant, variants
from deep_clustering.ablations.ruc import STRATEGIES
from deep_clustering.methods.tsuc import TSUCConfig

VARIANTS = variants(
    TSUCConfig,
    Variant(
        name="no-neighbours",
        changes={"growth": 0.0},
        source="of this project: each image counts alone in all rounds",
        removes="discovered neighbours",
    ),
    Variant(
        name="no-certainty",
        changes={"certainty_weight": 0.0},
        source="of this project: without the entropy over the other images",
        removes="entropy over the other images",
    ),
    Variant(
        name="no-spreading",
        changes={"spread_weight": 0.0},
        source="of this project: without the loss of invariance within a batch",
        removes="invariance within a batch",
    ),
    Variant(
        name="no-edges",
        changes={"edges": False},
        source="of this project: one tower",
        removes="the tower that sees edges",
    ),
)

SUITES = (
    Suite(
        name="tsuc-ruc-table1",
        title="three strategies of RUC on TSUC, and TSUC itself",
        method="ruc",
        base="tsuc",
        datasets=("cifar10", "cifar20", "stl10"),
        protocols={"cifar10": "train", "cifar20": "train"},
        table=("ruc", "table1"),
        rows=(
            Row(name="TSUC", method="tsuc"),
            *(
                Row(
                    name=name,
                    changes=own,
                    printed=("TSUC+RUC", f"TSUC + RUC ({name})"),
                )
                for name, own in STRATEGIES.items()
            ),
        ),
        metrics=("last_acc",),
        claims=tuple(
            Claim(row=row, against="TSUC", metric="last_acc", direction="higher", margin=0.005)
            for row in STRATEGIES
        ),
        note="compare gains over the base, not accuracies",
    ),
    Suite(
        name="tsuc-parts",
        title="what each part of TSUC does",
        method="tsuc",
        datasets=("digits",),
        rows=(Row(name="TSUC"), *(Row(name=name, variants=(name,)) for name in VARIANTS)),
        claims=against_full("TSUC", ("no-neighbours", "no-spreading"), acc=0.005),
    ),
)
