"""Commands that list what there is."""

import pytest
from click.testing import CliRunner

from deep_clustering.platform.cli import cli
from deep_clustering.platform.errors import InputError
from deep_clustering.platform.start import main
from deep_clustering.platform.store import schema


def said(*arguments: str) -> str:
    result = CliRunner().invoke(cli, arguments, catch_exceptions=False, env={"COLUMNS": "200"})
    return " ".join(result.output.split())


def test_every_column_is_listed_with_its_meaning() -> None:
    text = said("columns")
    for table, columns in schema.KINDS.items():
        assert f" {table} column type" in f" {text}"
        for name, column in columns.items():
            assert f"{name} {schema.polars_type(column.type)} {column.meaning}" in text


def test_one_table_alone() -> None:
    text = said("columns", "predictions")
    assert text.startswith("predictions column type what it is run_id String the run sample Int64")
    assert "seconds" not in text


def test_a_method_without_variants_says_so() -> None:
    assert said("variants", "finch") == "finch has no variants"


def test_an_unknown_table_is_one_sentence() -> None:
    with pytest.raises(InputError, match=r"table: must be one of runs, .*Did you mean 'epochs'"):
        said("columns", "epoch")


def test_an_empty_argument_is_no_default(capsys: pytest.CaptureFixture[str]) -> None:
    """`--store "$STORE"` with a variable that is not set wrote into ./store."""
    for given in (["results", "--store", ""], ["results", "", "--limit", "3"]):
        with pytest.raises(SystemExit) as ended:
            main(given)
        assert ended.value.code == 2
    told = capsys.readouterr().err
    assert "Error: --store is empty; is a variable not set?" in told
    assert "Error: an argument is empty" in told


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        (
            "train cdc --epochs 5",
            "Fields of cdc are set by --set FIELD=VALUE. Did you mean 'epochs",
        ),
        ("train kmeans --cluster 3", "Did you mean 'clusters'?"),
        ("tune cdc --trial 3", "No such option '--trial'. Did you mean '--trials'?"),
        ("results --foo", "No such option '--foo'.\n"),
        ("train cdc --dataset=", "--dataset is empty; is a variable not set?"),
    ],
)
def test_a_field_given_as_an_option_is_known(
    given: str, sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(given.split())
    assert ended.value.code == 2
    assert sentence in capsys.readouterr().err
