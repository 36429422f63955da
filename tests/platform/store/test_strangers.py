"""A store that somebody else made: nothing in it runs, leaves the store, or eats the memory.

Its checksums are all right; what it says is not.
"""

import hashlib
import io
import json
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from deep_clustering.platform import results
from deep_clustering.platform.errors import StorageError
from deep_clustering.platform.evaluation import tensors
from deep_clustering.platform.run.checkpoints import CheckpointDamage, Checkpoints
from deep_clustering.platform.run.manifest import Manifest
from deep_clustering.platform.store import schema
from deep_clustering.platform.store.store import Store, StoreDamage
from support.store_rows import commit, epochs, run, stage


class Canary:
    """Leaves a file when it is unpickled."""

    def __init__(self, place: Path) -> None:
        self.place = place

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return Path.touch, (self.place,)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store.open(tmp_path / "store")
    commit(store, "good", 0.25)
    return store


@pytest.mark.fault(25)
@pytest.mark.parametrize("how", ["pickle", "torch", "numpy"])
def test_nothing_is_unpickled(store: Store, tmp_path: Path, how: str) -> None:
    """A model, an artefact and a checkpoint that are pickles, with the right checksums."""
    bird = Canary(tmp_path / "sang")
    file = tmp_path / "file"
    if how == "torch":
        torch.save({"w": bird}, file)
    elif how == "numpy":
        with file.open("wb") as opened:
            np.save(opened, np.array([bird], dtype=object), allow_pickle=True)
    else:
        file.write_bytes(pickle.dumps(bird))
    data = file.read_bytes()
    store.write_model("bad", data)
    store.commit_run(run("bad"), epochs(), None)
    store.commit_stage({"stage_id": "enc", "kind": "encoder"}, {"features": data})
    for path in (store.model_path("bad"), store.stage_artefact("enc", "features")):
        with pytest.raises(StorageError, match="holds no safetensors"):
            tensors.loaded(path)
    history = {"rows": [], "seconds": 0.0, "started": "2026-01-02"}
    digest = hashlib.sha256(data).hexdigest()
    told = Manifest(job="bad", epoch=1, sha256=digest, history=history)
    store.write_bytes("checkpoints/bad/000001.safetensors", data)
    store.write_bytes("checkpoints/bad/000001.json", told.encoded())
    with pytest.warns(CheckpointDamage):
        assert Checkpoints(store, "bad").load() is None
    store.verify()
    assert not bird.place.exists()
    pickle.loads(pickle.dumps(bird))
    assert bird.place.exists()  # it would have sung


@pytest.mark.fault(62)
@pytest.mark.parametrize(
    ("column", "path"),
    [
        ("epochs_file", "../outside"),
        ("predictions_file", "/etc/hostname"),
        ("probabilities_file", "epochs/../../outside"),
        ("model_file", "epochs/good.x.parquet"),
        ("model_file", ".."),
    ],
)
def test_a_row_names_only_files_of_its_own(store: Store, column: str, path: str) -> None:
    """It counts as damaged, hides nothing else, and its file is not touched."""
    assert store.local is not None
    (store.local.parent / "outside").write_bytes(b"private")
    row = {**run("bad"), "status": "ok", column: path, "model_sha256": "0" * 64}
    row |= {"epochs_columns": "{}", "predictions_columns": "{}", "probabilities_columns": "{}"}
    store.write_bytes("runs/bad.ok.parquet", schema.encode("runs", schema.row_table("runs", row)))
    with pytest.warns(StoreDamage, match="it names a file that is not its own"):
        assert results.runs(store).collect()["run_id"].to_list() == ["good"]
    for read in (results.epochs, results.predictions, results.probabilities):
        with pytest.warns(StoreDamage):
            assert set(read(store).collect()["run_id"]) == {"good"}
    with pytest.raises(StorageError):
        store.model_path("bad")
    assert [p.path for p in store.verify()] == ["runs/bad.ok.parquet"]
    store.repair()
    store.sweep()
    assert (store.local.parent / "outside").read_bytes() == b"private"
    assert store.verify() == []


@pytest.mark.parametrize("path", ["../outside", "/etc/hostname", "epochs/good.x.parquet", ".."])
def test_a_stage_names_only_files_of_its_own(store: Store, path: str) -> None:
    stage(store, "enc")
    row = {**store.stage_row("enc"), "artefact_files": [path, path]}
    data = schema.encode("stages", schema.row_table("stages", row))
    store.write_bytes("stages/enc.ok.parquet", data)
    again = Store.open(store.uri)
    assert not again.stage_ready("enc")
    with pytest.raises(StorageError, match="it names a file that is not its own"):
        again.stage_artefact("enc", "features")
    assert [p.path for p in again.verify()] == ["stages/enc.ok.parquet"]


@pytest.mark.parametrize("kind", ["epochs", "predictions", "probabilities"])
def test_a_table_of_another_attempt_is_not_that_of_the_row(store: Store, kind: str) -> None:
    """A whole file of the same run, with a right checksum, in place of the one that counts."""
    other = Store.open(f"{store.uri}-other")
    commit(other, "good", 0.75)
    mine, theirs = (s.run_row("good")[f"{kind}_file"] for s in (store, other))
    store.write_bytes(mine, other.read_bytes(theirs))
    again = Store.open(store.uri)
    with pytest.warns(StoreDamage, match="it is not the table that its row names"):
        assert list(again.tables(kind, [mine])) == []
    assert [p.path for p in again.verify()] == [mine]


def test_names_in_plans_and_seals_lead_nowhere(store: Store) -> None:
    from deep_clustering.platform.store._segments import short

    assert store.local is not None
    (store.local.parent / "outside").write_bytes(b"private")
    for folder, body in (
        ("plans/study/s", {"runs": ["../../outside", "/etc/hostname"]}),
        ("seals", {"names": ["runs/../../outside", "plans/../../outside"]}),
    ):
        data = json.dumps(body).encode()
        store.write_bytes(f"{folder}/{short(data)}.json", data)
    again = Store.open(store.uri)
    with pytest.warns(StoreDamage, match="it holds no names"):
        assert results.study("s", again).collect().height == 0
    assert len(again.verify()) == 1
    again.repair()
    assert again.verify() == []
    again.sweep()
    assert (store.local.parent / "outside").read_bytes() == b"private"


_READ = """
import sys
from pathlib import Path
from deep_clustering.platform import results
from deep_clustering.platform.store.store import Store
results.runs(sys.argv[1]).collect()
rows = results.runs(sys.argv[1]).collect()
Store.open(sys.argv[1]).verify()
# The most memory of this process alone; getrusage counts that of the one that started it as well.
(most,) = (x for x in Path("/proc/self/status").read_text().splitlines() if x.startswith("VmHWM:"))
print(rows["run_id"].to_list(), most.split()[1])
"""


def test_a_table_that_would_fill_the_memory_is_not_read() -> None:
    """60 million equal texts in half a megabyte, with a right checksum."""
    bomb = _bomb("predictions", 60_000_000)
    assert len(bomb) < 1_000_000
    with pytest.raises(schema.Damaged, match=r"bytes claim to be a table of \d+ MiB"):
        schema.decode(bomb, "bomb", "predictions")


def test_a_crafted_table_is_read_or_damaged(store: Store) -> None:
    """At the worst of these changes the reader of polars ends the process: 2 ** 61 values."""
    (name,) = store.list("epochs")
    whole = store.read_bytes(name)
    damaged = 0
    for place in range(4, 200):  # headers of pages, and values
        data = bytearray(whole)
        data[place] = 1
        try:
            schema.decode(_sealed(data), name, "epochs")
        except schema.Damaged:
            damaged += 1
    assert damaged > 50


@pytest.mark.ray  # a process of its own, whose memory is measured
def test_a_bomb_among_the_rows_takes_little_memory(store: Store) -> None:
    store.write_bytes("runs/bomb.ok.parquet", _bomb("runs", 400_000_000))
    told = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", _READ, store.uri],
        capture_output=True,
        text=True,
        check=True,
    )
    rows, _, kilobytes = told.stdout.rpartition(" ")
    assert rows == "['good']"
    assert int(kilobytes) < 1_000_000  # 400 million texts take 6.4 GB


def _bomb(kind: str, rows: int) -> bytes:
    """A file like those of the store whose one column repeats a number."""
    part = pa.table(
        {"n": pa.DictionaryArray.from_arrays(np.zeros(rows // 20, np.int8), ["x" * 64])}
    )
    sink = io.BytesIO()
    writer = pq.ParquetWriter(sink, part.schema, compression="zstd", store_schema=False)
    for _ in range(20):
        writer.write_table(part, row_group_size=rows)
    note = {"kind": kind, "schema": 1, "release": "0", "digest": "sha256:" + "0" * 64}
    writer.add_key_value_metadata({schema._KEY: json.dumps(note, separators=(",", ":"))})
    writer.close()
    return _sealed(sink.getvalue())


def _sealed(content: bytes | bytearray) -> bytes:
    """A file with the checksum that is right for it."""
    data = bytearray(content)
    place = data.rfind(b"sha256:") + len(b"sha256:")
    data[place : place + 64] = b"0" * 64
    data[place : place + 64] = hashlib.sha256(data).hexdigest().encode()
    return bytes(data)
