"""`platform ablate`: a suite's runs, its table beside the published one, and its verdicts."""

import datetime
import math
import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from deep_clustering.ablations._suite import Direction, Replicated, Suite
from deep_clustering.platform import registry
from deep_clustering.platform.commands import _compute as work
from deep_clustering.platform.commands import _say as say
from deep_clustering.platform.commands._live import LiveView, clock
from deep_clustering.platform.data.dataset import ImageSet
from deep_clustering.platform.errors import InputError, PlatformError
from deep_clustering.platform.evaluation import measures
from deep_clustering.platform.evaluation.contract import Context, Subject
from deep_clustering.platform.metrics.metric import PERCENT
from deep_clustering.platform.request import configs
from deep_clustering.platform.request.jobs import RUN, Job
from deep_clustering.platform.request.options import Ablate, Asked, command_line
from deep_clustering.platform.request.request import Request, Wanted, pretrained
from deep_clustering.platform.run import _ray, estimates, evaluations
from deep_clustering.platform.run.failure import Kind
from deep_clustering.platform.run.progress import Line
from deep_clustering.platform.store.store import Store
from deep_clustering.platform.suites import chances, claims, plans, suites
from deep_clustering.platform.suites.cells import Cell, cells_of, replications
from deep_clustering.platform.suites.measured import Against, Measured, compared, measured

_STYLES = {
    "REPLICATED": "green",
    "SMALLER": "magenta",
    "DIRECTION ONLY": "yellow",
    "NOT REPLICATED": "red",
    "INCONCLUSIVE": "cyan",
    "NOT TESTABLE": "dim",
}


def ablate(options: Ablate) -> int:
    """Run what a suite lacks and say which claims hold; returns the exit code."""
    _ray.prepare(options.address)
    suite = suites.altered(_chosen(options), options.sets, options.preset, options.protocol)
    store = work.open_store(options)
    replicate = _replicated(options, suite)
    if options.dry_run:
        others: tuple[Replicated, ...] = ("pretraining", "training")
        expansions = {way: _expansion(suite, options, store, way) for way in others}
        _print_dry_run(expansions, replicate, options, store)
        return 0
    expansion = _expansion(suite, options, store, replicate)
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    before = store.read_plan("suite", suite.name)
    plan = plans.plan_of(expansion, before, now, command_line(options))
    store.write_plan("suite", suite.name, plan)
    planned = _evaluations(expansion, work.images_root(options, store))
    failed = _run(expansion, planned.jobs, store, options)
    return _close(expansion, store, options, {**planned.impossible, **failed})


def _replicated(options: Ablate, suite: Suite) -> Replicated:
    """What a seed draws anew: as asked, as `--set pretrain.seed` implies, or as the suite says.

    Raises:
        InputError: the first two contradict each other.
    """
    by_hand = [s for s in options.sets if s.partition("=")[0] == "pretrain.seed"]
    implied: Replicated | None = None
    if by_hand:
        none = by_hand[-1].partition("=")[2].strip().lower() == "none"
        implied = "pretraining" if none else "training"
        if options.replicate not in (None, implied):
            raise InputError(
                f"--replicate {options.replicate} and --set {by_hand[-1]} contradict each other; "
                "leave one of them out."
            )
    return options.replicate or implied or suite.replicate


def _expansion(
    suite: Suite, options: Ablate, store: Store, replicate: Replicated
) -> suites.Expansion:
    names, seeds = options.dataset or suite.datasets, options.seeds or suite.seeds
    resolve = _resolver(suite, options, store, replicate)
    return suites.expand(suite, names, range(seeds), resolve)


def _resolver(suite: Suite, options: Ablate, store: Store, replicate: Replicated) -> suites.Resolve:
    """The full method of a row on a data set, as the options and the suite change it."""
    parts = suites.methods(suite)

    def request(name: str, method: str, features: str | None, base: str | None) -> Request:
        # where rows are of several methods, each takes the fields that it has
        fields = _fields(method, features)
        anywhere = {field for m, f in parts for field in _fields(m, f)}
        mine = [
            s for s in options.sets if (f := s.partition("=")[0]) in fields or f not in anywhere
        ]
        if replicate == "pretraining":  # also without the option, by --set pretrain.seed=none
            mine = [s for s in mine if s.partition("=")[0] != "pretrain.seed"]
        asked = Asked(
            method=method,
            dataset=name,
            features=features,
            base=base,
            sets=tuple(mine),
            preset=suite.preset if features or method == suite.method else None,
            protocol=suite.protocols.get(name, suite.protocol),
            replicate=replicate if pretrained(method, features, base) else None,
            side=options.side,
            skip_broken=options.skip_broken,
        )
        unread = options.dry_run or not suite.rows
        return work.resolved(asked, options, store, outline="missing" if unread else "never")

    return request


def _fields(method: str, features: str | None) -> set[str]:
    """What --set can change for a method, and of the pretraining whose features it clusters."""
    own = set(configs.fields(registry.method(method).config))
    if features is None:
        return own
    theirs = configs.fields(registry.method(features).config)
    return own | {field for field in theirs if field.startswith("pretrain.")}


def _chosen(options: Ablate) -> Suite:
    if options.suite is not None:
        if options.method is not None or options.variants is not None or options.leave_one_out:
            raise InputError(
                "--suite names a suite as a whole: leave out METHOD, --variants and "
                "--leave-one-out, or leave out --suite."
            )
        return suites.find(options.suite)
    if options.method is None:
        raise InputError(
            "say what to ablate: --suite NAME (`platform suites` lists them), or a method with "
            "--variants or --leave-one-out."
        )
    return suites.made_up(options.method, options.variants, options.leave_one_out)


@dataclass(frozen=True, kw_only=True)
class _Evaluations:
    """The evaluations of a suite's runs.

    Attributes:
        jobs: with what each is compared with.
        impossible: what cannot be compared with, and why.
    """

    jobs: tuple[tuple[Job, str], ...]
    impossible: Mapping[str, str]


def _evaluations(expansion: suites.Expansion, root: Path) -> _Evaluations:
    """Plan what the suite wants its runs to be compared with; what is not to be had stays out."""
    context = Context(root=root)
    jobs: dict[str, tuple[Job, str]] = {}
    impossible: dict[str, str] = {}
    for name, things in expansion.suite.evaluations.items():
        for arm in expansion.arms:
            dataset = expansion.requests[arm.dataset].dataset
            for job in arm.runs:
                for thing in things:
                    if thing in impossible or not isinstance(dataset, ImageSet):
                        continue
                    try:
                        subject = Subject.of_job(job, dataset)
                        planned = evaluations.planned(name, subject, thing, context)
                        jobs[planned.id] = (planned, thing)
                    except PlatformError as error:  # its cells stay empty
                        impossible[thing] = str(error)
    return _Evaluations(jobs=tuple(jobs.values()), impossible=impossible)


def _run(
    expansion: suites.Expansion,
    evaluated: tuple[tuple[Job, str], ...],
    store: Store,
    options: Ablate,
) -> dict[str, str]:
    """Compute what is missing of the runs and of their evaluations.

    Returns:
        What runs could not be compared with -> why.
    """
    several = len(expansion.requests) > 1
    lines = [
        Line(
            f"{arm.row.name} {arm.dataset}" if several else arm.row.name,
            tuple(job.id for job in arm.runs),
        )
        for arm in expansion.arms
        if arm.runs
    ]
    runs = [job.id for job in expansion.runs]
    targets = (*expansion.runs, *(job for job, _ in evaluated))
    wanted = Wanted(runs=targets, before=expansion.wanted.before)
    if not work.missing(wanted, store, options.retry):
        return {}
    shown = say.shown(next(iter(expansion.requests.values())))
    title = f"{expansion.suite.name} on {', '.join(expansion.requests)}: {len(runs)} runs"
    with (
        work.interruptible(store, runs, options),
        LiveView(title, shown) as view,
        work.session(store, options, len(runs)) as session,
    ):
        work.submit(wanted, store, session, options.retry, owner="")
        session.planner.close()
        failures = work.watch(session, view, store, lambda: lines)
    own = {job.id: thing for job, thing in evaluated}
    return {own[i]: f.reason for i, f in failures if i in own and f.kind is not Kind.NEED}


# ---- what is said at the end


def _close(
    expansion: suites.Expansion, store: Store, options: Ablate, outside: Mapping[str, str]
) -> int:
    """What is said at the end; returns the exit code."""
    console = Console(highlight=False)
    name = expansion.suite.name
    suite = measured(store, name)
    table = cells_of(suite)
    for dataset in expansion.requests:
        for against in compared(suite.current.suite):
            part = [c for c in table if (c.dataset, c.against) == (dataset, against)]
            _print_table(console, suite, part, dataset, against)
    _print_verdicts(console, suite, set(expansion.requests))
    for remark in suite.current.remarks:
        console.print(f"note: {remark}", style="yellow", markup=False)
    console.print("[bold]read the results[/]")
    console.print("  from deep_clustering.platform import results", soft_wrap=True)
    console.print(f"  store = {store.uri!r}", soft_wrap=True, markup=False)
    for query in ("suite", "cells", "verdicts"):
        console.print(f'  results.{query}("{name}", store).collect()', soft_wrap=True, markup=False)
    option = say.store_option(store)
    say.going_on(console, "see it all", f"platform report {name}{option}")
    store.tidy()
    finished, failures = store.finished(), store.failures()
    lost = [job for job in expansion.runs if job.id not in finished]
    reasons = Counter(failures.get(job.id, "not done") for job in lost)
    for reason, count in reasons.most_common(5):
        console.print(f"{count} failed: {reason}", style="red", markup=False)
    if lost:
        again = command_line(options, retry="failed")
        text = f"{len(lost)} of {len(expansion.runs)} runs failed; again: {again}"
        console.print(text, soft_wrap=True, markup=False)
    for name, reason in outside.items():
        console.print(f"not compared with {name}: {reason}", style="red", markup=False)
    return 3 if lost or outside else 0


def _print_table(
    console: Console,
    measured: Measured,
    table: Sequence[Cell],
    dataset: str,
    against: Against | None,
) -> None:
    suite = measured.current.suite
    if not table:
        return
    printed = any(cell.published is not None for cell in table)
    counts = {cell.n for cell in table if cell.mark == "measured"}
    title = f"{suite.name} on {dataset}" + (f" against {against.thing}" if against else "")
    view = Table(title=escape(title), box=None, pad_edge=False, title_justify="left")
    view.add_column("", overflow="fold")
    for metric in suite.metrics:
        view.add_column(f"{metric}\n[dim]paper[/]" if printed else metric, justify="right")
    notes: dict[str, str] = {}
    rows: dict[tuple[str, str], dict[str, Cell]] = {}
    for cell in table:
        rows.setdefault((cell.section, cell.variant), {})[cell.metric] = cell
    last = None
    for (section, variant), row in rows.items():
        if section != last and section:
            view.add_row(f"[bold]{escape(section)}[/]")
        last = section
        name = escape(variant)
        only = all(cell.mark == "published only" for cell in row.values())
        texts = [_cell(row.get(metric), notes, printed) for metric in suite.metrics]
        view.add_row(f"[dim]{name}[/]" if only else name, *texts)
    console.print(view)
    over = ", ".join(replications(table))
    about = [f"mean ± half of its 95 % interval over {over}" if over else "nothing measured yet"]
    if 1 in counts:
        about.append("a single measurement, n = 1, has no interval")
    if printed:
        about.append("below: as printed in the paper, dim rows are published only")
    units = {m: measures.unit(m) for m in suite.metrics}
    about += ["shares in percent"] if PERCENT in units.values() else []
    about += [measures.heading(m) for m, u in units.items() if u.factor not in (1, PERCENT.factor)]
    note = f". {suite.note}" if suite.note else ""
    console.print("; ".join(about) + note, style="dim", markup=False)
    for (variant, where), reason in measured.current.impossible.items():
        if where == dataset:
            text = f"{variant} is not possible on {dataset}: {reason}"
            console.print(text, style="yellow", markup=False)
    for note, mark in notes.items():
        console.print(f"{mark} {note}", style="yellow", markup=False)


def _cell(cell: Cell | None, notes: dict[str, str], printed: bool) -> str:
    """The text of a cell; `notes`, remark -> its mark, gets those that the cell needs."""
    if cell is None:
        return "-"
    scale = measures.unit(cell.metric).factor
    if cell.mean is not None:
        digits = ".3g" if scale == 1 else ".1f"
        ours = f"{scale * cell.mean:{digits}}"
        if cell.low is not None and cell.high is not None:
            ours += f"±{scale * (cell.high - cell.low) / 2:{digits}}"
        if cell.failed:
            ours += f" ({cell.failed} failed)"
        if cell.collapsed:
            two = f"{cell.collapsed} of {cell.runs} runs collapsed"
            if cell.collapsed < cell.runs:
                two += ": the mean is of two kinds of runs"
            ours += notes.setdefault(two, "*" * (len(notes) + 1))
        if cell.n == 1:
            ours += " (1)"
    else:
        ours = "" if cell.mark == "published only" else cell.mark
    if not printed:
        return ours or "-"
    theirs = cell.printed or ""
    if cell.flag:
        theirs += notes.setdefault(f"doubted: {cell.flag}", "*" * (len(notes) + 1))
    if cell.protocol_match is False:
        theirs += notes.setdefault(f"not comparable: {cell.reason}", "*" * (len(notes) + 1))
    return "\n".join(x for x in (ours, f"[dim]{theirs}[/]" if theirs else "") if x) or "-"


def _print_verdicts(console: Console, suite: Measured, datasets: set[str]) -> None:
    judged = [one for one in claims.judgements(suite) if one.dataset in datasets]
    if not judged:
        return
    view = Table(title="verdicts", box=None, pad_edge=False, title_justify="left")
    view.add_column("claim", overflow="fold")
    view.add_column("verdict", no_wrap=True)
    view.add_column("difference", justify="right")
    view.add_column("paper", justify="right", no_wrap=True)
    view.add_column("n", justify="right", no_wrap=True)
    view.add_column("p", justify="right", no_wrap=True)
    view.add_column("more\nseeds", justify="right", no_wrap=True)
    several = len({one.dataset for one in judged}) > 1
    for one in judged:
        claim = f"{one.variant}: {one.metric} {_relation(one.direction, one.against)}"
        claim = escape(claim + (f" on {one.dataset}" if several else ""))
        name, scale = one.verdict, measures.unit(one.metric).factor
        if name == "NOT TESTABLE":
            claim += f"\n[dim]{escape(one.reason)}[/]"
        ours = "-"
        if one.difference is not None:
            ours = f"{scale * one.difference:+.1f}\n[dim]{_range(one, scale)}[/]"
        seeds = one.further_seeds
        more = "-" if name != "INCONCLUSIVE" else "over 1000" if seeds is None else str(seeds)
        view.add_row(
            claim,
            f"[{_STYLES[name]}]{name}[/]",
            ours,
            "-" if one.published is None else f"{scale * one.published:+.1f}",
            str(one.n),
            "-" if one.adjusted is None else f"{one.adjusted:.2g}",
            more,
        )
    console.print(view)
    console.print(
        "differences, and between what they are shown to lie: with 95 % for all claims of the "
        "suite at once, also when seeds are added after looking; p likewise; "
        f'in words: results.verdicts("{suite.current.suite.name}", store)',
        style="dim",
    )
    pairs = [one.correlation for one in judged if one.correlation is not None]
    if pairs:
        mean = statistics.fmean(pairs)
        console.print(
            f"runs are paired by pretraining and seed; mean correlation of pairs {mean:.2f}",
            style="dim",
        )


def _range(one: claims.JudgedClaim, scale: float) -> str:
    """Between what a difference is shown to lie."""
    low, high = one.at_least, one.at_most
    if low is None and high is None:
        return "no bounds yet"
    if low is None or high is None:
        word, end = ("from", low) if low is not None else ("up to", high)
        return f"{word} {scale * (end or 0.0):+.1f}"
    return f"{scale * low:+.1f} to {scale * high:+.1f}"


def _relation(direction: Direction, against: str) -> str:
    word = {"higher": "above", "lower": "below", "equal": "like"}[direction]
    return f"{word} {against}"


# ---- dry run


def _print_dry_run(
    expansions: Mapping[Replicated, suites.Expansion],
    asked: Replicated,
    options: Ablate,
    store: Store,
) -> None:
    console = Console(highlight=False)
    expansion = expansions[asked]
    suite, runs = expansion.suite, expansion.runs
    seeds = options.seeds or suite.seeds
    console.print(f"[bold]{escape(suite.name)}[/]: {escape(suite.title)}", soft_wrap=True)
    number = sum(len(arm.runs) for arm in expansion.arms)
    console.print(
        f"{len(suite.rows)} rows on {', '.join(expansion.requests)}, {seeds} seeds: "
        f"{number} runs asked for, {len(runs)} distinct",
        markup=False,
    )
    for arm in expansion.arms:
        if arm.impossible:
            console.print(
                f"not possible on {arm.dataset}: {arm.row.name}: {arm.impossible}",
                style="yellow",
                markup=False,
            )
    for name, request in expansion.requests.items():
        if not request.dataset.here:
            text = f"{name} is not here yet: it would be read first"
            console.print(text, style="yellow", markup=False)
    todo = {way: work.missing(one.wanted, store, options.retry) for way, one in expansions.items()}
    left = [job for job in todo[asked] if job.kind == RUN]
    console.print(f"in the store: {len(runs) - len(left)} of {len(runs)} runs")
    same = {job.id for job in todo["pretraining"]} == {job.id for job in todo["training"]}
    absent = {name for name, r in expansion.requests.items() if not r.dataset.here}
    times = estimates.compared(list(todo.values()), store, absent=absent)
    for (way, jobs), time in zip(todo.items(), times, strict=True):
        if way == asked or not same:
            console.print(_cost(jobs, time, "" if same else way, way == asked), soft_wrap=True)
    if todo[asked]:
        sizes = {n: len(r.dataset.score) for n, r in expansion.requests.items()}
        room = estimates.disk(left, sizes, store)
        console.print(f"disk: about {room / 2**20:,.0f} MiB")
    _print_chances(console, expansion, seeds, store)


def _cost(todo: Sequence[Job], time: estimates.Estimate, way: str, asked: bool) -> str:
    """What would run, and how long, if seeds replicate the pretraining or the training only."""
    runs = sum(job.kind == RUN for job in todo)
    text = f"would run: {len(todo) - runs} pretrainings, {runs} runs"
    if way:
        on = "a pretraining for each seed" if way == "pretraining" else "all on one pretraining"
        text = f"{on} ({'asked for' if asked else f'--replicate {way}'})\n  {text}"
    if not todo:
        return text
    if not time.source:
        return f"{text}\n  time: nothing tells it yet"
    more = f"; {time.unknown} jobs (such as pretraining) not counted" * bool(time.unknown)
    hours = time.seconds / 3600
    told = f"{hours:.1f} hours" if hours >= 1 else clock(time.seconds)
    return f"{text}\n  time: about {told} of one device (from {time.source}{more})"


def _print_chances(console: Console, expansion: suites.Expansion, seeds: int, store: Store) -> None:
    """Which claims the asked number of seeds can settle, if the published differences are true."""
    suite = expansion.suite
    asked = [
        (claim, dataset)
        for dataset in expansion.requests
        for claim in suite.claims
        if not claim.datasets or dataset in claim.datasets
    ]
    if not asked:
        return
    table = Table(title="claims", box=None, pad_edge=False, title_justify="left")
    settled = f"settled by {seeds} seeds"
    for column in ("claim", "published", "replicated\nwithin", "sd of\nthe two", settled):
        table.add_column(column, overflow="fold", justify="left" if column == "claim" else "right")
    in_store = measured(store, suite.name) if suite.name in store.plans("suite") else None
    spreads = [claims.spread(in_store, suite, *one) for one in asked]
    for (claim, dataset), spread in zip(asked, spreads, strict=True):
        published = claims.published_difference(suite, claim, dataset)
        margin = claims.margin(claim, published)
        if seeds < 2:
            chance = "no: n = 1"
        elif published is None:
            chance = "no published value"
        elif suite.mismatch:
            chance = "not comparable"
        elif claim.direction != "equal" and margin > abs(published) / 2:
            chance = "no: too small to tell"
        elif spread is None:
            chance = "spread not known"
        else:
            mine = [
                s
                for (other, place), s in zip(asked, spreads, strict=True)
                if (other.metric, place) == (claim.metric, dataset) and s is not None
            ]
            share = chances.chance(
                published=published,
                margin=margin,
                sd=math.hypot(*spread) / math.sqrt(2),
                n=seeds,
                claims=len(asked),
                others=_alike(spread, mine) - 1,
                direction=claim.direction,
            )
            chance = f"{100 * share:.0f} %"
        relation = _relation(claim.direction, claim.against)
        table.add_row(
            f"{claim.row}: {claim.metric} {relation} on {dataset}",
            "-" if published is None else f"{100 * published:+.1f}",
            _met(published, margin, claim.direction),
            "-" if spread is None else "\n".join(f"{100 * sd:.1f}" for sd in spread),
            chance,
        )
    console.print(table)
    console.print(
        "settled: if the published difference is true; more where runs resemble their partners in "
        "the baseline. Seeds may be added later, and after looking.",
        style="dim",
    )


def _alike(spread: tuple[float, float], others: Sequence[tuple[float, float]]) -> int:
    """How many differences spread about as much as one does."""
    size = math.hypot(*spread)
    return sum(size / 1.5 <= math.hypot(*other) <= size * 1.5 for other in others)


def _met(published: float | None, margin: float, direction: Direction) -> str:
    """The differences that count as the published one, in percent points."""
    if direction == "equal":
        return f"-{100 * margin:.1f} to {100 * margin:.1f}"
    if published is None:
        return "-"
    return f"{100 * (published - margin):+.1f} to {100 * (published + margin):+.1f}"
