"""Settings for all tests, and the places and pictures that many of them need."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from threadpoolctl import threadpool_limits

from deep_clustering.methods.learning import prototypes
from deep_clustering.platform.run.workplace import Workplace
from deep_clustering.platform.store.store import Store
from support.small import images, place

# Programs started by a test find `support` too, as pytest does through `pythonpath`.
os.environ["PYTHONPATH"] = os.pathsep.join(
    [str(Path(__file__).parent), *filter(None, [os.environ.get("PYTHONPATH")])]
)

# Programs started by a test may have several threads, which wait for each other asleep.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

# Triton reads it when it is imported: without a GPU its programs run by the interpreter.
if not torch.cuda.is_available():
    os.environ["TRITON_INTERPRET"] = "1"

# Bytecode is kept whatever the environment says: the two processes of the tests, and each program
# that a test starts, would compile all files of the project and of the tests anew.
sys.dont_write_bytecode = False
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Two processes for whole folders of tests; named files and single tests run in this one."""
    named = any(Path(argument.split("::")[0]).is_file() for argument in config.args)
    return 0 if named or config.option.usepdb else 2


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begins with the files that take longest, so that both processes end at about one time."""
    first = (
        *("test_command", "test_searching", "test_on_s3", "test_kill_storm", "test_two_nodes"),
        *("test_benchmarks", "test_cluster", "test_compiling"),
    )
    items.sort(key=lambda item: item.path.stem not in first)


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> Iterator[None]:
    """The same sums on every machine; several threads are slow where others compute as well."""
    torch.set_num_threads(1)
    with threadpool_limits(1):
        yield


@pytest.fixture(scope="session", autouse=True)
def _few_steps(request: pytest.FixtureRequest) -> None:
    """Fewer steps in which CDC spreads its prototypes, where no test is marked `ray`.

    They are a third of its tiny trials. Other processes of a test, if there are any, take them all.
    """
    if not any(item.get_closest_marker("ray") for item in request.session.items):
        prototypes._STEPS = 400


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three kinds of 16 small pictures each, in a folder whose name is not plain."""
    return images(tmp_path_factory.mktemp("drei Arten von Bildern, äöü"))


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where decoded images are kept."""
    return tmp_path_factory.mktemp("data")


@pytest.fixture
def lane(tmp_path: Path) -> Workplace:
    """A lane's process with an empty store."""
    return place(Store.open(tmp_path / "store"))
