"""Methods that fit all points at once: where the points come from, and what is said of a result.

A run of such a method fits exactly the images (or samples) that are scored. Its points are the raw
pixels, a dataset's vectors, or the features of a pretraining.
"""

import warnings

import numpy as np
import torch

from deep_clustering.methods._method import Config, Fitted, Method
from deep_clustering.methods.clustering.kmeans import neighbours
from deep_clustering.methods.clustering.points import need_memory
from deep_clustering.platform.data.dataset import Dataset, ImageSet, PointSet
from deep_clustering.platform.data.pixels import squares
from deep_clustering.platform.metrics.arrays import Array
from deep_clustering.platform.metrics.reference import Reference
from deep_clustering.platform.request.jobs import NEIGHBOURS

#: Points in which label-free criteria are computed when no stage has a reference; above this
#: number a random sample of it, the same for all runs.
REFERENCE = 10_000

#: Name of the head of a method that fits at once, in `results.probabilities`.
HEAD = "clusters"

_CHUNK = 1000  # images converted at a time


def of(dataset: Dataset) -> Array:
    """The scored part of a dataset as points, float32 (n, d).

    Vectors as they are; images as pixels in 0..1, flattened, one channel where all three are equal
    in every scored image. Of whole pictures it is the centred square at the side that networks see.

    Raises:
        ValueError: the points do not fit into memory.
    """
    if isinstance(dataset, PointSet):
        return np.ascontiguousarray(dataset.points[dataset.score], dtype=np.float32)
    assert isinstance(dataset, ImageSet)
    index = dataset.score
    side = dataset.images.shape[-1] if dataset.sizes is None else dataset.view
    parts = [index[i : i + _CHUNK] for i in range(0, len(index), _CHUNK)]
    grey = all(_grey(dataset.images[part]) for part in parts)
    channels = 1 if grey else 3
    width = channels * side * side
    need_memory(
        4 * len(index) * width,
        f"the matrix of {len(index):,} images of {width:,} numbers",
        "store the images smaller (--image-size), or cluster features (--features)",
    )
    matrix = np.empty((len(index), width), np.float32)
    for number, part in enumerate(parts):
        seen = dataset.images[part]
        if dataset.sizes is not None:
            seen = squares(seen, dataset.sizes[part], side)
        rows = slice(number * _CHUNK, number * _CHUNK + len(part))
        np.divide(seen[:, :channels].reshape(len(part), -1), 255, out=matrix[rows])
    return matrix


def _grey(images: Array) -> bool:
    return bool((images[:, 0] == images[:, 1]).all() and (images[:, 0] == images[:, 2]).all())


def own_reference(x: Array) -> tuple[Array, Reference | None]:
    """A reference for label-free criteria made of the points themselves.

    Returns:
        Which points it consists of, ascending, and the reference; None for fewer than two points.
    """
    index = np.arange(len(x))
    if len(x) > REFERENCE:
        index = np.sort(np.random.default_rng(0).choice(len(x), REFERENCE, replace=False))
    if len(x) < 2:
        return index, None
    return index, reference(x[index])


def reference(x: Array) -> Reference:
    """Points (n, d), n >= 2, as the space in which partitions of them are compared."""
    near = neighbours(torch.from_numpy(x), min(NEIGHBOURS, len(x) - 1))
    return Reference(x, near.numpy())


def fit(
    method: Method, config: Config, x: Array, seed: int, threads: int
) -> tuple[Fitted, list[str]]:
    """Run a method's `fit`; the texts are what it warned of, such as a lack of convergence.

    Raises:
        ValueError: the method cannot cluster these points, or breaks its contract.
    """
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

    with threadpool_limits(limits=threads), warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        assert method.fit is not None
        fitted = method.fit(config, x, seed)
    _check(fitted, len(x))
    told = [str(w.message) for w in caught if issubclass(w.category, UserWarning)]
    return fitted, list(dict.fromkeys(told))


def _check(fitted: Fitted, n: int) -> None:
    labels, p = fitted.labels, fitted.probabilities
    if labels.shape != (n,) or labels.dtype.kind != "i" or labels.min() < 0:
        raise ValueError(
            f"fit must return {n} cluster numbers from 0, got {labels.dtype} of shape "
            f"{labels.shape}; correct the method."
        )
    if p is not None and not np.array_equal(p.argmax(1), labels):
        raise ValueError(
            "fit must return the most probable clusters as labels; correct the method."
        )
