"""What a dry run says a suite would cost, and from what."""

import pytest

from deep_clustering.platform.run.estimates import disk, estimates
from deep_clustering.platform.store.store import Store
from deep_clustering.platform.suites import suites
from support.small import SETS, images, resolved
from support.store_rows import run


def test_the_store_knows_best(tmp_path):
    request = resolved("cdc", "cifar10", root=tmp_path, outline="missing")
    jobs = [job for job in request.wanted(range(3)).jobs if job.kind == "run"]
    store = Store.open(str(tmp_path / "store"))
    about = {"dataset": "cifar10", "dataset_fingerprint": jobs[0].dataset}
    for i, seconds in enumerate((100.0, 300.0, 200.0)):
        row = run(f"run{i}", status="ok", seconds=seconds, epochs=10, parameters=1000, **about)
        store.commit_run({**row, "method": "cdc"}, None, None)
    store.commit_run(run("none", status="ok", seconds=9.0, epochs=0, **about), None, None)
    (found,) = estimates([jobs], store)
    assert found.seconds == 3 * 100 * 20.0  # three runs of 100 epochs at the median
    assert found.source == "runs in the store"
    assert found.unknown == 0
    assert disk(jobs, {"cifar10": 60_000}, store) == 3 * (4 * 1000 + 30 * 60_000)


@pytest.mark.ray
def test_else_the_papers_own_table(tmp_path):
    store = Store.open(str(tmp_path / "store"))
    expansion = suites.expand(
        suites.find("cdc-table2"),
        ("cifar10", "cifar20", "stl10"),
        range(5),
        lambda name, method, *_: resolved(method, name, root=tmp_path, outline="missing"),
    )
    (found,) = estimates([expansion.wanted.jobs], store)
    # nine trained rows, 8.7 + 2.3 + 1.3 hours each, five seeds; untrained rows cost nothing
    assert found.seconds / 3600 == pytest.approx(9 * 12.3 * 5)
    assert "Table 7" in found.source
    assert found.unknown == 3  # pretrainings


@pytest.mark.ray
def test_else_a_few_steps(tmp_path):
    folder = images(tmp_path / "pictures")
    request = resolved("cdc", f"folder:{folder}", root=tmp_path / "data", sets=SETS)
    store = Store.open(str(tmp_path / "store"))
    jobs = request.wanted(range(2)).jobs
    (found,) = estimates([jobs], store)
    assert found.source == "a few steps on this machine"
    assert 0 < found.seconds < 600
    assert found.unknown == 0
    assert estimates([jobs], store, absent={jobs[0].source.spec})[0].unknown == 3


def test_nothing_to_do_costs_nothing(tmp_path):
    (found,) = estimates([[]], Store.open(str(tmp_path / "store")))
    assert (found.seconds, found.source, found.unknown) == (0.0, "", 0)
