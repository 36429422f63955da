"""Configurations of the pretrainings, without the networks that they train.

What a configuration is of, and the works that its origins cite, is in the file of its name: `moco`,
`simclr`, `pretext`, `autoencoder`, `simsiam`, `byol`; `PretrainConfig` is of `representation`.
Nothing here imports PyTorch, so that a command that only lists loads none.
"""

from dataclasses import dataclass
from typing import Literal, Protocol

from deep_clustering.methods._fields import (
    Backbone,
    Channels,
    Frame,
    Normalised,
    Precision,
    Rule,
    ScaledPrecision,
    Sized,
    Stem,
    StemWeights,
    check,
    choice,
    doc,
    normalisation,
    not_negative,
    part,
    positive,
    share,
    sizes,
)


class _OfViews(Normalised, Sized, Protocol):
    """What every pretraining on random views has."""

    @property
    def crop_scale(self) -> float: ...

    @property
    def seed(self) -> int | None: ...


def _of_views(config: _OfViews) -> list[Rule]:
    """Rules of the side of the views, their crop and normalisation, and the seed."""
    seed = config.seed
    return [
        *normalisation(config),
        *sizes(config),
        *part(config, "crop_scale"),
        Rule(seed is None or seed >= 0, "seed", "must be none or not negative"),
    ]


@dataclass(frozen=True, kw_only=True, slots=True)
class MoCoConfig:
    """Pretraining; the origins are CDC's App. B.1 and, for what it leaves out, its release."""

    backbone: Backbone = doc("resnet34", "App. B.1")
    stem_padding: int = doc(1, "pixels, of the 3x3 stem; release 1, App. B.1 writes 2")
    side: int | None = doc(None, "pixels, of the views; None is the images' own")
    frame: Frame = doc(
        "whole",
        'what views are cut from; release. "centre": the centred square of a photograph',
        added=True,
    )
    enlargement: float | None = doc(
        None,
        "clean view: middle of the image at this multiple of side; None takes it as stored",
        added=True,
    )
    epochs: int = doc(1000, "passes over the data; App. B.1")
    batch_size: int = doc(256, "images per step; App. B.1")
    learning_rate: float = doc(0.5, "SGD, per 256 images of a batch; App. B.1")
    warmup_epochs: int = doc(50, "linear, per step; App. B.1")
    warmup_rate: float = doc(3e-5, "learning rate of the first step; release")
    warmup_closed: bool = doc(
        False, "the last step of the warm-up has the full rate, not the one after it; release: true"
    )
    weight_decay: float = doc(1e-4, "on all parameters; App. B.1")
    sgd_momentum: float = doc(0.9, "release")
    queue_size: int = doc(32768, "keys of each queue; App. B.1")
    temperature: float = doc(0.2, "App. B.1")
    momentum_start: float = doc(0.99, "of the key encoder, first step; App. B.1")
    momentum_end: float = doc(
        0.999, "last step, cosine between; release (App. B.1 writes 0.99 only)"
    )
    projector_hidden: int = doc(4096, "units; App. B.1")
    projector_dimension: int = doc(256, "units; App. B.1")
    projector_norm: bool = doc(False, "batch normalisation; none in the release, App. B.1 has it")
    symmetric: bool = doc(True, "each view is query and key, two queues; release")
    crop_scale: float = doc(0.08, "smallest area of the random crop, share of the image; release")
    jitter: float = doc(0.8, "probability of the colour jitter; release")
    grey: float = doc(0.2, "probability of grey; release")
    blur: float = doc(0.5, "probability of the blur; App. B.1 has none on CIFAR")
    flip: float = doc(0.5, "probability of the mirror image; release")
    mean: Channels | None = doc(None, "of the normalisation; None is the data set's")
    std: Channels | None = doc(None, "of the normalisation; None is the data set's")
    precision: ScaledPrecision = "fp32"
    seed: int | None = doc(5, "release; None is the run's own, one pretraining for every seed")

    def __post_init__(self) -> None:
        check(
            self,
            [
                *choice(self, backbone=Backbone, frame=Frame, precision=ScaledPrecision),
                *positive(self, "epochs", "batch_size", "learning_rate", "queue_size"),
                *positive(self, "temperature", "projector_hidden", "projector_dimension"),
                *not_negative(self, "stem_padding", "warmup_epochs", "warmup_rate"),
                *not_negative(self, "weight_decay"),
                *share(self, "sgd_momentum", "momentum_start", "momentum_end"),
                *share(self, "jitter", "grey", "blur", "flip"),
                *_of_views(self),
                Rule(
                    self.warmup_epochs < self.epochs,
                    "warmup_epochs",
                    f"must be below epochs ({self.epochs})",
                ),
                Rule(
                    self.batch_size > 0 and self.queue_size % self.batch_size == 0,
                    "queue_size",
                    f"must be a multiple of batch_size ({self.batch_size})",
                ),
            ],
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class SimCLRConfig:
    """Pretraining; defaults are those of CIFAR-10. "Paper" and "release" are DPAC's."""

    backbone: Backbone = doc("resnet34", "Sec. 4.2")
    stem: Stem = doc("side", 'first layers of a ResNet; "pooled" on STL-10, release')
    stem_padding: int = doc(1, "pixels, of the 3x3 stem; release")
    stem_weights: StemWeights = doc("fan-out", "fresh weights of the 3x3 stem; release")
    side: int | None = doc(None, "pixels, of the views; None is the images' own")
    frame: Frame = doc(
        "whole",
        "of a photograph: the weak view crops it, the others squash it; release. "
        '"centre": its centred square in all views',
        added=True,
    )
    enlargement: float = doc(
        1.25, "clean view: middle of the image at this multiple of side; release"
    )
    epochs: int = doc(1000, "passes over the data; Sec. 4.2")
    batch_size: int = doc(240, "images per step; Sec. 4.2")
    learning_rate: float = doc(1e-4, "Adam, constant; Sec. 4.2")
    weight_decay: float = doc(1e-4, "L2, Adam, all parameters; Sec. 4.2")
    temperature: float = doc(0.5, "Sec. 4.2")
    projector_hidden: int = doc(512, "units of each of the two hidden layers; release")
    projector_dimension: int = doc(128, "units; release")
    crop_scale: float = doc(0.2, "smallest area of the random crop, share, weak view; release")
    jitter: float = doc(0.8, "probability of the colour jitter, weak view; SimCLR, s = 0.5")
    grey: float = doc(0.2, "probability of grey, weak view; SimCLR")
    blur: float = doc(0.0, "probability of the blur, weak view; release: 0.5 on larger images")
    flip: float = doc(0.5, "probability of the mirror image, both views; release")
    strong_crop: float = doc(
        1.0, "smallest area of the random crop, strong view; 1 is none, release"
    )
    operations: int = doc(4, "random operations of the strong view; Sec. 4.2")
    cutout: int = doc(16, "largest side of the hole in the strong view, pixels; release")
    mean: Channels | None = doc(None, "of the normalisation; None is the data set's")
    std: Channels | None = doc(None, "of the normalisation; None is the data set's")
    precision: ScaledPrecision = "fp32"
    seed: int | None = doc(0, "None is the run's own; otherwise one pretraining for every seed")

    def __post_init__(self) -> None:
        check(
            self,
            [
                *choice(self, backbone=Backbone, stem=Stem, precision=ScaledPrecision),
                *choice(self, stem_weights=StemWeights, frame=Frame),
                *positive(self, "epochs", "batch_size", "learning_rate", "temperature"),
                *positive(self, "projector_hidden", "projector_dimension"),
                *not_negative(self, "stem_padding", "weight_decay", "operations", "cutout"),
                *share(self, "jitter", "grey", "blur", "flip"),
                *_of_views(self),
                *part(self, "strong_crop"),
            ],
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class PretextConfig:
    """Pretraining; defaults are those of CIFAR-10, all of them SCAN's release."""

    backbone: Backbone = doc("resnet18", "encoder; a ResNet-50 on ImageNet")
    stem: Stem = doc("side", 'first layers of a ResNet; "pooled" on STL-10')
    side: int | None = doc(None, "pixels, of the views; None is the images' own")
    frame: Frame = doc(
        "whole",
        'what views are cut from; "centre": the centred square of a photograph',
        added=True,
    )
    enlargement: float | None = doc(
        None,
        "clean view: middle of the image at this multiple of side; None takes it as stored",
        added=True,
    )
    epochs: int = doc(500, "passes over the data")
    batch_size: int = doc(512, "images per step")
    learning_rate: float = doc(0.4, "SGD, first epoch")
    final_rate: float = doc(
        1e-3, "share of the learning rate that a cosine ends with, epoch by epoch"
    )
    sgd_momentum: float = doc(0.9, "momentum, not Nesterov's")
    weight_decay: float = doc(1e-4, "L2, all parameters")
    temperature: float = doc(0.1, "of the contrastive loss")
    symmetric: bool = doc(False, "both views are anchors, as in SimCLR; release: the first alone")
    projector_hidden: int = doc(512, "units")
    projector_dimension: int = doc(128, "units")
    projector_norm: bool = doc(False, "batch normalisation in the projector")
    crop_scale: float = doc(0.2, "smallest area of the random crop, share of the image")
    jitter: float = doc(0.8, "probability of the colour jitter")
    grey: float = doc(0.2, "probability of grey")
    flip: float = doc(0.5, "probability of the mirror image")
    mine_projection: bool = doc(
        True, "neighbours by the projection; False: by the encoder's features"
    )
    mean: Channels | None = doc(None, "of the normalisation; None is the data set's")
    std: Channels | None = doc(None, "of the normalisation; None is the data set's")
    precision: Precision = "fp32"
    seed: int | None = doc(0, "None is the run's own; otherwise one pretraining for every seed")

    def __post_init__(self) -> None:
        check(
            self,
            [
                *choice(self, backbone=Backbone, stem=Stem, frame=Frame, precision=Precision),
                *positive(self, "epochs", "batch_size", "learning_rate", "temperature"),
                *positive(self, "projector_hidden", "projector_dimension"),
                *not_negative(self, "weight_decay"),
                *share(self, "final_rate", "sgd_momentum", "jitter", "grey", "flip"),
                *_of_views(self),
            ],
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class SiameseConfig:
    """What SimSiam and BYOL share; "App. B.1" is CDC's, "solo-learn" the library that it names."""

    backbone: Backbone = doc("resnet34", "App. B.1")
    stem_padding: int = doc(1, "pixels, of the 3x3 stem; CDC's release 1, App. B.1 writes 2")
    side: int | None = doc(None, "pixels, of the views; None is the images' own")
    frame: Frame = doc("whole", 'what views are cut from; "centre": the square of a photograph')
    enlargement: float | None = doc(
        None, "clean view: middle of the image at this multiple of side; None takes it as stored"
    )
    epochs: int = doc(1000, "passes over the data; App. B.1")
    batch_size: int = doc(256, "images per step; App. B.1")
    learning_rate: float = doc(0.5, "per 256 images of a batch; App. B.1")
    warmup_epochs: int = doc(50, "linear, per step; App. B.1")
    warmup_rate: float = doc(3e-5, "learning rate of the first step; solo-learn")
    weight_decay: float = doc(1e-4, "L2; App. B.1 (solo-learn 1e-5)")
    sgd_momentum: float = doc(0.9, "of the optimiser; solo-learn")
    crop_scale: float = doc(0.08, "smallest area of the random crop, share of the image; MoCo's")
    jitter: float = doc(0.8, "probability of the colour jitter; solo-learn")
    saturation: float = doc(0.4, "strength of the jitter of the saturation; App. B.1: one for all")
    grey: float = doc(0.2, "probability of grey; solo-learn")
    flip: float = doc(0.5, "probability of the mirror image; solo-learn")
    mean: Channels | None = doc(None, "of the normalisation; None is the data set's")
    std: Channels | None = doc(None, "of the normalisation; None is the data set's")
    precision: Precision = "fp32"
    seed: int | None = doc(5, "CDC's release; None is the run's own")

    def __post_init__(self) -> None:
        check(
            self,
            [
                *choice(self, backbone=Backbone, frame=Frame, precision=Precision),
                *positive(self, "epochs", "batch_size", "learning_rate"),
                *not_negative(self, "stem_padding", "warmup_epochs", "warmup_rate"),
                *not_negative(self, "weight_decay"),
                *share(self, "sgd_momentum", "jitter", "saturation", "grey", "flip"),
                *_of_views(self),
                Rule(
                    self.warmup_epochs < self.epochs,
                    "warmup_epochs",
                    f"must be below epochs ({self.epochs})",
                ),
            ],
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class SimSiamConfig(SiameseConfig):
    """Pretraining; "Sec." and "App. D" are SimSiam's."""

    projector_layers: int = doc(2, "hidden, with batch normalisation; Sec. 3 (App. B.1: 1)")
    projector_hidden: int = doc(2048, "units of each; Sec. 3 (App. B.1: 4096)")
    projector_dimension: int = doc(2048, "units; Sec. 3 (App. B.1: 256)")
    projection_norm: bool = doc(
        True, "batch normalisation of the projection, without weights; Sec. 3, solo-learn"
    )
    predictor_hidden: int = doc(512, "units; Sec. 3 (App. B.1 names no predictor)")
    predictor_decays: bool = doc(
        False, "whether the predictor's rate follows the schedule; Sec. 4.2: it stays"
    )
    blur: float = doc(0.5, "probability of the blur; App. B.1 has none on CIFAR")

    def __post_init__(self) -> None:
        SiameseConfig.__post_init__(self)
        check(
            self,
            [
                *not_negative(self, "projector_layers"),
                *positive(self, "projector_hidden", "projector_dimension", "predictor_hidden"),
                *share(self, "blur"),
            ],
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class BYOLConfig(SiameseConfig):
    """Pretraining; "Sec." and "App." are BYOL's unless they name CDC."""

    projector_hidden: int = doc(4096, "units; Sec. 3.2, App. B.1 of CDC")
    projector_dimension: int = doc(256, "units; Sec. 3.2, App. B.1 of CDC")
    predictor_hidden: int = doc(4096, "units; Sec. 3.2, App. B.1 of CDC")
    momentum_start: float = doc(0.996, "of the target network, first step; Sec. 3.2, CDC's B.1")
    momentum_end: float = doc(1.0, "last step, cosine between; Sec. 3.2")
    trust: float = doc(0.02, "LARS: step relative to the weights, eta; solo-learn (Sec. 3.2: 1e-3)")
    clip_trust: bool = doc(True, "LARS never enlarges a step; solo-learn")
    blur: float = doc(1.0, "probability, first view; App. B (none on CIFAR: CDC's B.1)")
    second_blur: float = doc(0.1, "probability, second view; App. B")
    solarise: float = doc(0.2, "probability of inverted bright pixels, second view; App. B")

    def __post_init__(self) -> None:
        SiameseConfig.__post_init__(self)
        check(
            self,
            [
                *positive(self, "projector_hidden", "projector_dimension", "predictor_hidden"),
                *positive(self, "trust"),
                *share(self, "momentum_start", "momentum_end", "blur", "second_blur", "solarise"),
            ],
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class AutoencoderConfig:
    """Pretraining; the paper gives nothing but "autoencoder"."""

    hidden: tuple[int, ...]  # units of the encoder's hidden layers; the decoder mirrors them
    dimension: int  # of the code
    side: int | None  # pixels, of the views; None is the images' own
    enlargement: float  # clean view: middle of the image at this multiple of side
    frame: Frame  # of a photograph, that the clean view is made of
    epochs: int  # passes over the data
    batch_size: int  # images per step
    learning_rate: float  # Adam, constant
    weight_decay: float  # L2, Adam, all parameters
    mean: Channels | None  # of the normalisation; None is the data set's
    std: Channels | None  # of the normalisation; None is the data set's
    precision: ScaledPrecision
    seed: int | None  # None is the run's own


Framework = Literal["simclr", "moco", "autoencoder"]


@dataclass(frozen=True, kw_only=True, slots=True)
class PretrainConfig(SimCLRConfig):
    """SimCLR, or in its place MoCo or an autoencoder on the same images, epochs and batches."""

    framework: Framework = doc("simclr", 'Sec. 4.2; "moco": Table 5a, "autoencoder": Table 5b')
    moco_queue: int = doc(18, 'batches of keys in each queue, "moco"; ours, 4,320 keys')
    moco_temperature: float = doc(0.2, 'of "moco"; MoCo v2')
    moco_learning_rate: float = doc(0.5, 'SGD, per 256 images of a batch, "moco"; as CDC trains it')
    code_hidden: tuple[int, int, int] = doc((500, 500, 2000), 'units, "autoencoder"; DEC')
    code_dimension: int = doc(10, 'units of the code, "autoencoder"; DEC')

    def __post_init__(self) -> None:
        SimCLRConfig.__post_init__(self)
        check(
            self,
            [
                *choice(self, framework=Framework),
                *positive(self, "moco_queue", "moco_temperature", "moco_learning_rate"),
                *positive(self, "code_dimension"),
                Rule(
                    len(self.code_hidden) == 3 and min(self.code_hidden) > 0,
                    "code_hidden",
                    "must be three numbers above 0",
                ),
            ],
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class CentresConfig:
    """K-means on the features of a pretraining, which is the field `pretrain` of what derives."""

    clusters: int = doc(10, "K; the platform sets it from the data set")
    restarts: int = doc(10, "k-means starts, the best by inertia is kept; scikit-learn, ours")
    batch_size: int = doc(256, "images; nothing is trained after the pretraining")
    precision: Precision = "fp32"

    @property
    def epochs(self) -> int:
        """None: the pretraining is a stage of its own, and k-means takes all images at once."""
        return 0

    def __post_init__(self) -> None:
        check(
            self,
            [
                *positive(self, "clusters", "restarts", "batch_size"),
                *choice(self, precision=Precision),
            ],
        )
