"""Pretraining of a fully connected autoencoder on clean images (DPAC, Table 5b)."""

from typing import Unpack

from torch import Tensor, nn

from deep_clustering.methods.compute.random import seeded
from deep_clustering.methods.learning.learner import Context, adam, descend
from deep_clustering.methods.networks.autoencoder import Pixels, decoder, reconstruction_error
from deep_clustering.methods.networks.encoders import features_of, place
from deep_clustering.methods.pretraining.configs import AutoencoderConfig
from deep_clustering.methods.pretraining.pretraining import Pretraining


class Autoencoder(Pretraining):
    """Training of encoder and decoder on the clean images, with Adam; see `Pretraining`."""

    def __init__(self, config: AutoencoderConfig, **context: Unpack[Context]) -> None:
        super().__init__(
            config,
            lambda side, replicas: Pixels(side, config.hidden, config.dimension),
            enlargement=config.enlargement,
            frame=config.frame,
            **context,
        )
        self.config = config
        with seeded(self._seed, "decoder"):
            self._decoder = decoder(self._side, config.hidden, config.dimension)
        place(self._decoder, self._device)
        trained = [*self._encoder.parameters(), *self._decoder.parameters()]
        self._optimiser = adam((trained, config.learning_rate), weight_decay=config.weight_decay)

    def step(self, indices: Tensor) -> dict[str, Tensor]:
        """One Adam step on a global batch (batch_size,).

        Returns:
            `loss`, the mean squared error of a pixel in units of the normalisation.
        """
        pictures = self._images.take(self._mine(indices))
        view = self._viewed(self._clean, pictures, self._generator)
        with self._autocast():
            decoded = self._decoder(features_of(self._encoder, view))
        # Divided by the global number, so that gradients add up over the ranks.
        loss = reconstruction_error(decoded, view).sum() / self.batch_size
        descend(loss, self._optimiser, self._replicas, self._loss_scale)
        self._steps += 1
        return {"loss": self._replicas.total(loss)}

    def _networks(self) -> dict[str, nn.Module]:
        return {"encoder": self._encoder, "decoder": self._decoder}
