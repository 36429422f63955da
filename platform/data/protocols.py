"""Which samples are trained on and which are scored: the protocol, which is part of a dataset.

A prepared dataset says of each sample which split it is in: TRAIN, TEST or UNLABELLED. A protocol
turns that into indices. Pretraining uses what is trained on, and the unlabelled samples as well.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from deep_clustering.platform.errors import InputError, nearest

TRAIN, TEST, UNLABELLED = 0, 1, 2

#: Name of each protocol -> what it means, and which paper uses it.
PROTOCOLS: Mapping[str, str] = {
    "all": "trained on and scored: train and test together (CDC, DPAC)",
    "test": "trained on and scored: the test split (PAC on MNIST)",
    "train-test": "trained on the train split, scored on the test split (SCAN)",
    "train-val": "the same where the held-out split is called validation (ImageNet-50/100/200)",
    "train": "trained on and scored: the train split (RUC on CIFAR; CDC on ImageNet subsets)",
}

#: The protocols that score samples that are not trained on.
HELD_OUT = ("train-test", "train-val")


@dataclass(frozen=True, kw_only=True)
class Indices:
    """The samples that a protocol uses, each int64 and ascending."""

    train: np.ndarray  # trained on
    score: np.ndarray  # scored
    pretrain: np.ndarray  # for pretraining


def indices(split: np.ndarray, protocol: str) -> Indices:
    """The samples that a protocol uses.

    Args:
        split: of each sample, uint8 (N,).
        protocol: a name of `PROTOCOLS`.
    """
    if protocol == "all":
        trained = split != UNLABELLED
    else:
        trained = split == (TEST if protocol == "test" else TRAIN)
    scored = split == TEST if protocol in HELD_OUT else trained
    return Indices(
        train=np.flatnonzero(trained),
        score=np.flatnonzero(scored),
        pretrain=np.flatnonzero(trained | (split == UNLABELLED)),
    )


def chosen(name: str, protocol: str | None, having: tuple[str, ...]) -> str:
    """The protocol to use: the one asked for, or the first of those that the dataset has.

    Raises:
        InputError: the dataset `name` does not have this protocol.
    """
    if protocol is None:
        return having[0]
    if protocol not in having:
        raise InputError(
            f"{name} has the protocols {', '.join(having)}, and {protocol!r} was asked for."
            f"{nearest(protocol, having)}"
        )
    return protocol
