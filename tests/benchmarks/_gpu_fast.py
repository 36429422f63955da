"""The fast forms of a GPU against the plain ones: whether they make the same, and in what time."""

import statistics
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
import torch
from _bench import MEAN, STD, Row, Setting, attempted, seconds
from kmeans_reference import features

from deep_clustering.methods.images.contrastive import Contrastive
from deep_clustering.methods.images.pictures import Pictures
from deep_clustering.methods.images.randaugment import RandAugment
from deep_clustering.methods.images.strong import Strong
from deep_clustering.methods.images.weak import Weak


def rows(setting: Setting) -> Iterator[Row]:
    """Views and mini-clusters in CIFAR-10's sizes; a form that fails is a row that says how.

    Without a GPU Triton's interpreter carries the programs out (`gpu.py` asks for it), on a few
    pictures and points.
    """
    n, side = (1000, 32) if setting.cuda else (2, 8)
    views = {
        "weak": Weak(side),
        "strong": Strong(side),
        "contrastive": Contrastive(side=side),
        "randaugment": RandAugment(side),
    }
    for name, view in views.items():
        yield from attempted(f"view {name}", partial(_view, name, view, n, setting))
    yield from attempted("mini-clusters", partial(_mini_clusters, setting))


def _view(name: str, view: Any, n: int, setting: Setting) -> Iterator[Row]:
    from deep_clustering.methods.images import steps

    random = np.random.default_rng(0)
    array = random.integers(0, 256, (n, 3, view.side, view.side)).astype(np.uint8)
    pixels = torch.from_numpy(array).to(setting.device)
    draws = view.draw(n, torch.Generator().manual_seed(0))
    said = type(view).apply.__wrapped__(view, Pictures(pixels), draws)  # what `by_steps` is given
    mean, std = (torch.tensor(x, device=setting.device) for x in (MEAN, STD))
    given = pixels, said, view.side, mean, std
    levels = (steps.fused(*given) - steps.plain(*given)).abs() * (255 * std.view(3, 1, 1))
    off = float((~(levels < 1.01)).float().mean())
    yield Row(name=f"view {name}, off", value=off, unit="of values", at_most=1e-3)
    yield _speed(f"view {name}", lambda: steps.fused(*given), lambda: steps.plain(*given), setting)


def _mini_clusters(setting: Setting) -> Iterator[Row]:
    from deep_clustering.methods.clustering import batches
    from deep_clustering.methods.clustering.kmeans import kmeans

    n, d, k, restarts = (1000, 512, 500, 10) if setting.cuda else (60, 16, 10, 2)
    sets = [
        features(n, d, seed=seed).to(setting.device) for seed in range(8 if setting.cuda else 1)
    ]
    ratios = [
        float(batches.at_once(x, k, restarts).inertia / kmeans(x, k, restarts=restarts).inertia)
        for x in sets
    ]
    yield Row(
        name=f"inertia, n={n} K={k}",
        value=statistics.mean(ratios),
        unit="x plain",
        at_least=0.995,
        at_most=1.005,
    )
    x = sets[0]
    fast, plain = partial(batches.at_once, x, k, restarts), partial(kmeans, x, k, restarts=restarts)
    yield _speed(f"mini-clusters, n={n} K={k}", fast, plain, setting)


def _speed(
    name: str, fast: Callable[[], object], plain: Callable[[], object], setting: Setting
) -> Row:
    took, against = (seconds(form, setting, repeats=1 + 4 * setting.cuda) for form in (fast, plain))
    aim = {"at_least": 1.0} if setting.cuda else {}
    return Row(name=name, value=took * 1e3, unit="ms", ratio=against / took, of="x plain", **aim)
