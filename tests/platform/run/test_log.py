"""Epochs written live to TensorBoard and MLflow: each once, under its run, in their own files."""

from importlib.util import find_spec
from pathlib import Path

import pytest

from deep_clustering.platform.errors import EnvironmentProblem
from deep_clustering.platform.request.jobs import Job
from deep_clustering.platform.run import log
from deep_clustering.platform.run.progress import JobNews, Numbers, State
from support.small import jobs, resolved

HERE = {name: find_spec(name) is not None for name in ("tensorboard", "mlflow")}


@pytest.fixture
def job(root: Path) -> Job:
    return jobs(resolved("kmeans", "digits", root=root))[-1]


def news(*epochs: tuple[int, Numbers]) -> JobNews:
    """What the planner tells of a job."""
    return JobNews(history=epochs, state=State.RUNNING, epoch=len(epochs), values={}, failure=None)


class Noted:
    """A sink that remembers."""

    def __init__(self) -> None:
        self.seen: list[object] = []

    def begin(self, job: Job) -> None:
        self.seen.append(job.id)

    def epoch(self, job: Job, epoch: int, values: Numbers) -> None:
        self.seen.append((epoch, dict(values)))

    def close(self) -> None:
        self.seen.append("closed")


def test_each_epoch_is_written_once_and_a_run_begins_with_its_first(job: Job) -> None:
    sink = Noted()
    kept = log.Log(sink)
    kept.add([job])
    assert kept.after == {job.id: 0}
    kept.tell({job.id: news()})
    assert sink.seen == []
    kept.tell({job.id: news((0, {"acc": 0.5}), (1, {"acc": 0.6}))})
    assert kept.after == {job.id: 2}
    kept.tell({job.id: news((2, {"acc": 0.7}))})
    kept.close()
    epochs = [(0, {"acc": 0.5}), (1, {"acc": 0.6}), (2, {"acc": 0.7})]
    assert sink.seen == [job.id, *epochs, "closed"]


@pytest.mark.skipif(not HERE["tensorboard"], reason="tensorboard is not installed")
def test_tensorboard_has_a_folder_for_a_run(job: Job, tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    kept = log.opened("tensorboard", tmp_path)
    assert kept is not None
    kept.add([job])
    kept.tell({job.id: news((1, {"acc": 0.5, "loss": 2.0}), (2, {"acc": 0.75}))})
    kept.close()
    (folder,) = tmp_path.iterdir()
    assert folder.name == f"kmeans-seed0-{job.id[:8]}"
    events = EventAccumulator(str(folder)).Reload()
    assert [(e.step, e.value) for e in events.Scalars("acc")] == [(1, 0.5), (2, 0.75)]


@pytest.mark.ray  # its import takes seconds
@pytest.mark.skipif(not HERE["mlflow"], reason="mlflow is not installed")
def test_mlflow_has_a_run_for_a_run(
    job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", (tmp_path / "mlruns").as_uri())
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "false")
    with pytest.raises(EnvironmentProblem, match="name one with MLFLOW_TRACKING_URI"):
        log.opened("mlflow", tmp_path)
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    kept = log.opened("mlflow", tmp_path)
    assert kept is not None
    kept.add([job])
    kept.tell({job.id: news((1, {"acc": 0.5}), (2, {"acc": 0.75}))})
    kept.close()
    from mlflow.tracking import MlflowClient

    client = MlflowClient()
    (experiment,) = (e for e in client.search_experiments() if e.name == "deep-clustering")
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.data.tags["run_id"] == job.id
    steps = client.get_metric_history(run.info.run_id, "acc")
    assert [(m.step, m.value) for m in steps] == [(1, 0.5), (2, 0.75)]
    assert run.info.status == "FINISHED"


@pytest.mark.parametrize("kind", [name for name, here in HERE.items() if not here])
def test_a_library_that_is_missing_is_named_before_any_work(kind: str, tmp_path: Path) -> None:
    with pytest.raises(EnvironmentProblem, match=f"pip install 'deep-clustering.{kind}.'"):
        log.opened(kind, tmp_path)


def test_nothing_asked_is_nothing_written(tmp_path: Path) -> None:
    assert log.opened(None, tmp_path) is None
