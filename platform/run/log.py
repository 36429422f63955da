"""Epochs as they are made, for programs that people watch: TensorBoard and MLflow (`--log`).

What is written is what the table of epochs gets. The store stays the truth: a log is a copy, which
may be deleted.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from deep_clustering.platform.errors import EnvironmentProblem
from deep_clustering.platform.request.jobs import RUN, Job
from deep_clustering.platform.run.progress import JobNews, Numbers

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter


#: What MLflow lists the runs under.
_EXPERIMENT = "deep-clustering"


class Sink(Protocol):
    """Where epochs are written."""

    def begin(self, job: Job) -> None: ...

    def epoch(self, job: Job, epoch: int, values: Numbers) -> None: ...

    def close(self) -> None: ...


class TensorBoard:
    """A folder for every run; `tensorboard --logdir` shows them."""

    def __init__(self, folder: Path) -> None:
        try:
            from torch.utils import tensorboard
        except ImportError as error:
            raise EnvironmentProblem(_missing("tensorboard")) from error
        self._folder, self._make = folder, tensorboard.SummaryWriter
        self._open: dict[str, SummaryWriter] = {}

    def begin(self, job: Job) -> None:
        name = f"{job.method}-seed{job.seed}-{job.id[:8]}"
        self._open[job.id] = writer = self._make(str(self._folder / name))
        writer.add_text("config", "\n".join(f"    {k}: {v}" for k, v in job.config.items()))

    def epoch(self, job: Job, epoch: int, values: Numbers) -> None:
        for name, value in _plain(values).items():
            self._open[job.id].add_scalar(name, value, epoch)
        self._open[job.id].flush()

    def close(self) -> None:
        for writer in self._open.values():
            writer.close()


class MLflow:
    """A run of MLflow for every run, in the tracking store that MLFLOW_TRACKING_URI names."""

    def __init__(self) -> None:
        try:
            from mlflow.exceptions import MlflowException
            from mlflow.tracking import MlflowClient
        except ImportError as error:
            raise EnvironmentProblem(_missing("mlflow")) from error
        try:
            self._client = MlflowClient()
            found = self._client.get_experiment_by_name(_EXPERIMENT)
            own = found.experiment_id if found else self._client.create_experiment(_EXPERIMENT)
        except (MlflowException, ImportError) as error:
            raise EnvironmentProblem(
                f"--log mlflow: its tracking store cannot be used ({str(error).splitlines()[0]}); "
                "name one with MLFLOW_TRACKING_URI."
            ) from error
        self._experiment, self._runs = own, dict[str, str]()

    def begin(self, job: Job) -> None:
        name = f"{job.method}-seed{job.seed}-{job.id[:8]}"
        tags = {"run_id": job.id, "dataset": job.source.spec, "seed": str(job.seed)}
        made = self._client.create_run(self._experiment, run_name=name, tags=tags)
        self._runs[job.id] = made.info.run_id
        for field, value in job.config.items():
            self._client.log_param(made.info.run_id, field, value)

    def epoch(self, job: Job, epoch: int, values: Numbers) -> None:
        for name, value in _plain(values).items():
            self._client.log_metric(self._runs[job.id], name, value, step=epoch)

    def close(self) -> None:
        for run in self._runs.values():
            self._client.set_terminated(run)


class Log:
    """Writes what is new of some jobs; each epoch once."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._jobs: dict[str, Job] = {}
        self._known: dict[str, int] = {}

    def add(self, jobs: Iterable[Job]) -> None:
        """Runs whose epochs are to be written."""
        self._jobs.update((job.id, job) for job in jobs if job.kind == RUN)

    @property
    def after(self) -> dict[str, int]:
        """Job -> how many of its epochs are written."""
        return {id: self._known.get(id, 0) for id in list(self._jobs)}

    def tell(self, news: Mapping[str, JobNews]) -> None:
        """Write the epochs that are new."""
        for id, one in news.items():
            job = self._jobs[id]
            for epoch, values in one.history:
                if id not in self._known:
                    self._sink.begin(job)
                    self._known[id] = 0
                self._sink.epoch(job, epoch, values)
                self._known[id] += 1

    def close(self) -> None:
        """All has been written."""
        self._sink.close()


def opened(kind: str | None, folder: Path) -> Log | None:
    """A log of this kind; None where none was asked for.

    Args:
        kind: "tensorboard" or "mlflow".
        folder: of TensorBoard's files.

    Raises:
        EnvironmentProblem: the library is not installed.
    """
    if kind is None:
        return None
    return Log(TensorBoard(folder) if kind == "tensorboard" else MLflow())


def _plain(values: Numbers) -> dict[str, float]:
    return {name: float(v) for name, v in values.items() if isinstance(v, (int, float))}


def _missing(package: str) -> str:
    return f"--log {package} needs the package {package}: pip install 'deep-clustering[{package}]'."
