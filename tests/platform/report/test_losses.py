"""A report says what was once in its store and is not any more."""

import html
from pathlib import Path

import pytest

from deep_clustering.platform.errors import InputError
from deep_clustering.platform.report import report
from deep_clustering.platform.store.store import Plan, Store, StoreDamage
from support.store_rows import commit, run, stage

pytestmark = pytest.mark.ray  # it draws pages, which takes seconds


@pytest.mark.fault(70)
def test_lost_results_stages_and_plans_are_told_first(tmp_path: Path) -> None:
    store = Store.open(tmp_path / "store")
    commit(store, "a")
    store.record_failure(run("b", status="failed", reason="out of memory"))
    stage(store, "enc")
    store.write_plan("study", "hunt", Plan.of(["a"], "platform tune cdc"))
    store.seal()
    report.write(store, None, tmp_path / "whole.html")
    assert "Missing file." not in (tmp_path / "whole.html").read_text()
    for path in ("runs", "stages", "plans"):
        store.delete(path)
    left = Store.open(store.uri)
    report.write(left, None, tmp_path / "left.html")
    page = html.unescape((tmp_path / "left.html").read_text())
    for what, again in (
        ("runs/a.ok.parquet: missing, although it was here once, as 1 more", "compute"),
        ("stages/enc.ok.parquet: missing, although it was here once", "compute"),
        ("plans/study/hunt: missing, although it was here once", "write"),
    ):
        assert f"{what}; the commands that asked for it {again} it again" in page
    assert page.count("Missing file.") == 3
    assert page.index("Missing file.") < page.index("There are no runs yet.")
    with pytest.warns(StoreDamage) as told, pytest.raises(InputError, match=r"no .* run 'hunt'"):
        report.write(left, "hunt", tmp_path / "lost.html")
    assert any("plans/study/hunt: missing" in str(warning.message) for warning in told)
