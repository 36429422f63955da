"""The variants of CDC after another clustering; its suite, CDC's Table 13, stands with CDC's."""

from deep_clustering.ablations._variants import Variant, variants
from deep_clustering.methods.cdc_from import CDCFromConfig

VARIANTS = variants(
    CDCFromConfig,
    Variant(
        name="prototypes-anew",
        changes={"start": "features"},
        source="App. C.4 leaves open what the heads start from",
        removes="clusters of the base",
    ),
    Variant(
        name="random-heads",
        changes={"initialisation": "random"},
        source="of this project: the encoder of the base alone",
    ),
    Variant(name="untrained", changes={"epochs": 0}, source="of this project: the start alone"),
)
SUITES = ()
