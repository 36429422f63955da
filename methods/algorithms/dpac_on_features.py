"""DPAC's head on the features of a frozen encoder, whose views of each image are kept."""

from typing import Unpack

import torch
from torch import Tensor, nn

from deep_clustering.methods.algorithms.dpac import DPAC
from deep_clustering.methods.compute.replicas import Replicas
from deep_clustering.methods.dpac import DPACConfig
from deep_clustering.methods.images.pictures import Frame
from deep_clustering.methods.images.stacks import Cached, Stacks
from deep_clustering.methods.images.view import View
from deep_clustering.methods.learning.learner import Context
from deep_clustering.methods.networks.encoders import Encoder, Seen
from deep_clustering.methods.pretraining.representation import Surroundings


class Kept:
    """Nothing is learnt beside the clusters: a loss of 0 on views that are kept."""

    def __init__(self, views: dict[str, View]) -> None:
        self.views = views
        self.trained: dict[str, nn.Module] = {}
        self.modules: dict[str, nn.Module] = {}

    def loss(self, features: Tensor, views: Tensor, predictions: Tensor) -> tuple[Tensor, Tensor]:
        """Zero, and zero."""
        zero = torch.zeros((), device=features.device)
        return zero, zero

    def follow(self, step: int) -> None:
        """Nothing follows."""


class DPACOnFeatures(DPAC):
    """As `DPAC`: targets of each batch, head and self-labelling; the encoder stays as it is.

    Args:
        config: the method; of its pretraining the shares and operations of the views play a part.
        context: its images are `Stacks` of a clean view, `config.views` weak and, where heads are
            given them, as many strong ones; for prediction, of the clean one.
    """

    def __init__(self, config: DPACConfig, **context: Unpack[Context]) -> None:
        images = context["images"]
        assert isinstance(images, Stacks)
        self._dimension = images.dimension
        super().__init__(config, **context)

    def _clean_view(self, enlargement: float | None, frame: Frame) -> View:
        return Cached(0)

    def _build_encoder(self, side: int, replicas: Replicas) -> Encoder:
        return Seen(self._dimension)

    def _represented(self, around: Surroundings) -> Kept:
        kept = self.config.views
        views: dict[str, View] = {"weak": Cached(1, kept)}
        if self.config.strong_views:
            views["strong"] = Cached(1 + kept, kept)
        return Kept(views)
