"""Methods that fit all points at once: one contract for all of them, then each one's own claims.

Accuracies on scikit-learn's digits: k-means from random points and PAC as printed in the recipes of
their papers' tables are about 0.75 and 0.78; the others are recorded here.
"""

import dataclasses
import warnings
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits, make_blobs
from sklearn.metrics import adjusted_rand_score
from sklearn.metrics.pairwise import euclidean_distances

from deep_clustering.methods import finch, kmeans, pac, pam, rcc, sc, spkm
from deep_clustering.methods._method import Fitted, Method
from deep_clustering.methods.clustering import points as _points
from deep_clustering.methods.clustering.kmeans import kmeans as batched
from deep_clustering.methods.clustering.kmeans import neighbours
from deep_clustering.platform import registry
from deep_clustering.platform.metrics.evaluate import evaluate_partition

NAMES = registry.at_once()
# FINCH: its finest partition has pairs at least; numbers above 0 have one direction
REFUSED = {
    ("consensus", "as many as points"),  # it clusters halves
    *{("finch", "as many as points"), ("finch", "one column")},
}
SETTLED = {
    "turtle": {"iterations": 30, "inner_steps": 4, "inner_lr": 0.1, "outer_lr": 0.1},
    "temi": {
        **{"heads": 2, "hidden": 16, "bottleneck": 8, "epochs": 12},
        **{"warmup_epochs": 2, "lr": 0.02, "batch": 128},
    },
    "rcc": {"scale": 16.0},  # digits in 0..1 are too close together for its pull
    "consensus": {"resamples": 2, "restarts": 3, "starts": 1},
}


@pytest.fixture(scope="module")
def digits() -> tuple[np.ndarray, np.ndarray]:
    found = load_digits()
    return (found.data / 16).astype(np.float32), found.target


@pytest.fixture(scope="module")
def few(digits: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    return digits[0][:300]


def config(name: str, **changes: Any) -> Any:
    kind = registry.method(name).config
    having = {f.name for f in dataclasses.fields(kind)}
    chosen = {k: v for k, v in changes.items() if k in having}
    return kind(**{**SETTLED.get(name, {}), **chosen})


def fitted(name: str, points: np.ndarray, seed: int = 0, **changes: Any) -> Fitted:
    found: Fitted = registry.method(name).fit(config(name, **changes), points, seed)
    return found


def accuracy(found: Fitted, labels: np.ndarray) -> float:
    value = evaluate_partition(found.labels, labels)["acc"]
    assert isinstance(value, float)
    return value


# --- the contract -------------------------------------------------------------------------------


def test_these_fit_at_once() -> None:
    assert set(NAMES) >= {"kmeans", "pam", "fcm", "sc", "spkm", "rcc", "finch", "pac"}
    assert not {"cdc", "dpac"} & set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_a_fit_is_labels_and_numbers(name: str, few: np.ndarray) -> None:
    before = few.copy()
    found = fitted(name, few, clusters=7)
    assert np.array_equal(few, before)
    assert found.labels.shape == (300,)
    assert found.labels.dtype == np.int64
    assert found.labels.min() == 0
    if name != "rcc":
        assert found.labels.max() == 6
    assert all(type(v) is float and np.isfinite(v) for v in found.info.values())
    assert found.seconds is not None
    assert found.seconds > 0
    if found.probabilities is not None:
        assert found.probabilities.shape == (300, 7)
        assert found.probabilities.dtype == np.float64
        assert found.probabilities.min() >= 0
        assert np.abs(found.probabilities.sum(1) - 1).max() < 1e-12
        assert np.array_equal(found.probabilities.argmax(1), found.labels)


@pytest.mark.parametrize("name", NAMES)
def test_the_seed_decides_and_columns_have_no_order(name: str, few: np.ndarray) -> None:
    first, again = fitted(name, few, 3), fitted(name, few, 3)
    assert np.array_equal(first.labels, again.labels)
    assert first.info == again.info
    turned = fitted(name, few[:, np.random.default_rng(0).permutation(64)], 3)
    assert adjusted_rand_score(first.labels, turned.labels) > 0.99


def test_another_seed_is_another_start(few: np.ndarray) -> None:
    for name in ("kmeans", "spkm"):
        values = {fitted(name, few, seed).info["objective"] for seed in range(5)}
        assert len(values) > 1, name


@pytest.mark.parametrize("name", [n for n in NAMES if n != "spkm"])
def test_unit_is_fitting_rows_of_length_one(name: str, few: np.ndarray) -> None:
    alone = few / np.linalg.norm(few, axis=1, keepdims=True)
    found = fitted(name, few, unit=True)
    assert np.array_equal(found.labels, fitted(name, alone).labels)
    changes = {"metric": "euclidean"} if name == "finch" else {}  # by the cosine it is no change
    found, other = fitted(name, few, unit=True, **changes), fitted(name, few, **changes)
    assert not np.array_equal(found.labels, other.labels)


@pytest.mark.parametrize("name", NAMES)
def test_every_field_is_read(name: str, few: np.ndarray) -> None:
    class Noted:
        def __init__(self, given: Any) -> None:
            self.given, self.read = given, set[str]()

        def __getattr__(self, field: str) -> Any:
            self.read.add(field)
            return getattr(self.given, field)

    method: Method = registry.method(name)
    noted = Noted(config(name))
    assert method.fit is not None
    method.fit(noted, few, 0)
    assert noted.read >= {f.name for f in dataclasses.fields(method.config)}


@pytest.mark.parametrize("name", NAMES)
def test_points_that_cannot_be_clustered_are_refused(name: str, few: np.ndarray) -> None:
    broken = few.copy()
    broken[5, 5] = np.nan
    for wrong in (broken, few[:, 0], few[:, :0], few[:0]):
        with pytest.raises(ValueError, match="points must be a finite matrix"):
            fitted(name, wrong)
    if name != "rcc":
        with pytest.raises(ValueError, match="clusters must be at most the number of points"):
            fitted(name, few[:5], clusters=6)


@pytest.mark.parametrize("name", NAMES)
def test_degenerate_points_give_a_partition_or_a_sentence(name: str, few: np.ndarray) -> None:
    cases = {
        "twice": (np.repeat(few[:20], 2, axis=0), 4),
        "a constant column": (np.hstack([few[:40], np.ones((40, 1), np.float32)]), 4),
        "one cluster": (few[:40], 1),
        "as many as points": (few[:12], 12),
        "one column": (few[:40, 20:21] + 1, 3),
    }
    for what, (points, clusters) in cases.items():
        if (name, what) in REFUSED:
            with pytest.raises(ValueError, match="; "):
                fitted(name, points, clusters=clusters)
            continue
        found = fitted(name, points, clusters=clusters)
        assert found.labels.shape == (len(points),), what
        assert found.labels.min() >= 0
        assert name == "rcc" or found.labels.max() < clusters
        assert found.probabilities is None or np.isfinite(found.probabilities).all()


@pytest.mark.ray
@pytest.mark.parametrize(
    ("name", "low", "high"),
    [
        ("kmeans", 0.70, 0.80),
        ("pac", 0.76, 0.80),
        ("pam", 0.77, 0.82),
        ("fcm", 0.77, 0.81),
        ("sc", 0.78, 0.84),
        ("spkm", 0.70, 0.80),
        ("finch", 0.70, 0.75),
        ("rcc", 0.84, 0.88),
    ],
)
def test_digits(name: str, low: float, high: float, digits: tuple[np.ndarray, np.ndarray]) -> None:
    points, labels = digits
    seeds = 1 if name in ("finch", "rcc") else 5
    found = [accuracy(fitted(name, points, seed), labels) for seed in range(seeds)]
    assert low < np.mean(found) < high
    if name == "pac":
        assert np.std(found) < 0.01


def test_configurations_name_every_mistake() -> None:
    with pytest.raises(ValueError, match=r"clusters: must be above 0, got 0\nm: must be above 1"):
        pac.PACConfig(clusters=0, m=1.0)
    with pytest.raises(ValueError, match=r"max_iter: must be at least min_iter \(12\), got 3"):
        pac.PACConfig(max_iter=3)
    with pytest.raises(ValueError, match="metric: must be one of cosine, euclidean; got 'l1'"):
        finch.FINCHConfig(metric="l1")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="neighbours: must be at least 2"):
        sc.SCConfig(neighbours=1)


def test_what_does_not_fit_into_memory_is_refused_with_its_size() -> None:
    with pytest.raises(ValueError, match=r"a matrix takes 1,048,576\.0 GiB.*free; use fewer"):
        _points.need_memory(2**50, "a matrix", "use fewer points")
    _points.need_memory(2**10, "a matrix", "use fewer points")
    with pytest.raises(ValueError, match=r"PAM's matrix of 4,000,000 x 4,000,000 distances"):
        pam.fit(pam.PAMConfig(), np.zeros((4_000_000, 1), np.float32), 0)


def test_a_method_has_one_shape() -> None:
    given: dict[str, Any] = {"summary": "", "citation": "", "version": 1, "config": dict}
    with pytest.raises(ValueError, match="either build or fit"):
        Method(**given)
    with pytest.raises(ValueError, match="either build or fit"):
        Method(**given, build=dict, restore=dict, fit=kmeans.fit)
    with pytest.raises(ValueError, match="belong together"):
        Method(**given, build=dict)
    with pytest.raises(ValueError, match="stands on no other work"):
        Method(**given, fit=kmeans.fit, needs=registry.method("cdc").needs)
    assert Method(**given, fit=kmeans.fit).layers("digits", 8) == []


# --- each one ------------------------------------------------------------------------------------


def test_nearest_neighbours_by_hand() -> None:
    points = np.array([[0, 1], [0.1, 3], [1, 1], [5, 1]], np.float32)
    assert _points.nearest(points, 1, "euclidean")[:, 0].tolist() == [2, 0, 0, 2]
    assert _points.nearest(points, 1, "cosine")[:, 0].tolist() == [1, 0, 3, 2]
    with_zero = np.array([[0, 0], [0, 3], [1, 3]], np.float32)
    assert _points.nearest(with_zero, 1, "cosine")[1:, 0].tolist() == [2, 1]


def test_no_swap_improves_medoids(few: np.ndarray) -> None:
    points = few[:40]
    found = pam.fit(pam.PAMConfig(clusters=3), points, 0)
    distances = euclidean_distances(points)

    def loss(medoids: list[int]) -> float:
        return float(distances[:, medoids].min(1).sum())

    best = min(loss([a, b, c]) for a in range(40) for b in range(a) for c in range(b))
    groups = [np.flatnonzero(found.labels == k) for k in range(3)]
    medoids = [int(g[distances[np.ix_(g, g)].sum(1).argmin()]) for g in groups]
    assert loss(medoids) == pytest.approx(found.info["objective"], rel=1e-5)
    for place in range(3):
        for other in range(40):
            swapped = [*medoids[:place], other, *medoids[place + 1 :]]
            assert loss(swapped) >= loss(medoids) - 1e-4
    assert found.info["objective"] >= best - 1e-4


def test_spherical_k_means_ends_where_nothing_moves(few: np.ndarray) -> None:
    unit = few / np.linalg.norm(few, axis=1, keepdims=True)
    found = spkm.fit(spkm.SPKMConfig(clusters=5), few, 1)
    sums = np.stack([unit[found.labels == k].sum(0) for k in range(5)])
    cosines = unit @ (sums / np.linalg.norm(sums, axis=1, keepdims=True)).T
    assert np.array_equal(cosines.argmax(1), found.labels)
    assert found.info["objective"] == pytest.approx(cosines.max(1).mean(), abs=1e-6)
    rounds = [spkm.fit(spkm.SPKMConfig(clusters=5, max_iter=i), few, 1) for i in range(1, 9)]
    values = [r.info["objective"] for r in rounds]
    assert values == sorted(values)


def test_spherical_k_means_fills_a_cluster_that_lost_its_points() -> None:
    points = np.array([[1, 0], [1, 0], [0, 1], [0.6, 0.8]], np.float32)
    labels, best = np.array([0, 0, 1, 1]), np.array([1.0, 1.0, 0.9, 0.7])
    centres = spkm._centres(points, labels, best, 3)
    assert centres.tolist() == points[[0, 2, 3]].tolist()  # the last fitted worst
    assert labels.tolist() == [0, 0, 1, 1]


def test_spectral_clustering_separates_what_is_not_joined() -> None:
    angle = np.linspace(0, 2 * np.pi, 100, endpoint=False)
    ring = np.stack([np.cos(angle), np.sin(angle)], 1)
    points = np.concatenate([ring, 3 * ring]).astype(np.float32)
    found = sc.fit(sc.SCConfig(clusters=2, neighbours=5), points, 0)
    assert found.info["components"] == 2
    assert len(set(found.labels[:100])) == len(set(found.labels[100:])) == 1
    assert found.labels[0] != found.labels[100]
    with pytest.raises(ValueError, match="neighbours=10 for 6 points"):
        sc.fit(sc.SCConfig(clusters=2), points[:6], 0)


def test_finch_has_the_number_that_was_asked_for(few: np.ndarray) -> None:
    finest = int(finch.fit(finch.FINCHConfig(clusters=2), few, 0).info["finest"])
    for clusters in (1, 2, 3, 11, finest):
        found = finch.fit(finch.FINCHConfig(clusters=clusters), few, 0)
        assert len(np.unique(found.labels)) == clusters
    with pytest.raises(ValueError, match=rf"its finest partition has {finest}; ask for another"):
        finch.fit(finch.FINCHConfig(clusters=finest + 1), few, 0)


def test_finch_in_blocks_joins_the_same_first_neighbours(
    few: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    exact = finch.fit(finch.FINCHConfig(clusters=5), few, 0)
    monkeypatch.setattr(finch, "_BLOCK", 7 * len(few))
    blocks = finch.fit(finch.FINCHConfig(clusters=5), few, 0)
    assert np.array_equal(blocks.labels, exact.labels)
    assert blocks.info == exact.info


def test_rcc_finds_separated_blobs_and_their_number() -> None:
    points, labels = make_blobs(
        [60, 80, 100, 40], centers=None, n_features=8, cluster_std=0.5, random_state=3
    )
    for metric in ("euclidean", "cosine"):
        found = rcc.fit(rcc.RCCConfig(metric=metric), points.astype(np.float32), 0)  # type: ignore[arg-type]
        sizes = np.bincount(found.labels)
        assert (sizes > 10).sum() == 4
        assert adjusted_rand_score(labels, found.labels) > 0.9  # some have no mutual neighbour
        for k in np.flatnonzero(sizes > 10):
            assert len(set(labels[found.labels == k])) == 1
        assert found.info["clusters_found"] == len(sizes)


def test_rcc_by_hand() -> None:
    near = np.array([[1, 2], [0, 2], [1, 3], [2, 1]])  # 0 takes 2, which takes 1 and 3
    p, q = rcc.mutual(near)
    assert list(zip(p.tolist(), q.tolist(), strict=True)) == [(0, 1), (1, 2), (2, 3)]
    assert rcc.shortest(np.arange(1.0, 301.0)) == 2.0  # the mean of 1, 2 and 3
    assert rcc.shortest(np.arange(1.0, 5.0)) == 1.0
    assert rcc.shortest(np.zeros(0)) == 0.0
    assert rcc.line_process(np.array([0.0, 1.0, 3.0]), 1.0).tolist() == [1.0, 0.25, 0.0625]
    assert rcc._components(np.array([0, 3]), np.array([1, 4]), 5).tolist() == [0, 0, 1, 2, 2]


def test_rcc_solves_its_linear_system() -> None:
    random = np.random.default_rng(0)
    p, q = rcc.mutual(np.argsort(random.random((50, 50)), 1)[:, :20])
    weights = random.random(len(p))
    matrix = 7 * rcc._laplacian(p, q, weights, 50)
    dense = np.zeros((50, 50))
    for i, j, w in zip(p, q, weights, strict=True):
        e = np.zeros(50)
        e[i], e[j] = 1, -1
        dense += 7 * w * np.outer(e, e)
    assert np.abs(matrix.toarray() - dense).max() < 1e-12
    x = random.normal(size=(50, 4))
    exact = np.linalg.solve(np.eye(50) + dense, x)
    assert np.abs(rcc._solved(x, matrix, x) - exact).max() < 1e-3
    assert rcc._largest(matrix) == pytest.approx(np.linalg.eigvalsh(dense)[-1], rel=1e-3)
    assert rcc._spectral_norm(x) == pytest.approx(np.linalg.norm(x, 2), rel=1e-3)


def test_rcc_needs_fewer_neighbours_than_points(few: np.ndarray) -> None:
    with pytest.raises(ValueError, match="neighbours=10 for 8 points"):
        rcc.fit(rcc.RCCConfig(), few[:8], 0)


# --- scales, offsets, ties and outliers -----------------------------------------------------------


@pytest.fixture(scope="module")
def blobs() -> tuple[np.ndarray, np.ndarray]:
    points, labels = make_blobs(200, n_features=4, centers=4, random_state=3, cluster_std=0.5)
    return points.astype(np.float32), labels


@pytest.mark.parametrize("scale", [1e18, 1e-26])
@pytest.mark.parametrize("name", [n for n in NAMES if n != "rcc"])
@pytest.mark.parametrize("metric", ["cosine", "euclidean", "sqeuclidean"])
def test_the_scale_of_points_decides_nothing(
    name: str, metric: str, scale: float, blobs: tuple[np.ndarray, np.ndarray]
) -> None:
    try:
        config(name, metric=metric)
    except ValueError:
        return  # not a metric of this method
    found = fitted(name, blobs[0], clusters=4, metric=metric)
    scaled = fitted(name, blobs[0] * np.float32(scale), clusters=4, metric=metric)
    assert adjusted_rand_score(found.labels, scaled.labels) == 1
    if "objective" in found.info and name != "spkm":
        powers = {"cosine": 0, "euclidean": 1, "sqeuclidean": 2}
        power = powers[metric] if name in ("pam", "pac") else 2
        ratio = scaled.info["objective"] / scale**power
        assert ratio == pytest.approx(found.info["objective"], rel=1e-3)


def test_rcc_refuses_scales_at_which_its_rule_means_nothing(
    blobs: tuple[np.ndarray, np.ndarray],
) -> None:
    for points in (blobs[0] * np.float32(1e18), blobs[0] * np.float32(1e-26), np.ones((30, 3))):
        with pytest.raises(ValueError, match=r"depends on the scale of the points.*; set scale"):
            fitted("rcc", points, metric="euclidean")


@pytest.mark.parametrize("name", [n for n in NAMES if n not in ("spkm", "rcc")])
@pytest.mark.parametrize("offset", [1e5, 1e12])
def test_an_offset_decides_nothing(
    name: str, offset: float, blobs: tuple[np.ndarray, np.ndarray]
) -> None:
    changes = {"metric": "euclidean"} if name == "finch" else {}
    moved = blobs[0].astype(np.float64) + offset
    found = fitted(name, blobs[0], clusters=4, **changes)
    assert adjusted_rand_score(found.labels, fitted(name, moved, clusters=4, **changes).labels) == 1


@pytest.mark.parametrize("name", ["finch", "pam", "spkm"])
def test_directions_of_points_far_away(name: str, blobs: tuple[np.ndarray, np.ndarray]) -> None:
    """At 1e4 they differ by 1e-4, and cosines by 1e-8, less than float32 holds."""
    far = blobs[0] + np.float32(1e4)
    rows = far.astype(np.float64)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    rows = (1e4 * (rows - rows.mean(0))).astype(np.float32)
    other = {"finch": "finch", "pam": "pam", "spkm": "kmeans"}[name]
    metric = {"pam": "sqeuclidean"}.get(name, "euclidean")
    expected = fitted(other, rows, clusters=4, metric=metric, restarts=10)
    found = fitted(name, far, clusters=4, metric="cosine")
    least = {"finch": 1.0, "pam": 1.0, "spkm": 0.5}[name]  # random starts
    assert adjusted_rand_score(expected.labels, found.labels) >= least
    with pytest.raises(ValueError, match=r"one direction as far as float32 can tell.*; take their"):
        fitted(name, blobs[0].astype(np.float64) + 1e9, clusters=4, metric="cosine")


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_finch_on_zeros_and_ones(metric: str) -> None:
    for seed in range(9):
        for width in (3, 6, 12):
            random = np.random.default_rng(seed)
            points = (random.random((60, width)) < 0.5).astype(np.float32)
            finest = int(fitted("finch", points, clusters=1, metric=metric).info["finest"])
            for clusters in range(1, finest + 1):
                found = fitted("finch", points, clusters=clusters, metric=metric)
                assert len(np.unique(found.labels)) == clusters


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_finch_is_the_authors_package(metric: str, few: np.ndarray) -> None:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "pynndescent is not installed", UserWarning)
        from finch import FINCH
    for points in (few, np.random.default_rng(0).normal(size=(200, 8)).astype(np.float32)):
        for clusters in (2, 5, 10, 20):
            _, counts, labels = FINCH(
                points, req_clust=clusters, distance=metric, ann_threshold=len(points)
            )
            found = fitted("finch", points, clusters=clusters, metric=metric)
            assert np.array_equal(np.unique(labels, return_inverse=True)[1], found.labels)
            assert found.info == {"partitions": len(counts), "finest": counts[0]}


def test_one_outlier_does_not_blur_the_other_points(few: np.ndarray) -> None:
    outlier = np.full((1, few.shape[1]), 1e8, np.float32)
    points = np.concatenate([few, outlier])
    found = fitted("kmeans", points, clusters=11, restarts=10)
    exact = fitted("kmeans", few, clusters=10, restarts=10)
    assert found.info["objective"] < 1.1 * exact.info["objective"]
    result = batched(torch.from_numpy(points), 11)
    plain = batched(torch.from_numpy(few), 10)
    assert float(result.inertia) < 1.1 * float(plain.inertia)


def test_neighbours_far_from_the_origin() -> None:
    points = np.random.default_rng(0).normal(size=(100, 3)) + np.array([1e6, 0, 0])
    far = points.astype(np.float32)
    unit = far.astype(np.float64) / np.linalg.norm(far.astype(np.float64), axis=1, keepdims=True)
    expected = np.argsort(((unit[:, None] - unit) ** 2).sum(2) + 9 * np.eye(100), 1)[:, :5]
    assert np.array_equal(neighbours(torch.from_numpy(far), 5).numpy(), expected)
    assert np.array_equal(_points.nearest(far, 5, "cosine"), expected)
