"""What every backend of the store does alike, and which one an address belongs to."""

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from obstore.store import MemoryStore

from deep_clustering.platform.errors import InputError
from deep_clustering.platform.store._backends import connect
from deep_clustering.platform.store._files import Files
from deep_clustering.platform.store._local import LocalFiles
from deep_clustering.platform.store._remote import RemoteFiles
from support.memory import MemoryFiles


@pytest.fixture(params=["disk", "object store", "a backend from outside"])
def files(request: pytest.FixtureRequest, tmp_path: Path) -> Files:
    if request.param == "disk":
        return LocalFiles(tmp_path)
    if request.param == "a backend from outside":
        return MemoryFiles(str(tmp_path))
    return RemoteFiles(MemoryStore(), "remote")


def test_what_is_written_is_read(files: Files) -> None:
    files.write("a/b/c.bin", b"one")
    files.write("a/b/c.bin", b"two")
    assert files.read("a/b/c.bin") == b"two"
    assert files.size("a/b/c.bin") == 3
    assert abs(files.modified("a/b/c.bin") - time.time()) < 60
    assert files.exists("a/b/c.bin")
    assert files.exists("a/b")
    assert not files.exists("a/x")
    with pytest.raises(FileNotFoundError):
        files.read("a/x")
    with pytest.raises(FileNotFoundError):
        files.size("a/x")


def test_an_exclusive_write_leaves_what_is_there(files: Files) -> None:
    files.write("a.bin", b"one", exclusive=True)
    with pytest.raises(FileExistsError):
        files.write("a.bin", b"two", exclusive=True)
    assert files.read("a.bin") == b"one"


def test_names_are_sorted_deep_and_without_hidden_ones(files: Files, tmp_path: Path) -> None:
    for name in ("k/b", "k/a/z", "k/a/y", "other/c", "k/c.d"):
        files.write(name, b"")
    (tmp_path / "k").mkdir(exist_ok=True)
    (tmp_path / "k/.hidden").touch()
    assert files.names("k") == ["k/a/y", "k/a/z", "k/b", "k/c.d"]
    assert files.names("nowhere") == []


def test_deleting_a_file_a_folder_and_nothing(files: Files) -> None:
    for name in ("k/a/1", "k/a/2", "k/b/3"):
        files.write(name, b"")
    files.delete("k/b/3")
    files.delete("k/a")
    files.delete("k/never")
    assert files.names("k") == []


def test_moving_a_file(files: Files) -> None:
    files.write("a/b", b"x")
    files.move("a/b", "c/d/e")
    assert files.names("a") == []
    assert files.read("c/d/e") == b"x"
    with pytest.raises(FileNotFoundError):
        files.move("a/b", "c/d/f")


@pytest.mark.fault(62)
@pytest.mark.parametrize("path", ["", "/etc/x", "../x", "a/../../x", "a/.hidden", "a\\b", "a\0b"])
def test_paths_stay_inside(files: Files, path: str) -> None:
    with pytest.raises(InputError, match="a path in a store"):
        files.write(path, b"")


def test_an_empty_folder_goes_with_its_last_file(tmp_path: Path) -> None:
    files = LocalFiles(tmp_path)
    files.write("checkpoints/run/0001/model", b"")
    files.delete("checkpoints/run/0001/model")
    assert [p.name for p in tmp_path.rglob("*")] == ["checkpoints"]


def test_a_file_where_a_folder_should_be(tmp_path: Path) -> None:
    (tmp_path / "runs").touch()
    with pytest.raises(NotADirectoryError):
        LocalFiles(tmp_path).write("runs/a", b"")
    (tmp_path / "deep").touch()
    with pytest.raises(NotADirectoryError):
        LocalFiles(tmp_path / "deep" / "er").probe()


def test_a_probe_leaves_nothing(tmp_path: Path) -> None:
    place = LocalFiles(tmp_path / "not yet" / "there")
    place.probe()
    assert list(tmp_path.iterdir()) == []
    with ThreadPoolExecutor(8) as pool:  # one may leave the folder that another one works in
        list(pool.map(lambda _: place.probe(), range(64)))
    assert not any(path.is_file() for path in tmp_path.rglob("*"))


# ---- locks


def test_a_lock_of_a_folder_is_exclusive(tmp_path: Path) -> None:
    files = LocalFiles(tmp_path)
    with files.lock("claims/a") or pytest.fail("nobody has it"):
        assert files.lock("claims/a") is None
        assert files.names("claims") == ["claims/a"]
    assert files.names("claims") == []


def test_locks_of_an_object_store_are_always_granted() -> None:
    remote = RemoteFiles(MemoryStore(), "remote")
    for lock in (remote.lock("a"), remote.lock("a")):
        assert lock is not None
        assert not lock.exclusive


# ---- addresses


def test_addresses(tmp_path: Path) -> None:
    local, full = connect(str(tmp_path / "x" / ".." / "y"))
    assert isinstance(local, LocalFiles)
    assert full == str(tmp_path / "y") == local.where
    assert connect(f"file://{tmp_path}")[1] == str(tmp_path)
    remote, full = connect("s3://key:secret@bucket/p?endpoint_override=localhost:1&scheme=http")
    assert isinstance(remote, RemoteFiles)
    assert remote.where == "s3://bucket/p"
    assert "endpoint_override" in full
    for wrong in ("", "nope://x", "s3://bucket/p?nonsense=1", "s3:///p", "file://host/store"):
        with pytest.raises(InputError, match="store"):
            connect(wrong)
