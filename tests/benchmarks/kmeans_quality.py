"""Inertia and time of the mini-cluster k-means against the written-out reference.

Both on the same features shaped like those of a ResNet. The reference runs on the CPU; inertia is
the ratio of means over data sets, in the sum of unsquared distances that CDC minimises.
"""

import statistics
import time
from functools import partial

from _bench import Row, Setting, seconds
from kmeans_reference import features
from kmeans_reference import kmeans as slow

from deep_clustering.methods.clustering.kmeans import kmeans


def title(setting: Setting) -> str:
    """What was measured."""
    return f"batched k-means, 10 restarts, {_repeats(setting)} data sets a row, against written out"


def _repeats(setting: Setting) -> int:
    return 2 if setting.quick else 8 if setting.cuda else 4


def rows(setting: Setting) -> list[Row]:
    """Two rows, inertia and time, for each size."""
    sizes = [(1000, 512, 40), (1000, 512, 150)]
    sizes += [] if setting.quick else [(1000, 512, 500)]
    found: list[Row] = []
    for n, d, k in sizes:
        fast_inertia, slow_inertia, fast_seconds, slow_seconds = [], [], [], []
        for seed in range(_repeats(setting)):
            x = features(n, d, seed=seed)
            here = x.to(setting.device)
            fast_inertia.append(float(kmeans(here, k).inertia))
            fast_seconds.append(seconds(partial(kmeans, here, k), setting, repeats=1))
            begun = time.process_time()
            slow_inertia.append(slow(x, k)[2])
            slow_seconds.append(time.process_time() - begun)
        mean = statistics.mean(fast_inertia)
        found.append(
            Row(
                name=f"inertia, n={n} K={k}",
                value=mean,
                unit="",
                ratio=mean / statistics.mean(slow_inertia),
                of="x reference",
                at_least=0.995,
                at_most=1.005,
            )
        )
        took = statistics.median(fast_seconds)
        found.append(
            Row(
                name=f"speed, n={n} K={k}",
                value=took * 1e3,
                unit="ms",
                ratio=statistics.median(slow_seconds) / took,
                of="x reference",
            )
        )
    return found
