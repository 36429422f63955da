"""Which signals end a command, and when."""

import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

from deep_clustering.platform import interruption

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@pytest.fixture(autouse=True)
def usual() -> Iterator[None]:
    """Each handler as a program has it that is not started by nohup; then as it was."""
    before = {number: signal.getsignal(number) for number in SIGNALS}
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", SIGNALS)
def test_each_is_a_ctrl_c_until_the_command_ends(number: signal.Signals) -> None:
    interruption.by_exception()
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(number)
    for again in SIGNALS:  # at the same moment: the group of the process was told as well
        signal.raise_signal(again)
    interruption.no_more()
    signal.raise_signal(number)


_TWICE = """
import os, signal, time
from deep_clustering.platform import interruption
interruption.by_exception()
try:
    os.kill(os.getpid(), signal.SIGTERM)
except KeyboardInterrupt:
    while True:  # whatever it is that does not end
        time.sleep(0.1)
        os.kill(os.getpid(), signal.SIGINT)
"""


def test_a_second_one_after_a_while_ends_at_once() -> None:
    done = subprocess.run([sys.executable, "-c", _TWICE], capture_output=True, text=True, timeout=9)
    assert done.returncode == 130
    assert done.stderr.startswith("\ninterrupted\ncontinue with: platform")


def test_a_terminal_may_close_under_nohup() -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    interruption.at_once()
    interruption.by_exception()
    signal.raise_signal(signal.SIGHUP)
    assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGTERM)
