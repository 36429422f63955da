"""Where the RUC paper and its release differ, and which reading is the default here."""

from deep_clustering.methods._method import Difference

DIFFERENCES = (
    Difference(
        topic="strategy of the extraction",
        paper="three, each reported",
        release="hybrid alone",
        default="release; the suites name theirs",
        field="strategy",
    ),
    Difference(
        topic="batch size on CIFAR",
        paper="200",
        release="250",
        default="paper",
        field="batch_size",
    ),
    Difference(
        topic="composition of a batch",
        paper="B clean and B unclean images (Alg. 1)",
        release="one shuffled stream of B images, split by membership",
        default="release; the paper's is drawn anew for each step",
        field="batches",
    ),
    Difference(
        topic="last partial batch of a pass",
        paper="not mentioned",
        release="trained on",
        default="dropped, as everywhere here; an image without a turn has weight 0 in Eq. 9",
    ),
    Difference(
        topic="a half of a batch without images",
        paper="not mentioned",
        release="its mean is not a number and spoils the weights",
        default="its loss is 0",
    ),
    Difference(
        topic="comparison with the thresholds (Eqs. 3 and 18)",
        paper="above",
        release="at least",
        default="release",
        field="strict",
    ),
    Difference(
        topic="tau2 on CIFAR-10",
        paper="0.90 and 0.02 more every 40 epochs",
        release="0.99 throughout; the schedule is there and unused",
        default="paper",
        field="tau2",
    ),
    Difference(
        topic="when images are refurbished",
        paper="at the end of an epoch, by the surer network (Eq. 18); in Alg. 1 by the trained one",
        release="after every batch, by the trained network, on the clean view in training mode",
        default="release; 'epoch' is Eq. 18 in evaluation mode",
        field="refurbish",
    ),
    Difference(
        topic="distance of Eq. 7",
        paper="squared norm, mean over images",
        release="mean over images and clusters",
        default="release: the weights are meant for it",
        field="distance",
    ),
    Difference(
        topic="growth of lambda_U",
        paper="not mentioned",
        release="from a tenth to all of it over 200 epochs, however many there are",
        default="release, over the configured epochs",
        field="ramp",
    ),
    Difference(
        topic="epsilon of Eq. 8",
        paper="drawn from Uniform(0, 1) in the text, 0.5 in the settings",
        release="0.5",
        default="0.5",
        field="smoothing",
    ),
    Difference(
        topic="alpha, T and M of MixMatch",
        paper="symbols",
        release="4, 0.5 and 2",
        default="release",
        field="alpha",
    ),
    Difference(
        topic="weight of Eq. 9",
        paper="normalised confidence of the counter network",
        release="that of its last pass, in training mode; 0 in the first pass",
        default="release",
        field="co_refinement",
    ),
    Difference(
        topic="batch normalisation of predictions",
        paper="not mentioned",
        release="training mode for both networks; the running statistics of both follow",
        default="release",
        field="counter_statistics",
    ),
    Difference(
        topic="weights that the networks start from",
        paper="the base's with a new last layer, or a freshly pretrained backbone",
        release="the base's, after self-labelling, with new heads",
        default="release; where the base has no network, that of the pretraining whose features it "
        "clustered; random weights of each network's own where there is none, or one of a kind of "
        "its own as TSUC's two towers",
        field="start",
    ),
    Difference(
        topic="embedding of the nearest neighbours",
        paper="of an unsupervised embedding model",
        release="SimCLR's projection, 128 units",
        default="encoder of the base's pretraining, without its projection; the base's own "
        "features where it has no pretraining",
        field="embedding",
    ),
    Difference(
        topic="ties among the neighbours' votes",
        paper="not mentioned",
        release="arbitrary",
        default="the larger sum of similarities, then the smaller label",
    ),
    Difference(
        topic="prediction of both networks together",
        paper="not mentioned",
        release="the largest sum of their logits",
        default="the same cluster; its confidence is that of their mean logits, because a sum "
        "squares the odds",
        field="ensemble",
    ),
    Difference(
        topic="strong view",
        paper="two operations of RandAugment, magnitude 2",
        release="one strength for each operation, executed with probability 0.5; a grey square",
        default="release",
        field="cutout",
    ),
    Difference(
        topic="weak view",
        paper="random crop and flip",
        release="random resized crop of at least a fifth of the area, and flip",
        default="release",
        field="crop",
    ),
    Difference(
        topic="normalisation of STL-10",
        paper="not mentioned",
        release="statistics of CIFAR-10, though the base has those of ImageNet",
        default="those of the data set",
        field="std",
    ),
    Difference(
        topic="images of CIFAR",
        paper="60,000",
        release="the 50,000 of the training split, for training and scores",
        default="the data set's protocol; --protocol train is the release's",
    ),
    Difference(
        topic="matching of clusters and classes",
        paper="Hungarian",
        release="once before training, on the base's clusters",
        default="Hungarian at every evaluation; training never sees labels",
    ),
    Difference(
        topic="a cluster without a clean member",
        paper="not mentioned",
        release="disappears",
        default="an error, or its most confident members are kept",
        field="fewest",
    ),
    Difference(
        topic="without co-training (Table 2)",
        paper="not defined",
        release="not released",
        default="one network guesses alone, labels stay as they are, refurbishing goes on",
        field="co_training",
    ),
    Difference(
        topic="DivideMix (Fig. 3)",
        paper="no settings",
        release="not released",
        default="its division, refinement and penalty in this loop; batches are split by "
        "membership and the unlabelled weight grows as RUC's",
        field="selection",
    ),
)
