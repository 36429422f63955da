"""The README says what is so."""

import re
from pathlib import Path

import click

from deep_clustering.platform.cli import cli
from deep_clustering.platform.suites import suites

README = (Path(__file__).parents[3] / "README.md").read_text()


def test_every_command_and_option_it_names_exists() -> None:
    commands = cli.commands.values()
    known = {o for c in commands for p in c.get_params(click.Context(c)) for o in p.opts}
    text = re.sub(r"`python tests/benchmarks[^`]*`", "", README)  # a program of its own
    for word in text.replace("`", " ").replace(",", " ").split():
        if word.startswith("--") and word != "---":
            assert word.rstrip(".;:)") in known, word
    for command in cli.commands:
        assert command in README


def test_the_suite_that_it_shows_is_one(tmp_path: Path) -> None:
    block = README.split("    method = ", 1)[1].split("\n\n", 1)[0]
    path = tmp_path / "mine.toml"
    path.write_text("method = " + re.sub(r"(?m)^    ", "", block))
    suite = suites.find(str(path))
    assert [row.name for row in suite.rows][1] == "small batches"
    assert suite.claims


def test_the_two_lines_are_there() -> None:
    assert "    pip install -e . && platform tune cdc --dataset digits\n" in README
    assert "    pip install -e '.[test]' && pytest\n" in README
