"""The prototype initialisation of CDC's two heads.

"Towards Calibrated Deep Clustering Network" (ICLR 2025), Sec. 3.4: the rows of both weight
matrices are cluster centres, first of the features, then of the hidden activations these produce,
pushed apart afterwards. The paper gives the idea in a few sentences; the constants are those of
the authors' release.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from deep_clustering.methods.clustering.kmeans import kmeans

_BATCH_NORM_EPS = 1e-5  # of the untrained BatchNorm between the layers; mean 0 and variance 1
_STEPS = 2000  # SGD steps of `spread`, release; with the four below
_LEARNING_RATE = 0.1
_MOMENTUM = 0.9
_WEIGHT_DECAY = 1e-4
_SCALE = 5.0  # factor on the cosines before the softmax


def standardise(x: Tensor) -> Tensor:
    """Each row of `x` (n, d) minus its own mean, then scaled to unit length.

    Euclidean distances between such rows measure the correlation of the originals (dividing by the
    standard deviation first would cancel). A constant row becomes zero.
    """
    centred = x - x.mean(1, keepdim=True)
    # A constant row leaves rounding errors of the mean; unit length would blow them up to a signal.
    noise = x.abs().amax(1, keepdim=True) * (torch.finfo(x.dtype).eps * math.sqrt(x.shape[1]))
    length = torch.linalg.vector_norm(centred, dim=1, keepdim=True)
    return torch.where(length <= noise, 0.0, centred / length)


@torch.no_grad()
def spread(weight: Tensor, *, steps: int = _STEPS) -> Tensor:
    """Push the rows of `weight` (n, d) apart, row i staying the prototype of row i.

    Two free copies Z and V minimise, full batch,

        mean_i CE(5 cos(relu(Z_i), V_j) over j = 1..n; label i)

    by SGD (rate 0.1 annealed to 0 by a cosine, momentum 0.9, weight decay 1e-4). The method's
    authors call this orthogonalisation; its minimum is a simplex, all cosines -1/(n-1), where
    n <= d + 1 allows one. Returns V (n, d), whose rows keep about 0.9 of their length. A row of
    zeros has no direction and stays zero. Deterministic on one device.
    """
    n = len(weight)
    z, v = weight.detach().float().clone(), weight.detach().float().clone()
    z_momentum, v_momentum = torch.zeros_like(z), torch.zeros_like(v)
    target = torch.eye(n, device=weight.device)
    with torch.autocast(weight.device.type, enabled=False):
        for step in range(steps):
            rate = _LEARNING_RATE * (1 + math.cos(math.pi * step / steps)) / 2
            queries, query_scale = _unit(z.relu())
            keys, key_scale = _unit(v)
            # d loss / d cosine of the mean cross-entropy
            slope = F.softmax(_SCALE * (queries @ keys.T), dim=1).sub_(target).mul_(_SCALE / n)
            z_slope = _through_unit(slope @ keys, queries, query_scale).mul_(z > 0)
            v_slope = _through_unit(slope.T @ queries, keys, key_scale)
            for value, momentum, gradient in ((z, z_momentum, z_slope), (v, v_momentum, v_slope)):
                gradient.add_(value, alpha=_WEIGHT_DECAY)
                momentum.mul_(_MOMENTUM).add_(gradient)
                value.sub_(momentum, alpha=rate)
    return v


def _unit(x: Tensor) -> tuple[Tensor, Tensor]:
    """Rows of unit length and the factors (n, 1) that made them so; 0 for a row of zeros."""
    length = torch.linalg.vector_norm(x, dim=1, keepdim=True)
    factor = torch.where(length > 0, 1 / length, 0.0)
    return x * factor, factor


def _through_unit(gradient: Tensor, unit: Tensor, factor: Tensor) -> Tensor:
    """Gradient with respect to rows, from the one with respect to their unit vectors."""
    radial = (gradient * unit).sum(1, keepdim=True)
    return torch.addcmul(gradient, unit, radial, value=-1).mul_(factor)


@torch.no_grad()
def prototypes(
    features: Tensor, hidden: int, clusters: int, seed: int = 0, labels: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Weights for Linear(d, hidden) -> BatchNorm -> ReLU -> Linear(hidden, clusters).

    1. k-means with `hidden` clusters on standardised features: the centres are the first layer.
    2. Hidden activations of the raw features through it; the untrained BatchNorm in evaluation
       mode only divides by sqrt(1 + 1e-5).
    3. k-means with `clusters` clusters on the standardised activations: the second layer.
    4. Both are spread, separately. The second keeps to the hidden space of the first before that.

    Scaling all features by one positive number changes nothing but rounding.

    Args:
        features: (n, d) of the whole data set, from the encoder in evaluation mode.
        seed: of the two k-means runs; 0 repeats the published seeds.
        labels: (n,) clusters of the samples, 0 to clusters - 1, in place of the second k-means.

    Returns:
        W1 (hidden, d) and W2 (clusters, hidden), float32; the biases belong at zero.

    Raises:
        ValueError: fewer samples than `hidden` or `clusters`, or features that are not finite.
    """
    if features.dim() != 2:
        raise ValueError(
            f"features must be a matrix (samples, dimension), got shape {tuple(features.shape)}."
        )
    for name, count in (("hidden", hidden), ("clusters", clusters)):
        if not 1 <= count <= len(features):
            raise ValueError(
                f"{name} must lie between 1 and the number of samples, because each unit starts as "
                f"the centre of a group of them: got {name}={count} for {len(features)} samples; "
                f"lower {name} or use more samples."
            )
    first, second = _centres(features.float(), hidden, clusters, seed, labels)
    return spread(first, steps=_STEPS), spread(second, steps=_STEPS)


def _centres(
    features: Tensor, hidden: int, clusters: int, seed: int, labels: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Both weight matrices before they are spread."""
    first = kmeans(standardise(features), hidden, seed=seed).centres
    with torch.autocast(features.device.type, enabled=False):
        activations = F.relu(features @ first.T / math.sqrt(1 + _BATCH_NORM_EPS))
    points = standardise(activations)
    if labels is None:
        return first, kmeans(points, clusters, seed=seed).centres
    sums = points.new_zeros(clusters, points.shape[1]).index_add_(0, labels, points)
    sizes = torch.bincount(labels, minlength=clusters).clamp_min(1)
    return first, sums / sizes[:, None]
