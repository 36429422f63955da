"""The contract of a store: on a disk, as in an object store, and in a backend from outside."""

import errno
import json
import os
import pickle
import shutil
import tarfile
import warnings
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from polars.testing import assert_frame_equal

from deep_clustering.platform import _disk, results
from deep_clustering.platform._disk import attempt
from deep_clustering.platform.errors import InputError, StorageError
from deep_clustering.platform.store import _backends, _segments, schema
from deep_clustering.platform.store._mark import renew
from deep_clustering.platform.store._plans import united
from deep_clustering.platform.store.store import FORMAT, Plan, PlannedRun, Store, StoreDamage
from support import memory
from support.store_rows import commit, epochs, predictions, probabilities, run, stage, whole
from support.users import shared_folder, user


def remote(name: str) -> Store:
    """A store that takes the way of object stores, in memory."""
    files = memory.ObjectsInMemory(name)
    renew(files)
    return Store(files, f"test://{name}")


@pytest.fixture(params=["disk", "object store", "a backend from outside"])
def store(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    place = tmp_path / "store"
    if request.param == "disk":
        return Store.open(place)
    if request.param == "a backend from outside":
        monkeypatch.setitem(_backends.BACKENDS, "memory", memory.connect)
        return Store.open(f"memory://{place}")
    return remote(str(place))


def test_a_run_is_there_once_and_whole(store: Store) -> None:
    assert not store.done(["a"])
    assert store.finished() == set()
    assert commit(store, "a", 0.25)
    assert store.done(["a"])
    assert whole(store, "a") == 0.25
    assert not commit(store, "a", 0.75)  # the first stays
    assert whole(store, "a") == 0.25
    assert store.finished() == {"a"}
    for kind in ("epochs", "predictions", "probabilities", "models"):
        assert len(store.list(kind)) == 1
    assert store.verify() == []


def test_the_same_result_again_is_not_a_second_one(store: Store) -> None:
    assert commit(store, "a", 0.25)
    assert not commit(store, "a", 0.25)  # its model is the very file that the first one names
    assert whole(store, "a") == 0.25


def test_types_of_a_row_survive(store: Store) -> None:
    store.commit_run(run("a", note="text", acc=1, weird=3), None, None)
    row = store.run_row("a")
    assert row["started"] == datetime(2026, 1, 2, 3, 4, 5, 6, UTC)
    assert row["config.batch_size"] == 32
    assert isinstance(row["config.batch_size"], int)
    assert row["config.fixed_threshold"] is None
    assert isinstance(row["acc"], float)
    assert isinstance(row["weird"], float)
    assert row["note"] == "text"
    assert row["flags"] == []
    assert row["nmi"] is None
    assert set(schema.RUNS) <= set(row)
    assert row["ece"] == 0.1


def test_numbers_of_every_kind_come_back_bit_for_bit(store: Store) -> None:
    hard = [0.1 + 0.2, 5e-324, -0.0, float("inf"), float("nan"), 1 / 3]
    store.commit_run(run("a", **{f"m{i}": v for i, v in enumerate(hard)}), None, None)
    row = store.run_row("a")
    values = [row[f"m{i}"] for i in range(len(hard))]
    assert np.array(values).tobytes() == np.array(hard).tobytes()


def test_values_get_the_type_that_fits_them() -> None:
    given: dict[str, Any] = {
        "run_id": "a",
        "seed": np.int64(4),
        "metric": np.float32(0.5),
        "whole": 3,
        "yes": True,
        "when": datetime(2026, 1, 1, tzinfo=UTC),
        "texts": ("x", "y"),
        "reals": np.array([1.0, 2.0]),
        "mixed": [1, 2.5],
        "config.whole": 3,
        "config.some": (1, 2),
        "config.none": None,
        "config.empty": [],
        "nested": {"b": 1, "a": [2]},
        "nothing": None,
    }
    table = schema.row_table("runs", given)
    assert {f.name: str(f.type) for f in table.schema} == {
        "run_id": "string",
        "seed": "int64",
        "metric": "double",
        "whole": "double",
        "yes": "bool",
        "when": "timestamp[us, tz=UTC]",
        "texts": "list<item: string>",
        "reals": "list<item: double>",
        "mixed": "list<item: double>",
        "config.whole": "int64",
        "config.some": "list<item: int64>",
        "config.none": "null",
        "config.empty": "list<item: double>",
        "nested": "string",
    }
    assert table["nested"].to_pylist() == ['{"a": [2], "b": 1}']
    for wrong in ([True, 1], [[1]], [None], {1, 2}):
        with pytest.raises(ValueError, match="odd: needs a plain value"):
            schema.row_table("runs", {"run_id": "a", "odd": wrong})


def test_tables_of_a_run_get_the_types_of_their_kind() -> None:
    given = pa.table(
        {
            "epoch": pa.array([0, 1], pa.int64()),
            "count": pa.array([1, 2], pa.int32()),
            "never": pa.nulls(2),
            "flag": [True, False],
            "word": pa.array(["a", "b"]).dictionary_encode(),
        }
    )
    table = schema.fit_table("epochs", "a", given)
    assert [str(f.type) for f in table.schema] == [
        *("string", "int32", "double", "double", "bool", "string")
    ]
    assert schema.restored(schema.described(table)) == {
        "run_id": pl.String(),
        "epoch": pl.Int32(),
        "count": pl.Float64(),
        "never": pl.Float64(),
        "flag": pl.Boolean(),
        "word": pl.String(),
    }
    table = schema.fit_table("predictions", "a", pa.table({"n": pa.array([1], pa.int8())}))
    assert str(table.schema.field("n").type) == "int8"


def test_wrong_values_are_named_together(store: Store) -> None:
    with pytest.raises(ValueError, match="seed: needs a value of type int64") as error:
        store.commit_run(
            run("a", seed="x", acc=True, started="2026-01-01T00:00:00", odd=object()), None, None
        )
    for name in ("acc", "started", "odd"):
        assert f"\n{name}: needs" in str(error.value)
    with pytest.raises(ValueError, match=r"run_id: needs a, got b"):
        store.commit_run(run("a"), epochs().append_column("run_id", pa.array(["b"] * 3)), None)
    with pytest.raises(ValueError, match="blob: numbers, texts, true and false"):
        store.commit_run(run("a"), pa.table({"epoch": [0], "blob": [b"x"]}), None)
    for wrong in ("", "A", "a.b", "../a", "a/b", "x" * 65, None, 3):
        with pytest.raises(InputError, match="an id has 1 to 64"):
            store.commit_run(run("a") | {"run_id": wrong}, None, None)
    assert store.finished() == set()
    assert store.list("epochs") == []


def test_failures_are_rows_with_a_reason(store: Store) -> None:
    store.record_failure(run("a", status="failed", reason="out of memory"), epochs())
    store.record_failure(run("b", status="stopped", reason="stopped early"))
    store.record_failure(run("c", status="failed", reason="first"))
    store.record_failure(run("c", status="interrupted", reason="Ctrl-C"))
    assert store.finished() == set()
    assert dict(store.rows().select("run_id", "status").iter_rows()) == {
        "a": "failed",
        "b": "stopped",
        "c": "interrupted",
    }
    assert store.failures() == {"a": "out of memory"}
    rows = {r["run_id"]: r for r in results.runs(store).collect().iter_rows(named=True)}
    assert rows["a"]["acc"] is None
    assert rows["a"]["cluster_sizes"] is None
    assert rows["a"]["seed"] == 3
    assert (rows["c"]["reason"], rows["c"]["attempts"]) == ("Ctrl-C", 2)
    assert results.epochs(store).filter(pl.col("run_id") == "a").collect().height == 3
    commit(store, "c")
    assert store.finished() == {"c"}
    assert store.run_row("c")["attempts"] == 3
    with pytest.raises(ValueError, match="status: needs failed, stopped or interrupted, got 'ok'"):
        store.record_failure(run("d", status="ok"))


def test_which_of_some_ids_are_done(store: Store) -> None:
    assert store.done([]) == store.done(["a", "s"]) == set()
    commit(store, "a")
    stage(store, "s")
    store.record_failure(run("b", status="failed", reason="x"))
    assert store.done(["a", "b", "s", "never"]) == {"a", "s"}
    assert store.done(iter(["s"])) == {"s"}
    store.delete(store.stage_row("s")["artefact_files"][0])
    assert store.done(["a", "s"]) == {"a"}  # a stage without its files has to be computed again
    with pytest.raises(InputError, match="an id has 1 to 64"):
        store.done(["../a"])


def test_the_kind_of_a_failure_stands_beside_its_reason(store: Store) -> None:
    store.record_failure(run("a", status="failed", reason="loss is NaN", failure_kind="diverged"))
    commit(store, "b")
    rows = {r["run_id"]: r["failure_kind"] for r in results.runs(store).collect().to_dicts()}
    assert rows == {"a": "diverged", "b": None}


# ---- probabilities


def test_probabilities_are_kept_whole(store: Store) -> None:
    hard = np.array([[0.1, 0.9], [np.nextafter(np.float32(0), 1), 1], [1 / 3, 2 / 3]], np.float32)
    table = pa.table({"sample": [7, 3, 5]})
    store.commit_run(run("a"), None, table, {"first": hard, "second": hard[:, ::-1]})
    soft = store.probabilities("a")
    assert soft["first"].tobytes() == hard.tobytes()
    assert soft["second"].tobytes() == hard[:, ::-1].tobytes()
    frame = results.probabilities(store).collect()
    assert frame.columns == ["run_id", "sample", "first", "second"]
    assert frame["sample"].to_list() == [7, 3, 5]
    assert frame["first"].dtype == pl.Array(pl.Float32, 2)


def test_probabilities_of_runs_that_differ_lie_under_each_other(store: Store) -> None:
    def soft(clusters: int) -> np.ndarray:
        return np.full((4, clusters), 1 / clusters, np.float32)

    store.commit_run(run("a"), None, predictions(), {"one": soft(2), "two": soft(3)})
    store.commit_run(run("b"), None, predictions(), {"one": soft(5)})
    store.commit_run(run("c"), None, predictions())
    frame = results.probabilities(store).sort("run_id", "sample").collect()
    assert frame["run_id"].to_list() == ["a"] * 4 + ["b"] * 4
    assert frame["one"].list.len().to_list() == [2] * 4 + [5] * 4
    assert frame["two"].null_count() == 4
    only = results.probabilities(store).filter(pl.col("run_id") == "b").collect()
    assert only["one"][0].to_list() == [np.float32(0.2)] * 5


def test_a_run_without_probabilities_says_so(store: Store) -> None:
    store.commit_run(run("a"), epochs(), predictions())
    with pytest.raises(InputError, match=r"run a has no probabilities in .*an older release"):
        store.probabilities("a")
    with pytest.raises(InputError, match="there is no finished run 'b'"):
        store.probabilities("b")
    assert results.probabilities(store).collect().height == 0


def test_probabilities_that_do_not_fit_are_refused(store: Store) -> None:
    good = probabilities()["clustering"]
    for wrong, text in (
        ({"x": good.astype(np.float64)}, r"x: needs float32 \(4, C\), got float64 \(4, 2\)"),
        ({"x": good[:3]}, r"x: needs float32 \(4, C\), got float32 \(3, 2\)"),
        ({"x": good[:, 0]}, r"got float32 \(4,\)"),
        ({"sample": good}, "sample: a head needs a name other than run_id, sample"),
    ):
        with pytest.raises(ValueError, match=text):
            store.commit_run(run("a"), None, predictions(), wrong)
    with pytest.raises(ValueError, match="probabilities: need the table of predictions"):
        store.commit_run(run("a"), None, None, {"x": good})
    assert store.finished() == set()
    assert store.list("probabilities") == []


def test_stages(store: Store) -> None:
    assert store.stages() == set()
    assert stage(store, "s")
    assert not stage(store, "s", b"other")
    assert store.stage_ready("s")
    assert store.stages() == {"s"}
    assert store.stage_row("s")["kind"] == "encoder"
    assert store.stage_artefact("s", "encoder").read_bytes() == b"weights"
    assert store.stage_artefact("s", "features").read_bytes() == b"weights" * 3
    assert len(store.list("artefacts")) == 2
    assert results.stages(store).collect()["stage_id"].to_list() == ["s"]
    with pytest.raises(InputError, match="stage s has no 'x'; it has encoder, features"):
        store.stage_artefact("s", "x")
    with pytest.raises(InputError, match="there is no finished stage 't'"):
        store.stage_artefact("t", "x")


def test_a_model_that_is_not_there(store: Store) -> None:
    store.commit_run(run("a"), None, None)
    with pytest.raises(InputError, match="run a has no model"):
        store.model_path("a")
    with pytest.raises(InputError, match="there is no finished run 'b'"):
        store.model_path("b")


def test_plans_are_united(store: Store) -> None:
    assert store.read_plan("suite", "t2") == Plan()
    first = PlannedRun(run_id="a", labels={"variant": "x", "seed": 0})
    second = PlannedRun(run_id="b", labels={"variant": "y", "seed": 0})
    noted = {"datasets": ({"dataset": "digits"},)}
    for planned in (first, second, second):
        store.write_plan("suite", "t2", Plan(runs=(planned,), commands=("one",), details=noted))
    plan = store.read_plan("suite", "t2")
    assert set(plan.run_ids) == {"a", "b"}
    assert sorted(plan.runs, key=lambda r: r.run_id) == [first, second]
    assert plan.commands == ("one",)
    assert plan.details == noted
    assert store.plans("suite") == ["t2"]
    assert store.plans("study") == []
    with pytest.raises(InputError, match="a name has 1 to 128"):
        store.write_plan("suite", "../x", Plan())


def test_a_few_runs_are_looked_up_without_reading_the_others(store: Store) -> None:
    """A search asks for one trial after another: the last must cost what the first did."""
    for id in ("good", "other"):
        commit(store, id)
    for reason in ("first", "second", "third"):
        store.record_failure(run("lost", status="failed", reason=reason))
    store.set_aside("runs/lost.failed-1.parquet")
    store.write_bytes("runs/other.ok.parquet", b"damaged")
    with warnings.catch_warnings():
        warnings.simplefilter("error", StoreDamage)  # what is not asked for is not read
        few = store.rows(ids=["good", "lost", "never"])
        assert store.failures(["lost", "good", "never"]) == {"lost": "third"}
        assert store.done(["good", "lost", "never"]) == {"good"}
    assert sorted(few["run_id"]) == ["good", "lost"]
    many = [f"x{i}" for i in range(100)]
    with pytest.warns(StoreDamage, match="other"):
        every = store.rows().sort("run_id")
    assert_frame_equal(few.sort("run_id"), every)
    assert store.failures(["lost", *many]) == {"lost": "third"}
    assert store.rows(ids=["good", "lost", *many]).height == 2


def test_small_plans_become_one_file_and_large_ones_stay(store: Store) -> None:
    large = Plan.of(f"l{i}" for i in range(256))
    store.add_plan("study", "s", large)
    for i in range(5):
        store.add_plan("study", "s", Plan(runs=Plan.of([f"r{i}"]).runs, details={"n": ({"i": i},)}))
    store.write_bytes("plans/study/s/0000.json", b"no plan")  # damaged: nobody's to remove
    with pytest.warns(StoreDamage):
        before = store.read_plan("study", "s")
    assert len(store.list("plans")) == 7
    for _ in range(2):
        store.unite_plans("study", "s")
        assert len(store.list("plans")) == 3
    with pytest.warns(StoreDamage):
        after = store.read_plan("study", "s")
    assert set(after.run_ids) == set(before.run_ids)
    assert sorted(d["i"] for d in after.details["n"]) == [0, 1, 2, 3, 4]


def test_a_plan_comes_back_from_its_json() -> None:
    runs = (PlannedRun(run_id="a"), PlannedRun(run_id="a", labels={"variant": "x", "order": 1}))
    plan = Plan(runs=runs, commands=("c",), details={"definitions": ({"digest": "d"},)})
    assert Plan.from_json(json.loads(json.dumps(plan.as_json()))) == plan
    assert plan.run_ids == ("a",)
    assert Plan.from_json({}) == Plan()
    assert Plan.of(["a", "b"], "c").as_json() == {"runs": ["a", "b"], "commands": ["c"]}


def test_plans_of_the_first_release_are_read(tmp_path: Path) -> None:
    store = Store.open(tmp_path)
    data = json.dumps({"command": "platform train cdc", "runs": ["a"]}, indent=1).encode()
    store.write_bytes(f"plans/train/cdc/{_segments.short(data)}.json", data)
    assert store.read_plan("train", "cdc") == Plan.of(["a"], "platform train cdc")


def test_what_a_plan_says_more_than_another() -> None:
    small, large = Plan.of(["a"], "x"), Plan.of(["a", "b"], "x")
    assert small.within(large)
    assert not large.within(small)
    assert not small.within(Plan.of(["a"], "y"))
    assert not Plan(details={"d": ({"k": 1},)}).within(Plan(details={"d": ({"k": 2},)}))
    assert united([small, large]) == united([large, small]) == large


def test_a_growing_plan_stays_one_file(store: Store) -> None:
    for n in range(1, 6):
        store.write_plan("study", "s", Plan.of(f"r{i}" for i in range(n)))
    assert len(store.list("plans")) == 1
    assert len(store.read_plan("study", "s").runs) == 5


def test_bytes(store: Store) -> None:
    store.write_bytes("checkpoints/a/000001.json", b"{}")
    assert store.read_bytes("checkpoints/a/000001.json") == b"{}"
    assert store.list("checkpoints/a") == ["checkpoints/a/000001.json"]
    assert store.exists("checkpoints/a/000001.json")
    store.delete("checkpoints")
    assert store.list("checkpoints") == []
    with pytest.raises(FileNotFoundError):
        store.read_bytes("checkpoints/a/000001.json")


def test_compaction_changes_nothing_but_speed(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_segments, "FULL", 8)
    for i in range(20):
        store.commit_run(run(f"r{i:02}", acc=i / 100, **{f"own{i % 3}": 1.0}), epochs(i), None)
    store.record_failure(run("lost", status="failed", reason="x"), epochs())
    before = results.runs(store).collect()
    tables = results.epochs(store).sort("run_id", "epoch").collect()
    store.compact()
    names = store.list("segments")
    assert len(names) == 6  # 21 rows and 21 tables, eight to a segment
    for again in (store, pickle.loads(pickle.dumps(store))):
        assert results.runs(again).collect().equals(before)
        assert results.epochs(again).sort("run_id", "epoch").collect().equals(tables)
        assert len(again.finished()) == 20
    store.compact()
    assert store.list("segments") == names
    commit(store, "more")
    store.compact()
    assert len(store.list("segments")) == 6
    assert set(names) & set(store.list("segments"))  # full ones stay
    assert results.runs(store).collect().height == 22
    assert store.verify() == []


def test_compaction_waits_for_many_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("deep_clustering.platform.store.store.LOOSE", 4)
    store = Store.open(tmp_path)
    for i in range(4):
        commit(store, f"r{i}")
    store.tidy()
    assert store.list("segments") == []
    commit(store, "r4")
    store.tidy()
    assert len(store.list("segments")) == 2


def test_a_result_that_was_taken_away_and_done_again_is_not_read_from_a_copy(
    tmp_path: Path,
) -> None:
    store = Store.open(tmp_path)
    commit(store, "a", 0.25)
    commit(store, "b", 0.5)
    store.compact()
    (tmp_path / "runs/a.ok.parquet").unlink()
    assert store.finished() == {"b"}
    assert results.runs(store).collect()["run_id"].to_list() == ["b"]
    assert commit(store, "a", 0.75)
    assert whole(Store.open(tmp_path), "a") == 0.75


@pytest.mark.fault(31)
def test_a_store_can_be_moved_copied_and_sent(tmp_path: Path) -> None:
    store = Store.open(tmp_path / "here")
    commit(store, "a", 0.25)
    stage(store, "s")
    store.compact()
    sent = pickle.loads(pickle.dumps(store))
    assert whole(sent, "a") == 0.25
    shutil.copytree(tmp_path / "here", tmp_path / "there")
    shutil.rmtree(tmp_path / "here")
    moved = Store.open(tmp_path / "there")
    assert whole(moved, "a") == 0.25
    assert moved.stage_artefact("s", "encoder").is_relative_to(tmp_path / "there")
    assert moved.verify() == []


# ---- object stores


def test_of_two_attempts_in_an_earlier_layout_the_first_counts(tmp_path: Path) -> None:
    """Before conditional writes each attempt in an object store had a name of its own."""
    store = Store.open(tmp_path / "store")
    for number, acc in enumerate((0.25, 0.75)):
        other = Store.open(tmp_path / f"{number}")
        commit(other, "a", acc)
        for kind in ("epochs", "predictions", "probabilities", "models"):
            for path in other.list(kind):
                store.write_bytes(path, other.read_bytes(path))
        row = other.read_bytes("runs/a.ok.parquet")
        store.write_bytes(f"runs/a.ok/{number}-{attempt()}.parquet", row)
    early, _ = store.list("runs")
    assert whole(store, "a") == 0.25
    assert results.runs(store).collect()["acc"].to_list() == [0.25]
    assert not commit(store, "a", 0.5)
    assert store.local is not None
    (store.local / early).write_bytes(store.read_bytes(early)[:-100])  # a broken upload
    with pytest.warns(StoreDamage):
        assert results.runs(store).collect()["acc"].to_list() == [0.75]
    with pytest.warns(StoreDamage):
        assert Store.open(store.uri).finished() == {"a"}


def test_artefacts_of_an_object_store_are_fetched_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    store = remote(str(tmp_path))
    stage(store, "s")
    path = store.stage_artefact("s", "encoder")
    assert path.is_relative_to(tmp_path / "cache")
    store.delete("artefacts")
    assert store.stage_artefact("s", "encoder") == path
    path.write_bytes(b"changed")
    with pytest.raises(StorageError, match="encoder of stage s is damaged"):
        store.stage_artefact("s", "encoder")


# ---- opening


def test_opening_what_is_not_a_store(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no store at"):
        Store.open(tmp_path / "new", create=False)
    assert not (tmp_path / "new").exists()
    (tmp_path / "file").touch()
    for create in (False, True):
        with pytest.raises(InputError, match="is not a folder"):
            Store.open(tmp_path / "file", create=create)
        with pytest.raises(InputError, match="is not a folder"):
            Store.open(tmp_path / "file" / "below", create=create)


def test_two_commands_that_make_one_store(tmp_path: Path) -> None:
    """Both have looked before either has made it; the mark of the first stays."""
    first, second = Store.at(tmp_path / "new"), Store.at(tmp_path / "new")
    assert not (tmp_path / "new").exists()
    first.make()
    before = (tmp_path / "new" / "store.json").stat()
    second.make()
    assert (tmp_path / "new" / "store.json").stat().st_ino == before.st_ino
    assert second.list("quarantine") == []


@pytest.mark.fault(18)
@pytest.mark.parametrize(
    ("number", "text"),
    [(errno.ENOSPC, "no space left in"), (errno.EROFS, "cannot write in .* [(]Read-only")],
)
def test_a_place_that_cannot_be_written_is_said_at_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, text: str
) -> None:
    commit(Store.open(tmp_path), "a")

    class Full:
        def __getattr__(self, name: str) -> Any:
            return getattr(os, name)

        def fsync(self, _: int) -> None:
            raise OSError(number, os.strerror(number))

    monkeypatch.setattr(_disk, "os", Full())
    with pytest.raises(StorageError, match=text):
        Store.open(tmp_path)
    store = Store.open(tmp_path, create=False)  # reading goes on
    store.sweep()
    store.tidy()
    assert store.finished() == {"a"}


def test_a_newer_store_is_refused_with_both_versions(tmp_path: Path) -> None:
    Store.open(tmp_path)
    body = {"format": FORMAT + 1, "written_by": "9.8.7"}
    data = json.dumps(body, sort_keys=True, indent=1).encode()
    body["check"] = _segments.short(data)
    (tmp_path / "store.json").write_text(json.dumps(body))
    with pytest.raises(StorageError, match=r"made by deep-clustering 9\.8\.7 with format 2; this"):
        Store.open(tmp_path)


def test_a_file_of_a_newer_schema_is_refused_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store.open(tmp_path)
    commit(store, "a")
    monkeypatch.setattr(schema, "release", lambda: "9.8.7")
    newer = schema.encode("runs", schema.row_table("runs", run("b")), schema=schema.SCHEMA + 1)
    monkeypatch.undo()
    store.write_bytes("runs/b.ok.parquet", newer)
    with pytest.warns(StoreDamage, match=r"written by deep-clustering 9\.8\.7 with schema 2"):
        assert results.runs(store).collect()["run_id"].to_list() == ["a"]
    assert "install 9.8.7 or newer" in store.verify()[0].reason
    assert "left as it is" in store.repair()[0].reason
    assert store.exists("runs/b.ok.parquet")
    with pytest.warns(StoreDamage), pytest.raises(StorageError, match=r"9\.8\.7"):
        commit(store, "b")


# ---- the files themselves


def test_any_parquet_reader_opens_the_files(tmp_path: Path) -> None:
    store = Store.open(tmp_path)
    commit(store, "a", 0.25)
    row = store.run_row("a")
    table = pq.read_table(tmp_path / "runs/a.ok.parquet", page_checksum_verification=True)
    assert table["acc"].to_pylist() == [0.25]
    note = json.loads(table.schema.metadata[b"deep_clustering"])
    assert note["kind"] == "runs"
    assert note["schema"] == schema.SCHEMA
    assert note["release"] == schema.release()
    assert pl.read_parquet(tmp_path / row["predictions_file"])["sample"].to_list() == [0, 1, 2, 3]
    assert pl.read_parquet(tmp_path / row["epochs_file"]).columns == [
        *("run_id", "epoch", "seconds", "loss")
    ]


def test_the_schema_of_the_first_version_stays_readable(tmp_path: Path) -> None:
    """Columns may be added; a change or a loss of one of these needs a new version."""
    assert schema.SCHEMA == 1
    types = {name: str(column.type) for name, column in schema.RUNS.items()}
    assert types["run_id"] == types["reason"] == types["config_json"] == "string"
    assert types["seed"] == "int64"
    assert types["epochs"] == "int32"
    assert types["started"] == "timestamp[us, tz=UTC]"
    assert types["cluster_sizes"] == "list<item: int64>"
    assert types["flags"] == "list<item: string>"
    assert {types[m] for m in ("acc", "nmi", "ari", "ece", "brier", "nll", "aurc")} == {"double"}
    assert all(c.meaning for columns in schema.KINDS.values() for c in columns.values())


def test_a_store_from_before_probabilities_is_read_and_continued(tmp_path: Path) -> None:
    """Its files were written by the code before `failure_kind`, `probabilities` and `Plan`."""
    with tarfile.open(Path(__file__).with_name("format_1.tar.gz")) as archive:
        archive.extractall(tmp_path, filter="data")
    store = Store.open(tmp_path)
    assert store.verify() == []
    assert len(store.list("segments")) == 2
    assert store.finished() == {"r0", "r1", "r2", "r3", "late"}
    assert store.done(["r0", "enc", "lost"]) == {"r0", "enc"}
    frame = results.runs(store).sort("run_id").collect()
    assert frame["acc"].to_list() == [0.9, None, 0.0, 0.1, 0.2, 0.3]
    assert frame["reason"].to_list() == [None, "out of memory", None, None, None, None]
    assert frame["failure_kind"].null_count() == 6
    assert results.epochs(store).collect().height == 18
    assert results.predictions(store).collect().height == 20
    assert results.probabilities(store).collect().height == 0
    assert store.model_path("r2").read_bytes() == b"weights 0.2" * 10
    assert store.stage_artefact("enc", "features").read_bytes() == b"weights" * 3
    assert store.read_plan("train", "cdc-digits") == Plan.of(["r0", "r1"], "platform train cdc")
    assert store.read_plan("study", "s").run_ids == ("r0", "r2")
    assert results.suite("t", store).collect()["variant"].to_list() == ["full"]
    assert not commit(store, "r0", 0.75)
    assert commit(store, "new", 0.75)
    store.compact()
    store.sweep()
    assert whole(store, "new") == 0.75
    assert store.run_row("r3")["acc"] == 0.3
    assert results.runs(store).collect().height == 7
    assert store.verify() == []


@pytest.mark.fault(30)
def test_tables_of_different_shape_lie_under_each_other(store: Store) -> None:
    store.commit_run(run("a", **{"config.x": 1}), epochs(), predictions())
    store.commit_run(run("b", **{"config.x": 0.5, "only_b": 2.0}), None, None)
    store.commit_run(run("c", **{"config.x": None, "config.y": "auto"}), None, None)
    store.commit_run(run("d", **{"config.y": 3, "config.z": [1, 2]}), None, None)
    store.commit_run(run("e", **{"config.z": "none"}), None, None)
    frame = results.runs(store).sort("run_id").collect()
    assert frame["config.x"].to_list() == [1.0, 0.5, None, None, None]
    assert frame["config.y"].to_list() == [None, None, "auto", "3", None]
    assert frame["config.z"].to_list() == [None, None, None, "[1,2]", "none"]
    assert frame["only_b"].to_list() == [None, 2.0, None, None, None]
    assert frame.columns[:3] == ["run_id", "method", "dataset"]
    assert frame.columns[-1].startswith("config.")


def test_sweeping_keeps_what_rows_name(tmp_path: Path) -> None:
    store = Store.open(tmp_path)
    commit(store, "a")
    stage(store, "s")
    token = _disk.attempt().split("-")
    dead = "-".join([token[0], token[1], "ffffffff", token[3]])
    kinds = ("epochs", "predictions", "probabilities")
    orphans = [f"{kind}/{id}.{dead}.parquet" for kind in kinds for id in ("a", "b")]
    orphans += [f"artefacts/s/{dead}/encoder", f"epochs/.a.{dead}.tmp"]
    for path in orphans:
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).touch()
    alive = f"epochs/b.{_disk.attempt()}.parquet"
    (tmp_path / alive).touch()
    (tmp_path / "claims").mkdir()
    (tmp_path / "claims/left").touch()
    lock = store.lock("mine")
    store.sweep()
    assert not any((tmp_path / path).exists() for path in orphans)
    assert (tmp_path / alive).exists()
    assert store.list("claims") == ["claims/mine"]
    assert lock is not None
    assert whole(store, "a") == 0.5
    assert store.stage_ready("s")


def test_what_somebody_keeps_for_himself_is_no_damage() -> None:
    """A command stops before it computes it anew, and a repair moves nothing of it."""
    with shared_folder() as place:
        with user(20001):
            store = Store.open(place / "store")
            commit(store, "a")
            commit(store, "b")
            stage(store, "s")
            store.seal()
        artefact = next(place.glob("store/artefacts/s/*/*"))
        row, seal = place / "store/runs/a.ok.parquet", next(place.glob("store/seals/*"))
        closed = {str(path.relative_to(place / "store")) for path in (row, seal, artefact)}
        for path in (row, seal, artefact):
            path.chmod(0o600)
        with user(20002):
            other = Store.open(place / "store")
            sentence = r"a\.ok.* denied\); have it made readable for you"
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", StoreDamage)
                assert other.finished() == {"b"}
                assert other.done(["b", "s"]) == {"b", "s"}
                with pytest.raises(StorageError, match=sentence):
                    other.done(["a", "b"])
                with pytest.raises(StorageError, match=sentence):
                    commit(other, "a")
                with pytest.raises(StorageError, match=r"have it made readable for you"):
                    other.stage_artefact("s", artefact.name)
                found = other.repair()
            assert {problem.path for problem in found if problem.kind == "closed"} == closed
            assert len(found) == 3
            assert all("denied); left as it is, until" in problem.reason for problem in found)
            assert other.list("quarantine") == []
        row.chmod(0o644)
        assert other.done(["a"]) == {"a"}


def test_a_folder_of_somebody_else_asks_for_another() -> None:
    with shared_folder() as place:
        place.chmod(0o755)
        with user(20001), pytest.raises(StorageError, match="make it writable for you, or name an"):
            Store.open(place / "store")
        assert list(place.iterdir()) == []
