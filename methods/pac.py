"""PAC, probability aggregation clustering, in time and memory linear in the number of samples.

Yan, Lu and Yan, "Deep Probability Aggregation Clustering", ECCV 2024, Sec. 3.3
(https://arxiv.org/abs/2407.05246).

PAC has no centres. Each sample has a probability vector p_i over K clusters, and all of them
minimise J(P) = sum_ij <w_i, w_j> d_ij by one exact row update after another (Eq. 8, Alg. 1):

    s_ik = sum_j w_jk d_ij,        p_ik = s_ik^-alpha / sum_r s_ir^-alpha,   alpha = 1 / (m - 1)

As published, a sweep over the N samples takes the N x N matrix of distances and N^2 K operations.
For squared Euclidean and cosine distances s_ik follows from three aggregates of each cluster, which
every row updates in place: the same iterates in O(N K D). `algorithms.pac` has the estimator.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from deep_clustering.methods._fields import (
    Rule,
    check,
    choice,
    doc,
    not_negative,
    positive,
)
from deep_clustering.methods._method import Difference, Later, Method

Metric = Literal["sqeuclidean", "cosine"]
Weights = Literal["power", "probability"]
Exponent = Literal["real", "truncated"]
Order = Literal["given", "permuted"]
Form = Literal["auto", "linear", "direct"]


@dataclass(frozen=True, kw_only=True, slots=True)
class PACConfig:
    clusters: int = doc(10, "K; the platform sets it from the data set")
    unit: bool = doc(False, "rows divided by their Euclidean length first; Table 3")
    m: float = doc(1.03, "weight exponent; Sec. 4.1")
    metric: Metric = doc("sqeuclidean", 'of raw data, Sec. 4.1; "cosine" for deep features')
    weights: Weights = doc("power", "w in the scores, p^m or p (Eq. 8); release")
    exponent: Exponent = doc("real", "1 / (m - 1), or its integer part as in the release; Eq. 8")
    uniformity: float = doc(1000.0, "of the start, softmax(normal / uniformity); release")
    tol: float = doc(1e-3, "mean change of a row of P, summed over clusters, to stop at; release")
    min_iter: int = doc(12, "sweeps before `tol` counts; release")
    max_iter: int = doc(100, "sweeps at most; release")
    order: Order = doc("given", "in which rows are visited, or one random order; Alg. 1")

    def __post_init__(self) -> None:
        check(
            self,
            [
                *positive(self, "clusters", "uniformity", "min_iter"),
                *not_negative(self, "tol"),
                *choice(self, metric=Metric, weights=Weights, exponent=Exponent, order=Order),
                Rule(1 < self.m < math.inf, "m", "must be above 1 and finite"),
                Rule(
                    self.min_iter <= self.max_iter,
                    "max_iter",
                    f"must be at least min_iter ({self.min_iter})",
                ),
            ],
        )


METHOD = Method(
    summary="Probability aggregation clustering in linear time, on all points at once",
    citation=(
        "Yan, Lu, Yan. Deep Probability Aggregation Clustering. ECCV 2024. "
        "https://arxiv.org/abs/2407.05246"
    ),
    version=1,
    config=PACConfig,
    fit=Later("deep_clustering.methods.algorithms.pac:fit"),
    readings={
        "paper": {"weights": "probability"},
        "release": {"exponent": "truncated", "metric": "cosine"},
    },
    differences=(
        Difference(
            topic="weight in the scores (Eq. 8)",
            paper="p",
            release="p^m, under which no sweep increases the objective",
            default="release",
            field="weights",
        ),
        Difference(
            topic="exponent of the scores",
            paper="1 / (m - 1)",
            release="its integer part in floating-point arithmetic, 33 for m = 1.03",
            default="paper",
            field="exponent",
        ),
        Difference(
            topic="distance",
            paper="squared Euclidean",
            release="cosine",
            default="paper; cosine suits deep features",
            field="metric",
        ),
        Difference(
            topic="m",
            paper="1.03",
            release="1.01 in the class, and its scripts pass 1.03",
            default="1.03",
            field="m",
        ),
        Difference(
            topic="a sample's distance to itself",
            paper="left out of the sum",
            release="in the sum, as large as rounding makes it",
            default="paper",
        ),
    ),
)
