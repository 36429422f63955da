"""CC's variants, and a suite for each table of CDC's paper and DPAC's that prints it.

What CC is compared with is a claim of the other methods' suites.
"""

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

_SIX = ("cifar10", "cifar20", "stl10", "imagenet10", "imagenet-dogs", "tiny-imagenet")
_ALL = ("acc", "nmi", "ari", "ece")
_OF_CDC = "CDC fine-tuned CC from MoCo v2 on images of their own size"
_OF_DPAC = "DPAC prints CC on images of 224 pixels"


def _of_cdc(table: str, datasets: tuple[str, ...], metrics: tuple[str, ...]) -> Suite:
    return Suite(
        name=f"cc-cdc-{table}",
        title=f"CC in CDC's {table.replace('table', 'Table ')}",
        method="cc",
        datasets=datasets,
        table=("cdc", table),
        rows=(Row(name="CC", printed=("", "CC")),),
        metrics=metrics,
        mismatch=_OF_CDC,
    )


SUITES = (
    _of_cdc("table1", _SIX, ("acc", "ari", "ece")),
    _of_cdc("table4", _SIX, ("nmi",)),
    _of_cdc("table10", _SIX[:3], _ALL),
    _of_cdc("table11", _SIX[3:], _ALL),
    Suite(
        name="cc-dpac-table4",
        title="CC in DPAC's Table 4",
        method="cc",
        datasets=_SIX[:5],
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
        metrics=_ALL,
        claims=against_full("CC", ("no-instance-loss", "no-entropy"), acc=0.005),
    ),
)
