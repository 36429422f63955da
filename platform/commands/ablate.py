"""`platform ablate`: a suite's runs, its table beside the published one, and its verdicts."""

import dataclasses
import datetime
import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from deep_clustering.ablations._suite import Replicated, Suite
from deep_clustering.platform import registry, results
from deep_clustering.platform.commands import _compute as work
from deep_clustering.platform.commands import _forecast
from deep_clustering.platform.commands import _say as say
from deep_clustering.platform.commands._answer import Answer
from deep_clustering.platform.commands._live import LiveView
from deep_clustering.platform.data.dataset import ImageSet
from deep_clustering.platform.errors import InputError, PlatformError
from deep_clustering.platform.evaluation import measures
from deep_clustering.platform.evaluation.contract import Context, Subject
from deep_clustering.platform.metrics.metric import PERCENT
from deep_clustering.platform.request import configs
from deep_clustering.platform.request.jobs import Job, stages_at_once
from deep_clustering.platform.request.options import Ablate, Asked, command_line
from deep_clustering.platform.request.request import Request, Wanted, pretrained
from deep_clustering.platform.run import _ray, evaluations
from deep_clustering.platform.run.failure import Kind
from deep_clustering.platform.run.progress import Line
from deep_clustering.platform.store.store import Store
from deep_clustering.platform.suites import claims, plans, settling, suites
from deep_clustering.platform.suites.cells import Cell, cells_of, replications
from deep_clustering.platform.suites.measured import (
    Against,
    Measured,
    compared,
    measured,
    metrics_of,
)

_STYLES = {
    "REPLICATED": "green",
    "SMALLER": "magenta",
    "DIRECTION ONLY": "yellow",
    "NOT REPLICATED": "red",
    "INCONCLUSIVE": "cyan",
    "NOT TESTABLE": "dim",
}


def ablate(options: Ablate) -> Answer:
    """Run what a suite lacks and say which claims hold."""
    _ray.prepare(options.address)
    suite = suites.altered(
        _chosen(options), options.sets, options.preset, options.protocol, options.base
    )
    store = work.open_store(options)
    replicate = _replicated(options, suite)
    most = _most(options, suite)
    if options.dry_run:
        others: tuple[Replicated, ...] = ("pretraining", "training")
        ways = {way: _begun(_expansion(suite, options, store, way), store, most) for way in others}
        furthest = None if most is None else _furthest(ways[replicate], store, options, most)
        plan = _forecast.Plans(ways=ways, asked=replicate, furthest=furthest, most=most or 0)
        _forecast.dry_run(plan, options, store)
        wanted = ways[replicate].wanted
        return work.answered(store, wanted, work.missing(wanted, store, options.retry))
    expansion = _begun(_expansion(suite, options, store, replicate), store, most)
    work.begin(store, *expansion.requests.values())
    computed = _Computed(expansion, store, options, most)
    computed.run()
    code = _close(computed, store, options)
    wanted, name = computed.expansion.wanted, suite.name
    answer = work.answered(store, wanted, work.missing(wanted, store, None), code)
    tables = {
        "cells": results.cells(name, store).collect(),
        "verdicts": results.verdicts(name, store).collect(),
    }
    return dataclasses.replace(answer, tables=tables)


def _most(options: Ablate, suite: Suite) -> int | None:
    """Seeds of a row at most, None where their number is fixed.

    Raises:
        InputError: options that contradict each other.
    """
    if not options.until_settled:
        if options.max_seeds is not None:
            raise InputError("--max-seeds goes with --until-settled: add it, or say --seeds.")
        return None
    if not suite.claims:
        raise InputError(f"--until-settled: {suite.name} has no claims to settle; leave it out.")
    seeds = options.seeds or suite.seeds
    most = max(seeds, settling.MOST) if options.max_seeds is None else options.max_seeds
    if seeds < 2:
        raise InputError(
            f"--until-settled begins with --seeds {seeds}, and a difference needs two; "
            "say --seeds 2."
        )
    if most < seeds:
        raise InputError(
            f"--max-seeds {most} is less than the {seeds} seeds to begin with (--seeds); "
            "raise it or say fewer --seeds."
        )
    return most


def _begun(expansion: suites.Expansion, store: Store, most: int | None) -> suites.Expansion:
    """The suite with the seeds that `--until-settled` added before, where it is asked for again."""
    name = expansion.suite.name
    if most is None or name not in store.plans("suite"):
        return expansion
    asked = set(plans.current(store.read_plan("suite", name)).run_ids)
    return settling.resumed(expansion, asked, most)


def _furthest(
    expansion: suites.Expansion, store: Store, options: Ablate, most: int
) -> suites.Expansion:
    """The most that `--until-settled` can come to, by what is in the store."""
    name = expansion.suite.name
    judged = None
    if name in store.plans("suite") and not work.missing(expansion.wanted, store, options.retry):
        judged = claims.judgements(measured(store, name))
    return settling.furthest(expansion, judged, most)


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
    wanted = (
        (name, job, expansion.requests[arm.dataset].dataset, thing)
        for name, things in expansion.suite.evaluations.items()
        for arm in expansion.arms
        for job in arm.runs
        for thing in things
    )
    for name, job, dataset, thing in wanted:
        if thing in impossible or not isinstance(dataset, ImageSet):
            continue
        try:
            planned = evaluations.planned(name, Subject.of_job(job, dataset), thing, context)
            jobs[planned.id] = (planned, thing)
        except PlatformError as error:  # its cells stay empty
            impossible[thing] = str(error)
    return _Evaluations(jobs=tuple(jobs.values()), impossible=impossible)


class _Computed:
    """A suite's runs and evaluations, computed as far as they are missing.

    Attributes:
        expansion: all that was asked for, with the seeds that were added.
        most: up to how many seeds of a row are added where they can settle a claim; None adds none.
        outside: what runs could not be compared with -> why.
    """

    def __init__(
        self, expansion: suites.Expansion, store: Store, options: Ablate, most: int | None
    ) -> None:
        self.expansion, self.most = expansion, most
        self.outside: dict[str, str] = {}
        self._store, self._options = store, options
        self._evaluated: dict[str, str] = {}  # id of an evaluation -> what it compares with

    def run(self) -> None:
        """Compute it."""
        store, options = self._store, self._options
        runs: list[str] = []  # grows with the suite
        wanted = self._planned(runs)
        while not (todo := work.missing(wanted, store, options.retry)):
            if not self._grow():
                return
            wanted = self._planned(runs)
        requests = self.expansion.requests
        title = f"{self.expansion.suite.name} on {', '.join(requests)}: "
        title += (
            f"{len(runs)} runs" if self.most is None else f"until settled, from {len(runs)} runs"
        )
        with (
            work.interruptible(store, runs, options),
            LiveView(title, say.shown(next(iter(requests.values())))) as view,
            work.session(store, options, len(runs), stages_at_once(wanted.before), todo) as session,
        ):
            while True:
                work.submit(wanted, store, session, options.retry, owner="")
                failures = work.watch(session, view, store, self._lines)
                if not self._grow():
                    break
                wanted = self._planned(runs)
            session.planner.close()
        for i, failure in failures:
            if i in self._evaluated and failure.kind is not Kind.NEED:
                self.outside[self._evaluated[i]] = failure.reason

    def _planned(self, runs: list[str]) -> Wanted:
        """Write down what is asked for; the jobs of it."""
        expansion, store = self.expansion, self._store
        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        before = store.read_plan("suite", expansion.suite.name)
        plan = plans.plan_of(expansion, before, now, command_line(self._options))
        store.write_plan("suite", expansion.suite.name, plan)
        planned = _evaluations(expansion, work.images_root(self._options, store))
        self.outside |= planned.impossible
        self._evaluated |= {job.id: thing for job, thing in planned.jobs}
        runs += [job.id for job in expansion.runs if job.id not in runs]
        targets = (*expansion.runs, *(job for job, _ in planned.jobs))
        return Wanted(runs=targets, before=expansion.wanted.before)

    def _grow(self) -> bool:
        """Add the seeds that can settle a claim; whether there are any."""
        if self.most is None:
            return False
        judged = claims.judgements(measured(self._store, self.expansion.suite.name))
        more = settling.grown(self.expansion, judged, self.most)
        self.expansion = more or self.expansion
        return more is not None

    def _lines(self) -> list[Line]:
        several = len(self.expansion.requests) > 1
        return [
            Line(
                f"{arm.row.name} {arm.dataset}" if several else arm.row.name,
                tuple(job.id for job in arm.runs),
            )
            for arm in self.expansion.arms
            if arm.runs
        ]


# ---- what is said at the end


def _close(computed: _Computed, store: Store, options: Ablate) -> int:
    """What is said at the end; returns the exit code."""
    expansion, outside = computed.expansion, computed.outside
    console = Console(highlight=False)
    name = expansion.suite.name
    suite = measured(store, name)
    table = cells_of(suite)
    for dataset in expansion.requests:
        for against in compared(suite.current.suite):
            part = [c for c in table if (c.dataset, c.against) == (dataset, against)]
            _print_table(console, suite, part, dataset, against)
    judged = [one for one in claims.judgements(suite) if one.dataset in expansion.requests]
    _print_verdicts(console, suite, judged)
    if computed.most is not None:
        console.print(_settled(judged, computed.most), style="dim", markup=False)
    for remark in suite.current.remarks:
        console.print(f"note: {remark}", style="yellow", markup=False)
    tables = ("suite", "cells", "verdicts")
    say.where(console, store, *(f'results.{table}("{name}", store)' for table in tables))
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
    metrics = metrics_of(suite, against)
    printed = any(cell.published is not None for cell in table)
    counts = {cell.n for cell in table if cell.mark == "measured"}
    title = f"{suite.name} on {dataset}" + (f" against {against.thing}" if against else "")
    view = Table(title=escape(title), box=None, pad_edge=False, title_justify="left")
    view.add_column("", overflow="fold")
    for metric in metrics:
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
        texts = [_cell(row.get(metric), notes, printed) for metric in metrics]
        view.add_row(f"[dim]{name}[/]" if only else name, *texts)
    console.print(view)
    over = ", ".join(replications(table))
    about = [f"mean ± half of its 95 % interval over {over}" if over else "nothing measured yet"]
    if 1 in counts:
        about.append("a single measurement, n = 1, has no interval")
    if printed:
        about.append("below: as printed in the paper, dim rows are published only")
    units = {m: measures.unit(m) for m in metrics}
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


def _settled(judged: Sequence[claims.JudgedClaim], most: int) -> str:
    """What `--until-settled` came to."""
    counts = Counter(one.verdict for one in judged)
    left, never = counts["INCONCLUSIVE"], counts["NOT TESTABLE"]
    text = f"until settled: {len(judged) - left - never} of {len(judged)} claims are settled"
    text += f", {left} would need more than {most} seeds (--max-seeds)" * bool(left)
    return text + f", {never} cannot be tested" * bool(never)


def _print_verdicts(
    console: Console, suite: Measured, judged: Sequence[claims.JudgedClaim]
) -> None:
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
        claim = f"{one.variant}: {one.metric} {say.relation(one.direction, one.against)}"
        claim += f" on {one.dataset}" if several else ""
        claim = escape(claim + (f", {one.compared.thing}" if one.compared else ""))
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
