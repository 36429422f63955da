"""The estimator: scikit-learn's own checks, and that it gives what the command gives."""

from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import make_blobs
from sklearn.metrics import adjusted_rand_score
from sklearn.utils.estimator_checks import parametrize_with_checks

from deep_clustering.platform.errors import InputError
from deep_clustering.platform.estimator import PictureClusters
from deep_clustering.platform.evaluation import finished
from deep_clustering.platform.run.execute import execute
from deep_clustering.platform.run.workplace import Workplace
from support.small import Watcher, images, jobs, resolved

QUICK = {"restarts": 2, "resamples": 2}


@parametrize_with_checks([PictureClusters(2, restarts=1, resamples=1, dimensions=5)])
def test_scikit_learn_says_it_is_an_estimator(estimator: object, check: object) -> None:
    check(estimator)  # type: ignore[operator]


@pytest.mark.ray
def test_it_gives_what_the_command_gives_and_knows_new_pictures(
    tmp_path: Path, lane: Workplace
) -> None:
    folder = images(tmp_path / "photos", labelled=False, count=8)
    sets = ["clusters=3", "unit=true", "weighting=0.5", "restarts=2", "resamples=2"]
    given = {"encoder": "efficientnet-lite0@32", "sets": sets, "store": lane.store}
    done = jobs(resolved("consensus", f"folder:{folder}", root=tmp_path / "data", **given))
    for job in done:
        execute(job, lane, Watcher())
    stored = lane.store.probabilities(done[-1].id)["clusters"]
    found = PictureClusters(3, encoder="efficientnet-lite0@32", data=tmp_path / "data", **QUICK)
    found.fit(folder)
    assert found.paths_ == tuple(sorted(path.name for path in folder.iterdir()))
    assert adjusted_rand_score(found.labels_, stored.argmax(1)) == 1
    assert np.abs(found.probabilities_ - stored).max() < 0.02  # there in half precision
    # `platform predict` finds the clusters of the run anew, and its own pictures are in them.
    own = finished.predict(lane.store, done[-1].id, folder, root=tmp_path / "data")
    assert own.images["cluster"].to_list() == stored.argmax(1).tolist()
    assert np.abs(own.probabilities - stored).max() < 1e-5
    assert np.allclose(found.predict_proba(folder), found.probabilities_, atol=1e-5)


@pytest.mark.ray
def test_the_number_is_found_and_new_points_have_probabilities() -> None:
    points, labels = make_blobs(200, n_features=6, centers=4, random_state=1)
    found = PictureClusters(**QUICK).fit(points)  # type: ignore[arg-type]
    assert found.n_clusters_ == 4
    assert max(found.candidates_, key=lambda k: found.candidates_[k]) == 4
    assert adjusted_rand_score(labels, found.labels_) == 1
    assert np.allclose(found.predict_proba(points), found.probabilities_, atol=1e-5)
    far = PictureClusters(4, **QUICK).fit(points + 1e6)  # type: ignore[arg-type]
    assert adjusted_rand_score(labels, far.predict(points + 1e6)) == 1


def test_pictures_of_another_form_are_refused() -> None:
    with pytest.raises(InputError, match=r"uint8 of shape \(n, H, H, 3\).*got float64"):
        PictureClusters(2).fit(np.zeros((4, 8, 8, 3)))
