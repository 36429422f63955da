"""What methods that start from a finished run ask of it, whatever method it is of."""

import torch
from torch import Tensor, nn

from deep_clustering.methods._method import BaseOutputs
from deep_clustering.methods.learning.state import unpack


def check_outputs(base: BaseOutputs, clusters: int, index: Tensor) -> None:
    """The base has this many clusters, and says something about all images (n,) of an index.

    Raises:
        ValueError: it has not.
    """
    width = base.probabilities.shape[1]
    if width != clusters:
        raise ValueError(
            f"clusters: the base has {width} clusters, got {clusters}; set clusters={width}"
        )
    missing = int((~torch.isin(index, base.index)).sum())
    if missing:
        raise ValueError(
            f"the base says nothing about {missing} of the {len(index)} images that are "
            "trained on; choose a base of the same images and protocol"
        )


def take_encoder(base: BaseOutputs, network: nn.Module, backbone: str, otherwise: str = "") -> None:
    """Puts the weights of the base's encoder into a network of the kind `backbone`.

    Raises:
        ValueError: they are of another kind; `otherwise` says what can be done besides.
    """
    try:
        unpack(base.encoder, {"": network})
    except ValueError as error:
        raise ValueError(
            f"backbone: {backbone} is not the encoder of the base ({error}); "
            f"set backbone, stem and stem_padding to those of the base{otherwise}"
        ) from error
