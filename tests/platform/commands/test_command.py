"""The command as its user gives it: a real process, a real Ray, real kills.

Each test says which promise of the fault matrix it protects (P1 to P6: nothing lost, complete or
absent, one bad file one run, honest exit codes, the same command resumes, bad input stops early).
"""

import contextlib
import os
import secrets
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import psutil
import pytest
from polars.testing import assert_frame_equal

from deep_clustering.platform import results
from deep_clustering.platform.run.execute import execute
from deep_clustering.platform.store.store import Store
from support.small import SETS, Watcher, images, jobs, place, request

pytestmark = [pytest.mark.ray, pytest.mark.timeout(1800)]


_STARTED: list["Command"] = []
_GUARD = "deep_clustering.platform.run._guard"


class Command:
    """`platform ...` in a process of its own, its output collected line by line."""

    def __init__(self, *arguments: object, cwd: Path) -> None:
        # As `platform` is started: the current folder is not on the path of its imports.
        program = [sys.executable, "-P", "-m", "deep_clustering.platform.start"]
        self.process = subprocess.Popen(
            [*program, *map(str, arguments)],
            cwd=cwd,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        _STARTED.append(self)
        self.lines: list[str] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line.rstrip())

    def until(self, text: str) -> str:
        """The first line that contains a text, as soon as it is there."""
        seen, over = 0, False
        while not over:
            over = not self._reader.is_alive()
            for line in self.lines[seen:]:
                seen += 1
                if text in line:
                    return line
            time.sleep(0.02)
        pytest.fail(f"no line with {text!r} in\n" + "\n".join(self.lines))

    def end(self) -> int:
        """The exit code."""
        code = self.process.wait()
        self._reader.join()
        assert self.process.stdout is not None
        self.process.stdout.close()
        return code

    def family(self) -> list[psutil.Process]:
        """Every process that the command has started, while it lives."""
        return psutil.Process(self.process.pid).children(recursive=True)

    def maps(self) -> list[str]:
        """What the process has loaded by now."""
        return Path(f"/proc/{self.process.pid}/maps").read_text().splitlines()

    def starting(self, program: str) -> str:
        """Waits until a program of Ray runs; the name of the command's scratch folder."""
        while self.process.poll() is None:
            with contextlib.suppress(psutil.Error):
                words = [p.cmdline() for p in self.family()]
                if any(word.endswith(program) for line in words for word in line):
                    return next(line[-1] for line in words if _GUARD in line)
            time.sleep(0.01)
        pytest.fail(f"{program} never ran:\n{self.text}")

    @property
    def text(self) -> str:
        return "\n".join(self.lines)


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with pictures, whose name a shell would trip over."""
    place = tmp_path_factory.mktemp("Bilder für Übung")
    images(place / "bunte Bilder")
    return place


def _asked(
    work: Path, command: str, store: str, *more: object, pictures: object = "bunte Bilder"
) -> list[object]:
    sets = [x for s in SETS for x in ("--set", s)]
    given = ["--dataset", f"folder:{pictures}", "--data", work / "data", "--store", work / store]
    return [command, "cdc", *given, *sets, *more]


def _run(work: Path, *arguments: object) -> Command:
    command = Command(*arguments, cwd=work)
    command.end()
    return command


def _table(store: Path) -> pl.DataFrame:
    """What has to be equal however a command came to its end."""
    frame = results.runs(str(store)).collect()
    timed = ("seconds", "started", "ended", "peak_memory_mb", "resumed_at", "git_revision")
    timed = (*timed, "git_dirty")  # somebody may be working on the code while the tests run
    dropped = [c for c in frame.columns if c in timed or c.endswith("_file")]
    return frame.select(sorted(set(frame.columns) - set(dropped))).sort("run_id")


def _patience() -> float:
    """How many times longer things may take than on an idle machine."""
    return max(1.0, 2 * os.getloadavg()[0] / (os.cpu_count() or 1))


def _gone(family: list[psutil.Process], seconds: float) -> list[str]:
    """Command lines of the processes that are still there after a while."""
    _, alive = psutil.wait_procs(family, timeout=seconds * _patience())
    left = []
    for process in alive:
        with contextlib.suppress(psutil.NoSuchProcess):
            if process.status() != psutil.STATUS_ZOMBIE:
                left.append(" ".join(process.cmdline()))
    return left


_SEARCH = (
    "--trials",
    4,
    "--space",
    "entropy_weight,encoder_lr",
    "--set",
    "epochs=150",
)  # long enough to be killed in the middle


@pytest.fixture(scope="module")
def searched(work: Path) -> Command:
    """A search that nothing disturbed."""
    return _run(work, *_asked(work, "tune", "searched", *_SEARCH))


def test_a_search_ends_with_its_tables(work: Path, searched: Command) -> None:
    assert searched.process.returncode == 0, searched.text
    frame = _table(work / "searched")
    assert frame.height == 4
    assert set(frame["status"]) == {"ok"}
    assert frame["config.encoder_lr"].n_unique() == 4
    assert frame["stage_id"].n_unique() == 1  # one pretraining for all
    assert results.stages(str(work / "searched")).collect().height == 1
    assert "4 finished" in searched.text
    assert "results.study(" in searched.text
    assert "chosen without labels" in searched.text
    study = searched.text.split("of study ")[1].split(":")[0]
    assert results.study(study, str(work / "searched")).collect().height == 4


def test_the_same_search_again_computes_nothing(work: Path, searched: Command) -> None:
    again = _run(work, *_asked(work, "tune", "searched", *_SEARCH))
    assert again.process.returncode == 0, again.text
    assert "4 trials × 1 seed" in searched.text
    assert "4 trials × 1 seed" not in again.text  # the view never opened, so Ray never started
    assert "4 finished" in again.text
    assert _table(work / "searched").height == 4


def test_a_killed_search_continues_to_the_same_table(work: Path, searched: Command) -> None:
    """P1, P5: SIGKILL of the driver in mid-search; no orphan after 10 s; its journal is damaged."""
    asked = _asked(work, "tune", "killed", *_SEARCH)
    command = Command(*asked, cwd=work)
    command.until("trial 2 running")
    family = command.family()
    command.process.kill()
    command.end()
    assert _gone(family, 10) == []
    before = _table(work / "killed")
    assert 2 <= before.height < 4
    (journal,) = (work / "killed" / "studies").iterdir()
    journal.write_bytes(journal.read_bytes().replace(b"op_code", b"op_node", 5))
    again = _run(work, *asked)
    assert again.process.returncode == 0, again.text
    assert "moved to quarantine/ and written anew" in again.text
    after = _table(work / "killed")
    kept = after.filter(pl.col("run_id").is_in(before["run_id"].to_list()))
    assert_frame_equal(kept.select(before.columns), before)
    assert_frame_equal(after, _table(work / "searched"))
    assert_frame_equal(_predictions(work / "killed"), _predictions(work / "searched"))


def _predictions(store: Path) -> pl.DataFrame:
    return results.predictions(str(store)).collect().sort("run_id", "sample")


def test_more_trials_later_keep_the_first(work: Path, searched: Command) -> None:
    more = [6 if x == 4 else x for x in _asked(work, "tune", "searched", *_SEARCH)]
    first = _table(work / "searched")
    command = _run(work, *more)
    assert command.process.returncode == 0, command.text
    frame = _table(work / "searched")
    assert frame.height == 6
    kept = frame.filter(pl.col("run_id").is_in(first["run_id"].to_list()))
    assert_frame_equal(kept.select(first.columns), first)


_TRAIN = ("--set", "epochs=40")


@pytest.fixture(scope="module")
def trained(work: Path) -> Command:
    """A run that nothing disturbed."""
    return _run(work, *_asked(work, "train", "trained", *_TRAIN))


def test_a_ctrl_c_ends_cleanly_and_the_same_command_continues(work: Path, trained: Command) -> None:
    """P4, P5: exit 130 within 15 s, how to go on, no process left."""
    assert trained.process.returncode == 0, trained.text
    asked = _asked(work, "train", "interrupted", *_TRAIN)
    command = Command(*asked, cwd=work)
    command.until("seed 0 running")
    family = command.family()
    begun = time.monotonic()
    os.killpg(command.process.pid, signal.SIGINT)  # a terminal tells the whole group
    assert command.end() == 130
    assert time.monotonic() - begun < 15 * _patience()
    assert "continue with: platform train cdc" in command.text
    assert _gone(family, 10) == []
    assert _run(work, *asked).process.returncode == 0
    assert_frame_equal(_table(work / "interrupted"), _table(work / "trained"))


def test_sigterm_ends_like_a_ctrl_c_and_nothing_of_the_folder_is_imported(work: Path) -> None:
    """P4, P5: Ray would set a handler of its own, and its workers import the current folder."""
    place = work / "place"
    place.mkdir()
    for name in ("kmedoids", "finch", "numba", "ray", "platform", "psutil"):
        (place / f"{name}.py").write_text("open('imported', 'w')\nraise SystemExit(9)\n")
    asked = _asked(work, "train", "terminated", *_TRAIN, pictures=work / "bunte Bilder")
    command = Command(*asked, cwd=place)
    command.until("seed 0 running")
    family = command.family()
    os.kill(command.process.pid, signal.SIGTERM)
    assert command.end() == 130
    assert "continue with: platform train cdc" in command.text
    assert _gone(family, 10) == []
    assert not (place / "imported").exists()


def test_a_full_disk_behind_the_output_is_told_in_a_line() -> None:
    """P4: exit 4; the disk here is one that is always full."""
    with open("/dev/full", "w") as full:
        program = [sys.executable, "-m", "deep_clustering.platform.start", "completion", "bash"]
        done = subprocess.run(program, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 4
    sentence = "error: what the command says cannot be written (No space left on device).\n"
    assert done.stderr == sentence


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_during_the_imports_is_told_in_a_line(work: Path, number: signal.Signals) -> None:
    command = Command("results", "runs", "--store", "a b", cwd=work)
    while not any("torch" in line or "polars" in line for line in command.maps()):
        time.sleep(0.005)
    command.process.send_signal(number)
    assert command.end() == 130
    assert command.lines[-2:] == [
        "interrupted",
        "continue with: platform results runs --store 'a b'",
    ]


@pytest.mark.parametrize(
    ("program", "number"),
    [
        ("gcs_server", signal.SIGTERM),
        ("raylet", signal.SIGINT),
        ("raylet", signal.SIGKILL),
        ("dashboard/agent.py", signal.SIGKILL),
    ],
)
def test_a_signal_while_ray_starts_leaves_nothing(
    work: Path, program: str, number: signal.Signals
) -> None:
    """P4, P5: seconds in which Ray's handlers and its processes' own ends are not ready."""
    command = Command(*_asked(work, "train", "started"), cwd=work)
    scratch = command.starting(program)
    begun = time.monotonic()
    tell = os.killpg if number == signal.SIGINT else os.kill  # a terminal tells the whole group
    tell(command.process.pid, number)
    assert command.end() == (-9 if number == signal.SIGKILL else 130)
    assert time.monotonic() - begun < 3 * _patience()
    if number != signal.SIGKILL:
        assert "continue with: platform train cdc" in command.text
    end = time.monotonic() + 10 * _patience()
    while (left := _processes_of(scratch) or Path(scratch).exists()) and time.monotonic() < end:
        time.sleep(0.1)
    assert not left


def _processes_of(scratch: str) -> list[str]:
    """Command lines of what belongs to a command, or is named after its scratch folder."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            belongs = scratch in os.fsdecode(Path(f"/proc/{process.pid}/environ").read_bytes())
            if belongs or any(scratch in word for word in process.cmdline()):
                found.append(" ".join(process.cmdline()))
    return found


@pytest.mark.parametrize("server", ["raylet", "gcs_server", "ray::DashboardAgent", "ray::Planner"])
def test_whatever_dies_of_ray_has_one_exit_code(work: Path, server: str) -> None:
    """P4: exit 5 within seconds, and the same command goes on."""
    command = Command(*_asked(work, "train", "died", *_TRAIN), cwd=work)
    command.until("running")
    found = next(p for p in command.family() if server in (p.name(), *p.cmdline()[:1]))
    begun = time.monotonic()
    found.kill()
    assert command.end() == 5, command.text
    assert time.monotonic() - begun < 10 * _patience()
    assert "error: Ray died" in command.text
    assert "give the same command again to continue" in command.text


@pytest.mark.parametrize(("workers", "process"), [(1, "ray::Lane"), (2, "RayTrainWorker")])
def test_a_killed_worker_is_retried_from_its_last_epoch(
    work: Path, trained: Command, workers: int, process: str
) -> None:
    """P1, P4: SIGKILL of a training process; the command ends well, with the same numbers."""
    name = f"worker-{workers}"
    asked = [*_TRAIN, "--workers", str(workers)]
    command = Command(*_asked(work, "train", name, *asked), cwd=work)
    command.until("seed 0 running")
    found = [p for p in command.family() if process in " ".join(p.cmdline())]
    assert found
    found[0].kill()
    assert command.end() == 0, command.text
    assert "died" in command.until("note: the worker of run")
    if workers == 1:
        assert_frame_equal(_table(work / name), _table(work / "trained"))


def test_two_commands_on_one_store_share_the_work(work: Path, trained: Command) -> None:
    """P1: both finish, nothing is lost or computed twice."""
    asked = _asked(work, "train", "shared", *_TRAIN)
    both = [Command(*asked, cwd=work) for _ in range(2)]
    assert [c.end() for c in both] == [0, 0], "\n".join(c.text for c in both)
    assert_frame_equal(_table(work / "shared"), _table(work / "trained"))
    assert results.stages(str(work / "shared")).collect().height == 1


def test_a_run_that_diverges_is_a_row_with_a_reason(work: Path) -> None:
    """P4: exit 3; the others are done; the same command repeats nothing; --retry failed does."""
    wild = ("--set", "head_lr=1e30", "--set", "encoder_lr=1e30")
    asked = _asked(work, "train", "wild", *wild)
    command = _run(work, *asked)
    assert command.process.returncode == 3, command.text
    frame = results.runs(str(work / "wild")).collect()
    assert frame["status"].to_list() == ["failed"]
    assert frame["reason"][0]
    assert frame["acc"].to_list() == [None]
    again = _run(work, *asked)
    assert again.process.returncode == 3
    assert "running" not in again.text
    assert "--retry failed" in again.text
    retried = _run(work, *asked, "--retry", "failed")
    assert retried.process.returncode == 3
    assert "running" in retried.text


def test_a_store_that_fills_up_ends_the_command_and_loses_nothing(work: Path) -> None:
    """P2, P4: exit 4 with a sentence; with room again the same command goes on."""
    asked = _asked(work, "train", "full", *_TRAIN)
    command = Command(*asked, cwd=work)
    command.until("pretraining")
    command.until("done")
    models = work / "full" / "models"  # a file in place of the folder: nothing can be written
    models.write_text("in the way")
    assert command.end() == 4, command.text
    assert "error:" in command.text
    models.unlink()
    again = _run(work, *asked)
    assert again.process.returncode == 0, again.text


def test_two_processes_train_one_run(work: Path) -> None:
    """--workers 2 keeps the meaning of a batch: nearly the numbers of one process."""
    sets = ("--set", "epochs=2")
    two = _run(work, *_asked(work, "train", "two", *sets, "--workers", 2))
    assert two.process.returncode == 0, two.text
    row = _table(work / "two").row(0, named=True)
    assert row["workers"] == 2
    store = Store.open(work / "one")
    for job in jobs(request(work / "bunte Bilder", work / "data", "epochs=2")):
        execute(job, place(store), Watcher())
    alone = _table(work / "one").row(0, named=True)
    assert alone["run_id"] == row["run_id"]
    assert alone["mean_confidence"] == pytest.approx(row["mean_confidence"], abs=0.02)


def test_a_trained_run_clusters_new_images(work: Path, trained: Command) -> None:
    images(work / "neue Bilder", labelled=False, count=4)
    (work / "neue Bilder" / "leer").mkdir()  # would be refused as a class
    (work / "neue Bilder" / "x.heic").write_bytes(b"0")
    run = _table(work / "trained")["run_id"][0]
    given = ("--store", work / "trained", "--data", work / "data")
    command = _run(
        work, "predict", run[:8], "--images", "neue Bilder", *given, "--output", "out.csv"
    )
    assert command.process.returncode == 0, command.text
    assert "note: 1 files are left out" in command.text
    frame = pl.read_csv(work / "out.csv")
    assert frame.height == 12
    assert frame["confidence"].is_between(1 / 3, 1).all()
    same = _run(
        work, "predict", run[:8], "--images", "bunte Bilder", *given, "--output", "same.parquet"
    )
    assert same.process.returncode == 0, same.text
    known = results.predictions(str(work / "trained")).filter(pl.col("run_id") == run).collect()
    mine = pl.read_parquet(work / "same.parquet")
    joined = mine.join(known.select("path", pl.col("cluster").alias("before")), on="path")
    assert joined.height == 48
    assert (joined["cluster"] == joined["before"]).all()


@pytest.fixture(autouse=True)
def _tidy(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Plain wide output; and a test that fails leaves no command running."""
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "200")
    yield
    while _STARTED:
        command = _STARTED.pop()
        if command.process.poll() is None:
            command.process.kill()
        command.end()


def test_a_cluster_is_used_by_its_address(
    work: Path, trained: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """--address joins that cluster, trains there, and leaves it running."""
    port = _free_port()
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    monkeypatch.setenv("RAY_AUTH_TOKEN", secrets.token_hex(16))
    ray = [sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block"]
    head = subprocess.Popen(
        [*ray, f"--port={port}", "--num-cpus=2", "--include-dashboard=false"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        asked = _asked(work, "train", "cluster", *_TRAIN, "--address", f"127.0.0.1:{port}")
        while not _answers(port):
            assert head.poll() is None
            time.sleep(0.1)
        command = _run(work, *asked)
        assert command.process.returncode == 0, command.text
        assert head.poll() is None
        assert (work / "cluster" / "data").is_dir() or (work / "data").is_dir()
        assert_frame_equal(_table(work / "cluster"), _table(work / "trained"))
    finally:
        family = psutil.Process(head.pid).children(recursive=True)
        head.kill()
        head.wait(30)
        for process in family:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()


def test_an_address_that_does_not_answer_is_told_soon(work: Path) -> None:
    begun = time.monotonic()
    command = _run(
        work, *_asked(work, "train", "nowhere", "--address", f"127.0.0.1:{_free_port()}")
    )
    assert command.process.returncode == 5, command.text
    assert "does not answer" in command.text
    assert time.monotonic() - begun < 60 * _patience()


def _answers(port: int) -> bool:
    with socket.socket() as asking:
        return asking.connect_ex(("127.0.0.1", port)) == 0


def _free_port() -> int:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        return int(held.getsockname()[1])


def test_asha_stops_trials_and_leaves_no_number_of_them(work: Path) -> None:
    """A trial that the scheduler stops is a row without results; its epochs are kept."""
    asked = ("--trials", 6, "--scheduler", "asha", "--objective", "ece", "--set", "epochs=60")
    command = _run(work, *_asked(work, "tune", "asha", *asked, "--space", "head_lr,encoder_lr"))
    assert command.process.returncode == 0, command.text
    assert "stopped early" in command.text
    assert "chosen with labels (ece)" in command.text
    frame = results.runs(str(work / "asha")).collect()
    assert frame.height == 6
    stopped = frame.filter(pl.col("status") == "stopped")
    assert stopped.height >= 1
    assert stopped["ece"].null_count() == stopped.height
    assert (stopped["epochs"] < 60).all()
    epochs = results.epochs(str(work / "asha")).collect()
    assert set(stopped["run_id"]) <= set(epochs["run_id"])
    assert frame.filter(pl.col("status") == "ok")["epochs"].to_list() == [60] * (6 - stopped.height)


def test_a_search_that_failed_is_tried_again_when_asked(work: Path) -> None:
    """P4: failed trials are told until they have a result; the same configurations get one."""
    mine = images(work / "wechselnde Bilder")
    sets = [x for s in SETS for x in ("--set", s)]
    given = ["--dataset", "folder:wechselnde Bilder", "--data", work / "data"]
    asked = ["tune", "cdc", *given, "--store", work / "retried", *sets]
    asked = [*asked, "--trials", 2, "--space", "encoder_lr", "--study", "mine"]
    command = Command(*asked, cwd=work)
    command.until("2 trials × 1 seed")  # planned; no worker has looked at the images yet
    added = mine / "kind 0" / "added.png"
    added.write_bytes((mine / "kind 0" / "0-0.png").read_bytes())
    assert command.end() == 3, command.text
    assert "changed after the command started" in command.text
    failed = results.runs(str(work / "retried")).collect()
    assert failed["status"].to_list() == ["failed"] * 2
    added.unlink()

    again = _run(work, *asked)
    assert again.process.returncode == 3, again.text
    assert "2 trials × 1 seed" not in again.text  # nothing was computed
    retried = _run(work, *asked, "--retry", "failed")
    assert retried.process.returncode == 0, retried.text
    assert "--retry" not in retried.text.split("more trials")[1]
    frame = results.runs(str(work / "retried")).collect()
    assert frame["status"].to_list() == ["ok"] * 2
    assert set(frame["run_id"]) == set(failed["run_id"])
    last = _run(work, *asked, "--retry", "failed")
    assert last.process.returncode == 0, last.text
    assert "2 trials × 1 seed" not in last.text  # nothing is left to try


_SUITE = """
method = "cdc"
datasets = ["digits"]
[[rows]]
name = "full"
[[rows]]
name = "random"
variants = ["random-init"]
[[rows]]
name = "wild"
changes = { head_lr = 1e30, encoder_lr = 1e30 }
[[claims]]
row = "random"
against = "full"
metric = "acc"
direction = "lower"
margin = 0.01
[[claims]]
row = "wild"
against = "full"
metric = "acc"
direction = "lower"
margin = 0.01
"""


def test_a_killed_suite_continues_and_its_failures_are_no_numbers(work: Path) -> None:
    """P1, P4, P5: a suite of the user's own in one file; SIGKILL in the middle; exit 3."""
    (work / "mine.toml").write_text(_SUITE)
    sets = [x for s in (*SETS, "epochs=40") for x in ("--set", s)]
    given = ["--dataset", "folder:bunte Bilder", "--data", work / "data", "--store", work / "suite"]
    asked = ["ablate", "--suite", "mine.toml", "--seeds", 2, *given, *sets]
    command = Command(*asked, cwd=work)
    command.until("random running")
    family = command.family()
    command.process.kill()
    command.end()
    assert _gone(family, 10) == []
    before = _table(work / "suite")
    assert 1 <= before.height < 6
    again = _run(work, *asked)
    assert again.process.returncode == 3, again.text
    after = _table(work / "suite")
    assert after.height == 6
    kept = after.filter(pl.col("run_id").is_in(before["run_id"].to_list()))
    assert_frame_equal(kept.select(before.columns), before)
    assert results.stages(str(work / "suite")).collect().height == 2  # one for each seed
    name = Store.open(str(work / "suite"), create=False).plans("suite")[0]
    cells = results.cells(name, str(work / "suite")).filter(pl.col("metric") == "acc").collect()
    assert cells["variant"].to_list() == ["full", "random", "wild"]
    assert cells["n"].to_list() == [2, 2, 0]
    assert cells["unit"].to_list() == ["pretraining", "pretraining", None]
    assert cells["failed"].to_list() == [0, 0, 2]
    assert cells["mean"].is_null().to_list() == [False, False, True]
    verdicts = results.verdicts(name, str(work / "suite")).collect()
    assert verdicts.filter(pl.col("variant") == "wild")["verdict"].to_list() == ["NOT TESTABLE"]

    third = _run(work, *asked)
    assert third.process.returncode == 3
    assert "running" not in third.text
    assert "--retry failed" in third.text
    assert "2 failed: diverged" in third.text
