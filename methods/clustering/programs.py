"""Greedy k-means++ on a GPU, each restart by one Triton program."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor


def seeded(distances: Tensor, first: Tensor, draws: Tensor) -> Tensor:
    """Points (r, k) to start from, as `kmeans` draws them.

    ``distances``: float32 (n, n). ``first`` (r,), ``draws`` (k - 1, r, trials): float64, uniform.
    On the CPU by Triton's interpreter, where TRITON_INTERPRET=1 was set before Triton was imported.
    """
    steps, restarts, trials = draws.shape
    n = len(distances)
    chosen = torch.empty(steps + 1, restarts, dtype=torch.int64, device=distances.device)
    chosen[0] = (first * n).long().clamp_(max=n - 1)
    width = 1 << (n - 1).bit_length()
    with torch.cuda.device_of(distances):
        _seed[(restarts,)](
            distances.contiguous(),
            draws.contiguous(),
            chosen,
            n,
            steps,
            restarts,
            trials=trials,
            padded=1 << (trials - 1).bit_length(),
            width=width,
            num_warps=max(4, min(16, width // 128)),
            enable_fp_fusion=False,
        )
    return chosen.T


@triton.jit
def _seed(
    distances: tl.tensor,
    draws: tl.tensor,
    chosen: tl.tensor,
    n: tl.tensor,
    steps: tl.tensor,
    restarts: tl.tensor,
    trials: tl.constexpr,
    padded: tl.constexpr,
    width: tl.constexpr,
) -> None:
    """One restart; see `kmeans._seed`. What decides who is drawn is summed in float64."""
    restart = tl.program_id(0)
    place, trial = tl.arange(0, width), tl.arange(0, padded)
    held = place < n
    row = distances + tl.load(chosen + restart) * n
    closest = tl.load(row + place, held, 0.0)
    for step in range(steps):
        upto = tl.cumsum(closest.to(tl.float64), 0)
        uniform = tl.load(draws + (step * restarts + restart) * trials + trial, trial < trials, 0.0)
        mark = uniform * tl.max(upto, 0)
        # The first point whose sum lies beyond the mark: as many come before it.
        before = (upto[None, :] <= mark[:, None]) & held[None, :]
        candidate = tl.minimum(tl.sum(before.to(tl.int32), 1), n - 1)
        rows = distances + candidate[:, None] * n + place[None, :]
        reduced = tl.minimum(tl.load(rows, held[None, :], 0.0), closest[None, :])
        sums = tl.where(trial < trials, tl.sum(reduced, 1), float("inf"))
        picked = trial == tl.argmin(sums, 0)
        closest = tl.sum(tl.where(picked[:, None], reduced, 0.0), 0)
        next_one = chosen + (step + 1) * restarts + restart
        tl.store(next_one, tl.sum(tl.where(picked, candidate, 0), 0).to(tl.int64))
