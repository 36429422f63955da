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
import time
from pathlib import Path
from typing import Any

import polars as pl
import psutil
import pytest
from polars.testing import assert_frame_equal

from deep_clustering.platform import results
from deep_clustering.platform.store.store import Store
from support.command import Command, gone, invocation, patience, processes_of, run, table
from support.small import images

pytestmark = [
    pytest.mark.ray,
    pytest.mark.timeout(1800),
    pytest.mark.usefixtures("tidy"),
]


_TRAIN = ("--set", "epochs=40")


@pytest.fixture(scope="module")
def trained(work: Path) -> Command:
    """A run that nothing disturbed."""
    return run(work, *invocation(work, "train", "trained", *_TRAIN))


@pytest.mark.fault(5)
def test_a_ctrl_c_ends_cleanly_and_the_same_command_continues(work: Path, trained: Command) -> None:
    """P4, P5: exit 130 within 15 s, how to go on, no process left."""
    assert trained.process.returncode == 0, trained.text
    asked = invocation(work, "train", "interrupted", *_TRAIN)
    command = Command(*asked, cwd=work)
    command.until("seed 0 running")
    family = command.family()
    begun = time.monotonic()
    os.killpg(command.process.pid, signal.SIGINT)  # a terminal tells the whole group
    assert command.end() == 130
    assert time.monotonic() - begun < 15 * patience()
    assert "continue with: platform train cdc" in command.text
    assert gone(family, 10) == []
    assert run(work, *asked).process.returncode == 0
    assert_frame_equal(table(work / "interrupted"), table(work / "trained"))


@pytest.mark.fault(6)
def test_sigterm_ends_like_a_ctrl_c_and_nothing_of_the_folder_is_imported(work: Path) -> None:
    """P4, P5: Ray would set a handler of its own, and its workers import the current folder."""
    place = work / "place"
    place.mkdir()
    for name in ("kmedoids", "finch", "numba", "ray", "platform", "psutil"):
        (place / f"{name}.py").write_text("open('imported', 'w')\nraise SystemExit(9)\n")
    asked = invocation(work, "tune", "terminated", *_TRAIN, pictures=work / "bunte Bilder")
    command = Command(*asked, cwd=place)
    command.until("trial 0 running")
    family = command.family()
    os.kill(command.process.pid, signal.SIGTERM)
    os.killpg(command.process.pid, signal.SIGTERM)  # as `timeout` does
    assert command.end() == 130
    said, more = command.lines[-2:]
    assert said.startswith("interrupted: 0 of 8 runs done")
    assert more.startswith("continue with: platform tune cdc")
    assert "SIGTERM" not in command.text  # a dump of Ray's stack
    assert gone(family, 10) == []
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


@pytest.mark.fault(6)
@pytest.mark.parametrize(
    ("program", "number"),
    [
        ("gcs_server", signal.SIGTERM),
        ("raylet", signal.SIGINT),
        ("raylet", signal.SIGHUP),
        ("raylet", signal.SIGKILL),
        ("dashboard/agent.py", signal.SIGKILL),
    ],
)
def test_a_signal_while_ray_starts_leaves_nothing(
    work: Path, program: str, number: signal.Signals
) -> None:
    """P4, P5: seconds in which Ray's handlers and its processes' own ends are not ready."""
    command = Command(*invocation(work, "train", "started"), cwd=work)
    scratch = command.starting(program)
    begun = time.monotonic()
    tell = os.kill if number == signal.SIGKILL else os.killpg  # a terminal tells the whole group
    tell(command.process.pid, number)
    assert command.end() == (-9 if number == signal.SIGKILL else 130)
    assert time.monotonic() - begun < 6 * patience()  # 30 s, where the server of Ray went first
    if number != signal.SIGKILL:
        assert "continue with: platform train cdc" in command.text
    end = time.monotonic() + 10 * patience()
    while (left := processes_of(scratch) or Path(scratch).exists()) and time.monotonic() < end:
        time.sleep(0.1)
    assert not left


@pytest.mark.fault(6, 7, 66)
def test_nobody_else_may_use_the_ray_of_a_command(
    work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither without its token nor by a dashboard; a pause and two signals do no harm to it."""
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")  # which Ray would heed
    command = Command(*invocation(work, "train", "guarded", "--set", "epochs=4000"), cwd=work)
    command.until("seed 0 running")
    family = command.family()
    ports = {c.laddr.port: p for p in family for c in _listening(p)}
    (gcs,) = (port for port, p in ports.items() if p.name() == "gcs_server")
    assert 8265 not in ports  # the dashboard's
    for process in family:  # nobody needs what these three do
        with contextlib.suppress(psutil.NoSuchProcess):
            names = ("monitor.py", "dashboard.py")
            assert not any(word.endswith(names) for word in process.cmdline())
    assert _nodes(gcs, "") == "AuthenticationError"
    assert _nodes(gcs, "0" * 64) == "AuthenticationError"
    token = next(t for p in family if (t := p.environ().get("RAY_AUTH_TOKEN")))
    assert _nodes(gcs, token) == "1"
    assert command.process.poll() is None

    for process in [psutil.Process(command.process.pid), *family]:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.suspend()
    time.sleep(2)
    for process in [*family, psutil.Process(command.process.pid)]:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.resume()
    seen = len(command.lines)
    while not any("running" in line for line in command.lines[seen:]):
        assert command.process.poll() is None, command.text
        time.sleep(0.05)
    for number in (signal.SIGTERM, signal.SIGINT):
        os.killpg(command.process.pid, number)
    assert command.end() == 130, command.text
    assert command.lines[-2].startswith("interrupted: 0 of 1 ")
    assert "SIGTERM" not in command.text
    assert gone(family, 10) == []


def _listening(process: psutil.Process) -> list[Any]:
    with contextlib.suppress(psutil.Error):
        return [c for c in process.net_connections("tcp") if c.status == psutil.CONN_LISTEN]
    return []


_ASK = """
import sys
from ray._raylet import GcsClient
try:
    print(len(GcsClient(address=sys.argv[1]).get_all_node_info()))
except Exception as error:
    print(type(error).__name__)
"""


def _nodes(port: int, token: str) -> str:
    """How many nodes somebody with this token sees of a Ray, or the error that he gets."""
    mode = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": token} if token else {}
    mine = {k: v for k, v in os.environ.items() if not k.startswith("RAY_")} | mode
    asking = [sys.executable, "-P", "-c", _ASK, f"127.0.0.1:{port}"]
    done = subprocess.run(asking, env=mine, capture_output=True, text=True, check=True)
    return done.stdout.strip()


@pytest.mark.fault(2)
@pytest.mark.parametrize(("workers", "process"), [(1, "ray::Lane"), (2, "RayTrainWorker")])
def test_a_killed_worker_is_retried_from_its_last_checkpoint(
    work: Path, trained: Command, workers: int, process: str
) -> None:
    """P1, P4: SIGKILL of a training process; the command ends well, with the same numbers.

    --workers 2 keeps the meaning of a batch: nearly the numbers of one process.
    """
    name = f"worker-{workers}"
    asked = [*_TRAIN, "--workers", str(workers)]
    command = Command(*invocation(work, "train", name, *asked), cwd=work)
    command.until("seed 0 running")
    found = [p for p in command.family() if process in " ".join(p.cmdline())]
    assert found
    found[0].kill()
    assert command.end() == 0, command.text
    assert "died" in command.until("note: the worker of run")
    if workers == 1:
        assert_frame_equal(table(work / name), table(work / "trained"))
        return
    two, alone = (table(work / store).row(0, named=True) for store in (name, "trained"))
    assert two["run_id"] == alone["run_id"]
    assert two["workers"] == 2
    assert two["mean_confidence"] == pytest.approx(alone["mean_confidence"], abs=0.02)


@pytest.mark.fault(26)
def test_two_commands_on_one_store_share_the_work(work: Path, trained: Command) -> None:
    """P1: both finish, nothing is lost or computed twice."""
    asked = invocation(work, "train", "shared", *_TRAIN)
    both = [Command(*asked, cwd=work) for _ in range(2)]
    assert [c.end() for c in both] == [0, 0], "\n".join(c.text for c in both)
    assert_frame_equal(table(work / "shared"), table(work / "trained"))
    assert results.stages(str(work / "shared")).collect().height == 1


def test_a_run_that_diverges_is_a_row_with_a_reason(work: Path) -> None:
    """P4: exit 3; the others are done; the same command repeats nothing; --retry failed does."""
    wild = ("--set", "head_lr=1e30", "--set", "encoder_lr=1e30")
    asked = invocation(work, "train", "wild", *wild)
    command = run(work, *asked)
    assert command.process.returncode == 3, command.text
    frame = results.runs(str(work / "wild")).collect()
    assert frame["status"].to_list() == ["failed"]
    assert frame["reason"][0]
    assert frame["acc"].to_list() == [None]
    again = run(work, *asked)
    assert again.process.returncode == 3
    assert "--retry failed" in again.text
    assert_frame_equal(results.runs(str(work / "wild")).collect(), frame)
    retried = run(work, *asked, "--retry", "failed")
    assert retried.process.returncode == 3
    assert results.runs(str(work / "wild")).collect()["ended"][0] > frame["ended"][0]


@pytest.mark.fault(15)
def test_a_run_that_takes_too_long_is_a_failure(work: Path) -> None:
    """P4: exit 3, told as what it is: of the run, or of its pretraining on a busy machine."""
    asked = invocation(work, "train", "slow", "--set", "epochs=4000", "--run-limit", 0.05)
    command = run(work, *asked)
    assert command.process.returncode == 3, command.text
    assert "seed 0 failed" in command.text
    (reason,) = Store.open(work / "slow").failures().values()
    assert reason.endswith("it took longer than 0.05 minutes, the limit of each run")


@pytest.mark.fault(16)
def test_a_store_that_fills_up_ends_the_command_and_loses_nothing(work: Path) -> None:
    """P2, P4: exit 4 with a sentence; with room again the same command goes on."""
    asked = invocation(work, "train", "full", *_TRAIN)
    command = Command(*asked, cwd=work)
    command.until("pretraining")
    command.until("done")
    models = work / "full" / "models"  # a file in place of the folder: nothing can be written
    models.write_text("in the way")
    assert command.end() == 4, command.text
    assert "error:" in command.text
    models.unlink()
    again = run(work, *asked)
    assert again.process.returncode == 0, again.text


def test_a_trained_run_clusters_new_images(work: Path, trained: Command) -> None:
    images(work / "neue Bilder", labelled=False, count=4)
    (work / "neue Bilder" / "leer").mkdir()  # would be refused as a class
    (work / "neue Bilder" / "x.heic").write_bytes(b"0")
    id = table(work / "trained")["run_id"][0]
    given = ("--store", work / "trained", "--data", work / "data")
    command = run(work, "predict", id[:8], "--images", "neue Bilder", *given, "--output", "out.csv")
    assert command.process.returncode == 0, command.text
    assert "note: 1 files are left out" in command.text
    frame = pl.read_csv(work / "out.csv")
    assert frame.height == 12
    assert frame["confidence"].is_between(1 / 3, 1).all()
    same = run(
        work, "predict", id[:8], "--images", "bunte Bilder", *given, "--output", "same.parquet"
    )
    assert same.process.returncode == 0, same.text
    known = results.predictions(str(work / "trained")).filter(pl.col("run_id") == id).collect()
    mine = pl.read_parquet(work / "same.parquet")
    joined = mine.join(known.select("path", pl.col("cluster").alias("before")), on="path")
    assert joined.height == 48
    assert (joined["cluster"] == joined["before"]).all()


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
        asked = invocation(work, "train", "cluster", *_TRAIN, "--address", f"127.0.0.1:{port}")
        while not _answers(port):
            assert head.poll() is None
            time.sleep(0.1)
        command = run(work, *asked)
        assert command.process.returncode == 0, command.text
        assert head.poll() is None
        assert (work / "cluster" / "data").is_dir() or (work / "data").is_dir()
        assert_frame_equal(table(work / "cluster"), table(work / "trained"))
    finally:
        family = psutil.Process(head.pid).children(recursive=True)
        head.kill()
        head.wait(30)
        for process in family:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()


@pytest.mark.fault(65)
def test_an_address_that_does_not_answer_is_told_soon(work: Path) -> None:
    begun = time.monotonic()
    command = run(
        work, *invocation(work, "train", "nowhere", "--address", f"127.0.0.1:{_free_port()}")
    )
    assert command.process.returncode == 5, command.text
    assert "does not answer" in command.text
    assert time.monotonic() - begun < 60 * patience()


def _answers(port: int) -> bool:
    with socket.socket() as asking:
        return asking.connect_ex(("127.0.0.1", port)) == 0


def _free_port() -> int:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        return int(held.getsockname()[1])
