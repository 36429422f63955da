"""A short storm of kills; `tests/benchmarks/kill_storm.py` has the long one."""

import os
from pathlib import Path

import pytest

from support.storm import calm, storm

pytestmark = [
    pytest.mark.ray,
    pytest.mark.timeout(1800),
    pytest.mark.usefixtures("tidy"),
]

KILLS = 30 if os.environ.get("THOROUGH") else 6


@pytest.mark.fault(1)
def test_runs_survive_a_storm_of_kills(work: Path) -> None:
    """P1 to P5: nothing lost, doubled or altered; exit codes; the table of an undisturbed store."""

    def fit(store: str) -> list[object]:
        where = ["--store", work / store, "--data", work / "data"]
        return ["train", "pac", "--dataset", "digits", "--seeds", 3, *where]

    undisturbed = calm(work, [fit])
    report = storm(work, [fit], undisturbed, kills=KILLS, seed=20261128)
    assert report.broken == [], report.text()
    assert report.kills.total() == KILLS
    assert report.stores > 0
