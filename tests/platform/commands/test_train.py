"""What `platform train` says at its end."""

import io
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from deep_clustering.platform.commands import _say as say
from deep_clustering.platform.commands.train import _table
from deep_clustering.platform.data.dataset import Source
from deep_clustering.platform.request.jobs import RUN, Job
from deep_clustering.platform.start import main
from support.pictures import noise
from support.small import resolved


def test_a_reason_is_shown_as_it_is_written() -> None:
    """Brackets in a failure's text are no markup."""
    job = Job(
        id="r",
        kind=RUN,
        method="cdc",
        version=1,
        config={},
        seed=0,
        dataset="",
        protocol="all",
        source=Source("digits", Path()),
    )
    reasons = {"r": "ValueError: [/red] is no size [3, 4]", "s": "shape [bold]"}
    console = Console(file=io.StringIO(), width=120)
    console.print(_table(("acc",), (job, replace(job, id="s", seed=1)), {}, reasons))
    shown = console.file.getvalue()
    assert all(reason in shown for reason in reasons.values())


@pytest.mark.ray
def test_users_names_are_shown_as_they_are_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Folders and stores may be called [red] or data[1]: neither markup nor a pattern."""
    monkeypatch.setenv("COLUMNS", "300")
    for number in range(4):
        noise(tmp_path / "[red]a*[1]" / f"{number}.png", number)
        noise(tmp_path / "[red]a*1" / f"{number}.png", 9)
    asked = ["train", "kmeans", "--dataset", f"folder:{tmp_path}/[red]a*[1]", "--set", "clusters=2"]
    with pytest.raises(SystemExit) as ended:
        main([*asked, "--dry-run", "--store", str(tmp_path / "s"), "--data", str(tmp_path / "d")])
    assert ended.value.code == 0
    told = capsys.readouterr()
    assert f"kmeans on folder:{tmp_path}/[red]a*[1], 1 run" in told.out
    assert "repeat an earlier one" not in told.err  # as the other folder's images do
    with pytest.raises(SystemExit):
        main(["doctor", "--store", f"{tmp_path}/[red]store", "--data", f"{tmp_path}/[red]data"])
    told = capsys.readouterr()
    assert f"there is no store at {tmp_path}/[red]store" in told.out
    assert f"{tmp_path}/[red]data, " in told.out


def test_confidences_of_a_fit_are_judged_where_it_gives_them(tmp_path: Path) -> None:
    asked = resolved("consensus", "digits", root=tmp_path)
    assert "ece" not in say.shown(asked)
    assert "ece" not in say.shown(asked, [{"acc": 0.8, "mean_confidence": None}])
    assert "ece" in say.shown(asked, [{}, {"acc": 0.8, "ece": 0.1, "mean_confidence": 0.7}])
