"""The k-means of CDC written out slowly: one restart, one centre and one iteration at a time.

The yardstick of `methods/clustering/kmeans.py` in the tests and for its speed and inertia. It
follows the published description step by step (greedy k-means++ with unsquared distances, Lloyd
iterations with zero-vector centres for empty clusters, best state of all iterations and restarts),
with distances from `torch.cdist` and no attempt at speed.

Run as a script it measures time (process CPU seconds, one thread) and inertia on features shaped
like those of a ResNet:

    python tests/benchmarks/kmeans_reference.py [--seeds 8]
"""

from __future__ import annotations

import argparse
import math
import statistics
import time

import torch


def features(n: int, d: int, *, classes: int = 10, seed: int = 0) -> torch.Tensor:
    """Non-negative, L1-normalised rows (n, d) with a power-law spectrum and overlapping classes."""
    generator = torch.Generator().manual_seed(seed)
    spectrum = torch.arange(1, d + 1, dtype=torch.float32).pow(-0.5)
    basis = torch.linalg.qr(torch.randn(d, d, generator=generator)).Q
    means = 1.5 * torch.randn(classes, d, generator=generator)
    latent = torch.randn(n, d, generator=generator)
    latent += means[torch.randint(classes, (n,), generator=generator)]
    rows = ((latent * spectrum) @ basis + 0.05).relu()
    return rows / rows.sum(1, keepdim=True).clamp(min=1e-12)


def seed_centres(x: torch.Tensor, k: int, generator: torch.Generator) -> torch.Tensor:
    """Greedy k-means++: 2 + floor(ln k) candidates per centre, probability by distance."""
    n = len(x)
    trials = 2 + int(math.log(k))
    first = int(torch.randint(n, (1,), generator=generator))
    chosen = [first]
    closest = torch.cdist(x, x[first : first + 1])[:, 0]
    for _ in range(k - 1):
        cumulative = closest.double().cumsum(0)
        thresholds = torch.rand(trials, generator=generator, dtype=torch.float64) * cumulative[-1]
        candidates = torch.searchsorted(cumulative, thresholds, right=True).clamp(max=n - 1)
        reduced = torch.minimum(closest, torch.cdist(x[candidates], x))
        best = int(reduced.sum(1).argmin())
        chosen.append(int(candidates[best]))
        closest = reduced[best]
    return x[chosen]


def means(x: torch.Tensor, labels: torch.Tensor, k: int) -> torch.Tensor:
    """The mean of each cluster's members, (k, d); the zero vector for a cluster without any."""
    centres = torch.zeros(k, x.shape[1])
    for cluster in range(k):
        members = x[labels == cluster]
        if len(members):
            centres[cluster] = members.mean(0)
    return centres


def kmeans(
    x: torch.Tensor, k: int, *, restarts: int = 10, iterations: int = 300, seed: int = 0
) -> tuple[torch.Tensor, torch.Tensor, float, list[float]]:
    """(centres (k, d), labels (n,), inertia, inertia of each restart's last iteration)."""
    tolerance = 1e-4 * float(x.var(0, unbiased=False).mean())
    best: tuple[float, torch.Tensor, torch.Tensor] | None = None
    last_inertia = []
    for restart in range(restarts):
        generator = torch.Generator().manual_seed(seed * restarts + restart)
        centres = seed_centres(x, k, generator)
        labels = torch.cdist(x, centres).argmin(1)
        for _ in range(iterations):
            moved = means(x, labels, k)
            nearest = torch.cdist(x, moved).min(1)
            inertia = float(nearest.values.sum())
            if best is None or inertia < best[0]:
                best = (inertia, moved, nearest.indices)
            shift = float((moved - centres).norm(dim=1).sum())
            settled = torch.equal(nearest.indices, labels) or shift <= tolerance
            centres, labels = moved, nearest.indices
            if settled:
                break
        last_inertia.append(inertia)
    assert best is not None
    return best[1], best[2], best[0], last_inertia


def main() -> None:
    from deep_clustering.methods.clustering.kmeans import kmeans as fast

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=8, help="data sets per row")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    print(f"{'n':>5} {'d':>4} {'k':>4}  slow s  fast s  ratio  inertia fast/slow (mean, min, max)")
    rows = [(300, 128, 100), (1000, 512, 40), (1000, 512, 150), (1000, 512, 500)]
    for n, d, k in rows:
        ratios, slow_seconds, fast_seconds = [], [], []
        for seed in range(arguments.seeds):
            x = features(n, d, seed=seed)
            start = time.process_time()
            slow_inertia = kmeans(x, k)[2]
            middle = time.process_time()
            fast_inertia = float(fast(x, k).inertia)
            end = time.process_time()
            slow_seconds.append(middle - start)
            fast_seconds.append(end - middle)
            ratios.append(fast_inertia / slow_inertia)
        slow, quick = statistics.median(slow_seconds), statistics.median(fast_seconds)
        print(
            f"{n:>5} {d:>4} {k:>4} {slow:>7.3f} {quick:>7.3f} {slow / quick:>5.1f}x  "
            f"{statistics.mean(ratios):.4f} {min(ratios):.4f} {max(ratios):.4f}"
        )


if __name__ == "__main__":
    main()
