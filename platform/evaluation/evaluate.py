"""What a model, or a partition, comes to on the scored samples: the only reader of labels."""

from dataclasses import dataclass

import numpy as np
import torch

from deep_clustering.methods._method import Fitted, Model
from deep_clustering.platform.data.dataset import Dataset
from deep_clustering.platform.metrics import criteria
from deep_clustering.platform.metrics.evaluate import evaluate, evaluate_partition
from deep_clustering.platform.metrics.partition import flags, partition_flags
from deep_clustering.platform.request.configs import Value


class NotFinite(ValueError):
    """A model gives probabilities that are not numbers."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """Columns of a row, and the probabilities (n, K) float32 of each head that they are made of."""

    values: dict[str, Value]
    probabilities: dict[str, np.ndarray]


def labels_of(dataset: Dataset) -> np.ndarray | None:
    """The labels (n,) of the scored samples; None when nobody knows them."""
    return None if dataset.labels is None else dataset.labels[dataset.score]


def of_model(
    model: Model, dataset: Dataset, reference: criteria.Reference | None, whole: bool = True
) -> Outcome:
    """Metrics of every head, and the criteria of the final one.

    Args:
        reference: the space in which the criteria are computed; None leaves them out.
        whole: see `metrics.evaluate.evaluate`.

    Raises:
        NotFinite: names the head.
    """
    predicted = model.predict(torch.from_numpy(dataset.score))
    probabilities = {head: p.cpu().numpy() for head, p in predicted.items()}
    labels = labels_of(dataset)
    values: dict[str, Value] = {}
    for head, p in probabilities.items():
        if not np.isfinite(p).all():
            raise NotFinite(f"the probabilities of the {head} head are not finite")
        own = evaluate(p, labels, whole)
        values |= {f"{head}_{name}": value for name, value in own.items()}
        if head == model.final_head:
            values |= own
    final = probabilities[model.final_head]
    values |= _sizes(np.bincount(final.argmax(1), minlength=final.shape[1]), flags(final))
    if reference is not None:
        values |= criteria.criteria(final, reference)
    return Outcome(values=values, probabilities=probabilities)


def of_partition(
    fitted: Fitted,
    clusters: int | None,
    dataset: Dataset,
    within: np.ndarray,
    reference: criteria.Reference | None,
) -> dict[str, Value]:
    """Metrics and label-free criteria of what a method that fits at once has found.

    Args:
        fitted: of the scored samples.
        clusters: how many were asked for, which counts empty ones too; None: the method decides.
        within: which of the scored samples the reference consists of.
        reference: None leaves the criteria out.
    """
    labels, p = labels_of(dataset), fitted.probabilities
    values: dict[str, Value] = {name: float(value) for name, value in fitted.info.items()}
    if p is None:
        sizes = np.bincount(fitted.labels, minlength=clusters or 1)
        values |= evaluate_partition(fitted.labels, labels, clusters)
        values |= _sizes(sizes, partition_flags(sizes))
        if reference is not None:
            values |= criteria.of_partition(fitted.labels[within], reference, clusters=clusters)
    else:
        sizes = np.bincount(fitted.labels, minlength=p.shape[1])
        values |= evaluate(p, labels)
        values |= _sizes(sizes, flags(p))
        if reference is not None:
            values |= criteria.criteria(p[within], reference)
    return values


def _sizes(sizes: np.ndarray, noticed: list[str]) -> dict[str, Value]:
    return {
        "cluster_sizes": sizes.tolist(),
        "flags": noticed,
        "collapsed": "collapsed" in noticed,
    }
