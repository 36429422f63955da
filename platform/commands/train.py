"""`platform train`: one configuration on one or several seeds."""

import statistics
from collections.abc import Mapping

from rich.console import Console
from rich.table import Table
from rich.text import Text

from deep_clustering.platform.commands import _compute as work
from deep_clustering.platform.commands import _say as say
from deep_clustering.platform.commands._answer import Answer
from deep_clustering.platform.commands._live import LiveView
from deep_clustering.platform.evaluation.measures import plural
from deep_clustering.platform.request.jobs import Job, stages_at_once
from deep_clustering.platform.request.options import Train, command_line, text
from deep_clustering.platform.request.request import Request, Wanted
from deep_clustering.platform.run import _ray
from deep_clustering.platform.run.progress import Line, numbers_in
from deep_clustering.platform.store.store import Plan, Store


def train(options: Train) -> Answer:
    """Train what is not in the store."""
    _ray.prepare(options.address)
    work.one_process(options, options)
    store = work.open_store(options)
    request = work.resolved(options, options, store)
    wanted = request.wanted(range(options.seeds))
    todo = work.missing(wanted, store, options.retry)
    if options.dry_run:
        _print_dry_run(request, wanted, todo, store)
        return work.answered(store, wanted, todo)
    work.begin(store, request)
    work.weights(todo)
    name = f"{options.method}-{request.dataset.name.partition(':')[0]}"
    runs = [job.id for job in wanted.runs]
    store.write_plan("train", name, Plan.of(runs, command_line(options)))
    several = "s" * (options.seeds > 1)
    title = say.title(request, f"{options.seeds} seed{several}")
    lines = [Line(f"seed {job.seed}", (job.id,)) for job in wanted.runs]
    if todo:
        with (
            work.interruptible(store, runs, options),
            LiveView(title, say.shown(request)) as view,
            work.session(
                store, options, options.seeds, stages_at_once(wanted.before), todo
            ) as session,
        ):
            work.submit(wanted, store, session, options.retry, owner="")
            session.planner.close()
            work.watch(session, view, store, lambda: lines)
    code = _close(store, request, wanted.runs, options)
    return work.answered(store, wanted, work.missing(wanted, store, None), code)


def _close(store: Store, request: Request, runs: tuple[Job, ...], options: Train) -> int:
    """What is said at the end; returns the exit code."""
    console = Console(highlight=False)
    finished, failures = store.finished(), store.failures()
    rows = {job.id: numbers_in(store.run_row(job.id)) for job in runs if job.id in finished}
    console.print(_table(say.shown(request, rows.values()), runs, rows, failures))
    if any(values.get("collapsed") for values in rows.values()):
        console.print("a run collapsed: nearly all images are in one cluster", style="bold red")
    say.where(console, store, say.best_first("results.runs(store)", request))
    if rows and request.record.fit is not None:
        of = f"--where \"run_id = '{next(iter(rows))}'\""
        command = f"platform results predictions {of} --output FILE{say.store_option(store)}"
        say.going_on(console, "the cluster of every sample", command)
    elif rows:
        first = next(iter(rows))
        command = f"platform predict {first[:8]} --images FOLDER{say.store_option(store)}"
        say.going_on(console, "cluster new images", command)
    store.tidy()
    lost = len(runs) - len(rows)
    if lost:
        again = command_line(options, retry="failed")
        text = f"{lost} of {len(runs)} runs failed; again: {again}"
        console.print(text, soft_wrap=True, markup=False)
    return 3 if lost else 0


def _table(
    shown: tuple[str, ...],
    runs: tuple[Job, ...],
    rows: Mapping[str, Mapping[str, float | None]],
    failures: Mapping[str, str],
) -> Table:
    """A line a run, and their mean and standard deviation."""
    table = Table(box=None, pad_edge=False)
    for column in ("run", "seed", *shown):
        table.add_column(column, justify="left" if column == "run" else "right")
    for job in runs:
        values = rows.get(job.id)
        if values is None:
            reason = failures.get(job.id, "not done")
            table.add_row(job.id, str(job.seed), Text(reason, style="red"))
            continue
        numbers = [values.get(metric) for metric in shown]
        cells = ["-" if number is None else f"{number:.3f}" for number in numbers]
        table.add_row(job.id, str(job.seed), *cells)
    if len(rows) > 1:
        columns = [[n for row in rows.values() if (n := row.get(m)) is not None] for m in shown]
        means = [
            f"{statistics.fmean(c):.3f}±{statistics.stdev(c):.3f}" if len(c) > 1 else "-"
            for c in columns
        ]
        table.add_row(f"mean ± sd, n={len(rows)}", "", *means)
    return table


def _print_dry_run(request: Request, wanted: Wanted, todo: list[Job], store: Store) -> None:
    console = Console(highlight=False)
    runs, asked = wanted.runs, {job.id for job in wanted.runs}
    left = [job for job in todo if job.id in asked]
    title = say.title(request, plural(len(runs), "run"))
    console.print(title, style="bold", soft_wrap=True, markup=False)
    say.not_here(console, request)
    for name, layer in request.layers:
        if layer:
            changed = " ".join(f"{k}={text(v)}" for k, v in layer.items())
            console.print(f"  {name}: {changed}", soft_wrap=True, markup=False)
    console.print(f"in the store: {len(runs) - len(left)} of {len(runs)} runs")
    console.print(f"would run: {say.jobs(todo, asked)}{say.cost(todo, store, request)}")
