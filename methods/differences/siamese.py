"""Where CDC's paper and the library that it trained SimSiam and BYOL with differ.

"Paper" is CDC's App. B.1, "release" the configurations for CIFAR of solo-learn, which CDC's release
takes over; what the two papers say themselves stands under the topics where it differs from both.
"""

from deep_clustering.methods._method import Difference

_BOTH = (
    Difference(
        topic="padding of the 3x3 stem",
        paper="2",
        release="1",
        default="release",
        field="pretrain.stem_padding",
    ),
    Difference(
        topic="weight decay",
        paper="0.0001 for all pretrainings",
        release="0.00001",
        default="paper",
        field="pretrain.weight_decay",
    ),
    Difference(
        topic="k-means behind the rows of CDC's Table 10",
        paper="not given",
        release="not given",
        default="Lloyd's algorithm from k-means++, the best of ten starts, on the encoder's "
        "features as they are",
        field="restarts",
    ),
    Difference(
        topic="confidence of a k-means cluster",
        paper="none; the table has no calibration error",
        release="none",
        default="the posterior of the mixture of equal spheres that k-means fits; it is not "
        "claimed to be calibrated",
    ),
)

OF_SIMSIAM = (
    *_BOTH,
    Difference(
        topic="projector",
        paper="one hidden layer of 4096 units, 256 dimensions",
        release="as SimSiam: two hidden layers of 2048 units, 2048 dimensions",
        default="release",
        field="pretrain.projector_layers",
    ),
    Difference(
        topic="units of the projector",
        paper="4096",
        release="2048",
        default="release",
        field="pretrain.projector_hidden",
    ),
    Difference(
        topic="dimensions of the projection",
        paper="256",
        release="2048",
        default="release",
        field="pretrain.projector_dimension",
    ),
    Difference(
        topic="batch normalisation of the projection",
        paper="not given",
        release="as SimSiam, without weights",
        default="release",
        field="pretrain.projection_norm",
    ),
    Difference(
        topic="predictor",
        paper="none named",
        release="as SimSiam: one hidden layer of 512 units, whose rate stays",
        default="release",
        field="pretrain.predictor_decays",
    ),
    Difference(
        topic="learning rate",
        paper="0.5 per 256 images; SimSiam's own is 0.05, and 0.03 on CIFAR",
        release="0.5",
        default="0.5",
        field="pretrain.learning_rate",
    ),
    Difference(
        topic="blur on CIFAR",
        paper="none",
        release="not known for SimSiam",
        default="paper",
        field="pretrain.blur",
    ),
)

OF_BYOL = (
    *_BOTH,
    Difference(
        topic="learning rate",
        paper="0.5 per 256 images",
        release="1.0",
        default="paper",
        field="pretrain.learning_rate",
    ),
    Difference(
        topic="momentum of the target network in the first step",
        paper="0.996",
        release="0.99",
        default="paper",
        field="pretrain.momentum_start",
    ),
    Difference(
        topic="views",
        paper="one kind for all pretrainings; inverted pixels are not named",
        release="two kinds, as BYOL: the second one with inverted pixels in a fifth of the images",
        default="release",
        field="pretrain.solarise",
    ),
    Difference(
        topic="strength of the jitter of the saturation",
        paper="one for all pretrainings",
        release="0.2",
        default="paper",
        field="pretrain.saturation",
    ),
    Difference(
        topic="length of LARS's steps",
        paper="not given; BYOL: 0.001",
        release="0.02, never longer than SGD's",
        default="release",
        field="pretrain.trust",
    ),
)
