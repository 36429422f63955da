"""SPICE-self's variants, and a suite for each table of CDC's paper and DPAC's that prints it.

CDC calls it "SPICE-2"; "SPICE-3", the semi-supervised training after it, is published only.
"""

from deep_clustering.ablations._cdc_tables import SIX, of_cdc
from deep_clustering.ablations._suite import Claim, Row, Suite
from deep_clustering.ablations._variants import Variant, variants
from deep_clustering.methods.spice import SPICEConfig

VARIANTS = variants(
    SPICEConfig,
    Variant(
        name="single-softmax",
        changes={"double_softmax": False},
        source="of this project: the cross-entropy of the logits",
        removes="second softmax",
    ),
    Variant(
        name="one-head",
        changes={"heads": 1},
        source="of this project: no head to select",
        removes="selection of the head",
    ),
    Variant(
        name="last-epoch",
        changes={"select_epoch": False},
        source="of this project: the last epoch in place of the one with the lowest loss",
        removes="selection of the epoch",
    ),
)

_SELF = Row(name="SPICE-2", printed=("", "SPICE-2"))
_OF_CDC = "CDC evaluated SPICE's released models, whose pretraining is another"

SUITES = (
    *(
        of_cdc("spice", table, _SELF, mismatch=_OF_CDC)
        for table in ("table1", "table4", "table14", "table15")
    ),
    Suite(
        name="spice-dpac-table4",
        title="SPICE-self in DPAC's Table 4",
        method="spice",
        datasets=SIX[:5],
        table=("dpac", "table4"),
        rows=(Row(name="SPICE", printed=("", "SPICE")),),
        metrics=("nmi", "acc", "ari"),
        note="the printed values are SPICE's own",
    ),
    Suite(
        name="spice-parts",
        title="what each part of SPICE-self does",
        method="spice",
        datasets=("digits",),
        rows=(Row(name="SPICE"), *(Row(name=name, variants=(name,)) for name in VARIANTS)),
        metrics=("acc", "nmi", "ari", "ece"),
        claims=(
            Claim(
                row="single-softmax",
                against="SPICE",
                metric="ece",
                direction="higher",
                margin=0.005,
            ),
        ),
    ),
)
