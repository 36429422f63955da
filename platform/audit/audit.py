"""The papers' tables against themselves: what their printed numbers say about each other.

    findings("cdc")             every finding, grouped by kind
    examine(cells, others)      the same for given cells, beside those of other papers

Nothing is trained and no store is read. Every rule is arithmetic on the printed digits, and a
difference that rounding can make is none, or is said to be that. A finding says what is printed and
what follows; why it is so, it cannot know.

"sd" is a method's own standard deviation on that data set and metric, where the paper prints one.
Better is higher, but for ECE and FPR95.
"""

import itertools
from collections.abc import Sequence

from rich.console import Console
from rich.padding import Padding
from rich.text import Text

from deep_clustering.ablations._published import PublishedCell, cells, papers
from deep_clustering.platform.audit import _digits, _protocols, _spreads, _text
from deep_clustering.platform.audit._cells import Finding, where
from deep_clustering.platform.errors import InputError, nearest

#: Of a finding's cells, how many `show` lists.
SHOWN = 6

#: Kind -> what it means, in the order in which they are told.
KINDS = {
    "single run": (
        "A single run lies at least 1 sd from the same method's own mean. Against the mean and sd "
        "of 3 runs 48 % do by chance, of 5 runs 41 %; the best of 5 runs is expected at +1.16 sd, "
        "of 10 at +1.54."
    ),
    "sides": (
        "A method's single runs lie on one side of its own means more often than a coin would. "
        "Metrics of one run go together, so that p is smaller than it should be."
    ),
    "lead": "The single run of the paper's own method is ahead of others, its mean is not.",
    "within the spread": (
        "A row of an ablation differs from the full method by less than the full method's own sd, "
        "or lies behind its single run but not behind its mean. The difference of two single runs "
        "has an sd 1.4 times as large."
    ),
    "ahead of the full method": (
        "A row of an ablation is better than the full method in the same table."
    ),
    "no spread": "An ablation of single runs of a method for which no sd is printed.",
    "sweep": (
        "The default is the best cell of its own sweep or is not in it, or the sweep varies no "
        "more than seeds do."
    ),
    "wide spread": "A single run lies 3 points or more from its own mean, and yet within 1 sd.",
    "repeated": "The same digits stand where independent runs are expected.",
    "contradiction": "Printed numbers that do not go together.",
    "printed again": "One single run stands in several places; it is one measurement.",
    "text": "A sentence of the text, and what the tables say of what it speaks of.",
    "protocol": "Numbers on different images, or of different runs under the same name.",
    "chosen with labels": "Numbers that are the best of several, by a measure that needs labels.",
    "remark": "What was noticed when the numbers were copied from the paper.",
}


def findings(paper: str) -> list[Finding]:
    """All findings in a paper's tables, ordered by kind.

    Raises:
        InputError: no such paper; the sentence names the nearest one.
    """
    if paper not in papers():
        raise InputError(
            f"There is no paper '{paper}'.{nearest(paper, papers())} Known: {', '.join(papers())}."
        )
    others = [cell for other in papers() if other != paper for cell in cells(other)]
    return examine(cells(paper), others)


def examine(given: Sequence[PublishedCell], others: Sequence[PublishedCell] = ()) -> list[Finding]:
    """All findings in given cells, ordered by kind.

    Args:
        given: cells of one paper.
        others: cells of other papers, to compare what they print about the same methods.
    """
    all_findings = [
        *_spreads.findings(given),
        *_digits.findings(given, others),
        *_text.findings(given),
        *_protocols.findings(given, others),
    ]
    order = list(KINDS)
    return sorted(all_findings, key=lambda finding: order.index(finding.kind))


def rows(paper: str) -> list[dict[str, object]]:
    """A paper's findings as rows: `kind`, `sentence`, and `cells`, all of them in words.

    Raises:
        InputError: no such paper.
    """
    return [
        {
            "kind": finding.kind,
            "sentence": finding.sentence,
            "cells": [where(cell, paper) for cell in finding.cells],
        }
        for finding in findings(paper)
    ]


def show(paper: str, console: Console) -> None:
    """Print a paper's findings, grouped by kind; each with the first of its cells.

    Raises:
        InputError: no such paper.
    """
    told = findings(paper)
    console.print(
        Text(f"{paper}: {len(cells(paper))} printed numbers, {len(told)} findings", style="bold")
    )
    for kind, group in itertools.groupby(told, key=lambda finding: finding.kind):
        members = list(group)
        console.print()
        console.print(Text.assemble((kind, "bold cyan"), f" ({len(members)})"))
        console.print(Text(KINDS[kind], style="dim"))
        for finding in members:
            console.print(Padding(Text(finding.sentence), (0, 0, 0, 2), expand=False))
            lines = [where(cell, paper) for cell in finding.cells[:SHOWN]]
            if len(finding.cells) > SHOWN:
                lines.append(f"and {len(finding.cells) - SHOWN} more")
            console.print(Padding(Text("\n".join(lines), style="dim"), (0, 0, 0, 6), expand=False))
