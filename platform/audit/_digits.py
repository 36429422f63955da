"""The same digits where other runs are expected, and digits that do not go together."""

import itertools
from collections.abc import Iterator, Sequence
from decimal import Decimal

from deep_clustering.ablations._names import as_elsewhere, name
from deep_clustering.ablations._published import PublishedCell
from deep_clustering.platform.audit._cells import (
    METRICS,
    Finding,
    column_of,
    differ,
    grouped,
    in_tables,
    is_run,
    listed,
    opening,
    quantities,
    row_of,
    same_digits,
    signed,
    unit_of,
    value_of,
)

#: Metrics in which equal digits are worth a remark. Not ECE: it has two digits, which coincide.
REPEATABLE = frozenset(METRICS) - {"ece"}

#: Equal cells that make a repetition; one may be chance.
REPEATED = 2

#: Units of the last digit by which a rounded number may be off.
_HALF = Decimal("0.5")

#: A run printed this often is told: it is one measurement all the same.
REPRINTED = 3


def findings(given: Sequence[PublishedCell], others: Sequence[PublishedCell]) -> Iterator[Finding]:
    """Repeated digits and contradictions; others' cells are asked for numbers of classes only."""
    yield from _repeated(given)
    yield from _two_values(given)
    yield from _differences(given)
    yield from _f1(given)
    yield from _below_chance(given, others)
    yield from _printed_again(given)


def _repeated(given: Sequence[PublishedCell]) -> Iterator[Finding]:
    """Columns, or rows, of a table that repeat each other."""
    for members in grouped(given, lambda cell: cell.table).values():
        runs = [cell for cell in members if is_run(cell) and cell.metric in REPEATABLE]
        columns = grouped(runs, lambda cell: (cell.dataset, cell.ood_dataset))
        rows = grouped(runs, lambda cell: (cell.section, cell.method, cell.setting))
        for one, other in itertools.combinations(columns, 2):
            yield from _columns_repeat(columns[one], columns[other])
        for first, second in itertools.combinations(rows.values(), 2):
            yield from _rows_repeat(first, second)


def _columns_repeat(one: list[PublishedCell], other: list[PublishedCell]) -> Iterator[Finding]:
    """Rows that print the same digits in two columns, in every metric that both have."""

    def key(cell: PublishedCell) -> tuple[str, str, str]:
        return cell.section, cell.method, cell.setting

    same = [
        [(a, b) for a in mine for b in grouped(other, key).get(row, []) if a.metric == b.metric]
        for row, mine in grouped(one, key).items()
    ]
    equal = [pairs for pairs in same if pairs and all(same_digits(a, b) for a, b in pairs)]
    if len(equal) >= REPEATED:
        first, second = one[0], other[0]
        methods = listed(pairs[0][0].method for pairs in equal)
        digits = listed(a.printed for pairs in equal for a, _ in pairs)
        yield Finding(
            kind="repeated",
            sentence=(
                f"{opening(first)}: {methods} print the same on {column_of(first)} and "
                f"{column_of(second)}: {digits}."
            ),
            cells=tuple(cell for pairs in equal for pair in pairs for cell in pair),
        )


def _rows_repeat(one: list[PublishedCell], other: list[PublishedCell]) -> Iterator[Finding]:
    """Two rows with the same digits: in all metrics of a column, or in cells of many digits."""
    if all(map(as_elsewhere, (one[0], other[0]))) and name(one[0]) == name(other[0]):
        return  # one run, in two blocks of a table

    def key(cell: PublishedCell) -> tuple[str, str]:
        return cell.dataset, cell.ood_dataset

    equal: list[tuple[PublishedCell, PublishedCell]] = []
    of_many_digits: list[tuple[PublishedCell, PublishedCell]] = []
    for column, mine in grouped(one, key).items():
        theirs = {cell.metric: cell for cell in grouped(other, key).get(column, [])}
        pairs = [(cell, theirs[cell.metric]) for cell in mine if cell.metric in theirs]
        if len(pairs) >= REPEATED and all(same_digits(a, b) for a, b in pairs):
            equal += pairs
        else:
            of_many_digits += [(a, b) for a, b in pairs if same_digits(a, b) and _many_digits(a)]
    if len(of_many_digits) >= REPEATED:
        equal += of_many_digits
    if equal:
        cell, twin = equal[0]
        places = grouped([a for a, _ in equal], lambda a: a.dataset)
        told = [
            f"{dataset} " + ", ".join(f"{a.metric} {a.printed}" for a in members)
            for dataset, members in places.items()
        ]
        yield Finding(
            kind="repeated",
            sentence=(
                f"{opening(cell)}: {row_of(cell)} and {row_of(twin)} print the same on "
                f"{listed(told)}."
            ),
            cells=tuple(cell for pair in equal for cell in pair),
        )


def _many_digits(cell: PublishedCell) -> bool:
    return bool(cell.std) or unit_of(cell) < Decimal("0.1")


def _two_values(given: Sequence[PublishedCell]) -> Iterator[Finding]:
    """One quantity of one setting with two values, further apart than rounding can make them."""
    for (method, dataset, _), metrics in quantities(given).items():
        for metric, same in metrics.items():
            singles = [cell for cell in same if cell.std is None]
            groups: list[list[PublishedCell]] = []
            for cell in singles:
                home = next((g for g in groups if not differ(cell, g[0])), None)
                if home is None:
                    groups.append([cell])
                else:
                    home.append(cell)
            if len(groups) > 1:
                told = listed(f"{group[0].printed} in {in_tables(group)}" for group in groups)
                yield Finding(
                    kind="contradiction",
                    sentence=f"{method}, {dataset}: {metric} is {told}.",
                    cells=tuple(singles),
                )


def _differences(given: Sequence[PublishedCell]) -> Iterator[Finding]:
    """Printed differences against those of the printed values in the same block."""
    blocks = grouped(given, lambda c: (c.paper, c.table, c.section, c.dataset, c.metric))
    for members in blocks.values():
        for delta in (cell for cell in members if cell.statistic == "delta"):
            singles = [cell for cell in members if cell.statistic == "single"]
            mine = [cell for cell in singles if cell.method == delta.method]
            theirs = [cell for cell in singles if cell.method != delta.method]
            if len(mine) != 1 or len(theirs) != 1:
                continue
            expected = value_of(mine[0]) - value_of(theirs[0])
            off = abs(value_of(delta) - expected)
            if off:
                can = off <= _HALF * (unit_of(mine[0]) + unit_of(theirs[0]) + unit_of(delta))
                yield Finding(
                    kind="contradiction",
                    sentence=(
                        f"{opening(delta)}, {delta.dataset} {delta.metric}: the "
                        f"printed difference {signed(value_of(delta))} is not that of "
                        f"{mine[0].printed} and {theirs[0].printed}, {signed(expected)}; rounding "
                        f"{'can' if can else 'cannot'} make that."
                    ),
                    cells=(delta, mine[0], theirs[0]),
                )


def _f1(given: Sequence[PublishedCell]) -> Iterator[Finding]:
    """F1 against precision and recall of the same row, with room for the rounding of all three."""
    rows = grouped(given, lambda c: (c.paper, c.table, c.section, c.method, c.setting, c.dataset))
    for members in rows.values():
        of = {cell.metric: cell for cell in members}
        if not {"precision", "recall", "f1"} <= of.keys():
            continue
        precision, recall, f1 = of["precision"], of["recall"], of["f1"]
        low, exact, high = (_harmonic(precision, recall, units) for units in (-_HALF, 0, _HALF))
        room = _HALF * unit_of(f1)
        if not low - room <= value_of(f1) <= high + room:
            place = ", ".join(part for part in (f1.section, row_of(f1), f1.dataset) if part)
            yield Finding(
                kind="contradiction",
                sentence=(
                    f"{opening(f1)}, {place}: precision {precision.printed} and recall "
                    f"{recall.printed} give an F1 of {exact:.1f}, and {f1.printed} is printed."
                ),
                cells=(f1, precision, recall),
            )


def _harmonic(one: PublishedCell, other: PublishedCell, units: Decimal | int) -> Decimal:
    """The harmonic mean of two cells, each that many units of its last digit higher."""
    a, b = (value_of(cell) + units * unit_of(cell) for cell in (one, other))
    return 2 * a * b / (a + b)


def _below_chance(
    given: Sequence[PublishedCell], others: Sequence[PublishedCell]
) -> Iterator[Finding]:
    """Accuracies that no matching of clusters with labels can give: 1/C is the least."""
    classes = {c.dataset: value_of(c) for c in (*others, *given) if c.metric == "n_classes"}
    for cell in given:
        if cell.metric not in ("acc", "last_acc", "best_acc") or not is_run(cell):
            continue
        chance = 100 / classes[cell.dataset] if cell.dataset in classes else Decimal(0)
        if value_of(cell) + _HALF * unit_of(cell) < chance:
            yield Finding(
                kind="contradiction",
                sentence=(
                    f"{opening(cell)}, {row_of(cell)}, {cell.dataset}: {cell.metric} "
                    f"{cell.printed} is below {chance:.1f}, the least that matching can give with "
                    f"{classes[cell.dataset]} classes of equal size; as a fraction it would be "
                    f"{100 * value_of(cell):.1f} %."
                ),
                cells=(cell,),
            )


def _printed_again(given: Sequence[PublishedCell]) -> Iterator[Finding]:
    """A method's single run that stands in several tables; one finding a method."""
    by_method: dict[str, list[list[PublishedCell]]] = {}
    for (method, _, _), metrics in quantities(given).items():
        for same in metrics.values():
            singles = [cell for cell in same if cell.std is None]
            if len(singles) >= REPRINTED and not any(differ(singles[0], c) for c in singles):
                by_method.setdefault(method, []).append(singles)
    for method, groups in by_method.items():
        most = max(groups, key=len)
        quoted = [cell for singles in groups for cell in singles]
        yield Finding(
            kind="printed again",
            sentence=(
                f"{method}: {len(groups)} values of a single run are printed {len(quoted)} times, "
                f"in {in_tables(quoted)}; {most[0].metric} {most[0].printed} on "
                f"{most[0].dataset} {len(most)} times."
            ),
            cells=tuple(most),
        )
