"""How many lanes fit, decided by the request and the machine alone."""

import pytest

from deep_clustering.platform.errors import EnvironmentProblem
from deep_clustering.platform.run.session import room


def test_a_laptop_has_one_lane_for_each_core() -> None:
    found = room({"CPU": 2}, 16_000, parallel=8)
    assert (found.lanes, found.threads, found.gpus) == (2, 1, 0)
    assert found.cpus * found.lanes < 2  # Tune's relays find their sliver


def test_one_run_has_all_cores() -> None:
    found = room({"CPU": 8}, 64_000, parallel=1)
    assert (found.lanes, found.threads) == (1, 8)


def test_memory_bounds_the_processes() -> None:
    assert room({"CPU": 64}, 4_000, parallel=100).lanes == 2
    assert room({"CPU": 64}, None, parallel=100).lanes == 64
    with pytest.raises(EnvironmentProblem, match="1 worker processes do not fit"):
        room({"CPU": 2}, 900, parallel=1)


@pytest.mark.fault(11)
def test_shares_of_gpus() -> None:
    assert room({"CPU": 16, "GPU": 1}, 64_000, parallel=20).lanes == 1
    packed = room({"CPU": 16, "GPU": 1}, 64_000, parallel=20, gpus_per_run=0.25)
    assert (packed.lanes, packed.gpus, packed.threads) == (4, 0.25, 4)
    assert room({"CPU": 16, "GPU": 4}, 64_000, parallel=20, workers=2).lanes == 2
    with pytest.raises(EnvironmentProblem, match=r"--gpus-per-run 0.25 needs a GPU"):
        room({"CPU": 2}, 8_000, parallel=1, gpus_per_run=0.25)


def test_workers_share_the_cores_of_their_lane() -> None:
    found = room({"CPU": 4}, 64_000, parallel=8, workers=2)
    assert (found.lanes, found.threads) == (2, 1)
    with pytest.raises(EnvironmentProblem, match="use fewer --workers"):
        room({"CPU": 2}, 64_000, parallel=1, workers=4)
