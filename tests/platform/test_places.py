"""Paths as a user gives them, and places where a command cannot be given."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from deep_clustering.platform import places
from deep_clustering.platform.data import dataset
from deep_clustering.platform.errors import EnvironmentProblem, InputError
from deep_clustering.platform.places import absolute
from deep_clustering.platform.run import session


def test_paths_are_made_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/somewhere")
    (tmp_path / "link").symlink_to("/")
    assert absolute("~/a b") == Path("/somewhere/a b")
    assert absolute("x/../link") == tmp_path / "link"
    assert absolute(Path("[1]*")) == tmp_path / "[1]*"


def test_a_home_that_is_not_known_is_told() -> None:
    with pytest.raises(InputError, match="that home folder is not known"):
        absolute("~nobody-of-that-name/x")


def test_without_a_home_the_data_directory_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a container, for a user id without a name."""
    monkeypatch.setattr(dataset, "HOMELESS", True)
    monkeypatch.delenv(dataset.DATA_VARIABLE, raising=False)
    with pytest.raises(InputError, match="say with --data or DEEP_CLUSTERING_DATA where"):
        dataset.default_root()
    monkeypatch.setattr(places, "HOMELESS", True)
    monkeypatch.delenv("HOME")
    places.settle_home()  # which Ray needs
    assert os.path.isdir(os.environ["HOME"])


def test_a_current_folder_that_was_deleted_is_told_in_a_line(tmp_path: Path) -> None:
    """torch itself ends the process when it is imported there."""
    gone = tmp_path / "gone"
    gone.mkdir()
    code = (
        "import os, sys; os.rmdir(os.getcwd());"
        "from deep_clustering.platform.start import main; main(['methods'])"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", code], cwd=gone, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert done.stderr == (
        "error: the current folder has been deleted; change to one that is there.\n"
    )


def test_a_temporary_folder_that_cannot_be_written_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """/tmp is taken where it can be written, else TMPDIR says where."""
    monkeypatch.setattr(session, "_SHORT", str(tmp_path / "missing"))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert Path(session._scratch()).parent == tmp_path
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "missing"))
    with pytest.raises(EnvironmentProblem, match="no temporary folder can be written"):
        session._scratch()
