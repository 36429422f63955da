"""The mini-clusters of every batch of a training: on a GPU without a wait, and in few launches."""

from __future__ import annotations

from collections.abc import Hashable

from torch import Tensor

from deep_clustering.methods._proven import Proven, triton_is_there
from deep_clustering.methods.clustering.kmeans import MATRIX_LIMIT, KMeans, kmeans, queued

#: Rounds of Lloyd's. Of 1,000 points in 40, 150 or 500 clusters, shaped like features of a ResNet,
#: the inertia is then within 1e-5 of what it is when no label changes any more, after 8 within
#: 3e-4 (2 data sets each).
_ROUNDS = 12
#: Difference of inertia that one batch may show: equal sums rounded differently take another
#: candidate, and then another way.
_BOUND = 0.01


def mini_clusters(x: Tensor, k: int, restarts: int) -> KMeans:
    """`kmeans` of the rows of `x` (n, d), a batch: the same on a CPU, close to it on a GPU.

    Raises:
        ValueError: as `kmeans`; where `never_waits`, not for values that are not finite.
    """
    return (_MINI_CLUSTERS if _fits(x) else _plain)(x, k, restarts)


def never_waits(x: Tensor, k: int, restarts: int) -> bool:
    """Whether `mini_clusters` of these only gives a GPU work."""
    return _fits(x) and _MINI_CLUSTERS.passed(x, k, restarts)


def at_once(x: Tensor, k: int, restarts: int) -> KMeans:
    """Each restart is seeded by one program of a GPU and has a fixed number of rounds."""
    from deep_clustering.methods.clustering import programs  # Triton is not everywhere

    return queued(x, k, restarts=restarts, rounds=_ROUNDS, seeds=programs.seeded)


def differs(x: Tensor, k: int, restarts: int) -> str | None:
    """What is wrong with the inertia of `at_once`."""
    theirs, ours = _plain(x, k, restarts).inertia.item(), at_once(x, k, restarts).inertia.item()
    if abs(ours - theirs) <= _BOUND * theirs:
        return None
    return f"its inertia is {ours:.6g} in place of {theirs:.6g}"


def _plain(x: Tensor, k: int, restarts: int) -> KMeans:
    return kmeans(x, k, restarts=restarts)


def _fits(x: Tensor) -> bool:
    return x.is_cuda and len(x) <= MATRIX_LIMIT and triton_is_there()


def _case(x: Tensor, k: int, restarts: int) -> Hashable:
    return x.device, len(x), k, restarts


_MINI_CLUSTERS = Proven("mini-clusters", fast=at_once, plain=_plain, case=_case, differs=differs)
