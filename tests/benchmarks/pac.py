"""PAC's sweeps in linear time against the direct form, and how they grow with the number of rows.

The direct form keeps the N x N distances and takes a matrix-vector product for every sample; what
the published code does besides is to raise all weights to the power m anew for every sample. Both
are written here in plain NumPy, start from the same P and see the same data. Time is that of whole
sweeps, the N x N matrix given; the published way takes minutes, so it is timed on some samples of
the first and the last sweep and scaled up.

As a script this is the measurement of one size in a process of its own, for its peak memory:

    python tests/benchmarks/pac.py 1000000
"""

import json
import re
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from _bench import Row, Setting
from sklearn.datasets import make_blobs
from threadpoolctl import threadpool_limits

from deep_clustering.methods.algorithms import pac
from deep_clustering.methods.algorithms.pac import near_uniform

SWEEPS = 12
M = 1.03
SAMPLES = 200  # of the published way, in each of the two sweeps


def title(setting: Setting) -> str:
    """What was measured."""
    return f"PAC, {SWEEPS} sweeps, 10 clusters, one thread, against NumPy over all pairs"


def rows(setting: Setting) -> list[Row]:
    """Speed-ups for two shapes of data, then time and memory up to a million rows."""
    # Rows, dimensions, spread of the groups, aims over the product per sample and as published.
    shapes = [(10_992, 16, 4, 100, 1000), (10_000, 784, 3, 10, 80)]
    found = []
    with threadpool_limits(1):
        for shape in shapes[: 1 if setting.quick else 2]:
            found += _compared(*shape)
    return found + _grown([10_000, 100_000] if setting.quick else [10_000, 100_000, 1_000_000])


def _compared(
    n: int, d: int, spread: float, over_direct: float, over_published: float
) -> list[Row]:
    x, _ = make_blobs(n, d, centers=10, cluster_std=spread, center_box=(-5, 5), random_state=0)
    distances, start = _distances(x), near_uniform(n, 10, 1000, np.random.RandomState(0))
    linear, fitted = _linear(x, start)
    direct, p = _direct(distances, start)
    difference = float(np.abs(p - fitted).max())
    middling = float((fitted.max(1) < 0.99).mean())
    published = sum(_published(distances, state) for state in (start, p)) / 2 * n
    shape = f"{n:,} x {d}"
    return [
        Row(name=f"{shape}, a sweep", value=linear * 1e3, unit="ms"),
        Row(
            name="  product per sample",
            value=direct * 1e3,
            unit="ms",
            ratio=direct / linear,
            of=" x linear",
            at_least=over_direct,
        ),
        Row(
            name=f"  published, {2 * SAMPLES} samples",
            value=published * 1e3,
            unit="ms",
            ratio=published / linear,
            of=" x linear",
            at_least=over_published,
        ),
        Row(name="  largest difference of P", value=difference, unit="", at_most=1e-7),
        Row(name="  samples with p < 0.99", value=100 * middling, unit="%"),
    ]


def _linear(x: np.ndarray, start: np.ndarray) -> tuple[float, np.ndarray]:
    """(seconds per sweep, P): all of a fit but the draw of the start."""
    # A sweep changes a row by 2 at most: it ends as soon as `min_iter` allows.
    rule = pac._Rule(m=M, metric="sqeuclidean", min_iter=SWEEPS, tol=2.1, form="linear")
    times = []
    for _ in range(4):  # the first one compiles
        p = start.copy()
        begun = time.process_time()
        pac._descend(x, p, np.arange(len(x)), rule)
        times.append((time.process_time() - begun) / SWEEPS)
    return sorted(times[1:])[1], p


def _distances(x: np.ndarray) -> np.ndarray:
    x = x - x.mean(0)
    lengths = np.einsum("ij,ij->i", x, x)
    found = x @ x.T
    found *= -2
    found += lengths
    found += lengths[:, None]
    np.maximum(found, 0, out=found)
    np.fill_diagonal(found, 0)
    return found


def _direct(distances: np.ndarray, start: np.ndarray) -> tuple[float, np.ndarray]:
    """(seconds per sweep, P), weights kept up to date and one line per cluster."""
    p, weights = start.copy(), np.ascontiguousarray((start**M).T)
    alpha = 1 / (M - 1)
    begun = time.process_time()
    for _ in range(SWEEPS):
        for i, line in enumerate(distances):
            s = weights @ line
            q = (s.min() / s) ** alpha
            q /= q.sum()
            p[i] = q
            weights[:, i] = q**M
    return (time.process_time() - begun) / SWEEPS, p


def _published(distances: np.ndarray, p: np.ndarray) -> float:
    """Seconds per sample with all weights raised anew; P is left as it is."""
    alpha = int(1 / (M - 1))
    total = distances.sum() / p.shape[1]
    begun = time.process_time()
    for line in distances[:SAMPLES]:
        ratios = total / (line @ p**M)
        scaled = [float(ratio) ** alpha for ratio in ratios / ratios.mean()]
        whole = sum(scaled)
        [ratio / whole for ratio in scaled]
    return (time.process_time() - begun) / SAMPLES


def _grown(sizes: list[int]) -> list[Row]:
    found = []
    first = 0.0
    for n in sizes:
        line = subprocess.run(
            [sys.executable, __file__, str(n)], check=True, capture_output=True, text=True
        ).stdout
        figures = json.loads(line)
        first = first or figures["seconds"] / n
        found.append(
            Row(
                name=f"{n:,} x 64, a sweep",
                value=figures["seconds"] * 1e3,
                unit="ms",
                ratio=figures["seconds"] / n / first,
                of=f" x {sizes[0]:,}'s/row",
                at_most=1.5,
            )
        )
    found.append(
        Row(
            name="  memory on top of the data",
            value=figures["bytes"] / 2**20,
            unit="MiB",
            ratio=figures["bytes"] / figures["data"],
            of=" x the data",
            at_most=2,
        )
    )
    return found


def _memory(kind: str) -> int:
    """Bytes in use, or at most so far, by Linux's account."""
    found = re.search(rf"^{kind}:\s*(\d+) kB", Path("/proc/self/status").read_text(), re.MULTILINE)
    assert found is not None
    return int(found[1]) * 1024


def _one_size(n: int) -> dict[str, float]:
    """Seconds per sweep and the peak of memory beyond what is there before the fit."""
    random = np.random.default_rng(0)
    centres = random.normal(size=(10, 64)).astype(np.float32)
    model = pac.PAC(10, m=M, min_iter=SWEEPS, tol=2.1, random_state=0)
    x = np.empty((n, 64), np.float32)
    for rows in np.array_split(x, max(1, n // 10_000)):  # in place, without a peak of its own
        random.standard_normal(out=rows, dtype=np.float32)
        rows += centres[random.integers(10, size=len(rows))]
    model.fit(x[:1000])  # compiled
    before = _memory("VmRSS")
    times = []
    for _ in range(max(1, min(5, 200_000 // n))):
        begun = time.process_time()
        model.fit(x)
        times.append((time.process_time() - begun) / SWEEPS)
    extra = float(_memory("VmHWM") - before)
    return {"seconds": sorted(times)[len(times) // 2], "bytes": extra, "data": float(x.nbytes)}


if __name__ == "__main__":
    print(json.dumps(_one_size(int(sys.argv[1]))))
