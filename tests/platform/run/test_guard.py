"""The guard ends what a command has started, however it is known."""

import subprocess
import sys
from pathlib import Path

import pytest

_SLEEP = [sys.executable, "-c", "import time; time.sleep(600)"]


@pytest.mark.ray  # processes that work together
def test_a_process_is_known_by_its_folder_and_by_its_environment(tmp_path: Path) -> None:
    scratch = tmp_path / "scratch"
    (scratch / "here").mkdir(parents=True)
    beside = tmp_path / "scratch-2"  # the name of another command's begins alike
    beside.mkdir()
    by_folder = subprocess.Popen(_SLEEP, cwd=scratch / "here", env={})
    by_variable = subprocess.Popen(
        _SLEEP, cwd=tmp_path, env={"DEEP_CLUSTERING_SCRATCH": str(scratch)}
    )
    other = subprocess.Popen(_SLEEP, cwd=beside, env={"DEEP_CLUSTERING_SCRATCH": str(beside)})
    try:
        guard = [sys.executable, "-m", "deep_clustering.platform.run._guard", str(scratch)]
        subprocess.run(guard, stdin=subprocess.DEVNULL, check=True, timeout=60)
        assert [by_folder.wait(5), by_variable.wait(5)] == [-9, -9]
        assert other.poll() is None
        assert not scratch.exists()
    finally:
        for process in (by_folder, by_variable, other):
            process.kill()
            process.wait()
