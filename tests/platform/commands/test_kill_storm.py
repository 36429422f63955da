"""A short storm of kills; `tests/benchmarks/kill_storm.py` has the long one."""

import os
from pathlib import Path

import pytest

from support.command import invocation
from support.storm import calm, storm

pytestmark = [
    pytest.mark.ray,
    pytest.mark.timeout(1800),
    pytest.mark.usefixtures("tidy"),
]

KILLS = 30 if os.environ.get("THOROUGH") else 10


@pytest.mark.fault(1, 3, 4)
def test_runs_survive_a_storm_of_kills(work: Path) -> None:
    """P1 to P5: nothing lost, doubled or altered; exit codes; the table of an undisturbed store."""

    def train(store: str) -> list[object]:
        return invocation(work, "train", store, "--set", "epochs=40")

    undisturbed = calm(work, [train])
    first = ("raylet", "gcs", "agent", "planner")
    report = storm(work, [train], undisturbed, kills=KILLS, seed=20261128, first=first)
    assert report.broken == [], report.text()
    assert report.kills.total() == KILLS
    assert report.stores > 0
