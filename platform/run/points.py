"""Methods that fit all points at once: where the points come from, and what is said of a result.

A run of such a method fits exactly the images (or samples) that are scored. Its points are the raw
pixels, a dataset's vectors, or the features of a pretraining.
"""

import warnings
from typing import Any

import numpy as np
import pyarrow as pa
import torch

from deep_clustering.methods._method import Fitted
from deep_clustering.methods.clustering.kmeans import neighbours
from deep_clustering.methods.clustering.points import need_memory
from deep_clustering.platform.data.dataset import Dataset, ImageSet, PointSet
from deep_clustering.platform.metrics import criteria
from deep_clustering.platform.metrics.evaluate import evaluate as evaluate_head
from deep_clustering.platform.metrics.evaluate import evaluate_partition
from deep_clustering.platform.metrics.partition import flags, partition_flags
from deep_clustering.platform.request.jobs import NEIGHBOURS

#: Points in which label-free criteria are computed when no stage has a reference; above this
#: number a random sample of it, the same for all runs.
REFERENCE = 10_000

_CHUNK = 1000  # images converted at a time


def points(dataset: Dataset) -> np.ndarray:
    """The scored part of a dataset as points, float32 (n, d).

    Vectors as they are; images as pixels in 0..1, flattened, one channel where all three are equal
    in every scored image.

    Raises:
        ValueError: the points do not fit into memory.
    """
    if isinstance(dataset, PointSet):
        return np.ascontiguousarray(dataset.points[dataset.score], dtype=np.float32)
    assert isinstance(dataset, ImageSet)
    index, side = dataset.score, dataset.images.shape[-1]
    parts = [index[i : i + _CHUNK] for i in range(0, len(index), _CHUNK)]
    grey = all(_grey(dataset.images[part]) for part in parts)
    channels = 1 if grey else 3
    width = channels * side * side
    need_memory(
        4 * len(index) * width,
        f"the matrix of {len(index):,} images of {width:,} numbers",
        "store the images smaller (--image-size), or cluster features (--features)",
    )
    found = np.empty((len(index), width), np.float32)
    for number, part in enumerate(parts):
        pixels = dataset.images[part][:, :channels].reshape(len(part), -1)
        np.divide(pixels, 255, out=found[number * _CHUNK : number * _CHUNK + len(part)])
    return found


def _grey(images: np.ndarray) -> bool:
    return bool((images[:, 0] == images[:, 1]).all() and (images[:, 0] == images[:, 2]).all())


def own_reference(x: np.ndarray) -> tuple[np.ndarray, Any]:
    """A reference for label-free criteria made of the points themselves.

    Returns:
        Which points it consists of, ascending, and the reference; None for fewer than two points.
    """
    index = np.arange(len(x))
    if len(x) > REFERENCE:
        index = np.sort(np.random.default_rng(0).choice(len(x), REFERENCE, replace=False))
    if len(x) < 2:
        return index, None
    mine = x[index]
    near = neighbours(torch.from_numpy(mine), min(NEIGHBOURS, len(mine) - 1))
    return index, criteria.Reference(mine, near.numpy())


def fit(
    method: Any, config: Any, x: np.ndarray, seed: int, threads: int
) -> tuple[Fitted, list[str]]:
    """Run a method's `fit`; the texts are what it warned of, such as a lack of convergence.

    Raises:
        ValueError: the method cannot cluster these points, or breaks its contract.
    """
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

    with threadpool_limits(limits=threads), warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        fitted: Fitted = method.fit(config, x, seed)
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


def evaluate(
    fitted: Fitted, config: Any, dataset: Dataset, within: np.ndarray, reference: Any
) -> tuple[dict[str, Any], pa.Table]:
    """Metrics and label-free criteria of a result, and its table of predictions.

    Args:
        fitted: of the scored images.
        config: of the method; its `clusters`, where it has them, counts empty clusters too.
        dataset: prepared.
        within: which of the scored images the reference consists of.
        reference: from `own_reference` or of a stage; None leaves the criteria out.
    """
    labels = None if dataset.labels is None else dataset.labels[dataset.score]
    cluster, p = fitted.labels, fitted.probabilities
    asked: int | None = getattr(config, "clusters", None)
    values: dict[str, Any] = {name: float(value) for name, value in fitted.info.items()}
    if p is None:
        sizes = np.bincount(cluster, minlength=asked or 1)
        values |= evaluate_partition(cluster, labels, asked)
        values["flags"] = partition_flags(sizes)
        if reference is not None:
            values |= criteria.of_partition(cluster[within], reference, clusters=asked)
    else:
        sizes = np.bincount(cluster, minlength=p.shape[1])
        values |= evaluate_head(p, labels)
        values["flags"] = flags(p)
        if reference is not None:
            values |= criteria.criteria(p[within], reference)
    values["cluster_sizes"] = sizes.tolist()
    values["collapsed"] = "collapsed" in values["flags"]
    columns: dict[str, Any] = {
        "sample": dataset.score.astype(np.int64),
        "cluster": cluster.astype(np.int32),
        "confidence": pa.nulls(len(cluster), pa.float32()) if p is None else p.max(1),
    }
    if labels is not None:
        columns["label"] = labels.astype(np.int32)
    if dataset.paths is not None:
        columns["path"] = [dataset.paths[i] for i in dataset.score]
    return values, pa.table(columns)
