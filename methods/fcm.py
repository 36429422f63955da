"""FCM, fuzzy c-means: k-means with memberships between 0 and 1; the rounds are in `_fcm`.

Bezdek: "Pattern Recognition with Fuzzy Objective Function Algorithms", 1981. "DPAC" below is Yan,
Lu, Yan, ECCV 2024, whose Tables 2, 3 and Fig. 1 compare with it.
"""

import math
from dataclasses import dataclass

import numpy as np

from deep_clustering.methods._fields import Rule, check, doc, not_negative, positive
from deep_clustering.methods._method import Fitted, Method
from deep_clustering.methods.clustering.fcm import fcm, objective
from deep_clustering.methods.clustering.points import prepared, stopwatch


@dataclass(frozen=True, kw_only=True, slots=True)
class FCMConfig:
    clusters: int = doc(10, "K; the platform sets it from the data set")
    unit: bool = doc(False, "rows divided by their Euclidean length first; DPAC, Table 3")
    m: float = doc(1.1, "exponent of the memberships; DPAC, Table 2 (1.05 in Table 3)")
    max_iter: int = doc(300, "rounds at most")
    tol: float = doc(1e-4, "largest change of a membership to stop at")

    def __post_init__(self) -> None:
        check(
            self,
            [
                *positive(self, "clusters", "max_iter"),
                *not_negative(self, "tol"),
                Rule(1 < self.m < math.inf, "m", "must be above 1 and finite"),
            ],
        )


def fit(config: FCMConfig, points: np.ndarray, seed: int) -> Fitted:
    """Memberships of `points` (n, d), from random ones; see `Method.fit`."""
    points = prepared(points, unit=config.unit, clusters=config.clusters)
    with stopwatch() as seconds:
        memberships = fcm(
            points,
            config.clusters,
            m=config.m,
            seed=seed,
            max_iter=config.max_iter,
            tol=config.tol,
        )
    return Fitted(
        labels=memberships.argmax(1),
        probabilities=memberships,
        info={"objective": objective(points, memberships, m=config.m)},
        seconds=seconds[0],
    )


METHOD = Method(
    summary="Fuzzy c-means from random memberships, on all points at once",
    citation="Bezdek. Pattern Recognition with Fuzzy Objective Function Algorithms. 1981.",
    version=1,
    config=FCMConfig,
    fit=fit,
)
