"""Single runs, ablations and sweeps beside the spread over seeds that the paper prints."""

import math
from collections.abc import Iterator, Sequence
from decimal import Decimal
from statistics import pstdev
from typing import TypeAlias

from deep_clustering.ablations._names import (
    ABLATIONS,
    DEFAULTS,
    OTHER_HEADS,
    as_elsewhere,
    is_own,
    keys,
    name,
)
from deep_clustering.ablations._published import PublishedCell
from deep_clustering.platform.audit._cells import (
    LOWER,
    Finding,
    differ,
    grouped,
    in_table,
    is_run,
    listed,
    opening,
    quantities,
    row_of,
    signed,
    std_of,
    value_of,
    with_mean,
)

_Pair: TypeAlias = tuple[PublishedCell, PublishedCell]

#: A single run this many sd from its own mean is told: two of three runs are nearer.
AWAY = Decimal(1)

#: Expected maximum of n normal draws, in sd above the mean: what the best of n runs comes to.
BEST_OF = {5: Decimal("1.16"), 10: Decimal("1.54")}

#: A single run within the sd, yet this many points from its own mean, is told as well: papers
#: rank methods by less.
POINTS = Decimal(3)

#: Numbers that tell on which side of their means a method's single runs lie; of five, all on one
#: side still have p = .06.
SIDES = 6

#: p of the sign test from which sides are told.
LEVEL = 0.05

#: Cells that make a sweep; with two there is no spread to speak of.
SWEEP = 3

#: How large a sweep's sd may be, in seed sd, and still be what seeds alone make of that many cells
#: in 95 of 100 cases: the square root of chi-square's 0.95 quantile with n - 1 degrees of freedom
#: over n. For n in between the next smaller one counts.
SEEDS_ALONE = {3: Decimal("1.41"), 5: Decimal("1.38"), 6: Decimal("1.36"), 9: Decimal("1.31")}


def findings(given: Sequence[PublishedCell]) -> Iterator[Finding]:
    """What the spread says about single runs, the lead over others, ablations and sweeps."""
    yield from _single_runs(given)
    yield from _sides(given)
    yield from _wide_spreads(given)
    yield from _leads(given)
    yield from _ablations(given)
    yield from _ahead(given)
    yield from _sweeps(given)


def _single_runs(given: Sequence[PublishedCell]) -> Iterator[Finding]:
    """Single runs against the same method's mean; one finding a method and data set."""
    for (method, dataset, _), metrics in quantities(given).items():
        told, quoted = [], []
        for metric, same in metrics.items():
            pair = with_mean(same)
            if pair is None:
                continue
            single, mean = pair
            away = (value_of(single) - value_of(mean)) / std_of(mean)
            if abs(away) < AWAY or not differ(single, mean):
                continue
            told.append(
                f"{metric} {single.printed} ({in_table(single)}) lies {abs(away):.2f} sd "
                f"{'above' if away > 0 else 'below'} its own {mean.printed} ({in_table(mean)})"
                f"{_best_of(metric, away)}"
            )
            quoted += [single, mean]
        if told:
            sentence = f"{method}, {dataset}: {'; '.join(told)}."
            yield Finding(kind="single run", sentence=sentence, cells=tuple(quoted))


def _sides(given: Sequence[PublishedCell]) -> Iterator[Finding]:
    """On which side of their own means the single runs of each method lie."""
    by_method: dict[str, list[_Pair]] = {}
    for (method, _, _), metrics in quantities(given).items():
        with_means = (with_mean(same) for same in metrics.values())
        by_method.setdefault(method, []).extend(pair for pair in with_means if pair is not None)
    for method, found in by_method.items():
        better = [pair for pair in found if _better(*pair) > 0]
        worse = [pair for pair in found if _better(*pair) < 0]
        count, most = len(better) + len(worse), max(len(better), len(worse))
        if count < SIDES:
            continue
        p = sign_test(most, count)
        if p <= LEVEL:
            side, pairs = ("better", better) if len(better) == most else ("worse", worse)
            yield Finding(
                kind="sides",
                sentence=(
                    f"{method}: single runs are {side} than their own means in {most} of {count} "
                    f"numbers (sign test p = {p:.2g})."
                ),
                cells=tuple(cell for pair in pairs for cell in pair),
            )


def sign_test(most: int, count: int) -> float:
    """Two-sided p of so many of `count` numbers on one side of what each is as often above."""
    return min(1.0, 2 * sum(math.comb(count, k) for k in range(most, count + 1)) / 2**count)


def _best_of(metric: str, away: Decimal) -> str:
    better = -away if metric in LOWER else away
    passed = [n for n, expected in BEST_OF.items() if better > expected]
    return f", further than the best of {passed[-1]} is expected" if passed else ""


def _wide_spreads(given: Sequence[PublishedCell]) -> Iterator[Finding]:
    """Single runs far from their mean in points, and yet within an sd."""
    for (method, dataset, _), metrics in quantities(given).items():
        for metric, same in metrics.items():
            pair = with_mean(same)
            if pair is None:
                continue
            single, mean = pair
            difference = value_of(single) - value_of(mean)
            if POINTS <= abs(difference) < AWAY * std_of(mean):
                yield Finding(
                    kind="wide spread",
                    sentence=(
                        f"{method}, {dataset}: {metric} {single.printed} ({in_table(single)}) "
                        f"differs from {mean.printed} ({in_table(mean)}) by {signed(difference)}, "
                        f"{abs(difference / std_of(mean)):.2f} sd."
                    ),
                    cells=(single, mean),
                )


def _leads(given: Sequence[PublishedCell]) -> Iterator[Finding]:
    """Other methods that the paper's own is ahead of by its single run but not by its mean."""
    means = _own_means(given)
    runs = [c for c in given if is_run(c) and c.std is None and (c.paper, c.table) not in ABLATIONS]
    columns = grouped(runs, lambda c: (c.table, c.dataset, c.ood_dataset, c.metric))
    for (_, dataset, _, metric), members in columns.items():
        own = next((cell for cell in members if is_own(cell) and as_elsewhere(cell)), None)
        mean = means.get((dataset, metric))
        if own is None or mean is None:
            continue
        between = [
            cell
            for cell in members
            if not is_own(cell)
            and (cell.paper, name(cell)) not in OTHER_HEADS
            and _better(cell, mean) > 0 > _better(cell, own)
        ]
        if between:
            others = listed(f"{cell.method} {cell.printed}" for cell in between)
            yield Finding(
                kind="lead",
                sentence=(
                    f"{opening(own)}, {dataset}: {metric} {own.printed} of {own.method} is ahead "
                    f"of {others}; its mean of {mean.printed} ({in_table(mean)}) is not."
                ),
                cells=(own, mean, *between),
            )


def _better(cell: PublishedCell, than: PublishedCell) -> Decimal:
    """By how much a value is better, in points."""
    ahead = value_of(cell) - value_of(than)
    return -ahead if cell.metric in LOWER else ahead


def _own_means(given: Sequence[PublishedCell]) -> dict[tuple[str, str], PublishedCell]:
    """(data set, metric) -> mean of the paper's own method."""
    return {(cell.dataset, cell.metric): cell for cell in given if cell.std and is_own(cell)}


def _ablations(given: Sequence[PublishedCell]) -> Iterator[Finding]:
    """Rows of an ablation against the full method in the same table, beside the method's sd."""
    means = _own_means(given)
    for rows in _beside_full(given):
        if any((full.dataset, full.metric) in means for _, full in rows):
            yield from _rows_within(rows, means)
        else:
            yield _no_spread(rows)


def _beside_full(given: Sequence[PublishedCell]) -> Iterator[list[_Pair]]:
    """Of each ablation the cells of its rows, each with that of the full method."""
    for table, members in grouped(given, lambda cell: (cell.paper, cell.table)).items():
        runs = [cell for cell in members if is_run(cell)] if table in ABLATIONS else []
        full = {(c.dataset, c.metric): c for c in runs if is_own(c) and as_elsewhere(c)}
        pairs = [(cell, full.get((cell.dataset, cell.metric), cell)) for cell in runs]
        if rows := [(cell, own) for cell, own in pairs if cell != own]:
            yield rows


def _ahead(given: Sequence[PublishedCell]) -> Iterator[Finding]:
    """Rows of an ablation that are better than the full method in the same table."""
    for rows in _beside_full(given):
        better = [(cell, own) for cell, own in rows if _better(cell, own) > 0]
        by_row = grouped(better, lambda pair: (pair[0].section, row_of(pair[0]), pair[0].dataset))
        for (_, row, dataset), pairs in by_row.items():
            told = [f"{cell.metric} {cell.printed} against {own.printed}" for cell, own in pairs]
            yield Finding(
                kind="ahead of the full method",
                sentence=f"{opening(pairs[0][0])}, {row}, {dataset}: {listed(told)}.",
                cells=tuple(cell for pair in pairs for cell in pair),
            )


def _rows_within(
    rows: list[_Pair], means: dict[tuple[str, str], PublishedCell]
) -> Iterator[Finding]:
    by_row = grouped(rows, lambda pair: (pair[0].section, pair[0].method, pair[0].dataset))
    for (_, method, dataset), pairs in by_row.items():
        told, quoted = [], []
        for row, full in pairs:
            mean = means.get((row.dataset, row.metric))
            if mean is None:
                continue
            change = value_of(row) - value_of(full)
            if change == 0:
                told.append(f"{row.metric} {row.printed} is the full method's")
            elif abs(change) < std_of(mean):
                told.append(
                    f"{row.metric} {row.printed} differs from the full method's {full.printed} by "
                    f"{signed(change)}, smaller than its sd of {std_of(mean)} ({in_table(mean)})"
                )
            elif _better(row, full) < 0 <= _better(row, mean):
                told.append(
                    f"{row.metric} {row.printed} lies behind the full method's single run of "
                    f"{full.printed}, but not behind its mean of {mean.printed} ({in_table(mean)})"
                )
            else:
                continue
            quoted += [row, full, mean]
        if told:
            where = f"{opening(quoted[0])}, {method}, {dataset}: "
            yield Finding(
                kind="within the spread",
                sentence=f"{where}{'; '.join(told)}.",
                cells=tuple(quoted),
            )


def _no_spread(rows: list[_Pair]) -> Finding:
    by_metric = grouped(rows, lambda pair: pair[0].metric)
    spans = []
    for metric, pairs in by_metric.items():
        changes = [value_of(row) - value_of(full) for row, full in pairs]
        spans.append(f"{metric} from {signed(min(changes))} to {signed(max(changes))}")
    first, full = rows[0]
    count = len({(row.section, row.method, row.setting) for row, _ in rows})
    return Finding(
        kind="no spread",
        sentence=(
            f"{opening(first)}: {count} rows are single runs and differ from "
            f"{full.method} in {listed(spans)}; no sd of {full.method} is printed beside which "
            "to judge that."
        ),
        cells=(*dict.fromkeys(full for _, full in rows), *(row for row, _ in rows)),
    )


def _sweeps(given: Sequence[PublishedCell]) -> Iterator[Finding]:
    """Where the default stands in its sweep, and how much the sweep varies beside seeds."""
    sds = {(name(cell), cell.dataset, cell.metric): cell for cell in given if cell.std}
    swept = grouped(
        [cell for cell in given if cell.setting and is_run(cell)],
        lambda cell: (
            cell.paper, cell.table, cell.section, cell.method, keys(cell.setting),
            cell.dataset, cell.metric,
        ),
    )  # fmt: skip
    absent: dict[tuple[str, str, str], list[PublishedCell]] = {}
    for (paper, table, _, method, swept_keys, dataset, metric), members in swept.items():
        usual = DEFAULTS.get((paper, table, swept_keys))
        if len(members) < SWEEP or usual is None:
            continue
        at_default = [cell for cell in members if cell.setting == usual]
        if not at_default:
            absent.setdefault((table, method, usual), []).extend(members)
            continue
        best = _best_of_sweep(at_default[0], members)
        mean = sds.get((name(members[0]), dataset, metric))
        spread, within = _sweep_spread(members, mean) if mean else ("", False)
        if best or within:
            over = swept_keys.replace(";", " and ")
            told = "; ".join(part for part in (best, spread) if part)
            yield Finding(
                kind="sweep",
                sentence=f"{opening(members[0])}, {dataset} {metric} over {over}: {told}.",
                cells=(*members, *([mean] if mean else [])),
            )
    for (_, method, usual), members in absent.items():
        yield Finding(
            kind="sweep",
            sentence=(
                f"{opening(members[0])} sweeps {method} over {len(members)} cells and "
                f"leaves out {usual.split(';')[0]}, which the rest of the paper uses."
            ),
            cells=tuple(members),
        )


def _best_of_sweep(usual: PublishedCell, members: list[PublishedCell]) -> str:
    lower = usual.metric in LOWER
    best = (min if lower else max)(value_of(cell) for cell in members)
    if value_of(usual) != best or all(value_of(cell) == best for cell in members):
        return ""
    tied = [c.setting for c in members if value_of(c) == best and c is not usual]
    with_others = f", tied with {listed(tied)}" if tied else ""
    return (
        f"the default {usual.setting} ({usual.printed}) is the {'lowest' if lower else 'highest'} "
        f"of {len(members)} cells{with_others}"
    )


def _sweep_spread(members: list[PublishedCell], mean: PublishedCell) -> tuple[str, bool]:
    """The sweep's spread beside that of seeds, and whether seeds alone can make it."""
    spread = pstdev(value_of(cell) for cell in members)
    cells = max(n for n in SEEDS_ALONE if n <= len(members))
    within = spread <= SEEDS_ALONE[cells] * std_of(mean)
    told = f"the sweep's sd is {spread:.2f} beside {std_of(mean)} of seeds ({in_table(mean)})"
    return told + (", no more than seeds alone make" if within else ""), within
