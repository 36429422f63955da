"""Where the images of a folder were found last: kept, checked, and read in place of older names."""

from pathlib import Path

import pyarrow as pa
import pytest

from deep_clustering.platform import results
from deep_clustering.platform.store.store import Found, Store, StoreDamage
from support.store_rows import predictions, run

PIXELS = "00000000000000aa"
NOW = Found("folder:/now", ("w.png", "x.png", "y.png", "z.png"))


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Run a on four pictures of a folder, of which b scored two, and run c on others."""
    store = Store.open(tmp_path / "store")
    named = predictions().append_column("path", pa.array(["a.png", "b.png", "c.png", "d.png"]))
    store.commit_run(run("a", dataset_fingerprint=PIXELS), None, named)
    store.commit_run(run("b", dataset_fingerprint=PIXELS), None, named.take([3, 1]))
    store.commit_run(run("c"), None, named)
    return store


def _paths(store: Store, id: str) -> list[str]:
    rows = results.predictions(store).collect()
    return rows.filter(run_id=id)["path"].to_list()


def test_names_are_those_of_the_last_reading(store: Store) -> None:
    assert _paths(store, "a") == ["a.png", "b.png", "c.png", "d.png"]
    store.note_paths(PIXELS, NOW)
    assert store.paths_of(PIXELS) == NOW
    assert _paths(store, "a") == ["w.png", "x.png", "y.png", "z.png"]
    assert _paths(store, "b") == ["z.png", "x.png"]
    assert _paths(store, "c") == ["a.png", "b.png", "c.png", "d.png"]
    chosen = results.predictions(store).filter(path="y.png").collect()
    assert chosen["run_id"].to_list() == ["a"]
    store.note_paths(PIXELS, Found("folder:/again", ("1", "2", "3", "4")))
    assert _paths(store, "b") == ["4", "2"]
    assert store.list("paths") == [f"paths/{PIXELS}.json"]


def test_a_record_of_fewer_images_names_none_of_them(store: Store) -> None:
    store.note_paths(PIXELS, Found("folder:/now", ("w.png", "x.png")))
    assert _paths(store, "a") == ["a.png", "b.png", "c.png", "d.png"]


def test_a_damaged_record_is_told_and_gives_way(store: Store) -> None:
    store.note_paths(PIXELS, NOW)
    assert store.local is not None
    place = store.local / "paths" / f"{PIXELS}.json"
    place.write_text(place.read_text().replace("y.png", "v.png"))
    with pytest.warns(StoreDamage, match="until a command opens their folder again"):
        assert _paths(store, "a") == ["a.png", "b.png", "c.png", "d.png"]
    assert [problem.path for problem in store.verify()] == [f"paths/{PIXELS}.json"]
    store.repair()
    assert store.verify() == []
    store.note_paths(PIXELS, NOW)
    assert _paths(store, "b") == ["z.png", "x.png"]
