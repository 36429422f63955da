"""The store on an S3 server of its own, through an address as a person gives it."""

import pickle

import polars as pl
import pytest

from deep_clustering.platform import results
from deep_clustering.platform.errors import InputError, StorageError
from deep_clustering.platform.store.store import Plan, Store, StoreDamage
from support.store_rows import commit, epochs, run, stage, whole


@pytest.mark.ray
def test_everything_a_command_does(address: str) -> None:
    store = Store.open(address)
    assert store.local is None
    assert store.finished() == set()
    assert stage(store, "s")
    assert store.stage_artefact("s", "features").read_bytes() == b"weights" * 3
    for i in range(4):
        assert commit(store, f"r{i}", i / 10)
    assert not commit(store, "r0", 0.9)
    store.record_failure(run("lost", status="failed", reason="x"), epochs())
    store.write_plan("study", "s", Plan.of(["r0", "r1"]))
    store.write_bytes("checkpoints/r9/000001.json", b"{}")
    assert store.list("checkpoints") == ["checkpoints/r9/000001.json"]
    store.delete("checkpoints/r9/000001.json")
    assert store.list("checkpoints") == []
    with store.lock("r1") or pytest.fail("always granted"):
        pass

    again = pickle.loads(pickle.dumps(Store.open(store.uri, create=False)))
    assert [whole(again, f"r{i}") for i in range(4)] == [0.0, 0.1, 0.2, 0.3]
    assert again.finished() == {"r0", "r1", "r2", "r3"}
    assert again.failures() == {"lost": "x"}
    assert again.stages() == {"s"}
    assert results.study("s", address).collect().height == 2
    before = results.runs(address).collect()
    again.compact()
    assert len(again.list("segments")) == 2
    assert results.runs(address).collect().equals(before)
    assert results.epochs(address).filter(pl.col("epoch") == 2).collect().height == 5
    again.sweep()
    assert again.verify() == []


def test_a_broken_upload_is_not_a_result(address: str) -> None:
    store = Store.open(address)
    commit(store, "a")
    path = store.list("runs")[0]
    store.write_bytes(path, store.read_bytes(path)[:-50])
    with pytest.warns(StoreDamage):
        assert not store.done(["a"])
    with pytest.warns(StoreDamage):
        assert commit(store, "a", 0.75)
    assert whole(store, "a") == 0.75
    assert store.verify() == []
    assert len(store.list("quarantine")) == 1


def test_what_is_not_there(address: str, endpoint: str) -> None:
    with pytest.raises(InputError, match="there is no store at s3://results/"):
        Store.open(address, create=False)
    with pytest.raises(StorageError, match="cannot write in s3://nowhere/x"):
        Store.open(address.replace("s3://results/", "s3://nowhere/x/"))
