"""The dry run of `platform ablate`: what would run, what it may cost, and what it can settle."""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from deep_clustering.ablations._suite import Claim, Direction, Replicated
from deep_clustering.platform.commands import _compute as work
from deep_clustering.platform.commands import _say as say
from deep_clustering.platform.evaluation.measures import duration, plural
from deep_clustering.platform.request.jobs import RUN, Job
from deep_clustering.platform.request.options import Ablate
from deep_clustering.platform.run import estimates
from deep_clustering.platform.store.store import Store
from deep_clustering.platform.suites import chances, claims, suites
from deep_clustering.platform.suites.measured import measured


@dataclass(frozen=True, kw_only=True)
class Plans:
    """What a command would run.

    Attributes:
        ways: what a seed draws anew -> the suite with the seeds to begin with.
        asked: the one that would run.
        furthest: the most that it can come to; None where the number of seeds is fixed.
        most: seeds of a row at most.
    """

    ways: Mapping[Replicated, suites.Expansion]
    asked: Replicated
    furthest: suites.Expansion | None
    most: int


def dry_run(plan: Plans, options: Ablate, store: Store) -> None:
    """Print what would run and what it may cost, what is there, and what it can settle."""
    expansions, asked = plan.ways, plan.asked
    console = Console(highlight=False)
    expansion = expansions[asked]
    suite, runs = expansion.suite, expansion.runs
    seeds = options.seeds or suite.seeds
    console.print(f"[bold]{escape(suite.name)}[/]: {escape(suite.title)}", soft_wrap=True)
    number = sum(len(arm.runs) for arm in expansion.arms)
    console.print(
        f"{plural(len(suite.rows), 'row')} on {', '.join(expansion.requests)}, "
        f"{plural(seeds, 'seed')}: {plural(number, 'run')} asked for, {len(runs):,} distinct",
        markup=False,
    )
    for arm in expansion.arms:
        if arm.impossible:
            console.print(
                f"not possible on {arm.dataset}: {arm.row.name}: {arm.impossible}",
                style="yellow",
                markup=False,
            )
    for request in expansion.requests.values():
        say.not_here(console, request)
    todo = {way: work.missing(one.wanted, store, options.retry) for way, one in expansions.items()}
    left = [job for job in todo[asked] if job.kind == RUN]
    there = len(runs) - len({job.id for job in runs} & {job.id for job in left})
    console.print(f"in the store: {there} of {len(runs)} runs")
    same = {job.id for job in todo["pretraining"]} == {job.id for job in todo["training"]}
    absent = {name for name, r in expansion.requests.items() if not r.dataset.here}
    most = [] if plan.furthest is None else work.missing(plan.furthest.wanted, store, options.retry)
    times = estimates.estimates([*todo.values(), most], store, absent)
    for (way, jobs), time in zip(todo.items(), times, strict=False):
        if way == asked or not same:
            wanted = {job.id for job in expansions[way].runs}
            told = _cost(jobs, wanted, time, "" if same else way, way == asked)
            console.print(told, soft_wrap=True)
    if plan.furthest is not None:
        text = (
            f"then, until settled, up to {plan.most} seeds in rows of open claims; in all at most"
        )
        wanted = {job.id for job in plan.furthest.runs}
        console.print(f"{text}\n  {_cost(most, wanted, times[-1], '', True)}", soft_wrap=True)
    if left:
        sizes = {n: len(r.dataset.score) for n, r in expansion.requests.items()}
        room = estimates.disk(left, sizes, store)
        console.print(f"disk: about {room / 2**20:,.0f} MiB")
    looks = [seeds] if plan.furthest is None else [seeds, plan.most]
    _print_chances(console, expansion, looks, store)


def _cost(
    todo: Sequence[Job], wanted: Collection[str], time: estimates.Estimate, way: str, asked: bool
) -> str:
    """What would run, and how long, if seeds replicate the pretraining or the training only."""
    text = f"would run: {say.jobs(todo, wanted)}"
    if way:
        on = "a pretraining for each seed" if way == "pretraining" else "all on one pretraining"
        text = f"{on} ({'asked for' if asked else f'--replicate {way}'})\n  {text}"
    if not todo:
        return text
    if not time.source:
        return f"{text}\n  time: nothing tells it yet"
    unknown = plural(time.unknown, "job")
    more = f"; {unknown} (such as pretraining) not counted" * bool(time.unknown)
    return (
        f"{text}\n  time: about {duration(time.seconds)} of one device (from {time.source}{more})"
    )


def _print_chances(
    console: Console, expansion: suites.Expansion, looks: Sequence[int], store: Store
) -> None:
    """Which claims some numbers of seeds can settle, if the published differences are true."""
    suite = expansion.suite
    asked = claims.asked(suite, expansion.requests)
    if not asked:
        return
    table = Table(title="claims", box=None, pad_edge=False, title_justify="left")
    settled = [f"settled by {plural(seeds, 'seed')}" for seeds in looks]
    for column in ("claim", "published", "replicated\nwithin", "sd of\nthe two", *settled):
        table.add_column(column, overflow="fold", justify="left" if column == "claim" else "right")
    in_store = measured(store, suite.name) if suite.name in store.plans("suite") else None
    spreads = [claims.spread(in_store, suite, one) for one in asked]
    for one, spread in zip(asked, spreads, strict=True):
        claim = one.claim
        published = claims.published_difference(suite, one)
        margin = claims.margin(claim, published)
        mine = [
            s
            for other, s in zip(asked, spreads, strict=True)
            if (other.claim.metric, other.where) == (claim.metric, one.where) and s is not None
        ]
        if published is None:
            chance = ["no published value"]
        elif suite.mismatch:
            chance = ["not comparable"]
        elif claim.direction != "equal" and margin > abs(published) / 2:
            chance = ["no: too small to tell"]
        elif spread is None:
            chance = ["spread not known"]
        else:
            chance = [
                _share(published, margin, spread, mine, seeds, len(asked), claim) for seeds in looks
            ]
        relation = say.relation(claim.direction, claim.against)
        table.add_row(
            f"{claim.row}: {claim.metric} {relation} on {one.where}",
            "-" if published is None else f"{100 * published:+.1f}",
            _met(published, margin, claim.direction),
            "-" if spread is None else "\n".join(f"{100 * sd:.1f}" for sd in spread),
            *chance,
        )
    console.print(table)
    console.print(
        "settled: if the published difference is true; more where runs resemble their partners in "
        "the baseline. Seeds may be added later, and after looking.",
        style="dim",
    )


def _share(
    published: float,
    margin: float,
    spread: tuple[float, float],
    table: Sequence[tuple[float, float]],
    seeds: int,
    claims: int,
    claim: Claim,
) -> str:
    """How likely some seeds settle a claim, in words."""
    if seeds < 2:
        return "no: n = 1"
    share = chances.chance(
        published=published,
        margin=margin,
        sd=math.hypot(*spread) / math.sqrt(2),
        n=seeds,
        claims=claims,
        others=_alike(spread, table) - 1,
        direction=claim.direction,
    )
    return f"{100 * share:.0f} %"


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
