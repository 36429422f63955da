"""How often the true number of clusters is among the first ones that are found without labels.

    python tests/benchmarks/clusters_found.py FOLDER --classes 4,8 --folders 10

FOLDER has one sub-folder a class. Some of them at random make a smaller data set, in which the
number is searched as `platform cluster` does. Prints a line for each, and at the end how often the
true number came first, among the first three, and first or not told apart from it.
"""

import argparse
from pathlib import Path

import numpy as np
import torch

from deep_clustering.methods.consensus import ConsensusConfig, fit
from deep_clustering.methods.images.images import Images
from deep_clustering.platform.data import dataset as datasets
from deep_clustering.platform.data.dataset import ImageSet, Source
from deep_clustering.platform.encoders import names, network, weights
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
        ranks, among = [], 0
        for _ in range(asked.folders):
            chosen = random.choice(labels.max() + 1, count, replace=False)
            order = search(x[rows(labels, chosen, asked.pictures, random)])
            found = [one.clusters for one in order]
            alike = [one.clusters for one in close(order)]
            ranks.append(found.index(count) + 1)
            among += count in [found[0], *alike]
            print(f"{count} classes: found {found[:3]}, not told apart {alike}", flush=True)
        first, three = (sum(rank <= most for rank in ranks) for most in (1, 3))
        print(
            f"of {asked.folders} data sets of {count} classes: {first} first, {three} among the "
            f"first three, {among} first or not told apart from it"
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


def search(x: np.ndarray) -> list[Candidate]:
    """Every number of clusters of points (n, d), the most stable one first."""
    infos = {k: fit(ConsensusConfig(clusters=k, unit=True), x, 0).info for k in numbers(len(x))}
    return ranked(Candidate.of(k, {"run_id": "", **info}) for k, info in infos.items())


if __name__ == "__main__":
    main()
