"""Checkpoints: two are kept, the one before a damaged one is used, none outlives its job."""

import contextlib
import json
import warnings
from pathlib import Path

import pytest
import torch

from deep_clustering.platform.errors import StorageError
from deep_clustering.platform.run import checkpoints as module
from deep_clustering.platform.run.checkpoints import (
    CheckpointDamage,
    Checkpoints,
    EpochRow,
    History,
)
from deep_clustering.platform.store.store import Store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(tmp_path / "store")


def state(epoch: int) -> dict[str, torch.Tensor]:
    """Tensors of several types; one of them is not contiguous, one has no dimension."""
    return {
        "weight": torch.arange(6.0).view(2, 3).t() + epoch,
        "count": torch.tensor(epoch),
        "half": torch.full((2,), epoch, dtype=torch.bfloat16),
    }


def history(epoch: int) -> History:
    rows = tuple(
        EpochRow(epoch=e, seconds=2.5 * e, values={"loss": 1 / (e + 1), "acc": None})
        for e in range(epoch + 1)
    )
    return History(rows=rows, seconds=2.5 * epoch, started="2026-01-02T03:04:05+00:00")


def saved(store: Store, *epochs: int, job: str = "job") -> Checkpoints:
    with Checkpoints(store, job) as checkpoints:
        for epoch in epochs:
            checkpoints.save(epoch, state(epoch), history(epoch))
    return checkpoints


def path(store: Store, epoch: int, suffix: str, job: str = "job") -> Path:
    assert store.local is not None
    return store.local / f"checkpoints/{job}/{epoch:06d}.{suffix}"


def assert_loaded(store: Store, epoch: int) -> None:
    """The checkpoint that is loaded is that of this epoch, to the bit."""
    found = Checkpoints(store, "job").load()
    assert found is not None
    assert found.epoch == epoch
    assert found.history == history(epoch)
    assert found.state.keys() == state(epoch).keys()
    for name, value in state(epoch).items():
        assert found.state[name].dtype == value.dtype
        assert torch.equal(found.state[name], value)


def test_without_one_there_is_nothing_to_continue_from(store: Store) -> None:
    assert Checkpoints(store, "job").load() is None


def test_the_newest_comes_back_and_two_are_kept(store: Store) -> None:
    saved(store, 0, 1, 2, 9, 10)
    assert_loaded(store, 10)
    names = {Path(name).name for name in store.list("checkpoints/job")}
    kinds = ("safetensors", "json")
    assert names == {f"{epoch:06d}.{kind}" for epoch in (9, 10) for kind in kinds}


def test_a_state_that_changes_after_the_call_is_saved_as_it_was(store: Store) -> None:
    values = state(3)
    with Checkpoints(store, "job") as checkpoints:
        checkpoints.save(3, values, history(3))
        for value in values.values():
            value.zero_()
    assert_loaded(store, 3)


@pytest.mark.fault(23)
@pytest.mark.parametrize("suffix", ["safetensors", "json"])
@pytest.mark.parametrize("how", ["flipped", "cut", "gone"])
def test_the_one_before_a_damaged_one_is_used(store: Store, suffix: str, how: str) -> None:
    saved(store, 4, 5)
    file = path(store, 5, suffix)
    data = file.read_bytes()
    if how == "gone":
        file.unlink()
    else:
        middle = len(data) // 2
        flipped = data[:middle] + bytes([data[middle] ^ 0xFF]) + data[middle + 1 :]
        file.write_bytes(flipped if how == "flipped" else data[:middle])
    if (suffix, how) == ("json", "gone"):  # it is written last: without it there is no checkpoint
        assert_loaded(store, 4)
    else:
        with pytest.warns(CheckpointDamage, match="of job at epoch 5 is damaged"):
            assert_loaded(store, 4)


def test_all_damaged_is_as_if_there_were_none(store: Store) -> None:
    saved(store, 4, 5)
    for epoch in (4, 5):
        path(store, epoch, "safetensors").write_bytes(b"")
    with pytest.warns(CheckpointDamage) as told:
        assert Checkpoints(store, "job").load() is None
    assert len(told) == 2


@pytest.mark.fault(24)
def test_one_of_another_job_or_format_is_not_taken(store: Store) -> None:
    saved(store, 1, job="other")
    (path(store, 1, "json").parent).mkdir(parents=True)
    for suffix in ("json", "safetensors"):
        path(store, 1, suffix).write_bytes(path(store, 1, suffix, "other").read_bytes())
    with pytest.warns(CheckpointDamage, match="it belongs to other"):
        assert Checkpoints(store, "job").load() is None
    saved(store, 1)
    manifest = json.loads(path(store, 1, "json").read_text())
    path(store, 1, "json").write_text(json.dumps({**manifest, "format": 99}))
    with pytest.warns(CheckpointDamage):
        assert Checkpoints(store, "job").load() is None


def test_jobs_do_not_see_one_another(store: Store) -> None:
    saved(store, 3)
    saved(store, 7, job="job 2")
    assert_loaded(store, 3)
    Checkpoints(store, "job 2").clear()
    assert_loaded(store, 3)


def test_dropping_all_but_the_last_and_all(store: Store) -> None:
    checkpoints = saved(store, 1, 2)
    checkpoints.keep_last()
    assert_loaded(store, 2)
    assert len(store.list("checkpoints/job")) == 2
    checkpoints.clear()
    assert store.list("checkpoints") == []
    assert Checkpoints(store, "job").load() is None


def test_what_cannot_be_written_is_told_by_the_next_call(store: Store) -> None:
    assert store.local is not None
    (store.local / "checkpoints").write_text("in the way")
    told = "checkpoints/job/000000.safetensors was not saved"
    with pytest.raises(StorageError, match=told):
        saved(store, 0, 1)
    with pytest.raises(StorageError, match=told):
        saved(store, 0)  # there is no next call: the end of the block tells


def test_an_error_of_the_job_is_not_hidden_by_one_of_its_checkpoint(store: Store) -> None:
    assert store.local is not None
    (store.local / "checkpoints").write_text("in the way")

    def diverges() -> None:
        with Checkpoints(store, "job") as checkpoints:
            checkpoints.save(0, state(0), history(0))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        diverges()


def test_reading_warns_of_nothing_when_all_is_well(store: Store) -> None:
    saved(store, 1, 2, 3)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert_loaded(store, 3)


@pytest.mark.parametrize("epoch", [0, 3])
def test_a_history_survives_json(epoch: int) -> None:
    plain = json.loads(json.dumps(history(epoch).as_json()))
    assert History.from_json(plain) == history(epoch)


@pytest.mark.parametrize("change", [{"rows": None}, {"seconds": "1"}, {"started": 3}])
def test_a_history_of_another_form_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(TypeError):
        History.from_json({**history(1).as_json(), **change})  # type: ignore[dict-item]


@pytest.mark.parametrize("ended", [False, True])
def test_a_kept_state_is_written_in_time_or_when_an_error_ends_the_work(
    store: Store, monkeypatch: pytest.MonkeyPatch, ended: bool
) -> None:
    monkeypatch.setattr(module, "_WORK", 1e9)  # what the first costs says that it is a minute

    def work() -> None:
        with Checkpoints(store, "job") as checkpoints:
            for epoch in range(3):
                made = state(epoch)
                checkpoints.keep(epoch, made, history(epoch))
                made["weight"].zero_()  # the training goes on with its tensors
            if ended:
                raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError) if ended else contextlib.nullcontext():
        work()
    assert path(store, 0, "json").exists()
    assert not path(store, 1, "json").exists()
    assert_loaded(store, 2 if ended else 0)


@pytest.mark.parametrize(("longest", "work"), [(0.0, 1e9), (60.0, 0.0)])
def test_a_state_is_written_where_that_is_due_or_costs_little(
    store: Store, monkeypatch: pytest.MonkeyPatch, longest: float, work: float
) -> None:
    monkeypatch.setattr(module, "_WORK", work)
    with Checkpoints(store, "job", longest) as checkpoints:
        for epoch in range(3):
            checkpoints.keep(epoch, state(epoch), history(epoch))
    assert_loaded(store, 2)
    assert path(store, 1, "json").exists()
