"""Files on a disk: whole, durable and exclusive; locks end with their process."""

import errno
import fcntl
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from deep_clustering.platform import _disk
from deep_clustering.platform.errors import StorageError, storage_error
from support.users import shared_folder, user


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
    monkeypatch.setattr(_disk, "os", Watched())
    _disk.write(tmp_path / "runs/a", b"x", exclusive=True)
    names = [name for name, _ in calls]
    assert names == ["write", "fsync", "link", "unlink", "fsync"]
    hidden = calls[0][1]
    assert hidden.startswith(".a.")
    assert [what for _, what in calls] == [hidden, hidden, hidden, hidden, "runs"]


def test_what_does_not_read_back_is_not_acknowledged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Forgetful:
        def __getattr__(self, name: str) -> Any:
            return getattr(os, name)

        def write(self, file: int, data: memoryview) -> int:
            os.write(file, bytes(len(data)))
            return len(data)

    monkeypatch.setattr(_disk, "os", Forgetful())
    with pytest.raises(OSError, match="does not read back"):
        _disk.write(tmp_path / "a", b"data", exclusive=True)
    assert list(tmp_path.iterdir()) == []


def test_without_hard_links_a_write_is_exclusive_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Linkless:
        def __getattr__(self, name: str) -> Any:
            return getattr(os, name)

        def link(self, *_: Any) -> None:
            raise PermissionError(errno.EPERM, "no links here")

    monkeypatch.setattr(_disk, "os", Linkless())
    _disk.write(tmp_path / "a", b"one", exclusive=True)
    with pytest.raises(FileExistsError):
        _disk.write(tmp_path / "a", b"two", exclusive=True)
    assert _disk.read(tmp_path / "a") == b"one"
    assert [p.name for p in tmp_path.iterdir() if p.name.endswith(".tmp")] == []


# ---- attempts


def test_attempts_differ_sort_by_time_and_die_with_their_process() -> None:
    first, second = _disk.attempt(), _disk.attempt()
    assert first < second
    assert not _disk.given_up(first)
    program = "from deep_clustering.platform import _disk; print(_disk.attempt())"
    gone = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    assert _disk.given_up(gone)
    when, _, *rest = first.split("-")
    elsewhere = "-".join([when, "00000000", *rest])
    assert not _disk.given_up(elsewhere)
    old = f"{int(when, 16) - 2 * 3600 * 10**9:016x}"
    assert _disk.given_up("-".join([old, "00000000", *rest]))
    assert not _disk.given_up("-".join([old, *first.split("-")[1:]]))  # alive, however old
    assert not _disk.given_up("something else")


def test_sweeping_takes_files_of_the_dead_only(tmp_path: Path) -> None:
    mine = tmp_path / f".a.{_disk.attempt()}.tmp"
    parts = _disk.attempt().split("-")
    dead = tmp_path / "deep" / f".b.{'-'.join([parts[0], parts[1], 'ffffffff', parts[3]])}.tmp"
    dead.parent.mkdir()
    for file in (mine, dead, tmp_path / ".other.tmp", tmp_path / "a.tmp"):
        file.touch()
    assert _disk.sweep(tmp_path) == [dead.name]
    assert sorted(p.name for p in tmp_path.rglob("*") if p.is_file()) == sorted(
        [mine.name, ".other.tmp", "a.tmp"]
    )


# ---- locks


def test_a_lock_is_exclusive_until_released(tmp_path: Path) -> None:
    first = _disk.try_lock(tmp_path / "a")
    assert first is not None
    assert _disk.try_lock(tmp_path / "a") is None
    with _disk.try_lock(tmp_path / "b") or pytest.fail("b is free"):
        assert _disk.try_lock(tmp_path / "b") is None
    assert _disk.try_lock(tmp_path / "b") is not None
    first.release()
    first.release()
    again = _disk.try_lock(tmp_path / "a")
    assert again is not None
    first.release()
    assert _disk.try_lock(tmp_path / "a") is None


#: Takes a lock, says whether it has it, waits.
_LOCKS = """
import sys
from pathlib import Path
from deep_clustering.platform import _disk
lock = _disk.try_lock(Path(sys.argv[1]))
print("taken" if lock else "refused", flush=True)
sys.stdin.read()
"""


@pytest.mark.fault(26)
def test_a_lock_ends_with_its_process(tmp_path: Path) -> None:
    def child() -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-c", _LOCKS, str(tmp_path / "x")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def said(process: subprocess.Popen[str]) -> str:
        assert process.stdout is not None
        return process.stdout.readline().strip()

    holder = child()
    assert said(holder) == "taken"
    assert _disk.try_lock(tmp_path / "x") is None
    holder.kill()
    holder.communicate()
    mine = _disk.try_lock(tmp_path / "x")
    assert mine is not None
    late = child()
    assert said(late) == "refused"
    late.communicate()
    mine.release()


def test_a_forked_process_neither_keeps_nor_frees_a_lock(tmp_path: Path) -> None:
    mine = _disk.try_lock(tmp_path / "x")
    assert mine is not None
    ready, wait = os.pipe(), os.pipe()
    child = os.fork()
    if child == 0:
        mine.release()
        os.write(ready[1], b"x")
        os.read(wait[0], 1)  # alive while the parent looks
        os._exit(0)
    os.read(ready[0], 1)
    assert _disk.try_lock(tmp_path / "x") is None  # the child did not free it
    mine.release()
    assert _disk.try_lock(tmp_path / "x") is not None  # and does not keep it
    os.write(wait[1], b"x")
    os.waitpid(child, 0)
    for end in (*ready, *wait):
        os.close(end)


def test_a_lock_where_locks_are_not_supported_is_granted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> None:
        raise OSError(errno.ENOLCK, "no locks here")

    monkeypatch.setattr(fcntl, "flock", refuse)
    for lock in (_disk.try_lock(tmp_path / "a"), _disk.lock(tmp_path / "a")):
        assert lock is not None
        assert not lock.exclusive


def test_who_waits_for_a_lock_gets_it_when_it_is_given_back(tmp_path: Path) -> None:
    order: list[str] = []
    first = _disk.lock(tmp_path / "a")
    assert first.exclusive

    def wait() -> None:
        with _disk.lock(tmp_path / "a") as second:
            order.append("second")
            assert second.exclusive
            assert _disk.try_lock(tmp_path / "a") is None

    thread = threading.Thread(target=wait)
    thread.start()
    thread.join(0.2)
    assert thread.is_alive()
    order.append("first")
    first.release()
    thread.join(30)
    assert order == ["first", "second"]
    assert list(tmp_path.iterdir()) == []


# ---- renames


def test_a_folder_is_renamed_only_where_nothing_is(tmp_path: Path) -> None:
    for name in ("new", "old"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text(name)
    with pytest.raises(OSError, match=r"not empty|exists"):
        _disk.rename(tmp_path / "new", tmp_path / "old")
    assert (tmp_path / "old/file").read_text() == "old"
    _disk.rename(tmp_path / "new", tmp_path / "other")
    assert (tmp_path / "other/file").read_text() == "new"


# ---- sentences


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
    error = storage_error(OSError(number, "x"), "/s", "run a")
    assert isinstance(error, StorageError)
    assert error.exit_code == 4
    with pytest.raises(StorageError, match=f"^{text}"):
        raise error


def test_a_lock_of_another_user_is_respected() -> None:
    """Their umask keeps others from writing into it; the second user was refused."""
    with shared_folder() as place:
        path = place / "claim"
        with user(20001):
            path.touch()
        with user(20002):
            with pytest.raises(PermissionError):
                path.open("r+")
            with _disk.lock(path) as mine:
                assert mine.exclusive
                assert _disk.try_lock(path) is None
        assert not path.exists()


def test_folders_in_a_shared_folder_are_shared() -> None:
    with shared_folder() as place:
        with user(20001):
            _disk.make_folder(place / "runs" / "deep")
        for folder in (place / "runs", place / "runs" / "deep"):
            assert folder.stat().st_mode & 0o2020 == 0o2020


def test_other_folders_stay_one_users_own(tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        _disk.make_folder(tmp_path / "runs")
    finally:
        os.umask(before)
    assert (tmp_path / "runs").stat().st_mode & 0o020 == 0
