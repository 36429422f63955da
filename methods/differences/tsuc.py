"""Where TSUC's paper and release differ, and what stands here where neither says."""

from deep_clustering.methods._method import Difference

DIFFERENCES = (
    Difference(
        topic="what is told apart within a batch, in the rounds",
        paper="embeddings",
        release="their cosines with the whole memory, scaled to unit length",
        default="embeddings, as with the heads",
    ),
    Difference(
        topic="length of the prototypes",
        paper="unit",
        release="each dimension is scaled to unit length over the clusters",
        default="paper",
    ),
    Difference(
        topic="which view an image is remembered by",
        paper="not given",
        release="both are written to one place, and one of them stays",
        default="the second one",
    ),
    Difference(
        topic="input of the tower that sees edges",
        paper="two channels: Sobel's filters on the mean of the normalised channels",
        release="the same",
        default="the same, and a third channel that is 0, so that both towers are of one kind",
        field="edges",
    ),
    Difference(
        topic="first decay of the learning rate",
        paper="at epoch 80",
        release="at epoch 120: counted from 80, after the first 40",
        default="release",
        field="decay_start",
    ),
    Difference(
        topic="which head counts",
        paper="the one with the lowest training loss; the release's differ by up to 20 points",
        release="all are told",
        default="paper, by the mean over an epoch",
        field="heads",
    ),
    Difference(
        topic="images of STL-10",
        paper="all for the embedding, the 13,000 labelled ones for the heads",
        release="CIFAR only",
        default="the images of the protocol for both",
    ),
    Difference(
        topic="RUC on it",
        paper="not given which network is retrained, which head and which embedding are taken",
        release="none",
        default="its final head, its embedding, and a fresh network, as the plan says",
    ),
)
