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
        *("report", "audit", "suites", "variants", "methods", "datasets", "spaces", "columns"),
        "doctor",
    }
    assert cli.commands.keys() - having == {"completion"}
    page = (Path(__file__).parents[3] / "AGENTS.md").read_text()
    assert set(re.findall(r"`(\w+)`", page)) >= set(KEYS)


@pytest.mark.parametrize(
    ("words", "tables"),
    [
        ("methods", {"methods": {"method": "cdc"}}),
        (
            "methods cdc",
            {
                "fields": {"field": "mini_clusters", "default": 500, "type": "whole number"},
                "presets": {"dataset": "cifar20"},
                "differences": {"field": "views", "release": "nothing"},
            },
        ),
        ("variants", {"variants": {"method": "byol", "variants": []}}),
        ("variants cdc", {"variants": {"variant": "single-head", "changes": {"heads": "single"}}}),
        ("spaces", {"spaces": {"method": "kmeans"}}),
        (
            "spaces cdc",
            {
                "fields": {"field": "encoder_lr"},
                "objectives": {"name": "silhouette", "better": "max", "labels": "label-free"},
            },
        ),
        ("datasets", {"datasets": {"dataset": "digits", "protocols": ["all"], "status": "ready"}}),
        ("columns runs", {"columns": {"table": "runs", "column": "generalisation"}}),
        ("audit ruc", {"findings": {"kind": "remark"}}),
    ],
)
def test_listings_give_what_they_print(said: Any, words: str, tables: dict[str, Any]) -> None:
    found = said(*words.split())["tables"]
    assert list(found) == list(tables)
    for name, wanted in tables.items():
        assert any(wanted.items() <= row.items() for row in found[name]), name


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
