"""`platform cluster`: a folder of pictures to clusters, by an encoder and `consensus` on it.

It is a good choice of what other commands do: the runs are those of `platform train consensus` with
an `--encoder`, and it says which.
"""

import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path

import polars as pl
from rich.console import Console
from rich.table import Table

from deep_clustering.methods.consensus import OF_IMAGES
from deep_clustering.platform.commands import _compute as work
from deep_clustering.platform.commands import _say as say
from deep_clustering.platform.commands import _sort as sort
from deep_clustering.platform.commands._answer import Answer
from deep_clustering.platform.commands._live import LiveView
from deep_clustering.platform.data.catalogue import CATALOGUE
from deep_clustering.platform.encoders import weights
from deep_clustering.platform.errors import InputError, nearest
from deep_clustering.platform.evaluation.assignments import DOUBTFUL, assignments
from deep_clustering.platform.request.jobs import Job
from deep_clustering.platform.request.options import Cluster, Train, command_line
from deep_clustering.platform.request.request import Request, Wanted, together
from deep_clustering.platform.run import _ray
from deep_clustering.platform.run.progress import Line
from deep_clustering.platform.search import number
from deep_clustering.platform.search.number import Candidate
from deep_clustering.platform.store.store import Plan, Store

#: The method whose runs these are.
_METHOD = "consensus"
_METRICS = ("stability", "silhouette", "mean_confidence")
#: It clusters each of two halves of the pictures.
_HALVES = 2


def cluster(options: Cluster) -> Answer:
    """Cluster the pictures of a folder."""
    _ray.prepare(options.address)
    store = work.open_store(options)
    root = work.images_root(options, store)
    fewest = _asked(options, root, number.RANGE[0])
    work.one_process(fewest, options)
    request = work.resolved(fewest, options, store)
    folder = _folder(options, request)
    if not folder.is_dir() and (folder.exists() or not folder.absolute().parent.is_dir()):
        raise InputError(f"--output: {folder} is not a folder, and cannot be made.")
    numbers = _numbers(options, request)
    wanted = together(
        request.wanted([0], request.configure({"clusters": count})) for count in numbers
    )
    if options.sort_into is not None and request.dataset.here:
        again = not work.missing(wanted, store, options.retry)
        sort.refuse(options.sort_into, request.dataset, again=again)
    console = Console(highlight=False)
    asked = _asked(options, root, numbers[0])
    _print_plan(console, asked, numbers, wanted, store, options, request)
    if options.dry_run:
        return work.answered(store, wanted, work.missing(wanted, store, options.retry))
    work.begin(store, request)
    _compute(options, store, request, wanted, numbers)
    runs = dict(zip(numbers, wanted.runs, strict=True))
    found = _close(console, options, store, request, runs)
    return dataclasses.replace(found, to_do=[j.id for j in work.missing(wanted, store, None)])


def _asked(options: Cluster, root: Path, clusters: int) -> Train:
    """The longer command, with a number of clusters."""
    named = options.folder in CATALOGUE or options.folder.startswith("folder:")
    if not named and not os.path.lexists(os.path.expanduser(options.folder)):
        hint = nearest(options.folder, CATALOGUE)
        if hint:
            raise InputError(f"there is no folder and no dataset '{options.folder}'.{hint}")
    return Train(
        method=_METHOD,
        dataset=options.folder if named else f"folder:{options.folder}",
        encoder=options.encoder or weights.default(root),
        architecture=options.architecture,
        sets=("unit=true", f"weighting={OF_IMAGES.weighting}", f"clusters={clusters}"),
        side=options.side,
        skip_broken=options.skip_broken,
        store=options.store,
        data=options.data,
        address=options.address,
        retry=options.retry,
    )


def _folder(options: Cluster, request: Request) -> Path:
    """Where the files go."""
    name = Path(request.dataset.name.removeprefix("folder:")).name
    return options.output or Path(f"{name}-clusters")


def _numbers(options: Cluster, request: Request) -> list[int]:
    images = len(request.dataset.score)
    most = images // _HALVES
    if most < number.RANGE[0]:
        raise InputError(
            f"{images} pictures are too few: clusters are found twice, in each half of the "
            f"pictures, so that there must be at least {_HALVES * number.RANGE[0]}."
        )
    if options.clusters is not None:
        if options.clusters > most:
            raise InputError(
                f"--clusters: {images} pictures have at most {most} clusters, as these are found "
                f"twice, in each half of the pictures; got {options.clusters}."
            )
        return [options.clusters]
    numbers = number.numbers(images)
    if len(numbers) < 2:
        fewest = number.RANGE[0]
        few = f"N, with N from {fewest} to {most}" if most > fewest else str(fewest)
        raise InputError(
            f"{images} pictures are too few to find the number of clusters; say --clusters {few}."
        )
    return numbers


def _print_plan(
    console: Console,
    asked: Train,
    numbers: Sequence[int],
    wanted: Wanted,
    store: Store,
    options: Cluster,
    request: Request,
) -> None:
    todo = work.missing(wanted, store, options.retry)
    runs = {job.id for job in wanted.runs}
    left = sum(job.id in runs for job in todo)
    say.not_here(console, request)
    console.print("[bold]what this stands for[/]")
    console.print(f"  {command_line(asked)}", soft_wrap=True, markup=False)
    if len(numbers) > 1:
        console.print(f"  and the same with clusters={numbers[1]} to {numbers[-1]}")
    console.print(
        f"in the store: {len(runs) - left} of {len(runs)} runs; to do: "
        f"{say.jobs(todo, runs)}{say.cost(todo, store, request) if options.dry_run else ''}"
    )
    if options.encoder is None:
        console.print(
            f"encoder: {asked.encoder}, as none was named and nothing is downloaded unasked; "
            "--encoder dinov2 sees more.",
            soft_wrap=not console.is_terminal,
        )


def _compute(
    options: Cluster, store: Store, request: Request, wanted: Wanted, numbers: Sequence[int]
) -> None:
    """Do what is missing: the encoder's pass with all processors, then the runs side by side."""
    todo = work.missing(wanted, store, options.retry)
    runs = [job.id for job in wanted.runs]
    label = request.dataset.name.partition(":")[0]
    store.write_plan("train", f"cluster-{label}", Plan.of(runs, command_line(options)))
    if not todo:
        return
    work.weights(todo)
    lines = [
        Line(f"{count} clusters", (job.id,))
        for count, job in zip(numbers, wanted.runs, strict=True)
    ]
    with (
        work.interruptible(store, runs, options),
        LiveView(say.title(request, "clusters"), _METRICS) as view,
        work.session(store, options, len(numbers), 1, todo) as session,
    ):
        work.submit(wanted, store, session, options.retry, owner="")
        session.planner.close()
        work.watch(session, view, store, lambda: lines)


# ---- what is said at the end


def _close(
    console: Console, options: Cluster, store: Store, request: Request, runs: dict[int, Job]
) -> Answer:
    """Write the table, the report and the folders."""
    finished = store.finished()
    ids = {count: job.id for count, job in runs.items() if job.id in finished}
    failures = store.failures()
    lost = [(count, job.id) for count, job in runs.items() if job.id not in finished]
    for count, id in lost:
        console.print(
            f"{count} clusters: {failures.get(id, 'not done')}", style="red", markup=False
        )
    if not ids:
        console.print(f"again: {command_line(options, retry='failed')}", soft_wrap=True)
        return Answer(code=3, store=store, runs=[job.id for job in runs.values()])
    order = number.ranked(Candidate.of(k, store.run_row(id)) for k, id in ids.items())
    if options.clusters is None:
        console.print(_curve(order))
        console.print(number.verdict(order), style="bold", soft_wrap=not console.is_terminal)
    best = order[0]
    row = store.run_row(best.run)
    taken = assignments(store, row)
    console.print(_table(taken))
    console.print(
        f"{int(taken['doubtful'].sum()):,} of {taken.height:,} pictures are doubtful: more likely "
        f"in a wrong cluster than in the right one (confidence below {DOUBTFUL:g})."
    )
    files = _take_home(console, options, store, request, best.run, taken)
    store.tidy()
    return Answer(
        code=3 if lost else 0,
        store=store,
        runs=[job.id for job in runs.values()],
        tables={"clusters": taken, "numbers": pl.DataFrame(order)},
        files=files,
    )


def _curve(order: Sequence[Candidate]) -> Table:
    """Every number that was tried, with its stability; the best three are marked."""
    place = {c.clusters: i + 1 for i, c in enumerate(order)}
    largest = max(max(c.excess for c in order), 1e-9)
    table = Table(box=None, pad_edge=False)
    heads = ("clusters", "stability beyond chance", "", "silhouette", "neighbours agree", "")
    for name, justify in zip(
        heads, ("right", "right", "left", "right", "right", "left"), strict=True
    ):
        table.add_column(name, justify=justify)  # type: ignore[arg-type]
    for c in sorted(order, key=lambda c: c.clusters):
        rank = place[c.clusters]
        table.add_row(
            str(c.clusters),
            f"{c.excess:.3f} ± {c.error:.3f}",
            "█" * round(12 * max(0.0, c.excess) / largest),
            *("-" if v is None else f"{v:.3f}" for v in (c.silhouette, c.agreement)),
            {1: "chosen", 2: "second", 3: "third"}.get(rank, ""),
            style="bold" if rank == 1 else None,
        )
    return table


def _table(taken: pl.DataFrame) -> Table:
    """A line for each cluster."""
    table = Table(box=None, pad_edge=False)
    for name in ("cluster", "pictures", "mean confidence", "doubtful"):
        table.add_column(name, justify="right")
    groups = taken.group_by("cluster").agg(
        pl.len(), pl.col("confidence").mean(), pl.col("doubtful").sum().alias("doubted")
    )
    for cluster, count, confidence, doubted in groups.sort("cluster").iter_rows():
        table.add_row(str(cluster), f"{count:,}", f"{confidence:.3f}", f"{doubted:,}")
    return table


def _take_home(
    console: Console,
    options: Cluster,
    store: Store,
    request: Request,
    run: str,
    taken: pl.DataFrame,
) -> list[Path]:
    """The files: report, table, and folders where they were asked for."""
    from deep_clustering.platform.commands._export import write
    from deep_clustering.platform.report import report

    folder = _folder(options, request)
    try:
        folder.mkdir(exist_ok=True)
    except OSError as error:
        raise InputError(f"--output: {folder} cannot be made ({error.strerror}).") from error
    if options.sort_into is not None:
        copied = sort.into(options.sort_into, request.dataset, taken)
        how = f"{copied} copied" if copied else "links"
    table = folder / f"clusters.{options.table}"
    write(taken, table)
    root = work.images_root(options, store)
    report.write(store, run, folder / "report.html", root=root)
    console.print(f"[bold]report[/]   {folder / 'report.html'}", soft_wrap=True)
    console.print(f"[bold]table[/]    {table}", soft_wrap=True)
    if options.sort_into is not None:
        console.print(f"[bold]pictures[/] {options.sort_into} ({how})", soft_wrap=True)
    console.print(f"[bold]run[/]      {run}", soft_wrap=True)
    again = f"platform predict {run[:8]} --images FOLDER --report more.html"
    console.print("[bold]more[/]     ", end="")
    console.print(f"{again}{say.store_option(store)}", soft_wrap=True, markup=False)
    sorted_into = [] if options.sort_into is None else [options.sort_into]
    return [folder / "report.html", table, *sorted_into]
