"""A store under any sequence of commands, crashes and damage says what a dictionary says.

    THOROUGH=1 pytest tests/platform/store/test_store_model.py

tries 400 sequences of 40 steps in place of a few.
"""

import os
import shutil
import tempfile
import warnings
from pathlib import Path

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from deep_clustering.platform import results
from deep_clustering.platform.store.store import Plan, Store, StoreDamage
from support.checker import spoil
from support.store_rows import commit, epochs, run, whole

_THOROUGH = bool(os.environ.get("THOROUGH"))
_MEMORY = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
IDS = st.sampled_from(["a", "b", "c"])
VALUES = st.sampled_from([0.125, 0.25, 0.5, 0.75])


class Model(RuleBasedStateMachine):
    """Two drivers on one store; the dictionaries say what was acknowledged."""

    @initialize()
    def begin(self) -> None:
        self.folder = Path(tempfile.mkdtemp(dir=_MEMORY))
        self.stores = [Store.open(self.folder), Store.open(self.folder)]
        self.runs: dict[str, float] = {}
        self.damaged: set[str] = set()  # runs whose row is damaged: absent until done again
        self.failures: dict[str, int] = {}
        self.planned: set[str] = set()
        self.aside = 0

    def teardown(self) -> None:
        shutil.rmtree(getattr(self, "folder", "/nowhere"), ignore_errors=True)

    @property
    def there(self) -> dict[str, float]:
        return {id: acc for id, acc in self.runs.items() if id not in self.damaged}

    @rule(driver=st.integers(0, 1), id=IDS, acc=VALUES)
    def commit(self, driver: int, id: str, acc: float) -> None:
        new = id not in self.there
        assert commit(self.stores[driver], id, acc) == new
        if new:
            self.aside += id in self.damaged
            self.damaged.discard(id)
            self.runs[id] = acc

    @rule(driver=st.integers(0, 1), id=IDS)
    def fail(self, driver: int, id: str) -> None:
        row = run(id, status="failed", reason="out of memory")
        self.stores[driver].record_failure(row, epochs())
        self.failures[id] = self.failures.get(id, 0) + 1

    @rule(driver=st.integers(0, 1), ids=st.sets(IDS, min_size=1))
    def plan(self, driver: int, ids: set[str]) -> None:
        self.stores[driver].write_plan("study", "s", Plan.of(sorted(ids)))
        self.planned |= ids

    @rule(driver=st.integers(0, 1))
    def crash(self, driver: int) -> None:
        """A driver is gone and comes again; it was writing."""
        name = f".x.parquet.{1:016x}-00000000-1-000000.tmp"
        (self.folder / "runs").mkdir(exist_ok=True)
        (self.folder / "runs" / name).write_bytes(b"half")
        self.stores[driver] = Store.open(self.folder)
        self.stores[driver].sweep()
        self.stores[driver].seal()
        assert not (self.folder / "runs" / name).exists()

    @rule(driver=st.integers(0, 1))
    def compact(self, driver: int) -> None:
        self.stores[driver].compact()

    @precondition(lambda self: self.there)
    @rule(id=IDS)
    def damage(self, id: str) -> None:
        """A row changes on the disk. What a segment holds of it stays as it was."""
        store = Store.open(self.folder)
        if id in self.there and not store.list("segments"):
            spoil(self.folder / f"runs/{id}.ok.parquet")
            self.damaged.add(id)

    @rule(driver=st.integers(0, 1))
    def repair(self, driver: int) -> None:
        mended = self.stores[driver].repair()
        assert {p.path for p in mended} == {f"runs/{id}.ok.parquet" for id in self.damaged}
        self.aside += len(self.damaged)
        for id in self.damaged:
            del self.runs[id]
        self.damaged.clear()
        assert Store.open(self.folder).verify() == []

    @invariant()
    def says_what_the_dictionary_says(self) -> None:
        if not hasattr(self, "stores"):
            return
        for store in (*self.stores, Store.open(self.folder, create=False)):
            assert store.finished() == set(self.there)
            assert store.done(["a", "b", "c"]) == set(self.there)
            for id, acc in self.there.items():
                assert whole(store, id) == acc
            rows = results.runs(store).collect()
            said = dict(rows.select("run_id", "acc").iter_rows())
            lost = {id: None for id in self.failures if id not in self.there}
            assert said == {**self.there, **lost}
            assert rows.height == len(said)
            assert set(store.read_plan("study", "s").run_ids) == self.planned
        named = {p.path for p in Store.open(self.folder).verify()}
        assert named == {f"runs/{id}.ok.parquet" for id in self.damaged}
        assert len(Store.open(self.folder).list("quarantine")) == self.aside
        assert len(Store.open(self.folder).list("runs")) == len(self.runs) + sum(
            self.failures.values()
        )


@pytest.mark.ray  # slow
def test_a_store_says_what_a_dictionary_says() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", StoreDamage)
        run_state_machine_as_test(
            Model,
            settings=settings(
                max_examples=400 if _THOROUGH else 6,
                stateful_step_count=40 if _THOROUGH else 12,
                deadline=None,
                derandomize=not _THOROUGH,
                suppress_health_check=list(HealthCheck),
            ),
        )
