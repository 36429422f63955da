"""What the tables of a store contain, and the form in which one table is one file.

A file is Parquet that any reader opens. Its footer says what kind of table it holds, the version of
this schema, the release that wrote it, and a SHA-256 of the whole file (computed with zeros in the
place of the digest itself), so that no changed byte is ever read as a value.

Versions: 1 is the first. A release reads all versions up to its own; a file of a newer one is
refused, alone. A column that a file lacks is null.
"""

import contextlib
import functools
import hashlib
import io
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from typing import Any, NamedTuple

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
from polars.datatypes import DataTypeClass

from deep_clustering.platform.errors import StorageError
from deep_clustering.platform.metrics import registry
from deep_clustering.platform.store import _parquet

#: Version of this schema; raised whenever an older release could misread a file.
SCHEMA = 1

_TEXT, _INT, _REAL, _FLAG = pa.string(), pa.int64(), pa.float64(), pa.bool_()
_TIME = pa.timestamp("us", tz="UTC")
_TEXTS, _INTS, _REALS = pa.list_(_TEXT), pa.list_(_INT), pa.list_(_REAL)


class Column(NamedTuple):
    """A column that always exists: its type and what it means."""

    type: pa.DataType
    meaning: str


_PROVENANCE = {
    "host": Column(_TEXT, "name of the machine"),
    "git_revision": Column(_TEXT, "revision of this code, when it runs from a repository"),
    "git_dirty": Column(_FLAG, "whether tracked files differed from that revision"),
    "python_version": Column(_TEXT, "release of Python"),
    "code_version": Column(_TEXT, "release of this package"),
    "torch_version": Column(_TEXT, "release of PyTorch"),
    "ray_version": Column(_TEXT, "release of Ray"),
}

_WORK = {
    "dataset": Column(_TEXT, "name of the dataset; folder:PATH as it was when this was computed"),
    "dataset_fingerprint": Column(_TEXT, "hash of images, labels and split"),
    "protocol": Column(_TEXT, "which images are trained on and scored"),
    "seed": Column(_INT, "where every random choice comes from"),
    "version": Column(_INT, "the method's declared version"),
    "status": Column(_TEXT, "ok, failed, stopped (by a scheduler) or interrupted"),
    "reason": Column(_TEXT, "why there is no result, in one line"),
    "epochs": Column(pa.int32(), "epochs done"),
    "started": Column(_TIME, "beginning of the first attempt"),
    "ended": Column(_TIME, "when the row was written"),
    "seconds": Column(_REAL, "time in training and evaluation, over all attempts"),
    "resumed_at": Column(pa.int32(), "epoch from which the last attempt continued; null: none"),
    "attempts": Column(pa.int32(), "attempts on record, this one included"),
    "device": Column(_TEXT, "cpu or cuda"),
    "device_name": Column(_TEXT, "model of the device"),
    "workers": Column(pa.int32(), "processes that trained together"),
    "threads": Column(pa.int32(), "CPU threads per process"),
    "peak_memory_mb": Column(_REAL, "largest memory use of the device, MiB"),
    "image_side": Column(pa.int32(), "side of the stored images, pixels"),
    "image_mean": Column(_REALS, "channel means that images were normalised with, 0 to 1"),
    "image_std": Column(_REALS, "channel deviations that images were normalised with, 0 to 1"),
    "skipped_images": Column(_INT, "broken images left out"),
}

#: What kind of failure the column `reason` tells of.
FAILURE_KINDS = (
    "diverged",
    "out_of_memory",
    "timeout",
    "lost_worker",
    "bad_data",
    "storage",
    "need",
    "error",
    "stopped",
    "interrupted",
)

_CONFIGURATION = {"config_json": Column(_TEXT, "the whole configuration, canonical JSON")}

#: What is noticed of a finished run beside its metrics.
_FINDINGS = {
    "metrics_reason": Column(_TEXT, "why metrics are null: no_labels, one_class, no_probabilities"),
    "cluster_sizes": Column(_INTS, "images per cluster"),
    "collapsed": Column(_FLAG, "nearly all images are in one cluster"),
    "flags": Column(_TEXTS, "what was noticed: collapse, empty clusters, constant confidence, ..."),
}

#: Final values of a run; null in the row of an attempt without a result.
METRICS = {
    **{
        metric.name: Column(_INT if metric.whole else _REAL, metric.column)
        for metric in registry.METRICS.values()
        if metric.column is not None
    },
    **_FINDINGS,
}

_FILES = {
    "epochs_file": Column(_TEXT, "table of epochs, path in the store"),
    "predictions_file": Column(_TEXT, "table of predictions, path in the store"),
    "model_file": Column(_TEXT, "weights, path in the store"),
    "model_sha256": Column(_TEXT, "checksum of that file"),
    "probabilities_file": Column(_TEXT, "table of probabilities, path in the store"),
    "epochs_columns": Column(_TEXT, "columns of that table, name to type, JSON"),
    "predictions_columns": Column(_TEXT, "columns of that table, name to type, JSON"),
    "probabilities_columns": Column(_TEXT, "columns of that table, name to type, JSON"),
}

#: Columns of every row of `runs`. More metrics (per head: `calibration_ece`) and the fields of
#: the configuration (`config.batch_size`) follow them.
RUNS: dict[str, Column] = {
    "run_id": Column(_TEXT, "hash of what decides the outcome"),
    "method": Column(_TEXT, "name of the method"),
    **{k: _WORK[k] for k in ("dataset", "seed", "status", "reason")},
    "failure_kind": Column(
        _TEXT,
        f"{', '.join(FAILURE_KINDS[:-1])} or {FAILURE_KINDS[-1]}: "
        "what kind of failure `reason` tells of",
    ),
    **METRICS,
    "stage_id": Column(_TEXT, "the pretraining it starts from"),
    **_WORK,
    **_PROVENANCE,
    **_FILES,
    **_CONFIGURATION,
}

#: Columns of every row of `stages`; the artefact lists run in parallel.
STAGES: dict[str, Column] = {
    "stage_id": Column(_TEXT, "hash of what decides the outcome"),
    "kind": Column(_TEXT, "what was shared, such as encoder"),
    "method": Column(_TEXT, "name of the method"),
    **_WORK,
    **_PROVENANCE,
    "artefact_names": Column(_TEXTS, "names of its files"),
    "artefact_files": Column(_TEXTS, "paths in the store"),
    "artefact_sha256": Column(_TEXTS, "checksums"),
    "artefact_bytes": Column(_INTS, "sizes"),
    **_CONFIGURATION,
}

#: Columns of every table of `epochs`; losses, counters and metrics (float64) follow them.
EPOCHS: dict[str, Column] = {
    "run_id": Column(_TEXT, "the run"),
    "epoch": Column(pa.int32(), "epochs done; 0 is before the first"),
    "seconds": Column(_REAL, "since the beginning, over all attempts"),
}

#: Columns of every table of `predictions`; `HEAD_cluster` and `HEAD_confidence` follow them.
PREDICTIONS: dict[str, Column] = {
    "run_id": Column(_TEXT, "the run"),
    "sample": Column(_INT, "index of the image in its dataset"),
    "cluster": Column(pa.int32(), "cluster that the final head gives"),
    "confidence": Column(pa.float32(), "probability of that cluster, 0 to 1"),
    "label": Column(pa.int32(), "true class, when there are labels"),
    "path": Column(_TEXT, "path in the folder, as a command last found it; for folder datasets"),
}

#: Columns of every table of `probabilities`. One column per head follows them, which has the head's
#: name and holds its probability of every cluster: float32, exactly as the model gave it.
PROBABILITIES: dict[str, Column] = {
    "run_id": Column(_TEXT, "the run"),
    "sample": Column(_INT, "index of the image in its dataset"),
}

#: Kind of a file -> the columns that its tables always have.
KINDS: dict[str, dict[str, Column]] = {
    "runs": RUNS,
    "stages": STAGES,
    "epochs": EPOCHS,
    "predictions": PREDICTIONS,
    "probabilities": PROBABILITIES,
}


class Damaged(StorageError):
    """A file is not what was written.

    Attributes:
        path: the file.
        reason: what is wrong with it.
    """

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(path, reason)
        self.path, self.reason = path, reason

    def __str__(self) -> str:
        return f"{self.path} is damaged ({self.reason})."


class NewerSchema(StorageError):
    """A file needs a newer release of this package."""


@functools.cache
def release() -> str:
    """The installed release of this package."""
    try:
        return version("deep-clustering")
    except PackageNotFoundError:
        return "unknown"


# ---- rows and tables


def row_table(kind: str, row: Mapping[str, Any]) -> pa.Table:
    """A table of one row with the types of its kind.

    Core columns have their own type. `config.*` keeps the type of its value. Any other number is a
    metric and float64. A mapping becomes JSON. Core columns and metrics that are None are left
    out: absent is null.

    Raises:
        ValueError: all values that do not fit their column, together.
    """
    core = KINDS[kind]
    columns: dict[str, pa.Array] = {}
    wrong: list[str] = []
    for name in sorted(row, key=lambda n: (list(core).index(n) if n in core else len(core), n)):
        value = _plain(row[name])
        if value is None and not name.startswith("config."):
            continue
        try:
            if name in core:
                columns[name] = _cast(value, core[name].type)
            else:
                columns[name] = pa.array([value], _type_of(value, name.startswith("config.")))
        except (pa.ArrowException, TypeError, ValueError, OverflowError) as error:
            wanted = f"a value of type {core[name].type}" if name in core else "a plain value"
            wrong.append(f"{name}: needs {wanted}, got {value!r} ({error})")
    if wrong:
        raise ValueError("\n".join(wrong))
    return pa.table(columns)


def _cast(value: Any, kind: pa.DataType) -> pa.Array:
    if kind == _TIME:
        when = datetime.fromisoformat(value) if isinstance(value, str) else value
        if when.tzinfo is None:
            raise ValueError("it has no time zone")
        value = when.astimezone(UTC)
    if isinstance(value, bool) != (kind == _FLAG):
        raise TypeError("true and false are not numbers")
    return pa.array([value], kind)


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, (tuple, list)):
        return [_plain(v) for v in value]
    if isinstance(value, Mapping):
        return json.dumps(value, sort_keys=True)
    return value


def _type_of(value: Any, exact: bool) -> pa.DataType:
    """The type of a column that only its value describes; `exact` keeps whole numbers whole."""
    if value is None:
        return pa.null()
    if isinstance(value, bool):
        return _FLAG
    if isinstance(value, int):
        return _INT if exact else _REAL
    if isinstance(value, float):
        return _REAL
    if isinstance(value, str):
        return _TEXT
    if isinstance(value, datetime):
        return _TIME
    if isinstance(value, list):
        if all(isinstance(v, str) for v in value) and value:
            return _TEXTS
        if all(isinstance(v, int) and not isinstance(v, bool) for v in value) and value:
            return _INTS
        if all(isinstance(v, (int, float)) and not isinstance(v, bool) for v in value):
            return _REALS
    raise TypeError("numbers, texts, true, false and flat lists of one of them can be stored")


def fit_table(kind: str, run: str, table: pa.Table) -> pa.Table:
    """A table of a run with the types of its kind and its run's id in front.

    Raises:
        ValueError: a core column that does not fit, or rows of another run.
    """
    core = KINDS[kind]
    columns: dict[str, pa.Array] = {"run_id": pa.array([run] * table.num_rows, _TEXT)}
    if "run_id" in table.column_names:
        given = set(table["run_id"].to_pylist())
        if given - {run}:
            raise ValueError(f"run_id: needs {run}, got {sorted(map(str, given))[0]}")
    for name in table.column_names:
        column = table[name]
        if name == "run_id":
            continue
        if name in core:
            column = column.cast(core[name].type)
        else:
            column = column.cast(_loose_type(kind, name, column.type))
        columns[name] = column
    ordered = [n for n in core if n in columns] + [n for n in columns if n not in core]
    return pa.table({n: columns[n] for n in ordered})


def probabilities_table(
    samples: pa.ChunkedArray, probabilities: Mapping[str, np.ndarray]
) -> pa.Table:
    """A table of `probabilities`, not yet fitted to its run.

    Args:
        samples: (n,), the column `sample` of the table of predictions.
        probabilities: head -> float32 (n, C). Nothing is rounded.

    Raises:
        ValueError: all heads that do not fit, together.
    """
    columns: dict[str, pa.Array] = {"sample": samples}
    wrong: list[str] = []
    for head, values in probabilities.items():
        if head in PROBABILITIES:
            wrong.append(f"{head}: a head needs a name other than {', '.join(PROBABILITIES)}")
        elif values.dtype != np.float32 or values.ndim != 2 or len(values) != len(samples):
            wrong.append(
                f"{head}: needs float32 ({len(samples)}, C), got {values.dtype} {values.shape}"
            )
        else:
            flat = pa.array(np.ascontiguousarray(values).ravel())
            columns[head] = pa.FixedSizeListArray.from_arrays(flat, values.shape[1])
    if wrong:
        raise ValueError("\n".join(wrong))
    return pa.table(columns)


def _loose_type(kind: str, name: str, given: pa.DataType) -> pa.DataType:
    """The type of a column that is not a core one: numbers of epochs are all float64."""
    if pa.types.is_dictionary(given):
        given = given.value_type
    if kind == "probabilities" and pa.types.is_fixed_size_list(given):
        return pa.list_(pa.float32(), given.list_size)
    if pa.types.is_null(given):
        return _REAL
    if pa.types.is_integer(given) or pa.types.is_floating(given):
        return _REAL if kind == "epochs" else given
    if pa.types.is_boolean(given):
        return _FLAG
    if pa.types.is_string(given) or pa.types.is_large_string(given):
        return _TEXT
    raise ValueError(f"{name}: numbers, texts, true and false can be stored, got {given}")


# ---- one table, one file

_KEY = "deep_clustering"
_HEAD = b'{"kind":"'
_NOTE = re.compile(
    rb'\{"kind":"([a-z]+)","schema":(\d+),"release":"([^"]*)","digest":"sha256:([0-9a-f]{64})"\}'
)


def encode(kind: str, table: pa.Table, *, schema: int = SCHEMA) -> bytes:
    """The file that holds a table."""
    note = {
        "kind": kind,
        "schema": schema,
        "release": release(),
        "digest": "sha256:" + "0" * 64,
    }
    small = table.num_rows < 64  # dictionaries and compression would only add to it
    sink = io.BytesIO()
    writer = pq.ParquetWriter(
        sink,
        table.schema.remove_metadata(),
        compression="none" if small else "zstd",
        use_dictionary=not small,
        write_statistics=not small,
        write_page_checksum=True,
        store_schema=kind == "probabilities",  # Parquet itself knows no lists of one length
    )
    writer.write_table(table.replace_schema_metadata(None))
    writer.add_key_value_metadata({_KEY: json.dumps(note, separators=(",", ":"))})
    writer.close()
    data = bytearray(sink.getvalue())
    place = data.rfind(b"sha256:") + len(b"sha256:")
    data[place : place + 64] = hashlib.sha256(data).hexdigest().encode()
    return bytes(data)


def check(data: bytes, name: str, kind: str) -> None:
    """See that a file is what was written and can be read by this release.

    Raises:
        Damaged: a byte was changed or is missing, or it holds something else.
        NewerSchema: a newer release wrote it.
    """
    begin = data.rfind(_HEAD)
    match = _NOTE.match(data, begin) if begin >= 0 else None
    if match is None:
        raise Damaged(name, f"its checksum is missing, {len(data)} bytes")
    place = match.start(4)
    view = memoryview(data)
    digest = hashlib.sha256(view[:place])
    digest.update(b"0" * 64)
    digest.update(view[place + 64 :])
    if digest.hexdigest().encode() != match[4]:
        raise Damaged(name, "its checksum does not match")
    if int(match[2]) > SCHEMA:
        raise NewerSchema(
            f"{name} was written by deep-clustering {match[3].decode()} with schema "
            f"{int(match[2])}; this is {release()} with schema {SCHEMA}: install "
            f"{match[3].decode()} or newer to read it."
        )
    if match[1].decode() != kind:
        raise Damaged(name, f"it holds {match[1].decode()}, not {kind}")


def decode(
    data: bytes,
    name: str,
    kind: str,
    columns: Sequence[str] | None = None,
    *,
    checked: bool = False,
) -> pl.DataFrame:
    """The table of a file, after `check` (unless `checked`); `columns` picks some of them.

    Raises:
        Damaged, NewerSchema: as `check`.
    """
    if not checked:
        check(data, name, kind)
    with _readable(name):
        return _parquet.read(data, columns)


def columns_of(data: bytes, name: str) -> list[str]:
    """Names of the columns of a file, after `check`."""
    with _readable(name):
        return list(pl.read_parquet_schema(io.BytesIO(data)))


@contextlib.contextmanager
def _readable(name: str) -> Iterator[None]:
    try:
        yield
    except _parquet.UNREADABLE as error:
        raise Damaged(name, str(error).partition("\n")[0]) from error


# ---- many tables as one


@functools.cache
def polars_type(kind: pa.DataType) -> pl.DataType:
    """The polars type of an Arrow type."""
    return pl.Schema(pa.schema([("", kind)]))[""]


def core_schema(kind: str) -> dict[str, pl.DataType]:
    """Column name -> polars type of the columns that a kind of table always has."""
    return {name: polars_type(column.type) for name, column in KINDS[kind].items()}


def common(schemas: Iterable[Mapping[str, pl.DataType]], kind: str) -> dict[str, pl.DataType]:
    """The columns of tables laid under each other, in the documented order.

    Core columns come first, then all others sorted by name, `config.*` last. A column that has
    several types gets one that holds all of them: numbers become float64, anything else text.
    """
    core = core_schema(kind)
    types: dict[str, list[pl.DataType]] = {}
    for schema in schemas:
        for name, dtype in schema.items():
            known = types.setdefault(name, [])
            if dtype not in known:
                known.append(dtype)
    rest = sorted((n for n in types if n not in core), key=lambda n: (n.startswith("config."), n))
    return core | {name: _common(types[name]) for name in rest}


def _common(types: list[pl.DataType]) -> pl.DataType:
    known = [k for k in types if k != pl.Null]
    if len(known) <= 1:
        return known[0] if known else pl.Null()
    if all(k.is_integer() for k in known):
        return pl.Int64()
    if all(k.is_numeric() or k == pl.Boolean for k in known):
        return pl.Float64()
    if all(isinstance(k, (pl.List, pl.Array)) for k in known):
        return pl.List(
            _common([_instance(k.inner) for k in known if isinstance(k, (pl.List, pl.Array))])
        )
    return pl.String()


def _instance(dtype: pl.DataType | DataTypeClass) -> pl.DataType:
    """The type as an object, where polars gives the class that stands for it."""
    return dtype if isinstance(dtype, pl.DataType) else dtype()


def union(frames: Sequence[pl.DataFrame], kind: str) -> pl.DataFrame:
    """Tables laid under each other; what one lacks is null in it, and nothing is dropped."""
    alike: dict[tuple[tuple[str, pl.DataType], ...], list[pl.DataFrame]] = {}
    for frame in frames:
        alike.setdefault(tuple(frame.schema.items()), []).append(frame)
    blocks = [pl.concat(group, rechunk=True) for group in alike.values()]
    target = common([_meaningful(b) for b in blocks], kind)
    return pl.concat(
        [pl.DataFrame(schema=target), *(conform(b, target) for b in blocks)], rechunk=True
    )


def _meaningful(frame: pl.DataFrame) -> dict[str, pl.DataType]:
    """The schema, with columns of nothing but nulls as having no type."""
    counts = frame.null_count().row(0)
    return {
        name: pl.Null() if nulls == frame.height else dtype
        for (name, dtype), nulls in zip(frame.schema.items(), counts, strict=True)
    }


def conform(frame: pl.DataFrame, target: Mapping[str, pl.DataType]) -> pl.DataFrame:
    """A table with exactly the columns and types of `target`."""
    have = frame.schema
    columns = []
    for name, dtype in target.items():
        if name not in have:
            columns.append(pl.lit(None, dtype=dtype).alias(name))
        elif have[name] == dtype:
            columns.append(pl.col(name))
        elif isinstance(have[name], pl.List) and dtype == pl.String:
            inner = pl.col(name).cast(pl.List(pl.String))
            columns.append(pl.format("[{}]", inner.list.join(",")).alias(name))
        else:
            columns.append(pl.col(name).cast(dtype))
    if not columns:
        return frame.select()
    return frame.select(columns)


def described(table: pa.Table) -> str:
    """The columns of a table as JSON, name to Arrow type, for `epochs_columns` and the like."""
    return json.dumps({f.name: str(f.type) for f in table.schema})


def restored(text: str) -> dict[str, pl.DataType]:
    """The polars schema of what `described` wrote."""
    return {name: polars_type(_arrow_type(t)) for name, t in json.loads(text).items()}


def _arrow_type(text: str) -> pa.DataType:
    """The Arrow type that a column of a table has, from its name."""
    if match := re.fullmatch(r"fixed_size_list<\w+: float>\[(\d+)\]", text):
        return pa.list_(pa.float32(), int(match[1]))
    return pa.type_for_alias(text)
