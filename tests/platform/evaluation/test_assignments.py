"""What is said of each image: the first and the second cluster, and which images are doubtful."""

from pathlib import Path

import numpy as np

from deep_clustering.platform.evaluation.assignments import assignments
from deep_clustering.platform.run.execute import execute
from deep_clustering.platform.run.workplace import Workplace
from support.small import Watcher, jobs, resolved


def test_the_second_choice_is_the_next_likely_cluster(
    folder: Path, root: Path, lane: Workplace
) -> None:
    (run,) = jobs(resolved("fcm", f"folder:{folder}", root=root))
    execute(run, lane, Watcher())
    taken = assignments(lane.store, lane.store.run_row(run.id))
    assert taken.columns == [
        *("path", "cluster", "confidence", "second", "second_confidence", "doubtful")
    ]
    (p,) = lane.store.probabilities(run.id).values()
    order = np.sort(p, axis=1)
    assert np.array_equal(taken["confidence"], order[:, -1])
    assert np.array_equal(taken["second_confidence"], order[:, -2])
    assert np.array_equal(p[np.arange(len(p)), taken["second"]], order[:, -2])
    assert np.array_equal(taken["doubtful"], order[:, -1] < 0.5)
    assert order[:, -2].min() > 0


def test_a_hard_partition_has_no_second_choice(folder: Path, root: Path, lane: Workplace) -> None:
    (run,) = jobs(resolved("kmeans", f"folder:{folder}", root=root))
    execute(run, lane, Watcher())
    taken = assignments(lane.store, lane.store.run_row(run.id))
    assert taken["cluster"].null_count() == 0
    for column in ("confidence", "second", "second_confidence", "doubtful"):
        assert taken[column].null_count() == len(taken)
