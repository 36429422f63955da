"""`--json`: one object with the same keys on the standard output, and nothing else there."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from deep_clustering.platform.cli import cli
from deep_clustering.platform.start import main
from support.small import images

KEYS = [
    *("version", "command", "exit_code", "error", "store", "runs", "to_do", "tables", "files"),
]


@pytest.fixture
def said(capfd: pytest.CaptureFixture[str]) -> Any:
    """What a command says, as a program reads it."""

    def asked(*words: object) -> dict[str, Any]:
        with pytest.raises(SystemExit) as end:
            main([*map(str, words), "--json"])
        found: dict[str, Any] = json.loads(capfd.readouterr().out)
        assert list(found) == KEYS
        assert found["version"] == 1
        assert found["command"] == words[0]
        assert found["exit_code"] == end.value.code
        return found

    return asked


def test_every_command_that_prints_results_has_it_and_the_page_names_every_key() -> None:
    having = {
        name
        for name, command in cli.commands.items()
        if any(option.name == "as_json" for option in command.params)
    }
    assert having == {
        *("cluster", "train", "tune", "ablate", "evaluate", "predict", "results", "verify"),
    }
    page = (Path(__file__).parents[3] / "AGENTS.md").read_text()
    assert set(re.findall(r"`(\w+)`", page)) >= set(KEYS)


@pytest.mark.ray
def test_a_dry_run_says_what_is_to_be_done(said: Any, tmp_path: Path) -> None:
    folder = images(tmp_path / "photos", count=4)
    where = ["--store", tmp_path / "store", "--data", tmp_path / "data"]
    asked = ["train", "kmeans", "--dataset", f"folder:{folder}", *where]
    found = said(*asked, "--seeds", 2, "--dry-run")
    assert found["exit_code"] == 0
    assert found["runs"] == []
    assert len(found["to_do"]) == 2
    assert found["store"] == str(tmp_path / "store")


def test_a_mistake_is_a_sentence_with_its_exit_code(said: Any, tmp_path: Path) -> None:
    found = said("train", "cdcc", "--dataset", "digits", "--store", tmp_path / "store", "--dry-run")
    assert found["exit_code"] == 2
    assert "Did you mean 'cdc'?" in found["error"]


def test_an_empty_store_has_no_rows_and_no_problems(said: Any, tmp_path: Path) -> None:
    from deep_clustering.platform.store.store import Store

    Store.open(tmp_path / "store")
    assert said("results", "--store", tmp_path / "store")["tables"] == {"rows": []}
    assert said("verify", "--store", tmp_path / "store")["tables"] == {"problems": []}
