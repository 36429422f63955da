"""The commands: say which runs are wanted, take away what the store has, have the rest computed."""

import re
import shlex
import statistics
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from deep_clustering.platform.commands import _compute as work
from deep_clustering.platform.commands._live import View
from deep_clustering.platform.errors import EnvironmentProblem, InputError, nearest
from deep_clustering.platform.request.jobs import Job
from deep_clustering.platform.request.request import Request
from deep_clustering.platform.run import _ray
from deep_clustering.platform.run.progress import Line
from deep_clustering.platform.store.store import Plan, Store

#: What a study may be called: it becomes a file name.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


def train(
    *,
    method: str,
    seeds: int,
    workers: int,
    gpus_per_run: float | None,
    address: str | None,
    retry: str | None,
    dry_run: bool,
    store: str | None,
    data: Path | None,
    **asked: Any,
) -> int:
    """`platform train`; returns the exit code."""
    _ray.prepare(address)
    request = work.resolved(method, data=data, address=address, store=store, **asked)
    _one_process(request, workers)
    kept = work.open_store(store)
    jobs = request.jobs(range(seeds))
    runs = [j for j in jobs if j.kind == "run"]
    todo = work.missing(jobs, kept, retry)
    if dry_run:
        _print_dry_run(request, jobs, todo, kept)
        return 0
    name = f"{method}-{request.dataset.name.partition(':')[0]}"
    kept.write_plan("train", name, Plan.of([j.id for j in runs], work.command_line()))
    title = work.title(request, f"{seeds} seed{'s' * (seeds > 1)}")
    rows = [Line(f"seed {j.identity['seed']}", (j.id,)) for j in runs]
    if any(j.kind == "run" for j in todo):
        with (
            work.interruptible(kept, [j.id for j in runs]),
            View(title, work.shown(request)) as view,
            work.session(kept, seeds, workers, gpus_per_run, address) as session,
        ):
            session.ask(
                "submit", [work.with_stored(j, kept) for j in jobs if work.wanted(j, todo, kept)]
            )
            session.ask("close")
            work.watch(session, view, kept, lambda: rows)
    return _close(kept, request, runs)


def tune(
    *,
    method: str,
    seeds: int,
    workers: int,
    gpus_per_run: float | None,
    address: str | None,
    retry: str | None,
    dry_run: bool,
    store: str | None,
    data: Path | None,
    trials: int,
    objective: str | None,
    sampler: str,
    scheduler: str,
    space: str | None,
    study: str | None,
    sampler_seed: int,
    **asked: Any,
) -> int:
    """`platform tune`; returns the exit code."""
    _ray.prepare(address)
    from deep_clustering.platform import registry
    from deep_clustering.platform.metrics import objectives as known
    from deep_clustering.platform.search import study as search
    from deep_clustering.platform.search.samplers import check_sampler, grid_size

    objectives = known.parse_objective(objective or known.DEFAULT_OBJECTIVE)
    check_sampler(sampler)
    if scheduler not in ("asha", "none"):
        raise InputError(
            f"there is no scheduler '{scheduler}'.{nearest(scheduler, ('asha', 'none'))} "
            "Known: asha, none."
        )
    if scheduler == "asha" and len(objectives) > 1:
        raise InputError(
            "asha stops trials by one objective; give one --objective or no scheduler."
        )
    if trials < 1:
        raise InputError(f"--trials: needs at least 1, got {trials}.")
    request = work.resolved(method, data=data, address=address, store=store, **asked)
    _one_process(request, workers)
    if scheduler == "asha" and request.record.fit is not None:
        raise InputError(
            f"asha stops trials between epochs, and {method} fits at once; leave --scheduler out."
        )
    if request.dataset.labels is None:
        known.refuse_labels(objectives)
    domains = _space(registry.space(method), request, space)
    settings = search.Settings(
        request=request,
        space=domains,
        objectives=objectives,
        sampler=sampler,
        scheduler=scheduler,
        seeds=tuple(range(seeds)),
        seed=sampler_seed,
    )
    if sampler == "grid":  # a grid ends where it ends
        trials = min(trials, grid_size(domains))
    name = study or settings.default_name()
    if not _NAME.fullmatch(name):
        raise InputError(
            f"--study: letters, digits, '.', '_' and '-' only, at most 64, got '{name}'."
        )
    kept = work.open_store(store)
    if dry_run:
        _print_dry_search(settings, name, trials, kept)
        return 0
    watched = tuple(dict.fromkeys((*(o.name for o in objectives), *work.shown(request))))[:4]
    title = work.title(request, f"{trials} trials × {seeds} seed{'s' * (seeds > 1)}, {sampler}")
    with work.alone(kept, name):
        held = search.Study(kept, name, settings)
        again = held.enqueue_failed() if retry else 0
        if len(held.over()) < trials + again:
            _search(
                held,
                settings,
                trials + again,
                kept,
                title,
                watched,
                retry=bool(retry),
                workers=workers,
                gpus_per_run=gpus_per_run,
                address=address,
            )
        return _conclude(held, settings, kept, trials)


def _search(
    held: Any,
    settings: Any,
    total: int,
    kept: Store,
    title: str,
    watched: tuple[str, ...],
    *,
    retry: bool,
    **use: Any,
) -> None:
    """The part of `tune` that trains."""
    from deep_clustering.platform.search import study as search

    failed = {} if retry else kept.failures()
    found: dict[str, Any] = {}
    with (
        work.interruptible(kept, found),
        View(
            title,
            watched,
            lambda rows: _best_line(rows, settings.objectives),
            total * len(settings.seeds),
        ) as view,
        work.session(kept, total * len(settings.seeds), **use) as session,
    ):
        held.settle(-(-session.room.lanes // len(settings.seeds)))
        finished = kept.finished()

        def known(run: str) -> dict[str, Any]:
            if run in finished:
                return {"stored": kept.metrics_of(run)}
            return {"failed": failed[run]} if run in failed else {}

        def submit(jobs: list[dict[str, Any]], owner: str) -> None:
            found.update((j["id"], None) for j in jobs if j["kind"] == "run")
            kept.write_plan("study", held.name, Plan.of(sorted(found)))
            session.ask("submit", jobs, owner)

        searcher = search.Search(settings, held, total, known=known, submit=submit)
        errors: list[BaseException] = []

        def drive() -> None:
            try:
                search.run(searcher, settings, session.planner, session.storage)
            except BaseException as error:
                errors.append(error)

        thread = threading.Thread(target=drive, daemon=True)
        thread.start()
        work.watch(session, view, kept, searcher.rows, until=lambda: not thread.is_alive())
        if errors:
            raise EnvironmentProblem(
                f"the search stopped ({type(errors[0]).__name__}: {errors[0]}); "
                "give the same command again to continue."
            ) from errors[0]


def _conclude(held: Any, settings: Any, kept: Store, trials: int) -> int:
    """What is said at the end of a search; returns the exit code."""
    from deep_clustering.platform.search import study as search
    from deep_clustering.platform.search import trust

    console = Console(highlight=False)
    over = held.over()
    good = [t for t in over if t.values is not None and "metrics" in t.user_attrs]
    names = [o.name for o in settings.objectives]
    console.print(
        f"\n{len(over)} trials of study [bold]{held.name}[/]: {len(good)} finished"
        + "".join(
            f", {n} {word}"
            for word, n in (
                ("stopped early", sum(t.state.name == "PRUNED" for t in over)),
                ("failed", len(over) - len(good) - sum(t.state.name == "PRUNED" for t in over)),
            )
            if n
        )
    )
    best = search.best(held.study, settings.objectives) if good else []
    if best:
        several = len(names) > 1
        table = Table(title="Pareto front" if several else "best", box=None, pad_edge=False)
        metrics = list(dict.fromkeys([*names, *work.shown(settings.request)]))
        table.add_column("trial", justify="right")
        for metric in metrics:
            table.add_column(metric, justify="right")
        table.add_column("configuration", overflow="fold")
        for trial in best[: 10 if several else 5]:
            values = trial.user_attrs["metrics"]
            table.add_row(
                str(trial.number),
                *(f"{values[m]:.3f}" if m in values else "-" for m in metrics),
                " ".join(f"{k}={search.short(v)}" for k, v in trial.params.items()),
            )
        console.print(table)
        how = [o.name for o in settings.objectives if o.needs_labels]
        console.print(
            f"chosen with labels ({', '.join(how)})" if how else "chosen without labels",
            style="dim",
        )
        if settings.request.dataset.labels is not None:
            rows = [t.user_attrs["metrics"] for t in good]
            console.print(trust.table(rows), "")
        example = " ".join(f"--set {k}={work.plain(v)}" for k, v in best[0].params.items())
        console.print("[bold]train the best[/]", soft_wrap=True)
        console.print(f"  {_again('train', settings.request, example)}", soft_wrap=True)
    work.where(console, kept, f'results.study("{held.name}", store)')
    console.print(f"[bold]more trials[/]\n  {work.command_line(trials=trials * 2)}", soft_wrap=True)
    kept.compact_if_needed()
    failed = [t for t in over if t.state.name == "FAIL"]
    for trial in failed[:5]:
        console.print(f"trial {trial.number} failed: {trial.user_attrs.get('reason')}", style="red")
    return 3 if failed else 0


def _close(kept: Store, request: Request, runs: list[Job]) -> int:
    """What is said at the end of `train`; returns the exit code."""
    console = Console(highlight=False)
    finished, failures = kept.finished(), kept.failures()
    table = Table(box=None, pad_edge=False)
    shown = work.shown(request)
    for column in ("run", "seed", *shown):
        table.add_column(column, justify="left" if column == "run" else "right")
    rows = []
    for job in runs:
        if job.id in finished:
            values = kept.metrics_of(job.id)
            rows.append(values)
            table.add_row(
                job.id,
                str(job.identity["seed"]),
                *("-" if values.get(m) is None else f"{values[m]:.3f}" for m in shown),
            )
        else:
            reason = failures.get(job.id, "not done")
            table.add_row(job.id, str(job.identity["seed"]), f"[red]{reason}[/]")
    if len(rows) > 1:
        means = [[r[m] for r in rows if r.get(m) is not None] for m in shown]
        table.add_row(
            f"mean ± sd, n={len(rows)}",
            "",
            *(
                f"{statistics.fmean(v):.3f}±{statistics.stdev(v):.3f}" if len(v) > 1 else "-"
                for v in means
            ),
        )
    console.print(table)
    if any(values.get("collapsed") for values in rows):
        console.print("a run collapsed: nearly all images are in one cluster", style="bold red")
    work.where(console, kept, "results.runs(store)")
    if rows and request.record.fit is not None:
        console.print(
            "[bold]the cluster of every sample[/]\n  platform results predictions --output FILE"
            f"{work.store_option(kept)}",
            soft_wrap=True,
        )
    elif rows:
        first = next(j.id for j in runs if j.id in finished)
        console.print(
            f"[bold]cluster new images[/]\n  platform predict {first[:8]} --images FOLDER"
            f"{work.store_option(kept)}",
            soft_wrap=True,
        )
    kept.compact_if_needed()
    lost = [j for j in runs if j.id not in finished]
    if lost:
        console.print(
            f"{len(lost)} of {len(runs)} runs failed; again: {work.command_line()} --retry failed"
        )
    return 3 if lost else 0


def _one_process(request: Request, workers: int) -> None:
    if workers > 1 and request.record.fit is not None:
        raise InputError(
            f"--workers: {request.method} fits all samples in one process; leave the option out."
        )


# ---- predict and results


def predict(
    *,
    run: str,
    images: Path,
    output: Path | None,
    skip_broken: bool,
    store: str | None,
    data: Path | None,
) -> int:
    """`platform predict`; returns the exit code."""
    from deep_clustering.platform.evaluation import finished as prediction

    table, spread = prediction.predict(
        work.open_store(store, create=False),
        run,
        images,
        root=work.data_root(data),
        skip_broken=skip_broken,
    )
    if output is not None:
        from deep_clustering.platform.commands._export import write

        write(table, output)
        print(f"{table.height} images clustered; written to {output}")
    else:
        Console(highlight=False).print(spread)
        print("give --output FILE (.csv, .parquet, .arrow) for the cluster of every image")
    return 0


def results(
    *,
    table: str,
    where: str | None,
    sort: str | None,
    columns: str | None,
    study: str | None,
    suite: str | None,
    limit: int | None,
    output: Path | None,
    verify: bool,
    repair: bool,
    store: str | None,
) -> int:
    """`platform results`; returns the exit code."""
    from deep_clustering.platform import results as tables
    from deep_clustering.platform.commands import _export

    kept = work.open_store(store, create=False)
    if verify or repair:
        problems = kept.repair() if repair else kept.verify()
        for problem in problems:
            print(f"{problem.path}: {problem.reason}")
        found = f"{len(problems)} damaged files" if problems else "every file is whole"
        print(found + ", moved to quarantine/" * bool(problems and repair))
        return 4 if problems and not repair else 0
    if study and suite:
        raise InputError("give --study or --suite, not both.")
    if study:
        frame = tables.study(study, kept.uri)
    elif suite:
        frame = tables.suite(suite, kept.uri)
    else:
        frame = getattr(tables, table)(kept.uri)
    chosen = _export.select(frame, where=where, sort=sort, columns=columns, limit=limit)
    if output is not None:
        _export.write(chosen, output)
        print(f"{chosen.height} rows written to {output}")
    else:
        _export.show(chosen, Console(highlight=False))
    return 0


def _space(space: Any, request: Request, only: str | None) -> dict[str, Any]:
    from deep_clustering.search_spaces._space import resolve as concrete

    fixed = {k for name, layer in request.layers if name == "--set" for k in layer}
    found = concrete(space, request.config, bounds={"images": len(request.dataset.train)})
    if only is not None:
        wanted = [w.strip() for w in only.split(",") if w.strip()]
        unknown = [w for w in wanted if w not in found]
        if unknown:
            raise InputError(
                f"--space: '{unknown[0]}' is not searched.{nearest(unknown[0], found)} "
                f"Known: {', '.join(found)}."
            )
        if both := [w for w in wanted if w in fixed]:
            raise InputError(
                f"{both[0]}: --set fixes it and --space searches it; leave one of them out."
            )
        found = {name: found[name] for name in wanted}
    found = {name: domain for name, domain in found.items() if name not in fixed}
    if not found:
        raise InputError("the search space is empty: every field is fixed by --set.")
    return found


def _best_line(rows: list[tuple[str, Mapping[str, Any]]], objectives: Any) -> str:
    first = objectives[0]
    scored = [(v[first.name], label) for label, v in rows if v.get(first.name) is not None]
    if not scored:
        return ""
    value, label = max(scored) if first.better == "max" else min(scored)
    return f"best so far: {label}, {first.name} {value:.3f}"


def _again(command: str, request: Request, extra: str) -> str:
    given = [
        f"--set {k}={work.plain(v)}"
        for n, layer in request.layers
        if n == "--set"
        for k, v in layer.items()
    ]
    preset = next((f"--preset {n}" for n, _ in request.layers if n in request.record.readings), "")
    parts = ["platform", command, request.method, "--dataset", shlex.quote(request.dataset.name)]
    parts += ["--features", request.features.asked] if request.features else []
    return " ".join(p for p in [*parts, preset, *given, extra, "--seeds 5"] if p)


# ---- dry runs


def _print_dry_run(request: Request, jobs: list[Job], todo: list[Job], kept: Store) -> None:
    console = Console(highlight=False)
    runs = [j for j in jobs if j.kind == "run"]
    missing = [j for j in todo if j.kind == "run"]
    console.print(f"[bold]{work.title(request, f'{len(runs)} runs')}[/]", soft_wrap=True)
    for name, layer in request.layers:
        if layer:
            changed = " ".join(f"{k}={work.plain(v)}" for k, v in layer.items())
            console.print(f"  {name}: {changed}", soft_wrap=True, markup=False)
    console.print(f"in the store: {len(runs) - len(missing)} of {len(runs)} runs")
    stages = len(todo) - len(missing)
    console.print(f"would run: {stages} pretraining, {len(missing)} runs{work.cost(todo, kept)}")


def _print_dry_search(settings: Any, name: str, trials: int, kept: Store) -> None:
    console = Console(highlight=False)
    console.print(f"[bold]study {name}: {trials} trials × {len(settings.seeds)} seeds[/]")
    for field, domain in settings.space.items():
        console.print(f"  {field}: {domain}", markup=False)
    objectives = ", ".join(f"{o.name} ({o.better})" for o in settings.objectives)
    console.print(f"objective: {objectives}; sampler {settings.sampler}")
    done = 0
    journal = kept.local / "studies" / f"{name}.log" if kept.local else None
    if journal is not None and journal.exists():
        from deep_clustering.platform.search.study import Study

        done = len(Study(kept, name, settings).over())
    jobs = settings.request.jobs(settings.seeds)
    todo = [j for j in work.missing(jobs, kept, None) if j.kind != "run"]
    runs = [j for j in jobs if j.kind == "run"] * max(0, trials - done)
    console.print(f"in the study: {done} trials")
    console.print(
        f"would run: {len(todo)} pretraining, {len(runs)} runs{work.cost(todo + runs, kept)}"
    )
