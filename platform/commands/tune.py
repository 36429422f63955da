"""`platform tune`: a search over a method's hyperparameters."""

import re
import threading
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from optuna.trial import FrozenTrial
from rich.console import Console
from rich.table import Table
from rich.text import Text

from deep_clustering.platform import registry, results
from deep_clustering.platform.commands import _compute as work
from deep_clustering.platform.commands import _say as say
from deep_clustering.platform.commands._answer import Answer
from deep_clustering.platform.commands._live import LiveView, Scored
from deep_clustering.platform.encoders import names as encoders
from deep_clustering.platform.errors import EnvironmentProblem, InputError, nearest
from deep_clustering.platform.evaluation.measures import plural
from deep_clustering.platform.metrics import objectives as known
from deep_clustering.platform.metrics.metric import Metric
from deep_clustering.platform.request.configs import Value
from deep_clustering.platform.request.jobs import stages_at_once
from deep_clustering.platform.request.labels import decided
from deep_clustering.platform.request.options import Tune, command_line
from deep_clustering.platform.request.request import Request, Wanted
from deep_clustering.platform.run import _ray
from deep_clustering.platform.search.samplers import check_sampler, described, grid_size
from deep_clustering.platform.search.study import Settings, Study, short
from deep_clustering.platform.store.store import Store
from deep_clustering.search_spaces._space import Concrete
from deep_clustering.search_spaces._space import resolve as concrete

if TYPE_CHECKING:
    from deep_clustering.platform.search.searcher import Share

#: What a study may be called: it becomes a file name.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")

_SCHEDULERS = ("asha", "none")


def tune(options: Tune) -> Answer:
    """Search on to the number of trials."""
    _ray.prepare(options.address)
    objectives = _objectives(options)
    work.one_process(options, options)
    store = work.open_store(options)
    settings = _settings(options, objectives, store)
    trials = options.trials
    if options.sampler == "grid":  # a grid ends where it ends
        trials = min(trials, grid_size(settings.space))
    name = options.study or settings.default_name()
    if not _NAME.fullmatch(name):
        raise InputError(
            f"--study: letters, digits, '.', '_' and '-' only, at most 64, got '{name}'."
        )
    if options.dry_run:
        _print_dry_run(settings, name, trials, store)
        return Answer(store=store)
    work.begin(store, settings.request)
    with work.alone(store, name):
        study = Study(store, name, settings)
        share = None
        again = study.again() if options.retry else []
        total = max(trials, study.next_number()) + len(again) if again else trials
        with study:
            if len(study.over()) < total:
                work.weights(work.missing(settings.request.wanted([0]), store, options.retry))
                share = _search(study, settings, total, again, store, options)
            else:
                study.begin(study.generation, command_line(options))
        code = _close(study, settings, store, options, trials, share)
        runs = results.study(name, store).select("run_id").collect()["run_id"].unique()
        return Answer(code=code, store=store, runs=runs.to_list())


def _objectives(options: Tune) -> tuple[Metric, ...]:
    """The objectives, after what can be said about the options without the images."""
    objectives = known.parse_objective(options.objective or known.DEFAULT_OBJECTIVE)
    check_sampler(options.sampler)
    if options.scheduler not in _SCHEDULERS:
        raise InputError(
            f"there is no scheduler '{options.scheduler}'."
            f"{nearest(options.scheduler, _SCHEDULERS)} Known: {', '.join(_SCHEDULERS)}."
        )
    if options.scheduler == "asha" and len(objectives) > 1:
        raise InputError(
            "asha stops trials by one objective; give one --objective or no scheduler."
        )
    if options.trials < 1:
        raise InputError(f"--trials: needs at least 1, got {options.trials}.")
    if options.scheduler == "asha" and registry.method(options.method).fit is not None:
        raise InputError(
            f"asha stops trials between epochs, and {options.method} fits at once; "
            "leave --scheduler out."
        )
    return objectives


def _settings(options: Tune, objectives: tuple[Metric, ...], store: Store) -> Settings:
    request = work.resolved(options, options, store)
    if request.dataset.labels is None:
        known.refuse_labels(objectives)
    record = request.record
    if not (record.pretrain or record.fit or record.base or request.features):
        known.refuse_features(request.method, objectives)
    return Settings(
        request=request,
        space=_space(request, options.space),
        objectives=objectives,
        sampler=options.sampler,
        scheduler=options.scheduler,
        seeds=tuple(range(options.seeds)),
        seed=options.sampler_seed,
    )


def _space(request: Request, only: str | None) -> dict[str, Concrete]:
    """The ranges that are searched: those of the method, or of some fields, that are not set."""
    bounds = {"images": len(request.dataset.train)}
    space = concrete(registry.space(request.method), request.config, bounds=bounds)
    if only is not None:
        wanted = [w.strip() for w in only.split(",") if w.strip()]
        unknown = [w for w in wanted if w not in space]
        if unknown:
            raise InputError(
                f"--space: '{unknown[0]}' is not searched.{nearest(unknown[0], space)} "
                f"Known: {', '.join(space)}."
            )
        if both := [w for w in wanted if w in request.fixed]:
            raise InputError(
                f"{both[0]}: --set fixes it and --space searches it; leave one of them out."
            )
        space = {name: space[name] for name in wanted}
    space = {name: domain for name, domain in space.items() if name not in request.fixed}
    if not space:
        raise InputError("the search space is empty: every field is fixed by --set.")
    return space


def _search(
    study: Study,
    settings: Settings,
    total: int,
    again: Sequence[Mapping[str, Value]],
    store: Store,
    options: Tune,
) -> "Share":
    """The part that trains; returns whose time the proposals took."""
    runs = total * len(settings.seeds)
    shared = Wanted(runs=settings.shared())
    every = settings.request.wanted(settings.seeds).before
    stages = stages_at_once(shared.runs) if len(shared.runs) == len(every) else 0
    todo = work.missing(shared, store, options.retry)
    title = say.title(
        settings.request,
        f"{_size(options.trials, options.seeds)}, {described(options.sampler, options.trials)}",
    )
    names = (*(o.name for o in settings.objectives), *say.shown(settings.request))
    submitted = dict.fromkeys(i for trial in study.trials() for i in trial.user_attrs["runs"])
    with (
        work.interruptible(store, submitted.keys(), options, runs),
        LiveView(
            title,
            tuple(dict.fromkeys(names))[:4],
            lambda lines: _best_line(lines, settings.objectives[0]),
            runs,
        ) as view,
        work.session(store, options, runs, stages, todo) as session,
    ):
        study.begin(-(-session.room.lanes // len(settings.seeds)), command_line(options))
        work.submit(shared, store, session, options.retry, owner="")
        # While the first lane starts: Ray Tune, and what the end of the command needs.
        import scipy.stats  # noqa: F401

        from deep_clustering.platform.search import tuner
        from deep_clustering.platform.search.searcher import StudySearcher

        def submit(wanted: Wanted, owner: str) -> None:
            submitted.update((job.id, None) for job in wanted.runs)
            work.submit(wanted, store, session, options.retry, owner)

        searcher = StudySearcher(settings, study, total, submit, again)
        errors: list[BaseException] = []

        def drive() -> None:
            try:
                session.under_way()  # Tune starts a process for each trial
                tuner.run(searcher, settings, session.planner, session.storage)
            except BaseException as error:
                errors.append(error)

        thread = threading.Thread(target=drive, daemon=True)
        thread.start()

        def over() -> bool:
            if searcher.trouble is not None:
                raise searcher.trouble
            return not thread.is_alive()

        work.watch(session, view, store, searcher.lines, until=over)
        if errors:
            raise EnvironmentProblem(
                f"the search stopped ({type(errors[0]).__name__}: {errors[0]}); "
                "give the same command again to continue."
            ) from errors[0]
    return searcher.share


def _size(trials: int, seeds: int) -> str:
    """How much is trained, such as "8 trials × 1 seed"."""
    return f"{plural(trials, 'trial')} × {plural(seeds, 'seed')}"


def _best_line(lines: Scored, objective: Metric) -> str:
    scored = [(v, label) for label, row in lines if (v := row.get(objective.name)) is not None]
    if not scored:
        return ""
    value, label = max(scored) if objective.better == "max" else min(scored)
    return f"best so far: {label}, {objective.name} {value:.3f}"


# ---- what is said at the end


def _close(
    study: Study,
    settings: Settings,
    store: Store,
    options: Tune,
    trials: int,
    share: "Share | None",
) -> int:
    """What is said at the end; returns the exit code."""
    console = Console(highlight=False)
    over = study.over()
    good = [t for t in over if t.values is not None and "metrics" in t.user_attrs]
    failed = study.failed()
    console.print(f"\n{_counted(study.name, over, good)}")
    best = study.best() if good else []
    if best:
        _print_best(console, settings, best, good, options)
    if share is not None and share.trials:
        console.print(_shared(share, described(options.sampler, trials)), style="dim")
    query = f'results.study("{study.name}", store)'
    say.where(console, store, say.best_first(query, settings.request))
    more = command_line(options, trials=trials * 2, retry=None)
    say.going_on(console, "more trials", more)
    store.tidy()
    for trial in failed[:5]:
        reason = trial.user_attrs.get("reason")
        console.print(f"trial {trial.number} failed: {reason}", style="red", markup=False)
    return 3 if failed else 0


def _shared(share: "Share", sampler: str) -> str:
    """Whose time a trial took besides its runs."""
    mine, its = (1e3 * seconds / share.trials for seconds in (share.platform, share.sampler))
    return (
        f"to propose a trial and to record its end: {its:.1f} ms in {sampler}, {mine:.1f} ms here"
    )


def _counted(name: str, over: list[FrozenTrial], good: list[FrozenTrial]) -> str:
    stopped = sum(t.state.name == "PRUNED" for t in over)
    counts = (("stopped early", stopped), ("failed", len(over) - len(good) - stopped))
    rest = "".join(f", {n} {word}" for word, n in counts if n)
    return f"{len(over)} trials of study [bold]{name}[/]: {len(good)} finished{rest}"


def _print_best(
    console: Console,
    settings: Settings,
    best: list[FrozenTrial],
    good: list[FrozenTrial],
    options: Tune,
) -> None:
    from deep_clustering.platform.search import trust

    names = [o.name for o in settings.objectives]
    several = len(names) > 1
    table = Table(title="Pareto front" if several else "best", box=None, pad_edge=False)
    metrics = list(dict.fromkeys([*names, *say.shown(settings.request)]))
    table.add_column("trial", justify="right")
    for metric in metrics:
        table.add_column(metric, justify="right")
    table.add_column("configuration", overflow="fold")
    for trial in best[: 10 if several else 5]:
        values: Mapping[str, float] = trial.user_attrs["metrics"]
        table.add_row(
            str(trial.number),
            *(f"{values[m]:.3f}" if m in values else "-" for m in metrics),
            Text(" ".join(f"{k}={short(v)}" for k, v in trial.params.items())),
        )
    console.print(table)
    seen = [o.name for o in settings.objectives if o.needs_labels]
    how = f"chosen with labels ({', '.join(seen)})" if seen else "chosen without labels"
    request = settings.request
    before = decided(
        request.method,
        request.dataset.name,
        request.values,
        encoders.find(options.encoder, options.architecture) if options.encoder else None,
    )
    how += f"; before, labels were used {' and '.join(before)}" * bool(before)
    console.print(how, style="dim", markup=False)
    if settings.request.dataset.labels is not None:
        console.print(trust.table([t.user_attrs["metrics"] for t in good]), "")
    params: Mapping[str, Value] = best[0].params
    again = say.train_again(options, params, seeds=5)
    say.going_on(console, "train the best", again)


def _print_dry_run(settings: Settings, name: str, trials: int, store: Store) -> None:
    console = Console(highlight=False)
    size = _size(trials, len(settings.seeds))
    console.print(f"study {name}: {size}", style="bold", markup=False)
    say.not_here(console, settings.request)
    for field, domain in settings.space.items():
        console.print(f"  {field}: {domain}", markup=False)
    objectives = ", ".join(f"{o.name} ({o.better})" for o in settings.objectives)
    console.print(f"objective: {objectives}; sampler {described(settings.sampler, trials)}")
    done = len(Study(store, name, settings).over())
    wanted = settings.request.wanted(settings.seeds)
    stages = [job for job in work.missing(wanted, store, None) if job not in wanted.runs]
    runs = list(wanted.runs) * max(0, trials - done)
    console.print(f"in the study: {plural(done, 'trial')}")
    todo, asked = [*stages, *runs], {job.id for job in runs}
    console.print(f"would run: {say.jobs(todo, asked)}{say.cost(todo, store, settings.request)}")
