"""Clusters that are found without labels: how often their true number, how right, how sure.

    python tests/benchmarks/clusters_found.py FOLDER --classes 4,8 --folders 10

FOLDER has one sub-folder a class. Some of them at random make a smaller data set, in which the
number is searched as `platform cluster` does. Prints a line for each, and at the end how often the
true number came first, among the first three, and first or not told apart from it; and ACC and ECE
of the clusters by the true number.
"""

import argparse
import dataclasses
from pathlib import Path

import numpy as np
import torch

from deep_clustering.methods._method import Fitted
from deep_clustering.methods.consensus import OF_IMAGES, fit
from deep_clustering.methods.images.images import Images
from deep_clustering.platform.data import dataset as datasets
from deep_clustering.platform.data.dataset import ImageSet, Source
from deep_clustering.platform.encoders import names, network, weights
from deep_clustering.platform.metrics.evaluate import evaluate
from deep_clustering.platform.search.number import Candidate, close, numbers, ranked


def main() -> None:
    """Reads the options, searches, prints."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--classes", default="4,8", help="true numbers, with commas")
    parser.add_argument("--folders", type=int, default=10, help="data sets of each number")
    parser.add_argument("--pictures", type=int, default=200, help="of a class, at most")
    parser.add_argument("--encoder", default=names.BUNDLED)
    asked = parser.parse_args()
    x, labels = features(asked.folder, asked.encoder)
    for count in map(int, asked.classes.split(",")):
        random = np.random.default_rng(count)
        ranks, right, among = [], [], 0
        for _ in range(asked.folders):
            chosen = random.choice(labels.max() + 1, count, replace=False)
            some = rows(labels, chosen, asked.pictures, random)
            fits = {k: clusters(x[some], k) for k in numbers(len(some))}
            order = ranked(candidate(k, one) for k, one in fits.items())
            found = [one.clusters for one in order]
            alike = [one.clusters for one in close(order)]
            ranks.append(found.index(count) + 1)
            among += count in [found[0], *alike]
            acc, ece = agreement(fits[count], labels[some])
            right.append((acc, ece))
            print(
                f"{count} classes: found {found[:3]}, not told apart {alike}; "
                f"by {count} ACC {acc:.3f}, ECE {ece:.3f}",
                flush=True,
            )
        first, three = (sum(rank <= most for rank in ranks) for most in (1, 3))
        (acc, ece), (acc_sd, ece_sd) = np.mean(right, 0), np.std(right, 0, ddof=1)
        print(
            f"of {asked.folders} data sets of {count} classes: {first} first, {three} among the "
            f"first three, {among} first or not told apart from it; by it ACC {acc:.3f} ± "
            f"{acc_sd:.3f}, ECE {ece:.3f} ± {ece_sd:.3f}"
        )


def features(folder: Path, encoder: str) -> tuple[np.ndarray, np.ndarray]:
    """Features (n, D) of all pictures of a folder by a frozen encoder, and their labels (n,)."""
    root = datasets.default_root()
    held = datasets.open(Source(f"folder:{folder}", root))
    assert isinstance(held, ImageSet)
    assert held.labels is not None
    named = names.find(encoder)
    loaded = network.load(named, weights.obtain(named, root))
    seeing = network.Seeing(named, loaded, torch.device("cpu"))
    images = Images(
        held.images, mean=named.mean, std=named.std, device=torch.device("cpu"), sizes=held.sizes
    )
    parts = list(network.features(seeing, images, torch.arange(len(images))))
    return torch.cat(parts).numpy(), np.asarray(held.labels)


def rows(
    labels: np.ndarray, chosen: np.ndarray, most: int, random: np.random.Generator
) -> np.ndarray:
    """At most so many random pictures (n,) of each of the classes."""
    parts = [random.permutation(np.flatnonzero(labels == label))[:most] for label in chosen]
    return np.concatenate(parts)


def clusters(x: np.ndarray, count: int) -> Fitted:
    """So many clusters of points (n, d)."""
    return fit(dataclasses.replace(OF_IMAGES, clusters=count), x, 0)


def candidate(count: int, found: Fitted) -> Candidate:
    """What speaks for that number of clusters."""
    return Candidate.of(count, {"run_id": "", **found.info})


def agreement(found: Fitted, labels: np.ndarray) -> tuple[float, float]:
    """ACC and ECE."""
    assert found.probabilities is not None
    values = evaluate(
        found.probabilities.astype(np.float32), np.unique(labels, return_inverse=True)[1]
    )
    return float(values["acc"]), float(values["ece"])


if __name__ == "__main__":
    main()
