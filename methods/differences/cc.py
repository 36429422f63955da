"""Where CC's paper and its release differ, and what its comparison in CDC's tables is."""

from deep_clustering.methods._method import Difference

DIFFERENCES = (
    Difference(
        topic="size of the images",
        paper="224 pixels for all data sets, with ImageNet's ResNet-34",
        release="the same",
        default="the images' own size, as CDC's comparison; the release's with its preset",
        field="side",
    ),
    Difference(
        topic="first layers of the network",
        paper="those for 224 pixels",
        release="the same",
        default="those for the size of the images; the release's with its preset",
        field="stem",
    ),
    Difference(
        topic="normalisation",
        paper="not given",
        release="none, pixels from 0 to 1",
        default="the data set's, as for all methods; the release's with its preset",
        field="std",
    ),
    Difference(
        topic="blur",
        paper="in the views; left out where images were small before they were enlarged",
        release="half of the views of ImageNet, none elsewhere",
        default="release",
        field="blur",
    ),
    Difference(
        topic="start of the network in CDC's tables",
        paper="random weights; CDC fine-tunes MoCo-v2's at a rate of 0.00005",
        release="random weights",
        default="random weights; rows of CDC's tables are of another start",
    ),
    Difference(
        topic="unlabelled images of STL-10",
        paper="100,000 images more for the loss of images",
        release="an epoch on all images for it, then one on the labelled ones for both losses",
        default="the images of the protocol, for both losses",
    ),
    Difference(
        topic="mean prediction of a cluster that is never chosen",
        paper="not given",
        release="0 log 0 is NaN",
        default="0 log 0 is 0",
    ),
)
