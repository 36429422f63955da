"""A folder whose files are renamed, moved or copied has its runs, with the names it has now."""

from pathlib import Path

import polars as pl
import pytest

from deep_clustering.platform.commands import _sort as sort
from deep_clustering.platform.evaluation import finished
from deep_clustering.platform.evaluation.assignments import assignments
from deep_clustering.platform.request.request import Request
from deep_clustering.platform.run.execute import execute
from deep_clustering.platform.start import main
from deep_clustering.platform.store.store import Store
from support.pictures import noise
from support.small import Watcher, place, resolved

OLD = ("a.png", "b.png", "c.png", "d.png", "e.png")  # b and d are one picture
NEW = ("1.png", "2.png", "3.png", "4.png", "5.png")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    for number, name in enumerate(OLD):
        noise(tmp_path / "photos" / name, 1 if name == "d.png" else number)
    return tmp_path / "photos"


def _asked(folder: Path) -> Request:
    sets = ("clusters=2",)
    return resolved("kmeans", f"folder:{folder}", root=folder.parent / "data", sets=sets)


def _platform(tmp_path: Path, *arguments: str) -> int:
    with pytest.raises(SystemExit) as ended:
        main([*arguments, "--store", str(tmp_path / "s"), "--data", str(tmp_path / "data")])
    assert isinstance(ended.value.code, int)
    return ended.value.code


def _names(tmp_path: Path) -> list[str]:
    table = tmp_path / "all.csv"
    with pytest.raises(SystemExit):
        main(["results", "predictions", "--store", str(tmp_path / "s"), "--output", str(table)])
    return pl.read_csv(table).sort("sample")["path"].to_list()


def test_a_finished_run_has_the_names_of_now(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = Store.open(tmp_path / "s")
    (job,) = _asked(photos).wanted([0]).jobs
    execute(job, place(store), Watcher())
    clusters = assignments(store, store.run_row(job.id))["cluster"].to_list()
    for old, new in zip(OLD, NEW, strict=True):
        (photos / old).rename(photos / new)
    (photos / "2.png").rename(photos / "x")  # equal pictures that change their names
    (photos / "4.png").rename(photos / "2.png")
    (photos / "x").rename(photos / "4.png")
    assert _names(tmp_path) == list(OLD)  # nobody has opened it since

    again = ["train", "kmeans", "--dataset", f"folder:{photos}", "--set", "clusters=2"]
    assert _platform(tmp_path, *again, "--dry-run") == 0
    assert "in the store: 1 of 1 runs" in capsys.readouterr().out
    assert _names(tmp_path) == list(OLD)  # it writes nothing
    assert _platform(tmp_path, *again) == 0
    assert _names(tmp_path) == list(NEW)
    taken = assignments(store, store.run_row(job.id))
    assert taken["path"].to_list() == list(NEW)
    assert taken["cluster"].to_list() == clusters
    sort.into(tmp_path / "sorted", _asked(photos).dataset, taken)
    links = [path for path in (tmp_path / "sorted").rglob("*.png") if path.is_symlink()]
    assert {path.resolve() for path in links} == {photos / name for name in NEW}


def test_a_report_shows_a_moved_folder(photos: Path, tmp_path: Path) -> None:
    store = Store.open(tmp_path / "s")
    (job,) = _asked(photos).wanted([0]).jobs
    execute(job, place(store), Watcher())
    moved = photos.rename(tmp_path / "moved")
    for old, new in zip(OLD, NEW, strict=True):
        (moved / old).rename(moved / new)
    page = tmp_path / "page.html"
    assert _platform(tmp_path, "report", job.id, "--output", str(page)) == 0
    assert "The pictures are not shown: There is no folder" in page.read_text()

    finished.note_names(store, _asked(moved).dataset)
    assert _platform(tmp_path, "report", job.id, "--output", str(page)) == 0
    text = page.read_text()
    assert 'alt="3.png"' in text
    assert not any(name in text for name in OLD)


def test_a_report_finds_names_that_changed_since(photos: Path, tmp_path: Path) -> None:
    store = Store.open(tmp_path / "s")
    (job,) = _asked(photos).wanted([0]).jobs
    execute(job, place(store), Watcher())
    for old, new in zip(OLD, NEW, strict=True):
        (photos / old).rename(photos / new)
    page = tmp_path / "page.html"
    assert _platform(tmp_path, "report", job.id, "--output", str(page)) == 0
    assert not any(name in page.read_text() for name in OLD)


def test_the_images_of_a_run_are_where_its_copy_was_before_that_went(
    photos: Path, tmp_path: Path
) -> None:
    """A copy elsewhere is opened, noted, and deleted; the first folder is still there."""
    store = Store.open(tmp_path / "s")
    (job,) = _asked(photos).wanted([0]).jobs
    execute(job, place(store), Watcher())
    copy = tmp_path / "copy"
    for number, name in enumerate(NEW):
        noise(copy / name, 1 if name == "4.png" else number)
    assert _asked(copy).wanted([0]).jobs[0].id == job.id
    finished.note_names(store, _asked(copy).dataset)
    row = store.run_row(job.id)
    root = tmp_path / "data"
    assert finished.images_of(store, row, root).name == f"folder:{copy}"
    for name in NEW:
        (copy / name).unlink()
    found = finished.images_of(store, row, root)
    assert (found.name, found.paths) == (f"folder:{photos}", OLD)
    assert _names(tmp_path) == list(OLD)
