"""What grows with a store: commands on 10,000 and 100,000 finished runs, and long searches.

Commands are measured in CPU seconds of the whole process, imports included, and by their largest
memory. Beside the row of a run, its tables and its model are there as files and hold nothing,
because none of these commands reads them; all was written without waiting for the disk. A search is
measured by itself, with results handed in, and as a command with runs of fuzzy c-means.
"""

import itertools
import pickle
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from _bench import ROOT, Row, Setting
from store_cost import no_waiting

sys.path.insert(0, str(ROOT / "tests"))  # for `support`

#: What a person gives while the store is full: no run of it is in the store.
_PLAN = ("train", "kmeans", "--dataset", "digits", "--seeds", "10", "--dry-run")
_SHOW = ("results", "--limit", "5")


def title(setting: Setting) -> str:
    """What was measured."""
    return "commands on full stores, CPU seconds; long searches"


def rows(setting: Setting) -> Iterator[Row]:
    """Stores of several sizes, then searches."""
    sizes = {1_000: 2.0} if setting.quick else {10_000: 2.0, 100_000: 15.0}
    trials = 1_000 if setting.quick else 10_000
    with tempfile.TemporaryDirectory(prefix="deep-clustering-benchmark-") as scratch:
        folder = Path(scratch)
        nothing = None
        for count, aim in {10: None, **sizes}.items():
            with no_waiting():
                fill(folder / f"store-{count}", count)
            yield from (measured := list(_store(folder, count, aim, nothing)))
            nothing = nothing or measured[2].value
        yield from _view(trials)
        with no_waiting():
            yield from _proposals(folder, trials)
        yield from _search(folder, 50 if setting.quick else 500)


# ---- stores


@dataclass(frozen=True, kw_only=True)
class Cost:
    """Of one command."""

    cpu: float  # seconds
    memory: float  # MiB


def fill(folder: Path, count: int) -> None:
    """A store with so many finished runs, in order as a command leaves it."""
    from deep_clustering.platform.store.store import Store
    from support.store_rows import run

    store = Store.open(folder)
    kinds = {"epochs": "epochs", "predictions": "predictions", "probabilities": "probabilities"}
    for name in (*kinds, "models"):
        (folder / name).mkdir(exist_ok=True)
    for number in range(count):
        id = f"{number:016x}"
        named = {f"{kind}_file": f"{kind}/{id}.{'0' * 16}.parquet" for kind in kinds}
        named["model_file"] = f"models/{id}.{'0' * 16}.safetensors"
        for path in named.values():
            (folder / path).touch()
        row = run(id, acc=number % 997 / 997, model_sha256="0" * 64, **named)
        store.commit_run(row, None, None)
    store.tidy()


def command(*arguments: str) -> Cost:
    """Run a command of the platform.

    Raises:
        RuntimeError: it failed.
    """
    program = [sys.executable, "-P", "-m", "deep_clustering.platform.start", *arguments]
    through = [sys.executable, "-S", str(Path(__file__).with_name("_used.py")), *program]
    done = subprocess.run(through, stdout=subprocess.PIPE, text=True, check=True)
    code, cpu, memory = done.stdout.split()
    if code != "0":
        raise RuntimeError(f"{' '.join(arguments)} ended with {code}")
    return Cost(cpu=float(cpu), memory=int(memory) / 1024)


def _store(folder: Path, count: int, aim: float | None, nothing: float | None) -> Iterator[Row]:
    """Two commands on a store with so many runs; `nothing`: what both take without any."""
    where = ["--store", str(folder / f"store-{count}")]
    data = ["--data", str(folder / "data")]
    command(*_PLAN, *where, *data)  # prepares the data set
    plan, show = command(*_PLAN, *where, *data), command(*_SHOW, *where)
    both = plan.cpu + show.cpu
    name = f"{count:,} runs"
    yield Row(name=f"{name}: start-up and plan", value=plan.cpu, unit="s")
    yield Row(name=f"{name}: results", value=show.cpu, unit="s")
    yield Row(name=f"{name}: both", value=both, unit="s", at_most=aim)
    if nothing is not None:
        yield Row(name=f"{name}: because of them", value=both - nothing, unit="s", at_most=aim)
    memory = max(plan.memory, show.memory)
    yield Row(name=f"{name}: memory", value=memory, unit="MiB", at_most=aim and 2048)


# ---- searches


def _view(jobs: int) -> Iterator[Row]:
    """What a view costs four times a second while one run goes on and so many are over."""
    import asyncio

    from deep_clustering.platform.data.dataset import Source
    from deep_clustering.platform.request.jobs import RUN, Job
    from deep_clustering.platform.run.planner import Planner
    from deep_clustering.platform.run.progress import Submitted

    def submitted(number: int) -> Submitted:
        about = {"kind": RUN, "method": "kmeans", "version": 1, "config": {}, "seed": 0}
        where = {"dataset": "", "protocol": "all", "source": Source("digits", Path())}
        job = Job(id=f"r{number}", needs={}, epochs=1, **about, **where)
        return Submitted(job=job, stored={f"metric {i}": i / 7 for i in range(60)})

    async def story(count: int) -> float:
        planner = Planner()
        await planner.submit([submitted(number) for number in range(count)])
        seen = (await planner.snapshot()).version
        begun = time.process_time()
        for _ in range(20):
            pickle.loads(pickle.dumps(await planner.snapshot(seen)))
        return (time.process_time() - begun) / 20

    few, many = (asyncio.run(story(count)) for count in (10, jobs))
    name = f"a look at {jobs:,} runs"
    yield Row(name=name, value=many * 1e3, unit="ms", ratio=many / few, of="x 10", at_most=3)


def _proposals(folder: Path, trials: int) -> Iterator[Row]:
    """Ask and tell without Ray; a trial's own share of the platform and of the random sampler."""
    from deep_clustering.platform.store.store import Store
    from support.searches import Search
    from support.small import images, request

    asked = request(images(folder / "pictures"), folder / "data")
    search = Search(Store.open(folder / "search"), asked, total=trials, sampler="random")
    few = min(500, trials // 4)
    marks = []
    while isinstance(number := search.ask(), int):
        search.end(number)
        if number in (few, trials - few, trials - 1):
            share = search.searcher.share
            marks.append((share.platform, share.sampler))
    first, last = (b[0] - a[0] for a, b in (((0.0, 0.0), marks[0]), (marks[1], marks[2])))
    its = (marks[2][1] - marks[1][1]) / few
    name = f"ask and tell at {trials:,}"
    ratio = last / first
    yield Row(name=f"{name}, ours", value=last / few * 1e3, unit="ms", at_most=10.0)
    yield Row(name=f"{name}, ours", value=last / few * 1e3, unit="ms", ratio=ratio, of="x first")
    yield Row(name=f"{name}, Optuna's", value=its * 1e3, unit="ms")


def _search(folder: Path, trials: int) -> Iterator[Row]:
    """A search of short runs as a command: the time of a run among the first and the last ones."""
    from deep_clustering.platform import results

    store = folder / "kmeans"
    where = ["--store", str(store), "--data", str(folder / "data")]
    asked = ["tune", "fcm", "--dataset", "digits", "--sampler", "random"]
    command(*asked, "--trials", str(trials), *where)
    ended = results.runs(store).collect()["ended"].sort().to_list()
    moments = [moment.timestamp() for moment in ended]
    gaps = [after - before for before, after in itertools.pairwise(moments)]
    tenth = max(10, trials // 10)
    first, last = statistics.median(gaps[10 : 10 + tenth]), statistics.median(gaps[-tenth:])
    ratio = last / first
    yield Row(
        name=f"a run of fcm, the last of {trials}",
        value=last,
        unit="s",
        ratio=ratio,
        of="x first",
        at_most=1.2,
    )
