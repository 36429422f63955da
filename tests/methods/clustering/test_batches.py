"""The mini-clusters of a batch as a GPU makes them, run on the CPU by Triton's interpreter."""

import math
import statistics

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode

from deep_clustering.methods.clustering import batches, programs
from deep_clustering.methods.clustering import kmeans as _kmeans
from deep_clustering.methods.clustering.kmeans import kmeans, queued
from support.programs import interpreted


def features(n: int, d: int, seed: int = 0) -> Tensor:
    """Rows (n, d) as of a ResNet: of ten overlapping kinds, not negative, with the sum 1."""
    random = torch.Generator().manual_seed(seed)
    kinds = torch.randn(10, d, generator=random)
    x = kinds[torch.arange(n) % 10] + torch.randn(n, d, generator=random)
    return torch.nn.functional.normalize((x + 0.3).relu(), p=1.0, dim=1)


def on_batches(distances: Tensor, first: Tensor, draws: Tensor) -> Tensor:
    """The seeding that works on whole batches."""
    return _kmeans._seed(lambda index: distances[index], len(distances), first, draws)


@interpreted
@pytest.mark.parametrize(("n", "k"), [(40, 1), (50, 21)])
def test_a_program_chooses_the_same_points(n: int, k: int) -> None:
    # Whole numbers, whose sums are exact in any order.
    points = torch.randint(0, 1000, (n, 1), generator=torch.Generator().manual_seed(n))
    distances = (points - points.T).abs().float()
    first, draws = _kmeans._uniforms(k, 3, 0, torch.device("cpu"))
    chosen = programs.seeded(distances, first, draws)
    assert chosen.shape == (3, k)
    assert torch.equal(chosen, on_batches(distances, first, draws))


@interpreted
@pytest.mark.filterwarnings("ignore:All-NaN slice")  # of NumPy, which the interpreter works with
def test_points_that_are_all_alike_or_undefined_stay_in_range() -> None:
    first, draws = _kmeans._uniforms(5, 2, 0, torch.device("cpu"))
    for value in (0.0, math.nan):
        chosen = programs.seeded(torch.full((9, 9), value), first, draws)
        assert 0 <= int(chosen.min()) <= int(chosen.max()) <= 8


@pytest.mark.parametrize("k", [20, 100])
def test_a_fixed_number_of_rounds_is_as_good(k: int) -> None:
    ratios = []
    for seed in range(4):
        x = features(200, 32, seed=seed)
        found = queued(x, k, restarts=3, rounds=batches._ROUNDS, seeds=on_batches)
        ratios.append(float(found.inertia / kmeans(x, k, restarts=3).inertia))
    assert abs(statistics.mean(ratios) - 1) < 0.005


def test_no_value_is_looked_at_while_it_is_queued() -> None:
    # Tensors that hold no values, as if on a GPU: looking at one raises.
    _kmeans._uniforms.cache_clear()
    with FakeTensorMode():
        x = torch.rand(60, 8, device="cuda")
        assert queued(x, 9, restarts=2, rounds=3, seeds=on_batches).labels.shape == (60,)
        with pytest.raises(DataDependentOutputException):
            kmeans(x, 9, restarts=2)
    _kmeans._uniforms.cache_clear()


@interpreted
def test_a_batch_proves_its_mini_clusters(monkeypatch: pytest.MonkeyPatch) -> None:
    x = features(80, 16)
    assert batches.differs(x, 12, 2) is None
    monkeypatch.setattr(programs, "seeded", lambda d, first, draws: first.new_zeros(2, 12).long())
    assert str(batches.differs(x, 12, 2)).startswith("its inertia is ")


def test_on_a_cpu_mini_clusters_are_those_of_kmeans() -> None:
    x = features(80, 16)
    ours, theirs = batches.mini_clusters(x, 12, 2), kmeans(x, 12, restarts=2)
    assert torch.equal(ours.labels, theirs.labels)
    assert torch.equal(ours.centres, theirs.centres)
    assert not batches.never_waits(x, 12, 2)
