"""CDC on the encoder and the clusters of a finished run."""

from typing import Unpack

import torch
from torch import Tensor

from deep_clustering.methods._method import BaseOutputs
from deep_clustering.methods.algorithms.cdc import CDC
from deep_clustering.methods.cdc_from import CDCFromConfig
from deep_clustering.methods.learning.base import check_outputs, take_encoder
from deep_clustering.methods.learning.learner import Context


class CDCFrom(CDC):
    """CDC that goes on from a base; see `CDC`.

    Args:
        config: the method.
        base: what the finished run says; None only for a model that is restored.
        context: see `Context`.

    Raises:
        ValueError: a batch that the processes cannot share; a base without an encoder, with one of
            another kind, with another number of clusters, or without some of the images.
    """

    config: CDCFromConfig

    def __init__(
        self,
        config: CDCFromConfig,
        *,
        base: BaseOutputs | None = None,
        **context: Unpack[Context],
    ) -> None:
        super().__init__(config, **context)
        self._base = base
        if base is None:
            return
        if not base.encoder:
            raise ValueError(
                "base: it has trained no network, and CDC goes on with one; choose a base that "
                "trains networks"
            )
        check_outputs(base, config.clusters, self._index)
        take_encoder(base, self._encoder, config.backbone)

    def _given_labels(self, features: Tensor) -> Tensor | None:
        if self.config.start == "features":
            return super()._given_labels(features)
        assert self._base is not None
        rows = torch.searchsorted(self._base.index, self._index)
        return self._base.probabilities[rows].argmax(1).to(self._device)
