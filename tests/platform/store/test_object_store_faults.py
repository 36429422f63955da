"""An object store behind a network that loses replies, repeats, tears and answers with errors.

Promises: of several writers one commits, a lost reply is neither a loss nor a conflict, nothing
half-written counts, and a server without conditional writes is refused.

    THOROUGH=1 pytest tests/platform/store/test_object_store_faults.py

does 1,000 rounds of each instead of some dozens.
"""

import os
import warnings
from concurrent.futures import ThreadPoolExecutor

import pytest

from deep_clustering.platform.errors import StorageError
from deep_clustering.platform.store import _remote
from deep_clustering.platform.store._backends import connect
from deep_clustering.platform.store.store import Store, StoreDamage
from support.s3_proxy import Fault
from support.store_rows import commit, whole

ROUNDS = 1000 if os.environ.get("THOROUGH") else 12
WRITERS = 4


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_remote, "_PAUSE", 0.002)


def _race(address: str, round: int) -> tuple[list[bytes], int]:
    """The contents that writers of one name were told they had committed.

    And how many writers gave up: every one of their tries failed, and nothing was acknowledged.
    """
    given_up = []
    writers = [connect(address).files for _ in range(WRITERS)]

    def write(number: int) -> bytes | None:
        data = f"round {round} by {number} ".encode() * 20
        try:
            writers[number].write(f"rounds/{round}", data, exclusive=True)
        except FileExistsError:
            return None
        except OSError as error:
            given_up.append(error)
            return None
        return data

    with ThreadPoolExecutor(WRITERS) as pool:
        won = [data for data in pool.map(write, range(WRITERS)) if data is not None]
    return won, len(given_up)


@pytest.mark.ray
@pytest.mark.fault(28)
def test_of_several_writers_one_commits_whatever_happens_to_their_requests(through) -> None:
    proxy, behind = through("lost", "late", "refused", "conflict", "slow")
    for round in range(ROUNDS):
        won, given_up = _race(behind, round)
        assert len(won) == 1 or (not won and given_up)
        if won:
            assert connect(behind).files.read(f"rounds/{round}") == won[0]
    assert proxy.met.total() - proxy.met["none"] > ROUNDS / 2  # each kind by chance, among threads


@pytest.mark.ray
@pytest.mark.parametrize("fault", ["lost", "late"])
def test_a_lost_reply_is_no_conflict(through, fault: Fault) -> None:
    """The second request of the same write meets the first one's object and knows it."""
    proxy, behind = through(
        fault, share=0.2
    )  # eight in a row, after which a writer gives up: never
    files = connect(behind).files
    for number in range(ROUNDS):
        files.write(f"alone/{number}", b"mine", exclusive=True)
        with pytest.raises(FileExistsError):  # another write of the same bytes is another write
            files.write(f"alone/{number}", b"mine", exclusive=True)
    assert proxy.met[fault] > ROUNDS / 10


@pytest.mark.ray
def test_runs_are_committed_once_and_whole(through) -> None:
    """Two commands on the same runs; each body may also be torn on its way."""
    proxy, behind = through("lost", "late", "conflict", "torn", share=0.1)
    rounds = max(ROUNDS // 6, 8)
    stores = [Store.open(behind) for _ in range(2)]

    def work(round: int, number: int) -> bool | None:
        try:
            return commit(stores[number], f"run-{round}", (number + 1) / 8)
        except StorageError:
            return None  # not acknowledged

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", StoreDamage)  # what was torn is told and done again
        with ThreadPoolExecutor(2) as pool:
            for round in range(rounds):
                told = list(pool.map(work, [round] * 2, range(2)))
                assert told.count(True) <= 1, (round, told)
                assert True in told or None in told
                if True in told:
                    seen = Store.open(behind, create=False)
                    assert whole(seen, f"run-{round}") == (told.index(True) + 1) / 8
                    assert len([p for p in seen.list("runs") if f"run-{round}." in p]) == 1
        assert Store.open(behind, create=False).verify() == []
    assert proxy.met["lost"] > 0


def test_a_server_that_ignores_conditions_is_refused(through) -> None:
    _, behind = through("blind", share=1.0)
    with pytest.raises(StorageError, match="ignores conditional writes"):
        Store.open(behind)


def test_a_server_that_is_down_is_told_in_one_sentence(
    through, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, behind = through("refused", share=1.0)
    with pytest.raises(StorageError, match=r"cannot write in s3://results/.*500") as told:
        Store.open(behind)
    assert "\n" not in str(told.value)
    gone = behind.replace(
        behind.partition("endpoint_override=")[2].partition("&")[0], "127.0.0.1:9"
    )
    with pytest.raises(StorageError, match=r"cannot write in s3://results/.*HTTP error"):
        Store.open(gone)
