"""Which images the numbers are of, which runs share a name, and which were chosen with labels."""

from collections.abc import Iterator, Sequence
from decimal import Decimal

from deep_clustering.ablations._published import PublishedCell
from deep_clustering.platform.audit._cells import (
    Finding,
    datasets_of,
    differ,
    first_own,
    grouped,
    headlines,
    is_run,
    listed,
    methods_of,
    opening,
    own_protocols,
    row_of,
    value_of,
)
from deep_clustering.platform.data.catalogue import CATALOGUE


def findings(given: Sequence[PublishedCell], others: Sequence[PublishedCell]) -> Iterator[Finding]:
    """Protocols within the paper and between papers, choices made with labels, and remarks."""
    yield from _other_images(given)
    yield from _own_images(given)
    yield from _between_papers(given, others)
    yield from _same_names(given, others)
    yield from _chosen(given)
    yield from _remarks(given)


def _other_images(given: Sequence[PublishedCell]) -> Iterator[Finding]:
    """Rows on other images than the paper's own method, and those of which it is not known."""
    runs = [cell for cell in given if is_run(cell)]
    own = own_protocols(runs)
    by_table = grouped([cell for cell in runs if cell.dataset in own], lambda cell: cell.table)
    for members in by_table.values():
        other = [cell for cell in members if cell.protocol not in (None, own[cell.dataset])]
        for protocol, group in grouped(other, lambda cell: cell.protocol).items():
            usual = listed(dict.fromkeys(own[cell.dataset] for cell in group))
            yield Finding(
                kind="protocol",
                sentence=(
                    f"{opening(group[0])}: {methods_of(group)} on {datasets_of(group)} under the "
                    f"protocol {protocol}, the paper's own method under {usual}."
                ),
                cells=tuple(group),
            )
        unknown = [cell for cell in members if cell.protocol is None]
        if unknown:
            yield Finding(
                kind="protocol",
                sentence=(
                    f"{opening(unknown[0])}: the images of {_unknown(members)} are not known, or "
                    "of no protocol here."
                ),
                cells=tuple(unknown),
            )


def _unknown(members: list[PublishedCell]) -> str:
    """Methods whose protocol is not known, with the data sets where that is not so for all."""
    told = []
    for method, cells in grouped(members, lambda cell: cell.method).items():
        without = [cell for cell in cells if cell.protocol is None]
        if len(without) == len(cells):
            told.append(method)
        elif without:
            told.append(f"{method} ({datasets_of(without)})")
    return listed(told)


def _own_images(given: Sequence[PublishedCell]) -> Iterator[Finding]:
    """The paper's own method under several protocols, on data sets that offer the same."""
    runs = [cell for cell in given if is_run(cell)]
    own = own_protocols(runs)
    named = [name for name in own if name in CATALOGUE]
    offering = grouped(named, lambda name: CATALOGUE[name].protocols)
    for alike in offering.values():
        used = grouped(alike, own.__getitem__)
        if len(used) > 1:
            told = listed(f"{protocol} on {listed(names)}" for protocol, names in used.items())
            yield Finding(
                kind="protocol",
                sentence=f"The paper's own method is trained and scored under {told}.",
                cells=tuple(first_own(runs, dataset) for dataset in alike),
            )


def _between_papers(
    given: Sequence[PublishedCell], others: Sequence[PublishedCell]
) -> Iterator[Finding]:
    """The papers' own methods, on data sets that they do not train and score alike."""
    here = [cell for cell in given if is_run(cell)]
    own = own_protocols(here)
    for paper, members in grouped(others, lambda cell: cell.paper).items():
        there = [cell for cell in members if is_run(cell)]
        theirs = own_protocols(there)
        apart = grouped(
            [(d, own[d], theirs[d]) for d in own if d in theirs and theirs[d] != own[d]],
            lambda each: each[1:],
        )
        if apart:
            told = listed(
                f"{mine} here and {other} in {paper} on {listed(d for d, _, _ in each)}"
                for (mine, other), each in apart.items()
            )
            yield Finding(
                kind="protocol",
                sentence=f"The papers' own methods do not compare: they are under {told}.",
                cells=tuple(
                    first_own(runs, dataset)
                    for each in apart.values()
                    for dataset, _, _ in each
                    for runs in (here, there)
                ),
            )


def _same_names(
    given: Sequence[PublishedCell], others: Sequence[PublishedCell]
) -> Iterator[Finding]:
    """What other papers print under the same method's name."""
    here = headlines(given)
    for paper, members in grouped(others, lambda cell: cell.paper).items():
        there = headlines(members)
        for method, shared in grouped([k for k in here if k in there], lambda k: k[0]).items():
            pairs = [(here[key], there[key]) for key in shared]
            differing = [(a, b) for a, b in pairs if differ(a, b)]
            if differing:
                yield _same_name(method, paper, pairs, differing)


def _same_name(
    method: str,
    paper: str,
    pairs: list[tuple[PublishedCell, PublishedCell]],
    differing: list[tuple[PublishedCell, PublishedCell]],
) -> Finding:
    first = differing[0][0].metric
    shown = [(a, b) for a, b in differing if a.metric == first]
    here, there = differing[0]
    protocols = dict.fromkeys(
        (a.protocol or "unknown", b.protocol or "unknown") for a, b in differing
    )
    told = "; ".join(f"protocol {a} here, {b} in {paper}" for a, b in protocols)
    return Finding(
        kind="protocol",
        sentence=(
            f"{method} differs from what {paper} prints in {len(differing)} of {len(pairs)} "
            f"values: {first} {' / '.join(a.printed for a, _ in shown)} here ({here.method}) and "
            f"{' / '.join(b.printed for _, b in shown)} there ({there.method}) on "
            f"{' / '.join(a.dataset for a, _ in shown)}; {told}."
        ),
        cells=tuple(cell for pair in differing for cell in pair),
    )


def _chosen(given: Sequence[PublishedCell]) -> Iterator[Finding]:
    """Numbers chosen with labels, beside the last epoch's where that is printed as well."""
    last = {(c.table, c.section, c.method, c.dataset): c for c in given if c.metric == "last_acc"}
    chosen = [cell for cell in given if cell.with_labels]
    kinds = grouped(chosen, lambda cell: (cell.table, cell.metric == "best_acc"))
    for (_, best), members in kinds.items():
        pairs = [
            (cell, last[key])
            for cell in members
            if (key := (cell.table, cell.section, cell.method, cell.dataset)) in last
        ]
        if best and pairs:
            gains = [value_of(cell) - value_of(at_end) for cell, at_end in pairs]
            mean = sum(gains, Decimal(0)) / len(gains)
            what = (
                f"{len(members)} values of best_acc are of the epoch that labels chose, on average "
                f"{mean:.2f} above the last epoch, at most {max(gains)}."
            )
        else:
            what = (
                f"{len(members)} values of {methods_of(members)} are of the best of several runs, "
                "chosen with labels."
            )
        yield Finding(
            kind="chosen with labels",
            sentence=f"{opening(members[0])}: {what}",
            cells=tuple(members),
        )


def _remarks(given: Sequence[PublishedCell]) -> Iterator[Finding]:
    flagged = [cell for cell in given if cell.flag]
    for (_, flag), members in grouped(flagged, lambda cell: (cell.table, cell.flag)).items():
        rows = listed(dict.fromkeys(row_of(cell) for cell in members))
        yield Finding(
            kind="remark",
            sentence=f"{opening(members[0])}, {rows}, {datasets_of(members)}: {flag}.",
            cells=tuple(members),
        )
