"""What the commands that compute share: from options to a store, runs and a watched session."""

import contextlib
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from rich.console import Console

from deep_clustering.platform import registry
from deep_clustering.platform.commands._live import View, clock
from deep_clustering.platform.errors import InputError, StorageError
from deep_clustering.platform.metrics import registry as registry_of_metrics
from deep_clustering.platform.request.jobs import Job
from deep_clustering.platform.request.request import Request, resolve
from deep_clustering.platform.store.store import Store

_POLL = 0.25  # seconds between two looks at the planner


def resolved(
    method: str, *, data: Path | None, address: str | None, store: str | None, **asked: Any
) -> Request:
    """The request of a command's options; reading images shows its progress."""
    console = Console(stderr=True, highlight=False)
    with console.status("") as status:

        def progress(done: int, total: int) -> None:
            status.update(f"reading images {done}/{total}")

        root = data_root(data) if data or not address else shared_data(store)
        if asked.get("features") not in (None, *registry.names()):  # a stage that a store has
            asked["store"] = open_store(store)
        request = resolve(method, root=root, progress=progress, **asked)
    for note in request.dataset.notes:
        console.print(f"note: {note}", style="yellow", markup=False)
    return request


def data_root(data: Path | None) -> Path:
    from deep_clustering.platform.data import dataset

    return (data or dataset.default_root()).expanduser().resolve()


def shared_data(store: str | None) -> Path:
    """On a cluster the decoded images live in the store, where every node finds them."""
    kept = open_store(store)
    if kept.local is None:
        raise InputError(
            f"--address with the store {kept.uri}: say with --data where the nodes find the images."
        )
    return kept.local / "data"


def open_store(uri: str | None, create: bool = True) -> Store:
    from deep_clustering.platform.results import default_store

    store = Store.open(uri or default_store(), create=create)
    store.sweep()
    return store


def missing(jobs: list[Job], kept: Store, retry: str | None) -> list[Job]:
    """Jobs that have to be computed: not in the store, and not failed unless asked again."""
    finished, stages = kept.finished(), kept.stages()
    failed = {} if retry else kept.failures()
    runs = [j for j in jobs if j.kind == "run" and j.id not in finished and j.id not in failed]
    needed = {n for j in runs for n in j.needs} - stages
    return [j for j in jobs if j.id in needed] + runs


def wanted(job: Job, todo: list[Job], kept: Store) -> bool:
    return job.kind != "run" or job in todo or kept.has_run(job.id)


def with_stored(job: Job, kept: Store) -> dict[str, Any]:
    done = job.kind == "run" and kept.has_run(job.id)
    return job.as_json() | ({"stored": kept.metrics_of(job.id)} if done else {})


def session(
    kept: Store,
    parallel: int,
    workers: int,
    gpus_per_run: float | None,
    address: str | None,
) -> Any:
    from deep_clustering.platform.run.session import Session

    return Session(
        kept,
        provenance=provenance(),
        parallel=parallel,
        workers=workers,
        gpus_per_run=gpus_per_run,
        address=address,
    )


def watch(session: Any, view: View, kept: Store, rows: Any, until: Any = None) -> None:
    """Show what happens until nothing is left to do (or `until` says so); record lost workers."""
    from deep_clustering.platform.run.execute import failure

    while True:
        over = until() if until else False
        snapshot = session.ask("snapshot")
        if snapshot["storage"]:
            raise StorageError(f"{snapshot['storage']} Then give the same command again.")
        view.update(snapshot, rows())
        for job, reason in session.ask("unrecorded"):
            failure(Job.from_json(job), kept, reason, provenance())
        states = [j["state"] for j in snapshot["jobs"].values() if j["kind"] == "run"]
        if over or (until is None and all(s in ("done", "failed", "cancelled") for s in states)):
            return
        session.check()
        time.sleep(_POLL)


@contextlib.contextmanager
def interruptible(kept: Store, runs: Any) -> Iterator[None]:
    """Turns a Ctrl-C into a summary and exit code 130; SIGTERM counts as one."""
    import signal

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    except KeyboardInterrupt:
        done = len(kept.finished() & set(runs))
        print(
            f"\ninterrupted: {done} of {len(runs)} runs done, the rest keep their last epoch.\n"
            f"continue with: {command_line()}",
            file=sys.stderr,
        )
        raise
    finally:
        signal.signal(signal.SIGTERM, before)


@contextlib.contextmanager
def alone(kept: Store, study: str) -> Iterator[None]:
    """One command at a time works on a study; another one waits for it."""
    told = False
    while True:
        lock = kept.lock(f"study-{study}")
        if lock is not None:
            with lock:
                yield
            return
        if not told:
            print(f"another command is running the study {study}; waiting for it", file=sys.stderr)
            told = True
        time.sleep(1)


def provenance() -> dict[str, Any]:
    """What every row says about the code that made it."""
    root = Path(__file__).resolve().parents[2]

    def git(*arguments: str) -> str | None:
        if not (root / ".git").exists():
            return None
        asked = subprocess.run(
            ["git", "-C", str(root), *arguments], capture_output=True, text=True, check=False
        )
        return asked.stdout.strip() if asked.returncode == 0 else None

    def release(package: str) -> str | None:
        with contextlib.suppress(PackageNotFoundError):
            return version(package)
        return None

    changes = git("status", "--porcelain", "--untracked-files=no")
    return {
        "git_revision": git("rev-parse", "HEAD"),
        "git_dirty": None if changes is None else bool(changes),
        "python_version": sys.version.split()[0],
        "code_version": release("deep-clustering"),
        "torch_version": release("torch"),
        "ray_version": release("ray"),
    }


def shown(request: Request) -> tuple[str, ...]:
    """Names of the metrics to watch; methods that fit at once may give no probabilities."""
    labels = request.dataset.labels is not None
    return registry_of_metrics.shown(labels=labels, probabilities=request.record.fit is None)


def title(request: Request, what: str) -> str:
    source = f"features of {request.features.asked}, " if request.features else ""
    return f"{request.method} on {source}{request.dataset.name}, {what}"


def where(console: Console, kept: Store, query: str) -> None:
    console.print("[bold]read the results[/]")
    console.print("  from deep_clustering.platform import results", soft_wrap=True)
    console.print(f"  store = {kept.uri!r}", soft_wrap=True, markup=False)
    console.print(f'  {query}.sort("acc", descending=True).collect()', soft_wrap=True, markup=False)


def command_line(**changes: Any) -> str:
    """The command as it was given, with some options changed."""
    words = list(sys.argv[1:])
    for name, value in changes.items():
        option = f"--{name}"
        if option in words:
            words[words.index(option) + 1] = str(value)
        else:
            words += [option, str(value)]
    return shlex.join(["platform", *words])


def store_option(kept: Store) -> str:
    from deep_clustering.platform.results import default_store

    return "" if str(default_store()) == kept.uri else f" --store {shlex.quote(kept.uri)}"


def plain(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def cost(todo: list[Job], kept: Store) -> str:
    """What computing some jobs would take, for a dry run."""
    from deep_clustering.platform.run.estimates import estimate

    if not todo:
        return ""
    found = estimate(todo, kept)
    if not found.source:
        return "; nothing tells the time it would take"
    more = f", {found.unknown} jobs not counted" if found.unknown else ""
    return f"; about {clock(found.seconds)} on one lane (from {found.source}{more})"
