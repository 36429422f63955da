"""CC's variants, and a suite for each table of CDC's paper and DPAC's that prints it.

What CC is compared with is a claim of the other methods' suites.
"""

from deep_clustering.ablations._cdc_tables import SIX, of_cdc
from deep_clustering.ablations._suite import Row, Suite, against_full
from deep_clustering.ablations._variants import Variant, variants
from deep_clustering.methods.cc import CCConfig

VARIANTS = variants(
    CCConfig,
    Variant(
        name="no-instance-loss",
        changes={"instance_weight": 0.0},
        source="Eq. 7, without the contrast of images",
        removes="contrast of images",
    ),
    Variant(
        name="no-cluster-loss",
        changes={"cluster_weight": 0.0},
        source="Eq. 6, without the contrast of clusters; their entropy stays",
        removes="contrast of clusters",
    ),
    Variant(
        name="no-entropy",
        changes={"entropy_weight": 0.0},
        source="DPAC's Table 5c, without CR",
        removes="entropy of the clusters",
    ),
)

_OF_CDC = "CDC fine-tuned CC from MoCo v2 on images of their own size"
_OF_DPAC = "DPAC prints CC on images of 224 pixels"

SUITES = (
    *(
        of_cdc("cc", table, Row(name="CC", printed=("", "CC")), mismatch=_OF_CDC)
        for table in ("table1", "table4", "table10", "table11", "table14", "table15")
    ),
    Suite(
        name="cc-dpac-table4",
        title="CC in DPAC's Table 4",
        method="cc",
        datasets=SIX[:5],
        table=("dpac", "table4"),
        rows=(Row(name="CC", printed=("", "CC")),),
        metrics=("nmi", "acc", "ari"),
        mismatch=_OF_DPAC,
    ),
    Suite(
        name="cc-parts",
        title="what each part of CC does",
        method="cc",
        datasets=("digits",),
        rows=(Row(name="CC"), *(Row(name=name, variants=(name,)) for name in VARIANTS)),
        claims=against_full("CC", ("no-instance-loss", "no-entropy"), acc=0.005),
    ),
)
