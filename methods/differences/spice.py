"""What is not certain about SPICE-self: the paper's text was not at hand, the release was."""

from deep_clustering.methods._method import Difference

DIFFERENCES = (
    Difference(
        topic="semi-supervised training after it, CDC's rows 'SPICE-3'",
        paper="FixMatch on labels that neighbours agree with",
        release="the same, with a WideResNet on small images",
        default='none: a run is what CDC calls "SPICE-2"',
    ),
    Difference(
        topic="pretraining",
        paper="MoCo v2",
        release="MoCo v2, one queue and one direction",
        default="MoCo v2+ as CDC trains it",
        field="pretrain.symmetric",
    ),
    Difference(
        topic="batch normalisation of the frozen encoder while heads learn",
        paper="not given",
        release="statistics of the batch, which update the running ones",
        default="the running ones of the pretraining, which stay: features are computed once",
    ),
    Difference(
        topic="view that labels",
        paper="weak augmentation",
        release="a view named weak; its crop is not known",
        default="a resized crop of 77 to 100 % of the area, and the mirror image",
        field="weak_crop",
    ),
    Difference(
        topic="features in which images are near a prototype",
        paper="the encoder's",
        release="the encoder's for the image as it is, of unit length, computed before",
        default="release",
    ),
    Difference(
        topic="image that is near two prototypes",
        paper="not given",
        release="learnt with both labels",
        default="release",
        field="label_share",
    ),
    Difference(
        topic="selection of head and epoch",
        paper="lowest loss on all images, without labels",
        release="the same; it also logs the best one by labels",
        default="release, by the loss alone",
        field="select_epoch",
    ),
    Difference(
        topic="normalisation",
        paper="not given",
        release="ImageNet's for all data sets",
        default="the data set's, as for all methods",
        field="pretrain.std",
    ),
)
