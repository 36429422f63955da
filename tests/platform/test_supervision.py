"""How the process above a command's own ends, and what it hands on."""

import signal
import subprocess
import sys
import time

import psutil
import pytest

from deep_clustering.platform.errors import RAY_DIED

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="there is one process elsewhere")

_BELOW = """
import os, signal, sys, time
from deep_clustering.platform import supervision
supervision.below(lambda text: os.write(2, text.encode()))
"""


def _started(code: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", _BELOW + code],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize(
    ("code", "ends", "says"),
    [
        ("os._exit(1)", 5, f"error: {RAY_DIED}"),  # as Ray does
        ("os.fork() or time.sleep(1); os._exit(1)", 5, f"error: {RAY_DIED}"),
        ("sys.exit(1)", 1, ""),
        ("sys.exit(3)", 3, ""),
        ("os._exit(130)", 130, ""),
        ("os.kill(os.getpid(), signal.SIGKILL)", -signal.SIGKILL, ""),
        ("os.kill(os.getpid(), signal.SIGTERM)", -signal.SIGTERM, ""),
    ],
)
def test_it_ends_as_the_process_below(code: str, ends: int, says: str) -> None:
    process = _started(code)
    assert process.communicate()[1] == says
    assert process.returncode == ends


def test_an_error_of_python_stays_one() -> None:
    process = _started("raise RuntimeError('nobody has thought of it')")
    said = process.communicate()[1]
    assert process.returncode == 1
    assert "nobody has thought of it" in said
    assert RAY_DIED not in said


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_signals_are_handed_on(number: signal.Signals) -> None:
    answer = f"signal.signal({int(number)}, lambda *_: os._exit(7)); print(1, flush=True)"
    process = _started(f"{answer}; time.sleep(60)")
    assert process.stdout is not None
    process.stdout.readline()
    process.send_signal(number)
    process.communicate()
    assert process.returncode == 7


def test_the_process_below_ends_with_it() -> None:
    process = _started("print(os.getpid(), flush=True); time.sleep(60)")
    assert process.stdout is not None
    below = psutil.Process(int(process.stdout.readline()))
    process.kill()
    process.wait()
    end = time.monotonic() + 10
    while below.is_running() and below.status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < end
        time.sleep(0.01)
    process.communicate()
