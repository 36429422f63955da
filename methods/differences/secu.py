"""What is not certain about SeCu: the paper's text was not at hand, the author's release was."""

from deep_clustering.methods._method import Difference

DIFFERENCES = (
    Difference(
        topic="self-labelling, CDC's rows 'SeCu' and DPAC's with a dagger",
        paper="after the training, as SCAN's",
        release="none",
        default='none: a run is what CDC calls "SeCu-Size"',
    ),
    Difference(
        topic="confidence",
        paper="not given",
        release="no evaluation",
        default="softmax of the cosines over the temperature that images are told apart by",
        field="temperature",
    ),
    Difference(
        topic="which grouping is scored",
        paper="the one with as many clusters as classes",
        release="no evaluation; the first one has as many",
        default="the first one",
        field="groupings",
    ),
    Difference(
        topic="images of a batch in the constraint",
        paper="one after the other",
        release="all at once, with the prices and counts before the batch",
        default="release",
        field="constraint",
    ),
    Difference(
        topic="entropy constraint in the first epoch, before any image is counted",
        paper="not given",
        release="the nearest centre",
        default="release",
        field="entropy_price",
    ),
    Difference(
        topic="last batch of an epoch",
        paper="not given",
        release="a smaller one is a step too",
        default="dropped, as for all methods; its images keep their labels",
        field="batch_size",
    ),
    Difference(
        topic="normalisation",
        paper="not given",
        release="CIFAR-100's on CIFAR-20, ImageNet's on STL-10",
        default="the data set's, as for all methods; the release's with its preset",
        field="std",
    ),
    Difference(
        topic="backbone in CDC's tables",
        paper="ResNet-18; ResNet-34 in CDC's comparison",
        release="ResNet-18",
        default="release",
        field="backbone",
    ),
    Difference(
        topic="second stage on STL-10, on the labelled images",
        paper="not known",
        release='a file "stage 1" on all images; none of a second stage',
        default="one stage, on the images of the protocol",
    ),
)
