"""The script for a GPU, tried on the CPU as a bare machine would run it."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.ray

SCRIPT = Path(__file__).parent / "benchmarks" / "gpu.py"
#: What such a machine lacks.
ABSENT = ["ray", "optuna", "polars", "pyarrow", "pandas", "faiss", "click", "rich", "cloudpickle"]


def carried_out(folder: Path, *arguments: str) -> dict[str, Any]:
    """The parts of the JSON file of a run in tiny sizes, where modules are absent."""
    absent = folder / "absent"
    absent.mkdir(exist_ok=True)
    for name in ABSENT:
        error = f'raise ModuleNotFoundError("No module named {name}", name="{name}")\n'
        (absent / f"{name}.py").write_text(error)
    output = folder / "gpu.json"
    command = [sys.executable, str(SCRIPT), "--tiny", "--device", "cpu", "--output", str(output)]
    ran = subprocess.run(
        [*command, *arguments],
        env={"PYTHONPATH": str(absent), "PATH": "", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert ran.returncode in (0, 1), ran.stderr
    parts: dict[str, Any] = json.loads(output.read_text())["parts"]
    assert f"all figures in {output}" in ran.stdout
    return parts


def test_every_part_ends_with_its_figures(tmp_path: Path) -> None:
    encoder = tmp_path / "moco.pt"
    parts = carried_out(
        tmp_path,
        *("--seconds", "4800", "--pretrain-epochs", "1", "--epochs", "1"),
        *("--encoder", str(encoder)),
    )
    names = {part: [row["name"] for row in told["rows"]] for part, told in parts.items()}
    assert list(names) == [
        *("data", "correct", "tests", "fast", "peaks", "step", "epochs", "run", "compiled"),
        "packed",
    ]
    assert {part: told["how"] for part, told in parts.items()} == dict.fromkeys(names, "done")
    wrong = [row for row in parts["correct"]["rows"] if row["ok"] is not True]
    wrong += [row for row in parts["fast"]["rows"] if row["ok"] is False]
    assert wrong == []
    assert "inertia, n=60 K=10" in names["fast"]
    assert "the passes without gradient of CDC: plain" in names["fast"]
    assert "the step of MoCo: plain" in names["fast"]
    for method in ("CDC", "MoCo", "SimCLR", "DPAC", "SCAN", "RUC"):
        assert f"{method}, two steps, bf16" in names["correct"]
    assert "MoCo step, plain" in names["compiled"]
    assert "MoCo epoch 1 of 1" in names["run"]
    assert "CDC epoch 1 of 1" in names["run"]
    assert "packed against one" in names["packed"]
    assert encoder.exists()
    lines = (tmp_path / "gpu.jsonl").read_text().splitlines()
    assert len(lines) == sum(len(told["rows"]) for told in parts.values())


def test_a_part_that_fails_takes_no_other_with_it(tmp_path: Path) -> None:
    parts = carried_out(tmp_path, "--only", "data,peaks", "--data", "absent.tar")
    assert parts["data"]["how"].startswith("FileNotFoundError: ")
    assert parts["data"]["rows"] == []
    assert parts["peaks"]["how"] == "done"
    assert len(parts["peaks"]["rows"]) == 2


def test_a_part_whose_time_is_up_keeps_what_it_has_and_the_next_one_comes(tmp_path: Path) -> None:
    parts = carried_out(tmp_path, "--only", "run,peaks", "--seconds", "80", "--epochs", "100000")
    assert parts["run"]["how"] == "time was up"
    assert parts["peaks"]["how"] == "done"
    assert len(parts["peaks"]["rows"]) == 2
