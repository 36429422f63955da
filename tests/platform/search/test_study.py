"""A study after damage: what the store knows decides, and Optuna's journal is a copy of it."""

import dataclasses
import json
import resource
import shutil
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import optuna
import pytest
from optuna.storages.journal import JournalFileBackend, JournalStorage
from optuna.trial import FrozenTrial, TrialState

from deep_clustering.platform.errors import StorageError
from deep_clustering.platform.report.pages import _study_record
from deep_clustering.platform.request.request import Request
from deep_clustering.platform.search import history
from deep_clustering.platform.search.journal import findings
from deep_clustering.platform.search.study import Study
from deep_clustering.platform.store.store import Store, StoreDamage
from support.searches import FINISHED, Search
from support.small import request
from support.small_disk import fill
from support.users import shared_folder, user

pytestmark = pytest.mark.filterwarnings(
    "ignore::deep_clustering.platform.store._damage.StoreDamage"
)

TOTAL = 8


@pytest.fixture(scope="module")
def asked(folder: Path, root: Path) -> Request:
    return request(folder, root)


WRONG = [None, True, -1, 0, 1.5, "x", [], ["x"], [[1, 2, 3]], {}, {"x": []}, 10**400, float("nan")]


@pytest.mark.parametrize("kind", ["search", "asked", "ended"])
def test_facts_that_no_release_writes_are_refused_in_one_sentence(before: Store, kind: str) -> None:
    """A plan's name is its checksum, so that anybody can write one that is whole."""
    (name,) = before.plans(history.KIND)
    plan = before.read_plan(history.KIND, name)
    facts = plan.details[kind]
    fact = dict(facts[0])
    changed = [{**fact, field: value} for field in fact for value in WRONG]
    changed += [{k: v for k, v in fact.items() if k != field} for field in fact]
    changed += [{**fact, "more": 1}]
    refused: list[str] = []
    for one in changed:
        details = {**plan.details, kind: (one, *facts[1:])}
        try:
            history.known(dataclasses.replace(plan, details=details), name).optuna(name)
        except StorageError as error:
            refused.append(str(error))
    assert len(changed) / 2 < len(refused) < len(changed)
    assert all("was written by something else" in text for text in refused)
    assert not any("\n" in text for text in refused)


def halted(store: Store, asked: Request) -> Search:
    """A search that was killed: four trials over, of which one failed and one was stopped."""
    search = Search(store, asked, TOTAL, sampler="tpe")
    for number in range(4):
        assert search.ask() == number
        if number == 1:
            search.end(1, acc=0.0, reason="out of memory", diverged=False)
        elif number == 2:
            search.report(2, {"acc": 0.25, "epoch": 1})
            search.stop(2, {"acc": 0.25, "epoch": 1})
        else:
            search.end(number)
    assert [search.ask(), search.ask()] == [4, 5]
    search.report(5, {"acc": 0.125, "epoch": 1})
    return search


@pytest.fixture(scope="module")
def before(asked: Request, tmp_path_factory: pytest.TempPathFactory) -> Store:
    """The store of that search, not to be changed."""
    store = Store.open(tmp_path_factory.mktemp("killed") / "store")
    halted(store, asked)
    return store


@pytest.fixture(scope="module")
def undisturbed(
    before: Store, asked: Request, tmp_path_factory: pytest.TempPathFactory
) -> list[FrozenTrial]:
    """What becomes of it."""
    return continued(copy(before, tmp_path_factory.mktemp("undisturbed")), asked)


def copy(store: Store, folder: Path) -> Store:
    shutil.copytree(store.uri, folder / "store")
    return Store.open(folder / "store")


@pytest.fixture
def store(before: Store, tmp_path: Path) -> Store:
    return copy(before, tmp_path)


def continued(store: Store, asked: Request) -> list[FrozenTrial]:
    """The trials once the same command was given again."""
    search = Search(store, asked, TOTAL, sampler="tpe")
    search.run()
    search.study.close()
    return search.study.trials()


def journal(store: Store) -> Path:
    return Path(store.uri) / "studies" / "study.log"


def facts(trial: FrozenTrial) -> tuple[object, ...]:
    """What a trial is, but for its times."""
    attrs = trial.user_attrs
    said = (attrs["runs"], attrs.get("metrics"), attrs.get("reason"))
    reports = trial.intermediate_values if trial.state == TrialState.PRUNED else None
    return trial.number, trial.state, trial.params, trial.values, reports, said


def same(found: list[FrozenTrial], expected: list[FrozenTrial]) -> None:
    assert [facts(t) for t in found] == [facts(t) for t in expected]


def verified(store: Store) -> list[str]:
    """What `platform verify` says of the journals."""
    return [finding.problem.reason for finding in findings(store)]


def as_optuna_reads_it(store: Store) -> list[FrozenTrial]:
    backend = JournalFileBackend(str(journal(store)))
    return optuna.load_study(study_name="study", storage=JournalStorage(backend)).get_trials()


def test_a_killed_search_goes_on(undisturbed: list[FrozenTrial]) -> None:
    """The yardstick of this file."""
    assert [t.state.name for t in undisturbed] == [
        *("COMPLETE", "FAIL", "PRUNED"),
        *("COMPLETE",) * 5,
    ]
    assert undisturbed[2].values == [0.25]
    assert undisturbed[1].user_attrs["reason"] == "out of memory"


# ---- the journal


def test_a_whole_journal_is_not_complained_of(store: Store, asked: Request) -> None:
    """Also half a last line, and what it has before the facts do: a search goes on with both."""
    assert verified(store) == []
    data = journal(store).read_bytes()
    journal(store).write_bytes(data[:-7])
    assert verified(store) == []
    journal(store).write_bytes(b"")
    assert verified(store) == []
    journal(store).write_bytes(data)
    continued(store, asked)
    assert verified(store) == []


def test_a_damaged_journal_is_named_and_set_aside(
    store: Store, asked: Request, undisturbed: list[FrozenTrial]
) -> None:
    data = journal(store).read_bytes()
    for change in (
        (b"op_code", b"op_node"),
        (b'"encoder_lr"', b'"encoder_ls"'),
        (b"0.25", b"0.75"),
    ):
        journal(store).write_bytes(data.replace(*change, 1))
        (reason,) = verified(store)
        assert reason.startswith("damaged copy of a study (")
    store.repair(findings(store))
    assert not journal(store).exists()
    assert len(store.list("quarantine")) == 1
    assert verified(store) == []
    same(continued(store, asked), undisturbed)


def torn(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b'{"op_code": 4, "work')


def glued(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b'{"op_code": 4, "w{"op_code": 5, "worker_id": "x"}\n')


def flipped(path: Path) -> None:
    data = path.read_bytes()
    place = data.rindex(b'"params"') - 5
    path.write_bytes(data[:place] + bytes([data[place] ^ 0x80]) + data[place + 1 :])


def altered(path: Path) -> None:
    data = path.read_bytes()
    assert b'"values":[0.25]' in data
    path.write_bytes(data.replace(b'"values":[0.25]', b'"values":[0.75]'))


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-300])


def cut_at_a_line(path: Path) -> None:
    path.write_bytes(b"\n".join(path.read_bytes().splitlines()[:-9]) + b"\n")


def empty(path: Path) -> None:
    path.write_bytes(b"")


def gone(path: Path) -> None:
    path.unlink()


def a_folder(path: Path) -> None:
    path.unlink()
    (path / "in it").mkdir(parents=True)


def of_another(path: Path) -> None:
    path.unlink()
    storage = JournalStorage(JournalFileBackend(str(path)))
    optuna.create_study(storage=storage, study_name="another")


FAULTS = (torn, glued, flipped, altered, cut, cut_at_a_line, empty, gone, a_folder, of_another)
#: What is no damage: a journal may be behind, and a kill may leave half a line.
BEHIND = (torn, cut, cut_at_a_line, empty, gone)


@pytest.mark.fault(69)
@pytest.mark.parametrize("fault", FAULTS)
def test_a_search_goes_on_whatever_became_of_its_journal(
    fault: Callable[[Path], None],
    store: Store,
    asked: Request,
    undisturbed: list[FrozenTrial],
) -> None:
    fault(journal(store))
    record = _study_record.read(store, "study")
    assert record is not None
    same(list(record.trials), undisturbed[:4])
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", StoreDamage)
        found = continued(store, asked)
    same(found, undisturbed)
    same(as_optuna_reads_it(store), undisturbed)
    assert len(caught) == (0 if fault in BEHIND else 1)
    assert len(store.list("quarantine")) == (0 if fault in (*BEHIND, a_folder) else 1)


def test_no_flipped_byte_of_a_journal_changes_a_trial(store: Store, asked: Request) -> None:
    expected = Search(store, asked, TOTAL, sampler="tpe").study.trials()
    whole = journal(store).read_bytes()
    for place in range(7, len(whole), len(whole) // 12):
        journal(store).write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        same(Search(store, asked, TOTAL, sampler="tpe").study.trials(), expected)
        assert [t.params for t in as_optuna_reads_it(store)] == [t.params for t in expected]


@pytest.mark.parametrize(
    "change", [(b'"protocol"', b'"protocom"'), (b'"encoder_lr":0.', b'"encoder_lr":9.')]
)
def test_a_report_is_written_whatever_is_left_of_a_search(
    store: Store, change: tuple[bytes, bytes]
) -> None:
    """A journal alone has no checksum: what it says has to make sense."""
    store.delete("plans")
    data = journal(store).read_bytes()
    assert change[0] in data
    journal(store).write_bytes(data.replace(*change))
    with pytest.warns(StoreDamage, match=r"studies/study\.log: damaged \(it contradicts itself"):
        assert _study_record.read(store, "study") is None


@contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """As on a disk that is full: a file grows up to a size, and the rest of a write fails."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_disk_that_is_full_for_the_journal_alone_stops_nothing(
    store: Store, asked: Request, undisturbed: list[FrozenTrial]
) -> None:
    search = Search(store, asked, TOTAL, sampler="tpe")
    size = journal(store).stat().st_size
    with files_of_at_most(size + 11), pytest.warns(StoreDamage, match="only Optuna's copy"):
        search.run()
    same(search.study.trials(), undisturbed)
    left = journal(store).read_bytes()
    assert len(left) == size + 11
    assert not left.endswith(b"\n")  # half a line
    same(continued(store, asked), undisturbed)
    same(as_optuna_reads_it(store), undisturbed)
    assert store.list("quarantine") == []


def test_a_disk_that_is_full_ends_the_search_and_loses_nothing(
    store: Store, asked: Request, undisturbed: list[FrozenTrial]
) -> None:
    search = Search(store, asked, TOTAL, sampler="tpe")
    assert [search.ask(), search.ask()] == [4, 5]
    search.end(4)
    search.end(5)
    with files_of_at_most(64):
        assert search.ask() == FINISHED
    assert search.searcher.trouble is not None
    assert "was not saved" in str(search.searcher.trouble)
    assert search.study.next_number() == 6
    same(continued(store, asked), undisturbed)


@pytest.mark.ray  # slow
@pytest.mark.fault(16)
def test_a_disk_that_fills_up_during_a_search_loses_nothing(
    before: Store, asked: Request, undisturbed: list[FrozenTrial], disk: Path
) -> None:
    """Wherever it is full: at a fact, at a line of the journal, at a run."""
    ended, left = set(), 0
    while "done" not in ended:
        store = copy(before, disk)
        ballast = fill(disk, left)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", StoreDamage)
            try:
                search = Search(store, asked, TOTAL, sampler="tpe")
                search.run()
                if search.searcher.trouble is not None:
                    raise search.searcher.trouble
                search.study.close()
                ended.add("done")
            except StorageError as error:
                where, _, what = str(error).partition(": ")
                assert where == f"no space left in {store.uri}"
                ended.add("fact" if what.startswith("the plan of study was") else "run")
        ended |= {"journal" for warning in caught if "only Optuna's copy" in str(warning.message)}
        ballast.unlink()
        again = Store.open(store.uri)
        assert [p for p in disk.rglob(".*.tmp") if p.is_file()] == []
        assert again.verify(findings(again)) == []
        same(continued(again, asked), undisturbed)
        same(as_optuna_reads_it(again), undisturbed)
        shutil.rmtree(store.uri)
        left += 1
    assert ended == {"fact", "journal", "run", "done"}


# ---- the facts


def test_damaged_facts_come_back_from_the_journal(
    store: Store, asked: Request, undisturbed: list[FrozenTrial]
) -> None:
    plans = store.list("plans/study")
    assert len(plans) == 9  # what was asked, six proposals, a failure, a stop
    for path in plans:
        data = store.read_bytes(path)
        store.write_bytes(path, data[:-20] + b"!" + data[-19:])
    with pytest.warns(StoreDamage, match="checksum"):
        same(continued(store, asked), undisturbed)
    store.repair()
    same(history.read(store, "study").trials(), undisturbed)


def test_without_journal_and_facts_the_same_is_proposed_again(
    asked: Request, tmp_path: Path
) -> None:
    store = Store.open(tmp_path / "store")
    expected = continued(store, asked)
    store.delete("plans")
    journal(store).unlink()
    same(continued(store, asked), expected)


def test_a_lost_fact_is_proposed_again_under_its_number(asked: Request, tmp_path: Path) -> None:
    store = Store.open(tmp_path / "store")
    search = Search(store, asked, TOTAL)
    search.run()
    expected = search.study.trials()
    for path in store.list("plans/study"):
        asked_in = json.loads(store.read_bytes(path)).get("asked", [])
        if [fact["number"] for fact in asked_in] == [3]:
            store.delete(path)
    journal(store).unlink()
    again = Search(store, asked, TOTAL)
    assert 3 not in again.study.by_number
    again.run()
    same(again.study.trials(), expected)
    same(continued(store, asked), expected)
    same(as_optuna_reads_it(store), expected)


def test_a_trial_whose_run_was_lost_runs_again_under_its_number(
    store: Store, asked: Request, undisturbed: list[FrozenTrial]
) -> None:
    continued(store, asked)
    (run,) = undisturbed[6].user_attrs["runs"]
    store.delete(f"runs/{run}.ok.parquet")
    search = Search(Store.open(store.uri), asked, TOTAL, sampler="tpe")
    assert len(search.study.over()) == TOTAL - 1
    assert search.ask() == 6
    search.end(6)
    assert search.ask() == FINISHED
    same(search.study.trials(), undisturbed)


def test_a_study_of_release_0_1_is_taken_over(
    store: Store, asked: Request, undisturbed: list[FrozenTrial]
) -> None:
    """It had the journal and a plan of run ids; a retry that never began may be waiting in it."""
    runs = store.read_plan("study", "study").runs
    store.delete("plans")
    backend = JournalFileBackend(str(journal(store)))
    old = optuna.load_study(study_name="study", storage=JournalStorage(backend))
    old.enqueue_trial(old.get_trials()[1].params)
    record = _study_record.read(store, "study")
    assert record is not None
    same(list(record.trials), undisturbed[:4])
    assert Study.exists(store, "study")
    same(continued(store, asked), undisturbed)
    journal(store).unlink()
    same(continued(store, asked), undisturbed)  # from its facts
    assert {run.run_id for run in runs} <= set(store.read_plan("study", "study").run_ids)


def test_an_ended_command_leaves_few_files(store: Store, asked: Request) -> None:
    continued(store, asked)
    assert len(store.list("plans/study")) == 1


def test_two_users_continue_one_study(asked: Request, undisturbed: list[FrozenTrial]) -> None:
    """Files of the one are not writable for the other; the second one's journal stayed behind."""
    with shared_folder() as place:
        with user(20001):
            halted(Store.open(place / "store"), asked)
        with user(20002), warnings.catch_warnings():
            warnings.simplefilter("error", StoreDamage)
            store = Store.open(place / "store")
            same(continued(store, asked), undisturbed)
            same(as_optuna_reads_it(store), undisturbed)
            assert store.verify() == []
        with user(20001):  # whose journal the other one has replaced
            search = Search(Store.open(place / "store"), asked, TOTAL + 2, sampler="tpe")
            search.run()
            search.study.close()
            same(as_optuna_reads_it(search.store), search.study.trials())


@pytest.mark.ray
def test_another_machine_continues_the_study_of_an_object_store(
    address: str, asked: Request, tmp_path: Path
) -> None:
    """It has no copy of the journal; lines were added to an empty file, which took its place."""
    store = Store.open(address)
    halted(store, asked)
    continued(store, asked)
    shutil.rmtree(tmp_path / "cache")
    search = Search(Store.open(address), asked, TOTAL + 2, sampler="tpe")
    search.run()
    search.study.close()
    (tmp_path / "store" / "studies").mkdir(parents=True)
    local = Store.open(tmp_path / "store")
    journal(local).write_bytes(store.read_bytes("studies/study.log"))
    same(as_optuna_reads_it(local), search.study.trials())


def test_an_object_store_keeps_both(
    address: str, asked: Request, undisturbed: list[FrozenTrial], tmp_path: Path
) -> None:
    store = Store.open(address)
    halted(store, asked)
    shutil.rmtree(tmp_path / "cache")  # as on another machine
    whole = store.read_bytes("studies/study.log")
    store.write_bytes("studies/study.log", whole[:400] + b"\xff" + whole[401:])
    with pytest.warns(StoreDamage, match="written anew"):
        found = continued(store, asked)
    same(found, undisturbed)
    (tmp_path / "store" / "studies").mkdir(parents=True)
    local = Store.open(tmp_path / "store")
    journal(local).write_bytes(store.read_bytes("studies/study.log"))
    same(as_optuna_reads_it(local), undisturbed)
