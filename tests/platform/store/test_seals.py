"""What was once in the store and is gone is noticed, told and, where a copy is left, put back."""

import shutil
import warnings
from pathlib import Path

import pytest

from deep_clustering.platform import results
from deep_clustering.platform.errors import InputError
from deep_clustering.platform.store import _seals
from deep_clustering.platform.store.store import Plan, Store, StoreDamage
from support.store_rows import commit, epochs, run, stage, whole


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Two runs, an attempt without a result, a stage and a plan, all sealed."""
    store = Store.open(tmp_path / "store")
    commit(store, "a", 0.25)
    commit(store, "b", 0.5)
    store.record_failure(run("lost", status="failed", reason="x"), epochs())
    stage(store, "enc")
    store.write_plan("study", "s", Plan.of(["a", "b"], "platform tune"))
    store.seal()
    return store


def _gone(store: Store) -> dict[str, str]:
    return {p.path: p.kind for p in Store.open(store.uri).verify()}


@pytest.mark.fault(70)
@pytest.mark.parametrize(
    "name", ["runs/a.ok.parquet", "runs/lost.failed-0.parquet", "stages/enc.ok.parquet"]
)
def test_a_deleted_row_is_told_until_it_is_there_again(store: Store, name: str) -> None:
    assert store.local is not None
    kept = (store.local / name).read_bytes()
    (store.local / name).unlink()
    assert _gone(store) == {name: "missing"}
    with pytest.warns(StoreDamage, match=f"{name}: missing, although it was here once; the comm"):
        store.rows(name.partition("/")[0])
    (store.local / name).write_bytes(kept)
    assert _gone(store) == {}


def test_a_plan_whose_files_are_gone_is_told(store: Store) -> None:
    store.delete("plans/study/s")
    assert _gone(store) == {"plans/study/s": "missing"}
    store.repair()
    assert _gone(store) == {}


def test_many_losses_are_one_warning(store: Store) -> None:
    store.delete("runs")
    with pytest.warns(StoreDamage) as told:
        assert results.runs(store).collect().is_empty()
    assert len(told) == 1
    assert "as 2 more" in str(told[0].message)
    assert len(_gone(store)) == 3


def test_what_was_never_sealed_is_not_missed(store: Store) -> None:
    commit(store, "c")
    store.delete("runs/c.ok.parquet")
    assert _gone(store) == {}


def test_a_loss_keeps_the_files_of_its_run_until_it_is_done_again(store: Store) -> None:
    tables = store.list("predictions")
    for path in store.list("runs"):
        store.delete(path)
    store.sweep()
    assert store.list("predictions") == tables
    commit(store, "a", 0.75)
    assert whole(store, "a") == 0.75
    assert "runs/a.ok.parquet" not in _gone(store)


def test_a_segment_gives_a_lost_row_back(store: Store) -> None:
    store.compact()
    store.delete("runs/a.ok.parquet")
    store.sweep()
    (mended,) = store.repair()
    assert mended.reason == "missing, although it was here once; restored from a segment"
    assert whole(store, "a") == 0.25
    assert _gone(store) == {}


def test_a_lost_row_without_its_tables_is_not_put_back(store: Store) -> None:
    store.compact()
    store.delete(store.run_row("a")["predictions_file"])
    store.delete("runs/a.ok.parquet")
    store.repair()
    assert store.finished() == {"b"}
    assert _gone(store) == {}


def test_what_repair_sets_aside_is_not_missed(store: Store) -> None:
    assert store.local is not None
    (store.local / "runs/a.ok.parquet").write_bytes(b"")
    (store.local / store.list("plans")[0]).write_bytes(b"")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", StoreDamage)
        assert len(store.repair()) == 2
    assert _gone(store) == {}


def test_many_seals_become_one(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_seals, "_MANY", 3)
    store.seal()
    assert len(store.list("seals")) == 1  # there was nothing new
    for n in range(5):
        commit(store, f"more-{n}")
        store.seal()
    assert len(store.list("seals")) <= 3
    store.delete("runs")
    assert len(_gone(store)) == 8


def test_a_damaged_seal_harms_nothing(store: Store) -> None:
    assert store.local is not None
    seal = store.list("seals")[0]
    for data in (b"", b"{", b'{"names": 3}', b"[" * 100_000, b"\xff"):
        (store.local / seal).write_bytes(data)
        assert _gone(store) == {seal: "damaged"}
        with pytest.warns(StoreDamage, match="the results themselves are not concerned"):
            assert Store.open(store.uri).rows().height == 3
    Store.open(store.uri).repair()
    assert _gone(store) == {}
    assert len(store.list("quarantine")) == 1


# ---- the mark of the whole store


@pytest.mark.fault(71)
@pytest.mark.parametrize("how", ["gone", "empty", "flipped", "a folder", "no JSON at all", "deep"])
def test_a_store_without_its_mark_is_read(store: Store, how: str) -> None:
    assert store.local is not None
    mark = store.local / "store.json"
    whole_mark = mark.read_bytes()
    mark.unlink()
    if how == "a folder":
        mark.mkdir()
    elif how != "gone":
        flipped = whole_mark.replace(b"1", b"2")
        given = {"empty": b"", "flipped": flipped, "deep": b"[" * 100_000}
        mark.write_bytes(given.get(how, b"\xff\xfe"))
    with pytest.warns(StoreDamage, match=r"^store\.json: .*the results beside it are read") as told:
        again = Store.open(store.uri, create=False)
    assert len(told) == 1
    assert "\n" not in str(told[0].message)
    assert whole(again, "a") == 0.25
    assert [p.path for p in again.verify()] == ["store.json"]
    with pytest.warns(StoreDamage, match="the next command that computes renews it"):
        assert Store.open(store.uri).verify() == []
    assert len(store.list("quarantine")) == (how not in ("gone", "a folder"))


def test_a_place_with_neither_mark_nor_results_is_no_store(store: Store) -> None:
    assert store.local is not None
    shutil.rmtree(store.local)
    (store.local / "photos").mkdir(parents=True)
    with pytest.raises(InputError, match="there is no store at"):
        Store.open(store.uri, create=False)
