"""RCC, robust continuous clustering: points pulled together along a graph until groups coincide.

Shah and Koltun: "Robust continuous clustering", PNAS 114(37), 2017 (https://arxiv.org/abs/
1803.01449); written from the paper. "DPAC" below is Yan, Lu, Yan, ECCV 2024, whose Table 2 compares
with it.

Each point x_i has a representative u_i. They minimise, with Geman and McClure's penalty,

    1/2 sum_i ||x_i - u_i||^2
      + lambda/2 sum_pq w_pq (l_pq ||u_p - u_q||^2 + mu (sqrt(l_pq) - 1)^2)

over the edges pq of a graph of mutual neighbours: by turns the line process l, which switches off
edges between groups, in closed form, and U by a linear system. mu falls from where the function is
convex to where edges of length delta count half. Representatives that end close together are one
cluster; the number is an outcome.

As lambda is ||X||_2 / ||A||_2 in the paper, the pull between neighbours grows with the scale of the
points and with their number: sklearn's digits in 0..1 fall into 346 clusters, and in 0..16 into 66,
of which ten are the digits. The field `scale` is there for that.
"""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from deep_clustering.methods._fields import check, choice, doc, not_negative, positive
from deep_clustering.methods._method import Fitted, Method
from deep_clustering.methods.clustering.points import nearest, prepared, stopwatch

Array = NDArray[Any]
Metric = Literal["cosine", "euclidean"]

_PERIOD = 4  # rounds between two changes of lambda and mu; Shah and Koltun
_SHORTEST = 0.01  # share of the edges whose mean length is delta; Shah and Koltun
_MORE = 250  # edges at most in that mean
_SOLVED = 1e-4  # residual of the linear system, relative to the points
_STEPS = 200  # of conjugate gradients at most
_SIZES = (1e-6, 1e6)  # lengths of centred points for which lambda, mu and tol mean something


@dataclass(frozen=True, kw_only=True, slots=True)
class RCCConfig:
    unit: bool = doc(False, "rows divided by their Euclidean length first")
    scale: float = doc(1.0, "points are multiplied by it, as the result depends on it (see above)")
    neighbours: int = doc(10, "k of the graph, joined where mutual; Shah and Koltun")
    metric: Metric = doc("cosine", "in which neighbours are near; Shah and Koltun")
    threshold: float = doc(
        1.0, "in units of delta: shorter final edges join clusters; DPAC, Table 2"
    )
    max_iter: int = doc(100, "rounds at most; Shah and Koltun")
    tol: float = doc(0.1, "change of the objective to stop at, once mu has fallen; absolute")

    def __post_init__(self) -> None:
        check(
            self,
            [
                *positive(self, "scale", "neighbours", "threshold", "max_iter"),
                *not_negative(self, "tol"),
                *choice(self, metric=Metric),
            ],
        )


def fit(config: RCCConfig, points: Array, seed: int) -> Fitted:
    """Clusters of `points` (n, d), as many as there are; the seed plays no part; see `Method.fit`.

    A point without a mutual neighbour is a cluster of its own. `info` has the number of
    `clusters_found`, the `edges`, the rounds and the final objective.
    """
    points = prepared(points, unit=config.unit, cosine=config.metric == "cosine")
    n = len(points)
    if config.neighbours >= n:
        raise ValueError(
            f"neighbours must be below the number of points, got neighbours={config.neighbours} "
            f"for {n} points; set a smaller number."
        )
    with stopwatch() as seconds:
        x = config.scale * (points.astype(np.float64) - points.mean(0, dtype=np.float64))
        _refuse_sizes(x)
        p, q = mutual(nearest(points, config.neighbours, config.metric))
        lengths = np.sqrt(_squares(x, p, q))
        delta = shortest(lengths)
        u, rounds, value = _descend(x, p, q, delta, config)
        near = np.sqrt(_squares(u, p, q)) <= config.threshold * delta
        labels = _components(p[near], q[near], n)
    found = {"clusters_found": labels.max() + 1, "edges": len(p), "sweeps": rounds}
    return Fitted(
        labels=labels,
        info={name: float(number) for name, number in found.items()} | {"objective": value},
        seconds=seconds[0],
    )


def _refuse_sizes(x: Array) -> None:
    size = float(np.linalg.norm(x, axis=1).max())
    if not x.any() or not _SIZES[0] <= size <= _SIZES[1]:
        raise ValueError(
            f"RCC's result depends on the scale of the points, and theirs is {size:.3g} after "
            f"centring; set scale so that it lies between {_SIZES[0]:g} and {_SIZES[1]:g}."
        )


def mutual(near: Array) -> tuple[Array, Array]:
    """Edges p < q between points that are among each other's neighbours (n, k)."""
    n, k = near.shape
    one = np.repeat(np.arange(n), k)
    other = near.ravel().astype(np.int64)
    codes, counts = np.unique(
        np.minimum(one, other) * n + np.maximum(one, other), return_counts=True
    )
    return np.divmod(codes[counts == 2], n)


def shortest(lengths: Array) -> float:
    """delta: the mean length of the shortest 1 % of the edges, at least one and at most 250."""
    if not len(lengths):
        return 0.0
    count = min(_MORE, max(1, int(np.ceil(_SHORTEST * len(lengths)))))
    return float(np.sort(lengths)[:count].mean())


def line_process(squares: Array, mu: float) -> Array:
    """l of each edge from its squared length, (mu / (mu + length^2))^2."""
    return (mu / (mu + squares)) ** 2 if mu > 0 else (squares == 0).astype(float)


def _descend(
    x: Array, p: Array, q: Array, delta: float, config: RCCConfig
) -> tuple[Array, int, float]:
    """Representatives (n, d), rounds done, and the objective."""
    n = len(x)
    if not len(p):
        return x, 0, 0.0
    degrees = np.bincount(np.concatenate([p, q]), minlength=n).astype(float)
    weights = degrees.mean() / np.sqrt(degrees[p] * degrees[q])
    squares = _squares(x, p, q)
    mu = 3 * float(squares.max())
    line = np.ones(len(p))
    size = _spectral_norm(x)
    scale = size / _largest(_laplacian(p, q, weights, n))
    u, before = x.copy(), np.inf
    for done in range(1, config.max_iter + 1):
        line = line_process(squares, mu)
        u = _solved(x, scale * _laplacian(p, q, weights * line, n), u)
        squares = _squares(u, p, q)
        pull = (weights * (line * squares + mu * (np.sqrt(line) - 1) ** 2)).sum()
        value = float(((x - u) ** 2).sum() / 2 + scale * pull / 2)
        if abs(before - value) < config.tol and mu <= delta**2 / 2:
            break
        before = value
        if done % _PERIOD == 0:
            scale = size / _largest(_laplacian(p, q, weights * line, n))
            mu = max(mu / 2, delta**2 / 2)
    return u, done, value


def _squares(x: Array, p: Array, q: Array) -> Array:
    """Squared length of each edge."""
    found = np.empty(len(p))
    step = max(1, (1 << 22) // x.shape[1])
    for first in range(0, len(p), step):
        part = slice(first, first + step)
        difference = x[p[part]] - x[q[part]]
        found[part] = np.einsum("ij,ij->i", difference, difference)
    return found


def _laplacian(p: Array, q: Array, weights: Array, n: int) -> Any:
    """A = sum_pq weight (e_p - e_q)(e_p - e_q)^T, sparse (n, n)."""
    from scipy.sparse import coo_array, diags_array

    ends = (np.concatenate([p, q]), np.concatenate([q, p]))
    edges = coo_array((np.concatenate([weights, weights]), ends), shape=(n, n)).tocsr()
    return diags_array(edges.sum(1)).tocsr() - edges


def _largest(matrix: Any) -> float:
    """The largest eigenvalue of a symmetric matrix that is not negative."""
    from scipy.sparse.linalg import eigsh

    n = matrix.shape[0]
    if n < 3:
        return float(np.linalg.eigvalsh(matrix.toarray())[-1])
    start = np.random.default_rng(0).standard_normal(n)
    return float(eigsh(matrix, k=1, v0=start, tol=1e-4, return_eigenvectors=False)[0])


def _spectral_norm(x: Array) -> float:
    """The largest singular value."""
    from scipy.sparse.linalg import LinearOperator

    small = x if x.shape[0] <= x.shape[1] else x.T
    n = small.shape[0]
    if n < 3:
        return float(np.linalg.norm(small, 2))
    operator = LinearOperator((n, n), lambda v: small @ (small.T @ v), dtype=float)
    return float(np.sqrt(_largest(operator)))


def _solved(x: Array, matrix: Any, start: Array) -> Array:
    """U of (I + matrix) U = X by conjugate gradients, all columns side by side from `start`."""
    inverse = 1 / (1 + matrix.diagonal())[:, None]  # the preconditioner
    u = start.copy()
    residual = x - u - matrix @ u
    direction = inverse * residual
    old = np.einsum("ij,ij->j", residual, direction)
    enough = _SOLVED**2 * max(float(np.einsum("ij,ij->", x, x)), np.finfo(float).tiny)
    for _ in range(_STEPS):
        if np.einsum("ij,ij->", residual, residual) <= enough:
            break
        image = direction + matrix @ direction
        bend = np.einsum("ij,ij->j", direction, image)
        step = np.divide(old, bend, out=np.zeros_like(old), where=bend > 0)
        u += step * direction
        residual -= step * image
        image = inverse * residual
        new = np.einsum("ij,ij->j", residual, image)
        direction *= np.divide(new, old, out=np.zeros_like(new), where=old > 0)
        direction += image
        old = new
    return u


def _components(p: Array, q: Array, n: int) -> Array:
    """(n,) int64: connected components of the graph with these edges."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    graph = coo_array((np.ones(len(p)), (p, q)), shape=(n, n))
    found: Array = connected_components(graph, directed=False)[1].astype(np.int64)
    return found


METHOD = Method(
    summary="Robust continuous clustering, which finds the number of clusters itself",
    citation=(
        "Shah, Koltun. Robust Continuous Clustering. PNAS 114(37), 2017. "
        "https://arxiv.org/abs/1803.01449"
    ),
    version=1,
    config=RCCConfig,
    fit=fit,
)
