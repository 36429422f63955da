"""k-means and neighbours: the published rules, exactness, limits and both routes of each."""

from __future__ import annotations

import importlib.util
import math
import statistics
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

from deep_clustering.methods.clustering import kmeans as _kmeans
from deep_clustering.methods.clustering.kmeans import kmeans, neighbours


def _load_reference() -> ModuleType:
    path = Path(__file__).parents[2] / "benchmarks" / "kmeans_reference.py"
    spec = importlib.util.spec_from_file_location("kmeans_reference", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


reference = _load_reference()


@pytest.fixture(params=["matrix", "stream"])
def route(request, monkeypatch) -> str:
    """Run the test through the distance matrix and through streamed distances."""
    if request.param == "stream":
        monkeypatch.setattr(_kmeans, "MATRIX_LIMIT", 0)
        monkeypatch.setattr(_kmeans, "_ALWAYS_MATRIX", 0)
    return request.param


@pytest.fixture
def no_faiss(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "faiss", None)  # importing it now raises ImportError


class OperationCounter(TorchDispatchMode):
    """Counts the tensor operations that compute something: on CUDA, about one launch each."""

    count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.count += not func.is_view
        return func(*args, **(kwargs or {}))


def blobs(n: int, d: int, k: int, *, seed: int, spread: float = 1.0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    centres = 3 * torch.randn(k, d, generator=generator)
    picks = torch.randint(k, (n,), generator=generator)
    return centres[picks] + spread * torch.randn(n, d, generator=generator)


def exact_distances(x: Tensor, centres: Tensor) -> Tensor:
    """(n, k) float64 by plain differences."""
    return (x.double()[:, None] - centres.double()).norm(dim=2)


def assert_consistent(x: Tensor, result: _kmeans.KMeans) -> None:
    """Labels are the nearest returned centres (ties apart) and the inertia is theirs."""
    distances = exact_distances(x, result.centres)
    nearest = distances.min(1).values
    own = distances.gather(1, result.labels[:, None])[:, 0]
    assert torch.all(own <= nearest * (1 + 1e-9) + 1e-12 * x.abs().max())
    assert float(result.inertia) == pytest.approx(float(own.sum()), rel=1e-6, abs=1e-30)


def members_mean(x: Tensor, labels: Tensor, k: int) -> Tensor:
    sums = torch.zeros(k, x.shape[1], dtype=torch.float64).index_add_(0, labels, x.double())
    return sums / labels.bincount(minlength=k).clamp(min=1)[:, None]


# --- results -------------------------------------------------------------------------------------


def test_hand_worked_example(route):
    # Two pairs: every start ends with the pairs, centres midway, four distances of 1.
    x = torch.tensor([[0.0, 0.0], [0.0, 2.0], [10.0, 0.0], [10.0, 2.0]])
    result = kmeans(x, 2)
    assert result.labels[0] == result.labels[1] != result.labels[2] == result.labels[3]
    assert sorted(result.centres.tolist()) == [[0.0, 1.0], [10.0, 1.0]]
    assert float(result.inertia) == pytest.approx(4.0)


def test_distances_count_unsquared():
    # On a line, members 0, 0, 0, 3 and far away 100: the squared objective is the same partition,
    # the inertia is 3 * 0.75 + 2.25 = 4.5, not 6.75 as with squares.
    x = torch.tensor([[0.0], [0.0], [0.0], [3.0], [100.0]])
    assert float(kmeans(x, 2).inertia) == pytest.approx(4.5)


@pytest.mark.parametrize("k", [1, 2, 7, 40, 100])
def test_labels_are_the_nearest_returned_centres(k, route):
    x = reference.features(250, 24, seed=k)
    result = kmeans(x, k)
    assert result.centres.shape == (k, 24)
    assert result.labels.shape == (250,)
    assert result.centres.dtype == torch.float32
    assert result.labels.dtype == torch.int64
    assert_consistent(x, result)


@pytest.mark.parametrize("offset", [0.0, 20.0])
def test_centres_are_the_means_of_their_members(offset, route):
    # Clear groups, so that the best round is also the last one.
    x = blobs(250, 6, 9, seed=0, spread=0.1) + offset
    result = kmeans(x, 9)
    assert_consistent(x, result)
    assert result.labels.bincount(minlength=9).min() > 0
    torch.testing.assert_close(
        result.centres.double(), members_mean(x, result.labels, 9), rtol=1e-5, atol=1e-6
    )


@pytest.mark.parametrize(("offset", "scale"), [(0.0, 1e-12), (0.0, 1e12), (1e3, 1.0), (-50, 1e-2)])
def test_far_from_the_origin_and_at_any_scale(offset, scale, route):
    x = scale * (blobs(200, 8, 6, seed=1) + offset)
    assert_consistent(x, kmeans(x, 20))


def test_near_duplicates_are_told_apart():
    # 1e-5 apart at distance 1 from the mean: the textbook formula loses this in float32.
    generator = torch.Generator().manual_seed(0)
    base = torch.randn(60, 16, generator=generator)
    twins = base + 1e-5 * torch.randn(60, 16, generator=generator)
    x = torch.cat([base, twins])
    result = kmeans(x, 120)
    assert sorted(result.labels.tolist()) == list(range(120))
    pairs = kmeans(x, 60)
    assert torch.equal(pairs.labels[:60], pairs.labels[60:])


@pytest.mark.parametrize("n", [1, 2, 50, 1200])
def test_as_many_clusters_as_points(n):
    x = torch.rand(n, 3, generator=torch.Generator().manual_seed(n))
    result = kmeans(x, n)
    assert sorted(result.labels.tolist()) == list(range(n))
    torch.testing.assert_close(result.centres[result.labels], x)
    assert float(result.inertia) < 1e-5


def test_one_cluster_is_the_mean(route):
    x = blobs(90, 3, 4, seed=2)
    result = kmeans(x, 1)
    torch.testing.assert_close(result.centres[0], x.mean(0))
    assert result.labels.unique().tolist() == [0]
    assert float(result.inertia) == pytest.approx(float((x - x.mean(0)).norm(dim=1).sum()), 1e-5)


@pytest.mark.fault(51)
def test_fewer_distinct_points_than_clusters(route):
    points = torch.tensor([[1.0, 5.0], [2.0, 5.0], [4.0, 7.0]])
    x = points.repeat(20, 1)
    result = kmeans(x, 10)
    assert torch.isfinite(result.centres).all()
    assert float(result.inertia) < 1e-3
    labels = result.labels.view(20, 3)
    assert (labels == labels[0]).all()
    assert len(labels[0].unique()) == 3
    # Seven clusters have no member; a centre is one of the points or the zero vector.
    allowed = torch.cat([points, torch.zeros(1, 2)])
    assert exact_distances(result.centres, allowed).min(1).values.max() < 1e-4
    assert_consistent(x, result)


def test_all_points_equal(route):
    x = torch.full((30, 4), 0.1)
    result = kmeans(x, 5)
    assert float(result.inertia) < 1e-5
    assert torch.isfinite(result.centres).all()


@pytest.mark.fault(52)
def test_empty_clusters_move_to_the_old_origin():
    # Labels 0 and 2 only, cluster 1 is empty: its centre is the zero vector of the original space,
    # which here is the nearest centre for the point (1, 0), so that round moves the point there.
    x = torch.tensor([[1.0, 0.0], [9.0, 0.0], [9.0, 2.0], [30.0, 0.0]])
    frame = _kmeans._Frame(x)
    labels = torch.tensor([[0, 0, 0, 2]])
    for space in (_kmeans._Matrix(frame, 3), _kmeans._Stream(frame, 3)):
        moved, inertia = space.update(labels)
        assert moved.tolist() == [[1, 0, 0, 2]]
        # Cluster 0 has its centre at (19/3, 2/3).
        expected = 1 + math.hypot(8 / 3, 2 / 3) + math.hypot(8 / 3, 4 / 3)
        assert float(inertia * frame.radius) == pytest.approx(expected, rel=1e-6)
    result = frame.finish(labels, 3)
    assert result.centres[1].tolist() == [0.0, 0.0]
    assert result.labels.tolist() == [1, 0, 0, 2]


# --- against the slow reference ------------------------------------------------------------------


@pytest.mark.ray
@pytest.mark.parametrize("k", [10, 40, 150])
def test_inertia_of_the_slow_reference(k):
    ratios = []
    for seed in range(8):
        x = reference.features(300, 32, seed=seed)
        ratios.append(float(kmeans(x, k).inertia) / reference.kmeans(x, k)[2])
    assert statistics.mean(ratios) == pytest.approx(1, abs=0.005)


def test_reference_keeps_its_own_rules():
    # Invariant 26: the best state is at least as good as the end of every restart.
    x = reference.features(120, 16, seed=3)
    centres, labels, inertia, last = reference.kmeans(x, 30)
    assert inertia <= min(last)
    assert len(last) == 10
    assert torch.equal(labels, torch.cdist(x, centres).argmin(1))


def test_one_round_equals_the_reference(route):
    x = reference.features(200, 16, seed=4)
    k = 30
    labels = torch.randint(k - 2, (3, 200), generator=torch.Generator().manual_seed(0))
    frame = _kmeans._Frame(x)
    spaces = {"matrix": _kmeans._Matrix, "stream": _kmeans._Stream}
    space = spaces[route](frame, k)
    parts = [space.update(part) for part in labels.split(3 if route == "matrix" else 1)]
    moved = torch.cat([part[0] for part in parts])
    inertia = torch.cat([part[1] for part in parts]) * frame.radius
    for restart in range(3):
        distances = exact_distances(x, reference.means(x, labels[restart], k))
        own = distances.gather(1, moved[restart][:, None])[:, 0]
        assert torch.all(own <= distances.min(1).values + 1e-7)
        assert float(inertia[restart]) == pytest.approx(float(distances.min(1).values.sum()), 1e-5)


def test_seeding_follows_the_draws():
    # Points 0, 1, 3, 7, 8 on a line. First: floor(0.5 * 5) = 2, the point 3, at distances
    # 3, 2, 0, 4, 5 (sum 14, cumulative 3, 5, 5, 9, 14). Draws 0.3 and 0.8 give 4.2 -> point 1 and
    # 11.2 -> point 8. Sums with the candidate: 1 leaves 1 + 0 + 0 + 4 + 5 = 10, 8 leaves
    # 3 + 2 + 0 + 1 + 0 = 6: 8 is taken. Then the distances are 3, 2, 0, 1, 0 (cumulative 3, 5, 5,
    # 6, 6): 0.1 -> 0.6 -> point 0, leaving 0 + 1 + 0 + 1 + 0 = 2; 0.84 -> 5.04 -> point 7, leaving
    # 3 + 2 = 5: 0 is taken. The second restart starts at the point 0.
    line = torch.tensor([0.0, 1.0, 3.0, 7.0, 8.0])
    distances = (line[:, None] - line).abs()
    first = torch.tensor([0.5, 0.0], dtype=torch.float64)
    draws = torch.tensor([[[0.3, 0.8], [0.0, 0.0]], [[0.1, 0.84], [0.0, 0.0]]]).double()
    chosen = _kmeans._seed(lambda index: distances[index], 5, first, draws)
    assert chosen[0].tolist() == [2, 4, 0]
    # From 0: cumulative 0, 1, 4, 11, 19, and a draw of 0 means the first point with weight: 1.
    assert chosen[1].tolist() == [0, 1, 2]


def test_number_of_candidates():
    expected = {1: 2, 10: 4, 15: 4, 20: 4, 40: 5, 150: 7, 200: 7, 500: 8, 512: 8, 1000: 8}
    for k, trials in expected.items():
        assert _kmeans._uniforms(k, 2, 0, torch.device("cpu"))[1].shape == (k - 1, 2, trials)


def test_more_restarts_never_hurt_and_restarts_share_their_draws():
    x = reference.features(200, 16, seed=5)
    singles = [float(kmeans(x, 25, restarts=1, seed=restart).inertia) for restart in range(10)]
    assert float(kmeans(x, 25).inertia) == pytest.approx(min(singles), rel=1e-6)
    assert max(singles) > min(singles)


def test_the_best_round_is_kept(route):
    # More rounds can only add candidates for the best state.
    x = reference.features(300, 8, seed=6)
    inertias = [float(kmeans(x, 12, iterations=rounds).inertia) for rounds in (1, 2, 5, 300)]
    assert inertias == sorted(inertias, reverse=True)
    assert inertias[0] > inertias[-1]


def test_routes_agree(monkeypatch):
    ratios = []
    for seed in range(6):
        x = reference.features(400, 16, seed=seed)
        matrix = float(kmeans(x, 20).inertia)
        with monkeypatch.context() as patch:
            patch.setattr(_kmeans, "_ALWAYS_MATRIX", 0)
            patch.setattr(_kmeans, "MATRIX_LIMIT", 0)
            ratios.append(float(kmeans(x, 20).inertia) / matrix)
    assert statistics.mean(ratios) == pytest.approx(1, abs=0.002)


def test_large_sets_stream_with_and_without_faiss(monkeypatch):
    x = blobs(9000, 8, 12, seed=7)
    made = []
    original = _kmeans._Stream.__init__
    monkeypatch.setattr(
        _kmeans._Stream, "__init__", lambda self, *a: (made.append(1), original(self, *a))[1]
    )
    with_faiss = kmeans(x, 12, restarts=3)
    monkeypatch.setitem(sys.modules, "faiss", None)
    without = kmeans(x, 12, restarts=3)
    assert len(made) == 2
    assert float(without.inertia) == pytest.approx(float(with_faiss.inertia), rel=1e-4)
    assert_consistent(x, with_faiss)
    assert_consistent(x, without)


def test_small_blocks_change_nothing(monkeypatch, route):
    x = reference.features(150, 16, seed=8)
    whole = kmeans(x, 30)
    monkeypatch.setattr(_kmeans, "_CACHE_BLOCK", 1)
    monkeypatch.setattr(_kmeans, "_MEMORY_BLOCK", 1)
    split = kmeans(x, 30)
    assert torch.equal(whole.labels, split.labels)
    assert torch.equal(whole.centres, split.centres)


# --- determinism ---------------------------------------------------------------------------------


def test_deterministic_and_global_generator_untouched(route):
    x = reference.features(200, 16, seed=9)
    torch.manual_seed(1)
    state = torch.get_rng_state()
    one = kmeans(x, 20)
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(2)
    _kmeans._uniforms.cache_clear()
    two = kmeans(x, 20)
    for left, right in zip(one, two, strict=True):
        assert torch.equal(left, right)


def test_seed_changes_the_draws():
    x = reference.features(300, 16, seed=10)
    inertias = {float(kmeans(x, 60, seed=seed).inertia) for seed in range(3)}
    assert len(inertias) == 3


def test_precision_settings_are_restored_and_not_used(route):
    x = reference.features(200, 16, seed=11)
    expected = kmeans(x, 20)
    backends = (torch.backends.cuda.matmul, torch.backends.mkldnn.matmul)
    before = [backend.fp32_precision for backend in backends]
    try:
        torch.backends.cuda.matmul.fp32_precision = "tf32"
        torch.backends.mkldnn.matmul.fp32_precision = "bf16"
        with torch.autocast("cpu", dtype=torch.bfloat16):
            result = kmeans(x, 20)
        assert torch.backends.cuda.matmul.fp32_precision == "tf32"
        assert torch.backends.mkldnn.matmul.fp32_precision == "bf16"
    finally:
        for backend, precision in zip(backends, before, strict=True):
            backend.fp32_precision = precision
    assert torch.equal(result.labels, expected.labels)
    assert torch.equal(result.centres, expected.centres)


def test_no_graph_and_input_untouched():
    x = reference.features(100, 8, seed=12)
    copy = x.clone()
    result = kmeans(x.requires_grad_(), 10)
    assert not result.centres.requires_grad
    assert torch.equal(x.detach(), copy)


# --- errors --------------------------------------------------------------------------------------


@pytest.mark.fault(51)
def test_more_clusters_than_points():
    with pytest.raises(ValueError, match=r"k=6 clusters for n=5 points"):
        kmeans(torch.rand(5, 2), 6)


@pytest.mark.fault(50)
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_features_that_are_not_finite(bad, route):
    x = torch.rand(50, 4)
    x[17, 2] = bad
    with pytest.raises(ValueError, match="NaN or infinite"):
        kmeans(x, 5)
    with pytest.raises(ValueError, match="NaN or infinite"):
        neighbours(x, 5)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_the_result_reveals_what_was_not_checked_before(bad, route, monkeypatch):
    # On CUDA nothing is read before the end.
    monkeypatch.setattr(_kmeans, "_check", lambda *arguments: None)
    x = torch.rand(50, 4)
    x[17, 2] = bad
    with pytest.raises(ValueError, match="NaN or infinite"):
        kmeans(x, 5)


@pytest.mark.parametrize(
    ("x", "k", "options", "text"),
    [
        (torch.rand(5), 2, {}, "matrix"),
        (torch.ones(5, 2, dtype=torch.long), 2, {}, "floating-point"),
        (torch.rand(5, 2), 0, {}, "k=0"),
        (torch.rand(5, 2), 2, {"restarts": 0}, "at least 1, got 0"),
        (torch.rand(5, 2), 2, {"iterations": 0}, "at least 1, got 10 and 0"),
    ],
)
def test_wrong_arguments(x, k, options, text):
    with pytest.raises(ValueError, match=text):
        kmeans(x, k, **options)


# --- neighbours ----------------------------------------------------------------------------------


def slow_neighbours(x: Tensor, k: int) -> Tensor:
    unit = torch.nn.functional.normalize(x.double(), dim=1)
    similarity = (unit @ unit.T).fill_diagonal_(-2)
    return similarity.argsort(dim=1, descending=True, stable=True)[:, :k]


def test_neighbours_hand_worked():
    angles = torch.tensor([0.0, 10.0, 25.0, 90.0, 180.0]).deg2rad()
    lengths = torch.tensor([[1.0], [50.0], [0.1], [3.0], [1.0]])  # cosine ignores them
    x = torch.stack([angles.cos(), angles.sin()], 1) * lengths
    assert neighbours(x, 2).tolist() == [[1, 2], [0, 2], [1, 0], [2, 1], [3, 2]]


@pytest.mark.parametrize("scale", [1e-30, 1e-25, 1e19, 1e30])
def test_neighbours_do_not_depend_on_the_scale(scale):
    """Squares that left float32 made rows of zeros or of no common length."""
    x = torch.randn(60, 5, generator=torch.Generator().manual_seed(0))
    x[3] = 0
    assert torch.equal(neighbours(x * scale, 7), neighbours(x, 7))


def test_neighbours_match_the_slow_form_on_both_routes(monkeypatch):
    x = blobs(300, 16, 5, seed=13)
    expected = slow_neighbours(x, 20)
    assert torch.equal(neighbours(x, 20), expected)
    monkeypatch.setitem(sys.modules, "faiss", None)
    assert torch.equal(neighbours(x, 20), expected)
    monkeypatch.setattr(_kmeans, "_CACHE_BLOCK", 1)
    assert torch.equal(neighbours(x, 20), expected)


@pytest.mark.parametrize("faiss", [True, False])
def test_neighbours_never_contain_the_point_itself(faiss, request):
    if not faiss:
        request.getfixturevalue("no_faiss")
    x = torch.rand(10, 4).repeat(5, 1)  # each point five times
    x[3] = 0
    found = neighbours(x, 6)
    assert found.shape == (50, 6)
    assert not (found == torch.arange(50)[:, None]).any()
    assert all(len(set(row)) == 6 for row in found.tolist())
    assert torch.equal(neighbours(x, 6), found)


@pytest.mark.parametrize("k", [0, 5, 9])
def test_neighbours_need_other_points(k):
    with pytest.raises(ValueError, match=rf"other points, 4; got k={k} for n=5"):
        neighbours(torch.rand(5, 3), k)


# --- no waiting for the device -------------------------------------------------------------------


def test_nothing_reads_values_before_the_convergence_check(no_faiss):
    # Fake tensors hold no values: a host read of one raises.
    with FakeTensorMode():
        x = torch.rand(200, 16)
        frame = _kmeans._Frame(x)
        for space in (_kmeans._Matrix(frame, 20), _kmeans._Stream(frame, 20)):
            first, draws = torch.rand(1).double(), torch.rand(19, 1, 4).double()
            labels = space.nearest_seed(_kmeans._seed(space.rows, 200, first, draws))
            if isinstance(space, _kmeans._Matrix):
                labels, _ = space.update(labels)
            frame.finish(labels, 20)
            with pytest.raises(DataDependentOutputException):
                _kmeans._lloyd(space, labels, 3, stride=1)


def test_few_operations():
    # All ten restarts together: eleven a seeding step, and Lloyd's iterations, whose number depends
    # on the processor's rounding. One restart and centre at a time needs ten times as many.
    counter = OperationCounter()
    x = reference.features(1000, 32)
    _kmeans._uniforms.cache_clear()
    with counter:
        kmeans(x, 500)
    assert counter.count < 13 * 500


# --- CUDA ----------------------------------------------------------------------------------------


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize(("n", "k"), [(1000, 150), (9000, 20)])
def test_cuda_agrees_with_cpu(n, k):
    x = reference.features(n, 64, seed=14)
    expected = kmeans(x, k)
    result = kmeans(x.cuda(), k)
    assert result.labels.is_cuda
    assert float(result.inertia) == pytest.approx(float(expected.inertia), rel=0.005)
    assert_consistent(x, _kmeans.KMeans(*(part.cpu() for part in result)))
    again = kmeans(x.cuda(), k)
    assert torch.equal(result.labels, again.labels)
    assert torch.equal(neighbours(x[:1000].cuda(), 20).cpu(), neighbours(x[:1000], 20))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_seeding_never_waits_for_the_device():
    x = reference.features(500, 32, seed=15).cuda()
    space = _kmeans._Matrix(_kmeans._Frame(x), 50)
    first, draws = _kmeans._uniforms(50, 10, 0, x.device)
    torch.cuda.set_sync_debug_mode("error")
    try:
        chosen = _kmeans._seed(space.rows, 500, first, draws)
        space.update(space.nearest_seed(chosen))
    finally:
        torch.cuda.set_sync_debug_mode("default")
