"""CDC's heads on the features of a frozen encoder, whose views of each image are kept."""

from typing import Unpack

from deep_clustering.methods.algorithms.cdc import CDC
from deep_clustering.methods.cdc import CDCConfig
from deep_clustering.methods.compute.replicas import Replicas
from deep_clustering.methods.images.pictures import Frame
from deep_clustering.methods.images.stacks import Cached, Stacks
from deep_clustering.methods.images.view import View
from deep_clustering.methods.learning.learner import Context
from deep_clustering.methods.networks.encoders import Encoder, Seen


class CDCOnFeatures(CDC):
    """As `CDC`: both heads, mini-clusters, selection and losses; the encoder stays as it is.

    Args:
        config: the method; what it says of pretraining, encoder and sides plays no part.
        context: its images are `Stacks` of a clean view, `config.views` weak and as many strong
            ones; for prediction, of the clean one.
    """

    def __init__(self, config: CDCConfig, **context: Unpack[Context]) -> None:
        images = context["images"]
        assert isinstance(images, Stacks)
        self._dimension, self._kept = images.dimension, config.views
        super().__init__(config, **context)

    def _clean_view(self, enlargement: float | None, frame: Frame) -> View:
        return Cached(0)

    def _build_encoder(self, side: int, replicas: Replicas) -> Encoder:
        return Seen(self._dimension)

    def _views(self) -> tuple[View, View]:
        return Cached(1, self._kept), Cached(1 + self._kept, self._kept)
