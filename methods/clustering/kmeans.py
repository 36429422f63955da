"""k-means as CDC uses it, with all restarts in one batch, and nearest neighbours by cosine.

The objective is the sum of *unsquared* Euclidean distances: in the seeding probabilities, in the
choice among candidates, and in the choice of the best state. The centres are means nevertheless.
Written from the description of the k-means that accompanies "Towards Calibrated Deep Clustering
Network" (ICLR 2025); the seeding is greedy k-means++ (Arthur & Vassilvitskii, SODA 2007, Sec. 7).

Two routes compute the same thing:

- small sets hold all n x n distances. A seeding step is then a gather, a minimum and a sum, and a
  Lloyd iteration needs no centre at all: |x_i - c|^2 = mean_m |x_i - x_m|^2 - 1/2 mean_mm' |x_m -
  x_m'|^2 over the members m of c. Squared distances between neighbours are small numbers known to
  full relative precision, so nothing cancels.
- large sets compute seeding rows as they are needed and search the nearest centre with faiss.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from types import ModuleType
from typing import NamedTuple, Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

MATRIX_LIMIT = 8192  # points; 256 MiB of float32 distances
_MATRIX_GAIN = 8  # multiply-adds of a matrix product that cost as much as one addition of a row sum
_ALWAYS_MATRIX = 1024  # points; up to here the overhead of calls outweighs the arithmetic
_CACHE_BLOCK = 1 << 20  # floats in flight where a CPU should not leave its caches, 4 MiB
_MEMORY_BLOCK = 1 << 26  # floats in flight elsewhere, 256 MiB
_CUDA_STRIDE = 4  # rounds between two looks at convergence, each of which waits for the device
_FAISS_CUDA_LIMIT = 2048  # results per query
_ROUNDING = 1e-14  # squared distance, relative to the lengths, below which two points are equal
_CLOSE = 1e-4  # mean squared distance of rows of length 1 that float32 cosines tell apart


class KMeans(NamedTuple):
    """The best state found."""

    centres: Tensor  # (k, d) float32; a cluster without members has the zero vector
    labels: Tensor  # (n,) int64, the nearest centre of each point
    inertia: Tensor  # 0-d float32, sum over the points of the distance to the nearest centre


@torch.no_grad()
def kmeans(
    x: Tensor, k: int, *, restarts: int = 10, iterations: int = 300, seed: int = 0
) -> KMeans:
    """Cluster the rows of `x` (n, d) into `k` groups.

    Each restart: greedy k-means++ with 2 + floor(ln k) candidates per centre, drawn with
    probability proportional to the distance to the nearest chosen centre; assignment; then at most
    `iterations` rounds of "centres become means of their members, points go to the nearest
    centre", until no label changes. An empty cluster is not re-seeded: its centre becomes the zero
    vector. The smallest inertia over all rounds of all restarts wins. (The published rule also
    stops when the summed shift of the centres is below 1e-4 of the variance of the data; with the
    normalised features of CDC that never comes first.)

    Restart r draws from a generator of its own seeded `seed * restarts + r`, on the CPU, so that
    the default repeats the seeds 0 to 9 on every call and on every device; the global generators
    are neither read nor moved. Equal inputs on one device give equal results.

    On CUDA the seeding never waits for the device, and the rounds do so every few only. Labels and
    inertia are those of the returned centres in float64. The search before that knows distances to
    float32 where it holds all n x n of them; on the other route it loses those below about 1e-3 of
    the extent of the data.

    Raises:
        ValueError: `x` is not a matrix, `k` is not in 1..n, a count is below 1, or `x` holds NaN
            or infinity.
    """
    _check(x, k, restarts, iterations)
    with _exact_float32(x.device):
        frame = _Frame(x)
        n, d = x.shape
        # With k near n the rows are exact and short: then the matrix wins at any dimension.
        pays = max(_ALWAYS_MATRIX, k * max(d, _MATRIX_GAIN) // _MATRIX_GAIN)
        space: _Space = (_Matrix if n <= min(MATRIX_LIMIT, pays) else _Stream)(frame, k)
        first, draws = _uniforms(k, restarts, seed, x.device)
        at_once = space.seeds_at_once(draws.shape[-1])
        chosen = torch.cat(
            [
                _seed(space.rows, n, starts, trials)
                for starts, trials in zip(
                    first.split(at_once), draws.split(at_once, dim=1), strict=True
                )
            ]
        )
        stride = _CUDA_STRIDE if x.is_cuda else 1
        result = _best(frame, space, chosen, iterations, stride)
    if not math.isfinite(result.inertia.item()):
        raise ValueError(_NOT_FINITE)
    return result


@torch.no_grad()
def queued(
    x: Tensor,
    k: int,
    *,
    restarts: int,
    rounds: int,
    seeds: Callable[[Tensor, Tensor, Tensor], Tensor],
) -> KMeans:
    """`kmeans` as work for a GPU that the host never waits for.

    As many `rounds` as are said, whether labels still change or not. Where `x` holds NaN or
    infinity, so does the inertia, and nothing is raised.

    Args:
        x: (n, d), at most `MATRIX_LIMIT` points.
        seeds: (distances (n, n), uniform numbers (r,) and (k - 1, r, trials)) -> points (r, k) to
            start from; `programs.seeded`.
    """
    _check(x, k, restarts, rounds)
    with _exact_float32(x.device):
        frame = _Frame(x)
        space = _Matrix(frame, k)
        chosen = seeds(space.distances, *_uniforms(k, restarts, 0, x.device))
        return _best(frame, space, chosen, rounds, stride=rounds + 1)


def _best(frame: _Frame, space: _Space, chosen: Tensor, rounds: int, stride: int) -> KMeans:
    """The best state from the points `chosen` (r, k) on; convergence is looked at every `stride`
    rounds."""
    inertias, members = [], []
    for part in chosen.split(space.rounds_at_once()):
        inertia, labels = _lloyd(space, space.nearest_seed(part), rounds, stride)
        inertias.append(inertia)
        members.append(labels)
    winner = torch.cat(inertias).argmin()
    labels = torch.cat(members).index_select(0, winner.view(1))
    return frame.finish(labels, chosen.shape[1])


@torch.no_grad()
def neighbours(x: Tensor, k: int) -> Tensor:
    """The `k` nearest other rows of `x` (n, d) by cosine similarity, nearest first: (n, k) int64.

    Rows that lie close together as seen from the origin are compared by what differs between them,
    as their cosines all round to 1. A row of zeros has similarity 0 to everything. Ties go by
    position in faiss and in torch alike as far as float32 rounding leaves them ties. Deterministic
    on one device.

    Raises:
        ValueError: `x` is not a matrix, `k` is not in 1..n-1, or `x` holds NaN or infinity.
    """
    if x.dim() != 2:
        raise ValueError(f"x must be a matrix (points, coordinates), got shape {tuple(x.shape)}.")
    n = len(x)
    if not 1 <= k < n:
        raise ValueError(
            f"k must lie between 1 and the number of other points, {n - 1}; got k={k} for n={n}."
        )
    if not bool(torch.isfinite(x).all()):
        raise ValueError(_NOT_FINITE)
    with _exact_float32(x.device):
        near_one = _near_one(x.detach())
        unit = F.normalize(near_one.float(), dim=1).contiguous()
        mean = unit.double().mean(0)
        if bool(1 - mean.square().sum() < _CLOSE):
            unit = F.normalize(near_one.double(), dim=1)
            unit = _scaled_to_mean(unit)
            found = _search(unit, unit, k + 1, cosine=False)[1]
        else:
            found = _search(unit, unit, k + 1, cosine=True)[1]
    # A duplicate may stand before the point itself, or push it off the list: then drop the last.
    own = found == torch.arange(n, device=x.device)[:, None]
    own[:, -1] |= ~own.any(1)
    return found[~own].view(n, k)


def _near_one(x: Tensor) -> Tensor:
    """Rows times a power of two each, which rounds nothing: no square overflows or vanishes."""
    exponent = torch.frexp(x.abs().amax(1, keepdim=True)).exponent
    half = exponent // 2  # a whole power of two may itself be too large
    return torch.ldexp(torch.ldexp(x, -half), half - exponent)


def _scaled_to_mean(unit: Tensor) -> Tensor:
    """Rows of length 1, float64, less their mean and brought near 1, float32: Euclidean distances
    then order as the cosines did."""
    centred = unit - unit.mean(0)
    largest = centred.abs().amax()
    return (centred / torch.where(largest > 0, largest, torch.ones_like(largest))).float()


_NOT_FINITE = (
    "x holds NaN or infinite values, or values too large for float32 arithmetic, so distances are "
    "undefined; check the features (a diverged network?) before clustering them."
)


def _check(x: Tensor, k: int, restarts: int, iterations: int) -> None:
    if x.dim() != 2 or not x.is_floating_point():
        raise ValueError(
            "x must be a floating-point matrix (points, coordinates), "
            f"got shape {tuple(x.shape)} of {x.dtype}."
        )
    if not 1 <= k <= len(x):
        raise ValueError(
            f"k-means needs at least as many points as clusters and one cluster: got k={k} "
            f"clusters for n={len(x)} points; lower k or use more points."
        )
    if restarts < 1 or iterations < 1:
        raise ValueError(
            f"restarts and iterations must be at least 1, got {restarts} and {iterations}."
        )
    # Reading the device costs nothing on CPU; on CUDA the check of the result has to do.
    if not x.is_cuda and not bool(torch.isfinite(x).all()):
        raise ValueError(_NOT_FINITE)


@contextmanager
def _exact_float32(device: torch.device) -> Iterator[None]:
    """Full float32 products inside: no autocast, no TF32 or bfloat16 shortcuts."""
    mkldnn = torch.backends.mkldnn.matmul  # type: ignore[attr-defined]  # made on import
    backends = (torch.backends.cuda.matmul, mkldnn)
    before = [backend.fp32_precision for backend in backends]
    try:
        for backend in backends:
            backend.fp32_precision = "ieee"
        with torch.autocast(device.type, enabled=False):
            yield
    finally:
        for backend, precision in zip(backends, before, strict=True):
            backend.fp32_precision = precision


@lru_cache(maxsize=8)
def _uniforms(k: int, restarts: int, seed: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """All random numbers of a run, float64 in [0, 1): (restarts,) and (k - 1, restarts, trials).

    They depend on the seeds alone, so that training, which clusters every batch with the same
    seeds, draws and copies them once.
    """
    trials = 2 + int(math.log(k))
    first, draws = [], []
    for restart in range(restarts):
        generator = torch.Generator().manual_seed(seed * restarts + restart)
        first.append(torch.rand((), generator=generator, dtype=torch.float64))
        draws.append(torch.rand(k - 1, trials, generator=generator, dtype=torch.float64))
    return torch.stack(first).to(device), torch.stack(draws, dim=1).to(device)


def _seed(rows: Callable[[Tensor], Tensor], n: int, first: Tensor, draws: Tensor) -> Tensor:
    """Greedy k-means++ for several restarts at once, without a wait for the device.

    rows: indices (m,) -> distances of these points to all points (m, n), a tensor it gives away
    first (r,), draws (k - 1, r, trials): uniform numbers. Returns indices of points, (r, k).
    """
    steps, restarts, trials = draws.shape
    every = torch.arange(restarts, device=first.device)
    chosen = torch.empty(steps + 1, restarts, dtype=torch.long, device=first.device)
    chosen[0] = (first * n).long().clamp_(max=n - 1)
    closest = rows(chosen[0])
    for step in range(steps):
        cumulative = closest.cumsum(1, dtype=torch.float64)
        # right=True never lands on a point of probability zero; the clamp catches a total of zero.
        candidates = torch.searchsorted(
            cumulative, draws[step] * cumulative[:, -1:], right=True
        ).clamp_(max=n - 1)
        reduced = rows(candidates.view(-1)).view(restarts, trials, n)
        torch.minimum(reduced, closest[:, None], out=reduced)
        pick = reduced.sum(2).argmin(1)
        closest = reduced[every, pick]
        torch.gather(candidates, 1, pick[:, None], out=chosen[step + 1, :, None])
    return chosen.T


class _Space(Protocol):
    """What seeding and Lloyd iterations ask of a way to compute distances."""

    def rows(self, index: Tensor) -> Tensor: ...  # (m,) -> (m, n) distances

    def nearest_seed(self, chosen: Tensor) -> Tensor: ...  # (r, k) points -> (r, n) labels

    def update(self, labels: Tensor) -> tuple[Tensor, Tensor]:
        """One round from labels (r, n): the new labels (r, n) and their inertia (r,)."""

    def seeds_at_once(self, trials: int) -> int:
        """Restarts to seed together, with that many candidates each."""

    def rounds_at_once(self) -> int:
        """Restarts to update together."""


def _lloyd(space: _Space, labels: Tensor, iterations: int, stride: int) -> tuple[Tensor, Tensor]:
    """Best inertia (r,) of each restart and the members (r, n) whose means are its centres."""
    best = torch.full(labels.shape[:1], math.inf, dtype=torch.float64, device=labels.device)
    members = labels
    retired = []
    for iteration in range(1, iterations + 1):
        moved, inertia = space.update(labels)
        better = inertia < best
        best = torch.where(better, inertia, best)
        members = torch.where(better[:, None], labels, members)
        moving = (moved != labels).any(1)
        labels = moved
        if iteration % stride == 0:  # a restart at rest stays at rest, so looking late is harmless
            if not bool(moving.any()):
                break
            retired.append((best[~moving], members[~moving]))
            best, members, labels = best[moving], members[moving], labels[moving]
    retired.append((best, members))
    return torch.cat([part[0] for part in retired]), torch.cat([part[1] for part in retired])


class _Segments(NamedTuple):
    """The members of each cluster as consecutive slices of one index list."""

    order: Tensor  # (r * n,) flat positions, sorted by restart and cluster
    offsets: Tensor  # (r * k,) start of each slice
    counts: Tensor  # (r * k,)

    @staticmethod
    def of(labels: Tensor, k: int) -> _Segments:
        shift = torch.arange(len(labels), device=labels.device)[:, None] * k
        ordered = (labels + shift).view(-1).sort(stable=True)
        edges = torch.arange(len(labels) * k + 1, device=labels.device)
        edges = torch.searchsorted(ordered.values, edges)
        return _Segments(ordered.indices, edges[:-1], edges.diff())

    def sums(self, table: Tensor, order: Tensor) -> Tensor:
        """Sums (r * k, columns) of the rows order[i] of `table`; zero for an empty slice.

        An embedding bag rather than `index_add`: each sum has a fixed order on every device.
        """
        return F.embedding_bag(order, table, self.offsets, mode="sum")

    def means(self, table: Tensor, empty: Tensor) -> Tensor:
        """Means (r * k, columns) of each slice's rows of `table`; the row `empty` without any."""
        counts = self.counts[:, None]
        return torch.where(counts > 0, self.sums(table, self.order) / counts, empty)


class _Frame:
    """The points moved to their mean and scaled into the unit ball, in float64.

    k-means does not care, and float32 copies then keep their digits for what differs between the
    points. Only the zero vector of an empty cluster refers to the old origin: it is carried along.
    """

    def __init__(self, x: Tensor) -> None:
        exact = x.detach().double()
        self.mean = exact.mean(0)
        points = exact - self.mean
        radius = torch.linalg.vector_norm(points, dim=1).amax()
        self.radius = torch.where(radius > 0, radius, torch.ones_like(radius))
        self.points = points.div_(self.radius)
        self.origin = -self.mean / self.radius

    def finish(self, labels: Tensor, k: int) -> KMeans:
        """Means of the clusters of labels (1, n) in float32, and, in float64, the assignment to
        exactly these."""
        segments = _Segments.of(labels, k)
        centres = segments.means(self.points, self.origin) * self.radius + self.mean
        centres = torch.where(segments.counts[:, None] > 0, centres, 0.0).float()  # 0 to the bit
        local = (centres.double() - self.mean) / self.radius
        nearest, distances = [], []
        for block in self.points.split(8192):
            squared = _squared_distances(block, local)
            nearest.append(squared.min(1).indices)
            distances.append(torch.linalg.vector_norm(local[nearest[-1]].sub_(block), dim=1))
        inertia = torch.cat(distances).sum() * self.radius
        return KMeans(centres, torch.cat(nearest), inertia.float())


def _squared_distances(a: Tensor, b: Tensor, b_squares: Tensor | None = None) -> Tensor:
    """(m, d), (n, d) -> (m, n); may be negative by rounding. b_squares: lengths of b, squared."""
    sums = a.square().sum(1)[:, None] + (b.square().sum(1) if b_squares is None else b_squares)
    return sums.addmm_(a, b.T, alpha=-2)


class _Matrix:
    """All n x n distances held in float32, computed in float64."""

    def __init__(self, frame: _Frame, k: int) -> None:
        points = frame.points
        n = len(points)
        self.k = k
        self.block = _MEMORY_BLOCK if points.is_cuda else _CACHE_BLOCK
        self.distances = torch.empty(n, n, device=points.device)
        lengths = points.square().sum(1)
        width = min(1024, -(-n // 4))
        for start in range(0, n, width):  # the lower triangle of blocks; the upper one mirrors it
            stop = start + width
            block = _squared_distances(points[start:], points[start:stop])
            block[block < _ROUNDING * torch.maximum(lengths[start:, None], lengths[start:stop])] = 0
            block = block.sqrt_().float()
            self.distances[start:, start:stop] = block
            self.distances[start:stop, start:] = block.T
        self.distances.fill_diagonal_(0)
        self.squared: Tensor | None = None
        self.to_origin = (points - frame.origin).square().sum(1).float()  # (n,), squared

    def rows(self, index: Tensor) -> Tensor:
        return self.distances.index_select(0, index)

    def seeds_at_once(self, trials: int) -> int:
        return max(1, self.block // (trials * len(self.distances)))

    def rounds_at_once(self) -> int:
        return max(1, self.block // (self.k * len(self.distances)))

    def nearest_seed(self, chosen: Tensor) -> Tensor:
        return self.rows(chosen.reshape(-1)).view(*chosen.shape, -1).min(1).indices

    def update(self, labels: Tensor) -> tuple[Tensor, Tensor]:
        if self.squared is None:  # seeding is over: the same memory now holds squares
            self.squared = self.distances.square_()
        restarts, n = labels.shape
        segments = _Segments.of(labels, self.k)
        sums = segments.sums(self.squared, segments.order % n).view(restarts, self.k, n)
        counts = segments.counts.view(restarts, self.k, 1)
        shares = 1 / counts.clamp(min=1)
        own = sums.gather(1, labels[:, None]).view(-1, 1)
        spread = segments.sums(own, segments.order).view(counts.shape) * shares.square() / 2
        empty = counts == 0
        spread.masked_fill_(empty, -math.inf)
        squared, moved = torch.addcmul(-spread, sums, shares).min(1)
        # All empty clusters share one centre, the old origin; the first of them stands for all.
        gap = torch.where(empty.any(1), self.to_origin, math.inf)
        moved = torch.where(gap < squared, empty.int().argmax(1), moved)
        squared = torch.minimum(gap, squared).clamp_(min=0)
        return moved, squared.sqrt_().sum(1, dtype=torch.float64)


class _Stream:
    """Distances computed when asked for, in float32; one restart at a time."""

    def __init__(self, frame: _Frame, k: int) -> None:
        self.k = k
        self.points = frame.points.float()
        self.squares = self.points.square().sum(1)
        self.origin = frame.origin.float()

    def rows(self, index: Tensor) -> Tensor:
        squared = _squared_distances(self.points[index], self.points, self.squares)
        return squared.clamp_(min=0).sqrt_().scatter_(1, index[:, None], 0.0)

    def seeds_at_once(self, trials: int) -> int:
        return max(1, _MEMORY_BLOCK // (trials * len(self.points)))

    def rounds_at_once(self) -> int:
        return 1

    def nearest_seed(self, chosen: Tensor) -> Tensor:
        return self._nearest(self.points[chosen[0]])[1]

    def update(self, labels: Tensor) -> tuple[Tensor, Tensor]:
        segments = _Segments.of(labels, self.k)
        centres = segments.means(self.points, self.origin)
        squared, moved = self._nearest(centres)
        return moved, squared.clamp_(min=0).sqrt_().sum(1, dtype=torch.float64)

    def _nearest(self, centres: Tensor) -> tuple[Tensor, Tensor]:
        squared, labels = _search(self.points, centres.contiguous(), 1, cosine=False)
        # faiss answers -1 to NaN; the check of the result reports that, so just stay in range.
        return squared.view(1, -1), labels.view(1, -1).clamp_(min=0)


def _search(queries: Tensor, base: Tensor, k: int, *, cosine: bool) -> tuple[Tensor, Tensor]:
    """Scores and indices (n, k) of the k best rows of `base`, best first, for each query.

    cosine: the largest inner products; otherwise the smallest squared distances.
    """
    faiss = _faiss(queries.device.type)
    if faiss is None or (queries.is_cuda and k > _FAISS_CUDA_LIMIT):
        return _search_torch(queries, base, k, cosine=cosine)
    metric = faiss.METRIC_INNER_PRODUCT if cosine else faiss.METRIC_L2
    if queries.is_cuda:
        resources = _faiss_resources(queries.device)
        index = queries.device.index or 0
        return faiss.knn_gpu(resources, queries, base, k, metric=metric, device=index)
    scores, found = faiss.knn(queries.numpy(), base.numpy(), k, metric=metric)
    return torch.from_numpy(scores), torch.from_numpy(found)


def _search_torch(queries: Tensor, base: Tensor, k: int, *, cosine: bool) -> tuple[Tensor, Tensor]:
    """`_search` by blocks of a matrix product."""
    width = max(1, (_MEMORY_BLOCK if queries.is_cuda else _CACHE_BLOCK) // len(base))
    parts = []
    for block in queries.split(width):
        scores = block @ base.T if cosine else _squared_distances(block, base)
        if k == 1:
            parts.append(scores.max(1, True) if cosine else scores.min(1, True))
        else:
            parts.append(scores.topk(k, largest=cosine))
    return torch.cat([part[0] for part in parts]), torch.cat([part[1] for part in parts])


def _faiss(device_type: str) -> ModuleType | None:
    """faiss if it is installed and can work on that kind of device."""
    try:
        faiss = importlib.import_module("faiss")
    except ImportError:
        return None
    if device_type == "cpu":
        return faiss
    if device_type != "cuda" or not getattr(faiss, "get_num_gpus", int)():
        return None
    importlib.import_module("faiss.contrib.torch_utils")  # lets faiss read CUDA tensors in place
    return faiss


@lru_cache(maxsize=16)
def _faiss_resources(device: torch.device) -> object:
    faiss = importlib.import_module("faiss")
    with torch.cuda.device(device):
        resources = faiss.StandardGpuResources()
        resources.setTempMemory(256 << 20)  # bytes; the default is 1.5 GiB for each process
        return resources
