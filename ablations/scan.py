"""SCAN's variants, and a suite for each table of the other papers that prints it.

SCAN-2 is the clustering step alone and SCAN-3 the self-labelling after it; so CDC names them, and
DPAC and RUC mark the second one with a dagger. Claims are those that the tables make about SCAN's
own parts; how it compares with another method is a claim of that method's suites.
"""

from deep_clustering.ablations._cdc_tables import SIX, of_cdc
from deep_clustering.ablations._suite import Claim, Row, Suite
from deep_clustering.ablations._variants import Variant, variants
from deep_clustering.methods.scan import SCANConfig

VARIANTS = variants(
    SCANConfig,
    Variant(
        name="no-self-labelling",
        changes={"self_label_epochs": 0},
        source="SCAN-2 of CDC's Table 1",
        removes="self-labelling",
    ),
    Variant(
        name="no-entropy",
        changes={"entropy_weight": 0.0},
        source="DPAC's Table 5c, without CR",
        removes="entropy term",
    ),
    Variant(
        name="one-neighbour",
        changes={"neighbours": 1, "score_neighbours": 0},
        source="of this project: an image is paired with itself or with its nearest other",
        removes="neighbours beyond the nearest",
    ),
    Variant(
        name="weak-clustering",
        changes={"augmentation": "pretext"},
        source="release, ImageNet: the pretext's views in the clustering step",
        removes="strong augmentation of the clustering step",
    ),
    Variant(
        name="weak-self-labelling",
        changes={"self_label_augmentation": "pretext"},
        source="Sec. 2.3, which asks for strong views",
        removes="strong augmentation of the self-labelling step",
    ),
    Variant(
        name="unbalanced",
        changes={"balanced": False},
        source="release, ImageNet: every confident image counts the same",
        removes="class balancing",
    ),
    Variant(
        name="last-epoch",
        changes={"select_epoch": False},
        source="of this project: self-labelling starts from the last clustering epoch",
        removes="selection of the epoch",
    ),
    Variant(
        name="all-labels",
        changes={"threshold": 0.0},
        source="of this project: every prediction becomes a label",
        removes="confidence threshold",
    ),
    Variant(name="ten-heads", changes={"heads": 10}, source="release, ImageNet"),
    Variant(
        name="frozen-encoder", changes={"freeze_encoder": True}, source="release, clustering step"
    ),
    Variant(
        name="running-statistics",
        changes={"batch_statistics": False},
        source="of this project: batch-norm mode of the pass that labels",
    ),
    Variant(
        name="symmetric-pretext",
        changes={"pretrain.symmetric": True},
        source="SimCLR, Eq. 1: both views are anchors",
    ),
    Variant(
        name="encoder-neighbours",
        changes={"pretrain.mine_projection": False},
        source="release, ImageNet: neighbours by the encoder's features",
    ),
)

_THREE = SIX[:3]
_POINT = 0.005  # half a point of accuracy, as in CDC's suites
_TRAINED = "CDC trained SCAN with a ResNet-34 on MoCo v2"
_RELEASED = "the published models start from MoCo-v2 weights of all of ImageNet"

_STAGES = (
    Row(name="SCAN-2", variants=("no-self-labelling",), printed=("", "SCAN-2")),
    Row(name="SCAN-3", printed=("", "SCAN-3")),
)
_SELF_LABELLING = Claim(
    row="SCAN-3", against="SCAN-2", metric="acc", direction="higher", margin=_POINT
)


def _in(table: str, mismatch: str = _TRAINED) -> Suite:
    return of_cdc("scan", table, *_STAGES, mismatch=mismatch, claims=(_SELF_LABELLING,))


SUITES = (
    _in("table1"),
    _in("table4"),
    _in("table10"),
    _in("table11"),
    _in("table12", _RELEASED),
    _in("table14"),
    _in("table15"),
    Suite(
        name="scan-dpac-table4",
        title="SCAN with self-labelling in DPAC's table",
        method="scan",
        datasets=_THREE,
        table=("dpac", "table4"),
        rows=(
            Row(
                name="SCAN-3",
                printed=("With self-labeling fine-tuning (†)", "SCAN†"),
            ),
        ),
        metrics=("nmi", "acc", "ari"),
        protocol="train-test",
        note="the printed values are those of SCAN's best released models, on test images",
    ),
    Suite(
        name="scan-dpac-table5c",
        title="SCAN with and without its entropy term",
        method="scan",
        datasets=("cifar10",),
        table=("dpac", "table5c"),
        rows=(
            Row(name="with", printed=("", "SCAN", "CR=with")),
            Row(name="without", variants=("no-entropy",), printed=("", "SCAN", "CR=without")),
        ),
        metrics=("acc",),
        claims=(
            Claim(row="without", against="with", metric="acc", direction="lower", margin=_POINT),
        ),
        note="the printed 0.1 without the term is most likely chance, 10 %",
    ),
    Suite(
        name="scan-ruc-table1",
        title="SCAN as RUC starts from it",
        method="scan",
        datasets=_THREE,
        table=("ruc", "table1"),
        rows=(Row(name="SCAN-3", printed=("baseline", "SCAN†")),),
        metrics=("acc",),
        protocols={"cifar10": "train", "cifar20": "train", "stl10": "all"},
        note="printed: one released model, the authors' best run, scored on RUC's images",
    ),
    Suite(
        name="scan-parts",
        title="what each part of SCAN does",
        method="scan",
        datasets=("digits",),
        rows=(
            Row(name="SCAN-3"),
            *(Row(name=name, variants=(name,)) for name, v in VARIANTS.items() if v.removes),
        ),
        metrics=("acc", "nmi", "ari", "ece"),
    ),
)
