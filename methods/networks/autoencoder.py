"""A fully connected autoencoder on pixels, DPAC's other kind of encoder (Table 5b).

The layers are those of DEC (Xie, Girshick and Farhadi, ICML 2016), trained end to end.
"""

from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor, nn

from deep_clustering.methods.networks.encoders import Encoder, wide


class Pixels(Encoder):
    """Images (n, 3, S, S), flattened, to codes (n, dimension), which may be negative."""

    def __init__(self, side: int, hidden: Sequence[int], dimension: int) -> None:
        super().__init__()
        self.dimension = dimension
        self.layers = chain((3 * side * side, *hidden, dimension))

    def forward(self, x: Tensor) -> Tensor:
        return wide(self.layers(x.flatten(1)))


def chain(widths: Sequence[int]) -> nn.Sequential:
    """Linear layers of these widths with ReLU between them."""
    parts: list[nn.Module] = []
    for inside, outside in pairwise(widths):
        parts += [nn.Linear(inside, outside), nn.ReLU()]
    return nn.Sequential(*parts[:-1])


def decoder(side: int, hidden: Sequence[int], dimension: int) -> nn.Sequential:
    """Codes (n, dimension) to flattened images (n, 3 S S): the mirror of `Pixels`."""
    return chain((dimension, *reversed(hidden), 3 * side * side))


def reconstruction_error(decoded: Tensor, views: Tensor) -> Tensor:
    """Mean squared error (n,) over the pixels of each view (n, 3, S, S), given (n, 3 S S)."""
    return (wide(decoded) - views.flatten(1)).square().mean(1)
