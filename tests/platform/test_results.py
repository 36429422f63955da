"""Result tables: what they show, what a filter reads, and what `platform results` makes of them."""

import json
import threading
from pathlib import Path

import polars as pl
import pytest
from rich.console import Console

from deep_clustering.platform import results
from deep_clustering.platform.commands import _export
from deep_clustering.platform.errors import InputError, StorageError
from deep_clustering.platform.store.store import Plan, PlannedRun, Store
from support.store_rows import commit, epochs, predictions, run, stage


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Four runs, one of them failed."""
    store = Store.open(tmp_path / "store")
    for i, (id, dataset) in enumerate([("aaaa1", "digits"), ("bbbb2", "cifar20"), ("c", "digits")]):
        row = run(id, acc=0.5 + i / 10, dataset=dataset, ended=f"2026-01-0{i + 1}T00:00:00Z")
        store.commit_run(row, epochs(0.5 + i / 10), predictions(0.5 + i / 10))
    store.record_failure(run("lost", status="failed", reason="diverged at epoch 1"), epochs())
    return store


def _opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Paths of the files that are read from now on."""
    read: list[str] = []
    from deep_clustering.platform.store._local import LocalFiles

    real = LocalFiles.read

    def watched(self: LocalFiles, path: str) -> bytes:
        read.append(path)
        return real(self, path)

    monkeypatch.setattr(LocalFiles, "read", watched)
    return read


# ---- tables


def test_runs_are_in_the_order_they_ended(store: Store) -> None:
    frame = results.runs(store).collect()
    assert frame["run_id"].to_list() == ["aaaa1", "bbbb2", "lost", "c"]
    assert frame["status"].to_list() == ["ok", "ok", "failed", "ok"]
    for address in (store.uri, Path(store.uri), f"file://{store.uri}"):
        assert results.runs(address).collect().equals(frame)
    chosen = results.runs(store).filter(pl.col("dataset") == "digits", pl.col("acc").is_not_null())
    assert chosen.sort("acc").collect()["run_id"].to_list() == ["aaaa1", "c"]
    assert frame.to_arrow().num_rows == 4


def test_an_empty_store_has_empty_tables(tmp_path: Path) -> None:
    Store.open(tmp_path)
    assert results.runs(tmp_path).filter(pl.col("acc") > 0.5).collect().height == 0
    assert results.epochs(tmp_path).collect().columns[:2] == ["run_id", "epoch"]
    assert results.predictions(tmp_path).select(pl.col("cluster").max()).collect().item() is None
    assert results.stages(tmp_path).collect().height == 0


def test_the_store_that_is_meant_when_none_is_named(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DEEP_CLUSTERING_STORE", raising=False)
    assert results.default_store() == store.uri
    assert results.runs().collect().height == 4
    monkeypatch.setenv("DEEP_CLUSTERING_STORE", str(tmp_path / "nowhere"))
    with pytest.raises(InputError, match=r"there is no store at .*nowhere"):
        results.runs()


def test_epochs_and_predictions(store: Store) -> None:
    tables = results.epochs(store)
    assert tables.collect().height == 12  # the failed run's too
    means = tables.group_by("run_id").agg(pl.col("loss").mean()).sort("run_id").collect()
    assert means["loss"].to_list() == pytest.approx([5.5 / 3, 5.6 / 3, 5.7 / 3, 5.5 / 3])
    assert tables.collect_schema().names() == ["run_id", "epoch", "seconds", "loss"]
    second = results.predictions(store).filter(pl.col("cluster") == 1).collect()
    assert second["sample"].to_list() == [2, 2, 2]
    assert results.predictions(store).select(pl.len()).collect().item() == 12
    assert results.predictions(store).head(5).collect().height == 5


def test_a_filter_on_runs_reads_the_files_of_those_runs_only(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    frame = results.predictions(store)
    read = _opened(monkeypatch)
    wanted = pl.col("run_id").is_in(["c", "bbbb2"])
    some = frame.filter(wanted, pl.col("sample") > 2, pl.col("confidence") > 0).select("run_id")
    assert sorted(some.collect()["run_id"]) == ["bbbb2", "c"]
    assert [path.split(".")[0] for path in read] == ["predictions/bbbb2", "predictions/c"]
    read.clear()
    # With "or" every file may have rows.
    either = (pl.col("run_id") == "c") | pl.col("sample").is_null() | (pl.col("sample") == 0)
    assert frame.filter(either).collect().height == 6
    assert len(read) == 3
    read.clear()
    assert frame.filter(pl.col("run_id") == "nobody").collect().height == 0
    assert read == []


def test_reading_while_a_search_writes(tmp_path: Path) -> None:
    store = Store.open(tmp_path)
    stop = threading.Event()
    committed: list[str] = []

    def write() -> None:
        writer = Store.open(tmp_path)
        while not stop.is_set():
            id = f"r{len(committed):03}"
            commit(writer, id)
            committed.append(id)
            if len(committed) % 7 == 0:
                writer.compact()

    thread = threading.Thread(target=write)
    thread.start()
    try:
        for _ in range(15):
            before = len(committed)
            assert results.runs(store).collect().height >= before
            assert results.epochs(store).select(pl.col("run_id").n_unique()).collect().item() >= (
                before
            )
    finally:
        stop.set()
        thread.join()
    assert results.runs(store).collect().height == len(committed)


def test_suites_and_studies(store: Store) -> None:
    asked = [("aaaa1", "full", 0), ("aaaa1", "same", 1), ("c", "none", 2), ("not yet", "none", 2)]
    runs = (PlannedRun(run_id=id, labels={"variant": v, "order": n}) for id, v, n in asked)
    store.write_plan("suite", "table-2", Plan(runs=tuple(runs)))
    frame = results.suite("table-2", store).collect()
    assert frame.columns[:3] == ["run_id", "order", "variant"]
    assert frame.select("variant", "acc").rows() == [("full", 0.5), ("same", 0.5), ("none", 0.7)]
    store.write_plan("study", "s", Plan.of(["c", "lost", "none"]))
    assert results.study("s", store).collect()["status"].to_list() == ["ok", "failed"]
    with pytest.raises(InputError, match=r"no suite 'table2' in .*Did you mean 'table-2'\? Known"):
        results.suite("table2", store)
    with pytest.raises(InputError, match=r"there is no study 'x' in .* Known: s\."):
        results.study("x", store)
    store.write_plan("study", "empty", Plan())
    assert results.study("empty", store).collect().height == 0


def test_stages(store: Store) -> None:
    stage(store, "s")
    row = results.stages(store).collect().row(0, named=True)
    assert (row["stage_id"], row["kind"], row["status"]) == ("s", "encoder", "ok")
    assert row["artefact_names"] == ["encoder", "features"]


# ---- choosing


def test_conditions_order_and_columns(store: Store) -> None:
    frame = results.runs(store)

    def ids(**asked: str | int) -> list[str]:
        return _export.select(frame, **asked)["run_id"].to_list()  # type: ignore[arg-type]

    assert ids(where="dataset == 'cifar20' and acc > 0.5") == ["bbbb2"]
    assert ids(where="dataset = 'digits' and acc is not null", sort="-acc") == ["c", "aaaa1"]
    assert ids(sort="-acc") == ["c", "bbbb2", "aaaa1", "lost"]  # null last
    assert ids(sort="acc") == ["aaaa1", "bbbb2", "c", "lost"]
    assert ids(sort="dataset, -acc", limit=1) == ["bbbb2"]
    assert ids(where='config.batch_size = 32 and "config.learning_rate" < 1', limit=2) == [
        *("aaaa1", "bbbb2")
    ]
    assert ids(where="dataset like 'cifar%' or status in ('failed')") == ["bbbb2", "lost"]
    assert ids(where="reason = 'a.b'") == []
    chosen = _export.select(frame, columns="acc, run_id", limit=1)
    assert chosen.columns == ["acc", "run_id"]


@pytest.mark.parametrize(
    ("asked", "text"),
    [
        ({"where": "acc >"}, r"--where: 'acc >' is not a condition .* texts in single quotes"),
        ({"where": "acc > 1; drop table"}, "is not a condition"),
        ({"where": "read_csv('/etc/passwd')"}, "is not a condition"),
        ({"where": "acd > 1"}, r"--where: there is no column 'acd'\. Did you mean 'acc'\?"),
        ({"where": 'dataset = "digits"'}, "If it is a text, write it in single quotes: 'digits'"),
        ({"where": "dataset = digits"}, "If it is a text, write it in single quotes: 'digits'"),
        ({"where": "acc > 'x'"}, r"--where: .* cannot be applied \(cannot compare string"),
        ({"where": "acc + 1"}, "cannot be applied"),
        ({"where": "config.batchsize > 1"}, r"Did you mean 'config\.batch_size'\?"),
        ({"sort": "-ac"}, r"--sort: there is no column 'ac'\. Did you mean 'acc'\?"),
        ({"columns": "acc,x1,run_ids"}, r"column 'x1'\.[^\n]*\n--columns: .*mean 'run_id'\?"),
    ],
)
def test_what_cannot_be_chosen(store: Store, asked: dict[str, str], text: str) -> None:
    with pytest.raises(InputError, match=text):
        _export.select(results.runs(store), **asked)  # type: ignore[arg-type]


# ---- showing


def _shown(frame: pl.DataFrame, width: int = 80) -> str:
    console = Console(width=width, highlight=False)
    with console.capture() as captured:
        _export.show(frame, console)
    return captured.get()


def test_a_wide_table_is_shown_with_the_most_telling_columns(store: Store) -> None:
    text = _shown(results.runs(store).collect())
    lines = text.splitlines()
    assert lines[0].split()[:6] == ["run_id", "method", "dataset", "seed", "status", "acc"]
    assert "diverged at epoch 1" in lines[3]
    assert max(map(len, lines[:5])) <= 80
    assert lines[5].endswith("more columns: --columns and --where choose, --output FILE has all")
    wider = _shown(results.runs(store).collect(), 120).splitlines()[0].split()
    assert {"reason", "cluster_sizes"} < set(wider)


def test_paths_and_fields_are_shown_as_far_as_they_tell_rows_apart() -> None:
    """19 numbers of clusters of one folder: at 80 columns they all looked the same."""
    rows = {
        "run_id": [f"{n}abcdefghijklm" for n in range(3)],
        "stage_id": ["0123456789"] * 3,
        "method": ["consensus"] * 3,
        "dataset": ["folder:/home/somebody/of/a/long/name/photos"] * 3,
        "seed": [0] * 3,
        "status": ["ok"] * 3,
        "acc": pl.Series([None] * 3, dtype=pl.Float64),
        "config.unit": [True] * 3,
        "config.clusters": [2, 3, 4],
        "stability": [0.9, 0.8, 0.7],
        **{f"more {n}": [n] * 3 for n in range(4)},
    }
    shown = _shown(pl.DataFrame(rows)).splitlines()
    heads = ["run_id", "method", "dataset", "seed", "status", "config.clusters", "stability"]
    assert shown[0].split() == heads
    assert shown[2].split()[2:] == ["folder:…/photos", "0", "ok", "3", "0.800"]
    assert max(map(len, shown[:-1])) <= 80
    rows["dataset"] = ["folder:/home/a/2019/photos", "folder:/home/a/2020/photos", "digits"]
    cells = [line.split()[2] for line in _shown(pl.DataFrame(rows)).splitlines()[1:4]]
    assert cells == ["folder:…/2019/photos", "folder:…/2020/photos", "digits"]
    rows["kind"] = ["frozen"] * 3
    stages = pl.DataFrame(rows).drop("run_id")
    assert _shown(stages).split()[:2] == ["stage_id", "kind"]


def test_a_narrow_table_is_shown_as_it_is(store: Store) -> None:
    frame = _export.select(results.runs(store), columns="acc,run_id,flags,collapsed,started,nmi")
    lines = _shown(frame).splitlines()
    assert lines[0].split() == ["acc", "run_id", "flags", "collapsed", "started", "nmi"]
    assert lines[1].split() == ["0.500", "aaaa1", "none", "no", "2026-01-02", "03:04", "-"]
    assert len(lines) == 5


def test_ids_are_cut_as_far_as_they_differ() -> None:
    frame = pl.DataFrame({"run_id": ["0123456789a", "0123456789b"], "x": [1e-9, 123456.0]})
    assert _shown(frame).split() == [
        *("run_id", "x", "0123456789a", "1e-09", "0123456789b", "1.23e+05")
    ]
    assert _shown(frame.head(1)).split()[2] == "01234567"
    assert _shown(frame.head(0)) == "no rows\n"
    many = pl.DataFrame({"x": range(300)})
    assert _shown(many).splitlines()[-1].startswith("250 more rows")


def test_few_columns_that_do_not_fit_lose_those_without_a_value() -> None:
    empty = pl.Series([None] * 2, dtype=pl.Float64)
    rows = {"run_id": ["a" * 20, "b" * 20], "label": empty, "path": ["1.png", "2.png"]}
    more = {f"another_head_{n}": empty for n in range(4)}
    assert _shown(pl.DataFrame(rows)).splitlines()[0].split() == ["run_id", "label", "path"]
    shown = _shown(pl.DataFrame(rows | more)).splitlines()
    assert shown[0].split() == ["run_id", "path"]
    assert shown[-1].startswith("5 more columns")


def test_control_characters_in_names_reach_no_terminal() -> None:
    shown = _shown(pl.DataFrame({"path": ["\x1b[31mred\n.png", "Müller 日本.png"]}))
    assert shown.split("\n")[1].strip() == "\\x1b[31mred\\n.png"
    assert "Müller 日本.png" in shown


def test_markup_in_values_is_plain_text() -> None:
    assert "[red]x[/]" in _shown(pl.DataFrame({"reason": ["[red]x[/]"]}))


# ---- writing


def test_written_tables_come_back(store: Store, tmp_path: Path) -> None:
    frame = results.runs(store).collect()
    _export.write(frame, tmp_path / "out.parquet")
    assert pl.read_parquet(tmp_path / "out.parquet").equals(frame)
    for suffix in ("arrow", "feather", "ipc"):
        _export.write(frame, tmp_path / f"out.{suffix}")
        assert pl.read_ipc(tmp_path / f"out.{suffix}").equals(frame)
    _export.write(frame, tmp_path / "out.CSV")
    text = pl.read_csv(tmp_path / "out.CSV")
    assert text["acc"].to_list() == frame["acc"].to_list()
    assert json.loads(text["cluster_sizes"][0]) == [3, 1]
    assert text["cluster_sizes"][2] is None
    assert text["started"][0] == "2026-01-02T03:04:05.000006+0000"


def test_what_cannot_be_written(store: Store, tmp_path: Path) -> None:
    frame = results.runs(store).collect()
    with pytest.raises(InputError, match=r"out\.xlsx ends with none of \.csv, \.parquet"):
        _export.write(frame, tmp_path / "out.xlsx")
    with pytest.raises(InputError, match=r"there is no folder .*nowhere"):
        _export.write(frame, tmp_path / "nowhere" / "out.csv")
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(StorageError, match=r"folder\.csv was not saved"):
        _export.write(frame, tmp_path / "folder.csv")
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith(".")] == []
