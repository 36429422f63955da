"""`platform verify`: what is damaged or lost is named, set aside, and its command is told."""

from pathlib import Path

import pytest
import torch

from deep_clustering.platform.run.checkpoints import Checkpoints, History
from deep_clustering.platform.start import main
from deep_clustering.platform.store.store import Plan, Store
from support.store_rows import commit, epochs, run, stage

_COMMAND = "platform train cdc --dataset digits --seeds 2"


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """A run that stands on a stage, its plan, and a checkpoint of work in progress."""
    monkeypatch.chdir(tmp_path)
    store = Store.open(tmp_path / "store")
    stage(store, "enc")
    store.commit_run(run("on-it", stage_id="enc"), epochs(), None)
    commit(store, "other", 0.25)
    store.write_plan("train", "cdc-digits", Plan.of(["on-it"], _COMMAND))
    store.write_plan("study", "s", Plan.of(["other"], "platform tune cdc --dataset digits"))
    with Checkpoints(store, "half") as checkpoints:
        for epoch in (1, 2):
            checkpoints.save(epoch, {"w": torch.ones(2)}, History(started="2026-01-02"))
    store.seal()
    return store


def _told(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, list[str], str]:
    with pytest.raises(SystemExit) as left:
        main(["verify", *arguments])
    out, err = capsys.readouterr()
    return int(left.value.code or 0), out.splitlines(), err


def _spoil(store: Store, path: str) -> None:
    assert store.local is not None
    data = bytearray((store.local / path).read_bytes())
    data[len(data) // 2] ^= 0xFF
    (store.local / path).write_bytes(bytes(data))


def test_a_whole_store(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    assert _told(capsys) == (0, ["every file is whole"], "")
    assert _told(capsys, "--repair") == (0, ["every file is whole"], "")


def test_every_kind_of_file_is_read(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    store.compact()
    kinds = ("runs", "epochs", "predictions", "probabilities", "models", "artefacts")
    kinds = (*kinds, "plans", "checkpoints", "segments", "seals", "stages")
    for kind in kinds:
        for path in store.list(kind):
            if path.endswith("1.safetensors"):
                continue
            whole = store.read_bytes(path)
            _spoil(store, path)
            code, lines, _ = _told(capsys)
            named = path.replace(".safetensors", ".json") if kind == "checkpoints" else path
            assert code == 4, path
            assert any(line.startswith(f"{named}: ") for line in lines), path
            store.write_bytes(path, whole)
    assert _told(capsys)[0] == 0


def test_a_damaged_stage_is_set_aside_and_its_command_told(
    store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = store.stage_row("enc")["artefact_files"][0]
    _spoil(store, bad)
    code, lines, _ = _told(capsys)
    assert code == 4
    assert lines[0].startswith(f"{bad}: damaged (its checksum does not match), belongs to stages/")
    assert lines[1].endswith("platform verify --repair")
    assert store.list("quarantine") == []
    code, lines, _ = _told(capsys, "--repair")
    assert code == 0
    assert lines[1:] == [
        "1 damaged file; the store is whole again",
        "computed again by:",
        f"  {_COMMAND}",
    ]
    assert len(store.list("quarantine")) == 2
    assert _told(capsys) == (0, ["every file is whole"], "")


def test_a_lost_run_and_a_damaged_checkpoint(
    store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    store.delete("runs/other.ok.parquet")
    _spoil(store, "checkpoints/half/000002.json")
    code, lines, _ = _told(capsys)
    assert code == 4
    assert lines[0] == "runs/other.ok.parquet: missing, although it was here once"
    assert lines[1].startswith("checkpoints/half/000002.json: damaged checkpoint (")
    assert lines[2].startswith("1 damaged file and 1 missing file;")
    code, lines, _ = _told(capsys, "--repair")
    assert code == 0
    assert lines[-1] == "  platform tune cdc --dataset digits"
    assert _told(capsys)[0] == 0
    found = Checkpoints(store, "half").load()
    assert found is not None
    assert found.epoch == 1


def test_a_place_without_a_store(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    code, lines, error = _told(capsys, "--store", "nowhere")
    assert (code, lines) == (2, [])
    assert "there is no store at" in error
    assert list(tmp_path.iterdir()) == []
