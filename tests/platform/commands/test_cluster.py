"""`platform cluster` as its user has it: a plan, the command, and the same with another number."""

import csv
import json
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from deep_clustering.platform.start import main
from deep_clustering.platform.store.store import Store
from support import command
from support.small import images

pytestmark = pytest.mark.usefixtures("tidy")


def here(*words: object) -> int:
    """The exit code of a command that starts no Ray, in this process."""
    with pytest.raises(SystemExit) as end:
        main([str(word) for word in words])
    assert isinstance(end.value.code, int)
    return end.value.code


@pytest.mark.ray
def test_a_folder_becomes_clusters_and_another_number_starts_from_its_features(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    photos = images(tmp_path / "photos", labelled=False, count=8)
    asked = ["cluster", photos, "--encoder", "efficientnet-lite0@32", "--data", tmp_path / "data"]
    assert here(*asked, "--clusters", 3, "--dry-run") == 0
    told = capfd.readouterr().out
    assert "in the store: 0 of 1 runs; to do: 1 pass of the encoder, 1 run" in told
    longer = shlex.split(next(line for line in told.splitlines() if "train consensus" in line))[1:]
    assert here(*longer, "--dry-run") == 0
    assert "would run: 1 pass of the encoder, 1 run" in capfd.readouterr().out
    assert not Path("photos-clusters").exists()

    first = command.run(tmp_path, *asked, "--sort-into", "sorted")
    assert first.end() == 0, first.text
    assert "and the same with clusters=3 to 4" in first.text
    assert "chosen" in first.text
    assert "pictures are doubtful" in first.text
    with open("photos-clusters/clusters.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert sorted(row["path"] for row in rows) == sorted(p.name for p in photos.iterdir())
    links = [p for p in Path("sorted").rglob("*.png") if p.is_symlink()]
    assert sorted(p.name for p in links) == sorted(row["path"] for row in rows)
    made = Path("sorted").stat().st_mtime_ns
    assert here(*asked, "--sort-into", "sorted") == 0  # the same again: all is there
    assert "pictures sorted (links)" in capfd.readouterr().out
    assert Path("sorted").stat().st_mtime_ns == made
    assert here(*asked, "--clusters", 4, "--sort-into", "sorted") == 2
    assert "is there already and is not an empty folder" in capfd.readouterr().err
    text = Path("photos-clusters/report.html").read_text("utf-8")
    assert "Number of clusters" in text
    assert "Stability by number of clusters." in text
    assert "Clusters in pictures" in text
    assert len(Store.open("store").finished()) == 3
    predict = next(line for line in first.text.splitlines() if "platform predict" in line)
    words = shlex.split(predict.replace("FOLDER", str(photos)))
    assert here(*words[words.index("predict") :], "--data", tmp_path / "data") == 0
    assert Path("more.html").exists()
    # What the longer command stands for has been done.
    assert here(*longer, "--dry-run") == 0
    assert "in the store: 1 of 1 runs" in capfd.readouterr().out

    program = [sys.executable, "-P", "-m", "deep_clustering.platform.start"]
    words = [*program, *map(str, asked), "--clusters", "5", "--table", "json", "--json"]
    second = subprocess.run(words, capture_output=True, text=True, check=True)
    assert "in the store: 0 of 1 runs; to do: 1 run" in second.stderr
    found = json.loads(second.stdout)
    assert len(found["runs"]) == 1
    assert found["runs"][0]["status"] == "ok"
    assert len(found["tables"]["clusters"]) == len(rows)
    assert found["to_do"] == []
    assert found["files"] == ["photos-clusters/report.html", "photos-clusters/clusters.json"]
    table = json.loads(Path("photos-clusters/clusters.json").read_text("utf-8"))
    assert {row["path"] for row in table} == {row["path"] for row in rows}
    assert max(row["cluster"] for row in table) == 4
    assert len(Store.open("store").finished()) == 4


def test_a_folder_that_has_something_stops_the_command_before_any_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    photos = images(tmp_path / "photos", labelled=False, count=6)
    assert here("cluster", photos, "--data", tmp_path / "data", "--sort-into", tmp_path) == 2
    assert "is there already and is not an empty folder" in capfd.readouterr().err
    assert here("cluster", "digist") == 2
    assert "no folder and no dataset 'digist'. Did you mean 'digits'?" in capfd.readouterr().err
    assert here("cluster", "photoss") == 2
    assert "There is no folder 'photoss'" in capfd.readouterr().err
    (tmp_path / "file").touch()
    assert here("cluster", photos, "--data", tmp_path / "data", "--output", "file/below") == 2
    assert "file/below is not a folder, and cannot be made" in capfd.readouterr().err
    assert not Path("photos-clusters").exists()


@pytest.mark.parametrize(
    ("count", "words", "told"),
    [
        (3, (), "3 pictures are too few"),
        (3, ("--clusters", 2), "there must be at least 4"),
        (8, ("--clusters", 5), "--clusters: 8 pictures have at most 4 clusters"),
        (8, ("--clusters", 9), "--clusters: 8 pictures have at most 4 clusters"),
        (5, (), "say --clusters 2."),
        (8, (), "say --clusters N, with N from 2 to 4"),
    ],
)
def test_too_few_pictures_stop_the_command_before_any_work(
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    count: int,
    words: tuple[object, ...],
    told: str,
) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    for number in range(count):
        Image.new("RGB", (8, 8), (number, 0, 0)).save(photos / f"{number}.png")
    store, data = tmp_path / "store", tmp_path / "data"
    assert here("cluster", photos, "--data", data, "--store", store, *words) == 2
    assert told in capfd.readouterr().err
