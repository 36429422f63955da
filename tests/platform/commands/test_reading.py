"""Commands that only read leave a store as it is, also what another command has left in it."""

from pathlib import Path

import pytest

from deep_clustering.platform import _disk
from deep_clustering.platform.start import main
from deep_clustering.platform.store.store import Store
from support.store_rows import commit

_DRY = ("train", "kmeans", "--dataset", "digits", "--dry-run")


@pytest.mark.parametrize("asked", [("results",), _DRY])
def test_what_a_dead_process_left_is_not_theirs_to_remove(
    asked: tuple[str, ...], tmp_path: Path, root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = Store.open(tmp_path / "store")
    commit(store, "a")
    store.seal()
    token = _disk.attempt().split("-")
    dead = "-".join([token[0], token[1], "ffffffff", token[3]])
    (tmp_path / f"store/epochs/a.{dead}.parquet").touch()
    before = sorted(tmp_path.rglob("*"))
    data = ("--data", str(root)) if asked is _DRY else ()
    with pytest.raises(SystemExit) as left:
        main([*asked, "--store", str(tmp_path / "store"), *data])
    assert left.value.code in (None, 0), capsys.readouterr().err
    assert sorted(tmp_path.rglob("*")) == before
