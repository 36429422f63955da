"""A perceptron with batch normalisation: projectors and heads."""

from torch import nn

from deep_clustering.methods.compute.replicas import Replicas
from deep_clustering.methods.networks.batchnorm import BatchNorm


def perceptron(
    inside: int, hidden: int, outside: int, *, layers: int, norm: bool, replicas: Replicas
) -> nn.Sequential:
    """Vectors (n, inside) to (n, outside) over `layers` hidden layers of `hidden` units.

    Each is linear, batch normalisation over all ranks (if `norm`), ReLU; the last map is linear.
    """
    parts: list[nn.Module] = []
    for _ in range(layers):
        parts.append(nn.Linear(inside, hidden))
        parts += [BatchNorm(hidden, replicas=replicas)] if norm else []
        parts.append(nn.ReLU(inplace=True))
        inside = hidden
    return nn.Sequential(*parts, nn.Linear(inside, outside))
