"""Which signals end a command, and when."""

import signal
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
    interruption.no_more()
    signal.raise_signal(number)


def test_a_terminal_may_close_under_nohup() -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    interruption.at_once()
    interruption.by_exception()
    signal.raise_signal(signal.SIGHUP)
    assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGTERM)
