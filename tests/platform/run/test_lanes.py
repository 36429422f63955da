"""How many lanes fit, decided by the request and the machine alone."""

import os
from pathlib import Path

import pytest

from deep_clustering.platform.errors import EnvironmentProblem
from deep_clustering.platform.run.lane import keep_programs
from deep_clustering.platform.run.session import Machine, room


def test_a_laptop_has_one_lane_for_each_core() -> None:
    found = room([Machine(2)], 16_000, parallel=8)
    assert (found.lanes, found.threads, found.gpus) == (2, 1, 0)
    assert found.cpus * found.lanes < 2  # Tune's relays find their sliver


def test_one_run_has_all_cores() -> None:
    found = room([Machine(8)], 64_000, parallel=1)
    assert (found.lanes, found.threads) == (1, 8)


def test_memory_bounds_the_processes() -> None:
    assert room([Machine(64)], 4_000, parallel=100).lanes == 2
    assert room([Machine(64)], None, parallel=100).lanes == 64
    with pytest.raises(EnvironmentProblem, match="1 worker processes do not fit"):
        room([Machine(2)], 900, parallel=1)


@pytest.mark.fault(11)
def test_shares_of_gpus() -> None:
    assert room([Machine(16, 1)], 64_000, parallel=20).lanes == 1
    packed = room([Machine(16, 1)], 64_000, parallel=20, gpus_per_run=0.25)
    assert (packed.lanes, packed.gpus, packed.threads) == (4, 0.25, 4)
    assert room([Machine(16, 4)], 64_000, parallel=20, workers=2).lanes == 2
    with pytest.raises(EnvironmentProblem, match=r"--gpus-per-run 0.25 needs a GPU"):
        room([Machine(2)], 8_000, parallel=1, gpus_per_run=0.25)


def test_workers_share_the_cores_of_their_lane() -> None:
    found = room([Machine(4)], 64_000, parallel=8, workers=2)
    assert (found.lanes, found.threads) == (2, 1)
    with pytest.raises(EnvironmentProblem, match="use fewer --workers"):
        room([Machine(2)], 64_000, parallel=1, workers=4)


def test_a_stage_that_the_others_wait_for_has_their_cores() -> None:
    laptop = [Machine(8)]
    assert room(laptop, None, parallel=8, stages=1).stage_threads == 8
    assert room(laptop, None, parallel=8, stages=3).stage_threads == 2
    for stages in (0, 8, 20):
        assert room(laptop, None, parallel=4, stages=stages).stage_threads == 2
    assert room(laptop, None, parallel=8, stages=1).threads == 1
    assert room([Machine(1)], None, parallel=8, stages=1).stage_threads == 1


def test_a_process_has_no_more_cores_than_its_machine() -> None:
    two = [Machine(4), Machine(4)]
    assert room(two, None, parallel=1).threads == 4
    assert room(two, None, parallel=3).threads == 2  # with 3 each, one of them would find no place
    assert room([Machine(5), Machine(2)], None, parallel=3).threads == 2
    mixed = [Machine(64), Machine(8, gpus=4)]
    found = room(mixed, None, parallel=9)
    assert (found.lanes, found.threads, found.gpus) == (4, 2, 1)


def test_lanes_share_what_the_compiler_makes(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", "own")
    keep_programs(tmp_path / "others")
    assert os.environ["TORCHINDUCTOR_CACHE_DIR"] == "own"
    monkeypatch.delenv("TORCHINDUCTOR_CACHE_DIR")
    (tmp_path / "file").write_text("")
    keep_programs(tmp_path / "file")
    assert "TORCHINDUCTOR_CACHE_DIR" not in os.environ
    keep_programs(tmp_path / "data" / "programs")
    assert os.environ["TORCHINDUCTOR_CACHE_DIR"] == str(tmp_path / "data" / "programs")
    assert (tmp_path / "data" / "programs").is_dir()
