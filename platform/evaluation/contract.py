"""What an evaluation of finished runs hands to the platform: one record, found by its file's name.

Nothing here knows an evaluation; they are the files of `evaluations/`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deep_clustering.platform import registry
from deep_clustering.platform.request.configs import Value
from deep_clustering.platform.request.options import text

if TYPE_CHECKING:
    import torch
    from rich.table import Table

    from deep_clustering.platform.data.dataset import ImageSet, Progress
    from deep_clustering.platform.evaluation.drawing import Densities
    from deep_clustering.platform.request.jobs import Job
    from deep_clustering.platform.store.store import Store

#: A row of `runs` or of `stages`.
Row = Mapping[str, Value]


@dataclass(frozen=True, kw_only=True)
class Subject:
    """A run that is evaluated, finished or planned."""

    run: str  # id
    method: str
    dataset: str  # name
    fingerprint: str  # of the dataset
    protocol: str
    seed: int
    image_side: int  # stored side, pixels

    @classmethod
    def of_row(cls, row: Row) -> Subject:
        """A finished run, by its row."""
        side, seed = row["image_side"], row["seed"]
        assert isinstance(side, int)
        assert isinstance(seed, int)
        return cls(
            run=str(row["run_id"]),
            method=str(row["method"]),
            dataset=str(row["dataset"]),
            fingerprint=str(row["dataset_fingerprint"]),
            protocol=str(row["protocol"]),
            seed=seed,
            image_side=side,
        )

    @classmethod
    def of_job(cls, job: Job, dataset: ImageSet) -> Subject:
        """A planned run on a prepared dataset."""
        return cls(
            run=job.id,
            method=job.method,
            dataset=dataset.name,
            fingerprint=job.dataset,
            protocol=job.protocol,
            seed=job.seed,
            image_side=dataset.images.shape[-1],
        )


@dataclass(frozen=True, kw_only=True)
class Context:
    """Where an evaluation looks for images while it is planned."""

    root: Path  # of decoded images
    skip_broken: bool = False
    progress: Progress | None = None  # called with (done, total) while files are read
    parameters: object | None = None  # a record of the evaluation's `parameters`; None: defaults


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """An evaluation of a run, checked: what it is to compute.

    Attributes:
        identity: what decides its outcome besides the run and the version.
        config: what `compute` needs, JSON values.
    """

    identity: Mapping[str, Value]
    config: Mapping[str, Value]


@dataclass(frozen=True, kw_only=True)
class Finished:
    """A finished run whose evaluation is computed.

    Attributes:
        row: of `runs`.
        root: where decoded images live.
        config: of `Prepared`.
    """

    store: Store
    row: Row
    root: Path
    config: Mapping[str, Value]
    device: torch.device


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What an evaluation found: columns of its row, and files by name."""

    columns: Mapping[str, Value]
    artefacts: Mapping[str, bytes] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """An evaluation of finished runs. Its results are stages whose kind is its name.

    Attributes:
        summary: one line.
        metavar: what follows its option, `--NAME METAVAR`; given once for each thing compared with.
        help: of that option.
        version: raised when a change alters results; part of a result's id.
        label: the column that tells the results of one run apart, such as the set compared with.
        run: the column that holds the run's id.
        metrics: metric, as suites and tables call it -> column, which exists for each head as well
            with the head's name in front.
        prepare: (run, what followed the option, context) -> what is to be computed.
            Raises InputError for what cannot be compared with that run.
        compute: a finished run -> its outcome.
            Raises StorageError where what the run has left is damaged.
        heading: rows of one run -> a line above their table.
        table: rows of one run -> what a terminal shows of them.
        notes: lines that explain the table.
        drawing: (store, row, head or None for the final one) -> what a report draws of it.
        sets: whether what follows the option is the name of a dataset.
        parameters: a frozen dataclass whose fields are further options of `platform evaluate`
            (`--FIELD`), each with a default and its help in the metadata; a field is a number, a
            text, a `Literal`, or a tuple of one of them, which makes the option repeatable.
            `prepare` finds a record of it in the context. None: nothing more can be said.
    """

    summary: str
    metavar: str
    help: str
    version: int
    label: str
    run: str
    metrics: Mapping[str, str]
    prepare: Callable[[Subject, str, Context], Prepared]
    compute: Callable[[Finished], Outcome]
    heading: Callable[[Sequence[Row]], str]
    table: Callable[[Sequence[Row]], Table]
    notes: tuple[str, ...] = ()
    drawing: Callable[[Store, Row, str | None], Densities] | None = None
    sets: bool = False
    parameters: type | None = None


def names() -> list[str]:
    """Names of all evaluations, without importing any."""
    return registry.names("evaluations")


def find(name: str) -> Evaluation:
    """The record of an evaluation.

    Raises:
        InputError: no such evaluation; the sentence names the nearest one.
    """
    record = registry.entry("evaluations", name, "EVALUATION")
    assert isinstance(record, Evaluation)
    return record


def options(record: Evaluation) -> Mapping[str, dataclasses.Field[Any]]:
    """Field -> its declaration, of an evaluation's parameters."""
    kind = record.parameters
    return {} if kind is None else {field.name: field for field in dataclasses.fields(kind)}


def labelled(name: str, parameters: object) -> str:
    """What was asked for, with the parameters that differ from their defaults behind it."""
    assert dataclasses.is_dataclass(parameters)
    changed = [
        f"{field.name}={text(value)}"
        for field in dataclasses.fields(parameters)
        if (value := getattr(parameters, field.name)) != field.default
    ]
    return " ".join([name, *changed])
