"""SeCu's variants, and a suite for each table of CDC's paper and DPAC's that prints it.

CDC calls the size constraint alone "SeCu-Size", and "SeCu" what a self-labelling has followed; the
latter is not known well enough to be here, and is published only.
"""

from deep_clustering.ablations._cdc_tables import SIX, of_cdc
from deep_clustering.ablations._suite import Claim, Row, Suite
from deep_clustering.ablations._variants import Variant, variants
from deep_clustering.methods.secu import SeCuConfig

VARIANTS = variants(
    SeCuConfig,
    Variant(
        name="no-constraint",
        changes={"size_share": 0.0},
        source="of this project: nothing keeps clusters from emptying",
        removes="constraint on the sizes",
    ),
    Variant(
        name="entropy-constraint", changes={"constraint": "entropy"}, source="release, CIFAR-10"
    ),
    Variant(
        name="one-grouping",
        changes={"groupings": 1},
        source="of this project: K clusters alone, not 2K, 3K, ... beside them",
        removes="further groupings",
    ),
    Variant(
        name="own-labels",
        changes={"own_label": 1.0},
        source="of this project: targets without the prediction for the other view",
        removes="the other view's prediction",
    ),
)

_THREE = SIX[:3]
_SIZE = Row(name="SeCu-Size", printed=("", "SeCu-Size"))
_OF_CDC = "CDC trained SeCu with a ResNet-34"

SUITES = (
    *(
        of_cdc("secu", table, _SIZE, mismatch=_OF_CDC, datasets=_THREE)
        for table in ("table1", "table4", "table14", "table15")
    ),
    Suite(
        name="secu-dpac-table4",
        title="SeCu in DPAC's Table 4",
        method="secu",
        datasets=_THREE,
        table=("dpac", "table4"),
        rows=(Row(name="SeCu", printed=("", "SeCu")),),
        metrics=("nmi", "acc", "ari"),
        note="the printed values are SeCu's own",
    ),
    Suite(
        name="secu-parts",
        title="what each part of SeCu does",
        method="secu",
        datasets=("digits",),
        rows=(Row(name="SeCu"), *(Row(name=name, variants=(name,)) for name in VARIANTS)),
        metrics=("acc", "nmi", "ari", "ece"),
        claims=(
            Claim(
                row="no-constraint", against="SeCu", metric="acc", direction="lower", margin=0.005
            ),
        ),
    ),
)
