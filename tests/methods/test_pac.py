"""PAC: the published sweep over all pairs, written out, against the linear and the direct form."""

from __future__ import annotations

import hashlib
import itertools
import subprocess
import sys
import tracemalloc
import warnings
from collections.abc import Iterator

import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist
from sklearn.cluster import KMeans
from sklearn.datasets import load_digits, make_blobs
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils.estimator_checks import check_estimator

from deep_clustering.methods.algorithms import pac
from deep_clustering.methods.algorithms.pac import PAC, near_uniform, pac_probabilities

METRICS = ("sqeuclidean", "cosine")
WEIGHTS = ("power", "probability")


def distances(x, metric):
    x = np.asarray(x, float)
    found = cdist(x, x, metric)
    np.fill_diagonal(found, 0)
    return found


def slow_sweeps(d, p, *, m, weights="power", exponent="real", order=None) -> Iterator[np.ndarray]:
    """P (N, K) after each sweep of Alg. 1, from the matrix of distances d (N, N)."""
    p = p.copy()
    alpha = 1 / (m - 1) if exponent == "real" else int(1 / (m - 1))
    w = p**m if weights == "power" else p.copy()
    while True:
        for i in range(len(p)) if order is None else order:
            s = np.log(np.maximum(d[i] @ w, 1e-300))
            q = np.exp(-alpha * (s - s.min()))
            p[i] = q / q.sum()
            w[i] = p[i] ** m if weights == "power" else p[i]
        yield p.copy()


def fast_sweeps(x, p, *, order=None, form="linear", **rule) -> Iterator[np.ndarray]:
    rule = pac._Rule(**rule)
    kind = {"linear": pac._Linear, "direct": pac._Direct}[form]
    p = p.copy()
    x = np.ascontiguousarray(x)
    order = np.arange(len(p)) if order is None else np.asarray(order)
    sweeps = kind(pac._Frame.of(x, rule.metric), p, order, rule)
    while True:
        sweeps.sweep()
        yield p.copy()


def start(n, k, seed=0):
    return near_uniform(n, k, 1000, np.random.RandomState(seed))


def j(d, w):
    """sum_ij <w_i, w_j> d_ij."""
    return float(np.einsum("ik,ij,jk->", w, d, w, optimize=True))


def accuracy(labels, truth):
    """Share of rows whose cluster has their label under the best naming of the clusters."""
    counts = np.zeros((labels.max() + 1, truth.max() + 1), int)
    np.add.at(counts, (labels, truth), 1)
    return counts[linear_sum_assignment(-counts)].sum() / len(labels)


def noise(n=300, d=12, seed=1):
    return np.random.default_rng(seed).normal(size=(n, d))


def blobs(n=400, d=8, k=5, spread=1.0, seed=3):
    return make_blobs(n, d, centers=k, cluster_std=spread, random_state=seed)


DIGITS, DIGITS_TRUTH = load_digits(return_X_y=True)


# --- The same iterates as over all pairs ----------------------------------------------------------


@pytest.mark.parametrize("form", ["linear", "direct"])
@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("weights", WEIGHTS)
@pytest.mark.parametrize(
    ("m", "exponent"), [(1.03, "real"), (1.05, "truncated"), (1.1, "real"), (1.3, "real")]
)
def test_every_sweep_is_the_one_over_all_pairs(metric, weights, m, exponent, form):
    for x, k in ((noise(), 4), (blobs()[0], 5)):
        p = start(len(x), k)
        rule = {"m": m, "weights": weights, "exponent": exponent}
        slow = slow_sweeps(distances(x, metric), p, **rule)
        fast = fast_sweeps(x, p, metric=metric, form=form, **rule)
        for a, b in itertools.islice(zip(slow, fast, strict=False), 15):
            np.testing.assert_allclose(b, a, rtol=0, atol=1e-8)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("weights", WEIGHTS)
def test_every_sweep_on_digits(metric, weights):
    p = start(len(DIGITS), 10)
    slow = slow_sweeps(distances(DIGITS, metric), p, m=1.03, weights=weights)
    fast = fast_sweeps(DIGITS, p, metric=metric, m=1.03, weights=weights)
    for a, b in itertools.islice(zip(slow, fast, strict=False), 14):
        np.testing.assert_allclose(b, a, rtol=0, atol=1e-8)


def test_estimator_is_the_sweeps_with_its_stopping_rule():
    x = blobs()[0]
    p = start(len(x), 5)
    found = PAC(5, random_state=0).fit(x)
    states = [p, *itertools.islice(slow_sweeps(distances(x, "sqeuclidean"), p, m=1.03), 40)]
    changes = [np.abs(b - a).sum(1).mean() for a, b in itertools.pairwise(states)]
    stop = next(t for t, c in enumerate(changes, 1) if t >= 12 and c < 1e-3)
    assert found.n_iter_ == stop
    np.testing.assert_allclose(found.probabilities_, states[stop], rtol=0, atol=1e-9)
    assert (found.labels_ == states[stop].argmax(1)).all()


def test_permuted_order_visits_in_the_drawn_order():
    x = noise(120, 5)
    found = PAC(3, m=1.05, order="permuted", random_state=7).fit(x)
    random = np.random.RandomState(7)
    p = near_uniform(120, 3, 1000, random)
    slow = slow_sweeps(distances(x, "sqeuclidean"), p, m=1.05, order=random.permutation(len(x)))
    expected = next(itertools.islice(slow, found.n_iter_ - 1, None))
    np.testing.assert_allclose(found.probabilities_, expected, rtol=0, atol=1e-8)


@pytest.mark.parametrize("gap", [1e3, 1e5])
def test_tight_and_distant_clusters_keep_their_digits(gap):
    # ||x||^2 n - 2 x M + r loses twice the digits of the gap; mass, mean and spread lose none.
    rng = np.random.default_rng(0)
    x = rng.normal(size=(90, 4)) + gap * np.repeat(np.eye(3, 4), 30, axis=0) + 1e3 * gap
    p = start(90, 3)
    d = distances(x, "sqeuclidean")
    fast = fast_sweeps(x, p, m=1.03, metric="sqeuclidean")
    for a, b in itertools.islice(zip(slow_sweeps(d, p, m=1.03), fast, strict=False), 10):
        np.testing.assert_allclose(b, a, rtol=0, atol=1e-7)
    found = PAC(3, random_state=0, tol=2, max_iter=15).fit(x)  # before the sums are renewed
    assert found.objective_ == pytest.approx(j(d, found.probabilities_**1.03), rel=1e-9)
    assert found.objectives_[0] > 1e5 * found.objective_
    assert (np.diff(found.objectives_) <= 1e-9 * found.objectives_[:-1]).all()


def test_an_outlier_does_not_blur_the_rest():
    x = blobs(60, 3, 3)[0]
    x[7] = 1e9
    p = start(60, 4)
    slow = slow_sweeps(distances(x, "sqeuclidean"), p, m=1.03)
    for form in ("linear", "direct"):
        fast = fast_sweeps(x, p, m=1.03, metric="sqeuclidean", form=form)
        for a, b in itertools.islice(zip(slow, fast, strict=False), 15):
            np.testing.assert_allclose(b, a, rtol=0, atol=1e-7)
        slow = slow_sweeps(distances(x, "sqeuclidean"), p, m=1.03)


def test_powers_are_those_of_numpy():
    import numba

    from deep_clustering.methods.clustering import pac_kernels as _pac_kernels

    power = _pac_kernels._power

    @numba.njit(error_model="numpy", fastmath={"contract", "nnan", "nsz"})
    def powers(x, exponent, found):
        for i in range(len(x)):
            found[i] = power(x[i], exponent)

    rng = np.random.default_rng(0)
    x = np.concatenate([[1.0, 1 - 2**-53, 0.5, np.sqrt(0.5)], rng.random(500)])
    x = np.concatenate([x, 10 ** -rng.uniform(0, 200, 500)])
    for exponent in (0.0, 0.03, 1.0, 1.03, 33.0, 200.0):
        found = np.empty_like(x)
        powers(x, exponent, found)
        with np.errstate(under="ignore"):
            expected = x**exponent
        expected[exponent * np.log(x) < -600] = 0
        np.testing.assert_allclose(found, expected, rtol=3e-13, atol=0)
    found = np.empty(1)
    powers(np.zeros(1), 33.0, found)
    assert found[0] == 0


# --- The objective --------------------------------------------------------------------------------


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("m", [1.01, 1.03, 1.1, 1.5])
def test_no_sweep_increases_the_objective(metric, m):
    for x, k in ((noise(), 4), (blobs(spread=3)[0], 5), (DIGITS[:600], 10)):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # m = 1.5 stays uniform
            found = PAC(k, m=m, metric=metric, random_state=0, tol=0, max_iter=30).fit(x)
        values = found.objectives_
        assert len(values) == found.n_iter_ == 30
        assert (np.diff(values) <= 1e-12 * values[:-1]).all()
        assert found.objective_ == values[-1]
        expected = j(distances(x, metric), found.probabilities_**m)
        assert found.objective_ == pytest.approx(expected, rel=1e-10)


def test_no_row_increases_the_objective_and_each_meets_its_optimality():
    x = blobs(80, 3, 4, spread=4)[0]
    d, m, p = distances(x, "sqeuclidean"), 1.05, start(80, 4)
    for _ in range(3):
        for i in range(len(x)):
            before = j(d, p**m)
            p = next(fast_sweeps(x, p, m=m, metric="sqeuclidean", order=[i]))
            assert j(d, p**m) <= before * (1 + 1e-12)
            # Stationary on the simplex: p^(m-1) s is the same for all clusters.
            level = (m - 1) * np.log(p[i]) + np.log(d[i] @ p**m)
            seen = p[i] > 1e-200
            assert np.ptp(level[seen]) < 1e-10


def test_objective_of_a_partition_is_min_sum():
    # J_1 of a hard partition is sum_k 2 n_k SSE_k: k-means with each cluster times its size.
    x, truth = blobs(90, 4, 3)
    one_hot = np.eye(3)[truth]
    expected = sum(
        2 * len(part) * ((part - part.mean(0)) ** 2).sum()
        for part in (x[truth == k] for k in range(3))
    )
    rule = pac._Rule(m=1.03, metric="sqeuclidean")
    for kind in (pac._Linear, pac._Direct):
        frame = pac._Frame.of(x, "sqeuclidean")
        sweeps = kind(frame, one_hot.copy(), np.arange(90), rule)
        mass, mean, spread = sweeps.aggregates()
        assert sweeps.objective() == pytest.approx(expected, rel=1e-12)
        assert mass.tolist() == np.bincount(truth).tolist()
        # s_ik = n_k (||x_i - mu_k||^2 + V_k)
        s = mass * cdist(x, mean + frame.centre, "sqeuclidean") + spread
        np.testing.assert_allclose(s, distances(x, "sqeuclidean") @ one_hot, rtol=1e-12)


# --- Invariants -----------------------------------------------------------------------------------


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("weights", WEIGHTS)
def test_uniform_is_a_fixed_point(metric, weights):
    uniform = np.full((300, 4), 0.25)
    after = next(fast_sweeps(noise(), uniform, m=1.03, metric=metric, weights=weights))
    np.testing.assert_allclose(after, 0.25, rtol=0, atol=1e-13)


def test_names_of_clusters_and_order_of_rows_do_not_matter():
    x, p = blobs(200, 6, 4, spread=3)[0], start(200, 4)
    rule = {"m": 1.03, "metric": "sqeuclidean"}
    rng = np.random.default_rng(0)
    columns, rows = rng.permutation(4), rng.permutation(200)
    plain = list(itertools.islice(fast_sweeps(x, p, **rule), 15))
    renamed = list(itertools.islice(fast_sweeps(x, p[:, columns], **rule), 15))
    # Position r holds row rows[r]: visit it when the plain run visits that row.
    moved = fast_sweeps(x[rows], p[rows], order=np.argsort(rows), **rule)
    for a, b, c in zip(plain, renamed, moved, strict=False):
        np.testing.assert_allclose(b, a[:, columns], rtol=0, atol=1e-8)
        np.testing.assert_allclose(c, a[rows], rtol=0, atol=1e-8)


def test_translation_rotation_and_scale_do_not_matter():
    x, p = blobs(200, 6, 4, spread=3)[0], start(200, 4)
    turn = np.linalg.qr(np.random.default_rng(0).normal(size=(6, 6))).Q

    def at(x, metric="sqeuclidean"):
        return next(itertools.islice(fast_sweeps(x, p, m=1.03, metric=metric), 14, None))

    for other in (7.3 * x, x + 100, x @ turn, 1e-60 * x, 1e60 * x):
        np.testing.assert_allclose(at(other), at(x), rtol=0, atol=1e-9)
    unit = x / np.linalg.norm(x, axis=1, keepdims=True)
    lengths = np.random.default_rng(0).uniform(0.1, 10, (200, 1))
    for other in (unit, x * lengths):
        np.testing.assert_allclose(at(other, "cosine"), at(x, "cosine"), rtol=0, atol=1e-9)
    np.testing.assert_allclose(at(unit), at(x, "cosine"), rtol=0, atol=1e-9)


@pytest.mark.parametrize("weights", WEIGHTS)
@pytest.mark.parametrize("metric", METRICS)
def test_deviations_from_uniform_grow_below_the_critical_m(weights, metric):
    x = noise(300, 12)
    d = distances(x, metric)
    g = d.sum(1)
    least = -np.linalg.eigvalsh(d / np.sqrt(np.outer(g, g)))[0]
    # Near 1/K a sweep shrinks every deviation unless alpha c least > 1; c = m for w = p^m, else 1.
    m = 1 + least if weights == "probability" else 1 / (1 - least)
    p = near_uniform(300, 2, 1e6, np.random.RandomState(0))
    growth = {}
    for share in (0.97, 1.03):
        rule = {"m": 1 + share * (m - 1), "metric": metric, "weights": weights}
        states = list(itertools.islice(fast_sweeps(x, p, **rule), 100))
        growth[share] = np.abs(states[-1] - 0.5).max() / np.abs(states[-31] - 0.5).max()
    assert growth[0.97] > 1.05
    assert growth[1.03] < 0.95


def test_truncated_exponents_are_those_of_the_rounded_quotient():
    # Published code truncates in floating-point arithmetic: 19 and not 20 at m = 1.05.
    m = (1.01, 1.02, 1.03, 1.04, 1.05, 1.06, 1.07, 1.1, 1.13, 1.16, 1.2, 1.5, 2, 3)
    alpha = [99, 49, 33, 24, 19, 16, 14, 9, 7, 6, 5, 2, 1, 0]
    assert [pac.exponent_of(value, "truncated") for value in m] == alpha


# --- What it finds --------------------------------------------------------------------------------


@pytest.mark.parametrize("metric", METRICS)
def test_digits(metric):
    found = [
        accuracy(PAC(10, metric=metric, random_state=seed).fit_predict(DIGITS), DIGITS_TRUTH)
        for seed in range(5)
    ]
    assert min(found) >= 0.76
    assert np.std(found) < 0.01


def test_equal_groups_are_found():
    x, truth = blobs(1000, 8, 5)
    assert accuracy(PAC(5, random_state=0).fit_predict(x), truth) == 1


def test_unequal_groups_are_split():
    # A property of PAC, not a defect of this file: its scores grow with the mass of a cluster, so
    # that a group of 900 is divided where k-means finds it.
    rng = np.random.default_rng(0)
    truth = np.repeat([0, 1], [900, 100])
    x = rng.normal(size=(1000, 8))
    x[truth == 1, 0] += 5
    labels = PAC(2, random_state=0).fit_predict(x)
    assert accuracy(labels, truth) < 0.75
    assert np.bincount(labels).min() > 300
    assert accuracy(KMeans(2, random_state=0).fit(x).labels_, truth) > 0.98


def test_float32_is_close_to_float64():
    wide = PAC(10, random_state=0).fit(DIGITS + 300)
    narrow = PAC(10, random_state=0).fit((DIGITS + 300).astype(np.float32))
    assert narrow.probabilities_.dtype == np.float32
    assert wide.probabilities_.dtype == np.float64
    assert (narrow.labels_ == wide.labels_).all()
    np.testing.assert_allclose(narrow.probabilities_, wide.probabilities_, rtol=0, atol=1e-6)
    assert narrow.objective_ == pytest.approx(wide.objective_, rel=1e-9)
    unit = (DIGITS / 3).astype(np.float32)
    narrow, wide = (PAC(10, metric="cosine", random_state=0).fit(x) for x in (unit, DIGITS))
    assert (narrow.labels_ == wide.labels_).mean() > 0.99


@pytest.mark.ray
def test_same_seed_same_result_in_another_process():
    code = (
        "from sklearn.datasets import load_digits; import hashlib;"
        "from deep_clustering.methods.algorithms.pac import PAC;"
        "p = PAC(10, random_state=3).fit(load_digits().data).probabilities_;"
        "print(hashlib.sha256(p.tobytes()).hexdigest())"
    )
    here = PAC(10, random_state=3).fit(DIGITS).probabilities_
    other = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True
    )
    assert other.stdout.strip() == hashlib.sha256(here.tobytes()).hexdigest()


@pytest.mark.ray
def test_importing_does_not_load_the_compiler():
    code = "import sys, deep_clustering.methods.algorithms.pac; assert 'numba' not in sys.modules"
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True)


# --- The estimator --------------------------------------------------------------------------------


def test_scikit_learn_accepts_it():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # some checks have data without groups
        results = check_estimator(PAC(3), on_skip=None)
    assert len(results) > 40
    other = {r["check_name"] for r in results if r["status"] != "passed"}
    assert other <= {"check_array_api_input"}  # of arrays that are not NumPy's, which PAC refuses


@pytest.mark.parametrize("metric", METRICS)
def test_new_rows_get_the_row_update(metric):
    x, m = blobs(300, 5, 4, spread=3)[0], 1.05
    found = PAC(4, m=m, metric=metric, random_state=0).fit(x[:250])
    s = cdist(x[250:], x[:250], metric) @ found.probabilities_**m
    expected = s ** (-1 / (m - 1)) / (s ** (-1 / (m - 1))).sum(1, keepdims=True)
    np.testing.assert_allclose(found.predict_proba(x[250:]), expected, rtol=0, atol=1e-9)
    assert (found.predict(x[250:]) == expected.argmax(1)).all()
    assert (found.predict(x[:250]) == found.labels_).mean() > 0.99
    assert found.predict_proba(x.astype(np.float32)).dtype == np.float32


def test_fitted_attributes():
    x = blobs(300, 5, 4)[0]
    found = PAC(4, random_state=0).fit(x)
    w = found.probabilities_**1.03
    np.testing.assert_allclose(found.masses_, w.sum(0), rtol=1e-12)
    means = w.T @ x / w.sum(0)[:, None]
    np.testing.assert_allclose(found.cluster_centers_, means, rtol=1e-10)
    spreads = (w * cdist(x, means, "sqeuclidean")).sum(0) / w.sum(0)
    np.testing.assert_allclose(found.spreads_, spreads, rtol=1e-10)
    assert found.objective_ == pytest.approx(2 * (found.masses_**2) @ found.spreads_)


def test_auto_takes_the_matrix_for_few_rows_of_many_dimensions(monkeypatch):
    x = noise(30, 20)
    form = PAC(3, random_state=0, max_iter=12, tol=2).fit(x).probabilities_
    np.testing.assert_allclose(
        form, PAC(3, form="linear", random_state=0, max_iter=12, tol=2).fit(x).probabilities_
    )
    monkeypatch.setattr(pac, "_Linear", None)
    PAC(3, random_state=0).fit(x)  # N = 30 <= 2 * 20
    with pytest.raises(TypeError):
        PAC(3, random_state=0).fit(noise(41, 20))


def test_read_only_and_fortran_data_are_clustered_as_they_are():
    x = blobs(100, 4, 3)[0]
    expected = PAC(3, random_state=0).fit(x).probabilities_
    frozen = x.copy()
    frozen.flags.writeable = False
    for other in (frozen, np.asfortranarray(x)):
        assert (PAC(3, random_state=0).fit(other).probabilities_ == expected).all()
    assert (frozen == x).all()


def test_memory_is_linear_and_less_than_the_data():
    x = make_blobs(50_000, 64, centers=5, random_state=0)[0].astype(np.float32)
    PAC(5, random_state=0).fit(x[:1000])  # compiled
    tracemalloc.start()
    PAC(5, random_state=0).fit(x)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < x.nbytes


# --- Offline targets ------------------------------------------------------------------------------


def test_probabilities_for_other_methods_are_those_of_the_estimator():
    found = pac_probabilities(DIGITS, 10, m=1.03, metric="cosine", seed=4)
    expected = PAC(10, metric="cosine", random_state=4).fit(DIGITS)
    assert (found == expected.probabilities_).all()


def test_warm_start_continues():
    x, truth = blobs(300, 5, 4)
    sure = 0.9 * np.eye(4)[truth] + 0.025
    kept = sure.copy()
    found = pac_probabilities(x, 4, m=1.03, metric="sqeuclidean", seed=0, start=sure)
    assert (found.argmax(1) == truth).all()  # the names are kept
    assert (sure == kept).all()
    with pytest.raises(ValueError, match=r"shape \(300, 4\), got \(300, 3\)"):
        pac_probabilities(x, 4, m=1.03, metric="cosine", seed=0, start=sure[:, :3])
    with pytest.raises(ValueError, match="rows that sum to 1"):
        pac_probabilities(x, 4, m=1.03, metric="cosine", seed=0, start=2 * sure)


def test_empty_clusters_of_a_start_are_filled():
    x, truth = blobs(200, 5, 3)
    two = np.eye(3)[np.minimum(truth, 1)]
    found = pac_probabilities(x, 3, m=1.03, metric="sqeuclidean", seed=0, start=two)
    assert accuracy(found.argmax(1), truth) == 1


# --- Degenerate data and nonsense -----------------------------------------------------------------


def checked(x, k, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        found = PAC(k, random_state=0, **options).fit(x)
    p = found.probabilities_
    assert p.min() >= 0
    np.testing.assert_allclose(p.sum(1), 1, rtol=0, atol=1e-12)
    for values in (found.predict_proba(x), found.objectives_, found.cluster_centers_):
        assert np.isfinite(values).all()
    return found


@pytest.mark.parametrize("form", ["linear", "direct"])
@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("m", [1.005, 1.03, 1.5, 4])
def test_degenerate_data_give_probabilities(form, metric, m):
    options = {"form": form, "metric": metric, "m": m}
    rng = np.random.default_rng(0)
    points = rng.normal(size=(3, 4))
    for k in (3, 5):  # as many clusters as distinct points, and more
        found = checked(np.repeat(points, 10, axis=0), k, **options)
        if m == 1.03 and k == 3:
            assert len({tuple(set(found.labels_[i : i + 10])) for i in (0, 10, 20)}) == 3
    checked(np.ones((20, 3)), 3, **options)
    half = np.column_stack([np.ones(40), rng.normal(size=40)])
    checked(half, 3, **options)
    checked(rng.normal(size=(12, 3)), 12, **options)  # K = N
    checked(rng.normal(size=(1, 3)), 1, **options)
    checked(rng.normal(size=(2, 1)), 2, **options)
    checked(np.vstack([rng.normal(size=(50, 2)), [[1e6, 1e6]]]), 4, **options)  # an outlier
    for k in (4, 5):  # of m = 4 the exponent is truncated to 0
        checked(rng.normal(size=(30, 3)), k, exponent="truncated", **options)


def test_uniform_results_are_announced():
    with pytest.warns(ConvergenceWarning, match="m = 1.5 is too large for this data"):
        PAC(4, m=1.5, random_state=0).fit(noise())
    with pytest.warns(ConvergenceWarning, match="not settled after max_iter = 3"):
        PAC(4, min_iter=1, max_iter=3, random_state=0).fit(noise())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"m": 1.0}, "m must be above 1 and finite, got 1.0"),
        ({"m": float("nan")}, "m must be above 1"),
        (
            {"metric": "euclidean"},
            "metric must be one of sqeuclidean, cosine; got 'euclidean'. Did you mean",
        ),
        ({"weights": "p"}, "weights must be one of power, probability; got 'p'"),
        ({"exponent": "floor"}, "exponent must be one of"),
        ({"form": "matrix"}, "form must be one of"),
        ({"order": "random"}, "order must be one of given, permuted; got 'random'"),
        ({"uniformity": 0}, "uniformity must be above 0"),
        ({"tol": -1}, "tol must not be negative"),
        ({"max_iter": 5}, "min_iter=12 and max_iter=5"),
        ({"n_clusters": 31}, "n_clusters=31 for n_samples=30"),
        ({"n_clusters": 0}, "n_clusters=0"),
        ({"n_clusters": 2.5}, "must be an integer"),
    ],
)
def test_nonsense_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        PAC(**{"n_clusters": 3} | options).fit(noise(30, 2))


def test_rows_without_a_direction_and_values_without_a_square_are_refused():
    x = noise(30, 3)
    x[4] = 0
    with pytest.raises(ValueError, match="row 4 is one"):
        PAC(3, metric="cosine").fit(x)
    PAC(3, random_state=0, m=1.1).fit(x)
    found = PAC(3, metric="cosine", random_state=0, m=1.1).fit(x[5:])
    with pytest.raises(ValueError, match="row 4 is one"):
        found.predict(x)
    with pytest.raises(ValueError, match="whose square leaves double precision"):
        PAC(3).fit(1e120 * x)
    x[0, 0] = np.nan
    with pytest.raises(ValueError, match="NaN"):
        PAC(3).fit(x)
    with pytest.raises(ValueError, match="finite matrix"):
        pac_probabilities(x, 3, m=1.03, metric="sqeuclidean", seed=0)
