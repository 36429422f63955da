"""The file layer: whole, durable, exclusive; claims end with their process; remote paths agree."""

import errno
import fcntl
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pyarrow.fs as pafs
import pytest

from deep_clustering.platform.errors import InputError, StorageError
from deep_clustering.platform.store import _files
from deep_clustering.platform.store._files import Files, LocalFiles, RemoteFiles, connect

_CHILD = [sys.executable, "-m", "support.store_child"]


@pytest.fixture(params=["disk", "object store"])
def files(request: pytest.FixtureRequest, tmp_path: Path) -> Files:
    if request.param == "disk":
        return LocalFiles(tmp_path)
    return RemoteFiles(pafs.SubTreeFileSystem(str(tmp_path), pafs.LocalFileSystem()), "", "remote")


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


@pytest.mark.parametrize("path", ["", "/etc/x", "../x", "a/../../x", "a/.hidden", "a\\b", "a\0b"])
def test_paths_stay_inside(files: Files, path: str) -> None:
    with pytest.raises(InputError, match="a path in a store"):
        files.write(path, b"")


def test_an_empty_folder_goes_with_its_last_file(tmp_path: Path) -> None:
    files = LocalFiles(tmp_path)
    files.write("checkpoints/run/0001/model", b"")
    files.delete("checkpoints/run/0001/model")
    assert [p.name for p in tmp_path.rglob("*")] == ["checkpoints"]


def test_the_order_of_calls_makes_a_write_durable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[tuple[str, str]] = []
    opened: dict[int, str] = {}

    class Watched:
        def __getattr__(self, name: str) -> Any:
            real = getattr(os, name)
            if name not in ("open", "write", "fsync", "link", "unlink", "replace"):
                return real

            def call(*arguments: Any, **named: Any) -> Any:
                value = real(*arguments, **named)
                first = arguments[0]
                if name == "open":
                    opened[value] = Path(first).name
                else:
                    calls.append((name, opened[first] if isinstance(first, int) else first.name))
                return value

            return call

    (tmp_path / "runs").mkdir()
    monkeypatch.setattr(_files, "os", Watched())
    LocalFiles(tmp_path).write("runs/a", b"x", exclusive=True)
    names = [name for name, _ in calls]
    assert names == ["write", "fsync", "link", "unlink", "fsync"]
    hidden = calls[0][1]
    assert hidden.startswith(".a.")
    assert [what for _, what in calls] == [hidden, hidden, hidden, hidden, "runs"]


def test_a_disk_that_lies_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Lying:
        def __getattr__(self, name: str) -> Any:
            return getattr(os, name)

        def write(self, file: int, data: memoryview) -> int:
            os.write(file, bytes(len(data)))
            return len(data)

    files = LocalFiles(tmp_path)
    monkeypatch.setattr(_files, "os", Lying())
    with pytest.raises(OSError, match="does not read back"):
        files.write("a", b"data", exclusive=True)
    assert list(tmp_path.iterdir()) == []


def test_without_hard_links_a_write_is_exclusive_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Linkless:
        def __getattr__(self, name: str) -> Any:
            return getattr(os, name)

        def link(self, *_: Any) -> None:
            raise PermissionError(errno.EPERM, "no links here")

    files = LocalFiles(tmp_path)
    monkeypatch.setattr(_files, "os", Linkless())
    files.write("a", b"one", exclusive=True)
    with pytest.raises(FileExistsError):
        files.write("a", b"two", exclusive=True)
    assert files.read("a") == b"one"
    assert [p.name for p in tmp_path.iterdir() if p.name.endswith(".tmp")] == []


def test_a_file_where_a_folder_should_be(tmp_path: Path) -> None:
    (tmp_path / "runs").touch()
    with pytest.raises(NotADirectoryError):
        LocalFiles(tmp_path).write("runs/a", b"")
    (tmp_path / "deep").touch()
    with pytest.raises(NotADirectoryError):
        LocalFiles(tmp_path / "deep" / "er").probe()


# ---- attempts


def test_attempts_differ_sort_by_time_and_die_with_their_process() -> None:
    first, second = _files.attempt(), _files.attempt()
    assert first < second
    assert not _files.given_up(first)
    program = "from deep_clustering.platform.store import _files; print(_files.attempt())"
    gone = subprocess.run(
        [
            sys.executable,
            "-c",
            program,
        ],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    assert _files.given_up(gone)
    when, _, *rest = first.split("-")
    elsewhere = "-".join([when, "00000000", *rest])
    assert not _files.given_up(elsewhere)
    old = f"{int(when, 16) - 2 * 3600 * 10**9:016x}"
    assert _files.given_up("-".join([old, "00000000", *rest]))
    assert not _files.given_up("-".join([old, *first.split("-")[1:]]))  # alive, however old
    assert not _files.given_up("something else")


def test_sweeping_takes_files_of_the_dead_only(tmp_path: Path) -> None:
    mine = tmp_path / f".a.{_files.attempt()}.tmp"
    parts = _files.attempt().split("-")
    dead = tmp_path / "deep" / f".b.{'-'.join([parts[0], parts[1], 'ffffffff', parts[3]])}.tmp"
    dead.parent.mkdir()
    for file in (mine, dead, tmp_path / ".other.tmp", tmp_path / "a.tmp"):
        file.touch()
    assert LocalFiles(tmp_path).sweep() == [dead.name]
    assert sorted(p.name for p in tmp_path.rglob("*") if p.is_file()) == sorted(
        [mine.name, ".other.tmp", "a.tmp"]
    )


# ---- claims


def test_a_claim_is_exclusive_until_released(tmp_path: Path) -> None:
    files = LocalFiles(tmp_path)
    first = files.claim("claims/a")
    assert first is not None
    assert files.claim("claims/a") is None
    with files.claim("claims/b") or pytest.fail("b is free"):
        assert files.claim("claims/b") is None
    assert files.claim("claims/b") is not None
    first.release()
    first.release()
    again = files.claim("claims/a")
    assert again is not None
    first.release()
    assert files.claim("claims/a") is None


def test_a_claim_ends_with_its_process(tmp_path: Path) -> None:
    def child() -> subprocess.Popen[str]:
        return subprocess.Popen(
            [*_CHILD, "claim", str(tmp_path), "x"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def said(process: subprocess.Popen[str]) -> str:
        assert process.stdout is not None
        return process.stdout.readline().strip()

    holder = child()
    assert said(holder) == "held"
    files = LocalFiles(tmp_path)
    assert files.claim("claims/x") is None
    holder.kill()
    holder.communicate()
    mine = files.claim("claims/x")
    assert mine is not None
    late = child()
    assert said(late) == "taken"
    late.communicate()
    mine.release()


def test_a_forked_process_neither_keeps_nor_frees_a_claim(tmp_path: Path) -> None:
    files = LocalFiles(tmp_path)
    claim = files.claim("claims/x")
    assert claim is not None
    ready, wait = os.pipe(), os.pipe()
    child = os.fork()
    if child == 0:
        claim.release()
        os.write(ready[1], b"x")
        os.read(wait[0], 1)  # alive while the parent looks
        os._exit(0)
    os.read(ready[0], 1)
    assert files.claim("claims/x") is None  # the child did not free it
    claim.release()
    assert files.claim("claims/x") is not None  # and does not keep it
    os.write(wait[1], b"x")
    os.waitpid(child, 0)
    for end in (*ready, *wait):
        os.close(end)


def test_a_claim_where_locks_are_not_supported_is_granted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> None:
        raise OSError(errno.ENOLCK, "no locks here")

    monkeypatch.setattr(fcntl, "flock", refuse)
    assert LocalFiles(tmp_path).claim("claims/a") is not None


def test_claims_of_an_object_store_are_granted(tmp_path: Path) -> None:
    remote = RemoteFiles(pafs.LocalFileSystem(), str(tmp_path), "remote")
    assert remote.claim("a") is not None
    assert remote.claim("a") is not None


# ---- addresses and sentences


def test_addresses(tmp_path: Path) -> None:
    local, full = connect(str(tmp_path / "x" / ".." / "y"))
    assert isinstance(local, LocalFiles)
    assert full == str(tmp_path / "y") == local.where
    assert connect(f"file://{tmp_path}")[1] == str(tmp_path)
    remote, full = connect("s3://key:secret@bucket/p?endpoint_override=localhost:1&scheme=http")
    assert isinstance(remote, RemoteFiles)
    assert remote.where == "s3://bucket/p"
    assert "endpoint_override" in full
    for wrong in ("", "nope://x", "s3://bucket/p?nonsense=1"):
        with pytest.raises(InputError, match="store"):
            connect(wrong)


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (errno.ENOSPC, "no space left in /s: run a was not saved; free some and give the same"),
        (errno.EDQUOT, "no space left in /s: run a was not saved"),
        (errno.EROFS, r"cannot write in /s \(Read-only file system\): run a was not saved"),
        (errno.EIO, r"cannot write in /s \(Input/output error\)"),
    ],
)
def test_sentences(number: int, text: str) -> None:
    error = _files.storage_error(OSError(number, "x"), "/s", "run a")
    assert isinstance(error, StorageError)
    assert error.exit_code == 4
    with pytest.raises(StorageError, match=f"^{text}"):
        raise error
