"""What commands that compute share: from options to a store, missing work, a session."""

import contextlib
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from deep_clustering.platform import registry
from deep_clustering.platform.commands import _say as say
from deep_clustering.platform.commands._answer import Answer
from deep_clustering.platform.commands._live import LiveView
from deep_clustering.platform.data.dataset import default_root
from deep_clustering.platform.encoders.names import Encoder
from deep_clustering.platform.errors import InputError, Interrupted, StorageError
from deep_clustering.platform.evaluation import finished
from deep_clustering.platform.places import absolute
from deep_clustering.platform.request.jobs import FROZEN, VIEW, Job, at_once
from deep_clustering.platform.request.options import (
    Asked,
    Compute,
    Options,
    Stored,
    command_line,
    default_store,
)
from deep_clustering.platform.request.request import Outline, Request, Wanted, resolve
from deep_clustering.platform.run.failure import Failure, Kind
from deep_clustering.platform.run.progress import Line, Progress, Submitted, numbers_stored
from deep_clustering.platform.store.store import Store

if TYPE_CHECKING:
    from deep_clustering.platform.run.session import Session

_POLL = 0.25  # seconds between two looks at the planner


# ---- from options


def resolved(
    asked: Asked, compute: Compute, store: Store, *, outline: Outline | None = None
) -> Request:
    """The request of a command's options; reading images shows its progress.

    A dry run downloads nothing: sizes stand in for a named dataset that is not here.
    """
    if outline is None:
        outline = "missing" if compute.dry_run else "never"
    with Console(stderr=True, highlight=False).status("") as status:

        def progress(done: int, total: int) -> None:
            status.update(f"reading images {done}/{total}")

        root = images_root(compute, store)
        request = resolve(asked, root=root, store=store, progress=progress, outline=outline)
    say.notes(request.dataset.notes)
    return request


def images_root(compute: Compute, store: Store) -> Path:
    """Where decoded images live; on a cluster that is in the store, where every node finds them."""
    if compute.data is not None or compute.address is None:
        return data_root(compute.data)
    if store.local is None:
        raise InputError(
            f"--address with the store {store.uri}: say with --data where the nodes find the "
            "images."
        )
    return store.local / "data"


def data_root(data: Path | None) -> Path:
    """Where decoded images live on this machine."""
    return absolute(data or default_root()).resolve()


def open_store(options: Stored, create: bool = True) -> Store:
    """The store of a command.

    Args:
        options: of the command.
        create: of one that may compute: it need not be there, and `begin` makes it.
    """
    place = options.store or default_store()
    return Store.at(place) if create else Store.open(place, create=False)


def begin(store: Store, *requests: Request) -> None:
    """Before anything is computed: make the store, note what it holds and what images are named."""
    store.make()
    store.seal()
    for request in requests:
        finished.note_names(store, request.dataset)


# ---- what is missing


def missing(wanted: Wanted, store: Store, retry: str | None) -> list[Job]:
    """Jobs that have to be computed: runs that neither are in the store nor failed, unless asked
    again, and all that they stand on as far as it is missing too."""
    done = store.done(job.id for job in wanted.jobs)
    known = {job.id for job in wanted.jobs} | {i for job in wanted.runs for i in job.needs.values()}
    failed = {} if retry else store.failures(known)
    runs = [
        job
        for job in wanted.runs
        if job.id not in done and job.id not in failed and not failed.keys() & job.needs.values()
    ]
    before = {job.id: job for job in wanted.before if job.id not in done}
    needed: set[str] = set()
    open_jobs = list(runs)
    while open_jobs:
        for need in open_jobs.pop().needs.values():
            if need in before and need not in needed:
                needed.add(need)
                open_jobs.append(before[need])
    return [*(job for job in wanted.before if job.id in needed), *runs]


def answered(store: Store, wanted: Wanted, todo: Iterable[Job], code: int = 0) -> Answer:
    """The answer of a command that asks for runs.

    Args:
        todo: what the store lacks.
        code: the exit code.
    """
    runs = [job.id for job in wanted.runs]
    return Answer(code=code, store=store, runs=runs, to_do=[job.id for job in todo])


def weights(todo: Iterable[Job]) -> None:
    """Download the weights of frozen encoders that jobs need, and refuse files that do not fit.

    Args:
        todo: jobs that are not in the store.
    """
    for job in todo:
        if job.kind in (FROZEN, VIEW):
            from deep_clustering.platform.encoders import network
            from deep_clustering.platform.encoders import weights as published

            encoder = Encoder.from_config(job.config)
            network.load(encoder, published.obtain(encoder, job.source.root))


def submit(wanted: Wanted, store: Store, session: "Session", retry: str | None, owner: str) -> None:
    """Hand jobs to the planner, with what the store knows of each."""
    todo = {job.id for job in missing(wanted, store, retry)}
    failures = failures_of(store, {job.id for job in wanted.jobs})
    work: list[Submitted] = []
    for job in wanted.jobs:
        if job.id in todo and (retry or job.id not in failures):
            work.append(Submitted(job=job))
        elif (numbers := numbers_stored(store, job)) is not None:
            work.append(Submitted(job=job, stored=numbers))
        elif job.id in failures:
            work.append(Submitted(job=job, failure=failures[job.id]))
    known = {job.id for job in wanted.jobs}
    outside = {need for job in wanted.jobs for need in job.needs.values()} - known
    session.planner.submit(work, owner, store.done(outside))
    if session.log is not None:
        session.log.add(submitted.job for submitted in work)


def failures_of(store: Store, ids: Collection[str]) -> dict[str, Failure]:
    """Run id -> why its last attempt failed, of those runs of some that have no result."""
    rows = store.rows(ids=ids).filter(status="failed").select("run_id", "reason", "failure_kind")
    return {
        id: Failure(kind=Kind(kind) if kind else Kind.ERROR, reason=reason or "")
        for id, reason, kind in rows.iter_rows()
    }


# ---- a session and its end


def session(
    store: Store, compute: Compute, parallel: int, stages: int, todo: Collection[Job]
) -> "Session":
    """A `Session` for a command, once what dead processes have left is swept away.

    Args:
        parallel, stages: as in `Session`.
        todo: what it begins with, without what the store has.
    """
    from deep_clustering.platform.run import log
    from deep_clustering.platform.run.session import Session

    store.sweep()
    made = Session(
        store,
        compute,
        provenance=provenance(),
        parallel=parallel,
        stages=stages,
        first=at_once(todo),
    )
    made.log = log.opened(compute.log, Path("tensorboard"))
    return made


def watch(
    session: "Session",
    view: LiveView,
    store: Store,
    lines: Callable[[], list[Line]],
    until: Callable[[], bool] | None = None,
) -> list[tuple[str, Failure]]:
    """Show what happens until nothing is left to do (or `until` says so); record lost workers.

    Returns:
        Ids of the jobs that failed, with the reason.
    """
    jobs: dict[str, Progress] = {}
    seen = -1
    while True:
        session.check()
        over = until() if until else False
        snapshot = session.planner.snapshot(seen)
        if snapshot.storage:
            raise StorageError(f"{snapshot.storage} Then give the same command again.")
        seen = snapshot.version
        jobs.update(snapshot.jobs)
        view.update(jobs, snapshot.notes, lines())
        if session.log is not None:
            session.log.tell(session.planner.wait(session.log.after, -1).jobs)
        for job, failure in session.planner.unrecorded():
            _write_down(job, failure, store, session)
        if over or (until is None and all(job.state.final for job in jobs.values())):
            return [(i, job.failure) for i, job in jobs.items() if job.failure is not None]
        time.sleep(_POLL)


def _write_down(job: Job, failure: Failure, store: Store, session: "Session") -> None:
    """The row of a failure that no lane could write."""
    from deep_clustering.platform.run import record

    record.failure(job, store, failure, session.provenance)


@contextlib.contextmanager
def interruptible(
    store: Store, runs: Collection[str], options: Options, total: int | None = None
) -> Iterator[None]:
    """Turns a Ctrl-C or SIGTERM into a summary and exit code 130.

    Args:
        runs: ids, read when it happens.
        options: of the command.
        total: how many runs there will be, None where `runs` has them all.

    Raises:
        Interrupted: one of the two came.
    """
    try:
        yield
    except KeyboardInterrupt:
        done, asked = len(store.finished() & set(runs)), total or len(runs)
        raise Interrupted(
            f"interrupted: {done} of {asked} runs done, the rest keep what they saved.\n"
            f"continue with: {command_line(options)}"
        ) from None


@contextlib.contextmanager
def alone(store: Store, study: str) -> Iterator[None]:
    """One command at a time works on a study; another one waits for it."""
    told = False
    while True:
        lock = store.lock(f"study-{study}")
        if lock is not None:
            with lock:
                yield
            return
        if not told:
            print(f"another command is running the study {study}; waiting for it", file=sys.stderr)
            told = True
        time.sleep(1)


def provenance() -> dict[str, str | bool | None]:
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


def one_process(asked: Asked, compute: Compute) -> None:
    """Refuse several workers for a method that fits at once."""
    if compute.workers > 1 and registry.method(asked.method).fit is not None:
        raise InputError(
            f"--workers: {asked.method} fits all samples in one process; leave the option out."
        )
