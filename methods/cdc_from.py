"""CDC continuing from a finished clustering: its Table 13.

Jia, Peng, Liu and Hou, "Towards Calibrated Deep Clustering Network", ICLR 2025
(https://arxiv.org/abs/2403.02998), App. C.4: "a post-clustering self-labeling stage". The paper
says nothing but that; what it leaves open is in the list of differences. In place of a pretraining
CDC is given the encoder of a run of any method, and the clusters that it found.
"""

from dataclasses import dataclass
from typing import Any, Literal

from deep_clustering.methods._bases import check_clusters, misfit
from deep_clustering.methods._fields import (
    Backbone,
    Frame,
    Stem,
    check,
    choice,
    doc,
    not_negative,
    sizes,
)
from deep_clustering.methods._method import Base, Difference, Later, Method, Values, by_side
from deep_clustering.methods.cdc import PRESETS as OF_CDC
from deep_clustering.methods.cdc import CDCSettings, Network

Start = Literal["clusters", "features"]


@dataclass(frozen=True, kw_only=True, slots=True)
class CDCFromConfig(CDCSettings):
    """CDC's own fields, and the encoder of the base."""

    start: Start = doc(
        "clusters", "prototypes of the base's clusters, or found anew in its features"
    )
    backbone: Backbone = doc("resnet18", "of the base")
    stem: Stem = doc("side", "of the base, see `networks.encoders`")
    stem_padding: int = doc(1, "pixels, of the 3x3 stem of the base")
    side: int | None = doc(None, "pixels, of the views; None is the images' own")
    frame: Frame = doc("whole", 'what views are cut from; "centre": the square of a photograph')
    enlargement: float | None = doc(
        None, "clean view: middle of the image at this multiple of side; None takes it as stored"
    )

    def __post_init__(self) -> None:
        CDCSettings.__post_init__(self)
        check(
            self,
            [
                *choice(self, start=Start, backbone=Backbone, stem=Stem, frame=Frame),
                *not_negative(self, "stem_padding"),
                *sizes(self),
            ],
        )

    @property
    def network(self) -> Network:
        """The encoder of the base."""
        return Network(
            self.backbone,
            self.stem,
            self.stem_padding,
            self.side,
            self.frame,
            self.enlargement,
        )


_OF_NETWORK = ("backbone", "side", "enlargement")
_BASES: dict[str, dict[str, Any]] = {
    "stl10": {"stem": "pooled"},
    "digits": {"backbone": "small"},
}


def _preset(name: str) -> dict[str, Any]:
    """CDC's own of a data set, without its pretraining, on the encoder of SCAN and SeCu."""
    own = OF_CDC[name]
    inner = {k.removeprefix("pretrain."): v for k, v in own.items() if k.startswith("pretrain.")}
    network = {k: v for k, v in inner.items() if k in _OF_NETWORK and v != "resnet34"}
    return {k: v for k, v in own.items() if "." not in k} | network | _BASES.get(name, {})


PRESETS: dict[str, dict[str, Any]] = {name: _preset(name) for name in OF_CDC}


def _on(base: Values, by_hand: Values) -> Values:
    """The clusters and the network of the base.

    Raises:
        ValueError: another number of clusters was set, or there are no weights that fit.
    """
    check_clusters(base, by_hand)
    if (reason := misfit(base, by_hand)) is not None:
        raise ValueError(
            f"base: CDC goes on with its network, and {reason}; "
            "choose a base that trains one, and leave backbone, stem and stem_padding out"
        )
    return base


DIFFERENCES = (
    Difference(
        topic="heads at the start",
        paper="not given",
        release="none",
        default="prototypes of the base's clusters, spread as CDC's: the clusters of the base are "
        "kept whatever its head was",
        field="start",
    ),
    Difference(
        topic="encoder of the base",
        paper="a ResNet-34 for SCAN and SeCu, CDC's own",
        release="none",
        default="that of the base, a ResNet-18 for SCAN and SeCu",
        field="backbone",
    ),
    Difference(
        topic="learning rates and epochs",
        paper="not given",
        release="none",
        default="CDC's own",
        field="encoder_lr",
    ),
)


METHOD = Method(
    summary="CDC continuing from a finished clustering of any method, as a stage after it",
    citation=(
        "Jia, Peng, Liu, Hou. Towards Calibrated Deep Clustering Network. ICLR 2025, Table 13. "
        "https://arxiv.org/abs/2403.02998"
    ),
    version=2,
    config=CDCFromConfig,
    build=Later("deep_clustering.methods.algorithms.cdc_from:CDCFrom"),
    restore=Later("deep_clustering.methods.algorithms.cdc_from:CDCFrom.restore"),
    needs=(Base(changes=_on),),
    presets=PRESETS,
    tuned=frozenset({"digits"}),
    by_side=by_side((12, "digits"), (48, "cifar10"), (223, "stl10"), other="imagenet10"),
    differences=DIFFERENCES,
)
