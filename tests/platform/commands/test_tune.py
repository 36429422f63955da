"""`platform tune` without Ray: what a dry run says of a study, wherever it is kept."""

import shlex
import shutil
from pathlib import Path

import pytest
from optuna.trial import TrialState

from deep_clustering.platform.commands import tune
from deep_clustering.platform.request.options import Tune, command_line
from deep_clustering.platform.search.study import Study
from deep_clustering.platform.start import main
from deep_clustering.platform.store.store import Store


def said(capsys: pytest.CaptureFixture[str], options: Tune) -> str:
    """The output of a command that ends well."""
    program, *words = shlex.split(command_line(options))
    assert program == "platform"
    with pytest.raises(SystemExit) as left:
        main(words)
    told = capsys.readouterr()
    assert not left.value.code, told.err
    return told.out


@pytest.mark.ray
def test_a_dry_run_counts_the_trials_of_a_study_on_an_object_store(
    address: str,
    folder: Path,
    root: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    asked = Tune(
        method="pac",
        dataset=f"folder:{folder}",
        store=address,
        data=root,
        trials=6,
        dry_run=True,
    )
    before = said(capsys, asked)
    assert "in the study: 0 trials" in before
    assert "would run: 6 runs" in before
    name = before.split("study ", 1)[1].split(":")[0]
    store = Store.open(address)
    assert not Study.exists(store, name)  # a dry run leaves none

    study = Study(store, name, tune._settings(asked, tune._objectives(asked), store))
    study.begin(1)
    for number in range(2):
        study.ask(number, {}, ())
        study.tell(number, TrialState.FAIL, reason="no such combination")
    study.close()
    shutil.rmtree(tmp_path / "cache")  # as on another machine
    after = said(capsys, asked)
    assert "in the study: 2 trials" in after
    assert "would run: 4 runs" in after
